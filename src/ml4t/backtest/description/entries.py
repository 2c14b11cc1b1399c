"""The entries of a description as plain tables: copied, made absolute, set one by one."""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATHS = {
    "data": ("path",),
    "context": ("path",),
    "actions": ("path",),
    "strategy": ("file",),
    "broker": ("intrabar_feed",),
    "output": ("save", "report"),
}


def copied(entries: Any) -> Any:
    """Tables and lists anew, so that the original stays as it is."""
    if isinstance(entries, dict):
        return {name: copied(value) for name, value in entries.items()}
    return [copied(value) for value in entries] if isinstance(entries, list) else entries


def settled(entries: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The entries with absolute paths, and with dates as text where text is asked for."""
    found: dict[str, Any] = {}
    for name, given in copied(dict(entries)).items():
        kept = given.get("parameters") if name == "strategy" and isinstance(given, dict) else None
        table = _with_text(given)
        if kept is not None:  # these are the user's own, and may be dates
            table["parameters"] = kept
        if isinstance(table, dict):
            inner = [t for t in table.values() if isinstance(t, dict)] if name == "signals" else []
            for one in (table, *inner):
                for field in _PATHS.get(name, ("path",) if name == "signals" else ()):
                    if field in one:
                        one[field] = _absolute(one[field], base)
        found[name] = table
    return found


def _with_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_text(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(one, base) for one in value]
    return str(base / Path(value).expanduser()) if isinstance(value, str) and value else value


def value_of(text: str) -> Any:
    """A value as TOML has it, else the text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def put(entries: dict[str, Any], steps: list[str], value: Any, item: str) -> None:
    """Set one field.

    Args:
        entries: The tables, changed in place.
        steps: The way to the field.
        value: Of the field.
        item: What the user wrote, for the error text.

    Raises:
        ConfigError: A step leads through what is no table.
    """
    table = entries
    for step in steps[:-1]:
        inner = table.setdefault(step, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {item}: {step} is not a table here but {inner!r}; it has no fields to set."
            )
        table = inner
    table[steps[-1]] = value
