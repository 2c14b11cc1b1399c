"""Words of the TWS socket protocol: frames, contracts, and orders as clients send them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.rehearsal.tickets import RefusedError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

SERVER_VERSION = 178
FIRST_CONTRACT = 265_001  # contract ids of the venue's assets count from here
_LONGEST = 1 << 20  # bytes of a frame; no client of ours sends more

# Codes of errors and notices, as TWS has them.
DUPLICATE_ID = 103
WRONG_PRICE = 110
NO_CONTRACT = 200
REJECTED = 201
CANCELED = 202
VALIDATION = 321
ID_IN_USE = 326
UNSUPPORTED_TYPE = 387
HELD = 399
NO_SIZE = 434
NO_PARENT = 10006
UNKNOWN_ID = 10147
NOT_CANCELABLE = 10148
TIF_PRESET = 10349

NOTICES = {
    HELD: "Order Message:\n{side} {qty:g} {symbol}\n"
    "Warning: Your order will not be placed at the exchange until the market opens.",
    404: "Shares for this order are not immediately available for short sale. The order will be "
    "held while we attempt to locate the shares.",
    TIF_PRESET: "Order TIF was set to DAY based on order preset.",
}
"""Notices on orders that live on."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What an asset of the venue is by the broker's words.

    Args:
        asset_id: The asset of the venue; `symbol` when left out there.
        symbol: The broker's symbol.
        sec_type: "STK", "FUT", "CASH", "CRYPTO", ...
        currency: What it trades in.
        exchange: Where it trades.
        primary_exchange: Where it is listed.
        expiry: Of a future: YYYYMMDD.
        multiplier: Money per point; empty for 1.
        local_symbol: The exchange's symbol.
        con_id: The broker's number for it; one is given when 0.
    """

    asset_id: str
    symbol: str = ""
    sec_type: str = "STK"
    currency: str = "USD"
    exchange: str = "SMART"
    primary_exchange: str = "NASDAQ"
    expiry: str = ""
    multiplier: str = ""
    local_symbol: str = ""
    con_id: int = 0

    def answers(self, asked: Asking) -> bool:
        """Whether a client's description of a contract fits."""
        if asked.con_id:
            return asked.con_id == self.con_id
        pairs = (
            (asked.symbol, self.symbol),
            (asked.sec_type, self.sec_type),
            (asked.currency, self.currency),
            (asked.local_symbol, self.local_symbol),
            (asked.multiplier, self.multiplier),
            (asked.primary_exchange, self.primary_exchange),
        )
        places = ("", "SMART", self.exchange, self.primary_exchange)
        return (
            all(wanted in ("", found) for wanted, found in pairs)
            and asked.exchange in places
            and self.expiry.startswith(asked.expiry)
        )

    @property
    def fields(self) -> list[Any]:
        """From conId to tradingClass, as messages about positions, orders and fills have them."""
        return [
            self.con_id, self.symbol, self.sec_type, self.expiry, 0.0, "", self.multiplier,
            self.exchange, self.currency, self.local_symbol, self.symbol,
        ]  # fmt: skip


class Asking(msgspec.Struct, frozen=True):
    """A contract as a client describes it: the twelve fields of the protocol."""

    con_id: int
    symbol: str
    sec_type: str
    expiry: str
    strike: float
    right: str
    multiplier: str
    exchange: str
    primary_exchange: str
    currency: str
    local_symbol: str
    trading_class: str

    @classmethod
    def of(cls, fields: Sequence[str]) -> Asking:
        """Read twelve fields."""
        names = cls.__struct_fields__
        words: dict[str, Any] = dict(zip(names, fields, strict=True))
        numbers = {"con_id": int(fields[0] or 0), "strike": float(fields[4] or 0)}
        return cls(**(words | numbers))


def listings_of(
    symbols: Iterable[str], given: Iterable[Listing], crypto: Iterable[str]
) -> list[Listing]:
    """The contracts of a venue: those given, and the others as shares or coins."""
    known = {one.asset_id: one for one in given}
    coins = set(crypto)
    found = []
    for number, symbol in enumerate(symbols):
        usual = Listing(asset_id=symbol)
        if symbol in coins:
            usual = Listing(asset_id=symbol, sec_type="CRYPTO", exchange="PAXOS",
                            primary_exchange="PAXOS")  # fmt: skip
        one = known.get(symbol, usual)
        found.append(
            msgspec.structs.replace(
                one,
                symbol=one.symbol or symbol,
                local_symbol=one.local_symbol or one.symbol or symbol,
                con_id=one.con_id or FIRST_CONTRACT + number,
            )
        )
    return found


