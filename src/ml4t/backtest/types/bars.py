"""Bars: columns first, objects only where somebody looks.

A `Chunk` is a run of consecutive timestamps as a struct of arrays, rows sorted by time and then
asset. `Bars` is a window on one timestamp of a chunk. `MarketEvent` is one row as an object.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.kernels import events, has_all, is_absent, top

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import polars as pl

    from ml4t.backtest.types.time import TimeAxis

_FEW = 4
# So many times as many cells as bars, and few of them are full.
_THIN = 4

Signal = float | bool | str | dict[str, Any]


class MarketEvent(msgspec.Struct, frozen=True, gc=False):
    """One bar of one asset, known at `timestamp`.

    Prices are in the asset's currency; `volume` is in units and NaN where the source has none.
    `signals` holds the predictions that were known then, by name; a missing one is absent, so
    `event.signals.get("ml_pred", 0)` does what it says. The key `_meta` holds a dict (model
    version, time of computation) where the source has it.
    """

    timestamp: datetime
    asset_id: str
    open: float
    high: float
    low: float
    close: float
    volume: float = float("nan")
    signals: dict[str, Any] = {}  # msgspec copies the empty default


class ExecutionBar(MarketEvent, frozen=True, gc=False):
    """The bar an order trades in, as slippage sees it.

    `reference` is the price before slippage: the open, the close, or the order's level.
    """

    reference: float = float("nan")


class Universe:
    """The assets of a run and their integer codes.

    When all assets are known before the run, codes follow sorted `asset_id`. A feed that names
    its assets as it goes appends, in order of appearance.

    Attributes:
        ids: Assets by code.
        codes: The code of each.
        is_sorted: Codes are in the order of their assets.
    """

    __slots__ = ("codes", "ids", "is_sorted")

    def __init__(self, asset_ids: list[str] | tuple[str, ...] = ()) -> None:
        self.ids: list[str] = sorted(asset_ids)
        self.codes: dict[str, int] = {a: i for i, a in enumerate(self.ids)}
        self.is_sorted = True

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, asset_id: object) -> bool:
        return asset_id in self.codes

    def add(self, asset_id: str) -> int:
        """The code of an asset, given anew if it is unknown."""
        code = self.codes.get(asset_id)
        if code is None:
            code = self.codes[asset_id] = len(self.ids)
            self.is_sorted = self.is_sorted and (code == 0 or asset_id > self.ids[-1])
            self.ids.append(asset_id)
        return code


class Chunk:
    """Consecutive timestamps as a struct of arrays: what travels from the door to the engine.

    Rows are sorted by timestamp, then by `asset_id`. T timestamps, N rows.

    Args:
        universe: Assets by code. It grows, between chunks, for feeds that name assets as they go;
            `width` is how many assets it had when the chunk was made.
        axis: How `times` is to be read.
        times: int64[T], microseconds, strictly increasing; also across chunks.
        sessions: int32[T], the session each timestamp belongs to, as days since 1970-01-01.
        offsets: int64[T + 1]; the rows of timestamp i are offsets[i] to offsets[i + 1].
        codes: int32[N], the asset of each row.
        prices: open, high, low, close, volume: float64[N], C-contiguous.
        signals: By name, float64[N] with NaN where absent, or object[N] (bool, str) with None.
        meta: object[N] of dict or None, or None when the source has no `_meta`.
        begins: int64[N] when each bar began, or None: each began after the timestamp before it.
        context_at: The context of timestamp i as a new plain dict, or None without context.
        before: Time of the run's timestamp before the first of these; None for the first of all.
    """

    def __init__(
        self,
        universe: Universe,
        axis: TimeAxis,
        *,
        times: np.ndarray,
        sessions: np.ndarray,
        offsets: np.ndarray,
        codes: np.ndarray,
        prices: Mapping[str, np.ndarray],
        signals: dict[str, np.ndarray] | None = None,
        meta: np.ndarray | None = None,
        begins: np.ndarray | None = None,
        context_at: Callable[[int], dict[str, Any]] | None = None,
        before: int | None = None,
    ) -> None:
        self.universe = universe
        self.width = len(universe)
        self.axis = axis
        self.times = times
        self.sessions = sessions
        self.offsets = offsets
        self.codes = codes
        self.open = prices["open"]
        self.high = prices["high"]
        self.low = prices["low"]
        self.close = prices["close"]
        self.volume = prices["volume"]
        self.signals = signals if signals is not None else {}
        self.meta = meta
        self.begins = begins
        self.context_at = context_at
        self.before = before
        self._names: tuple[int, list[str]] = -1, []
        for column in (self.open, self.high, self.low, self.close, self.volume):
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.times)

    @cached_property
    def rows(self) -> list[int]:
        """`offsets` as plain integers."""
        return self.offsets.tolist()  # type: ignore[no-any-return]

    @cached_property
    def microseconds(self) -> list[int]:
        """`times` as plain integers."""
        return self.times.tolist()  # type: ignore[no-any-return]

    @cached_property
    def stamps(self) -> list[datetime]:
        """`times` as `datetime`."""
        return self.axis.to_datetimes(self.times)

    @cached_property
    def is_dense(self) -> bool:
        """Every timestamp holds all `width` assets, in the order of their codes."""
        n = self.width
        if len(self.codes) != len(self.times) * n:
            return False
        return bool((self.codes.reshape(len(self.times), n) == np.arange(n)).all())

    @cached_property
    def opens(self) -> memoryview[Any]:
        """`open` for reading single plain floats quickly."""
        return self.open.data

    @cached_property
    def highs(self) -> memoryview[Any]:
        """`high` for reading single plain floats quickly."""
        return self.high.data

    @cached_property
    def lows(self) -> memoryview[Any]:
        """`low` for reading single plain floats quickly."""
        return self.low.data

    @cached_property
    def closes(self) -> memoryview[Any]:
        """`close` for reading single plain floats quickly."""
        return self.close.data

    def names(self, index: int) -> list[str]:
        """The assets of a timestamp, in the order of their rows; a list of its own each time."""
        ids = self.universe.ids
        if self.is_dense:
            return ids[: self.width]
        if self._names[0] != index:  # asked again and again, or not at all
            codes = self.codes[self.rows[index] : self.rows[index + 1]]
            self._names = index, [ids[code] for code in codes.tolist()]
        return self._names[1].copy()

    @cached_property
    def places(self) -> np.ndarray | None:
        """The row of each asset at each timestamp, int32[T, width], -1 where it has no bar.

        None where nearly all would be -1; whoever asks has to search then.
        """
        steps, n = len(self.times), self.width
        if steps * n > _THIN * len(self.codes):
            return None
        places = np.full(steps * n, -1, dtype=np.int32)
        cells = np.repeat(np.arange(0, steps * n, n), np.diff(self.offsets)) + self.codes
        places[cells] = np.arange(len(cells), dtype=np.int32)
        return places.reshape(steps, n)

    def rows_at(self, times: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The rows of some assets, each at some timestamp: int64[k], -1 without a bar.

        Args:
            times: Positions of timestamps, int64[k].
            codes: The assets, int64[k].
        """
        n, steps = self.width, len(self.times)
        inside = (times >= 0) & (times < steps) & (codes >= 0) & (codes < n)
        if self.is_dense:
            return np.where(inside, times * n + codes, -1)
        if self.places is not None:
            rows = np.full(len(codes), -1, dtype=np.int64)
            rows[inside] = self.places[times[inside], codes[inside]]
            return rows
        when = np.repeat(np.arange(steps, dtype=np.int64), np.diff(self.offsets))
        keys, wanted = when * n + self.codes, times * n + codes
        order = np.argsort(keys, kind="stable")
        spot = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
        found = order[spot]
        return np.where(inside & (keys[found] == wanted), found, -1)

    def row_of(self, index: int, code: int) -> int:
        """The row of an asset at a timestamp, or -1 when it has no bar then."""
        if code >= self.width:
            return -1
        if self.is_dense:
            return self.rows[index] + code
        if self.places is not None:
            return int(self.places.item(index, code))
        start, stop = self.rows[index], self.rows[index + 1]
        if not self.universe.is_sorted:
            hits = np.flatnonzero(self.codes[start:stop] == code)
            return start + int(hits[0]) if len(hits) else -1
        row = bisect_left(self._codes, code, start, stop)
        return row if row < stop and self._codes[row] == code else -1

    def rows_of(self, index: int, codes: np.ndarray) -> np.ndarray:
        """As `row_of`, for a column: int64[k]."""
        n = self.width
        if self.is_dense:
            return np.where(codes < n, self.rows[index] + codes, -1)
        if self.places is not None and len(self.universe) == n:
            return np.asarray(self.places[index].take(codes), dtype=np.int64)
        start, stop = self.rows[index], self.rows[index + 1]
        rows = np.full(len(self.universe), -1)
        rows[self.codes[start:stop]] = np.arange(start, stop)
        found: np.ndarray = rows[codes]
        return found

    @cached_property
    def _codes(self) -> memoryview[Any]:
        """`codes` for reading single plain integers quickly."""
        return self.codes.data

    def bars(self, index: int) -> Bars:
        """The window on one timestamp."""
        return Bars(self, index, self.rows[index], self.rows[index + 1])

    def windows(self) -> Iterator[Bars]:
        """The windows on every timestamp, in order."""
        return map(Bars, repeat(self), range(len(self)), self.rows, self.rows[1:])

    def events(self) -> Iterator[MarketEvent]:
        """Every row as an event, built when the iterator reaches it."""
        return self._events(0, len(self))

    def events_at(self, index: int) -> Iterator[MarketEvent]:
        """The rows of one timestamp as events."""
        return self._events(index, index + 1)

    def _events(self, start: int, stop: int) -> Iterator[MarketEvent]:
        columns = self._signal_columns
        return events(
            MarketEvent,
            stamps=self.stamps,
            ids=self.universe.ids,
            offsets=self.offsets,
            codes=self.codes,
            prices=(self.open, self.high, self.low, self.close, self.volume),
            names=tuple(columns),
            columns=tuple(columns.values()),
            is_complete=self._has_all_signals,
            start=start,
            stop=stop,
        )

    @cached_property
    def _signal_columns(self) -> dict[str, np.ndarray]:
        """What an event's `signals` are read from."""
        columns = self.signals if self.meta is None else {**self.signals, "_meta": self.meta}
        return {name: np.ascontiguousarray(column) for name, column in columns.items()}

    @cached_property
    def _has_all_signals(self) -> bool:
        return all(map(has_all, self._signal_columns.values()))

    def event(self, row: int) -> MarketEvent:
        """One row as an event."""
        i = int(np.searchsorted(self.offsets, row, side="right")) - 1
        signals = {name: column.item(row) for name, column in self._signal_columns.items()}
        return MarketEvent(
            self.stamps[i],
            self.universe.ids[self.codes[row]],
            self.open.item(row),
            self.high.item(row),
            self.low.item(row),
            self.close.item(row),
            self.volume.item(row),
            {name: value for name, value in signals.items() if not is_absent(value)},
        )


