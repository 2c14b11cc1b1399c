"""Many market orders of one timestamp, as columns."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.types.order import Order, OrderSide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.types.bars import Universe


_INT, _FLOAT = np.dtype(np.int64), np.dtype(np.float64)


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

    def orders(self, rows: np.ndarray | None = None) -> list[tuple[int, int, Order]]:
        """Id, code and order of those at these positions, or of each."""
        ids = self.basket.universe.ids
        columns = self.order_ids, self.codes, self.quantities
        parts = (column if rows is None else column[rows] for column in columns)
        return [
            (order_id, code, Order(ids[code], side_of(units), abs(units), tag=self.tag))
            for order_id, code, units in zip(*(part.tolist() for part in parts), strict=True)
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

    __slots__ = (
        "_codes",
        "_has_reducing",
        "_ids",
        "_reduces",
        "_units",
        "decided_at",
        "step",
        "tag",
        "universe",
    )

    def __init__(self, universe: Universe, decided_at: int, step: int, tag: str) -> None:
        self.universe = universe
        self.decided_at = decided_at
        self.step = step
        self.tag = tag
        self._ids = array("q")
        self._codes = array("q")
        self._units = array("d")
        self._reduces: dict[int, bool] = {}  # by code: it must not open anything
        self._has_reducing = False

    def add(self, order_id: int, code: int, units: float, *, reduces: bool) -> None:
        """One more, of signed units; its asset must not be among them."""
        self._ids.append(order_id)
        self._codes.append(code)
        self._units.append(units)
        self._reduces[code] = reduces
        if reduces:
            self._has_reducing = True

    def __len__(self) -> int:
        return len(self._codes)

    def has(self, code: int) -> bool:
        """Whether one of the orders is for this asset."""
        return code in self._reduces

    @property
    def codes(self) -> np.ndarray:
        """Assets of the orders, int64[n]. While somebody holds it no order can join."""
        return np.frombuffer(self._codes, _INT)

    @property
    def quantities(self) -> np.ndarray:
        """Signed units, float64[n]; as `codes`."""
        return np.frombuffer(self._units, _FLOAT)

    @property
    def order_ids(self) -> np.ndarray:
        """The orders' ids, int64[n]; as `codes`."""
        return np.frombuffer(self._ids, _INT)

    def only_reduces(self, rows: np.ndarray) -> bool:
        """Whether one of the orders at these positions must not open anything."""
        if not self._has_reducing or not len(rows):
            return False
        reduces = list(self._reduces.values())
        return any(reduces[row] for row in rows.tolist())

    def orders(self, rows: np.ndarray | None = None) -> list[tuple[int, int, Order]]:
        """Id, code and order of those at these positions, or of each."""
        ids, tag, found = self.universe.ids, self.tag, []
        for row in range(len(self)) if rows is None else rows.tolist():
            code, units = self._codes[row], self._units[row]
            reduces = self._reduces[code]
            order = Order(ids[code], side_of(units), abs(units), reduce_only=reduces, tag=tag)
            found.append((self._ids[row], code, order))
        return found

    def keep(self, rows: np.ndarray) -> None:
        """Keep only the orders at these positions."""
        kept = rows.tolist()
        self._ids = array("q", [self._ids[row] for row in kept])
        self._codes = array("q", [self._codes[row] for row in kept])
        self._units = array("d", [self._units[row] for row in kept])
        self._reduces = {code: self._reduces[code] for code in self._codes}


def side_of(units: float) -> OrderSide:
    """The side of an order for signed units."""
    return OrderSide.BUY if units > 0 else OrderSide.SELL
