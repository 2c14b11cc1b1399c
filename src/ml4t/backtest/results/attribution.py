"""Where the money came from: trades by the signal or the model that opened them, and by asset."""

from __future__ import annotations

import polars as pl

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean

_PREFIX = "signal_"
_VERSION = "model_version"
_FIRST = ("trades", "open_trades", "pnl")
_ROUNDING = 1e-12


def by_signal(trades: pl.DataFrame, name: str, buckets: int) -> pl.DataFrame:
    """See `BacktestResult.by_signal`."""
    if buckets < 1:
        raise ConfigError(f"buckets must be at least 1, not {buckets}.")
    known = [c.removeprefix(_PREFIX) for c in trades.columns if c.startswith(_PREFIX)]
    if not known and trades.is_empty():
        raise DataError(f"No trade was opened, so there is nothing to group by {name!r}.")
    if name not in known:
        raise DataError(f"There is no signal {name!r} on the trades. {did_you_mean(name, known)}")
    trades = trades.rename({f"{_PREFIX}{name}": "value"})
    if trades.schema["value"].is_numeric():
        return _by_rank(trades, buckets)
    return trades.group_by("value").agg(*_figures()).sort("value", nulls_last=True)


def by_version(trades: pl.DataFrame) -> pl.DataFrame:
    """See `BacktestResult.by_version`."""
    column = f"{_PREFIX}{_VERSION}"
    if column not in trades.columns:
        if trades.height:
            raise DataError(
                "The signals of this run name no model version. Put it into their column `_meta`, "
                f"as `{_VERSION}` or `version`, or pass it as a signal {_VERSION!r}."
            )
        trades = trades.with_columns(pl.lit(None, pl.String).alias(column))
    version = pl.col(column).cast(pl.String).alias("version")
    return _shares(trades, version, unassigned=0.0, total=float(trades["pnl"].sum()))


def by_asset(trades: pl.DataFrame, cashflows: pl.DataFrame) -> pl.DataFrame:
    """See `BacktestResult.by_asset`."""
    return _by_holding(trades, cashflows, "asset_id")


def by_side(trades: pl.DataFrame, cashflows: pl.DataFrame) -> pl.DataFrame:
    """See `BacktestResult.by_side`."""
    return _by_holding(trades, cashflows, "side")


def _by_holding(trades: pl.DataFrame, cashflows: pl.DataFrame, name: str) -> pl.DataFrame:
    unassigned = float(cashflows["amount"].sum()) - float(trades["financing"].sum())
    if not len(cashflows) or abs(unassigned) <= _ROUNDING * float(cashflows["amount"].abs().sum()):
        unassigned = 0.0
    total = float(trades["pnl"].sum()) + unassigned
    return _shares(trades, pl.col(name), unassigned=unassigned, total=total)


def _shares(trades: pl.DataFrame, key: pl.Expr, *, unassigned: float, total: float) -> pl.DataFrame:
    """Figures of groups of trades, and a last row for money that belongs to no trade."""
    is_closed = pl.col("status") == "closed"
    pnl = pl.col("pnl")
    groups = trades.group_by(key).agg(
        pl.len().cast(pl.Int64).alias("trades"),
        (~is_closed).sum().cast(pl.Int64).alias("open_trades"),
        pnl.sum(),
        pl.col("commission", "slippage", "financing").sum(),
        (pnl > 0.0).filter(is_closed).mean().alias("hit_rate"),
        pnl.mean().alias("average_pnl"),
        pl.col("bars_held").mean().alias("average_bars_held"),
    )
    if unassigned:
        rest = {"trades": 0, "open_trades": 0, "pnl": unassigned, "financing": unassigned}
        nothing = {"commission": 0.0, "slippage": 0.0}
        row = pl.DataFrame({**rest, **nothing}, schema_overrides={"trades": pl.Int64})
        groups = pl.concat([groups, row], how="diagonal")
    share = pnl / total if total else pl.lit(None, pl.Float64)
    first = groups.columns[0]
    return groups.select(
        first, "trades", "open_trades", "pnl", share.alias("share"), pl.exclude(first, *_FIRST)
    ).sort(first, nulls_last=True)


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
