"""What figures draw: small frames, derived from those of a result."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

# A spread below this is rounding: the returns do not vary.
_NO_SPREAD = 1e-12


def months(returns: pl.DataFrame) -> pl.DataFrame:
    """Return of every month, compounded: year, month, return.

    Args:
        returns: session, return.
    """
    return (
        returns.group_by(
            pl.col("session").dt.year().alias("year"),
            pl.col("session").dt.month().alias("month"),
            maintain_order=True,
        )
        .agg(((1.0 + pl.col("return")).product() - 1.0).alias("return"))
        .sort("year", "month")
    )


def years(returns: pl.DataFrame) -> pl.DataFrame:
    """Return of every year, compounded: year, return."""
    return (
        returns.group_by(pl.col("session").dt.year().alias("year"), maintain_order=True)
        .agg(((1.0 + pl.col("return")).product() - 1.0).alias("return"))
        .sort("year")
    )


def rolling(returns: pl.DataFrame, window: int, periods_per_year: float) -> pl.DataFrame:
    """Sharpe ratio and volatility of the last `window` sessions, a year: session, both.

    Formula:
        volatility = std(r, n − 1) * sqrt(P), sharpe = mean(r) / std(r, n − 1) * sqrt(P)
    """
    r, root = pl.col("return"), math.sqrt(periods_per_year)
    spread = r.rolling_std(window)
    return returns.select(
        "session",
        pl.when(spread > _NO_SPREAD).then(r.rolling_mean(window) / spread * root).alias("sharpe"),
        (spread * root).alias("volatility"),
    ).drop_nulls("volatility")


def exposures(equity: pl.DataFrame) -> pl.DataFrame:
    """Gross and net exposure over equity: timestamp, gross, net; null where equity is not positive.

    Gross exposure over equity is the leverage.
    """
    base = pl.when(pl.col("equity") > 0.0).then(pl.col("equity"))
    return equity.select(
        "timestamp",
        (pl.col("gross_exposure") / base).alias("gross"),
        (pl.col("net_exposure") / base).alias("net"),
    )


def monthly_turnover(fills: pl.DataFrame, equity: pl.DataFrame) -> pl.DataFrame:
    """One-way turnover of each month: month (its first day), turnover.

    Args:
        fills: timestamp, notional.
        equity: timestamp, equity.

    Formula:
        Σ|notional| / 2 / mean(equity of the month)
    """
    month = pl.col("timestamp").cast(pl.Date).dt.truncate("1mo").alias("month")
    traded = fills.group_by(month).agg(pl.col("notional").abs().sum())
    held = equity.group_by(month).agg(pl.col("equity").mean())
    return (
        held.join(traded, on="month", how="left")
        .sort("month")
        .select(
            "month",
            pl.when(pl.col("equity") > 0.0)
            .then(pl.col("notional").fill_null(0.0) / 2.0 / pl.col("equity"))
            .alias("turnover"),
        )
    )


def running_costs(fills: pl.DataFrame, cashflows: pl.DataFrame) -> pl.DataFrame:
    """Money paid since the start: timestamp, commission, slippage, financing; paid is positive."""
    paid = pl.concat(
        [
            fills.select("timestamp", "commission", "slippage", financing=pl.lit(0.0)),
            cashflows.select(
                "timestamp",
                commission=pl.lit(0.0),
                slippage=pl.lit(0.0),
                financing=-pl.col("amount"),
            ),
        ]
    )
    return (
        paid.group_by("timestamp")
        .agg(pl.col("commission", "slippage", "financing").sum())
        .sort("timestamp")
        .with_columns(pl.col("commission", "slippage", "financing").cum_sum())
    )


def histogram(values: np.ndarray, most: int = 48) -> tuple[np.ndarray, np.ndarray, bool]:
    """Counts of values in classes of equal width; zero is never inside of one.

    The outermost half percent on either side is counted in the outermost classes when it would
    make all others narrow.

    Args:
        values: Finite numbers.
        most: How many classes, about.

    Returns:
        Edges, counts, and whether the outermost classes hold values beyond their edges.
    """
    if not len(values):
        return np.zeros(1), np.zeros(0, dtype=np.int64), False
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    least, greatest = float(values.min()), float(values.max())
    is_cut = greatest - least > 2.0 * (high - low) > 0.0
    if not is_cut:
        low, high = least, greatest
    classes = int(min(most, max(8.0, math.sqrt(len(values)) * 1.5)))
    width = (high - low) / classes or max(1.0, abs(low))
    first, last = math.floor(low / width), max(math.floor(low / width), math.floor(high / width))
    edges = np.arange(first, last + 2) * width
    places = np.clip(np.floor(values / width).astype(np.int64), first, last) - first
    return edges, np.bincount(places, minlength=len(edges) - 1), is_cut
