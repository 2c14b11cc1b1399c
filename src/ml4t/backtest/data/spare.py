"""Columns beside those that are needed: counts of rows, and second spellings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ml4t.backtest.data.block import CHUNK_ROWS
from ml4t.backtest.data.stream import collect
from ml4t.backtest.data.times import read_times
from ml4t.backtest.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

# What readers of CSV make of an empty field in the header: Polars '' and '_duplicated_0', pandas
# 'Unnamed: 0'.
_UNNAMED = re.compile(r"\s*|_duplicated_\d+|Unnamed: \d+(_level_\d+)?")
_INDEX = "index"


def find_row_counts(
    frame: pl.DataFrame | pl.LazyFrame, named: Collection[str], source: str, *, restarts: bool
) -> list[str]:
    """Columns that only count the rows, as `df.to_csv()` of pandas writes them.

    Args:
        frame: The table, rows in the user's order.
        named: Columns that the user speaks of, which are none.
        source: What the user calls the table.
        restarts: The table is made of several files, and each may count its own.

    Raises:
        DataError: A column without a name holds something else.
    """
    schema = frame.collect_schema()
    found = []
    for name in schema.names():
        if name in named or not may_count_rows([name]):
            continue
        is_unnamed = _UNNAMED.fullmatch(name) is not None
        if schema[name].is_integer() and _is_row_count(frame, name, source, restarts=restarts):
            found.append(name)
        elif is_unnamed:
            place = schema.names().index(name) + 1
            raise DataError(
                f"{source}: column {place} has no name ({name!r}) and does not just count the "
                f"rows, so it would become a signal. Write the file without the index "
                f"(to_csv(index=False)), drop the column, or give it a name; list the signals you "
                f"mean in signal_columns=[...] to pass it by. If it holds the times, say so with "
                f"columns={{'timestamp': {name!r}}}."
            )
    return found


def may_count_rows(names: Iterable[str]) -> bool:
    """Whether one of the columns, by its name, may only count the rows."""
    return any(_UNNAMED.fullmatch(name) or name.strip().lower() == _INDEX for name in names)


def _is_row_count(
    frame: pl.DataFrame | pl.LazyFrame, name: str, source: str, *, restarts: bool
) -> bool:
    column = pl.col(name).cast(pl.Int64, strict=False)
    if restarts:
        is_next = (column == 0) | (column == column.shift(1) + 1)
        counts = is_next.fill_null(value=False).all() & (column.first() == 0)
    else:
        counts = (column == pl.int_range(pl.len())).fill_null(value=False).all()
    return bool(collect(frame.lazy().select(counts), source).item())


def refuse_doubles(
    frame: pl.DataFrame | pl.LazyFrame,
    doubles: Iterable[tuple[str, str, str]],
    source: str,
    *,
    has_option: bool = True,
) -> None:
    """Refuse two columns that could mean the same and hold different values.

    A column of dates beside one of moments is the day of trading and no second time.

    Args:
        frame: The table.
        doubles: What it means, the column taken, and the other one.
        source: What the user calls the table.
        has_option: The user can say which is which with `columns=`.

    Raises:
        DataError: Both columns are named, with the first row in which they differ.
    """
    for role, taken, other in doubles:
        row = 0
        remedy = f"Drop the one you do not mean, for example with drop({other!r})."
        if has_option:
            remedy = (
                f"Name the one you mean with columns={{{role!r}: {taken!r}}}, or drop the other."
            )
        for part in _parts(frame, [taken, other]):
            bad = _differs(part[taken], part[other], role)
            if bad.any():
                i = int(bad.argmax())
                raise DataError(
                    f"{source}: {taken!r} and {other!r} could each be the {role}, and they differ: "
                    f"row {row + i} holds {part[taken][i]!r} and {part[other][i]!r}. {remedy}"
                )
            row += part.height


def _parts(frame: pl.DataFrame | pl.LazyFrame, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    if isinstance(frame, pl.DataFrame):
        yield frame.select(columns)
    else:
        lazy = frame.select(columns)
        yield from lazy.collect_batches(chunk_size=CHUNK_ROWS, maintain_order=True)


def _differs(taken: pl.Series, other: pl.Series, role: str) -> np.ndarray:
    """In which rows two columns of one meaning hold different values, bool[n]."""
    if role == "timestamp":
        return _other_times(taken, other)
    kind = pl.String if role == "asset_id" else pl.Float64
    one, two = (series.cast(kind, strict=False) for series in (taken, other))
    return one.ne_missing(two).to_numpy()


def _other_times(taken: pl.Series, other: pl.Series) -> np.ndarray:
    try:
        (times, axis), (others, other_axis) = (
            read_times(series, source="", column=series.name) for series in (taken, other)
        )
    except DataError:  # times of day and the like are no times; trouble with `taken` comes later
        return np.zeros(len(taken), dtype=bool)
    if other_axis.is_session and not axis.is_session:
        return np.zeros(len(taken), dtype=bool)
    if axis.is_session:
        times, others = axis.dates(times), other_axis.dates(others)
    differs: np.ndarray = times != others
    return differs
