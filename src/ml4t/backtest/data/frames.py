"""Feeds over tables: frames in memory, and files."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.data import checks
from ml4t.backtest.data.block import CHUNK_ROWS, Block, Reading, Table, Timing
from ml4t.backtest.data.feed import DataFeed, Request, Survey
from ml4t.backtest.data.files import Dialect, Files, is_path, list_files, scan_files
from ml4t.backtest.data.layout import Layout, Naming, recognise
from ml4t.backtest.data.sorting import InOrder
from ml4t.backtest.data.spare import find_row_counts, refuse_doubles
from ml4t.backtest.data.stream import Scan, read_blocks, read_lazy
from ml4t.backtest.data.tables import to_frame
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.bars import Chunk, MarketEvent, Universe
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# A label is known by the end of its day, in whatever zone, or at the close of a session near it.
_LABEL_MARGIN_US = 7 * DAY_US


class Opening(msgspec.Struct, frozen=True):
    """A table that a run asks for.

    Args:
        source: What error texts call it.
        naming: What the user said about its columns.
        timing: What the user said about its times.
        files: The files it is in, or None.
        data: The table in memory, or None.
    """

    source: str
    naming: Naming
    timing: Timing
    files: Files | None
    data: Any

    @property
    def path(self) -> Path | None:
        """The Parquet file that it is, when it is just one."""
        files = self.files
        is_one = files is not None and files.kind == "parquet" and len(files.paths) == 1
        return files.paths[0] if files is not None and is_one else None

    def kind(self) -> object | None:
        """Equal for tables that differ in nothing but their asset and their rows.

        None for what is not read whole anyway, or not without looking at its content first.
        """
        if self.path is None and not isinstance(self.data, pl.DataFrame):
            return None
        naming = msgspec.structs.replace(self.naming, asset_id=None)
        return self.path is None, msgspec.json.encode(naming), self.timing

    def asset_id(self, layout: Layout) -> str | None:
        """The asset of all its rows, as far as the user or the name of the file says."""
        if self.naming.asset_id is not None or layout.asset is not None or self.files is None:
            return self.naming.asset_id
        return self.files.default_asset_id()


class FrameFeed(DataFeed):
    """Bars from a table in memory or in files, with their signals in further columns.

    Columns are recognised in their usual spellings, in any case: `timestamp`, `datetime`, `date`,
    `time` or `ts`; `asset_id`, `asset`, `symbol` or `ticker`; `open`, `high`, `low`, `close`,
    `volume`. Small tables are checked and sorted whole. Large files are looked through once and
    then read in parts, so that memory does not grow with the file. Rows may come in any order.

    Walking a feed by hand with `get_next_event` does not disturb a run, and one feed can serve
    several runs.

    Args:
        data: Polars DataFrame or LazyFrame, pandas DataFrame, Arrow table, or a path: a Parquet or
            CSV file, a folder of them, or a pattern such as "prices/*.parquet".
        asset_id: The asset of all rows, for a table without a column of assets. A file without
            either is named by its stem.
        columns: Your names for columns, by ours: `columns={"timestamp": "Date", "close": "Last"}`.
        price_column: For close-only data: bars open, trade and close at this one price.
        signal_columns: The columns that are signals; the default is every other column of
            numbers, booleans or text.
        signals: The same as `signal_columns`.
        bar_label: "close" when times say when a bar is complete, "open" when they say when it
            begins; then `bar_duration` moves them to its end. Labels of sessions stand for the
            session's close either way; a longer bar's label moves to its last day.
        bar_duration: Length of a bar: a timedelta, or text such as "1m", "1h" or "1d". Needed for
            `bar_label="open"`, and when feeds of different frequency meet in one run.

    Raises:
        ConfigError: Options that contradict each other.
        DataError: No such file. What is in it is checked when a run, or `get_next_event`, begins.
    """

    _kind: str | None = None
    _dialect = Dialect()

    def __init__(
        self,
        data: Any,
        *,
        asset_id: str | None = None,
        columns: Mapping[str, str] | None = None,
        price_column: str | None = None,
        signal_columns: Sequence[str] | None = None,
        signals: Sequence[str] | None = None,
        bar_label: str = "close",
        bar_duration: dt.timedelta | str | None = None,
    ) -> None:
        self._naming = Naming(
            columns=dict(columns or {}),
            price_column=price_column,
            signal_columns=_signal_names(signal_columns, signals),
            asset_id=asset_id,
        )
        self._timing = _read_timing(bar_label, bar_duration)
        self._files = list_files(data, self._kind) if is_path(data) else None
        self._data = data
        self._opened: dict[object, tuple[Table | Scan, dict[str, Any]]] = {}
        self._row_counts: dict[object, list[str]] = {}
        self._events: Iterator[MarketEvent] | None = None
        self._next: MarketEvent | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    @property
    def name(self) -> str:
        """What error texts call the feed: the file's name, or "data"."""
        return "data" if self._files is None else self._files.name

    def options(self) -> dict[str, Any]:
        """What the feed was told beside its data, ready for JSON; `origin.open_feed` reads it."""
        naming, timing = self._naming, self._timing
        return {
            "asset_id": naming.asset_id,
            "columns": naming.columns,
            "price_column": naming.price_column,
            "signal_columns": naming.signal_columns,
            "bar_label": "open" if timing.is_open else "close",
            "bar_duration_us": timing.duration,
            "separator": self._dialect.separator,
            "decimal_comma": self._dialect.decimal_comma,
        }

    def get_next_event(self) -> MarketEvent | None:
        """The next bar, or None when there are no more."""
        if self._events is None:
            self._events = self._walk()
            self._next = next(self._events, None)
        event = self._next
        if event is not None:
            self._next = next(self._events, None)
        return event

    def is_exhausted(self) -> bool:
        """Whether `get_next_event` has given its last bar."""
        return self._events is not None and self._next is None

    def opening(self, request: Request) -> Opening:
        """What a run asks for, before anything is read or checked.

        Raises:
            DataError: This is no table.
        """
        naming = msgspec.structs.replace(
            self._naming,
            wanted=request.signal_columns,
            context_pattern=request.context_pattern,
            asset_id=self._naming.asset_id or request.asset_id,
        )
        source = request.name or self.name
        if self._files is None and not isinstance(self._data, pl.DataFrame | pl.LazyFrame):
            self._data = to_frame(self._data, source=source)  # converted once
        data = self._data if self._files is None else None
        return Opening(source, naming, self._timing, self._files, data)

    def open_reader(self, request: Request) -> TableReader:
        """Open the feed for a run: everything is checked here."""
        opening = self.opening(request)
        naming, source = opening.naming, opening.source
        key = (msgspec.json.encode(naming), self._files and self._files.fingerprint())
        whole, files = self._frame(opening)
        frame = self._without_row_counts(whole, naming, source, key)
        layout = recognise(frame.collect_schema(), naming, source)
        reading = Reading(source, layout, self._timing, _asset_id(opening, layout))
        if key not in self._opened:  # the latest is kept, so that another run need not read anew
            table = self._read(frame, reading, key, files)
            refuse_doubles(frame, layout.doubles, source)
            self._opened = {key: (table, _describe(self._files, frame, layout, naming))}
        reader = TableReader(reading, *self._opened[key], tuple(frame.collect_schema()))
        _check_asset(reader.ids, request.asset_id or self._naming.asset_id, source)
        return reader

    def _frame(self, opening: Opening) -> tuple[pl.DataFrame | pl.LazyFrame, int]:
        """The table, and of how many Parquet files it is a plain scan."""
        if opening.files is None:
            return opening.data, 0
        naming = opening.naming
        found = scan_files(
            opening.files, naming.columns, asset_id=naming.asset_id, dialect=self._dialect
        )
        return found.lazy, found.files

    def _without_row_counts(
        self, frame: pl.DataFrame | pl.LazyFrame, naming: Naming, source: str, key: object
    ) -> pl.DataFrame | pl.LazyFrame:
        """The table without columns that only count its rows, unless the user names signals."""
        if naming.signal_columns is not None or naming.wanted is not None:
            return frame
        if key not in self._row_counts:
            named = {*naming.columns.values(), naming.price_column or ""}
            named -= {""} - set(naming.columns.values())
            restarts = self._files is not None and len(self._files.paths) > 1
            found = find_row_counts(frame, named, source, restarts=restarts)
            self._row_counts = {key: found}
        return frame.drop(self._row_counts[key])

    def _read(
        self, frame: pl.DataFrame | pl.LazyFrame, reading: Reading, key: object, files: int
    ) -> Table | Scan:
        if isinstance(frame, pl.LazyFrame):
            return read_lazy(frame, reading, None if self._files is None else key, files=files)
        if frame.height == 0:
            raise DataError(f"{reading.source}: there are no rows.")
        return reading.table(frame)

    def _walk(self) -> Iterator[MarketEvent]:
        reader = self.open_reader(Request())
        universe, axis = Universe(reader.ids), reader.survey.axis
        for block in reader.blocks(CHUNK_ROWS):
            chunk = Chunk(
                universe,
                axis,
                times=block.times,
                sessions=axis.dates(block.times),
                offsets=block.offsets,
                codes=block.codes,
                prices=block.prices,
                signals=block.signals,
                meta=block.meta,
            )
            yield from chunk.events()


