"""Stretches: the range of an asset's prices between one fill and its next, while it was held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ml4t.backtest.results.grid import HeldGrid

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import Chunk


_FEW = 2**16


class Adjusted(msgspec.Struct, frozen=True):
    """A holding that went on in other terms, as noted during a chunk.

    Args:
        code: What was held before.
        new_code: What is held since.
        index: Position of the timestamp in the chunk.
        ratio: New units per old.
        position: Signed units after.
        fills: How many fills of the chunk came earlier.
    """

    code: int
    new_code: int
    index: int
    ratio: float
    position: float
    fills: int


class Stretches:
    """Follows every holding from chunk to chunk.

    A stretch begins with a fill and is known by its id. Its prices are in the terms of that fill:
    after a split they are multiplied by the ratio, and under a new name it goes on.
    """

    def __init__(self) -> None:
        self._fill_id = np.full(0, -1, dtype=np.int64)
        self._ratio = np.ones(0)

    def grow(self, size: int) -> None:
        """Make room for assets that the universe has gained."""
        missing = size - len(self._fill_id)
        if missing > 0:
            self._fill_id = np.append(self._fill_id, np.full(missing, -1, dtype=np.int64))
            self._ratio = np.append(self._ratio, np.ones(missing))

    def pass_chunk(
        self,
        chunk: Chunk,
        steps: int,
        fills: tuple[np.ndarray, ...],
        first_id: int,
        adjusted: list[Adjusted],
    ) -> tuple[np.ndarray, ...] | None:
        """The stretches of a chunk, or the parts of them that lie in it.

        Args:
            chunk: Its bars.
            steps: How many of its timestamps the run went through.
            fills: In it; see `FILL_COLUMNS`.
            first_id: Id of the first of them.
            adjusted: Holdings that went on in other terms, in order.

        Returns:
            Columns of fill id, highest high, lowest low and number of bars; None without any.
        """
        carried = np.flatnonzero(self._fill_id >= 0)
        n = len(fills[0]) if fills else 0
        # One row for all that begins a stretch: code, timestamp, fill id, whether anything is
        # held then, ratio, and the place in the order of events.
        parts: list[tuple[np.ndarray, ...]] = [
            (
                carried,
                np.zeros(len(carried), dtype=np.int64),
                self._fill_id[carried],
                np.ones(len(carried), dtype=bool),
                self._ratio[carried],
                np.full(len(carried), -1, dtype=np.int64),
            )
        ]
        if n:
            ids = np.arange(first_id, first_id + n)
            places = 2 * np.arange(n) + 1
            begins = fills[2] + fills[8]
            parts.append((fills[1], begins, ids, fills[7] != 0.0, np.ones(n), places))
        if adjusted:
            parts.append(self._continued(fills, first_id, adjusted))
        code, start, fill_id, is_open, ratio, place = (
            np.concatenate(columns) for columns in zip(*parts, strict=True)
        )
        if len(code) == 0:
            return None
        # Codes of few assets are sorted by their digits, in a tenth of the time.
        short = code.astype(np.uint16) if len(self._fill_id) < _FEW else code
        order = np.lexsort((place, code)) if adjusted else short.argsort(kind="stable")
        code, start, fill_id, is_open, ratio = (
            column[order] for column in (code, start, fill_id, is_open, ratio)
        )
        same = np.append(code[1:] == code[:-1], False)
        end = np.where(same, np.append(start[1:], 0), steps)
        self._fill_id[code[~same]] = np.where(is_open[~same], fill_id[~same], -1)
        self._ratio[code[~same]] = ratio[~same]
        is_held = np.zeros(len(self._fill_id), dtype=bool)
        is_held[code] = True
        grid = HeldGrid(chunk, np.flatnonzero(is_held), 0, steps)
        high, low, bars = grid.ranges(code, start, end)
        keep = is_open & (bars > 0)
        return fill_id[keep], (high * ratio)[keep], (low * ratio)[keep], bars[keep]

    def _continued(
        self, fills: tuple[np.ndarray, ...], first_id: int, adjusted: list[Adjusted]
    ) -> tuple[np.ndarray, ...]:
        """Rows for the stretches that go on in other terms, and for names that hold no more."""
        now: dict[int, tuple[int, int, float]] = {}
        rows: list[tuple[int, int, int, bool, float, int]] = []
        for item in adjusted:
            seen, fill_id, ratio = now.get(
                item.code, (0, int(self._fill_id[item.code]), float(self._ratio[item.code]))
            )
            since = fills[1][seen : item.fills] == item.code if fills else np.zeros(0, dtype=bool)
            if since.any():
                fill_id, ratio = first_id + seen + int(since.nonzero()[0][-1]), 1.0
            place = 2 * item.fills
            if item.new_code != item.code:
                rows.append((item.code, item.index, -1, False, 1.0, place))
                now[item.code] = (item.fills, -1, 1.0)
            ratio *= item.ratio
            rows.append((item.new_code, item.index, fill_id, item.position != 0.0, ratio, place))
            now[item.new_code] = (item.fills, fill_id, ratio)
        kinds = (np.int64, np.int64, np.int64, np.bool_, np.float64, np.int64)
        columns = zip(*rows, strict=True)
        return tuple(np.array(c, dtype=kind) for c, kind in zip(columns, kinds, strict=True))
