"""What a result offers, and that nothing is computed before it is asked for."""

from __future__ import annotations

import datetime as dt
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results.result import BacktestResult
from tests.results.conftest import record_of, sessions_from

if TYPE_CHECKING:
    from ml4t.backtest.results.record import RunRecord
    from tests.results.conftest import Simulate

COLUMNS = {
    "equity": "timestamp equity cash gross_exposure net_exposure drawdown",
    "fills": "fill_id order_id timestamp asset_id side quantity price commission slippage reason",
    "orders": "order_id created_at asset_id side type quantity limit_price stop_price "
    "time_in_force status filled_quantity average_fill_price reason tag "
    "signal_ml_pred signal_regime",
    "trades": "trade_id asset_id side quantity entry_time exit_time entry_price exit_price pnl "
    "gross_pnl return_pct commission slippage financing bars_held mfe mae entry_reason "
    "exit_reason status signal_ml_pred signal_regime",
    "positions": "timestamp asset_id quantity entry_price",
    "holdings": "asset_id quantity entry_price price timestamp value unrealized_pnl",
    "decisions": "timestamp VIX trend",
    "records": "timestamp name value",
    "logs": "timestamp message",
    "signal_coverage": "signal bars bars_with_value share expired",
    "stale": "timestamp asset_id share_of_equity",
    "returns": "session equity return",
}
FIGURES = [
    "sharpe",
    "total_return",
    "max_drawdown",
    "cagr",
    "volatility",
    "sortino",
    "calmar",
    "turnover",
    "costs",
    "commission",
    "slippage",
    "final_equity",
    "initial_cash",
    "periods_per_year",
]
NEW_YORK = "America/New_York"
WHEN = {
    "date": pl.Date(),
    "naive": pl.Datetime("us"),
    "utc": pl.Datetime("us", "UTC"),
    "zoned ns": pl.Datetime("ns", NEW_YORK),
}


def stamps(kind: str, n: int = 60) -> list[Any]:
    """Session labels in the four forms in which data has them."""
    days = sessions_from(dt.date(2020, 1, 1), n)
    if kind == "date":
        return list(days)
    zone = {"naive": None, "utc": "UTC"}.get(kind, NEW_YORK)
    midnights = pl.Series(days).cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    return midnights.to_list()


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(result: BacktestResult, name: str) -> None:
    """Each frame has its columns, in order."""
    assert getattr(result, name).columns == COLUMNS[name].split()


@pytest.mark.parametrize("kind", WHEN)
def test_times_keep_the_type_of_the_input(simulate: Simulate, kind: str) -> None:
    """Dates stay dates, zones stay zones, in every frame, derived ones included."""
    result = BacktestResult(simulate(stamps=stamps(kind), times=WHEN[kind]))
    result.summary()
    for name in COLUMNS:
        schema = getattr(result, name).schema
        found = [t for c, t in schema.items() if c in ("timestamp", "created_at", "entry_time")]
        assert all(t == WHEN[kind] for t in found), name


def test_nothing_is_computed_before_it_is_asked_for(result: BacktestResult) -> None:
    """A look at equity costs equity; a Sharpe ratio derives no trades; twice is once."""
    given = {name for name in vars(result) if name.startswith("_")} | {"record"}
    assert set(vars(result)) == given
    assert result.equity is result.equity
    assert set(vars(result)) == given | {"equity"}
    assert math.isfinite(result.sharpe)
    assert "trades" not in vars(result)
    assert result.trades is result.trades


@pytest.mark.parametrize("name", FIGURES)
def test_attributes_are_the_metrics(result: BacktestResult, name: str) -> None:
    """The figure by attribute is the figure in the mapping."""
    assert getattr(result, name) == result.metrics[name]


def test_metrics_are_plain_floats(result: BacktestResult) -> None:
    """Every figure is a float, so that the mapping serialises and compares."""
    assert {type(value) for value in result.metrics.values()} == {float}


