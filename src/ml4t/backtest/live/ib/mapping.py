"""Interactive Brokers' words and ours: orders, their states, and codes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.live.words import Request, Terms
    from ml4t.backtest.types.order import Order

DUPLICATE_ID = 103
CANCELED = 202
ID_IN_USE = 326
LINK_LOST, LINK_NEW, LINK_KEPT = 1100, 1101, 1102
UNKNOWN_ORDER, NOT_CANCELABLE = 10147, 10148
NO_CANCEL = frozenset({UNKNOWN_ORDER, NOT_CANCELABLE, 135, 161})

# The broker says that it does not take a new order. On one that works, it refuses a change.
REFUSALS = frozenset(
    {*(104, 105, 107, 109, 110, 111, 113, 114, 115, 116, 118, 119, 120, 121, 122, 123, 124, 125)}
    | {*(126, 129, 131, 132, 133, 134, 136, 137, 140, 141, 144, 145, 146, 147, 148, 151, 152)}
    | {*(153, 157, 158, 159, 160, 163, 164, 168, 200, 201, 203, 321, 328, 329, 355, 358, 382)}
    | {*(383, 387, 388, 389, 391, 403, 412, 413, 434, 435, 436, 10006, 10052, 10243, 10268, 10289)}
)
# Something to know about an order that lives on.
NOTICES = frozenset({399, 404, 492, 10167, 10349, 2109, 2137, 2148, 2161, 10311, 10314})
FARMS_BROKEN = frozenset({2103, 2105, 2157})
FARMS_WELL = frozenset({2104, 2106, 2158})
QUIET = FARMS_WELL | FARMS_BROKEN | {2107, 2108, 2119, 2100, 2150}
MARKET_FARM_BROKEN, MARKET_FARM_WELL = 2103, 2104
NO_PERMISSION = frozenset({354, 420, 10089, 10090, 10168, 10186})
DELAYED = frozenset({10167, 10197})

_WORDS = {
    OrderType.MARKET: "MKT",
    OrderType.LIMIT: "LMT",
    OrderType.STOP: "STP",
    OrderType.STOP_LIMIT: "STP LMT",
    OrderType.TRAILING_STOP: "TRAIL",
    OrderType.TRAILING_STOP_LIMIT: "TRAIL LIMIT",
}
_AT_CLOSE = {OrderType.MARKET: "MOC", OrderType.LIMIT: "LOC"}
_AUCTIONS = (TimeInForce.OPG, TimeInForce.CLS)
_WORKING = frozenset({"PreSubmitted", "Submitted", "PendingCancel", "ValidationError", "ApiUpdate"})
_CANCELED = frozenset({"Cancelled", "ApiCancelled"})
REDUCE_OTHERS = 2  # of orders in a group: what one fills is taken off the others, at one exchange


def obstacle(order: Order) -> str:
    """Why the broker cannot work an order, whatever the market; empty when it can."""
    kind, force = OrderType(order.type), TimeInForce(order.time_in_force)
    if order.quantity != int(order.quantity):
        return "Interactive Brokers takes whole units through its interface"
    if force in _AUCTIONS and kind not in (OrderType.MARKET, OrderType.LIMIT):
        return f"Interactive Brokers takes market and limit orders for auctions, no {kind.value}"
    return ""


def order_words(request: Request) -> dict[str, Any]:
    """The fields of an order as the vendor has them, but for numbers and groups."""
    terms = request.terms
    force = terms.time_in_force
    is_at_close = force is TimeInForce.CLS
    words: dict[str, Any] = {
        "action": "BUY" if terms.side is OrderSide.BUY else "SELL",
        "totalQuantity": request.quantity,
        "orderType": _AT_CLOSE[terms.type] if is_at_close else _WORDS[terms.type],
        "tif": "DAY" if is_at_close else force.value.upper(),
        "orderRef": request.client_id,
        "outsideRth": False,
    }
    words |= levels(terms, request.limit_price, request.stop_price)
    if terms.type.is_trailing:
        words |= _trail(terms)
    if force is TimeInForce.GTD:
        words["goodTillDate"] = _deadline(terms.expires_at)
    return words


def levels(terms: Terms, limit: float | None, stop: float | None) -> dict[str, float]:
    """Limit and stop, as far as the kind of order has them."""
    words: dict[str, float] = {}
    if terms.type.has_limit and not terms.type.is_trailing and limit is not None:
        words["lmtPrice"] = limit
    if terms.type in (OrderType.STOP, OrderType.STOP_LIMIT) and stop is not None:
        words["auxPrice"] = stop
    return words


def _trail(terms: Terms) -> dict[str, float]:
    words: dict[str, float] = {}
    if terms.trail_percent is not None:
        words["trailingPercent"] = terms.trail_percent * 100.0
    elif terms.trail_amount is not None:
        words["auxPrice"] = terms.trail_amount
    if terms.limit_offset is not None:
        words["lmtPriceOffset"] = terms.limit_offset
    return words


def _deadline(text: str | None) -> str:
    """An ISO date or time as the broker's, in UTC; a date lasts to its end."""
    assert text is not None
    moment = dt.datetime.fromisoformat(text)
    if len(text) == len("2024-01-31"):
        moment += dt.timedelta(days=1, seconds=-1)
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC)
    return f"{moment:%Y%m%d-%H:%M:%S}"


def status_of(word: str, filled: float, *, is_held: bool) -> OrderStatus | None:
    """Where an order stands; None while the broker has not said that it has it."""
    if word == "Filled":
        return OrderStatus.FILLED
    if word in _CANCELED:
        return OrderStatus.CANCELED
    if word == "Inactive":
        return OrderStatus.CANCELED if filled else OrderStatus.REJECTED
    if word not in _WORKING:
        return None
    if is_held:
        return OrderStatus.PENDING
    return OrderStatus.PARTIALLY_FILLED if filled else OrderStatus.ACCEPTED


def why(text: str) -> str:
    """A reason, without the words before it."""
    return text.partition("reason:")[2].strip() or text


def sort_execution(exec_id: str) -> tuple[str, int, int]:
    """What a fill's name says: the fill, how often it was put right, and how wide that is written.

    Corrected fills differ in the digits behind the last dot alone, which count from 1.
    """
    head, _, tail = exec_id.rpartition(".")
    return (head, int(tail), len(tail)) if head and tail.isdecimal() else (exec_id, 1, 0)
