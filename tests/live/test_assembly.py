"""Assembly: tables of arrivals with what must come of them, and laws over random ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.arrivals import LiveBar
from ml4t.backtest.live.assembly import Assembly, Stamp
from ml4t.backtest.live.hours import Bins, Hours
from tests.live.scripted import MINUTE, NINE, SECOND, bar

GRACE = 5 * SECOND


def assembly(assets: str = "AB", minutes: int = 1, **options: Any) -> Assembly:
    """For assets of one letter, around the clock, from nine."""
    bins = Bins(Hours(options.pop("calendar", None)), minutes * MINUTE, MINUTE)
    return Assembly(list(assets), bins, **{"grace": GRACE, "after": NINE, **options})


def counts(made: Assembly) -> dict[str, int]:
    """What was counted, without what was given out."""
    ours = ("timestamps", "bars", "backfilled", "ahead_of_clock")
    return {name: n for name, n in made.counts.items() if n and name not in ours}


def closes(stamp: Stamp) -> dict[str, float]:
    """By asset."""
    return {b.asset_id: b.close for b in stamp.bars}


def test_bars_that_begin_at_half_past() -> None:
    """Around the clock through midnight; in sessions they are counted from the open."""
    bins = Bins(Hours(), 60 * MINUTE, 60 * MINUTE, 30 * MINUTE)
    midnight = NINE - 540 * MINUTE
    for at in (-30, 0, 29):
        assert bins.start_of(midnight + at * MINUTE) == midnight - 30 * MINUTE
        assert bins.end_of(midnight + at * MINUTE) == midnight + 30 * MINUTE
        assert bins.vendor_floor(midnight + at * MINUTE) == midnight - 30 * MINUTE
    open_ = midnight + 870 * MINUTE  # 14:30 UTC
    bins = Bins(Hours("XNYS"), 60 * MINUTE, 60 * MINUTE, 30 * MINUTE)
    assert bins.start_of(open_ + 59 * MINUTE) == open_
    assert bins.end_of(open_ + 360 * MINUTE) == open_ + 390 * MINUTE
    with pytest.raises(ConfigError, match="vendor_offset is 1h"):
        Bins(Hours(), 60 * MINUTE, 60 * MINUTE, 60 * MINUTE)


def test_a_timestamp_is_complete_when_all_have_come() -> None:
    """Not before the last, and not later than that."""
    made = assembly()
    made.add(bar("B", NINE), NINE + MINUTE)
    assert not made.is_complete(NINE + MINUTE)
    made.add(bar("A", NINE), NINE + MINUTE)
    assert made.is_complete(NINE + MINUTE)
    stamp = made.take()
    assert (stamp.time, closes(stamp)) == (NINE + MINUTE, {"A": 10.0, "B": 10.0})
    assert made.next_end() is None
    assert not made.is_complete(NINE + 60 * MINUTE)


def test_a_later_bar_shows_that_an_earlier_one_will_not_come() -> None:
    """A did not trade in the first minute, and nobody waits for it."""
    made = assembly()
    made.add(bar("B", NINE), NINE + MINUTE)
    made.add(bar("A", NINE + MINUTE), NINE + MINUTE + SECOND)
    assert made.is_complete(NINE + MINUTE + SECOND)
    assert closes(made.take()) == {"B": 10.0}
    assert not made.is_complete(NINE + MINUTE + SECOND)


def test_grace_ends_the_wait() -> None:
    """To the microsecond, counted from the bar's end."""
    made = assembly()
    made.add(bar("B", NINE), NINE + MINUTE)
    assert made.due_at() == NINE + MINUTE + GRACE
    assert not made.is_complete(NINE + MINUTE + GRACE - 1)
    assert made.is_complete(NINE + MINUTE + GRACE)


