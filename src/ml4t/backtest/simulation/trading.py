"""One bar: what becomes of every open order in it, order by order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.simulation.batch import is_market
from ml4t.backtest.simulation.costs import Candidate
from ml4t.backtest.simulation.matching import match_behind, match_inside, match_open
from ml4t.backtest.types.order import OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.simulation.batch import BatchSettlement

_MARKET, _DAY = OrderType.MARKET, TimeInForce.DAY

Live = tuple["Working", int]
"""An open order that can trade now, and its asset's row in the chunk."""


class BarTrading:
    """The open orders of one timestamp, in the order in which a bar can fill them.

    Args:
        settlement: Settles what trades together, and keeps the news.
        limit_fill: "touch", or "through" when a limit needs a price beyond it.
    """

    def __init__(self, settlement: BatchSettlement, *, limit_fill: str) -> None:
        self.settlement = settlement
        self.limit_fill = limit_fill
        self.bars = settlement.bars
        self.chunk = settlement.bars.chunk
        self.blotter = settlement.blotter
        self.portfolio = settlement.portfolio
        self.ambiguous = 0

    def tradable(self, *, at_once: bool = False) -> list[Live]:
        """Open orders whose asset has a bar now that began at or after their decision.

        Day orders whose session is over end here.

        Args:
            at_once: Orders decided on these very bars count too.
        """
        bars, begins, now = self.bars, self.chunk.begins, self.blotter.now_us
        session = self.chunk.sessions.item(bars.index)
        orders = self.blotter.working()
        live = []
        for working, row in zip(orders, bars.rows_of([w.code for w in orders]), strict=True):
            if working.time_in_force is _DAY and self._is_over(working, session):
                continue
            if row < 0:
                continue
            decided = working.decided_at
            if begins is not None and begins[row] < decided and not (at_once and decided == now):
                continue
            if working.session is None and not at_once:
                working.session = session
            live.append((working, row))
        return live

    def _is_over(self, working: Working, session: int) -> bool:
        if working.session is None or working.session >= session:
            return False
        self.blotter.end(working, OrderStatus.EXPIRED, "day order: not filled in its session")
        return True

    def at_open(self, live: Sequence[Live]) -> None:
        """What trades at the open: market orders, and levels that it has passed."""
        opens = self.chunk.opens
        candidates = []
        for working, row in live:
            if working.type is _MARKET:
                candidates.append(Candidate(working, row, opens[row], "open"))
            elif match := match_open(working, opens[row]):
                candidates.append(Candidate(working, row, *match))
        if candidates:
            self.settlement.settle(candidates, self.chunk.open)
            self._protect(candidates)

    def inside(self, live: Sequence[Live]) -> None:
        """What trades between open and close, at its level; exits first, the worse ones first."""
        resting = [(w, row) for w, row in live if self._is_open(w)]
        if not resting:
            return
        touched = self._touched(resting)
        exits = [
            c for c in touched if self.settlement.position(c.working.code) * c.working.sign < 0.0
        ]
        self._count_ambiguous(exits)
        opens = self.chunk.opens
        # The worse of two touches comes first, stops before limits; of two stops, or two limits,
        # the one that a price on its way from the open reaches first.
        exits.sort(
            key=lambda c: (c.working.type is OrderType.LIMIT, abs(c.reference - opens[c.row]))
        )
        leaving = set(map(id, exits))
        entries = [c for c in touched if id(c) not in leaving and not c.working.order.reduce_only]
        chunk = self.chunk
        self.settlement.settle(exits, chunk.open)
        self._protect(exits)
        entries = [c for c in entries if self._is_open(c.working)]
        self.settlement.settle(entries, chunk.open)
        if entries:
            stops = self._stops_behind(entries, resting)
            self.ambiguous += len({c.working.code for c in stops})
            self.settlement.settle(stops, chunk.open)
            self._protect(stops)

    def _stops_behind(self, entries: list[Candidate], resting: list[Live]) -> list[Candidate]:
        """Protective stops that trade after entries inside the bar."""
        chunk = self.chunk
        entered = {c.working.code: c.reference for c in entries}
        stops = []
        for working, row in resting:
            entry = entered.get(working.code)
            is_stop = working.type is OrderType.STOP and working.order.reduce_only
            if entry is None or not is_stop or not self._is_open(working):
                continue
            match = match_behind(working, entry, chunk.highs[row], chunk.lows[row])
            if match is not None:
                stops.append(Candidate(working, row, *match))
        return stops

    def _touched(self, resting: list[Live]) -> list[Candidate]:
        chunk, through = self.chunk, self.limit_fill == "through"
        touched = []
        for working, row in resting:
            # A protective stop behind an entry at this open may already be passed by it.
            match = match_open(working, chunk.opens[row]) or match_inside(
                working, chunk.highs[row], chunk.lows[row], chunk.closes[row], through=through
            )
            if match is not None:
                touched.append(Candidate(working, row, *match))
        return touched

    def _count_ambiguous(self, exits: list[Candidate]) -> None:
        # What the open has passed came first for certain.
        guessed = [c for c in exits if not c.reason.endswith("at open")]
        stops = {c.working.code for c in guessed if c.working.type is not OrderType.LIMIT}
        limits = {c.working.code for c in guessed if c.working.type is OrderType.LIMIT}
        self.ambiguous += len(stops & limits)

    def at_close(self, live: Sequence[Live]) -> None:
        """Market orders at the close."""
        closes = self.chunk.closes
        candidates = [
            Candidate(w, row, closes[row], "close") for w, row in live if self._is_open(w)
        ]
        if candidates:
            self.settlement.settle(candidates, self.chunk.close)
            self._protect(candidates)

    def _protect(self, traded: list[Candidate]) -> None:
        """Orders that may only reduce a position end with it, be it closed or flipped."""
        if not self.blotter.open:
            return
        for code in dict.fromkeys(c.working.code for c in traded if c.exit):
            now = self.settlement.position(code)
            if now != 0.0 and now * self.portfolio.quantity[code] > 0.0:
                continue
            for working in self.blotter.working(code):
                if working.order.reduce_only and working.sign * now >= 0.0:
                    self.blotter.end(working, OrderStatus.CANCELED, "position closed")

    def drop(self, tried: Sequence[Live]) -> None:
        """End what has had its only chance."""
        is_open = self.blotter.open
        if not is_open:
            return
        for working, _ in tried:
            if working.order_id not in is_open:
                continue
            if working.time_in_force is TimeInForce.IOC:
                text = "immediate or cancel: not filled in its bar"
                self.blotter.end(working, OrderStatus.CANCELED, text)
            elif is_market(working) and working.order.reduce_only:
                self.blotter.end(working, OrderStatus.CANCELED, "nothing to reduce")

    def _is_open(self, working: Working) -> bool:
        return working.order_id in self.blotter.open
