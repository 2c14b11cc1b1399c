"""Predictions of a model, joined to bars by the time at which they became known.

A `SignalFrame` is one table of predictions (`timestamp`, `asset_id`, a column per output, and
optionally `available_at`). It is read and checked once, bound to the times of a run, and then asked
chunk by chunk. Visibility is decided by `available_at`, else by `timestamp` plus the delay, and by
nothing else; `timestamp` decides which of the visible rows is the newest. So a prediction *for* a
time may be made available before it. Which row is current is explained in `publications.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from ml4t.backtest.data.coverage import Coverage
from ml4t.backtest.data.layout import META
from ml4t.backtest.data.origin import table_source
from ml4t.backtest.data.predictions import AVAILABLE, Predictions, quote
from ml4t.backtest.data.publications import index_rows
from ml4t.backtest.data.tables import to_frame
from ml4t.backtest.data.times import check_same_zone, known_times, read_duration, show_times
from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.data.publications import Rows
    from ml4t.backtest.types.bars import Universe

_EXAMPLES = 3


class Publication(NamedTuple):
    """What a table said of one asset.

    Args:
        values: By signal; None where the row has no value.
        axis: How `published` is to be read: by session where all times are labels.
        published: From when on the row was known, microseconds.
        age: For how long it had been known, microseconds.
        is_current: False when it had expired, or another publication had taken its place.
    """

    values: dict[str, Any]
    axis: TimeAxis
    published: int
    age: int
    is_current: bool


class SignalTable(msgspec.Struct, frozen=True):
    """One of several tables of predictions, with options of its own: a value of `signals={...}`.

    Args:
        table: As of `SignalFrame`.
        columns: Exactly these are its signals; None means all.
        delay: As of `SignalFrame`; None leaves it to the run.
        max_age: As of `SignalFrame`; None leaves it to the run.
    """

    table: Any
    columns: list[str] | None = None
    delay: dt.timedelta | str | None = None
    max_age: dt.timedelta | str | None = None


class SignalFrame:
    """One table of predictions, and what of it was known at each bar.

    Columns of times and assets are recognised in their usual spellings; the asset may be missing
    when the run has one asset. Every other column of numbers, booleans or text is a signal. A null
    or NaN is an abstention: the signal is absent then, and never filled. `_meta` (a struct, or JSON
    text) is a dict per row.

    Args:
        table: Polars, pandas or Arrow table, or the path of files.
        name: What error texts call the table.
        signal_columns: Take these, as far as the table has them; None means all.
        delay: From `timestamp` until a row is known, where the table has no `available_at`. Whole
            days move a session label by as many days.
        max_age: A value is current for so long after it became known, per asset, whatever else is
            published. None means until the table next publishes.

    Attributes:
        names: The signals.
        coverage: One count per signal.

    Raises:
        DataError: As `Predictions`.
        ConfigError: `delay` or `max_age` is not a duration.
    """

    def __init__(
        self,
        table: Any,
        *,
        name: str = "signals",
        signal_columns: Sequence[str] | None = None,
        delay: dt.timedelta | str | None = None,
        max_age: dt.timedelta | str | None = None,
    ) -> None:
        self._origin = table_source(table)
        wait = 0 if delay is None else read_duration(delay, "signal_delay")
        self._max_age = None if max_age is None else read_duration(max_age, "signal_max_age")
        self._table = Predictions(table, source=name, wanted=signal_columns, delay=wait)
        self.name = name
        self.names = self._table.names
        self.has_meta = self._table.meta is not None
        self.coverage = [Coverage(signal, name) for signal in self.names]
        self._own = np.empty(0, dtype=np.int64)

    def describe(self) -> dict[str, Any]:
        """What a result says about this table, ready for JSON."""
        table = self._table
        return {
            "name": self.name,
            **self._origin,
            "rows": len(table),
            "assets": len(table.asset_ids),
            "columns": self.names,
            "content": table.content,
            "columns_left_out": table.left_out,
        }

    def bind(
        self,
        axis: TimeAxis,
        universe: Universe,
        *,
        calendar: TradingCalendar | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> None:
        """Meet the bars of a run.

        Args:
            axis: How the bars' times are read.
            universe: The run's assets; it may still grow, and may be empty now.
            calendar: Gives the close of a session where labels meet instants.
            first: Time of the first bar.
            last: Time of the last bar; None for feeds that show their assets and times as they go,
                which can be compared only after the run.

        Raises:
            DataError: Naive and zoned times meet, or no asset or no time is in common.
        """
        table = self._table
        for column, own in (("timestamp", table.axis), (AVAILABLE, table.known_axis)):
            check_same_zone(f"{self.name} ({column})", own, "the price data", axis)
        self._axis, self._calendar = axis, calendar
        by_label = axis.is_session and table.known_axis.is_session and not table.rest
        self._unit = DAY_US if by_label else 1  # microseconds per unit of availability
        self._own = np.empty(0, dtype=np.int64)
        self._check_lone(universe)
        available = self._available()
        if first is not None and last is not None:
            self._check_assets(universe)
            self._check_overlap(available, first, last)
        max_age = None if self._max_age is None else self._max_age // self._unit
        assets = max(1, len(table.asset_ids))
        self._rows: Rows = index_rows(table.times, available, table.codes, assets, max_age)

    def attach(
        self, times: np.ndarray, codes: np.ndarray, offsets: np.ndarray, universe: Universe
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The predictions that were current at each bar of a chunk; they are counted too.

        Args:
            times: int64[T], times of the chunk in the run's axis.
            codes: int32[N], the asset of each bar, by the universe.
            offsets: int64[T + 1], the bars of each timestamp.
            universe: The run's assets.

        Returns:
            By name, float64[N] with NaN where absent, or object[N] (bool, str) with None; and the
            `_meta` of each bar as object[N] of dict or None, when the table has it.
        """
        table = self._table
        found = self._rows.find(self._known(times), self._own_codes(codes, universe), offsets)
        ages = found.ages if self._unit == 1 else found.ages * self._unit
        for coverage in self.coverage:
            coverage.add(table.present[coverage.signal][found.rows], ages, found.expired)
        signals = {name: table.values[name][found.rows] for name in self.names}
        return signals, None if table.meta is None else table.meta[found.rows]

    def publication(self, time: int, asset_id: str, universe: Universe) -> Publication | None:
        """The row that was current for an asset at a time of the run, or the last one before.

        Args:
            time: Microseconds of the run's axis.
            asset_id: An asset of the universe.
            universe: The run's assets.

        Returns:
            None when nothing had been published about the asset by then.
        """
        table, known = self._table, self._known(np.array([time], dtype=np.int64))
        own = self._own_codes(np.array([universe.codes[asset_id]]), universe)
        row = int(self._rows.find(known, own, np.array([0, 1])).rows[0])
        available, is_current = self._available(), row >= 0
        if not is_current:
            past = np.flatnonzero((table.codes == own[0]) & (available <= known[0]))
            if not len(past):
                return None
            row = int(past[np.lexsort((available[past], table.times[past]))[-1]])
        by_label = self._unit == DAY_US
        zone = table.known_axis.zone or self._axis.zone
        axis = TimeAxis(zone=None if by_label else zone, is_session=by_label)
        values = {n: table.values[n][row] if table.present[n][row] else None for n in self.names}
        published, age = int(available[row]) * self._unit, int(known[0] - available[row])
        return Publication(values, axis, published, age * self._unit, is_current)

    def reset(self) -> None:
        """Start counting anew, at the start of a run."""
        for coverage in self.coverage:
            coverage.reset()

    def refuse_no_match(self) -> None:
        """After a run: refuse a table that no bar had a value of.

        Raises:
            DataError: There were bars, and none had any of the signals.
        """
        bars = self.coverage[0].bars
        if bars == 0 or any(coverage.bars_with_value for coverage in self.coverage):
            return
        raise DataError(
            f"{self.name}: none of the {bars} bars of the run had a value of {quote(self.names)}. "
            f"Predictions become available from {self._span()}, for {self._examples()}; compare "
            f"that with the bars."
        )

    def _available(self) -> np.ndarray:
        """From when each row is known, in the unit in which bars are asked about."""
        table = self._table
        if self._unit == DAY_US:
            return table.known_axis.dates(table.known).astype(np.int64)
        known = known_times(
            table.known, table.known_axis, to_zone_of=self._axis, calendar=self._calendar
        )
        return known + table.rest

    def _known(self, times: np.ndarray) -> np.ndarray:
        """The times of bars in the unit of availability."""
        if self._unit == DAY_US:
            return self._axis.dates(times).astype(np.int64)
        axis = self._table.known_axis
        return known_times(times, self._axis, to_zone_of=axis, calendar=self._calendar)

    def _own_codes(self, codes: np.ndarray, universe: Universe) -> np.ndarray:
        """The run's codes as the table's; -1 for assets it does not have."""
        if len(self._own) != len(universe):
            self._check_lone(universe)
            ids = self._table.asset_ids or universe.ids
            own = {asset_id: code for code, asset_id in enumerate(ids)}
            self._own = np.array([own.get(a, -1) for a in universe.ids], dtype=np.int64)
        own_codes: np.ndarray = self._own[codes]
        return own_codes

    def _check_lone(self, universe: Universe) -> None:
        if not self._table.asset_ids and len(universe) > 1:
            raise DataError(
                f"{self.name} has no column of assets, but the run has {len(universe)}: "
                f"{_some(universe.ids)}. Say which asset each row is about, in a column 'asset_id'."
            )

    def _check_assets(self, universe: Universe) -> None:
        ids = self._table.asset_ids
        if ids and len(universe) and not any(asset_id in universe for asset_id in ids):
            raise DataError(
                f"{self.name} and the price data have no asset in common: predictions are for "
                f"{_some(ids)}, bars for {_some(universe.ids)}. Name assets the same in both."
            )

    def _check_overlap(self, available: np.ndarray, first: int, last: int) -> None:
        start, stop = self._known(np.array([first, last], dtype=np.int64)).tolist()
        is_late = int(available.min()) > stop
        is_old = (
            self._max_age is not None and int(available.max()) + self._max_age // self._unit < start
        )
        if is_late or is_old:
            bars = " to ".join(show_times(self._axis, [t]) for t in (first, last))
            why = "start after the last bar" if is_late else "are older than signal_max_age allows"
            raise DataError(
                f"{self.name} and the price data have no time in common: predictions {why}. They "
                f"become available from {self._span()}; bars run from {bars}."
            )

    def _span(self) -> str:
        table = self._table
        ends = (int(table.known.min()), int(table.known.max()))
        shown = " to ".join(show_times(table.known_axis, [end]) for end in ends)
        return f"{shown} (plus the rest of signal_delay)" if table.rest else shown

    def _examples(self) -> str:
        return _some(self._table.asset_ids) or "the only asset"


