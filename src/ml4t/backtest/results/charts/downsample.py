"""Long curves made short without losing what they show: first, last, lowest and highest."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

BUCKETS = 1_000
_EXACT = 2**63
# A gap that is 2 ** 20 times as long as all the rest is as fine as anybody looks.
_HALVINGS = 20


class Curve(msgspec.Struct, frozen=True):
    """A curve to draw.

    Args:
        x: Times as text, on the data's own clock.
        y: Values; NaN where there is none.
        of: How many points there were.
    """

    x: list[str]
    y: np.ndarray
    of: int

    @property
    def shown(self) -> int:
        """How many points are left."""
        return len(self.x)

    @property
    def note(self) -> str:
        """How many points are drawn of how many; empty when it is all of them."""
        if self.shown == self.of:
            return ""
        return (
            f"{self.shown:,} of {self.of:,} points are drawn: the first, last, lowest and highest "
            "of each narrow strip of time, so no extreme is lost."
        )


def m4(
    times: np.ndarray, values: np.ndarray, buckets: int = BUCKETS, strips: int | None = None
) -> np.ndarray:
    """Positions of the first, lowest, highest and last value of each strip of time.

    A line through them covers the same pixels as one through all points, on a screen not wider
    than `buckets` pixels.

    Args:
        times: int64, increasing.
        values: As many; NaN is never an extreme.
        buckets: How many strips may hold values.
        strips: How many there are, of equal length; as many by default.

    Returns:
        Increasing positions, at most four a strip that holds any; all of them when there are not
        more than that.

    Source:
        U. Jugel, Z. Jerzak, G. Hackenbroich, V. Markl, 2014, M4: A Visualization-Oriented Time
        Series Data Aggregation
    """
    n = len(times)
    if n <= 4 * buckets:
        return np.arange(n)
    strip = _strip(times, buckets if strips is None else strips)
    starts = np.flatnonzero(np.diff(strip, prepend=-1))
    sizes = np.diff(starts, append=n)
    kept = [starts, starts + sizes - 1]
    for extreme in (np.fmin, np.fmax):
        hits = np.flatnonzero(values == np.repeat(extreme.reduceat(values, starts), sizes))
        kept.append(hits[np.unique(strip[hits], return_index=True)[1]])
    return np.unique(np.concatenate(kept))


def _strip(times: np.ndarray, strips: int) -> np.ndarray:
    """Which strip each time lies in."""
    since, span = times - times[0], int(times[-1] - times[0]) + 1
    if span * strips < _EXACT:
        found = since * strips // span
    else:
        found = np.minimum(since / (span / strips), strips - 1)
    return np.asarray(found, dtype=np.int64)


def _strips(times: np.ndarray, buckets: int) -> int:
    """How many strips there must be, so that as many as may hold values do.

    Half a year between two weeks of minutes leaves most strips empty, and would leave the minutes
    a handful of points.
    """
    strips = buckets
    for _ in range(_HALVINGS):
        if np.count_nonzero(np.diff(_strip(times, 2 * strips))) >= buckets:
            break
        strips *= 2
    return strips


def curve(times: pl.Series, values: np.ndarray, buckets: int = BUCKETS) -> Curve:
    """A curve of at most four points a strip.

    Args:
        times: Increasing; dates or datetimes.
        values: As many numbers.
        buckets: How many strips of equal length may hold values.
    """
    physical = times.to_physical().cast(pl.Int64).to_numpy()
    strips = _strips(physical, buckets) if len(times) > 4 * buckets else buckets
    kept = m4(physical, values, buckets, strips)
    return Curve(x=time_labels(times.gather(kept)), y=values[kept], of=len(times))


def time_labels(times: pl.Series) -> list[str]:
    """Times as Plotly reads them: the data's own clock, no longer than needed."""
    if times.dtype == pl.Date:
        return times.cast(pl.String).to_list()
    clock = times.dt.replace_time_zone(None)
    if not len(clock) or bool((clock.dt.truncate("1d") == clock).all()):
        return clock.dt.strftime("%Y-%m-%d").to_list()
    in_seconds = bool((clock.dt.truncate("1s") == clock).all())
    return clock.dt.strftime("%Y-%m-%d %H:%M:%S" + ("" if in_seconds else "%.6f")).to_list()


def candles(bars: pl.DataFrame, most: int) -> pl.DataFrame:
    """Bars of one asset, joined into longer ones when there are more than `most`.

    A joined bar has the first open, the highest high, the lowest low and the last close, and the
    time of its last bar, at which it was complete.

    Args:
        bars: timestamp, open, high, low, close and perhaps more, in order of time.
        most: How many bars may be left.
    """
    if len(bars) <= most:
        return bars
    size = -(-len(bars) // most)
    return (
        bars.with_columns((pl.int_range(pl.len()) // size).alias("_group"))
        .group_by("_group", maintain_order=True)
        .agg(
            pl.col("timestamp").last(),
            pl.col("open").drop_nulls().first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").drop_nulls().last(),
        )
        .drop("_group")
    )
