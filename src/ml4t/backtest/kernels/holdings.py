"""What was held through a stretch of time: its worth at every timestamp, and its range of prices.

The Python form. A matrix of timestamps and assets is given row after row, as one column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.kernels.sums import row_totals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]


def ffill_rows(matrix: Floats, before: Floats) -> Floats:
    """Each NaN replaced by the value above it; the first row looks at `before`."""
    missing = np.isnan(matrix)
    if not missing.any():
        return matrix
    whole = np.vstack([before[None, :], matrix])
    rows = np.arange(len(whole))[:, None]
    source = np.where(np.isnan(whole), 0, rows)
    source[0] = 0
    np.maximum.accumulate(source, axis=0, out=source)
    filled: Floats = np.take_along_axis(whole, source, axis=0)[1:]
    return filled


def worth(
    prices: Floats,
    units: Floats,
    multiplier: Floats,
    rows: Whole,
    columns: Whole,
    after: Floats,
) -> tuple[Floats, Floats, Floats]:
    """The value of what is held at every timestamp; sums go from left to right.

    Args:
        prices: float64[t * n], of `n` assets.
        units: float64[n], signed, held before.
        multiplier: float64[n], money per point of price.
        rows: int64[k], the timestamp of every change of a holding, in order.
        columns: int64[k], its asset.
        after: float64[k], signed units from then on; of several at once the last counts.

    Returns:
        Signed value and gross value, float64[t] each; and the units at the end, float64[n].
    """
    matrix = prices.reshape(-1, len(units))
    changes = np.full(matrix.shape, np.nan)
    changes[rows, columns] = after
    held = ffill_rows(changes, units)
    values = np.where(held == 0.0, 0.0, held * matrix * multiplier)
    last = held[-1] if len(held) else units
    return row_totals(values), row_totals(np.abs(values)), last.copy()


def ranges(
    high: Floats, low: Floats, width: int, columns: Whole, first: Whole, stop: Whole
) -> tuple[Floats, Floats]:
    """The highest high and the lowest low of stretches of time, NaN for one without a bar.

    Args:
        high: float64[t * width].
        low: Likewise.
        width: How many assets there are.
        columns: int64[k], the asset of each stretch.
        first: int64[k], its first timestamp.
        stop: int64[k], the one after its last.
    """
    highest, lowest = np.full(len(columns), np.nan), np.full(len(columns), np.nan)
    some = (stop > first).nonzero()[0]
    if len(some) == 0:
        return highest, lowest
    steps = len(high) // width
    lanes = columns[some] * steps
    pairs = np.empty(2 * len(some), dtype=np.int64)
    pairs[0::2], pairs[1::2] = lanes + first[some], lanes + stop[some]
    # One more at the end, where the last stretch may stop.
    tall = np.append(high.reshape(steps, width).T.ravel(), -np.inf)
    deep = np.append(low.reshape(steps, width).T.ravel(), np.inf)
    highest[some] = np.maximum.reduceat(tall, pairs)[0::2]
    lowest[some] = np.minimum.reduceat(deep, pairs)[0::2]
    return highest, lowest


def steep(prices: Floats, before: Floats, rows: Whole, times: float) -> tuple[Whole, Whole]:
    """Where a price is at least so many times the one ahead of it, or at most that fraction of it.

    Args:
        prices: float64[t * n], of `n` assets; NaN is never steep.
        before: float64[n], ahead of the first row.
        rows: int64[k], the timestamps to look at.
        times: How many times; above 1.

    Returns:
        Timestamp and asset of each such price, int64, row after row.
    """
    matrix = prices.reshape(-1, len(before))
    earlier, now = np.vstack((before, matrix[:-1]))[rows], matrix[rows]
    at, columns = ((now * times <= earlier) | (now >= earlier * times)).nonzero()
    return rows[at], columns
