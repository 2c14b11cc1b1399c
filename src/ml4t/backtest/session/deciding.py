"""What a strategy decided in a step, read from the book: for brokers that keep no list of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from ml4t.backtest.live.recorded import REFUSED
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.types.order import Order


class BookDecisions:
    """Compares the book before the hooks of a step with the book after them.

    Args:
        blotter: The book.
    """

    def __init__(self, blotter: Blotter) -> None:
        self.blotter = blotter
        self._before: list[tuple[Working, Order]] = [(w, w.order) for w in blotter.listed()]
        self._count = len(blotter.singles)

    def commands(self) -> list[tuple[str, Any]]:
        """What was submitted (and refused), canceled and changed, as journals hold it."""
        self.blotter.unpack()
        new = self.blotter.singles[self._count :]
        found: list[tuple[str, Any]] = []
        for working in new:
            found.append(("submit", working.order))
            if working.status is OrderStatus.REJECTED:
                found.append((REFUSED, working.reason))
        for working, order in (*self._before, *((w, w.order) for w in new)):
            if working.status is OrderStatus.CANCELED:
                found.append(("cancel", (working.order_id, working.reason)))
            elif working.order is not order:
                found.append(("replace", (working.order_id, _changes(order, working.order))))
        return found


def _changes(before: Order, now: Order) -> dict[str, Any]:
    was = structs.asdict(before)
    return {name: value for name, value in structs.asdict(now).items() if value != was[name]}
