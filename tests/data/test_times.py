from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.times import (
    add_delay,
    check_same_zone,
    from_wall_clock,
    known_times,
    read_duration,
    read_moment,
    read_times,
    sessions_of,
    to_wall_clock,
)
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import DAY_US, TimeAxis

NEW_YORK = "America/New_York"
DATES = TimeAxis(is_session=True, is_date=True)
HOUR_US = 3_600_000_000


def us(text: str) -> int:
    """ISO text as microseconds since 1970, UTC when it has an offset."""
    moment = dt.datetime.fromisoformat(text)
    epoch = dt.datetime(1970, 1, 1, tzinfo=None if moment.tzinfo is None else dt.UTC)
    return (moment - epoch) // dt.timedelta(microseconds=1)


def days(*texts: str) -> list[int]:
    """Dates as days since 1970."""
    return [us(text) // DAY_US for text in texts]


def read(values: list, dtype: pl.DataType | None = None) -> tuple[list[int], TimeAxis]:
    """A column of times, read."""
    times, axis = read_times(pl.Series(values, dtype=dtype), source="prices", column="when")
    assert times.dtype == np.int64
    return times.tolist(), axis


def test_dates_are_labels_of_sessions() -> None:
    """A column of dates is its midnights, without a zone."""
    assert read([dt.date(2020, 1, 2)]) == ([us("2020-01-02")], DATES)


def test_naive_midnights_are_labels_of_sessions() -> None:
    """When all times are midnight they are labels, but stay times in the output."""
    times, axis = read([dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 3)])
    assert times == [us("2020-01-02"), us("2020-01-03")]
    assert axis == TimeAxis(is_session=True)


def test_one_time_of_day_makes_all_of_them_instants() -> None:
    """A single time that is not midnight says that the column holds moments."""
    _, axis = read([dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 3, 0, 0, 1)])
    assert axis == TimeAxis()


def test_midnight_is_meant_on_the_sources_own_clock() -> None:
    """Midnight in New York is a label, midnight in UTC is not one there; summer time counts."""
    winter_and_summer = pl.Series([dt.datetime(2020, 1, 2), dt.datetime(2020, 7, 2)])
    local = winter_and_summer.dt.replace_time_zone(NEW_YORK)
    assert read_times(local, source="prices")[1] == TimeAxis(zone=NEW_YORK, is_session=True)
    utc = winter_and_summer.dt.replace_time_zone("UTC").dt.convert_time_zone(NEW_YORK)
    assert read_times(utc, source="prices")[1] == TimeAxis(zone=NEW_YORK)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_every_unit_becomes_microseconds(unit: str) -> None:
    """The unit of the column does not change the time."""
    times, axis = read([dt.datetime(2020, 1, 2, 9, 30)], pl.Datetime(unit))  # type: ignore[arg-type]
    assert (times, axis) == ([us("2020-01-02T09:30")], TimeAxis())


def test_columns_in_microseconds_are_not_copied() -> None:
    """Reading a column that already is as we want it costs nothing."""
    series = pl.Series([1, 2]).cast(pl.Datetime("us"))
    times, _ = read_times(series, source="prices")
    assert np.shares_memory(times, series.to_physical().to_numpy())


def test_text_of_dates_is_labels() -> None:
    """ISO dates, as CSV files have them, are dates."""
    assert read(["2020-01-02", "2020-01-03"]) == ([us("2020-01-02"), us("2020-01-03")], DATES)


def test_text_of_times_is_naive_or_utc() -> None:
    """An offset makes a time UTC; without one it stays naive."""
    assert read(["2020-01-02 09:30:00"]) == ([us("2020-01-02T09:30")], TimeAxis())
    zoned = [us("2020-01-02T14:30")]
    assert read(["2020-01-02T09:30:00-05:00"]) == (zoned, TimeAxis(zone="UTC"))


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (pl.Series([1, 2]), "column 'when' has type Int64, not dates or times"),
        (pl.Series(["2020-01-02", None]), "1 missing times; the first is in row 1"),
        (pl.Series(["2020-01-02", "soon"]), "has 'soon' in row 1"),
        (pl.Series(["2020-01-02 09:30", "2020-01-02T09:31Z"]), "in row 1, which cannot be read"),
        (pl.Series(["20 Jan"]), "Write all times in one ISO form"),
        (
            pl.Series([1000, 1001]).cast(pl.Datetime("ns")),
            "finer than a microsecond, first in row 1",
        ),
    ],
)
def test_what_is_no_time_is_refused(series: pl.Series, message: str) -> None:
    """The error names source, column, row and remedy."""
    with pytest.raises(DataError, match=f"prices: .*{message}"):
        read_times(series, source="prices", column="when")


