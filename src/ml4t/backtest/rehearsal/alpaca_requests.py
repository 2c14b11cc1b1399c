"""What the bodies of Alpaca's calls ask, in our words."""

from __future__ import annotations

from typing import Any

import msgspec

from ml4t.backtest.rehearsal.tickets import Asked, OrderClass, RefusedError


class _Leg(msgspec.Struct):
    limit_price: float | str | None = None
    stop_price: float | str | None = None


class OrderBody(msgspec.Struct):
    """The body of a new order."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: float | str | None = None
    notional: float | str | None = None
    limit_price: float | str | None = None
    stop_price: float | str | None = None
    trail_price: float | str | None = None
    trail_percent: float | str | None = None
    order_class: str = ""
    take_profit: _Leg | None = None
    stop_loss: _Leg | None = None
    extended_hours: bool = False
    client_order_id: str | None = None


class ReplaceBody(msgspec.Struct):
    """The body of a replacement."""

    qty: float | str | None = None
    limit_price: float | str | None = None
    stop_price: float | str | None = None
    trail: float | str | None = None
    time_in_force: str | None = None
    client_order_id: str | None = None


def asked_from(body: bytes) -> Asked:
    """What the body of a new order asks.

    Raises:
        RefusedError: It is not JSON, or has words or numbers that cannot be.
    """
    order = _decoded(body, OrderBody)
    try:
        order_class = OrderClass(order.order_class or "simple")
    except ValueError as error:
        raise RefusedError("unprocessable", f"invalid order_class {order.order_class!r}") from error
    target, stop = order.take_profit or _Leg(), order.stop_loss or _Leg()
    percent = _number(order.trail_percent, "trail_percent")
    return Asked(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        qty=_number(order.qty, "qty"),
        notional=_number(order.notional, "notional"),
        limit_price=_number(order.limit_price, "limit_price"),
        stop_price=_number(order.stop_price, "stop_price"),
        trail_price=_number(order.trail_price, "trail_price"),
        trail_percent=None if percent is None else percent / 100.0,
        order_class=order_class,
        take_profit=_number(target.limit_price, "take_profit.limit_price"),
        stop_loss=_number(stop.stop_price, "stop_loss.stop_price"),
        stop_loss_limit=_number(stop.limit_price, "stop_loss.limit_price"),
        extended_hours=order.extended_hours,
        client_order_id=order.client_order_id,
    )


def replacement_from(body: bytes) -> dict[str, Any]:
    """What the body of a replacement changes, as `OrderDesk.replace` takes it.

    Raises:
        RefusedError: It is not JSON, or has numbers that cannot be.
    """
    found = _decoded(body or b"{}", ReplaceBody)
    names = ("qty", "limit_price", "stop_price", "trail")
    changes: dict[str, Any] = {name: _number(getattr(found, name), name) for name in names}
    changes |= {"time_in_force": found.time_in_force, "client_order_id": found.client_order_id}
    return {name: value for name, value in changes.items() if value is not None}


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise RefusedError("unprocessable", f"request body format is invalid: {error}") from error


def _number(value: float | str | None, name: str) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError as error:
        raise RefusedError("unprocessable", f"{name} is not a number: {value!r}") from error
