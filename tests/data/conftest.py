"""Small tables of bars."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

DAYS = [dt.date(2024, 1, 2), dt.date(2024, 1, 3), dt.date(2024, 1, 4)]


def bars(
    times: list[Any] | None = None, assets: tuple[str, ...] = ("AAPL", "MSFT"), **columns: Any
) -> pl.DataFrame:
    """Sound bars of every asset at every time; further columns replace or add."""
    times = DAYS if times is None else times
    rows = [(t, a) for t in times for a in assets]
    n = len(rows)
    closes = [100.0 + i for i in range(n)]
    frame = pl.DataFrame(
        {
            "timestamp": [t for t, _ in rows],
            "asset_id": [a for _, a in rows],
            "open": [c - 0.5 for c in closes],
            "high": [c + 1.0 for c in closes],
            "low": [c - 1.0 for c in closes],
            "close": closes,
            "volume": [1_000.0 + i for i in range(n)],
        }
    )
    return frame.with_columns(
        pl.Series(name, values, dtype=pl.Float64 if name in frame.columns[2:] else None)
        for name, values in columns.items()
    )


@pytest.fixture
def frame() -> pl.DataFrame:
    """Three days of two assets, with two predictions."""
    return bars(ml_pred=[0.1, 0.2, 0.3, None, float("nan"), 0.6], up=[True, None, False] * 2)
