"""Many market orders of one decision, as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.types.order import Order, OrderSide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.types.bars import Universe


class Basket:
    """Market orders decided together: what a rebalance travels as.

    Iterating gives the same orders as `Order` objects, for a broker that wants no columns.

    Args:
        universe: Assets by code.
        codes: int64[n]; each asset at most once.
        quantities: float64[n], signed, not zero; positive buys.
        tag: The word all of them carry.
    """

    __slots__ = ("codes", "quantities", "tag", "universe")

    def __init__(
        self, universe: Universe, codes: np.ndarray, quantities: np.ndarray, tag: str = ""
    ) -> None:
        self.universe = universe
        self.codes = codes
        self.quantities = quantities
        self.tag = tag

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Order]:
        ids = self.universe.ids
        for code, quantity in zip(self.codes.tolist(), self.quantities.tolist(), strict=True):
            side = OrderSide.BUY if quantity > 0 else OrderSide.SELL
            yield Order(ids[code], side, abs(quantity), tag=self.tag)


class OpenBasket:
    """A basket in the book: its orders' ids are consecutive from `first_id`."""

    __slots__ = ("basket", "codes", "decided_at", "order_ids", "quantities", "step", "tag")

    def __init__(self, basket: Basket, first_id: int, decided_at: int, step: int) -> None:
        self.basket = basket
        self.codes = basket.codes
        self.quantities = basket.quantities
        self.tag = basket.tag
        self.order_ids = np.arange(first_id, first_id + len(basket), dtype=np.int64)
        self.decided_at = decided_at
        self.step = step

    def keep(self, rows: np.ndarray) -> None:
        """Keep only the orders at these positions."""
        self.codes = self.codes[rows]
        self.quantities = self.quantities[rows]
        self.order_ids = self.order_ids[rows]
