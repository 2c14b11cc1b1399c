"""Orders that trade at the same moment: exits first, then entries funded together.

Which of two entries gets the last of the money must not depend on their order. When all entries
together need more than the account has after the exits, every one is cut by the same factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.portfolio.portfolio import position_after
from ml4t.backtest.portfolio.valuation import total
from ml4t.backtest.types.events import CashEvent, FillEvent
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.costs import Candidate, Costs
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import FillBatch, News

SCALED = "scaled: buying power"
# Float noise allowed when comparing what is needed with what is there, relative to the need.
NOISE = 1e-12


class BatchSettlement:
    """Settles candidates against one timestamp's bars, projecting cash and positions.

    The portfolio itself is not touched: `news` goes to the engine, which books it.
    """

    def __init__(
        self,
        news: News,
        bars: Bars,
        portfolio: Portfolio,
        blotter: Blotter,
        *,
        costs: Costs,
        account: Account,
        funding: str,
    ) -> None:
        self.bars = bars
        self.portfolio = portfolio
        self.blotter = blotter
        self.costs = costs
        self.account = account
        self.funding = funding
        self.cash = portfolio.cash
        self._now = bars.timestamp
        self.positions: dict[int, float] = {}
        self.news = news
        self.clipped = 0
        for item in news:
            self._take(item)

    def position(self, code: int) -> float:
        """Signed units of an asset after what was settled so far."""
        held = self.positions.get(code)
        return self.portfolio.units[code] if held is None else held

    def _take(self, item: FillEvent | FillBatch | CashEvent) -> None:
        """What happened before at this moment counts."""
        if isinstance(item, CashEvent):
            self.cash += item.amount
            return
        assert isinstance(item, FillEvent)
        code = self.portfolio.universe.codes[item.asset_id]
        signed = item.quantity if item.side == OrderSide.BUY else -item.quantity
        multiplier = self.portfolio.instruments[code].multiplier
        self.cash -= signed * item.price * multiplier + item.commission
        self.positions[code] = self.position(code) + signed

    def settle(self, candidates: list[Candidate], prices: np.ndarray) -> None:
        """Trade a group: exits in order, then all entries as one batch.

        Args:
            candidates: In order of priority.
            prices: The moment's price of every row of the chunk (open or close column), for
                the value of what is already sold short.
        """
        entries = []
        for candidate in candidates:
            working = candidate.working
            held = self.position(working.code)
            if held * working.sign < 0.0:
                candidate.exit = min(working.remaining, abs(held))
            if not working.order.reduce_only:
                candidate.entry = working.remaining - candidate.exit
            if candidate.entry:
                if candidate.exit:
                    self._project(working, candidate.exit)
                entries.append(candidate)
            elif candidate.exit:
                self._trade(candidate, candidate.exit)
        if entries:
            self._fund(entries, prices)

    def _project(self, working: Working, quantity: float) -> None:
        if quantity:
            code = working.code
            self.positions[code] = position_after(self.position(code), working.sign * quantity)

    # -- entries ------------------------------------------------------------------------------

    def _fund(self, entries: list[Candidate], prices: np.ndarray) -> None:
        freed = 0.0
        for candidate in entries:
            if candidate.exit:  # a flip: its closing part pays in before anything is opened
                freed -= self._flow(candidate, candidate.exit)
        free = self.account.free(self.cash + freed, self._short_value(prices))
        needs = [self._need(candidate, candidate.entry) for candidate in entries]
        together = 0.0
        for need in needs:  # from left to right, as everywhere
            together += need
        if together <= free + NOISE * abs(together):
            for candidate in entries:
                self._trade(candidate, candidate.units(candidate.entry), candidate.entry)
        elif self.funding == "reject":
            self._reject_unaffordable(entries, needs, free)
        else:
            self._scale(entries, free)

    def _need(self, candidate: Candidate, quantity: float) -> float:
        """Money an entry of `quantity` uses: notional, slippage, and what it adds to commission."""
        if quantity == 0.0:
            return 0.0
        costs, bars = self.costs, self.bars
        instrument = self.portfolio.instruments[candidate.working.code]
        costs.put(candidate, candidate.units(quantity), bars, instrument)
        price, commission = candidate.price, candidate.commission
        unit = price if candidate.working.sign > 0 else 2.0 * candidate.reference - price
        if candidate.exit:
            commission -= costs.money(candidate, candidate.exit, price, bars, instrument)
        return quantity * (unit * instrument.multiplier) + commission

    def _short_value(self, prices: np.ndarray) -> float:
        portfolio = self.portfolio
        quantity = portfolio.quantity
        if not portfolio.short_count and min(self.positions.values(), default=0.0) >= 0.0:
            return 0.0  # long only: the usual case
        if self.positions:
            quantity = quantity.copy()
            for code, units in self.positions.items():
                quantity[code] = units
        if not (quantity < 0.0).any():
            return 0.0
        now = portfolio.last_prices().copy()
        bars = self.bars
        now[bars.codes] = prices[bars.start : bars.stop]
        return portfolio.short_value(quantity, now)

    def _reject_unaffordable(
        self, entries: list[Candidate], needs: list[float], free: float
    ) -> None:
        for candidate, need in zip(entries, needs, strict=True):
            working = candidate.working
            if need <= free + NOISE * need:
                free -= need
                self._trade(candidate, candidate.units(candidate.entry), candidate.entry)
                continue
            if candidate.exit:
                self._trade(candidate, candidate.exit, 0.0)
            if working.order_id in self.blotter.open:
                status = OrderStatus.CANCELED if working.filled else OrderStatus.REJECTED
                text = f"unaffordable: needs {need:,.2f}, buying power is {max(free, 0.0):,.2f}"
                self.blotter.end(working, status, text)

    def _scale(self, entries: list[Candidate], free: float) -> None:
        wanted = np.array([candidate.entry for candidate in entries])
        codes = np.array([candidate.working.code for candidate in entries])
        lots = self.portfolio.lots[codes]
        scaled = largest_fit(self._needs(entries), wanted, lots, free).tolist()
        for candidate, quantity in zip(entries, scaled, strict=True):
            working = candidate.working
            if candidate.exit + quantity:
                self._trade(candidate, candidate.units(quantity), quantity)
            if working.order_id in self.blotter.open:
                self.blotter.end(working, OrderStatus.CANCELED, SCALED)
                self.clipped += 1

    def _needs(self, entries: list[Candidate]) -> Callable[[np.ndarray], float]:
        """The total need as a function of the entries' quantities, on columns if it can be."""
        charge = self.costs.charge
        limited = any(c.working.order.limit_price is not None for c in entries)
        if limited or not self.costs.has_columns:
            return lambda quantities: total(
                np.array(list(map(self._need, entries, quantities.tolist())))
            )
        sign = np.array([candidate.working.sign for candidate in entries])
        reference = np.array([candidate.reference for candidate in entries])
        exits = np.array([candidate.exit for candidate in entries])
        multiplier = self.portfolio.multiplier[[candidate.working.code for candidate in entries]]
        price = self.costs.worsen(sign, reference)
        unit = np.where(sign > 0.0, price, 2.0 * reference - price) * multiplier
        closing = np.where(exits > 0.0, charge(exits, price, multiplier), 0.0)

        def need(quantities: np.ndarray) -> float:
            extra = charge(exits + quantities, price, multiplier) - closing
            return total(quantities * unit + np.where(quantities > 0.0, extra, 0.0))

        return need

    # -- one fill -----------------------------------------------------------------------------

    def _trade(self, candidate: Candidate, quantity: float, opens: float | None = None) -> None:
        """Fill `quantity`; of it, `opens` units were not projected before."""
        working = candidate.working
        instrument = self.portfolio.instruments[working.code]
        self.costs.put(candidate, quantity, self.bars, instrument)
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
        self.cash -= sign * quantity * price * multiplier + commission
        self._project(working, quantity if opens is None else opens)
        self.blotter.fill(working, quantity, price)

    def _flow(self, candidate: Candidate, quantity: float) -> float:
        instrument = self.portfolio.instruments[candidate.working.code]
        self.costs.put(candidate, quantity, self.bars, instrument)
        money = candidate.working.sign * quantity * candidate.price * instrument.multiplier
        return money + candidate.commission


