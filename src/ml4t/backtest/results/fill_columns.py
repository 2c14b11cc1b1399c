"""The fills of a chunk: columns that grow in place while it is traded."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from ml4t.backtest.types.events import FillBatch, FillEvent

# What is kept of a fill; quantity and position (after it) are signed.
FILL_COLUMNS = (
    "order_id",
    "code",
    "time_index",
    "quantity",
    "price",
    "commission",
    "slippage",
    "position",
    "is_at_close",
)
# Type codes of the `array`s of those that differ within a batch: all but time and close.
_KINDS = "qqddddd"
_BUY = OrderSide.BUY
_AT_CLOSE = frozenset({"close", "end", "bankrupt"})


class FillColumns:
    """Fills one after the other, in `FILL_COLUMNS`.

    Attributes:
        reasons: Why they filled, and how many in a row did so for that reason; of those taken.
    """

    _columns: list[array[Any]]
    _times: array[int]  # of fills that came together: when, and how many
    _counts: array[int]
    _runs: list[list[Any]]  # of fills for the same reason: it, and how many

    def __init__(self) -> None:
        self.reasons: list[list[Any]] = []
        self._begin()

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, fill: FillEvent, code: int, t: int, position: float) -> None:
        """One more, of the asset with this code, at the chunk's timestamp `t`."""
        ids, codes, quantities, prices, commissions, slippages, after = self._columns
        ids.append(fill.order_id)
        codes.append(code)
        quantities.append(fill.quantity if fill.side == _BUY else -fill.quantity)
        prices.append(fill.price)
        commissions.append(fill.commission)
        slippages.append(fill.slippage)
        after.append(position)
        self._note(t, 1, fill.reason)

    def add_batch(self, batch: FillBatch, position: np.ndarray, t: int) -> None:
        """Many at the same timestamp."""
        ids, codes, quantities, prices, commissions, slippages, after = self._columns
        ids.frombytes(batch.order_ids.tobytes())
        codes.frombytes(batch.codes.tobytes())
        quantities.frombytes(batch.quantities.tobytes())
        prices.frombytes(batch.prices.tobytes())
        commissions.frombytes(batch.commissions.tobytes())
        slippages.frombytes(batch.slippages.tobytes())
        after.frombytes(position.tobytes())
        self._note(t, len(position), batch.reason)

    def _note(self, t: int, n: int, reason: str) -> None:
        self._times.append(t)
        self._counts.append(n)
        runs = self._runs
        if runs and runs[-1][0] == reason:
            runs[-1][1] += n
        else:
            runs.append([reason, n])

    def take(self) -> tuple[np.ndarray, ...]:
        """The columns so far, as arrays; the next fill begins new ones."""
        ids, codes, *numbers = (np.array(column) for column in self._columns)
        times = np.array(self._times).repeat(np.array(self._counts))
        closes = [np.full(n, _is_at_close(reason)) for reason, n in self._runs]
        self.reasons += self._runs
        self._begin()
        return ids, codes, times, *numbers, np.concatenate([np.zeros(0, np.bool_), *closes])

    def _begin(self) -> None:
        self._columns = [array(kind) for kind in _KINDS]
        self._times, self._counts, self._runs = array("q"), array("q"), []


def _is_at_close(reason: str) -> bool:
    return reason in _AT_CLOSE or reason.endswith(" at close")
