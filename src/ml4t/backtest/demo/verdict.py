"""Was there an edge? An answer with its uncertainty, for the demo's result."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import numpy as np
import polars as pl

from ml4t.backtest import BacktestResult

BLOCK = 21  # sessions drawn together: returns of neighbouring days resemble each other
DRAWS = 4_000
LEVEL = 0.95
_WIDTH = 88


class Interval(NamedTuple):
    """An estimate and the range that `LEVEL` of bootstrap samples fall into."""

    estimate: float
    low: float
    high: float


def excess_return(result: BacktestResult, benchmark: BacktestResult) -> Interval:
    """Mean daily return above the benchmark's, a year, with a block-bootstrap interval.

    Args:
        result: What is judged.
        benchmark: A run over the same sessions.

    Formula:
        mean(r - b) * P    r, b returns of the two by session, P sessions a year
    """
    excess = result.returns["return"].to_numpy() - benchmark.returns["return"].to_numpy()
    draws = _block_sums(np.column_stack([excess, np.ones(len(excess))]))
    return _interval(
        float(excess.mean()) * result.periods_per_year,
        draws[:, 0] / draws[:, 1] * result.periods_per_year,
    )


def skill(predictions: pl.DataFrame) -> Interval:
    """Correlation of predictions with what followed, with a block-bootstrap interval.

    Args:
        predictions: `timestamp`, `predicted_return`, `followed` (null while it lies ahead).
    """
    x, y = pl.col("predicted_return"), pl.col("followed")
    sums = (
        predictions.drop_nulls()
        .group_by("timestamp")
        .agg(
            pl.len().alias("n"),
            x.sum().alias("x"),
            y.sum().alias("y"),
            (x * x).sum().alias("xx"),
            (y * y).sum().alias("yy"),
            (x * y).sum().alias("xy"),
        )
        .sort("timestamp")
        .drop("timestamp")
        .cast(pl.Float64)
        .to_numpy()
    )
    return _interval(float(_correlation(sums.sum(axis=0))), _correlation(_block_sums(sums)))


def text(result: BacktestResult, benchmark: BacktestResult, predictions: pl.DataFrame) -> str:
    """The verdict as the demo prints it."""
    excess, correlation = excess_return(result, benchmark), skill(predictions)
    lines = [
        "Was there an edge?",
        f"  {'the strategy':<18}{_figures(result)}",
        f"  {'holding all three':<18}{_figures(benchmark)}",
        f"  {'difference':<18}{excess.estimate:+.1%} a year, "
        f"95% interval {excess.low:+.1%} to {excess.high:+.1%}",
        f"  {'the predictions':<18}correlation with what followed {correlation.estimate:+.3f}, "
        f"95% interval {correlation.low:+.3f} to {correlation.high:+.3f}",
        "",
        *textwrap.wrap(f"{_on_returns(excess)} {_on_predictions(correlation)} {_CAUTION}", _WIDTH),
    ]
    return "\n".join(lines)


_CAUTION = (
    "The benchmark buys equal amounts on the first day and pays the same costs. Mind that the "
    "three companies are in the file because they did well, which flatters holding them, and that "
    f"the intervals (bootstrap, blocks of {BLOCK} sessions) know nothing of what was tried before."
)


def _on_returns(excess: Interval) -> str:
    if excess.low > 0.0:
        return (
            "Perhaps: after costs the strategy earned more than holding, and chance alone seldom "
            "gives that much in a sample of this length."
        )
    if excess.high < 0.0:
        return (
            "No: after costs the strategy earned less than holding, and by more than chance "
            "alone explains."
        )
    return (
        "None that could be told from luck: the difference to simply holding may as well be zero."
    )


def _on_predictions(correlation: Interval) -> str:
    if correlation.low > 0.0:
        return "The predictions did carry some information about what followed."
    if correlation.high < 0.0:
        return "The predictions pointed the wrong way more often than not."
    return "The predictions did not measurably know what followed."


def _figures(result: BacktestResult) -> str:
    return (
        f"{result.cagr:+.1%} a year, Sharpe {result.sharpe:.2f}, "
        f"max drawdown {result.max_drawdown:.1%}, costs {result.costs:,.0f}"
    )


def _block_sums(rows: np.ndarray) -> np.ndarray:
    """Sums over bootstrap samples: blocks of consecutive rows, the end joined to the start."""
    n = len(rows)
    around = np.concatenate([np.zeros((1, rows.shape[1])), rows, rows[: BLOCK - 1]]).cumsum(axis=0)
    blocks = around[BLOCK:] - around[:-BLOCK]
    starts = np.random.default_rng(7).integers(0, n, size=(DRAWS, -(-n // BLOCK)))
    sums: np.ndarray = blocks[starts].sum(axis=1)
    return sums


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    covariance = n * xy - x * y
    found: np.ndarray = covariance / np.sqrt((n * xx - x * x) * (n * yy - y * y))
    return found


def _interval(estimate: float, draws: np.ndarray) -> Interval:
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail]).tolist()
    return Interval(estimate, low, high)
