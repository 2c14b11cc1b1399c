"""One table as sorted arrays: what a frame, a file or a part of a file becomes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.data import checks
from ml4t.backtest.data.layout import META, PRICES, Layout, is_number_type
from ml4t.backtest.data.text import refuse_numbers_as_text, refuse_text
from ml4t.backtest.data.times import add_delay, read_times
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


CHUNK_ROWS = 131_072
SAMPLE_ROWS = 1_000_000


class Block(msgspec.Struct, kw_only=True):
    """Whole timestamps of one feed as a struct of arrays, rows sorted by time and asset.

    Args:
        times: int64[t], microseconds, strictly increasing.
        offsets: int64[t + 1], the rows of each timestamp.
        codes: int32[n], the asset of each row in the feed's own numbering.
        prices: open, high, low, close, volume: float64[n].
        signals: By name, float64[n] with NaN, or object[n] with None, where absent.
        meta: object[n] of dict or None; None when the feed has no `_meta`.
        context: By name, one value per timestamp: float64[t] or object[t].
        begins: int64[n], when each bar began; None when nothing was declared.
    """

    times: np.ndarray
    offsets: np.ndarray
    codes: np.ndarray
    prices: dict[str, np.ndarray]
    signals: dict[str, np.ndarray] = {}
    meta: np.ndarray | None = None
    context: dict[str, np.ndarray] = {}
    begins: np.ndarray | None = None

    def part(self, start: int, stop: int) -> Block:
        """The timestamps from `start` up to `stop`, as views."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        return Block(
            times=self.times[start:stop],
            offsets=self.offsets[start : stop + 1] - rows.start,
            codes=self.codes[rows],
            prices={name: column[rows] for name, column in self.prices.items()},
            signals={name: column[rows] for name, column in self.signals.items()},
            meta=None if self.meta is None else self.meta[rows],
            context={name: column[start:stop] for name, column in self.context.items()},
            begins=None if self.begins is None else self.begins[rows],
        )

    def row_times(self) -> np.ndarray:
        """The time of every row."""
        return np.repeat(self.times, np.diff(self.offsets))


class Timing(msgspec.Struct, frozen=True):
    """What a feed declares about its bars' times.

    Args:
        is_open: Times mark the start of a bar.
        duration: Length of a bar in microseconds, None when not declared.
    """

    is_open: bool = False
    duration: int | None = None

    def apply(self, times: np.ndarray, axis: TimeAxis, source: str) -> tuple[np.ndarray, TimeAxis]:
        """Times moved to when their bars are complete.

        Session labels stand for their session's close whichever end they mark, so a daily bar's
        label stays; the label of a longer bar moves to its last day.
        """
        if self.duration is not None and self.duration < DAY_US and axis.is_session:
            what = "dates" if axis.is_date else "all midnight, so they are labels of sessions"
            raise ConfigError(
                f"{source}: bar_duration is {checks.show_duration(self.duration)}, but the times "
                f"are {what}; bars shorter than a day need times of day. If these are daily bars, "
                f"say bar_duration='1d': a bar then counts as known at its session's close by the "
                f"calendar, or at the end of its day without one."
            )
        if not self.is_open or self.duration is None:
            return times, axis
        if not axis.is_session:
            return times + self.duration, axis
        moved, rest = add_delay(times, axis, self.duration - DAY_US)
        if rest:
            raise ConfigError(
                f"{source}: the times are session labels, so bar_duration must be whole days, not "
                f"{checks.show_duration(self.duration)}."
            )
        return moved, axis


