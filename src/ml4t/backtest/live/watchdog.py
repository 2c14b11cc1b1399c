"""How long a feed may be silent while its market is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml4t.backtest.live.hours import Hours


class Watchdog:
    """Says when a feed has been silent for too long; pure: it is told what time it is.

    Silence counts while the market is open only: from the open when the last sign of life was
    before it, and not at all at night, on weekends and on holidays.

    Args:
        hours: Of the market.
        limit: Microseconds of silence that are too long; None never is.
        now: Where silence begins.
    """

    def __init__(self, hours: Hours, limit: int | None, now: int) -> None:
        self._hours = hours
        self._limit = limit
        self.heard = now

    def hear(self, now: int) -> None:
        """A sign of life; also of a feed that was just asked to connect anew."""
        self.heard = max(self.heard, now)

    def silent_since(self, now: int) -> int:
        """The last sign of life, or the open of the market if that was later."""
        stretch = self._hours.at(now)
        if not stretch.is_open:
            return now
        start = stretch.start
        while start > self.heard and (before := self._hours.at(start - 1)).is_open:
            start = before.start  # sessions without a break between them
        return max(self.heard, start)

    def alarm_at(self, now: int) -> int | None:
        """When to look again, which is when silence will have been too long or later; maybe now."""
        if self._limit is None:
            return None
        since = self.silent_since(now)
        alarm, end = since + self._limit, self._hours.at(since).end
        while end <= alarm and self._hours.at(end).is_open:
            end = self._hours.at(end).end
        is_within = alarm < end and self._hours.at(since).is_open
        return alarm if is_within else self._next_open(since) + self._limit

    def is_stale(self, now: int) -> bool:
        """Whether silence has been too long."""
        alarm = self.alarm_at(now)
        return alarm is not None and alarm <= now

    def _next_open(self, moment: int) -> int:
        stretch = self._hours.at(moment)
        while stretch.is_open:
            stretch = self._hours.at(stretch.end)
        return stretch.end
