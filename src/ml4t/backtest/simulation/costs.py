"""What a fill costs: the price it gets, and the commission on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import structs

from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.commission import column_form as column_commission
from ml4t.backtest.simulation.slippage import column_form as column_slippage
from ml4t.backtest.types.bars import ExecutionBar

if TYPE_CHECKING:
    from ml4t.backtest.simulation.commission import Commission
    from ml4t.backtest.simulation.slippage import Slippage
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.instrument import Instrument


class Candidate(msgspec.Struct, gc=False):
    """One order about to trade: how much of it closes, how much opens, and what that costs.

    `reference` is the price before slippage, `row` the chunk's row of its bar (-1 without one).
    `price` and `commission` are those of `priced` units.
    """

    working: Working
    row: int
    reference: float
    reason: str
    exit: float = 0.0
    entry: float = 0.0
    priced: float = 0.0
    price: float = math.nan
    commission: float = 0.0

    def units(self, entry: float) -> float:
        """Units of a fill that opens `entry` of them; exactly what is left if it opens all."""
        return self.working.remaining if entry == self.entry else self.exit + entry


class Costs:
    """A commission and a slippage, asked about one order, or about columns of them.

    Args:
        commission: What a fill costs.
        slippage: How much worse than the reference price a fill is.

    Attributes:
        charge: The commission on floats or columns of (quantity, price, multiplier); None for
            one that needs more than that.
        worsen: The slippage on floats or columns of (sign, reference); None likewise.
    """

    def __init__(self, commission: Commission, slippage: Slippage) -> None:
        self.commission = commission
        self.slippage = slippage
        self.charge: Any = column_commission(commission)
        self.worsen: Any = column_slippage(slippage)

    @property
    def has_columns(self) -> bool:
        """Whether whole columns of fills can be priced at once."""
        return self.charge is not None and self.worsen is not None

    def put(self, candidate: Candidate, quantity: float, bars: Bars, what: Instrument) -> None:
        """Price a fill of `quantity` units, and note it on the candidate."""
        if candidate.priced == quantity:
            return
        candidate.price = price = self.price(candidate, quantity, bars)
        candidate.commission = self.money(candidate, quantity, price, bars, what)
        candidate.priced = quantity

    def price(self, candidate: Candidate, quantity: float, bars: Bars) -> float:
        """Price per unit, slippage included; a limit is never passed."""
        working = candidate.working
        if self.worsen is not None:
            price = self.worsen(working.sign, candidate.reference)
        else:
            price = self.slippage(working.order, _bar(candidate, bars), quantity)
            if not (_is_finite(price) and price > 0):
                raise ConfigError(
                    f"The slippage {self.slippage!r} returned {price!r} for "
                    f"{working.order.asset_id!r} at {bars.timestamp}; it must return a positive, "
                    "finite price."
                )
        limit, price = working.order.limit_price, float(price)
        if limit is None:
            return price
        return min(price, limit) if working.sign > 0 else max(price, limit)

    def money(
        self, candidate: Candidate, quantity: float, price: float, bars: Bars, what: Instrument
    ) -> float:
        """Commission on `quantity` units at `price`."""
        if self.charge is not None:
            return float(self.charge(quantity, price, what.multiplier))
        order = candidate.working.order
        money = self.commission(order, quantity, price, bars.timestamp, what)
        if not _is_finite(money):
            raise ConfigError(
                f"The commission {self.commission!r} returned {money!r} for {order.asset_id!r} at "
                f"{bars.timestamp}; it must return a finite amount of money."
            )
        return float(money)


def _bar(candidate: Candidate, bars: Bars) -> ExecutionBar:
    """The bar a slippage sees; of an asset without one now, its price alone."""
    reference = candidate.reference
    if candidate.row >= 0:
        fields = structs.asdict(bars.chunk.event(candidate.row))
        return ExecutionBar(**fields, reference=reference)
    asset_id = candidate.working.order.asset_id
    prices = (reference,) * 4
    return ExecutionBar(bars.timestamp, asset_id, *prices, math.nan, {}, reference)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)
