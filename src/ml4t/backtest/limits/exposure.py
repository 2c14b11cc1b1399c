"""Where positions can get by the orders that are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.kernels import total
from ml4t.backtest.types.order import OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.basket import Basket
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.order import Order

# Float noise allowed on every comparison, relative to the limit.
NOISE = 1e-9
_WAITING = frozenset({TimeInForce.OPG, TimeInForce.CLS})


def trades_next(order: Order) -> bool:
    """Whether an order that was accepted trades in the next bar, whatever the price."""
    is_market = order.type is OrderType.MARKET
    return is_market and order.time_in_force not in _WAITING and not order.after


def units_left(working: Working) -> float:
    """Units that an order may still trade, those it waits for included."""
    if not working.order.after:
        return working.remaining
    return working.remaining + working.whole - working.worked


def is_more(value: Any, most: float) -> Any:
    """Whether a value, or each of a column, is above its limit by more than float noise."""
    return value > most + NOISE * abs(most)


class Totals(msgspec.Struct, frozen=True, gc=False):
    """Exposure when the open orders that make it larger fill: money; `short` is positive."""

    gross: float
    long: float
    short: float


class Exposure:
    """Where positions can get by open orders, by asset code.

    Market orders decided at this timestamp count as filled, be they entries or exits. Of all
    other open orders only those count that make a position larger, because the others may never
    fill; reduce-only orders cannot.

    Attributes:
        high: Units when all buys fill.
        low: Units when all sales fill.
        unit: Money per unit at the last close; NaN for an asset that had no bar yet.
    """

    def __init__(self, portfolio: Portfolio, blotter: Blotter) -> None:
        self.portfolio = portfolio
        self.blotter = blotter
        self.high = self.low = self.unit = np.zeros(0)
        self._worth = self.unit  # as `unit`, and nothing where that is not known
        self._totals: Totals | None = None
        self._state: tuple[int, ...] | None = None

    def refresh(self) -> None:
        """Work it out anew if anything happened that was not expected."""
        if self._read_state() != self._state:
            self._work_out(without=None)

    def leave_out(self, working: Working) -> None:
        """Work it out as if an open order were not there; `forget` that when done."""
        self._work_out(without=working)

    def forget(self) -> None:
        """Something changed that does not show: the next look works everything out anew."""
        self._state = None

    def _work_out(self, *, without: Working | None) -> None:
        self._state = self._read_state()
        portfolio, blotter = self.portfolio, self.blotter
        n = len(portfolio.instruments)
        self.high, self.low = portfolio.quantity[:n].copy(), portfolio.quantity[:n].copy()
        self.unit = portfolio.last_prices()[:n] * portfolio.multiplier[:n]
        self._worth, self._totals = np.nan_to_num(self.unit), None
        for working in (*blotter.open.values(), *blotter.links.pending.values()):
            if working is not without:
                self._add_order(working)
        for basket in blotter.baskets:
            self._add(basket.codes, basket.quantities, is_certain=basket.step == blotter.step)

    def expect(self, basket: Basket) -> None:
        """A basket is about to be sent, and need not be read from the blotter."""
        self._expect(len(basket))
        self._add(basket.codes, basket.quantities, is_certain=True)

    def expect_order(self, order: Order, code: int, signed: float) -> None:
        """An order is about to be sent, and need not be read from the blotter."""
        self._expect(1)
        is_now = trades_next(order)
        self._put(code, signed, is_now=is_now, is_reducing=order.reduce_only)

    def _expect(self, n: int) -> None:
        step, count, n_open, fills = self._read_state()
        self._state = (step, count + n, n_open + n, fills)

    def totals(self) -> Totals:
        """Exposure as it stands."""
        if self._totals is None:
            gross = total(_larger(self.high, self.low) * self._worth)
            self._totals = Totals(
                gross, total(self.high * self._worth), -total(self.low * self._worth)
            )
        return self._totals

    def totals_with(self, codes: Any, signed: Any, *, is_certain: bool) -> Totals:
        """Exposure with one order more, or columns of them, each asset once."""
        now, worth = self.totals(), self._worth[codes]
        high, low = self.high[codes], self.low[codes]
        up, down = _ways(signed, is_certain=is_certain)
        gross = _larger(high + up, low + down) - _larger(high, low)
        return Totals(
            now.gross + float(np.sum(gross * worth)),
            now.long + float(np.sum(up * worth)),
            now.short - float(np.sum(down * worth)),
        )

    def _read_state(self) -> tuple[int, int, int, int]:
        blotter = self.blotter
        n_open = len(blotter.open) + len(blotter.links.pending)
        n_open += sum(len(basket.codes) for basket in blotter.baskets)
        return blotter.step, blotter.count, n_open, self.portfolio.fill_count

    def _add_order(self, working: Working) -> None:
        order, signed = working.order, working.sign * units_left(working)
        is_now = working.step == self.blotter.step and trades_next(order)
        self._put(working.code, signed, is_now=is_now, is_reducing=order.reduce_only)

    def _put(self, code: int, signed: float, *, is_now: bool, is_reducing: bool) -> None:
        if is_reducing:
            if not is_now:
                return
            room = max(0.0, self.low[code] if signed < 0.0 else -self.high[code])
            signed = max(signed, -room) if signed < 0.0 else min(signed, room)
        self._add(code, signed, is_certain=is_now)

    def _add(self, codes: Any, signed: Any, *, is_certain: bool) -> None:
        """One order, or columns of them, each asset once."""
        self._totals = None
        up, down = _ways(signed, is_certain=is_certain)
        self.high[codes] += up
        self.low[codes] += down


def _larger(high: Any, low: Any) -> Any:
    """Units of a position in the direction in which it can become larger."""
    return np.maximum(np.abs(high), np.abs(low))


def _ways(signed: Any, *, is_certain: bool) -> tuple[Any, Any]:
    """What orders add to `high` and to `low`; those that are certain to fill, to both."""
    if is_certain:
        return signed, signed
    return np.maximum(signed, 0.0), np.minimum(signed, 0.0)
