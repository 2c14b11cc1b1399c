"""What is traded, and in which steps."""

from __future__ import annotations

import math

import msgspec

from ml4t.backtest.errors import ConfigError

# A quotient that should be whole may miss it by a few units in the last place; without this
# allowance 100 shares asked for as a value could become 99.
_WHOLE = 1e-11


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable asset.

    Args:
        asset_id: The key used everywhere.
        multiplier: Money per point of price per unit; 1 for shares, 50 for an E-mini future.
        lot_size: Smallest step of a quantity; 1 is whole shares, 0 is fractional.

    Raises:
        ConfigError: A multiplier that is not positive and finite, or a negative lot.
    """

    asset_id: str
    multiplier: float = 1.0
    lot_size: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.multiplier) and self.multiplier > 0):
            raise ConfigError(
                f"Instrument {self.asset_id!r}: multiplier must be positive and finite, "
                f"not {self.multiplier}."
            )
        if not (math.isfinite(self.lot_size) and self.lot_size >= 0):
            raise ConfigError(
                f"Instrument {self.asset_id!r}: lot_size must be zero (fractional) or positive, "
                f"not {self.lot_size}."
            )


def round_to_lot(quantity: float, lot_size: float) -> float:
    """The quantity nearest to `quantity` toward zero that is a whole number of lots.

    Args:
        quantity: Signed units.
        lot_size: Units per lot; 0 means any quantity is allowed.

    Example:
        >>> round_to_lot(10.7, 1.0), round_to_lot(-10.7, 1.0), round_to_lot(0.3, 0.1)
        (10.0, -10.0, 0.30000000000000004)
    """
    if lot_size == 0.0:
        return quantity
    lots = quantity / lot_size
    return math.trunc(lots * (1.0 + _WHOLE)) * lot_size
