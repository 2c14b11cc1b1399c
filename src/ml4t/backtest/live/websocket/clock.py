"""What time it is at a server: for recordings that are streamed at other times and speeds."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from ml4t.backtest.live.timing import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_WAIT = 60.0  # seconds; news of the time wakes whoever waits
_LAST = 9_214_646_400_000_000  # 2262: a clock that races is stopped before arithmetic breaks
_LOOK = 0.05  # seconds between two looks at a clock that stands


class ServedTime:
    """Follows the clock of a server; see `TimeSource`.

    It never goes back. Between two messages it goes on at the server's speed.

    Args:
        ask: Connects, so that something is heard; may raise.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._base: tuple[int, float, float] | None = None  # time, speed, when that was heard
        self._latest = 0

    def follow(self, now: int, speed: float) -> bool:
        """The server says what time it is; whether it had gone on without being seen."""
        with self._lock:
            behind = self._base is None or now > self._now(self._base)
            self._base = (now, speed, time.monotonic())
            return behind

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        if self._base is None:
            self._ask()
        with self._lock:
            assert self._base is not None
            self._latest = max(self._latest, self._now(self._base))
            return self._latest

    def seconds_until(self, moment: int) -> float:
        """Real seconds until a moment, if nothing is heard."""
        left = moment - self.now()
        if left <= 0:
            return 0.0
        assert self._base is not None
        speed = self._base[1]
        return min(_LONGEST_WAIT, left / MICROSECONDS / speed) if speed else _LOOK

    @staticmethod
    def _now(base: tuple[int, float, float]) -> int:
        moment, speed, heard = base
        return min(_LAST, moment + int((time.monotonic() - heard) * speed * MICROSECONDS))
