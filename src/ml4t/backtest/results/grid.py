"""A chunk seen as a matrix of timestamps and held assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import Chunk


def ffill_rows(matrix: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Each NaN replaced by the value above it; the first row looks at `before`."""
    missing = np.isnan(matrix)
    if not missing.any():
        return matrix
    whole = np.vstack([before[None, :], matrix])
    rows = np.arange(len(whole))[:, None]
    source = np.where(np.isnan(whole), 0, rows)
    source[0] = 0
    np.maximum.accumulate(source, axis=0, out=source)
    filled: np.ndarray = np.take_along_axis(whole, source, axis=0)[1:]
    return filled


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
            return matrix if len(self.codes) == n else matrix[:, self.codes]
        rows, t, h = self._cells()
        grid = np.full((steps, len(self.codes)), np.nan)
        grid[t, h] = chunk.close[rows]
        return grid

    def positions(self, code: np.ndarray, t: np.ndarray, position: np.ndarray) -> np.ndarray:
        """float64[T, H]: the position after the last change of each cell, NaN without one.

        Args:
            code: Asset of each change, one of `codes`; changes come in order of time.
            t: Its time index.
            position: Signed units after it.
        """
        grid = np.full((self.stop - self.start, len(self.codes)), np.nan)
        inside = (t >= self.start) & (t < self.stop)
        h = np.searchsorted(self.codes, code[inside])
        grid[t[inside] - self.start, h] = position[inside]
        return grid

    def ranges(
        self, codes: np.ndarray, start: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Highest high, lowest low and number of bars of stretches of time.

        Args:
            codes: Asset of each stretch; stretches are sorted by asset and then time, and those
                of one asset do not overlap.
            start: Time index of the first bar of each stretch.
            end: Time index after its last bar.
        """
        chunk = self.chunk
        h = np.searchsorted(self.codes, codes)
        if chunk.is_dense:
            n, steps = chunk.width, self.stop
            high = chunk.high[: steps * n].reshape(steps, n)[:, self.codes].T.ravel()
            low = chunk.low[: steps * n].reshape(steps, n)[:, self.codes].T.ravel()
            first, last = h * steps + start, h * steps + end
        else:
            rows, t, column = self._cells()
            order = np.argsort(column, kind="stable")
            keys = column[order] * (self.stop + 1) + t[order]
            high, low = chunk.high[rows[order]], chunk.low[rows[order]]
            first = np.searchsorted(keys, h * (self.stop + 1) + start)
            last = np.searchsorted(keys, h * (self.stop + 1) + end)
        bars = np.maximum(last - first, 0)
        pairs = np.empty(2 * len(first), dtype=np.int64)
        pairs[0::2], pairs[1::2] = first, np.maximum(first, last)
        highest = np.maximum.reduceat(np.append(high, -np.inf), pairs)[0::2]
        lowest = np.minimum.reduceat(np.append(low, np.inf), pairs)[0::2]
        return highest, lowest, bars

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
