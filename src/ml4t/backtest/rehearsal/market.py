"""The simulation, driven bar by bar without an engine.

The step is the engine's, with the hooks taken out: what clients send between two bars stands
where a strategy's decisions stand in a backtest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.portfolio.portfolio import Portfolio
from ml4t.backtest.rehearsal.hours import RegularHours
from ml4t.backtest.rehearsal.rations import Rations
from ml4t.backtest.types.order import OrderStatus, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.rehearsal.tape import Tape
    from ml4t.backtest.simulation.broker import SimulationBroker
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import AdjustmentEvent, CashEvent, FillBatch, FillEvent, News
    from ml4t.backtest.types.order import Order, OrderEvent

    Item = FillEvent | FillBatch | CashEvent | AdjustmentEvent

Booked = list[tuple["Item", Any]]
"""What happened, each with the signed position after it."""


class Market:
    """A simulation broker and its portfolio on a tape.

    Args:
        tape: The bars.
        broker: Of this rehearsal alone.
        calendar: Trading hours, or None for a market that is always open.
        always_open: Assets that trade round the clock, whatever the calendar.

    Raises:
        ConfigError: The broker is in a run already, or has an option that only a backtest can
            have.
    """

    def __init__(
        self,
        tape: Tape,
        broker: SimulationBroker,
        *,
        calendar: TradingCalendar | None,
        always_open: Iterable[str] = (),
    ) -> None:
        _check(broker)
        self.tape = tape
        self.broker = broker
        self.hours: RegularHours | None = None
        if calendar is not None and calendar.zone != "UTC" and not tape.axis.is_session:
            codes = {tape.universe.codes[asset_id] for asset_id in always_open}
            self.hours = RegularHours(broker.matching, calendar, codes)
            broker.matching = self.hours
        self.portfolio = Portfolio(
            broker.initial_cash, tape.universe, broker.instruments, broker.default_lot
        )
        broker.calendar = calendar
        broker.start(self.portfolio)
        self.blotter = broker.blotter
        self.blotter.watch()
        self.step_number = -1
        self.bars: Bars | None = None
        self.equity_before = self.portfolio.equity  # at the end of the session before

    @property
    def is_over(self) -> bool:
        """Whether there are no more bars, or nothing is left of the account."""
        return self.broker.is_over or self.step_number + 1 >= len(self.tape)

    def finish(self) -> Booked:
        """Everybody has decided on the bars that are known: what that still brings."""
        if self.bars is None or self.broker.is_idle(self.bars):
            return []
        return self._book(self.broker.finish(self.bars))

    def advance(self) -> Booked:
        """The next bars are known: match what is open against them."""
        tape, broker = self.tape, self.broker
        if self.step_number >= 0 and tape.ends_session(self.step_number):
            self.equity_before = self.portfolio.equity
        self.step_number += 1
        self.bars = bars = self.blotter.bars = tape.bars(self.step_number)
        self.blotter.step += 1
        is_idle = broker.is_idle(bars)
        booked = [] if is_idle else self._book(broker.advance(bars))
        self.portfolio.mark(bars)
        if not is_idle:
            booked += self._book(broker.check_margin(bars))
        return booked

    def next_bars(self) -> Bars:
        """The bars that come next; nobody outside the venue may see them."""
        return self.tape.bars(self.step_number + 1)

    def submit(self, order: Order, *, extended: bool = False) -> Working:
        """Hand an order in.

        Returns:
            The order in the book, or as it was rejected there.
        """
        number = self.broker.submit_order(order)
        if extended and self.hours is not None:
            self.hours.extended.add(number)
        working = self.blotter.find(number)
        assert working is not None
        return working

    def ration(self, share_of: Callable[[Order], float | None]) -> None:
        """From now on orders may be given a share of what they ask.

        Args:
            share_of: Asked with every order that could fill; None is all that the bar takes.
        """
        if not isinstance(self.broker.liquidity, Rations):
            self.broker.liquidity = Rations(self.broker.liquidity, share_of)

    def end_session(self) -> None:
        """After the last bars of a session: orders for it alone are over.

        The simulation notices when the next session begins; clients hear of it at once.
        """
        bars, blotter = self.bars, self.blotter
        if bars is None or not self.tape.ends_session(self.step_number):
            return
        session = bars.chunk.sessions.item(bars.index)
        for working in blotter.working():
            if working.session is None or working.session > session:
                continue
            if working.time_in_force is TimeInForce.DAY:
                rest = "the rest was " if working.filled else ""
                text = f"day order: {rest}not filled in its session"
                blotter.end(working, OrderStatus.EXPIRED, text)
            elif working.time_in_force is TimeInForce.CLS:
                text = "at the close: the session had no bar there"
                blotter.end(working, OrderStatus.CANCELED, text)

    def book(self, news: News) -> Booked:
        """Book what does not come from the broker: a correction."""
        return self._book(news)

    def take_changes(self) -> list[OrderEvent]:
        """What became of orders since the last call."""
        return self.blotter.take_changes()

    def _book(self, news: News) -> Booked:
        return list(zip(news, self.portfolio.apply(news), strict=True))


def _check(broker: SimulationBroker) -> None:
    if broker.is_running:
        raise ConfigError("This SimulationBroker is in a run already; give the venue its own.")
    if broker.fill_at == "close":
        raise ConfigError(
            "A venue cannot fill at a close that is already over: leave fill_at='close' to "
            "backtests."
        )
    if broker.close_at_end:
        raise ConfigError("A venue closes nothing at the end of its data: leave close_at_end out.")
