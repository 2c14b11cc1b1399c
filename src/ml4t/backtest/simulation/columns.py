"""A whole basket of market orders at the next open, as columns.

The same rules as `batch.py` has for single orders, and the same numbers to the bit; a test
compares the two. Where a basket needs more than this (a cost that is no column, an order that
must be cut), it goes the order-wise way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.portfolio.valuation import running_cash, total
from ml4t.backtest.simulation.fitting import NOISE
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.types.events import FillBatch

if TYPE_CHECKING:
    from ml4t.backtest.broker.basket import OpenBasket
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.costs import Costs
    from ml4t.backtest.types.bars import Bars


class BasketMatch:
    """The orders of one basket that can trade at this open, one column each.

    Args:
        basket: Market orders, each asset at most once; at least one is `ready`.
        ready: Positions of the orders whose asset has a bar that can fill them.
        rows: The chunk's rows of those bars.
        bars: The timestamp's bars.
        portfolio: Read only.
        costs: What fills cost, with columns.
    """

    def __init__(
        self,
        basket: OpenBasket,
        ready: np.ndarray,
        rows: np.ndarray,
        bars: Bars,
        portfolio: Portfolio,
        costs: Costs,
    ) -> None:
        self.bars = bars
        self.portfolio = portfolio
        self.charge = costs.charge
        self.codes = basket.codes[ready]
        self.quantity = basket.quantities[ready]
        self.sign = np.sign(self.quantity)
        self.size = np.abs(self.quantity)
        self.multiplier = portfolio.multiplier[self.codes]
        self.reference = bars.chunk.open[rows]
        self.price = costs.worsen(self.sign, self.reference)
        self.commission = self.charge(self.sign, self.size, self.price, self.multiplier)
        held = portfolio.quantity[self.codes]
        is_opposite = held * self.sign < 0.0
        self.exits = np.where(is_opposite, np.minimum(self.size, np.abs(held)), 0.0)
        is_exit = self.exits == self.size
        self._closing = is_exit.nonzero()[0]  # positions of the orders that only close
        self._opening = (~is_exit).nonzero()[0]

    def affords(self, account: Account, cash: float) -> bool:
        """Whether every price is one, and all entries can be paid after the exits.

        Args:
            account: Whose terms count.
            cash: Before the exits.
        """
        if not (self.price > 0.0).all():
            return False  # order by order it will be said which is not
        closing, opening = self._closing, self._opening
        if len(opening) == 0:
            return True
        sign = self.sign[opening]
        is_long = bool((sign > 0.0).all())
        if not (is_long or account.can_short):
            return False
        flows = (self.sign * self.size * self.price * self.multiplier + self.commission)[closing]
        cash = running_cash(cash, flows)
        sales = -total(flows[self.sign[closing] < 0.0])
        price, multiplier = self.price[opening], self.multiplier[opening]
        exits, commission = self.exits[opening], self.commission[opening]
        if exits.any():  # orders that go through zero: what they close pays in first
            charged = self.charge(sign, exits, price, multiplier)
            charged = np.where(exits > 0.0, charged, 0.0)
            flips = sign * exits * price * multiplier + charged
            cash -= total(flips[exits > 0.0])
            commission = commission - charged
        reference = self.reference[opening]
        borrowed = (1.0 - account.initial(self.codes[opening], sign)) * reference
        paid = price if is_long else np.where(sign > 0.0, price, 2.0 * reference - price)
        entry = self.size[opening] - exits
        needs = total(entry * ((paid - borrowed) * multiplier) + commission)
        free = account.free(self._holdings(cash, sales))
        return bool(needs <= free + NOISE * abs(needs))

    def _holdings(self, cash: float, proceeds: float) -> Holdings:
        units = self.portfolio.quantity[self.codes] + self.sign * self.exits
        return Holdings(
            self.portfolio,
            cash,
            moved=(self.codes, units),
            bars=self.bars,
            prices=self.bars.chunk.open,
            proceeds=proceeds,
        )

    def order(self) -> np.ndarray:
        """Positions of the orders as they fill: exits first."""
        return np.concatenate([self._closing, self._opening])

    def fills(self, order_ids: np.ndarray, order: np.ndarray) -> FillBatch:
        """All of them filled whole, in this order."""
        slippage = self.sign * (self.price - self.reference) * self.size * self.multiplier
        return FillBatch(
            self.portfolio.universe,
            self.bars.timestamp,
            order_ids=order_ids,
            codes=self.codes[order],
            quantities=self.quantity[order],
            prices=self.price[order],
            commissions=self.commission[order],
            slippages=slippage[order],
            reason="open",
        )


def ready_orders(basket: OpenBasket, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """Which orders can trade in these bars, and the rows of their assets."""
    rows, begins = bars.chunk_rows_of_codes(basket.codes), bars.chunk.begins
    can = rows >= 0
    if begins is not None:
        can &= begins[rows] >= basket.decided_at
    ready = can.nonzero()[0]
    return ready, rows[ready]
