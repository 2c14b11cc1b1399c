"""How much luck is in a figure."""

from __future__ import annotations

import datetime as dt
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results import intervals, metrics
from ml4t.backtest.results.result import BacktestResult

if TYPE_CHECKING:
    from tests.results.conftest import Simulate


def of(returns: np.ndarray, per_year: float = 252.0, **options: Any) -> dict[str, dict[str, float]]:
    """The intervals by metric, of a run without trades."""
    found = intervals.of_run(returns, np.zeros((len(returns), 4)), per_year, **options)
    return {row["metric"]: row for row in found.to_dicts()}


def one_by_one(returns: np.ndarray, per_year: float) -> dict[str, float]:
    """The figures of one history, by the formulas of single runs."""
    equity = np.cumprod(1.0 + returns)
    deepest = min(
        value / max([1.0, *equity[: i + 1]]) - 1.0 for i, value in enumerate(equity.tolist())
    )
    growth = metrics.cagr(returns, per_year)
    return {
        "total_return": float(equity[-1]) - 1.0,
        "cagr": growth,
        "volatility": metrics.volatility(returns, per_year),
        "sharpe": metrics.sharpe(returns, per_year),
        "sortino": metrics.sortino(returns, per_year),
        "max_drawdown": min(deepest, 0.0),
        "calmar": metrics.calmar(growth, deepest),
    }


# -- of a run ------------------------------------------------------------------------------------


