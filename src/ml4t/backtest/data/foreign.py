"""pandas frames as Polars frames, column by column, without needing pyarrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest.data.layout import META
from ml4t.backtest.errors import DataError

_UNITS = ("ms", "us", "ns")  # what Polars knows
_EXTRA = "pip install 'ml4t-backtest[pandas]'"


def is_pandas(table: object, kind: str) -> bool:
    """Whether this is a pandas object of this class, without importing pandas."""
    return any(
        base.__name__ == kind and base.__module__.split(".")[0] == "pandas"
        for base in type(table).__mro__
    )


def from_pandas(table: Any, *, source: str) -> pl.DataFrame:
    """A pandas DataFrame as a Polars frame, with an index that carries data as columns.

    Args:
        table: Times and assets may be columns or levels of the index; an index of times without a
            name becomes `timestamp`, the level beside it `asset_id`.
        source: Name of the table, for error texts.

    Raises:
        DataError: Columns in levels, two columns of one name, or a type that has no counterpart.
    """
    if table.columns.nlevels > 1:
        raise DataError(
            f"{source}: the columns have {table.columns.nlevels} levels. Bring the table into long "
            f"form, one row per time and asset, for example with .stack(level=1)."
        )
    table = _index_to_columns(table)
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{source}: there is more than one column {twice[0]!r}. Rename one.")
    columns = [_column(table.iloc[:, i], name, source) for i, name in enumerate(names)]
    return pl.DataFrame(columns)


def _index_to_columns(table: Any) -> Any:
    """Levels of the index as columns; a plain count of rows is left out."""
    index = table.index
    levels = [index.get_level_values(i) for i in range(index.nlevels)]
    if index.nlevels == 1 and index.name is None and levels[0].dtype.kind != "M":
        return table.reset_index(drop=True)
    names = [_level_name(level, number) for number, level in enumerate(levels)]
    return table.rename_axis(index=names).reset_index()


def _level_name(level: Any, number: int) -> str:
    if level.name is not None:
        return str(level.name)
    if level.dtype.kind == "M":
        return "timestamp"
    return f"level_{number}" if level.dtype.kind in "iuf" else "asset_id"


def _column(series: Any, name: str, source: str) -> pl.Series:
    if name == META:
        return pl.Series(name, series.tolist(), dtype=pl.Object)
    try:
        if series.dtype.kind == "M":
            return _times(series, name)
        if _is_plain_number(series.dtype):
            return pl.Series(name, series.to_numpy())
        return _objects(series, name)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{source}: column {name!r} has pandas type {series.dtype}, which could not be read "
            f"({error}). Convert it with astype, or drop it; types backed by Arrow need the extra: "
            f"{_EXTRA}"
        ) from error


def _is_plain_number(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iufb"


def _times(series: Any, name: str) -> pl.Series:
    zone = getattr(series.dtype, "tz", None)
    if zone is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    values = series.to_numpy()
    if np.datetime_data(values.dtype)[0] not in _UNITS:
        values = values.astype("datetime64[us]")
    if zone is None:
        return pl.Series(name, values)
    utc = pl.Series(name, values).dt.replace_time_zone("UTC")
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)  # zoneinfo, pytz
    return utc if key in (None, "UTC") else utc.dt.convert_time_zone(key)


def _objects(series: Any, name: str) -> pl.Series:
    """Nullable, categorical and object columns, value by value."""
    kind = series.dtype.kind
    if kind in "iuf":
        return pl.Series(name, series.to_numpy(dtype=float, na_value=np.nan))
    values = series.astype(object).where(series.notna(), None).tolist()
    if kind == "b":
        return pl.Series(name, values, dtype=pl.Boolean)
    return pl.Series(name, values, strict=True)
