"""The time that an explanation is about: one bar of a run, or one session of it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.errors import DataError
from ml4t.backtest.results.record import normalised
from ml4t.backtest.results.summary import BEFORE
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from ml4t.backtest.results.result import BacktestResult


class Shown(msgspec.Struct, frozen=True):
    """How the run writes its times."""

    axis: TimeAxis

    def __call__(self, moment: dt.date | None) -> str:
        """A time as a reader wants it; None is before the first bar."""
        if moment is None:
            return BEFORE
        if self.axis.is_session or not isinstance(moment, dt.datetime):
            return f"{moment:%Y-%m-%d}"
        clock = "%H:%M:%S" if moment.second else "%H:%M"
        return moment.strftime(f"%Y-%m-%d {clock} %Z").strip()


class Window(msgspec.Struct, frozen=True):
    """The bars that are asked about: from time `first` to time `last`, inclusive."""

    first: Any
    last: Any
    label: str
    is_session: bool
    is_first: bool
    show: Shown

    @property
    def span(self) -> str:
        """The window in words."""
        return "in this session" if self.is_session else "at this bar"

    def holds(self, column: str) -> pl.Expr:
        """Rows whose time lies inside."""
        return pl.col(column).is_between(self.first, self.last)

    def is_before(self) -> pl.Expr:
        """Orders from earlier bars, or from before the first one (which have no time)."""
        earlier: pl.Expr = pl.col("created_at") < self.first
        return earlier.fill_null(value=True)

    def when(self, moment: dt.date | None) -> str:
        """The time as a clause, where the label has not told it."""
        if moment is None:
            return f" {BEFORE}"
        return f" at {self.show(moment)}" if self.first != self.last else ""


def _axis(times: pl.Series) -> TimeAxis:
    zone = getattr(times.dtype, "time_zone", None)
    if times.dtype == pl.Date:
        return TimeAxis(is_session=True, is_date=True)
    clock = times.dt.replace_time_zone(None) if zone else times
    midnight = bool((clock.dt.time() == dt.time()).all())
    return TimeAxis(zone=zone, is_session=midnight)


def window_of(result: BacktestResult, at: dt.datetime | dt.date | str) -> Window:
    """The bars that a time of the user's means.

    Raises:
        DataError: It is no time, or lies outside the run.
    """
    frame = normalised(result.record, "equity")
    times, sessions = frame["timestamp"], frame["session"]
    if times.is_empty():
        raise DataError("There is nothing to explain: the run ended before its first bar.")
    axis = _axis(times)
    asked = _parse(at)
    is_day = axis.is_session or not isinstance(asked, dt.datetime)
    keys, key = _days(sessions, asked) if is_day else _instants(times, axis, asked)
    stop = int(np.searchsorted(keys, key, side="right"))
    if stop == 0 or key >= keys[-1] + (1 if is_day else DAY_US):
        raise DataError(f"{at} lies outside the run, which covers {sessions[0]} to {sessions[-1]}.")
    start = int(np.searchsorted(keys, keys[stop - 1], side="left"))
    show = Shown(axis)
    label = f"session {sessions[stop - 1]}" if is_day else f"bar {show(times[stop - 1])}"
    if keys[stop - 1] != key:
        label += f" (the last one before {at})"
    return Window(times[start], times[stop - 1], label, is_day, start == 0, show)


def _days(sessions: pl.Series, asked: dt.date) -> tuple[np.ndarray, int]:
    day = asked.date() if isinstance(asked, dt.datetime) else asked
    return sessions.to_physical().to_numpy(), (day - dt.date(1970, 1, 1)).days


def _instants(times: pl.Series, axis: TimeAxis, asked: dt.date) -> tuple[np.ndarray, int]:
    assert isinstance(asked, dt.datetime)
    if axis.zone is None and asked.tzinfo is not None:
        raise DataError(
            f"{asked} has a time zone and the data's times have none. Leave the zone out."
        )
    if axis.zone is not None and asked.tzinfo is None:
        asked = asked.replace(tzinfo=ZoneInfo(axis.zone))
    us = times.cast(pl.Datetime("us", axis.zone)).to_physical().to_numpy()
    return us, axis.to_microseconds(asked)


def _parse(at: object) -> dt.datetime | dt.date:
    if isinstance(at, dt.date):
        return at
    if not isinstance(at, str):
        raise DataError(
            f"at={at!r} is not a date or time: explain takes a date, a datetime, or text such as "
            "'2020-03-02' or '2020-03-02T15:45'."
        )
    for kind in (dt.date, dt.datetime):
        try:
            return kind.fromisoformat(at)
        except ValueError:
            continue
    raise DataError(
        f"{at!r} is not a date or time. Write it like '2020-03-02' or '2020-03-02T15:45'."
    )
