"""The exchange of a rehearsal: orders, fills, account and time, without any protocol.

Recorded bars come one timestamp at a time. What is sent between two of them can trade from the
next one on, exactly as what a strategy decides at a bar's close in a backtest; the matching is
the simulation's own.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.rehearsal.accounts import Accounts
from ml4t.backtest.rehearsal.desk import OrderDesk
from ml4t.backtest.rehearsal.faults import FaultPlan
from ml4t.backtest.rehearsal.intake import Intake
from ml4t.backtest.rehearsal.market import Market
from ml4t.backtest.rehearsal.opening import Opening
from ml4t.backtest.rehearsal.register import Register
from ml4t.backtest.rehearsal.tape import Tape
from ml4t.backtest.rehearsal.teller import Teller
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.types.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ml4t.backtest.rehearsal.faults import Fault
    from ml4t.backtest.rehearsal.tickets import Asked, Ticket
    from ml4t.backtest.types.bars import Bars

_CASH = 100_000.0
_LONG_GAP = 10  # bars; a longer pause between two is hurried through


class Venue:
    """An exchange and an account at it, on recorded bars.

    Args:
        data: Bars: anything that the engine takes as `data=`, or a list of feeds.
        cash: Money in the account, 100,000 when left out.
        broker: A `SimulationBroker` with costs, liquidity and account as a backtest would have
            them, instead of `cash` and `fractional`.
        calendar: Name of a trading calendar such as "XNYS": orders then trade in its hours,
            outside of them only those that ask for it. Always open when left out.
        start, end: Only timestamps from `start` to `end`.
        bar_duration: Length of a bar; the usual step between bars of an asset when left out.
        fractional: Assets trade in any fraction instead of whole shares.
        crypto: Assets that are crypto pairs; those with a slash in their name are anyway. They
            trade in fractions and round the clock.
        shorting: Whether a sale may open a position.
        faults: What goes wrong, as texts such as "lose-update:after=3".
        seed: Of the identifiers that the venue gives.

    Attributes:
        tape: The bars.
        market: The simulation.
        register: Every order, update and activity.
        accounts: Positions, and what is free.
        desk: Takes, replaces and cancels orders.
        opening: When the market is open.
        faults: The `FaultPlan`.
        skew: How far the clock that clients ask is off.
        on_bars: Called with the bars of every step, after they have been traded.

    Raises:
        ConfigError: Options that contradict each other.
        DataError: The data is refused.

    Example:
        >>> import polars as pl
        >>> from datetime import datetime
        >>> from ml4t.backtest.rehearsal.tickets import Asked
        >>> minutes = [datetime(2024, 1, 2, 15, m) for m in (1, 2, 3)]
        >>> bars = pl.DataFrame({
        ...     "timestamp": minutes, "asset_id": "AAPL", "open": [10.0, 11.0, 12.0],
        ...     "high": 12.5, "low": 9.5, "close": [10.5, 11.5, 12.0], "volume": 1e3})
        >>> venue = Venue(bars, cash=1_000)
        >>> _ = venue.step()
        >>> order = venue.desk.submit(
        ...     Asked(symbol="AAPL", side="buy", type="market", time_in_force="day", qty=5))
        >>> _ = venue.step()
        >>> venue.register.find(order.id).filled_avg_price, venue.accounts.held("AAPL")
        (11.0, 5.0)
    """

    def __init__(
        self,
        data: Any,
        *,
        cash: float | None = None,
        broker: SimulationBroker | None = None,
        calendar: Any = None,
        start: Any = None,
        end: Any = None,
        bar_duration: dt.timedelta | str | None = None,
        fractional: bool = False,
        crypto: Iterable[str] = (),
        shorting: bool = True,
        faults: Iterable[str | Fault] = (),
        seed: int = 0,
    ) -> None:
        if broker is not None and (cash is not None or fractional):
            raise ConfigError("Give cash= and fractional=, or a broker= that has them.")
        self.calendar = None if calendar is None else _calendar(calendar)
        self.tape = Tape(
            data, calendar=self.calendar, start=start, end=end, bar_duration=bar_duration
        )
        self.crypto = _crypto(crypto, self.tape.universe.ids)
        if broker is None:
            broker = SimulationBroker(
                _CASH if cash is None else cash,
                fractional=fractional,
                instruments=[
                    Instrument(asset_id=name, lot_size=0.0) for name in sorted(self.crypto)
                ],
            )
        self.market = Market(self.tape, broker, calendar=self.calendar, always_open=self.crypto)
        self.faults = FaultPlan(faults)
        self.register = Register(seed)
        self.accounts = Accounts(self.market, self.register, self.crypto)
        self.opening = Opening(self.calendar, is_daily=self.tape.axis.is_session)
        self.teller = Teller(self.market, self.register, self.faults, self._is_working)
        intake = Intake(self.register, self.accounts, shorting=shorting)
        self.desk = OrderDesk(
            self.market, self.register, intake, self.teller, self.faults, now=lambda: self.now
        )
        self.shorting = shorting
        self.skew = dt.timedelta(0)
        self.on_bars: list[Callable[[Bars], None]] = []
        self._passed = 0  # microseconds since the last bars

    # -- time ---------------------------------------------------------------------------------

    @property
    def step_number(self) -> int:
        """The timestamp that is known last, counted from 0; -1 before the first."""
        return self.market.step_number

    @property
    def now(self) -> dt.datetime:
        """The venue's time, in UTC."""
        return self.tape.time(self.step_number) + dt.timedelta(microseconds=self._passed)

    @property
    def until_next(self) -> int:
        """Microseconds from now to the next bars; 0 when there are none."""
        if self.is_over:
            return 0
        return int((self.tape.time(self.step_number + 1) - self.now).total_seconds() * 1e6)

    @property
    def is_over(self) -> bool:
        """Whether all bars have been played, or nothing is left of the account."""
        return self.market.is_over

    def wait(self, microseconds: int) -> None:
        """Time passes, up to the moment before the next bars; nothing trades."""
        self._passed += max(0, min(microseconds, self.until_next - 1))

    def step(self, count: int = 1) -> int:
        """Play the next bars.

        Args:
            count: How many timestamps.

        Returns:
            How many there were.
        """
        for done in range(count):
            if self.is_over:
                return done
            self._step()
        return count

    def step_to(self, time: dt.datetime) -> int:
        """Play everything up to a time, included.

        Returns:
            How many timestamps that were.
        """
        first = self.step_number
        while not self.is_over and self.tape.time(self.step_number + 1) <= time:
            self._step()
        return self.step_number - first

    def play(self, seconds: float, speed: float, longest_pause: float) -> None:
        """Let a stretch of real time go by: time passes, and bars come.

        Args:
            seconds: Of real time.
            speed: How much faster the venue's time goes.
            longest_pause: Seconds of real time that a night or a gap takes at most.
        """
        while seconds > 0.0 and not self.is_over:
            left = self.until_next / 1e6
            pace, gap = speed, self.tape.gap_after(self.step_number)
            if gap > _LONG_GAP * self.tape.duration:
                pace = max(speed, gap / 1e6 / longest_pause)
            if left > seconds * pace:
                self.wait(int(seconds * pace * 1e6))
                return
            seconds -= left / pace
            self._step()

    def _step(self) -> None:
        market, tape = self.market, self.tape
        self.teller.tell(market.finish(), self.now)
        if self.step_number >= 0 and tape.ends_session(self.step_number):
            self.accounts.remember_closes()
        if self.faults.has("partial-fill"):
            market.ration(self.desk.share_of)
        self.desk.prepare(market.next_bars())
        self._passed = 0
        booked = market.advance()
        self.desk.wake()
        self.teller.tell(booked, self.now)
        self.desk.cancel_late()
        self.desk.follow()
        market.end_session()
        self.teller.tell([], self.now)
        assert market.bars is not None
        for listener in self.on_bars:
            listener(market.bars)

    def _is_working(self, ticket: Ticket) -> bool:
        """Whether an order can trade in a bar that begins now."""
        asked: Asked = ticket.asked
        if asked.symbol in self.crypto or asked.extended_hours:
            return True
        return self.opening.is_open(self.now)


def _calendar(calendar: Any) -> TradingCalendar:
    return calendar if isinstance(calendar, TradingCalendar) else TradingCalendar(calendar)


def _crypto(crypto: Iterable[str], known: list[str]) -> frozenset[str]:
    names = {crypto} if isinstance(crypto, str) else set(crypto)
    for name in sorted(names):
        if name not in known:
            raise ConfigError(
                f"crypto names {name!r}, but the data has no such asset. "
                f"{did_you_mean(name, known)}"
            )
    return frozenset(names | {name for name in known if "/" in name})