@pytest.mark.parametrize(
    ("then", "counted"),
    [
        (bar("A", NINE, 11.0), {"late_bars": 1}),
        (bar("A", NINE, 11.0, is_update=True), {"late_bars": 1}),
        (bar("B", NINE), {"duplicates": 1}),
        (bar("B", NINE, 11.0), {"corrected": 1}),
        (bar("B", NINE, 11.0, is_update=True), {"corrected": 1}),
        (bar("A", NINE - MINUTE), {"late_bars": 1}),
    ],
)
def test_what_comes_after_its_timestamp_is_counted_and_not_given(
    then: LiveBar, counted: dict[str, int]
) -> None:
    """B had its bar, A had none."""
    made = assembly()
    made.add(bar("B", NINE), NINE + MINUTE)
    made.take()
    made.add(then, NINE + 2 * MINUTE)
    assert counts(made) == counted
    assert made.next_end() is None


def test_before_its_timestamp_is_given_an_update_replaces() -> None:
    """And the same again is a duplicate."""
    made = assembly("A")
    made.add(bar("A", NINE, volume=math.nan), NINE + MINUTE)
    made.add(bar("A", NINE, volume=math.nan), NINE + MINUTE)
    made.add(bar("A", NINE, 12.0, is_update=True), NINE + MINUTE)
    assert closes(made.take()) == {"A": 12.0}
    assert counts(made) == {"duplicates": 1, "replaced": 1}


