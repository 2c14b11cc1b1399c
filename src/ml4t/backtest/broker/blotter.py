"""The blotter: every order of a run, from its decision to its end."""

from __future__ import annotations

import math
from array import array
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
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
    from collections.abc import Iterable
    from datetime import datetime

    from ml4t.backtest.broker.basket import Basket
    from ml4t.backtest.types.bars import Bars, Universe


_HUGE = 1e300
# What float noise may leave of a quantity that was filled in parts.
_DUST = 1e-12
# What of a quantity may be missing in whole lots before it counts as cut to lots.
_LOT_NOISE = 1e-9
_BUY, _MARKET, _FILLED = OrderSide.BUY, OrderType.MARKET, OrderStatus.FILLED


class Working(msgspec.Struct, gc=False):
    """One order in the book, and how far it has come. Owned by the blotter.

    `sign` is 1 for a buy and -1 for a sale; `remaining` units are still to be filled;
    `decided_at` is in microseconds, `step` the number of the run's timestamp; `session` is the
    first one it could trade in. `reason` says why it ended without filling whole.
    """

    order_id: int
    order: Order
    code: int
    sign: float
    type: OrderType
    time_in_force: TimeInForce
    remaining: float
    decided_at: int
    step: int
    status: OrderStatus = OrderStatus.ACCEPTED
    filled: float = 0.0
    average_price: float = math.nan
    reason: str = ""
    session: int | None = None
    triggered: bool = False


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
        self.singles: list[Working] = []  # all that came one by one, open or over
        self.baskets: list[OpenBasket] = []
        self.is_watched = False
        self.bars: Bars | None = None
        self.step = -1
        self._of_asset: dict[int, dict[int, Working]] = {}
        self._next_id = 1
        self._changes: list[OrderEvent] = []
        # One entry an order, by id.
        self.codes = array("q")
        self.steps = array("q")
        self.ended_baskets: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def count(self) -> int:
        """Orders submitted so far."""
        return self._next_id - 1

    @property
    def is_empty(self) -> bool:
        """No order is open."""
        return not self.open and not self.baskets

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
        for working in self.singles:
            self._note(working)

    def check(self, order: Order) -> tuple[Order, int, str]:
        """Look at an order before it is taken or refused.

        Returns:
            The order with enumerations for its words and plain floats for its numbers, the code
            of its asset (-1 when unknown), and why it cannot be meant, whatever the market: an
            empty string when it can. An order that cannot be meant is returned as it was asked.
        """
        asset_id: object = order.asset_id
        code = self.universe.codes.get(asset_id, -1) if isinstance(asset_id, str) else -1
        if code >= 0 and _is_usual(order):
            return order, code, ""
        reason = _bad_word(order) or _bad_quantity(order.quantity) or _bad_price(order)
        if not reason and code < 0:
            reason = unknown_asset(asset_id, self.universe)
        return (order if reason else plain_order(order)), code, reason

    # -- an order's life ----------------------------------------------------------------------

    def accept(self, order: Order, code: int, quantity: float) -> Working:
        """Take an order into the book, to work `quantity` units of it."""
        if self.baskets:
            self.unpack()  # so that `open` stays in order of submission
        order_id, step = self._next_id, self.step
        self._next_id = order_id + 1
        self.codes.append(code)
        self.steps.append(step)
        return self._enter(order_id, plain_order(order), code, quantity, self.now_us, step)

    def _enter(
        self, order_id: int, order: Order, code: int, quantity: float, decided_at: int, step: int
    ) -> Working:
        working = Working(
            order_id,
            order,
            code,
            1.0 if order.side == _BUY else -1.0,
            order.type,  # type: ignore[arg-type]  # plain, as everything accepted
            order.time_in_force,  # type: ignore[arg-type]
            quantity,
            decided_at,
            step,
        )
        self.singles.append(working)
        self.open[order_id] = working
        of_asset = self._of_asset.get(code)
        if of_asset is None:
            self._of_asset[code] = {order_id: working}
        else:
            of_asset[order_id] = working
        if self.is_watched:
            self._note(working)
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
        order_id = self._next_id
        self._next_id = order_id + 1
        self.codes.append(code)
        self.steps.append(self.step)
        working = Working(
            order_id,
            order,
            code,
            0.0,
            order.type,  # type: ignore[arg-type]  # as it was asked, wrong words included
            order.time_in_force,  # type: ignore[arg-type]
            0.0,
            self.now_us,
            self.step,
            OrderStatus.REJECTED,
            reason=reason,
        )
        self.singles.append(working)
        if self.is_watched:
            self._note(working)
        return order_id

    def fill(self, working: Working, quantity: float, price: float) -> None:
        """Some of an order was executed."""
        before = working.filled
        working.filled = filled = before + quantity
        working.average_price = (
            price if before == 0.0 else (working.average_price * before + price * quantity) / filled
        )
        working.remaining = remaining = working.remaining - quantity
        asked = working.order.quantity
        if remaining > _DUST * asked:
            working.status = OrderStatus.PARTIALLY_FILLED
            if self.is_watched:
                self._note(working)
            return
        working.remaining = 0.0
        below_lot = asked - filled
        if below_lot > 0.0 and below_lot > _LOT_NOISE * asked:
            self.end(working, OrderStatus.CANCELED, f"below one lot: {below_lot:g} units")
        else:
            self.end(working, _FILLED, "")

    def end(self, working: Working, status: OrderStatus, reason: str) -> None:
        """An order's life is over."""
        assert may_follow(working.status, status), f"{working.status} -> {status}"
        working.status, working.reason = status, reason
        order_id = working.order_id
        del self.open[order_id], self._of_asset[working.code][order_id]
        if self.is_watched:
            self._note(working)

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
                self._enter(order_id, order, code, abs(quantity), basket.decided_at, basket.step)
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

    def event(self, working: Working) -> OrderEvent:
        """An order as users see it."""
        return OrderEvent(
            working.order_id,
            working.order,
            working.status,
            self.now,
            working.filled,
            working.average_price,
            working.reason,
        )

    def take_changes(self) -> list[OrderEvent]:
        """Changes since the last call; collected only while `is_watched`."""
        changes, self._changes = self._changes, []
        return changes

    # -- inside -------------------------------------------------------------------------------

    def _note(self, working: Working) -> None:
        self._changes.append(self.event(working))


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
        order.type is _MARKET
        and type(order.quantity) is float
        and 0.0 < order.quantity < _HUGE
        and type(order.side) is OrderSide
        and type(order.time_in_force) is TimeInForce
        and order.limit_price is None
        and order.stop_price is None
    )


def _values(kind: Iterable[Any]) -> list[str]:
    return [member.value for member in kind]
