"""What is asked of an order before it may trade at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.simulation import options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.costs import Costs


class CashAtSubmission:
    """Refuses orders that cash would not pay for at the prices of their decision.

    Before the orders of a step first meet a bar, they are paid for in thought, one after another
    and in order of submission: each at its stop, else at its limit, else at the last close, with
    its commission. A sale brings money, short or not. An order after which less than nothing is
    left is refused, one that closes a position too. Orders that wait for another one count, and one
    of them that is refused takes that one along: a bracket is accepted whole or not at all.

    Left out, money is asked for where it is needed: when an order fills.

    Args:
        refused_count: What a refused order would have cost stays spent in this sum, so that one
            order that is too large takes the orders behind it along.

    Raises:
        ConfigError: `refused_count` is neither True nor False.

    Example:
        >>> CashAtSubmission()
        CashAtSubmission(refused_count=False)
    """

    def __init__(self, *, refused_count: bool = False) -> None:
        self.refused_count = options.flag("refused_count", refused_count)

    def __repr__(self) -> str:
        return f"CashAtSubmission(refused_count={self.refused_count})"

    def refused(
        self, orders: Iterable[Working], portfolio: Portfolio, costs: Costs, now: datetime
    ) -> Iterator[tuple[Working, str]]:
        """Those of the orders that may not trade, each with the reason.

        Args:
            orders: New orders, in order of submission.
            portfolio: Cash, positions and last closes.
            costs: What fills cost.
            now: The time for the commission.
        """
        cash, positions = portfolio.cash, dict[int, float]()
        for working in orders:
            if not working.status.is_open:  # it is linked to one that was refused
                continue
            price = _price(working, portfolio)
            if math.isnan(price):
                continue  # nothing is known yet
            instrument, size = portfolio.instruments[working.code], working.whole
            held = positions.get(working.code, portfolio.units[working.code])
            closed = min(size, abs(held)) if held * working.sign < 0.0 else 0.0
            left = cash - working.sign * size * price * instrument.multiplier
            left -= costs.fee(working.order, (closed, size - closed), price, now, instrument)
            is_paid = left >= 0.0
            if is_paid or self.refused_count:
                cash, positions[working.code] = left, held + working.sign * size
            if not is_paid:
                yield working, f"unaffordable at submission: {left:,.2f} would be left"


def _price(working: Working, portfolio: Portfolio) -> float:
    """What a unit counts for: the stop, else the limit, else the last close."""
    prices = (working.stop, working.limit)
    given = next((price for price in prices if price is not None), None)
    return portfolio.last_price(working.order.asset_id) if given is None else given
