"""Alpaca's words and ours."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.arrivals import BadBar, LiveBar
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Mapping

_UTC = TimeAxis(zone="UTC")
_NANOSECONDS = 1_000  # in a microsecond
_FIELDS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}

# Codes of the data stream, their words, whether trying again is in vain, and what to do.
_REFUSALS: tuple[tuple[int, str, bool, str], ...] = (
    (402, "auth failed", True, "Check the key and the secret, and that they are of this account."),
    (
        406,
        "connection limit exceeded",
        False,
        "Another process has the account's one connection, or a broken one counts for 90 s more.",
    ),
    (
        409,
        "insufficient subscription",
        True,
        "The account's plan does not have this feed: feed='iex' is free.",
    ),
    (405, "symbol limit exceeded", True, "The account's plan allows fewer symbols."),
    (410, "invalid subscribe action", True, "Check the symbols."),
    (400, "invalid syntax", True, "Check the symbols."),
    (
        0,
        "connected message not received",
        False,
        "The server did not greet: another process may have the account's one connection.",
    ),
)


def bar_of(raw: Mapping[str, Any], symbol: str | None = None, *, is_update: bool) -> Any:
    """A bar of the stream or of history: a `LiveBar`, or a `BadBar` when it cannot be read.

    Args:
        raw: As it came.
        symbol: Of what, when the bar does not say.
        is_update: It corrects one that came before.
    """
    asset_id = str(raw.get("S", "?")) if symbol is None else symbol
    missing = [ours for ours, theirs in _FIELDS.items() if raw.get(theirs) is None]
    if missing:
        return BadBar(asset_id, f"{missing[0]} is missing")
    start = _microseconds(raw.get("t"))
    if start is None:
        return BadBar(asset_id, f"{raw.get('t')!r} is no time")
    values = {ours: _number(raw[theirs]) for ours, theirs in _FIELDS.items()}
    return LiveBar(asset_id=asset_id, start=start, is_update=is_update, **values)


def refusal(code: int | None, words: str) -> tuple[str, bool]:
    """What a refusal of the stream means, in a sentence, and whether trying again is in vain.

    Args:
        code: The code, when there was one.
        words: The server's text, or the client's.
    """
    for known, text, is_final, advice in _REFUSALS:
        if code == known or (code is None and text in words.lower()):
            return f"Alpaca refused the stream: {words}. {advice}", is_final
    return f"Alpaca refused the stream: {words}.", False


def reply_words(text: str) -> str:
    """What a refused request says: its message when it is JSON, else the start of its text."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200]


def _microseconds(moment: Any) -> int | None:
    """Of a msgpack Timestamp, a datetime or a text; None when it is none of these."""
    if hasattr(moment, "to_unix_nano"):
        return int(moment.to_unix_nano()) // _NANOSECONDS
    if isinstance(moment, str):
        try:
            moment = dt.datetime.fromisoformat(moment)
        except ValueError:
            return None
    if isinstance(moment, dt.datetime) and moment.tzinfo is not None:
        return _UTC.to_microseconds(moment)
    return None


def _number(value: Any) -> Any:
    """Whole numbers become floats; what is no number is left for the check of bars."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value
