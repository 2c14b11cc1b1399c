"""A whole basket of market orders at the next open, as columns.

The same rules as `batch.py` has for single orders, and the same numbers to the bit; a test
compares the two. Where a basket needs more than this (a cost that is no column, an order that
must be cut), it goes the order-wise way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.kernels import are_positive, match, needs, pay_exits, slippages, total
from ml4t.backtest.simulation.fitting import NOISE
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.types.events import FillBatch

if TYPE_CHECKING:
    from ml4t.backtest.broker.basket import Gathering, OpenBasket
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.costs import Costs
    from ml4t.backtest.types.bars import Bars


class BasketMatch:
    """The orders of one basket that can trade at this open, one column each, exits first.

    Args:
        basket: Market orders, each asset at most once.
        bars: The timestamp's bars.
        portfolio: Read only.
        costs: What fills cost, with columns.
    """

    def __init__(
        self, basket: OpenBasket | Gathering, bars: Bars, portfolio: Portfolio, costs: Costs
    ) -> None:
        chunk = bars.chunk
        self.basket = basket
        self.bars = bars
        self.portfolio = portfolio
        self.charge = costs.charge
        (
            self.ready,
            self.ids,
            self.codes,
            self.quantity,
            self.sign,
            self.size,
            self.reference,
            self.multiplier,
            self.exits,
            self.left,
            self.closing,
            self.opens_short,
            self.has_flips,
        ) = match(
            basket.order_ids,
            basket.codes,
            basket.quantities,
            None if chunk.is_dense else bars.chunk_rows_of_codes(basket.codes),
            bars.start,
            chunk.width,
            chunk.begins,
            basket.decided_at,
            chunk.open,
            portfolio.quantity,
            portfolio.multiplier,
        )
        n = len(self.ready)
        self.price = _column(costs.worsen(self.sign, self.reference), n)
        charged = self.charge(self.sign, self.size, self.price, self.multiplier)
        self.commission = _column(charged, n)

    def __len__(self) -> int:
        return len(self.ready)

    def affords(self, account: Account, cash: float) -> bool:
        """Whether every price is one, and all entries can be paid after the exits.

        Args:
            account: Whose terms count.
            cash: Before the exits.
        """
        if not are_positive(self.price):
            return False  # order by order it will be said which is not
        closing = self.closing
        if self.basket.only_reduces(self.ready[closing:]):
            return False  # what it was to close has changed
        if self._asks_more(account):
            return False
        if closing == len(self):
            return True
        if self.opens_short and not account.can_short:
            return False
        price, multiplier = self.price, self.multiplier
        cash, sales = pay_exits(
            cash, self.sign, self.size, price, multiplier, self.commission, closing
        )
        columns = [self.sign, self.size, price, self.reference, multiplier, self.commission]
        if closing:
            columns = [column[closing:] for column in columns]
        sign, entry, price, reference, multiplier, commission = columns
        counts = account.commission_counts
        if not counts:
            commission = np.zeros(len(entry))
        if self.has_flips:  # what they close pays in first
            exits = self.exits[closing:]
            charged = self.charge(sign, exits, price, multiplier)
            charged = np.where((exits > 0.0) & counts, charged, 0.0)
            flips = sign * exits * price * multiplier + charged
            cash -= total(flips[exits > 0.0])
            commission, entry = commission - charged, entry - exits
        initial = account.initial(self.codes[closing:], sign)
        if not isinstance(initial, float):
            initial = _column(initial, len(entry))
        needed = needs(sign, entry, price, reference, multiplier, commission, initial)
        free = account.free(self._holdings(cash, sales))
        return bool(needed <= free + NOISE * abs(needed))

    def _asks_more(self, account: Account) -> bool:
        """Whether these orders are ones of which the account wants to know one by one."""
        closing = self.closing
        if account.covers_are_paid and bool((self.sign[:closing] > 0.0).any() or self.has_flips):
            return True
        return account.asks_entries and bool(self.opens_short or self.portfolio.short_count)

    def _holdings(self, cash: float, proceeds: float) -> Holdings:
        return Holdings(
            self.portfolio,
            cash,
            moved=(self.codes, self.left),
            bars=self.bars,
            prices=self.bars.chunk.open,
            proceeds=proceeds,
        )

    def fills(self) -> FillBatch:
        """All of them filled whole."""
        return FillBatch(
            self.portfolio.universe,
            self.bars.timestamp,
            order_ids=self.ids,
            codes=self.codes,
            quantities=self.quantity,
            prices=self.price,
            commissions=self.commission,
            slippages=slippages(self.sign, self.price, self.reference, self.size, self.multiplier),
            reason="open",
        )


def _column(values: Any, n: int) -> np.ndarray:
    """What a commission, slippage or account has made of columns, or one number, as `n` numbers."""
    if type(values) is np.ndarray and values.shape == (n,) and values.dtype == np.float64:
        return values if values.flags.c_contiguous else np.ascontiguousarray(values)
    return np.ascontiguousarray(np.broadcast_to(values, n), dtype=np.float64)
