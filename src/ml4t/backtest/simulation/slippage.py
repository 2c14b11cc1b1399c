"""How much worse than the reference price a fill is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.simulation.checks import is_number, not_negative, optional_fraction
from ml4t.backtest.types.order import OrderSide, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.types.bars import ExecutionBar
    from ml4t.backtest.types.order import Order

_BPS = 10_000.0


class Slippage(Protocol):
    """Anything that can be called like this is a slippage; a plain function will do.

    It is asked what a fill *would* cost, often many times before one happens, so a call must not
    change anything. One that keeps state may have a method `start()`, called when a run begins.

    Args:
        order: The order as asked.
        bar: The bar it fills in; `bar.reference` is the price before slippage.
        quantity: Units to fill, positive.

    Returns:
        Price per unit. A limit order never pays more, or gets less, than its limit.
    """

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float: ...  # noqa: D102


class AddableSlippage:
    """A slippage that can be added to another one: `a + b` is as far from the reference as both."""

    def __add__(self, other: Any) -> SumSlippage:
        return SumSlippage(self, other) if callable(other) else NotImplemented

    def __radd__(self, other: Any) -> SumSlippage:
        return SumSlippage(other, self) if callable(other) else NotImplemented

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if v is not None)
        return f"{type(self).__name__}({given})"


class ColumnSlippage(AddableSlippage):
    """A slippage that needs side and reference price only, so also works on columns."""

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        del quantity
        return float(self.price(sign_of(order), bar.reference))

    def price(self, sign: Any, reference: Any) -> Any:
        """Prices for fills on side `sign` (1 buys, -1 sells), as floats or as columns."""
        raise NotImplementedError


class BarSlippage(AddableSlippage):
    """A slippage that is worked out from the bar an order fills in.

    Args:
        fallback: What is lost, as a fraction of the price, on a bar that does not say what the
            formula needs. Without one, such a bar is an error.

    Raises:
        DataError: A bar does not say what is needed, and there is no fallback.
    """

    def __init__(self, fallback: float | None) -> None:
        self.fallback = optional_fraction(type(self).__name__, "fallback", fallback)

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        lacking = self.lacks(bar)
        if not lacking:
            distance = self.distance(bar, quantity)
        elif self.fallback is not None:
            distance = self.fallback * bar.reference
        else:
            raise DataError(
                f"{self!r} cannot price {order.side} {quantity:g} {bar.asset_id!r} at "
                f"{bar.timestamp}: {lacking}. Complete the data, or say with fallback= what "
                "fraction of the price to take off there."
            )
        return bar.reference + sign_of(order) * distance

    def lacks(self, bar: ExecutionBar) -> str:
        """What the bar does not say, as a part of a sentence; empty when it says everything."""
        raise NotImplementedError

    def distance(self, bar: ExecutionBar, quantity: float) -> float:
        """Money per unit that a fill of `quantity` is worse than the reference price."""
        raise NotImplementedError


def sign_of(order: Order) -> float:
    """1 for a buy, -1 for a sale."""
    return 1.0 if OrderSide(order.side) is OrderSide.BUY else -1.0


def column_form(slippage: Any) -> Any:
    """The slippage's `price` where calling the slippage would give the same, else None."""
    if type(slippage) is SumSlippage:
        forms = [column_form(part) for part in slippage.parts]
        return _column_sum(forms) if all(forms) else None
    if isinstance(slippage, ColumnSlippage) and type(slippage).__call__ is ColumnSlippage.__call__:
        return slippage.price
    return None


def _column_sum(forms: list[Callable[..., Any]]) -> Callable[..., Any]:
    def price(sign: Any, reference: Any) -> Any:
        total = reference
        for form in forms:
            total = total + (form(sign, reference) - reference)
        return total

    return price


class SumSlippage(AddableSlippage):
    """Several slippages at once, each measured from the reference price; written `a + b`.

    Args:
        parts: Slippages; a plain function is one. Sums among them are taken apart.

    Formula:
        reference + Σ (price_i - reference)

    Example:
        >>> FixedSlippage(0.01) + BasisPointSlippage(2)
        FixedSlippage(amount=0.01) + BasisPointSlippage(bps=2.0)
    """

    def __init__(self, *parts: Any) -> None:
        self.parts: tuple[Any, ...] = tuple(p for part in parts for p in parts_of(part))

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        reference = total = bar.reference
        for part in self.parts:
            total = total + (part(order, bar, quantity) - reference)
        return total

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


