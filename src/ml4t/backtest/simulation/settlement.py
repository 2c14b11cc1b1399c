"""When the money of a sale is there: settlement cycles and business days."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml4t.backtest.data.calendar import TradingCalendar

_EPOCH = dt.date(1970, 1, 1)
# First trade dates of the cycles of Exchange Act Rule 15c6-1.
_T_PLUS_1 = (dt.date(2024, 5, 28) - _EPOCH).days
_T_PLUS_2 = (dt.date(2017, 9, 5) - _EPOCH).days
# The longest stretch without a session that daily data of an open market has, in days.
_LONG_WEEKEND = 5


def standard_cycle(session: int) -> int:
    """Business days from trade to settlement of US shares.

    One for trades from 2024-05-28 (SEC release 34-96930), two from 2017-09-05 (34-80295), three
    before (34-33023, from 1995; older trades are treated the same).

    Args:
        session: Trade date, as days since 1970-01-01.

    Example:
        >>> import datetime as dt
        >>> [standard_cycle((dt.date(*day) - dt.date(1970, 1, 1)).days)
        ...  for day in [(2017, 9, 1), (2017, 9, 5), (2024, 5, 24), (2024, 5, 28)]]
        [3, 2, 2, 1]
    """
    return 1 if session >= _T_PLUS_1 else 2 if session >= _T_PLUS_2 else 3


def business_days(before: int, after: int, calendar: TradingCalendar | None) -> int:
    """Business days after `before`, up to and with `after`.

    By the calendar when there is one. Without, `before` and `after` are consecutive sessions of
    the run, and the later one is the next business day, unless it is at a weekend, which is none.
    More than five days apart they are bars of a week or a month, and weekdays are counted.

    Args:
        before: Session, as days since 1970-01-01.
        after: A later one.
        calendar: The market's.

    Example:
        >>> friday, monday = 19_727, 19_730  # 2024-01-05, 2024-01-08
        >>> business_days(friday, friday + 1, None), business_days(friday, monday, None)
        (0, 1)
        >>> business_days(friday, friday + 7, None)
        5
    """
    if calendar is not None:
        return len(calendar.known_sessions(before + 1, after))
    first, last = (np.datetime64(day + 1, "D") for day in (before, after))
    if after - before > _LONG_WEEKEND:
        return int(np.busday_count(first, last))
    return int(np.is_busday(np.datetime64(after, "D")))
