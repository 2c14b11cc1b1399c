"""When a scheduled function is due: decided from the calendar and the clock, never from later bars.

A rule names moments: the first or last session of a week or month, a time of day, or the passing of
an interval. It is due at the first timestamp at or after each moment, once. On session labels a
session is one moment. On instants `month_start` and `week_start` are the first timestamp of the
session, `month_end` and `week_end` the first at or after its close. When there are no bars at that
moment the next timestamp is due instead, however late, but moments before the session of the first
timestamp are not made up for.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from ml4t.backtest.data.times import from_wall_clock, to_wall_clock
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from ml4t.backtest.data.calendar import Span, TradingCalendar
    from ml4t.backtest.types.time import TimeAxis

RULES = ("week_start", "week_end", "month_start", "month_end")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_AHEAD = 400  # days for which sessions are looked up at once
_NEVER = 2**63 - 1


class _Rule(Protocol):
    def is_due(self, known: int, session: int) -> bool: ...


class Schedule:
    """One rule of `Strategy.every`, asked once per timestamp, in order.

    Args:
        rule: "month_start", "month_end", "week_start" or "week_end"; a time of day such as "15:45",
            on the wall clock of the calendar's market; or a timedelta.
        axis: How the times of the bars are read. Naive instants are read on the wall clock of the
            calendar's market.
        calendar: The run's; only a timedelta does without.

    Raises:
        ConfigError: No such rule, no calendar where one is needed, or a time of day on bars that
            are labelled by session.
    """

    def __init__(
        self, rule: str | dt.timedelta, axis: TimeAxis, calendar: TradingCalendar | None = None
    ) -> None:
        self.rule = rule
        self._rule = _read_rule(rule, axis, calendar)

    def __repr__(self) -> str:
        return f"Schedule({self.rule!r})"

    def is_due(self, known: int, session: int) -> bool:
        """Whether the function is to run at this timestamp.

        Args:
            known: The timestamp, in microseconds of the run's axis.
            session: The session it belongs to, in days since 1970-01-01.
        """
        return self._rule.is_due(known, session)


class _Interval:
    """Due at the first timestamp, then whenever so much time has passed since it was last due."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._next = -_NEVER

    def is_due(self, known: int, session: int) -> bool:
        if known < self._next:
            return False
        self._next = known + self._interval
        return True


class _SessionRule:
    """Due at the first timestamp in or after certain sessions, or at or after their closes."""

    def __init__(self, rule: str, axis: TimeAxis, calendar: TradingCalendar) -> None:
        span, edge = rule.split("_")
        self._span = cast("Span", span)
        self._is_start = edge == "start"
        self._at_close = edge == "end" and not axis.is_session
        self._axis = axis
        self._calendar = calendar
        self._moments: list[int] = []
        self._until: int | None = None  # the last session looked up

    def is_due(self, known: int, session: int) -> bool:
        if self._until is None or session > self._until:
            self._look_up(session)
        now = known if self._at_close else session
        is_due = False
        while self._moments and self._moments[-1] <= now:
            self._moments.pop()
            is_due = True
        return is_due

    def _look_up(self, session: int) -> None:
        start = session if self._until is None else self._until + 1
        self._calendar.sessions(session, session)  # refuses what it does not know
        stop = session + _AHEAD
        find = self._calendar.firsts if self._is_start else self._calendar.lasts
        found = find(self._span, start, stop)
        if self._at_close:
            found = self._calendar.closes(found)
            if self._axis.zone is None:
                found = to_wall_clock(found, self._calendar.zone)
        self._moments = found.tolist()[::-1] + self._moments  # the next one is at the end
        self._until = stop


class _TimeOfDay:
    """Due at the first timestamp of a session at or after a time of day."""

    def __init__(self, microseconds: int, axis: TimeAxis, calendar: TradingCalendar) -> None:
        self._time = microseconds
        self._axis = axis
        self._calendar = calendar
        self._session = -_NEVER
        self._moment = _NEVER
        self._moments: dict[int, int] = {}

    def is_due(self, known: int, session: int) -> bool:
        if session != self._session:
            self._session = session
            if session not in self._moments:
                self._look_up(session)
            self._moment = self._moments[session]
        if known < self._moment:
            return False
        self._moment = _NEVER
        return True

    def _look_up(self, session: int) -> None:
        """The time of day on each session's date, or on the day before when it opened then."""
        zone = self._calendar.zone
        days = self._calendar.known_sessions(session, session + _AHEAD)
        opens = to_wall_clock(self._calendar.opens(days), zone)
        closes = to_wall_clock(self._calendar.closes(days), zone)
        wall = days.astype(np.int64) * DAY_US + self._time
        wall[(wall > closes) & (wall - DAY_US > opens)] -= DAY_US
        moments = wall if self._axis.zone is None else from_wall_clock(wall, zone)
        self._moments = dict(zip(days.tolist(), moments.tolist(), strict=True))


def _read_rule(rule: Any, axis: TimeAxis, calendar: TradingCalendar | None) -> _Rule:
    if isinstance(rule, dt.timedelta):
        if rule <= dt.timedelta(0):
            raise ConfigError(f"every({rule!r}): the interval must be longer than zero.")
        return _Interval(rule // dt.timedelta(microseconds=1))
    time = _read_clock(rule)
    if time is None and rule not in RULES:
        raise ConfigError(
            f"every({rule!r}) is not a rule. {did_you_mean(rule, RULES)} A time of day such as "
            f"'15:45' and a timedelta are rules too."
        )
    if time is not None and axis.is_session:
        raise ConfigError(
            f"every({rule!r}) names a time of day, but the bars are labelled by session and know "
            f"none. Use {', '.join(repr(name) for name in RULES)} or a timedelta, or intraday bars."
        )
    if calendar is None:
        raise ConfigError(
            f"every({rule!r}) needs a calendar, to know the sessions without looking at later "
            f"bars. Pass calendar='XNYS' (or your market's) to the engine, or '24/7' for markets "
            f"that never close."
        )
    if time is not None:
        return _TimeOfDay(time, axis, calendar)
    return _SessionRule(rule, axis, calendar)


def _read_clock(rule: object) -> int | None:
    """A time of day in microseconds since midnight; None for what is not one."""
    match = _CLOCK.fullmatch(rule) if isinstance(rule, str) else None
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        time = dt.time(hour, minute, second)
    except ValueError:
        raise ConfigError(f"every({rule!r}): there is no such time of day.") from None
    seconds = (time.hour * 60 + time.minute) * 60 + time.second
    return seconds * 1_000_000
