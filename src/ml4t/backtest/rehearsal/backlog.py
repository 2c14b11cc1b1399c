"""Messages that come late, by bars, or after the next one."""

from __future__ import annotations

from typing import Any


class Backlog:
    """Messages that come late, by bars, or after the next one."""

    def __init__(self) -> None:
        self._late: list[tuple[int, Any]] = []
        self._swapped: list[Any] = []

    def delay(self, message: Any, until: int) -> None:
        """Hold a message back until a step."""
        self._late.append((until, message))

    def swap(self, message: Any) -> None:
        """Hold a message back until the next one."""
        self._swapped.append(message)

    def take_swapped(self) -> list[Any]:
        """What the next message has let go."""
        swapped, self._swapped = self._swapped, []
        return swapped

    def take_due(self, step: int) -> list[Any]:
        """What is due at a step; what waited for a next message in vain, too."""
        due = [message for until, message in self._late if until <= step]
        self._late = [(until, message) for until, message in self._late if until > step]
        return [*due, *self.take_swapped()]
