"""The last bars of an asset or of all assets: the past only, and views where that is possible.

A `History` holds the chunks a run has been through. Nothing is computed until it is asked. In a
streaming run it keeps at least `limit` timestamps, and of assets with fewer bars in those the last
`limit` bars apart, so that what it answers does not depend on how the data were cut.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.types.bars import Chunk, Universe

_PRICES = ("open", "high", "low", "close", "volume")


class History:
    """The bars of a run up to now.

    Args:
        universe: The run's assets.
        limit: How many bars can be asked for, in a streaming run; None keeps all.
    """

    def __init__(self, universe: Universe, limit: int | None = None) -> None:
        self._universe = universe
        self._limit = limit
        self._parts: deque[_Part] = deque()
        self._carried: _Carried | None = None

    def push(self, chunk: Chunk) -> None:
        """Take the next chunk of the run, and let go what is too old to be asked for."""
        self._parts.append(_Part(chunk))
        if self._limit is None:
            return
        spare = sum(len(part.chunk) for part in self._parts) - len(chunk)
        while len(self._parts) > 1 and spare - len(self._parts[0].chunk) >= self._limit:
            oldest = self._parts.popleft()
            spare -= len(oldest.chunk)
            self._carry(oldest)

    def last(
        self, chunk: Chunk, stop_row: int, code: int, n: int, field: str = "close"
    ) -> np.ndarray:
        """The last `n` bars of an asset, oldest first; fewer at the start of its life.

        Args:
            chunk: The chunk being worked on.
            stop_row: Rows of the chunk from here on are not yet known.
            code: The asset.
            n: How many bars.
            field: "open", "high", "low", "close", "volume", or the name of a signal.

        Returns:
            float64, or object for signals that are not numbers; read-only. A view of the chunk
            when it holds all `n` bars in regular places.

        Raises:
            DataError: No such field, `n` is below 1, or more than a streaming run keeps.
        """
        self._check(chunk, n, field)
        pieces: list[np.ndarray] = []
        missing = n
        at = self._position(chunk)
        for i in range(at, -1, -1):
            part = self._parts[i]
            piece = part.last(stop_row if i == at else None, code, missing, field)
            pieces.append(piece)
            missing -= len(piece)
            if not missing:
                break
        if missing and self._carried is not None:
            pieces.append(self._carried.last(code, missing, field))
        return _join(pieces[::-1])

    def matrix(self, chunk: Chunk, index: int, n: int, field: str = "close") -> np.ndarray:
        """The last `n` timestamps, of all assets that have a bar now.

        Args:
            chunk: The chunk being worked on.
            index: The timestamp in the chunk that is now; the last row of the outcome.
            n: How many timestamps; fewer at the start of the run.
            field: As in `last`.

        Returns:
            [timestamps, assets], assets in the order of the bars now; NaN (None for signals that
            are not numbers) where an asset had no bar. Read-only.

        Raises:
            DataError: As `last`.
        """
        self._check(chunk, n, field)
        now = chunk.codes[chunk.rows[index] : chunk.rows[index + 1]]
        pieces: list[np.ndarray] = []
        missing, stop = n, index + 1
        for i in range(self._position(chunk), -1, -1):
            part = self._parts[i]
            if pieces:
                stop = len(part.chunk)
            start = max(0, stop - missing)
            pieces.append(part.matrix(start, stop, now, field))
            missing -= stop - start
            if not missing:
                break
        return _join(pieces[::-1])

    def _position(self, chunk: Chunk) -> int:
        for i in range(len(self._parts) - 1, -1, -1):
            if self._parts[i].chunk is chunk:
                return i
        raise AssertionError("the chunk was never pushed, or is gone")

    def _check(self, chunk: Chunk, n: int, field: str) -> None:
        if field not in _PRICES and field not in chunk.signals:
            known = [*_PRICES, *chunk.signals]
            raise DataError(f"There is no history of {field!r}. {did_you_mean(field, known)}")
        if n < 1:
            raise DataError(f"history of n={n} bars: n must be at least 1.")
        if self._limit is not None and n > self._limit:
            raise DataError(
                f"history of n={n} bars is more than the {self._limit} that are kept of data that "
                f"is streamed. Raise max_history= to {n} or more."
            )

    def _carry(self, part: _Part) -> None:
        """Keep what assets with few bars in the remaining chunks may still be asked for."""
        limit = self._limit
        assert limit is not None
        known = list(self._parts)[:-1]  # the newest has not been worked on
        assets = len(self._universe)
        if all(p.chunk.is_dense and len(p.chunk.codes) == len(p.chunk) * assets for p in known):
            self._carried = None
            return
        counts = np.zeros(assets, dtype=np.int64)
        for p in known:
            counts += np.bincount(p.chunk.codes, minlength=assets)
        sparse = counts < limit
        self._carried = _Carried.join(self._carried, part.chunk, sparse, limit)


class _Part:
    """One chunk, and where the rows of each asset are."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self._rows: tuple[np.ndarray, np.ndarray] | None = None

    def last(self, stop_row: int | None, code: int, n: int, field: str) -> np.ndarray:
        """The last `n` rows of an asset before `stop_row`, of those the chunk has."""
        column = _column(self.chunk, field)
        if column is None:
            return np.empty(0)
        if stop_row is None:
            stop_row = len(self.chunk.codes)
        if not self.chunk.is_dense:
            rows = self._rows_of(code)
            stop = int(np.searchsorted(rows, stop_row))
            return column[rows[max(0, stop - n) : stop]]
        width = len(self.chunk.codes) // len(self.chunk)
        if code >= width:
            return column[:0]
        stop = -(-(stop_row - code) // width)
        return column[code::width][max(0, stop - n) : stop]

    def matrix(self, start: int, stop: int, codes: np.ndarray, field: str) -> np.ndarray:
        """Timestamps `start` to `stop` of some assets."""
        chunk, column = self.chunk, _column(self.chunk, field)
        width = len(chunk.codes) // max(1, len(chunk))
        if column is not None and chunk.is_dense and len(codes) == width:
            view: np.ndarray = column.reshape(len(chunk), width)[start:stop]
            return view
        assets = len(chunk.universe)
        is_number = column is None or column.dtype != object
        table = np.full((stop - start, assets), np.nan if is_number else None)
        if column is not None:
            first, last = chunk.rows[start], chunk.rows[stop]
            line = np.repeat(np.arange(stop - start), np.diff(chunk.offsets[start : stop + 1]))
            table[line, chunk.codes[first:last]] = column[first:last]
        return table[:, codes]

    def _rows_of(self, code: int) -> np.ndarray:
        if self._rows is None:
            codes = self.chunk.codes
            assets = len(self.chunk.universe)
            small = codes.astype(np.uint16) if assets <= np.iinfo(np.uint16).max else codes
            order = np.argsort(small, kind="stable")
            starts = np.append(0, np.cumsum(np.bincount(codes, minlength=assets)))
            self._rows = order, starts
        order, starts = self._rows
        if code + 1 >= len(starts):
            return order[:0]
        return order[starts[code] : starts[code + 1]]


class _Carried:
    """The last rows of assets with few bars, from chunks that are gone; sorted by asset."""

    def __init__(self, codes: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        self._codes = codes
        self._columns = columns

    def last(self, code: int, n: int, field: str) -> np.ndarray:
        """The last `n` rows of an asset, of those there are."""
        column = self._columns.get(field)
        if column is None:
            return np.empty(0)
        start, stop = np.searchsorted(self._codes, [code, code + 1])
        return column[max(int(start), int(stop) - n) : stop]

    @classmethod
    def join(cls, older: _Carried | None, chunk: Chunk, sparse: np.ndarray, limit: int) -> _Carried:
        """The last `limit` rows of the sparse assets, of what was carried and a chunk."""
        rows = np.flatnonzero(sparse[chunk.codes])
        codes, before = chunk.codes[rows], np.empty(0, dtype=np.int64)
        columns = {name: getattr(chunk, name)[rows] for name in _PRICES}
        columns |= {name: column[rows] for name, column in chunk.signals.items()}
        if older is not None:
            before = np.flatnonzero(sparse[older._codes])
            codes = np.concatenate([older._codes[before], codes])
            columns = {
                name: np.concatenate([older._taken(name, before, column), column])
                for name, column in columns.items()
            }
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        from_end = np.searchsorted(codes, codes, side="right") - np.arange(len(codes))
        kept = from_end <= limit
        order = order[kept]
        return cls(codes[kept], {name: column[order] for name, column in columns.items()})

    def _taken(self, name: str, rows: np.ndarray, like: np.ndarray) -> np.ndarray:
        if name in self._columns:
            return self._columns[name][rows]
        return np.full(len(rows), None if like.dtype == object else np.nan, dtype=like.dtype)


def _column(chunk: Chunk, field: str) -> np.ndarray | None:
    column: Any = getattr(chunk, field) if field in _PRICES else chunk.signals.get(field)
    return column  # type: ignore[no-any-return]


def _join(pieces: Sequence[np.ndarray]) -> np.ndarray:
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    view = whole.view()
    view.flags.writeable = False
    return view
