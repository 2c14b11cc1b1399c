"""Columns of NumPy as columns of Polars."""

from __future__ import annotations

import sys
from math import isnan
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_SHORT = 5_000
_KINDS: dict[str, Any] = {"f8": pl.Float64, "i8": pl.Int64, "i4": pl.Int32, "b1": pl.Boolean}


def to_series(values: np.ndarray, *, nan_as_null: bool = False) -> pl.Series:
    """A column; a short one by way of a list.

    To look at an array Polars loads `numpy.ma`, which takes longer than a short run.

    Args:
        values: Numbers or booleans; anything else that Polars knows. The column may share its
            memory, so nobody writes to it afterwards.
        nan_as_null: Floats that are NaN are missing.
    """
    kind = _KINDS.get(values.dtype.str[1:])
    if kind is None or len(values) > _SHORT or "numpy.ma" in sys.modules:
        return pl.Series(values, nan_to_null=nan_as_null)
    items = values.tolist()
    if nan_as_null and kind == pl.Float64:
        items = [None if isnan(item) else item for item in items]
    return pl.Series(items, dtype=kind)


def repeated(value: Any, n: int, kind: Any) -> pl.Series:
    """A column of one value; `pl.repeat` plans a query for it."""
    return pl.Series([value], dtype=kind).new_from_index(0, n)


def to_frame(columns: Mapping[str, np.ndarray | pl.Series]) -> pl.DataFrame:
    """Columns of the same length, by name."""
    return pl.DataFrame(
        [
            (column if isinstance(column, pl.Series) else to_series(column)).alias(name)
            for name, column in columns.items()
        ]
    )
