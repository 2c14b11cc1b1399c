from __future__ import annotations

import builtins
import datetime as dt
import subprocess
import sys
from typing import Any

import exchange_calendars
import numpy as np
import pytest

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.errors import ConfigError, DataError


def day(text: str) -> int:
    """A date as days since 1970."""
    return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days


def days(*texts: str) -> np.ndarray:
    """Dates as days since 1970."""
    return np.array([day(text) for text in texts], dtype=np.int32)


def show(found: np.ndarray) -> list[str]:
    """Days as text."""
    return [str(d) for d in found.astype("datetime64[D]")]


def us(text: str) -> int:
    """A time with an offset as microseconds since 1970 UTC."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (dt.datetime.fromisoformat(text) - epoch) // dt.timedelta(microseconds=1)


@pytest.fixture(scope="module")
def nyse() -> TradingCalendar:
    """The New York Stock Exchange."""
    return TradingCalendar("XNYS")


def test_sessions_leave_out_weekends_and_holidays(nyse: TradingCalendar) -> None:
    """Christmas 2020 was a Friday."""
    found = nyse.sessions(day("2020-12-24"), day("2020-12-29"))
    assert show(found) == ["2020-12-24", "2020-12-28", "2020-12-29"]


def test_is_session(nyse: TradingCalendar) -> None:
    """Independence Day 2019 was a Thursday."""
    assert nyse.is_session(days("2019-07-03", "2019-07-04")).tolist() == [True, False]


def test_opens_and_closes_follow_summer_time_and_half_days(nyse: TradingCalendar) -> None:
    """9:30 to 16:00 in New York; 13:00 on the day after Thanksgiving."""
    asked = days("2020-01-02", "2020-07-02", "2020-11-27")
    opens = ["2020-01-02T09:30-05:00", "2020-07-02T09:30-04:00", "2020-11-27T09:30-05:00"]
    closes = ["2020-01-02T16:00-05:00", "2020-07-02T16:00-04:00", "2020-11-27T13:00-05:00"]
    assert nyse.opens(asked).tolist() == [us(text) for text in opens]
    assert nyse.closes(asked).tolist() == [us(text) for text in closes]


def test_a_day_without_a_session_is_the_whole_day(nyse: TradingCalendar) -> None:
    """From midnight to midnight in the market's zone."""
    assert nyse.opens(days("2020-01-04")).tolist() == [us("2020-01-04T00:00-05:00")]
    assert nyse.closes(days("2020-01-04")).tolist() == [us("2020-01-05T00:00-05:00")]


@pytest.mark.parametrize(
    ("time", "session"),
    [
        ("2020-01-02T09:31-05:00", "2020-01-02"),
        ("2020-01-02T16:00-05:00", "2020-01-02"),
        ("2020-01-02T04:01-05:00", "2020-01-02"),
        ("2020-01-02T20:00-05:00", "2020-01-02"),
        ("2020-01-03T00:00-05:00", "2020-01-02"),
        ("2020-01-04T12:00-05:00", "2020-01-06"),
        ("2020-01-20T12:00-05:00", "2020-01-21"),
    ],
)
def test_session_of_an_instant(nyse: TradingCalendar, time: str, session: str) -> None:
    """In hours, at the close, before and after the market, at midnight, on closed days."""
    assert show(nyse.sessions_of(np.array([us(time)]))) == [session]


def test_a_session_may_begin_the_day_before() -> None:
    """Futures open on Sunday evening for Monday; the open itself ends the pause."""
    times = ["2020-01-05T17:00-06:00", "2020-01-05T17:01-06:00", "2020-01-06T17:00-06:00"]
    found = TradingCalendar("CMES").sessions_of(np.array([us(text) for text in times]))
    assert show(found) == ["2020-01-06", "2020-01-06", "2020-01-06"]


def test_no_times_have_no_sessions(nyse: TradingCalendar) -> None:
    """An empty chunk is allowed."""
    assert len(nyse.sessions_of(np.empty(0, dtype=np.int64))) == 0


