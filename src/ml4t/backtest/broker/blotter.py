"""The blotter: every order of a run, from its decision to its end."""

from __future__ import annotations

import math
from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.broker.basket import OpenBasket
from ml4t.backtest.errors import did_you_mean
from ml4t.backtest.types.order import (
    Order,
    OrderEvent,
    OrderSide,
    OrderStatus,
    OrderType,
    TimeInForce,
    may_follow,
    plain_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from ml4t.backtest.broker.basket import Basket
    from ml4t.backtest.types.bars import Bars, Universe


_HUGE = 1e300
# What float noise may leave of a quantity that was filled in parts.
_DUST = 1e-12


class Working:
    """One open order and how far it has come. Owned by the blotter."""

    __slots__ = (
        "average_price",
        "code",
        "decided_at",
        "filled",
        "order",
        "order_id",
        "remaining",
        "session",
        "sign",
        "status",
        "step",
        "time_in_force",
        "triggered",
        "type",
    )

    def __init__(
        self, order_id: int, order: Order, code: int, quantity: float, decided_at: int, step: int
    ) -> None:
        self.order_id = order_id
        self.order = order
        self.code = code
        self.sign = 1.0 if order.side == OrderSide.BUY else -1.0
        self.type = order.type
        self.time_in_force = order.time_in_force
        self.remaining = quantity
        self.filled = 0.0
        self.average_price = math.nan
        self.status = OrderStatus.ACCEPTED
        self.decided_at = decided_at
        self.step = step
        self.session: int | None = None
        self.triggered = False


class Blotter:
    """The book of a run's orders: gives ids, checks transitions, remembers every end.

    Order ids count from 1 in the order of submission. All brokers use one, so that an order means
    the same everywhere.

    Args:
        universe: Assets by code.
    """

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.open: dict[int, Working] = {}
        self.baskets: list[OpenBasket] = []
        self.is_watched = False
        self.bars: Bars | None = None
        self.step = -1
        self._of_asset: dict[int, dict[int, Working]] = {}
        self._next_id = 1
        self._changes: list[OrderEvent] = []
        # One entry an order, by id: what the orders' frame is made of.
        self.codes = array("q")
        self.steps = array("q")
        self.ended: list[tuple[Any, ...]] = []
        self.ended_baskets: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def count(self) -> int:
        """Orders submitted so far."""
        return self._next_id - 1

    @property
    def is_empty(self) -> bool:
        """No order is open."""
        return not self.open and not self.baskets

    def at(self, bars: Bars, step: int) -> None:
        """Decisions from now on are made on these bars, the run's timestamp number `step`."""
        self.bars, self.step = bars, step

    @property
    def now(self) -> datetime | None:
        """The time of decisions made now; None before the first bar."""
        return None if self.bars is None else self.bars.timestamp

    @property
    def now_us(self) -> int:
        """As `now`, in microseconds; long ago before the first bar."""
        bars = self.bars
        return -(2**62) if bars is None else bars.chunk.microseconds[bars.index]

    def watch(self) -> None:
        """Collect changes from now on; orders from before the run are changes too."""
        self.is_watched = True
        rows = [*self.ended, *(self._row(working, "") for working in self.open.values())]
        for order_id, order, status, filled, average, reason in sorted(rows, key=lambda r: r[0]):
            self._changes.append(
                OrderEvent(order_id, order, status, self.now, filled, average, reason)
            )

    # -- an order's life ----------------------------------------------------------------------

    def accept(self, order: Order, code: int, quantity: float) -> Working:
        """Take an order into the book, to work `quantity` units of it."""
        if self.baskets:
            self.unpack()  # so that `open` stays in order of submission
        order = plain_order(order)
        working = Working(self._new_id(code), order, code, quantity, self.now_us, self.step)
        self.open[working.order_id] = working
        self._of_asset.setdefault(code, {})[working.order_id] = working
        if self.is_watched:
            self._note(working, "")
        return working

    def accept_basket(self, basket: Basket) -> None:
        """Take many market orders into the book."""
        n = len(basket)
        if n == 0:
            return
        first = self._next_id
        self._next_id += n
        self.codes.extend(basket.codes.tolist())
        self.steps.extend(repeat(self.step, n))
        self.baskets.append(OpenBasket(basket, first, self.now_us, self.step))
        if self.is_watched:
            self.unpack()

    def reject(self, order: Order, reason: str, code: int = -1) -> int:
        """Refuse an order at once.

        Returns:
            The id it is known by in the results.
        """
        order_id = self._new_id(code)
        self.ended.append((order_id, order, OrderStatus.REJECTED, 0.0, math.nan, reason))
        if self.is_watched:
            self._changes.append(
                OrderEvent(order_id, order, OrderStatus.REJECTED, self.now, reason=reason)
            )
        return order_id

    def fill(self, working: Working, quantity: float, price: float) -> None:
        """Some of an order was executed."""
        before = working.filled
        working.filled = before + quantity
        working.average_price = (
            price
            if before == 0.0
            else (working.average_price * before + price * quantity) / working.filled
        )
        working.remaining -= quantity
        if working.remaining <= _DUST * working.order.quantity:
            working.remaining = 0.0
            below_lot = working.order.quantity - working.filled
            if below_lot > 0.0 and below_lot > 1e-9 * working.order.quantity:
                self.end(working, OrderStatus.CANCELED, f"below one lot: {below_lot:g} units")
            else:
                self.end(working, OrderStatus.FILLED, "")
            return
        self._move(working, OrderStatus.PARTIALLY_FILLED)
        if self.is_watched:
            self._note(working, "")

    def end(self, working: Working, status: OrderStatus, reason: str) -> None:
        """An order's life is over."""
        self._move(working, status)
        order_id = working.order_id
        del self.open[order_id], self._of_asset[working.code][order_id]
        filled, average = working.filled, working.average_price
        self.ended.append((order_id, working.order, status, filled, average, reason))
        if self.is_watched:
            self._note(working, reason)

    def fill_basket(self, basket: OpenBasket, rows: np.ndarray, prices: np.ndarray) -> np.ndarray:
        """The orders at `rows` of an open basket were filled whole, at `prices`.

        Returns:
            Their ids.
        """
        order_ids: np.ndarray = basket.order_ids[rows]
        self.ended_baskets.append((basket.tag, order_ids, basket.quantities[rows], prices))
        if len(rows) == len(basket.order_ids):
            self.baskets.remove(basket)
        else:
            left = np.ones(len(basket.order_ids), dtype=bool)
            left[rows] = False
            basket.keep(left.nonzero()[0])
        return order_ids

    def unpack(self) -> None:
        """Turn open baskets into single orders: somebody wants to look at or touch one."""
        for basket in self.baskets:
            ids = self.universe.ids
            for order_id, code, quantity in zip(
                basket.order_ids.tolist(),
                basket.codes.tolist(),
                basket.quantities.tolist(),
                strict=True,
            ):
                side = OrderSide.BUY if quantity > 0 else OrderSide.SELL
                order = Order(ids[code], side, abs(quantity), tag=basket.tag)
                working = Working(
                    order_id, order, code, abs(quantity), basket.decided_at, basket.step
                )
                self.open[order_id] = working
                self._of_asset.setdefault(code, {})[order_id] = working
                if self.is_watched:
                    self._note(working, "")
        self.baskets.clear()

    # -- looking ------------------------------------------------------------------------------

    def working(self, code: int | None = None) -> list[Working]:
        """Open orders of one asset, or all, in order of submission."""
        if self.baskets:
            self.unpack()
        if code is None:
            return list(self.open.values())
        return list(self._of_asset.get(code, {}).values())

    def has_open(self, code: int) -> bool:
        """Whether any order of this asset is open."""
        if self._of_asset.get(code):
            return True
        return any(bool((basket.codes == code).any()) for basket in self.baskets)

    def get(self, order_id: int) -> Working | None:
        """An open order by its id."""
        if order_id not in self.open and self.baskets:
            self.unpack()
        return self.open.get(order_id)

    def event(self, working: Working, reason: str = "") -> OrderEvent:
        """An open order as users see it."""
        return OrderEvent(
            working.order_id,
            working.order,
            working.status,
            self.now,
            working.filled,
            working.average_price,
            reason,
        )

    def take_changes(self) -> list[OrderEvent]:
        """Changes since the last call; collected only while `is_watched`."""
        changes, self._changes = self._changes, []
        return changes

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """(id, order, status, filled, average price, reason) of every single order."""
        yield from self.ended
        for working in self.open.values():
            yield self._row(working, "")

    # -- inside -------------------------------------------------------------------------------

    def _new_id(self, code: int) -> int:
        order_id = self._next_id
        self._next_id += 1
        self.codes.append(code)
        self.steps.append(self.step)
        return order_id

    def _move(self, working: Working, status: OrderStatus) -> None:
        assert may_follow(working.status, status), f"{working.status} -> {status}"
        working.status = status

    def _note(self, working: Working, reason: str) -> None:
        self._changes.append(self.event(working, reason))

    @staticmethod
    def _row(working: Working, reason: str) -> tuple[Any, ...]:
        return (
            working.order_id,
            working.order,
            working.status,
            working.filled,
            working.average_price,
            reason,
        )


def unknown_asset(asset_id: object, universe: Universe) -> str:
    """The reason an order for an asset without data is rejected with."""
    return f"unknown asset {asset_id!r}. {did_you_mean(str(asset_id), universe.ids)}"


def is_sane_price(price: float | None) -> bool:
    """Whether a limit or stop price can be meant."""
    return _is_finite(price) and price is not None and price > 0.0


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError):  # a whole number beyond all floats; a complex number
        return False


