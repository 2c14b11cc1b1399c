"""Orders that depend on each other: one waits for another, or cancels it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.broker.trailing import start_trail
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.types.order import Order


class Links:
    """The links between the orders of a run's book.

    An order that names another one with `after` is PENDING until that one fills, works as many of
    its units as the other has filled of its own, and is canceled when the other ends with nothing
    filled. Of the orders that share a name in `oco`, a fill takes as many units from the others.
    An exit (reduce-only) that begins to fill ends what is left of the entry it waited for, and
    follows that entry's quantity when it is replaced.

    Args:
        blotter: The book they stand in.

    Attributes:
        is_used: Some order of the run has a link.
        crosses: Some order of the run waits, or has waited, for one of another asset.
        pending: Orders that wait for another one, by id.
        activated: Orders that have become open since this list was emptied last.
    """

    def __init__(self, blotter: Blotter) -> None:
        self.blotter = blotter
        self.is_used = False
        self.crosses = False
        self.pending: dict[int, Working] = {}
        self.activated: list[Working] = []
        self._waiting: dict[int, list[Working]] = {}
        self._groups: dict[str, list[Working]] = {}

    def obstacle(self, order: Order) -> str:
        """Why an order cannot wait for the one it names: an empty string when it can."""
        if not order.after:
            return ""
        parent = self.blotter.find(order.after)
        if parent is None:
            return f"after={order.after}: there is no such order"
        if not parent.status.is_open and parent.filled == 0.0:
            return _waited_for(parent)
        return ""

    def join(self, working: Working) -> None:
        """An order with a link comes into the book: at work, or waiting for another one."""
        self.is_used = True
        order = working.order
        if order.oco:
            self._groups.setdefault(order.oco, []).append(working)
        if not order.after:
            self.blotter.activate(working)
            return
        parent = self.blotter.find(order.after)
        assert parent is not None, "refused by obstacle()"
        self.crosses = self.crosses or parent.code != working.code
        working.status, working.remaining = OrderStatus.PENDING, 0.0
        self.pending[working.order_id] = working
        if parent.status.is_open:
            self._waiting.setdefault(parent.order_id, []).append(working)
        self.blotter.tell(working)
        if parent.filled:
            self._share(working, parent, parent.average_price)
        if working.status is OrderStatus.PENDING and not parent.status.is_open:
            self.blotter.end(working, OrderStatus.CANCELED, _waited_for(parent))

    def filled(self, working: Working, quantity: float, price: float) -> None:
        """Units of an order were executed."""
        for child in self._waiting.get(working.order_id, ()):
            self._share(child, working, price)
        order = working.order
        if order.oco:
            self._take_from_others(working, quantity)
        if order.after and order.reduce_only:
            entry = self.blotter.find(order.after)
            if entry is not None and entry.status.is_open:
                text = f"its exit, order {working.order_id}, has begun to fill"
                self.blotter.end(entry, OrderStatus.CANCELED, text)

    def replaced(self, working: Working, quantity: float) -> None:
        """An order is to work `quantity` units in all; its exits follow it."""
        ratio = quantity / working.whole
        if working.order.after:
            share = round_to_lot(working.worked * ratio, self.blotter.lot_of(working.code))
            working.worked = max(share, working.filled + working.taken)
            working.remaining = working.worked - working.filled - working.taken
        else:
            working.remaining = quantity - working.filled - working.taken
        for child in self._waiting.get(working.order_id, ()):
            if child.order.reduce_only and ratio != 1.0:
                asked = child.order.quantity * ratio
                child.order = structs.replace(child.order, quantity=asked)
                child.whole *= ratio

    def ended(self, working: Working) -> None:
        """An order's life is over."""
        self.pending.pop(working.order_id, None)
        for child in self._waiting.pop(working.order_id, ()):
            child.whole = child.worked  # no more will come
            if child.status is OrderStatus.PENDING:
                self.blotter.end(child, OrderStatus.CANCELED, _waited_for(working))
        group = self._groups.get(working.order.oco)
        if group is not None:
            group.remove(working)
            if not group:
                del self._groups[working.order.oco]

    @staticmethod
    def shortfall(working: Working) -> str:
        """Why an order that has filled all it was given has not filled what it asked for."""
        return f"order {working.order.after}, which it waited for, gave it {working.whole:g} units"

    def waiting_for(self, order_id: int) -> list[Working]:
        """Open orders that wait for this one to fill."""
        return [child for child in self._waiting.get(order_id, ()) if child.status.is_open]

    def take_activated(self) -> list[Working]:
        """Orders that have become open since the last call."""
        activated, self.activated = self.activated, []
        return activated

    def _share(self, child: Working, parent: Working, price: float) -> None:
        """Let a waiting order work its share of what its parent has filled."""
        if not child.status.is_open:
            return
        share = child.whole
        if parent.filled < parent.whole:
            share *= parent.filled / parent.whole
            share = round_to_lot(share, self.blotter.lot_of(child.code))
        share = max(share, child.worked)  # one that was replaced may have more than its share
        child.remaining += share - child.worked
        child.worked = share
        if child.status is OrderStatus.PENDING and child.remaining > 0.0:
            del self.pending[child.order_id]
            child.status = OrderStatus.ACCEPTED
            if child.type.is_trailing:
                is_own = child.code == parent.code
                start_trail(child, price if is_own else self.blotter.price_of(child.code))
            self.blotter.activate(child)
            self.activated.append(child)

    def _take_from_others(self, working: Working, quantity: float) -> None:
        text = f"one cancels other: order {working.order_id} filled"
        for other in list(self._groups.get(working.order.oco, ())):
            if other is working or not other.status.is_open:
                continue
            other.remaining -= quantity
            other.taken += quantity
            if working.remaining == 0.0 or other.remaining <= DUST * other.whole:
                self.blotter.end(other, OrderStatus.CANCELED, text)


def _waited_for(parent: Working) -> str:
    """What became of an order that another one waits for in vain."""
    status = parent.status.value
    fate = f"has {status}" if parent.status is OrderStatus.EXPIRED else f"was {status}"
    if parent.filled:
        return f"order {parent.order_id}, which it waits for, filled too little for one lot"
    return f"order {parent.order_id}, which it waits for, {fate} with nothing filled"
