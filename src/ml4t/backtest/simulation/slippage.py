"""How much worse than the reference price a fill is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import ExecutionBar
    from ml4t.backtest.types.order import Order


class Slippage(Protocol):
    """Anything that can be called like this is a slippage; a plain function will do.

    Args:
        order: The order as asked.
        bar: The bar it fills in; `bar.reference` is the price before slippage.
        quantity: Units to fill, positive.

    Returns:
        Price per unit. A limit order never pays more, or gets less, than its limit.
    """

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float: ...  # noqa: D102


class ColumnSlippage:
    """A slippage that needs side and reference price only, so also works on columns."""

    def __call__(self, order: Order, bar: ExecutionBar, quantity: float, /) -> float:
        """The price of one fill."""
        del quantity
        sign = 1.0 if OrderSide(order.side) is OrderSide.BUY else -1.0
        return float(self.price(sign, bar.reference))

    def price(self, sign: Any, reference: Any) -> Any:
        """Prices for fills on side `sign` (1 buys, -1 sells), as floats or as columns."""
        raise NotImplementedError

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"


def column_form(slippage: Slippage) -> Any:
    """The slippage's `price` where calling the slippage would give the same, else None."""
    if isinstance(slippage, ColumnSlippage) and type(slippage).__call__ is ColumnSlippage.__call__:
        return slippage.price
    return None


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

    Formula:
        reference * (1 + sign * bps / 10000)    sign is 1 for buys, -1 for sells
    """

    def __init__(self, bps: float) -> None:
        if not math.isfinite(bps) or not 0 <= bps < 10_000:  # noqa: PLR2004
            raise ConfigError(f"BasisPointSlippage: bps must be 0 to 10,000, not {bps!r}.")
        self.bps = float(bps)

    def price(self, sign: Any, reference: Any) -> Any:
        """The reference price moved against the order."""
        return reference * (1.0 + sign * (self.bps / 10_000.0))
