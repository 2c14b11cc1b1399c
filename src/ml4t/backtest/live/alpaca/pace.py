"""How often Alpaca may be asked."""

from __future__ import annotations

import time
from collections import deque
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MINUTE = 60.0
_RESERVE = 0.1  # of the requests of a minute, for cancels
_LONGEST = 120.0  # seconds; a later reset is in another clock than the reply's
_PAUSE = 1.0  # seconds after a refusal that does not say how long
_TOO_MANY = 429


class Pace:
    """Counts requests, and tells how long to wait for the next one.

    No more than so many are made in any minute, and a tenth of them by cancels alone. What the
    server says of its own count goes before: other programs may use the account, too.

    Args:
        per_minute: Requests in a minute; None waits only when the server says so.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._made: deque[float] = deque()
        self._blocked = 0.0  # until then, all
        self._reserved = 0.0  # until then, all but cancels

    def spend(self) -> None:
        """A request is made now."""
        self._forget()
        self._made.append(self._clock())

    def wait(self, *, is_cancel: bool) -> float:
        """Seconds until a request may be made."""
        self._forget()
        now = self._clock()
        until = self._blocked if is_cancel else max(self._blocked, self._reserved)
        if self.per_minute is not None:
            room = self.per_minute if is_cancel else self.per_minute * (1.0 - _RESERVE)
            excess = len(self._made) - int(room)
            if excess >= 0:
                until = max(until, self._made[excess] + _MINUTE)
        return max(0.0, until - now)

    def read(self, status: int, headers: Mapping[str, str]) -> None:
        """A reply has come, perhaps with the server's own count."""
        now, wait = self._clock(), _reset_in(headers)
        limit, left = _whole(headers, "X-Ratelimit-Limit"), _whole(headers, "X-Ratelimit-Remaining")
        if status == _TOO_MANY:
            self._blocked = now + (_PAUSE if wait is None else max(wait, _PAUSE))
            return
        if limit is None or left is None:
            return
        if self.per_minute is not None:
            self.per_minute = max(1, limit)
        if wait is not None and left <= limit * _RESERVE:
            self._reserved = now + wait
            if left == 0:
                self._blocked = now + wait

    def _forget(self) -> None:
        begin = self._clock() - _MINUTE
        while self._made and self._made[0] <= begin:
            self._made.popleft()


def _reset_in(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server counts anew, by the server's clock; None when it does not say."""
    reset, date = _whole(headers, "X-Ratelimit-Reset"), headers.get("Date")
    if reset is None or date is None:
        return None
    try:
        wait = reset - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return wait if 0.0 <= wait <= _LONGEST else None


def _whole(headers: Mapping[str, str], name: str) -> int | None:
    text = str(headers.get(name, ""))
    return int(text) if text.isdecimal() else None
