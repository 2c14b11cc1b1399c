"""How much of an order a bar can take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from ml4t.backtest.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import ExecutionBar
    from ml4t.backtest.types.order import Order


class Liquidity(Protocol):
    """Anything that can be called like this is a liquidity; a plain function will do.

    Args:
        order: The order as asked.
        bar: The bar it would fill in.

    Returns:
        Units that all orders of this asset together can trade in this bar, at least 0. What does
        not fit stays open, or ends by its time in force.
    """

    def __call__(self, order: Order, bar: ExecutionBar, /) -> float: ...  # noqa: D102


class UnlimitedLiquidity:
    """Any size fills in any bar, whatever its volume."""

    def __call__(self, order: Order, bar: ExecutionBar, /) -> float:
        """No limit."""
        del order, bar
        return math.inf

    def __repr__(self) -> str:
        return "UnlimitedLiquidity()"


class VolumeParticipation:
    """At most a share of a bar's volume; nothing in a bar without any.

    Args:
        share: Fraction of the bar's volume, above 0 and at most 1: 0.1 is ten percent.

    Formula:
        units = share * volume
    """

    def __init__(self, share: float) -> None:
        given: object = share
        if not isinstance(given, int | float) or not 0.0 < given <= 1.0:
            raise ConfigError(
                f"VolumeParticipation(share={share!r}): share is a fraction of the bar's volume, "
                "above 0 and at most 1."
            )
        self.share = float(share)

    def __call__(self, order: Order, bar: ExecutionBar, /) -> float:
        """A share of the bar's volume."""
        if math.isnan(bar.volume):
            raise DataError(
                f"VolumeParticipation needs volumes, but {order.asset_id!r} has none at "
                f"{bar.timestamp}. Bring a volume column, or leave liquidity= out."
            )
        return self.share * bar.volume

    def __repr__(self) -> str:
        return f"VolumeParticipation(share={self.share!r})"
