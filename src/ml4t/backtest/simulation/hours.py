"""Where in the hours of its session a timestamp lies: what the auctions are bound to."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.times import to_wall_clock

if TYPE_CHECKING:
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.types.bars import Bars, Chunk


class Place(Enum):
    """What bars of a timestamp hold of the hours of their session."""

    WHOLE = "a session"  # its open and its close
    BEFORE = "before the open"
    DURING = "the trading hours"
    CLOSE = "the close"
    AFTER = "after the close"


class Hours:
    """The places of a run's timestamps, asked for in order.

    Session labels hold whole sessions. Without a calendar nothing tells where a session ends.

    Args:
        calendar: Of the run, or None.
    """

    def __init__(self, calendar: TradingCalendar | None) -> None:
        self._calendar = calendar
        self._session = -1  # the one looked up last, and its hours
        self._opens = self._closes = 0

    def of(self, bars: Bars) -> Place:
        """The place of the bars of a timestamp."""
        chunk, index = bars.chunk, bars.index
        if chunk.axis.is_session:
            return Place.WHOLE
        if self._calendar is None:
            return Place.DURING
        session = chunk.sessions.item(index)
        if session != self._session:
            self._look_up(session, chunk)
        now = chunk.microseconds[index]
        if now <= self._opens:
            return Place.BEFORE
        if now < self._closes:
            return Place.DURING
        before = chunk.microseconds[index - 1] if index else chunk.before
        is_first = before is None or before < self._closes
        return Place.CLOSE if is_first else Place.AFTER

    def _look_up(self, session: int, chunk: Chunk) -> None:
        calendar = self._calendar
        assert calendar is not None
        day = np.array([session])
        edges = np.concatenate([calendar.opens(day), calendar.closes(day)])
        if chunk.axis.zone is None:
            edges = to_wall_clock(edges, calendar.zone)
        self._session, (self._opens, self._closes) = session, edges.tolist()