def test_nothing_that_ended_before_the_start_is_given() -> None:
    """The vendor's last bar before we came says nothing of those that were sent before it."""
    made = assembly("A")
    made.add(bar("A", NINE - MINUTE), NINE)
    assert counts(made) == {"before_start": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"high": math.nan}, "high is nan"),
        ({"high": 9.5}, "high 9.5 is below open 10.0"),
        ({"volume": None}, "volume is None, not a number"),
        ({"open": "10"}, "open is '10'"),
        ({"start": NINE + 1}, "not where the vendor's bars begin"),
        ({"start": NINE + 3000 * MINUTE}, "more than a day in the future"),
    ],
)
def test_a_bad_bar_is_left_out_counted_and_logged(
    fields: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Beside it life goes on."""
    made = assembly("A")
    made.add(bar("A", **{"start": NINE, **fields}), NINE + MINUTE)
    assert counts(made) == {"bad_bars": 1}
    assert words in caplog.text
    assert "'A'" in caplog.text


def test_an_asset_nobody_asked_for_is_left_out() -> None:
    """It would have no code in the run."""
    made = assembly("A")
    made.add(bar("Z", NINE), NINE + MINUTE)
    assert counts(made) == {"unknown_assets": 1}


def test_minutes_add_up_to_longer_bars() -> None:
    """Open of the first, close of the last, extremes and sums, in any order of arrival."""
    made = assembly("A", minutes=5)
    parts = [
        bar("A", NINE, 10.0, high=15.0),
        bar("A", NINE + 3 * MINUTE, 12.0, low=3.0),
        bar("A", NINE + MINUTE, 11.0, volume=7.0),
    ]
    for part in parts:
        made.add(part, NINE + 4 * MINUTE)
    assert not made.is_complete(NINE + 5 * MINUTE)  # its last minute may come
    made.add(bar("A", NINE + 5 * MINUTE), NINE + 6 * MINUTE)
    (one,) = made.take().bars
    assert (one.open, one.high, one.low, one.close, one.volume) == (10.0, 15.0, 3.0, 12.0, 207.0)
    assert made.next_end() == NINE + 10 * MINUTE


def test_bars_outside_sessions_may_be_left_out() -> None:
    """New York opens at 14:30 UTC in winter time."""
    made = assembly("A", calendar="XNYS", regular_hours=True)
    opens = NINE + 330 * MINUTE
    made.add(bar("A", opens - MINUTE), opens)
    made.add(bar("A", opens), opens + MINUTE)
    assert counts(made) == {"outside_hours": 1}
    assert made.take().time == opens + MINUTE


@pytest.mark.parametrize(
    ("minutes", "at", "begin", "end"),
    [
        (60, 14 * 60 + 31, 14 * 60 + 30, 15 * 60 + 30),  # hours count from the open
        (60, 20 * 60 + 59, 20 * 60 + 30, 21 * 60),  # the last one is cut at the close
        (60, 21 * 60, 21 * 60, 22 * 60),  # after it they count from the close
        (1440, 15 * 60, 14 * 60 + 30, 21 * 60),  # a day is a session
        (5, 14 * 60 + 30, 14 * 60 + 30, 14 * 60 + 35),
    ],
)
def test_bars_of_a_session(minutes: int, at: int, begin: int, end: int) -> None:
    """Minutes of 2024-03-05 UTC; New York is open from 14:30 to 21:00."""
    bins = Bins(Hours("XNYS"), minutes * MINUTE, MINUTE)
    midnight = NINE - 540 * MINUTE
    assert bins.start_of(midnight + at * MINUTE) == midnight + begin * MINUTE
    assert bins.end_of(midnight + at * MINUTE) == midnight + end * MINUTE


def test_a_short_day_ends_early() -> None:
    """On 2024-07-03 New York closed at 17:00 UTC."""
    bins = Bins(Hours("XNYS"), 60 * MINUTE, MINUTE)
    noon = NINE + 120 * 1440 * MINUTE + 180 * MINUTE
    assert bins.end_of(noon + 299 * MINUTE) == noon + 300 * MINUTE


@pytest.mark.parametrize("minutes", [0, 1441])
def test_lengths_that_minutes_cannot_add_up_to_are_refused(minutes: int) -> None:
    """Nothing, and more than a day."""
    with pytest.raises(ConfigError, match=r"bar_duration.*multiple"):
        Bins(Hours(), minutes * MINUTE, MINUTE)


def test_what_waits_at_the_end_is_counted() -> None:
    """Nothing is lost without a word."""
    made = assembly("AB", minutes=5)
    made.add(bar("A", NINE), NINE + MINUTE)
    made.add(bar("B", NINE), NINE + MINUTE)
    made.abandon()
    assert counts(made) == {"unfinished": 2}
    assert made.next_end() is None


# -- laws ------------------------------------------------------------------------------------

ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from("ABCZ"),
        st.integers(-2, 12),  # the minute it is of
        st.sampled_from([10.0, 11.0, math.nan]),
        st.booleans(),  # an update
        st.booleans(),  # from history
        st.integers(0, 90),  # seconds since the arrival before
    ),
    max_size=60,
)


@given(arrivals=ARRIVALS, minutes=st.sampled_from([1, 2, 5]))
def test_laws_of_random_arrivals(arrivals: list[Any], minutes: int) -> None:
    """Time never goes back, each bar is given once at most, and what is not given is counted."""
    made = assembly("ABC", minutes=minutes)
    now, given_out, times = NINE + MINUTE, set[tuple[str, int]](), list[int]()
    added = 0
    for asset_id, minute, close, is_update, is_history, pause in arrivals:
        one = bar(asset_id, NINE + minute * MINUTE, close, is_update=is_update)
        made.add(one, now, is_history=is_history)
        added += 1
        now += pause * SECOND
        while made.is_complete(now):
            stamp = made.take()
            times.append(stamp.time)
            for b in stamp.bars:
                key = (b.asset_id, stamp.time)
                assert key not in given_out
                assert stamp.time - minutes * MINUTE <= b.start < stamp.time
                given_out.add(key)
            assert [b.asset_id for b in stamp.bars] == sorted({b.asset_id for b in stamp.bars})
    assert times == sorted(set(times))
    assert made.counts["timestamps"] == len(times)
    assert made.counts["bars"] == len(given_out)
    waiting = len(made)
    parts = sum(len(p) for p in made._taken.values())
    assert added == parts + waiting + sum(counts(made).values())


@given(
    order=st.permutations([(a, m) for a in "AB" for m in range(4)]),
    again=st.lists(st.integers(0, 7), max_size=5),
)
def test_the_order_of_arrival_changes_nothing(
    order: list[tuple[str, int]], again: list[int]
) -> None:
    """As long as nothing is late."""
    made = assembly("AB", minutes=2)
    for asset_id, minute in [*order, *(order[i] for i in again)]:
        made.add(bar(asset_id, NINE + minute * MINUTE, 10.0 + minute), NINE + 10)
    found = [made.take() for _ in range(2)]
    assert [closes(s) for s in found] == [{"A": 11.0, "B": 11.0}, {"A": 13.0, "B": 13.0}]
    assert counts(made) == ({"duplicates": len(again)} if again else {})
