"""Whether a market is open, and until when; and the bars into which its hours are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.checks import show_duration
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from typing import Any

_REACH = 15  # days: longer than any market is closed between two sessions


class Stretch(NamedTuple):
    """A session, or the time between two.

    Attributes:
        start: Microseconds since 1970 UTC.
        end: The first moment after it.
        is_open: It is a session.
    """

    start: int
    end: int
    is_open: bool


class Hours:
    """The hours of a market, by a calendar.

    Args:
        calendar: A name such as "XNYS" or "24/7", or a calendar; None is "24/7".
    """

    def __init__(self, calendar: Any = None) -> None:
        is_ready = isinstance(calendar, TradingCalendar)
        self.calendar: TradingCalendar = (
            calendar if is_ready else TradingCalendar("24/7" if calendar is None else calendar)
        )
        self._last = Stretch(0, 0, is_open=False)

    @property
    def is_round_the_clock(self) -> bool:
        """Whether the market never closes."""
        return self.calendar.name == "24/7"

    def at(self, moment: int) -> Stretch:
        """The stretch that a moment is in.

        Raises:
            DataError: The calendar does not know the time.
        """
        if not self._last.start <= moment < self._last.end:
            self._last = self._find(moment)
        return self._last

    def _find(self, moment: int) -> Stretch:
        day = moment // DAY_US
        sessions = self.calendar.sessions(day - _REACH, day + _REACH)
        opens, closes = self.calendar.opens(sessions), self.calendar.closes(sessions)
        i = int(np.searchsorted(opens, moment, side="right")) - 1
        if moment < closes[i]:
            return Stretch(int(opens[i]), int(closes[i]), is_open=True)
        return Stretch(int(closes[i]), int(opens[i + 1]), is_open=False)


class Bins:
    """The bars into which time is cut.

    They are counted from the open of a session and end at its close, so that the last one of a
    session may be short; outside sessions they are counted from the close before. Around the
    clock they are counted from midnight UTC, or from `offset` after it.

    Args:
        hours: Of the market.
        length: Of a bar, microseconds.
        vendor: Of the vendor's bars.
        offset: How long after multiples of their length the vendor's bars begin.

    Raises:
        ConfigError: The vendor's bars do not add up to these.
    """

    def __init__(self, hours: Hours, length: int, vendor: int, offset: int = 0) -> None:
        if not 0 < length <= DAY_US or length % vendor:
            raise ConfigError(
                f"bar_duration is {show_duration(length)}, but the vendor's bars are of "
                f"{show_duration(vendor)}. Choose a multiple of that, up to a day."
            )
        if not 0 <= offset < vendor:
            raise ConfigError(
                f"vendor_offset is {show_duration(offset)}, and must be shorter than the vendor's "
                f"bars of {show_duration(vendor)}."
            )
        self._hours = hours
        self.length = length
        self.vendor = vendor
        self.offset = offset
        self._shift = offset if hours.is_round_the_clock else 0  # of days, for the bars we give

    def start_of(self, moment: int) -> int:
        """When the bar that a moment is in begins."""
        stretch = self._hours.at(moment - self._shift)
        return moment - (moment - self._shift - stretch.start) % self.length

    def end_of(self, moment: int) -> int:
        """When the bar that a moment is in ends; a moment between two is in the later one."""
        end = self._hours.at(moment - self._shift).end + self._shift
        return min(self.start_of(moment) + self.length, end)

    def is_in_session(self, moment: int) -> bool:
        """Whether the market is open."""
        return self._hours.at(moment).is_open

    def vendor_floor(self, moment: int) -> int:
        """When the vendor's bar that a moment is in begins."""
        return moment - (moment - self.offset) % self.vendor
