"""Held assets whose price jumps as at a split that nobody announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.profile import split_of

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
        prices: np.ndarray,
        positions: np.ndarray,
        start: int,
        known: Collection[tuple[int, int]],
    ) -> None:
        """Look at a part of a chunk.

        Args:
            chunk: It.
            codes: int[n], the assets.
            prices: float64[t + 1, n], closes; the first row is of before the part.
            positions: float64[t + 1, n], likewise.
            start: Where in the chunk the part begins.
            known: (time index, asset code) at which a corporate action took effect.
        """
        before, after = prices[:-1], prices[1:]
        is_steep = (after * _STEEP <= before) | (after >= before * _STEEP)
        if not is_steep.any():
            return
        for i, column in zip(*np.nonzero(is_steep & (positions[:-1] != 0.0)), strict=True):
            t, code = start + int(i), int(codes[column])
            if (t, code) in known or _is_intraday(chunk, t):
                continue
            row = chunk.bars(t).chunk_row_of_code(code)
            if row < 0:
                continue
            ratio = split_of(float(before[i, column]), chunk.opens[row], chunk.closes[row])
            if ratio is not None:
                self.found.append((chunk.microseconds[t], chunk.universe.ids[code], ratio))


def _is_intraday(chunk: Chunk, t: int) -> bool:
    return t > 0 and bool(chunk.sessions[t] == chunk.sessions[t - 1])