def test_instants_are_known_when_they_say() -> None:
    """Only labels are moved."""
    times = np.array([us("2020-01-02T09:30")])
    assert known_times(times, TimeAxis(), calendar=TradingCalendar("24/7")) is times


def test_a_label_is_known_at_the_close_by_the_calendar() -> None:
    """16:00 in New York, in winter, in summer, and 13:00 the day after Thanksgiving."""
    labels = np.array([us(d) for d in ("2020-01-02", "2020-07-02", "2020-11-27")])
    known = known_times(
        labels, DATES, to_zone_of=TimeAxis(zone="UTC"), calendar=TradingCalendar("XNYS")
    )
    expected = ["2020-01-02T21:00", "2020-07-02T20:00", "2020-11-27T18:00"]
    assert known.tolist() == [us(text) for text in expected]


def test_a_label_without_a_calendar_is_known_at_the_end_of_its_day() -> None:
    """The next midnight: naive, on the clock of the other side, or on the label's own."""
    label = np.array([us("2020-01-02")])
    assert known_times(label, DATES).tolist() == [us("2020-01-03")]
    to_new_york = known_times(label, DATES, to_zone_of=TimeAxis(zone=NEW_YORK))
    assert to_new_york.tolist() == [us("2020-01-03T00:00-05:00")]
    own = TimeAxis(zone=NEW_YORK, is_session=True)
    local = np.array([us("2020-01-02T00:00-05:00")])
    known = known_times(local, own, to_zone_of=TimeAxis(zone="UTC"))
    assert known.tolist() == [us("2020-01-03T00:00-05:00")]


def test_a_label_against_naive_instants_waits_for_the_end_of_the_day() -> None:
    """Whose clock naive times are on is unknown, so a calendar does not make labels known early."""
    label = np.array([us("2020-01-02")])
    known = known_times(label, DATES, to_zone_of=TimeAxis(), calendar=TradingCalendar("XNYS"))
    assert known.tolist() == [us("2020-01-03")]


def test_a_label_on_a_holiday_is_known_at_the_end_of_that_day() -> None:
    """A day without a session has no close; its midnight in the market's zone stands in."""
    label = np.array([us("2020-07-04")])
    known = known_times(
        label, DATES, to_zone_of=TimeAxis(zone="UTC"), calendar=TradingCalendar("XNYS")
    )
    assert known.tolist() == [us("2020-07-05T00:00-04:00")]


def test_sessions_of_labels_are_themselves() -> None:
    """Also those in a zone whose midnight is another date in UTC."""
    times = np.array([us("2020-01-02T00:00+09:00")])
    axis = TimeAxis(zone="Asia/Tokyo", is_session=True)
    assert sessions_of(times, axis).tolist() == days("2020-01-02")


def test_midnight_ends_the_day_before() -> None:
    """A bar stamped midnight belongs to the day it completes."""
    times = np.array([us("2020-01-02T00:00"), us("2020-01-02T00:01")])
    assert sessions_of(times, TimeAxis()).tolist() == days("2020-01-01", "2020-01-02")


def test_sessions_of_instants_follow_the_calendar() -> None:
    """The evening in Chicago belongs to the next day's session; naive times are read there too."""
    calendar = TradingCalendar("CMES")
    expected = days("2020-01-07")
    zoned = np.array([us("2020-01-06T18:00-06:00")])
    assert sessions_of(zoned, TimeAxis(zone="UTC"), calendar).tolist() == expected
    naive = np.array([us("2020-01-06T18:00")])
    assert sessions_of(naive, TimeAxis(), calendar).tolist() == expected


def test_naive_and_zoned_times_are_refused_with_both_sources_named() -> None:
    """Whichever comes first, the naive one is told how to get a zone."""
    naive, zoned = TimeAxis(), TimeAxis(zone="UTC")
    with pytest.raises(
        DataError, match=r"signals is naive, prices is in UTC. Give signals its zone"
    ):
        check_same_zone("prices", zoned, "signals", naive)
    with pytest.raises(
        DataError, match=r"VIX is naive, prices is in UTC.*make its times of type Date"
    ):
        check_same_zone("VIX", TimeAxis(is_session=True), "prices", zoned)


def test_dates_and_two_zones_go_together() -> None:
    """Dates have no zone to contradict, and zoned times can always be compared."""
    check_same_zone("prices", TimeAxis(zone="UTC"), "VIX", DATES)
    check_same_zone("prices", TimeAxis(zone="UTC"), "signals", TimeAxis(zone=NEW_YORK))
    check_same_zone("prices", TimeAxis(), "VIX", DATES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1d", DAY_US),
        ("30m", HOUR_US // 2),
        ("1h30m", HOUR_US * 3 // 2),
        ("90 s", 90_000_000),
        (dt.timedelta(hours=1), HOUR_US),
        (dt.timedelta(0), 0),
    ],
)
def test_durations(value: dt.timedelta | str, expected: int) -> None:
    """A timedelta, or numbers with d, h, m, s."""
    assert read_duration(value, "delay") == expected


@pytest.mark.parametrize("value", ["", "soon", "1w", "-1d", dt.timedelta(days=-1), 5])
def test_what_is_no_duration_is_refused(value: object) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match=r"delay="):
        read_duration(value, "delay")  # type: ignore[arg-type]


