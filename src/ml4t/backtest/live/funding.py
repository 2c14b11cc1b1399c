"""Funding: which entries can be paid for now, which wait for money, and which are cut."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.live.reconcile import CENT
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import MICROSECONDS, RETRY, is_due
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.sending import Sender
    from ml4t.backtest.live.tickets import Ticket


class Funding:
    """Pays for entries together, as the simulation does.

    What cannot all be paid for waits for `basket_wait` while exits or cancels may still bring
    money, and is cut by one factor after that.

    Args:
        sender: Who sends them.
    """

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.broker = sender.broker
        # When buying power was asked for last.
        self._unpaid: tuple[int, list[tuple[str, TicketState]], list[int]] = (0, [], [])
        self._asked_at = 0

    def send(self, entries: list[Working], others: list[Working]) -> None:
        """Send entries that can all be paid for; otherwise wait for money, then cut them.

        Args:
            entries: What can go now.
            others: Exits, which bring money, and entries behind cancels, which share what there is.
                What lies beyond zero of an exit is an entry, too.
        """
        broker, sender, now = self.broker, self.sender, self.broker.now()
        # One that ends frees money, and one that is acknowledged is in the buying power.
        at_broker = [(ticket.name, ticket.state) for ticket in broker.tickets]
        situation = (len(broker.executions), at_broker, [one.order_id for one in entries])
        if situation == self._unpaid and now < self._asked_at + RETRY:
            sender.tender.come_back(self._asked_at + RETRY)  # nothing has brought money since
            return
        if not sender.tender.has_slot():
            return
        self._unpaid, self._asked_at = situation, now
        free = broker.gateway.standing().buying_power - self._spoken_for()
        to_come = self._cost_to_come(others)
        cost = sum(map(self._cost, entries)) + to_come
        first = [working for working in entries if working.type is OrderType.MARKET]
        if cost > free and 0 < len(first) < len(entries):
            # They trade before anything that rests, as in a backtest; that gets what they leave.
            entries, cost = first, sum(map(self._cost, first)) + to_come
            sender.tender.come_back(now)
        if cost <= free:
            sender.send_each(entries)
            return
        due = self._overdue(entries) if self._is_money_coming(others) else entries
        self._cut(due, free, cost)
        sender.send_each([working for working in due if working.status.is_open])

    def _cut(self, due: list[Working], free: float, cost: float) -> None:
        """Cut entries to their share of what is free, beside all that wants some of it."""
        broker = self.broker
        factor = free / cost if free >= CENT and cost else 0.0  # less is noise, and no order
        is_within = sum(map(self._cost, due)) <= free
        for working in due:
            if is_within and working.order_id in broker.cut:
                continue  # it has its share, and waited to be sent
            lot = broker.blotter.lot_of(working.code)
            # An order that went through zero has filled some already.
            quantity = working.filled + round_to_lot(self.sender.wanted(working) * factor, lot)
            broker.write("cut", (working.order_id, quantity))
            broker.notes.cut(working.order_id, quantity)

    def _overdue(self, entries: list[Working]) -> list[Working]:
        """Those that have waited for long enough; one of a later step has exits of its own."""
        broker, now = self.broker, self.broker.now()
        wait = int(broker.basket_wait * MICROSECONDS)
        overdue = []
        for working in entries:
            until = broker.waits_since.setdefault(working.order_id, now) + wait
            if is_due(until, now, wait):
                overdue.append(working)
            else:
                self.sender.tender.come_back(until)
        return overdue

    def _cost_to_come(self, others: list[Working]) -> float:
        """What other orders will need: all of an entry, and of an exit what lies beyond zero."""
        broker, sender = self.broker, self.sender
        cost = sum(self._cost(working) for working in others if not sender.is_exit(working))
        for working in self._market_exits(others):
            beyond = sender.wanted(working) - abs(broker.position(working.code))
            if beyond > 0.0 and broker.gateway.splits_flips:
                cost += self._cost(working, beyond)
        return cost

    def _market_exits(self, others: list[Working]) -> list[Working]:
        """Exits that will trade, sent or not; what rests at a price may never do."""
        everything = (*others, *(ticket.working for ticket in self.broker.tickets))
        exits = {
            working.order_id: working
            for working in everything
            if working.type is OrderType.MARKET and self.sender.is_exit(working)
        }
        return list(exits.values())

    def _is_money_coming(self, others: list[Working]) -> bool:
        """Whether exits, or cancels of what has reserved money, may still bring some.

        What was sent and is not acknowledged counts twice when the broker has it already.
        """
        is_changing = any(ticket.is_canceling for ticket in self.broker.tickets)
        return is_changing or bool(self._unacknowledged() or self._market_exits(others))

    def _unacknowledged(self) -> list[Ticket]:
        """Entries that were sent, and that the broker has not said it has."""
        return [
            ticket
            for ticket in self.broker.tickets
            if ticket.state is TicketState.ASKED
            and ticket.parent is None
            and not self.sender.is_exit(ticket.working)
        ]

    def _spoken_for(self) -> float:
        """What entries that were sent, and not acknowledged, may still use."""
        return sum(self._cost(one.working, one.open_quantity) for one in self._unacknowledged())

    def _cost(self, working: Working, quantity: float | None = None) -> float:
        broker = self.broker
        portfolio = broker.portfolio
        assert portfolio is not None
        price = working.limit or working.stop
        if price is None:
            price = portfolio.last_price(working.order.asset_id) * (1.0 + broker.cushion)
        if math.isnan(price):
            return 0.0  # it had no bar yet: what it costs only the broker knows
        units = self.sender.wanted(working) if quantity is None else quantity
        return float(units * price * portfolio.instruments[working.code].multiplier)