def test_values_are_those_of_the_run(result: BacktestResult) -> None:
    """With one bar a session; each row says of how many observations it is made."""
    found = result.intervals(samples=100)
    assert found.columns == ["metric", "value", "low", "high", "observations", "block"]
    for row in found.to_dicts():
        assert row["value"] == pytest.approx(result.metrics[row["metric"]], rel=1e-9)
        assert row["low"] <= row["high"]
        of_trades = row["metric"] in ("hit_rate", "expectancy", "average_return")
        expected = result.metrics["trades" if of_trades else "sessions"]
        assert row["observations"] == expected
    assert found["metric"].to_list() == [
        *("total_return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "calmar"),
        *("hit_rate", "expectancy", "average_return"),
    ]


def test_bounds_are_quantiles_of_figures_of_drawn_histories(result: BacktestResult) -> None:
    """Each history computed alone, returns by single formulas and trades by their sessions."""
    found = result.intervals(0.8, samples=300, seed=4, block=5.0)
    returns, n = result.returns["return"].to_numpy(), len(result.returns)
    sessions = {day: i for i, day in enumerate(result.returns["session"].to_list())}
    closed = result.trades.filter(pl.col("status") == "closed").to_dicts()
    rows = np.concatenate(list(intervals.draws(n, 300, 5.0, np.random.default_rng(4))))
    drawn: list[dict[str, float]] = []
    for history in rows.tolist():
        times = [history.count(sessions[trade["exit_time"].date()]) for trade in closed]
        count = sum(times)
        hits = sum(t for t, trade in zip(times, closed, strict=True) if trade["pnl"] > 0.0)
        totals = {
            name: sum(t * trade[column] for t, trade in zip(times, closed, strict=True))
            for name, column in (("expectancy", "pnl"), ("average_return", "return_pct"))
        }
        drawn.append(
            {
                **one_by_one(returns[history], result.periods_per_year),
                "hit_rate": hits / count,
                **{name: total / count for name, total in totals.items()},
            }
        )
    for row in found.to_dicts():
        values = np.array([figures[row["metric"]] for figures in drawn])
        values = values[~np.isnan(values)]
        expected = np.quantile(values, [0.1, 0.9])
        assert [row["low"], row["high"]] == pytest.approx(expected.tolist()), row["metric"]
        assert row["block"] == 5.0


def test_equal_seeds_give_equal_intervals(result: BacktestResult) -> None:
    """And other seeds other ones, close by."""
    first, again = result.intervals(), result.intervals(seed=0)
    assert first.equals(again)
    other = result.intervals(seed=1)
    assert not first.equals(other)
    width = first["high"] - first["low"]
    assert ((first["low"] - other["low"]).abs() < 0.25 * width).all()


def test_drawing_in_parts_draws_the_same_kind_of_histories() -> None:
    """A long run is drawn some histories at a time; the law of luck does not change."""
    returns = np.random.default_rng(3).normal(0.0, 0.01, 300_000)
    parts = list(intervals.draws(len(returns), 15, 50.0, np.random.default_rng(0)))
    assert [len(part) for part in parts] == [6, 6, 3]
    assert all(part.shape[1] == len(returns) for part in parts)


def test_sessions_with_many_bars_are_judged_by_their_closes(simulate: Simulate) -> None:
    """A drawdown inside a session is in the metrics, and not in the figure with an interval."""
    stamps = [
        dt.datetime(2024, 1, 1) + dt.timedelta(days=day, hours=hour)
        for day in range(40)
        for hour in (10, 12, 14, 16)
    ]
    result = BacktestResult(simulate(stamps=stamps))
    found = {row["metric"]: row for row in result.intervals().to_dicts()}
    closes = result.returns["equity"].to_numpy()
    by_session = metrics.drawdowns(closes, result.initial_cash).min()
    assert result.max_drawdown < by_session
    assert found["max_drawdown"]["value"] == pytest.approx(by_session)
    assert found["sharpe"]["value"] == pytest.approx(result.sharpe)
    assert found["hit_rate"]["value"] == pytest.approx(result.metrics["hit_rate"])


# -- what statistics say -------------------------------------------------------------------------


def test_the_interval_of_a_sharpe_ratio_is_as_wide_as_theory_says() -> None:
    """For independent normal returns its error is about 1 / sqrt(years)."""
    widths = []
    for seed in range(6):
        returns = np.random.default_rng(seed).normal(0.0003, 0.01, 2_520)
        row = of(returns, samples=800)["sharpe"]
        widths.append(row["high"] - row["low"])
    assert fmean(widths) == pytest.approx(2 * 1.96 / math.sqrt(10.0), rel=0.1)


def test_intervals_cover_the_truth() -> None:
    """In about 95 of 100 histories whose law is known, for a mean and for a volatility."""
    covered = {"sharpe": 0, "volatility": 0}
    truth = {"sharpe": 0.05 * math.sqrt(252.0), "volatility": 0.01 * math.sqrt(252.0)}
    for seed in range(100):
        found = of(np.random.default_rng(seed).normal(0.0005, 0.01, 500), samples=300)
        for name, value in truth.items():
            covered[name] += found[name]["low"] < value < found[name]["high"]
    assert all(0.88 < count / 100 < 0.99 for count in covered.values()), covered


def test_returns_that_depend_on_each_other_are_less_certain() -> None:
    """With trends a mean is known less well, and blocks see that."""
    rng = np.random.default_rng(2)
    shocks = rng.normal(0.0, 0.01, 2_000)
    trends = np.convolve(shocks, np.ones(10) / math.sqrt(10.0))[:2_000]
    single, blocks = (of(trends, block=block)["sharpe"] for block in (1.0, None))
    assert blocks["block"] > 10.0
    assert blocks["high"] - blocks["low"] > 2.0 * (single["high"] - single["low"])


# -- blocks --------------------------------------------------------------------------------------


def test_histories_are_made_of_neighbouring_rows() -> None:
    """Of mean length `block`, from any row; the first follows the last."""
    rows = np.concatenate(list(intervals.draws(50, 2_000, 4.0, np.random.default_rng(1))))
    assert rows.shape == (2_000, 50)
    follows = (rows[:, 1:] - rows[:, :-1]) % 50 == 1
    # A new block begins with chance 1/4, and by luck at the next row in one of 50 cases.
    assert follows.mean() == pytest.approx(1.0 - 0.25 * (1.0 - 1.0 / 50), abs=0.01)
    counts = np.bincount(rows.ravel(), minlength=50)
    assert counts.min() > 0.9 * counts.mean()
    whole = np.concatenate(list(intervals.draws(50, 20, 1e12, np.random.default_rng(1))))
    assert ((whole - whole[:, :1]) % 50 == np.arange(50)).all()


@pytest.mark.parametrize("persistence", [0.3, 0.6])
def test_block_length_is_near_the_best_one(persistence: float) -> None:
    """Of an autoregression, whose best block length is known in closed form."""
    n, found = 20_000, []
    for seed in range(12):
        shocks = np.random.default_rng(seed).normal(size=n + 200)
        values = np.zeros(n + 200)
        for t in range(1, n + 200):
            values[t] = persistence * values[t - 1] + shocks[t]
        found.append(intervals.block_length(values[200:]))
    best = ((2.0 * persistence / (1.0 - persistence**2)) ** 2 * n) ** (1.0 / 3.0)
    assert fmean(found) == pytest.approx(best, rel=0.15)


def test_block_length_by_loops() -> None:
    """The rule written out for a short series."""
    values = np.convolve(np.random.default_rng(8).normal(size=153), [1.0, 0.8, 0.5, 0.3], "valid")
    n = len(values)
    mean = fmean(values)

    def autocovariance(k: int) -> float:
        return sum((values[t] - mean) * (values[t - k] - mean) for t in range(k, n)) / n

    bound = 2.0 * math.sqrt(math.log10(n) / n)
    last = next(
        m
        for m in range(n)
        if all(abs(autocovariance(m + k) / autocovariance(0)) < bound for k in range(1, 6))
    )
    width = 2 * max(last, 1)
    g = big = 0.0
    for k in range(-width, width + 1):
        weight = 1.0 if abs(k) / width <= 0.5 else 2.0 * (1.0 - abs(k) / width)
        g += weight * autocovariance(abs(k))
        big += weight * abs(k) * autocovariance(abs(k))
    expected = (2.0 * big**2 / (2.0 * g**2)) ** (1.0 / 3.0) * n ** (1.0 / 3.0)
    assert last > 0
    assert intervals.block_length(values) == pytest.approx(expected)


def test_block_length_has_bounds() -> None:
    """At least one session, at most a third of them; one where nothing varies."""
    for n, longest in ((60, 20.0), (100, 30.0), (400, 60.0)):  # n / 3, then 3 * sqrt(n)
        assert intervals.block_length(np.sin(np.arange(n) / 3.0)) == longest
    assert intervals.block_length(np.ones(100)) == 1.0
    assert intervals.block_length(np.arange(19.0)) == 1.0
    assert intervals.block_length(np.random.default_rng(0).normal(size=500)) < 5.0


def test_calm_and_wild_times_stay_together() -> None:
    """Returns that do not follow from each other, but whose size does, have long blocks."""
    rng = np.random.default_rng(5)
    size = np.repeat(np.where(np.arange(40) % 2 == 0, 0.005, 0.03), 50)
    returns = rng.normal(size=2_000) * size
    assert intervals.block_length(returns) < 10.0
    assert intervals.block_of_returns(returns) > 20.0
    assert of(returns)["sharpe"]["block"] == intervals.block_of_returns(returns)


# -- too little, and what is refused -------------------------------------------------------------


def test_short_runs_have_no_intervals(simulate: Simulate) -> None:
    """Below 20 sessions; below 20 closed trades their figures have none."""
    rng = np.random.default_rng(1)
    short = of(rng.normal(0.001, 0.01, 19))
    assert all(math.isnan(row["low"]) and math.isnan(row["high"]) for row in short.values())
    assert math.isfinite(short["sharpe"]["value"])
    assert math.isnan(short["sharpe"]["block"])
    enough = of(rng.normal(0.001, 0.01, 20))
    assert math.isfinite(enough["sharpe"]["low"])
    assert math.isnan(enough["hit_rate"]["value"])
    assert math.isnan(enough["hit_rate"]["low"])
    few = BacktestResult(simulate(n_assets=4, n_sessions=45))
    rows = {row["metric"]: row for row in few.intervals().to_dicts()}
    assert 0 < rows["expectancy"]["observations"] < 20
    assert math.isfinite(rows["expectancy"]["value"])
    assert math.isnan(rows["expectancy"]["low"])
    assert math.isfinite(rows["volatility"]["low"])
    assert all(math.isnan(row["value"]) for row in of(np.zeros(0)).values())
    assert math.isnan(of(np.array([0.01]))["volatility"]["value"])


def test_a_run_without_risk_or_without_money() -> None:
    """What is not defined is NaN and no warning."""
    idle = of(np.zeros(100))
    assert (idle["total_return"]["low"], idle["max_drawdown"]["high"]) == (0.0, 0.0)
    for name in ("sharpe", "sortino", "calmar"):
        assert all(math.isnan(idle[name][column]) for column in ("value", "low", "high"))
    ruined = of(np.array([*[0.01] * 40, -1.5, math.nan]))
    assert all(math.isnan(row["value"]) for row in ruined.values())
    assert ruined["sharpe"]["observations"] == 0
    lost = of(np.array([*[0.01] * 40, -1.0]))
    assert lost["cagr"]["value"] == -1.0
    assert lost["max_drawdown"]["low"] == -1.0


def test_what_cannot_be_meant_is_refused(result: BacktestResult) -> None:
    """Options out of their range."""
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ConfigError, match="level must be between 0 and 1"):
            result.intervals(level)
    with pytest.raises(ConfigError, match="samples must be at least 100, not 99"):
        result.intervals(samples=99)
    for block in (0.5, math.inf, math.nan):
        with pytest.raises(ConfigError, match="block is a mean number of sessions"):
            result.intervals(block=block)


