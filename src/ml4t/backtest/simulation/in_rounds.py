"""Rounds: what protects, what covers, then sales, purchases, and what is left from before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.broker.trailing import move_trail
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.types.order import OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.simulation.matching import Match
    from ml4t.backtest.simulation.trading import BarTrading, Live

_MARKET, _OPG, _CLS = OrderType.MARKET, TimeInForce.OPG, TimeInForce.CLS
_MOST_DECIMALS = 12
_PLACES = {"next_open": "open", "next_middle": "middle", "next_close": "close", "close": "close"}


class InRounds:
    """Matches the orders of a bar in rounds, at one price of the bar.

    Left out, a broker goes through a bar by its moments. With this part a bar has one price for
    all, its open, its middle or its close, as `fill_at` says: market orders fill there, and limit
    orders do if it is within their limit, wherever the rest of the bar went. Only stops, and
    limits that may only reduce a position, look at the range: they fill at their level, or at the
    end of the range that is nearest to it; a bar that opens beyond a stop costs nothing extra,
    which is more than one can hope for.

    Orders have their turn one by one, and what was opened in a bar is protected from the next:

    1. stops, and limits that may only reduce a position, in order of submission;
    2. purchases that may only reduce a position;
    3. sales;
    4. purchases;
    5. limits that an earlier bar has left, in the same order.

    Inside of rounds 2 to 4 the one that was decided first comes first, and of one decision the
    assets by name.

    Args:
        decimals: The price of a bar, and the range in which levels are looked for, are rounded to
            so many decimals, halves up, but no fill lies outside of its bar; None leaves them as
            they are.

    Raises:
        ConfigError: `decimals` is no whole number from 0 to 12.

    Example:
        >>> InRounds(decimals=2)
        InRounds(decimals=2)
    """

    def __init__(self, *, decimals: int | None = None) -> None:
        is_whole = isinstance(decimals, int) and not isinstance(decimals, bool)
        if decimals is not None and not (is_whole and 0 <= decimals <= _MOST_DECIMALS):
            raise ConfigError(
                f"InRounds: decimals must be a whole number from 0 to {_MOST_DECIMALS}, or None; "
                f"not {decimals!r}."
            )
        self.decimals = decimals

    def __repr__(self) -> str:
        return f"InRounds(decimals={self.decimals})"

    def run(
        self, trading: BarTrading, live: list[Live], fill_at: str, watchers: Watchers
    ) -> list[Live]:
        """Trade a bar.

        Args:
            trading: The bar's trading.
            live: The open orders that can trade in it.
            fill_at: Which price the bar has.
            watchers: The rules over positions.

        Returns:
            All orders that had a chance.
        """
        opening, _, closing = trading.phases(live, "next_open")
        able = {working.order_id for working, _ in (*opening, *closing)}
        trading.joins = False
        for pair in sorted(live, key=lambda pair: _turn(pair[0], trading.fresh)):
            working = pair[0]
            if working.order_id not in able or not trading.is_open(working):
                continue
            if working.time_in_force is _OPG:
                trading.at_open([pair])
            elif working.time_in_force is _CLS:
                with watchers.at_close():
                    trading.at_close([pair])
            elif trading.has_purpose(working):
                self._try(trading, pair, _PLACES[fill_at])
            trading.activated()
        return live

    def at_close(self, trading: BarTrading, live: list[Live]) -> None:
        """Trade orders at the close they were decided on."""
        for pair in sorted(live, key=lambda pair: _turn(pair[0], trading.fresh)):
            trading.at_close([pair])

    def _try(self, trading: BarTrading, pair: Live, place: str) -> None:
        """Let one order trade, if it can."""
        working, row = pair
        chunk = trading.chunk
        high, low = self._rounded(chunk.highs[row]), self._rounded(chunk.lows[row])
        match: Match | None
        if working.stop is not None and not working.triggered:
            match = _at_stop(working, high, low)
            if match is None and not working.triggered:
                if working.type.is_trailing:
                    move_trail(working, high, low)
                return
        elif working.order.reduce_only and working.limit is not None:
            match = _at_target(working, high, low, through=trading.through)
        else:
            match = None
        if match is None and not _is_target(working):
            price = {"open": chunk.opens[row], "close": chunk.closes[row]}.get(
                place, chunk.lows[row] + (chunk.highs[row] - chunk.lows[row]) / 2.0
            )
            price = self._rounded(price)
            if working.limit is None or working.sign * price <= working.sign * working.limit:
                match = price, place if working.type is _MARKET else "limit"
        if match is not None:
            match = min(max(match[0], chunk.lows[row]), chunk.highs[row]), match[1]
            candidates = [trading.candidate(working, row, match)]
            trading.settlement.settle(candidates, trading.marks)
            trading.protect(candidates)

    def _rounded(self, price: float) -> float:
        if self.decimals is None:
            return price
        steps = 10.0**self.decimals
        return math.floor(price * steps + 0.5) / steps


def check_middle(fill_at: str, matching: object) -> None:
    """A bar has a middle only where it has one price for all.

    Raises:
        ConfigError: `fill_at="next_middle"` without `InRounds`.
    """
    if fill_at == "next_middle" and not isinstance(matching, InRounds):
        raise ConfigError(
            'fill_at="next_middle" is a price of no moment: it needs matching=InRounds(), in which '
            "a bar has one price for all orders."
        )


def _is_target(working: Working) -> bool:
    return working.stop is None and working.order.reduce_only and working.limit is not None


def _turn(working: Working, fresh: set[int]) -> tuple[bool, bool, int, int, str, int]:
    """Where an order stands in the queue."""
    waits = working.stop is not None and not working.triggered
    if waits or _is_target(working):
        return (False, False, 0, 0, "", working.order_id)
    covers = working.sign > 0.0 and working.order.reduce_only
    rank = 0 if covers else (1 if working.sign < 0.0 else 2)
    if working.limit is not None and working.order_id not in fresh:
        return (True, True, rank, 0, "", working.order_id)
    return (True, False, rank, working.step, working.order.asset_id, working.order_id)


def _at_stop(working: Working, high: float, low: float) -> Match | None:
    """A stop that the range has reached; a stop-limit goes on as a limit."""
    stop, sign = working.stop, working.sign
    assert stop is not None
    extreme = high if sign > 0.0 else low
    if not sign * extreme >= sign * stop:  # NaN before a trail has begun
        return None
    if working.limit is not None:
        working.triggered = True
        return None
    return min(max(stop, low), high), "stop"


def _at_target(working: Working, high: float, low: float, *, through: bool) -> Match | None:
    """A limit that closes a position, and that the range has reached."""
    limit, sign = working.limit, working.sign
    assert limit is not None
    best = low if sign > 0.0 else high
    if sign * best > sign * limit or (through and best == limit):
        return None
    return min(max(limit, low), high), "limit"
