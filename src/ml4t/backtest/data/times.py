"""Reading columns of time, and comparing times of different sources.

Inside a run a time is an int64 in microseconds, read through a `TimeAxis`. A source holds either
instants or labels of sessions; a label says on which day something happened, and is known when
that session closes. Everything that turns one into the other is here.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import DAY_US, TimeAxis, format_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.data.calendar import TradingCalendar

_DATE_LENGTH = len("2020-01-31")
_DIGITS = r"^(19\d\d|20\d\d|2100)\d{4}$"  # yyyymmdd
_FIRST_DIGITS, _LAST_DIGITS = 1900_01_01, 2100_12_31
_UNIT_US = {"d": DAY_US, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def read_times(
    series: pl.Series, *, source: str, column: str = "timestamp"
) -> tuple[np.ndarray, TimeAxis]:
    """A column of dates, times or ISO strings as microseconds, and how to read them.

    Session labels are a column of type Date, strings that are all plain dates, or times that are
    all midnight on the source's own wall clock. Strings with an offset become UTC. Whole numbers
    and digits that all read as yyyymmdd are dates.

    Args:
        series: Date, Datetime of any unit and zone, String, or whole numbers such as 20240131.
        source: Name of the table, for error texts.
        column: Name of the column, for error texts.

    Returns:
        int64[n] microseconds (zero-copy where the column is already in microseconds), and the axis.

    Raises:
        DataError: Another type, a missing time, a string that is no time, or a time finer than a
            microsecond; the text names the first such row.
    """
    refuse_missing_times(series, source, column)
    if series.dtype == pl.String:
        series = _parse_times(series, source, column)
    elif series.dtype.is_integer():
        series = _parse_digits(series, source, column)
    if series.dtype == pl.Date:
        days = series.rechunk().to_physical().to_numpy()
        return days.astype(np.int64) * DAY_US, TimeAxis(is_session=True, is_date=True)
    if not isinstance(series.dtype, pl.Datetime):
        raise DataError(
            f"{source}: column {column!r} has type {series.dtype}, not dates or times. Convert it "
            f"first, for example with pl.col({column!r}).str.to_datetime() or pl.from_epoch()."
        )
    times = _to_microseconds(series, source, column)
    zone = series.dtype.time_zone
    axis = TimeAxis(zone=zone)
    return times, TimeAxis(zone=zone, is_session=_all_midnight(times, axis))


def known_times(
    times: np.ndarray,
    axis: TimeAxis,
    *,
    to_zone_of: TimeAxis | None = None,
    calendar: TradingCalendar | None = None,
) -> np.ndarray:
    """When what these times stand for was known, as instants.

    Instants are themselves. A session label is known at the close of its session by the calendar;
    without a calendar, or where the other side is naive, at the end of its day: the next midnight
    on the label's own wall clock, or on that of `to_zone_of` when the label has no zone.

    Args:
        times: int64[n] microseconds, read by `axis`.
        axis: How to read `times`.
        to_zone_of: The axis of the instants they will be compared with; default `axis` itself.
        calendar: Gives the closes.

    Returns:
        int64[n] microseconds: since 1970 UTC when the other side has a zone, else on its wall
        clock.
    """
    if not axis.is_session:
        return times
    target = axis if to_zone_of is None or axis.zone is not None else to_zone_of
    sessions = axis.dates(times)
    if target.zone is None:
        return (sessions.astype(np.int64) + 1) * DAY_US
    if calendar is not None:
        return calendar.closes(sessions)
    return midnights(sessions.astype(np.int64) + 1, target.zone)


def sessions_of(
    times: np.ndarray, axis: TimeAxis, calendar: TradingCalendar | None = None
) -> np.ndarray:
    """The session each time belongs to, as int32 days since 1970-01-01.

    Labels are themselves. An instant is the end of an interval: with a calendar it belongs to the
    session it falls in (naive times are read on the calendar's wall clock), else to the date of
    the last microsecond before it, so that a bar stamped midnight belongs to the day it closes.
    """
    if axis.is_session:
        return axis.dates(times)
    if calendar is None:
        return axis.dates(times - 1)
    if axis.zone is None:
        times = from_wall_clock(times, calendar.zone)
    return calendar.sessions_of(times)


def check_same_zone(name_a: str, axis_a: TimeAxis, name_b: str, axis_b: TimeAxis) -> None:
    """Refuse naive and zoned times in one run.

    Columns of type Date have no zone and go with everything.

    Raises:
        DataError: One source is naive and the other has a zone; both are named.
    """
    if axis_a.is_date or axis_b.is_date or (axis_a.zone is None) == (axis_b.zone is None):
        return
    if axis_a.zone is not None:
        name_a, axis_a, name_b, axis_b = name_b, axis_b, name_a, axis_a
    remedy = f"Give {name_a} its zone with dt.replace_time_zone('...')"
    if axis_a.is_session:
        remedy += ", or, since it holds only dates, make its times of type Date"
    raise DataError(
        f"Naive and zoned times cannot be compared: {name_a} is naive, {name_b} is in "
        f"{axis_b.zone}. {remedy}."
    )


def read_duration(value: dt.timedelta | str, option: str) -> int:
    """A duration in microseconds, from a timedelta or a text such as "1d", "90m" or "1h30m".

    Raises:
        ConfigError: Not a duration, or negative.
    """
    if isinstance(value, dt.timedelta):
        if value < dt.timedelta(0):
            raise ConfigError(f"{option}={value!r} is negative.")
        return value // dt.timedelta(microseconds=1)
    match = _DURATION.fullmatch(str(value).replace(" ", ""))
    if match is None or not any(match.groups()):
        raise ConfigError(
            f"{option}={value!r} is not a duration. Pass a datetime.timedelta, or a number with "
            f"d, h, m or s: '1d', '30m', '1h30m'."
        )
    return sum(int(n or 0) * us for n, us in zip(match.groups(), _UNIT_US.values(), strict=True))


def add_delay(times: np.ndarray, axis: TimeAxis, delay: int) -> tuple[np.ndarray, int]:
    """Labels move by the whole days of a delay; the rest is to be added once they are instants.

    Returns:
        The moved times, and the microseconds still to be added. For instants all is added here.
    """
    if not axis.is_session:
        return times + delay, 0
    days, rest = divmod(delay, DAY_US)
    if axis.zone is None or days == 0:
        return times + days * DAY_US, rest
    return midnights(axis.dates(times).astype(np.int64) + days, axis.zone), rest


def midnights(days: np.ndarray, zone: str) -> np.ndarray:
    """Midnights at the start of days since 1970-01-01 in a zone, as microseconds UTC."""
    return from_wall_clock(days.astype(np.int64) * DAY_US, zone)


def from_wall_clock(wall: np.ndarray, zone: str) -> np.ndarray:
    """Naive microseconds on a zone's wall clock as microseconds UTC.

    Of a time that occurs twice the earlier is taken; one that is skipped moves past the gap.
    """
    if zone == "UTC":
        return wall
    series = pl.Series(wall).cast(pl.Datetime("us"))
    zoned = series.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    if zoned.null_count():
        later = (series + dt.timedelta(hours=1)).dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        )
        zoned = zoned.fill_null(later)
    return zoned.to_physical().to_numpy()


def to_wall_clock(times: np.ndarray, zone: str) -> np.ndarray:
    """Microseconds UTC as naive microseconds on a zone's wall clock."""
    if zone == "UTC":
        return times
    zoned = pl.Series(times).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return zoned.dt.replace_time_zone(None).to_physical().to_numpy()


def read_moment(
    value: dt.datetime | dt.date | str, axis: TimeAxis, *, option: str, is_end: bool = False
) -> int:
    """A bound given by the user, in the microseconds of an axis.

    Args:
        value: A datetime, a date, or either in ISO form. A plain date as an end includes that
            whole day.
        axis: The axis of the data the bound is for.
        option: Name of the option, for error texts.
        is_end: The bound is the last moment included.

    Raises:
        ConfigError: No time, or naive where the data have a zone, or the other way round.
    """
    moment = _parse_moment(value, option)
    is_date = not isinstance(moment, dt.datetime)
    try:
        if is_date and is_end and not axis.is_session:
            # Bars are stamped at their end: midnight closes the day before it.
            return axis.to_microseconds(moment + dt.timedelta(days=1))
        if isinstance(moment, dt.datetime) and axis.is_session:
            moment = _label_of(moment, axis)
        return axis.to_microseconds(moment)
    except ValueError as error:
        raise ConfigError(
            f"{option}={value!r} cannot be compared with the data: {error}. Pass a plain date, or "
            f"a time that is {'naive' if axis.zone is None else f'in a zone ({axis.zone})'}."
        ) from None


def show_times(axis: TimeAxis, times: Sequence[int] | np.ndarray) -> str:
    """A few times, as an error text shows them."""
    return ", ".join(format_times(axis, times))


def _parse_moment(value: object, option: str) -> dt.datetime | dt.date:
    if isinstance(value, dt.date):  # a datetime is a date
        return value
    try:
        text = str(value)
        if len(text) <= _DATE_LENGTH:
            return dt.date.fromisoformat(text)
        return dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option}={value!r} is not a time. Pass a date, a datetime or ISO text: '2020-01-31'."
        ) from None


