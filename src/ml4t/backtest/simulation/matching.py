"""Would this order fill in this bar, and at what price? Pure functions, one order at a time.

The path inside a bar is unknown. What is certain: the open comes first, the close last, high and
low in between. A level that the open has already passed fills at the open; a level between low
and high fills at the level. Where the order of touches matters, the worse one is assumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working

Match = tuple[float, str]
"""Reference price, and what made the order fill."""


def match_open(working: Working, open_: float, *, through: bool = False) -> Match | None:
    """What an order does at the open of a bar; None when it does nothing there.

    A market order fills. A limit fills when the open is at its limit or better, a stop when the
    open is at its level or beyond. A stop-limit that the open triggers fills if the open is
    within the limit, and rests as a limit order otherwise. An open is a trade, so one at the limit
    is enough; `through` is for other prices that an order sees first, on the way along a path.
    """
    sign, stop, limit = working.sign, working.stop, working.limit
    if stop is not None and not working.triggered:
        if not sign * open_ >= sign * stop:  # it is NaN before a trail has begun
            return None
        if limit is None:
            return open_, "stop at open"
        working.triggered = True
    if limit is None:
        return open_, "open" if stop is None else "stop at open"
    if sign * open_ > sign * limit or (through and open_ == limit):
        return None
    return open_, "limit at open"


def match_inside(
    working: Working, high: float, low: float, close: float, *, through: bool = False
) -> Match | None:
    """What an order does between the open and the close of a bar, at its level.

    Args:
        working: A limit, stop or stop-limit that did not fill at the open.
        high: Of the bar.
        low: Of the bar.
        close: Of the bar.
        through: A limit needs a price beyond its level; a touch is not enough.
    """
    stop = working.stop
    if stop is None or working.triggered:
        if working.limit is None:
            return None  # what is left of a stop waits for the next open
        return _match_limit(working, high, low, through=through)
    extreme = high if working.sign > 0 else low
    if not working.sign * extreme >= working.sign * stop:
        return None
    if working.limit is None:
        return stop, "stop"
    return _trigger_stop_limit(working, stop, close)


def match_behind(
    working: Working, entry: float, high: float, low: float, *, through: bool = False
) -> Match | None:
    """What a protective order does inside a bar after an entry inside the same bar.

    Nothing that came before the entry counts: neither the open, nor prices on the way in. That
    the rest of the bar's range came after it is the worse assumption for a stop and the better
    one for a target.

    Args:
        working: A stop, or a limit.
        entry: Price of the entry, before slippage.
        high: Of the bar.
        low: Of the bar.
        through: A limit needs a price beyond its level.
    """
    stop, limit, sign = working.stop, working.limit, working.sign
    if stop is None:
        assert limit is not None
        if sign * entry < sign * limit or (entry == limit and not through):
            return entry, "limit"
        return _match_limit(working, high, low, through=through)
    if sign * entry >= sign * stop:
        return entry, "stop"
    extreme = high if sign > 0 else low
    return (stop, "stop") if sign * extreme >= sign * stop else None


def _match_limit(working: Working, high: float, low: float, *, through: bool) -> Match | None:
    limit, sign = working.limit, working.sign
    assert limit is not None
    best = low if sign > 0 else high
    if sign * best > sign * limit or (through and best == limit):
        return None
    return limit, "limit"


def _trigger_stop_limit(working: Working, stop: float, close: float) -> Match | None:
    """Triggered inside the bar, at the stop: then only what is sure to come after it counts."""
    limit, sign = working.limit, working.sign
    assert limit is not None
    working.triggered = True
    if sign * stop <= sign * limit:
        return stop, "stop_limit"
    if sign * close <= sign * limit:
        return limit, "stop_limit"
    return None
