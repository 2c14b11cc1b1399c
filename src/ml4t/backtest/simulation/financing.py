"""What holding costs and cash earns: interest and borrow fees, by calendar day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.kernels import total
from ml4t.backtest.simulation.checks import not_negative
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.simulation.rates import AssetRates, DailyRates, RunRates
from ml4t.backtest.types.events import CashEvent

if TYPE_CHECKING:
    from datetime import datetime

    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News

YearDays = Literal[360, 365]


class Interest:
    """Interest on cash, earned or owed, for every calendar day.

    The proceeds of short sales lie with the lender of the shares, so they earn nothing and save
    nothing: interest is on the cash less the market value of what is sold short. Nobody pays the
    notional of a future (`Instrument.asset_class`); it is taken out of the cash again. What a
    sale brings counts from the trade on, settled or not.

    Args:
        rate: The benchmark as a fraction a year: a number, a mapping from dates to rates, or a
            table with a column of dates and the column `rate`. A rate counts from its date on.
        debit_spread: What the broker adds to it on money owed: 0.015 is one and a half percent.
        credit_spread: What it takes from it on money held, never below zero.
        year_days: Days of a year: 360 as US money markets count, or 365.

    Formula:
        balance = cash - short_value + future_value     at the last close of the session before
        interest = Σ over the calendar days since then of balance * annual / year_days
        annual = rate + debit_spread                           where balance < 0
        annual = min(rate, max(0, rate - credit_spread))       else
        100,000 owed from Friday to Monday at 0.06: 100,000 * 0.06 * 3 / 360 = 50.

    Sources:
        2006 ISDA Definitions, 4.16 (e) actual/360 and (d) actual/365 fixed.

    Raises:
        ConfigError: A rate that is no finite number or above 10, a negative spread, other days.
        DataError: A table without these columns, or that begins after it is needed.

    Example:
        >>> Interest(0.05, debit_spread=0.015)
        Interest(rate=0.05, debit_spread=0.015)
    """

    def __init__(
        self,
        rate: Any,
        *,
        debit_spread: float = 0.0,
        credit_spread: float = 0.0,
        year_days: YearDays = 360,
    ) -> None:
        self.rates = DailyRates("interest", rate)
        self.debit_spread = not_negative("Interest", "debit_spread", debit_spread)
        self.credit_spread = not_negative("Interest", "credit_spread", credit_spread)
        self.year_days = _days_of("Interest", year_days)
        self._shown = rate if isinstance(rate, int | float) else "by day"

    def __repr__(self) -> str:
        spreads = {"debit_spread": self.debit_spread, "credit_spread": self.credit_spread}
        given = [f"{name}={value!r}" for name, value in spreads.items() if value]
        return f"Interest({', '.join([f'rate={self._shown}', *given, *_shown(self.year_days)])})"

    def money(self, balance: float, first: int, stop: int) -> float:
        """Interest on a balance for the days from `first` to before `stop`; negative is paid."""
        rates = self.rates.at(np.arange(first, stop))
        if balance < 0.0:
            annual = rates + self.debit_spread
        else:
            annual = np.minimum(rates, np.maximum(0.0, rates - self.credit_spread))
        return balance * float(annual.sum()) / self.year_days


class BorrowFee:
    """The fee for borrowed shares, on the market value of every short, for every calendar day.

    Args:
        rate: A fraction a year: a number for all assets, a mapping from `asset_id` to rates, or a
            table with a column of dates, one of assets and the column `rate`, each counting from
            its date on. An asset it does not name has `Instrument.borrow_rate`, else no fee. A
            negative rate is a rebate.
        year_days: Days of a year, 360 or 365.

    Formula:
        fee = Σ over the calendar days since the session before of
              short_value * rate / year_days        short_value at that session's last close
        10,000 sold short over a weekend at 0.036: 10,000 * 0.036 * 3 / 360 = 3.

    Raises:
        ConfigError: A rate that is no finite number or above 10, an unknown asset, other days.
        DataError: A table without these columns.

    Example:
        >>> BorrowFee({"GME": 0.8})
        BorrowFee(rate={'GME': 0.8})
    """

    def __init__(self, rate: Any = None, *, year_days: YearDays = 360) -> None:
        self.rates = AssetRates("borrow", rate)
        self.year_days = _days_of("BorrowFee", year_days)
        is_plain = rate is None or isinstance(rate, int | float | dict)
        self._shown = rate if is_plain else "by asset and day"

    def __repr__(self) -> str:
        return f"BorrowFee({', '.join([f'rate={self._shown}', *_shown(self.year_days)])})"


class Financing:
    """Books interest and borrow fees in one run, once a session, before its first bar trades.

    Args:
        interest: On the cash; None for none.
        borrow: On the shorts; None for none.
        portfolio: Read only.
    """

    def __init__(
        self, interest: Interest | None, borrow: BorrowFee | None, portfolio: Portfolio
    ) -> None:
        self.interest = interest
        self.borrow = borrow
        self.portfolio = portfolio
        self._session: int | None = None
        self._is_future = np.zeros(0, dtype=bool)
        if borrow is not None:
            borrow.rates.check(portfolio.universe)
            self._rates = RunRates(borrow.rates, portfolio)

    def is_due(self, bars: Bars) -> bool:
        """Whether `accrue` has something to book.

        A session in which nothing is due counts as done, so that money that comes into the
        account later in it owes nothing for the days before.
        """
        session = bars.chunk.sessions.item(bars.index)
        if session == self._session:
            return False
        portfolio = self.portfolio
        owes = self.borrow is not None and portfolio.short_count > 0
        earns = self.interest is not None and (portfolio.cash != 0.0 or portfolio.short_count > 0)
        if self._session is not None and (owes or earns):
            return True
        self._session = session
        return False

    def accrue(self, bars: Bars) -> News:
        """The interest and the fees from the session before until now."""
        if not self.is_due(bars):
            return []
        first, stop = self._session, bars.chunk.sessions.item(bars.index)
        assert first is not None
        self._session = stop
        news, now = list[Any](), bars.timestamp
        holdings = Holdings(self.portfolio, self.portfolio.cash)
        is_future = self._futures()[holdings.codes]
        if self.borrow is not None and self.portfolio.short_count:
            news += self._fees(self.borrow, holdings, is_future, (first, stop), now)
        if self.interest is not None:
            is_counted = is_future | (holdings.values < 0.0)
            balance = self.portfolio.cash + total(holdings.values[is_counted])
            money = self.interest.money(balance, first, stop)
            if money:
                news.append(CashEvent(now, "interest", money))
        return news

    def _futures(self) -> np.ndarray:
        """Which assets are futures, by code."""
        instruments = self.portfolio.instruments
        if len(self._is_future) < len(instruments):
            self._is_future = np.array([each.asset_class == "future" for each in instruments])
        return self._is_future

    def _fees(
        self,
        borrow: BorrowFee,
        holdings: Holdings,
        is_future: np.ndarray,
        days: tuple[int, int],
        now: datetime,
    ) -> News:
        is_lent = (holdings.values < 0.0) & ~is_future
        codes, value = holdings.codes[is_lent], holdings.values[is_lent]
        rates = self._rates.sums(codes, *days)
        fees = (value * rates / borrow.year_days).tolist()
        ids = self.portfolio.universe.ids
        return [
            CashEvent(now, "borrow", fee, ids[code])
            for code, fee in zip(codes.tolist(), fees, strict=True)
            if fee
        ]


def _days_of(owner: str, year_days: Any) -> int:
    if year_days not in (360, 365):
        raise ConfigError(f"{owner}: year_days must be 360 or 365, not {year_days!r}.")
    return int(year_days)


def _shown(year_days: int) -> list[str]:
    return [] if year_days == 360 else [f"year_days={year_days}"]  # noqa: PLR2004
