from __future__ import annotations

import datetime as dt
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.context import Context
from ml4t.backtest.data.times import read_times
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from pathlib import Path

UTC = dt.UTC
FIRST, SECOND, THIRD = (dt.date(2021, 3, day) for day in (1, 2, 3))
VIX = {FIRST: 20.0, SECOND: 21.0}


def at(day: int, hour: int, minute: int = 0) -> dt.datetime:
    """A time in March 2021, UTC."""
    return dt.datetime(2021, 3, day, hour, minute, tzinfo=UTC)


def over(context: Context, times: list[Any], calendar: str | None = None) -> list[dict[str, Any]]:
    """The context of a run's bars at these times."""
    read, axis = read_times(pl.Series(times), source="bars")
    known = None if calendar is None else TradingCalendar(calendar)
    lookup = context.bind(axis, known)(read)
    return [lookup(i) for i in range(len(times))]


# What is known when.


def test_the_latest_value_at_or_before_a_time() -> None:
    """Before the first there is none."""
    context = Context({"VIX": {at(1, 10): 20.0, at(1, 12): 21.0}})
    times = [at(1, 9, 59), at(1, 10), at(1, 11, 59), at(1, 12)]
    expected = [{}, {"VIX": 20.0}, {"VIX": 20.0}, {"VIX": 21.0}]
    assert [context.at(t) for t in times] == expected
    assert over(context, times) == expected


def test_labels_meet_labels_as_sessions() -> None:
    """A daily bar sees the value of its own day."""
    context = Context({"VIX": VIX})
    midnights = [dt.datetime(2021, 3, day) for day in (1, 2, 3)]
    expected = [{"VIX": 20.0}, {"VIX": 21.0}, {"VIX": 21.0}]
    assert over(context, midnights) == expected
    assert over(context, [FIRST, SECOND, THIRD]) == expected
    assert [context.at(t) for t in (FIRST, SECOND, THIRD)] == expected
    assert [context.at(t) for t in midnights] == expected


def test_a_minute_bar_does_not_see_the_label_of_its_day() -> None:
    """It is known at the close by the calendar, else when the day is over."""
    context = Context({"VIX": VIX})
    times = [at(1, 20, 59), at(1, 21), at(2, 20, 59), at(2, 21)]
    closed = [{}, {"VIX": 20.0}, {"VIX": 20.0}, {"VIX": 21.0}]
    assert over(context, times, "XNYS") == closed
    over_day = [{}, {}, {"VIX": 20.0}, {"VIX": 20.0}]
    assert over(context, times) == over_day
    assert [context.at(t) for t in times] == over_day


def test_a_daily_bar_sees_an_instant_of_its_day() -> None:
    """The bar is known at its close."""
    context = Context({"regime": {at(2, 9): "up"}})
    assert over(context, [FIRST, SECOND]) == [{}, {"regime": "up"}]
    assert [context.at(t) for t in (FIRST, SECOND)] == [{}, {"regime": "up"}]


def test_midnight_is_an_instant_to_a_series_of_instants() -> None:
    """Nothing of the day that begins is known."""
    context = Context({"regime": {at(2, 0, 1): "up"}})
    assert context.at(at(2, 0)) == {}


def test_midnight_of_round_the_clock_bars_is_an_instant() -> None:
    """In a run of minutes the label of the day that begins is not known at its midnight."""
    context = Context({"VIX": VIX})
    times = [at(2, 0), at(2, 0, 1), at(3, 0)]
    assert over(context, times) == [{"VIX": 20.0}, {"VIX": 20.0}, {"VIX": 21.0}]


def test_labels_with_a_zone_end_on_their_own_clock() -> None:
    """A day of New York ends at 05:00 UTC in winter."""
    local = pl.Series([FIRST]).cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York")
    context = Context({"VIX": pl.DataFrame({"date": local, "close": [20.0]})})
    assert over(context, [at(2, 4, 59), at(2, 5)]) == [{}, {"VIX": 20.0}]
    assert [context.at(t) for t in (at(2, 4, 59), at(2, 5))] == [{}, {"VIX": 20.0}]


def test_a_delay_moves_what_is_known() -> None:
    """Whole days move labels; hours are added to the end of the day."""
    assert over(Context({"VIX": VIX}, delay="1d"), [FIRST, SECOND]) == [{}, {"VIX": 20.0}]
    hours = Context({"VIX": VIX}, delay=dt.timedelta(hours=2))
    times = [at(1, 22, 59), at(1, 23)]
    assert over(hours, times, "XNYS") == [{}, {"VIX": 20.0}]
    assert over(hours, [FIRST, SECOND]) == [{}, {"VIX": 20.0}]