# -- means of values that depend on each other ---------------------------------------------------


def test_the_error_of_a_mean_grows_with_overlap() -> None:
    """Sums of neighbours: the true error is known, and reached but for a tenth."""
    horizon, n = 10, 4_000
    found, textbook = [], []
    for seed in range(10):
        steps = np.random.default_rng(seed).normal(size=n + horizon - 1)
        sums = np.convolve(steps, np.ones(horizon), "valid")
        spread = intervals.of_mean(sums - sums.mean(), horizon, count=n, seen=n)
        assert spread is not None
        found.append(spread[0])
        textbook.append(sums.std() / math.sqrt(n))
    truth = horizon / math.sqrt(n)
    assert fmean(textbook) < 0.4 * truth
    assert 0.85 * truth < fmean(found) < 1.02 * truth


def test_the_reach_covers_95_of_100_means() -> None:
    """Also where the lag is long for the sample; simulated."""
    rng, n, lag = np.random.default_rng(0), 200, 39
    values = rng.normal(size=(2_000, n))
    inside = 0
    for row in values:
        deviations = row - row.mean()
        error = math.sqrt(intervals.long_run_sum(deviations, lag)) / n
        inside += abs(row.mean()) < intervals.long_run_reach(n, lag) * error
    assert inside / 2_000 == pytest.approx(0.95, abs=0.015)
    assert intervals.long_run_reach(10**9, 0) == pytest.approx(1.96, abs=1e-6)


def test_a_mean_of_few_has_no_error() -> None:
    """Below 20 timestamps, or five horizons."""
    ones = np.ones(40)
    assert intervals.of_mean(ones, 1, count=19, seen=19) is None
    assert intervals.of_mean(ones, 1, count=20, seen=20) is not None
    assert intervals.of_mean(ones, 8, count=39, seen=39) is None
    assert intervals.of_mean(ones, 8, count=40, seen=40) is not None
