"""Held assets whose price jumps as at a split that nobody announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.profile import split_of
from ml4t.backtest.kernels import steep

if TYPE_CHECKING:
    from collections.abc import Collection

    from ml4t.backtest.types.bars import Chunk

_STEEP = 1.7  # no split moves a price by less


class Jumps:
    """Looks for them while equity is worked out, between sessions only.

    Attributes:
        found: (microseconds, asset_id, new units per old that a split would have had).
    """

    def __init__(self) -> None:
        self.found: list[tuple[int, str, float]] = []

    def look(
        self,
        chunk: Chunk,
        codes: np.ndarray,
        prices: tuple[np.ndarray, np.ndarray],
        positions: tuple[np.ndarray, ...],
        start: int,
        known: Collection[tuple[int, int]],
    ) -> None:
        """Look at a part of a chunk.

        Args:
            chunk: It.
            codes: int[n], the assets.
            prices: Closes before the part, float64[n], and in it, float64[t, n].
            positions: Signed units of each asset before the part, float64[n]; then, of every
                change in it, the row, the column, and the units from then on, in order of time.
            start: Where in the chunk the part begins.
            known: (time index, asset code) at which a corporate action took effect.
        """
        last, closes = prices
        sessions = chunk.sessions[start : start + len(closes)]
        begins = np.append(
            start == 0 or chunk.sessions[start - 1] != sessions[0], np.diff(sessions)
        )
        rows, columns = steep(closes.ravel(), last, begins.nonzero()[0], _STEEP)
        for i, column in zip(rows.tolist(), columns.tolist(), strict=True):
            t, code = start + i, int(codes[column])
            if (t, code) in known or not _units_before(i, column, positions):
                continue
            row = chunk.bars(t).chunk_row_of_code(code)
            if row < 0:
                continue
            ratio = split_of(
                float((closes[i - 1] if i else last)[column]), chunk.opens[row], chunk.closes[row]
            )
            if ratio is not None:
                self.found.append((chunk.microseconds[t], chunk.universe.ids[code], ratio))


def _units_before(row: int, column: int, positions: tuple[np.ndarray, ...]) -> float:
    """What was held of an asset when a timestamp came."""
    units, rows, columns, after = positions
    earlier = (columns[: np.searchsorted(rows, row)] == column).nonzero()[0]
    return float(after[earlier[-1]] if len(earlier) else units[column])
