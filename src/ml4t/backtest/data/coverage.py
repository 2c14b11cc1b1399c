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
    rows = list(coverages)
    some = [c.bars_with_value or None for c in rows]
    ages = [None if n is None else c.age_sum // n for c, n in zip(rows, some, strict=True)]
    oldest = [None if n is None else c.age_max for c, n in zip(rows, some, strict=True)]
    return pl.DataFrame(
        [
            pl.Series("signal", [c.signal for c in rows], dtype=pl.String),
            pl.Series("source", [c.source for c in rows], dtype=pl.String),
            pl.Series("bars", [c.bars for c in rows], dtype=pl.Int64),
            pl.Series("bars_with_value", [c.bars_with_value for c in rows], dtype=pl.Int64),
            pl.Series(
                "share", [c.bars_with_value / c.bars if c.bars else 0.0 for c in rows], pl.Float64
            ),
            pl.Series("mean_age", ages, dtype=pl.Int64).cast(pl.Duration("us")),
            pl.Series("max_age", oldest, dtype=pl.Int64).cast(pl.Duration("us")),
            pl.Series("expired", [c.expired for c in rows], dtype=pl.Int64),
        ]
    )
