"""What executions do to the book, in whatever order they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.reasons import SCALED
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.tickets import Ticket
    from ml4t.backtest.live.words import Execution


class Booking:
    """Books executions once each: corrected, early, late, or of orders that were to be canceled.

    Args:
        broker: Whose book.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker
        self._ahead: list[Execution] = []
        self._early: dict[str, Execution] = {}  # corrections that came first, by what they correct

    def execute(self, execution: Execution) -> None:
        """An execution is known; each is booked once."""
        if execution.execution_id in self.broker.executions:
            self.broker.count_one("executions_told_twice")
            return
        if execution.corrects is not None:
            self._take_correction(execution, execution.corrects)
            return
        self.broker.executions[execution.execution_id] = execution
        self._book_execution(execution)
        early = self._early.pop(execution.execution_id, None)
        if early is not None:
            self.execute(early)

    def _take_correction(self, execution: Execution, name: str) -> None:
        """What an execution is now; one that was not told yet is corrected when it is."""
        before = self.broker.executions.get(name)
        if before is None:
            self._early[name] = execution
            return
        self.broker.executions[name] = self.broker.executions[execution.execution_id] = execution
        self._correct(before, execution)

    def _book_execution(self, execution: Execution) -> None:
        ticket = self.broker.tickets.get(execution.client_id)
        if ticket is None:
            self.broker.count_one("foreign_executions")
            return
        self.broker.reports.name_again(ticket, execution.client_id)
        if self._comes_before_its_entry(ticket):
            self._ahead.append(execution)
            self.broker.tender.search.look_for_executions()
            return
        quantity = abs(execution.quantity)
        ticket.filled += quantity
        ticket.heard_at = max(ticket.heard_at, execution.at)
        if ticket.state is TicketState.ASKED:
            ticket.state = TicketState.WORKING
        was_owed = ticket.state is TicketState.OWED
        if ticket.is_filled or (was_owed and not ticket.owed):
            self.broker.tickets.close(ticket)
        self._fill(ticket, quantity, execution)
        if was_owed and not ticket.owed and ticket.working.status.is_open:
            self.broker.reports.end(ticket, *self.broker.reports.fate(ticket))
        self.take_ahead()

    @staticmethod
    def _comes_before_its_entry(ticket: Ticket) -> bool:
        """Whether an exit has filled whose entry did so before, and that was not told yet."""
        parent = ticket.parent
        if parent is None or parent.request.terms.reduce_only:
            return False
        return not parent.is_filled and (not parent.is_over or bool(parent.owed))

    def take_ahead(self) -> None:
        """Executions that came before those of their entries, as far as these have come now."""
        ahead, self._ahead = self._ahead, []
        for execution in ahead:
            self._book_execution(execution)

    def _fill(self, ticket: Ticket, quantity: float, execution: Execution) -> None:
        working, price = ticket.working, execution.price
        change = self.broker.holdings.book(working, working.sign * quantity, execution)
        if working.status.is_open:
            self.broker.blotter.fill(working, quantity, price)
            if ticket.is_over and working.status.is_open:
                self._end_rest(working)
        else:  # it was canceled in the book, and filled all the same
            self.broker.count_one("fills_after_end")
            paid = 0.0 if working.filled == 0.0 else working.average_price * working.filled
            working.filled += quantity
            working.average_price = (paid + price * quantity) / working.filled
        self._watch(working, change)
        if working.order_id in self.broker.canceling or not working.status.is_open:
            self._absorb(working, working.sign * quantity)
        self._protect(working.code)

    def _end_rest(self, working: Working) -> None:
        """What was sent has filled, and no more is to follow: it was canceled meanwhile, or cut."""
        broker, order_id = self.broker, working.order_id
        if order_id in broker.canceling:
            broker.blotter.end(working, OrderStatus.CANCELED, broker.canceling.pop(order_id))
        elif order_id in broker.cut:
            broker.cut.pop(order_id)
            broker.blotter.end(working, OrderStatus.CANCELED, SCALED)

    def _watch(self, working: Working, change: tuple[float, float, float]) -> None:
        """Rules follow a position, once the order that changed it says what it has filled."""
        if self.broker.watchers.is_used:
            self.broker.watchers.follow(working.code, *change, working)

    def _absorb(self, canceled: Working, signed: float) -> None:
        """An order filled that was to be canceled: what was to come in its place is less."""
        for working in self.broker.blotter.working(canceled.code):
            is_later = working.order_id > canceled.order_id and not working.order.after
            if (
                not is_later
                or self.broker.tickets.count(working.order_id)
                or is_protective(working)
            ):
                continue
            left = working.sign * working.remaining - signed
            text = f"order {canceled.order_id} filled before it was canceled"
            if left * working.sign > DUST * working.remaining:
                order = structs.replace(working.order, quantity=abs(left))
                self.broker.blotter.replace(working, order, abs(left), is_new=False)
                return
            self.broker.blotter.end(working, OrderStatus.CANCELED, text)
            if left:
                side = OrderSide.BUY if left > 0.0 else OrderSide.SELL
                order = structs.replace(working.order, side=side, quantity=abs(left))
                self.broker.blotter.accept_with(working, order, working.code, abs(left))
            return

    def _protect(self, code: int) -> None:
        """Orders that may only reduce a position end with it."""
        position = self.broker.position(code)
        for working in self.broker.blotter.working(code):
            if working.order.reduce_only and working.sign * position >= 0.0:
                ticket = self.broker.tickets.active(working.order_id)
                if ticket is None or not ticket.owed:
                    self.broker.blotter.end(working, OrderStatus.CANCELED, "position closed")

    def _correct(self, before: Execution, now: Execution) -> None:
        """The broker has changed what an execution was."""
        ticket = self.broker.tickets.get(before.client_id)
        self.broker.count_one("executions_corrected")
        if ticket is None:
            return
        assert self.broker.portfolio is not None
        working = ticket.working
        multiplier = self.broker.portfolio.instruments[working.code].multiplier
        change = abs(now.quantity) - abs(before.quantity)
        better = -before.quantity * (now.price - before.price) * multiplier
        if better:
            self.broker.adjust_cash("correction", better, working.order.asset_id)
        if change:
            ticket.filled += change
            ticket.told += change
            working.filled = max(0.0, working.filled + change)
            delta = structs.replace(now, commission=0.0)
            self._watch(working, self.broker.holdings.book(working, working.sign * change, delta))


def is_protective(working: Working) -> bool:
    """Whether an order guards a position, and may only reduce it."""
    return working.order.reduce_only and working.type is not OrderType.MARKET
