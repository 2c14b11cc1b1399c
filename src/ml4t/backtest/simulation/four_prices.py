"""A bar as four prices, one after another, with nothing in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ml4t.backtest.broker.trailing import move_trail
from ml4t.backtest.simulation import options
from ml4t.backtest.simulation.path import PATHS
from ml4t.backtest.types.order import OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.simulation.matching import Match
    from ml4t.backtest.simulation.trading import BarTrading, Live

_MARKET = OrderType.MARKET


class FourPrices:
    """Matches orders against the four prices of a bar, the way engines made for ticks do.

    An asset's bar counts as four trades: at its open, its high, its low and its close. At each
    of them purchases are tried from the highest level down, then sales from the lowest up, and
    what has been reached fills at its own level, even where the price has jumped past it: a stop
    that the open has passed fills better than anybody could have had it. A stop-limit does not
    fill better than its stop. Stops that follow the price move after each of the four.

    Exits that wait for an entry work from the price after it on. A stop order that comes when
    the price has passed its level is refused. With `fill_at="close"`, limits that the close
    satisfies when they come fill at it, as market orders do.

    Each order is paid for before the next one is looked at, asset by asset; bars in which a stop
    and a target were both met are not counted.

    Args:
        path: "ohlc": the high comes before the low. "olhc": after it.

    Raises:
        ConfigError: An unknown word.

    Example:
        >>> FourPrices()
        FourPrices(path='ohlc')
    """

    on_arrival = True
    """With `fill_at="close"`, resting orders are shown the close they were decided on, too."""

    def __init__(self, *, path: Literal["ohlc", "olhc"] = "ohlc") -> None:
        self.path = options.one_of("path", path, tuple(PATHS))

    def __repr__(self) -> str:
        return f"FourPrices(path={self.path!r})"

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
        for pair in opening:
            if pair[0].type is _MARKET or pair[0].time_in_force is TimeInForce.OPG:
                trading.at_open([pair])
        columns = [getattr(trading.chunk, name) for name in PATHS[self.path]]
        joined = self._joined(trading, columns[0])
        tried = [*live, *joined]
        by_row: dict[int, list[Live]] = {}
        for pair in [*resting, *joined]:
            by_row.setdefault(pair[1], []).append(pair)
        for row, orders in by_row.items():
            for column in columns:
                joined = self._see(trading, orders, column, row)
                orders += joined
                tried += joined
        for pair in closing:
            with watchers.at_close():
                trading.at_close([pair])
        return tried

    def at_close(self, trading: BarTrading, live: list[Live]) -> None:
        """Trade orders at the close they were decided on."""
        trading.blotter.links.activated.clear()
        closes = trading.chunk.closes
        for working, row in live:
            if working.type is _MARKET:
                trading.at_close([(working, row)])
            else:
                self._arrive(trading, working, row, closes)
            self._joined(trading, closes)

    def _see(
        self, trading: BarTrading, orders: list[Live], column: Sequence[float], row: int
    ) -> list[Live]:
        """One price, and the orders of one asset; what began to work at it."""
        price = column[row]
        left = {1.0: price, -1.0: price}  # for each side, where the fills before have left it
        joined: list[Live] = []
        for working, _ in sorted(orders, key=_level):
            if not trading.is_open(working) or not trading.has_purpose(working):
                continue
            seen, waited = left[working.sign], working.triggered
            match = _match(working, seen, price)
            if match is not None:
                left[working.sign] = _left(working, seen, match[0], waited=waited)
                joined += self._fill(trading, working, column, row, match)
        for working, _ in orders:
            if working.type.is_trailing and not working.triggered and trading.is_open(working):
                move_trail(working, price, price)
        return joined

    def _joined(self, trading: BarTrading, column: Sequence[float]) -> list[Live]:
        """Orders that a fill has set to work, when they have been shown the price of now."""
        joined = []
        while fresh := trading.activated():
            for working, row in fresh:
                self._arrive(trading, working, row, column)
            joined += fresh
        return [pair for pair in joined if trading.is_open(pair[0])]

    def _arrive(
        self, trading: BarTrading, working: Working, row: int, column: Sequence[float]
    ) -> None:
        """An order comes: a stop that is passed is refused, a limit within reach fills."""
        price, sign, limit = column[row], working.sign, working.limit
        if not trading.is_open(working):
            return
        if not trading.has_purpose(working):
            _refuse(trading, working, "there is nothing to reduce")
        elif working.stop is not None:
            if sign * price >= sign * working.stop:
                text = f"the price of {price:g} has passed the stop of {working.stop:g}"
                _refuse(trading, working, text)
        elif limit is not None and sign * price <= sign * limit:
            self._fill(trading, working, column, row, (price, "limit"))

    def _fill(
        self,
        trading: BarTrading,
        working: Working,
        column: Sequence[float],
        row: int,
        match: Match,
    ) -> list[Live]:
        """An order trades; what that sets to work."""
        candidate = trading.candidate(working, row, match)
        trading.settlement.settle([candidate], trading.marks)
        joined = self._joined(trading, column)
        trading.protect([candidate])
        return joined


def _refuse(trading: BarTrading, working: Working, reason: str) -> None:
    """End an order, and what it shares a group with: a target goes with its stop."""
    blotter, group = trading.blotter, working.order.oco
    blotter.end(working, OrderStatus.REJECTED, reason)
    for other in blotter.working(working.code) if group else ():
        if other.order.oco == group and trading.is_open(other):
            blotter.end(other, OrderStatus.REJECTED, reason)


def _level(pair: Live) -> tuple[bool, float]:
    """Purchases from the highest level down, then sales from the lowest up."""
    working = pair[0]
    waits = working.stop is not None and not working.triggered
    level = working.stop if waits or working.limit is None else working.limit
    assert level is not None
    return working.sign < 0.0, -working.sign * level


def _match(working: Working, seen: float, price: float) -> Match | None:
    """What an order does at a price, which it sees where the fills before it have left it."""
    sign, stop, limit = working.sign, working.stop, working.limit
    worst = max(sign * seen, sign * price)
    if stop is not None and not working.triggered:
        if sign * seen < sign * stop:
            return None
        if limit is None:
            return stop, "stop"
        working.triggered = True
        return (stop, "stop_limit") if worst <= sign * limit else None
    if limit is None:
        return price, "stop"  # what is left of one
    if worst > sign * limit:
        return None
    if stop is None:
        return limit, "limit"
    # Never better than the stop, nor than the price itself if that is worse.
    return sign * max(sign * price, min(sign * limit, sign * stop)), "stop_limit"


def _left(working: Working, seen: float, price: float, *, waited: bool) -> float:
    """Where a fill leaves the price for the orders behind it on its side."""
    sign, limit = working.sign, working.limit
    if limit is None or working.stop is None:
        return price
    # A stop-limit that has just been triggered takes what there is up to its limit.
    return sign * max(sign * seen, sign * price) if waited else limit