def test_figures_follow_from_the_frames(record: RunRecord, result: BacktestResult) -> None:
    """The main figures, redone from the raw columns."""
    equity = record.equity["equity"].to_numpy()
    returns = np.diff(np.concatenate(([100_000.0], equity))) / np.concatenate(
        ([100_000.0], equity[:-1])
    )
    peak = np.maximum.accumulate(np.concatenate(([100_000.0], equity)))[1:]
    traded = float((record.fills["quantity"] * record.fills["price"]).sum())
    expected = {
        "final_equity": equity[-1],
        "total_return": equity[-1] / 100_000.0 - 1.0,
        "sharpe": returns.mean() / returns.std(ddof=1) * 252.0**0.5,
        "max_drawdown": (equity / peak - 1.0).min(),
        "commission": 0.001 * traded,
        "turnover": traded / 2.0 / equity.mean() / (len(equity) / 252.0),
        "exposure": (record.equity["gross_exposure"].to_numpy() / equity).mean(),
    }
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(float(value), rel=1e-9), name
    assert result.costs == result.commission + result.slippage
    assert result.max_drawdown < 0.0


def test_another_number_of_periods(result: BacktestResult) -> None:
    """Yearly figures scale, the others stay; nonsense is refused."""
    other = result.metrics_with(periods_per_year=365)
    assert other["sharpe"] == pytest.approx(result.sharpe * (365.0 / 252.0) ** 0.5)
    assert other["turnover"] == pytest.approx(result.turnover * 365.0 / 252.0)
    assert other["total_return"] == result.total_return
    assert other["periods_per_year"] == 365.0
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="periods_per_year must be positive"):
            result.metrics_with(periods_per_year=wrong)


def test_the_calendar_says_how_long_a_year_is(simulate: Simulate) -> None:
    """Where the run had a calendar its number is used, and the origin is told."""
    result = BacktestResult(simulate(periods_per_year=244.0, settings={"calendar": "XTSE"}))
    assert (result.periods_per_year, result.periods_origin) == (244.0, "calendar XTSE")
    assert "244 (calendar XTSE)" in result.summary()


@pytest.mark.parametrize("gap", [1, 7])
def test_a_number_given_to_the_run_has_the_last_word(simulate: Simulate, gap: int) -> None:
    """Neither a calendar nor the spacing of the bars overrules what the user said."""
    days = [dt.datetime(2020, 1, 6) + dt.timedelta(days=gap * i) for i in range(30)]
    settings = {"calendar": "XNYS", "periods_per_year": 250}
    result = BacktestResult(simulate(stamps=days, periods_per_year=250.0, settings=settings))
    assert (result.periods_per_year, result.periods_origin) == (250.0, "given")
    without = BacktestResult(simulate(stamps=days, periods_per_year=250.0))
    assert (without.periods_per_year, without.periods_origin) == (250.0, "given")


def test_returns_are_by_session_and_drawdown_by_bar() -> None:
    """Two bars a session: the dip in between is a drawdown and not a return."""
    rows = []
    for day, values in enumerate([(90.0, 110.0), (121.0, 99.0)], start=2):
        for hour, equity in zip((10, 16), values, strict=True):
            rows.append(
                {
                    "timestamp": dt.datetime(2020, 3, day, hour),
                    "session": dt.date(2020, 3, day),
                    "equity": equity,
                    "cash": equity,
                    "gross_exposure": 0.0,
                    "net_exposure": 0.0,
                }
            )
    result = BacktestResult(record_of({"equity": rows}, initial_cash=100.0))
    assert result.returns["return"].to_list() == pytest.approx([0.1, -0.1])
    assert result.equity["drawdown"].to_list() == pytest.approx([-0.1, 0.0, 0.0, 99 / 121 - 1])
    assert result.max_drawdown == pytest.approx(99.0 / 121.0 - 1.0)
    assert result.metrics["sessions"] == 2.0


