from __future__ import annotations

import re
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data import history as history_module
from ml4t.backtest.data.history import History
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.bars import Chunk, Universe
from ml4t.backtest.types.time import TimeAxis

IDS = ["A", "B", "C"]


def chunk(universe: Universe, first: int, rows: list[list[str]], *, flag: bool = True) -> Chunk:
    """Consecutive timestamps from `first` on; the close of asset k at time t is 100 t + k."""
    codes = [universe.codes[a] for row in rows for a in row]
    times = [first + i for i, row in enumerate(rows) for _ in row]
    close = np.array([100.0 * t + k for t, k in zip(times, codes, strict=True)])
    signals = {"pred": close / 1000}
    if flag:
        signals["flag"] = np.array([bool(k % 2) for k in codes], dtype=object)
    return Chunk(
        universe,
        TimeAxis(is_session=True),
        times=np.arange(first, first + len(rows)),
        sessions=np.arange(first, first + len(rows), dtype=np.int32),
        offsets=np.cumsum([0, *(len(row) for row in rows)]),
        codes=np.array(codes, dtype=np.int32),
        prices={
            name: close + shift
            for name, shift in (
                ("open", 0.1),
                ("high", 0.5),
                ("low", -0.5),
                ("close", 0),
                ("volume", 1e6),
            )
        },
        signals=signals,
    )


def story(limit: int | None, *parts: list[list[str]]) -> tuple[History, list[Chunk]]:
    """A history that has been through these chunks."""
    universe = Universe(IDS)
    history, chunks, first = History(universe, limit), [], 1
    for rows in parts:
        chunks.append(chunk(universe, first, rows))
        history.push(chunks[-1])
        first += len(rows)
    return history, chunks


def test_the_last_bars_of_an_asset_include_the_current_one() -> None:
    """Oldest first, and nothing after now."""
    history, (only,) = story(None, [IDS] * 4)
    now = only.rows[3]  # the end of the third timestamp
    assert history.last(only, now, 1, 2).tolist() == [201.0, 301.0]


def test_fewer_at_the_start() -> None:
    """An asset has as many bars as it has had."""
    history, (only,) = story(None, [["A"], ["A", "C"], IDS])
    assert history.last(only, only.rows[2], 2, 5).tolist() == [202.0]
    assert history.last(only, only.rows[2], 1, 5).tolist() == []


def test_bars_an_asset_missed_are_not_counted() -> None:
    """The last two bars of B are those it had."""
    history, (only,) = story(None, [IDS, ["A", "C"], IDS])
    assert history.last(only, only.rows[3], 1, 2).tolist() == [101.0, 301.0]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("open", [201.1]),
        ("high", [201.5]),
        ("low", [200.5]),
        ("volume", [1_000_201.0]),
        ("pred", [0.201]),
        ("flag", [True]),
    ],
)
def test_prices_and_signals_can_be_asked_for(field: str, expected: list[Any]) -> None:
    """Signals that are not numbers stay as they are."""
    history, (only,) = story(None, [IDS] * 2)
    assert history.last(only, only.rows[2], 1, 1, field).tolist() == expected


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    """Prices and signals are offered."""
    history, (only,) = story(None, [IDS])
    with pytest.raises(DataError, match=r"no history of 'clsoe'. Did you mean 'close'"):
        history.last(only, 3, 0, 1, "clsoe")
    with pytest.raises(DataError, match=r"no history of 'prd'. Did you mean 'pred'"):
        history.matrix(only, 0, 1, "prd")


def test_less_than_one_bar_is_refused() -> None:
    """Zero is a mistake more likely than a wish."""
    history, (only,) = story(None, [IDS])
    with pytest.raises(DataError, match=r"n=0 bars: n must be a whole number from 1"):
        history.last(only, 3, 0, 0)


