"""Sessions of a market: when they open and close, and which end a month or week.

Wraps the kept library exchange_calendars (extra `calendar`), which is imported when the first
question is asked. Sessions are int32 days since 1970-01-01, times microseconds UTC. The round
the clock calendar "24/7" needs no library.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml4t.backtest.data.times import midnights, to_wall_clock
from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from types import ModuleType

Span = Literal["week", "month"]

_ALWAYS_OPEN = "24/7"
_INSTALL = "pip install 'ml4t-backtest[calendar]'"
_YEAR_DAYS = 365.25
# Built once, generously: 57 years take 0.15 s, most of it independent of the length.
_FIRST_YEAR, _LAST_YEAR = 1980, 2036
_FOREVER = 2**31 - 1
_NEVER = 2**63 - 1
_MARGIN = 40  # days: more than a month, so that the next session's month is known


class TradingCalendar:
    """The sessions of one market.

    Args:
        source: Name of a calendar ("XNYS", "24/7", ...), or a calendar of exchange_calendars.
            A name covers all the years its market is recorded for; an object covers what it was
            built for.

    Attributes:
        name: Name of the calendar.
        zone: Time zone of the market.
        is_fixed: It was made from an object, which its name does not stand for.

    Raises:
        ConfigError: No such calendar, or the library is not installed.

    Example:
        >>> calendar = TradingCalendar("24/7")
        >>> calendar.sessions(18_262, 18_264).tolist()  # 2020-01-01 to 2020-01-03
        [18262, 18263, 18264]
    """

    def __init__(self, source: Any) -> None:
        self.is_fixed = not isinstance(source, str)
        self._object: Any = source if self.is_fixed else None
        self._low, self._high = -_FOREVER, _FOREVER
        if source == _ALWAYS_OPEN:
            self.name, self.zone = _ALWAYS_OPEN, "UTC"
        elif not self.is_fixed:
            self._low, self._high = _recorded(source)
            self.name = source
        self._first = max(self._low, _year_day(_FIRST_YEAR))
        self._last = min(self._high, _year_day(_LAST_YEAR) - 1)
        self._load()

    def __repr__(self) -> str:
        return f"TradingCalendar({self.name!r})"

    def sessions(self, first: int, last: int) -> np.ndarray:
        """The sessions from day `first` to day `last`, both included."""
        self._cover(first, last)
        return _within(self._labels, first, last)

    def known_sessions(self, first: int, last: int) -> np.ndarray:
        """As `sessions`; where the calendar ends before `last`, those it knows."""
        self._reach(first, last)
        return self.sessions(first, max(first, min(last, self._last)))

    def is_session(self, days: np.ndarray) -> np.ndarray:
        """Which of these days are sessions, bool[n]."""
        found: np.ndarray = self._labels[self._find(days)] == days
        return found

    def opens(self, days: np.ndarray) -> np.ndarray:
        """When sessions open, int64[n]; a day without a session starts at its midnight."""
        return self._edge(days, is_close=False)

    def closes(self, days: np.ndarray) -> np.ndarray:
        """When sessions close, int64[n]; a day without a session ends at the next midnight."""
        return self._edge(days, is_close=True)

    def sessions_of(self, times: np.ndarray) -> np.ndarray:
        """The session each instant belongs to, int32[n].

        An instant is the end of an interval, so the close belongs to the session and the open does
        not. Outside the hours an instant belongs to the session of its local date (before and
        after the market), and where there is none to the next session.
        """
        if len(times) == 0:
            return np.empty(0, dtype=np.int32)
        first, last = int(times.min() // DAY_US), int(times.max() // DAY_US)
        self._reach(first - 1, last + 1)
        i = np.searchsorted(self._closes, times, side="left")
        outside = np.flatnonzero((times <= self._opens[i]) & (i > 0))
        if len(outside):
            dates = TimeAxis(zone=self.zone).dates(times[outside] - 1)
            i[outside] -= self._labels[i[outside] - 1] == dates
        found: np.ndarray = self._labels[i]
        if found.max() > self._last or first < self._first - 1:
            self._refuse(first, last)
        return found

    def close_of(self, session: int, axis: TimeAxis) -> int:
        """When a session closes, in microseconds as `axis` has them."""
        closes = self.closes(np.array([session]))
        return int((to_wall_clock(closes, self.zone) if axis.zone is None else closes)[0])

    def lasts(self, span: Span, first: int, last: int) -> np.ndarray:
        """The sessions from `first` to `last` that are the last of their week or month.

        Where the calendar ends before `last`, those it knows.
        """
        sessions, number = self._numbered(span, first, last)
        return _within(sessions[number[1:-1] != number[2:]], first, last)

    def firsts(self, span: Span, first: int, last: int) -> np.ndarray:
        """The sessions from `first` to `last` that are the first of their week or month.

        Where the calendar ends before `last`, those it knows.
        """
        sessions, number = self._numbered(span, first, last)
        return _within(sessions[number[1:-1] != number[:-2]], first, last)

    def _numbered(self, span: Span, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """The sessions around a range, and the number of the week or month of each.

        The numbers have one entry more at either end, for the day next to the range.
        """
        self._reach(first - _MARGIN, last + _MARGIN)
        first, last = max(first - _MARGIN, self._first), min(last + _MARGIN, self._last)
        sessions = _within(self._labels, first, last)
        return sessions, _SPANS[span](np.concatenate([[first - 1], sessions, [last + 1]]))

    def periods_per_year(self, first: int, last: int) -> float:
        """Sessions per year over the calendar years that a run from `first` to `last` touches.

        Whole years, so that a run of three months is not annualised by the holidays of one
        quarter. Where the calendar does not know a whole year, the days of the run are counted.

        Args:
            first: First session of the run.
            last: Last session of the run.
        """
        years = np.array([first, last]).astype("datetime64[D]").astype("datetime64[Y]").astype(int)
        start, stop = (_year_day(int(year) + 1970) for year in (years[0], years[1] + 1))
        try:
            return len(self.sessions(start, stop - 1)) / (int(years[1] - years[0]) + 1)
        except DataError:
            return len(self.sessions(first, last)) * _YEAR_DAYS / (last - first + 1)

    def _edge(self, days: np.ndarray, *, is_close: bool) -> np.ndarray:
        i = self._find(days)
        edges = self._closes if is_close else self._opens
        found: np.ndarray = edges[i]
        closed = np.flatnonzero(self._labels[i] != days)
        if len(closed):
            found[closed] = midnights(days[closed].astype(np.int64) + is_close, self.zone)
        return found

    def _find(self, days: np.ndarray) -> np.ndarray:
        """The position of the first session on or after each day."""
        if len(days):
            self._cover(int(days.min()), int(days.max()))
        return np.searchsorted(self._labels, days)

    def _cover(self, first: int, last: int) -> None:
        """Know the sessions of these days, or refuse."""
        self._reach(first, last)
        if first < self._first or last > self._last:
            self._refuse(first, last)

    def _reach(self, first: int, last: int) -> None:
        """Know the sessions of these days, as far as the market is recorded."""
        if self.is_fixed:
            return
        first, last = max(first, self._low), min(last, self._high)
        if first >= self._first and last <= self._last:
            return
        year = round(_YEAR_DAYS)
        self._first = max(self._low, min(self._first, first - year))
        self._last = min(self._high, max(self._last, last + year))
        self._load()

    def _load(self) -> None:
        if not self.is_fixed and self.name == _ALWAYS_OPEN:
            labels = np.arange(self._first, self._last + 1, dtype=np.int32)
            opens = labels.astype(np.int64) * DAY_US
            closes = opens + DAY_US
        else:
            labels, opens, closes = self._read()
        # An entry beyond the last session: every search ends somewhere.
        self._labels = np.append(labels, np.int32(_FOREVER))
        self._opens = np.append(opens, _NEVER)
        self._closes = np.append(closes, _NEVER)

    def _read(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with warnings.catch_warnings():
            # The library and pandas disagree about deprecated ways; the times are right.
            warnings.simplefilter("ignore", DeprecationWarning)
            calendar = self._object
            if not self.is_fixed:
                start, end = _show(self._first), _show(self._last)
                calendar = _library().get_calendar(self.name, start=start, end=end)
            self.name, self.zone = _identity(calendar)
            labels = _days(calendar.sessions)
            opens, closes = _microseconds(calendar.opens), _microseconds(calendar.closes)
        if self.is_fixed:
            self._first, self._last = int(labels[0]), int(labels[-1])
        return labels, opens, closes

    def _refuse(self, first: int, last: int) -> None:
        known = f"{_show(self._first)} to {_show(self._last)}"
        remedy = (
            "Pass the calendar by name, or build it with an earlier start= and a later end="
            if self.is_fixed
            else "Leave these data out, or pass a calendar of your own"
        )
        raise DataError(
            f"Calendar {self.name!r} knows the sessions from {known}, but the data need "
            f"{_show(first)} to {_show(last)}. {remedy}."
        )


def _month_number(days: np.ndarray) -> np.ndarray:
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _week_number(days: np.ndarray) -> np.ndarray:
    return (days.astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday; weeks start on Monday


_SPANS = {"month": _month_number, "week": _week_number}


def _within(days: np.ndarray, first: int, last: int) -> np.ndarray:
    return days[(days >= first) & (days <= last)]


def _year_day(year: int) -> int:
    return int(np.datetime64(f"{year:04d}-01-01", "D").astype(np.int64))


def _show(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _library() -> ModuleType:
    try:
        import exchange_calendars
    except ImportError as error:
        raise ConfigError(
            f"Trading calendars need the extra 'calendar' ({error}). Run: {_INSTALL}"
        ) from error
    library: ModuleType = exchange_calendars
    return library


def _recorded(name: str) -> tuple[int, int]:
    """First and last day for which a market's sessions are recorded."""
    library = _library()
    known = library.get_calendar_names()
    if name not in known:
        raise ConfigError(f"There is no calendar {name!r}. {did_you_mean(name, known)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = library.get_calendar(name)
        low, high = calendar.bound_min(), calendar.bound_max()
    return (
        -_FOREVER if low is None else int(_days([low])[0]),
        _FOREVER if high is None else int(_days([high])[0]),
    )


def _identity(calendar: Any) -> tuple[str, str]:
    try:
        return str(calendar.name), str(calendar.tz)
    except AttributeError:
        raise ConfigError(
            f"calendar={calendar!r} is not a calendar. Pass a name such as 'XNYS' or '24/7', or a "
            f"calendar of exchange_calendars."
        ) from None


def _days(labels: Any) -> np.ndarray:
    return np.asarray(labels, dtype="datetime64[D]").astype(np.int32)


def _microseconds(times: Any) -> np.ndarray:
    """A pandas Series of times in UTC."""
    naive = times.dt.tz_convert(None).to_numpy()
    return naive.astype("datetime64[us]").astype(np.int64)  # type: ignore[no-any-return]
