"""Levels and when they are reached: both forms alike, and as a plain loop has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.kernels import levels
from tests.kernels.forms import SEEDS, compiled, needs_compiled, same

STEPS, WIDTHS = st.integers(0, 12), st.integers(1, 6)


def watched(rng, steps, width):
    """Bars of some assets at some timestamps, and levels that few of them reach."""
    present = rng.random((steps, width)) < rng.choice([0.4, 1.0])
    offsets = np.concatenate([[0], present.sum(axis=1).cumsum()]).astype(np.int64)
    codes = present.nonzero()[1].astype(np.int32)
    low = np.round(rng.uniform(1.0, 9.0, len(codes)), 1)
    high = low + np.round(rng.uniform(0.0, 2.0, len(codes)), 1)
    below = np.where(rng.random(width) < 0.4, np.round(rng.uniform(0.0, 3.0, width), 1), -math.inf)
    above = np.where(rng.random(width) < 0.4, np.round(rng.uniform(8.0, 12.0, width), 1), math.inf)
    below[rng.random(width) < 0.1] = math.inf
    first = int(rng.integers(0, steps + 1))
    return high, low, codes, offsets, first, int(rng.integers(first, steps + 1)), below, above


@needs_compiled
@given(SEEDS, STEPS, WIDTHS)
def test_both_forms_find_the_same(rng, steps, width):
    """The timestamp, and which assets, in the order of their bars."""
    same("reached", *watched(rng, steps, width))


@given(SEEDS, STEPS, WIDTHS)
def test_reached_as_a_loop(rng, steps, width):
    """The Python form, one bar after the other."""
    high, low, codes, offsets, first, stop, below, above = found = watched(rng, steps, width)
    expected: tuple[int, list[int]] = stop, []
    for at in reversed(range(first, stop)):
        rows = range(offsets[at], offsets[at + 1])
        there = [
            int(codes[row])
            for row in rows
            if low[row] <= below[codes[row]] or high[row] >= above[codes[row]]
        ]
        if there:
            expected = at, there
    assert levels.reached(*found) == expected


@needs_compiled
def test_what_does_not_fit_is_refused():
    """Timestamps and assets beyond the columns, columns of other lengths and kinds."""
    price, level = np.ones(4), np.ones(2)
    codes, offsets = np.array([0, 1, 0, 1], dtype=np.int32), np.array([0, 2, 4])
    good = (price, price, codes, offsets, 0, 2, level * 0, level * 9)
    assert compiled.reached(*good) == (2, [])
    for at, bad, error in (
        (1, price[:3], ValueError),
        (2, codes.astype(np.int64), TypeError),
        (2, codes + np.int32(1), IndexError),
        (2, codes - np.int32(1), IndexError),
        (3, offsets + 1, IndexError),
        (3, offsets - 1, IndexError),
        (4, -1, IndexError),
        (4, 3, IndexError),
        (5, 3, IndexError),
        (6, level[:1], ValueError),
        (7, level.astype(np.float32), TypeError),
    ):
        with pytest.raises(error):
            compiled.reached(*good[:at], bad, *good[at + 1 :])
    with pytest.raises(TypeError, match="takes 8 arguments"):
        compiled.reached(*good[:-1])
