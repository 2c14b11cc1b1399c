"""A fill that closes a position and opens the opposite one, charged as two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.commission import AddableCommission

if TYPE_CHECKING:
    from datetime import datetime

    from ml4t.backtest.simulation.commission import Commission
    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order


class EachLeg(AddableCommission):
    """Another commission, charged on the closing and on the opening part of a fill one by one.

    It matters for fills that turn a position around, and for commissions with a minimum or a
    fixed amount, which are then paid twice.

    Args:
        commission: Any commission without a memory of its own.

    Raises:
        ConfigError: It cannot be called, or remembers fills.

    Example:
        >>> from ml4t.backtest import PerShareCommission
        >>> EachLeg(PerShareCommission(0.005, 1.0))
        EachLeg(PerShareCommission(per_share=0.005, minimum=1.0))
    """

    charged_per = "leg"

    def __init__(self, commission: Any) -> None:
        if isinstance(commission, type) or not callable(commission):
            raise ConfigError(
                f"EachLeg takes a commission object such as NoCommission(), not {commission!r}."
            )
        if hasattr(commission, "on_fill"):
            raise ConfigError(f"EachLeg takes a commission without a memory, not {commission!r}.")
        self.commission: Commission = commission

    def __call__(
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> float:
        """Money charged for one leg."""
        return self.commission(order, quantity, price, timestamp, instrument)

    def __repr__(self) -> str:
        return f"EachLeg({self.commission!r})"
