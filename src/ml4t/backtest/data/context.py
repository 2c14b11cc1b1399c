"""Market-wide series (VIX, regimes, index trends), looked up by what was known at a time."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.data.block import to_values
from ml4t.backtest.data.foreign import from_pandas, is_pandas
from ml4t.backtest.data.layout import is_signal_type
from ml4t.backtest.data.origin import table_source
from ml4t.backtest.data.tables import require_column, to_frame
from ml4t.backtest.data.times import (
    add_delay,
    check_same_zone,
    known_times,
    read_duration,
    read_times,
    show_times,
)
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.data.calendar import TradingCalendar

_LABEL = TimeAxis(is_session=True, is_date=True)
_LONG_FORM = {"name", "value"}


class Context:
    """Market-wide series, each with its own times, stored once however many assets a run has.

    A value counts from its time on until the next one of its series; a null or NaN is no value and
    changes nothing. Times that are dates, or all midnight, are labels of sessions, known when the
    session closes; against labels of daily bars they compare as labels.

    Args:
        data: A mapping from name to series, or one frame. A series is a frame with a column of
            times and one other, a mapping from times to values, a pandas Series with dated index,
            or a plain Series, array or list with `timestamps=`. A frame is wide (a column of times,
            the others are the series) or long (`timestamp`, `name`, `value`; others are not read).
            Values are numbers, booleans or text.
        delay: From a value's time until it is known: a timedelta, or text such as "1d", "30m".
            Whole days move a session label by as many days.
        timestamps: The times of the series that have none of their own.

    Raises:
        DataError: No times, a time twice in one series, values of another type, no values.
        ConfigError: `delay` is no duration, or `timestamps` is given and not needed.

    Example:
        >>> from datetime import date
        >>> context = Context({"VIX": {date(2020, 1, 2): 12.5, date(2020, 1, 3): 14.0}})
        >>> context.at(date(2020, 1, 6))
        {'VIX': 14.0}
    """

    def __init__(
        self,
        data: Any,
        *,
        delay: dt.timedelta | str | None = None,
        timestamps: Any = None,
    ) -> None:
        self._delay = wait = 0 if delay is None else read_duration(delay, "delay")
        self._origin = _origin(data)
        times = None if timestamps is None else _as_series(timestamps, "timestamps")
        if not isinstance(data, Mapping):
            tables = _split(to_frame(data, source="context", asset_id=""))
        else:
            tables = {name: _table(name, item, times) for name, item in data.items()}
        if times is not None and (
            not isinstance(data, Mapping) or all(_has_times(item) for item in data.values())
        ):
            raise ConfigError("timestamps= is given, but every series has times of its own.")
        self._series = {name: _Series(name, frame, wait) for name, frame in tables.items()}

    def __repr__(self) -> str:
        return f"Context({', '.join(self._series)})"

    @property
    def names(self) -> list[str]:
        """The names of the series."""
        return list(self._series)

    def at(self, timestamp: dt.datetime | dt.date) -> dict[str, Any]:
        """What was known at a time: the latest value of each series that had one by then.

        Args:
            timestamp: A date is the label of a session, seen from its close. So is a datetime at
                midnight, for series that are labels themselves; else it is an instant, to which a
                label is known at the end of its day. In a run bars know which they are, and the
                calendar closes the sessions.

        Raises:
            DataError: No time, or naive where a series has a zone, or the other way round.
        """
        if not isinstance(timestamp, dt.date):  # a datetime is a date
            raise DataError(f"context.at({timestamp!r}): pass a datetime or a date.")
        found: dict[str, Any] = {}
        for name, series in self._series.items():
            times, axis = _as_times(timestamp, series)
            row = int(series.rows_at(times, axis, None)[0])
            if row >= 0:
                found[name] = series.values.item(row)
        return found

    def bind(
        self, axis: TimeAxis, calendar: TradingCalendar | None = None
    ) -> Callable[[np.ndarray], Callable[[int], dict[str, Any]]]:
        """Meet the times of a run.

        Args:
            axis: How the times of the bars are read.
            calendar: Gives the close of a session where labels meet instants.

        Returns:
            A function of the times of a chunk (int64[T]), that returns a function of an index,
            that returns the context of that timestamp as a new dict.

        Raises:
            DataError: Naive and zoned times meet; both sources are named.
        """
        for name, series in self._series.items():
            check_same_zone(f"context {name!r}", series.axis, "the price data", axis)

        def over(times: np.ndarray) -> Callable[[int], dict[str, Any]]:
            rows = [s.rows_at(times, axis, calendar) for s in self._series.values()]
            return _States(list(self._series.values()), rows, len(times)).at

        return over

    def describe(self) -> dict[str, Any]:
        """What a result says about the context, ready for JSON."""
        series = self._series.values()
        digest = hashlib.blake2b(digest_size=8)
        for part in series:
            part.add_to(digest)
        return {
            "names": self.names,
            "rows": sum(len(part) for part in series),
            "content": digest.hexdigest(),
            "delay_us": self._delay,
            **self._origin,
        }


class _Series:
    """One series, sorted by time, without absent values."""

    def __init__(self, name: str, frame: pl.DataFrame, delay: int) -> None:
        source = f"context {name!r}"
        self.name = name
        column = frame.columns[1]
        if not is_signal_type(frame.schema[column]):
            raise DataError(
                f"{source}: values of type {frame.schema[column]} cannot be context: numbers, "
                f"booleans and text can."
            )
        times, self.axis = read_times(frame.to_series(0), source=source, column=frame.columns[0])
        values = to_values(frame[column])
        _refuse_repeats(times, self.axis, source)
        kept = _present(values)
        kept = kept[np.argsort(times[kept], kind="stable")]
        if not len(kept):
            raise DataError(f"{source}: there are no values.")
        self.values = values[kept]
        self._times, self._rest = add_delay(times[kept], self.axis, delay)
        self._known: dict[tuple[bool, str | None, int], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.values)

    def is_label_to(self, axis: TimeAxis) -> bool:
        """Whether labels meet labels."""
        return self.axis.is_session and axis.is_session and not self._rest

    def rows_at(
        self, times: np.ndarray, axis: TimeAxis, calendar: TradingCalendar | None
    ) -> np.ndarray:
        """The row known at each time, -1 where there is none yet."""
        if self.is_label_to(axis):
            asked = axis.dates(times).astype(np.int64)
        else:
            asked = known_times(times, axis, to_zone_of=self.axis, calendar=calendar)
        known = self._known_to(axis, calendar)
        return np.searchsorted(known, asked, side="right") - 1

    def _known_to(self, axis: TimeAxis, calendar: TradingCalendar | None) -> np.ndarray:
        key = (self.is_label_to(axis), axis.zone, id(calendar))
        if key not in self._known:
            if self.is_label_to(axis):
                known = self.axis.dates(self._times).astype(np.int64)
            else:
                known = self._rest + known_times(
                    self._times, self.axis, to_zone_of=axis, calendar=calendar
                )
            self._known = {key: known}
        return self._known[key]

    def add_to(self, digest: hashlib.blake2b) -> None:
        """Add name, times and values to a hash."""
        digest.update(f"{self.name}{self.axis}{self._rest}".encode())
        digest.update(self._times.tobytes())
        is_number = self.values.dtype != object
        digest.update(self.values.tobytes() if is_number else repr(self.values.tolist()).encode())


class _States:
    """The context of a chunk: it changes now and then, and is one dict in between."""

    def __init__(self, series: list[_Series], rows: list[np.ndarray], count: int) -> None:
        changes = np.zeros(count, dtype=bool)
        for row in rows:
            changes[1:] |= row[1:] != row[:-1]
        starts = np.append(0, np.flatnonzero(changes)) if count else np.empty(0, dtype=np.int64)
        self._series = series
        self._rows: list[list[int]] = [row[starts].tolist() for row in rows]
        self._state: list[int] = np.cumsum(changes).tolist()
        self._latest: tuple[int, dict[str, Any]] = (-1, {})

    def at(self, index: int) -> dict[str, Any]:
        """The context of a timestamp of the chunk, as a new dict."""
        state = self._state[index]
        if state != self._latest[0]:
            pairs = zip(self._series, self._rows, strict=True)
            known = {s.name: s.values.item(row[state]) for s, row in pairs if row[state] >= 0}
            self._latest = state, known
        return self._latest[1].copy()


def _as_times(timestamp: dt.datetime | dt.date, series: _Series) -> tuple[np.ndarray, TimeAxis]:
    """A time asked about, read as a label or an instant as the series is."""
    axis = _LABEL
    is_label = not isinstance(timestamp, dt.datetime)
    if isinstance(timestamp, dt.datetime):
        axis = TimeAxis(zone=_zone_name(timestamp))
        check_same_zone(f"context.at({timestamp!r})", axis, f"context {series.name!r}", series.axis)
        is_midnight = timestamp.time() == dt.time()
        is_label = is_midnight and series.is_label_to(_LABEL)
    if is_label:
        day = dt.date(timestamp.year, timestamp.month, timestamp.day)
        return np.array([_LABEL.to_microseconds(day)], dtype=np.int64), _LABEL
    return np.array([axis.to_microseconds(timestamp)], dtype=np.int64), axis


def _zone_name(moment: dt.datetime) -> str | None:
    """The zone on whose wall clock days end; that of a fixed offset is UTC."""
    if moment.tzinfo is None:
        return None
    return str(getattr(moment.tzinfo, "key", "UTC"))


def _split(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A wide or long frame as frames of a time and a value."""
    time = require_column(frame.columns, "timestamp", source="context")
    others = {name.strip().lower(): name for name in frame.columns if name != time}
    if not set(others) >= _LONG_FORM:
        if not others:
            raise DataError(f"context: there is no column of values beside {time!r}.")
        return {name: frame.select(time, name) for name in frame.columns if name != time}
    key, value = others["name"], others["value"]
    if frame[key].null_count():
        row = int(frame[key].is_null().arg_max() or 0)
        raise DataError(f"context: column {key!r} is missing in row {row}. Name it or drop it.")
    parts = frame.with_columns(pl.col(key).cast(pl.String)).partition_by(
        key, as_dict=True, maintain_order=True
    )
    return {str(name): part.select(time, value) for (name,), part in sorted(parts.items())}


