"""Tables larger than memory: looked through once before the run, then read in blocks."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.data import checks
from ml4t.backtest.data.block import (
    CHUNK_ROWS,
    SAMPLE_ROWS,
    Reading,
    Table,
    Timing,
    stamp_starts,
)
from ml4t.backtest.data.sorting import Frames, InOrder, OutOfOrder
from ml4t.backtest.data.text import refuse_numbers_as_text
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block

# Below this many cells a table is read once and kept: checking and running then share the read.
_WHOLE_CELLS = 20_000_000
_KEPT_SCANS = 16


class Scan(msgspec.Struct):
    """What one pass over a table found, and the table to read in the run.

    Args:
        frames: The table.
        axis: How times are read, before the feed's own declarations.
        ids: All assets, sorted.
        rows: Number of rows.
        first: Earliest time as written.
        last: Latest time as written.
        step: Usual step between timestamps, microseconds.
        asset_step: As of `Table`.
        least_step: Shortest step between timestamps, microseconds.
        shortest_steps: As of `Table`.
        schema: Types of its columns.
    """

    frames: Frames
    axis: TimeAxis
    ids: list[str]
    rows: int
    first: int
    last: int
    step: int | None
    asset_step: int | None
    least_step: int | None
    shortest_steps: np.ndarray
    schema: Any


def whole_rows(columns: int) -> int:
    """How many rows of so many columns are few enough to be read whole."""
    return _WHOLE_CELLS // columns


class _NotSortedError(Exception):  # never leaves this module
    """A time is before the one above it."""


def read_lazy(
    lazy: pl.LazyFrame, reading: Reading, key: object | None, *, files: int = 0
) -> Table | Scan:
    """A lazy table, read whole when it is small, else looked through.

    Args:
        lazy: Holds the columns of the layout.
        reading: How to read it.
        key: Equal keys mean equal content, so that a second run need not look again.
        files: As of `InOrder`.

    Raises:
        DataError: Anything `checks` refuses, or no rows.
    """
    lazy = lazy.select(reading.layout.needed())
    rows = collect(lazy.select(pl.len()), reading.source).item()
    if rows == 0:
        raise DataError(f"{reading.source}: there are no rows.")
    if rows * len(reading.layout.needed()) <= _WHOLE_CELLS:
        return reading.table(collect(lazy, reading.source))
    known = (key, msgspec.json.encode([reading.layout, reading.timing]), reading.asset_id)
    if key is not None and known in _SCANS:
        _SCANS.move_to_end(known)
        return _SCANS[known]
    schema = lazy.collect_schema()
    words = [n for n in reading.layout.signals if schema[n] == pl.String]  # context is read below
    for column in collect(lazy.select(words).head(SAMPLE_ROWS), reading.source):
        refuse_numbers_as_text(column, reading.source)
    found = _look(InOrder(lazy, reading.layout.time, rows, files), reading)
    if key is not None:
        _SCANS[known] = msgspec.structs.replace(found, frames=found.frames.again())
        while len(_SCANS) > _KEPT_SCANS:
            _SCANS.popitem(last=False)
    return found


_SCANS: OrderedDict[object, Scan] = OrderedDict()


def _look(table: InOrder, reading: Reading) -> Scan:
    """Look through a table as it is, and when it is not in order of time, once more in order."""
    try:
        return look_through(table, table.lazy.collect_schema(), reading)
    except _NotSortedError:
        pass
    layout = reading.layout
    keys = [layout.time, *([layout.asset] if layout.asset else [])]
    warnings.warn(
        f"{reading.source}: the rows are not in order of time, and {table.rows:,} are too many to "
        f"sort in memory. They are put in order in temporary files, before every run anew. Sort "
        f"the table once to save that: pl.scan_parquet(...).sort({keys}).sink_parquet(...).",
        stacklevel=2,
    )
    ordered = OutOfOrder(table, layout.asset, reading.source)
    try:
        return look_through(ordered, table.lazy.collect_schema(), reading)
    except _NotSortedError:
        ordered.release()
        raise DataError(
            f"{reading.source}: the times are text whose order is not that of time. Parse them "
            f"first, for example with pl.col({layout.time!r}).str.to_datetime()."
        ) from None
    except BaseException:
        ordered.release()
        raise


def look_through(frames: Frames, schema: pl.Schema, reading: Reading) -> Scan:
    """Check every row in bounded memory, and learn what the run must know before it starts."""
    layout = msgspec.structs.replace(reading.layout, signals=(), meta=None)
    plain = msgspec.structs.replace(
        reading, layout=layout, timing=Timing(), is_part=True, row_column=frames.row_column
    )
    names: set[str] = set()
    steps: Counter[int] = Counter()
    sample, own = _Sample(reading), _OwnSteps()
    is_session, rows, first, last = True, 0, None, None
    for frame in frames.walk(layout.needed(), CHUNK_ROWS):
        if frames.row_column is None and not frame[layout.time].is_sorted():
            raise _NotSortedError
        table = plain.table(frame, base=rows)
        times = table.block.times
        if last is not None and times[0] < last:
            raise _NotSortedError
        first = int(times[0]) if first is None else first
        steps += checks.count_steps(times if last is None else np.append(last, times))
        last, rows = int(times[-1]), rows + frame.height
        names.update(table.ids)
        is_session &= table.axis.is_session
        sample.add(table, rows)
        own.add(table)
        axis = table.axis
    axis = msgspec.structs.replace(axis, is_session=is_session)
    return Scan(
        frames=frames,
        axis=axis,
        ids=sorted(names),
        rows=rows,
        first=first or 0,
        last=last or 0,
        step=checks.usual_step(steps),
        asset_step=sample.asset_step(axis),
        least_step=min(steps, default=None),
        shortest_steps=own.of(sorted(names)),
        schema=schema,
    )


class _OwnSteps:
    """The shortest step of each asset, of all rows."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._shortest = checks.ShortestSteps()

    def add(self, table: Table) -> None:
        """The next rows."""
        codes = [self._index.setdefault(name, len(self._index)) for name in table.ids]
        rows = np.array(codes, dtype=np.int32)[table.block.codes]
        self._shortest.add(table.block.row_times(), rows, len(self._index))

    def of(self, ids: list[str]) -> np.ndarray:
        """By asset, in this order."""
        found: np.ndarray = self._shortest.steps[[self._index[name] for name in ids]]
        return found


