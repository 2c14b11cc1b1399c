"""What trades inside a bar when its path is assumed: open, high, low, close, or low before high."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ml4t.backtest.broker.trailing import move_trail
from ml4t.backtest.simulation.matching import match_inside, match_open

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.simulation.costs import Candidate
    from ml4t.backtest.simulation.trading import BarTrading, Live

PATHS = {
    "ohlc": ("opens", "highs", "lows", "closes"),
    "olhc": ("opens", "lows", "highs", "closes"),
}


class PathTrading:
    """Orders at their levels, in the order in which a price on its way along the path meets them.

    The path has three straight legs. All assets go through a leg together: in each, exits come
    first and entries are funded as one, as everywhere. What an entry sets to work trades on the
    rest of the leg, and stops that follow the price move at the end of each leg.

    Args:
        trading: The bar's trading.
        path: "ohlc" or "olhc".
    """

    def __init__(self, trading: BarTrading, path: str) -> None:
        self.trading = trading
        self.columns: list[Any] = [getattr(trading.prices, name) for name in PATHS[path]]
        self.through = trading.through
        self._entered: dict[int, float] = {}  # by order, where it filled on this leg

    def run(self, live: list[Live]) -> None:
        """Go along the path; orders that begin to work on the way join `live`."""
        self._trail(live, self.columns[0], self.columns[0], {})
        for start, end in pairwise(self.columns):
            self._leg(live, start, end)

    def _leg(self, live: list[Live], start: Sequence[float], end: Sequence[float]) -> None:
        trading = self.trading
        reached: dict[int, float] = {}  # by asset code, where something filled on this leg
        self._entered = {}
        waiting = trading.priced(list(live))
        while waiting:
            touched = []
            for working, row in waiting:
                if trading.is_open(working):
                    here = self._here(working, reached, start[row])
                    touched += self._touch(working, row, here, end[row])
            entered = self._settle(touched, reached, start)
            waiting = trading.priced(trading.join_activated(live))
            # Exits that were there before the entry they are for are met on the rest of the way.
            waiting += [
                (working, row)
                for working, row in trading.priced(live)
                if working.code in entered and working.order.reduce_only
            ]
        self._trail(live, start, end, reached)

    def _trail(
        self,
        live: list[Live],
        start: Sequence[float],
        end: Sequence[float],
        reached: dict[int, float],
    ) -> None:
        """Move stops by the way that is behind them; after an entry, by the way from there."""
        for working, row in self.trading.priced(live):
            follows = working.type.is_trailing and not working.triggered
            if follows and self.trading.is_open(working):
                here, there = self._here(working, reached, start[row]), end[row]
                move_trail(working, max(here, there), min(here, there))

    def _here(self, working: Working, reached: dict[int, float], start: float) -> float:
        """From where on an order sees a leg: from its own entry, or its asset's, if on the leg."""
        own = self._entered.get(working.order.after)
        return reached.get(working.code, start) if own is None else own

    def _touch(self, working: Working, row: int, here: float, there: float) -> list[Candidate]:
        """What an order does while the price goes from `here` to `there`."""
        high, low = max(here, there), min(here, there)
        match = match_open(working, here, through=self.through) or match_inside(
            working, high, low, there, through=self.through
        )
        if match is None:
            return []
        price, reason = match
        return [self.trading.candidate(working, row, (price, reason.removesuffix(" at open")))]

    def _settle(
        self, touched: list[Candidate], reached: dict[int, float], start: Sequence[float]
    ) -> set[int]:
        """Trade what was met on a leg; the codes of the assets that were entered."""
        trading = self.trading
        marks = trading.marks
        position = trading.settlement.position
        exits = [c for c in touched if position(c.working.code) * c.working.sign < 0.0]
        leaving = set(map(id, exits))
        exits.sort(key=lambda c: abs(c.reference / start[c.row] - 1.0))
        trading.settlement.settle(exits, marks)
        trading.protect(exits)
        entries = [
            c
            for c in touched
            if id(c) not in leaving
            and not c.working.order.reduce_only
            and trading.is_open(c.working)
        ]
        trading.settlement.settle(entries, marks)
        traded = [c for c in (*exits, *entries) if c.working.filled]
        self._entered.update((c.working.order_id, c.reference) for c in traded)
        opened = [c for c in traded if c.entry]
        # Of several, the price meets the nearest first: entries count before exits.
        traded.sort(key=lambda c: (c.entry == 0.0, abs(c.reference / start[c.row] - 1.0)))
        reached.update((c.working.code, c.reference) for c in reversed(traded))
        return {c.working.code for c in opened}