def as_numbers(column: np.ndarray) -> np.ndarray:
    """A column of True, False and None as 1.0, 0.0 and NaN; any other column as it is."""
    if column.dtype != object:
        return column
    values = column.ravel().tolist()
    if not all(value is None or isinstance(value, bool) for value in values):
        return column
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return numbers.reshape(column.shape)


class Bars(msgspec.Struct, frozen=True, gc=False, eq=False):
    """All bars of one timestamp, in sorted `asset_id` order.

    Columns are read-only NumPy views aligned with `asset_ids`; `bars["AAPL"]` and iteration give
    `MarketEvent`. A `Bars` stays valid after its step.
    """

    chunk: Chunk
    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"Bars({self.timestamp}, {len(self)} assets)"

    @property
    def timestamp(self) -> datetime:
        """When these bars are complete and known."""
        return self.chunk.stamps[self.index]

    @property
    def codes(self) -> np.ndarray:
        """Integer codes of the assets, int32[n]."""
        return self.chunk.codes[self.start : self.stop]

    @property
    def asset_ids(self) -> list[str]:
        """Assets that have a bar now, sorted; a new list each time, to be kept over a loop."""
        return self.chunk.names(self.index)

    @property
    def open(self) -> np.ndarray:
        """Opening prices, float64[n]."""
        return self.chunk.open[self.start : self.stop]

    @property
    def high(self) -> np.ndarray:
        """Highest prices, float64[n]."""
        return self.chunk.high[self.start : self.stop]

    @property
    def low(self) -> np.ndarray:
        """Lowest prices, float64[n]."""
        return self.chunk.low[self.start : self.stop]

    @property
    def close(self) -> np.ndarray:
        """Closing prices, float64[n]."""
        return self.chunk.close[self.start : self.stop]

    @property
    def volume(self) -> np.ndarray:
        """Units traded, float64[n]; NaN where the source has none."""
        return self.chunk.volume[self.start : self.stop]

    def signal(self, name: str) -> np.ndarray:
        """One signal for all assets: float64[n] with NaN where absent, or object[n] with None.

        True and False are 1.0 and 0.0, so that a missing one can be NaN; words are objects.

        Raises:
            DataError: No signal of this name exists; the text offers the nearest one.
        """
        try:
            column = self.chunk.signals[name]
        except KeyError:
            raise DataError(
                f"There is no signal {name!r}. {did_you_mean(name, self.chunk.signals)}"
            ) from None
        view = as_numbers(column[self.start : self.stop])
        view.flags.writeable = False
        return view

    def top(self, name: str, n: int) -> list[str]:
        """The `n` assets with the highest value of a signal, best first.

        Assets without the signal are left out; ties go to the smaller `asset_id`.

        Raises:
            DataError: No signal of this name, or it is not numeric.
        """
        order = self.top_rows(name, n)
        return list(map(self.chunk.universe.ids.__getitem__, self.codes[order].tolist()))

    def top_rows(self, name: str, n: int) -> np.ndarray:
        """As `top`, as positions in `asset_ids`."""
        values = self.signal(name)
        if values.dtype == object:
            raise DataError(f"Signal {name!r} is not numeric; bars.top needs numbers.")
        return top(np.ascontiguousarray(values, dtype=np.float64), min(max(n, 0), len(values)))

    def row(self, asset_id: str) -> int:
        """Where an asset stands in the columns and in `asset_ids`.

        Raises:
            KeyError: It has no bar now (`asset_id in bars` asks), or the data has no such asset.
        """
        row = self.chunk_row(asset_id)
        if row < 0:
            raise KeyError(self._absence(asset_id))
        return row - self.start

    def chunk_row(self, asset_id: str) -> int:
        """The row of an asset in the chunk, or -1 when it has no bar now."""
        code = self.chunk.universe.codes.get(asset_id)
        return -1 if code is None else self.chunk.row_of(self.index, code)

    def chunk_row_of_code(self, code: int) -> int:
        """As `chunk_row`, by the asset's code."""
        return self.chunk.row_of(self.index, code)

    def chunk_rows_of(self, codes: list[int]) -> list[int]:
        """As `chunk_row_of_code`, for many assets."""
        row_of, index = self.chunk.row_of, self.index
        if len(codes) <= _FEW or self.chunk.is_dense:
            return [row_of(index, code) for code in codes]
        return self.chunk_rows_of_codes(np.array(codes)).tolist()  # type: ignore[no-any-return]

    def chunk_rows_of_codes(self, codes: np.ndarray) -> np.ndarray:
        """As `chunk_rows_of`, for a column."""
        return self.chunk.rows_of(self.index, codes)

    def __contains__(self, asset_id: object) -> bool:
        return isinstance(asset_id, str) and self.chunk_row(asset_id) >= 0

    def __getitem__(self, asset_id: str) -> MarketEvent:
        row = self.chunk_row(asset_id)
        if row < 0:
            raise KeyError(self._absence(asset_id))
        return self.chunk.event(row)

    def _absence(self, asset_id: str) -> str:
        universe = self.chunk.universe
        if asset_id not in universe:
            return f"Unknown asset {asset_id!r}. {did_you_mean(str(asset_id), universe.ids)}"
        ask = f"Ask first whether it has one: {asset_id!r} in bars."
        return f"{asset_id!r} has no bar at {self.timestamp}. {ask}"

    def __iter__(self) -> Iterator[MarketEvent]:
        return self.chunk.events_at(self.index)

    def to_frame(self) -> pl.DataFrame:
        """The bars and their signals as a Polars frame, one row an asset."""
        import polars as pl

        columns: dict[str, Any] = {
            "timestamp": [self.timestamp] * len(self),
            "asset_id": self.asset_ids,
            **{name: getattr(self, name) for name in ("open", "high", "low", "close", "volume")},
            **{name: self.signal(name) for name in self.chunk.signals},
        }
        frame = pl.DataFrame(columns, strict=False)
        return frame.with_columns(pl.col(pl.Float64).fill_nan(None))
