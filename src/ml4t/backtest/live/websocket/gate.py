"""How much may wait between a socket and the strategy: more holds the socket up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from ml4t.backtest.live.inbox import Inbox, Pump


class Gate:
    """Puts arrivals on an inbox, and waits while too many are unread.

    Args:
        inbox: Where they go.
        limit: How many may wait.
        counts: Where it is counted how often it waited.
    """

    def __init__(self, inbox: Inbox, limit: int, counts: Counter[str]) -> None:
        self._inbox = inbox
        self._limit = limit
        self._counts = counts
        self._changed = threading.Condition()
        self._waiting = 0
        self._is_open = True

    def __len__(self) -> int:
        return self._waiting

    def put(self, arrival: Any, weight: int = 1) -> None:
        """Leave an arrival, once there is room for it; nothing when it is closed.

        Args:
            arrival: It.
            weight: For how many it counts.
        """
        with self._changed:
            if self._waiting >= self._limit and self._is_open:
                self._counts["held_back"] += 1
                half = self._limit // 2
                self._changed.wait_for(lambda: self._waiting <= half or not self._is_open)
            if not self._is_open:
                return
            self._waiting += weight
        self._inbox.put("feed", Carried(self, arrival, weight))

    def taken(self, weight: int) -> None:
        """An arrival has been read."""
        with self._changed:
            self._waiting -= weight
            if self._waiting <= self._limit // 2:
                self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()


class Carried:
    """An arrival that came through a gate.

    Args:
        gate: Which.
        content: It.
        weight: For how many it counts.
    """

    __slots__ = ("content", "gate", "weight")

    def __init__(self, gate: Gate, content: Any, weight: int) -> None:
        self.gate = gate
        self.content = content
        self.weight = weight


class GatedPump:
    """Takes arrivals from a pump, and tells their gate; the feed sees to those of its own.

    Args:
        pump: The session's, or the feed's.
        before: Called before each wait.
        see_to: Handles what the reader does not know; whether it did.
    """

    def __init__(
        self, pump: Pump, before: Callable[[], None], see_to: Callable[[Any], bool]
    ) -> None:
        self._pump = pump
        self._before = before
        self._see_to = see_to

    def __call__(self, deadline: int | None) -> Any | None:
        """The next message for the feed; None once the deadline has passed."""
        while True:
            self._before()
            message = self._pump(deadline)
            if isinstance(message, Carried):
                message.gate.taken(message.weight)
                message = message.content
            if not self._see_to(message):
                return message
