"""Orders that trade at the same moment: exits first, then entries funded together.

Which of two entries gets the last of the money must not depend on their order. When all entries
together need more than the account has after the exits, every one is cut by the same factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.kernels import total
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.portfolio.portfolio import entry_price_after, position_after
from ml4t.backtest.simulation.costs import bar_of
from ml4t.backtest.simulation.covers import payable
from ml4t.backtest.simulation.fitting import NOISE, SCALED, entry_needs, largest_fit
from ml4t.backtest.simulation.holdings import Holdings
from ml4t.backtest.types.events import CashEvent, FillEvent
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.costs import Candidate, Costs
    from ml4t.backtest.simulation.holdings import Marks
    from ml4t.backtest.simulation.liquidity import Liquidity
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import AdjustmentEvent, FillBatch, News

NO_SHORTS = "the account cannot sell short"
_FOK = TimeInForce.FOK


class BatchSettlement:
    """Settles candidates against one timestamp's bars, projecting cash and positions.

    The portfolio itself is not touched: `news` goes to the engine, which books it. `taken` is what
    orders have used of each asset's bar, by code, where liquidity is limited.
    """

    def __init__(
        self,
        news: News,
        bars: Bars,
        portfolio: Portfolio,
        blotter: Blotter,
        *,
        watchers: Watchers,
        costs: Costs,
        liquidity: Liquidity | None,
        account: Account,
        funding: str,
        taken: dict[int, float],
    ) -> None:
        self.bars = bars
        self.portfolio = portfolio
        self.blotter = blotter
        self.watchers = watchers
        self.costs = costs
        self.liquidity = liquidity
        self.account = account
        self.funding = funding
        self.cash = portfolio.cash
        self.proceeds = 0.0  # of sales at this timestamp, in `cash`
        self._now = bars.timestamp
        self.positions: dict[int, float] = {}
        self._taken = taken
        # Units and average entry price by code, while rules watch or the account asks.
        self._entries: dict[int, tuple[float, float]] = {}
        self.news = news
        self.clipped = 0
        for item in news:
            self._take(item)

    def position(self, code: int) -> float:
        """Signed units of an asset after what was settled so far."""
        held = self.positions.get(code)
        return self.portfolio.units[code] if held is None else held

    def _take(self, item: FillEvent | FillBatch | CashEvent | AdjustmentEvent) -> None:
        """What happened before at this moment counts."""
        if isinstance(item, CashEvent):
            self.cash += item.amount
            return
        assert isinstance(item, FillEvent)
        code = self.portfolio.universe.codes[item.asset_id]
        signed = item.quantity if item.side == OrderSide.BUY else -item.quantity
        multiplier = self.portfolio.instruments[code].multiplier
        self._pay(signed * item.price * multiplier + item.commission, signed)
        self.positions[code] = self.position(code) + signed

    def _pay(self, money: float, sign: float) -> None:
        self.cash -= money
        if sign < 0.0:
            self.proceeds -= money

    def settle(self, candidates: list[Candidate], prices: Marks) -> None:
        """Trade a group: exits in order, then all entries as one batch.

        Args:
            candidates: In order of priority.
            prices: The moment's price of every row of the chunk (open or close column), for
                the value of what is already sold short.
        """
        entries: list[Candidate] = []
        groups: set[str] = set()
        is_linked = self.blotter.links.is_used
        for candidate in candidates:
            if is_linked and not candidate.working.status.is_open:
                continue  # one before it has ended it
            self._measure(candidate)
            if candidate.exit and candidate.working.sign > 0.0 and self._is_cut_short(candidate):
                continue
            if candidate.entry:
                oco = candidate.working.order.oco
                if oco in groups:
                    continue  # only one of them is wanted, and the first has its chance
                if oco:
                    groups.add(oco)
                if candidate.exit:
                    self._project(candidate.working, candidate.exit)
                entries.append(candidate)
            elif candidate.exit:
                self._trade(candidate, candidate.exit)
        if entries:
            self._fund(entries, prices)

    def _is_cut_short(self, candidate: Candidate) -> bool:
        """Whether there is no money for all of a purchase that closes a short; it ends then."""
        if not self.account.covers_are_paid:
            return False
        units = payable(self, candidate)
        if units == candidate.exit:
            return False
        if units:
            self._trade(candidate, units)
        working = candidate.working
        if working.order_id in self.blotter.open:
            status = OrderStatus.CANCELED if working.filled else OrderStatus.REJECTED
            self.blotter.end(working, status, SCALED)
            self.clipped += 1
        return True

    def _measure(self, candidate: Candidate) -> None:
        """How much of an order its bar can take, and how much of that closes and opens."""
        working = candidate.working
        held = self.position(working.code)
        closes = held * working.sign < 0.0
        size = working.remaining
        if self.liquidity is not None and candidate.row >= 0:
            if working.order.reduce_only:
                size = min(size, abs(held)) if closes else 0.0
            size = self._fitting(candidate, size)
            is_stop = working.stop is not None and working.limit is None
            if is_stop and size < working.remaining and (closes or not working.order.reduce_only):
                working.triggered = True  # what its bar cannot take goes at any price
        candidate.size = size
        if closes:
            candidate.exit = min(size, abs(held))
        if not working.order.reduce_only:
            candidate.entry = size - candidate.exit

    def _fitting(self, candidate: Candidate, size: float) -> float:
        """As much of an order as its bar can take, besides what it has taken already."""
        assert self.liquidity is not None
        working = candidate.working
        code, order = working.code, working.order
        room: Any = self.liquidity(order, bar_of(candidate, self.bars))
        if not (isinstance(room, int | float | np.number) and room >= 0.0):
            raise ConfigError(
                f"The liquidity {self.liquidity!r} returned {room!r} for {order.asset_id!r} at "
                f"{self.bars.timestamp}; it must return units, at least 0."
            )
        taken = self._taken.get(code, 0.0)
        if size > room - taken:
            lot = self.portfolio.instruments[code].lot_size
            size = max(0.0, round_to_lot(float(room) - taken, lot))
        if size == working.remaining or working.time_in_force is not _FOK:  # that takes nothing
            self._taken[code] = taken + size
        return size

    def _project(self, working: Working, quantity: float) -> None:
        if quantity:
            code = working.code
            self.positions[code] = position_after(self.position(code), working.sign * quantity)

    # -- entries ------------------------------------------------------------------------------

    def _fund(self, entries: list[Candidate], prices: Marks) -> None:
        if not self.account.can_short:
            entries = self._without_shorts(entries)
        if not entries:
            return
        holdings = self._holdings(self._freed(entries), prices)
        free = self.account.free(holdings)
        needs = [self._need(candidate, candidate.entry) for candidate in entries]
        together = 0.0
        for need in needs:  # from left to right, as everywhere
            together += need
        if together <= free + NOISE * abs(together):
            for candidate in entries:
                self._trade(candidate, candidate.units(candidate.entry), candidate.entry)
        elif len(rest := self._without_fok(entries)) < len(entries):
            self._fund(rest, prices)
        elif self.funding == "reject":
            self._reject_unaffordable(entries, needs, free, self.account.shortage(holdings))
        else:
            self._scale(entries, free, SCALED + self.account.shortage(holdings))

    def _freed(self, entries: list[Candidate]) -> float:
        """What the closing parts of flips pay in before anything is opened."""
        freed = 0.0
        for candidate in entries:
            if candidate.exit:
                freed -= self.flow(candidate, candidate.exit)
                if not self.account.commission_counts:
                    freed += candidate.commission
        return freed

    def _need(self, candidate: Candidate, quantity: float) -> float:
        """Money an entry of `quantity` uses: margin, slippage, and what it adds to commission."""
        if quantity == 0.0:
            return 0.0
        costs, bars = self.costs, self.bars
        instrument = self.portfolio.instruments[candidate.working.code]
        costs.put(candidate, candidate.units(quantity), bars, instrument)
        price, commission = candidate.opening, candidate.commission
        reference, sign = candidate.reference, candidate.working.sign
        is_paid = sign > 0 or self.account.asks_entries  # what is bound is what it was sold for
        unit = price if is_paid else 2.0 * reference - price
        unit -= (1.0 - float(self.account.initial(candidate.working.code, sign))) * reference
        if candidate.exit:
            commission -= costs.money(candidate, candidate.exit, candidate.price, bars, instrument)
        if not self.account.commission_counts:
            commission = 0.0
        return quantity * (unit * instrument.multiplier) + commission

    def _holdings(self, freed: float, prices: Marks) -> Holdings:
        return Holdings(
            self.portfolio,
            self.cash + freed,
            moved=([*self.positions], [*self.positions.values()]),
            bars=self.bars,
            prices=prices,
            proceeds=self.proceeds,
            entries={code: entry for code, (_, entry) in self._entries.items()},
        )

    def _without_shorts(self, entries: list[Candidate]) -> list[Candidate]:
        for candidate in entries:
            if candidate.working.sign < 0.0:
                self._refuse(candidate, NO_SHORTS)
        return [candidate for candidate in entries if candidate.working.sign > 0.0]

    def _without_fok(self, entries: list[Candidate]) -> list[Candidate]:
        """What is filled whole or not at all takes no part in a cut: it ends."""
        kept = [c for c in entries if c.working.time_in_force is not _FOK]
        if not kept or self.funding == "reject":  # in turn, each whole or not at all
            return entries
        for candidate in entries:
            working = candidate.working
            if working.time_in_force is _FOK:
                if candidate.exit:  # was projected
                    self._project(working, -candidate.exit)
                text = "fill or kill: not enough buying power for all of it"
                self.blotter.end(working, OrderStatus.CANCELED, text)
        return kept

    def _refuse(self, candidate: Candidate, reason: str) -> None:
        """Open nothing; what closes a position trades all the same."""
        working = candidate.working
        if candidate.exit:
            self._trade(candidate, candidate.exit, 0.0)
        if working.order_id in self.blotter.open:
            status = OrderStatus.CANCELED if working.filled else OrderStatus.REJECTED
            self.blotter.end(working, status, reason)

    def _reject_unaffordable(
        self, entries: list[Candidate], needs: list[float], free: float, shortage: str
    ) -> None:
        power = self.account.power
        for candidate, need in zip(entries, needs, strict=True):
            if need <= free + NOISE * need:
                free -= need
                self._trade(candidate, candidate.units(candidate.entry), candidate.entry)
                continue
            text = (
                f"unaffordable: needs {power(need):,.2f}, "
                f"buying power is {power(max(free, 0.0)):,.2f}{shortage}"
            )
            self._refuse(candidate, text)

    def _scale(self, entries: list[Candidate], free: float, reason: str) -> None:
        wanted = np.array([candidate.entry for candidate in entries])
        codes = np.array([candidate.working.code for candidate in entries])
        lots = self.portfolio.lots[codes]
        scaled = largest_fit(self._needs(entries), wanted, lots, free).tolist()
        for candidate, units in zip(entries, scaled, strict=True):
            working = candidate.working
            # What noise has left of the money buys nothing.
            quantity = units if units > DUST * candidate.entry else 0.0
            if candidate.exit + quantity:
                self._trade(candidate, candidate.units(quantity), quantity)
            if working.order_id in self.blotter.open:
                self.blotter.end(working, OrderStatus.CANCELED, reason)
                self.clipped += 1

    def _needs(self, entries: list[Candidate]) -> Callable[[np.ndarray], float]:
        """The total need as a function of the entries' quantities, on columns if it can be."""
        special = any(c.working.limit is not None or c.working.filled for c in entries)
        if special or not self.costs.has_columns:
            return lambda quantities: total(
                np.array(list(map(self._need, entries, quantities.tolist())))
            )
        codes = np.array([candidate.working.code for candidate in entries])
        sign = np.array([candidate.working.sign for candidate in entries])
        reference = np.array([candidate.reference for candidate in entries])
        return entry_needs(
            self.account,
            self.costs.charge,
            codes=codes,
            sign=sign,
            price=self.costs.worsen(sign, reference),
            reference=reference,
            exits=np.array([candidate.exit for candidate in entries]),
            multiplier=self.portfolio.multiplier[codes],
        )

    # -- one fill -----------------------------------------------------------------------------

    def _trade(self, candidate: Candidate, quantity: float, opens: float | None = None) -> None:
        """Fill `quantity`; of it, `opens` units were not projected before."""
        working = candidate.working
        if self.blotter.links.is_used:
            left = working.remaining if working.order_id in self.blotter.open else 0.0
            if quantity > left:  # another order of its group has just taken from it
                if opens is not None:  # its closing part was projected
                    self._project(working, -candidate.exit)
                quantity, opens = left, None
                if quantity == 0.0:
                    return
        if working.time_in_force is _FOK and quantity < working.remaining:
            if opens is not None:  # its closing part was projected
                self._project(working, -candidate.exit)
            text = f"fill or kill: {quantity:g} of {working.remaining:g} could be filled"
            self.blotter.end(working, OrderStatus.CANCELED, text)
            return
        instrument = self.portfolio.instruments[working.code]
        self.costs.put(candidate, quantity, self.bars, instrument)
        self.costs.note(candidate, quantity, self.bars, instrument)
        sign, multiplier = working.sign, instrument.multiplier
        price, commission = candidate.price, candidate.commission
        self.news.append(
            FillEvent(
                working.order_id,
                working.order.asset_id,
                self._now,
                working.order.side,  # type: ignore[arg-type]  # plain, as everything accepted
                quantity,
                price,
                commission,
                sign * (price - candidate.reference) * quantity * multiplier,
                candidate.reason,
            )
        )
        self._pay(sign * quantity * price * multiplier + commission, sign)
        self._project(working, quantity if opens is None else opens)
        self.blotter.fill(working, quantity, price)
        if working.remaining and working.limit is None:
            working.triggered = True  # what is left of a stop trades at any price
        if self.watchers.is_used or self.account.asks_entries:
            self._watch(working, sign * quantity, price)

    def _watch(self, working: Working, signed: float, price: float) -> None:
        """Note the entry price, and let the rules over the asset's position follow it."""
        code = working.code
        after = self.position(code)
        before, entry = self._entries.get(code) or (
            self.portfolio.units[code],
            self.portfolio.entry_price[code],
        )
        entry = entry_price_after(before, entry, signed, after, price)
        self._entries[code] = after, entry
        if self.watchers.is_used:
            self.watchers.follow(code, before, after, entry, working)

    def flow(self, candidate: Candidate, quantity: float) -> float:
        """Money that a fill of `quantity` units takes, negative for what it brings."""
        instrument = self.portfolio.instruments[candidate.working.code]
        self.costs.put(candidate, quantity, self.bars, instrument)
        money = candidate.working.sign * quantity * candidate.price * instrument.multiplier
        return money + candidate.commission


def is_market(working: Working) -> bool:
    """Whether an order trades at whatever the price is."""
    return working.type is OrderType.MARKET
