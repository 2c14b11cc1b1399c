"""What is traded, and in which steps."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.kernels.noise import WHOLE

# Above this an annual rate is surely meant in per cent.
_LARGEST_RATE = 10.0


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable asset.

    Args:
        asset_id: The key used everywhere.
        multiplier: Money per point of price per unit; 1 for shares, 50 for an E-mini future.
        lot_size: Smallest step of a quantity; 1 is whole shares, 0 is fractional.
        tick_size: Smallest step of a price, 0 for any. Limits and stops are rounded to it, never
            to a more aggressive price; fills too, against the trade.
        currency: What its prices are in; the account's when left out, and nothing else is
            accepted.
        initial_margin: Share of its notional that an entry binds in a `MarginAccount`, long or
            short; the account's own when left out.
        maintenance_margin: Share of its value that equity must not fall below, likewise.
        asset_class: "equity" or "future". A future is not borrowed when sold short, and its
            notional earns and owes no interest.
        borrow_rate: Fee for selling it short, as a fraction a year: 0.05 is five percent. Charged
            in any account; see `BorrowFee`.

    Raises:
        ConfigError: A multiplier that is not positive and finite, a negative lot or tick, a margin
            that is not above 0 and at most 1, or a rate that is not finite or above 10.
    """

    asset_id: str
    multiplier: float = 1.0
    lot_size: float = 1.0
    tick_size: float = 0.0
    currency: str = ""
    initial_margin: float | None = None
    maintenance_margin: float | None = None
    asset_class: Literal["equity", "future"] = "equity"
    borrow_rate: float | None = None

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
        if not (math.isfinite(self.tick_size) and self.tick_size >= 0):
            raise ConfigError(
                f"Instrument {self.asset_id!r}: tick_size must be zero (any price) or positive, "
                f"not {self.tick_size}."
            )
        for name in ("initial_margin", "maintenance_margin"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ConfigError(
                    f"Instrument {self.asset_id!r}: {name} is a share of the notional, above 0 "
                    f"and at most 1, not {share}."
                )
        if self.asset_class not in ("equity", "future"):
            raise ConfigError(
                f"Instrument {self.asset_id!r}: asset_class must be 'equity' or 'future', "
                f"not {self.asset_class!r}."
            )
        rate = self.borrow_rate
        if rate is not None and not abs(rate) <= _LARGEST_RATE:
            raise ConfigError(
                f"Instrument {self.asset_id!r}: borrow_rate is a fraction a year, 0.05 is five "
                f"percent; not {rate}."
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
    return math.trunc(lots * (1.0 + WHOLE)) * lot_size
