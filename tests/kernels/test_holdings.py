"""What was held through time: both forms alike, and as a plain loop has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.kernels import holdings
from tests.kernels.forms import SEEDS, compiled, needs_compiled, numbers, positive, same

STEPS, WIDTHS = st.integers(0, 12), st.integers(1, 6)


def changes(rng, steps, width):
    """Changes of a holding in order of time, several at once and back to nothing among them."""
    count = int(rng.integers(0, 15)) if steps else 0
    rows = np.sort(rng.integers(0, max(steps, 1), count))
    after = np.where(rng.random(count) < 0.3, 0.0, numbers(rng, count))
    return rows, rng.integers(0, width, count), after


@needs_compiled
@given(SEEDS, STEPS, WIDTHS)
def test_worth_in_both_forms(rng, steps, width):
    """Longs and shorts; what is flat needs no price."""
    prices, units = positive(rng, steps * width), numbers(rng, width)
    lacking = rng.random(len(prices)) < 0.1
    prices[lacking] = np.nan
    same("worth", prices, units, positive(rng, width), *changes(rng, steps, width))


@given(SEEDS, STEPS, WIDTHS)
def test_worth_as_a_loop(rng, steps, width):
    """The Python form, one asset after the other."""
    prices, units = rng.uniform(1, 9, steps * width), rng.normal(0, 50, width)
    rows, columns, after = changes(rng, steps, width)
    after, multiplier = np.clip(after, -99, 99), np.ones(width)
    value, gross, left = holdings.worth(prices, units, multiplier, rows, columns, after)
    held = units.tolist()
    for t in range(steps):
        for row, column, now in zip(rows, columns, after, strict=True):
            if row == t:
                held[column] = now
        each = [h * p for h, p in zip(held, prices[t * width :].tolist(), strict=False)]
        assert value[t] == pytest.approx(math.fsum(each), rel=1e-9, abs=1e-6)
        assert gross[t] == pytest.approx(math.fsum(map(abs, each)), rel=1e-9, abs=1e-6)
    assert left.tolist() == held


@needs_compiled
@given(SEEDS, STEPS, WIDTHS, st.integers(0, 10), st.booleans())
def test_ranges_in_both_forms(rng, steps, width, count, has_gaps):
    """Stretches that overlap, that are empty, and that go to the end."""
    high, low = positive(rng, steps * width), positive(rng, steps * width)
    if has_gaps:
        high[rng.random(len(high)) < 0.2] = np.nan
    first = rng.integers(0, steps + 1, count)
    stop = np.minimum(first + rng.integers(-1, steps + 1, count), steps)
    columns = rng.integers(0, width, count)
    tall, deep = same("ranges", high, low, width, columns, first, stop)
    for i, (column, start, end) in enumerate(zip(columns, first, stop, strict=True)):
        lane = slice(start * width + column, end * width + column, width)
        if end > start:
            assert np.array_equal(tall[i], high[lane].max(), equal_nan=True)
            assert np.array_equal(deep[i], low[lane].min(), equal_nan=True)
        else:
            assert math.isnan(tall[i])
            assert math.isnan(deep[i])


@needs_compiled
@given(SEEDS, STEPS, WIDTHS)
def test_steep_in_both_forms(rng, steps, width):
    """All rows, some, and none; gaps in the prices, and before them."""
    prices = np.exp2(rng.integers(-2, 3, steps * width).astype(float))
    before = np.exp2(rng.integers(-2, 3, width).astype(float))
    prices[rng.random(len(prices)) < 0.1] = np.nan
    before[rng.random(width) < 0.1] = np.nan
    wanted = (rng.random(steps) < rng.choice([0.3, 1.1])).nonzero()[0]
    rows, columns = same("steep", prices, before, wanted, 4.0)
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    for t in wanted.tolist():
        for h in range(width):
            now = prices[t * width + h]
            earlier = prices[(t - 1) * width + h] if t else before[h]
            assert ((t, h) in found) == (now >= 4.0 * earlier or earlier >= 4.0 * now)


@needs_compiled
def test_what_lies_beyond_the_matrix_is_refused():
    """Rows, assets and stretches; and changes that do not come in order."""
    matrix, column, codes = np.ones(9), np.ones(3), np.arange(3)
    for bad in (codes[::-1].copy(), codes + 1, codes - 1):
        with pytest.raises(ValueError, match="a change at"):
            compiled.worth(matrix, column, column, bad, codes, column)
        if bad.max() != 2 or bad.min() < 0:
            with pytest.raises(IndexError):
                compiled.worth(matrix, column, column, codes, bad, column)
            with pytest.raises(IndexError):
                compiled.steep(matrix, column, bad, 2.0)
            with pytest.raises(IndexError):
                compiled.ranges(matrix, matrix, 3, bad, codes * 0, codes)
    with pytest.raises(ValueError, match="whole number of rows"):
        compiled.worth(matrix, np.ones(0), np.ones(0), codes[:0], codes[:0], column[:0])
    for first, stop in ((codes - 1, codes), (codes, codes + 2)):
        with pytest.raises(IndexError, match="beyond"):
            compiled.ranges(matrix, matrix, 3, codes, first, stop)
