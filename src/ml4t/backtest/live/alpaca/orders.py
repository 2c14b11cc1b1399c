"""An order in Alpaca's words, and what Alpaca says of orders in ours."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ml4t.backtest.broker.ticks import against, round_up
from ml4t.backtest.live.words import Execution, correction_id
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.live.words import Request, Terms

Json = dict[str, Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_HUNDRED = 100.0
_CENT, _PART_OF_A_CENT = 0.01, 0.0001
_COIN_DIGITS = 9
_DOLLAR = 1.0
_QUOTES = ("USDT", "USDC", "USD", "EUR", "BTC")

# A word that is not here is one of an open order: it is looked up later, and nothing is given up.
_STATUS = {
    "held": OrderStatus.PENDING,
    "partially_filled": OrderStatus.PARTIALLY_FILLED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "replaced": OrderStatus.CANCELED,
    "expired": OrderStatus.EXPIRED,
    "rejected": OrderStatus.REJECTED,
}


# -- ours to theirs ----------------------------------------------------------------------------


def body_of(request: Request, *, extended_hours: bool) -> Json:
    """A new order as it is posted.

    Args:
        request: The order, with the exits that go with it.
        extended_hours: Whether limit orders for the day may trade outside the regular hours.
    """
    terms = request.terms
    body: Json = {
        "symbol": terms.asset_id,
        "side": terms.side.value,
        "type": terms.type.value,
        "time_in_force": _force(request),
        "qty": number(request.quantity),
        "client_order_id": request.client_id,
        **prices(terms, request.limit_price, request.stop_price),
        **_trail(terms),
    }
    if request.legs:
        return body | _family(request)
    if extended_hours and is_for_any_hour(terms):
        body["extended_hours"] = True
    return body


def _force(request: Request) -> str:
    """The time in force; parts of shares at the market are for the day, as Alpaca has it."""
    terms = request.terms
    is_part = not is_whole(request.quantity) and not is_crypto(terms.asset_id)
    if is_part and terms.time_in_force is TimeInForce.GTC and terms.type is OrderType.MARKET:
        return TimeInForce.DAY.value
    return terms.time_in_force.value


def prices(terms: Terms, limit: float | None, stop: float | None) -> Json:
    """Limit and stop on Alpaca's grid, none of them more aggressive than asked."""
    sign = 1.0 if terms.side is OrderSide.BUY else -1.0
    body: Json = {}
    if limit is not None:
        body["limit_price"] = _price(terms.asset_id, limit, -sign)
    if stop is not None:
        body["stop_price"] = _price(terms.asset_id, stop, sign)
    return body


def _price(asset_id: str, price: float, sign: float) -> str:
    if is_crypto(asset_id):
        return number(round(price, _COIN_DIGITS))
    return number(against(price, _CENT if price >= _DOLLAR else _PART_OF_A_CENT, sign))


def _trail(terms: Terms) -> Json:
    if terms.type is not OrderType.TRAILING_STOP:
        return {}
    if terms.trail_percent is not None:
        return {"trail_percent": number(round(terms.trail_percent * _HUNDRED, 9))}
    assert terms.trail_amount is not None
    return {"trail_price": number(round_up(terms.trail_amount, _CENT))}


def _family(request: Request) -> Json:
    """The exits of an entry, or the other exit of an exit."""
    is_exit = request.terms.reduce_only
    body: Json = {"order_class": "oco" if is_exit else ("oto", "bracket")[len(request.legs) - 1]}
    for leg in (request, *request.legs) if is_exit else request.legs:
        found = prices(leg.terms, leg.limit_price, leg.stop_price)
        body["take_profit" if "stop_price" not in found else "stop_loss"] = found
    return body