def _table(name: str, item: Any, timestamps: pl.Series | None) -> pl.DataFrame:
    """One entry of a mapping as a frame of a time and a value."""
    source = f"context {name!r}"
    if isinstance(item, Mapping):
        times, values = _as_series(list(item), source), _as_series(list(item.values()), source)
        return pl.DataFrame([times.alias("timestamp"), values.alias("value")])
    if is_pandas(item, "Series") and _has_times(item):
        item = item.rename("value").rename_axis("timestamp").to_frame()
    if not _has_times(item):
        return _dated(_as_series(item, source), timestamps, source)
    frame = to_frame(item, source=source, asset_id="")
    time = require_column(frame.columns, "timestamp", source=source)
    others = [column for column in frame.columns if column != time]
    if len(others) != 1:
        raise DataError(
            f"{source}: the frame has {len(others)} columns beside {time!r} "
            f"({', '.join(others) or 'none'}). Select one, or pass the frame alone, as "
            f"Context(frame), to take them all under their own names."
        )
    return frame.select(time, others[0])


def _origin(data: Any) -> dict[str, Any]:
    """Which files the series are in: those of all of them, or of each by its name."""
    if not isinstance(data, Mapping):
        return {"table": table_source(data)}
    return {"tables": {name: table_source(item) for name, item in data.items()}}


