"""Alpaca's words for ours, and back: JSON of orders, accounts, bars and updates."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ml4t.backtest.rehearsal.tickets import OrderClass

if TYPE_CHECKING:
    import datetime as dt

    from ml4t.backtest.rehearsal.accounts import Holding
    from ml4t.backtest.rehearsal.register import Register
    from ml4t.backtest.rehearsal.tickets import Activity, Ticket, Update
    from ml4t.backtest.rehearsal.venue import Venue
    from ml4t.backtest.types.instrument import Instrument

Json = dict[str, Any]

_NEW_YORK = ZoneInfo("America/New_York")
ERRORS = {
    "unprocessable": (422, 42210000),
    "forbidden": (403, 40310000),
    "missing": (404, 40410000),
}
"""HTTP status and Alpaca's code of each kind of refusal."""


def number(value: float | None) -> str | None:
    """A number as text: exact, without an exponent, whole ones without a point."""
    if value is None or math.isnan(value):
        return None
    text = format(Decimal(repr(float(value))), "f")
    return text.removesuffix(".0")


def time(moment: dt.datetime | None) -> str | None:
    """A time in UTC as RFC 3339 has it."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def money(value: float) -> str:
    """As `number`, for what is never missing."""
    return number(value) or "0"


def compact(symbol: str) -> str:
    """The name of a coin in positions: BTCUSD for BTC/USD."""
    return symbol.replace("/", "")


# -- orders ----------------------------------------------------------------------------------


def order_json(ticket: Ticket, register: Register, *, is_crypto: bool, nested: bool = True) -> Json:
    """An order as clients read it."""
    asked = ticket.asked
    legs = register.legs_of(ticket) if nested else []
    trail = asked.trail_percent
    return {
        "id": ticket.id,
        "client_order_id": ticket.client_order_id,
        "created_at": time(ticket.created_at),
        "updated_at": time(ticket.updated_at),
        "submitted_at": time(ticket.created_at),
        "filled_at": time(ticket.filled_at),
        "expired_at": time(ticket.expired_at),
        "canceled_at": time(ticket.canceled_at),
        "failed_at": time(ticket.failed_at),
        "replaced_at": time(ticket.replaced_at),
        "replaced_by": ticket.replaced_by,
        "replaces": ticket.replaces,
        "asset_id": register.identify("asset", asked.symbol),
        "symbol": asked.symbol,
        "asset_class": _class(is_crypto=is_crypto),
        "notional": number(asked.notional),
        "qty": number(ticket.qty),
        "filled_qty": money(ticket.filled_qty),
        "filled_avg_price": number(ticket.filled_avg_price),
        "order_class": "" if asked.order_class is OrderClass.SIMPLE else asked.order_class.value,
        "order_type": asked.type,
        "type": asked.type,
        "side": asked.side,
        "time_in_force": asked.time_in_force,
        "limit_price": number(ticket.limit_price),
        "stop_price": number(ticket.stop_price),
        "status": ticket.status.value,
        "extended_hours": asked.extended_hours,
        "legs": [order_json(leg, register, is_crypto=is_crypto) for leg in legs] or None,
        "trail_percent": None if trail is None else number(round(trail * 100.0, 9)),
        "trail_price": number(asked.trail_price),
        "hwm": number(ticket.hwm),
    }


def update_json(update: Update, register: Register, *, is_crypto: bool) -> Json:
    """A trade update as the stream brings it."""
    data: Json = {
        "event": update.event,
        "timestamp": time(update.at),
        "order": order_json(update.ticket, register, is_crypto=is_crypto),
    }
    if update.execution_id is not None:
        data |= {
            "execution_id": update.execution_id,
            "price": number(update.price),
            "qty": number(update.qty),
            "position_qty": money(update.position_qty or 0.0),
        }
    if update.replaces is not None:
        data["previous_execution_id"] = update.replaces
    if update.ticket.reason:
        data["reason"] = update.ticket.reason
    return {"stream": "trade_updates", "data": data}


# -- the account -----------------------------------------------------------------------------


def account_json(venue: Venue) -> Json:
    """The account."""
    portfolio, accounts = venue.market.portfolio, venue.accounts
    holdings = accounts.holdings()
    longs = sum(h.value for h in holdings if h.value > 0.0)
    shorts = sum(h.value for h in holdings if h.value < 0.0)
    initial, maintenance = accounts.margins()
    power = money(accounts.buying_power())
    return {
        "id": venue.register.identify("account"),
        "account_number": "REHEARSAL",
        "status": "ACTIVE",
        "crypto_status": "ACTIVE",
        "currency": venue.market.broker.currency,
        "cash": money(portfolio.cash),
        "equity": money(portfolio.equity),
        "last_equity": money(venue.market.equity_before),
        "portfolio_value": money(portfolio.equity),
        "buying_power": power,
        "regt_buying_power": power,
        "non_marginable_buying_power": money(max(0.0, portfolio.cash)),
        "long_market_value": money(longs),
        "short_market_value": money(shorts),
        "initial_margin": money(initial),
        "maintenance_margin": money(maintenance),
        "last_maintenance_margin": "0",
        "multiplier": money(venue.market.broker.leverage),
        "shorting_enabled": accounts.can_short and venue.shorting,
        "accrued_fees": "0",
        "sma": "0",
        "trading_blocked": venue.market.broker.is_over,
        "transfers_blocked": False,
        "account_blocked": False,
        "trade_suspended_by_user": False,
        "created_at": time(venue.tape.time(-1)),
    }


def configurations_json(venue: Venue) -> Json:
    """The account's settings."""
    return {
        "fractional_trading": True,
        "max_margin_multiplier": money(venue.market.broker.leverage),
        "no_shorting": not venue.shorting,
        "suspend_trade": False,
        "trade_confirm_email": "none",
        "ptp_no_exception_entry": False,
    }


