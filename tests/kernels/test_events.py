"""The compiled events are those of the Python form, whatever a strategy keeps or changes."""

from __future__ import annotations

import gc
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import MarketEvent, kernels
from ml4t.backtest.kernels.events import events as plain_events
from ml4t.backtest.kernels.events import take as plain_take
from tests.kernels.forms import compiled, needs_compiled

pytestmark = needs_compiled

WORDS = ("up", "down", True, False, 3.5, None, float("nan"))


def table(rng: Any, counts: list[int], kinds: list[str]) -> dict[str, Any]:
    """The arguments of `events` for timestamps with so many rows, and signals of these kinds."""
    width, rows = max(counts, default=0) + 2, sum(counts)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    codes = [np.sort(rng.choice(width, n, replace=False)) for n in counts]
    columns = {}
    for i, kind in enumerate(kinds):
        if kind == "objects":
            column = np.empty(rows, dtype=object)
            column[:] = [WORDS[j] for j in rng.integers(0, len(WORDS), rows)]
        elif kind == "dicts":
            column = np.empty(rows, dtype=object)
            column[:] = [{"version": int(j)} for j in range(rows)]
        else:
            column = rng.normal(size=rows)
            if kind == "gaps":
                column[rng.random(rows) < 0.3] = np.nan
        columns[f"s{i}"] = column
    prices = tuple(rng.random(rows) for _ in range(5))
    prices[4][rng.random(rows) < 0.2] = np.nan  # volume
    return {
        "stamps": [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(len(counts))],
        "ids": [f"A{i}" for i in range(width)],
        "offsets": offsets,
        "codes": np.concatenate([np.zeros(0), *codes]).astype(np.int32),
        "prices": prices,
        "names": tuple(columns),
        "columns": tuple(columns.values()),
        "is_complete": all(map(kernels.has_all, columns.values())),
    }


def shown(event):
    """An event as text that says every bit, so that NaN equals NaN."""
    prices = [event.open, event.high, event.low, event.close, event.volume]
    return repr((event.timestamp, event.asset_id, prices, event.signals))


tables = st.builds(
    table,
    st.integers(0, 2**32).map(np.random.default_rng),
    st.lists(st.integers(0, 5), max_size=8),
    st.lists(st.sampled_from(["full", "gaps", "objects", "dicts"]), max_size=4),
)


@given(tables, st.data())
def test_both_forms_give_the_same_events(what, data):
    """Any rows, from any timestamp to any other: the same values in the same order."""
    last = len(what["stamps"])
    start = data.draw(st.integers(0, last))
    part: dict[str, Any] = {"start": start, "stop": data.draw(st.integers(start, last))}
    plain = [shown(event) for event in plain_events(MarketEvent, **what, **part)]
    assert [shown(event) for event in compiled.events(MarketEvent, **what, **part)] == plain


def test_events_are_taken_in_parts():
    """So many at a time, also none and more than there are; an unfinished part goes on."""
    what = table(np.random.default_rng(4), [3] * 6, ["gaps"])
    for take, make in ((compiled.take, compiled.events), (plain_take, plain_events)):
        events = make(MarketEvent, **what, start=1, stop=6)
        parts = [[event.asset_id for event in take(events, n)] for n in (3, 0, 2)]
        assert next(iter(take(events, 2))).timestamp == what["stamps"][2]
        parts += [[event.asset_id for event in take(events, n)] for n in (1, 99, 5)]
        assert [len(part) for part in parts] == [3, 0, 2, 1, 8, 0]
    with pytest.raises(TypeError):
        compiled.take([1, 2], 1)
    with pytest.raises(TypeError):
        compiled.take(compiled.events(MarketEvent, **what, start=0, stop=1), "x")


def test_more_signals_than_an_event_has_bits_for():
    """Seventy signals with gaps, each row with those it has."""
    what = table(np.random.default_rng(7), [3, 4, 2], ["gaps", "objects"] * 35)
    part: dict[str, Any] = {"start": 0, "stop": 3}
    plain = [shown(event) for event in plain_events(MarketEvent, **what, **part)]
    assert [shown(event) for event in compiled.events(MarketEvent, **what, **part)] == plain


def keep_event(event, kept):
    """The event itself."""
    kept.append(event)


def keep_numbers(event, kept):
    """Its prices."""
    kept += [event.open, event.close, event.volume]


def keep_signals(event, kept):
    """Its dict."""
    kept.append(event.signals)


def keep_values(event, kept):
    """What is in its dict."""
    kept += event.signals.values()


