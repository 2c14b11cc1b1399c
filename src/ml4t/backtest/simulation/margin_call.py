"""The margin call: which positions a broker closes, and how much of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.kernels import total
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account

TAG = "margin call"
# Equity may miss the requirement by float noise, relative to it.
_NOISE = 1e-12


class MarginCall:
    """What the maintenance margin forces, at the closes that the portfolio is marked at.

    A call is seen at a close. What the strategy does about it on that very bar comes first: its
    open market orders that reduce positions count as done. What is missing then is ordered as
    market orders that only reduce, and trades where the strategy's own orders do.

    The worst position goes first, the one with the largest unrealised loss in money, then the
    next, and of the last one as many lots as are needed at these closes, and not one more. Costs
    and the gap to the fill come on top, and may lead to another call at the next close.

    Formula:
        deficit = Σ |value| * maintenance - equity
        Closing value v of a position lowers the deficit by v * maintenance.

    Args:
        portfolio: Marked at the closes; read only.
        blotter: The open orders.
        account: Says what must be kept.
    """

    def __init__(self, portfolio: Portfolio, blotter: Blotter, account: Account) -> None:
        self.portfolio = portfolio
        self.blotter = blotter
        self.account = account

    def is_due(self) -> bool:
        """Whether equity is below what the positions need."""
        required = self._required(Holdings(self.portfolio, self.portfolio.cash))
        return self.portfolio.equity < required * (1.0 - _NOISE)

    def orders(self) -> list[Order]:
        """What to close, beyond what is being closed already; worst first."""
        portfolio = self.portfolio
        holdings = self._after_open_exits()
        deficit = self._required(holdings) - portfolio.equity
        codes, values = holdings.codes, holdings.values
        units = holdings.quantity[codes]
        relief = np.abs(values / units) * self.account.maintenance(codes, np.sign(values))
        entry = portfolio.entry_price[codes] * portfolio.multiplier[codes]
        order = np.argsort(values - units * entry, kind="stable")
        closed = units_to_close(
            deficit, np.abs(units)[order], relief[order], portfolio.lots[codes][order]
        )
        ids = portfolio.universe.ids
        return [
            Order(
                ids[codes[row]],
                OrderSide.SELL if units[row] > 0.0 else OrderSide.BUY,
                quantity,
                reduce_only=True,
                tag=TAG,
            )
            for row, quantity in zip(order.tolist(), closed.tolist(), strict=True)
            if quantity > 0.0
        ]

    def _required(self, holdings: Holdings) -> float:
        values = holdings.values
        return total(np.abs(values) * self.account.maintenance(holdings.codes, np.sign(values)))

    def _after_open_exits(self) -> Holdings:
        portfolio, after = self.portfolio, dict[int, float]()
        for working in self.blotter.working():
            if working.type is OrderType.MARKET and working.status is not OrderStatus.PENDING:
                held = after.get(working.code, portfolio.units[working.code])
                if held * working.sign < 0.0:
                    after[working.code] = _reduced(held, working)
        return Holdings(portfolio, portfolio.cash, moved=([*after], [*after.values()]))


def units_to_close(
    deficit: float, units: np.ndarray, relief: np.ndarray, lots: np.ndarray
) -> np.ndarray:
    """How many units of each position to close, in this order, to make up a deficit.

    Args:
        deficit: Money that is missing.
        units: Units held, positive.
        relief: Money by which closing one unit lowers the deficit.
        lots: Smallest step of a quantity; 0 for any.

    Returns:
        Units, positive: all of the first ones, whole lots of one, none of the others.

    Example:
        >>> units_to_close(
        ...     50.0, np.array([10.0, 100.0]), np.array([2.0, 4.0]), np.array([1.0, 1.0]))
        array([10.,  8.])
    """
    whole = units * relief
    before = np.concatenate([[0.0], np.add.accumulate(whole)[:-1]])
    part = np.clip((deficit - before) / relief, 0.0, units)
    lot = np.where(lots > 0.0, lots, 1.0)
    in_lots = np.ceil(part / lot * (1.0 - _NOISE)) * lot
    closed: np.ndarray = np.minimum(units, np.where(lots > 0.0, in_lots, part))
    return closed


def _reduced(held: float, working: Working) -> float:
    """What an exit leaves of a position; it does not open another."""
    return 0.0 if working.remaining >= abs(held) else held + working.sign * working.remaining