def test_a_null_changes_nothing() -> None:
    """Null and NaN are no values; the last one stays."""
    context = Context(
        {"VIX": {FIRST: 20.0, SECOND: None}, "DXY": {FIRST: 90.0, SECOND: float("nan")}}
    )
    assert context.at(SECOND) == {"VIX": 20.0, "DXY": 90.0}


def test_series_keep_their_own_times() -> None:
    """Each is looked up by itself."""
    context = Context({"VIX": VIX, "regime": {at(1, 9): "up"}, "open": {SECOND: True}})
    assert over(context, [FIRST, SECOND]) == [
        {"VIX": 20.0, "regime": "up"},
        {"VIX": 21.0, "regime": "up", "open": True},
    ]


def test_every_look_up_is_a_new_plain_dict() -> None:
    """What a strategy does to its context stays with it."""
    context = Context({"VIX": VIX})
    read, axis = read_times(pl.Series([FIRST]), source="bars")
    lookup = context.bind(axis)(read)
    lookup(0)["VIX"] = 99.0
    assert lookup(0) == {"VIX": 20.0}
    assert type(lookup(0)) is dict
    assert type(lookup(0)["VIX"]) is float


@given(
    st.dictionaries(st.integers(0, 30), st.none() | st.floats(0, 1), min_size=1),
    st.dictionaries(st.integers(0, 30), st.booleans(), min_size=1),
    st.lists(st.integers(0, 30), unique=True, min_size=1),
)
def test_looking_up_agrees_with_a_loop(
    numbers: dict[int, float | None], flags: dict[int, bool], asked: list[int]
) -> None:
    """Many at once, one at a time, and by a loop over all values."""
    numbers[0] = 0.5
    start = dt.datetime(2021, 3, 1, 9, 30)

    def when(i: int) -> dt.datetime:
        return start + dt.timedelta(minutes=i)

    context = Context(
        {
            "number": {when(i): value for i, value in numbers.items()},
            "flag": {when(i): value for i, value in flags.items()},
        }
    )
    expected = []
    for t in sorted(asked):
        one: dict[str, Any] = {}
        for name, series in (("number", numbers), ("flag", flags)):
            past = [(i, value) for i, value in series.items() if i <= t and value is not None]
            if past:
                one[name] = max(past, key=lambda pair: pair[0])[1]
        expected.append(one)
    times = [when(t) for t in sorted(asked)]
    assert over(context, times) == expected
    assert [context.at(t) for t in times] == expected


# What it is made of.


def test_every_form_of_a_series_is_read(tmp_path: Path) -> None:
    """Frames, dated and undated series, arrays, mappings, files."""
    frame = pl.DataFrame({"date": list(VIX), "close": list(VIX.values())})
    frame.write_csv(tmp_path / "vix.csv")
    index = pd.DatetimeIndex(["2021-03-01", "2021-03-02"])
    values = list(VIX.values())
    forms: list[Any] = [
        frame,
        frame.lazy(),
        frame.to_arrow(),
        frame.to_pandas(),
        tmp_path / "vix.csv",
        VIX,
        {"2021-03-01": 20.0, "2021-03-02": 21.0},
        pd.Series(values, index=index),
        pd.Series(values, index=list(VIX)),
        pd.DataFrame({"vix": values}, index=index),
    ]
    for form in forms:
        assert Context({"VIX": form}).at(SECOND) == {"VIX": 21.0}
    undated: list[Any] = [
        pl.Series(values),
        pd.Series(values),
        np.array(values),
        values,
    ]
    for form in undated:
        assert Context({"VIX": form}, timestamps=list(VIX)).at(FIRST) == {"VIX": 20.0}
        assert Context({"VIX": form}, timestamps=index).at(FIRST) == {"VIX": 20.0}


def test_dated_and_undated_series_may_be_mixed() -> None:
    """`timestamps` is for those that have none."""
    context = Context({"VIX": VIX, "DXY": [90.0, 91.0]}, timestamps=[FIRST, SECOND])
    assert context.at(SECOND) == {"VIX": 21.0, "DXY": 91.0}


def test_a_wide_frame_is_a_series_per_column() -> None:
    """The names are those of the columns."""
    frame = pl.DataFrame({"date": [FIRST, SECOND], "VIX": [20, None], "regime": ["up", "down"]})
    context = Context(frame)
    assert context.names == ["VIX", "regime"]
    assert context.at(SECOND) == {"VIX": 20.0, "regime": "down"}


def test_a_long_frame_is_a_series_per_name() -> None:
    """Columns `timestamp`, `name`, `value`."""
    frame = pl.DataFrame(
        {"timestamp": [FIRST, FIRST, SECOND], "name": ["VIX", "DXY", "VIX"], "value": [20, 90, 21]}
    )
    assert Context(frame).at(SECOND) == {"DXY": 90.0, "VIX": 21.0}


