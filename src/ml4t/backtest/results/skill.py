"""What predictions were worth, against what the market did afterwards; traded or not.

A prediction known with a bar can first be traded at the asset's next open. The return it is
measured by runs from there to the asset's close `horizon` bars after the signal's bar: nothing of
it lies in the signal's own bar, and nothing of it could not have been earned. Bars whose future is
not in the data are left out.

Dividends are not counted. Splits are, where the run had them as actions: a return is that of what
one unit became.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.results.intervals import of_mean, wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

# Ranks of fewer assets say next to nothing; a market with fewer is judged over time.
LEAST_ASSETS = 3
_NO_SPREAD = 1e-12
_PRICES = ("open", "high", "low", "close")
_BOUNDS = ("low_return", "high_return")


# -- information coefficient ---------------------------------------------------------------------


def information_coefficient(
    market: pl.DataFrame, name: str, horizons: Sequence[int] = (1, 2, 5, 10, 20)
) -> pl.DataFrame:
    """See `BacktestResult.information_coefficient`.

    Args:
        market: timestamp, asset_id, open, close and the signal.
        name: The signal.
        horizons: In bars, each at least 1.
    """
    if not len(horizons):
        raise ConfigError("horizons is empty: give numbers of bars, such as (1, 5, 20).")
    for horizon in horizons:
        _check_horizon(horizon)
    frame = _by_asset(market, signal=_number(market, name))
    known = frame.filter(pl.col("signal").is_not_null())
    # Not how many assets there are: those of different years never meet.
    together = known.group_by("timestamp").len()["len"]
    is_across = bool((together >= LEAST_ASSETS).any())
    measure = _across if is_across else _over_time
    rows = [
        {
            "horizon": horizon,
            "kind": "across assets" if is_across else "over time",
            **measure(_pairs(frame, horizon), horizon),
        }
        for horizon in horizons
    ]
    floats = dict.fromkeys(("mean", "std", "t_stat", "low", "high"), pl.Float64)
    counts = {"timestamps": pl.Int64, "skipped": pl.Int64}
    schema = {"horizon": pl.Int64, "kind": pl.String, **counts, **floats}
    return pl.DataFrame(rows, schema=schema)


def _across(pairs: pl.DataFrame, horizon: int) -> dict[str, Any]:
    """A rank correlation for each timestamp, and their mean."""
    ranks = (pl.col(name).rank().over("timestamp") for name in ("signal", "ahead"))
    by_time = (
        pairs.sort("timestamp")  # neighbours rank faster
        .with_columns(*ranks)
        .group_by("timestamp")
        .agg(pl.corr("signal", "ahead").fill_nan(None).alias("ic"), pl.len().alias("assets"))
        .sort("timestamp")
    )
    values = by_time.filter(pl.col("assets") >= LEAST_ASSETS)["ic"].drop_nulls().to_numpy()
    n = len(values)
    mean = float(values.mean()) if n else None
    deviations = values if mean is None else values - mean
    return {
        "timestamps": n,
        "skipped": by_time.height - n,
        "std": float(values.std(ddof=1)) if n > 1 else None,
        **_estimate(mean, of_mean(deviations, horizon, count=n, seen=n)),
    }


def _over_time(pairs: pl.DataFrame, horizon: int) -> dict[str, Any]:
    """The rank correlation of each asset's signals with what followed them.

    The error of a correlation of ranks x and y in standard units is the mean over time of
    x * y − c * (x**2 + y**2) / 2, where c is the correlation.
    """
    standard = [_standard_rank(name) for name in ("signal", "ahead")]
    ranked = pairs.select("timestamp", *standard)
    known = ranked.drop_nulls()
    x, y = pl.col("signal"), pl.col("ahead")
    mean = known.select((x * y).mean()).item()
    if mean is None:
        return {"timestamps": 0, "skipped": ranked["timestamp"].n_unique()}
    error = (x * y - mean * (x * x + y * y) / 2.0).sum().alias("error")
    errors = known.group_by("timestamp").agg(error).sort("timestamp")["error"].to_numpy()
    n = len(errors)
    return {
        "timestamps": n,
        "skipped": ranked["timestamp"].n_unique() - n,
        **_estimate(mean, of_mean(errors, horizon, count=known.height, seen=n)),
    }


def _standard_rank(name: str) -> pl.Expr:
    """Ranks among an asset's own values, with mean 0 and variance 1; null where all are equal."""
    rank = pl.col(name).rank()
    spread = rank.std(ddof=0)
    is_varied = spread > _NO_SPREAD
    return pl.when(is_varied).then((rank - rank.mean()) / spread).over("asset").alias(name)


def _estimate(mean: float | None, spread: tuple[float, float] | None) -> dict[str, float | None]:
    """A correlation with its t statistic and interval."""
    if mean is None or spread is None:
        return {"mean": mean}
    error, reach = spread
    return {
        "mean": mean,
        "t_stat": mean / error if error > _NO_SPREAD else None,
        "low": max(-1.0, mean - reach),
        "high": min(1.0, mean + reach),
    }


