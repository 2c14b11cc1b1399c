"""Funding: which entries can be paid for now, which wait for money, and which are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import MICROSECONDS, RETRY, is_due
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.sending import Sender


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
        self._unpaid: tuple[int, list[str], list[int]] = (0, [], [])
        self._asked_at = 0

    def send(self, entries: list[Working], others: list[Working]) -> None:
        """Send entries that can all be paid for; otherwise wait for money, then cut them.

        Args:
            entries: What can go now.
            others: Exits, which bring money, and entries behind cancels, which share what there is.
        """
        broker, sender, now = self.broker, self.sender, self.broker.now()
        at_broker = [ticket.name for ticket in broker.tickets]  # one that ends frees money, too
        situation = (len(broker.executions), at_broker, [one.order_id for one in entries])
        if situation == self._unpaid and now < self._asked_at + RETRY:
            sender.tender.come_back(self._asked_at + RETRY)  # nothing has brought money since
            return
        if not sender.tender.has_slot():
            return
        self._unpaid, self._asked_at = situation, now
        free = broker.gateway.standing().buying_power - self._spoken_for()
        sharing = [working for working in others if not sender.is_exit(working)]
        cost = sum(map(self._cost, (*entries, *sharing)))
        if cost <= free:
            sender.send_each(entries)
            return
        since = min(broker.waits_since.setdefault(w.order_id, now) for w in entries)
        wait = int(broker.basket_wait * MICROSECONDS)
        if self._is_money_coming(others) and not is_due(since + wait, now, wait):
            sender.tender.come_back(since + wait)
            return
        factor = max(0.0, free) / cost
        for working in entries:
            lot = broker.blotter.lot_of(working.code)
            quantity = round_to_lot(sender.wanted(working) * factor, lot)
            broker.write("cut", (working.order_id, quantity))
            broker.notes.cut(working.order_id, quantity)
        sender.send_each([working for working in entries if working.status.is_open])

    def _is_money_coming(self, others: list[Working]) -> bool:
        """Whether exits, or cancels of what has reserved money, may still bring some."""
        tickets = list(self.broker.tickets)
        return any(ticket.is_canceling for ticket in tickets) or any(
            # What rests at a price may never trade.
            working.type is OrderType.MARKET and self.sender.is_exit(working)
            for working in (*others, *(ticket.working for ticket in tickets))
        )

    def _spoken_for(self) -> float:
        """What entries that were sent, and not acknowledged, may still use."""
        return sum(
            self._cost(ticket.working, ticket.open_quantity)
            for ticket in self.broker.tickets
            if ticket.state is TicketState.ASKED and ticket.parent is None
            and not self.sender.is_exit(ticket.working)
        )  # fmt: skip

    def _cost(self, working: Working, quantity: float | None = None) -> float:
        broker = self.broker
        portfolio = broker.portfolio
        assert portfolio is not None
        price = working.limit or working.stop
        if price is None:
            price = portfolio.last_price(working.order.asset_id) * (1.0 + broker.cushion)
        units = self.sender.wanted(working) if quantity is None else quantity
        return float(units * price * portfolio.instruments[working.code].multiplier)
