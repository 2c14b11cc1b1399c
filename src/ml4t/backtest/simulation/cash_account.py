"""The cash account: no shorts, no credit, and money that is there when it has settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.kernels import total
from ml4t.backtest.simulation.account import Account
from ml4t.backtest.simulation.settlement import business_days, standard_cycle
from ml4t.backtest.types.events import FillBatch, FillEvent
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.holdings import Holdings
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News

# Less than this share of a purchase paid with unsettled money is float noise.
_NOISE = 1e-9


class Proceeds(msgspec.Struct, gc=False):
    """What a sale brought: `amount` settles on business day `due`; `spent` of it went on before."""

    due: int
    amount: float
    spent: float = 0.0


class Unpaid(msgspec.Struct, gc=False):
    """Units bought with money that has settled, all of it, on business day `until`."""

    until: int
    units: float


class CashAccount(Account):
    """Pays purchases in full, cannot sell short, and settles sales some business days later.

    By default only settled money buys, so nothing can be violated, and selling one asset to buy
    another takes as many days as the sale takes to settle. Business days are the sessions of the
    engine's calendar or, without one, the weekdays on which the run has bars.

    With `good_faith=True` the proceeds of a sale may buy at once. Selling what was bought with
    them before they have settled is a good faith violation: the sale goes through, as it does
    with a broker, and is counted in `counts["good_faith_violations"]` and on the result's first
    page. A broker restricts an account after a few of them in a year.

    Args:
        settlement_days: Business days from a sale to its settlement; 0 settles the same day,
            though not for purchases at the same moment. Left out, those of US shares at the
            time: 1 from 2024-05-28, 2 from 2017-09-05, 3 before.
        good_faith: Whether unsettled proceeds may buy.

    Formula:
        free = cash - unsettled                    free = cash    with good_faith
        A purchase is paid with settled money first, then with what settles first.

    Sources:
        Regulation T, 12 CFR 220.8 (cash account); Exchange Act Rule 15c6-1 (settlement cycle).

    Raises:
        ConfigError: Settlement days that are no whole number from 0.

    Example:
        >>> CashAccount(settlement_days=2)
        CashAccount(settlement_days=2)
    """

    can_short = False
    _portfolio: Portfolio
    _calendar: TradingCalendar | None

    def __init__(self, settlement_days: int | None = None, *, good_faith: bool = False) -> None:
        self.settlement_days = _checked_days(settlement_days)
        self.good_faith = _checked_flag(good_faith)
        self._pending: list[Proceeds] = []
        self._unpaid: dict[int, list[Unpaid]] = {}
        self._violations = 0
        self._session = 0
        self._day = 0  # business days counted while something was pending

    def __repr__(self) -> str:
        given = []
        if self.settlement_days is not None:
            given.append(f"settlement_days={self.settlement_days}")
        if self.good_faith:
            given.append("good_faith=True")
        return f"CashAccount({', '.join(given)})"

    def free(self, holdings: Holdings) -> float:
        """Money that purchases may use."""
        if self.good_faith:
            return holdings.cash
        return holdings.cash - holdings.proceeds - self.unsettled()

    def unsettled(self) -> float:
        """Proceeds of sales that have not settled and were not spent."""
        return sum(sale.amount - sale.spent for sale in self._pending)

    def shortage(self, holdings: Holdings) -> str:
        """How much money is there and may not be used."""
        waiting = holdings.cash - self.free(holdings)
        return f", {waiting:,.2f} unsettled" if waiting > 0.0 else ""

    # -- during a run -------------------------------------------------------------------------

    def start(self, portfolio: Portfolio, calendar: TradingCalendar | None) -> None:
        """A run begins, with nothing pending."""
        self._portfolio = portfolio
        self._calendar = calendar
        self._pending, self._unpaid = [], {}
        self._violations = self._session = self._day = 0

    def is_due(self, bars: Bars) -> bool:
        """Whether a session begins while sales are waiting."""
        return bool(self._pending) and bars.chunk.sessions.item(bars.index) != self._session

    def enter(self, bars: Bars) -> None:
        """Settle what is due in the session of `bars`."""
        session = bars.chunk.sessions.item(bars.index)
        if self.is_due(bars):
            self._day += business_days(self._session, session, self._calendar)
            day = self._day
            self._pending = [sale for sale in self._pending if sale.due > day]
            self._unpaid = {
                code: kept
                for code, lots in self._unpaid.items()
                if (kept := [lot for lot in lots if lot.until > day])
            }
        self._session = session

    def book(self, news: News, bars: Bars) -> None:
        """Note what was sold, and what was bought with money that is not there yet."""
        self.enter(bars)
        days = self.settlement_days
        due = self._day + (standard_cycle(self._session) if days is None else days)
        if self.good_faith:
            self._book_each(news, due)
        elif due > self._day:
            proceeds = 0.0
            for item in news:  # from left to right: `sum` would round less
                proceeds += self._proceeds(item)
            if proceeds > 0.0:
                self._pending.append(Proceeds(due, proceeds))

    def counts(self) -> dict[str, int]:
        """Good faith violations, where they can happen."""
        return {"good_faith_violations": self._violations} if self.good_faith else {}

    def _proceeds(self, item: Any) -> float:
        """What the sales in an item of news brought, net of commission."""
        if isinstance(item, FillBatch):
            sold = item.quantities < 0.0
            notional = item.quantities * item.prices * self._portfolio.multiplier[item.codes]
            return -total((notional + item.commissions)[sold])
        is_sale = isinstance(item, FillEvent) and item.side == OrderSide.SELL
        return -self._paid(item) if is_sale else 0.0

    # -- good faith ---------------------------------------------------------------------------

    def _book_each(self, news: News, due: int) -> None:
        cash, units = self._portfolio.cash, dict[int, float]()
        for fill in _fills(news):
            code, paid = self._code(fill), self._paid(fill)
            held = units.get(code, self._portfolio.units[code])
            if fill.side == OrderSide.BUY:
                until = self._spend(paid, cash)
                if until > self._day:
                    self._unpaid.setdefault(code, []).append(Unpaid(until, fill.quantity))
                units[code] = held + fill.quantity
            else:
                self._sell(code, fill.quantity, held)
                if due > self._day and paid < 0.0:
                    self._pending.append(Proceeds(due, -paid))
                units[code] = held - fill.quantity
            cash -= paid
        self._pending.sort(key=lambda sale: sale.due)

    def _spend(self, paid: float, cash: float) -> int:
        """Pay for a purchase; the business day on which all that paid for it has settled."""
        short, until = paid - max(0.0, cash - self.unsettled()), 0
        for sale in self._pending:
            if short <= _NOISE * paid:
                break
            part = min(short, sale.amount - sale.spent)
            sale.spent += part
            short -= part
            until = sale.due
        return until

    def _sell(self, code: int, quantity: float, held: float) -> None:
        """Sell what is paid for first; more than that is a violation."""
        lots = self._unpaid.get(code, [])
        more = quantity - (held - sum(lot.units for lot in lots))
        if not lots or more <= _NOISE * quantity:
            return
        self._violations += 1
        for lot in lots:
            part = min(more, lot.units)
            lot.units -= part
            more -= part

    def _code(self, fill: FillEvent) -> int:
        return self._portfolio.universe.codes[fill.asset_id]

    def _paid(self, fill: FillEvent) -> float:
        """Money a fill took; negative for what it brought."""
        sign = 1.0 if fill.side == OrderSide.BUY else -1.0
        multiplier = self._portfolio.instruments[self._code(fill)].multiplier
        return sign * fill.quantity * fill.price * multiplier + fill.commission


def _checked_days(days: Any) -> int | None:
    is_count = isinstance(days, int) and not isinstance(days, bool) and days >= 0
    if days is not None and not is_count:
        raise ConfigError(
            f"CashAccount: settlement_days must be a whole number from 0, not {days!r}."
        )
    return days  # type: ignore[no-any-return]


def _checked_flag(good_faith: Any) -> bool:
    if not isinstance(good_faith, bool):
        raise ConfigError(f"CashAccount: good_faith must be True or False, not {good_faith!r}.")
    return good_faith


def _fills(news: News) -> Iterator[FillEvent]:
    for item in news:
        if isinstance(item, FillBatch):
            yield from item
        elif isinstance(item, FillEvent):
            yield item
