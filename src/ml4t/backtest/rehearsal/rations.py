"""Less of a bar for some orders: partial fills on request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.simulation.liquidity import Liquidity
    from ml4t.backtest.types.bars import ExecutionBar
    from ml4t.backtest.types.order import Order


class Rations:
    """A liquidity that may give an order a share of what it asks.

    Args:
        liquidity: What a bar can take without it.
        share_of: Asked with every order that could fill: a fraction of it, or None for all that
            the bar takes.
    """

    def __init__(self, liquidity: Liquidity, share_of: Callable[[Order], float | None]) -> None:
        self.liquidity = liquidity
        self.share_of = share_of

    def __call__(self, order: Order, bar: ExecutionBar, /) -> float:
        """Units that can trade."""
        room = self.liquidity(order, bar)
        share = self.share_of(order)
        if share is None:
            return room
        return min(room, max(1.0, math.floor(share * order.quantity)))

    def __repr__(self) -> str:
        return repr(self.liquidity)