class ParquetDataFeed(FrameFeed):
    """Bars from Parquet files, or from a table in memory; see `FrameFeed` for the options.

    Example:
        >>> import polars as pl
        >>> from datetime import date
        >>> prices = pl.DataFrame({
        ...     "Date": [date(2024, 1, 2)], "Open": [10.0], "High": [11.0], "Low": [9.0],
        ...     "Close": [10.5], "ml_pred": [0.7]})
        >>> feed = ParquetDataFeed(prices, asset_id="AAPL", signal_columns=["ml_pred"])
        >>> event = feed.get_next_event()
        >>> event.asset_id, event.close, event.signals
        ('AAPL', 10.5, {'ml_pred': 0.7})
        >>> feed.is_exhausted()
        True
    """

    _kind = "parquet"


class CSVDataFeed(FrameFeed):
    """Bars from CSV files; see `FrameFeed` for the options.

    Times are read from ISO text: 2020-01-31, 2020-01-31T15:45:00, with or without an offset.

    Args:
        path: A file, a folder, or a pattern.
        separator: Between fields; default is a comma, and a tab in `.tsv` files.
        decimal_comma: Numbers are written 100,25, as in `separator=";"` files of many countries.
        options: As of `FrameFeed`.
    """

    _kind = "csv"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        separator: str | None = None,
        decimal_comma: bool = False,
        **options: Any,
    ) -> None:
        if not is_path(path):
            raise ConfigError(
                f"CSVDataFeed takes a path, not a {type(path).__name__}. A table in memory goes "
                f"into ParquetDataFeed, or to the engine as data=."
            )
        self._dialect = Dialect(separator, decimal_comma)
        super().__init__(path, **options)


