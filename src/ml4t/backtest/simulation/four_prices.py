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
    from ml4t.backtest.simulation.holdings import Marks
    from ml4t.backtest.simulation.matching import Match
    from ml4t.backtest.simulation.trading import BarTrading, Live

_MARKET = OrderType.MARKET
_GAPS = ("price", "level")


class FourPrices:
    """Matches orders against the four prices of a bar, the way engines made for ticks do.

    An asset's bar counts as four trades: at its open, its high, its low and its close. At each
    of them purchases are tried from the highest level down, then sales from the lowest up, and
    what has been reached on the way fills at its own level. A stop-limit does not fill better
    than its stop. What fills leaves the price at its level for the orders behind it on its side,
    so that one that wants a better price waits for the next of the four. A price like the one
    before it is no trade. Stops that follow the price move after each of them.

    Exits that wait for an entry work from the price after it on. When an order comes and the
    price has passed its stop, or there is nothing that it could reduce, it is refused, and with
    it those that share its `oco` group. With `fill_at="close"`, limits that the close satisfies
    when they come fill at it, as market orders do.

    Each order is paid for before the next one is looked at, asset by asset; bars in which a stop
    and a target were both met are not counted.

    Args:
        path: "ohlc": the high comes before the low. "olhc": after it.
        gaps: What the first of the four has jumped past fills at that "price", or at its own
            "level" all the same. The latter is nothing that anybody could have had: such fills
            have a reason that ends with "in a gap".

    Raises:
        ConfigError: An unknown word.

    Example:
        >>> FourPrices()
        FourPrices(path='ohlc', gaps='price')
    """

    on_arrival = True
    """With `fill_at="close"`, resting orders are shown the close they were decided on, too."""

    def __init__(
        self,
        *,
        path: Literal["ohlc", "olhc"] = "ohlc",
        gaps: Literal["price", "level"] = "price",
    ) -> None:
        self.path = options.one_of("path", path, tuple(PATHS))
        self.gaps = options.one_of("gaps", gaps, _GAPS)

    def __repr__(self) -> str:
        return f"FourPrices(path={self.path!r}, gaps={self.gaps!r})"

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
        joined = _Moment(trading, columns[0], trading.marks).joined()
        tried = [*live, *joined]
        by_row: dict[int, list[Live]] = {}
        for pair in [*resting, *joined]:
            by_row.setdefault(pair[1], []).append(pair)
        for row, of_asset in by_row.items():
            before = trading.portfolio.last_price(of_asset[0][0].order.asset_id)
            for column in columns:
                if column[row] == before:
                    continue
                before = column[row]
                moment = _Moment(trading, column, trading.marks)
                jumps = self.gaps if column is columns[0] else ""
                joined = moment.see(of_asset, row, jumps)
                of_asset.extend(pair for pair in joined if pair[1] == row)
                tried.extend(joined)
        for pair in closing:
            with watchers.at_close():
                trading.at_close([pair])
        return tried

    def at_close(self, trading: BarTrading, live: list[Live]) -> None:
        """Trade orders at the close they were decided on."""
        trading.blotter.links.activated.clear()
        moment = _Moment(trading, trading.chunk.closes, trading.chunk.close, " at close")
        for working, row in live:
            moment.arrive(working, row)


