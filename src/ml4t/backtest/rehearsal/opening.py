"""When a venue is open: its hours by a calendar, as clients ask for them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.rehearsal.tape import EPOCH, microseconds, moment
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator

_AHEAD = 14  # days: more than any pause of a market


class Opening:
    """The hours of a market.

    Args:
        calendar: None for a market that is always open.
        is_daily: The bars hold whole sessions, so that orders work at any hour.
    """

    def __init__(self, calendar: TradingCalendar | None, *, is_daily: bool = False) -> None:
        self.calendar = TradingCalendar("24/7") if calendar is None else calendar
        self.is_daily = is_daily

    @property
    def zone(self) -> str:
        """The market's time zone."""
        return self.calendar.zone

    def is_open(self, now: dt.datetime) -> bool:
        """Whether an order for the regular hours can trade in a bar that begins now."""
        return self.is_daily or self.is_session_open(now)

    def is_session_open(self, now: dt.datetime) -> bool:
        """Whether a session is under way."""
        time = microseconds(now)
        return any(opens <= time < closes for _, opens, closes in self._around(now))

    def next_open(self, now: dt.datetime) -> dt.datetime:
        """When the next session begins."""
        time = microseconds(now)
        return moment(next(opens for _, opens, _ in self._around(now) if opens > time))

    def next_close(self, now: dt.datetime) -> dt.datetime:
        """When the session under way ends, or else the next one."""
        time = microseconds(now)
        return moment(next(closes for _, _, closes in self._around(now) if closes > time))

    def sessions(
        self, first: dt.date, last: dt.date
    ) -> list[tuple[dt.date, dt.datetime, dt.datetime]]:
        """The sessions between two dates, each with its open and its close."""
        return [
            ((EPOCH + dt.timedelta(days=day)).date(), moment(opens), moment(closes))
            for day, opens, closes in self._within(_day(first), _day(last))
        ]

    def _around(self, now: dt.datetime) -> Iterator[tuple[int, int, int]]:
        day = microseconds(now) // DAY_US
        return self._within(day - 2, day + _AHEAD)

    def _within(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        days = self.calendar.known_sessions(first, last)
        if len(days) == 0:
            return iter(())
        labels = np.asarray(days)
        opens, closes = self.calendar.opens(labels), self.calendar.closes(labels)
        return zip(labels.tolist(), opens.tolist(), closes.tolist(), strict=True)


def _day(date: dt.date) -> int:
    return (date - EPOCH.date()).days
