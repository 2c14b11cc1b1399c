"""What TWS asks of an order before it takes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.rehearsal.ib_terms import TYPES, TwsRefusalError
from ml4t.backtest.rehearsal.ib_words import (
    NO_SIZE,
    REJECTED,
    UNSUPPORTED_TYPE,
    VALIDATION,
    WRONG_PRICE,
)
from ml4t.backtest.rehearsal.tickets import RefusedError

if TYPE_CHECKING:
    from ml4t.backtest.rehearsal.ib_words import Listing, Wanted
    from ml4t.backtest.rehearsal.venue import Venue

_NOISE = 1e-9


class TwsChecks:
    """Refuses what cannot be meant, and what the account may not do.

    Args:
        venue: With the account.
    """

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def check(self, listing: Listing, wanted: Wanted, freed: float = 0.0) -> None:
        """Refuse what cannot be meant, and what cannot be paid for."""
        if wanted.type not in TYPES:
            raise TwsRefusalError(UNSUPPORTED_TYPE, "Unsupported order type for this exchange and "
                                  f"security type: {wanted.type}")  # fmt: skip
        if not wanted.quantity > 0.0:
            raise TwsRefusalError(NO_SIZE, "The order size cannot be zero.")
        if wanted.action not in ("BUY", "SELL"):
            raise TwsRefusalError(VALIDATION, f"Invalid side {wanted.action!r}")
        for name, price in (("limit", wanted.limit), ("stop", wanted.aux)):
            self._check_price(listing, name, price)
        if wanted.parent_id == 0:
            self._check_power(listing, wanted, freed)

    def _check_price(self, listing: Listing, name: str, price: float | None) -> None:
        if price is None or price == 0.0 or listing.sec_type != "STK":
            return
        try:
            self.venue.desk.intake.check_price(listing.asset_id, name, price)
        except RefusedError as error:
            raise TwsRefusalError(
                WRONG_PRICE,
                "The price does not conform to the minimum price variation for this contract.",
            ) from error

    def _check_power(self, listing: Listing, wanted: Wanted, freed: float) -> None:
        accounts, symbol = self.venue.accounts, listing.asset_id
        way = 1.0 if wanted.action == "BUY" else -1.0
        held = accounts.held(symbol)
        opened = wanted.quantity - max(0.0, -way * held)
        if opened <= 0.0:
            return
        if way < 0.0 and not (self.venue.shorting and accounts.can_short):
            raise TwsRefusalError(REJECTED, "Order rejected - reason:The account cannot sell short")
        price = wanted.limit or wanted.aux or accounts.last_price(symbol)
        if math.isnan(price):
            return
        need = opened * price * accounts.instrument(symbol).multiplier
        power = accounts.buying_power() + freed
        if need > power * (1.0 + _NOISE):
            raise TwsRefusalError(
                REJECTED,
                f"Order rejected - reason:Your account has insufficient buying power [{power:.2f} "
                f"USD] for an order of [{need:.2f} USD]",
            )
