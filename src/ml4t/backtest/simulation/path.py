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
    rest of the leg, or from the next leg on where it is for another asset: how far that one had
    come is not known. Stops that follow the price move at the end of each leg.

    Args:
        trading: The bar's trading.
        path: "ohlc" or "olhc".
    """

    def __init__(self, trading: BarTrading, path: str) -> None:
        self.trading = trading
        self.columns: list[Any] = [getattr(trading.prices, name) for name in PATHS[path]]
        self.through = trading.through
        # By order, the code of its asset and where it filled on this leg.
        self._entered: dict[int, tuple[int, float]] = {}
        self._later: set[int] = set()  # orders that are there from the next leg on

    def run(self, live: list[Live]) -> None:
        """Go along the path; orders that begin to work on the way join `live`."""
        self._trail(live, self.columns[0], self.columns[0], {})
        for start, end in pairwise(self.columns):
            self._leg(live, start, end)

    def _leg(self, live: list[Live], start: Sequence[float], end: Sequence[float]) -> None:
        trading = self.trading
        reached: dict[int, float] = {}  # by asset code, where something filled on this leg
        self._entered, self._later = {}, set()
        waiting = trading.priced(list(live))
        while waiting:
            touched = []
            for working, row in waiting:
                if trading.is_open(working):
                    here = self._here(working, reached, start[row])
                    touched += self._touch(working, row, here, end[row])
            entered = self._settle(touched, reached, start)
            joined = trading.join_activated(live)
            self._later.update(w.order_id for w, _ in joined if not self._is_own(w))
            waiting = trading.priced([(w, row) for w, row in joined if self._is_own(w)])
            # Exits that were there before the entry they are for are met on the rest of the way.
            waiting += [
                (working, row)
                for working, row in trading.priced(live)
                if working.code in entered
                and working.order.reduce_only
                and working.order_id not in self._later
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
            if working.order_id in self._later:
                continue
            follows = working.type.is_trailing and not working.triggered
            if follows and self.trading.is_open(working):
                here, there = self._here(working, reached, start[row]), end[row]
                move_trail(working, max(here, there), min(here, there))

    def _here(self, working: Working, reached: dict[int, float], start: float) -> float:
        """From where on an order sees a leg: from its own entry, or its asset's, if on the leg."""
        own = self._entered.get(working.order.after)
        if own is None or own[0] != working.code:
            return reached.get(working.code, start)
        return own[1]

    def _is_own(self, working: Working) -> bool:
        """Whether an order waited for one of its own asset, if for one that filled on this leg."""
        parent = self._entered.get(working.order.after)
        return parent is None or parent[0] == working.code

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
        self._entered.update((c.working.order_id, (c.working.code, c.reference)) for c in traded)
        opened = [c for c in traded if c.entry]
        # Of several, the price meets the nearest first: entries count before exits.
        traded.sort(key=lambda c: (c.entry == 0.0, abs(c.reference / start[c.row] - 1.0)))
        reached.update((c.working.code, c.reference) for c in reversed(traded))
        return {c.working.code for c in opened}