def position_json(holding: Holding, register: Register, *, is_crypto: bool) -> Json:
    """A position; that of a coin is named without the slash, as nowhere else."""
    symbol = compact(holding.symbol)
    value, cost, before = holding.value, holding.cost, holding.price_before
    day = holding.qty * (holding.price - before) * holding.multiplier
    base = abs(holding.qty * before * holding.multiplier)
    return {
        "asset_id": register.identify("asset", symbol),
        "symbol": symbol,
        "exchange": _exchange(is_crypto=is_crypto),
        "asset_class": _class(is_crypto=is_crypto),
        "asset_marginable": not is_crypto,
        "avg_entry_price": money(holding.entry_price),
        "qty": money(holding.qty),
        "qty_available": money(math.copysign(holding.available, holding.qty)),
        "side": "long" if holding.qty > 0 else "short",
        "market_value": money(value),
        "cost_basis": money(cost),
        "unrealized_pl": money(value - cost),
        "unrealized_plpc": money((value - cost) / abs(cost) if cost else 0.0),
        "unrealized_intraday_pl": money(day),
        "unrealized_intraday_plpc": money(day / base if base else 0.0),
        "current_price": money(holding.price),
        "lastday_price": money(before),
        "change_today": money(holding.price / before - 1.0 if before else 0.0),
    }


def activity_json(activity: Activity, account_id: str) -> Json:
    """An execution, or money that moved without one."""
    shared = {"id": activity.id, "account_id": account_id, "activity_type": activity.kind}
    if activity.kind == "FILL":
        return shared | {
            "transaction_time": time(activity.at),
            "type": "fill" if activity.is_last else "partial_fill",
            "price": money(activity.price),
            "qty": money(activity.qty),
            "side": activity.side,
            "symbol": activity.symbol,
            "leaves_qty": money(activity.leaves_qty),
            "order_id": activity.order_id,
            "cum_qty": money(activity.cum_qty),
            "order_status": activity.status,
        }
    return shared | {
        "date": f"{activity.at:%Y-%m-%d}",
        "net_amount": money(activity.amount),
        "description": activity.description,
        "status": "executed",
        **({"symbol": activity.symbol} if activity.symbol else {}),
    }


def asset_json(symbol: str, instrument: Instrument, venue: Venue) -> Json:
    """What is known of an asset."""
    is_crypto = venue.accounts.is_crypto(symbol)
    found: Json = {
        "id": venue.register.identify("asset", symbol),
        "class": _class(is_crypto=is_crypto),
        "exchange": _exchange(is_crypto=is_crypto),
        "symbol": symbol,
        "name": symbol,
        "status": "active",
        "tradable": True,
        "marginable": not is_crypto,
        "shortable": venue.shorting and not is_crypto,
        "easy_to_borrow": venue.shorting and not is_crypto,
        "fractionable": instrument.lot_size == 0.0,
        "attributes": [],
    }
    if is_crypto:
        step = "0.000000001"
        found |= {"min_order_size": step, "min_trade_increment": step, "price_increment": step}
    return found


def _class(*, is_crypto: bool) -> str:
    return "crypto" if is_crypto else "us_equity"


def _exchange(*, is_crypto: bool) -> str:
    return "CRYPTO" if is_crypto else "NASDAQ"


# -- time ------------------------------------------------------------------------------------


def clock_json(venue: Venue) -> Json:
    """The market clock: in New York's time, with nanoseconds as the real one has them."""
    now = venue.now + venue.skew
    local = now.astimezone(_NEW_YORK)
    offset = f"{local:%z}"
    stamp = f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond:06d}000{offset[:3]}:{offset[3:]}"
    opening = venue.opening
    return {
        "timestamp": stamp,
        "is_open": opening.is_session_open(now),
        "next_open": opening.next_open(now).astimezone(_NEW_YORK).isoformat(),
        "next_close": opening.next_close(now).astimezone(_NEW_YORK).isoformat(),
    }


def calendar_json(session: tuple[dt.date, dt.datetime, dt.datetime]) -> Json:
    """A session of the market's calendar, in New York's time."""
    date, opens, closes = session
    return {
        "date": date.isoformat(),
        "open": f"{opens.astimezone(_NEW_YORK):%H:%M}",
        "close": f"{closes.astimezone(_NEW_YORK):%H:%M}",
    }