class _Sample:
    """The first million rows: enough to see how often assets have bars."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._times: list[np.ndarray] = []
        self._codes: list[np.ndarray] = []
        self._index: dict[str, int] = {}

    def add(self, table: Table, rows: int) -> None:
        """Keep a table, unless `rows` rows before it are enough."""
        if rows >= SAMPLE_ROWS or self._reading.timing.duration is not None:
            return
        codes = [self._index.setdefault(name, len(self._index)) for name in table.ids]
        self._codes.append(np.array(codes, dtype=np.int32)[table.block.codes])
        self._times.append(table.block.row_times())

    def asset_step(self, axis: TimeAxis) -> int | None:
        """As `checks.check_one_frequency`."""
        if not self._times:
            return None
        times, codes = np.concatenate(self._times), np.concatenate(self._codes)
        place = checks.Place(self._reading.source, times, codes, list(self._index), axis)
        return checks.check_one_frequency(place, np.append(stamp_starts(times), len(times)))


def read_blocks(scan: Scan, reading: Reading, rows: int) -> Iterator[Block]:
    """The blocks of a table that was looked through, `rows` rows or so at a time."""
    frames = scan.frames
    reading = msgspec.structs.replace(reading, axis=scan.axis, ids=scan.ids)
    try:
        for frame in frames.walk(reading.layout.needed(), rows):
            yield from reading.table(frame, is_checked=True).blocks(2 * rows)
    finally:
        frames.release()


def collect(lazy: pl.LazyFrame, source: str) -> pl.DataFrame:
    """A lazy table, read.

    Raises:
        DataError: It cannot be.
    """
    try:
        return lazy.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{source} cannot be read: {error}") from error
