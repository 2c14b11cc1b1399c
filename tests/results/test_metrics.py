"""Figures against another library, against hand-made answers, and at the edges."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ml4t.backtest.results import metrics
from tests.results.conftest import sessions_from

if TYPE_CHECKING:
    from pathlib import Path

with warnings.catch_warnings():  # empyrical's own, at import
    warnings.simplefilter("ignore")
    import empyrical

P = 252.0


def _series() -> dict[str, np.ndarray]:
    made = {}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        made[f"normal {seed}"] = rng.normal(0.0005, 0.01, 300 + 37 * seed)
        made[f"fat {seed}"] = 0.004 * rng.standard_t(3, 500).clip(-20.0, 20.0)
    made["short"] = np.array([0.01, -0.02, 0.005])
    return made


SERIES = _series()


@pytest.fixture(params=SERIES)
def returns(request: pytest.FixtureRequest) -> np.ndarray:
    """One series of returns after the other."""
    return SERIES[request.param]


def _equity(returns: np.ndarray) -> np.ndarray:
    return 100.0 * np.cumprod(1.0 + returns)


def _compare(returns: np.ndarray, per_year: float) -> None:
    """Every figure whose definition empyrical shares."""
    deepest = metrics.max_drawdown(metrics.drawdowns(_equity(returns), 100.0))
    ours = metrics.return_figures(returns, deepest, per_year)
    year = {"annualization": per_year}
    with np.errstate(all="ignore"):
        theirs = {
            "cagr": empyrical.cagr(returns, **year),
            "volatility": empyrical.annual_volatility(returns, **year),
            "sharpe": empyrical.sharpe_ratio(returns, **year),
            "sortino": empyrical.sortino_ratio(returns, **year),
            "calmar": empyrical.calmar_ratio(returns, **year),
            "downside_deviation": empyrical.downside_risk(returns, **year),
            "tail_ratio": empyrical.tail_ratio(returns),
            "value_at_risk": empyrical.value_at_risk(returns),
            "conditional_value_at_risk": empyrical.conditional_value_at_risk(returns),
        }
    for name, expected in theirs.items():
        assert ours[name] == pytest.approx(float(expected), rel=1e-9, abs=1e-12), name
    assert deepest == pytest.approx(float(empyrical.max_drawdown(returns)), rel=1e-9, abs=1e-12)
    total = metrics.total_return(_equity(returns), 100.0)
    assert total == pytest.approx(float(empyrical.cum_returns_final(returns)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("per_year", [252.0, 365.0, 52.0])
def test_figures_agree_with_empyrical(returns: np.ndarray, per_year: float) -> None:
    """Random returns, normal and fat-tailed, for several frequencies."""
    _compare(returns, per_year)


def test_figures_agree_with_empyrical_on_real_prices(shared_data: Path) -> None:
    """Every asset of the recorded daily panel that has two years or more."""
    panel = pl.read_parquet(shared_data / "equity_daily_total_return_panel.parquet")
    long = panel.group_by("asset").len().filter(pl.col("len") > 504)["asset"].sort()
    for asset in long.head(40):
        close = panel.filter(pl.col("asset") == asset).sort("timestamp")["close"].to_numpy()
        _compare(metrics.returns_of(close[1:], float(close[0])), P)


def test_shape_agrees_with_pandas(returns: np.ndarray) -> None:
    """Skewness and kurtosis are the sample-corrected ones."""
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(returns)
    assert metrics.skewness(returns) == pytest.approx(series.skew(), rel=1e-9)
    if len(returns) > 3:
        assert metrics.kurtosis(returns) == pytest.approx(series.kurt(), rel=1e-9)


def test_returns_begin_with_the_money_at_the_start() -> None:
    """100 at the start, then 110, 99: plus and minus ten percent."""
    assert metrics.returns_of(np.array([110.0, 99.0]), 100.0) == pytest.approx([0.1, -0.1])


def test_returns_end_with_ruin() -> None:
    """Nothing can be earned on nothing: later returns are unknown, the loss itself is not."""
    got = metrics.returns_of(np.array([50.0, -10.0, 20.0, 40.0]), 100.0)
    assert got[:2] == pytest.approx([-0.5, -1.2])
    assert np.isnan(got[2:]).all()
    figures = metrics.return_figures(got, -1.1, P)
    assert all(math.isnan(value) for value in figures.values())


def test_total_loss_on_the_last_session() -> None:
    """All is lost: the growth rate is minus one, not a root of a negative number."""
    assert metrics.cagr(np.array([0.1, -1.0]), P) == -1.0
    assert metrics.cagr(np.array([0.1, -1.5]), P) == -1.0


@pytest.mark.parametrize("n", [0, 1])
def test_one_session_or_none(n: int) -> None:
    """What a spread needs is NaN; nothing warns."""
    figures = metrics.return_figures(np.full(n, 0.01), 0.0, P)
    for name in ("volatility", "sharpe", "sortino", "calmar", "skewness", "kurtosis"):
        assert math.isnan(figures[name]), name
    assert figures["best_session"] == pytest.approx(0.01, nan_ok=True) or n == 0


@pytest.mark.parametrize("level", [0.0, 0.01, -0.003])
def test_returns_that_do_not_vary(level: float) -> None:
    """A ratio over no risk is not a number, even when rounding makes a little."""
    equity = 100.0 * np.cumprod(np.full(400, 1.0 + level))
    figures = metrics.return_figures(metrics.returns_of(equity, 100.0), 0.0, P)
    assert figures["volatility"] == pytest.approx(0.0, abs=1e-13)
    for name in ("sharpe", "skewness", "kurtosis"):
        assert math.isnan(figures[name]), name
    assert math.isnan(figures["sortino"]) == (level >= 0.0)


def test_a_windfall_compounds_to_infinity_quietly() -> None:
    """One session that multiplies money by a million has no growth rate worth printing."""
    assert metrics.cagr(np.array([1e6]), P) == math.inf


def test_drawdown_counts_the_start_as_a_peak() -> None:
    """90, 120, 60, 120 from 100: a tenth down at once, later half."""
    equity = np.array([90.0, 120.0, 60.0, 120.0])
    got = metrics.drawdowns(equity, 100.0)
    assert got == pytest.approx([-0.1, 0.0, -0.5, 0.0])
    assert metrics.max_drawdown(got) == -0.5


@pytest.mark.parametrize(
    ("drawdown", "longest", "recovery"),
    [
        ([], 0, 0.0),
        ([0.0, 0.0], 0, 0.0),
        ([-0.1, -0.2, 0.0, -0.1], 2, 1.0),
        ([0.0, -0.1, -0.1, -0.3], 3, math.nan),
        ([-0.3, -0.1, -0.2, 0.0, -0.1, 0.0], 3, 3.0),
    ],
)
def test_drawdown_lengths(drawdown: list[float], longest: int, recovery: float) -> None:
    """Sessions below a peak, and from the deepest point back to it."""
    assert metrics.drawdown_length(np.array(drawdown)) == longest
    assert metrics.recovery_length(np.array(drawdown)) == pytest.approx(recovery, nan_ok=True)


def test_turnover_is_one_way_and_a_years() -> None:
    """Sold and bought 100 of 100 over half a year: the portfolio is replaced twice a year."""
    assert metrics.turnover(200.0, np.full(126, 100.0), P) == pytest.approx(2.0)
    assert math.isnan(metrics.turnover(200.0, np.array([-1.0]), P))
    assert math.isnan(metrics.turnover(0.0, np.array([]), P))


def test_exposure_leaves_ruin_out() -> None:
    """Gross over equity, averaged over the bars where that means something."""
    gross, equity = np.array([50.0, 0.0, 10.0]), np.array([100.0, 100.0, 0.0])
    assert metrics.exposure(gross, equity) == 0.25
    assert metrics.time_in_market(gross) == pytest.approx(2.0 / 3.0)
    assert math.isnan(metrics.exposure(gross[:0], equity[:0]))
    assert math.isnan(metrics.time_in_market(gross[:0]))


def _trades(pnl: list[float], status: list[str]) -> pl.DataFrame:
    schema = {
        "pnl": pl.Float64,
        "status": pl.String,
        "return_pct": pl.Float64,
        "bars_held": pl.Int64,
    }
    n = len(pnl)
    columns = {"pnl": pnl, "status": status, "return_pct": [0.1] * n, "bars_held": [4] * n}
    return pl.DataFrame(columns, schema=schema)


def test_trade_figures_by_hand() -> None:
    """Wins of 30 and 10, a loss of 20, one at zero, and an open one that does not count."""
    got = metrics.trade_figures(_trades([30, -20, 10, 0, 500], ["closed"] * 4 + ["open"]))
    assert got == {
        "trades": 4.0,
        "open_trades": 1.0,
        "hit_rate": 0.5,
        "profit_factor": 2.0,
        "expectancy": 5.0,
        "average_win": 20.0,
        "average_loss": -20.0,
        "best_trade": 30.0,
        "worst_trade": -20.0,
        "average_return": pytest.approx(0.1),
        "average_bars_held": 4.0,
    }


def test_trade_figures_without_losses_or_trades() -> None:
    """Gains without a loss are infinitely better; nothing at all is not a number."""
    assert metrics.trade_figures(_trades([1.0], ["closed"]))["profit_factor"] == math.inf
    nothing = metrics.trade_figures(_trades([], []))
    assert (nothing["trades"], nothing["open_trades"]) == (0.0, 0.0)
    assert all(math.isnan(v) for k, v in nothing.items() if k not in ("trades", "open_trades"))


def _days(days: list[dt.date]) -> np.ndarray:
    return np.array([(day - dt.date(1970, 1, 1)).days for day in days], dtype=np.int32)


def test_periods_of_daily_sessions() -> None:
    """The calendar's number, else 252, or 365 when anything happened on a weekend."""
    weekdays = _days(sessions_from(dt.date(2020, 1, 1), 300))
    every_day = _days(sessions_from(dt.date(2020, 1, 1), 300, every_day=True))
    assert metrics.periods_of(weekdays) == (252.0, "assumed: weekdays only")
    assert metrics.periods_of(every_day) == (365.0, "assumed: sessions on weekends")
    assert metrics.periods_of(weekdays, 244.0) == (244.0, "calendar")
    assert metrics.periods_of(weekdays[:0]) == (252.0, "assumed: weekdays only")


@pytest.mark.parametrize(
    ("gap", "per_year"), [(7, 52.0), (14, 26.0), (30, 12.0), (91, 4.0), (182, 2.0), (365, 1.0)]
)
def test_periods_of_slower_sessions(gap: int, per_year: float) -> None:
    """Bars slower than a day have their own frequency, whatever a calendar says."""
    days = np.arange(20, dtype=np.int32) * gap
    assert metrics.periods_of(days, 252.0) == (per_year, f"bars {gap} days apart")


def test_one_holiday_does_not_make_a_weekly_run() -> None:
    """Two sessions around a long weekend are still daily."""
    assert metrics.periods_of(_days([dt.date(2020, 4, 9), dt.date(2020, 4, 14)]))[0] == 252.0
