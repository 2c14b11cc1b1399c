"""One order after another: each goes through the whole bar before the next has its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ml4t.backtest.broker.trailing import move_trail
from ml4t.backtest.simulation import options
from ml4t.backtest.simulation.matching import match_open
from ml4t.backtest.types.order import OrderType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.simulation.trading import BarTrading, Live

_FIRST = ("submitted", "protective", "asset", "value")
_BEGIN = ("at_once", "after_market", "next_bar")
_TRAIL = ("range", "close")
_JUDGED = ("bar", "close")
_MARKET = OrderType.MARKET


class OneByOne:
    """Matches the orders of a bar as a queue, the way many simulators do.

    Left out, a broker goes through a bar by its moments: what trades at the open, then what is
    met inside, then the close, exits before entries at each, entries funded together. With this
    part every order is tried against the whole bar and paid for before the next one is looked
    at. So the money of an exit inside the bar may pay for an entry at its open, and which of two
    entries gets the last of the money depends on which was sent first: both are more than one
    can know from a bar. Bars in which a stop and a target were both met are not counted.

    Args:
        first: "submitted": in order of submission, whenever an order began to work.
            "protective": stops and market orders that may only reduce a position go before all
            others, the latest of them first; the others as they began to work. "asset": by the
            name of the asset, and then in order of submission. "value": by the money it takes at
            the price of market orders, least first, so that the largest sale comes first and the
            largest purchase last; those of the same value by asset.
        exits_begin: When orders that wait for an entry (brackets, rules over positions) begin to
            work: "at_once", in the bar of the entry and after all other orders; "after_market",
            likewise, but only if the entry was a market order; or with the "next_bar".
        trail_by: Trailing stops follow the best price of each bar's "range", or its "close".
        judged_by: Limits and stops are met anywhere in the "bar", at their level. Or the "close"
            is all that counts: it triggers them, and they fill at it. That is for data that have
            nothing but closes, and for engines that look at nothing else.

    Raises:
        ConfigError: An unknown word.

    Example:
        >>> OneByOne(exits_begin="next_bar")
        OneByOne(first='submitted', exits_begin='next_bar', trail_by='range', judged_by='bar')
    """

    def __init__(
        self,
        *,
        first: Literal["submitted", "protective", "asset", "value"] = "submitted",
        exits_begin: Literal["at_once", "after_market", "next_bar"] = "at_once",
        trail_by: Literal["range", "close"] = "range",
        judged_by: Literal["bar", "close"] = "bar",
    ) -> None:
        self.first = options.one_of("first", first, _FIRST)
        self.exits_begin = options.one_of("exits_begin", exits_begin, _BEGIN)
        self.trail_by = options.one_of("trail_by", trail_by, _TRAIL)
        self.judged_by = options.one_of("judged_by", judged_by, _JUDGED)

    def __repr__(self) -> str:
        return (
            f"OneByOne(first={self.first!r}, exits_begin={self.exits_begin!r}, "
            f"trail_by={self.trail_by!r}, judged_by={self.judged_by!r})"
        )

    def run(
        self, trading: BarTrading, live: list[Live], fill_at: str, watchers: Watchers
    ) -> list[Live]:
        """Trade a bar.

        Args:
            trading: The bar's trading.
            live: The open orders that can trade in it.
            fill_at: Where market orders without a time of their own trade.
            watchers: The rules over positions.

        Returns:
            All orders that had a chance.
        """
        opening, resting, closing = trading.phases(live, fill_at)
        trading.joins = False
        trading.trails_by_close = self.trail_by == "close"
        at_open, inside, at_close = map(_ids, (opening, resting, closing))
        tried = [*opening, *resting, *closing]
        queue = self.in_turn(live, trading, fill_at)
        while queue:
            joined: list[Live] = []
            for pair in queue:
                working = pair[0]
                order_id = working.order_id
                if not trading.is_open(working):
                    continue
                if order_id in inside and self.judged_by == "close":
                    with watchers.at_close():
                        _by_close(trading, pair)
                elif order_id in inside:
                    trading.inside([pair])
                elif order_id in at_open:
                    trading.at_open([pair])
                elif order_id in at_close:
                    with watchers.at_close():
                        trading.at_close([pair])
                fresh = trading.activated()
                if self._begins(working):
                    joined += fresh
            inside |= _ids(joined)
            tried += joined
            queue = self.in_turn(joined, trading, fill_at)
        return tried

    def at_close(self, trading: BarTrading, live: list[Live]) -> None:
        """Trade orders at the close they were decided on."""
        for pair in self.in_turn(live, trading, "close"):
            trading.at_close([pair])

    def in_turn(self, live: list[Live], trading: BarTrading, fill_at: str) -> list[Live]:
        """The orders as their turns come."""
        if self.first == "submitted":
            return sorted(live, key=lambda pair: pair[0].order_id)
        if self.first == "asset":
            return sorted(live, key=_by_asset)
        if self.first == "value":
            chunk = trading.chunk
            prices = chunk.opens if fill_at == "next_open" else chunk.closes
            instruments = trading.portfolio.instruments

            def value(pair: Live) -> tuple[float, str, int]:
                working, row = pair
                units = working.sign * working.remaining * instruments[working.code].multiplier
                return (units * prices[row], *_by_asset(pair))

            return sorted(live, key=value)
        ahead = [pair for pair in live if _is_protective(pair[0])]
        return [*reversed(ahead), *(pair for pair in live if not _is_protective(pair[0]))]

    def _begins(self, entry: Working) -> bool:
        if self.exits_begin == "after_market":
            return entry.type is _MARKET
        return bool(self.exits_begin == "at_once")


def _by_close(trading: BarTrading, pair: Live) -> None:
    """A limit or a stop, to which the close of its bar is all there is."""
    working, row = pair
    close = trading.chunk.closes[row]
    if trading.has_purpose(working) and (match := match_open(working, close)):
        candidate = trading.candidate(working, row, match)
        candidate.reason = candidate.reason.replace("at open", "at close")
        trading.settlement.settle([candidate], trading.chunk.close)
        trading.protect([candidate])
    if working.type.is_trailing and not working.triggered and trading.is_open(working):
        move_trail(working, close, close)


def _by_asset(pair: Live) -> tuple[str, int]:
    return pair[0].order.asset_id, pair[0].order_id


def _is_protective(working: Working) -> bool:
    return working.order.reduce_only and not working.type.has_limit


def _ids(live: Iterable[Live]) -> set[int]:
    return {working.order_id for working, _ in live}