def test_month_and_week_ends_are_those_of_the_market(nyse: TradingCalendar) -> None:
    """28 February 2020 was a Friday before a weekend; Good Friday shortens a week."""
    bounds = day("2020-02-01"), day("2020-04-30")
    assert show(nyse.lasts("month", *bounds)) == ["2020-02-28", "2020-03-31", "2020-04-30"]
    assert show(nyse.firsts("month", *bounds)) == ["2020-02-03", "2020-03-02", "2020-04-01"]
    april = day("2020-04-06"), day("2020-04-20")
    assert show(nyse.lasts("week", *april)) == ["2020-04-09", "2020-04-17"]
    assert show(nyse.firsts("week", *april)) == ["2020-04-06", "2020-04-13", "2020-04-20"]


def test_periods_per_year_count_whole_calendar_years(nyse: TradingCalendar) -> None:
    """2007 to 2016 had 251, 253, 252, 252, 252, 250, 252, 252, 252 and 252 sessions."""
    assert nyse.periods_per_year(day("2007-01-04"), day("2016-12-30")) == 251.8
    assert nyse.periods_per_year(day("2014-03-03"), day("2014-05-30")) == 252


def test_periods_per_year_where_a_whole_year_is_not_known() -> None:
    """A calendar of the first half of 2019 counts the days of the run."""
    half = exchange_calendars.get_calendar("XLON", start="2019-01-02", end="2019-06-28")
    calendar = TradingCalendar(half)
    found = calendar.periods_per_year(day("2019-01-02"), day("2019-06-28"))
    assert found == pytest.approx(len(half.sessions) * 365.25 / 178)


def test_24_7_is_every_day() -> None:
    """Sessions from midnight to midnight UTC, any year."""
    calendar = TradingCalendar("24/7")
    assert calendar.zone == "UTC"
    assert len(calendar.sessions(day("1950-01-01"), day("1950-12-31"))) == 365
    assert calendar.closes(days("2020-01-04")).tolist() == [us("2020-01-05T00:00+00:00")]
    assert calendar.periods_per_year(day("2021-02-01"), day("2021-03-01")) == 365


def test_24_7_needs_no_library() -> None:
    """Neither the calendar library nor pandas is loaded for it."""
    code = (
        "import sys; from ml4t.backtest.data.calendar import TradingCalendar;"
        "TradingCalendar('24/7'); "
        "assert not {'pandas', 'exchange_calendars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_covers_more_years_when_asked(nyse: TradingCalendar) -> None:
    """The library's default begins twenty years ago."""
    assert show(nyse.sessions(day("1975-01-01"), day("1975-01-05")))[0] == "1975-01-02"
    assert show(nyse.sessions(day("2040-01-01"), day("2040-01-03"))) == ["2040-01-03"]


def test_beyond_what_is_recorded_is_refused() -> None:
    """Tokyo is recorded from 1997."""
    calendar = TradingCalendar("XTKS")
    with pytest.raises(DataError, match=r"'XTKS' knows the sessions from 1997-01-01 to .* 1996-01"):
        calendar.sessions(day("1996-01-01"), day("1996-02-01"))
    with pytest.raises(DataError, match="Leave these data out"):
        calendar.sessions_of(np.array([us("1996-01-05T03:00+00:00")]))


def test_a_calendar_object_covers_what_it_was_built_for() -> None:
    """Data at its edges are fine; beyond them the error says what to do."""
    calendar = TradingCalendar(
        exchange_calendars.get_calendar("XLON", start="2019-01-02", end="2019-12-31")
    )
    assert calendar.name == "XLON"
    assert show(calendar.lasts("month", day("2019-12-01"), day("2019-12-31"))) == ["2019-12-31"]
    edge = np.array([us("2019-12-31T12:30+00:00")])
    assert show(calendar.sessions_of(edge)) == ["2019-12-31"]
    with pytest.raises(DataError, match="by name, or build it with an earlier start="):
        calendar.sessions(day("2019-12-31"), day("2020-01-02"))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """A slip of the finger is named."""
    with pytest.raises(ConfigError, match=r"no calendar 'XNYX'\. Did you mean .*'XNYS'"):
        TradingCalendar("XNYX")


def test_what_is_no_calendar_is_refused() -> None:
    """The error says what can be passed."""
    with pytest.raises(ConfigError, match="calendar=5 is not a calendar"):
        TradingCalendar(5)


def test_without_the_library_the_error_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be copied into a shell."""
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name == "exchange_calendars":
            raise ImportError("No module named 'exchange_calendars'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[calendar\]'"):
        TradingCalendar("XNYS")
