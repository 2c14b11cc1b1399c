"""How times are written in a run: as session labels or instants, and in which zone."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY_US = 86_400_000_000
_QUARTER_US = 900_000_000
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  naive labels stay naive
_EPOCH_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@lru_cache(maxsize=64)
def _zone(name: str) -> dt.tzinfo:
    return dt.UTC if name == "UTC" else ZoneInfo(name)


class TimeAxis(msgspec.Struct, frozen=True):
    """How the timestamps of one source are to be read.

    Times travel as int64 microseconds: since 1970-01-01 UTC when `zone` is set, since
    1970-01-01 00:00 on the source's own wall clock when it is None.

    Args:
        zone: Name of the time zone, or None for naive times.
        is_session: The times are dates (or all midnight): labels of sessions, not instants.
        is_date: The source's column was of type Date, and output is one again.
    """

    zone: str | None = None
    is_session: bool = False
    is_date: bool = False

    def to_datetime(self, microseconds: int) -> dt.datetime:
        """One time as a `datetime`, in the source's zone, or naive."""
        if self.zone is None:
            return _EPOCH + dt.timedelta(microseconds=int(microseconds))
        moment = _EPOCH_UTC + dt.timedelta(microseconds=int(microseconds))
        return moment if self.zone == "UTC" else moment.astimezone(_zone(self.zone))

    def to_datetimes(self, microseconds: np.ndarray) -> list[dt.datetime]:
        """Many times as `datetime`, in the source's zone, or naive."""
        naive: list[dt.datetime] = microseconds.astype("datetime64[us]").tolist()
        if self.zone is None:
            return naive
        if self.zone == "UTC":
            return [moment.replace(tzinfo=dt.UTC) for moment in naive]
        zone = _zone(self.zone)
        return [moment.replace(tzinfo=dt.UTC).astimezone(zone) for moment in naive]

    def to_microseconds(self, moment: dt.datetime | dt.date) -> int:
        """The inverse of `to_datetime`; a date is its midnight.

        Raises:
            ValueError: A naive time where the source has a zone, or the other way round.
        """
        if not isinstance(moment, dt.datetime):
            moment = dt.datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001
            if self.zone is not None:
                moment = moment.replace(tzinfo=_zone(self.zone))
        if (moment.tzinfo is None) != (self.zone is None):
            kind = "naive" if moment.tzinfo is None else "zoned"
            raise ValueError(f"{moment!r} is {kind}, the data's times are not")
        epoch = _EPOCH if moment.tzinfo is None else _EPOCH_UTC
        return (moment - epoch) // _MICROSECOND

    def dates(self, microseconds: np.ndarray) -> np.ndarray:
        """Wall-clock dates as int32 days since 1970-01-01; a midnight belongs to its own date."""
        return (self.to_wall(microseconds) // DAY_US).astype(np.int32)

    def to_wall(self, microseconds: np.ndarray) -> np.ndarray:
        """The same times as microseconds since 1970-01-01 00:00 on the zone's wall clock."""
        if self.zone is None or self.zone == "UTC":
            return microseconds
        wall: np.ndarray = microseconds + _offsets(microseconds, _zone(self.zone))
        return wall


def _offsets(microseconds: np.ndarray, zone: dt.tzinfo) -> np.ndarray:
    """The zone's offset from UTC at each time, in microseconds.

    It changes a few times a year, always on a quarter of an hour: ask once a UTC day, and once a
    quarter on days at whose ends it differs.
    """
    days = microseconds // DAY_US
    starts = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))  # sorted times repeat their day
    distinct, inverse = np.unique(days[starts], return_inverse=True)
    first = np.array([_offset_us(int(d) * DAY_US, zone) for d in distinct], dtype=np.int64)
    last = np.array([_offset_us((int(d) + 1) * DAY_US, zone) for d in distinct], dtype=np.int64)
    lengths = np.diff(starts, append=len(days))
    offsets = np.repeat(first[inverse], lengths)
    rows = np.flatnonzero(np.repeat((first != last)[inverse], lengths))
    quarters, inverse = np.unique(microseconds[rows] // _QUARTER_US, return_inverse=True)
    exact = np.array([_offset_us(int(q) * _QUARTER_US, zone) for q in quarters], dtype=np.int64)
    offsets[rows] = exact[inverse]
    return offsets


@lru_cache(maxsize=65_536)
def _offset_us(microseconds: int, zone: dt.tzinfo) -> int:
    moment = (_EPOCH_UTC + dt.timedelta(microseconds=microseconds)).astimezone(zone)
    offset = moment.utcoffset()
    assert offset is not None
    return offset // _MICROSECOND


def format_times(axis: TimeAxis, microseconds: Sequence[int] | np.ndarray) -> list[str]:
    """Times as a reader wants them in an error text."""
    shown = axis.to_datetimes(np.asarray(microseconds, dtype=np.int64))
    if axis.is_session:
        return [f"{moment:%Y-%m-%d}" for moment in shown]
    return [str(moment) for moment in shown]
