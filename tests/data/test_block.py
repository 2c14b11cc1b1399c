"""Tables as sorted arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data.block import sorting_order


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30))
def test_rows_are_sorted_by_time_and_asset(rows: list[tuple[int, int]]) -> None:
    """Rows with the same keys keep their order; what is in order is left alone."""
    times, codes = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    expected = np.lexsort((codes, times))
    order = sorting_order(times, codes)
    if order is None:
        assert (expected == np.arange(len(rows))).all()
    else:
        assert order.tolist() == expected.tolist()


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.sets(st.integers(0, 50), min_size=1, max_size=6),
    st.booleans(),
)
def test_assets_one_after_the_other_are_sorted(
    assets: list[int],
    stamps: set[int],
    backwards: bool,
) -> None:
    """In any order of assets, one of them twice, or with times that run backwards."""
    times = np.tile(sorted(stamps, reverse=backwards), len(assets))
    codes = np.repeat(assets, len(stamps))
    order = sorting_order(times, codes)
    expected = np.lexsort((codes, times))
    found = np.arange(len(times)) if order is None else order
    assert found.tolist() == expected.tolist()
