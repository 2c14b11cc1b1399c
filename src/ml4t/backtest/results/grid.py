"""A chunk seen as a matrix of timestamps and held assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.kernels import ranges
from ml4t.backtest.kernels.holdings import ffill_rows

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

    def closes(self, before: np.ndarray) -> np.ndarray:
        """The last close of each asset, float64[T, H].

        Args:
            before: Those ahead of the first timestamp, float64[H]; NaN where there was none yet.
        """
        chunk, steps = self.chunk, self.stop - self.start
        if chunk.is_dense:
            n = chunk.width
            matrix = chunk.close[self.start * n : self.stop * n].reshape(steps, n)
            return matrix if len(self.codes) == n else matrix.take(self.codes, axis=1)
        if chunk.places is not None:  # rows grow with time
            rows = chunk.places[self.start : self.stop].take(self.codes, axis=1)
            np.maximum.accumulate(rows, axis=0, out=rows)
            return np.where(rows < 0, before, chunk.close.take(rows))
        rows, cells = self._cells()
        grid = np.full(len(self.codes) * steps, np.nan)
        grid[cells] = chunk.close[rows]
        return ffill_rows(np.ascontiguousarray(grid.reshape(-1, steps).T), before)

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
            size, n = self.stop * chunk.width, chunk.width
            high, low = ranges(chunk.high[:size], chunk.low[:size], n, codes, start, end)
            return high, low, np.maximum(end - start, 0)
        steps = self.stop - self.start
        lane = np.searchsorted(self.codes, codes) * steps
        first: np.ndarray
        last: np.ndarray
        if chunk.places is not None:
            places = chunk.places[self.start : self.stop].take(self.codes, axis=1).T.ravel()
            is_bar = places >= 0
            rows, count = places[is_bar], np.append(0, is_bar.cumsum())
            first, last = count[lane + start], count[lane + end]
        else:
            rows, cells = self._cells()
            first = np.searchsorted(cells, lane + start)
            last = np.searchsorted(cells, lane + end)
        lone = np.zeros_like(first)
        high, low = ranges(chunk.high.take(rows), chunk.low.take(rows), 1, lone, first, last)
        return high, low, np.maximum(last - first, 0)

    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of interest, asset after asset, and where they stand in a matrix that is whole."""
        chunk, steps = self.chunk, self.stop - self.start
        low, high = chunk.rows[self.start], chunk.rows[self.stop]
        counts = np.diff(chunk.offsets[self.start : self.stop + 1])
        t = np.repeat(np.arange(steps, dtype=np.int64), counts)
        column = np.full(len(chunk.universe), -1, dtype=np.int64)
        column[self.codes] = np.arange(len(self.codes))
        h = column[chunk.codes[low:high]]
        wanted = np.flatnonzero(h >= 0)
        wanted = wanted[np.argsort(h[wanted], kind="stable")]
        return low + wanted, h[wanted] * steps + t[wanted]
