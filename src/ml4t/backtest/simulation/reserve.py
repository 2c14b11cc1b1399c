"""What open orders will use of the money that is free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.broker.basket import Gathering, OpenBasket
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account


class Reserve:
    """The money that entries among the open orders would use, before costs.

    An order is taken at its limit, else at its stop, else at its asset's last close, and opens
    what the position, and orders before it, leave of it. What exits will free is not counted, and
    an order that waits for another one reserves nothing yet.

    Args:
        blotter: The open orders.
        portfolio: Positions and last closes.
        account: Says how much of its notional an entry binds.
    """

    def __init__(self, blotter: Blotter, portfolio: Portfolio, account: Account) -> None:
        self.blotter = blotter
        self.portfolio = portfolio
        self.account = account
        self._units: dict[int, float] = {}  # held, after the orders before

    def money(self) -> float:
        """In the account's currency."""
        money = 0.0
        for working in self.blotter.open.values():  # from left to right: `sum` would round less
            money += self._single(working)
        for basket in self.blotter.baskets:
            for one in self._basket(basket).tolist():
                money += one
        return money

    def _single(self, working: Working) -> float:
        code, sign = working.code, working.sign
        if working.order.reduce_only or working.status is OrderStatus.PENDING:
            return 0.0
        held = self._units.get(code, self.portfolio.units[code])
        self._units[code] = held + sign * working.remaining
        entry = working.remaining - (min(working.remaining, abs(held)) if held * sign < 0.0 else 0)
        price = next((p for p in (working.limit, working.stop) if p is not None), None)
        if price is None:
            price = self.portfolio.last_prices().item(code)
        if entry <= 0.0 or math.isnan(price):
            return 0.0
        rate = float(self.account.initial(code, sign))
        return entry * price * self.portfolio.instruments[code].multiplier * rate

    def _basket(self, basket: OpenBasket | Gathering) -> np.ndarray:
        """As for single orders, one number each; no single order came after an open basket."""
        portfolio, codes, quantity = self.portfolio, basket.codes, basket.quantities
        held = portfolio.quantity[codes]
        for row in np.flatnonzero(np.isin(codes, list(self._units))).tolist():
            held[row] = self._units[int(codes[row])]
        size, sign = np.abs(quantity), np.sign(quantity)
        exits = np.where(held * sign < 0.0, np.minimum(size, np.abs(held)), 0.0)
        price = np.nan_to_num(portfolio.last_prices()[codes])
        notional = (size - exits) * price * portfolio.multiplier[codes]
        self._units.update(zip(codes.tolist(), (held + quantity).tolist(), strict=True))
        bound: np.ndarray = notional * self.account.initial(codes, sign)
        return bound
