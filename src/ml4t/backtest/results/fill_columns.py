"""The fills of a chunk: columns that grow in place while it is traded."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from ml4t.backtest.types.events import FillBatch, FillEvent

# What is kept of a fill, with the type code of its `array`.
FILL_COLUMNS = {
    "order_id": "q",
    "code": "q",
    "time_index": "q",
    "quantity": "d",  # signed
    "price": "d",
    "commission": "d",
    "slippage": "d",
    "position": "d",  # after it, signed
    "is_at_close": "b",
}
_BUY = OrderSide.BUY
_AT_CLOSE = frozenset({"close", "end", "bankrupt"})


class FillColumns:
    """Fills one after the other, in `FILL_COLUMNS`.

    Attributes:
        reasons: Why they filled, and how many in a row did so for that reason.
    """

    def __init__(self) -> None:
        self.reasons: list[list[Any]] = []
        self._columns: list[array[Any]] = []
        self.take()

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, fill: FillEvent, code: int, t: int, position: float) -> None:
        """One more, of the asset with this code, at the chunk's timestamp `t`."""
        ids, codes, times, quantities, prices, commissions, slippages, after, closes = self._columns
        ids.append(fill.order_id)
        codes.append(code)
        times.append(t)
        quantities.append(fill.quantity if fill.side == _BUY else -fill.quantity)
        prices.append(fill.price)
        commissions.append(fill.commission)
        slippages.append(fill.slippage)
        after.append(position)
        closes.append(_is_at_close(fill.reason))
        self._note(fill.reason, 1)

    def add_batch(self, batch: FillBatch, position: np.ndarray, t: int) -> None:
        """Many at the same timestamp."""
        ids, codes, times, quantities, prices, commissions, slippages, after, closes = self._columns
        n = len(batch)
        ids.frombytes(batch.order_ids.tobytes())
        codes.frombytes(batch.codes.tobytes())
        times.extend(array("q", (t,)) * n)
        quantities.frombytes(batch.quantities.tobytes())
        prices.frombytes(batch.prices.tobytes())
        commissions.frombytes(batch.commissions.tobytes())
        slippages.frombytes(batch.slippages.tobytes())
        after.frombytes(position.tobytes())
        closes.extend(array("b", (_is_at_close(batch.reason),)) * n)
        self._note(batch.reason, n)

    def _note(self, reason: str, n: int) -> None:
        if self.reasons and self.reasons[-1][0] == reason:
            self.reasons[-1][1] += n
        else:
            self.reasons.append([reason, n])

    def take(self) -> tuple[np.ndarray, ...]:
        """The columns so far, as arrays; the next fill begins new ones. `reasons` stay."""
        taken, self._columns = self._columns, [array(kind) for kind in FILL_COLUMNS.values()]
        arrays = [np.array(column) for column in taken]
        return (*arrays[:-1], arrays[-1].astype(np.bool_)) if arrays else ()


def _is_at_close(reason: str) -> bool:
    return reason in _AT_CLOSE or reason.endswith(" at close")
