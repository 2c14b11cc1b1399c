"""Which row of a table of predictions is current, for each bar. Numbers only.

A row has an asset, a time it is about (`stamp`) and a time from which it is known (`available`).
The rows of one stamp are a publication. A row is current from its `available` on

- until the table publishes a newer stamp for any asset; names missing from the newer publication
  then have no current row. Among rows of one asset and stamp the last to become available counts;
- or, with a `max_age`, while it is the row with the newest stamp of its own asset, and no older
  than that.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

_FOREVER = np.iinfo(np.int64).max
# A table of every publication by every asset is worth its memory up to this many cells a row.
_CELLS_PER_ROW = 4
_SMALL_GRID = 1_000_000


class Rows(Protocol):
    """Finds current rows."""

    def find(self, known: np.ndarray, codes: np.ndarray, offsets: np.ndarray) -> Found:
        """The current row of each bar.

        Args:
            known: int64[T], when each timestamp's bars are known; same unit as `available`.
            codes: int32[N], the asset of each bar; -1 for one the table does not know.
            offsets: int64[T + 1], the bars of each timestamp.
        """
        ...


class Found:
    """The outcome of a search.

    Attributes:
        rows: int[N], the current row of each bar, -1 where there is none.
        ages: int64[N], how long it had been known; meaningless where there is none.
        expired: How many bars have no current row though their asset had one before.
    """

    __slots__ = ("ages", "expired", "rows")

    def __init__(self, rows: np.ndarray, ages: np.ndarray, expired: int) -> None:
        self.rows = rows
        self.ages = ages
        self.expired = expired


def index_rows(
    stamps: np.ndarray,
    available: np.ndarray,
    codes: np.ndarray,
    assets: int,
    max_age: int | None = None,
) -> Rows:
    """Prepare a table for searching; the table's rows may come in any order.

    Args:
        stamps: int64[M], what time each row is about.
        available: int64[M], from when it is known.
        codes: int32[M], its asset, 0 to `assets` - 1.
        assets: Number of assets of the table.
        max_age: Makes the rule per asset, in the unit of `available`.
    """
    moments, rank = ranks(available)
    is_worth = len(moments) * assets <= max(_CELLS_PER_ROW * len(codes), _SMALL_GRID)
    if max_age is None and is_worth and _is_one_to_one(stamps, rank, len(moments)):
        return Grid(moments, rank, codes, assets)
    until = _superseded(stamps, moments, rank) if max_age is None else available + (max_age + 1)
    return Timeline(stamps, available, codes, until)


class Grid:
    """Every stamp becomes available at one moment: the common case, one look-up in a table."""

    def __init__(
        self, moments: np.ndarray, rank: np.ndarray, codes: np.ndarray, assets: int
    ) -> None:
        self._moments = moments
        # One line and one column more, of "no row": where -1 points to.
        self._grid = np.full((len(moments) + 1, assets + 1), -1, dtype=np.int64)
        self._grid[rank, codes] = np.arange(len(codes))
        self._first = np.full(assets + 1, len(moments))
        np.minimum.at(self._first, codes, rank)

    def find(self, known: np.ndarray, codes: np.ndarray, offsets: np.ndarray) -> Found:
        """The current row of each bar; see `Rows`."""
        line = np.searchsorted(self._moments, known, side="right") - 1
        age = known - self._moments[line]
        width = len(codes) // len(known) if len(known) else 0
        block = codes.reshape(len(known), width) if len(known) * width == len(codes) else codes
        if block.ndim > 1 and (block == block[0]).all() and (np.diff(offsets) == width).all():
            rows = self._grid[:, block[0]][line].ravel()
            ages = np.repeat(age, width)
            missing = rows < 0
            seen = (line[:, None] >= self._first[block[0]]).ravel()
        else:
            counts = np.diff(offsets)
            lines = np.repeat(line, counts)
            rows, ages = self._grid[lines, codes], np.repeat(age, counts)
            missing = rows < 0
            seen = lines >= self._first[codes]
        return Found(rows, ages, int((missing & seen).sum()))


class Timeline:
    """The general case: each asset's rows in the order in which they became available."""

    def __init__(
        self, stamps: np.ndarray, available: np.ndarray, codes: np.ndarray, until: np.ndarray
    ) -> None:
        order = _arg_sort(codes, available, stamps)
        order = order[_is_newest(stamps[order], codes[order])]
        self._rows, self._codes = order, codes[order]
        self._available, self._until = available[order], until[order]
        self._moments, rank = ranks(self._available)
        self._keys = self._key(self._codes, rank)

    def find(self, known: np.ndarray, codes: np.ndarray, offsets: np.ndarray) -> Found:
        """The current row of each bar; see `Rows`."""
        counts = np.diff(offsets)
        passed = np.repeat(np.searchsorted(self._moments, known, side="right"), counts)
        keys = self._key(codes, passed)
        by_asset = np.argsort(codes.astype(np.int16), kind="stable")  # searching in order is fast
        at = np.empty(len(codes), dtype=np.int64)
        at[by_asset] = np.searchsorted(self._keys, keys[by_asset], side="left") - 1
        now = np.repeat(known, counts)
        has_row = (at >= 0) & (self._codes[at] == codes)
        is_current = has_row & (now < self._until[at])
        rows = np.where(is_current, self._rows[at], -1)
        expired = int(has_row.sum()) - int(is_current.sum())
        return Found(rows, now - self._available[at], expired)

    def _key(self, codes: np.ndarray, rank: np.ndarray) -> np.ndarray:
        keys: np.ndarray = codes.astype(np.int64) * (len(self._moments) + 1) + rank
        return keys


def ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in order, and the place of each value among them."""
    starts = np.flatnonzero(np.diff(values, prepend=values[:1] - 1))  # tables repeat their times
    distinct, inverse = np.unique(values[starts], return_inverse=True)
    return distinct, np.repeat(inverse, np.diff(starts, append=len(values)))


def _is_one_to_one(stamps: np.ndarray, rank: np.ndarray, moments: int) -> bool:
    """Whether each moment brings one stamp, newer than all before it."""
    lowest = np.full(moments, _FOREVER)
    highest = np.full(moments, -_FOREVER)
    # Runs of equal moments are long in sorted tables: look at their first rows only.
    starts = np.flatnonzero((np.diff(rank, prepend=-1) != 0) | (np.diff(stamps, prepend=0) != 0))
    np.minimum.at(lowest, rank[starts], stamps[starts])
    np.maximum.at(highest, rank[starts], stamps[starts])
    return bool((lowest == highest).all() and (np.diff(lowest) > 0).all())


def _superseded(stamps: np.ndarray, moments: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """From when a newer stamp is available, for any asset; forever is the last."""
    newest = np.full(len(moments), -_FOREVER)
    np.maximum.at(newest, rank, stamps)
    newest = np.maximum.accumulate(newest)
    return np.append(moments, _FOREVER)[np.searchsorted(newest, stamps, side="right")]


def _is_newest(stamps: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Of rows sorted by asset and availability, those no older than any before of their asset."""
    _, place = ranks(stamps)
    keys = codes.astype(np.int64) * (len(stamps) + 1) + place
    newest: np.ndarray = keys == np.maximum.accumulate(keys)
    return newest


def _arg_sort(*keys: np.ndarray) -> np.ndarray:
    frame = pl.DataFrame({str(i): key for i, key in enumerate(keys)})
    order = frame.select(pl.arg_sort_by(frame.columns, maintain_order=True)).to_series()
    return order.to_numpy().astype(np.int64)