def keep_method(event, kept):
    """A view of its dict."""
    kept.append(event.signals.items())


def change_signals(event, kept):
    """Put one more into its dict."""
    event.signals["mine"] = event.close
    kept.append(event.signals["mine"])


def drop_signal(event, kept):
    """Take one out."""
    if event.signals:
        kept.append(event.signals.pop(next(iter(event.signals))))


def overwrite_signal(event, kept):
    """Put a price where a signal was."""
    for name in event.signals:
        event.signals[name] = event.open
    kept.append(event.open)


def swap_signals(event, kept):
    """Take out what the dict holds, and leave as many names as before."""
    names = list(event.signals)
    if names:
        kept.append(event.signals.pop(names[0]))
        event.signals["other"] = 1.0


def put_back(event, kept):
    """Take one out and put it back: it stands last now."""
    for name in list(event.signals)[:1]:
        event.signals[name] = event.signals.pop(name)


def rename(event, kept):
    """Put a name of another kind in the place of one that is equal."""
    names = list(event.signals)
    event.signals.clear()
    event.signals.update((Name(name), 1.0) for name in names)


class Name(str):
    """A word that says when it is one of these."""

    __slots__ = ()

    def __repr__(self):
        return "Name"


def only_look(event, kept):
    """Keep nothing."""
    assert event.low <= event.close or event.low > event.close


HABITS = (
    keep_event,
    keep_numbers,
    keep_signals,
    keep_values,
    keep_method,
    change_signals,
    drop_signal,
    overwrite_signal,
    swap_signals,
    put_back,
    rename,
    only_look,
)


@given(tables, st.lists(st.sampled_from(HABITS), min_size=1, max_size=12))
def test_what_a_strategy_keeps_never_changes(what, habits):
    """Events, dicts and numbers that somebody holds stay; what follows is as if nobody had."""
    part: dict[str, Any] = {"start": 0, "stop": len(what["stamps"])}
    fresh = [shown(event) for event in plain_events(MarketEvent, **what, **part)]
    kept: list[Any] = []
    seen: list[str] = []
    said: list[str] = []
    for i, event in enumerate(compiled.events(MarketEvent, **what, **part)):
        seen.append(shown(event))
        before = len(kept)
        habits[i % len(habits)](event, kept)
        said += map(repr, kept[before:])
    assert seen == fresh
    assert list(map(repr, kept)) == said


def test_columns_are_never_written_to():
    """An object that stands in a column is handed out as it is, and nothing is put into it."""
    what = table(np.random.default_rng(1), [4] * 30, ["objects", "full"])
    numbers = np.array([float(i) for i in range(120)], dtype=object)  # floats of the column
    what |= {"columns": (numbers, what["columns"][1]), "is_complete": True}
    before = [column.tolist() for column in (*what["columns"], *what["prices"])]
    for event in compiled.events(MarketEvent, **what, start=0, stop=30):
        event.signals["s0"]
    after = [column.tolist() for column in (*what["columns"], *what["prices"])]
    assert repr(after) == repr(before)


def test_nothing_leaks():
    """Every reference that is taken is given back, also where the iterator is left half way."""
    what = table(np.random.default_rng(2), [3] * 40, ["objects", "gaps", "full"])
    own = [what["stamps"][5], what["ids"][1], what["names"][0], *what["columns"]]

    def run(steps):
        events = compiled.events(MarketEvent, **what, start=0, stop=40)
        for event, _ in zip(events, range(steps), strict=False):
            keep_values(event, [])

    def counts(items):
        gc.collect()
        return [sys.getrefcount(item) for item in items]

    def change():
        """By a hundred runs: exactly in what is the test's own, and in what everybody uses."""
        before, shared = counts(own), counts([None, True])
        for steps in (0, 1, 2, 7, 120) * 20:
            run(steps)
        now = counts([None, True])
        assert counts(own) == before
        return max(abs(x - y) for x, y in zip(shared, now, strict=True))

    run(120)
    # Other threads take and give back None as well; a leak would be there every time.
    assert min(change() for _ in range(5)) < 10


def test_a_name_that_cannot_be_compared():
    """What a strategy puts into a dict is asked nothing when the next one is made."""

    class Odd:
        def __hash__(self):
            return hash("s0")

        def __eq__(self, other):
            raise ZeroDivisionError

    what = table(np.random.default_rng(4), [4] * 5, ["full", "full"])
    for event in compiled.events(MarketEvent, **what, start=0, stop=5):
        assert list(event.signals) == ["s0", "s1"]
        event.signals.clear()
        event.signals[Odd()] = 1.0