def parts_of(slippage: Any) -> tuple[Any, ...]:
    """The slippages that are worked out one by one."""
    return slippage.parts if type(slippage) is SumSlippage else (slippage,)


class NoSlippage(ColumnSlippage):
    """Every fill gets the reference price."""

    def price(self, sign: Any, reference: Any) -> Any:
        """The reference price."""
        del sign
        return reference


class BasisPointSlippage(ColumnSlippage):
    """A fixed fraction of the price, against the order.

    Args:
        bps: Basis points; 5 is 0.05 percent.

    Raises:
        ConfigError: `bps` is negative, or the whole price.

    Formula:
        reference * (1 + sign * bps / 10000)    sign is 1 for buys, -1 for sells

    Example:
        >>> BasisPointSlippage(10).price(-1.0, 50.0)
        49.95
    """

    def __init__(self, bps: float) -> None:
        if not is_number(bps) or not 0 <= bps < _BPS:
            raise ConfigError(f"BasisPointSlippage: bps must be 0 to 10,000, not {bps!r}.")
        self.bps = float(bps)

    def price(self, sign: Any, reference: Any) -> Any:
        """The reference price moved against the order."""
        return reference * (1.0 + sign * (self.bps / _BPS))


class FixedSlippage(ColumnSlippage):
    """The same money per unit on every fill, against the order.

    Meant for prices of one size, such as one future counted in ticks: a cent is nothing on a share
    of 500 and everything on a share of 0.05, where a sale that would get nothing ends the run.

    Args:
        amount: Money per unit.

    Raises:
        ConfigError: `amount` is negative.

    Formula:
        reference + sign * amount    sign is 1 for buys, -1 for sells

    Example:
        >>> FixedSlippage(0.25).price(1.0, 50.0)
        50.25
    """

    def __init__(self, amount: float) -> None:
        self.amount = not_negative("FixedSlippage", "amount", amount)

    def price(self, sign: Any, reference: Any) -> Any:
        """The reference price moved against the order."""
        return reference + sign * self.amount


class WrappedSlippage(AddableSlippage):
    """A slippage made from another one.

    Args:
        slippage: Any slippage.

    Raises:
        ConfigError: It cannot be called, or is a class.
    """

    def __init__(self, slippage: Any) -> None:
        if isinstance(slippage, type) or not callable(slippage):
            owner = type(self).__name__
            raise ConfigError(
                f"{owner} takes a slippage object such as NoSlippage(), not {slippage!r}."
            )
        self.slippage: Slippage = slippage

    def start(self) -> None:
        """A run begins, for what is inside as well."""
        for part in parts_of(self.slippage):
            begin = getattr(part, "start", None)
            if callable(begin):
                begin()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.slippage!r})"


class WithinBar(WrappedSlippage):
    """Another slippage, as far as the bar goes: no fill above its high or below its low.

    Args:
        slippage: Any slippage.

    Formula:
        min(max(price, low), high)

    Example:
        >>> WithinBar(BasisPointSlippage(10))
        WithinBar(BasisPointSlippage(bps=10.0))
    """

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        return min(max(float(self.slippage(order, bar, quantity)), bar.low), bar.high)


class MarketOnly(WrappedSlippage):
    """Another slippage, on market orders; stops and limits fill at their levels.

    For a stop this is kind: when the price gets there, others want out as well.

    Args:
        slippage: Any slippage.

    Example:
        >>> MarketOnly(FixedSlippage(0.05))
        MarketOnly(FixedSlippage(amount=0.05))
    """

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        is_market = order.type == OrderType.MARKET
        return float(self.slippage(order, bar, quantity)) if is_market else bar.reference


class OpeningOnly(WrappedSlippage):
    """Another slippage, on what opens a position; what reduces one has none.

    A fill that turns a position around has one price, the average of its two parts.

    Args:
        slippage: Any slippage.

    Formula:
        reference + (price - reference) * units opened / units filled

    Example:
        >>> OpeningOnly(FixedSlippage(0.05))
        OpeningOnly(FixedSlippage(amount=0.05))
    """

    slips = "opening"

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        return bar.reference if order.reduce_only else float(self.slippage(order, bar, quantity))
