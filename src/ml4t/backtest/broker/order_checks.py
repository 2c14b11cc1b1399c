"""Why an order cannot be meant, whatever the market."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import did_you_mean
from ml4t.backtest.types.order import Order, OrderSide, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.types.bars import Universe

HUGE = 1e300
_MARKET, _GTC, _DAY = OrderType.MARKET, TimeInForce.GTC, TimeInForce.DAY
_AUCTIONS = frozenset({TimeInForce.OPG, TimeInForce.CLS})
_WITH_LIMIT = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT})
_WITH_STOP = frozenset({OrderType.STOP, OrderType.STOP_LIMIT})
_TRAILS = ("trail_amount", "trail_percent", "limit_offset")
_WORDS = (("side", OrderSide), ("type", OrderType), ("time_in_force", TimeInForce))


def refusal(order: Order) -> str:
    """Why an order cannot be meant: an empty string when it can."""
    reason = _bad_word(order) or _bad_quantity(order.quantity)
    if reason:
        return reason
    kind, force = OrderType(order.type), TimeInForce(order.time_in_force)
    return _bad_price(order, kind) or _bad_trail(order, kind) or _bad_time(order, kind, force)


def unknown_asset(asset_id: object, universe: Universe) -> str:
    """The reason an order for an asset without data is rejected with."""
    return f"unknown asset {asset_id!r}. {did_you_mean(str(asset_id), universe.ids)}"


def is_sane_price(price: float | None) -> bool:
    """Whether a limit or stop price can be meant."""
    return _is_finite(price) and price is not None and price > 0.0


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(value)
    except (OverflowError, TypeError):  # a whole number beyond all floats; a complex number
        return False


def _bad_word(order: Order) -> str:
    asset_id: object = order.asset_id
    if not isinstance(asset_id, str):
        return f"asset_id {asset_id!r} is not a name"
    for name, kind in _WORDS:
        value = getattr(order, name)
        if type(value) is kind:
            continue
        try:
            kind(value)
        except ValueError:
            return f"{name} {value!r} is not one of {', '.join(map(repr, _values(kind)))}"
    return ""


def _bad_quantity(quantity: Any) -> str:
    if not _is_finite(quantity):
        return f"quantity must be a finite number, not {quantity!r}"
    if quantity <= 0:
        return f"quantity must be positive, not {quantity!r}; the side says the direction"
    return ""


def _bad_price(order: Order, kind: OrderType) -> str:
    for kinds, name in ((_WITH_LIMIT, "limit_price"), (_WITH_STOP, "stop_price")):
        wanted, price = kind in kinds, getattr(order, name)
        if wanted and not is_sane_price(price):
            return f"a {kind.value} order needs a positive {name}, not {price!r}"
        if not wanted and price is not None:
            return f"a {kind.value} order has no {name}"
    return ""


def _bad_trail(order: Order, kind: OrderType) -> str:
    amount, percent, offset = order.trail_amount, order.trail_percent, order.limit_offset
    if not kind.is_trailing:
        given = next((name for name in _TRAILS if getattr(order, name) is not None), None)
        return f"a {kind.value} order has no {given}" if given else ""
    if (amount is None) == (percent is None):
        return f"a {kind.value} order needs one of trail_amount and trail_percent"
    if amount is not None and not is_sane_price(amount):
        return f"trail_amount must be positive, not {amount!r}"
    if percent is not None and not (is_sane_price(percent) and percent < 1.0):
        return f"trail_percent must be a fraction between 0 and 1, not {percent!r}"
    return _bad_offset(kind, offset)


def _bad_offset(kind: OrderType, offset: float | None) -> str:
    if kind is OrderType.TRAILING_STOP:
        return "" if offset is None else "a trailing_stop order has no limit_offset"
    if offset is None:
        return "a trailing_stop_limit order needs a limit_offset"
    if not (_is_finite(offset) and offset >= 0.0):
        return f"limit_offset must be zero or positive, not {offset!r}"
    return ""


def _bad_time(order: Order, kind: OrderType, force: TimeInForce) -> str:
    if (force is TimeInForce.GTD) != (order.expires_at is not None):
        return (
            "a gtd order needs expires_at"
            if order.expires_at is None
            else f"a {force.value} order has no expires_at"
        )
    expires_at: object = order.expires_at
    if expires_at is not None and not isinstance(expires_at, dt.date):
        return f"expires_at must be a date or datetime, not {expires_at!r}"
    if force in _AUCTIONS and kind not in {OrderType.MARKET, OrderType.LIMIT}:
        return f"a {kind.value} order cannot be {force.value}: only market and limit orders can"
    return ""


def is_usual(order: Order) -> bool:
    """A market order as the helpers make them: nearly all orders are, and nothing can be wrong."""
    return (
        order.type is _MARKET
        and type(order.quantity) is float
        and 0.0 < order.quantity < HUGE
        and type(order.side) is OrderSide
        and order.limit_price is None
        and order.stop_price is None
        and order.trail_amount is None
        and order.trail_percent is None
        and order.limit_offset is None
        and order.expires_at is None
        and not order.after
        and not order.oco
        and (order.time_in_force is _GTC or order.time_in_force is _DAY)
    )


def _values(kind: Iterable[Any]) -> list[str]:
    return [member.value for member in kind]
