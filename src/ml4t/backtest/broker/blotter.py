"""The blotter: every order of a run, from its decision to its end."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ml4t.backtest.broker.basket import Gathering, OpenBasket
from ml4t.backtest.broker.filled import FilledOrders
from ml4t.backtest.broker.links import Links
from ml4t.backtest.broker.order_checks import is_usual, refusal, unknown_asset
from ml4t.backtest.kernels.noise import DUST
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
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from ml4t.backtest.broker.basket import Basket
    from ml4t.backtest.types.bars import Bars, Universe


# What of a quantity may be missing in whole lots before it counts as cut to lots.
_LOT_NOISE = 1e-9
_BUY, _MARKET, _FILLED = OrderSide.BUY, OrderType.MARKET, OrderStatus.FILLED


class Working(msgspec.Struct, gc=False):
    """One order in the book, and how far it has come. Owned by the blotter.

    `sign` is 1 for a buy and -1 for a sale; `remaining` units are still to be filled;
    `decided_at` is in microseconds, `step` the number of the run's timestamp; `session` is the
    first one it could trade in, `decided_session` the one it was decided in, kept for orders at
    the next open. `limit` and `stop` are where its prices are now: a trailing stop follows the
    market. `whole` is the quantity accepted; of an order that waits for another one, `worked` is
    how much of it has been set to work; of one in a group, `taken` is what the fills of others
    took from it. `tick` is the grid that a stop which follows the price keeps to, 0 without one.
    `reason` says why it ended without filling whole.
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
    limit: float | None = None
    stop: float | None = None
    decided_session: int = -(2**31)
    whole: float = 0.0
    worked: float = 0.0
    taken: float = 0.0
    tick: float = 0.0