def read_signals(
    signals: Any,
    *,
    signal_columns: Sequence[str] | None = None,
    delay: dt.timedelta | str | None = None,
    max_age: dt.timedelta | str | None = None,
) -> list[SignalFrame]:
    """The frames of `signals=`: one table, or several by name; column names stay as they are.

    Raises:
        DataError: As `SignalFrame`, or two frames have a signal of the same name.
        ConfigError: An empty mapping, or what is no duration.
    """
    if signals is None:
        return []
    tables: Mapping[Any, Any] = signals if isinstance(signals, Mapping) else {None: signals}
    if not tables:
        raise ConfigError("signals={} is empty. Leave it out, or pass {name: frame}.")
    frames = []
    for name, table in tables.items():
        own = table if isinstance(table, SignalTable) else SignalTable(table)
        frame = SignalFrame(
            own.table,
            name="signals" if name is None else f"signals[{name!r}]",
            signal_columns=signal_columns if own.columns is None else own.columns,
            delay=delay if own.delay is None else own.delay,
            max_age=max_age if own.max_age is None else own.max_age,
        )
        for column in own.columns or ():
            if column not in frame.names:
                raise DataError(
                    f"{frame.name}: there is no signal {column!r}. "
                    f"{did_you_mean(column, to_frame(own.table, source=frame.name).columns)}"
                )
        frames.append(frame)
    refuse_collisions({f.name: [*f.names, *([META] if f.has_meta else [])] for f in frames})
    return frames


def refuse_collisions(sources: Mapping[str, Iterable[str]]) -> None:
    """Refuse signals of one name from two sources.

    Args:
        sources: Names of the signals by the name of their source.

    Raises:
        DataError: Both sources are named.
    """
    owner: dict[str, str] = {}
    for source, names in sources.items():
        for name in names:
            if name in owner:
                raise DataError(
                    f"Signal {name!r} comes from both {owner[name]} and {source}. Rename one, or "
                    f"leave it out."
                )
            owner[name] = source


def _some(ids: Sequence[str]) -> str:
    return quote(ids[:_EXAMPLES]) + (", ..." if len(ids) > _EXAMPLES else "")
