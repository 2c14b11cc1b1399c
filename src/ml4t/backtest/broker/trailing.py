"""Stops that follow the price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.broker.ticks import against

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working


def start_trail(working: Working, price: float) -> None:
    """Set the stop of a trailing order, active from when the market is at `price`.

    Without a price (NaN) the stop is NaN, which nothing reaches, until the first bar of its asset
    has gone by.
    """
    working.stop = None
    move_trail(working, price, price)


def move_trail(working: Working, high: float, low: float) -> None:
    """Let the stop of a trailing order follow the best price of a bar, if that was better.

    The limit keeps its distance beyond the stop. On a grid both are rounded as those of any order:
    neither is more aggressive than asked.
    """
    order, side = working.order, -working.sign
    stop = moved_stop(working, high, low)
    if stop == working.stop:
        return
    working.stop = stop
    if order.limit_offset is not None:
        limit = stop - side * order.limit_offset
        working.limit = against(limit, working.tick, side) if working.tick else limit


def moved_stop(working: Working, high: float, low: float) -> float:
    """Where the stop of a trailing order is after a bar.

    A sale's stop stays below the highest price since the decision and never falls; a purchase's
    stays above the lowest and never rises.

    Formula:
        stop = best - side * trail_amount, or best * (1 - side * trail_percent)
        best is the highest price and side 1 for a sale, the lowest and -1 for a purchase
    """
    order, side = working.order, -working.sign
    best = high if side > 0 else low
    if order.trail_percent is not None:
        stop = best * (1.0 - side * order.trail_percent)
    else:
        assert order.trail_amount is not None
        stop = best - side * order.trail_amount
    if working.tick:
        stop = against(stop, working.tick, -side)
    before = working.stop
    return before if before is not None and side * stop <= side * before else stop


def followed(working: Working) -> float:
    """The price that the stop of a trailing order has followed so far, or one not quite as good.

    No better price, no other stop: `move_trail` the other way round, but for a tick.
    """
    order, side, stop = working.order, -working.sign, working.stop
    assert stop is not None
    stop -= side * working.tick
    if order.trail_percent is not None:
        return stop / (1.0 - side * order.trail_percent)
    assert order.trail_amount is not None
    return stop + side * order.trail_amount