def _has_times(item: Any) -> bool:
    """Whether an entry brings its own times; only series and arrays may come without."""
    if is_pandas(item, "Series"):
        return _is_dated(item.index)
    return not isinstance(item, pl.Series | np.ndarray | list | tuple)


def _is_dated(index: Any) -> bool:
    """Whether a pandas index holds dates or times."""
    kinds = ("datetime64", "datetime", "date")
    return hasattr(index, "tz") or getattr(index, "inferred_type", "") in kinds


def _dated(values: pl.Series, timestamps: pl.Series | None, source: str) -> pl.DataFrame:
    if timestamps is None:
        raise DataError(
            f"{source} has values without times. Pass them with Context(..., timestamps=...), or "
            f"pass a frame with a column of times, or a mapping from times to values."
        )
    if len(values) != len(timestamps):
        raise DataError(
            f"{source} has {len(values)} values, but timestamps= has {len(timestamps)}. They must "
            f"be as many."
        )
    return pl.DataFrame([timestamps.alias("timestamp"), values.alias("value")])


def _as_series(values: Any, source: str) -> pl.Series:
    if isinstance(values, pl.Series):
        return values
    if is_pandas(values, "Series") or is_pandas(values, "Index"):
        frame = values.to_frame(name="value").reset_index(drop=True)
        return from_pandas(frame, source=source).to_series()
    try:
        return pl.Series(values, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{source}: the values do not make one column: {error}") from error


def _present(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.flatnonzero([value is not None for value in values.tolist()])
    return np.flatnonzero(~np.isnan(values))


def _refuse_repeats(times: np.ndarray, axis: TimeAxis, source: str) -> None:
    if (np.diff(times) > 0).all():
        return
    repeats = ~pl.Series(times).is_first_distinct().to_numpy()
    if repeats.any():
        row = int(repeats.argmax())
        raise DataError(
            f"{source} has {int(repeats.sum())} values at times that have one already; the first "
            f"is in row {row} ({show_times(axis, times[row : row + 1])}). Keep one of each, for "
            f"example with unique('timestamp', keep='last', maintain_order=True)."
        )
