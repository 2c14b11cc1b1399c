"""A whole basket of market orders at the next open, as columns.

The same rules as `batch.py` has for single orders, and the same numbers to the bit; a test
compares the two. Where a basket needs more than this (a cost that is no column, an account that
asks about single orders), it goes the order-wise way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.kernels import are_positive, match, needs, pay_exits, slippages, total
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.simulation.fitting import NOISE, SCALED, entry_needs, largest_fit
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

    Attributes:
        quantity: Signed units of each: what it asks for, until `fund` has cut it.
        reason: Why some were cut; empty when none was.
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
        self.reason = ""

    def __len__(self) -> int:
        return len(self.ready)

    def fund(self, account: Account, cash: float, *, scales: bool) -> bool:
        """Find the money for all entries after the exits, or cut them all by one factor.

        Args:
            account: Whose terms count.
            cash: Before the exits.
            scales: Entries may be cut.

        Returns:
            Whether that is done; if not, order by order it has to be said what is wrong.
        """
        closing = self.closing
        if self._is_by_order(account):
            return False
        if closing == len(self):
            return True
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
        exits = self.exits[closing:]
        if self.has_flips:  # what they close pays in first
            charged = self.charge(sign, exits, price, multiplier)
            charged = np.where((exits > 0.0) & counts, charged, 0.0)
            flips = sign * exits * price * multiplier + charged
            cash -= total(flips[exits > 0.0])
            commission, entry = commission - charged, entry - exits
        initial = account.initial(self.codes[closing:], sign)
        if not isinstance(initial, float):
            initial = _column(initial, len(entry))
        needed = needs(sign, entry, price, reference, multiplier, commission, initial)
        holdings = self._holdings(cash, sales)
        free = account.free(holdings)
        if needed <= free + NOISE * abs(needed):
            return True
        if not scales or (self.has_flips and not counts):
            return False  # order by order such flips free their money with other rounding
        self._scale(account, entry, exits, free)
        self.reason = SCALED + account.shortage(holdings)
        return True

    def _scale(self, account: Account, entry: np.ndarray, exits: np.ndarray, free: float) -> None:
        """Cut what is not closed alone to what `free` pays for; `entry` units of it open."""
        opening = slice(self.closing, None)
        codes = self.codes[opening]
        need = entry_needs(
            account,
            self.charge,
            codes=codes,
            sign=self.sign[opening],
            price=self.price[opening],
            reference=self.reference[opening],
            exits=exits,
            multiplier=self.multiplier[opening],
        )
        units = largest_fit(need, entry, self.portfolio.lots[codes], free)
        units = np.where(units > DUST * entry, units, 0.0)  # what noise has left buys nothing
        size = self.size.copy()
        size[opening] = np.where(units == entry, size[opening], exits + units)
        self.size, self.quantity = size, self.sign * size
        charged = self.charge(self.sign, size, self.price, self.multiplier)
        self.commission = _column(charged, len(size))

    def _is_by_order(self, account: Account) -> bool:
        """Whether there is something to be found out, or said, order by order."""
        return bool(
            not are_positive(self.price)
            or self.basket.only_reduces(self.ready[self.closing :])  # what it closes has changed
            or self._asks_more(account)
            or (self.opens_short and not account.can_short)
        )

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
        """What each of them gets; those that get nothing are left out."""
        slipped = slippages(self.sign, self.price, self.reference, self.size, self.multiplier)
        batch = FillBatch(
            self.portfolio.universe,
            self.bars.timestamp,
            self.ids,
            self.codes,
            self.quantity,
            self.price,
            self.commission,
            slipped,
            "open",
        )
        return batch.part(self.size > 0.0) if self.reason else batch


def _column(values: Any, n: int) -> np.ndarray:
    """What a commission, slippage or account has made of columns, or one number, as `n` numbers."""
    if type(values) is np.ndarray and values.shape == (n,) and values.dtype == np.float64:
        return values if values.flags.c_contiguous else np.ascontiguousarray(values)
    return np.ascontiguousarray(np.broadcast_to(values, n), dtype=np.float64)
