"""Where the bars of a chunk stand, whichever way they are looked up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.types.bars import Chunk, Universe
from ml4t.backtest.types.time import TimeAxis
from tests.examples import examples


def chunk_of(present: np.ndarray, names: list[str], *, late: int = 0) -> Chunk:
    """A chunk of these bars; its universe names `late` assets only as they appear, last first."""
    universe = Universe(names[: len(names) - late])
    for name in reversed(names[len(names) - late :]):
        universe.add(name)
    order = np.array([universe.codes[name] for name in names])
    codes = [order[row] for row in present]
    count = np.array([0, *(len(c) for c in codes)])
    rows = int(count.sum())
    numbers = np.arange(rows, dtype=np.float64) + 1.0
    return Chunk(
        universe,
        TimeAxis(is_date=True),
        times=np.arange(len(present), dtype=np.int64) * 86_400_000_000,
        sessions=np.arange(len(present), dtype=np.int32),
        offsets=np.cumsum(count),
        codes=np.concatenate([*codes, []]).astype(np.int32),
        prices=dict.fromkeys(("open", "high", "low", "close", "volume"), numbers),
    )


@examples(60)
@given(
    seed=st.integers(0, 10_000),
    steps=st.integers(1, 8),
    assets=st.integers(1, 12),
    full=st.sampled_from([1.0, 0.9, 0.5, 0.1, 0.02]),
    late=st.integers(0, 3),
)
def test_every_lookup_finds_the_same_row(
    seed: int, steps: int, assets: int, full: float, late: int
) -> None:
    """Dense, with holes and nearly empty; codes in the order of names, and not."""
    rng = np.random.default_rng(seed)
    names = [f"S{i:02d}" for i in range(assets)]
    present = rng.random((steps, assets)) < full
    present[present.sum(axis=1) == 0, 0] = True
    chunk = chunk_of(present, names, late=min(late, assets))
    rows, row = {}, 0
    for t in range(steps):
        for i in np.flatnonzero(present[t]).tolist():
            rows[t, names[i]] = row
            row += 1
    universe = chunk.universe
    universe.add("ZZ")  # which the next chunk will bring
    pairs = [(t, code) for t in range(steps) for code in range(len(universe))]
    expected = [rows.get((t, universe.ids[code]), -1) for t, code in pairs]
    assert [chunk.row_of(t, code) for t, code in pairs] == expected
    times, codes = (np.array(column) for column in zip(*pairs, strict=True))
    assert chunk.rows_at(times, codes).tolist() == expected
    assert chunk.rows_at(np.array([-1, steps]), np.array([0, 0])).tolist() == [-1, -1]
    for t in range(steps):
        bars = chunk.bars(t)
        mine = [found for (when, _), found in zip(pairs, expected, strict=True) if when == t]
        assert chunk.rows_of(t, np.arange(len(universe))).tolist() == mine
        assert bars.chunk_rows_of(list(range(len(universe)))) == mine
        assert bars.asset_ids == [names[i] for i in np.flatnonzero(present[t]).tolist()]
        assert [name in bars for name in universe.ids] == [found >= 0 for found in mine]


def test_the_names_of_a_timestamp_are_the_callers() -> None:
    """Whoever changes the list changes nobody else's."""
    bars = chunk_of(np.array([[True, False], [True, True]]), ["A", "B"]).bars(0)
    bars.asset_ids.append("C")
    assert bars.asset_ids == ["A"]


@pytest.mark.parametrize("names", [["A", "B", "C"], ["C", "A", "B"]])
def test_a_universe_knows_whether_its_codes_are_in_order(names: list[str]) -> None:
    """Feeds that name assets as they go may bring them in any order."""
    universe = Universe()
    for name in names:
        universe.add(name)
    assert universe.is_sorted == (names == sorted(names))
