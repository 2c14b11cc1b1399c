"""LiveBroker: a real account behind the same counter as the simulation."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.broker.counter import Counter
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.tending import Tender
from ml4t.backtest.live.tickets import Ticket, Tickets, TicketState
from ml4t.backtest.live.words import Execution, Link, Refusal, Report, Request, Terms
from ml4t.backtest.portfolio.portfolio import entry_price_after, position_after
from ml4t.backtest.types.events import CashEvent, FillEvent
from ml4t.backtest.types.instrument import DUST
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ml4t.backtest.live.gateway import Gateway
    from ml4t.backtest.live.words import Answer, Change, VenueEvent
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.instrument import Instrument

_SECOND = 1_000_000
_REASONS = {OrderType.MARKET: "open", OrderType.LIMIT: "limit", OrderType.STOP_LIMIT: "limit"}
SCALED = "scaled: buying power"
ADOPTED = "adopted"
CLEARED = "cleared by the operator"
FEE = "fee"


class Fill(msgspec.Struct, frozen=True):
    """What an execution did, until it is told with the next bars."""

    working: Working
    quantity: float
    price: float
    commission: float


class LiveBroker(Broker):
    """Takes orders into the book at once, and makes the broker's orders follow the book.

    Strategies see what they see in a backtest: fills and changes of orders are booked when the
    next bars come, before the hooks. In the book they count at once: exits that wait for an entry
    are sent when it fills, and what stands against each other is canceled.

    Nothing here looks at a clock or at a socket by itself. A session gives it what arrived
    (`receive`) and lets it act (`tend`); both write to the session's journal first, so that
    the same calls in the same order (`apply`, `note`) bring back the same book.

    Args:
        gateway: The broker's adapter.
        commission: What fills cost when the broker does not say; nothing when left out.
        instruments: Multiplier, lot and tick of assets that are no plain shares.
        fractional: Whether any fraction of a unit can be traded.
        basket_wait: Seconds that entries wait for the exits that pay for them.
        silence: Seconds after which an order that nothing was heard of is looked up.
        max_order_age: Seconds after which a decision that has not reached the broker is given up.
        cushion: Share by which purchases may cost more than at the last close.
        shadow: The broker that stands in for this one in shadow mode.

    Raises:
        ConfigError: An option out of range.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        commission: Any = None,
        instruments: Iterable[Instrument] = (),
        fractional: bool = False,
        basket_wait: float = 30.0,
        silence: float = 30.0,
        max_order_age: float = 120.0,
        cushion: float = 0.01,
        shadow: Broker | None = None,
    ) -> None:
        super().__init__()
        self.gateway = gateway
        self.commission = commission
        self.instruments = {one.asset_id: one for one in instruments}
        self.default_lot = 0.0 if fractional else 1.0
        self.basket_wait = _seconds("basket_wait", basket_wait)
        self.silence = _seconds("silence", silence)
        self.max_order_age = _seconds("max_order_age", max_order_age)
        self.cushion = _seconds("cushion", cushion)
        self.shadow = shadow
        self.tickets = Tickets()
        self.now: Callable[[], int] = lambda: 0
        self.write: Callable[[str, Any], None] = lambda _kind, _content: None
        self.run_name = "run"
        self.since = 0  # when the session began; decisions before the first bar count from there

    # -- the verbs ----------------------------------------------------------------------------

    def start(self, portfolio: Portfolio) -> None:
        """A run begins, on what its journal knows."""
        super().start(portfolio)
        self.tickets = Tickets()
        self.canceling: dict[int, str] = {}  # orders the strategy wants gone, and why
        self.cut: dict[int, float] = {}  # entries that buying power cut, and to how many units
        self.waits_since: dict[int, int] = {}  # entries held back, and since when
        self.executions: dict[str, Execution] = {}
        self.commands: list[tuple[str, Any]] = []
        self.is_up = False
        self.rejections = 0  # that the broker gave in a row
        self.halted = ""
        self._positions: dict[int, float] = {}
        self._entries: dict[int, float] = {}
        self._bought: dict[str, float] = {}  # units, by asset; and those kept of it as a fee
        self._kept: dict[str, float] = {}
        self._fills: list[Fill] = []
        self._cash: list[tuple[str, float, str | None]] = []
        self._counts: dict[str, int] = {}
        self._asked: dict[str, Change] = {}  # by the name that an order is to have
        self._fates: dict[str, tuple[OrderStatus, str]] = {}
        self._ahead: list[Execution] = []
        self._early: dict[str, Execution] = {}  # corrections that came first, by what they correct
        self._counter = Counter(portfolio, self.blotter, self.calendar)
        self.tender = Tender(self)
        self.blotter.watch()

    def advance(self, bars: Bars) -> News:
        """What was executed since the bars before."""
        assert self.portfolio is not None
        news: News = [self._told(fill, bars) for fill in self._fills]
        news += [CashEvent(bars.timestamp, *item) for item in self._cash]
        self._fills, self._cash = [], []
        self._positions.clear()
        self._entries.clear()
        return news

    def submit(self, orders: Iterable[Order]) -> News:
        """Accept or reject each order at once; what is accepted is sent after the step."""
        for order in orders:
            self.submit_order(order)
        return []

    def submit_order(self, order: Order) -> int:
        """Submit one order.

        Returns:
            Its id.
        """
        if not self.is_running:
            raise ConfigError("A live broker takes orders in a session only, from a hook.")
        self.commands.append(("submit", order))
        obstacle = self._obstacle(order)
        if obstacle:
            self.commands.append(("refused", obstacle))
        obstacle = self.halted or obstacle
        if obstacle:
            order, code, reason = self.blotter.check(order)
            return self.blotter.reject(order, reason or obstacle, code)
        return self._counter.take(order)

    def _obstacle(self, order: Order) -> str:
        checked, _, reason = self.blotter.check(order)
        return "" if reason else self.gateway.obstacle(checked)

    def finish(self, bars: Bars) -> News:
        """Positions that have lasted long enough are left."""
        if self.watchers.counts_bars:
            for order in self.watchers.pass_bar(bars):
                self.submit_order(order)
        return []

    def end(self, bars: Bars) -> News:
        """What was executed after the last bars."""
        return self.advance(bars)

    def cancel(self, order_id: int, reason: str = "canceled by the strategy") -> bool:
        """Ask for an order to be canceled; one that was not sent yet is canceled at once.

        An order at the broker stays in the book until the broker says that it is gone, and may
        fill until then.
        """
        self.commands.append(("cancel", (order_id, reason)))
        working = self.blotter.get(order_id)
        if working is None:
            return False
        if not self.tickets.is_out(order_id):
            self.blotter.end(working, OrderStatus.CANCELED, reason)
        else:
            self.canceling.setdefault(order_id, reason)
        return True

    def replace(self, order_id: int, **changes: float) -> bool:
        """Change an open order in the book; the broker is told after the step."""
        self.commands.append(("replace", (order_id, changes)))
        return super().replace(order_id, **changes)

    def buying_power(self) -> float:
        """Money in the account; what the broker lends is asked for when an order is sent."""
        return self.get_cash()

    def settings(self) -> dict[str, Any]:
        """What a result should say about the account."""
        return {
            **super().settings(),
            "gateway": self.gateway.name,
            "is_paper": self.gateway.is_paper,
            "commission": repr(self.commission),
            "fractional": self.default_lot == 0.0,
            "basket_wait": self.basket_wait,
        }

    def counts(self) -> dict[str, int]:
        """What a reader of the result should know about, counted over the run."""
        return dict(self._counts)

    def count_one(self, name: str) -> None:
        """Something happened that a reader of the result should know about."""
        self._counts[name] = self._counts.get(name, 0) + 1

    # -- what the session does ------------------------------------------------------------------

    def receive(self, event: VenueEvent) -> None:
        """Something arrived from the broker: written down, then applied."""
        if isinstance(event, Execution) and event.execution_id in self.executions:
            self.count_one("executions_told_twice")
            return
        self.write("event", event)
        self.apply(event)

    def tend(self) -> int | None:
        """Make the broker's orders follow the book, as far as that can be done now.

        Returns:
            When to come again, microseconds; None when only news can change anything.
        """
        return self.tender.tend()

    def apply(self, event: VenueEvent) -> None:
        """What an event does to the book; the same whether it comes now or from a journal."""
        if isinstance(event, Execution):
            self._execute(event)
        elif isinstance(event, Report):
            self._report(event)
        elif isinstance(event, Refusal):
            self._refused(event)
        elif isinstance(event, Link):
            self.is_up = event.is_up

    def position(self, code: int) -> float:
        """Signed units, executions included that the strategy has not been told of yet."""
        held = self._positions.get(code)
        if held is None:
            assert self.portfolio is not None
            held = float(self.portfolio.units[code])
        return held

    def positions(self) -> dict[str, float]:
        """As `position`, of all assets that are held, by `asset_id`."""
        assert self.portfolio is not None
        held = dict(self.portfolio.held)
        for code, quantity in self._positions.items():
            held[self.portfolio.universe.ids[code]] = quantity
        return {asset_id: quantity for asset_id, quantity in sorted(held.items()) if quantity}

    def cash(self) -> float:
        """Money, executions included that the strategy has not been told of yet."""
        assert self.portfolio is not None
        cash = self.portfolio.cash + math.fsum(amount for _, amount, _ in self._cash)
        for fill in self._fills:
            multiplier = self.portfolio.instruments[fill.working.code].multiplier
            cash -= fill.quantity * fill.price * multiplier + fill.commission
        return cash

    def adjust_cash(self, kind: str, amount: float, asset_id: str | None = None) -> None:
        """Money moved at the broker without a trade; told with the next bars."""
        self._cash.append((kind, amount, asset_id))

    # -- notes of what was asked, for the book and for a journal --------------------------------

    def note_request(self, order_id: int, request: Request, at: int) -> None:
        """An order is about to be sent."""
        self.gateway.remember(request)
        working = self.blotter.find(order_id)
        assert working is not None
        ticket = self.tickets.get(request.client_id)
        if ticket is not None:
            ticket.attempts += 1
            ticket.heard_at = at
            return
        parent = self._open_ticket(working, request, None, at)
        for leg in request.legs:
            child = self.blotter.find(self._leg_order(request, leg))
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
        self.tickets.add(ticket)
        self.waits_since.pop(working.order_id, None)
        return ticket

    def note_cancel(self, name: str, at: int) -> None:
        """A cancel is about to be asked for."""
        ticket = self.tickets.get(name)
        assert ticket is not None
        ticket.is_canceling, ticket.heard_at = True, at

    def note_change(self, change: Change, at: int) -> None:
        """A change is about to be asked for."""
        self.gateway.remember_change(change)
        ticket = self.tickets.get(change.client_id)
        assert ticket is not None
        ticket.change, ticket.heard_at = change, at
        ticket.changes += 1
        self._asked[change.new_client_id] = change
        self.tickets.expect(ticket, change.new_client_id)

    def note_lapse(self, name: str) -> None:
        """A cancel or a change was asked for, and the broker never heard of it."""
        ticket = self.tickets.get(name)
        assert ticket is not None
        ticket.is_canceling, ticket.change = False, None

    def note_answer(self, action: str, name: str, answer: Answer, at: int) -> None:
        """The broker has answered, or has not."""
        ticket = self.tickets.get(name)
        assert ticket is not None
        ticket.heard_at = at
        for report in answer.reports:
            self._report(report)
        if answer.is_taken is not False:
            if action == "send" and answer.is_taken:
                self.rejections = 0
            return
        if action == "send":
            self.rejections += 1
            for one in (ticket, *(t for t in self.tickets if t.parent is ticket)):
                self._over(one, OrderStatus.REJECTED, answer.reason)
        else:
            self._refused(Refusal(name, action, answer.reason))

    def note_cut(self, order_id: int, quantity: float) -> None:
        """Buying power pays for no more of an entry than this."""
        working = self.blotter.get(order_id)
        assert working is not None
        self.count_one("clipped_orders")
        if quantity == 0.0:
            self.blotter.end(working, OrderStatus.CANCELED, SCALED)
        else:
            self.cut[order_id] = quantity

    def note_adoption(self, asset_id: str, quantity: float, price: float, at: int) -> None:
        """Units are at the broker that no order of ours brought: from now on they are ours.

        They are booked like a fill at a price of now, for money that is put in beforehand.
        """
        worth = quantity * price * self.multiplier_of(asset_id)
        self.adjust_cash(ADOPTED, worth, asset_id)
        self.note_holding(asset_id, quantity, price, at)

    def note_holding(self, asset_id: str, quantity: float, price: float, at: int) -> None:
        """Units are there, and are booked like a fill at a price."""
        self._book_units(ADOPTED, asset_id, quantity, price, at, 0.0)

    def fee_room(self, asset_id: str) -> float:
        """Units that the broker may still keep of what was bought, as a fee."""
        bought = self._bought.get(asset_id, 0.0) * self.gateway.coin_fee(asset_id)
        return bought - self._kept.get(asset_id, 0.0)

    def note_fee(self, asset_id: str, units: float, price: float, at: int) -> None:
        """The broker has kept units as a fee: they are gone, and what they are worth is its cost.

        They are booked like a sale whose commission is all that it brings.
        """
        self._kept[asset_id] = self._kept.get(asset_id, 0.0) + units
        cost = units * price * self.multiplier_of(asset_id)
        self._book_units(FEE, asset_id, -units, price, at, cost)

    def _book_units(
        self, role: str, asset_id: str, quantity: float, price: float, at: int, cost: float
    ) -> None:
        """Units come or go without an order of the strategy's."""
        side = OrderSide.BUY if quantity > 0.0 else OrderSide.SELL
        code = self.blotter.universe.codes[asset_id]
        order = Order(asset_id, side, abs(quantity), role=role, tag=role)
        working = self.blotter.accept(order, code, abs(quantity))
        name = f"{role}-{working.order_id}-1"
        self._open_ticket(working, Request(name, Terms.of(order), abs(quantity)), None, at)
        self._execute(Execution(name, name, asset_id, quantity, price, at, commission=cost))

    def multiplier_of(self, asset_id: str) -> float:
        """Money per point of price per unit."""
        instrument = self.instruments.get(asset_id)
        return 1.0 if instrument is None else instrument.multiplier

    def note_cash(self, kind: str, amount: float) -> None:
        """Money moved at the broker that no fill explains."""
        self.adjust_cash(kind, amount)

    def note_clearance(self, what: str) -> None:
        """What an operator wants gone: "entries", all "orders", or "positions" with all orders."""
        decided, self.commands = self.commands, []
        for working in self.blotter.listed():
            is_exit = working.sign * self.position(working.code) < 0.0
            if what == "entries" and (is_exit or working.order.reduce_only):
                continue
            self.cancel(working.order_id, CLEARED)
        if what == "positions":
            for asset_id, quantity in self.positions().items():
                side = OrderSide.SELL if quantity > 0.0 else OrderSide.BUY
                order = Order(asset_id, side, abs(quantity), reduce_only=True, role=CLEARED)
                self._counter.take(order)
        self.commands = decided

    def note_given_up(self, order_id: int, reason: str) -> None:
        """An order that never reached the broker is not sent any more."""
        working = self.blotter.get(order_id)
        ticket = self.tickets.active(order_id)
        if ticket is not None:
            self.tickets.close(ticket)
        if working is not None:
            self.blotter.end(working, OrderStatus.CANCELED, reason)

    # -- events -----------------------------------------------------------------------------------

    def _execute(self, execution: Execution) -> None:
        if execution.execution_id in self.executions:
            self.count_one("executions_told_twice")
            return
        if execution.corrects is not None:
            self._take_correction(execution, execution.corrects)
            return
        self.executions[execution.execution_id] = execution
        self._book_execution(execution)
        early = self._early.pop(execution.execution_id, None)
        if early is not None:
            self._execute(early)

    def _take_correction(self, execution: Execution, name: str) -> None:
        """What an execution is now; one that was not told yet is corrected when it is."""
        before = self.executions.get(name)
        if before is None:
            self._early[name] = execution
            return
        self.executions[name] = self.executions[execution.execution_id] = execution
        self._correct(before, execution)

    def _book_execution(self, execution: Execution) -> None:
        ticket = self.tickets.get(execution.client_id)
        if ticket is None:
            self.count_one("foreign_executions")
            return
        self._name_again(ticket, execution.client_id)
        if self._comes_before_its_entry(ticket):
            self._ahead.append(execution)
            self.tender.look_for_executions()
            return
        quantity = abs(execution.quantity)
        ticket.filled += quantity
        ticket.heard_at = max(ticket.heard_at, execution.at)
        if ticket.state is TicketState.ASKED:
            ticket.state = TicketState.WORKING
        was_owed = ticket.state is TicketState.OWED
        if ticket.is_filled or (was_owed and not ticket.owed):
            self.tickets.close(ticket)
        self._fill(ticket, quantity, execution)
        if was_owed and not ticket.owed and ticket.working.status.is_open:
            self._end(ticket, *self._fate(ticket))
        self._take_ahead()

    @staticmethod
    def _comes_before_its_entry(ticket: Ticket) -> bool:
        """Whether an exit has filled whose entry did so before, and that was not told yet."""
        parent = ticket.parent
        if parent is None or parent.request.terms.reduce_only:
            return False
        return not parent.is_filled and (not parent.is_over or bool(parent.owed))

    def _take_ahead(self) -> None:
        """Executions that came before those of their entries, as far as these have come now."""
        ahead, self._ahead = self._ahead, []
        for execution in ahead:
            self._book_execution(execution)

    def _fill(self, ticket: Ticket, quantity: float, execution: Execution) -> None:
        working, price = ticket.working, execution.price
        change = self._book(working, working.sign * quantity, execution)
        if working.status.is_open:
            self.blotter.fill(working, quantity, price)
            if ticket.is_over and working.order_id in self.cut and working.status.is_open:
                self.cut.pop(working.order_id)
                self.blotter.end(working, OrderStatus.CANCELED, SCALED)
        else:  # it was canceled in the book, and filled all the same
            self.count_one("fills_after_end")
            paid = 0.0 if working.filled == 0.0 else working.average_price * working.filled
            working.filled += quantity
            working.average_price = (paid + price * quantity) / working.filled
        self._watch(working, change)
        if working.order_id in self.canceling or not working.status.is_open:
            self._absorb(working, working.sign * quantity)
        self._protect(working.code)

    def _book(
        self, working: Working, signed: float, execution: Execution
    ) -> tuple[float, float, float]:
        """Units change hands: known here at once, told to the strategy with the next bars.

        Returns:
            The position before and after, and its entry price.
        """
        assert self.portfolio is not None
        code, price = working.code, execution.price
        before = self.position(code)
        after = position_after(before, signed)
        entry = self._entries.get(code, float(self.portfolio.entry_price[code]))
        entry = entry_price_after(before, entry, signed, after, price)
        self._positions[code], self._entries[code] = after, entry
        if signed > 0.0 and working.order.role != ADOPTED:
            asset_id = working.order.asset_id
            self._bought[asset_id] = self._bought.get(asset_id, 0.0) + signed
        self._fills.append(Fill(working, signed, price, self._commission(working, execution)))
        return before, after, entry

    def _watch(self, working: Working, change: tuple[float, float, float]) -> None:
        """Rules follow a position, once the order that changed it says what it has filled."""
        if self.watchers.is_used:
            self.watchers.follow(working.code, *change, working)

    def _commission(self, working: Working, execution: Execution) -> float:
        if not math.isnan(execution.commission):
            return execution.commission
        if self.commission is None:
            return 0.0
        assert self.portfolio is not None
        at = dt.datetime.fromtimestamp(execution.at / _SECOND, tz=dt.UTC)
        instrument = self.portfolio.instruments[working.code]
        quantity = abs(execution.quantity)
        return float(self.commission(working.order, quantity, execution.price, at, instrument))

    def _absorb(self, canceled: Working, signed: float) -> None:
        """An order filled that was to be canceled: what was to come in its place is less."""
        for working in self.blotter.working(canceled.code):
            is_later = working.order_id > canceled.order_id and not working.order.after
            if not is_later or self.tickets.count(working.order_id) or is_protective(working):
                continue
            left = working.sign * working.remaining - signed
            text = f"order {canceled.order_id} filled before it was canceled"
            if left * working.sign > DUST * working.remaining:
                order = structs.replace(working.order, quantity=abs(left))
                self.blotter.replace(working, order, abs(left), is_new=False)
                return
            self.blotter.end(working, OrderStatus.CANCELED, text)
            if left:
                side = OrderSide.BUY if left > 0.0 else OrderSide.SELL
                order = structs.replace(working.order, side=side, quantity=abs(left))
                self.blotter.accept_with(working, order, working.code, abs(left))
            return

    def _protect(self, code: int) -> None:
        """Orders that may only reduce a position end with it."""
        position = self.position(code)
        for working in self.blotter.working(code):
            if working.order.reduce_only and working.sign * position >= 0.0:
                ticket = self.tickets.active(working.order_id)
                if ticket is None or not ticket.owed:
                    self.blotter.end(working, OrderStatus.CANCELED, "position closed")

    def _correct(self, before: Execution, now: Execution) -> None:
        """The broker has changed what an execution was."""
        ticket = self.tickets.get(before.client_id)
        self.count_one("executions_corrected")
        if ticket is None:
            return
        assert self.portfolio is not None
        working = ticket.working
        multiplier = self.portfolio.instruments[working.code].multiplier
        change = abs(now.quantity) - abs(before.quantity)
        better = -before.quantity * (now.price - before.price) * multiplier
        if better:
            self.adjust_cash("correction", better, working.order.asset_id)
        if change:
            ticket.filled += change
            ticket.told += change
            working.filled = max(0.0, working.filled + change)
            delta = structs.replace(now, commission=0.0)
            self._watch(working, self._book(working, working.sign * change, delta))

    def _report(self, report: Report) -> None:
        ticket = self.tickets.get(report.client_id)
        if ticket is None:
            self.count_one("reports_of_unknown_orders")
            return
        change = self._asked.get(report.client_id)
        if report.status is OrderStatus.REJECTED and change is not None and ticket.change is change:
            self._refused(Refusal(ticket.name, "replace", report.reason))  # it stays what it was
            return
        ticket.venue_id = report.venue_id or ticket.venue_id
        if ticket.is_over or (report.status.is_open and not ticket.can_trade):
            return
        if report.status is OrderStatus.REJECTED and report.client_id != ticket.name:
            return  # it never became that, and works on as it was
        self._name_again(ticket, report.client_id)
        ticket.told = max(ticket.told, report.filled)
        if ticket.owed:
            self.tender.look_for_executions()
        if report.replaced_by:
            self._replaced(ticket, report.replaced_by)
        elif report.status.is_open:
            is_held = report.status is OrderStatus.PENDING
            ticket.state = TicketState.HELD if is_held else TicketState.WORKING
        else:
            self._over(ticket, report.status, report.reason)

    def _name_again(self, ticket: Ticket, name: str) -> None:
        """Something came by a name: was that what the order was to become, it has."""
        change = self._asked.get(name)
        if change is not None and change.client_id == ticket.name:
            self._replaced(ticket, name)

    def _replaced(self, ticket: Ticket, name: str) -> None:
        if ticket.name == name:
            return
        self.tickets.rename(ticket, name)
        change = self._asked.get(name)
        if change is not None:
            ticket.quantity, ticket.change = change.quantity, None
            ticket.limit, ticket.stop = change.limit_price, change.stop_price

    def _over(self, ticket: Ticket, status: OrderStatus, reason: str) -> None:
        """The broker says that an order's life is over."""
        self._fates[ticket.name] = (status, reason)
        if ticket.owed:  # its end is told when all of its executions have come
            ticket.state, ticket.change = TicketState.OWED, None
            return
        self.tickets.close(ticket)
        if ticket.working.status.is_open:
            self._end(ticket, status, reason)
        self._take_ahead()

    def _fate(self, ticket: Ticket) -> tuple[OrderStatus, str]:
        return self._fates.get(ticket.name, (OrderStatus.CANCELED, "canceled by the broker"))

    def _end(self, ticket: Ticket, status: OrderStatus, reason: str) -> None:
        """An order in the book, open so far, ends as its last ticket did."""
        working = ticket.working
        order_id = working.order_id
        if order_id in self.canceling and status is not OrderStatus.REJECTED:
            self.blotter.end(working, OrderStatus.CANCELED, self.canceling.pop(order_id))
            return
        if order_id in self.cut and ticket.is_filled:
            self.cut.pop(order_id)
            self.blotter.end(working, OrderStatus.CANCELED, SCALED)
            return
        is_stepping_aside = ticket.is_canceling and status is OrderStatus.CANCELED
        is_stepping_aside |= status is OrderStatus.CANCELED and self._goes_with_another(ticket)
        is_orphan = ticket.parent is not None and not ticket.parent.is_filled
        if status is OrderStatus.FILLED or is_stepping_aside or is_orphan:
            return  # the book wants more of it: another ticket will follow
        if status is OrderStatus.REJECTED and working.filled:
            status = OrderStatus.CANCELED
        self.blotter.end(working, status, reason or f"{status.value} by the broker")

    def _goes_with_another(self, ticket: Ticket) -> bool:
        """Whether a cancel was asked for of another one that was sent together with it.

        Brokers cancel all of a bracket with one of it. What the book still wants is sent again.
        """
        head = ticket if ticket.parent is None else ticket.parent
        family = [self.tickets.get(name) for name in head.request.client_ids]
        return any(one is not None and one is not ticket and one.is_canceling for one in family)

    def _refused(self, refusal: Refusal) -> None:
        """The broker will not cancel or change an order: it works on as it was."""
        ticket = self.tickets.get(refusal.client_id)
        if ticket is None or not ticket.can_trade:
            return
        self.count_one(f"{refusal.action}s_refused")
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
        self.blotter.replace(working, order, quantity, is_new=False)

    # -- telling the strategy -----------------------------------------------------------------

    def _told(self, fill: Fill, bars: Bars) -> FillEvent:
        """A fill as the strategy and the result see it, at the time of the bars it is told with."""
        working, order = fill.working, fill.working.order
        code = working.code
        assert self.portfolio is not None
        multiplier = self.portfolio.instruments[code].multiplier
        reference = self._reference(working, bars, fill.price)
        return FillEvent(
            working.order_id,
            order.asset_id,
            bars.timestamp,
            OrderSide.BUY if fill.quantity > 0.0 else OrderSide.SELL,
            abs(fill.quantity),
            fill.price,
            fill.commission,
            fill.quantity * (fill.price - reference) * multiplier,
            order.role or _REASONS.get(working.type, "stop"),
        )

    def _reference(self, working: Working, bars: Bars, price: float) -> float:
        """What slippage is measured from, as in the simulation: the open, or the order's level."""
        if working.order.role in (ADOPTED, FEE):
            return price
        if working.type is OrderType.MARKET:
            row = bars.row_of_code(working.code)
            return float(bars.chunk.open[row]) if row >= 0 else price
        level = working.limit if working.type.has_limit else working.stop
        if level is None or working.type.is_trailing:
            return price
        return level


def is_protective(working: Working) -> bool:
    """Whether an order guards a position, and may only reduce it."""
    return working.order.reduce_only and working.type is not OrderType.MARKET


def _seconds(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value < math.inf:
        raise ConfigError(f"{name} must be a number from 0, not {value!r}.")
    return float(value)
