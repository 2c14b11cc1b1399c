"""Many market orders of one timestamp, as columns."""

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
            yield Order(ids[code], side_of(quantity), abs(quantity), tag=self.tag)


class OpenBasket:
    """A basket in the book: its orders' ids are consecutive from `first_id`."""

    __slots__ = ("basket", "codes", "decided_at", "order_ids", "quantities", "step", "tag")

    def __init__(self, basket: Basket, first_id: int, decided_at: int, step: int) -> None:
        self.basket = basket
        self.codes = np.ascontiguousarray(basket.codes, dtype=np.int64)
        self.quantities = np.ascontiguousarray(basket.quantities, dtype=np.float64)
        self.tag = basket.tag
        self.order_ids = np.arange(first_id, first_id + len(basket), dtype=np.int64)
        self.decided_at = decided_at
        self.step = step

    def __len__(self) -> int:
        return len(self.codes)

    def has(self, code: int) -> bool:
        """Whether one of the orders is for this asset."""
        return bool((self.codes == code).any())

    def only_reduces(self, rows: np.ndarray) -> bool:
        """Whether one of the orders at these positions must not open anything."""
        del rows
        return False

    def orders(self) -> list[tuple[int, int, Order]]:
        """Id, code and order of each."""
        ids = self.basket.universe.ids
        return [
            (order_id, code, Order(ids[code], side_of(units), abs(units), tag=self.tag))
            for order_id, code, units in zip(
                self.order_ids.tolist(), self.codes.tolist(), self.quantities.tolist(), strict=True
            )
        ]

    def keep(self, rows: np.ndarray) -> None:
        """Keep only the orders at these positions."""
        self.codes = self.codes[rows]
        self.quantities = self.quantities[rows]
        self.order_ids = self.order_ids[rows]


class Gathering:
    """Plain market orders that came one by one at the same timestamp, as the columns of a basket.

    Args:
        universe: Assets by code.
        decided_at: When, in microseconds.
        step: The number of the run's timestamp.
        tag: The word all of them carry.
    """

    __slots__ = ("_has_reducing", "_rows", "decided_at", "step", "tag", "universe")

    def __init__(self, universe: Universe, decided_at: int, step: int, tag: str) -> None:
        self.universe = universe
        self.decided_at = decided_at
        self.step = step
        self.tag = tag
        # By code: id, signed units, and whether it must not open anything.
        self._rows: dict[int, tuple[int, float, bool]] = {}
        self._has_reducing = False

    def add(self, order_id: int, code: int, units: float, *, reduces: bool) -> None:
        """One more, of signed units; its asset must not be among them."""
        self._rows[code] = order_id, units, reduces
        if reduces:
            self._has_reducing = True

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, code: int) -> bool:
        """Whether one of the orders is for this asset."""
        return code in self._rows

    @property
    def codes(self) -> np.ndarray:
        """Assets of the orders, int64[n]."""
        return np.fromiter(self._rows, np.int64, len(self._rows))

    @property
    def quantities(self) -> np.ndarray:
        """Signed units, float64[n]."""
        return np.array([units for _, units, _ in self._rows.values()], dtype=np.float64)

    @property
    def order_ids(self) -> np.ndarray:
        """The orders' ids, int64[n]."""
        return np.array([order_id for order_id, _, _ in self._rows.values()], dtype=np.int64)

    def only_reduces(self, rows: np.ndarray) -> bool:
        """Whether one of the orders at these positions must not open anything."""
        if not self._has_reducing or not len(rows):
            return False
        reduces = [reduces for _, _, reduces in self._rows.values()]
        return any(reduces[row] for row in rows.tolist())

    def orders(self) -> list[tuple[int, int, Order]]:
        """Id, code and order of each."""
        ids, tag = self.universe.ids, self.tag
        return [
            (
                order_id,
                code,
                Order(ids[code], side_of(units), abs(units), reduce_only=reduces, tag=tag),
            )
            for code, (order_id, units, reduces) in self._rows.items()
        ]

    def keep(self, rows: np.ndarray) -> None:
        """Keep only the orders at these positions."""
        items = list(self._rows.items())
        self._rows = dict(items[row] for row in rows.tolist())


def side_of(units: float) -> OrderSide:
    """The side of an order for signed units."""
    return OrderSide.BUY if units > 0 else OrderSide.SELL