# -- buckets of a signal -------------------------------------------------------------------------


def signal_buckets(
    market: pl.DataFrame, name: str, buckets: int = 5, horizon: int = 1
) -> pl.DataFrame:
    """See `BacktestResult.signal_buckets`.

    Args:
        market: timestamp, asset_id, open, close and the signal.
        name: The signal.
        buckets: At least 1.
        horizon: In bars, at least 1.
    """
    _check(buckets, horizon)
    _check_open(market, horizon)
    pairs = _pairs(_by_asset(market, signal=_number(market, name)), horizon)
    # Equal values go where the middle of them belongs, so that half of them being equal is no
    # reason to put the others with them.
    twice = (2.0 * pl.col("signal").rank() - 1.0).cast(pl.Int64)
    bucket = twice * buckets // (2 * pl.len().cast(pl.Int64)) + 1
    rows = pairs.select("timestamp", "signal", "ahead", bucket.alias("bucket"))
    ahead, signal = pl.col("ahead"), pl.col("signal")
    figures = (
        rows.group_by("bucket")
        .agg(
            signal.min().alias("low"),
            signal.max().alias("high"),
            pl.len().cast(pl.Int64).alias("count"),
            signal.mean().alias("average_signal"),
            ahead.mean().alias("average_return"),
            ahead.median().alias("median_return"),
            (ahead > 0.0).mean().alias("hit_rate"),
        )
        .sort("bucket")
    )
    bounds = _mean_bounds(rows, figures, horizon)
    return figures.hstack([pl.Series(n, b, dtype=pl.Float64) for n, b in bounds.items()])


def _mean_bounds(
    rows: pl.DataFrame, figures: pl.DataFrame, horizon: int
) -> dict[str, list[float | None]]:
    """Interval of each bucket's mean return.

    What one timestamp holds in a bucket counts as one observation: assets move together.
    """
    times = rows.select(pl.col("timestamp").unique().sort()).with_row_index("t")
    mean = pl.col("ahead").mean().over("bucket")
    sums = (
        rows.with_columns((pl.col("ahead") - mean).alias("error"))
        .group_by("bucket", "timestamp")
        .agg(pl.col("error").sum())
        .join(times, on="timestamp")
    )
    found: dict[str, list[float | None]] = {name: [] for name in _BOUNDS}
    for bucket, count, average in figures.select("bucket", "count", "average_return").iter_rows():
        own = sums.filter(pl.col("bucket") == bucket)
        deviations = np.zeros(times.height)
        deviations[own["t"].to_numpy()] = own["error"].to_numpy()
        spread = of_mean(deviations, horizon, count=count, seen=own.height)
        low, high = (None, None) if spread is None else (average - spread[1], average + spread[1])
        for name, value in zip(_BOUNDS, (low, high), strict=True):
            found[name].append(value)
    return found


# -- calibration of a confidence -----------------------------------------------------------------


def calibration(
    market: pl.DataFrame,
    name: str = "confidence",
    buckets: int = 10,
    horizon: int = 1,
    direction: str | None = None,
) -> pl.DataFrame:
    """See `BacktestResult.calibration`.

    Args:
        market: timestamp, asset_id, open, close, the confidence and the direction.
        name: The confidence, 0 to 1.
        buckets: At least 1.
        horizon: In bars, at least 1.
        direction: A signal whose sign says which way; up by default.
    """
    _check(buckets, horizon)
    claims = _claims(market, name, horizon, direction)
    edges = pl.Series(np.arange(buckets + 1) / buckets)
    place = edges.search_sorted(claims["confidence"], side="right").cast(pl.Int64)
    rows = claims.with_columns(place.clip(upper_bound=buckets).alias("bucket"))
    figures = rows.group_by("bucket").agg(
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("confidence").mean().alias("average_confidence"),
        pl.col("is_hit").mean().alias("hit_rate"),
    )
    low, high = wilson(pl.col("hit_rate"), pl.col("count") / horizon)
    return (
        pl.DataFrame(
            {"bucket": np.arange(1, buckets + 1), "low": edges[:-1], "high": edges[1:]},
            schema_overrides={"bucket": pl.Int64},
        )
        .join(figures, on="bucket", how="left", maintain_order="left")
        .with_columns(pl.col("count").fill_null(0), low.alias("low_rate"), high.alias("high_rate"))
    )


def brier_score(
    market: pl.DataFrame,
    name: str = "confidence",
    horizon: int = 1,
    direction: str | None = None,
) -> float:
    """See `BacktestResult.brier_score`; arguments as for `calibration`."""
    _check_horizon(horizon)
    claims = _claims(market, name, horizon, direction)
    score = claims.select(((pl.col("confidence") - pl.col("is_hit")) ** 2).mean()).item()
    return math.nan if score is None else float(score)