class _Moment:
    """One of the four prices, of any asset.

    Args:
        trading: The bar's trading.
        column: The prices by row.
        marks: What holdings are worth.
        where: What the reasons of orders end with that fill when they come.
    """

    def __init__(
        self, trading: BarTrading, column: Sequence[float], marks: Marks, where: str = ""
    ) -> None:
        self.trading = trading
        self.column = column
        self.marks = marks
        self.where = where
        self.left: dict[float, float] = {}  # for each side, where the fills before have left it

    def see(self, orders: list[Live], row: int, jumps: str) -> list[Live]:
        """Show the price to the orders of one asset; what has begun to work."""
        trading, price = self.trading, self.column[row]
        bars = trading.chunk
        left = self.left = {1.0: price, -1.0: price}
        joined: list[Live] = []
        for working, _ in sorted(orders, key=_level):
            if not trading.is_open(working) or not trading.has_purpose(working):
                continue
            seen, waited = left[working.sign], working.triggered
            match = _match(working, seen, price, through=trading.through)
            if match is None:
                continue
            is_jumped = bool(jumps) and match[0] != price
            if is_jumped and jumps == "price":
                match = price, match[1]
            else:
                left[working.sign] = _left(working, seen, match[0], waited=waited)
            is_outside = not bars.lows[row] <= match[0] <= bars.highs[row]
            joined += self.fill(working, row, match, " in a gap" if is_jumped or is_outside else "")
        for working, _ in orders:
            if working.type.is_trailing and not working.triggered and trading.is_open(working):
                move_trail(working, price, price)
        return joined

    def joined(self) -> list[Live]:
        """Orders that a fill has set to work, when they have been shown the price."""
        joined: list[Live] = []
        while fresh := self.trading.activated():
            for working, row in fresh:
                self.arrive(working, row)
            joined += fresh
        return [pair for pair in joined if self.trading.is_open(pair[0])]

    def arrive(self, working: Working, row: int) -> None:
        """An order comes: a stop that is passed is refused, what the price satisfies fills."""
        sign, limit = working.sign, working.limit
        price = self.left.get(sign, self.column[row])
        if not self.trading.is_open(working):
            return
        if working.type is _MARKET:
            role = working.order.role
            self.fill(working, row, (price, "close"), self.where if role else "")
        elif not self.trading.has_purpose(working):
            self._refuse(working, "there is nothing to reduce")
        elif working.stop is not None:
            if sign * price >= sign * working.stop:
                text = f"the price of {price:g} has passed the stop of {working.stop:g}"
                self._refuse(working, text)
        elif limit is not None and sign * price <= sign * limit:
            self.fill(working, row, (price, "limit"), self.where)

    def fill(self, working: Working, row: int, match: Match, where: str) -> list[Live]:
        """An order trades; what that has set to work."""
        trading = self.trading
        candidate = trading.candidate(working, row, match)
        candidate.reason += where
        trading.settlement.settle([candidate], self.marks)
        joined = self.joined()
        trading.protect([candidate])
        return joined

    def _refuse(self, working: Working, reason: str) -> None:
        """End an order, and what it shares a group with: a target goes with its stop."""
        blotter, group = self.trading.blotter, working.order.oco
        blotter.end(working, OrderStatus.REJECTED, reason)
        for other in blotter.working(working.code) if group else ():
            if other.order.oco == group and self.trading.is_open(other):
                blotter.end(other, OrderStatus.REJECTED, reason)


def _level(pair: Live) -> tuple[bool, float]:
    """Purchases from the highest level down, then sales from the lowest up."""
    working = pair[0]
    waits = working.stop is not None and not working.triggered
    level = working.stop if waits or working.limit is None else working.limit
    assert level is not None
    return working.sign < 0.0, -working.sign * level


def _match(working: Working, seen: float, price: float, *, through: bool) -> Match | None:
    """What an order does at a price, which it sees where the fills before it have left it."""
    sign, stop, limit = working.sign, working.stop, working.limit
    is_fresh = stop is not None and not working.triggered
    if stop is not None and is_fresh:
        if not sign * seen >= sign * stop:  # NaN before a trail has begun
            return None
        working.triggered = limit is not None
    if limit is None:
        return (stop, "stop") if stop is not None and is_fresh else (price, "stop")
    worse = max(sign * seen, sign * price)
    if worse > sign * limit or (through and worse == sign * limit):
        return None
    if stop is None:
        return limit, "limit"
    # Never better than the stop; later on, nor than the price itself if that is worse.
    best = sign * max(sign * price, min(sign * limit, sign * stop))
    return stop if is_fresh else best, "stop_limit"


def _left(working: Working, seen: float, price: float, *, waited: bool) -> float:
    """Where a fill leaves the price for the orders behind it on its side."""
    sign, limit = working.sign, working.limit
    if limit is None or working.stop is None:
        return price
    # A stop-limit that has just been triggered takes what there is up to its limit.
    return sign * max(sign * seen, sign * price) if waited else limit
