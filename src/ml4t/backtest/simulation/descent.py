"""What trades inside a bar when finer bars tell what its prices did."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.simulation.finer import Lane
    from ml4t.backtest.simulation.trading import BarTrading, Live
    from ml4t.backtest.types.time import TimeAxis


class Moment:
    """The prices of some rows at one moment inside their bars.

    Attributes:
        opens, highs, lows, closes: By row, of those that have a finer bar now.
        marks: What holdings are worth now.
    """

    def __init__(self, lanes: dict[int, Lane], moment: int, base: np.ndarray) -> None:
        self.opens: dict[int, float] = {}
        self.highs: dict[int, float] = {}
        self.lows: dict[int, float] = {}
        self.closes: dict[int, float] = {}
        self.marks = _MomentMarks(lanes, moment, base)
        for row, lane in lanes.items():
            i = int(np.searchsorted(lane.at, moment))
            if i < len(lane.at) and lane.at[i] == moment:
                self.opens[row] = lane.open.item(i)
                self.highs[row] = lane.high.item(i)
                self.lows[row] = lane.low.item(i)
                self.closes[row] = lane.close.item(i)


class _MomentMarks:
    """The open of the finer bar of now, else the last one's close, else the open of the bar."""

    def __init__(self, lanes: dict[int, Lane], moment: int, base: np.ndarray) -> None:
        self._lanes = lanes
        self._moment = moment
        self._base = base

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._base[rows]
        for i, row in enumerate(rows.tolist()):
            lane = self._lanes.get(row)
            if lane is None:
                continue
            last = int(np.searchsorted(lane.at, self._moment, side="right")) - 1
            if last >= 0:
                column = lane.open if lane.at[last] == self._moment else lane.close
                found[i] = column[last]
        return found


class Descent:
    """Orders at their levels, in the order in which the finer bars meet them.

    Every finer bar is traded as a bar of its own, from its open on; of two touches in the same one
    the broker's `intrabar` says which came first. Costs, volume and the time of a fill stay those
    of the bar of the run.

    Args:
        trading: The trading of the bar of the run.
        lanes: Its finer bars, by row.
        times: When each moment's bars are complete, in microseconds.
        axis: How `times` are read.
    """

    def __init__(
        self, trading: BarTrading, lanes: dict[int, Lane], times: np.ndarray, axis: TimeAxis
    ) -> None:
        self.trading = trading
        self.lanes = lanes
        self.times = times
        self.axis = axis

    def run(self, live: list[Live]) -> None:
        """Go through the bar; orders that begin to work on the way join `live`."""
        trading = self.trading
        moment = self._next(live, 0)
        while moment is not None:
            self._expire(live, int(self.times[moment]))
            trading.look(Moment(self.lanes, moment, trading.chunk.open))
            trading.at_open([pair for pair in trading.priced(live) if trading.is_open(pair[0])])
            trading.inside(live)
            moment = self._next(live, moment + 1)
        trading.look_at_bars()

    def _expire(self, live: list[Live], now: int) -> None:
        """End the orders that were good until a time of day before the bars of `now`."""
        for working, _ in live:
            expires = working.order.expires_at
            if isinstance(expires, dt.datetime) and self.trading.is_open(working):
                is_naive = expires.tzinfo is None
                if (
                    is_naive == (self.axis.zone is None)
                    and self.axis.to_microseconds(expires) < now
                ):
                    text = f"good till {expires}: not filled"
                    self.trading.blotter.end(working, OrderStatus.EXPIRED, text)

    def _next(self, live: list[Live], start: int) -> int | None:
        """The first moment from `start` on at which an order may have something to do."""
        found: int | None = None
        for working, row in live:
            lane = self.lanes.get(row)
            if lane is None or not self.trading.is_open(working):
                continue
            first = int(np.searchsorted(lane.at, start))
            hits = np.flatnonzero(_concerns(working, lane, first))
            if len(hits):
                moment = int(lane.at[first + hits[0]])
                found = moment if found is None else min(found, moment)
        return found


def _concerns(working: Working, lane: Lane, first: int) -> np.ndarray:
    """Which finer bars, from one on, an order can do something in, bool[k]."""
    highs, lows = lane.high[first:], lane.low[first:]
    if working.stop is not None and not working.triggered:
        if working.type.is_trailing:  # it may move
            return np.ones(len(highs), dtype=np.bool_)
        return highs >= working.stop if working.sign > 0.0 else lows <= working.stop
    if working.limit is None:
        return np.zeros(len(highs), dtype=np.bool_)
    return lows <= working.limit if working.sign > 0.0 else highs >= working.limit