def test_whole_days_of_a_delay_move_labels() -> None:
    """Also over a change of the clock; what is left is returned for later."""
    axis = TimeAxis(zone=NEW_YORK, is_session=True)
    times = np.array([us("2020-03-07T00:00-05:00")])
    moved, rest = add_delay(times, axis, 2 * DAY_US + HOUR_US)
    assert (moved.tolist(), rest) == ([us("2020-03-09T00:00-04:00")], HOUR_US)


def test_a_delay_of_instants_is_elapsed_time() -> None:
    """A day later is 24 hours later."""
    moved, rest = add_delay(np.array([5]), TimeAxis(zone=NEW_YORK), DAY_US)
    assert (moved.tolist(), rest) == ([5 + DAY_US], 0)


@pytest.mark.parametrize(
    ("value", "axis", "is_end", "expected"),
    [
        ("2020-01-02", DATES, False, "2020-01-02"),
        ("2020-01-02", DATES, True, "2020-01-02"),
        ("2020-01-02", TimeAxis(), False, "2020-01-02"),
        ("2020-01-02", TimeAxis(), True, "2020-01-03"),
        (dt.date(2020, 1, 2), TimeAxis(zone=NEW_YORK), True, "2020-01-03T00:00-05:00"),
        ("2020-01-02T10:00", TimeAxis(), True, "2020-01-02T10:00"),
        (dt.datetime(2020, 1, 2, 10), DATES, False, "2020-01-02"),
        ("2020-01-02T23:00-05:00", TimeAxis(zone="UTC", is_session=True), False, "2020-01-03"),
        ("2020-01-02T10:00-05:00", TimeAxis(zone="UTC"), False, "2020-01-02T15:00"),
    ],
)
def test_bounds(value: dt.date | str, axis: TimeAxis, *, is_end: bool, expected: str) -> None:
    """A plain date as an end includes its whole day."""
    assert read_moment(value, axis, option="end", is_end=is_end) == us(expected)


@pytest.mark.parametrize(
    ("value", "axis"),
    [("soon", DATES), (5, DATES), ("2020-01-02T10:00", TimeAxis(zone="UTC"))],
)
def test_bounds_that_cannot_be_compared_are_refused(value: object, axis: TimeAxis) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match=r"start="):
        read_moment(value, axis, option="start")  # type: ignore[arg-type]


def test_wall_clocks_with_a_gap_and_a_repeat() -> None:
    """A skipped hour moves on, a repeated one is the earlier."""
    wall = np.array([us("2020-03-08T02:30"), us("2020-11-01T01:30")])
    expected = [us("2020-03-08T03:30-04:00"), us("2020-11-01T01:30-04:00")]
    assert from_wall_clock(wall, NEW_YORK).tolist() == expected


@given(
    st.lists(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2037, 1, 1)), min_size=1),
    st.sampled_from(["UTC", NEW_YORK, "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_the_zones_offset_is_that_of_polars(moments: list[dt.datetime], zone: str) -> None:
    """Our wall clock agrees with another implementation at any time of any year."""
    times = pl.Series(moments).cast(pl.Datetime("us")).to_physical().to_numpy()
    assert TimeAxis(zone=zone).to_wall(times).tolist() == to_wall_clock(times, zone).tolist()


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int32, pl.UInt32, pl.String])
def test_digits_are_dates(kind: Any) -> None:
    """20240131 is a day, as a number and as text."""
    series = pl.Series([20240102, 20240131], dtype=pl.Int64).cast(kind)
    times, axis = read_times(series, source="data")
    assert axis.is_date
    assert axis.to_datetime(int(times[1])) == dt.datetime(2024, 1, 31)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([20240131, 20240231], ["20240231 in row 1 is no day", "str.to_date('%Y%m%d')"]),
        ([20240131, 1706659200], ["Int64", "row 1 holds 1706659200", "from_epoch", "20240131"]),
        (["20240131", "20240231"], ["'20240231' in row 1", "together with '20240131'"]),
        (["99999999", "20240131"], ["'99999999' in row 0, which is no time"]),
    ],
)
def test_digits_that_are_no_dates_are_refused(values: list[Any], words: list[str]) -> None:
    """The first is shown with what to do."""
    with pytest.raises(DataError) as caught:
        read_times(pl.Series(values), source="data")
    for word in words:
        assert word in str(caught.value)
