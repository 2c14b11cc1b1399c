from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.times import read_times, sessions_of
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.strategy.schedule import Schedule
from ml4t.backtest.types.time import TimeAxis

LABELS = TimeAxis(is_session=True)
INSTANTS = TimeAxis(zone="UTC")


@pytest.fixture(scope="module")
def nyse() -> TradingCalendar:
    """The New York Stock Exchange."""
    return TradingCalendar("XNYS")


def due(rule: Any, times: list[Any], calendar: TradingCalendar | None) -> list[Any]:
    """Those of the times at which the rule is due."""
    read, axis = read_times(pl.Series(times), source="bars")
    schedule = Schedule(rule, axis, calendar)
    sessions = sessions_of(read, axis, calendar).tolist()
    steps = zip(times, read.tolist(), sessions, strict=True)
    return [time for time, known, session in steps if schedule.is_due(known, session)]


def date(text: str) -> dt.date:
    """A label."""
    return dt.date.fromisoformat(text)


def sessions(calendar: TradingCalendar, first: str, last: str) -> list[dt.date]:
    """The labels of a calendar's sessions."""
    epoch = dt.date(1970, 1, 1)
    bounds = [(date(text) - epoch).days for text in (first, last)]
    return [epoch + dt.timedelta(days=int(d)) for d in calendar.sessions(bounds[0], bounds[1])]


def minutes(*texts: str) -> list[dt.datetime]:
    """Times in New York, as UTC; "2021-03-31 16:00"."""
    naive = pl.Series([dt.datetime.fromisoformat(text) for text in texts])
    zoned = naive.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")
    return zoned.to_list()


# Sessions.


def test_month_ends_of_daily_bars_are_those_of_the_market(nyse: TradingCalendar) -> None:
    """Good Friday and weekends move them."""
    days = sessions(nyse, "2021-01-04", "2021-06-15")
    expected = ["2021-01-29", "2021-02-26", "2021-03-31", "2021-04-30", "2021-05-28"]
    assert due("month_end", days, nyse) == [date(text) for text in expected]


def test_month_and_week_starts_of_daily_bars(nyse: TradingCalendar) -> None:
    """Also the very first bar, when it is one; a holiday on Monday makes it Tuesday."""
    days = sessions(nyse, "2021-01-04", "2021-02-18")
    assert due("month_start", days, nyse) == [date("2021-01-04"), date("2021-02-01")]
    weeks = ["01-04", "01-11", "01-19", "01-25", "02-01", "02-08", "02-16"]
    assert due("week_start", days, nyse) == [date(f"2021-{text}") for text in weeks]


def test_week_ends_of_daily_bars(nyse: TradingCalendar) -> None:
    """The week of Good Friday ends on Thursday."""
    days = sessions(nyse, "2021-03-29", "2021-04-12")
    assert due("week_end", days, nyse) == [date("2021-04-01"), date("2021-04-09")]


def test_the_last_bar_of_the_data_is_not_a_month_end(nyse: TradingCalendar) -> None:
    """That the data end says nothing about the calendar."""
    days = sessions(nyse, "2021-03-01", "2021-03-30")
    assert due("month_end", days, nyse) == []


def test_a_run_that_begins_late_does_not_make_up_for_the_past(nyse: TradingCalendar) -> None:
    """The first of the month was before the first bar."""
    days = sessions(nyse, "2021-03-03", "2021-03-31")
    assert due("month_start", days, nyse) == []


def test_a_session_without_bars_is_made_up_for_at_the_next(nyse: TradingCalendar) -> None:
    """A month is not skipped because its last day is missing in the data."""
    days = [day for day in sessions(nyse, "2021-03-25", "2021-05-03") if day.day != 31]
    assert due("month_end", days, nyse) == [date("2021-04-01"), date("2021-04-30")]


def test_two_missed_sessions_are_one_call(nyse: TradingCalendar) -> None:
    """What was missed is due once."""
    days = [date("2021-01-04"), date("2021-06-15"), date("2021-06-16")]
    assert due("month_end", days, nyse) == [date("2021-06-15")]


def test_24_7_ends_its_months_and_weeks_on_calendar_days() -> None:
    """Weeks end on Sunday."""
    always = TradingCalendar("24/7")
    days = sessions(always, "2021-02-25", "2021-03-08")
    assert due("month_end", days, always) == [date("2021-02-28")]
    assert due("week_end", days, always) == [date("2021-02-28"), date("2021-03-07")]
    assert due("week_start", days, always) == [date("2021-03-01"), date("2021-03-08")]


def test_years_of_sessions_are_looked_up_as_they_come(nyse: TradingCalendar) -> None:
    """Twelve month ends a year, for five years."""
    days = sessions(nyse, "2015-01-02", "2019-12-31")
    found = due("month_end", days, nyse)
    assert len(found) == 60
    assert {day.month for day in found} == set(range(1, 13))


def test_ends_of_intraday_bars_are_due_at_the_close(nyse: TradingCalendar) -> None:
    """At the bar stamped 16:00, once; later bars of the evening are not due again."""
    times = minutes("2021-03-31 15:59", "2021-03-31 16:00", "2021-03-31 18:00", "2021-04-01 09:31")
    assert due("month_end", times, nyse) == [times[1]]


