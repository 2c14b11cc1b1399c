"""Tables as users have them (Polars, pandas, Arrow, files) as one Polars frame.

For tables that are held whole, such as predictions and context; prices are streamed by
`files.py`. Column names are recognised in their usual spellings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.data.files import is_path, list_files, scan_files
from ml4t.backtest.data.foreign import from_pandas, is_pandas
from ml4t.backtest.data.layout import ASSET_NAMES, TIME_NAMES
from ml4t.backtest.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES = {"timestamp": TIME_NAMES, "asset_id": ASSET_NAMES}


def to_frame(table: Any, *, source: str, asset_id: str | None = None) -> pl.DataFrame:
    """A table in memory as a Polars frame.

    Args:
        table: Polars DataFrame or LazyFrame, pandas DataFrame (its index becomes columns unless
            it only counts rows), Arrow table, or the path of a Parquet or CSV file, a folder of
            them, or a glob.
        source: Name of the table, for error texts.
        asset_id: What several files without a column of assets are about; None means that each
            is about the asset it is named after.

    Raises:
        DataError: Another type, or no such file.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if is_path(table):
        return scan_files(list_files(table), {}, asset_id=asset_id).lazy.collect()
    if is_pandas(table, "DataFrame"):
        return from_pandas(table, source=source)
    if hasattr(table, "__arrow_c_stream__"):
        return pl.DataFrame(table)
    raise DataError(
        f"{source} is a {type(table).__name__}. Pass a Polars or pandas frame, an Arrow table, or "
        f"the path of a Parquet or CSV file."
    )


def find_column(columns: Sequence[str], kind: str) -> str | None:
    """The column that holds the times ("timestamp") or the assets ("asset_id").

    Returns:
        The name as the table spells it, or None when no column has a usual name in any case.
    """
    lowered = {name.strip().lower(): name for name in reversed(columns)}
    return next((lowered[name] for name in _NAMES[kind] if name in lowered), None)


def require_column(columns: Sequence[str], kind: str, *, source: str) -> str:
    """As `find_column`, but its absence is an error.

    Raises:
        DataError: No column has one of the usual names.
    """
    found = find_column(columns, kind)
    if found is not None:
        return found
    usual = ", ".join(repr(name) for name in _NAMES[kind])
    meant = "times" if kind == "timestamp" else "assets"
    raise DataError(
        f"{source} has no column of {meant}: one of {usual}, in any case. Its columns: "
        f"{', '.join(repr(name) for name in columns)}. Rename one."
    )
