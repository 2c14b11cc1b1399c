"""One bar: what becomes of every open order in it, order by order."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ml4t.backtest.broker.trailing import move_trail
from ml4t.backtest.simulation.batch import is_market
from ml4t.backtest.simulation.costs import Candidate
from ml4t.backtest.simulation.hours import Place
from ml4t.backtest.simulation.matching import match_behind, match_inside, match_open
from ml4t.backtest.simulation.path import PATHS, PathTrading
from ml4t.backtest.types.order import OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.simulation.batch import BatchSettlement
    from ml4t.backtest.simulation.descent import Moment
    from ml4t.backtest.simulation.holdings import Marks
    from ml4t.backtest.simulation.matching import Match
    from ml4t.backtest.types.bars import Chunk

_MARKET, _DAY, _GTC = OrderType.MARKET, TimeInForce.DAY, TimeInForce.GTC
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_OPG, _CLS = TimeInForce.OPG, TimeInForce.CLS
_AUCTIONS = frozenset({_OPG, _CLS})
# Where neither auction is: orders for one are not looked at there.
_BESIDE = {_OPG: frozenset({Place.BEFORE, Place.AFTER}), _CLS: frozenset({Place.AFTER})}
_AT_CLOSE = frozenset({Place.WHOLE, Place.CLOSE})
# What has one chance, and what is said when it has passed.
_ENDED = {
    TimeInForce.IOC: "immediate or cancel: not filled in its bar",
    TimeInForce.FOK: "fill or kill: not filled in its bar",
    TimeInForce.OPG: "at the open: not filled there",
    TimeInForce.CLS: "at the close: not filled there",
}

Live = tuple["Working", int]
"""An open order that can trade now, and its asset's row in the chunk."""


