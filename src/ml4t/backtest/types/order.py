"""What is asked of a broker: orders, and the states one can be in."""

from __future__ import annotations

import datetime as dt
import math
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import structs


class _Word(StrEnum):
    """A fixed word; its capitals do not matter when a user writes it."""

    # `Enum` hashes its members in Python; as words they hash the same, and much faster.
    __hash__ = str.__hash__

    @classmethod
    def _missing_(cls, value: object) -> _Word | None:
        lowered = value.lower() if isinstance(value, str) else None
        return next((member for member in cls if member.value == lowered), None)


class OrderSide(_Word):
    """Which way an order trades (FIX 54); equal to the words "buy" and "sell"."""

    BUY = "buy"
    SELL = "sell"


class OrderType(_Word):
    """How an order's price is decided (FIX 40)."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"
    TRAILING_STOP_LIMIT = "trailing_stop_limit"

    @property
    def is_trailing(self) -> bool:
        """Whether its stop follows the price."""
        return self in _TRAILING

    @property
    def has_limit(self) -> bool:
        """Whether a price bounds what it pays or gets."""
        return self in _LIMITED


_TRAILING = frozenset({OrderType.TRAILING_STOP, OrderType.TRAILING_STOP_LIMIT})
_LIMITED = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP_LIMIT})


class TimeInForce(_Word):
    """How long an order lives (FIX 59).

    DAY ends with the first session, after the decision, in which it could trade. GTC lives until
    it is filled or canceled, GTD until `expires_at`. IOC has one bar: what did not fill in it is
    canceled; so has FOK, which fills whole or not at all. OPG trades at the open of the next
    session, CLS at the next session's close, and never later.
    """

    DAY = "day"
    GTC = "gtc"
    GTD = "gtd"
    IOC = "ioc"
    FOK = "fok"
    OPG = "opg"
    CLS = "cls"


class OrderStatus(_Word):
    """Where an order is in its life (FIX 39).

    PENDING has not reached the broker's book; ACCEPTED and PARTIALLY_FILLED are open; the others
    are final, and all of them but FILLED come with a reason.
    """

    PENDING = "pending"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """Whether the order can still trade."""
        return bool(_NEXT[self])


_FINAL: frozenset[OrderStatus] = frozenset()
_OPEN_NEXT = frozenset(
    {
        OrderStatus.PARTIALLY_FILLED,
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REJECTED,
    }
)
_NEXT: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset(
        {OrderStatus.ACCEPTED, OrderStatus.REJECTED, OrderStatus.CANCELED}
    ),
    OrderStatus.ACCEPTED: _OPEN_NEXT,
    OrderStatus.PARTIALLY_FILLED: _OPEN_NEXT,
    OrderStatus.FILLED: _FINAL,
    OrderStatus.CANCELED: _FINAL,
    OrderStatus.REJECTED: _FINAL,
    OrderStatus.EXPIRED: _FINAL,
}


def may_follow(before: OrderStatus, after: OrderStatus) -> bool:
    """Whether an order in state `before` may legally move to `after`."""
    return after in _NEXT[before]


class Order(msgspec.Struct, frozen=True, gc=False):
    """One intention to trade, as asked; what became of it is an `OrderEvent`.

    Args:
        asset_id: What to trade.
        side: `OrderSide.BUY` or `OrderSide.SELL`; the strings "buy" and "sell" work too.
        quantity: Units, positive; the side says the direction.
        type: Market by default.
        limit_price: Worst price accepted, for LIMIT and STOP_LIMIT, in the asset's currency.
        stop_price: Price that triggers STOP and STOP_LIMIT.
        trail_amount: How far the stop of a TRAILING_STOP or TRAILING_STOP_LIMIT stays behind the
            best price since the decision, in money per unit.
        trail_percent: The same as a fraction of that best price: 0.05 is five percent.
        time_in_force: GTC by default. A market order waits for its asset's next bar.
        expires_at: The last time, or date, at which a GTD order can trade.
        reduce_only: Trades only what brings the position nearer to zero.
        tag: A word of yours that comes back in the results.
        limit_offset: How far beyond its stop the limit of a TRAILING_STOP_LIMIT lies, in money
            per unit.
        after: Id of an order: this one waits until that one fills, works as many units of its
            own as that one has filled of its, and ends when it ends with nothing filled.
        oco: A name of yours; of the orders with the same one, a fill reduces the others by as
            much, and one that fills whole cancels them.
        role: What it is for ("stop_loss", "take_profit", ...); the reason of its fills.

    An order that cannot be meant (unknown asset, NaN or zero quantity, a limit order without a
    price) is not an exception: it ends REJECTED with a reason and is counted in the result.
    """

    asset_id: str
    side: OrderSide | str
    quantity: float
    type: OrderType | str = OrderType.MARKET
    limit_price: float | None = None
    stop_price: float | None = None
    trail_amount: float | None = None
    trail_percent: float | None = None
    time_in_force: TimeInForce | str = TimeInForce.GTC
    expires_at: dt.datetime | dt.date | None = None
    reduce_only: bool = False
    tag: str = ""
    limit_offset: float | None = None
    after: int = 0
    oco: str = ""
    role: str = ""


_PLAIN = frozenset({float, type(None)})
_PRICES = ("limit_price", "stop_price", "trail_amount", "trail_percent", "limit_offset")


def plain_order(order: Order) -> Order:
    """The same order with enumerations for its words and plain floats for its numbers.

    Users write "buy", or give prices as NumPy floats; what has been accepted no longer differs.
    """
    is_plain = (
        type(order.quantity) is float
        and type(order.side) is OrderSide
        and type(order.type) is OrderType
        and type(order.time_in_force) is TimeInForce
    )
    if is_plain and (
        order.type is OrderType.MARKET
        or (
            type(order.limit_price) in _PLAIN
            and type(order.stop_price) in _PLAIN
            and type(order.trail_amount) in _PLAIN
            and type(order.trail_percent) in _PLAIN
            and type(order.limit_offset) in _PLAIN
        )
    ):
        return order
    prices = {name: getattr(order, name) for name in _PRICES}
    return structs.replace(
        order,
        side=OrderSide(order.side),
        quantity=float(order.quantity),
        type=OrderType(order.type),
        time_in_force=TimeInForce(order.time_in_force),
        **{name: None if price is None else float(price) for name, price in prices.items()},
    )


class Bracket(NamedTuple):
    """The ids of an entry and of the orders that protect it; None for one that was not asked for.

    Without a `stop_loss` and a `take_profit` the entry was rejected.
    """

    entry: int
    stop_loss: int | None = None
    take_profit: int | None = None


class OrderEvent(msgspec.Struct, gc=False):
    """An order and where it stands: what `get_open_orders` lists and `on_order_event` receives.

    `filled_quantity` is in units, `average_fill_price` is NaN until something filled, `reason`
    says why an order ended without filling whole. `timestamp` is the time of the last change, None
    before the first bar. An order that was rejected is shown as it was asked, wrong words included.
    """

    order_id: int
    order: Order
    status: OrderStatus
    timestamp: object
    filled_quantity: float = 0.0
    average_fill_price: float = math.nan
    reason: str = ""

    @property
    def asset_id(self) -> str:
        """What it trades."""
        return self.order.asset_id

    @property
    def side(self) -> OrderSide:
        """Which way it trades."""
        return _word(OrderSide, self.order.side)  # type: ignore[no-any-return]

    @property
    def type(self) -> OrderType:
        """Market, limit, stop or stop-limit."""
        return _word(OrderType, self.order.type)  # type: ignore[no-any-return]

    @property
    def quantity(self) -> float:
        """Units asked for, positive."""
        return self.order.quantity

    @property
    def remaining_quantity(self) -> float:
        """Units not filled (yet)."""
        return self.order.quantity - self.filled_quantity

    @property
    def limit_price(self) -> float | None:
        """The order's limit, if any."""
        return self.order.limit_price

    @property
    def stop_price(self) -> float | None:
        """The order's stop, if any."""
        return self.order.stop_price

    @property
    def time_in_force(self) -> TimeInForce:
        """How long it lives."""
        return _word(TimeInForce, self.order.time_in_force)  # type: ignore[no-any-return]

    @property
    def reduce_only(self) -> bool:
        """Whether it may only bring the position nearer to zero."""
        return self.order.reduce_only

    @property
    def tag(self) -> str:
        """The user's word."""
        return self.order.tag


def _word(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        return value
