"""Options that more than one adapter takes."""

from __future__ import annotations

from typing import Any

from ml4t.backtest.errors import ConfigError


def positive(name: str, value: Any, what: str = "number") -> float:
    """A number above zero that is not infinite.

    Args:
        name: Of the option.
        value: What was given.
        what: What it should be, for the error: a number, or a number of seconds.

    Raises:
        ConfigError: It is none.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0.0 < value < float("inf"):
        raise ConfigError(f"{name} must be a positive {what}, not {value!r}.")
    return float(value)
