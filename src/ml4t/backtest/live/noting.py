"""Notes of what was asked and decided between steps: the same now and from a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.live.reasons import ADOPTED, CLEARED, FEE, SCALED
from ml4t.backtest.live.tickets import Ticket, TicketState
from ml4t.backtest.live.words import Execution, Refusal, Request, Terms
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.words import Answer, Change


class Notes:
    """Applies to the book what a journal has between its steps; a method for each kind of entry.

    Args:
        broker: Whose book.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker

    def request(self, order_id: int, request: Request, at: int) -> None:
        """An order is about to be sent."""
        self.broker.gateway.remember(request)
        working = self.broker.blotter.find(order_id)
        assert working is not None
        ticket = self.broker.tickets.get(request.client_id)
        if ticket is not None:
            ticket.attempts += 1
            ticket.heard_at = at
            return
        parent = self._open_ticket(working, request, None, at)
        for leg in request.legs:
            child = self.broker.blotter.find(self._leg_order(request, leg))
            assert child is not None
            self._open_ticket(child, leg, parent, at)

    def _leg_order(self, request: Request, leg: Request) -> int:
        """The order in the book that a leg is for: its name ends with that order's id."""
        del request
        return int(leg.client_id.rsplit("-", 2)[1])

    def _open_ticket(
        self, working: Working, request: Request, parent: Ticket | None, at: int
    ) -> Ticket:
        ticket = Ticket(
            request.client_id,
            request,
            working,
            TicketState.ASKED,
            request.quantity,
            request.limit_price,
            request.stop_price,
            parent=parent,
            heard_at=at,
        )
        self.broker.tickets.add(ticket)
        self.broker.waits_since.pop(working.order_id, None)
        return ticket

    def cancel(self, name: str, at: int) -> None:
        """A cancel is about to be asked for."""
        ticket = self.broker.tickets.get(name)
        assert ticket is not None
        ticket.is_canceling, ticket.heard_at = True, at

    def change(self, change: Change, at: int) -> None:
        """A change is about to be asked for."""
        self.broker.gateway.remember_change(change)
        ticket = self.broker.tickets.get(change.client_id)
        assert ticket is not None
        ticket.change, ticket.heard_at = change, at
        ticket.changes += 1
        self.broker.reports.expect(ticket, change)

    def lapse(self, name: str) -> None:
        """A cancel or a change was asked for, and the broker never heard of it."""
        ticket = self.broker.tickets.get(name)
        assert ticket is not None
        ticket.is_canceling, ticket.change = False, None

    def answer(self, action: str, name: str, answer: Answer, at: int) -> None:
        """The broker has answered, or has not."""
        ticket = self.broker.tickets.get(name)
        assert ticket is not None
        ticket.heard_at = at
        for report in answer.reports:
            self.broker.reports.report(report)
        if answer.is_taken is not False:
            if action == "send" and answer.is_taken:
                self.broker.rejections = 0
            return
        if action == "send":
            self.broker.rejections += 1
            for one in (ticket, *(t for t in self.broker.tickets if t.parent is ticket)):
                self.broker.reports.over(one, OrderStatus.REJECTED, answer.reason)
        else:
            self.broker.reports.refused(Refusal(name, action, answer.reason))

    def cut(self, order_id: int, quantity: float) -> None:
        """Buying power pays for no more of an entry than this, what has filled included."""
        working = self.broker.blotter.get(order_id)
        assert working is not None
        if order_id not in self.broker.cut:
            self.broker.count_one("clipped_orders")
        if quantity <= working.filled:
            self.broker.blotter.end(working, OrderStatus.CANCELED, SCALED)
        else:
            self.broker.cut[order_id] = quantity

    def adoption(self, asset_id: str, quantity: float, price: float, at: int) -> None:
        """Units are at the broker that no order of ours brought: from now on they are ours.

        They are booked like a fill at a price of now, for money that is put in beforehand.
        """
        worth = quantity * price * self.broker.multiplier_of(asset_id)
        self.broker.adjust_cash(ADOPTED, worth, asset_id)
        self.holding(asset_id, quantity, price, at)

    def holding(self, asset_id: str, quantity: float, price: float, at: int) -> None:
        """Units are there, and are booked like a fill at a price."""
        self._book_units(ADOPTED, asset_id, quantity, price, at, 0.0)

    def fee(self, asset_id: str, units: float, price: float, at: int) -> None:
        """The broker has kept units as a fee: they are gone, and what they are worth is its cost.

        They are booked like a sale whose commission is all that it brings.
        """
        self.broker.holdings.note_kept(asset_id, units)
        cost = units * price * self.broker.multiplier_of(asset_id)
        self._book_units(FEE, asset_id, -units, price, at, cost)

    def _book_units(
        self, role: str, asset_id: str, quantity: float, price: float, at: int, cost: float
    ) -> None:
        """Units come or go without an order of the strategy's."""
        side = OrderSide.BUY if quantity > 0.0 else OrderSide.SELL
        code = self.broker.blotter.universe.codes[asset_id]
        order = Order(asset_id, side, abs(quantity), role=role, tag=role)
        working = self.broker.blotter.accept(order, code, abs(quantity))
        name = f"{role}-{working.order_id}-1"
        self._open_ticket(working, Request(name, Terms.of(order), abs(quantity)), None, at)
        self.broker.booking.execute(
            Execution(name, name, asset_id, quantity, price, at, commission=cost)
        )

    def cash(self, kind: str, amount: float) -> None:
        """Money moved at the broker that no fill explains."""
        self.broker.adjust_cash(kind, amount)

    def clearance(self, what: str) -> None:
        """What an operator wants gone: "entries", all "orders", or "positions" with all orders."""
        decided, self.broker.commands = self.broker.commands, []
        for working in self.broker.blotter.listed():
            is_exit = working.sign * self.broker.position(working.code) < 0.0
            if what == "entries" and (is_exit or working.order.reduce_only):
                continue
            self.broker.cancel(working.order_id, CLEARED)
        if what == "positions":
            for asset_id, quantity in self.broker.positions().items():
                side = OrderSide.SELL if quantity > 0.0 else OrderSide.BUY
                order = Order(asset_id, side, abs(quantity), reduce_only=True, role=CLEARED)
                self.broker.counter.take(order)
        self.broker.commands = decided

    def given_up(self, order_id: int, reason: str) -> None:
        """An order that never reached the broker is not sent any more."""
        working = self.broker.blotter.get(order_id)
        ticket = self.broker.tickets.active(order_id)
        if ticket is not None:
            self.broker.tickets.close(ticket)
        if working is not None:
            self.broker.blotter.end(working, OrderStatus.CANCELED, reason)
