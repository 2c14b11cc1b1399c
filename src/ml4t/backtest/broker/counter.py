"""Where orders are handed in: accepted into the book, or rejected with a reason."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

from ml4t.backtest.broker.order_checks import HUGE
from ml4t.backtest.broker.ticks import on_grid
from ml4t.backtest.broker.trailing import start_trail
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter
    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.order import Order

_MARKET, _GTC, _BUY = OrderType.MARKET, TimeInForce.GTC, OrderSide.BUY


class Counter:
    """Takes the orders of a run, in whole lots and on their instrument's grid of prices.

    Args:
        portfolio: Read only.
        blotter: The book.
        calendar: Of the run, or None.

    Attributes:
        closed: Why no order is taken any more; empty while they are.
    """

    def __init__(
        self, portfolio: Portfolio, blotter: Blotter, calendar: TradingCalendar | None
    ) -> None:
        self.portfolio = portfolio
        self.blotter = blotter
        self.calendar = calendar
        self.closed = ""

    def take(self, order: Order) -> int:
        """Accept or reject an order at once.

        Returns:
            Its id.
        """
        portfolio, blotter = self.portfolio, self.blotter
        order, code, reason = blotter.check(order)
        if reason or self.closed:
            return blotter.reject(order, reason or self.closed, code)
        quantity, held = order.quantity, portfolio.units[code]
        if quantity != abs(held):  # a whole position can be closed
            quantity = round_to_lot(quantity, portfolio.instruments[code].lot_size)
        if quantity == 0.0:
            return blotter.reject(order, f"below one lot: {order.quantity:g} units", code)
        if order.type is _MARKET and order.time_in_force is _GTC and not order.after:
            order_id = 0
            if quantity == order.quantity and not order.oco and not order.role:
                reduces = order.reduce_only
                order_id = self._gather(code, order.side, quantity, order.tag, reduces=reduces)
            return order_id or blotter.accept(order, code, quantity).order_id
        reason = self._obstacle(order)
        if reason:
            return blotter.reject(order, reason, code)
        tick = portfolio.instruments[code].tick_size
        working = blotter.accept(on_grid(order, tick) if tick else order, code, quantity)
        working.tick = tick
        bars = blotter.bars
        if working.type.is_trailing and working.status is OrderStatus.ACCEPTED:
            start_trail(working, portfolio.last_price(order.asset_id))
        if bars is not None and working.time_in_force is TimeInForce.OPG:
            working.decided_session = bars.chunk.sessions.item(bars.index)
        return working.order_id

    def take_plain(
        self, asset_id: str, side: OrderSide, quantity: float, tag: str, *, reduce_only: bool
    ) -> int:
        """The short way of a market order that nothing is wrong with, without an `Order`.

        Returns:
            Its id; 0 when it has to go the long way.
        """
        if type(asset_id) is not str or type(quantity) is not float or self.closed:
            return 0
        code = self.blotter.universe.codes.get(asset_id, -1)
        if code < 0 or not 0.0 < quantity < HUGE:
            return 0
        portfolio = self.portfolio
        lot = portfolio.instruments[code].lot_size
        if quantity != abs(portfolio.units[code]) and quantity != round_to_lot(quantity, lot):
            return 0
        return self._gather(code, side, quantity, tag, reduces=reduce_only)

    def _gather(
        self, code: int, side: OrderSide | str, quantity: float, tag: str, *, reduces: bool
    ) -> int:
        """Put a market order to others; its id, 0 when it has to stand alone.

        One that may only reduce is the same as any other while all of it does.
        """
        units = quantity if side is _BUY else -quantity
        if reduces:
            held = self.portfolio.units[code]
            if not (held * units < 0.0 and quantity <= abs(held)):
                return 0
        return self.blotter.gather(code, units, tag, reduces=reduces)

    def _obstacle(self, order: Order) -> str:
        """Why an order that can be meant cannot be worked here: an empty string when it can."""
        kind, force, bars = OrderType(order.type), order.time_in_force, self.blotter.bars
        is_alone = kind.is_trailing and not order.after
        if is_alone and math.isnan(self.portfolio.last_price(order.asset_id)):
            return "no price yet to trail: it had no bar"
        if bars is None:
            return ""
        axis = bars.chunk.axis
        if force is TimeInForce.CLS and not axis.is_session and self.calendar is None:
            return "a cls order on intraday bars needs calendar= on the engine"
        if isinstance(order.expires_at, dt.datetime):
            try:
                axis.to_microseconds(order.expires_at)
            except ValueError as error:
                return f"expires_at: {error}"
        return ""
