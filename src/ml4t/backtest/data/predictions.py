"""One table of predictions as checked arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.data.block import encode, to_dicts, to_values
from ml4t.backtest.data.files import is_path
from ml4t.backtest.data.layout import (
    META,
    PRICES,
    is_signal_type,
    other_spellings,
    refuse_labels,
)
from ml4t.backtest.data.spare import find_row_counts, refuse_doubles
from ml4t.backtest.data.tables import find_column, require_column, to_frame
from ml4t.backtest.data.text import refuse_numbers_as_text
from ml4t.backtest.data.times import add_delay, read_times, show_times
from ml4t.backtest.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

AVAILABLE = "available_at"
_RESERVED = (*PRICES, "volume")
_NONE = np.array(None, dtype=object)  # compares with each entry


class Predictions:
    """The rows of one table, in the table's order. M rows.

    Args:
        table: Anything `to_frame` reads.
        source: What error texts call it.
        wanted: The columns that are signals, as far as the table has them; None means all.
        delay: Microseconds from `timestamp` until a row is known, unless it says when.

    Attributes:
        names: The signals.
        times, axis: int64[M], what time each row is about, and how to read that.
        known, known_axis: int64[M], from when it is known.
        rest: Microseconds to be added to `known` once labels have become instants.
        asset_ids: Sorted; empty when there is no column of assets.
        codes: int32[M], the asset of each row.
        values: By name, float64[M + 1] with NaN, or object[M + 1] with None, where absent. The
            last entry is always absent: row -1 stands for "no row".
        present: By name, bool[M + 1].
        meta: object[M + 1] of dict or None; None without a column `_meta`.
        content: A hash of the table.
        left_out: Columns that would be signals were they of another type, and their types.

    Raises:
        DataError: No rows, no column of times, no signal, a column named like a label or a price,
            or two rows of one asset about and known from the same times.
    """

    def __init__(
        self, table: Any, *, source: str, wanted: Sequence[str] | None = None, delay: int = 0
    ) -> None:
        frame = to_frame(table, source=source)
        if wanted is None:
            frame = frame.drop(find_row_counts(frame, (), source, restarts=is_path(table)))
        if frame.height == 0:
            raise DataError(f"{source}: there are no rows.")
        self.source = source
        self._keys: list[str] = []
        self._read_times(frame, delay)
        self._read_assets(frame)
        doubles = self._doubles(frame.columns, wanted or ())
        refuse_doubles(frame, doubles, source, has_option=False)
        others = [other for _, _, other in doubles]
        self.names = _signal_names(frame.drop(others), source, wanted, self._keys)
        known = {*self._keys, *self.names, *others, META}
        free = [] if wanted is not None else set(frame.columns) - known
        self.left_out = {n: str(t) for n, t in frame.schema.items() if n in free}
        self._refuse_other_times(frame.select(n for n in frame.columns if n in free))
        self._refuse_repeats()
        self._read_values(frame)

    def __len__(self) -> int:
        return len(self.times)

    def _refuse_other_times(self, free: pl.DataFrame) -> None:
        """A time that is not taken is probably a misspelt `available_at`: not to be ignored."""
        times = [name for name, kind in free.schema.items() if kind.is_temporal()]
        if times and self.known_is_given:
            return
        for name in times:
            raise DataError(
                f"{self.source}: column {name!r} holds times, and a time is no signal. If it says "
                f"when a row became known, call it {AVAILABLE!r}; if not, drop it, or name the "
                "signals with signal_columns=[...]."
            )

    def _read_times(self, frame: pl.DataFrame, delay: int) -> None:
        column = require_column(frame.columns, "timestamp", source=self.source)
        self._keys.append(column)
        self.times, self.axis = read_times(frame[column], source=self.source, column=column)
        known = next((n for n in frame.columns if n.strip().lower() == AVAILABLE), None)
        self.known_is_given = known is not None
        if known is None:
            self.known, self.rest = add_delay(self.times, self.axis, delay)
            self.known_axis = self.axis
        else:
            self._keys.append(known)
            self.known, self.known_axis = read_times(frame[known], source=self.source, column=known)
            self.rest = 0

    def _read_assets(self, frame: pl.DataFrame) -> None:
        column = find_column(frame.columns, "asset_id")
        self.asset_ids: list[str] = []
        self.codes = np.zeros(frame.height, dtype=np.int32)
        if column is None:
            return
        self._keys.append(column)
        assets = frame[column]
        if assets.null_count():
            row = int(assets.is_null().arg_max() or 0)
            raise DataError(
                f"{self.source}: column {column!r} is missing in {assets.null_count()} rows; the "
                f"first is row {row}. Drop these rows: a prediction is about an asset."
            )
        self.codes, self.asset_ids = encode(assets)

    def _doubles(self, columns: list[str], wanted: Sequence[str]) -> list[tuple[str, str, str]]:
        """As `Layout.doubles`, of the columns of times and assets."""
        roles = [("timestamp", find_column(columns, "timestamp"))]
        roles.append(("asset_id", find_column(columns, "asset_id")))
        return [
            (role, taken, other)
            for role, taken in roles
            if taken is not None
            for other in other_spellings(role, taken, columns)
            if other not in wanted and other not in self._keys
        ]

    def _refuse_repeats(self) -> None:
        steps = np.diff(self.times)
        if ((steps > 0) | ((steps == 0) & (np.diff(self.codes) > 0))).all():
            return
        keys = pl.DataFrame({"time": self.times, "code": self.codes, "known": self.known})
        repeats = ~keys.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
        if not repeats.any():
            return
        row = int(repeats.argmax())
        shown = [show_times(self.axis, self.times[row : row + 1])]
        if self.asset_ids:
            shown.append(repr(self.asset_ids[self.codes[row]]))
        raise DataError(
            f"{self.source} has {int(repeats.sum())} rows with the same ({', '.join(self._keys)}) "
            f"as another; the first is row {row} ({', '.join(shown)}). Keep one of each, for "
            f"example with unique([{quote(self._keys)}], keep='last', maintain_order=True)."
        )

    def _read_values(self, frame: pl.DataFrame) -> None:
        self.values: dict[str, np.ndarray] = {}
        self.present: dict[str, np.ndarray] = {}
        for name in self.names:
            refuse_numbers_as_text(frame[name], self.source)
            column = self.values[name] = _with_absent(to_values(frame[name]))
            absent = np.isnan(column) if column.dtype != object else column == _NONE
            self.present[name] = ~absent.astype(bool)
        self.meta = _read_meta(frame[META], self.source) if META in frame.columns else None
        plain = frame.select([*self._keys, *self.names])
        self.content = f"{int(plain.hash_rows(seed=0).sum() or 0):016x}"


def quote(names: Iterable[str]) -> str:
    """Names in quotation marks, with commas between."""
    return ", ".join(repr(name) for name in names)


def _signal_names(
    frame: pl.DataFrame, source: str, wanted: Sequence[str] | None, keys: Sequence[str]
) -> list[str]:
    free = [n for n in frame.columns if n not in keys and n != META]
    if wanted is None:
        names = [n for n in free if is_signal_type(frame.schema[n])]
        refuse_labels(names, source)
    else:
        names = [n for n in dict.fromkeys(wanted) if n in free]
        _refuse_types(names, frame, source)
    _refuse_prices(names, source)
    if names:
        return names
    if wanted is not None:
        raise DataError(
            f"{source} has none of signal_columns={list(wanted)}. {did_you_mean(wanted[0], free)}"
            if wanted
            else f"signal_columns=[] takes nothing from {source}. Leave one of the two out."
        )
    raise DataError(
        f"{source} has no column that could be a signal (numbers, booleans or text) beside "
        f"{quote(keys)}."
    )


def _refuse_types(names: list[str], frame: pl.DataFrame, source: str) -> None:
    for name in names:
        if not is_signal_type(frame.schema[name]):
            raise DataError(
                f"{source}: column {name!r} has type {frame.schema[name]} and cannot be a signal: "
                f"numbers, booleans and text can. Convert it, or leave it out."
            )


def _refuse_prices(names: list[str], source: str) -> None:
    prices = [name for name in names if name.strip().lower() in _RESERVED]
    if prices:
        raise DataError(
            f"{source}: {quote(prices)} would be taken as a signal, but has the name of a price. "
            f"Drop or rename it, or list the other columns in signal_columns=[...]."
        )


def _with_absent(values: np.ndarray) -> np.ndarray:
    """The values and one entry more, which is absent."""
    longer = np.empty(len(values) + 1, dtype=values.dtype)
    longer[:-1] = values
    longer[-1] = None if values.dtype == object else np.nan
    return longer


def _read_meta(series: pl.Series, source: str) -> np.ndarray:
    """One dict a row, shared by rows that hold the same."""
    if series.dtype in (pl.Object, pl.Null):
        return _with_absent(to_dicts(series))
    if series.dtype not in (pl.String, pl.Struct):
        raise DataError(
            f"{source}: column {META!r} has type {series.dtype}. It holds a struct or JSON text a "
            f"row, such as {{'model_version': 'v3'}}."
        )
    keys = series.struct.json_encode() if series.dtype == pl.Struct else series
    keys = keys.fill_null("null")
    firsts = keys.arg_unique()
    codes, _ = encode(keys, keys.gather(firsts).to_list())
    return _with_absent(to_dicts(series.gather(firsts))[codes])