def as_feed(data: Any) -> DataFeed:
    """Anything the engine takes as `data=` as a feed; a feed is itself."""
    return data if isinstance(data, DataFeed) else FrameFeed(data)


class TableReader:
    """A table, opened for one run."""

    is_growing = False
    is_single_pass = False

    def __init__(
        self,
        reading: Reading,
        table: Table | Scan,
        source: dict[str, Any],
        columns: tuple[str, ...],
    ) -> None:
        self._reading = reading
        self._table = table
        self.ids = table.ids
        self.survey = survey_of(reading, table, source, columns)

    def since(self, time: int) -> TableReader:
        """The same without most of what is before a time, where that need not be read.

        Args:
            time: Microseconds of the run's axis.
        """
        scan, timing = self._table, self._reading.timing
        if isinstance(scan, Table) or not isinstance(scan.frames, InOrder):
            return self
        kind = scan.schema[self._reading.layout.time]
        if not kind.is_temporal():
            return self  # text is read part by part
        before = (timing.duration or 0) + (_LABEL_MARGIN_US if scan.axis.is_session else 0)
        moment = scan.axis.to_datetime(time - before)
        later = copy(self)
        frames = scan.frames.since(moment.date() if kind == pl.Date else moment)
        later._table = msgspec.structs.replace(scan, frames=frames)  # noqa: SLF001  our own copy
        return later

    def blocks(self, rows: int) -> Iterator[Block]:
        """Everything from the start, in blocks of about `rows` rows."""
        if isinstance(self._table, Table):
            return self._table.blocks(rows)
        return read_blocks(self._table, self._reading, rows)