def test_row_order_does_not_matter() -> None:
    """Series are sorted on the way in."""
    assert Context({"VIX": {SECOND: 21.0, FIRST: 20.0}}).at(FIRST) == {"VIX": 20.0}


def test_the_recorded_context_is_read(shared_data: Path) -> None:
    """Long form, from 1919 on, with series that begin later."""
    frame = pl.read_parquet(shared_data / "context_daily.parquet")
    context = Context(frame)
    day = dt.date(2015, 1, 2)
    expected = {}
    for (name,), part in frame.group_by("name"):
        past = part.filter(pl.col("timestamp").dt.date() <= day).drop_nulls().sort("timestamp")
        if past.height:
            expected[name] = past["value"][-1]
    assert len(expected) > 1
    assert context.at(day) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"VIX": [20.0]}, "'VIX' has values without times. Pass them with .*timestamps="),
        ({"VIX": {FIRST: [1]}}, "'VIX': values of type List"),
        ({"VIX": {FIRST: None}}, "'VIX': there are no values"),
        ({"VIX": {FIRST: 1.0, "soon": 2.0}}, "'VIX'.*"),
        ({"VIX": pl.DataFrame({"date": [FIRST]})}, "'VIX': the frame has 0 columns beside 'date'"),
        (
            {"VIX": pl.DataFrame({"date": [FIRST], "open": [1], "close": [2]})},
            r"has 2 columns beside 'date' \(open, close\). Select one",
        ),
        (
            {"VIX": pl.DataFrame({"date": [SECOND, FIRST, SECOND], "close": [1, 2, 3]})},
            r"1 values at times that have one already; the first is in row 2 \(2021-03-02\)",
        ),
        ({"VIX": pl.DataFrame({"close": [1]})}, "'VIX' has no column of times"),
        (pl.DataFrame({"date": [FIRST]}), "no column of values beside 'date'"),
        (
            pl.DataFrame({"date": [FIRST], "name": [None], "value": [1.0]}),
            "column 'name' is missing in row 0",
        ),
        (5, "is a int. Pass a Polars"),
    ],
)
def test_what_cannot_be_context_is_refused(data: Any, message: str) -> None:
    """The error names the series, the row and the remedy."""
    with pytest.raises(DataError, match=f"(?s)^context.*{message}"):
        Context(data)


def test_timestamps_must_be_as_many_and_needed() -> None:
    """Both mistakes are told."""
    with pytest.raises(DataError, match="'VIX' has 1 values, but timestamps= has 2"):
        Context({"VIX": [20.0]}, timestamps=[FIRST, SECOND])
    with pytest.raises(ConfigError, match="every series has times of its own"):
        Context({"VIX": VIX}, timestamps=[FIRST, SECOND])


def test_naive_and_zoned_times_are_refused_with_both_named() -> None:
    """In a run and in a single look-up."""
    context = Context({"VIX": {dt.datetime(2021, 3, 1, 10): 20.0}})
    with pytest.raises(DataError, match="context 'VIX' is naive, the price data is in UTC"):
        context.bind(TimeAxis(zone="UTC"))
    with pytest.raises(DataError, match="context 'VIX' is naive"):
        context.at(at(1, 10))


def test_only_times_can_be_asked_for() -> None:
    """Text is not one."""
    with pytest.raises(DataError, match="pass a datetime or a date"):
        Context({"VIX": VIX}).at("2021-03-01")  # type: ignore[arg-type]


def test_the_description_tells_two_contexts_apart() -> None:
    """Same shape, another value, another hash; same value, same hash."""
    one, other = Context({"VIX": VIX}), Context({"VIX": VIX | {SECOND: 22.0}})
    assert one.describe() == Context({"VIX": VIX}).describe()
    assert one.describe() | {"content": ""} == other.describe() | {"content": ""}
    assert one.describe()["content"] != other.describe()["content"]
    assert repr(one) == "Context(VIX)"


def test_context_is_stored_once_for_all_assets() -> None:
    """Ten series for 500 assets over 2,520 days take less than a fiftieth of ten columns."""
    days = pl.date_range(dt.date(2010, 1, 1), dt.date(2016, 11, 24), eager=True)
    assert len(days) == 2520
    rng = np.random.default_rng(7)
    names = [f"series_{i}" for i in range(10)]
    frame = pl.DataFrame({"date": days} | {name: rng.random(2520) for name in names})
    tracemalloc.start()
    context = Context(frame)
    times, axis = read_times(days, source="bars")
    lookup = context.bind(axis)(times)
    assert len(lookup(2519)) == 10
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    embedded = 500 * 2520 * 10 * 8
    assert used * 50 < embedded
