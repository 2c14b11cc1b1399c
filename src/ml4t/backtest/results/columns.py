"""Columns of NumPy as columns of Polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_SHORT = 5_000
_KINDS: dict[str, Any] = {"f8": pl.Float64, "i8": pl.Int64, "i4": pl.Int32, "b1": pl.Boolean}


def to_series(values: np.ndarray) -> pl.Series:
    """A column; a short one by way of a list.

    To look at an array Polars loads `numpy.ma`, which takes longer than a short run.
    """
    kind = _KINDS.get(values.dtype.str[1:])
    if kind is None or len(values) > _SHORT:
        return pl.Series(values)
    return pl.Series(values.tolist(), dtype=kind)


def repeated(value: Any, n: int, kind: Any) -> pl.Series:
    """A column of one value; `pl.repeat` plans a query for it."""
    return pl.Series([value], dtype=kind).new_from_index(0, n)


def to_frame(columns: Mapping[str, np.ndarray | pl.Series]) -> pl.DataFrame:
    """Columns of the same length, by name."""
    return pl.DataFrame(
        {
            name: column if isinstance(column, pl.Series) else to_series(column)
            for name, column in columns.items()
        }
    )
