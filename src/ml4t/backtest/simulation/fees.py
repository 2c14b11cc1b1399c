"""Taxes and fees that only one side of the market pays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.checks import fraction, not_negative, one_of, optional
from ml4t.backtest.simulation.commission import ColumnCommission, smaller
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from typing import Literal


class SideFee(ColumnCommission):
    """A tax or fee on purchases only, or on sales only.

    Short sales are sales. Several are added: `SideFee("buy", rate=0.005) + SideFee("sell", ...)`.

    Args:
        side: "buy" or "sell".
        rate: Fraction of what is traded: 0.005 is half a percent.
        per_share: Money per unit.
        maximum: Most money for one order, all its parts together.

    Raises:
        ConfigError: Another side, a negative number, `rate` above 1, or a fee of nothing.

    Formula:
        min(rate * quantity * price * multiplier + per_share * quantity, maximum)

    Example:
        British stamp duty on shares, half a percent of purchases (Finance Act 1986, section 87;
        Finance Act 1999, schedule 13):

        >>> duty = SideFee("buy", rate=0.005)
        >>> duty.charge(1.0, 100, 20.0, 1.0), duty.charge(-1.0, 100, 20.0, 1.0)
        (10.0, 0.0)
    """

    rate: float = 0.0
    per_share: float = 0.0

    def __init__(
        self,
        side: Literal["buy", "sell"],
        *,
        rate: float = 0.0,
        per_share: float = 0.0,
        maximum: float | None = None,
    ) -> None:
        self.side = str(
            one_of("SideFee", "side", side, (OrderSide.BUY.value, OrderSide.SELL.value))
        )
        self.rate = fraction("SideFee", "rate", rate)
        self.per_share = not_negative("SideFee", "per_share", per_share)
        self.maximum = optional("SideFee", "maximum", maximum)
        if self.rate == 0.0 and self.per_share == 0.0:
            raise ConfigError(
                "SideFee: give rate or per_share; both are zero, so nothing is charged."
            )

    @property
    def charged_per(self) -> str:
        """A fee with a most is worked out for the order as a whole."""
        return "fill" if self.maximum is None else "order"

    def charge(self, sign: Any, quantity: Any, price: Any, multiplier: Any) -> Any:
        """The fee on its side of the market; nothing on the other."""
        money = self.rate * quantity * price * multiplier + self.per_share * quantity
        if self.maximum is not None:
            money = smaller(money, self.maximum)
        charged = sign > 0.0 if self.side == OrderSide.BUY.value else sign < 0.0
        if isinstance(money, np.ndarray):
            return np.where(charged, money, 0.0)
        return money if charged else 0.0
