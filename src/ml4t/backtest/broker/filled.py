"""Orders that filled as some of many: what is left of them is a row in three columns."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.broker.basket import side_of
from ml4t.backtest.types.order import Order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.types.bars import Universe

Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


class FilledOrders:
    """Market orders that filled whole, kept by the word they carried."""

    def __init__(self) -> None:
        self._by_tag: dict[str, tuple[array[int], array[float], array[float]]] = {}

    def add(self, tag: str, order_ids: np.ndarray, units: np.ndarray, prices: np.ndarray) -> None:
        """Some more: int64[n] ids, float64[n] signed units and prices."""
        columns = self._by_tag.get(tag)
        if columns is None:
            columns = self._by_tag[tag] = array("q"), array("d"), array("d")
        columns[0].frombytes(order_ids.tobytes())
        columns[1].frombytes(units.tobytes())
        columns[2].frombytes(prices.tobytes())

    def by_tag(self) -> Iterator[tuple[str, Columns]]:
        """Ids in order, signed units, and prices, for each tag."""
        for tag, (order_ids, units, prices) in self._by_tag.items():
            ids = np.array(order_ids)
            order = ids.argsort(kind="stable")  # they filled exits first
            yield tag, (ids[order], np.array(units)[order], np.array(prices)[order])

    def find(self, order_id: int, code: int, universe: Universe) -> tuple[Order, float] | None:
        """One of them and the price it got, by its id and the code of its asset."""
        for tag, (order_ids, units, prices) in self._by_tag.items():
            if order_id in order_ids:
                row = order_ids.index(order_id)
                side, size = side_of(units[row]), abs(units[row])
                return Order(universe.ids[code], side, size, tag=tag), prices[row]
        return None
