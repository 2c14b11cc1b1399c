"""Tables larger than memory: looked through once before the run, then read in blocks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import weakref
from collections import Counter, OrderedDict
from pathlib import Path
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
from ml4t.backtest.data.text import refuse_numbers_as_text
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block

# Below this many cells a table is read once and kept: checking and running then share the read.
_WHOLE_CELLS = 20_000_000
_SORTED_IN_MEMORY = 8_000_000  # rows
_KEPT_SCANS = 16
_ROW = "__row"
_SORT = """\
import os, sys
os.environ["POLARS_OOC_MEMORY_BUDGET_MB"] = "300"  # read when Polars is imported
import polars as pl
_, plan, target, *keys = sys.argv
pl.LazyFrame.deserialize(plan).sort(keys, maintain_order=True).sink_parquet(target)
"""


class Scan(msgspec.Struct):
    """What one pass over a table found, and the lazy table to read in the run.

    Args:
        lazy: The table, its rows in order of time.
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
        folder: Holds the sorted copy when the table was not in order of time; goes with this.
    """

    lazy: pl.LazyFrame
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
    folder: Any = None


class _NotSortedError(Exception):  # never leaves this module
    """A time is before the one above it."""


def read_lazy(lazy: pl.LazyFrame, reading: Reading, key: object | None) -> Table | Scan:
    """A lazy table, read whole when it is small, else looked through.

    Args:
        lazy: Holds the columns of the layout.
        reading: How to read it.
        key: Equal keys mean equal content, so that a second run need not look again.

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
    try:
        found = look_through(lazy, reading)
    except _NotSortedError:
        if rows <= _SORTED_IN_MEMORY:
            return reading.table(collect(lazy, reading.source))
        found = _look_through_sorted(lazy, reading)
    if key is not None:
        _SCANS[known] = found
        while len(_SCANS) > _KEPT_SCANS:
            _SCANS.popitem(last=False)
    return found


_SCANS: OrderedDict[object, Scan] = OrderedDict()


def look_through(lazy: pl.LazyFrame, reading: Reading) -> Scan:
    """Check every row in bounded memory, and learn what the run must know before it starts."""
    layout = msgspec.structs.replace(reading.layout, signals=(), meta=None)
    plain = msgspec.structs.replace(reading, layout=layout, timing=Timing(), is_part=True)
    names: set[str] = set()
    steps: Counter[int] = Counter()
    sample, own = _Sample(reading), _OwnSteps()
    is_session, rows, first, last = True, 0, None, None
    columns = [*layout.needed(), *([reading.row_column] if reading.row_column else [])]
    for frame in whole_timestamps(lazy.select(columns), layout.time, CHUNK_ROWS):
        if not frame[layout.time].is_sorted():
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
        lazy=lazy,
        axis=axis,
        ids=sorted(names),
        rows=rows,
        first=first or 0,
        last=last or 0,
        step=checks.usual_step(steps),
        asset_step=sample.asset_step(axis),
        least_step=min(steps, default=None),
        shortest_steps=own.of(sorted(names)),
        schema=lazy.collect_schema(),
    )


class _Folder:
    """A temporary folder that goes away with this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ml4t-sorted-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


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
    reading = msgspec.structs.replace(reading, axis=scan.axis, ids=scan.ids)
    for frame in whole_timestamps(scan.lazy, reading.layout.time, rows):
        yield from reading.table(frame, is_checked=True).blocks(2 * rows)


def whole_timestamps(lazy: pl.LazyFrame, column: str, rows: int) -> Iterator[pl.DataFrame]:
    """A table in order of time, cut into frames that never split a timestamp.

    Args:
        lazy: The table.
        column: Its column of times.
        rows: Rows of a frame, more or less.
    """
    rest: pl.DataFrame | None = None
    for batch in lazy.collect_batches(chunk_size=rows, maintain_order=True):
        frame = batch if rest is None else pl.concat([rest, batch])
        times = frame[column]
        earlier = times.eq_missing(times[-1]).not_().arg_true()
        cut = int(earlier[-1]) + 1 if len(earlier) else 0
        if cut:
            yield frame[:cut]
        rest = frame[cut:]
    if rest is not None and rest.height:
        yield rest


def _look_through_sorted(lazy: pl.LazyFrame, reading: Reading) -> Scan:
    """As `look_through`, after the rows were sorted into a temporary file.

    Sorting takes memory that Python does not give back, so a short-lived process does it, with
    Polars' budget for what it keeps in memory set before it starts.
    """
    folder = _Folder()
    plan, target = folder.path / "plan", folder.path / "rows.parquet"
    lazy.with_row_index(_ROW).serialize(plan)
    keys = [reading.layout.time, *([reading.layout.asset] if reading.layout.asset else [])]
    done = subprocess.run(  # noqa: S603  our own interpreter, our own script
        [sys.executable, "-c", _SORT, str(plan), str(target), *keys],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DataError(
            f"{reading.source}: the rows are not in order of time, and sorting them failed: "
            f"{done.stderr.strip()[-500:]}"
        )
    reading = msgspec.structs.replace(reading, row_column=_ROW)
    try:
        found = look_through(pl.scan_parquet(target), reading)
    except _NotSortedError:
        raise DataError(
            f"{reading.source}: the times are text whose order is not that of time. Parse them "
            f"first, for example with pl.col({reading.layout.time!r}).str.to_datetime()."
        ) from None
    found.folder = folder
    return found


def collect(lazy: pl.LazyFrame, source: str) -> pl.DataFrame:
    """A lazy table, read.

    Raises:
        DataError: It cannot be.
    """
    try:
        return lazy.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{source} cannot be read: {error}") from error
