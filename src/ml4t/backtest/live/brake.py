"""A brake on orders that are sent again and again."""

from __future__ import annotations

from ml4t.backtest.live.timing import MICROSECONDS, is_due

FREE = 25
_LONGEST = 60


class Brake:
    """Lets an order go to the broker a number of times, and then ever more slowly.

    An order is sent once, or some times where the broker fills it in parts or it made room for
    another one. One that is sent dozens of times goes in a circle, whatever drives it, and would
    do so as fast as the broker takes messages.
    """

    def __init__(self) -> None:
        self._held_until: dict[int, int] = {}
        self._untold: list[int] = []

    def passed(self, order_id: int, times: int, now: int) -> None:
        """An order was sent.

        Args:
            order_id: Of the book.
            times: How often, this time included.
            now: Microseconds.
        """
        if times < FREE:
            return
        if order_id not in self._held_until:
            self._untold.append(order_id)
        seconds = min(1 << min(times - FREE, 10), _LONGEST)
        self._held_until[order_id] = now + seconds * MICROSECONDS

    def holds_until(self, order_id: int, now: int) -> int:
        """When an order may be sent again, microseconds; 0 when it may be sent now."""
        until = self._held_until.get(order_id, 0)
        return 0 if is_due(until, now, _LONGEST * MICROSECONDS) else until

    def take(self) -> list[int]:
        """The orders that have begun to be held, each told once."""
        told, self._untold = self._untold, []
        return told
