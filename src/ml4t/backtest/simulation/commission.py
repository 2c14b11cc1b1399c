"""What a broker charges for a fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.checks import (
    fraction,
    not_negative,
    one_of,
    optional,
    optional_fraction,
)
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order

Per = Literal["order", "session"]
_PER = ("order", "session")


class Commission(Protocol):
    """Anything that can be called like this is a commission; a plain function will do.

    It is asked what a fill *would* cost, often many times before one happens, so a call must not
    change anything. A commission that needs more may also have

    - `charged_per`: "fill" unless said otherwise. With "order" or "session" a call is the price of
      all that was filled of an order, in its life or in a session, and a further part of it costs
      the difference; so a minimum is paid once. With "leg", the closing and the opening part of
      a fill that turns a position around are two calls.
    - `start()`: a run begins. State is reset here, so that a second run equals the first.
    - `on_fill(order, quantity, price, timestamp, instrument)`: a fill happened. State is kept here.

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


class AddableCommission:
    """A commission that can be added to another one: `a + b` charges both."""

    def __add__(self, other: Any) -> SumCommission:
        return SumCommission(self, other) if callable(other) else NotImplemented

    def __radd__(self, other: Any) -> SumCommission:
        return SumCommission(other, self) if callable(other) else NotImplemented

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if name[0] != "_" and value is not None and value != getattr(type(self), name, None)
        )
        return f"{type(self).__name__}({given})"


class ColumnCommission(AddableCommission):
    """A commission of side, quantity, price and multiplier only, so it also works on columns."""

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
        del timestamp
        sign = 1.0 if OrderSide(order.side) is OrderSide.BUY else -1.0
        return self.charge(sign, quantity, price, instrument.multiplier)

    @overload
    def charge(self, sign: float, quantity: float, price: float, multiplier: float) -> float: ...
    @overload
    def charge(
        self, sign: np.ndarray, quantity: np.ndarray, price: np.ndarray, multiplier: np.ndarray
    ) -> Any: ...
    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Money for fills of `quantity` (positive) at `price`, as floats or as columns.

        `sign` is 1 for buys and -1 for sales.
        """
        raise NotImplementedError


def column_form(commission: Any) -> Any:
    """The commission's `charge` where calling the commission would give the same, else None."""
    if type(commission) is SumCommission:
        forms = [column_form(part) for part in commission.parts]
        return _column_sum(forms) if all(forms) else None
    if (
        isinstance(commission, ColumnCommission)
        and type(commission).__call__ is ColumnCommission.__call__
        and not hasattr(commission, "on_fill")
    ):
        return commission.charge
    return None


