"""Figures of a result: what they show is what the frames hold."""

from __future__ import annotations

import datetime as dt
import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, BacktestResult, ConfigError, DataError, Strategy
from ml4t.backtest.results.charts import series
from ml4t.backtest.results.charts.downsample import candles, curve, m4, time_labels
from ml4t.backtest.testing.markets import random_market
from tests.examples import examples

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

KINDS = (
    "equity drawdown returns calendar rolling exposure trades assets signals price".split()  # noqa: SIM905
)


class Bracketed(Strategy):
    """Buys what is predicted to rise, with a stop below."""

    def on_start(self) -> None:
        """Protects everything."""
        self.set_stop_loss(percent=0.02)

    def on_bars(self, bars: Bars) -> None:
        """Holds the two best."""
        best = bars.top("ml_pred", 2)
        self.rebalance_to_weights(dict.fromkeys(best, 0.4), tolerance=0.05)


@pytest.fixture
def run() -> BacktestResult:
    """A run with a market that can be read again."""
    market = random_market(assets=4, sessions=90, seed=5, information=0.1)
    return BacktestEngine(market, strategy=Bracketed()).run()


def _named(figure: Any, name: str) -> Any:
    (found,) = (trace for trace in figure.data if trace.name == name)
    return found


# -- kinds and options -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_figure_that_says_what_it_shows(run: BacktestResult, kind: str) -> None:
    """A Plotly figure with traces, a title with the period, and words for those who do not see."""
    figure = run.plot(kind)
    assert type(figure).__name__ == "Figure"
    assert figure.data
    assert str(run.returns["session"][0]) in figure.layout.title.text
    assert figure.layout.meta["alt"].endswith(".")


def test_an_unknown_kind_or_option_is_refused(run: BacktestResult) -> None:
    """With the nearest name."""
    with pytest.raises(ConfigError, match="Did you mean 'equity'"):
        run.plot("equty")
    with pytest.raises(ConfigError, match=r"no option 'benchmrak'. Did you mean 'benchmark'"):
        run.plot("equity", benchmrak="A00")
    with pytest.raises(ConfigError, match=r"theme 'drak'. Did you mean 'dark'"):
        run.plot(theme="drak")
    for window in (1, 2.5, len(run.returns) + 1):
        with pytest.raises(ConfigError, match="window must be a whole number of sessions"):
            run.plot("rolling", window=window)
    assert run.plot("rolling", window=len(run.returns)).data
    with pytest.raises(ConfigError, match="most must be at least 1"):
        run.plot("assets", most=0)
    with pytest.raises(DataError, match="'ml_perd'"):
        run.plot("price", signal="ml_perd")


def test_without_plotly_the_message_says_how_to_get_it(
    run: BacktestResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the extra."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[plot\]'"):
        run.plot()


def test_a_market_that_is_gone_cannot_be_drawn(run: BacktestResult, tmp_path: Path) -> None:
    """All else can."""
    run.save(tmp_path / "run")
    loaded = BacktestResult.load(tmp_path / "run")
    with pytest.raises(DataError, match="gone"):
        loaded.plot("price")
    assert loaded.plot("trades").data


def test_themes_differ_in_paper_and_ink(run: BacktestResult) -> None:
    """Dark has a dark background."""
    light, dark = run.plot(), run.plot(theme="dark")
    assert light.layout.paper_bgcolor == "#ffffff"
    assert dark.layout.paper_bgcolor == "#161b21"
    assert light.data == dark.data


# -- what they show ----------------------------------------------------------------------------


def test_equity_and_drawdown_are_those_of_the_run(run: BacktestResult) -> None:
    """Every bar, as there are few."""
    above, below = run.plot("equity").data
    assert above.y.tolist() == run.equity["equity"].to_list()
    assert below.y.tolist() == run.equity["drawdown"].to_list()
    assert list(above.x) == [f"{t:%Y-%m-%d}" for t in run.equity["timestamp"]]


def test_a_benchmark_starts_where_the_run_starts(run: BacktestResult) -> None:
    """An asset's closes, scaled to the money at the start."""
    trace = _named_first(run.plot("equity", benchmark="A02"), "A02")
    close = run.market(["A02"], ["close"])["close"].to_numpy()
    np.testing.assert_allclose(trace.y, close / close[0] * run.initial_cash, rtol=1e-12)


def _named_first(figure: Any, name: str) -> Any:
    return next(trace for trace in figure.data if trace.name == name)


def test_months_are_compounded() -> None:
    """Two months by hand; the last of one and the first of the next do not mix."""
    frame = pl.DataFrame(
        {
            "session": [dt.date(2024, 1, 30), dt.date(2024, 1, 31), dt.date(2024, 2, 1)],
            "return": [0.1, -0.5, 0.02],
        }
    )
    assert series.months(frame).rows() == [
        (2024, 1, pytest.approx(-0.45)),
        (2024, 2, pytest.approx(0.02)),
    ]
    assert series.years(frame).rows() == [(2024, pytest.approx(0.55 * 1.02 - 1))]


