"""What a client of TWS asks of an order, in the words of the simulation and of the venue."""

from __future__ import annotations

import datetime as dt

from ml4t.backtest.errors import OrderError
from ml4t.backtest.rehearsal.ib_words import VALIDATION, Wanted
from ml4t.backtest.rehearsal.tickets import Asked
from ml4t.backtest.types.order import Order, OrderSide, OrderType, TimeInForce

TYPES = {
    "MKT": OrderType.MARKET,
    "MOC": OrderType.MARKET,
    "LMT": OrderType.LIMIT,
    "LOC": OrderType.LIMIT,
    "STP": OrderType.STOP,
    "STP LMT": OrderType.STOP_LIMIT,
    "TRAIL": OrderType.TRAILING_STOP,
    "TRAIL LIMIT": OrderType.TRAILING_STOP_LIMIT,
}
_AT_CLOSE = frozenset({"MOC", "LOC"})


class TwsRefusalError(OrderError):
    """A request that TWS answers with an error.

    Args:
        code: The error's.
        text: In TWS's words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def order_of(asset_id: str, wanted: Wanted) -> Order:
    """An order of the simulation."""
    kind = TYPES[wanted.type]
    is_trailing, percent = kind.is_trailing, wanted.trail_percent
    tif = TimeInForce.CLS if wanted.type in _AT_CLOSE else TimeInForce(wanted.tif.lower() or "day")
    return Order(
        asset_id,
        OrderSide.BUY if wanted.action == "BUY" else OrderSide.SELL,
        wanted.quantity,
        kind,
        limit_price=wanted.limit if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        stop_price=wanted.aux if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        trail_amount=wanted.aux if is_trailing and not percent else None,
        trail_percent=percent / 100.0 if is_trailing and percent else None,
        limit_offset=wanted.limit_offset if kind is OrderType.TRAILING_STOP_LIMIT else None,
        time_in_force=tif,
        expires_at=_expiry(wanted.good_till) if tif is TimeInForce.GTD else None,
    )


def _expiry(text: str) -> dt.datetime:
    """TWS's `20240304-15:00:00`, which is UTC."""
    try:
        return dt.datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise TwsRefusalError(VALIDATION, f"Invalid good till date {text!r}") from error


def asked_of(order: Order, wanted: Wanted, ref: str | None) -> Asked:
    """As the venue keeps what a client asked."""
    return Asked(
        symbol=order.asset_id,
        side=str(order.side),
        type=str(order.type),
        time_in_force=str(order.time_in_force),
        qty=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.stop_price,
        trail_price=order.trail_amount,
        trail_percent=order.trail_percent,
        extended_hours=wanted.outside_hours,
        client_order_id=ref,
    )


def wanted_of(asked: Asked, account: str) -> Wanted:
    """As a client would have asked for an order of the venue's own."""
    return Wanted(
        action=asked.side.upper(),
        quantity=asked.qty or 0.0,
        type="MKT",
        limit=None,
        aux=None,
        tif="DAY",
        oca_group="",
        account=account,
        ref="",
        transmit=True,
        parent_id=0,
        outside_hours=False,
        good_till="",
        oca_type=0,
        trail_stop=None,
        trail_percent=None,
        limit_offset=None,
    )
