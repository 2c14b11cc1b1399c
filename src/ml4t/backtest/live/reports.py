"""What the broker's reports do to the book: orders begin, change and end as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.reasons import SCALED
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.words import Refusal
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.tickets import Ticket
    from ml4t.backtest.live.words import Change, Report


class Reports:
    """Takes in where orders at the broker stand.

    Args:
        broker: Whose book.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker
        self._asked: dict[str, Change] = {}  # by the name that an order is to have
        self._fates: dict[str, tuple[OrderStatus, str]] = {}

    def expect(self, ticket: Ticket, change: Change) -> None:
        """An order is asked to become another one."""
        self._asked[change.new_client_id] = change
        self.broker.tickets.expect(ticket, change.new_client_id)

    def report(self, report: Report) -> None:
        """The broker says where an order stands."""
        ticket = self.broker.tickets.get(report.client_id)
        if ticket is None:
            self.broker.count_one("reports_of_unknown_orders")
            return
        change = self._asked.get(report.client_id)
        if report.status is OrderStatus.REJECTED and change is not None and ticket.change is change:
            self.refused(Refusal(ticket.name, "replace", report.reason))  # it stays what it was
            return
        ticket.venue_id = report.venue_id or ticket.venue_id
        if ticket.is_over or (report.status.is_open and not ticket.can_trade):
            return
        if report.status is OrderStatus.REJECTED and report.client_id != ticket.name:
            return  # it never became that, and works on as it was
        self.name_again(ticket, report.client_id)
        ticket.told = max(ticket.told, report.filled)
        if ticket.owed:
            self.broker.tender.search.look_for_executions()
        if report.replaced_by:
            self._replaced(ticket, report.replaced_by)
        elif report.status.is_open:
            is_held = report.status is OrderStatus.PENDING
            ticket.state = TicketState.HELD if is_held else TicketState.WORKING
        else:
            self.over(ticket, report.status, report.reason)

    def name_again(self, ticket: Ticket, name: str) -> None:
        """Something came by a name: was that what the order was to become, it has."""
        change = self._asked.get(name)
        if change is not None and change.client_id == ticket.name:
            self._replaced(ticket, name)

    def _replaced(self, ticket: Ticket, name: str) -> None:
        if ticket.name == name:
            return
        self.broker.tickets.rename(ticket, name)
        change = self._asked.get(name)
        if change is not None:
            ticket.quantity, ticket.change = change.quantity, None
            ticket.limit, ticket.stop = change.limit_price, change.stop_price

    def over(self, ticket: Ticket, status: OrderStatus, reason: str) -> None:
        """The broker says that an order's life is over."""
        self._fates[ticket.name] = (status, reason)
        if ticket.owed:  # its end is told when all of its executions have come
            ticket.state, ticket.change = TicketState.OWED, None
            return
        self.broker.tickets.close(ticket)
        if ticket.working.status.is_open:
            self.end(ticket, status, reason)
        self.broker.booking.take_ahead()

    def fate(self, ticket: Ticket) -> tuple[OrderStatus, str]:
        """How the life of an order ended."""
        return self._fates.get(ticket.name, (OrderStatus.CANCELED, "canceled by the broker"))

    def end(self, ticket: Ticket, status: OrderStatus, reason: str) -> None:
        """An order in the book, open so far, ends as its last ticket did."""
        working = ticket.working
        order_id = working.order_id
        if order_id in self.broker.canceling and status is not OrderStatus.REJECTED:
            self.broker.blotter.end(
                working, OrderStatus.CANCELED, self.broker.canceling.pop(order_id)
            )
            return
        if order_id in self.broker.cut and ticket.is_filled:
            self.broker.cut.pop(order_id)
            self.broker.blotter.end(working, OrderStatus.CANCELED, SCALED)
            return
        is_stepping_aside = ticket.is_canceling and status is OrderStatus.CANCELED
        is_stepping_aside |= status is OrderStatus.CANCELED and self._goes_with_another(ticket)
        is_orphan = ticket.parent is not None and not ticket.parent.is_filled
        if status is OrderStatus.FILLED or is_stepping_aside or is_orphan:
            return  # the book wants more of it: another ticket will follow
        if status is OrderStatus.REJECTED and working.filled:
            status = OrderStatus.CANCELED
        self.broker.blotter.end(working, status, reason or f"{status.value} by the broker")

    def _goes_with_another(self, ticket: Ticket) -> bool:
        """Whether a cancel was asked for of another one that was sent together with it.

        Brokers cancel all of a bracket with one of it. What the book still wants is sent again.
        """
        head = ticket if ticket.parent is None else ticket.parent
        family = [self.broker.tickets.get(name) for name in head.request.client_ids]
        return any(one is not None and one is not ticket and one.is_canceling for one in family)

    def refused(self, refusal: Refusal) -> None:
        """The broker will not cancel or change an order: it works on as it was."""
        ticket = self.broker.tickets.get(refusal.client_id)
        if ticket is None or not ticket.can_trade:
            return
        self.broker.count_one(f"{refusal.action}s_refused")
        if refusal.action == "cancel":
            ticket.is_canceling, ticket.heard_at = False, 0  # so that it is looked up at once
            return
        change, ticket.change = ticket.change, None
        working = ticket.working
        if change is not None:
            ticket.refused = (change.quantity, change.limit_price, change.stop_price)
        if change is None or not working.status.is_open:
            return
        quantity, asked = working.whole, change.quantity - ticket.filled
        if abs(asked - working.remaining) <= DUST * working.whole:  # all of the order, no part
            quantity = working.filled + ticket.open_quantity
        order = structs.replace(
            working.order, limit_price=ticket.limit, stop_price=ticket.stop, quantity=quantity
        )
        self.broker.blotter.replace(working, order, quantity, is_new=False)
