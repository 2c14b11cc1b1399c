"""Tables of any size as frames that follow each other in time.

A table in order of time is read from its start. One that is not goes into temporary files first,
each of which holds a stretch of time and fits into memory; they are read one after the other.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from ml4t.backtest.data.block import CHUNK_ROWS
from ml4t.backtest.data.checks import check_asset_names
from ml4t.backtest.data.times import refuse_missing_times
from ml4t.backtest.errors import DataError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

_LEAST_WINDOW = 65_536  # rows
_STRETCH_ROWS = 2 * CHUNK_ROWS
_MOST_STRETCHES = 1_000
_SAMPLE_ROWS = 50_000
_ROW = "__row"


class Frames(Protocol):
    """A table that gives its rows in frames; no timestamp is in two of them.

    Attributes:
        row_column: Holds the input row of each row; None when rows come in order of input.
    """

    row_column: str | None

    def walk(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Some columns of all rows, in frames of about `rows` rows."""
        ...

    def release(self) -> None:
        """Let go what is kept for the next walk."""
        ...

    def again(self) -> Frames:
        """The same table, with nothing kept."""
        ...


class InOrder:
    """A table that is, or should be, in order of time.

    Args:
        lazy: The table.
        time: Its column of times.
        rows: How many rows it has.
        files: Of how many Parquet files it is a plain scan; 0 when it is anything else, so that
            reading a part may mean to work out all that stands before it.
    """

    row_column: str | None = None

    def __init__(self, lazy: pl.LazyFrame, time: str, rows: int, files: int) -> None:
        self.lazy = lazy
        self.time = time
        self.rows = rows
        self.files = files

    def walk(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Some columns, cut into frames that never split a timestamp."""
        rest: pl.DataFrame | None = None
        for batch in self.batches(columns, rows):
            frame = batch if rest is None else pl.concat([rest, batch])
            times = frame[self.time]
            earlier = times.eq_missing(times[-1]).not_().arg_true()
            cut = int(earlier[-1]) + 1 if len(earlier) else 0
            if cut:
                yield frame[:cut]
            rest = frame[cut:]
        if rest is not None and rest.height:
            yield rest

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Some columns, `rows` rows at a time, in the table's own order.

        Polars reads several row groups of Parquet ahead, which is half a gigabyte where they hold
        a million rows each. Large files are therefore read a window at a time, with one window
        ahead. Of many small files little is ahead anyhow, and finding a window in them takes long.
        """
        lazy, window = self.lazy.select(columns), max(4 * rows, _LEAST_WINDOW)
        if not self.files or self.rows <= window * self.files:
            yield from lazy.collect_batches(chunk_size=rows, maintain_order=True)
            return
        ahead: Iterator[pl.DataFrame] = iter(())
        for start in range(0, self.rows, window):
            part = lazy.slice(start, window)
            now, ahead = ahead, part.collect_batches(chunk_size=rows, maintain_order=True)
            yield from now
        yield from ahead

    def since(self, moment: dt.date) -> InOrder:
        """The table from a time on, as its column has it; earlier rows are counted, not read."""
        if not self.files:
            return self
        is_before = pl.col(self.time) < moment
        before = int(self.lazy.select(is_before.sum()).collect().item())
        before = min(before, self.rows - 1)  # a table has rows
        return InOrder(self.lazy.slice(before), self.time, self.rows - before, self.files)

    def release(self) -> None:
        """Nothing is kept."""

    def again(self) -> Frames:
        """The same."""
        return self


class OutOfOrder:
    """A table whose rows come in any order, put into temporary files by stretches of time.

    The files are made by the first walk and go away when they are released, or with this object;
    another walk makes them anew.

    Args:
        table: The rows in their own order.
        asset: Its column of assets, if it has one.
        source: What the user calls the table.
    """

    row_column: str | None = _ROW

    def __init__(self, table: InOrder, asset: str | None, source: str) -> None:
        self._table = table
        self._asset = asset
        self._source = source
        self._stretches: _Stretches | None = None

    def walk(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Some columns, a stretch of time a frame, its rows in their own order.

        Raises:
            DataError: There is no room for the files, or a row has no time or no asset.
        """
        if self._stretches is None:
            self._stretches = self._part()
        yield from self._stretches.frames([*columns, _ROW])

    def release(self) -> None:
        """Remove the files, once no walk goes on."""
        self._stretches = None

    def again(self) -> Frames:
        """The same table, with no files so far."""
        return OutOfOrder(self._table, self._asset, self._source)

    def _part(self) -> _Stretches:
        """Go through the table once, every row into its stretch."""
        stretches = _Stretches(self._edges())
        try:
            base = 0
            for batch in self._table.batches(self._table.lazy.collect_schema().names(), CHUNK_ROWS):
                rows = pl.int_range(base, base + batch.height, dtype=pl.Int64, eager=True)
                plain = self._plain(batch, base).with_columns(rows.alias(_ROW))
                stretches.add(plain, batch[self._table.time])
                base += batch.height
        except OSError as error:
            stretches.remove()
            raise DataError(
                f"{self._source}: the rows are not in order of time, and sorting them in "
                f"temporary files failed: {error}"
            ) from error
        except BaseException:
            stretches.remove()
            raise
        return stretches

    def _plain(self, batch: pl.DataFrame, base: int) -> pl.DataFrame:
        """A batch that can be sorted, with assets as text: a part would hold all categories."""
        source = f"{self._source} (from row {base})" if base else self._source
        refuse_missing_times(batch[self._table.time], source, self._table.time)
        if self._asset is None:
            return batch
        check_asset_names(batch[self._asset], self._source, base)
        if batch.schema[self._asset] not in (pl.Categorical, pl.Enum):
            return batch
        return batch.with_columns(pl.col(self._asset).cast(pl.String))

    def _edges(self) -> pl.Series:
        """Times that part the table into stretches of about equal size, by a sample of its rows."""
        time, rows = self._table.time, self._table.rows
        rng = np.random.default_rng(0)
        sample = []
        for batch in self._table.batches([time], CHUNK_ROWS):
            count = -(-batch.height * _SAMPLE_ROWS // rows)
            sample.append(batch[time].gather(rng.integers(0, batch.height, count)))
        times = pl.concat(sample).drop_nulls().sort()
        stretches = min(-(-rows // _STRETCH_ROWS), _MOST_STRETCHES)
        places = np.arange(1, stretches) * len(times) // stretches
        return times.gather(places).unique(maintain_order=True)


class _Stretches:
    """Temporary files, each with the rows of a stretch of time; they go away with this object.

    Args:
        edges: The first times of all stretches but the first, increasing.

    Attributes:
        remove: Removes the files at once.
    """

    def __init__(self, edges: pl.Series) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ml4t-sorted-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._edges = edges
        self._sizes: list[list[int]] = [[] for _ in range(len(edges) + 1)]  # bytes of each part

    def add(self, frame: pl.DataFrame, times: pl.Series) -> None:
        """Put every row into the file of its stretch, behind those that are there."""
        numbers = self._edges.search_sorted(times, side="right").to_numpy().astype(np.uint16)
        order = np.argsort(numbers, kind="stable")
        frame, ends = frame[order], np.cumsum(np.bincount(numbers, minlength=len(self._sizes)))
        start = 0
        for number, stop in enumerate(ends.tolist()):
            if stop > start:
                self._append(number, frame[start:stop])
            start = stop

    def frames(self, columns: list[str]) -> Iterator[pl.DataFrame]:
        """The rows of each stretch, in order of time."""
        for number, sizes in enumerate(self._sizes):
            if sizes:
                with self._path(number).open("rb") as file:
                    parts = [io.BytesIO(file.read(size)) for size in sizes]
                yield pl.concat([pl.read_ipc_stream(part, columns=columns) for part in parts])

    def _append(self, number: int, rows: pl.DataFrame) -> None:
        part = rows.write_ipc_stream(None)
        with self._path(number).open("ab") as file:
            self._sizes[number].append(file.write(part.getbuffer()))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrow"
