"""Orders as TWS knows them, and the messages that tell of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.rehearsal.ib_words import Listing, Wanted, blanks, stamp
from ml4t.backtest.rehearsal.tickets import Ticket, TicketStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

Fields = list[Any]

ACCOUNT = "DU1234567"  # unless a rehearsal names another one
CURRENCY = "USD"
_STATUS = {
    TicketStatus.ACCEPTED: "PreSubmitted",
    TicketStatus.HELD: "PreSubmitted",
    TicketStatus.NEW: "Submitted",
    TicketStatus.PARTIALLY_FILLED: "Submitted",
    TicketStatus.PENDING_CANCEL: "PendingCancel",
    TicketStatus.FILLED: "Filled",
    TicketStatus.CANCELED: "Cancelled",
    TicketStatus.EXPIRED: "Cancelled",
    TicketStatus.REJECTED: "Inactive",
}
_TRIGGERED = frozenset({"STP", "STP LMT", "TRAIL", "TRAIL LIMIT"})


class TwsOrder(msgspec.Struct, kw_only=True):
    """One order of a client.

    `ticket` is the venue's order, None until it was transmitted; `status` is TWS's word for where
    it stands.
    """

    order_id: int
    client_id: int
    perm_id: int
    listing: Listing
    wanted: Wanted
    ticket: Ticket | None = None
    last_price: float = 0.0
    over_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.ticket is not None and self.ticket.is_open

    @property
    def status(self) -> str:
        """In TWS's words."""
        if self.ticket is None:
            return "PendingSubmit"
        word = _STATUS[self.ticket.status]
        if word == "Submitted" and not self.filled and self.wanted.type in _TRIGGERED:
            return "PreSubmitted"  # TWS keeps stops by itself until they are triggered
        return word

    @property
    def why_held(self) -> str:
        """Why an order that is taken is not at an exchange."""
        if self.ticket is not None and self.ticket.status is TicketStatus.HELD:
            return "child"
        return "trigger" if self.status == "PreSubmitted" and self.is_stop else ""

    @property
    def is_stop(self) -> bool:
        """Whether it waits for a price."""
        return self.wanted.type in _TRIGGERED

    @property
    def filled(self) -> float:
        """Units so far."""
        return 0.0 if self.ticket is None else self.ticket.filled_qty

    @property
    def average(self) -> float:
        """Price of what has filled."""
        price = None if self.ticket is None else self.ticket.filled_avg_price
        return price or 0.0


class TwsExecution(msgspec.Struct, frozen=True, kw_only=True):
    """One fill, as it is told and told again."""

    exec_id: str
    order: TwsOrder
    at: datetime
    shares: float
    price: float
    cumulative: float
    average: float
    commission: float


def open_order(order: TwsOrder) -> Fields:
    """Message 5: an open order with all that it asks."""
    wanted, ask = order.wanted, order.listing.fields
    return [
        *(5, order.order_id, *ask, *_first_words(wanted), order.client_id, order.perm_id),
        *(wanted.outside_hours, False, 0.0, "", "", "", "", ""),  # to faPercentage
        *("", wanted.good_till, "", "", "", 0, "", -1, 0, *blanks(5)),  # to stockRangeUpper
        *("", False, False, False, "", wanted.oca_type, False, False, "", wanted.parent_id),
        *(0, "", 0, "None", "", *blanks(8), False, 0),  # volatility, then delta neutral
        *(wanted.trail_stop, wanted.trail_percent, "", "", "", 0, 0, 0),
        *("", "", "", "", False, "", "", False, 0, ""),  # scale, hedge, clearing, algo
        *(False, False, order.status, *blanks(14), False, False, 0),
        *("None", "", wanted.trail_stop, wanted.limit_offset, "", "", "", 0),
        *("", "", "", "", False, False, "", 0),
        *("", "", False, "", "", "", "", ""),
    ]  # fmt: skip


def completed_order(order: TwsOrder) -> Fields:
    """Message 101: an order that is over."""
    wanted = order.wanted
    assert order.ticket is not None
    word = {"Filled": "Filled", "Inactive": "Rejected"}.get(order.status, "Cancelled")
    return [
        *(101, *order.listing.fields, *_first_words(wanted), order.perm_id),
        *(wanted.outside_hours, False, 0.0, "", "", "", ""),  # to faPercentage
        *("", wanted.good_till, "", "", "", 0, "", -1, *blanks(5)),  # to stockRangeUpper
        *("", False, False, "", wanted.oca_type, 0, "", 0, "None", "", *blanks(4), False, 0),
        *(wanted.trail_stop, wanted.trail_percent, "", 0, 0, 0, "", "", "", ""),
        *("", "", False, 0, "", False, order.status, False, False, 0),
        *(wanted.trail_stop, wanted.limit_offset, "", False, False, "", order.filled, 0, False),
        *("", False, False, 0),
        *(stamp(order.over_at or order.ticket.updated_at), f"{word} {order.ticket.reason}".strip()),
        *blanks(5),
    ]  # fmt: skip


def _first_words(wanted: Wanted) -> Sequence[Any]:
    """From action to orderRef."""
    return (
        *(wanted.action, wanted.quantity, wanted.type, wanted.limit, wanted.aux),
        *(wanted.tif, wanted.oca_group, wanted.account, "", 0, wanted.ref),
    )


def order_status(order: TwsOrder) -> Fields:
    """Message 3: where an order stands."""
    left = max(0.0, order.wanted.quantity - order.filled)
    return [
        *(3, order.order_id, order.status, order.filled, left, order.average, order.perm_id),
        *(order.wanted.parent_id, order.last_price, order.client_id, order.why_held, 0.0),
    ]  # fmt: skip


def execution(found: TwsExecution, request: int = -1) -> Fields:
    """Message 11: a fill, as it happens or as an answer to a request."""
    order = found.order
    listing = order.listing
    side = "BOT" if order.wanted.action == "BUY" else "SLD"
    return [
        *(11, request, order.order_id, *listing.fields, found.exec_id, stamp(found.at)),
        order.wanted.account,
        *(listing.primary_exchange or listing.exchange, side, found.shares, found.price),
        *(order.perm_id, order.client_id, 0, found.cumulative, found.average, order.wanted.ref),
        *("", "", "", 2, False),
    ]  # fmt: skip


def commission(found: TwsExecution) -> Fields:
    """Message 59: what a fill cost."""
    unset = 1.7976931348623157e308
    return [59, 1, found.exec_id, found.commission, CURRENCY, unset, unset, ""]


def error(request: int, code: int, text: str) -> Fields:
    """Message 4: an error or a notice."""
    return [4, 2, request, code, text, ""]