def test_rolling_figures_by_hand() -> None:
    """The window's mean over its sample deviation, a year."""
    r = [0.01, -0.02, 0.03, 0.0]
    days = [dt.date(2024, 1, d) for d in (2, 3, 4, 5)]
    frame = series.rolling(pl.DataFrame({"session": days, "return": r}), 3, 252.0)
    assert frame["session"].to_list() == days[2:]
    for i, row in enumerate(frame.iter_rows(named=True)):
        window = np.array(r[i : i + 3])
        spread = math.sqrt(((window - window.mean()) ** 2).sum() / 2)
        assert row["volatility"] == pytest.approx(spread * math.sqrt(252))
        assert row["sharpe"] == pytest.approx(window.mean() / spread * math.sqrt(252))


def test_rolling_returns_that_do_not_vary_have_no_sharpe() -> None:
    """A spread of nothing is no risk, and no ratio."""
    days = [dt.date(2024, 1, d) for d in range(1, 6)]
    frame = series.rolling(pl.DataFrame({"session": days, "return": [0.0] * 5}), 3, 252.0)
    assert frame["sharpe"].null_count() == 3
    assert frame["volatility"].to_list() == [0.0] * 3


def test_turnover_and_costs_by_hand() -> None:
    """Half of what was traded over the month's mean equity; money that was paid is positive."""
    days = [dt.date(2024, 1, 30), dt.date(2024, 1, 31), dt.date(2024, 2, 1)]
    equity = pl.DataFrame({"timestamp": days, "equity": [100.0, 300.0, 0.0]})
    fills = pl.DataFrame(
        {
            "timestamp": [days[0], days[0]],
            "notional": [50.0, 30.0],
            "commission": [1.0, 2.0],
            "slippage": [0.5, 0.0],
        }
    )
    flows = pl.DataFrame({"timestamp": [days[1]], "amount": [-4.0]})
    turned = series.monthly_turnover(fills, equity)
    assert turned["turnover"].to_list() == [pytest.approx(80 / 2 / 200), None]
    paid = series.running_costs(fills, flows)
    assert paid.rows() == [(days[0], 3.0, 0.5, 0.0), (days[1], 3.0, 0.5, 4.0)]


def test_exposure_is_a_share_of_equity(run: BacktestResult) -> None:
    """Gross over equity at the close, which is the leverage; the market is long only."""
    trace = _named(run.plot("exposure"), "gross and net (leverage)")
    expected = run.record.equity["gross_exposure"] / run.record.equity["equity"]
    np.testing.assert_allclose(trace.y, expected.to_numpy(), rtol=1e-12)


def test_bars_of_the_trades_count_all_closed_ones(run: BacktestResult) -> None:
    """None is lost between two classes."""
    pnl, *_ = run.plot("trades").data
    closed = run.trades.filter(pl.col("status") == "closed")
    assert sum(pnl.y) == len(closed)
    gains = sum(n for x, n in zip(pnl.x, pnl.y, strict=True) if x > 0)
    assert gains == (closed["pnl"] >= 0).sum()


def test_assets_add_up_to_the_gain(run: BacktestResult) -> None:
    """Every asset, and no more."""
    (bars,) = run.plot("assets").data
    assert sum(bars.x) == pytest.approx(run.final_equity - run.initial_cash)
    only = run.plot("assets", most=2)
    assert len(only.data[0].x) == 2
    assert "of 4" in only.layout.meta["note"]


def test_the_price_shows_fills_and_stops_where_they_were(run: BacktestResult) -> None:
    """Purchases at their prices, stops at their levels, and the signal under it."""
    figure = run.plot("price", asset="A01")
    fills = run.fills.filter(asset_id="A01", side="buy")
    assert _named(figure, "bought").y.tolist() == fills["price"].to_list()
    stops = run.orders.filter(pl.col("asset_id") == "A01").drop_nulls("stop_price")
    levels = list(_named(figure, "stop of orders").y[::3])
    assert levels == stops["stop_price"].to_list()
    candle = _named(figure, "price")
    assert candle.close.tolist() == run.market(["A01"])["close"].to_list()
    assert _named(figure, "ml_pred").y.tolist() == run.market(["A01"])["ml_pred"].to_list()


def test_an_asset_that_is_unknown_is_refused(run: BacktestResult) -> None:
    """By the market."""
    with pytest.raises(DataError, match="no asset 'A99'"):
        run.plot("price", asset="A99")


# -- long curves -------------------------------------------------------------------------------


