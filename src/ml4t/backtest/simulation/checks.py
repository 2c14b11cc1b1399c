"""What the numbers of a cost may be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ml4t.backtest.errors import ConfigError


def not_negative(owner: str, name: str, value: Any) -> float:
    """The value as a float.

    Raises:
        ConfigError: It is no number, negative or not finite.
    """
    if not is_number(value) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{owner}: {name} must be zero or positive and finite, not {value!r}.")
    return float(value)


def optional(owner: str, name: str, value: Any) -> float | None:
    """As `not_negative`; None stays None."""
    return None if value is None else not_negative(owner, name, value)


def fraction(owner: str, name: str, value: Any) -> float:
    """As `not_negative`, and at most 1.

    Raises:
        ConfigError: It is more than the whole, or `not_negative` refuses it.
    """
    number = not_negative(owner, name, value)
    if number > 1:
        raise ConfigError(
            f"{owner}: {name} is a fraction, 0.001 is ten basis points; {value!r} would be more "
            "than the trade is worth."
        )
    return number


def optional_fraction(owner: str, name: str, value: Any) -> float | None:
    """As `fraction`; None stays None."""
    return None if value is None else fraction(owner, name, value)


def one_of(owner: str, name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """The word itself.

    Raises:
        ConfigError: It is none of those allowed.
    """
    if value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise ConfigError(f"{owner}: {name} must be one of {words}, not {value!r}.")
    return value


def is_number(value: Any) -> bool:
    """Whether it is a plain or NumPy number; True and False are none."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
