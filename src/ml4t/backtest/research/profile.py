"""What a run would see of prices and predictions: read as a run reads them, and looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from ml4t.backtest.clock import Clock
from ml4t.backtest.data import profile as look
from ml4t.backtest.results import market

if TYPE_CHECKING:
    from collections.abc import Iterator

_BARS = ("open", "high", "low", "close", "volume")
_LITTLE = 0.5  # a signal that fewer bars have than this is worth a word


class DataProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What data looks like; labels of sessions are dates here.

    Each frame is defined by the function of its name in `data.profile`.

    Args:
        rows: Bars.
        timestamps: Distinct ones.
        zone: Of the times; None when they are naive.
        is_session: Times are labels of sessions.
        frequency: Usual step between timestamps, such as "1d".
        feeds: What was read, and which columns were taken as what, ready for JSON.
        coverage, gaps, pauses, jumps, outliers, wide_bars: See there.
        signals: As `BacktestResult.signal_coverage`.
    """

    rows: int
    timestamps: int
    zone: str | None
    is_session: bool
    frequency: str | None
    feeds: list[dict[str, Any]]
    coverage: pl.DataFrame
    gaps: pl.DataFrame
    pauses: pl.DataFrame
    jumps: pl.DataFrame
    outliers: pl.DataFrame
    wide_bars: pl.DataFrame
    signals: pl.DataFrame

    @property
    def warnings(self) -> list[str]:
        """What a person should look at before trusting a run on this data, in words."""
        return list(_warnings(self))


def profile(*data: Any, **options: Any) -> DataProfile:
    """Read data as a run would, and look at it. It is held in memory whole.

    Args:
        *data: Prices: one or several feeds, or what feeds are made of.
        **options: As of `Clock`: `signals`, `signal_delay`, `calendar`, `start`, `end` and so on.

    Raises:
        DataError: What a run would refuse.
        ConfigError: Options that contradict each other.

    Example:
        >>> from datetime import date
        >>> prices = pl.DataFrame({
        ...     "timestamp": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)],
        ...     "asset_id": "AAPL", "open": [100.0, 101.0, 25.1], "high": [101.0, 102.0, 26.0],
        ...     "low": [99.0, 99.0, 24.0], "close": [100.0, 101.0, 25.5], "volume": 1e6})
        >>> profile(prices).warnings[0].partition(".")[0]
        '1 jump looks like a split: AAPL at 2024-01-04 (4 new for 1 old)'
    """
    clock = Clock(*data, **options)
    bars = market.read(clock, columns=_BARS)
    if clock.axis.is_session:
        bars = bars.with_columns(pl.col("timestamp").dt.date())
    times = bars.select(pl.col("timestamp").unique().sort())["timestamp"]
    return DataProfile(
        rows=bars.height,
        timestamps=len(times),
        zone=clock.axis.zone,
        is_session=clock.axis.is_session,
        frequency=look.frequency(times.cast(pl.Datetime("us")).to_physical().to_numpy()),
        feeds=clock.source()["feeds"],
        coverage=look.coverage(bars),
        gaps=look.gaps(bars),
        pauses=look.pauses(bars),
        jumps=look.jumps(bars),
        outliers=look.outliers(bars),
        wide_bars=look.wide_bars(bars),
        signals=clock.signal_coverage(),
    )


def _warnings(found: DataProfile) -> Iterator[str]:
    if jumps := found.jumps.height:
        first = found.jumps.row(0, named=True)
        ratio = first["ratio"]
        terms = f"{ratio:g} new for 1 old" if ratio > 1 else f"1 new for {1 / ratio:g} old"
        yield (
            f"{_many(jumps, 'jump looks', 'jumps look')} like a split: {_where(first)} ({terms})"
            f"{_others(jumps)}. Pass the splits as actions, or use adjusted prices."
        )
    if wide := found.wide_bars.height:
        first = found.wide_bars.row(0, named=True)
        yield (
            f"{_many(wide, 'bar has', 'bars have')} a high or low that is off by a factor of two: "
            f"{_where(first)} (low {first['low']:g}, high {first['high']:g}, close "
            f"{first['close']:g}){_others(wide)}. Stops and limits may fill at prices nobody paid."
        )
    outliers = found.outliers.join(found.jumps, on=["asset_id", "timestamp"], how="anti")
    if count := outliers.height:
        first = outliers.row(0, named=True)
        back = " and back" if first["is_reversed"] else ""
        yield (
            f"{_many(count, 'return is', 'returns are')} far outside what is usual, the largest "
            f"{first['return']:+.1%}{back}: {_where(first)}{_others(count)}."
        )
    if gaps := found.gaps.height:
        first = found.gaps.row(0, named=True)
        yield (
            f"{_many(gaps, 'gap', 'gaps')} of five timestamps or more, the longest of "
            f"{first['missing']:,} in {first['asset_id']}, after {first['after']}."
        )
    if pauses := found.pauses.height:
        first = found.pauses.row(0, named=True)
        yield (
            f"{_many(pauses, 'pause', 'pauses')} without any bar, the longest of "
            f"{first['days']:.0f} days, after {first['after']}."
        )
    if zero := int(found.coverage["zero_volume"].sum()):
        yield f"{_many(zero, 'bar has', 'bars have')} a volume of zero: nothing was traded there."
    for row in found.signals.iter_rows(named=True):
        if row["share"] < _LITTLE:
            yield (
                f"Signal {row['signal']!r} is there on {row['share']:.0%} of the bars "
                f"({row['expired']:,} expired)."
            )


def _many(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"


def _where(row: dict[str, Any]) -> str:
    return f"{row['asset_id']} at {row['timestamp']}"


def _others(count: int) -> str:
    return f" and {count - 1:,} more" if count > 1 else ""
