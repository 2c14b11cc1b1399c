"""What a session and a broker's adapter say to each other: plain words, ready for a journal."""

from __future__ import annotations

import math

import msgspec

from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType, TimeInForce


class Terms(msgspec.Struct, frozen=True):
    """What an order asks for beside its size and its prices; as in `Order`.

    Args:
        asset_id: What to trade.
        side: Buy or sell.
        type: How its price is decided.
        time_in_force: How long it lives.
        trail_amount: Of a trailing stop, money per unit.
        trail_percent: Likewise, a fraction.
        limit_offset: Of a trailing stop-limit, money per unit.
        expires_at: Of a GTD order: ISO 8601.
        reduce_only: It may only bring a position nearer to zero.
        role: What it is for.
    """

    asset_id: str
    side: OrderSide
    type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.GTC
    trail_amount: float | None = None
    trail_percent: float | None = None
    limit_offset: float | None = None
    expires_at: str | None = None
    reduce_only: bool = False
    role: str = ""

    @classmethod
    def of(cls, order: Order) -> Terms:
        """Those of an order that was accepted."""
        expires = order.expires_at
        return cls(
            order.asset_id,
            OrderSide(order.side),
            OrderType(order.type),
            TimeInForce(order.time_in_force),
            order.trail_amount,
            order.trail_percent,
            order.limit_offset,
            None if expires is None else expires.isoformat(),
            order.reduce_only,
            order.role,
        )


class Request(msgspec.Struct, frozen=True, tag="request"):
    """An order as it is sent to the broker.

    Args:
        client_id: Our name for it, the same in every attempt; the broker keeps it.
        terms: What it asks for.
        quantity: Units to work.
        limit_price: Where its limit is now.
        stop_price: Where its stop is now.
        legs: Exits that the broker itself sets to work once this one has filled; each cancels
            the other.
    """

    client_id: str
    terms: Terms
    quantity: float
    limit_price: float | None = None
    stop_price: float | None = None
    legs: tuple[Request, ...] = ()

    @property
    def client_ids(self) -> tuple[str, ...]:
        """Its own name, and those of its legs."""
        return (self.client_id, *(leg.client_id for leg in self.legs))


class Change(msgspec.Struct, frozen=True, tag="change"):
    """What an order at the broker is to become.

    Args:
        client_id: The order as it is.
        new_client_id: Its name from then on.
        quantity: Units in all, those that have filled included.
        limit_price: Its limit.
        stop_price: Its stop.
    """

    client_id: str
    new_client_id: str
    quantity: float
    limit_price: float | None = None
    stop_price: float | None = None


class Execution(msgspec.Struct, frozen=True, tag="execution"):
    """One fill at the broker.

    Args:
        client_id: Of the order; empty when it is none of ours.
        execution_id: The broker's name for the fill; a fill is booked once, whoever tells it.
        asset_id: What was traded.
        quantity: Signed units: positive bought.
        price: Per unit.
        at: When, microseconds since 1970.
        commission: Money, when the broker says it; NaN when it does not.
        corrects: The execution that this one replaces, when it is a correction.
    """

    client_id: str
    execution_id: str
    asset_id: str
    quantity: float
    price: float
    at: int
    commission: float = math.nan
    corrects: str | None = None


def correction_id(execution_id: str, quantity: float, price: float) -> str:
    """The name of an execution's correction: the same whoever tells of it.

    Args:
        execution_id: Of the execution as it was told first.
        quantity: What it is now, signed.
        price: Likewise.
    """
    return f"{execution_id}@{quantity!r}@{price!r}"


class Report(msgspec.Struct, frozen=True, tag="report"):
    """Where an order at the broker stands.

    Args:
        client_id: Of the order.
        status: ACCEPTED while it works, PARTIALLY_FILLED, or one of the final ones.
        venue_id: The broker's name for it.
        filled: Units it has filled so far, positive.
        reason: Why it ended without filling whole.
        replaced_by: Our name for the order it has become, when it was replaced.
    """

    client_id: str
    status: OrderStatus
    venue_id: str = ""
    filled: float = 0.0
    reason: str = ""
    replaced_by: str = ""


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """The broker refused to cancel or to replace an order, which works on as it was.

    Args:
        client_id: Of the order.
        action: "cancel" or "replace".
        reason: In the broker's words.
    """

    client_id: str
    action: str
    reason: str


class Standing(msgspec.Struct, frozen=True, tag="standing"):
    """What an account holds, by the broker.

    Args:
        account: The broker's name for it.
        cash: Money.
        buying_power: Money that purchases may use now.
        positions: Signed units by `asset_id`.
        prices: What a unit of each of them is worth now.
        at: The broker's time, microseconds since 1970; 0 when it does not say.
    """

    account: str
    cash: float
    buying_power: float
    positions: dict[str, float] = {}
    prices: dict[str, float] = {}
    at: int = 0


class Link(msgspec.Struct, frozen=True, tag="link"):
    """The connection to the broker was lost, or is there (again).

    Args:
        is_up: Whether it is there.
        reason: What happened.
    """

    is_up: bool
    reason: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the broker said to a request.

    Args:
        is_taken: The broker has it. False: it never will. None: nobody knows; it must be looked
            up by its name before anything else is done about it.
        reason: Why it is not taken, or why nobody knows.
        reports: Where the order and its legs stand.
    """

    is_taken: bool | None
    reason: str = ""
    reports: tuple[Report, ...] = ()


VenueEvent = Execution | Report | Refusal | Link
"""What an adapter puts on the inbox."""