class Table:
    """One table as sorted arrays; `Block`s of it are views.

    Args:
        axis: How its times are read.
        ids: The asset of each code, sorted.
        block: All rows, but for the columns in `objects`.
        frame: The same rows as columns.
        objects: Columns that become Python objects when a block is cut: signals that are not
            numbers, and `_meta`.

    Attributes:
        asset_step: The usual step of each asset, microseconds, where not all have all timestamps.
    """

    def __init__(
        self,
        axis: TimeAxis,
        ids: list[str],
        block: Block,
        frame: pl.DataFrame,
        objects: list[str],
    ) -> None:
        self.axis = axis
        self.ids = ids
        self.block = block
        self.schema = frame.schema
        self.objects = {name: frame[name] for name in objects}
        self.asset_step: int | None = None

    @property
    def is_dense(self) -> bool:
        """Whether every asset has a bar at every timestamp."""
        return len(self.block.codes) == len(self.block.times) * len(self.ids)

    @cached_property
    def shortest_steps(self) -> np.ndarray:
        """As of `checks.ShortestSteps`, of all rows."""
        block, found = self.block, checks.ShortestSteps()
        if self.is_dense and len(block.times) > 1:
            return np.full(len(self.ids), np.diff(block.times).min())
        found.add(block.row_times(), block.codes, len(self.ids))
        return found.steps

    def blocks(self, rows: int = CHUNK_ROWS) -> Iterator[Block]:
        """Consecutive blocks of about `rows` rows."""
        offsets, start, last = self.block.offsets, 0, len(self.block.times)
        while start < last:
            stop = int(np.searchsorted(offsets, offsets[start] + rows, side="right")) - 1
            stop = min(max(stop, start + 1), last)
            yield self._part(start, stop)
            start = stop

    def check_meta(self) -> None:
        """Refuse `_meta` that is no dict.

        Raises:
            DataError: The first such value.
        """
        meta = self.objects.get(META)
        if meta is not None:
            to_dicts(meta.unique() if meta.dtype == pl.String else meta.slice(0, 1))

    def _part(self, start: int, stop: int) -> Block:
        part = self.block.part(start, stop)
        if self.objects:
            first, last = int(self.block.offsets[start]), int(self.block.offsets[stop])
            cut = {name: s.slice(first, last - first) for name, s in self.objects.items()}
            meta = cut.pop(META, None)
            part.meta = None if meta is None else to_dicts(meta)
            part.signals |= {name: _objects(series) for name, series in cut.items()}
        return part


class Keys(msgspec.Struct, frozen=True):
    """When, and of which asset, the rows of a table are.

    Args:
        times: int64[n], microseconds; what the feed declares about its bars' times is applied.
        axis: How to read them.
        codes: int32[n], the asset of each row.
        ids: The asset of each code, sorted.
    """

    times: np.ndarray
    axis: TimeAxis
    codes: np.ndarray
    ids: list[str]


