"""Rows of columns as events: the Python form, which says what the compiled one means."""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

_Event = TypeVar("_Event")


def events(
    kind: Callable[..., _Event],
    *,
    stamps: list[datetime],
    ids: list[str],
    offsets: np.ndarray,
    codes: np.ndarray,
    prices: tuple[np.ndarray, ...],
    names: tuple[str, ...],
    columns: tuple[np.ndarray, ...],
    is_complete: bool,
    start: int,
    stop: int,
) -> Iterator[_Event]:
    """The rows of some timestamps as objects, each made when the iterator reaches it.

    T timestamps, N rows. Columns are C-contiguous. They are read value by value: lists of all
    values would leave the processor's caches and take twice the time.

    Args:
        kind: Called with timestamp, asset_id, open, high, low, close, volume and a dict of signals.
        stamps: The timestamps, T of them.
        ids: Names of the assets by code.
        offsets: int64[T + 1]; the rows of timestamp i are offsets[i] to offsets[i + 1].
        codes: int32[N], the asset of each row.
        prices: open, high, low, close, volume: float64[N].
        names: Of the signals.
        columns: Their values: float64[N] with NaN, or object[N] with None, where absent.
        is_complete: No value of a signal is absent. What is absent is not in the dict.
        start: First timestamp.
        stop: The one after the last.
    """
    counts = np.diff(offsets[start : stop + 1]).tolist()
    rows = slice(int(offsets[start]), int(offsets[stop]))
    return map(
        kind,
        chain.from_iterable(map(repeat, stamps[start:stop], counts)),
        map(ids.__getitem__, codes[rows].tolist()),
        *(column[rows].data for column in prices),
        _dicts(names, [_values(column[rows]) for column in columns], rows, is_complete=is_complete),
    )


def take(events: Iterator[_Event], n: int) -> Iterator[_Event]:
    """The next `n` of `events`; whoever wants more asks for more, always by this function."""
    return islice(events, n)


def is_absent(value: Any) -> bool:
    """Whether a signal has no value: None or NaN."""
    return value is None or value != value  # noqa: PLR0124  NaN


def has_all(column: np.ndarray) -> bool:
    """Whether no value of a signal is absent."""
    if column.dtype == object:
        return not any(map(is_absent, column.tolist()))
    return not bool(np.isnan(column).any())


def _values(column: np.ndarray) -> Iterable[Any]:
    """A column as plain values, one by one."""
    return column.tolist() if column.dtype == object else column.data


def _dicts(
    names: tuple[str, ...], columns: list[Iterable[Any]], rows: slice, *, is_complete: bool
) -> Iterator[dict[str, Any]]:
    """One dict a row, without the absent values.

    Displays with few names are written out: building a dict from a display takes a third of the
    time of `dict(zip(...))`, and this is the hottest line of a run with per-asset events.
    """
    if not names:
        return ({} for _ in range(rows.start, rows.stop))
    if not is_complete:
        return (
            {k: v for k, v in zip(names, row, strict=True) if v is not None and v == v}  # noqa: PLR0124  as is_absent
            for row in zip(*columns, strict=True)
        )
    if len(names) == 1:
        (a,) = names
        return ({a: x} for x in columns[0])
    if len(names) == 2:  # noqa: PLR2004
        a, b = names
        return ({a: x, b: y} for x, y in zip(*columns, strict=True))
    if len(names) == 3:  # noqa: PLR2004
        a, b, c = names
        return ({a: x, b: y, c: z} for x, y, z in zip(*columns, strict=True))
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