@pytest.mark.parametrize("n", [2.0, np.float64(2.0), True, "2", None])
def test_bars_are_counted_in_whole_numbers(n: Any) -> None:
    """Half a window (`window / 2`) is a float: refused by name, also when it is a whole one."""
    history, (only,) = story(None, [IDS] * 3)
    with pytest.raises(DataError, match=rf"history of n={re.escape(repr(n))} bars: n must be"):
        history.last(only, 3, 0, n)
    with pytest.raises(DataError, match=r"a whole number from 1"):
        history.matrix(only, 2, n)


def test_more_than_is_kept_is_refused_by_name_of_the_option() -> None:
    """In a streaming run; the limit itself is allowed."""
    history, (only,) = story(2, [IDS] * 3)
    assert len(history.last(only, 9, 0, 2)) == 2
    with pytest.raises(DataError, match=r"more than the 2 .* Raise max_history= to 3"):
        history.last(only, 9, 0, 3)
    with pytest.raises(DataError, match=r"max_history"):
        history.matrix(only, 2, 3)


def test_the_outcome_is_read_only_and_a_view_where_possible() -> None:
    """A full market costs no copy at each call, for one asset or for all."""
    history, (only,) = story(None, [IDS] * 4)
    last, matrix = history.last(only, only.rows[4], 1, 3), history.matrix(only, 3, 3)
    assert np.shares_memory(last, history.last(only, only.rows[4], 1, 3))
    assert np.shares_memory(matrix, only.close)
    for found in (last, matrix, history.last(only, only.rows[4], 1, 3, "flag")):
        assert not found.flags.writeable


def test_the_outcome_lies_in_memory_alike_whatever_comes_later() -> None:
    """Contiguous, with holes in the market or without, so that sums come out the same bits."""
    for rows in ([IDS] * 4, [*[IDS] * 3, ["A"]]):
        history, (only,) = story(None, rows)
        last, matrix = history.last(only, only.rows[3], 1, 3), history.matrix(only, 2, 3)
        assert last.flags.c_contiguous
        assert matrix.flags.c_contiguous
        assert last.tolist() == matrix[:, 1].tolist()


def test_history_goes_across_chunks() -> None:
    """Where the data were cut does not show."""
    history, chunks = story(None, [IDS] * 2, [IDS, ["A"]], [IDS])
    now = chunks[-1]
    assert history.last(now, 3, 1, 9).tolist() == [101.0, 201.0, 301.0, 501.0]
    expected = [[300.0, 301.0, 302.0], [400.0, np.nan, np.nan], [500.0, 501.0, 502.0]]
    np.testing.assert_equal(history.matrix(now, 0, 3), expected)


def test_a_matrix_has_the_assets_of_now() -> None:
    """In the order of the bars; an asset without a bar now is left out."""
    history, (only,) = story(None, [["A", "B"], IDS, ["A", "C"]])
    expected = [[100.0, np.nan], [200.0, 202.0], [300.0, 302.0]]
    np.testing.assert_equal(history.matrix(only, 2, 9), expected)


def test_a_matrix_of_signals_that_are_no_numbers() -> None:
    """None where an asset had no bar."""
    history, (only,) = story(None, [["A"], IDS])
    assert history.matrix(only, 1, 2, "flag").tolist() == [
        [False, None, None],
        [False, True, False],
    ]


def test_assets_that_show_later_have_no_past() -> None:
    """The universe may grow between chunks, also past a chunk that was complete."""
    universe = Universe()
    for name in ("B", "C"):
        universe.add(name)
    history = History(universe)
    first = chunk(universe, 1, [["B", "C"]] * 2)
    history.push(first)
    assert first.is_dense
    universe.add("A")
    second = chunk(universe, 3, [["A", "C"]])
    history.push(second)
    assert history.last(second, 2, 2, 5).tolist() == [302.0]
    np.testing.assert_equal(history.matrix(second, 0, 2), [[np.nan, 201.0], [302.0, 301.0]])


def test_signals_a_chunk_lacks_are_absent_there() -> None:
    """A feed of one's own may bring a signal only later."""
    universe = Universe(IDS)
    history = History(universe, 4)
    early, late = chunk(universe, 1, [IDS], flag=False), chunk(universe, 2, [IDS])
    history.push(early)
    history.push(late)
    assert history.last(late, 3, 1, 2, "flag").tolist()[-1] is True
    assert len(history.last(late, 3, 1, 2, "flag")) == 2


