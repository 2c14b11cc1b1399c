"""What happens to an account without a decision: settlement, financing, calls, bankruptcy."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.simulation.account import Account
from ml4t.backtest.simulation.financing import Financing
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.simulation.margin_call import MarginCall
from ml4t.backtest.simulation.reserve import Reserve

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.financing import BorrowFee, Interest
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.order import Order


# Positions that are looked at one by one, and how far from a call nothing need be looked at twice.
_FEW = 4
_SAFE = 1e-6

Worth = tuple[float, float, float]
"""Equity, gross exposure (with the cash), and what must be kept."""


class Clearing:
    """The account of one run, and what is due in it.

    Args:
        account: The terms; the run works on a copy.
        interest: On the cash; None for none.
        borrow: On the shorts; None for none.
        portfolio: Read only.
        blotter: The run's orders.
        calendar: The engine's, if it has one.

    Attributes:
        accrues: Money can come due without a trade.
    """

    def __init__(
        self,
        account: Account,
        interest: Interest | None,
        borrow: BorrowFee | None,
        *,
        portfolio: Portfolio,
        blotter: Blotter,
        calendar: TradingCalendar | None,
    ) -> None:
        self.account = copy(account)
        self.account.start(portfolio, calendar)
        self.portfolio = portfolio
        self.blotter = blotter
        self.financing = (
            None if interest is None and borrow is None else Financing(interest, borrow, portfolio)
        )
        self.call = MarginCall(portfolio, blotter, self.account) if account.has_calls else None
        settles = type(self.account).is_due is not Account.is_due
        self.accrues = settles or self.financing is not None
        self.calls = 0
        self._is_called = False
        self._calm_bars: Bars | None = None
        self._calm_fills = -1
        self._calm = False

    @property
    def is_at_risk(self) -> bool:
        """Whether equity could be too small: something is owed, or sold short.

        Otherwise equity is cash that is not negative and longs, which are worth more than their
        maintenance margin of at most 1.
        """
        return self.portfolio.short_count > 0 or self.portfolio.cash < 0.0

    def is_due(self, bars: Bars) -> bool:
        """Whether something settles or accrues with `bars`."""
        portfolio = self.portfolio
        is_at_risk = portfolio.short_count > 0 or portfolio.cash < 0.0  # asked every bar
        if is_at_risk and (self._is_called or not self._is_calm(bars)):
            return True
        if not self.accrues:
            return False
        is_due = self.financing is not None and self.financing.is_due(bars)
        return is_due or self.account.is_due(bars)

    def _is_calm(self, bars: Bars) -> bool:
        """Whether what is held surely stands the closes of `bars`, should nothing trade in them."""
        fills = self.portfolio.fill_count
        if bars is not self._calm_bars or fills != self._calm_fills:
            self._calm_bars, self._calm_fills = bars, fills
            self._calm = _is_safe(self._few(bars) or self._many(bars))
        return self._calm

    def _few(self, bars: Bars) -> Worth | None:
        """Positions one by one; None where there are many, or it takes more than prices."""
        portfolio, chunk = self.portfolio, bars.chunk
        if self.call is not None or len(portfolio.held) > _FEW or not chunk.is_dense:
            return None
        codes, closes, start = portfolio.universe.codes, chunk.closes, bars.start
        equity, gross = portfolio.cash, abs(portfolio.cash)
        for asset_id, units in portfolio.held.items():
            code = codes[asset_id]
            if code >= chunk.width:
                return None
            value = units * closes[start + code] * portfolio.instruments[code].multiplier
            equity += value
            gross += abs(value)
        return equity, gross, 0.0

    def _many(self, bars: Bars) -> Worth:
        portfolio = self.portfolio
        holdings = Holdings(portfolio, portfolio.cash, bars=bars, prices=bars.chunk.close)
        values = holdings.values
        gross = np.abs(values)
        kept = gross * self.account.maintenance(holdings.codes, np.sign(values))
        return portfolio.cash + float(values.sum()), float(gross.sum()), float(kept.sum())

    def advance(self, bars: Bars) -> News:
        """Settle what is due, and book the interest and fees since the session before."""
        self.account.enter(bars)
        return [] if self.financing is None else self.financing.accrue(bars)

    def watch(self) -> None:
        """Positions are marked: is there a margin call?"""
        self._is_called = self.call is not None and bool(self.call.is_due())
        self.calls += int(self._is_called)

    def forced(self) -> list[Order]:
        """The strategy has decided: the orders that a call adds, once."""
        if not self._is_called or self.call is None:
            return []
        self._is_called = False
        return self.call.orders()

    def buying_power(self) -> float:
        """Notional of purchases that can be paid for now, beside those ordered."""
        account, portfolio = self.account, self.portfolio
        free = account.free(Holdings(portfolio, portfolio.cash))
        if not self.blotter.is_empty:
            free -= Reserve(self.blotter, portfolio, account).money()
        return account.power(max(0.0, free))

    def counts(self) -> dict[str, int]:
        """Margin calls, and what the account counts; nothing that cannot happen."""
        calls = {} if self.call is None else {"margin_calls": self.calls}
        return calls | self.account.counts()


def _is_safe(worth: Worth) -> bool:
    equity, gross, kept = worth
    return equity > kept + _SAFE * (gross + kept)
