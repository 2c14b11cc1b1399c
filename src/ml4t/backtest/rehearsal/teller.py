"""From what the simulation reports to what a venue tells its clients, order by order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.rehearsal.tickets import Asked, TicketStatus
from ml4t.backtest.types.events import CashEvent, FillBatch, FillEvent
from ml4t.backtest.types.order import OrderSide, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml4t.backtest.rehearsal.faults import FaultPlan
    from ml4t.backtest.rehearsal.market import Booked, Market
    from ml4t.backtest.rehearsal.register import Register
    from ml4t.backtest.rehearsal.tickets import Activity, Ticket, Update
    from ml4t.backtest.types.order import OrderEvent

_ENDS = {
    OrderStatus.CANCELED: (TicketStatus.CANCELED, "canceled_at"),
    OrderStatus.EXPIRED: (TicketStatus.EXPIRED, "expired_at"),
    OrderStatus.REJECTED: (TicketStatus.REJECTED, "failed_at"),
}
_KINDS = {"interest": "INT", "dividend": "DIV"}


class Teller:
    """Books the simulation's news on the venue's orders, and tells of it.

    Fills come first, in the order in which they happened, then what began to work, then what
    ended.

    Args:
        market: The simulation.
        register: The venue's orders.
        faults: Of the rehearsal.
        is_working: Whether an order that was taken can trade at this hour.
    """

    def __init__(
        self,
        market: Market,
        register: Register,
        faults: FaultPlan,
        is_working: Callable[[Ticket], bool],
    ) -> None:
        self.market = market
        self.register = register
        self.faults = faults
        self.is_working = is_working

    def tell(self, booked: Booked, now: datetime) -> None:
        """Tell of news, and of every change since the last call."""
        for item, position in booked:
            if isinstance(item, FillBatch):
                for fill, after in zip(item, position.tolist(), strict=True):
                    self._fill(fill, after, now)
            elif isinstance(item, FillEvent):
                self._fill(item, position, now)
            elif isinstance(item, CashEvent):
                self._cash(item, now)
        for change in self.market.take_changes():
            ticket = self.register.numbered(change.order_id)
            if ticket is not None and ticket.is_open:
                self._change(ticket, change, now)

    def open(self, ticket: Ticket, now: datetime) -> None:
        """An order that was taken is at work from now on, or waits for the market to open."""
        if self.is_working(ticket):
            ticket.status = TicketStatus.NEW
            self.register.tell("new", ticket, now)
        else:
            self.register.tell("accepted", ticket, now)

    def end(self, ticket: Ticket, status: OrderStatus, reason: str, now: datetime) -> None:
        """An order's life is over."""
        ticket.status, stamp = _ENDS[status]
        ticket.reason = reason
        setattr(ticket, stamp, now)
        self.register.tell(ticket.status.value, ticket, now)

    # -- executions ---------------------------------------------------------------------------

    def _fill(self, fill: FillEvent, position: float, now: datetime) -> None:
        register = self.register
        ticket = register.numbered(fill.order_id) or self._adopt(fill, now)
        if ticket.status in (TicketStatus.HELD, TicketStatus.ACCEPTED):
            ticket.status = TicketStatus.NEW
            register.tell("new", ticket, now)
        before, quantity = ticket.filled_qty, fill.quantity
        after = before + quantity
        average = ticket.filled_avg_price or 0.0
        ticket.filled_qty = after
        ticket.filled_avg_price = (average * before + fill.price * quantity) / after
        whole = self._whole(ticket)
        is_done = whole - after <= DUST * whole
        if is_done:
            ticket.status, ticket.filled_at = TicketStatus.FILLED, now
        elif ticket.status is not TicketStatus.PENDING_CANCEL:
            ticket.status = TicketStatus.PARTIALLY_FILLED
        sign = 1.0 if fill.side is OrderSide.SELL else -1.0
        multiplier = self.market.portfolio.instruments[self._code(fill)].multiplier
        execution_id = register.new_id("execution")
        activity = register.note(
            "FILL",
            now,
            sign * quantity * fill.price * multiplier,
            symbol=fill.asset_id,
            order_id=ticket.id,
            side=fill.side.value,
            qty=quantity,
            price=fill.price,
            cum_qty=after,
            leaves_qty=0.0 if is_done else whole - after,
            status=ticket.status.value,
            is_last=is_done,
        )
        if fill.commission:
            text = f"commission of {ticket.id}"
            register.note("FEE", now, -fill.commission, symbol=fill.asset_id, description=text)
        update = register.tell(
            "fill" if is_done else "partial_fill",
            ticket,
            now,
            execution_id=execution_id,
            price=fill.price,
            qty=quantity,
            position_qty=position,
        )
        self._correct(fill, ticket, update, activity, now)

    def _whole(self, ticket: Ticket) -> float:
        if ticket.qty is not None:
            return ticket.qty
        working = self.market.blotter.find(ticket.number)
        assert working is not None
        return working.whole

    def _code(self, fill: FillEvent) -> int:
        return self.market.portfolio.universe.codes[fill.asset_id]

    def _adopt(self, fill: FillEvent, now: datetime) -> Ticket:
        """An order of the venue's own: a margin call, or the end of an account."""
        working = self.market.blotter.find(fill.order_id)
        assert working is not None
        order = working.order
        asked = Asked(
            symbol=order.asset_id,
            side=str(order.side),
            type=str(order.type),
            time_in_force="day",
            qty=order.quantity,
        )
        return self.register.add(asked, now, fill.order_id, reason=order.tag)

    def _correct(
        self, fill: FillEvent, ticket: Ticket, told: Update, activity: Activity, now: datetime
    ) -> None:
        """On request, put an execution right: the same units at a worse price."""
        fault = self.faults.take("correct-fill", **order_facts(ticket))
        if fault is None:
            return
        way = 1.0 if fill.side is OrderSide.BUY else -1.0
        price = fill.price * (1.0 + way * fault.options["by"])
        back = OrderSide.SELL if fill.side is OrderSide.BUY else OrderSide.BUY
        undone = structs.replace(fill, side=back, commission=0.0, slippage=0.0)
        again = structs.replace(fill, price=price, commission=0.0, slippage=0.0)
        ((_, _), (_, position)) = self.market.book([undone, again])
        assert ticket.filled_avg_price is not None
        ticket.filled_avg_price += (price - fill.price) * fill.quantity / ticket.filled_qty
        activity.amount *= price / fill.price
        activity.price = price
        self.register.tell(
            "trade_correct",
            ticket,
            now,
            execution_id=self.register.new_id("execution"),
            price=price,
            qty=fill.quantity,
            position_qty=position,
            replaces=told.execution_id,
        )

    def _cash(self, event: CashEvent, now: datetime) -> None:
        kind = _KINDS.get(event.kind, "FEE")
        symbol = event.asset_id or ""
        self.register.note(kind, now, event.amount, symbol=symbol, description=event.kind)

    # -- changes ------------------------------------------------------------------------------

    def _change(self, ticket: Ticket, change: OrderEvent, now: datetime) -> None:
        if change.status in _ENDS:
            self.end(ticket, change.status, change.reason, now)
        elif change.status is OrderStatus.ACCEPTED and ticket.status is TicketStatus.HELD:
            ticket.status = TicketStatus.NEW
            self.register.tell("new", ticket, now)


def order_facts(ticket: Ticket) -> dict[str, str]:
    """What the conditions of faults are compared with."""
    asked = ticket.asked
    return {"symbol": asked.symbol, "side": asked.side, "client": ticket.client_order_id}
