"""Many feeds of one asset each, opened as one table.

Five hundred small tables cost more to check, sort and merge one by one than the bars in them do.
Feeds that differ in nothing but their asset are therefore read together. What is unusual or would
be refused is left to the feeds, each on its own: so an error names the feed, and the row in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.data.block import Block, Keys, Reading, Table
from ml4t.backtest.data.frames import FrameFeed, Opening, content, meaning, survey_of
from ml4t.backtest.data.layout import recognise
from ml4t.backtest.data.spare import may_count_rows
from ml4t.backtest.data.stream import collect, whole_rows
from ml4t.backtest.data.times import read_times
from ml4t.backtest.errors import BacktestError
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ml4t.backtest.data.feed import DataFeed, Reader, Request, Survey
    from ml4t.backtest.data.layout import Layout
    from ml4t.backtest.types.time import TimeAxis

_FEW = 8  # feeds; for fewer it is not worth the while
_BYTES_A_CELL = 3  # in Parquet, usually
_PATH = "__path"


class _UnlikeError(Exception):  # never leaves this module
    """These feeds are not so alike that they can be one table."""


class _Stack(msgspec.Struct):
    """The rows of feeds, one feed after the other.

    Args:
        openings: The feeds.
        frame: Their rows.
        heights: int64[feeds], how many rows each has.
    """

    openings: list[Opening]
    frame: pl.DataFrame
    heights: np.ndarray

    def starts(self) -> np.ndarray:
        """The first row of each feed."""
        starts: np.ndarray = np.cumsum(self.heights) - self.heights
        return starts


class JointReader:
    """Feeds that were opened as one table.

    Args:
        table: All their rows.
        surveys: What is known of each feed, in order of the assets.

    Attributes:
        survey: How to read the table, not what is in it: spans and sources are those of each feed.
    """

    is_growing = False
    is_single_pass = False

    def __init__(self, table: Table, surveys: Sequence[Survey]) -> None:
        self._table = table
        self.ids = table.ids
        slow = np.array([s.slow is not None or (s.step or s.duration) is None for s in surveys])
        steps = np.array([s.step or 0 for s in surveys], dtype=np.int64)
        self.survey = msgspec.structs.replace(
            surveys[0],
            name=f"{surveys[0].name} to {surveys[-1].name}",
            step=int(steps.max()) or None,
            steps=steps,
            slow=slow if slow.any() else None,
            is_dense=table.is_dense,
        )

    def blocks(self, rows: int) -> Iterator[Block]:
        """Everything from the start, in blocks of about `rows` rows."""
        return self._table.blocks(rows)


def open_readers(
    requests: Sequence[tuple[DataFeed, Request]],
) -> tuple[list[Reader], list[Survey]]:
    """Open the feeds of a run, many that are alike as one.

    Returns:
        The readers, and what is known of each feed, in order of the feeds.

    Raises:
        DataError: A feed is refused.
    """
    readers: dict[int, Reader] = {}  # by the first feed of each
    surveys: dict[int, Survey] = {}
    for members in _groups(requests):
        try:
            joint, found = _open_together([opening for _, opening in members])
        except (_UnlikeError, BacktestError, pl.exceptions.PolarsError, OSError):
            continue  # each on its own passes, or is refused by name
        places = [place for place, _ in members]
        readers[places[0]] = joint
        surveys |= dict(zip(places, found, strict=True))
    for place, (feed, request) in enumerate(requests):
        if place not in surveys:
            readers[place] = feed.open_reader(request)
            surveys[place] = readers[place].survey
    return [readers[place] for place in sorted(readers)], [surveys[i] for i in range(len(requests))]


def _groups(
    requests: Sequence[tuple[DataFeed, Request]],
) -> Iterator[list[tuple[int, Opening]]]:
    """Feeds that seem to be alike, with their places; as many as one table should hold."""
    if len(requests) < _FEW:
        return
    alike: dict[object, list[tuple[int, Opening]]] = {}
    for place, (feed, request) in enumerate(requests):
        if isinstance(feed, FrameFeed) and type(feed).open_reader is FrameFeed.open_reader:
            opening = feed.opening(request)
            alike.setdefault(opening.kind(), []).append((place, opening))
    alike.pop(None, None)
    for members in alike.values():
        cells = sum(_cells(opening) for _, opening in members)
        tables = max(1, -(-cells // max(1, whole_rows(1))))
        size = -(-len(members) // tables)
        for start in range(0, len(members) if size >= _FEW else 0, size):
            yield members[start : start + size]


def _cells(opening: Opening) -> int:
    """About how many cells a table has; of a file a guess by its size."""
    if opening.path is None:
        return int(opening.data.height * opening.data.width)
    try:
        return opening.path.stat().st_size // _BYTES_A_CELL
    except OSError:
        return 0  # it is gone; the feed it belongs to will say so


def _open_together(openings: list[Opening]) -> tuple[JointReader, list[Survey]]:
    """Feeds as one reader, and what is known of each.

    Raises:
        _UnlikeError: They cannot be one table.
        BacktestError: Something in one of them is refused.
    """
    schema, first = _schema(openings[0]), openings[0]
    layout = recognise(schema, first.naming, first.source)
    if layout.doubles or may_count_rows(schema) or pl.Object in schema.values():
        raise _UnlikeError
    _refuse_other_schemas(openings, schema, layout.needed())
    stack = _stack(openings, layout.needed())
    reading = Reading(first.source, layout, first.timing, is_part=True)
    keys, names = _keys(stack, reading)
    values = stack.frame.drop([n for n in (layout.time, layout.asset) if n is not None])
    table = reading.table(values.rechunk(), keys=keys)
    surveys = _surveys(stack, reading, keys, tuple(schema))
    by_asset = sorted(range(len(names)), key=names.__getitem__)
    return JointReader(table, [surveys[i] for i in by_asset]), surveys


def _schema(opening: Opening) -> Mapping[str, pl.DataType]:
    path = opening.path
    schema: Mapping[str, pl.DataType]
    schema = opening.data.schema if path is None else pl.read_parquet_schema(path)
    return schema


def _refuse_other_schemas(
    openings: Sequence[Opening], schema: Mapping[str, pl.DataType], columns: Sequence[str]
) -> None:
    """Refuse tables with other columns than the first, or of other types.

    Where all columns of files are read, Polars sees to that.
    """
    if openings[0].path is not None and set(schema) == set(columns):
        return
    if any(_schema(opening) != schema for opening in openings):
        raise _UnlikeError


def _stack(openings: list[Opening], columns: list[str]) -> _Stack:
    """All rows of some columns."""
    paths = [str(opening.path) for opening in openings if opening.path is not None]
    if not paths:
        heights = np.array([opening.data.height for opening in openings])
        frame = pl.concat([opening.data for opening in openings]).select(columns)
    else:
        lazy = pl.scan_parquet(paths, glob=False, hive_partitioning=False, include_file_paths=_PATH)
        most = 2 * whole_rows(len(columns))  # the guess at their number may be wrong, by so much
        frame = collect(lazy.select(*columns, _PATH).head(most + 1), openings[0].source)
        runs = frame[_PATH].rle().struct
        heights = runs.field("len").to_numpy().astype(np.int64)
        is_each = runs.field("value").to_list() == paths  # none is empty, or given twice
        if frame.height > most or not is_each:
            raise _UnlikeError
    if not heights.all():
        raise _UnlikeError
    return _Stack(openings, frame.select(columns), heights)


def _keys(stack: _Stack, reading: Reading) -> tuple[Keys, list[str]]:
    """When and of which asset each row is, and the asset of each feed."""
    column = stack.frame[reading.layout.time]
    if not isinstance(column.dtype, pl.Date | pl.Datetime):
        raise _UnlikeError  # how text is read depends on all of it
    raw, axis = read_times(column, source=reading.source, column=column.name)
    if not axis.is_session:
        is_moment = axis.to_wall(raw) % DAY_US != 0
        if not np.logical_or.reduceat(is_moment, stack.starts()).all():
            raise _UnlikeError  # some hold labels of sessions, some moments
    times, axis = reading.timing.apply(raw, axis, reading.source)
    names = _names(stack, reading.layout)
    ids = sorted(names)
    codes = np.repeat(np.searchsorted(ids, names).astype(np.int32), stack.heights)
    return Keys(times, axis, codes, ids), names


def _names(stack: _Stack, layout: Layout) -> list[str]:
    """The asset of each feed."""
    given = [opening.asset_id(layout) for opening in stack.openings]
    names = given
    if layout.asset is not None:
        runs = stack.frame[layout.asset].rle().struct
        if not np.array_equal(runs.field("len").to_numpy(), stack.heights):
            raise _UnlikeError  # a feed holds several assets, or two in a row hold the same
        names = runs.field("value").cast(pl.String).to_list()
    if any(one not in (None, other) for one, other in zip(given, names, strict=True)):
        raise _UnlikeError
    known = [name for name in names if name is not None]
    if len(set(known)) < len(names):
        raise _UnlikeError  # two are of one asset, or one does not say
    return known


def _surveys(stack: _Stack, reading: Reading, keys: Keys, columns: tuple[str, ...]) -> list[Survey]:
    """What is known of each feed, as if it had been opened alone."""
    surveys: list[Survey] = []
    before, stop = np.empty(0, dtype=np.int64), 0
    sources = _sources(stack, reading.layout)
    for opening, height, source in zip(
        stack.openings, stack.heights.tolist(), sources, strict=True
    ):
        start, stop = stop, stop + height
        times = keys.times[start:stop]
        if surveys and np.array_equal(times, before):
            own = source | {"rows": height}
            survey = msgspec.structs.replace(surveys[-1], name=opening.source, source=own)
        else:
            lone = msgspec.structs.replace(reading, source=opening.source)
            survey = survey_of(lone, _lone_table(times, keys.axis, stack.frame), source, columns)
        surveys.append(survey)
        before = times
    return surveys


def _lone_table(times: np.ndarray, axis: TimeAxis, frame: pl.DataFrame) -> Table:
    """The bars of one feed without their prices: enough to see how often there is one."""
    offsets, codes = np.arange(len(times) + 1), np.zeros(len(times), dtype=np.int32)
    block = Block(times=np.sort(times), offsets=offsets, codes=codes, prices={})
    return Table(axis, [""], block, frame.clear(), [])


def _sources(stack: _Stack, layout: Layout) -> list[dict[str, Any]]:
    """Where the bars of each feed come from, ready for JSON."""
    same = meaning(layout, stack.openings[0].naming)
    files = [opening.files for opening in stack.openings if opening.files is not None]
    if files:
        return [one.describe() | same for one in files]
    hashes = np.add.reduceat(stack.frame.hash_rows(seed=0).to_numpy(), stack.starts())
    return [content(total) | same for total in hashes.tolist()]
