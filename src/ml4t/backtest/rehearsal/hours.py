"""Regular and extended hours: which orders a bar outside the session may fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.simulation.hours import Place
from ml4t.backtest.types.order import TimeInForce

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.simulation.one_by_one import OneByOne
    from ml4t.backtest.simulation.trading import BarTrading, Live

_OUTSIDE = frozenset({Place.BEFORE, Place.AFTER})


class RegularHours:
    """Matches a bar as the simulation does, without the orders that are for other hours.

    An order trades outside the regular hours only when it asked for it. What was sent after the
    close is for the next session.

    Args:
        matching: How orders take turns; None as the simulation does it by itself.
        calendar: Of the market.
        always_open: Codes of assets that know no hours.

    Attributes:
        extended: Ids of the orders that trade in extended hours.
    """

    def __init__(
        self, matching: OneByOne | None, calendar: TradingCalendar, always_open: AbstractSet[int]
    ) -> None:
        self.matching = matching
        self.calendar = calendar
        self.always_open = always_open
        self.extended: set[int] = set()

    def __repr__(self) -> str:
        return f"RegularHours({self.matching!r})"

    def run(
        self, trading: BarTrading, live: list[Live], fill_at: str, watchers: Watchers
    ) -> list[Live]:
        """Trade a bar.

        Returns:
            All orders that had a chance.
        """
        if trading.hours in _OUTSIDE:
            live = self._outside(trading, live)
        if self.matching is not None:
            return self.matching.run(trading, live, fill_at, watchers)
        opening, resting, closing = trading.phases(live, fill_at)
        trading.at_open(opening)
        if resting or trading.blotter.links.activated:
            trading.inside(resting)
        if closing:
            with watchers.at_close():
                trading.at_close(closing)
        return [*opening, *resting, *closing]

    def _outside(self, trading: BarTrading, live: list[Live]) -> list[Live]:
        chunk, bars = trading.chunk, trading.bars
        close = self.calendar.close_of(chunk.sessions.item(bars.index), chunk.axis)
        kept = []
        for working, row in live:
            if working.code in self.always_open or working.order_id in self.extended:
                kept.append((working, row))
            elif working.time_in_force is TimeInForce.DAY and working.decided_at >= close:
                working.session = None
        return kept
