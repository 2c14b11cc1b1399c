"""The last bars of an asset or of all assets: the past only, and views where that is possible.

A `History` holds the chunks a run has been through. Nothing is computed until it is asked. In a
streaming run it keeps at least `limit` timestamps, and of assets with fewer bars in those the last
`limit` bars apart, so that what it answers does not depend on how the data were cut.

Once a corporate action has taken effect, what an asset cost before it is told in the new terms:
`adjust` notes that, and nothing is known of an action before its time.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.data.lineage import Lineage, lineage_after
from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.types.action import ActionKind
from ml4t.backtest.types.bars import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ml4t.backtest.types.action import Action
    from ml4t.backtest.types.bars import Bars, Universe

_PRICES = ("open", "high", "low", "close", "volume")
_TIMES = "_times"  # of rows kept apart; no signal has this name
_PATIENCE = 4  # times the limit of timestamps, and a quarter of a chunk's rows
_BUNDLE = 64  # so many small chunks in a row are made one
_SMALL_ROWS = 8_192


class History:
    """The bars of a run up to now.

    Args:
        universe: The run's assets.
        limit: How many bars can be asked for, in a streaming run; None keeps all.
        dated: Keep what `adjust` needs.
    """

    def __init__(
        self, universe: Universe, limit: int | None = None, *, dated: bool = False
    ) -> None:
        self._universe = universe
        self._limit = limit
        self._dated = dated
        self._lineages: dict[int, Lineage] = {}
        self._parts: deque[_Part] = deque()
        self._carried: _Carried | None = None
        self._timestamps = 0  # of all parts
        self._counts = np.zeros(len(universe), dtype=np.int64)  # rows of each asset in all parts
        self._small = 0  # small parts at the end, in a row

    def push(self, chunk: Chunk) -> None:
        """Take the next chunk of the run, and let go what is too old to be asked for."""
        part = _Part(chunk)
        self._parts.append(part)
        if self._limit is None:
            return
        self._total(part, 1)
        self._small = self._small + 1 if len(chunk.codes) < _SMALL_ROWS else 0
        if self._small > _BUNDLE:
            self._bundle()
        while self._can_spare(self._limit):
            self._let_go(self._limit)

    def adjust(self, bars: Bars, action: Action) -> None:
        """A corporate action takes effect with `bars`: earlier bars are told in its terms.

        After a split, or a rename with a ratio, earlier prices are divided by the ratio and
        volumes multiplied by it. A new name goes on with the bars of the old one, unless it had
        bars of its own; the old name starts anew.
        """
        if action.kind not in (ActionKind.SPLIT, ActionKind.RENAME):
            return
        codes, now = self._universe.codes, bars.chunk.microseconds[bars.index]
        code, new = codes[action.asset_id], codes[action.new_asset_id]
        old = self._lineages.get(code) or Lineage.of(code)
        if code == new:
            self._lineages[code] = lineage_after(old, code, now, action.ratio)
            return
        self._lineages[code] = Lineage.of(code, since=now)
        own = self._lineages.get(new) or Lineage.of(new)
        if next(self._walk(own, bars.chunk, bars.start), None) is None:
            self._lineages[new] = lineage_after(old, new, now, action.ratio)

    def _total(self, part: _Part, sign: int) -> None:
        """Keep the totals of what a part brings or takes with it."""
        missing = len(self._universe) - len(self._counts)
        if missing > 0:
            self._counts = np.append(self._counts, np.zeros(missing, dtype=np.int64))
        rows = part.counts()
        self._counts[: len(rows)] += sign * rows
        self._timestamps += sign * len(part.chunk)

    def _bundle(self) -> None:
        """Make the small parts before the newest one: many are slow to walk."""
        newest = self._parts.pop()
        parts = [self._parts.pop() for _ in range(_BUNDLE)][::-1]
        self._parts += [_Part(_one_chunk([part.chunk for part in parts])), newest]
        self._small = 1

    def _can_spare(self, limit: int) -> bool:
        """Whether the chunks after the oldest hold enough; the newest does not count yet.

        Assets that lack bars in them need copies of older ones. Rather than copy much, the oldest
        chunk is kept, until there are several times as many timestamps as can be asked for.
        """
        oldest, newest = self._parts[0], self._parts[-1]
        timestamps = self._timestamps - len(oldest.chunk) - len(newest.chunk)
        if timestamps < limit:
            return False
        if timestamps >= _PATIENCE * limit:
            return True
        rows = oldest.counts()
        copied = int(rows[self._sparse([oldest, newest], limit)[: len(rows)]].sum())
        return copied * _PATIENCE <= int(rows.sum())

    def _let_go(self, limit: int) -> None:
        """Drop the oldest chunk, but for what assets with few bars may still be asked for."""
        gone = self._parts.popleft()
        self._total(gone, -1)
        self._small = min(self._small, len(self._parts))
        sparse = self._sparse([self._parts[-1]], limit)
        if not sparse.any():
            self._carried = None
            return
        rows = _rows(gone.chunk, dated=self._dated).of(sparse)
        nothing = _Carried(rows.codes[:0], {})
        older = nothing if self._carried is None else self._carried.of(sparse)
        self._carried = older.then(rows, limit)

    def _sparse(self, without: list[_Part], limit: int) -> np.ndarray:
        """The assets with fewer bars than the limit in all chunks but these, bool by code."""
        counts = self._counts.copy()
        for part in without:
            known = part.counts()
            counts[: len(known)] -= known
        return counts < limit

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
            float64, or object for signals that are not numbers; read-only, contiguous.

        Raises:
            DataError: No such field, `n` is no whole number from 1, or is more than a
                streaming run keeps.
        """
        self._check(chunk, n, field)
        if self._lineages and code in self._lineages:
            return self._last_of(self._lineages[code], chunk, stop_row, n, field)
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

    def _last_of(
        self, lineage: Lineage, chunk: Chunk, stop_row: int, n: int, field: str
    ) -> np.ndarray:
        """As `last`, of an asset that a corporate action has changed."""
        pieces: list[np.ndarray] = []
        missing = n
        for source, rows in self._walk(lineage, chunk, stop_row):
            kept = rows[-missing:]
            values = source.column(field)[kept]
            pieces.append(lineage.restated(values, source.times(kept), field))
            missing -= len(kept)
            if not missing:
                break
        return _join(pieces[::-1] or [_column(chunk, field)[:0]])

    def _walk(
        self, lineage: Lineage, chunk: Chunk, stop_row: int
    ) -> Iterator[tuple[_Part | _Carried, np.ndarray]]:
        """The rows of an asset before a row of the current chunk, piece by piece, the newest first.

        A piece is where the rows are, and their numbers there, oldest first.
        """
        at = self._position(chunk)
        for stretch in lineage.stretches:
            for i in range(at, -1, -1):
                part = self._parts[i]
                rows = part.between(stretch.code, stretch.start, stretch.stop)
                if i == at:
                    rows = rows[: np.searchsorted(rows, stop_row)]
                if len(rows):
                    yield part, rows
            if self._carried is not None:
                rows = self._carried.between(stretch.code, stretch.start, stretch.stop)
                if len(rows):
                    yield self._carried, rows

    def matrix(self, chunk: Chunk, index: int, n: int, field: str = "close") -> np.ndarray:
        """The last `n` timestamps, of all assets that have a bar now.

        Args:
            chunk: The chunk being worked on.
            index: The timestamp in the chunk that is now; the last row of the outcome.
            n: How many timestamps; fewer at the start of the run.
            field: As in `last`.

        Returns:
            [timestamps, assets], assets in the order of the bars now; NaN (None for signals that
            are not numbers) where an asset had no bar. Read-only, rows contiguous.

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
            piece = part.matrix(start, stop, now, field)
            if self._lineages:
                piece = self._adjusted(piece, part, start, now, field)
            pieces.append(piece)
            missing -= stop - start
            if not missing:
                break
        return _join(pieces[::-1])

    def _adjusted(
        self, piece: np.ndarray, part: _Part, start: int, codes: np.ndarray, field: str
    ) -> np.ndarray:
        """A piece of a matrix, with the assets that corporate actions have changed in new terms."""
        columns = [(j, self._lineages.get(code)) for j, code in enumerate(codes.tolist())]
        changed = [(j, lineage) for j, lineage in columns if lineage is not None]
        if not changed:
            return piece
        piece = piece.copy()
        times = part.chunk.times[start : start + len(piece)]
        for j, lineage in changed:
            column = np.full(len(piece), None if piece.dtype == object else np.nan)
            for stretch in lineage.stretches:
                rows = part.between(stretch.code, stretch.start, stretch.stop)
                at = part.steps(rows) - start
                inside = (at >= 0) & (at < len(piece))
                column[at[inside]] = part.column(field)[rows[inside]]
            piece[:, j] = lineage.restated(column, times, field)
        return piece

    def _position(self, chunk: Chunk) -> int:
        for i in range(len(self._parts) - 1, -1, -1):
            if self._parts[i].chunk is chunk:
                return i
        raise AssertionError("the chunk was never pushed, or is gone")

    def _check(self, chunk: Chunk, n: Any, field: str) -> None:
        if field not in _PRICES and field not in chunk.signals:
            known = [*_PRICES, *chunk.signals]
            raise DataError(f"There is no history of {field!r}. {did_you_mean(field, known)}")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise DataError(f"history of n={n!r} bars: n must be a whole number from 1.")
        if self._limit is not None and n > self._limit:
            raise DataError(
                f"history of n={n} bars is more than the {self._limit} that are kept of data that "
                f"is streamed. Raise max_history= to {n} or more."
            )


class _Part:
    """One chunk, and where the rows of each asset are."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self._rows: tuple[np.ndarray, np.ndarray] | None = None
        self._counts: np.ndarray | None = None
        self._by_asset: dict[str, np.ndarray] = {}

    def counts(self) -> np.ndarray:
        """How many rows each asset has, by code."""
        if self._counts is None:
            self._counts = np.bincount(self.chunk.codes)
        return self._counts

    def column(self, field: str) -> np.ndarray:
        """One field of all rows."""
        return _column(self.chunk, field)

    def steps(self, rows: np.ndarray) -> np.ndarray:
        """The positions of the timestamps of some rows."""
        found: np.ndarray = np.searchsorted(self.chunk.offsets, rows, side="right") - 1
        return found

    def times(self, rows: np.ndarray) -> np.ndarray:
        """The times of some rows."""
        picked: np.ndarray = self.chunk.times[self.steps(rows)]
        return picked

    def between(self, code: int, start: int, stop: int) -> np.ndarray:
        """The rows of an asset from one time to before another."""
        chunk = self.chunk
        first, last = np.searchsorted(chunk.times, [start, stop])
        if chunk.is_dense:
            width = len(chunk.codes) // len(chunk)
            steps = np.arange(first, last if code < width else first)
            return steps * width + code
        rows = self._rows_of(code)
        low, high = np.searchsorted(rows, [chunk.rows[first], chunk.rows[last]])
        return rows[low:high]

    def last(self, stop_row: int | None, code: int, n: int, field: str) -> np.ndarray:
        """The last `n` rows of an asset before `stop_row`, of those the chunk has."""
        if stop_row is None:
            stop_row = len(self.chunk.codes)
        if not self.chunk.is_dense:
            rows = self._rows_of(code)
            stop = int(np.searchsorted(rows, stop_row))
            picked: np.ndarray = _column(self.chunk, field)[rows[max(0, stop - n) : stop]]
            return picked
        table = self._table_of(field)
        width = len(table)
        if code >= width:
            return table.ravel()[:0]
        stop = -(-(stop_row - code) // width)
        kept: np.ndarray = table[code, max(0, stop - n) : stop]
        return kept

    def _table_of(self, field: str) -> np.ndarray:
        """A dense chunk's column as [assets, timestamps], so that an asset's bars are neighbours.

        That reads fast, and a product of vectors comes out the same to the bit whether later
        data has holes or not: NumPy adds in another order when it has to stride.
        """
        table = self._by_asset.get(field)
        if table is None:
            steps = len(self.chunk)
            column = _column(self.chunk, field).reshape(steps, len(self.chunk.codes) // steps)
            table = self._by_asset[field] = np.ascontiguousarray(column.T)
        return table

    def matrix(self, start: int, stop: int, codes: np.ndarray, field: str) -> np.ndarray:
        """Timestamps `start` to `stop` of some assets."""
        chunk, column = self.chunk, _column(self.chunk, field)
        width = len(chunk.codes) // len(chunk)
        if chunk.is_dense and len(codes) == width and (codes == np.arange(width)).all():
            view: np.ndarray = column.reshape(len(chunk), width)[start:stop]
            return view
        absent = None if column.dtype == object else np.nan
        table = np.full((stop - start, len(chunk.universe)), absent)
        rows = slice(chunk.rows[start], chunk.rows[stop])
        line = np.repeat(np.arange(stop - start), np.diff(chunk.offsets[start : stop + 1]))
        table[line, chunk.codes[rows]] = column[rows]
        # By rows in memory, as the view above: sums must not differ in their last bits.
        picked: np.ndarray = table.take(codes, axis=1)
        return picked

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
        self.codes = codes
        self.columns = columns

    def last(self, code: int, n: int, field: str) -> np.ndarray:
        """The last `n` rows of an asset, of those there are."""
        start, stop = np.searchsorted(self.codes, [code, code + 1])
        return self.columns[field][max(int(start), int(stop) - n) : stop]

    def column(self, field: str) -> np.ndarray:
        """One field of all rows."""
        return self.columns[field]

    def times(self, rows: np.ndarray) -> np.ndarray:
        """The times of some rows."""
        picked: np.ndarray = self.columns[_TIMES][rows]
        return picked

    def between(self, code: int, start: int, stop: int) -> np.ndarray:
        """The rows of an asset from one time to before another."""
        low, high = np.searchsorted(self.codes, [code, code + 1])
        times = self.columns[_TIMES][low:high]
        return np.arange(low, high)[(times >= start) & (times < stop)]

    def of(self, assets: np.ndarray) -> _Carried:
        """The rows of the assets that are marked."""
        rows = assets[self.codes]
        return _Carried(self.codes[rows], {name: c[rows] for name, c in self.columns.items()})

    def then(self, later: _Carried, limit: int) -> _Carried:
        """The last `limit` rows of each asset, of these and later ones."""
        codes = np.concatenate([self.codes, later.codes])
        order = np.argsort(codes, kind="stable")
        from_end = np.searchsorted(codes[order], codes[order], side="right") - np.arange(len(codes))
        kept = order[from_end <= limit]
        columns = {
            name: np.concatenate([self.columns.get(name, _absent(len(self.codes), column)), column])
            for name, column in later.columns.items()
        }
        return _Carried(codes[kept], {name: column[kept] for name, column in columns.items()})


def _one_chunk(chunks: Sequence[Chunk]) -> Chunk:
    """Consecutive chunks as one, without what history does not ask for."""
    names = dict.fromkeys(name for chunk in chunks for name in chunk.signals)
    counts = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    return Chunk(
        chunks[0].universe,
        chunks[0].axis,
        times=np.concatenate([chunk.times for chunk in chunks]),
        sessions=np.concatenate([chunk.sessions for chunk in chunks]),
        offsets=np.append(0, np.cumsum(counts)),
        codes=np.concatenate([chunk.codes for chunk in chunks]),
        prices={n: np.concatenate([getattr(chunk, n) for chunk in chunks]) for n in _PRICES},
        signals={name: _one_column(chunks, name) for name in names},
    )


def _one_column(chunks: Sequence[Chunk], name: str) -> np.ndarray:
    like = next(chunk.signals[name] for chunk in chunks if name in chunk.signals)
    return np.concatenate(
        [
            chunk.signals[name] if name in chunk.signals else _absent(len(chunk.codes), like)
            for chunk in chunks
        ]
    )


def _rows(chunk: Chunk, *, dated: bool) -> _Carried:
    """All rows of a chunk."""
    fields = (*_PRICES, *chunk.signals)
    columns = {name: _column(chunk, name) for name in fields}
    if dated:
        columns[_TIMES] = np.repeat(chunk.times, np.diff(chunk.offsets))
    return _Carried(chunk.codes, columns)


def _column(chunk: Chunk, field: str) -> np.ndarray:
    if field in _PRICES:
        price: np.ndarray = getattr(chunk, field)
        return price
    column = chunk.signals.get(field)
    return _absent(len(chunk.codes), chunk.close) if column is None else column


def _absent(count: int, like: np.ndarray) -> np.ndarray:
    return np.full(count, None if like.dtype == object else np.nan)


def _join(pieces: Sequence[np.ndarray]) -> np.ndarray:
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    view = whole.view()
    view.flags.writeable = False
    return view