def is_market(working: Working) -> bool:
    """Whether an order trades at whatever the price is."""
    return working.type is OrderType.MARKET


def largest_fit(
    need: Callable[[np.ndarray], float], wanted: np.ndarray, lots: np.ndarray, free: float
) -> np.ndarray:
    """The quantities of all entries, cut by the largest common factor that `free` pays for.

    Args:
        need: Money that quantities use up; does not fall when a quantity grows.
        wanted: Units asked for, positive.
        lots: Step of each quantity; 0 for any.
        free: Money available.

    Returns:
        Units, each `wanted` times one factor between 0 and 1, rounded down to its lot.

    The need is a staircase in the factor, so the largest factor is found by halving the range in
    which it lies until no more than one order changes in it.
    """

    def quantities(factor: float) -> np.ndarray:
        cut = wanted * factor
        return np.where(lots > 0.0, np.floor(cut / np.where(lots > 0.0, lots, 1.0)) * lots, cut)

    low, high = 0.0, 1.0
    at_low, at_high = quantities(low), quantities(high)
    if free <= 0.0:
        return at_low
    if need(at_high) <= free:  # rounding down to lots is enough
        return at_high
    while high - low > 1e-15:  # noqa: PLR2004  a few units in the last place of 1.0
        changing = np.count_nonzero(at_high - at_low)
        if changing == 0 or (
            changing == 1 and bool((at_high - at_low <= lots * 1.5).all())  # one lot of one order
        ):
            break
        middle = (low + high) / 2.0
        at_middle = quantities(middle)
        if need(at_middle) <= free:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return at_low
