"""What bars look like before anybody trades them: coverage, gaps, jumps, outliers.

Pure functions over one frame of bars: `timestamp`, `asset_id`, `open`, `high`, `low`, `close`,
`volume`, one row a bar, in order of time and asset, as a run reads them. Nothing here is refused;
bars that cannot be are refused when data is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ml4t.backtest.data.checks import count_steps, show_duration, usual_step
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    import numpy as np

# New shares per old of the splits and reverse splits that are common.
_SPLITS = (2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)
_NEAR = 0.05  # an overnight return on top of the split
_NEAR_CLOSE = 0.15  # and the day's
# A market is closed for up to four days around a weekend.
_LONGEST_PAUSE = 5 * DAY_US
# A standard deviation is 1.4826 times the median absolute one, were returns normal, and 1.2533
# times the mean absolute one.
_NORMAL, _NORMAL_MEAN = 1.4826, 1.2533
_DEVIATIONS = 15.0
_LEAST_RETURN = 0.1
_WIDE = 2.0


def frequency(times: np.ndarray) -> str | None:
    """How often there are bars, such as "1d" or "5m"; None with fewer than two timestamps.

    Args:
        times: int64, microseconds, of distinct timestamps in order.
    """
    step = usual_step(count_steps(times))
    return None if step is None else show_duration(step)


def coverage(bars: pl.DataFrame) -> pl.DataFrame:
    """One row an asset: how much of the time it was there, and traded.

    Returns:
        asset_id, bars, first, last, missing (timestamps of the whole table between first and last
        at which it has no bar), share (bars there are of those there could be), longest_gap (most
        timestamps missing in a row), zero_volume (bars with a volume of zero), no_volume (bars
        without one). In order of asset.
    """
    numbered = _numbered(bars)
    gap = pl.col("number").diff().max().fill_null(1) - 1
    possible = pl.col("number").last() - pl.col("number").first() + 1
    return (
        numbered.group_by("asset_id")
        .agg(
            pl.len().cast(pl.Int64).alias("bars"),
            pl.col("timestamp").first().alias("first"),
            pl.col("timestamp").last().alias("last"),
            (possible - pl.len()).cast(pl.Int64).alias("missing"),
            (pl.len() / possible).alias("share"),
            gap.cast(pl.Int64).alias("longest_gap"),
            (pl.col("volume") == 0.0).sum().cast(pl.Int64).alias("zero_volume"),
            pl.col("volume").null_count().cast(pl.Int64).alias("no_volume"),
        )
        .sort("asset_id")
    )


def gaps(bars: pl.DataFrame, *, least: int = 5) -> pl.DataFrame:
    """Stretches in which an asset has no bar though others have, the longest first.

    Args:
        bars: The bars.
        least: Timestamps in a row that make a gap.

    Returns:
        asset_id, after (its last bar before), until (its next one), missing (timestamps).

    Raises:
        ConfigError: `least` is below 1.
    """
    if least < 1:
        raise ConfigError(f"least must be 1 or more, not {least}.")
    return (
        _numbered(bars)
        .select(
            "asset_id",
            pl.col("timestamp").shift(1).over("asset_id").alias("after"),
            pl.col("timestamp").alias("until"),
            (pl.col("number").diff().over("asset_id") - 1).alias("missing"),
        )
        .filter(pl.col("missing") >= least)
        .sort("missing", "asset_id", "until", descending=[True, False, False])
    )


def pauses(bars: pl.DataFrame) -> pl.DataFrame:
    """Stretches of more than five days, and three usual steps, in which nothing has a bar.

    Returns:
        after, until, days; the longest first.
    """
    times = bars.select(pl.col("timestamp").unique().sort())
    micros = times["timestamp"].cast(pl.Datetime("us")).to_physical()
    step = usual_step(count_steps(micros.to_numpy())) or 0
    longest = max(_LONGEST_PAUSE, 3 * step)
    length = pl.col("micros").diff()
    return (
        times.with_columns(micros.alias("micros"))
        .select(
            pl.col("timestamp").shift(1).alias("after"),
            pl.col("timestamp").alias("until"),
            length.alias("length"),
        )
        .filter(pl.col("length") > longest)
        .sort("length", "until", descending=[True, False])
        .select("after", "until", (pl.col("length") / DAY_US).alias("days"))
    )


def jumps(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars that close near a simple fraction or multiple of the close before.

    Prices that are not adjusted for splits look like this. A print that is put right later does
    not: the open of the bar, or that of the asset's next one, has to agree.

    Returns:
        asset_id, timestamp, before (the close before), open, close, ratio (new units per old that
        a split would have had: 4.0, or 0.05 for a reverse split). In order of time and asset.
    """
    at_open, at_close, after = (pl.col("before") / pl.col(n) for n in ("open", "close", "after"))
    ratio = pl.lit(None, dtype=pl.Float64)
    for split in _SPLITS:
        for new in (float(split), 1.0 / split):
            is_open = _is_near(at_open, new, _NEAR) | _is_near(after, new, _NEAR)
            is_near = is_open & _is_near(at_close, new, _NEAR_CLOSE)
            ratio = pl.when(is_near).then(new).otherwise(ratio)
    return (
        bars.sort("asset_id", "timestamp")
        .with_columns(
            pl.col("close").shift(1).over("asset_id").alias("before"),
            pl.col("open").shift(-1).over("asset_id").alias("after"),
        )
        .with_columns(ratio.alias("ratio"))
        .filter(pl.col("ratio").is_not_null())
        .sort("timestamp", "asset_id")
        .select("asset_id", "timestamp", "before", "open", "close", "ratio")
    )


