"""What a client asks, handed to the simulation in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.rehearsal.tickets import RefusedError
from ml4t.backtest.types.order import Order, OrderSide, OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.rehearsal.market import Market
    from ml4t.backtest.rehearsal.tickets import Asked


def order_of(asked: Asked, quantity: float, *, oco: str = "") -> Order:
    """An order of the simulation.

    Args:
        asked: What a client asks.
        quantity: Units, which an order by money does not say.
        oco: Name of the group of which one fills.
    """
    return Order(
        asked.symbol,
        OrderSide(asked.side),
        quantity,
        OrderType(asked.type),
        limit_price=asked.limit_price,
        stop_price=asked.stop_price,
        trail_amount=asked.trail_price,
        trail_percent=asked.trail_percent,
        time_in_force=TimeInForce(asked.time_in_force),
        oco=oco,
    )


def hand_in(market: Market, asked: Asked, order: Order) -> Working:
    """Hand an order in.

    Returns:
        The order in the book.

    Raises:
        RefusedError: The simulation does not take it, and why.
    """
    working = market.submit(order, extended=asked.extended_hours)
    if not working.status.is_open:
        market.take_changes()
        raise RefusedError("unprocessable", working.reason)
    return working
