"""The bars a run walked over, and the signals that were known with each, read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.results.tables import time_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.clock import Clock
    from ml4t.backtest.types.bars import Chunk

PRICES = ("open", "high", "low", "close", "volume")


def read(
    clock: Clock, asset_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """See `BacktestResult.market`.

    Args:
        clock: A clock of its own, which nobody walks at the same time.
        asset_ids: As of `BacktestResult.market`.
        columns: As of `BacktestResult.market`.
    """
    clock.prepare()
    parts = [_frame(chunk, asset_ids, columns) for chunk in clock.chunks()]
    for asset_id in asset_ids or ():
        if asset_id not in clock.universe.codes:
            raise DataError(
                f"The run knows no asset {asset_id!r}. {did_you_mean(asset_id, clock.universe.ids)}"
            )
    found = pl.concat(parts, how="diagonal", rechunk=True)
    return found.sort("timestamp", "asset_id", maintain_order=True)


def _frame(
    chunk: Chunk, asset_ids: Sequence[str] | None, columns: Sequence[str] | None
) -> pl.DataFrame:
    ids, codes = chunk.universe.ids, chunk.codes
    rows: Any = slice(None)
    if asset_ids is not None:
        wanted = [chunk.universe.codes[name] for name in asset_ids if name in chunk.universe.codes]
        rows = np.flatnonzero(np.isin(codes, wanted))
    times = np.repeat(chunk.times, np.diff(chunk.offsets))[rows]
    found = {
        "timestamp": time_series(times, chunk.axis),
        "asset_id": pl.Series(ids, dtype=pl.String).gather(codes[rows]),
    }
    for name in (*PRICES, *chunk.signals) if columns is None else columns:
        values = getattr(chunk, name) if name in PRICES else _signal(chunk, name)
        found[name] = pl.Series(name, values[rows], strict=False, nan_to_null=True)
    return pl.DataFrame(found)


def _signal(chunk: Chunk, name: str) -> np.ndarray:
    try:
        return chunk.signals[name]
    except KeyError:
        known = [*PRICES, *chunk.signals]
        raise DataError(f"The market has no column {name!r}. {did_you_mean(name, known)}") from None
