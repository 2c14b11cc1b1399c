"""Prices on the grid of their instrument."""

from __future__ import annotations

import math

from msgspec import structs

from ml4t.backtest.types.order import Order, OrderSide

# Of a tick: a price this near to the grid is on it.
_ON_GRID = 1e-9


def round_up(price: float, tick: float) -> float:
    """The nearest price on the grid that is not below `price`.

    Example:
        >>> round_up(10.003, 0.01), round_up(10.01, 0.01)
        (10.01, 10.01)
    """
    return _snap(math.ceil(price / tick - _ON_GRID), tick)


def round_down(price: float, tick: float) -> float:
    """The nearest price on the grid that is not above `price`."""
    return _snap(math.floor(price / tick + _ON_GRID), tick)


def against(price: float, tick: float, sign: float) -> float:
    """The nearest price on the grid that is no better for a trade: up for a purchase."""
    return round_up(price, tick) if sign > 0 else round_down(price, tick)


def on_grid(order: Order, tick: float) -> Order:
    """An order with its prices on the grid, and none of them more aggressive than asked.

    The limit of a purchase is rounded down and its stop up; of a sale the other way round.
    """
    sign = 1.0 if order.side == OrderSide.BUY else -1.0
    changes = {}
    if order.limit_price is not None:
        changes["limit_price"] = against(order.limit_price, tick, -sign)
    if order.stop_price is not None:
        changes["stop_price"] = against(order.stop_price, tick, sign)
    return structs.replace(order, **changes) if changes else order


def _snap(steps: int, tick: float) -> float:
    """So many ticks, without the last bits that a product of floats may leave."""
    return round(steps * tick, 12)