class Wanted(msgspec.Struct, kw_only=True):
    """An order as a client sends it."""

    action: str
    quantity: float
    type: str
    limit: float | None
    aux: float | None
    tif: str
    oca_group: str
    account: str
    ref: str
    transmit: bool
    parent_id: int
    outside_hours: bool
    good_till: str
    oca_type: int
    trail_stop: float | None
    trail_percent: float | None
    limit_offset: float | None


_ORDER = (
    *("_", "order_id", *(f"contract_{i}" for i in range(12)), "sec_id_type", "sec_id"),
    *("action", "quantity", "type", "limit", "aux", "tif", "oca_group", "account", "open_close"),
    *("origin", "ref", "transmit", "parent_id", "block", "sweep", "display", "trigger"),
    *("outside_hours", "hidden", "shares", "discretionary", "good_after", "good_till"),
    *("fa_group", "fa_method", "fa_percentage", "model", "short_slot", "location", "exempt"),
    *("oca_type", "rule80a", "firm", "all_or_none", "min_qty", "percent_offset", "e_trade"),
    *("firm_quote", "nbbo_cap", "auction", "starting", "stock_ref", "delta", "lower", "upper"),
    *("override", "volatility", "volatility_type", "delta_neutral", "delta_neutral_aux"),
    *("continuous", "reference", "trail_stop", "trail_percent", "scale_init", "scale_subs"),
    *("scale_increment", "scale_table", "active_start", "active_stop", "hedge", "opt_out"),
    *("clearing_account", "clearing_intent", "not_held", "dnc", "algo", "algo_id", "what_if"),
    *("misc", "solicited", "random_size", "random_price", "conditions", "adjusted_type"),
    *("trigger_price", "limit_offset"),
)
_OUT_OF_REACH = ("delta_neutral", "scale_increment", "hedge", "algo", "sec_id", "good_after")


def read_order(fields: Sequence[str]) -> tuple[int, Asking, Wanted]:
    """An order's number, what it is of, and what it asks.

    Raises:
        RefusedError: It asks for what the rehearsal does not have.
    """
    asking = Asking.of(fields[2:14])
    if asking.sec_type == "BAG":
        raise RefusedError("unprocessable", "the rehearsal has no combinations")
    place = _ORDER.index("delta_neutral")
    if fields[place] == "None":  # as TWS itself writes it, and clients send it back
        fields = [*fields[:place], "", fields[place + 1], *fields[place + 10 :]]
    found = dict(zip(_ORDER, fields, strict=False))
    has_more = [name for name in _OUT_OF_REACH if found[name]]
    has_more += [name for name in ("dnc", "conditions", "what_if") if found[name] not in ("", "0")]
    if has_more:
        raise RefusedError("unprocessable", f"the rehearsal has no orders with {has_more[0]}")
    wanted = Wanted(
        action=found["action"],
        quantity=float(found["quantity"] or 0),
        type=found["type"],
        limit=_price(found["limit"]),
        aux=_price(found["aux"]),
        tif=found["tif"],
        oca_group=found["oca_group"],
        account=found["account"],
        ref=found["ref"],
        transmit=found["transmit"] != "0",
        parent_id=int(found["parent_id"] or 0),
        outside_hours=found["outside_hours"] == "1",
        good_till=found["good_till"],
        oca_type=int(found["oca_type"] or 0),
        trail_stop=_price(found["trail_stop"]),
        trail_percent=_price(found["trail_percent"]),
        limit_offset=_price(found["limit_offset"]),
    )
    return int(found["order_id"]), asking, wanted


def _price(text: str) -> float | None:
    return float(text) if text else None


def frame(fields: Iterable[Any]) -> bytes:
    """A message as it goes over the line."""
    body = "".join(f"{_text(field)}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


def _text(field: Any) -> str:
    if field is None:
        return ""
    if isinstance(field, bool):
        return "1" if field else "0"
    return repr(field) if isinstance(field, float) else str(field)


async def read_frame(reader: asyncio.StreamReader) -> list[str]:
    """The next message of a client.

    Raises:
        asyncio.IncompleteReadError: It has gone.
        ValueError: What comes is no message.
    """
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if length > _LONGEST:
        raise ValueError(f"a frame of {length} bytes")
    return (await reader.readexactly(length)).decode().split("\0")[:-1]


def stamp(at: datetime) -> str:
    """A time in UTC, to the second."""
    return f"{at:%Y%m%d %H:%M:%S} UTC"


def blanks(count: int) -> Iterator[str]:
    """Fields that are not set."""
    return iter([""] * count)
