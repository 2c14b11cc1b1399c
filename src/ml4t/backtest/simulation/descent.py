"""What trades inside a bar when finer bars tell what its prices did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.simulation.finer import Lane
    from ml4t.backtest.simulation.trading import BarTrading, Live


class Moment:
    """The prices of some rows at one moment inside their bars.

    Attributes:
        opens, highs, lows, closes: By row.
    """

    def __init__(self, lanes: dict[int, Lane], moment: int) -> None:
        self.opens: dict[int, float] = {}
        self.highs: dict[int, float] = {}
        self.lows: dict[int, float] = {}
        self.closes: dict[int, float] = {}
        for row, lane in lanes.items():
            i = int(np.searchsorted(lane.at, moment))
            if i < len(lane.at) and lane.at[i] == moment:
                self.opens[row] = lane.open.item(i)
                self.highs[row] = lane.high.item(i)
                self.lows[row] = lane.low.item(i)
                self.closes[row] = lane.close.item(i)


class Descent:
    """Orders at their levels, in the order in which the finer bars meet them.

    Every finer bar is traded as a bar of its own, from its open on; of two touches
    in the same one the broker's `intrabar` says which came first. Costs, volume and the time of a
    fill stay those of the bar of the run.

    Args:
        trading: The trading of the bar of the run.
        lanes: Its finer bars, by row.
    """

    def __init__(self, trading: BarTrading, lanes: dict[int, Lane]) -> None:
        self.trading = trading
        self.lanes = lanes

    def run(self, live: list[Live]) -> None:
        """Go through the bar; orders that begin to work on the way join `live`."""
        trading = self.trading
        moment = self._next(live, 0)
        while moment is not None:
            now = Moment(self.lanes, moment)
            trading.look(now, now.opens)
            trading.at_open([pair for pair in trading.priced(live) if trading.is_open(pair[0])])
            trading.inside(live)
            moment = self._next(live, moment + 1)
        trading.look(trading.chunk)

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