def can_be_one(request: Request, *, extended_hours: bool) -> bool:
    """Whether an order and its legs can be sent as one: bracket, OTO or OCO."""
    terms, legs = request.terms, request.legs
    family = (request, *legs)
    forces = {one.terms.time_in_force for one in family}
    exits = family if terms.reduce_only else legs
    targets = [one for one in exits if one.terms.type is OrderType.LIMIT]
    stops = [one for one in exits if one.terms.type is not OrderType.LIMIT]
    if is_crypto(terms.asset_id) or not all(is_whole(one.quantity) for one in family):
        return False
    if len(forces) > 1 or not forces <= {TimeInForce.DAY, TimeInForce.GTC}:
        return False
    if len(targets) > 1 or len(stops) > 1 or (extended_hours and is_for_any_hour(terms)):
        return False
    if not targets or not stops:
        return True
    target, stop = targets[0].limit_price, stops[0].stop_price
    if target is None or stop is None:
        return False
    return target > stop if targets[0].terms.side is OrderSide.SELL else target < stop


def is_for_any_hour(terms: Terms) -> bool:
    """Whether Alpaca takes an order of this kind outside the regular hours."""
    is_limit = terms.type is OrderType.LIMIT and terms.time_in_force is TimeInForce.DAY
    return is_limit and not is_crypto(terms.asset_id)


# -- theirs to ours ----------------------------------------------------------------------------


def status_of(order: Json) -> OrderStatus:
    """Where an order stands; a word that is not known is one of an open order."""
    return _STATUS.get(str(order.get("status")), OrderStatus.ACCEPTED)


def filled_of(order: Json) -> float:
    """Units that an order itself has filled."""
    return float(order.get("filled_qty") or 0.0)


def told_execution(data: Json, client_id: str, asset_id: str) -> Execution:
    """The fill in a trade update."""
    order = data["order"]
    return Execution(
        client_id,
        execution_id(str(order["id"]), order["filled_qty"]),
        asset_id,
        _sign(order["side"]) * float(data["qty"]),
        float(data["price"]),
        microseconds(data["timestamp"]),
    )


def told_correction(data: Json, before: Execution) -> Execution:
    """What an execution has become, when the exchange corrected or broke the trade."""
    is_broken = str(data["event"]) == "trade_bust"
    quantity = 0.0 if is_broken else _sign(data["order"]["side"]) * float(data["qty"])
    price = before.price if is_broken else float(data["price"])
    return Execution(
        before.client_id,
        correction_id(before.execution_id, quantity, price),
        before.asset_id,
        quantity,
        price,
        microseconds(data["timestamp"]),
        corrects=before.execution_id,
    )


def listed_execution(activity: Json, client_id: str, asset_id: str) -> Execution:
    """The fill in an activity of the account."""
    return Execution(
        client_id,
        execution_id(str(activity["order_id"]), activity["cum_qty"]),
        asset_id,
        _sign(activity["side"]) * float(activity["qty"]),
        float(activity["price"]),
        microseconds(activity["transaction_time"]),
    )


def execution_id(order_id: str, filled: str | float) -> str:
    """A name that a fill has wherever it is told: its order, and how much had filled then.

    The stream and the list of activities have identifiers of their own, which need not agree.
    """
    return f"{order_id}:{number(float(filled))}"


def _sign(side: Any) -> float:
    return 1.0 if str(side).startswith("buy") else -1.0


def asset_of(row: Json) -> str:
    """The `asset_id` of an order or a position: crypto pairs with a slash."""
    symbol = str(row["symbol"])
    if row.get("asset_class") != "crypto" or "/" in symbol:
        return symbol
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return f"{symbol.removesuffix(quote)}/{quote}"
    return symbol


# -- numbers and times -------------------------------------------------------------------------


def is_crypto(asset_id: str) -> bool:
    """Whether this is a crypto pair; stocks have no slash in their name."""
    return "/" in asset_id


def is_whole(quantity: float) -> bool:
    """Whether this is a number of whole shares."""
    return float(quantity).is_integer()


def number(value: float) -> str:
    """Exact, and without an exponent."""
    return format(Decimal(repr(float(value))), "f").removesuffix(".0")


def microseconds(text: Any) -> int:
    """Since 1970, of a time as Alpaca writes it."""
    moment = dt.datetime.fromisoformat(str(text))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // _MICROSECOND


def stamp(moment: int) -> str:
    """Microseconds since 1970 as Alpaca reads them."""
    text = (_EPOCH + moment * _MICROSECOND).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
