"""How many bars of a run had a signal, and how old it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable


class Coverage:
    """How many bars of a run had one signal, and how old it was.

    Args:
        signal: Name of the signal.
        source: Where it comes from.
    """

    def __init__(self, signal: str, source: str) -> None:
        self.signal = signal
        self.source = source
        self.reset()

    def reset(self) -> None:
        """Count from zero, at the start of a run."""
        self.bars = self.bars_with_value = self.expired = 0
        self.age_sum = self.age_max = 0

    def add(self, present: np.ndarray, ages: np.ndarray | None = None, expired: int = 0) -> None:
        """Count the bars of a chunk.

        Args:
            present: bool[N], which bars have a value.
            ages: int64[N], microseconds since the value became known; None means known just then.
            expired: Bars without a current row though their asset had one before.
        """
        self.bars += len(present)
        self.expired += expired
        count = int(np.count_nonzero(present))
        self.bars_with_value += count
        if ages is not None and count:
            known = ages if count == len(ages) else ages[present]
            self.age_sum += int(known.sum())
            self.age_max = max(self.age_max, int(known.max()))


def coverage_frame(coverages: Iterable[Coverage]) -> pl.DataFrame:
    """The coverage of a run's signals, one row a signal.

    Columns: signal, source, bars, bars_with_value, share (0 to 1), mean_age and max_age (of the
    values seen, since they became known; null when none was), expired (bars without a value
    because the newest row of their asset was superseded by a publication without it, or too old).
    """
    rows = [
        {
            "signal": c.signal,
            "source": c.source,
            "bars": c.bars,
            "bars_with_value": c.bars_with_value,
            "share": c.bars_with_value / c.bars if c.bars else 0.0,
            "mean_age": c.age_sum // c.bars_with_value if c.bars_with_value else None,
            "max_age": c.age_max if c.bars_with_value else None,
            "expired": c.expired,
        }
        for c in coverages
    ]
    schema = {
        "signal": pl.String,
        "source": pl.String,
        "bars": pl.Int64,
        "bars_with_value": pl.Int64,
        "share": pl.Float64,
        "mean_age": pl.Int64,
        "max_age": pl.Int64,
        "expired": pl.Int64,
    }
    ages = pl.col("mean_age", "max_age").cast(pl.Duration("us"))
    return pl.DataFrame(rows, schema=schema).with_columns(ages)
