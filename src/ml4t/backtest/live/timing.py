"""What time it is: the one place of the library that looks at a clock."""

from __future__ import annotations

import time
from typing import Protocol

MICROSECONDS = 1_000_000
RETRY = 1 * MICROSECONDS  # before an order that nobody knows about is looked up again
LATE = 5 * MICROSECONDS  # for what the broker says there is, and that has not come


class TimeSource(Protocol):
    """Tells a session what time it is, and how long to wait for a moment."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        ...

    def seconds_until(self, moment: int) -> float:
        """Real seconds until `moment`, microseconds since 1970; 0.0 when it has passed."""
        ...


def is_due(moment: int, now: int, period: int) -> bool:
    """Whether a moment has come that was set at most `period` ahead.

    One that is further ahead was set by a clock that has been put back since: it has come, too.
    """
    return not now < moment <= now + period


class WallTime:
    """The machine's clock."""

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.time_ns() // 1_000  # noqa: TID251  the one clock there is

    def seconds_until(self, moment: int) -> float:
        """Real seconds until a moment."""
        return max(0.0, (moment - self.now()) / MICROSECONDS)


class ScaledTime:
    """Time that began elsewhere and runs faster: for rehearsals of recorded days.

    Args:
        start: Microseconds since 1970 that it shows at first.
        speed: Seconds that pass in one real second.
    """

    def __init__(self, start: int, speed: float) -> None:
        self.start = start
        self.speed = speed
        self._began = time.monotonic()

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self.start + int((time.monotonic() - self._began) * self.speed * MICROSECONDS)

    def seconds_until(self, moment: int) -> float:
        """Real seconds until a moment of this time."""
        return max(0.0, (moment - self.now()) / MICROSECONDS / self.speed)