def split_of(before: float, opened: float, close: float) -> float | None:
    """As `jumps`, for one bar whose open agrees: new units per old, or None.

    Args:
        before: The asset's close before.
        opened: The bar's open.
        close: Its close.

    Example:
        >>> split_of(645.57, 92.70, 93.70), split_of(645.57, 470.0, 460.0)
        (7.0, None)
    """
    for split in _SPLITS:
        for new in (float(split), 1.0 / split):
            is_open = abs(before / opened / new - 1.0) <= _NEAR
            if is_open and abs(before / close / new - 1.0) <= _NEAR_CLOSE:
                return new
    return None


def outliers(bars: pl.DataFrame, *, deviations: float = _DEVIATIONS) -> pl.DataFrame:
    """Returns from close to close that are far from what is usual for the asset, largest first.

    Far is `deviations` robust standard deviations of the asset's returns (1.4826 times the median
    absolute deviation; where most returns are the same, 1.2533 times the mean one), and at least
    ten percent.

    Returns:
        asset_id, timestamp, return, deviations, is_reversed (the next return takes most of it
        back, as after a wrong print).

    Raises:
        ConfigError: `deviations` is not positive.
    """
    if not deviations > 0:
        raise ConfigError(f"deviations must be positive, not {deviations}.")
    change = pl.col("close") / pl.col("close").shift(1).over("asset_id") - 1
    middle = pl.col("return").median().over("asset_id")
    distance = (pl.col("return") - middle).abs()
    median, mean = distance.median().over("asset_id"), distance.mean().over("asset_id")
    spread = pl.when(median > 0.0).then(median * _NORMAL).otherwise(mean * _NORMAL_MEAN)
    following = pl.col("return").shift(-1).over("asset_id")
    both = (1 + pl.col("return")) * (1 + following) - 1
    return (
        bars.sort("asset_id", "timestamp")
        .with_columns(change.alias("return"))
        .with_columns(
            (distance / spread).fill_nan(0.0).alias("deviations"),
            (both.abs() < pl.col("return").abs() / 2).fill_null(value=False).alias("is_reversed"),
        )
        .filter((pl.col("deviations") >= deviations) & (pl.col("return").abs() >= _LEAST_RETURN))
        .sort(pl.col("return").abs(), "timestamp", "asset_id", descending=[True, False, False])
        .select("asset_id", "timestamp", "return", "deviations", "is_reversed")
    )


def wide_bars(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars whose high is twice the higher of open and close, or whose low is half the lower.

    Returns:
        asset_id, timestamp, open, high, low, close; in order of time and asset.
    """
    upper, lower = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    return (
        bars.filter((pl.col("high") >= _WIDE * upper) | (pl.col("low") <= lower / _WIDE))
        .sort("timestamp", "asset_id")
        .select("asset_id", "timestamp", "open", "high", "low", "close")
    )


def _is_near(ratio: pl.Expr, target: float, tolerance: float) -> pl.Expr:
    return ((ratio / target - 1).abs() <= tolerance).fill_null(value=False)


def _numbered(bars: pl.DataFrame) -> pl.DataFrame:
    """The bars in order of asset and time, with the number of their timestamp."""
    return bars.with_columns(pl.col("timestamp").rank("dense").cast(pl.Int64).alias("number")).sort(
        "asset_id", "timestamp"
    )