@examples(30)
@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=50, max_size=400),
    gaps=st.lists(st.integers(1, 1_000), min_size=400, max_size=400),
    buckets=st.integers(1, 12),
)
def test_a_short_curve_keeps_the_extremes_of_every_strip(
    values: list[float], gaps: list[int], buckets: int
) -> None:
    """First, last, lowest and highest of each strip are there, and at most four a strip."""
    y, t = np.array(values), np.cumsum(gaps)[: len(values)]
    kept = m4(t, y, buckets)
    assert sorted(set(kept)) == kept.tolist()
    if len(y) <= 4 * buckets:
        assert len(kept) == len(y)
        return
    strip = [int(x - t[0]) * buckets // int(t[-1] - t[0] + 1) for x in t]
    for which in set(strip):
        own = [i for i, s in enumerate(strip) if s == which]
        left = [i for i in kept if strip[i] == which]
        assert {own[0], own[-1]} <= set(left)
        assert len(left) <= 4
        known = [y[i] for i in own if not np.isnan(y[i])]
        if known:
            seen = [y[i] for i in left if not np.isnan(y[i])]
            assert (min(seen), max(seen)) == (min(known), max(known))


def test_a_gap_does_not_take_the_points_of_what_is_beside_it() -> None:
    """Two weeks of minutes with half a year between them are drawn as finely as without it."""
    whole = pl.Series(np.arange(20_000) * 60_000_000)
    half_a_year = 180 * 86_400_000_000
    times = pl.concat([whole[:10_000], whole[10_000:] + half_a_year]).cast(pl.Datetime("us"))
    values = np.random.default_rng(1).normal(size=20_000)
    values[12_345] = -99.0
    drawn, plain = curve(times, values, 100), curve(whole.cast(pl.Datetime("us")), values, 100)
    assert plain.shown >= 390
    assert 200 <= drawn.shown <= 400  # strips are halved until too many would hold values
    assert drawn.y.min() == -99.0


def test_a_long_curve_says_how_much_it_shows() -> None:
    """And keeps the one point that matters."""
    times = pl.Series(np.arange(50_000)).cast(pl.Datetime("us"))
    values = np.zeros(50_000)
    values[31_234] = -1.0
    drawn = curve(times, values, 100)
    assert drawn.shown <= 400
    assert drawn.y.min() == -1.0
    assert f"{drawn.shown:,} of 50,000 points" in drawn.note
    assert not curve(times[:10], values[:10]).note


def test_long_bars_have_the_extremes_of_the_short_ones() -> None:
    """First open, highest high, lowest low, last close, at the time they were complete."""
    days = [dt.date(2024, 1, d) for d in range(1, 6)]
    bars = pl.DataFrame(
        {
            "timestamp": days,
            "open": [1.0, 2.0, 3.0, 4.0, 5.0],
            "high": [9.0, 2.5, 3.5, 4.5, 5.5],
            "low": [0.5, 1.5, 0.1, 3.5, 4.5],
            "close": [2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    assert candles(bars, 2).rows() == [
        (days[2], 1.0, 9.0, 0.1, 4.0),
        (days[4], 4.0, 5.5, 3.5, 6.0),
    ]
    assert candles(bars, 5) is bars


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_a_histogram_counts_every_value_once(values: list[float]) -> None:
    """Zero is an edge or outside, so that gains and losses never share a class."""
    edges, counts, is_cut = series.histogram(np.array(values))
    assert counts.sum() == len(values)
    assert len(edges) == len(counts) + 1
    inside = (edges[:-1] < 0) & (edges[1:] > 0)
    assert not inside.any()
    if not is_cut:
        assert edges[0] <= min(values)
        assert max(values) <= edges[-1]


def test_outliers_do_not_squash_a_histogram() -> None:
    """A value far away is counted in the last class, and the figure says so."""
    values = np.append(np.linspace(-1.0, 1.0, 1_000), 1e6)
    edges, counts, is_cut = series.histogram(values)
    assert is_cut
    assert edges[-1] < 2.0
    assert counts.sum() == 1_001


def test_times_are_those_of_the_data_own_clock() -> None:
    """A zone is not converted, a midnight is a date, and microseconds are kept."""
    moment = dt.datetime(2024, 3, 5, 9, 31)
    here = pl.Series([moment]).dt.replace_time_zone("America/New_York")
    assert time_labels(here) == ["2024-03-05 09:31:00"]
    assert time_labels(pl.Series([dt.datetime(2024, 3, 5)])) == ["2024-03-05"]
    late = pl.Series([moment.replace(microsecond=7)])
    assert time_labels(late) == ["2024-03-05 09:31:00.000007"]


# -- the notebook ------------------------------------------------------------------------------


def test_a_notebook_gets_a_sparkline_without_plotly(
    run: BacktestResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One small drawing with words, for long runs too."""
    monkeypatch.setitem(sys.modules, "plotly", None)
    html = run._repr_html_()
    assert html.count("<svg") == 1
    assert "role='img' aria-label='Equity from 100,000 to" in html
    times = pl.Series(np.arange(100_000) * 1_000_000).cast(pl.Datetime("us"))
    equity = pl.DataFrame({"timestamp": times, "equity": np.linspace(1.0, 2.0, 100_000)})
    from ml4t.backtest.results.card import sparkline

    assert len(sparkline(equity, 1.0)) < 15_000
    assert sparkline(equity[:1], 1.0) == ""
