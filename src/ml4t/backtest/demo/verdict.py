"""Was there an edge? An answer with its uncertainty, for the demo's result."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Mean daily return above the benchmark's, a year.

    Args:
        result: What is judged.
        benchmark: A run over the same sessions.

    Formula:
        mean(r - b) * P    r, b returns of the two by session, P sessions a year
    """
    scale = result.periods_per_year
    return _interval(_moments(result, benchmark), lambda m: (m[1] - m[3]) / m[0], scale)


def excess_sharpe(result: BacktestResult, benchmark: BacktestResult) -> Interval:
    """Sharpe ratio above the benchmark's, a year; arguments as for `excess_return`."""
    scale = result.periods_per_year**0.5
    return _interval(_moments(result, benchmark), _sharpe_difference, scale)


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
    return _interval(sums, _correlation)


def text(result: BacktestResult, benchmark: BacktestResult, predictions: pl.DataFrame) -> str:
    """The verdict as the demo prints it."""
    money, risk = excess_return(result, benchmark), excess_sharpe(result, benchmark)
    known = skill(predictions)
    rows = {
        "the strategy": _figures(result),
        "holding all": _figures(benchmark),
        "mean difference": f"{_shown(money, '+.1%')} a year, not compounded",
        "Sharpe difference": _shown(risk, "+.2f"),
        "prediction skill": f"correlation {_shown(known, '+.3f')}",
    }
    said = f"{_on_returns(money, risk)} {_on_predictions(known)} {_CAUTION}"
    lines = [f"  {label:<18}{value}" for label, value in rows.items()]
    return "\n".join(
        ["Was there an edge?", *lines, "", *textwrap.wrap(said, _WIDTH, break_on_hyphens=False)]
    )


_CAUTION = (
    "Holding means equal amounts bought on the first day, at the same costs. These companies are "
    "in the file because they did well, which flatters whoever holds them. The intervals are 95 "
    f"percent block-bootstrap intervals ({BLOCK} sessions a block); they do not know how many "
    "other strategies were tried before this one."
)


def _on_returns(money: Interval, risk: Interval) -> str:
    if money.low > 0.0:
        return (
            "Perhaps. After costs the strategy earned more than holding, by more than chance "
            "usually gives in a sample of this length."
        )
    if money.high < 0.0:
        return (
            "No. After costs the strategy earned less than holding, by more than chance usually "
            "takes in a sample of this length."
        )
    side = "more" if money.estimate > 0.0 else "less"
    first = f"Not one that can be told from luck. The strategy earned {side} than holding, and "
    if risk.low > 0.0:
        return first + "that may be chance; for the risk it took it did earn more."
    if risk.high < 0.0:
        return first + "that may be chance; for the risk it took it did earn less."
    return first + "neither that nor the difference in Sharpe ratio is clearly different from zero."


def _on_predictions(known: Interval) -> str:
    if known.low > 0.0:
        return "The predictions did say something about what followed."
    if known.high < 0.0:
        return "The predictions pointed the wrong way."
    return "The predictions did not measurably say anything about what followed."


def _figures(result: BacktestResult) -> str:
    return (
        f"{result.cagr:+.1%} a year, Sharpe {result.sharpe:.2f}, "
        f"max drawdown {result.max_drawdown:.1%}, costs {result.costs:,.0f}"
    )


def _shown(interval: Interval, form: str) -> str:
    estimate, low, high = (format(value, form) for value in interval)
    return f"{estimate} (95% interval {low} to {high})"


def _moments(result: BacktestResult, benchmark: BacktestResult) -> np.ndarray:
    """By session: 1, r, r², b, b²."""
    r, b = (run.returns["return"].to_numpy() for run in (result, benchmark))
    return np.column_stack([np.ones(len(r)), r, r * r, b, b * b])


def _sharpe_difference(moments: np.ndarray) -> np.ndarray:
    n, r, rr, b, bb = moments
    mean_r, mean_b = r / n, b / n
    found: np.ndarray = mean_r / np.sqrt(rr / n - mean_r**2) - mean_b / np.sqrt(bb / n - mean_b**2)
    return found


def _correlation(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = sums
    found: np.ndarray = (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))
    return found


def _interval(
    rows: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], scale: float = 1.0
) -> Interval:
    """A figure of column sums, and its spread over samples of blocks of rows.

    Blocks keep neighbouring sessions together; the end of the rows is joined to their start.
    """
    n = len(rows)
    around = np.concatenate([np.zeros((1, rows.shape[1])), rows, rows[: BLOCK - 1]]).cumsum(axis=0)
    blocks = around[BLOCK:] - around[:-BLOCK]
    starts = np.random.default_rng(7).integers(0, n, size=(DRAWS, -(-n // BLOCK)))
    draws = figure(blocks[starts].sum(axis=1).T) * scale
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail]).tolist()
    return Interval(float(figure(rows.sum(axis=0))) * scale, low, high)
