"""What a fill costs: the price it gets, and the commission on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import structs

from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.broker.ticks import against
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.commission import column_form as column_commission
from ml4t.backtest.simulation.commission import parts_of as parts_of_commission
from ml4t.backtest.simulation.slippage import column_form as column_slippage
from ml4t.backtest.simulation.slippage import parts_of as parts_of_slippage
from ml4t.backtest.types.bars import ExecutionBar

if TYPE_CHECKING:
    from datetime import datetime

    from ml4t.backtest.simulation.commission import Commission
    from ml4t.backtest.simulation.slippage import Slippage
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order


class Candidate(msgspec.Struct, gc=False):
    """One order about to trade: how much of it closes, how much opens, and what that costs.

    `reference` is the price before slippage, `row` the chunk's row of its bar (-1 without one).
    `size` is as much of the order as its bar can take; `price` and `commission` are those of
    `priced` units, `opening` the price of those of them that open; `bar` is what a slippage was
    shown.
    """

    working: Working
    row: int
    reference: float
    reason: str
    size: float = 0.0
    exit: float = 0.0
    entry: float = 0.0
    priced: float = 0.0
    price: float = math.nan
    opening: float = math.nan
    commission: float = 0.0
    bar: ExecutionBar | None = None

    def units(self, entry: float) -> float:
        """Units of a fill that opens `entry` of them; exactly what is left if it opens all."""
        return self.size if entry == self.entry else self.exit + entry


class Costs:
    """A commission and a slippage, asked about one order, or about columns of them.

    Args:
        commission: What a fill costs.
        slippage: How much worse than the reference price a fill is.

    Attributes:
        charge: The commission on floats or columns of (sign, quantity, price, multiplier); None
            for one that needs more than that.
        worsen: The slippage on floats or columns of (sign, reference); None likewise.
    """

    def __init__(self, commission: Commission, slippage: Slippage) -> None:
        self.commission = commission
        self.slippage = slippage
        self.charge: Any = column_commission(commission)
        self.worsen: Any = column_slippage(slippage)
        self._parts = parts_of_commission(commission)
        self._listeners = [part for part in self._parts if hasattr(part, "on_fill")]
        self._slips = parts_of_slippage(slippage)
        self._splits = any(map(_slips_opening, self._slips))
        self._counts_sessions = any(_charged_per(part) == "session" for part in self._parts)
        # By order id: the session in which a part of the order filled last, units and value there.
        self._in_session: dict[int, tuple[int, float, float]] = {}

    def start(self) -> None:
        """A run begins: parts with state forget the run before."""
        for part in (*self._parts, *self._slips):
            begin = getattr(part, "start", None)
            if callable(begin):
                begin()

    @property
    def has_columns(self) -> bool:
        """Whether whole columns of fills can be priced at once."""
        return self.charge is not None and self.worsen is not None

    def put(self, candidate: Candidate, quantity: float, bars: Bars, what: Instrument) -> None:
        """Price a fill of `quantity` units, and note it on the candidate."""
        if candidate.priced == quantity:
            return
        candidate.price = price = self.price(candidate, quantity, bars, what)
        candidate.opening = price
        if self._splits and candidate.exit:
            candidate.opening = self.price(candidate, quantity, bars, what, share=1.0)
        candidate.commission = self.money(candidate, quantity, price, bars, what)
        candidate.priced = quantity

    def price(
        self,
        candidate: Candidate,
        quantity: float,
        bars: Bars,
        what: Instrument,
        *,
        share: float | None = None,
    ) -> float:
        """Price per unit, slippage included, on the instrument's grid; a limit is never passed.

        Args:
            candidate: The order.
            quantity: Units of the fill.
            bars: These bars.
            what: Is traded.
            share: How much of the fill opens a position, if not what the candidate says.
        """
        working = candidate.working
        if self.worsen is not None:
            price = self.worsen(working.sign, candidate.reference)
            is_price = price > 0.0
        else:
            if share is None:
                share = max(quantity - candidate.exit, 0.0) / quantity
            price = self._slipped(candidate, bar_of(candidate, bars), quantity, share)
            is_price = _is_finite(price) and price > 0.0
        if not is_price:
            order = working.order
            raise ConfigError(
                f"The slippage {self.slippage!r} returned {price!r} for {order.asset_id!r} at "
                f"{bars.timestamp}, asked for {order.side} {quantity:g} at "
                f"{candidate.reference:g}; it must return a positive, finite price. With "
                "liquidity=, a large order takes no more than its share of a bar."
            )
        limit, price = working.limit, float(price)
        tick = what.tick_size
        if tick:
            price = against(price, tick, working.sign)
        if limit is None:
            return price
        return min(price, limit) if working.sign > 0 else max(price, limit)

    def _slipped(
        self, candidate: Candidate, bar: ExecutionBar, quantity: float, share: float
    ) -> float:
        """The price before grid and limit of a fill of which a share opens a position."""
        order = candidate.working.order
        if not self._splits or share == 1.0:
            return self.slippage(order, bar, quantity)
        price = bar.reference
        for part in self._slips:
            distance = part(order, bar, quantity) - bar.reference
            price += distance * share if _slips_opening(part) else distance
        return price

    def money(
        self, candidate: Candidate, quantity: float, price: float, bars: Bars, what: Instrument
    ) -> float:
        """Commission on `quantity` units at `price`."""
        working = candidate.working
        if self.charge is not None and not working.filled:
            return float(self.charge(working.sign, quantity, price, what.multiplier))
        money = 0.0
        for part in self._parts:
            money += self._part_money(part, candidate, quantity, price, bars, what)
        return money

    def fee(
        self, order: Order, legs: tuple[float, float], price: float, now: datetime, what: Instrument
    ) -> float:
        """Commission on a whole order that would fill at once.

        Args:
            order: The order.
            legs: How many units it closes, and how many it opens.
            price: Per unit.
            now: The time.
            what: Is traded.
        """
        money = 0.0
        for part in self._parts:
            for units in legs if _charged_per(part) == "leg" else (sum(legs),):
                money += part(order, units, price, now, what) if units else 0.0
        return money

    def _part_money(
        self,
        part: Any,
        candidate: Candidate,
        quantity: float,
        price: float,
        bars: Bars,
        what: Instrument,
    ) -> float:
        """What one commission takes for `quantity` more units of an order."""
        working, closed = candidate.working, candidate.exit
        order, now = working.order, bars.timestamp
        units, value = self._filled_before(part, working, bars)
        if 0.0 < closed < quantity and _charged_per(part) == "leg":
            money = part(order, closed, price, now, what)
            money += part(order, quantity - closed, price, now, what)
        elif not units:
            money = part(order, quantity, price, now, what)
        else:
            together = units + quantity
            average = (value + quantity * price) / together
            money = part(order, together, average, now, what)
            money -= part(order, units, value / units, now, what)
        if not _is_finite(money):
            raise ConfigError(
                f"The commission {part!r} returned {money!r} for {order.asset_id!r} at "
                f"{now}; it must return a finite amount of money."
            )
        return float(money)

    def _filled_before(self, part: Any, working: Working, bars: Bars) -> tuple[float, float]:
        """Units of the order, and their value, that this fill is charged together with."""
        per = _charged_per(part)
        if per in {"fill", "leg"} or not working.filled:
            return 0.0, 0.0
        if per == "order":
            return working.filled, working.filled * working.average_price
        session, units, value = self._in_session.get(working.order_id, (None, 0.0, 0.0))
        return (units, value) if session == bars.chunk.sessions.item(bars.index) else (0.0, 0.0)

    def note(self, candidate: Candidate, quantity: float, bars: Bars, what: Instrument) -> None:
        """A fill of the candidate happens, as it was priced."""
        working, price = candidate.working, candidate.price
        for part in self._listeners:
            part.on_fill(working.order, quantity, price, bars.timestamp, what)
        if self._counts_sessions and quantity < working.remaining:
            session = bars.chunk.sessions.item(bars.index)
            last, units, value = self._in_session.get(working.order_id, (None, 0.0, 0.0))
            if last != session:
                units = value = 0.0
            together = (session, units + quantity, value + quantity * price)
            self._in_session[working.order_id] = together


def bar_of(candidate: Candidate, bars: Bars) -> ExecutionBar:
    """The bar a slippage sees; of an asset without one now, its price alone."""
    if candidate.bar is None:
        candidate.bar = _make_bar(candidate, bars)
    return candidate.bar


def _make_bar(candidate: Candidate, bars: Bars) -> ExecutionBar:
    reference, working = candidate.reference, candidate.working
    # A position that is closed without a decision fills at no bar, but may have one now.
    row = candidate.row if candidate.row >= 0 else bars.chunk_row_of_code(working.code)
    if row >= 0:
        return ExecutionBar(**structs.asdict(bars.chunk.event(row)), reference=reference)
    prices = (reference,) * 4
    return ExecutionBar(bars.timestamp, working.order.asset_id, *prices, math.nan, {}, reference)


def _charged_per(part: Any) -> str:
    """What a call is the price of: a "fill", a "leg" of it, an "order" or its "session"."""
    return getattr(part, "charged_per", "fill")


def _slips_opening(part: Any) -> bool:
    """Whether a slippage moves the units that open a position only."""
    return getattr(part, "slips", "all") == "opening"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)
