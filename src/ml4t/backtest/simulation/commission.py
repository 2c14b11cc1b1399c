"""What a broker charges for a fill."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order


class Commission(Protocol):
    """Anything that can be called like this is a commission; a plain function will do.

    Args:
        order: The order as asked.
        quantity: Units filled, positive.
        price: Price per unit, slippage included.
        timestamp: The time of the bar.
        instrument: What was traded.

    Returns:
        Money, in the account's currency.
    """

    def __call__(  # noqa: D102
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> float: ...


class ColumnCommission:
    """A commission that needs quantity, price and multiplier only, so also works on columns."""

    def __call__(
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> float:
        """Money charged for one fill."""
        del order, timestamp
        return self.charge(quantity, price, instrument.multiplier)

    @overload
    def charge(self, quantity: float, price: float, multiplier: float) -> float: ...
    @overload
    def charge(self, quantity: np.ndarray, price: np.ndarray, multiplier: np.ndarray) -> Any: ...
    def charge(self, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Money for fills of `quantity` (positive) at `price`, as floats or as columns."""
        raise NotImplementedError

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"


def column_form(commission: Commission) -> Any:
    """The commission's `charge` where calling the commission would give the same, else None."""
    if (
        isinstance(commission, ColumnCommission)
        and type(commission).__call__ is ColumnCommission.__call__
    ):
        return commission.charge
    return None


class NoCommission(ColumnCommission):
    """Nothing is charged."""

    def charge(self, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Zero money."""
        del price, multiplier
        return quantity * 0.0


class PercentCommission(ColumnCommission):
    """A fraction of the traded notional.

    Args:
        rate: Fraction of notional, each side: 0.001 is ten basis points.

    Formula:
        rate * quantity * price * multiplier
    """

    def __init__(self, rate: float) -> None:
        self.rate = _not_negative("PercentCommission", "rate", rate)
        if rate > 1:
            raise ConfigError(
                f"PercentCommission(rate={rate}) would charge more than the trade is worth; "
                "rate is a fraction, 0.001 is ten basis points."
            )

    def charge(self, quantity: Any, price: Any, multiplier: Any) -> Any:
        """A fraction of notional."""
        return self.rate * quantity * price * multiplier


class PerShareCommission(ColumnCommission):
    """Money per unit, with a minimum per fill.

    Args:
        per_share: Money per unit.
        minimum: Least money charged for a fill.

    Formula:
        max(minimum, per_share * quantity)
    """

    def __init__(self, per_share: float, minimum: float = 0.0) -> None:
        self.per_share = _not_negative("PerShareCommission", "per_share", per_share)
        self.minimum = _not_negative("PerShareCommission", "minimum", minimum)

    def charge(self, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Money per unit, at least the minimum; nothing for no units."""
        del price, multiplier
        money = self.per_share * quantity
        if isinstance(money, float | int):
            return max(self.minimum, money) if quantity else 0.0
        return np.where(quantity > 0.0, np.maximum(self.minimum, money), 0.0)


def _not_negative(owner: str, name: str, value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{owner}: {name} must be zero or positive and finite, not {value!r}.")
    return float(value)
