"""Which open orders have to be looked at: those whose level a bar reaches, or whose time passes.

Most bars leave most resting orders alone. What an order waits for is a price, so that the bars can
be asked for it as columns, many timestamps at once.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.broker.trailing import followed, move_trail, moved_stop
from ml4t.backtest.kernels import reached
from ml4t.backtest.types.order import OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.types.bars import Bars, Chunk
    from ml4t.backtest.types.time import TimeAxis

_DAY, _GTD, _GTC = TimeInForce.DAY, TimeInForce.GTD, TimeInForce.GTC
_MARKET = OrderType.MARKET
# So many bars are asked at once: more than a timestamp has, and few enough to ask again.
_AHEAD = 2_048
# What rounding may make of a price that is worked out backwards, or of an open beside its high.
_SLACK = 4e-9
_LONG = 2**62


class Levels:
    """The prices at which something may become of the open orders of each asset.

    All orders of an asset are looked at together: a fill of one may move the others. An order that
    has changed, or was looked at, is looked at in the next bars of its asset once more.

    Args:
        blotter: The book; its `changed` is emptied here.
        looks_at_all: Orders are looked at in every bar of their asset, whatever it reaches.
    """

    def __init__(self, blotter: Blotter, *, looks_at_all: bool = False) -> None:
        self._blotter = blotter
        self._looks_at_all = looks_at_all
        self._below = np.zeros(0)
        self._above = np.zeros(0)
        self._timed: set[int] = set()  # assets with an order that may end with a session
        self._restless: set[int] = set()  # with one that is looked at all the time
        self._expiries: dict[int, int] = {}  # with one that is good till a time: the first of them
        self._first_expiry = _LONG  # or one before it
        self._due: set[int] = set()
        self._axis: TimeAxis | None = None
        self._step = -2
        self._session: int | None = None
        # Where levels were last asked for: up to `_next` nobody reaches one, there `_codes` do.
        self._chunk: Chunk | None = None
        self._next = -1
        self._codes: list[int] = []

    def are_quiet(self, bars: Bars) -> bool:
        """Whether no open order has to be looked at with these bars."""
        blotter = self._blotter
        if blotter.step != self._step:
            is_plain = not (
                self._due or blotter.changed or self._timed or self._restless or self._expiries
            )
            if is_plain and bars.index < self._next and bars.chunk is self._chunk:
                self._step = blotter.step  # the usual case
                return True
            self._pass(bars)
        return not (self._due or blotter.changed)

    def due(self, bars: Bars) -> set[int]:
        """Codes of the assets whose open orders have to be looked at with these bars, now."""
        if self._blotter.step != self._step:
            self._pass(bars)
        changed = self._blotter.changed
        if changed:
            self._due |= changed
            changed.clear()
            self._join_waiting()
        return self._due

    def _pass(self, bars: Bars) -> None:
        """Bars have come that were not asked about yet."""
        blotter, chunk, index = self._blotter, bars.chunk, bars.index
        self._step = blotter.step
        self._axis = chunk.axis
        self._grow(len(chunk.universe))
        changed, blotter.changed = blotter.changed, set()
        due = {code for code in changed if blotter.of_asset(code)}
        seen = (self._due | changed) - due  # what is due again need not be read in between
        for code in seen:
            self._read(code)
        if self._timed and (session := chunk.sessions.item(index)) != self._session:
            self._session = session
            due |= self._timed
        due |= self._restless
        if self._expiries and chunk.microseconds[index] > self._first_expiry:
            due.update(self._expire(chunk.microseconds[index]))
        is_met = index == self._next and bool(self._codes)
        if due or seen or chunk is not self._chunk or not (index < self._next or is_met):
            self._look_ahead(chunk, index, 1 if due else 1 + _AHEAD // max(1, chunk.width))
        if index == self._next:
            due.update(
                code for code in self._codes if not (code in due or self._follow(code, bars))
            )
        self._due = due
        self._join_waiting()

    def _join_waiting(self) -> None:
        """Look also at the assets in which a fill of another asset may set an order to work."""
        links, due = self._blotter.links, self._due
        if not (links.crosses and due and links.pending):
            return
        open_, pending, size = self._blotter.open, links.pending, -1
        while len(due) > size:
            size = len(due)
            for working in pending.values():
                parent = open_.get(working.order.after) or pending.get(working.order.after)
                if parent is not None and parent.code in due:
                    due.add(working.code)

    def _expire(self, now: int) -> list[int]:
        """Assets an order of which was good until before now."""
        over = [code for code, until in self._expiries.items() if until < now]
        left = (until for until in self._expiries.values() if until >= now)
        self._first_expiry = min(left, default=_LONG)
        return over

    def _follow(self, code: int, bars: Bars) -> bool:
        """Let stops follow the price, if with these bars no more becomes of an asset's orders."""
        chunk, row = bars.chunk, bars.chunk.row_of(bars.index, code)
        high, low = chunk.highs[row], chunk.lows[row]
        is_within = low <= chunk.opens[row] <= high and low <= chunk.closes[row] <= high
        if self._looks_at_all or not is_within:  # by digits of rounding
            return False
        moving = []
        for working in self._blotter.of_asset(code):
            below, above = _levels(working)
            if working.session is None:
                return False
            if below < low and high < above:
                continue
            if not working.type.is_trailing or working.triggered:
                return False
            stop, buys = moved_stop(working, high, low), working.sign > 0.0
            if (high >= stop - _SLACK * stop) if buys else (low <= stop + _SLACK * stop):
                return False
            moving.append(working)
        for working in moving:
            move_trail(working, high, low)
        self._read(code)
        return True

    def _look_ahead(self, chunk: Chunk, index: int, steps: int) -> None:
        """Where a level is reached first, within so many timestamps."""
        self._chunk = chunk
        self._next, self._codes = reached(
            chunk.high,
            chunk.low,
            chunk.codes,
            chunk.offsets,
            index,
            min(len(chunk), index + steps),
            self._below,
            self._above,
        )

    def _grow(self, size: int) -> None:
        more = size - len(self._below)
        if more > 0:
            self._below = np.append(self._below, np.full(more, -math.inf))
            self._above = np.append(self._above, np.full(more, math.inf))

    def _read(self, code: int) -> None:
        """Note what the open orders of an asset wait for."""
        below, above, until = -math.inf, math.inf, _LONG
        is_timed = is_restless = False
        for working in self._blotter.of_asset(code):
            force, expires = working.time_in_force, working.order.expires_at
            if force is _DAY or (force is _GTD and not isinstance(expires, dt.datetime)):
                is_timed = True
            elif force is _GTD:
                assert self._axis is not None
                assert expires is not None
                until = min(until, self._axis.to_microseconds(expires))
            elif force is not _GTC:
                is_restless = True
            if self._looks_at_all or working.session is None:
                below = math.inf
            else:
                low, high = _levels(working)
                below, above = max(below, low), min(above, high)
        self._below[code], self._above[code] = below, above
        if is_timed or self._timed:
            (self._timed.add if is_timed else self._timed.discard)(code)
        if is_restless or self._restless:
            (self._restless.add if is_restless else self._restless.discard)(code)
        if until < _LONG:
            self._expiries[code] = until
            self._first_expiry = min(self._first_expiry, until)
        elif self._expiries:
            self._expiries.pop(code, None)


def _levels(working: Working) -> tuple[float, float]:
    """The low at or below which, and the high at or above which, an order has something to do."""
    stop, limit, buys = working.stop, working.limit, working.sign > 0.0
    low, high = -math.inf, math.inf
    waits_for_stop = stop is not None and not working.triggered
    if working.type is _MARKET or (limit is None and not waits_for_stop):
        return high, low  # it trades at any price
    if stop is None or not waits_for_stop:
        assert limit is not None
        low, high = (limit, high) if buys else (low, limit)
    elif math.isnan(stop):
        return high, low  # its trail has not begun
    elif working.type.is_trailing:  # it follows prices that are better than the best so far
        best = followed(working)
        low, high = (best, stop) if buys else (stop, best)
    else:
        low, high = (low, stop) if buys else (stop, high)
    return _moved(low, _SLACK), _moved(high, -_SLACK)


def _moved(price: float, by: float) -> float:
    """A price moved by a fraction of it; what is out of reach stays there."""
    return price if math.isinf(price) else price + by * abs(price)
