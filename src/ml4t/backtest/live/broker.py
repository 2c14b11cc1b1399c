"""LiveBroker: a real account behind the same counter as the simulation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.broker.counter import Counter
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.booking import Booking
from ml4t.backtest.live.holdings import Holdings
from ml4t.backtest.live.noting import Notes
from ml4t.backtest.live.reports import Reports
from ml4t.backtest.live.tending import Tender
from ml4t.backtest.live.tickets import Tickets
from ml4t.backtest.live.words import Execution, Link, Refusal, Report
from ml4t.backtest.types.order import Order, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ml4t.backtest.live.gateway import Gateway
    from ml4t.backtest.live.words import VenueEvent
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.instrument import Instrument


class LiveBroker(Broker):
    """Takes orders into the book at once, and makes the broker's orders follow the book.

    Strategies see what they see in a backtest: fills and changes of orders are booked when the
    next bars come, before the hooks. In the book they count at once: exits that wait for an entry
    are sent when it fills, and what stands against each other is canceled.

    Nothing here looks at a clock or at a socket by itself. A session gives it what arrived
    (`receive`) and lets it act (`tend`); both write to the session's journal first, so that
    the same calls in the same order (`apply`, and those of `notes`) bring back the same book.

    Args:
        gateway: The broker's adapter.
        commission: What fills cost when the broker does not say; nothing when left out.
        instruments: Multiplier, lot and tick of assets that are no plain shares.
        fractional: Whether any fraction of a unit can be traded.
        basket_wait: Seconds that entries wait for the exits and cancels that pay for them.
        silence: Seconds after which an order that nothing was heard of is looked up.
        max_order_age: Seconds after which a decision that has not reached the broker is given up;
            one that waits for money has `basket_wait` more.
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
        self.given_up: list[str] = []  # orders that were, until somebody is told
        self.halted = ""
        self._counts: dict[str, int] = {}
        self.holdings, self.booking = Holdings(self), Booking(self)
        self.reports, self.notes = Reports(self), Notes(self)
        self.counter = Counter(portfolio, self.blotter, self.calendar)
        self.tender = Tender(self)
        self.blotter.watch()

    def advance(self, bars: Bars) -> News:
        """What was executed since the bars before."""
        return self.holdings.news(bars)

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
        return self.counter.take(order)

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

    def give_up(self, order_id: int, reason: str) -> None:
        """An order that the broker does not have is not sent any more."""
        working = self.blotter.get(order_id)
        if working is not None:
            order = working.order
            what = f"{order.side} {order.quantity:g} {order.asset_id}"
            self.given_up.append(f"order {order_id} ({what}): {reason}")
        self.write("given_up", (order_id, reason))
        self.notes.given_up(order_id, reason)

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
            self.booking.execute(event)
        elif isinstance(event, Report):
            self.reports.report(event)
        elif isinstance(event, Refusal):
            self.reports.refused(event)
        elif isinstance(event, Link):
            self.is_up = event.is_up

    def position(self, code: int) -> float:
        """Signed units, executions included that the strategy has not been told of yet."""
        return self.holdings.position(code)

    def positions(self) -> dict[str, float]:
        """As `position`, of all assets that are held, by `asset_id`."""
        return self.holdings.positions()

    def cash(self) -> float:
        """Money, executions included that the strategy has not been told of yet."""
        return self.holdings.cash()

    def adjust_cash(self, kind: str, amount: float, asset_id: str | None = None) -> None:
        """Money moved at the broker without a trade; told with the next bars."""
        self.holdings.adjust_cash(kind, amount, asset_id)

    def multiplier_of(self, asset_id: str) -> float:
        """Money per point of price per unit."""
        instrument = self.instruments.get(asset_id)
        return 1.0 if instrument is None else instrument.multiplier


def _seconds(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0.0 <= value < math.inf:
        raise ConfigError(f"{name} must be a number from 0, not {value!r}.")
    return float(value)
