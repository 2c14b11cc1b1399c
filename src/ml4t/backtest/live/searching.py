"""Finding out: what became of orders and executions that nobody has told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.reasons import NEVER
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import LATE, MICROSECONDS, RETRY, is_due
from ml4t.backtest.live.words import correction_id
from ml4t.backtest.types.order import OrderStatus, OrderType

if TYPE_CHECKING:
    from ml4t.backtest.live.tending import Tender
    from ml4t.backtest.live.tickets import Ticket
    from ml4t.backtest.live.words import Execution

_LONGEST = 30 * MICROSECONDS
_ATTEMPTS, _MANY = 3, 6
_LISTED_LATE = 300 * MICROSECONDS  # that a broker may list an execution after a later one


class Search:
    """Asks for executions that did not come, and for orders that are silent.

    Args:
        tender: For whom.
    """

    def __init__(self, tender: Tender) -> None:
        self.tender = tender
        self.broker = tender.broker
        self._executions_due = 0
        self._searched_from = 0

    def look_for_executions(self) -> None:
        """An order has ended, and executions of it have not come."""
        if not self._executions_due:
            self._executions_due = self.broker.now() + RETRY

    def search_executions(self) -> None:
        """Ask for executions that the broker says there are and that did not come."""
        if not self._executions_due:
            return
        now = self.broker.now()
        if not is_due(self._executions_due, now, LATE):
            self.tender.come_back(self._executions_due)
            return
        self._executions_due = 0
        self.fetch_executions()
        if self.broker.tickets.owing():
            self._executions_due = now + LATE
            self.tender.come_back(self._executions_due)

    def fetch_executions(self) -> None:
        """Take in every execution of the account that is not known yet, or not as it is now.

        All times are the broker's. Those of what was told do not count here: before it, something
        may have been lost.
        """
        found = self.broker.gateway.executions(self._searched_from)
        for execution in found:
            known = self.broker.executions.get(execution.execution_id)
            if known is None:
                self.broker.receive(execution)
            elif (known.quantity, known.price) != (execution.quantity, execution.price):
                self.broker.receive(_correction(execution))
        latest = max((execution.at for execution in found), default=0)
        self._searched_from = max(self._searched_from, latest - _LISTED_LATE)

    def begin_searches_at(self, moment: int) -> None:
        """Executions before this are none of the session's."""
        self._searched_from = max(self._searched_from, moment)

    def confirm(self) -> None:
        """Before a step: market orders that are silent should have filled by now.

        Bars and fills come on lines of their own, and bars may be quicker.
        """
        if not self.broker.is_up:
            return
        gateway = self.broker.gateway
        gateway.renew()
        try:
            for ticket in self.broker.tickets:
                is_due = ticket.working.type is OrderType.MARKET and ticket.can_trade
                if is_due and gateway.wait_for_slot() <= 0.0:
                    self.look_up(ticket)
            if self.broker.tickets.owing():
                self.fetch_executions()
        except ConnectionLost as error:
            self.broker.count_one("requests_without_answer")
            self.broker.write("note", f"no answer: {error}")

    def look_up_silent(self) -> None:
        """Orders nobody has heard of for a while may have changed without a word."""
        broker, now = self.broker, self.broker.now()
        for ticket in broker.tickets:
            is_asked = ticket.state is TicketState.ASKED and ticket.parent is None
            is_changing = ticket.is_canceling or ticket.change is not None
            patience = _patience(ticket) if is_asked else int(broker.silence * MICROSECONDS)
            patience = min(patience, LATE) if is_changing else patience
            if not ticket.can_trade or ticket.is_told_with_parent:
                continue
            if not is_due(ticket.heard_at + patience, now, patience):
                self.tender.come_back(ticket.heard_at + patience)
            elif self.tender.has_slot():
                self.look_up(ticket)

    def look_up(self, ticket: Ticket) -> None:
        """Ask where an order stands; send it (again) when the broker has never heard of it."""
        broker = self.broker
        if not ticket.can_trade or ticket.is_told_with_parent:
            return
        reports = broker.gateway.find(ticket.name)
        before, ticket.heard_at = ticket.heard_at, broker.now()
        is_old = 0 < before < broker.gateway.lists_from(ticket.heard_at)
        ticket.is_unaccounted = not reports and (ticket.is_unaccounted or is_old)
        if ticket.is_unaccounted:
            return  # a reconciliation sees to it
        if reports:
            for report in reports:
                if not self._is_news(report.client_id, report.status, report.filled):
                    continue
                broker.receive(report)
            self._forget_what_was_asked(ticket)
            return
        if ticket.state is not TicketState.ASKED:
            broker.count_one("orders_lost")
            self._give_up(ticket, "the broker does not know it any more")
            return
        age = broker.now() - self.tender.decided_at(ticket.working)
        is_late = ticket.attempts >= _ATTEMPTS or age > broker.max_order_age * MICROSECONDS
        if is_late and not ticket.working.order.reduce_only:  # what protects is tried for ever
            self._give_up(ticket, NEVER)
        else:
            self.tender.transmit(ticket.working.order_id, ticket.request)

    def _forget_what_was_asked(self, ticket: Ticket) -> None:
        """An order works on as it was: the cancel or the change that was asked for got lost."""
        if ticket.can_trade and (ticket.is_canceling or ticket.change is not None):
            self.broker.write("lapse", ticket.name)
            self.broker.notes.lapse(ticket.name)

    def _is_news(self, name: str, status: OrderStatus, filled: float) -> bool:
        """Whether a report says something that is not known, so that the journal stays short."""
        ticket = self.broker.tickets.get(name)
        if ticket is None or not ticket.can_trade:
            return False
        known = ticket.state is TicketState.WORKING and status.is_open
        is_held = ticket.state is TicketState.HELD and status is OrderStatus.PENDING
        return not (known or is_held) or filled > ticket.filled + DUST * ticket.quantity

    def _give_up(self, ticket: Ticket, reason: str) -> None:
        broker = self.broker
        for one in [ticket, *(t for t in broker.tickets if t.parent is ticket)]:
            broker.give_up(one.working.order_id, reason)


def _patience(ticket: Ticket) -> int:
    """How long to wait for an answer: longer after each attempt."""
    return min(RETRY << (ticket.attempts - 1), _LONGEST) if ticket.attempts < _MANY else _LONGEST


def _correction(execution: Execution) -> Execution:
    """An execution that is not what it was told as."""
    name = execution.execution_id
    number = correction_id(name, execution.quantity, execution.price)
    return structs.replace(execution, execution_id=number, corrects=name)