def refusal(order: Order) -> str:
    """Why an order cannot be meant, whatever the market: an empty string when it can."""
    if _is_usual(order):
        return ""
    return _bad_word(order) or _bad_quantity(order.quantity) or _bad_price(order)


def _bad_word(order: Order) -> str:
    asset_id: object = order.asset_id
    if not isinstance(asset_id, str):
        return f"asset_id {asset_id!r} is not a name"
    for name, kind in (("side", OrderSide), ("type", OrderType), ("time_in_force", TimeInForce)):
        value = getattr(order, name)
        try:
            kind(value)
        except ValueError:
            return f"{name} {value!r} is not one of {', '.join(map(repr, _values(kind)))}"
    return ""


def _bad_quantity(quantity: Any) -> str:
    if not _is_finite(quantity):
        return f"quantity must be a finite number, not {quantity!r}"
    if quantity <= 0:
        return f"quantity must be positive, not {quantity!r}; the side says the direction"
    return ""


def _bad_price(order: Order) -> str:
    kind = OrderType(order.type)
    wants_limit = kind in {OrderType.LIMIT, OrderType.STOP_LIMIT}
    wants_stop = kind in {OrderType.STOP, OrderType.STOP_LIMIT}
    for wanted, name in ((wants_limit, "limit_price"), (wants_stop, "stop_price")):
        price = getattr(order, name)
        if wanted and not is_sane_price(price):
            return f"a {kind.value} order needs a positive {name}, not {price!r}"
        if not wanted and price is not None:
            return f"a {kind.value} order has no {name}"
    return ""


def _is_usual(order: Order) -> bool:
    """A market order as the helpers make them: nearly all orders are, and nothing can be wrong."""
    return (
        order.type is OrderType.MARKET
        and type(order.side) is OrderSide
        and type(order.time_in_force) is TimeInForce
        and type(order.asset_id) is str
        and type(order.quantity) in {int, float}
        and 0 < order.quantity < _HUGE
        and order.limit_price is None
        and order.stop_price is None
    )


def _values(kind: Iterable[Any]) -> list[str]:
    return [member.value for member in kind]