def _claims(market: pl.DataFrame, name: str, horizon: int, direction: str | None) -> pl.DataFrame:
    """Each confidence in a direction, and whether that was the direction of the return."""
    _check_open(market, horizon)
    confidence = _number(market, name)
    outside = market.filter(~confidence.is_between(0.0, 1.0)).head(1)
    if outside.height:
        row = outside.row(0, named=True)
        raise DataError(
            f"The signal {name!r} is {row[name]} for {row['asset_id']!r} on {row['timestamp']}. A "
            "confidence is a probability from 0 to 1; rescale it, or look at signal_buckets()."
        )
    way = pl.lit(1.0) if direction is None else _sign(market, direction)
    pairs = _pairs(_by_asset(market, signal=confidence, way=way), horizon)
    return pairs.filter(pl.col("way") != 0.0).select(
        pl.col("signal").alias("confidence"),
        (pl.col("ahead") * pl.col("way") > 0.0).cast(pl.Float64).alias("is_hit"),
    )


def _sign(market: pl.DataFrame, direction: str) -> pl.Expr:
    sign = _number(market, direction).sign()
    is_yes = market.schema[direction] == pl.Boolean
    return 2.0 * sign - 1.0 if is_yes else sign


# -- signals and what followed them --------------------------------------------------------------


def _by_asset(market: pl.DataFrame, **columns: pl.Expr) -> pl.DataFrame:
    """Bars by asset, then time: what an asset's next bars are is then a matter of rows."""
    wanted = {name: column.alias(name) for name, column in columns.items()}
    prices = [pl.col(name).alias(f"_{name}") for name in ("open", "close")]
    return (
        market.select("timestamp", "asset_id", *prices, *wanted.values())
        .sort("asset_id", "timestamp", maintain_order=True)
        .with_columns(pl.col("asset_id").rle_id().alias("asset"))
        .drop("asset_id")
    )


def _pairs(frame: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """The bars that have a signal and a future, with the return `ahead` over `horizon` bars."""
    entry, leave = pl.col("_open").shift(-1), pl.col("_close").shift(-horizon)
    is_same = pl.col("asset").shift(-horizon) == pl.col("asset")
    ahead = pl.when(is_same, entry > 0.0).then(leave / entry - 1.0)
    found = frame.select(pl.exclude("_open", "_close"), ahead.alias("ahead"))
    return found.filter(pl.col("ahead").is_finite()).drop_nulls()


def plain(market: pl.DataFrame) -> pl.DataFrame:
    """A market whose booleans and words, kept as Python objects during a run, are columns."""
    objects = [name for name, kind in market.schema.items() if kind == pl.Object]
    return market.with_columns(
        pl.Series(name, market[name].to_list(), strict=False) for name in objects
    )


def restated(market: pl.DataFrame, splits: Sequence[Sequence[Any]] | None) -> pl.DataFrame:
    """Prices in terms of what one unit at the start of the data became.

    Args:
        market: timestamp, asset_id and prices, in order of time.
        splits: (microseconds, asset_id, new units per old) of each split that took effect.
    """
    if not splits:
        return market
    schema = {"at": pl.Int64, "asset_id": pl.String, "ratio": pl.Float64}
    changes = pl.DataFrame(splits, schema=schema, orient="row").sort("at", maintain_order=True)
    units = changes.with_columns(pl.col("ratio").cum_prod().over("asset_id").alias("units"))
    at = market["timestamp"]
    at = at.cast(pl.Datetime("us")) if at.dtype == pl.Date else at.dt.cast_time_unit("us")
    joined = market.with_columns(at.to_physical().alias("at")).join_asof(
        units.drop("ratio"), on="at", by="asset_id", check_sortedness=False
    )
    prices = [name for name in _PRICES if name in market.columns]
    return joined.with_columns(pl.col(prices) * pl.col("units").fill_null(1.0)).drop("at", "units")


def _number(market: pl.DataFrame, name: str) -> pl.Expr:
    """A signal as numbers, null where it is absent."""
    kind = market.schema[name]
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise DataError(
            f"The signal {name!r} has type {kind}, and only numbers can be compared with returns. "
            "Choose another, or give it numbers."
        )
    return pl.col(name).cast(pl.Float64).fill_nan(None)


def _check(buckets: int, horizon: int) -> None:
    if buckets < 1:
        raise ConfigError(f"buckets must be at least 1, not {buckets}.")
    _check_horizon(horizon)


def _check_horizon(horizon: int) -> None:
    if horizon < 1 or horizon != int(horizon):
        raise ConfigError(f"A horizon is a whole number of bars, at least 1, not {horizon!r}.")


def _check_open(market: pl.DataFrame, horizon: int) -> None:
    """Refuse a stretch in which nothing can be earned."""
    if (
        horizon == 1
        and market.height
        and market.select((pl.col("open") == pl.col("close")).all()).item()
    ):
        raise ConfigError(
            "Every open equals its close, as in close-only prices, so what is bought at the next "
            "open has earned nothing by the next close. Use horizon=2 or more."
        )