class Blotter:
    """The book of a run's orders: gives ids, checks transitions, remembers every end.

    Order ids count from 1 in the order of submission. All brokers use one, so that an order means
    the same everywhere.

    Args:
        universe: Assets by code.

    Attributes:
        count: Orders submitted so far.
        gathers: Plain market orders of a timestamp are kept together, to be matched as columns.
        changed: Codes of assets an order of which began to work, or works in other terms, since
            somebody emptied this.
    """

    def __init__(self, universe: Universe) -> None:
        self.universe = universe
        self.open: dict[int, Working] = {}
        self.links = Links(self)
        self.lot_of: Callable[[int], float] = lambda _code: 1.0
        self.price_of: Callable[[int], float] = lambda _code: math.nan
        self.singles: list[Working] = []  # all that came one by one, open or over
        self.baskets: list[OpenBasket | Gathering] = []
        self.gathers = False
        self.changed: set[int] = set()
        self.is_watched = False
        self.bars: Bars | None = None
        self.step = -1
        self._of_asset: dict[int, dict[int, Working]] = {}
        self.count = 0
        self._changes: list[OrderEvent] = []
        # One entry an order, by id.
        self.codes = array("q")
        self.steps = array("q")
        self.filled = FilledOrders()

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
            self.tell(working)

    def check(self, order: Order) -> tuple[Order, int, str]:
        """Look at an order before it is taken or refused.

        Returns:
            The order with enumerations for its words and plain floats for its numbers, the code
            of its asset (-1 when unknown), and why it cannot be meant, whatever the market: an
            empty string when it can. An order that cannot be meant is returned as it was asked.
        """
        asset_id: object = order.asset_id
        code = self.universe.codes.get(asset_id, -1) if isinstance(asset_id, str) else -1
        if code >= 0 and is_usual(order):
            return order, code, ""
        reason = refusal(order)
        if not reason and code < 0:
            reason = unknown_asset(asset_id, self.universe)
        if not reason:
            reason = self.links.obstacle(order)
        return (order if reason else plain_order(order)), code, reason

    # -- an order's life ----------------------------------------------------------------------

    def accept(self, order: Order, code: int, quantity: float) -> Working:
        """Take an order into the book, to work `quantity` units of it."""
        if self.baskets:
            self.unpack()  # so that `open` stays in order of submission
        order_id, step = self._number(code, self.step), self.step
        return self._enter(order_id, plain_order(order), code, quantity, self.now_us, step)

    def _number(self, code: int, step: int) -> int:
        """The id of the next order, whose asset and timestamp are noted."""
        self.count = order_id = self.count + 1
        self.codes.append(code)
        self.steps.append(step)
        return order_id

    def gather(self, code: int, units: float, tag: str, *, reduces: bool) -> int:
        """Take a plain market order that one day may be matched as one of many.

        It works all of its units, at the market and until canceled, and waits for nobody. While
        `gathers` is set, such orders of a timestamp stay together, until somebody looks at one.

        Args:
            code: The asset's.
            units: Signed; positive buys.
            tag: The word it carries.
            reduces: It must not open anything.

        Returns:
            Its id; 0 when it cannot join the others, and has to be accepted on its own.
        """
        if not self.gathers or self.is_watched or self.bars is None:
            return 0
        if self.open and self._of_asset.get(code):
            return 0
        if not self.baskets:
            gathering = Gathering(self.universe, self.now_us, self.step, tag)
            self.baskets.append(gathering)
        else:
            last = self.baskets[-1]
            if len(self.baskets) > 1 or not isinstance(last, Gathering) or last.has(code):
                return 0
            if last.step != self.step or last.tag != tag:
                return 0
            gathering = last
        order_id = self._number(code, self.step)
        gathering.add(order_id, code, units, reduces=reduces)
        return order_id

    def accept_with(self, cause: Working, order: Order, code: int, quantity: float) -> Working:
        """As `accept`, for an order that was decided together with another one."""
        order_id = self._number(code, cause.step)
        return self._enter(order_id, order, code, quantity, cause.decided_at, cause.step)

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
        if order.type is not _MARKET:
            working.limit, working.stop = order.limit_price, order.stop_price
        working.whole = quantity
        self.singles.append(working)
        if order.after or order.oco:
            self.links.join(working)
        else:
            self.activate(working)
        return working

    def activate(self, working: Working) -> None:
        """An order is at work from now on."""
        order_id, code = working.order_id, working.code
        self.open[order_id] = working
        self.changed.add(code)
        of_asset = self._of_asset.get(code)
        if of_asset is None:
            self._of_asset[code] = {order_id: working}
        else:
            of_asset[order_id] = working
        self.tell(working)

    def accept_basket(self, basket: Basket) -> None:
        """Take many market orders into the book."""
        n = len(basket)
        if n == 0:
            return
        first = self.count + 1
        self.count += n
        self.codes.frombytes(basket.codes.astype(np.int64, copy=False).tobytes())
        self.steps.extend(array("q", (self.step,)) * n)
        self.baskets.append(OpenBasket(basket, first, self.now_us, self.step))
        if self.is_watched:
            self.unpack()

    def reject(self, order: Order, reason: str, code: int = -1) -> int:
        """Refuse an order at once.

        Returns:
            The id it is known by in the results.
        """
        order_id = self._number(code, self.step)
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
        self.tell(working)
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
        is_done = remaining <= DUST * asked
        if is_done:
            working.remaining = 0.0
        if self.links.is_used:
            self.links.filled(working, quantity, price)
        if not is_done or self._waits(working):
            working.status = OrderStatus.PARTIALLY_FILLED
            self.tell(working)
            return
        below_lot = asked - filled
        if working.order.after and working.whole < asked - _LOT_NOISE * asked:
            self.end(working, OrderStatus.CANCELED, self.links.shortfall(working))
        elif below_lot > 0.0 and below_lot > _LOT_NOISE * asked:
            self.end(working, OrderStatus.CANCELED, f"below one lot: {below_lot:g} units")
        else:
            self.end(working, _FILLED, "")

    @staticmethod
    def _waits(working: Working) -> bool:
        """Whether more of an order will be set to work when the one it waits for fills more."""
        return bool(working.order.after) and working.worked < working.whole

    def replace(
        self, working: Working, order: Order, quantity: float, *, is_new: bool = True
    ) -> None:
        """An open order is now as `order` says, to work `quantity` units in all.

        Args:
            working: The order as it is.
            order: As it is from now on.
            quantity: Units, those that have filled included.
            is_new: It counts as decided now.
        """
        before, working.order = working.order, order
        self.changed.add(working.code)
        if self.links.is_used:
            self.links.replaced(working, quantity)
        else:
            working.remaining = quantity - working.filled
        working.whole = quantity
        if is_new:
            working.decided_at, working.session = self.now_us, None
        if order.limit_price != before.limit_price:
            working.limit = order.limit_price
        if order.stop_price != before.stop_price:
            working.stop, working.triggered = order.stop_price, False
        self.tell(working)

    def restate(
        self, working: Working, order: Order, code: int, *, ratio: float, remaining: float
    ) -> None:
        """An open or waiting order goes on in other terms: after a split, or as another asset's.

        Args:
            working: The order as it is.
            order: The same in the new terms.
            code: Its asset from now on.
            ratio: New units per old; prices are divided by it.
            remaining: New units that are at work.
        """
        working.order, working.whole = order, order.quantity
        working.filled *= ratio
        working.average_price /= ratio
        if working.worked:
            working.worked = working.filled + remaining
        working.remaining = remaining
        working.limit = None if working.limit is None else working.limit / ratio
        working.stop = None if working.stop is None else working.stop / ratio
        if self.open.get(working.order_id) is working and working.code != code:
            del self._of_asset[working.code][working.order_id]
            orders = self._of_asset.setdefault(code, {}) | {working.order_id: working}
            self._of_asset[code] = dict(sorted(orders.items()))
        self.changed |= {working.code, code}
        working.code = code
        self.tell(working)

    def end(self, working: Working, status: OrderStatus, reason: str) -> None:
        """An order's life is over."""
        assert may_follow(working.status, status), f"{working.status} -> {status}"
        working.status, working.reason = status, reason
        order_id = working.order_id
        if self.open.pop(order_id, None) is not None:
            del self._of_asset[working.code][order_id]
        self.tell(working)
        if self.links.is_used:
            self.links.ended(working)

    def fill_basket(
        self,
        basket: OpenBasket | Gathering,
        rows: np.ndarray,
        order_ids: np.ndarray,
        quantities: np.ndarray,
        prices: np.ndarray,
        *,
        reason: str = "",
    ) -> int:
        """Orders of an open basket have traded.

        Args:
            basket: Theirs.
            rows: Where they stand in it.
            order_ids: Their ids.
            quantities: The signed units each got.
            prices: What they got them at.
            reason: Why some got less than they asked for, and end with that; empty when all were
                filled whole.

        Returns:
            How many end without filling whole.
        """
        canceled = 0
        if reason:
            is_cut = quantities != basket.quantities[rows]
            cut = (column[is_cut] for column in (rows, quantities, prices))
            canceled = self._cut(basket, *cut, reason=reason)
            order_ids, quantities, prices = (
                column[~is_cut] for column in (order_ids, quantities, prices)
            )
        self.filled.add(basket.tag, order_ids, quantities, prices)
        if len(rows) == len(basket):
            self.baskets.remove(basket)
        else:
            left = np.ones(len(basket), dtype=bool)
            left[rows] = False
            basket.keep(left.nonzero()[0])
        return canceled

    def _cut(
        self,
        basket: OpenBasket | Gathering,
        rows: np.ndarray,
        quantities: np.ndarray,
        prices: np.ndarray,
        *,
        reason: str,
    ) -> int:
        """Single orders of those that got less than they asked for; how many end so."""
        canceled = 0
        columns = basket.orders(rows), np.abs(quantities).tolist(), prices.tolist()
        for (order_id, code, order), units, price in zip(*columns, strict=True):
            asked, decided_at = order.quantity, basket.decided_at
            working = self._enter(order_id, order, code, asked, decided_at, basket.step)
            if units:
                self.fill(working, units, price)
            if order_id in self.open:
                self.end(working, OrderStatus.CANCELED, reason)
                canceled += 1
        return canceled

    def unpack(self) -> None:
        """Turn open baskets into single orders: somebody wants to look at or touch one."""
        baskets, self.baskets = self.baskets, []
        for basket in baskets:
            orders, start = basket.orders(), len(self.singles)
            while start and self.singles[start - 1].order_id > orders[0][0]:
                start -= 1  # refused since, each on its own
            for order_id, code, order in orders:
                self._enter(order_id, order, code, order.quantity, basket.decided_at, basket.step)
            self.singles[start:] = sorted(self.singles[start:], key=_by_id)

    # -- looking ------------------------------------------------------------------------------

    def working(self, code: int | None = None) -> list[Working]:
        """Open orders of one asset, or all, in order of submission."""
        if self.baskets:
            self.unpack()
        if code is None:
            return list(self.open.values())
        return list(self._of_asset.get(code, {}).values())

    def of_asset(self, code: int) -> Iterable[Working]:
        """As `working`, of orders that are not in baskets, to be read at once."""
        orders = self._of_asset.get(code)
        return () if orders is None else orders.values()

    def stands_alone(self, basket: OpenBasket | Gathering) -> bool:
        """Whether no single order is open for any asset of a basket."""
        of_asset = self._of_asset
        return not self.open or not any(map(of_asset.get, basket.codes.tolist()))

    def has_open(self, code: int) -> bool:
        """Whether any order of this asset is open."""
        if self._of_asset.get(code):
            return True
        return any(basket.has(code) for basket in self.baskets)

    def listed(self, code: int | None = None) -> list[Working]:
        """As `working`, and those that wait for another order."""
        pending = [w for w in self.links.pending.values() if code is None or w.code == code]
        return sorted([*self.working(code), *pending], key=lambda working: working.order_id)

    def get(self, order_id: int) -> Working | None:
        """An open order, or one that waits for another, by its id."""
        if order_id not in self.open and self.baskets:
            self.unpack()
        return self.open.get(order_id) or self.links.pending.get(order_id)

    def find(self, order_id: int) -> Working | None:
        """An order by its id, be it over."""
        found = self.get(order_id)
        if found is None:
            found = next((w for w in reversed(self.singles) if w.order_id == order_id), None)
        return found or self._filled_in_basket(order_id)

    def _filled_in_basket(self, order_id: object) -> Working | None:
        """An order that was filled as one of many, as it stands now."""
        if not (isinstance(order_id, int) and 0 < order_id <= self.count):
            return None
        code, step = self.codes[order_id - 1], self.steps[order_id - 1]
        found = self.filled.find(order_id, code, self.universe)
        if found is None:
            return None
        order, price = found
        working = Working(
            order_id,
            order,
            code,
            1.0 if order.side == _BUY else -1.0,
            _MARKET,
            TimeInForce.GTC,
            0.0,
            -(2**62),  # it trades no more, so nobody asks
            step,
            _FILLED,
        )
        working.filled = working.whole = order.quantity
        working.average_price = price
        return working

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

    def tell(self, working: Working) -> None:
        """An order has changed; remembered while somebody listens."""
        if self.is_watched:
            self._changes.append(self.event(working))

    def take_changes(self) -> list[OrderEvent]:
        """Changes since the last call; collected only while `is_watched`."""
        changes, self._changes = self._changes, []
        return changes


def _by_id(working: Working) -> int:
    return working.order_id
