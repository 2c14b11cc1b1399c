"""The order desk of a venue: takes, replaces and cancels orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.rehearsal.handing import hand_in, order_of
from ml4t.backtest.rehearsal.replacing import Replacer
from ml4t.backtest.rehearsal.teller import order_facts
from ml4t.backtest.rehearsal.tickets import OrderClass, RefusedError, TicketStatus
from ml4t.backtest.types.order import Order, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.rehearsal.faults import FaultPlan
    from ml4t.backtest.rehearsal.intake import Intake
    from ml4t.backtest.rehearsal.market import Market
    from ml4t.backtest.rehearsal.register import Register
    from ml4t.backtest.rehearsal.teller import Teller
    from ml4t.backtest.rehearsal.tickets import Asked, Ticket
    from ml4t.backtest.types.bars import Bars

_NOT_CANCELABLE = "order is not cancelable"
_BY_CLIENT = "canceled by the client"


class OrderDesk:
    """Where clients hand in what they want of orders.

    Args:
        market: The simulation.
        register: The orders.
        intake: Refuses what cannot be taken.
        teller: Tells what became of them.
        faults: Of the rehearsal.
        now: The venue's time.
    """

    def __init__(
        self,
        market: Market,
        register: Register,
        intake: Intake,
        teller: Teller,
        faults: FaultPlan,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self.market = market
        self.register = register
        self.intake = intake
        self.teller = teller
        self.faults = faults
        self.now = now
        self._replacer = Replacer(self)
        self._late_cancels: list[Ticket] = []
        self._shares: dict[tuple[str, ...], float | None] = {}  # given of the bar under way
        self._asleep: list[Ticket] = []  # taken while the market was closed

    # -- orders come in -----------------------------------------------------------------------

    def submit(self, asked: Asked) -> Ticket:
        """Take an order.

        Returns:
            It, as it was taken; it may already be at work.

        Raises:
            RefusedError: It cannot be taken, and why.
        """
        self.intake.check(asked)
        if asked.order_class is OrderClass.OCO and asked.limit_price is None:
            asked = structs.replace(asked, limit_price=asked.take_profit)
        now = self.now()
        oco = f"oco {len(self.register.tickets)}" if asked.order_class is OrderClass.OCO else ""
        working = hand_in(self.market, asked, order_of(asked, self._quantity(asked), oco=oco))
        ticket = self.register.add(asked, now, working.order_id)
        try:
            ticket.legs = tuple(leg.id for leg in self._legs(asked, ticket, working, oco, now))
        except RefusedError:
            self._reject(ticket)
            raise
        taken = structs.replace(ticket)
        self.market.take_changes()  # nothing but that they were taken
        if self.faults.take("reject-order", **order_facts(ticket)):
            self._reject(ticket)
            return taken
        self.teller.open(ticket, now)
        for leg in self.register.legs_of(ticket):
            if leg.status is TicketStatus.ACCEPTED:
                self.teller.open(leg, now)
        self._asleep += [
            t for t in self.register.group_of(ticket) if t.status is TicketStatus.ACCEPTED
        ]
        return taken

    def _quantity(self, asked: Asked) -> float:
        if asked.qty is not None:
            return asked.qty
        units = self.intake.accounts.units(asked)
        if units == 0.0:
            raise RefusedError("unprocessable", "no price yet: a notional order needs one")
        return units

    def _legs(
        self, asked: Asked, head: Ticket, working: Working, oco: str, now: datetime
    ) -> list[Ticket]:
        """Hand in the orders that belong to another one: the stop first, then the target."""
        is_oco = asked.order_class is OrderClass.OCO
        assert asked.qty is not None or asked.order_class is OrderClass.SIMPLE
        way_out = asked.side if is_oco else ("sell" if asked.side == "buy" else "buy")
        kinds: list[tuple[str, str, dict[str, float | None]]] = []
        if asked.stop_loss is not None:
            kind = "stop" if asked.stop_loss_limit is None else "stop_limit"
            prices = {"stop_price": asked.stop_loss, "limit_price": asked.stop_loss_limit}
            kinds.append((kind, "stop_loss", prices))
        if asked.take_profit is not None and not is_oco:
            kinds.append(("limit", "take_profit", {"limit_price": asked.take_profit}))
        legs = []
        for kind, role, prices in kinds:
            leg = structs.replace(
                asked,
                side=way_out,
                type=kind,
                take_profit=None,
                stop_loss=None,
                stop_loss_limit=None,
                client_order_id=None,
                **({"limit_price": None, "stop_price": None} | prices),
            )
            order = structs.replace(
                order_of(leg, working.order.quantity, oco=oco or f"bracket {working.order_id}"),
                after=0 if is_oco else working.order_id,
                reduce_only=not is_oco,
                role="" if is_oco else role,
            )
            status = TicketStatus.ACCEPTED if is_oco else TicketStatus.HELD
            number = hand_in(self.market, leg, order).order_id
            legs.append(self.register.add(leg, now, number, parent=head.id, status=status))
        return legs

    def _reject(self, ticket: Ticket) -> None:
        self.market.broker.cancel(ticket.number, "rejected by the exchange")
        self.market.take_changes()
        for part in reversed(self.register.group_of(ticket)):
            if part.is_open:
                self.market.broker.cancel(part.number, "rejected by the exchange")
                status = OrderStatus.CANCELED if part.parent else OrderStatus.REJECTED
                self.teller.end(part, status, "rejected by the exchange", self.now())
        self.market.take_changes()

    # -- orders go out ------------------------------------------------------------------------

    def cancel(self, order_id: str) -> Ticket:
        """Ask for the end of an order, and of all that belong to it.

        Raises:
            RefusedError: There is none, or it is over.
        """
        ticket = self.register.find(order_id)
        facts = order_facts(ticket)
        if not ticket.is_open or self.faults.take("refuse-cancel", **facts):
            raise RefusedError("unprocessable", _NOT_CANCELABLE)
        if ticket.status is TicketStatus.PENDING_CANCEL:
            return ticket
        if self.faults.take("fill-during-cancel", **facts):
            self.cancel_later(ticket)
            return ticket
        self._cancel(ticket)
        return ticket

    def cancel_later(self, ticket: Ticket) -> None:
        """Cancel an order after the next bars alone."""
        ticket.status = TicketStatus.PENDING_CANCEL
        self.register.tell("pending_cancel", ticket, self.now())
        self._late_cancels.append(ticket)

    def cancel_all(self) -> list[tuple[Ticket, RefusedError | None]]:
        """Ask for the end of all orders.

        Returns:
            Those that were open, each with why it was refused; what ended with another one is
            left out.
        """
        answers: list[tuple[Ticket, RefusedError | None]] = []
        for ticket in list(self.register.open.values()):
            if not ticket.is_open:  # it went with the order that it belonged to
                continue
            try:
                answers.append((self.cancel(ticket.id), None))
            except RefusedError as error:
                answers.append((ticket, error))
        return answers

    def _cancel(self, ticket: Ticket) -> None:
        for part in self.register.group_of(ticket):
            if part.is_open:
                self.market.broker.cancel(part.number, _BY_CLIENT)
        self.teller.tell([], self.now())

    def replace(
        self,
        order_id: str,
        *,
        time_in_force: str | None = None,
        client_order_id: str | None = None,
        **changes: float,
    ) -> Ticket:
        """Put a new order in the place of an open one.

        What is not named stays as it was asked. So does the quantity: of an order that has filled
        in part, a new one works the whole quantity again unless it says how much. Of orders that
        belong to others the prices alone can change.

        Args:
            order_id: Of the old one.
            time_in_force: Of the new one.
            client_order_id: Of the new one; the venue gives one when left out.
            changes: `qty`, `limit_price`, `stop_price`, `trail`.

        Returns:
            The new order.

        Raises:
            RefusedError: There is none, it is over, or the new one cannot be meant.
        """
        old = self.register.find(order_id)
        words = {"time_in_force": time_in_force, "client_order_id": client_order_id}
        taken = self._replacer.replace(old, {**changes}, words)
        new = self.register.find(taken.id)
        if new.status is TicketStatus.ACCEPTED:
            self._asleep.append(new)
        return taken

    # -- with every step ----------------------------------------------------------------------

    def share_of(self, order: Order) -> float | None:
        """What a fault leaves an order of a bar; the same however often it is tried there."""
        facts = {"symbol": order.asset_id, "side": str(order.side)}
        key = tuple(facts.values())
        if key not in self._shares:
            fault = self.faults.take("partial-fill", **facts)
            self._shares[key] = None if fault is None else fault.options["share"]
        return self._shares[key]

    def prepare(self, bars: Bars) -> None:
        """Before bars trade: an order by money buys what it pays for at their open."""
        self._shares.clear()
        blotter = self.market.blotter
        for ticket in self.register.open.values():
            notional = ticket.asked.notional
            row = -1 if notional is None else bars.chunk_row(ticket.asked.symbol)
            working = None if row < 0 else blotter.get(ticket.number)
            if notional is None or working is None or working.filled:
                continue
            instrument = self.market.portfolio.instruments[working.code]
            units = notional / (bars.chunk.opens[row] * instrument.multiplier)
            order = structs.replace(working.order, quantity=units)
            blotter.replace(working, order, units, is_new=False)

    def wake(self) -> None:
        """The market may have opened: orders that waited for it are at work."""
        asleep, self._asleep = self._asleep, []
        for ticket in asleep:
            if ticket.status is not TicketStatus.ACCEPTED:
                continue
            if self.teller.is_working(ticket):
                self.teller.open(ticket, self.now())
            else:
                self._asleep.append(ticket)

    def cancel_late(self) -> None:
        """Cancels that were held back for a bar."""
        late, self._late_cancels = self._late_cancels, []
        for ticket in late:
            if ticket.is_open:
                self._cancel(ticket)

    def follow(self) -> None:
        """The stops that follow the price, as clients see them."""
        for ticket in self.register.open.values():
            if ticket.asked.type != "trailing_stop":
                continue
            working = self.market.blotter.get(ticket.number)
            if working is None or working.stop is None:
                continue
            side = -working.sign  # a sale's stop lies below the best price
            ticket.stop_price = working.stop
            if ticket.asked.trail_percent is not None:
                ticket.hwm = working.stop / (1.0 - side * ticket.asked.trail_percent)
            else:
                ticket.hwm = working.stop + side * (ticket.asked.trail_price or 0.0)