@pytest.mark.parametrize("place", ["field", "signal"])
def test_asking_for_more_while_an_event_is_filled(place):
    """What an event held goes, and asks for further ones as it does: none is given twice."""

    class Last:
        def __del__(self):
            kept.extend(zip(range(5), events, strict=False))
            said.extend(shown(event) for _, event in kept)

    kept: list[Any] = []
    said: list[str] = []
    what = table(np.random.default_rng(5), [2] * 20, ["full"])
    what["prices"] = (np.arange(40.0), *what["prices"][1:])
    events = compiled.events(MarketEvent, **what, start=0, stop=20)
    seen = []
    for event in events:
        seen.append(event.open)
        if event.open == 3.0 and place == "field":
            MarketEvent.high.__set__(event, Last())  # type: ignore[attr-defined]
        elif event.open == 3.0:
            event.signals["s0"] = Last()
    assert [shown(event) for _, event in kept] == said
    assert sorted([*seen, *(event.open for _, event in kept)]) == what["prices"][0].tolist()


def test_columns_that_are_written_over_on_the_way():
    """Codes and offsets are checked at the start; nothing outside is read when they change."""
    what = table(np.random.default_rng(6), [2] * 20, ["full"])
    events = compiled.events(MarketEvent, **what, start=0, stop=20)
    next(events)
    what["codes"][1:3] = 2**30, -5
    for _ in range(2):
        with pytest.raises(IndexError, match="code"):
            next(events)
    what["offsets"][:] = 0
    assert sum(event.timestamp == what["stamps"][-1] for event in events) == 37


@given(st.permutations([1.5, np.float32("nan"), Decimal("nan"), np.float64("nan"), Decimal(2)]))
def test_any_kind_of_nan_is_absent(values):
    """A value that is not itself is none, whatever it is made of."""
    what = table(np.random.default_rng(6), [5], ["objects"])
    what["columns"][0][:] = values
    part: dict[str, Any] = {"start": 0, "stop": 1}
    what["is_complete"] = False
    plain = [shown(event) for event in plain_events(MarketEvent, **what, **part)]
    assert [shown(event) for event in compiled.events(MarketEvent, **what, **part)] == plain


BAD = {
    "codes of another kind": {"codes": np.zeros(4, dtype=np.int64)},
    "a code without a name": {"codes": np.array([0, 1, 0, 9], dtype=np.int32)},
    "a negative code": {"codes": np.array([0, 1, 0, -1], dtype=np.int32)},
    "offsets beyond the rows": {"offsets": np.array([0, 2, 9])},
    "offsets that fall": {"offsets": np.array([0, 5, 4])},
    "too few stamps": {"stamps": [datetime(2024, 1, 1)]},
    "a stop beyond the last": {"stop": 3},
    "a start below zero": {"start": -1},
    "a short column": {"columns": (np.zeros(3),)},
    "a column of whole numbers": {"columns": (np.zeros(4, dtype=np.int64),)},
    "a column with steps": {"columns": (np.zeros(8)[::2],)},
    "a list for a column": {"columns": ([0.0] * 4,)},
    "a name without column": {"names": ("s0", "s1")},
    "four prices": {"prices": (np.zeros(4),) * 4},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_does_not_go_together_is_refused(change):
    """Columns that would be read beyond their end raise before anything is read."""
    what = table(np.random.default_rng(3), [2, 2], ["full"]) | {"start": 0, "stop": 2}
    what |= {"codes": np.array([0, 1, 0, 1], dtype=np.int32)}
    with pytest.raises((TypeError, ValueError)):
        compiled.events(MarketEvent, **(what | change))


def test_a_class_without_slots_is_refused():
    """Fields are reached by their place in the object, so they must have one."""

    class Plain:
        pass

    what = table(np.random.default_rng(3), [2, 2], ["full"])
    with pytest.raises((TypeError, AttributeError)):
        compiled.events(Plain, **what, start=0, stop=2)


def test_a_class_that_makes_something_else_is_refused():
    """Nothing is written into an object whose fields are elsewhere."""

    class Other(type(MarketEvent)):  # type: ignore[misc]
        def __call__(cls, *values):
            return ["not", "an", "event"]

    class Odd(MarketEvent, metaclass=Other):  # type: ignore[misc]
        pass

    what = table(np.random.default_rng(3), [2, 2], ["full"])
    with pytest.raises(TypeError, match="another class"):
        next(compiled.events(Odd, **what, start=0, stop=2))
