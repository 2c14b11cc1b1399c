"""Tickets: the orders at the broker, and which order in the book each of them is for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.words import Change, Request

if TYPE_CHECKING:
    from collections.abc import Iterator


class TicketState(StrEnum):
    """What is known of an order at the broker.

    ASKED: it was sent, perhaps; the broker has not said that it has it. HELD: it has, and sets it
    to work when another one has filled. WORKING: it can trade. OWED: it cannot any more, and
    executions that the broker says it had have not come: until they have, nothing takes its place.
    OVER: it cannot trade any more, and all of it is known.
    """

    ASKED = "asked"
    HELD = "held"
    WORKING = "working"
    OWED = "owed"
    OVER = "over"


class Ticket(msgspec.Struct):
    """One order at the broker.

    Args:
        name: Our name for it now.
        request: As it was sent.
        working: The order in the book that it is for.
        state: What is known of it.
        quantity: Units, as the broker was told last.
        limit: Its limit, likewise.
        stop: Its stop, likewise.
        filled: Units of its executions.
        venue_id: The broker's name for it.
        is_canceling: A cancel was asked for.
        change: What it was asked to become, until the broker answers.
        parent: The ticket that has to fill before it works.
        heard_at: When something was heard of it last, microseconds.
        attempts: How often it was sent.
        told: Units the broker says it has filled.
        changes: How often it was asked to become something else.
        refused: Units, limit and stop that the broker would not change it to.
        is_unaccounted: The broker does not list it, and its lists do not reach back to when it was
            heard of last: nobody can say what became of it.
    """

    name: str
    request: Request
    working: Working
    state: TicketState
    quantity: float
    limit: float | None
    stop: float | None
    filled: float = 0.0
    venue_id: str = ""
    is_canceling: bool = False
    change: Change | None = None
    parent: Ticket | None = None
    heard_at: int = 0
    attempts: int = 1
    told: float = 0.0
    changes: int = 0
    refused: tuple[float, float | None, float | None] | None = None
    is_unaccounted: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it cannot trade any more, and everything about it is known."""
        return self.state is TicketState.OVER

    @property
    def can_trade(self) -> bool:
        """Whether it is at the broker, as far as anybody knows, or waits there."""
        return self.state not in {TicketState.OVER, TicketState.OWED}

    @property
    def is_told_with_parent(self) -> bool:
        """Whether a look at its parent says where it stands, too."""
        is_waiting = self.state in {TicketState.ASKED, TicketState.HELD}
        is_quiet = not self.is_canceling and self.change is None
        return self.parent is not None and self.parent.can_trade and is_waiting and is_quiet

    @property
    def owed(self) -> float:
        """Units the broker says it has filled whose executions have not come."""
        owed = self.told - self.filled
        return owed if owed > DUST * self.quantity else 0.0

    @property
    def open_quantity(self) -> float:
        """Units that it may still fill."""
        if self.state is TicketState.OWED:
            return self.owed
        return 0.0 if self.is_over else max(0.0, self.quantity - self.filled)

    @property
    def is_filled(self) -> bool:
        """Whether its executions add up to all of it."""
        return self.filled >= self.quantity * (1.0 - DUST)


class Tickets:
    """All orders of a session at the broker, by our names for them."""

    def __init__(self) -> None:
        self._by_name: dict[str, Ticket] = {}
        self._of_order: dict[int, list[Ticket]] = {}
        self._active: dict[int, Ticket] = {}  # by the id of the order in the book

    def __iter__(self) -> Iterator[Ticket]:
        """Those that are not over, oldest first."""
        return iter([t for t in self._active.values() if not t.is_over])

    def add(self, ticket: Ticket) -> None:
        """A ticket is written."""
        self._by_name[ticket.name] = ticket
        order_id = ticket.working.order_id
        self._of_order.setdefault(order_id, []).append(ticket)
        self._active[order_id] = ticket

    def expect(self, ticket: Ticket, name: str) -> None:
        """The order may come to be known by another name; what comes for either is its."""
        self._by_name[name] = ticket

    def rename(self, ticket: Ticket, name: str) -> None:
        """The order goes by another name from now on."""
        ticket.name = name
        self.expect(ticket, name)

    def get(self, name: str) -> Ticket | None:
        """The ticket of one of our names."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """Every name that was ever sent."""
        return list(self._by_name)

    def active(self, order_id: int) -> Ticket | None:
        """The ticket of an order in the book that is not over."""
        ticket = self._active.get(order_id)
        return None if ticket is None or ticket.is_over else ticket

    def is_out(self, order_id: int) -> bool:
        """Whether an order in the book is at the broker, or was and its fills have not all come."""
        return order_id in self._active

    def owing(self) -> list[Ticket]:
        """Those that the broker says have filled more than is known."""
        return [ticket for ticket in self._active.values() if ticket.owed]

    def count(self, order_id: int) -> int:
        """How many tickets an order in the book has had."""
        return len(self._of_order.get(order_id, ()))

    def close(self, ticket: Ticket) -> None:
        """It cannot trade any more."""
        ticket.state = TicketState.OVER
        ticket.change = None
        if self._active.get(ticket.working.order_id) is ticket:
            del self._active[ticket.working.order_id]

    def unguarded(self) -> list[Ticket]:
        """Entries that have filled in part, and whose exits the broker holds back until all has."""
        return [
            ticket
            for ticket in self
            if ticket.request.legs
            and not ticket.request.terms.reduce_only
            and ticket.filled
            and not ticket.is_filled
        ]

    def of_asset(self, code: int) -> list[Ticket]:
        """Those of an asset that are not over."""
        return [ticket for ticket in self if ticket.working.code == code]