def survey_of(
    reading: Reading, table: Table | Scan, source: dict[str, Any], columns: tuple[str, ...]
) -> Survey:
    """What is known of a table before the run.

    Args:
        reading: How it was read.
        table: All its rows.
        source: Where they come from, ready for JSON.
        columns: Names of all its columns.
    """
    if isinstance(table, Table):
        times = table.block.times
        first, last, axis = int(times[0]), int(times[-1]), table.axis
        steps = checks.count_steps(times)
        step, rows = checks.usual_step(steps), len(table.block.codes)
        least = min(steps, default=None)
    else:
        bounds = pl.Series([table.first, table.last]).to_numpy()
        (first, last), axis = reading.timing.apply(bounds, table.axis, reading.source)
        step, rows, least = table.step, table.rows, table.least_step
    slow, own = np.zeros(0, dtype=bool), None
    if reading.timing.duration is None:
        slow = checks.unknown_lengths(table.shortest_steps, axis)
        own = checks.known_length(table.shortest_steps, axis)
    usual = max(step or 0, table.asset_step or 0, own or 0)
    return Survey(
        name=reading.source,
        axis=axis,
        signals=reading.signal_kinds(table.schema),
        has_meta=reading.layout.meta is not None,
        context=reading.layout.context,
        columns=columns,
        first=int(first),
        last=int(last),
        step=usual or None,
        is_staggered=bool(slow.any()) or (least is not None and usual > least),
        slow=slow if slow.any() else None,
        duration=reading.timing.duration,
        rows=rows,
        is_streaming=isinstance(table, Scan),
        is_dense=isinstance(table, Table) and table.is_dense,
        source=source | {"rows": rows},
    )


def _signal_names(
    signal_columns: Sequence[str] | None, signals: Sequence[str] | None
) -> tuple[str, ...] | None:
    if signal_columns is not None and signals is not None:
        raise ConfigError("signals= is another name of signal_columns=: pass one of them.")
    names = signals if signal_columns is None else signal_columns
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


def _read_timing(bar_label: str, bar_duration: dt.timedelta | str | None) -> Timing:
    if bar_label not in ("open", "close"):
        raise ConfigError(f"bar_label={bar_label!r}: it is 'open' or 'close'.")
    duration = None if bar_duration is None else read_duration(bar_duration, "bar_duration")
    if duration == 0:
        raise ConfigError(f"bar_duration={bar_duration!r}: a bar takes time.")
    if bar_label == "open" and duration is None:
        raise ConfigError(
            "bar_label='open' needs bar_duration=, such as bar_duration='1m': a bar is known when "
            "it is complete, and its start does not say when that is."
        )
    return Timing(is_open=bar_label == "open", duration=duration)


def _asset_id(opening: Opening, layout: Layout) -> str:
    """The asset of every row when no column says so."""
    if layout.asset is not None:
        return ""
    asset_id = opening.asset_id(layout)
    if asset_id is None:
        raise DataError(
            f"{opening.source}: there is no column of assets ('asset_id', 'asset', 'symbol', "
            f"'ticker', in any case). If all rows are one asset, name it with asset_id= on the "
            f"feed or feeds={{'AAPL': feed}}; else name the column with "
            f"columns={{'asset_id': '...'}}."
        )
    return asset_id


def _check_asset(ids: list[str], asset_id: str | None, source: str) -> None:
    if asset_id is not None and ids != [asset_id]:
        others = [name for name in ids if name != asset_id]
        raise DataError(
            f"{source}: the feed is for {asset_id!r}, but its column of assets holds "
            f"{others[0]!r}{f' and {len(others) - 1} more' if len(others) > 1 else ''}. Filter the "
            f"rows first, or pass all of them as data= without naming an asset."
        )


def _describe(
    files: Files | None, frame: pl.DataFrame | pl.LazyFrame, layout: Layout, naming: Naming
) -> dict[str, Any]:
    """Where bars come from, ready for JSON."""
    same = meaning(layout, naming)
    if files is not None:
        return files.describe() | same
    if isinstance(frame, pl.LazyFrame):
        return {"kind": "lazy frame"} | same
    plain = [n for n in layout.needed() if frame.schema[n] != pl.Object]
    return content(int(frame.select(plain).hash_rows(seed=0).sum() or 0)) | same


def content(total: int) -> dict[str, Any]:
    """What a result says about a table in memory, by the sum of its rows' hashes."""
    return {"kind": "frame", "content": f"{total:016x}"}


def meaning(layout: Layout, naming: Naming) -> dict[str, Any]:
    """What a result says about the columns that bars were made of."""
    return {
        "columns": {
            "timestamp": layout.time,
            "asset_id": layout.asset,
            "prices": layout.prices,
            "volume": layout.volume,
            "signals": list(layout.signals),
            "context": list(layout.context),
        },
        "columns_left_out": layout.left_out,
        "price_column": naming.price_column,
    }
