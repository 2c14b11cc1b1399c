"""Numbers, orders and fills in the words of explanations."""

from __future__ import annotations

from typing import Any

from ml4t.backtest.results.summary import amounts, value_text

_FILLED_AT = {
    "open": "at the open",
    "close": "at the close",
    "limit": "at its limit",
    "stop": "at its stop",
}


def order_text(order: dict[str, Any]) -> str:
    """What an order asked for."""
    said = f"{order['side']} {units_text(order['quantity'])}"
    if order["stop_price"] is not None:
        said += f", stop {price_text(order['stop_price'])}"
    if order["limit_price"] is not None:
        said += f", limit {price_text(order['limit_price'])}"
    if order["stop_price"] is None and order["limit_price"] is None:
        said += f", {order['type'].replace('_', '-')}"
    return f"{said}, {order['time_in_force']}"


def order_signals(order: dict[str, Any]) -> str:
    """The signals at the decision, as the order keeps them."""
    return ", ".join(
        f"{name.removeprefix('signal_')} {'absent' if value is None else value_text(value)}"
        for name, value in order.items()
        if name.startswith("signal_")
    )


def reason_text(reason: str) -> str:
    """Why an order filled at its price."""
    return _FILLED_AT.get(reason, reason or "no reason given")


def costs_text(fill: dict[str, Any]) -> str:
    """Commission and slippage of a fill, and the price it would have had without slippage."""
    commission, slippage = amounts(fill["commission"], fill["slippage"])
    said = f"commission {commission}, slippage {slippage}"
    units = fill["quantity"] * fill["multiplier"]
    if not fill["slippage"] or not units:
        return said
    sign = 1.0 if fill["side"] == "buy" else -1.0
    return f"{said} ({price_text(fill['price'] - sign * fill['slippage'] / units)} without it)"


def units_text(quantity: float | None) -> str:
    """A quantity."""
    return "an unreadable quantity" if quantity is None else f"{quantity + 0.0:,.8g}"


def price_text(price: Any) -> str:
    """A price."""
    return "n/a" if price is None else f"{price:,.8g}"
