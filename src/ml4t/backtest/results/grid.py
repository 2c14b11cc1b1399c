"""A chunk seen as a matrix of timestamps and held assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.kernels import ranges

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import Chunk


class HeldGrid:
    """Some assets of some timestamps of a chunk.

    Args:
        chunk: Where the rows are.
        codes: Sorted codes of the assets of interest, H of them.
        start, stop: Range of timestamps.
    """

    def __init__(self, chunk: Chunk, codes: np.ndarray, start: int, stop: int) -> None:
        self.chunk = chunk
        self.codes = codes
        self.start = start
        self.stop = stop

    def closes(self) -> np.ndarray:
        """float64[T, H], NaN where an asset has no bar."""
        chunk, steps = self.chunk, self.stop - self.start
        if chunk.is_dense:
            n = chunk.width
            matrix = chunk.close[self.start * n : self.stop * n].reshape(steps, n)
            return matrix if len(self.codes) == n else matrix.take(self.codes, axis=1)
        rows, t, h = self._cells()
        grid = np.full((steps, len(self.codes)), np.nan)
        grid[t, h] = chunk.close[rows]
        return grid

    def ranges(
        self, codes: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Highest high, lowest low and number of bars of stretches of time.

        Args:
            codes: Asset of each stretch, one of the assets of interest.
            start: Time index of the first bar of each stretch.
            end: Time index after its last bar.
        """
        chunk = self.chunk
        if chunk.is_dense:
            cells, n = self.stop * chunk.width, chunk.width
            high, low = ranges(chunk.high[:cells], chunk.low[:cells], n, codes, start, end)
            return high, low, np.maximum(end - start, 0)
        h = np.searchsorted(self.codes, codes)
        rows, t, column = self._cells()
        order = np.argsort(column, kind="stable")
        keys = column[order] * (self.stop + 1) + t[order]
        first = np.searchsorted(keys, h * (self.stop + 1) + start)
        last = np.searchsorted(keys, h * (self.stop + 1) + end)
        found = rows[order]
        high, low = ranges(chunk.high[found], chunk.low[found], 1, np.zeros_like(h), first, last)
        return high, low, np.maximum(last - first, 0)

    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of interest with their time index and column."""
        chunk = self.chunk
        low, high = chunk.rows[self.start], chunk.rows[self.stop]
        counts = np.diff(chunk.offsets[self.start : self.stop + 1])
        t = np.repeat(np.arange(self.stop - self.start, dtype=np.int64), counts)
        column = np.full(len(chunk.universe), -1, dtype=np.int64)
        column[self.codes] = np.arange(len(self.codes))
        h = column[chunk.codes[low:high]]
        wanted = np.flatnonzero(h >= 0)
        return low + wanted, t[wanted], h[wanted]
