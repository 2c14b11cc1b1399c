"""A broker in the same process that fills, loses, repeats and refuses on command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.gateway import Gateway
from ml4t.backtest.live.words import Answer, Execution, Link, Report, Standing
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.words import Change, Request, VenueEvent
    from ml4t.backtest.types.order import Order

Fault = Literal["before", "after", "refuse"]


class VenueOrder(msgspec.Struct):
    """An order at the made-up venue."""

    name: str
    asset_id: str
    sign: float
    type: OrderType
    quantity: float
    limit: float | None
    stop: float | None
    status: OrderStatus = OrderStatus.ACCEPTED
    filled: float = 0.0
    reason: str = ""
    replaced_by: str = ""
    parent: str = ""
    siblings: tuple[str, ...] = ()
    best: float = 0.0
    trail: tuple[float | None, float | None] = (None, None)

    def report(self) -> Report:
        """Where it stands."""
        return Report(
            self.name, self.status, f"v-{self.name}", self.filled, self.reason, self.replaced_by
        )


class ScriptedVenue(Gateway):
    """A small exchange with one account, for tests of what runs live.

    It lives on when a session dies. Bars are traded when a test says so (`trade`). What it tells
    goes to the inbox of the session that is connected, and is lost when there is none.

    Args:
        cash: Money in the account.
        takes_brackets: Whether requests may have legs.

    Attributes:
        is_mute: Whether what happens is not told.
        repeats: How often everything is told.
        share: Of an order, filled by each bar at most.
        faults: By call ("send", "cancel", "replace", "find", "executions", "standing"), what goes
            wrong the next times: "before" fails before the call takes effect, "after" does so
            after it, "refuse" says no.
        calls: What was called, in order.
    """

    name = "scripted venue"

    def __init__(self, cash: float = 100_000.0, *, takes_brackets: bool = False) -> None:
        self.cash = cash
        self.takes_brackets = takes_brackets
        self.positions: dict[str, float] = {}
        self.prices: dict[str, float] = {}
        self.orders: dict[str, VenueOrder] = {}
        self._live: list[VenueOrder] = []
        self._legs: dict[str, list[VenueOrder]] = {}
        self.fills: list[Execution] = []
        self.faults: dict[str, list[Fault]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.is_mute = False
        self.repeats = 1
        self.share = 1.0
        self.now = self.traded_until = 0
        self.account = "scripted-1"
        self._inbox: Inbox | None = None

    # -- what a gateway does --------------------------------------------------------------------

    def connect(self, inbox: Inbox) -> Standing:
        """Begin to tell this inbox."""
        self._fault("connect")
        self._inbox = inbox
        return self.standing()

    def close(self) -> None:
        """Tell nobody any more."""
        self._inbox = None

    def drop(self) -> None:
        """Lose the connection: what happens from now on is told to nobody."""
        self._tell(Link(is_up=False, reason="dropped"))
        self.is_mute = True

    def restore(self) -> None:
        """The connection is back; what was missed is not told again."""
        self.is_mute = False
        self._tell(Link(is_up=True, reason="restored"))

    def obstacle(self, order: Order) -> str:
        """It works any order that a session's book knows, but for auctions."""
        return "" if order.time_in_force not in ("opg", "cls") else "this venue has no auctions"

    def send(self, request: Request) -> Answer:
        """Take an order, unless it knows its name."""
        fault = self._next_fault("send", request)
        if fault == "before":
            return Answer(None, "no answer")
        if fault == "refuse":
            return Answer(is_taken=False, reason="refused by the venue")
        if request.client_id in self.orders:
            return Answer(is_taken=True, reports=self._known(request.client_id))
        self._add(request, "")
        names = [leg.client_id for leg in request.legs]
        for leg in request.legs:
            order = self._add(leg, request.client_id)
            order.siblings = tuple(name for name in names if name != leg.client_id)
            if request.terms.reduce_only:  # one cancels the other
                order.siblings += (request.client_id,)
                self.orders[request.client_id].siblings = tuple(names)
            else:
                order.status = OrderStatus.PENDING
        if fault == "after":
            return Answer(None, "no answer")
        return Answer(is_taken=True, reports=self._known(request.client_id))

    def _add(self, request: Request, parent: str) -> VenueOrder:
        order = request.terms
        added = VenueOrder(
            request.client_id,
            order.asset_id,
            1.0 if order.side is OrderSide.BUY else -1.0,
            order.type,
            request.quantity,
            request.limit_price,
            request.stop_price,
            parent=parent,
            best=self.prices.get(order.asset_id, 0.0),
            trail=(order.trail_amount, order.trail_percent),
        )
        self._keep(added)
        return added

    def _keep(self, order: VenueOrder) -> None:
        self.orders[order.name] = order
        self._live.append(order)
        if order.parent:
            self._legs.setdefault(order.parent, []).append(order)

    def _unended(self) -> list[VenueOrder]:
        """Orders that still can trade, or wait for another one: few of a long day's."""
        self._live = [order for order in self._live if order.status.is_open]
        return self._live

    def cancel(self, client_id: str) -> Answer:
        """Cancel an order that is open; told, not answered."""
        fault = self._next_fault("cancel", client_id)
        if fault == "before":
            return Answer(None, "no answer")
        order = self.orders.get(client_id)
        if fault == "refuse" or order is None or not order.status.is_open:
            return Answer(is_taken=False, reason="not cancelable")
        self._end(order, OrderStatus.CANCELED, "")
        return Answer(None, "no answer") if fault == "after" else Answer(is_taken=True)

    def replace(self, change: Change) -> Answer:
        """An order becomes another one."""
        fault = self._next_fault("replace", change)
        if fault == "before":
            return Answer(None, "no answer")
        order = self.orders.get(change.client_id)
        is_open = order is not None and order.status.is_open
        if fault == "refuse" or order is None or not is_open or change.quantity <= order.filled:
            return Answer(is_taken=False, reason="not replaceable")
        order.replaced_by = change.new_client_id
        self._keep(
            msgspec.structs.replace(
                order,
                name=change.new_client_id,
                quantity=change.quantity,
                limit=change.limit_price,
                stop=change.stop_price,
                replaced_by="",
            )
        )
        report = order.report()
        order.status = OrderStatus.CANCELED
        if fault == "after":
            return Answer(None, "no answer")
        return Answer(is_taken=True, reports=(report,))

    def find(self, client_id: str) -> tuple[Report, ...]:
        """Where an order, what it has become, and its legs stand."""
        self._fault("find")
        return self._known(client_id)

    def _known(self, client_id: str) -> tuple[Report, ...]:
        order = self.orders.get(client_id)
        if order is None:
            return ()
        reports = [order.report()]
        if order.replaced_by:
            reports += self._known(order.replaced_by)
        return (*reports, *(leg.report() for leg in self._legs.get(client_id, ())))

    def open_orders(self) -> Sequence[tuple[Report, str]]:
        """All that are open."""
        return [(order.report(), order.asset_id) for order in self._unended()]

    def executions(self, since: int) -> Sequence[Execution]:
        """All fills from a time on."""
        self._fault("executions")
        return [fill for fill in self.fills if fill.at >= since]

    def standing(self) -> Standing:
        """Cash and positions."""
        self._fault("standing")
        held = {name: units for name, units in self.positions.items() if units}
        short = -sum(min(units, 0.0) * self.prices[name] for name, units in held.items())
        power = self.cash - 2.0 * short
        return Standing(self.account, self.cash, power, held, dict(self.prices), self.now)

    def _next_fault(self, call: str, content: Any = None) -> Fault | None:
        self.calls.append((call, content))
        waiting = self.faults.get(call)
        return waiting.pop(0) if waiting else None

    def _fault(self, call: str) -> None:
        if self._next_fault(call) is not None:
            raise ConnectionLost(f"{call}: no answer")

    # -- what the market does -------------------------------------------------------------------

    def trade(
        self,
        now: int,
        bars: Mapping[str, tuple[float, float, float, float]],
        settle: Callable[[], Any] = lambda: None,
    ) -> None:
        """A bar of each asset passes: what is open is matched against it.

        When `settle` raises, the bar has not passed, and can be traded again.

        Args:
            now: Its time, microseconds.
            bars: Open, high, low and close by `asset_id`.
            settle: Called when the open has traded, so that what it brings can trade at it, too.
        """
        self.now = now
        while True:
            fills = len(self.fills)
            self._pass(bars, is_open=True)
            settle()
            if len(self.fills) == fills:
                break
        self._pass(bars, is_open=False)
        self.prices |= {name: bar[3] for name, bar in bars.items()}
        self.traded_until = now
        for order in self._unended():
            bar = bars.get(order.asset_id)
            if bar is not None and order.type.is_trailing:
                order.best = max(order.best, bar[1]) if order.sign < 0 else min(order.best, bar[2])

    def _pass(
        self, bars: Mapping[str, tuple[float, float, float, float]], *, is_open: bool
    ) -> None:
        for order in self._unended():
            bar = bars.get(order.asset_id)
            if bar is None or not order.status.is_open:
                continue
            if is_open == (order.type is OrderType.MARKET):
                self._match(order, bar)

    def _match(self, order: VenueOrder, bar: tuple[float, float, float, float]) -> None:
        if order.status is OrderStatus.PENDING:
            return
        price = self._price(order, bar)
        if price is None:
            return
        left = order.quantity - order.filled
        part = left if self.share == 1.0 else min(left, max(1.0, order.quantity * self.share // 1))
        self.fill(order.name, part, price)

    @staticmethod
    def _price(order: VenueOrder, bar: tuple[float, float, float, float]) -> float | None:
        opened, high, low, _ = bar
        stop = order.stop
        if order.type.is_trailing:
            amount, percent = order.trail
            stop = order.best + order.sign * (order.best * percent if percent else amount or 0.0)
        if order.type is OrderType.MARKET:
            return opened
        if order.type is OrderType.LIMIT:
            assert order.limit is not None
            if order.sign > 0:
                return min(opened, order.limit) if low <= order.limit else None
            return max(opened, order.limit) if high >= order.limit else None
        assert stop is not None
        if order.sign > 0:
            return max(opened, stop) if high >= stop else None
        return min(opened, stop) if low <= stop else None

    def fill(self, name: str, quantity: float, price: float) -> Execution:
        """Fill some of an order."""
        order = self.orders[name]
        order.filled += quantity
        self.cash -= order.sign * quantity * price
        held = self.positions.get(order.asset_id, 0.0) + order.sign * quantity
        self.positions[order.asset_id] = held
        self.prices.setdefault(order.asset_id, price)
        execution = Execution(
            name, f"x{len(self.fills) + 1}", order.asset_id, order.sign * quantity, price, self.now
        )
        self.fills.append(execution)
        is_done = order.filled >= order.quantity - 1e-12
        order.status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
        self._tell(execution)
        self._tell(order.report())
        if is_done:
            self._after(order)
        return execution

    def _after(self, order: VenueOrder) -> None:
        """What a filled order sets to work, and what it cancels."""
        for other in self._legs.get(order.name, ()):
            if other.status is OrderStatus.PENDING:
                other.status = OrderStatus.ACCEPTED
                self._tell(other.report())
        for name in order.siblings:
            if self.orders[name].status.is_open:
                self._end(self.orders[name], OrderStatus.CANCELED, "one cancels other")

    def _end(self, order: VenueOrder, status: OrderStatus, reason: str) -> None:
        order.status, order.reason = status, reason
        self._tell(order.report())
        for other in self._legs.get(order.name, ()):
            if other.status is OrderStatus.PENDING:
                self._end(other, OrderStatus.CANCELED, "its entry was canceled")

    def _tell(self, event: VenueEvent) -> None:
        if self._inbox is None or self.is_mute:
            return
        for _ in range(self.repeats):
            self._inbox.put("broker", event)