def _label_of(moment: dt.datetime, axis: TimeAxis) -> dt.date:
    """The session label a time falls on: its date, on the labels' wall clock if they have one."""
    if moment.tzinfo is not None and axis.zone is not None:
        return moment.astimezone(ZoneInfo(axis.zone)).date()
    return moment.date()


def refuse_missing_times(series: pl.Series, source: str, column: str) -> None:
    """Refuse rows without a time.

    Raises:
        DataError: The first such row.
    """
    if series.null_count() == 0:
        return
    row = int(series.is_null().arg_max() or 0)
    raise DataError(
        f"{source}: column {column!r} has {series.null_count()} missing times; the first is in row "
        f"{row}. Drop these rows, for example with drop_nulls({column!r})."
    )


def _parse_times(series: pl.Series, source: str, column: str) -> pl.Series:
    longest = series.str.len_bytes().max()
    try:
        if series.str.contains(_DIGITS).all():
            parsed = series.str.to_date("%Y%m%d", strict=False)
        elif isinstance(longest, int) and longest <= _DATE_LENGTH:
            parsed = series.str.to_date(strict=False)
        else:
            parsed = series.str.to_datetime(time_unit="ns", strict=False)
    except pl.exceptions.ComputeError:
        parsed = pl.Series(series.name, [None] * len(series), dtype=pl.Date)
    if parsed.null_count():
        row = int(parsed.is_null().arg_max() or 0)
        trouble = f"which cannot be read together with {series[0]!r}" if row else "which is no time"
        raise DataError(
            f"{source}: column {column!r} has {series[row]!r} in row {row}, {trouble}. Write all "
            f"times in one ISO form, such as 2020-01-31, 2020-01-31T15:45:00 or "
            f"2020-01-31T15:45:00Z."
        )
    return parsed