def test_streaming_forgets_what_cannot_be_asked_for() -> None:
    """Chunks are let go once the later ones hold enough."""
    history, _ = story(3, *[[IDS] * 2] * 10)
    assert len(history._parts) == 3
    assert history._carried is None


def test_streaming_keeps_the_bars_of_sparse_assets() -> None:
    """B had three bars long ago; they can be asked for until newer ones push them out."""
    history, chunks = story(2, [IDS], [IDS], [IDS], *[[["A", "C"]]] * 9, [IDS])
    now = chunks[-1]
    assert history.last(now, 3, 1, 2).tolist() == [301.0, 1301.0]
    assert history.last(now, 1, 1, 2).tolist() == [201.0, 301.0]
    assert history.last(now, 1, 1, 2, "flag").tolist() == [True, True]
    assert len(history._parts) < len(chunks)


@st.composite
def _runs(draw: st.DrawFn) -> tuple[list[list[list[str]]], int | None]:
    rare = st.sampled_from([["A", "C"], ["A"], ["C"], ["B", "C"]])
    row = draw(st.sampled_from([st.just(IDS), rare, st.just(IDS) | rare]))
    part = st.lists(row, min_size=1, max_size=4)
    parts = draw(st.lists(part, min_size=1, max_size=12))
    return parts, draw(st.none() | st.integers(1, 6))


def test_many_small_chunks_are_bundled() -> None:
    """A feed of single events brings a chunk a timestamp; walking all of them takes too long."""
    history, chunks = story(100, *[[IDS] if i % 9 else [["A", "C"]] for i in range(1_000)])
    now = chunks[-1]
    assert len(history._parts) < 80
    assert sum(len(part.chunk) for part in history._parts) < 600
    assert history.last(now, 3, 0, 100).tolist() == [100.0 * t for t in range(901, 1_001)]
    expected = [100.0 * t + 1 for t in range(1, 1_001) if (t - 1) % 9][-100:]
    assert history.last(now, 2, 1, 100).tolist() == expected
    assert history.matrix(now, 0, 100)[:, 0].tolist() == [100.0 * t for t in range(901, 1_001)]


def test_bundled_chunks_lack_signals_where_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes later is absent before."""
    monkeypatch.setattr(history_module, "_BUNDLE", 2)
    universe = Universe(IDS)
    history = History(universe, 9)
    for i in range(5):
        history.push(latest := chunk(universe, i, [IDS], flag=i > 2))
    assert len(history._parts) == 3
    assert history.last(latest, 3, 1, 4, "flag").tolist()[1:] == [None, True, True]


@given(_runs(), st.integers(1, 6), st.sampled_from([1, 2, 64]))
def test_history_agrees_with_lists(
    run: tuple[list[list[list[str]]], int | None], n: int, bundle: int
) -> None:
    """At every timestamp, for every asset and for all, however the data were cut and let go."""
    with mock.patch.object(history_module, "_BUNDLE", bundle):
        _agrees_with_lists(*run, n)


def _agrees_with_lists(parts: list[list[list[str]]], limit: int | None, n: int) -> None:
    n = n if limit is None else min(n, limit)
    universe = Universe(IDS)
    history = History(universe, limit)
    past: dict[str, list[float]] = {a: [] for a in IDS}
    table: list[list[float]] = []
    time = 1
    for rows in parts:
        current = chunk(universe, time, rows)
        history.push(current)
        for i, row in enumerate(rows):
            closes = {a: 100.0 * time + IDS.index(a) for a in row}
            for a, close in closes.items():
                past[a].append(close)
            table.append([closes.get(a, np.nan) for a in IDS])
            for code, a in enumerate(IDS):
                found = history.last(current, current.rows[i + 1], code, n)
                assert found.tolist() == past[a][-n:]
            now = [IDS.index(a) for a in row]
            expected = np.array(table[-n:])[:, now]
            np.testing.assert_equal(history.matrix(current, i, n), expected)
            time += 1