def test_holdings_are_what_is_left(record: RunRecord, result: BacktestResult) -> None:
    """Positions at the end, valued: cash and holdings are the equity, their P&L that of trades."""
    holdings = result.holdings
    cash = result.equity["cash"][-1]
    assert cash + holdings["value"].sum() == pytest.approx(result.final_equity, rel=1e-12)
    last = result.positions.group_by("asset_id").agg(pl.col("quantity").last())
    assert holdings["quantity"].to_list() == (
        last.filter(pl.col("quantity") != 0).sort("asset_id")["quantity"].to_list()
    )
    assert len(holdings) == len(record.marks)


@pytest.mark.parametrize("n", [0, 1])
def test_a_run_of_one_bar_or_none(simulate: Simulate, n: int) -> None:
    """No fills, hardly any sessions: every frame, figure and page is still there."""
    result = BacktestResult(simulate(stamps=stamps("naive", n) or None, n_sessions=n))
    for name in COLUMNS:
        assert isinstance(getattr(result, name), pl.DataFrame)
    assert result.metrics["final_equity"] == 100_000.0
    assert result.total_return == 0.0
    assert result.max_drawdown == 0.0
    assert math.isnan(result.sharpe)
    assert "n/a" in result.summary()
    assert len(result.fingerprint) == 64


def test_ruin_is_told_without_warnings(record: RunRecord) -> None:
    """Equity below zero: drawdown beyond one, no ratios, a page that prints."""
    equity = record.equity.with_columns(equity=pl.col("equity") - 150_000.0)
    result = BacktestResult(record.replace(equity=equity))
    assert result.max_drawdown < -1.0
    assert math.isnan(result.sharpe)
    assert math.isnan(result.metrics["turnover"])
    assert "n/a" in result.summary()


def test_by_signal_numbers(result: BacktestResult) -> None:
    """Buckets of about equal size, in order, together all trades and all P&L."""
    frame = result.by_signal("ml_pred", buckets=4)
    assert frame["bucket"].to_list() == [1, 2, 3, 4, None]
    assert frame["trades"].sum() == len(result.trades)
    assert frame["pnl"].sum() == pytest.approx(result.trades["pnl"].sum())
    valued = frame.head(4)
    assert valued["trades"].max() - valued["trades"].min() <= 1  # type: ignore[operator]
    assert (valued["high"][:-1] <= valued["low"][1:]).all()
    first = result.trades.sort("signal_ml_pred", nulls_last=True).head(frame["trades"][0])
    assert frame["hit_rate"][0] == pytest.approx((first["pnl"] > 0).mean())


def test_by_signal_keeps_equal_values_together(record: RunRecord) -> None:
    """A signal with two values fills two buckets, whatever number was asked for."""
    orders = record.orders.with_columns(signal_ml_pred=(pl.col("order_id") % 2).cast(pl.Float64))
    frame = BacktestResult(record.replace(orders=orders)).by_signal("ml_pred")
    assert frame["low"].to_list() == frame["high"].to_list() == [0.0, 1.0]


def test_by_signal_words(result: BacktestResult) -> None:
    """Words have a bucket each."""
    frame = result.by_signal("regime")
    assert frame["value"].to_list() == ["calm", "wild"]
    assert frame["trades"].sum() == len(result.trades)


def test_by_signal_refuses(result: BacktestResult) -> None:
    """An unknown signal comes back with the nearest one, no bucket at all is no choice."""
    with pytest.raises(DataError, match=r"no signal 'ml_prd'.*Did you mean 'ml_pred'\?"):
        result.by_signal("ml_prd")
    with pytest.raises(ConfigError, match="buckets must be at least 1, not 0"):
        result.by_signal("ml_pred", buckets=0)


def test_a_result_travels_between_processes(result: BacktestResult) -> None:
    """A pickled result is the same result."""
    copy = pickle.loads(pickle.dumps(result))  # noqa: S301  our own bytes
    assert (copy.sharpe, copy.fingerprint) == (result.sharpe, result.fingerprint)
