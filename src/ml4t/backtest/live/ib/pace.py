"""How many messages a second the broker takes."""

from __future__ import annotations

import time
from collections import deque

_SECOND = 1.0
_KEPT = 0.2  # share of the messages that is kept for cancels


class Pace:
    """Counts messages of the last second.

    Args:
        limit: How many there may be.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._sent: deque[float] = deque()

    def count(self, messages: int = 1) -> None:
        """Messages are sent."""
        self._sent.extend([time.monotonic()] * messages)

    def wait(self, *, is_cancel: bool, messages: int = 1) -> float:
        """Seconds until so many may be sent; 0.0 when they may be sent now."""
        now = time.monotonic()
        while self._sent and now - self._sent[0] >= _SECOND:
            self._sent.popleft()
        room = self.limit if is_cancel else self.limit * (1.0 - _KEPT)
        over = len(self._sent) + messages - room
        if over <= 0 or not self._sent:
            return 0.0
        place = min(len(self._sent), max(1, int(over))) - 1
        return max(0.0, self._sent[place] + _SECOND - now)