def _column_sum(forms: list[Callable[..., Any]]) -> Callable[..., Any]:
    def charge(sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        money = 0.0
        for form in forms:
            money = money + form(sign, quantity, price, multiplier)
        return money

    return charge


class SumCommission(AddableCommission):
    """Several commissions on every fill; written `a + b`.

    Args:
        parts: Commissions; a plain function is one. Sums among them are taken apart.

    Example:
        >>> PercentCommission(0.0005) + PerOrderCommission(2.0)
        PercentCommission(rate=0.0005) + PerOrderCommission(amount=2.0)
    """

    def __init__(self, *parts: Any) -> None:
        self.parts: tuple[Any, ...] = tuple(p for part in parts for p in parts_of(part))

    def __call__(
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> float:
        """Money charged for one fill that is its whole order."""
        money = 0.0
        for part in self.parts:
            money += part(order, quantity, price, timestamp, instrument)
        return money

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def parts_of(commission: Any) -> tuple[Any, ...]:
    """The commissions that are charged one by one."""
    return commission.parts if type(commission) is SumCommission else (commission,)


class NoCommission(ColumnCommission):
    """Nothing is charged."""

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Zero money."""
        del sign, price, multiplier
        return quantity * 0.0


class PercentCommission(ColumnCommission):
    """A fraction of the traded notional.

    Args:
        rate: Fraction of notional, each side: 0.001 is ten basis points.

    Raises:
        ConfigError: `rate` is negative or above 1.

    Formula:
        rate * quantity * price * multiplier

    Example:
        >>> PercentCommission(0.001).charge(1.0, 100, 50.0, 1.0)
        5.0
    """

    def __init__(self, rate: float) -> None:
        self.rate = fraction("PercentCommission", "rate", rate)

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """A fraction of notional."""
        del sign
        return self.rate * quantity * price * multiplier


class PerShareCommission(ColumnCommission):
    """Money per unit, with a least and a most.

    Where the least is more than the most, the most is charged, as brokers do it.

    Args:
        per_share: Money per unit.
        minimum: Least money charged for an order.
        maximum: Most money charged for an order.
        maximum_rate: Most charged for an order as a fraction of what is traded: 0.01 is 1 %.
        per: What the least and the most are for when an order fills in parts: the whole "order",
            or its parts of one "session", so that an order which lives on counts as a new one.

    Raises:
        ConfigError: A negative number, `maximum_rate` above 1, or another word for `per`.

    Formula:
        min(max(minimum, per_share * quantity), maximum, maximum_rate * notional)

    Example:
        >>> fixed = PerShareCommission(0.005, minimum=1.0, maximum_rate=0.01)
        >>> [fixed.charge(1.0, units, price, 1.0) for units, price in
        ...     [(100, 25.0), (1_000, 25.0), (1_000, 0.25)]]
        [1.0, 5.0, 2.5]
    """

    minimum: float = 0.0
    per: str = "order"

    def __init__(
        self,
        per_share: float,
        minimum: float = 0.0,
        *,
        maximum: float | None = None,
        maximum_rate: float | None = None,
        per: Per = "order",
    ) -> None:
        owner = "PerShareCommission"
        self.per_share = not_negative(owner, "per_share", per_share)
        self.minimum = not_negative(owner, "minimum", minimum)
        self.maximum = optional(owner, "maximum", maximum)
        self.maximum_rate = optional_fraction(owner, "maximum_rate", maximum_rate)
        if self.maximum is not None and self.maximum < self.minimum:
            raise ConfigError(
                f"PerShareCommission: minimum {self.minimum:g} is more than maximum "
                f"{self.maximum:g}; swap them."
            )
        self.per = one_of(owner, "per", per, _PER)

    @property
    def charged_per(self) -> str:
        """Bounds are for the order, or for its session."""
        return self.per

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """Money per unit within its bounds; nothing for no units."""
        del sign
        money = larger(self.per_share * quantity, self.minimum)
        if self.maximum is not None:
            money = smaller(money, self.maximum)
        if self.maximum_rate is not None:
            money = smaller(money, self.maximum_rate * (quantity * price * multiplier))
        return where_any(quantity, money)


class PerOrderCommission(ColumnCommission):
    """The same money for every order, however large, and once when it fills in parts.

    Args:
        amount: Money per order.
        per: "order" charges it once in the order's life, "session" again in each session in which
            a part of it fills.

    Raises:
        ConfigError: `amount` is negative, or another word for `per`.

    Example:
        >>> PerOrderCommission(4.95).charge(1.0, 100, 50.0, 1.0)
        4.95
    """

    per: str = "order"

    def __init__(self, amount: float, *, per: Per = "order") -> None:
        self.amount = not_negative("PerOrderCommission", "amount", amount)
        self.per = one_of("PerOrderCommission", "per", per, _PER)

    @property
    def charged_per(self) -> str:
        """The amount is for the order, or for its session."""
        return self.per

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """The amount; nothing for no units."""
        del sign, price, multiplier
        return where_any(quantity, self.amount)


def larger(one: Any, other: Any) -> Any:
    """The larger of two, as floats or as columns."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.maximum(one, other)
    return max(one, other)


def smaller(one: Any, other: Any) -> Any:
    """The smaller of two, as floats or as columns."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.minimum(one, other)
    return min(one, other)


def where_any(quantity: Any, money: Any) -> Any:
    """The money where something was traded, zero elsewhere; as floats or as columns."""
    if isinstance(quantity, np.ndarray):
        return np.where(quantity > 0.0, money, 0.0)
    return money if quantity > 0.0 else 0.0