class BarTrading:
    """The open orders of one timestamp, in the order in which a bar can fill them.

    Args:
        settlement: Settles what trades together, and keeps the news.
        limit_fill: "touch", or "through" when a limit needs a price beyond it.
        intrabar: "worst", "best", "ohlc" or "olhc": what is assumed of the path inside a bar.
        hours: Where in their session the bars lie.
    """

    def __init__(
        self, settlement: BatchSettlement, *, limit_fill: str, intrabar: str, hours: Place
    ) -> None:
        self.settlement = settlement
        self.through = limit_fill == "through"
        self.intrabar = intrabar
        self.hours = hours
        self.bars = settlement.bars
        self.chunk = settlement.bars.chunk
        self.prices: Chunk | Moment = self.chunk
        self.rows: Container[int] | None = None  # that have a price in `prices`; None for all
        self.marks: Marks = self.chunk.open  # what holdings are worth before the close, by row
        self.blotter = settlement.blotter
        self.portfolio = settlement.portfolio
        self.ambiguous = 0
        self.joins = True  # what begins to work inside the bar is met there at once
        self.trails_by_close = False
        self.born: set[int] = set()  # orders that began to work inside these bars
        self.fresh: set[int] = set()  # orders that meet their first bar

    def tradable(self, orders: list[Working], *, at_once: bool = False) -> list[Live]:
        """Orders whose asset has a bar now that began at or after their decision.

        Orders whose time is over end here.

        Args:
            orders: Open ones, in order of submission.
            at_once: Orders decided on these very bars count too.
        """
        bars, begins, now = self.bars, self.chunk.begins, self.blotter.now_us
        session = self.chunk.sessions.item(bars.index)
        live = []
        for working, row in zip(orders, bars.chunk_rows_of([w.code for w in orders]), strict=True):
            if working.time_in_force is not _GTC and self._is_over(working, session):
                continue
            if row < 0:
                if working.time_in_force is _CLS and self.hours is Place.CLOSE:
                    self._miss_close(working, session)
                continue
            if working.time_in_force in _AUCTIONS and self.hours in _BESIDE[working.time_in_force]:
                continue
            decided = working.decided_at
            if begins is not None and begins[row] < decided and not (at_once and decided == now):
                continue
            if working.session is None and not at_once:
                working.session = session
                self.fresh.add(working.order_id)
            live.append((working, row))
        return live

    def _miss_close(self, working: Working, session: int) -> None:
        """An asset that traded in a session has no bar at its close: there was no auction."""
        if working.session == session:
            text = "at the close: the asset has no bar there"
            self.blotter.end(working, OrderStatus.CANCELED, text)

    def _is_over(self, working: Working, session: int) -> bool:
        """Whether an order's time has passed; it ends then."""
        expires = working.order.expires_at
        if working.time_in_force is TimeInForce.GTD:
            if not self._is_past(expires, session):
                return False
            self.blotter.end(working, OrderStatus.EXPIRED, f"good till {expires}: not filled")
            return True
        if working.session is None or working.session >= session:
            return False
        if working.time_in_force is _CLS:
            text = "at the close: the session had no bar there"
            self.blotter.end(working, OrderStatus.CANCELED, text)
            return True
        if working.time_in_force is not _DAY:
            return False
        rest = "the rest was " if working.filled else ""
        text = f"day order: {rest}not filled in its session"
        self.blotter.end(working, OrderStatus.EXPIRED, text)
        return True

    def _is_past(self, expires: dt.datetime | dt.date | None, session: int) -> bool:
        """Whether these bars lie after a time, or after all of a date."""
        assert expires is not None
        axis = self.chunk.axis
        if not isinstance(expires, dt.datetime):
            return session > expires.toordinal() - _EPOCH_DAY
        return self.chunk.microseconds[self.bars.index] > axis.to_microseconds(expires)

    def phases(self, live: list[Live], fill_at: str) -> tuple[list[Live], list[Live], list[Live]]:
        """What can trade at the open of these bars, what inside of them, and what at their close.

        Args:
            live: From `tradable`.
            fill_at: Where market orders without a time of their own trade.
        """
        self.blotter.links.activated.clear()  # what became active before is in `live`
        opening: list[Live] = []
        resting: list[Live] = []
        closing: list[Live] = []
        for pair in live:
            working = pair[0]
            force = working.time_in_force
            if force is _OPG:
                if working.session is not None and working.session > working.decided_session:
                    opening.append(pair)
                else:
                    working.session = None  # its session has not begun
            elif force is _CLS:
                if self.hours in _AT_CLOSE:
                    closing.append(pair)
            elif working.type is not _MARKET:
                opening.append(pair)
                resting.append(pair)
            elif fill_at == "next_open":
                opening.append(pair)
            elif fill_at == "next_close":
                closing.append(pair)
        return opening, resting, closing

    def at_open(self, live: Sequence[Live]) -> None:
        """What trades at the open: market orders, and levels that it has passed."""
        opens = self.prices.opens
        candidates = []
        for working, row in live:
            if working.type is _MARKET:
                reason = working.order.role or "open"
                candidates.append(Candidate(working, row, opens[row], reason))
            elif self.has_purpose(working) and (match := match_open(working, opens[row])):
                candidates.append(self.candidate(working, row, match))
        if candidates:
            self._tell_of_bar(candidates)
            self.settlement.settle(candidates, self.marks)
            self.protect(candidates)

    def inside(self, live: list[Live]) -> None:
        """What trades between open and close, at its level; stops that follow the price move.

        Orders that wait for one that fills here join `live`.
        """
        self.join_activated(live)
        resting = self.priced([(w, row) for w, row in live if self.is_open(w)])
        if not resting:
            return
        if self.intrabar in PATHS:
            self._count_guesses(resting)
            PathTrading(self, self.intrabar).run(live)
            return
        self._guess(resting, live)
        # What began to work inside the bar stays: the best price may have come before.
        self._trail(live)

    def _guess(self, resting: list[Live], live: list[Live]) -> None:
        """Exits first, the worse ones (or the better ones) first; then entries."""
        touched = self._touched(resting)
        exits = [
            c for c in touched if self.settlement.position(c.working.code) * c.working.sign < 0.0
        ]
        self._count_ambiguous(exits)
        is_best = self.intrabar == "best"
        # What the open has passed comes first for certain. Then the worse of two touches, stops
        # before limits, or the better one; of two stops, or two limits, the one that a price on
        # its way from the open reaches first.
        exits.sort(
            key=lambda c: (
                not c.reason.endswith("at open"),
                (c.working.stop is None) != is_best,
                self.distance(c),
            )
        )
        self._tell_of_bar(touched)
        leaving = set(map(id, exits))
        entries = [c for c in touched if id(c) not in leaving and not c.working.order.reduce_only]
        marks = self.marks
        self.settlement.settle(exits, marks)
        self.protect(exits)
        entries = self._one_of_each_group([c for c in entries if self.is_open(c.working)])
        self.settlement.settle(entries, marks)
        # What turned a position round has entered it, too.
        opened = [c for c in (*exits, *entries) if c.entry and c.working.filled]
        joined = self.join_activated(live)
        self.born.update(working.order_id for working, _ in joined)
        if opened:
            behind = self._behind(opened, [*resting, *joined])
            self.ambiguous += len({c.working.code for c in behind})
            self.settlement.settle(behind, marks)
            self.protect(behind)

    def _one_of_each_group(self, entries: list[Candidate]) -> list[Candidate]:
        """Of the entries that only one is wanted of, the worse (or the better) comes first.

        That is the one that is worth less (or more) at the close.
        """
        groups: dict[str, list[Candidate]] = {}
        for candidate in entries:
            if candidate.working.order.oco:
                groups.setdefault(candidate.working.order.oco, []).append(candidate)
        closes, way = self.prices.closes, -1.0 if self.intrabar == "best" else 1.0
        for group in groups.values():
            if len(group) > 1:
                self.ambiguous += 1
                places = sorted(entries.index(candidate) for candidate in group)
                group.sort(key=lambda c: way * c.working.sign * (closes[c.row] - c.reference))
                for place, candidate in zip(places, group, strict=True):
                    entries[place] = candidate
        return entries

    def _tell_of_bar(self, candidates: list[Candidate]) -> None:
        """The open of a moment inside the bars is not theirs."""
        if self.rows is not None:
            for candidate in candidates:
                candidate.reason = candidate.reason.removesuffix(" at open")

    def priced(self, live: list[Live]) -> list[Live]:
        """Those whose asset has a price now: all, but for moments inside a bar."""
        rows = self.rows
        return live if rows is None else [pair for pair in live if pair[1] in rows]

    def look(self, moment: Moment) -> None:
        """Trade at a moment inside the bars from now on."""
        self.prices, self.rows, self.marks = moment, moment.opens, moment.marks
        self.born.clear()

    def look_at_bars(self) -> None:
        """Trade at the bars themselves again."""
        self.prices, self.rows, self.marks = self.chunk, None, self.chunk.open
        self.born.clear()

    def has_purpose(self, working: Working) -> bool:
        """Whether a fill could do anything: what may only reduce needs something to reduce."""
        if not working.order.reduce_only:
            return True
        return self.settlement.position(working.code) * working.sign < 0.0

    def distance(self, candidate: Candidate) -> float:
        """How far from the open an order trades, as a fraction."""
        opened = self.prices.opens[candidate.row]
        return float(abs(candidate.reference / opened - 1.0))

    def join_activated(self, live: list[Live]) -> list[Live]:
        """Orders that began to work in this bar; market orders wait for the next one."""
        if not self.joins:
            return []
        joined = self.activated()
        live.extend(joined)
        return joined

    def activated(self) -> list[Live]:
        """Orders that have begun to work since this was asked last."""
        if not self.blotter.links.activated:
            return []
        session = self.chunk.sessions.item(self.bars.index)
        fresh = []
        for working in self.blotter.links.take_activated():
            if working.type is not _MARKET and working.time_in_force not in _AUCTIONS:
                working.session = session
                fresh.append(working)
        rows = self.bars.chunk_rows_of([working.code for working in fresh])
        return [pair for pair in zip(fresh, rows, strict=True) if pair[1] >= 0]

    def _behind(self, entries: list[Candidate], resting: list[Live]) -> list[Candidate]:
        """Protective orders that trade after entries inside the bar: stops, or at best targets.

        One that waited for an entry of another asset does not: when it began is not known.
        """
        prices, is_best = self.prices, self.intrabar == "best"
        own = {c.working.order_id: c for c in entries}
        entered: dict[int, float] = {}
        for candidate in sorted(entries, key=self.distance):  # the one that was met first
            entered.setdefault(candidate.working.code, candidate.reference)
        behind = []
        for working, row in resting:
            cause = own.get(working.order.after)
            if cause is not None and cause.working.code != working.code:
                continue
            entry = entered.get(working.code) if cause is None else cause.reference
            is_wanted = (working.stop is None) if is_best else (working.limit is None)
            is_protective = is_wanted and working.order.reduce_only
            if entry is None or not is_protective or not self.is_open(working):
                continue
            high, low = prices.highs[row], prices.lows[row]
            match = match_behind(working, entry, high, low, through=self.through)
            if match is not None:
                behind.append(self.candidate(working, row, match))
        return behind

    def _touched(self, resting: list[Live]) -> list[Candidate]:
        prices, through = self.prices, self.through
        touched = []
        for working, row in resting:
            if not self.has_purpose(working):
                continue
            # A protective stop behind an entry at this open may already be passed by it.
            match = match_open(working, prices.opens[row]) or match_inside(
                working, prices.highs[row], prices.lows[row], prices.closes[row], through=through
            )
            if match is not None:
                touched.append(self.candidate(working, row, match))
        return touched

    def _count_ambiguous(self, exits: list[Candidate]) -> None:
        # What the open has passed came first for certain.
        certain = {c.working.code for c in exits if c.reason.endswith("at open")}
        guessed = [c for c in exits if c.working.code not in certain]
        stops = {c.working.code for c in guessed if c.working.stop is not None}
        limits = {c.working.code for c in guessed if c.working.stop is None}
        self.ambiguous += len(stops & limits)

    def _count_guesses(self, resting: list[Live]) -> None:
        """Bars whose range holds a stop and a target of one position, whatever their order."""
        prices = self.prices
        touched: dict[int, set[bool]] = {}
        certain: set[int] = set()
        for working, row in resting:
            level = working.limit if working.stop is None else working.stop
            assert level is not None
            if not working.order.reduce_only:
                continue
            way = -working.sign if working.stop is None else working.sign
            if way * prices.opens[row] >= way * level:
                certain.add(working.code)
            elif prices.lows[row] <= level <= prices.highs[row]:
                touched.setdefault(working.code, set()).add(working.stop is None)
        self.ambiguous += sum(
            len(kinds) > 1 for code, kinds in touched.items() if code not in certain
        )

    def at_close(self, live: Sequence[Live]) -> None:
        """What trades at the close: market orders, and limits that it satisfies."""
        closes = self.chunk.closes
        candidates = []
        for working, row in live:
            limit, close = working.limit, closes[row]
            if self.is_open(working) and (
                limit is None or working.sign * close <= working.sign * limit
            ):
                role = working.order.role
                reason = f"{role} at close" if role else "close"
                candidates.append(Candidate(working, row, close, reason))
        if candidates:
            self.settlement.settle(candidates, self.chunk.close)
            self.protect(candidates)

    def protect(self, traded: list[Candidate]) -> None:
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

    def _trail(self, live: list[Live]) -> None:
        """Stops that follow the price move now, after the test.

        A bar that reaches from where they are then to the other side may have met them: it is
        counted, and when its close lies beyond, the better assumption is that it has.
        """
        prices, met = self.prices, []
        for working, row in self.priced(live):
            if working.order_id in self.born:
                continue
            if working.type.is_trailing and not working.triggered and self.is_open(working):
                high, low = prices.highs[row], prices.lows[row]
                if self.trails_by_close:
                    high = low = prices.closes[row]
                before, sign = working.stop, working.sign
                move_trail(working, high, low)
                stop = working.stop
                assert stop is not None
                if stop == before or sign * (high if sign > 0.0 else low) < sign * stop:
                    continue
                self.ambiguous += 1
                is_beyond = sign * prices.closes[row] >= sign * stop
                if self.intrabar == "best" and is_beyond and working.limit is None:
                    met.append(self.candidate(working, row, (stop, "stop")))
        if met:
            self.settlement.settle(met, self.marks)
            self.protect(met)
            self.join_activated(live)  # these wait for what comes after the close

    def drop(self, tried: Sequence[Live]) -> None:
        """End what has had its only chance."""
        is_open = self.blotter.open
        if not is_open:
            return
        for working, _ in tried:
            if working.order_id not in is_open:
                continue
            text = _ENDED.get(working.time_in_force)
            if text is not None:
                if working.filled:
                    text = text.replace("not filled", "the rest was not filled")
                self.blotter.end(working, OrderStatus.CANCELED, text)
            elif is_market(working) and not self.has_purpose(working):
                self.blotter.end(working, OrderStatus.CANCELED, "nothing to reduce")

    def is_open(self, working: Working) -> bool:
        """Whether an order is still at work."""
        return working.order_id in self.blotter.open

    @staticmethod
    def candidate(working: Working, row: int, match: Match) -> Candidate:
        """An order that trades; one with a role says what it was for."""
        reference, reason = match
        role = working.order.role
        if role:
            reason = f"{role} at open" if reason.endswith("at open") else role
        return Candidate(working, row, reference, reason)
