"""The recorded bars of a rehearsal, by time: what the venue plays, and what it may tell of it."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.clock import Clock
from ml4t.backtest.data.times import from_wall_clock, midnights, read_duration
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.types.bars import Bars

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def moment(microseconds: int) -> dt.datetime:
    """A time in UTC."""
    return EPOCH + microseconds * _MICROSECOND


def microseconds(time: dt.datetime) -> int:
    """The inverse of `moment`."""
    return (time - EPOCH) // _MICROSECOND


class Tape:
    """All bars of a rehearsal, in memory.

    Args:
        data: Anything that the engine takes as `data=`, a list of feeds, or a `Clock`, which has
            its own calendar, start and end.
        calendar: Of the market; tells when a session label is known.
        start: First timestamp, included.
        end: Last timestamp, included.
        bar_duration: Length of a bar; the usual step between bars of an asset when left out.

    Attributes:
        universe: Assets by code.
        known: When each timestamp's bars are complete, int64[T] microseconds UTC.
        duration: Length of a bar in microseconds.

    Raises:
        DataError: The data is refused, or has no bars.
    """

    def __init__(
        self,
        data: Any,
        *,
        calendar: TradingCalendar | None = None,
        start: Any = None,
        end: Any = None,
        bar_duration: dt.timedelta | str | None = None,
    ) -> None:
        feeds = data if isinstance(data, list | tuple) else (data,)
        clock = (
            data
            if isinstance(data, Clock)
            else Clock(*feeds, calendar=calendar, start=start, end=end)
        )
        self.chunks = list(clock.chunks())
        self.universe = clock.universe
        self.axis = clock.axis
        self._calendar = calendar
        lengths = [len(chunk) for chunk in self.chunks]
        self._firsts = np.concatenate([[0], np.cumsum(lengths)])
        self.sessions = np.concatenate([chunk.sessions for chunk in self.chunks])
        times = np.concatenate([chunk.times for chunk in self.chunks])
        self.known = self._known(times)
        self.duration = (
            self._usual_step(times)
            if bar_duration is None
            else read_duration(bar_duration, "bar_duration")
        )

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def bars(self, step: int) -> Bars:
        """The bars of a timestamp, counted from 0."""
        number = int(np.searchsorted(self._firsts, step, side="right")) - 1
        return self.chunks[number].bars(step - int(self._firsts[number]))

    def time(self, step: int) -> dt.datetime:
        """When the bars of a timestamp are known; before the first, when it begins."""
        if step < 0:
            return moment(int(self.known[0]) - self.duration)
        return moment(int(self.known[step]))

    def gap_after(self, step: int) -> int:
        """Microseconds from one timestamp to the next."""
        return (self.time(step + 1) - self.time(step)) // _MICROSECOND

    def begins_of(self, step: int) -> int:
        """When the bars of a timestamp began, microseconds UTC."""
        return int(self._begins[step])

    def ends_session(self, step: int) -> bool:
        """Whether a timestamp is the last of its session."""
        return step + 1 >= len(self) or bool(self.sessions[step + 1] != self.sessions[step])

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Every bar: step, symbol, begins (microseconds UTC), open, high, low, close, volume."""
        codes = np.concatenate([chunk.codes for chunk in self.chunks])
        counts = np.concatenate([np.diff(chunk.offsets) for chunk in self.chunks])
        steps = np.repeat(np.arange(len(self)), counts)
        ids = np.array(self.universe.ids, dtype=object)
        begins = self._begins
        prices = {
            name: np.concatenate([getattr(chunk, name) for chunk in self.chunks])
            for name in ("open", "high", "low", "close", "volume")
        }
        prices["volume"] = np.nan_to_num(prices["volume"])
        return pl.DataFrame(
            {"step": steps, "symbol": ids[codes].tolist(), "begins": begins[steps], **prices}
        )

    @cached_property
    def _begins(self) -> np.ndarray:
        if self.axis.is_session:
            return midnights(self.sessions.astype(np.int64), self._zone)
        begins: np.ndarray = self.known - self.duration
        return begins

    @property
    def _zone(self) -> str:
        return "UTC" if self._calendar is None else self._calendar.zone

    def _known(self, times: np.ndarray) -> np.ndarray:
        """Labels of sessions are known at the close; naive times are the market's, or UTC."""
        if not self.axis.is_session:
            return from_wall_clock(times, self._zone) if self.axis.zone is None else times
        if self._calendar is not None:
            return self._calendar.closes(self.sessions)
        known: np.ndarray = (self.sessions.astype(np.int64) + 1) * DAY_US
        return known

    def _usual_step(self, times: np.ndarray) -> int:
        if self.axis.is_session:
            return DAY_US
        codes = np.concatenate([chunk.codes for chunk in self.chunks])
        counts = np.concatenate([np.diff(chunk.offsets) for chunk in self.chunks])
        of_row = np.repeat(times, counts)
        order = np.argsort(codes, kind="stable")
        same = np.diff(codes[order]) == 0
        steps = np.diff(of_row[order])[same]
        if len(steps) == 0:
            raise DataError(
                "No asset has two bars, so nothing says how long a bar is: give bar_duration=."
            )
        values, often = np.unique(steps, return_counts=True)
        return int(values[often.argmax()])
