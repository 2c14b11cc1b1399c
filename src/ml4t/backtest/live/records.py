"""What a journal holds beside bars, and what each entry does to a book that is made again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.live.blocks import BarsRecord
from ml4t.backtest.live.words import Answer, Change, Request, VenueEvent
from ml4t.backtest.types.order import Order

if TYPE_CHECKING:
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.journal import Entry

_SKEW = 60_000_000  # by which clocks may differ: what was executed before is nobody's of ours
# By kind of entry: what it is, and whether its time matters.
_NOTES: dict[str, tuple[Any, bool]] = {
    "event": (VenueEvent, False),
    "request": (tuple[int, Request], True),
    "answer": (tuple[str, str, Answer], True),
    "cancel": (str, True),
    "change": (Change, True),
    "lapse": (str, False),
    "cut": (tuple[int, float], False),
    "given_up": (tuple[int, str], False),
    "adoption": (tuple[str, float, float], True),
    "fee": (tuple[str, float, float], True),
    "cash": (tuple[str, float], False),
    "clearance": (str, False),
}


# Entries that do nothing to a book.
_OTHERS: dict[str, Any] = {"bars": BarsRecord, "note": str, "halt": str, "session": dict[str, str]}


KINDS = ("opening", "session", "bars", "asked", "decisions", "state", "halt", "note", *_NOTES)


class Opening(msgspec.Struct, frozen=True):
    """How a journal begins.

    Args:
        run_name: What the names of its orders begin with.
        account: The broker's name for the account.
        cash: Money in the account.
        positions: Units that it holds, by `asset_id`.
        prices: What a unit of each is worth.
        version: Of the library.
    """

    run_name: str
    account: str
    cash: float
    positions: dict[str, float]
    prices: dict[str, float]
    version: str


def content_of(entry: Entry) -> Any:
    """What an entry holds, in the types it was written in."""
    if entry.kind == "opening":
        return msgspec.msgpack.decode(entry.content, type=Opening)
    kind = _NOTES[entry.kind][0] if entry.kind in _NOTES else _OTHERS.get(entry.kind, Any)
    return msgspec.msgpack.decode(entry.content, type=kind)


def apply_entry(entry: Entry, broker: LiveBroker) -> None:
    """What happened between two steps, once more."""
    if entry.kind == "opening":
        broker.tender.search.begin_searches_at(entry.at - _SKEW)
    if entry.kind not in _NOTES:
        return
    kind, is_dated = _NOTES[entry.kind]
    content = msgspec.msgpack.decode(entry.content, type=kind)
    if entry.kind == "event":
        broker.apply(content)
        return
    values = content if isinstance(content, tuple) else (content,)
    getattr(broker.notes, entry.kind)(*values, *([entry.at] if is_dated else []))


def packed(content: Any) -> bytes:
    """What a user's code has given, for a journal: arrays and their numbers are plain."""
    return msgspec.msgpack.encode(content, enc_hook=as_plain)


def as_plain(value: Any) -> Any:
    """What msgspec does not know: NumPy's numbers and arrays, and what is like a dict."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping) or hasattr(value, "items"):  # a pandas Series is one, too
        return dict(value.items())
    raise NotImplementedError(f"{type(value).__name__} cannot be kept in a journal")


def order_of(entry: dict[str, Any]) -> Order:
    """An order as a journal holds it."""
    expires = entry.pop("expires_at", None)
    if isinstance(expires, str):
        is_date = len(expires) == len("2024-01-31")
        kind = dt.date if is_date else dt.datetime
        expires = kind.fromisoformat(expires)
    return Order(**entry, expires_at=expires)
