"""Where the money came from: trades by the signal that opened them."""

from __future__ import annotations

import polars as pl

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean

_PREFIX = "signal_"


def by_signal(trades: pl.DataFrame, name: str, buckets: int) -> pl.DataFrame:
    """See `BacktestResult.by_signal`."""
    if buckets < 1:
        raise ConfigError(f"buckets must be at least 1, not {buckets}.")
    known = [c.removeprefix(_PREFIX) for c in trades.columns if c.startswith(_PREFIX)]
    if name not in known:
        raise DataError(f"There is no signal {name!r} on the trades. {did_you_mean(name, known)}")
    trades = trades.rename({f"{_PREFIX}{name}": "value"})
    if trades.schema["value"].is_numeric():
        return _by_rank(trades, buckets)
    return trades.group_by("value").agg(*_figures()).sort("value", nulls_last=True)


def _by_rank(trades: pl.DataFrame, buckets: int) -> pl.DataFrame:
    rank = pl.col("value").rank("min").cast(pl.Int64) - 1
    bucket = (rank * buckets // pl.col("value").count().cast(pl.Int64) + 1).alias("bucket")
    bounds = pl.col("value").min().alias("low"), pl.col("value").max().alias("high")
    return (
        trades.with_columns(bucket)
        .group_by("bucket")
        .agg(*bounds, *_figures())
        .sort("bucket", nulls_last=True)
    )


def _figures() -> tuple[pl.Expr, ...]:
    pnl = pl.col("pnl")
    return (
        pl.len().cast(pl.Int64).alias("trades"),
        pnl.sum(),
        pnl.mean().alias("average_pnl"),
        pl.col("return_pct").mean().alias("average_return"),
        (pnl > 0).mean().alias("hit_rate"),
    )
