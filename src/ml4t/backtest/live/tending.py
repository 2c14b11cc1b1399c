"""The tender: makes the orders at the broker follow the book, one careful request at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.searching import Search
from ml4t.backtest.live.sending import Sender, levels_of
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import LATE, MICROSECONDS, RETRY, is_due
from ml4t.backtest.live.words import Change

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.tickets import Ticket
    from ml4t.backtest.live.words import Answer, Request


class Tender:
    """Compares the book with what the broker was told, and asks for what differs.

    Every request is written to the journal before it is made, and has a name that is the same in
    every attempt, so that one whose answer was lost can be looked up instead of sent twice. Each
    order has one request under way at a time. Cancels go before everything, and what is to come
    in the place of a canceled order waits until the cancel is confirmed; exits go before entries;
    entries that cannot all be paid for wait for the exits, and are cut by one factor when those
    take too long.

    Args:
        broker: Whose book and tickets.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker
        self.gateway = broker.gateway
        self.search, self.sender = Search(self), Sender(self)
        self._due: list[int] = []
        self._unwanted: dict[str, int] = {}  # legs that the broker should cancel, and since when

    def tend(self) -> int | None:
        """One pass over everything; when to come again."""
        if not self.broker.is_up:
            return None
        self._due = []
        try:
            self.search.search_executions()
            self.search.look_up_silent()
            self._withdraw()
            self._amend()
            self.sender.send()
        except ConnectionLost as error:
            self.broker.count_one("requests_without_answer")
            self.come_back(self.broker.now() + RETRY)
            self.broker.write("note", f"no answer: {error}")
        return min(self._due, default=None)

    def come_back(self, at: int) -> None:
        """There is something to do at a time."""
        self._due.append(at)

    def has_slot(self, *, is_cancel: bool = False) -> bool:
        """Whether a request may be made now; otherwise the tender comes back when it may."""
        wait = self.gateway.wait_for_slot(is_cancel=is_cancel)
        if wait > 0.0:
            self.come_back(self.broker.now() + int(wait * MICROSECONDS))
        return wait <= 0.0

    def withdraw_strays(self) -> None:
        """Cancel orders of ours that the broker works on though they were given up here."""
        broker = self.broker
        for report, _ in self.gateway.open_orders():
            ticket = broker.tickets.get(report.client_id)
            if ticket is None or not ticket.is_over or ticket.name != report.client_id:
                continue
            broker.count_one("orders_that_came_late")
            self.cancel(ticket)

    def _withdraw(self) -> None:
        """Cancel at the broker what the book does not want any more."""
        broker = self.broker
        for ticket in broker.tickets:
            if ticket.is_canceling or not ticket.can_trade or ticket.state is TicketState.ASKED:
                continue
            is_wanted = ticket.working.status.is_open
            is_leg = ticket.parent is not None or bool(ticket.request.legs)
            if is_wanted and ticket.working.order_id not in broker.canceling:
                continue
            if not is_wanted and is_leg and not self._is_overdue(ticket):
                continue  # the broker cancels the other leg itself
            if not self.has_slot(is_cancel=True):
                return
            self.cancel(ticket)

    def _is_overdue(self, ticket: Ticket) -> bool:
        now = self.broker.now()
        due = self._unwanted.setdefault(ticket.name, now) + LATE
        if not is_due(due, now, LATE):
            self.come_back(due)
            return False
        return True

    def cancel(self, ticket: Ticket) -> None:
        """Ask the broker to cancel an order."""
        broker, now = self.broker, self.broker.now()
        broker.write("cancel", ticket.name)
        broker.notes.cancel(ticket.name, now)
        self.answered("cancel", ticket.name, self.gateway.cancel(ticket.name))

    def _amend(self) -> None:
        """Change at the broker what has another size or price in the book."""
        broker = self.broker
        for ticket in broker.tickets:
            working = ticket.working
            is_busy = ticket.is_canceling or ticket.change is not None or bool(ticket.owed)
            if is_busy or ticket.state is not TicketState.WORKING or not working.status.is_open:
                continue
            part = self.sender.part(working)
            if part <= 0.0:
                continue  # nothing is left to reduce: the book ends it, or the next fill does
            quantity = ticket.filled + part
            is_same_size = abs(quantity - ticket.quantity) <= DUST * ticket.quantity
            limit, stop = levels_of(working)
            if is_same_size and (limit, stop) == (ticket.limit, ticket.stop):
                continue
            if (quantity, limit, stop) == ticket.refused:
                continue  # it would say no again
            if not self.has_slot():
                return
            self._change(ticket, quantity, limit, stop)

    def _change(
        self, ticket: Ticket, quantity: float, limit: float | None, stop: float | None
    ) -> None:
        broker = self.broker
        name = f"{ticket.request.client_id}r{ticket.changes + 1}"
        change = Change(ticket.name, name, quantity, limit, stop)
        broker.write("change", change)
        broker.notes.change(change, broker.now())
        self.answered("replace", ticket.name, self.gateway.replace(change))

    def answered(self, action: str, name: str, answer: Answer) -> None:
        """The broker has answered a request, or has not."""
        broker, now = self.broker, self.broker.now()
        broker.write("answer", (action, name, answer))
        broker.notes.answer(action, name, answer, now)
        if answer.is_taken is None:
            broker.count_one("requests_without_answer")
            self.come_back(now + RETRY)

    def decided_at(self, working: Working) -> int:
        """When an order was decided; not before the session began."""
        return max(working.decided_at, self.broker.since)

    def transmit(self, order_id: int, request: Request) -> None:
        """Write down that it is sent, send it, and write down what became of it."""
        broker, now = self.broker, self.broker.now()
        broker.write("request", (order_id, request))
        broker.notes.request(order_id, request, now)
        self.sender.brake.passed(order_id, broker.tickets.count(order_id), now)
        self.answered("send", request.client_id, self.gateway.send(request))