def test_ends_of_intraday_bars_wait_for_a_bar(nyse: TradingCalendar) -> None:
    """Without one at the close the next is due."""
    times = minutes("2021-03-31 15:55", "2021-04-01 09:31", "2021-04-01 09:32")
    assert due("month_end", times, nyse) == [times[1]]


def test_a_half_day_closes_early(nyse: TradingCalendar) -> None:
    """The Friday after Thanksgiving closes at 13:00 and ends its week."""
    times = minutes("2020-11-27 12:59", "2020-11-27 13:00", "2020-11-27 16:00")
    assert due("week_end", times, nyse) == [times[1]]


def test_starts_of_intraday_bars_are_due_at_the_first_bar(nyse: TradingCalendar) -> None:
    """Once, however many bars the session has."""
    times = minutes("2021-03-31 16:00", "2021-04-01 08:00", "2021-04-01 09:31", "2021-04-05 09:31")
    assert due("month_start", times, nyse) == [times[1]]
    assert due("week_start", times, nyse) == [times[3]]


def test_naive_times_are_read_on_the_markets_clock(nyse: TradingCalendar) -> None:
    """16:00 is the close in New York."""
    times = [dt.datetime(2021, 3, 31, 15, 59), dt.datetime(2021, 3, 31, 16)]
    assert due("month_end", times, nyse) == [times[1]]
    assert due("16:00", times, nyse) == [times[1]]


# Times of day.


def test_a_time_of_day_is_due_once_a_session(nyse: TradingCalendar) -> None:
    """At the first bar at or after it, in the market's zone, in winter and in summer."""
    times = minutes(
        "2021-03-12 15:44", "2021-03-12 15:45", "2021-03-12 15:46",
        "2021-03-15 15:44", "2021-03-15 15:47", "2021-03-15 15:48",
    )  # fmt: skip
    assert due("15:45", times, nyse) == [times[1], times[4]]


def test_a_time_of_day_after_the_last_bar_is_skipped(nyse: TradingCalendar) -> None:
    """A half day is over at 13:00; the next morning is not made to stand in."""
    times = minutes("2020-11-27 12:59", "2020-11-27 13:00", "2020-11-30 09:31", "2020-11-30 15:45")
    assert due("15:45", times, nyse) == [times[3]]


def test_a_time_of_day_in_the_evening_before() -> None:
    """The session of Tuesday begins on Monday at 17:00 in Chicago."""
    calendar = TradingCalendar("CMES")
    naive = [dt.datetime(2021, 3, 8, 18), dt.datetime(2021, 3, 8, 19), dt.datetime(2021, 3, 9, 15)]
    assert due("18:30", naive, calendar) == [naive[1]]


def test_a_time_of_day_may_have_seconds_and_one_digit(nyse: TradingCalendar) -> None:
    """9:31 and 09:31:00 are the same."""
    times = minutes("2021-03-12 09:30", "2021-03-12 09:31")
    assert due("9:31", times, nyse) == due("09:31:00", times, nyse) == [times[1]]


def test_a_time_of_day_on_session_labels_is_refused(nyse: TradingCalendar) -> None:
    """Daily bars know no time of day."""
    with pytest.raises(ConfigError, match=r"every\('15:45'\) names a time of day, but the bars"):
        Schedule("15:45", LABELS, nyse)


# Intervals.


def test_an_interval_is_due_at_first_and_then_when_it_has_passed() -> None:
    """It needs no calendar; the count begins anew each time it is due."""
    times = [dt.datetime(2021, 3, 1, 9, minute) for minute in (30, 34, 35, 42, 46, 47)]
    expected = [times[0], times[2], times[3], times[5]]
    assert due(dt.timedelta(minutes=5), times, None) == expected


def test_an_interval_on_daily_bars() -> None:
    """A week after Monday is Monday."""
    days = [dt.date(2021, 3, day) for day in (1, 2, 5, 8, 9, 15)]
    assert due(dt.timedelta(days=7), days, None) == [days[0], days[3], days[5]]


# What is refused.


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("month-end", r"every\('month-end'\) is not a rule. Did you mean 'month_end'"),
        ("25:00", "there is no such time of day"),
        (dt.timedelta(0), "must be longer than zero"),
        (5, r"every\(5\) is not a rule"),
    ],
)
def test_what_is_no_rule_is_refused(rule: Any, message: str) -> None:
    """The error shows what was given and what there is."""
    with pytest.raises(ConfigError, match=message):
        Schedule(rule, INSTANTS, TradingCalendar("24/7"))


@pytest.mark.parametrize("rule", ["month_end", "15:45"])
def test_without_a_calendar_the_error_says_how_to_pass_one(rule: str) -> None:
    """Both spellings, for markets that close and that do not."""
    with pytest.raises(ConfigError, match=r"Pass calendar='XNYS' .* or '24/7'"):
        Schedule(rule, INSTANTS)


def test_sessions_the_calendar_does_not_know_are_refused() -> None:
    """The calendar of Tokyo begins in 1997."""
    schedule = Schedule("month_end", LABELS, TradingCalendar("XTKS"))
    with pytest.raises(DataError, match=r"'XTKS' knows the sessions from 1997-01-01"):
        schedule.is_due(0, 0)


def test_a_schedule_shows_its_rule() -> None:
    """For error texts and debuggers."""
    assert repr(Schedule(dt.timedelta(days=1), LABELS)) == "Schedule(datetime.timedelta(days=1))"
