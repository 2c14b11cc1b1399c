"""What Alpaca cannot do, whatever the market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.live.alpaca.orders import is_crypto, is_whole
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.types.order import Order

_CRYPTO_TYPES = (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP_LIMIT)
_CRYPTO_FORCES = (TimeInForce.GTC, TimeInForce.IOC)
_STANDING = (TimeInForce.DAY, TimeInForce.GTC)


def obstacle(order: Order, lot: float) -> str:
    """Why Alpaca would not take an order; empty when it might.

    Args:
        order: As the book has it.
        lot: What its quantity is rounded to; 0.0 for none.
    """
    kind, force = OrderType(order.type), TimeInForce(order.time_in_force)
    if kind is OrderType.TRAILING_STOP_LIMIT:
        return "Alpaca has no trailing stop-limit orders: use a trailing stop"
    if force is TimeInForce.GTD:
        return "Alpaca has no orders that end at a time: use gtc, and cancel it then"
    if is_crypto(order.asset_id):
        return _of_crypto(kind, force)
    if kind is OrderType.TRAILING_STOP and force not in _STANDING:
        return f"Alpaca works trailing stops as day or gtc orders, not as {force}"
    return "" if is_whole(round_to_lot(order.quantity, lot)) else _of_parts(kind, force)


def _of_crypto(kind: OrderType, force: TimeInForce) -> str:
    if kind not in _CRYPTO_TYPES:
        return f"Alpaca works no {kind} orders for crypto: use market, limit or stop_limit"
    if force not in _CRYPTO_FORCES:
        return f"Alpaca works crypto orders as gtc or ioc, not as {force}"
    return ""


def _of_parts(kind: OrderType, force: TimeInForce) -> str:
    if kind is OrderType.TRAILING_STOP:
        return "Alpaca trails whole shares alone: round the quantity"
    if force is TimeInForce.DAY or (kind is OrderType.MARKET and force is TimeInForce.GTC):
        return ""
    return f"Alpaca works parts of shares for the day alone, not as {kind} {force}: use day"
