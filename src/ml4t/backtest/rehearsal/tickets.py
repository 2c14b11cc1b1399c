"""Orders as a venue knows them: what was asked, where it stands, and what is told of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec import structs

from ml4t.backtest.errors import OrderError


class RefusedError(OrderError):
    """A request that the venue does not take.

    Args:
        kind: "unprocessable" (it cannot be meant), "forbidden" (the account may not), or
            "missing" (there is no such thing).
        text: Why, in words a person can act on.
        details: Figures that go with it.
    """

    def __init__(self, kind: str, text: str, **details: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.details = details


class TicketStatus(StrEnum):
    """Where an order is in its life."""

    ACCEPTED = "accepted"
    HELD = "held"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self in _OPEN


_OPEN = frozenset(
    {
        TicketStatus.ACCEPTED,
        TicketStatus.HELD,
        TicketStatus.NEW,
        TicketStatus.PARTIALLY_FILLED,
        TicketStatus.PENDING_CANCEL,
    }
)


class OrderClass(StrEnum):
    """How orders belong together."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


class Asked(msgspec.Struct, kw_only=True, frozen=True):
    """What a client asks for; one of `qty` and `notional`.

    `trail_percent` is a fraction: 0.05 is five percent. `take_profit` is the limit of the leg that
    takes a profit, `stop_loss` and `stop_loss_limit` the stop and the limit of the one that ends
    a loss.
    """

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: float | None = None
    notional: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    trail_price: float | None = None
    trail_percent: float | None = None
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit: float | None = None
    stop_loss: float | None = None
    stop_loss_limit: float | None = None
    extended_hours: bool = False
    client_order_id: str | None = None

    def __post_init__(self) -> None:
        structs.force_setattr(self, "order_class", OrderClass(self.order_class))


class Ticket(msgspec.Struct, kw_only=True):
    """One order of the venue and where it stands.

    `id` is the venue's own, `number` that of the simulation. `qty` is None for an order by
    `notional`. `parent` is the id of the order that it is a leg of; `legs` are those of its own.
    `hwm` is the best price that a trailing stop has seen. `reason` says why it ended otherwise
    than filled.
    """

    id: str
    client_order_id: str
    asked: Asked
    qty: float | None
    created_at: datetime
    updated_at: datetime
    number: int = 0
    status: TicketStatus = TicketStatus.ACCEPTED
    filled_qty: float = 0.0
    filled_avg_price: float | None = None
    limit_price: float | None = None
    stop_price: float | None = None
    hwm: float | None = None
    parent: str | None = None
    legs: tuple[str, ...] = ()
    replaces: str | None = None
    replaced_by: str | None = None
    reason: str = ""
    filled_at: datetime | None = None
    canceled_at: datetime | None = None
    expired_at: datetime | None = None
    failed_at: datetime | None = None
    replaced_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status.is_open


class Update(msgspec.Struct, kw_only=True, frozen=True):
    """Something that happened to an order: what a stream of trade updates carries.

    `ticket` is a copy as it stood then. The last four are there for executions only; `qty` and
    `price` are those of this one, `replaces` names the execution that it corrects.
    """

    event: str
    ticket: Ticket
    at: datetime
    execution_id: str | None = None
    price: float | None = None
    qty: float | None = None
    position_qty: float | None = None
    replaces: str | None = None


class Activity(msgspec.Struct, kw_only=True):
    """Something that moved cash: an execution ("FILL"), or money alone ("FEE", "INT", ...).

    `amount` is the cash received, negative when paid; the sum of all is the change of cash.
    """

    id: str
    kind: str
    at: datetime
    amount: float
    symbol: str = ""
    order_id: str = ""
    side: str = ""
    qty: float = 0.0
    price: float = 0.0
    cum_qty: float = 0.0
    leaves_qty: float = 0.0
    status: str = ""
    is_last: bool = False
    description: str = ""