class Reading(msgspec.Struct):
    """How to turn frames of one source into tables, and what must be the same in all of them.

    Args:
        source: What the user calls the source.
        layout: Which column is what.
        timing: What the feed declares about times.
        asset_id: The asset of every row when there is no column of assets.
        axis: Of the whole source, when it is known from an earlier pass.
        ids: All assets, sorted, when they are known from an earlier pass.
        row_column: Holds the input row of each row, when the rows were moved.
        is_part: A frame is a part of the source; what only the whole shows is not checked.
    """

    source: str
    layout: Layout
    timing: Timing
    asset_id: str = ""
    axis: TimeAxis | None = None
    ids: list[str] | None = None
    row_column: str | None = None
    is_part: bool = False

    def table(
        self,
        frame: pl.DataFrame,
        *,
        base: int = 0,
        is_checked: bool = False,
        keys: Keys | None = None,
    ) -> Table:
        """A frame as a table.

        Args:
            frame: Holds the columns of the layout.
            base: The input row of its first row.
            is_checked: An earlier pass has looked at these rows.
            keys: Times and assets of the rows, when they have been read already.
        """
        base = 0 if self.row_column else base
        if keys is None:
            keys = Keys(*self.times(frame, base), *self.codes(frame, base))
        times, axis, codes, ids = keys.times, keys.axis, keys.codes, keys.ids
        if not is_checked:
            self._refuse_text(frame, base)
        order = sorting_order(times, codes)
        if order is not None:
            frame, times, codes = frame.rechunk()[order], times[order], codes[order]
        rows = order if self.row_column is None else frame[self.row_column].to_numpy()
        place = checks.Place(self.source, times, codes, ids, axis, rows, base)
        if not is_checked:
            self._refuse_repeats(place)
        starts = stamp_starts(times)
        offsets = np.append(starts, len(times)).astype(np.int64)
        block = Block(times=times[starts], offsets=offsets, codes=codes, prices=self._prices(frame))
        self._add_columns(frame, place, block)
        table = Table(axis, ids, block, frame, self._objects(frame.schema))
        if not is_checked:
            table.asset_step = self._check(place, block)
            table.check_meta()
        return table

    def times(self, frame: pl.DataFrame, base: int = 0) -> tuple[np.ndarray, TimeAxis]:
        """When each row was known, and how to read that."""
        source = f"{self.source} (from row {base})" if base else self.source
        column = self.layout.time
        times, axis = read_times(frame[column], source=source, column=column)
        return self.timing.apply(times, self.axis or axis, self.source)

    def codes(self, frame: pl.DataFrame, base: int = 0) -> tuple[np.ndarray, list[str]]:
        """The asset of each row as int32, and the names by code."""
        if self.layout.asset is None:
            return np.zeros(frame.height, dtype=np.int32), [self.asset_id]
        assets = frame[self.layout.asset]
        checks.check_asset_names(assets, self.source, base)
        return encode(assets, self.ids)

    def signal_kinds(self, schema: Mapping[str, pl.DataType]) -> dict[str, bool]:
        """The name of each signal, and whether it is a number."""
        return {name: is_number_type(schema[name]) for name in self.layout.signals}

    def _refuse_repeats(self, place: checks.Place) -> None:
        same = (np.diff(place.times) == 0) & (np.diff(place.codes) == 0)
        if same.any():
            repeats = np.append(False, same)
            checks.refuse_duplicates(place, repeats, (self.layout.time, self.layout.asset))

    def _prices(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        columns = {name: self.layout.prices[name] for name in PRICES}
        read = {c: to_floats(frame[c]) for c in dict.fromkeys(columns.values())}
        prices = {name: read[column] for name, column in columns.items()}
        if self.layout.volume is None:
            prices["volume"] = np.full(frame.height, np.nan)
        else:
            prices["volume"] = to_floats(frame[self.layout.volume])
        return prices

    def _refuse_text(self, frame: pl.DataFrame, base: int) -> None:
        volume = [] if self.layout.volume is None else [self.layout.volume]
        for name in (*self.layout.prices.values(), *volume):
            if frame.schema[name] == pl.String:
                refuse_text(frame[name], self.source, base)
        for name in (*self.layout.signals, *self.layout.context):
            refuse_numbers_as_text(frame[name], self.source, base)

    def _check(self, place: checks.Place, block: Block) -> int | None:
        checks.check_prices(place, block.prices, self.layout.prices)
        if self.layout.volume is not None:
            checks.check_volume(place, block.prices["volume"], self.layout.volume)
        if self.is_part or self.timing.duration is not None:
            return None
        return checks.check_one_frequency(*_sample(place, block.offsets))

    def _add_columns(self, frame: pl.DataFrame, place: checks.Place, block: Block) -> None:
        for name in self.layout.signals:
            if is_number_type(frame.schema[name]):
                block.signals[name] = to_floats(frame[name])
        for name in self.layout.context:
            values = to_values(frame[name])
            block.context[name] = checks.common_value(values, block.offsets, name, place)

    def _objects(self, schema: Mapping[str, pl.DataType]) -> list[str]:
        names = [name for name, is_number in self.signal_kinds(schema).items() if not is_number]
        return names if self.layout.meta is None else [*names, self.layout.meta]


def stamp_starts(times: np.ndarray) -> np.ndarray:
    """The first row of each distinct time, of times in order."""
    return np.flatnonzero(np.diff(times, prepend=times[:1] - 1))


def sorting_order(times: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
    """The rows in order of time, then asset; None when they are in that order."""
    steps = np.diff(times)
    if ((steps > 0) | ((steps == 0) & (np.diff(codes) >= 0))).all():
        return None
    order = _order_of_stack(times, codes)
    if order is not None:
        return order
    keys = pl.DataFrame({"time": times, "code": codes})
    sorted_rows = keys.select(pl.arg_sort_by("time", "code", maintain_order=True))
    return sorted_rows.to_series().to_numpy()


def _order_of_stack(times: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
    """The rows in order when they hold one asset after the other, all at the same times.

    That is how many tables come, and turning them takes a tenth of the time of sorting.
    """
    height = int(np.argmax(codes != codes[0])) or len(codes)
    if len(codes) % height or (np.diff(times[:height]) <= 0).any():
        return None
    assets = codes[::height]
    is_stack = (codes.reshape(-1, height) == assets[:, None]).all()
    if not is_stack or (times.reshape(-1, height) != times[:height]).any():
        return None
    rows = np.arange(len(codes)).reshape(-1, height)
    order: np.ndarray = rows[np.argsort(assets, kind="stable")].T.ravel()
    return order


def encode(assets: pl.Series, ids: Sequence[str] | None = None) -> tuple[np.ndarray, list[str]]:
    """Names as int32 codes in sorted order, and the names by code.

    Args:
        assets: Text, categories or whole numbers, without nulls.
        ids: The known names, sorted; found out when None.
    """
    if assets.dtype not in (pl.Categorical, pl.Enum):
        assets = assets.cast(pl.String)
    names = assets.unique()
    known = sorted(names.cast(pl.String).to_list()) if ids is None else list(ids)
    if isinstance(assets.dtype, pl.Categorical | pl.Enum):
        lookup = np.zeros(int(names.to_physical().to_numpy().max()) + 1, dtype=np.int32)
        index = {name: code for code, name in enumerate(known)}
        lookup[names.to_physical().to_numpy()] = [index[n] for n in names.cast(pl.String)]
        return lookup[assets.rechunk().to_physical().to_numpy()], known
    codes = assets.cast(pl.Enum(known)).to_physical().cast(pl.Int32)
    return codes.rechunk().to_numpy(), known


def to_floats(series: pl.Series) -> np.ndarray:
    """A column of numbers as float64, NaN where absent."""
    if series.dtype != pl.Float64:
        series = series.cast(pl.Float64)
    if series.null_count():
        series = series.fill_null(float("nan"))
    return series.rechunk().to_numpy()


def to_values(series: pl.Series) -> np.ndarray:
    """A column as float64 with NaN, or as objects with None, where absent."""
    return to_floats(series) if is_number_type(series.dtype) else _objects(series)


def _objects(series: pl.Series) -> np.ndarray:
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    values = np.empty(len(series), dtype=object)
    values[:] = series.to_list()
    return values


def to_dicts(series: pl.Series) -> np.ndarray:
    """`_meta` as dicts without their absent entries; text is JSON.

    Raises:
        DataError: A value that is no dict.
    """
    values = np.empty(len(series), dtype=object)
    for row, value in enumerate(series.to_list()):
        given = _read_json(value) if isinstance(value, str) else value
        if given is None:
            continue
        if not isinstance(given, dict):
            raise DataError(
                f"Column {META!r} holds {value!r}, which is no dict. It holds a struct or JSON "
                f'text a row, such as {{"model_version": "v3"}}.'
            )
        values[row] = {k: v for k, v in given.items() if v is not None} or None
    return values


def _read_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _sample(place: checks.Place, offsets: np.ndarray) -> tuple[checks.Place, np.ndarray]:
    """The first million rows: enough to see how often assets have bars."""
    if len(place.times) <= SAMPLE_ROWS:
        return place, offsets
    stop = int(np.searchsorted(offsets, SAMPLE_ROWS))
    rows = int(offsets[stop])
    cut = checks.Place(place.source, place.times[:rows], place.codes[:rows], place.ids, place.axis)
    return cut, offsets[: stop + 1]