def _parse_digits(series: pl.Series, source: str, column: str) -> pl.Series:
    """Whole numbers that are dates written as yyyymmdd."""
    if series.is_between(_FIRST_DIGITS, _LAST_DIGITS).all():
        parsed = series.cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if parsed.null_count() == 0:
            return parsed
        row = int(parsed.is_null().arg_max() or 0)
        raise DataError(
            f"{source}: column {column!r} looks like dates written as yyyymmdd, but {series[row]} "
            f"in row {row} is no day. Repair it, or convert the column first, for example with "
            f"pl.col({column!r}).cast(pl.String).str.to_date('%Y%m%d')."
        )
    row = int((~series.is_between(_FIRST_DIGITS, _LAST_DIGITS)).arg_max() or 0)
    raise DataError(
        f"{source}: column {column!r} has type {series.dtype}, not dates or times; row {row} holds "
        f"{series[row]}. Whole numbers are read as dates when all are written as yyyymmdd, such as "
        f"20240131. Convert others first, for example with pl.from_epoch({column!r}, "
        f"time_unit='ms')."
    )


def _to_microseconds(series: pl.Series, source: str, column: str) -> np.ndarray:
    assert isinstance(series.dtype, pl.Datetime)
    raw: np.ndarray = series.rechunk().to_physical().to_numpy()
    if series.dtype.time_unit == "us":
        return raw
    if series.dtype.time_unit == "ms":
        return raw * 1_000
    times, rest = np.divmod(raw, 1_000)
    if rest.any():
        row = int(np.flatnonzero(rest)[0])
        raise DataError(
            f"{source}: column {column!r} is finer than a microsecond, first in row {row} "
            f"({series[row]}, {raw[row]} ns). Round it, for example with dt.round('1us')."
        )
    return times


def _all_midnight(times: np.ndarray, axis: TimeAxis) -> bool:
    if len(times) == 0 or not _is_midnight(times[:1], axis):
        return False
    return _is_midnight(times, axis)


def _is_midnight(times: np.ndarray, axis: TimeAxis) -> bool:
    return bool((axis.to_wall(times) % DAY_US == 0).all())
