"""The news: what a broker reports."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ml4t.backtest.types.bars import Universe
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from collections.abc import Iterator


class FillEvent(msgspec.Struct, frozen=True, gc=False):
    """One execution.

    Args:
        order_id: The order that filled.
        asset_id: What was traded.
        timestamp: The time of the bar it filled in.
        side: Buy or sell.
        quantity: Units, positive.
        price: What was paid or received per unit, slippage included.
        commission: Money charged.
        slippage: Money lost against the reference price (the open, level or close); positive
            is a cost.
        reason: What made it fill: "open", "limit", "stop", "close", ...
    """

    order_id: int
    asset_id: str
    timestamp: datetime
    side: OrderSide
    quantity: float
    price: float
    commission: float
    slippage: float
    reason: str


class CashEvent(msgspec.Struct, frozen=True, gc=False):
    """Money that moves without a trade: a dividend, a fee for borrowed shares, interest.

    Args:
        timestamp: The time of the bars it was booked at.
        kind: What it is for: "dividend", "borrow", "interest", ...
        amount: Money received; negative when paid.
        asset_id: The holding that it belongs to; None when it is the account's.
    """

    timestamp: datetime
    kind: str
    amount: float
    asset_id: str | None = None


class AdjustmentEvent(msgspec.Struct, frozen=True, gc=False):
    """A holding, or what is ordered of it, that goes on in other terms: no trade, no money.

    Args:
        timestamp: The time of the first bars at the new terms.
        kind: "split" or "rename".
        asset_id: What was held before.
        new_asset_id: What is held now; the same after a split.
        ratio: New units per old unit. Prices from before are divided by it.
        before: Signed units held before; 0 when only orders went on.
        quantity: Signed units held after, in whole lots; what is left over is paid in cash.
    """

    timestamp: datetime
    kind: str
    asset_id: str
    new_asset_id: str
    ratio: float
    before: float
    quantity: float


class FillBatch(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Executions of one moment as a struct of arrays: what a basket's fills travel as.

    Columns are C-contiguous.

    Args:
        universe: Assets by code.
        timestamp: The time of the bar.
        order_ids: int64[n].
        codes: int64[n]; each asset at most once.
        quantities: float64[n], signed: positive buys.
        prices: float64[n], slippage included.
        commissions: float64[n], money.
        slippages: float64[n], money against the reference price, positive is a cost.
        reason: What made them fill; the same for all.
    """

    universe: Universe
    timestamp: datetime
    order_ids: np.ndarray
    codes: np.ndarray
    quantities: np.ndarray
    prices: np.ndarray
    commissions: np.ndarray
    slippages: np.ndarray
    reason: str

    def part(self, keep: np.ndarray) -> FillBatch:
        """Those of them that are to be kept, bool[n]."""
        return FillBatch(
            self.universe,
            self.timestamp,
            self.order_ids[keep],
            self.codes[keep],
            self.quantities[keep],
            self.prices[keep],
            self.commissions[keep],
            self.slippages[keep],
            self.reason,
        )

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[FillEvent]:
        """The fills one by one, as hooks see them."""
        for order_id, code, quantity, price, commission, slippage in zip(
            self.order_ids.tolist(),
            self.codes.tolist(),
            self.quantities.tolist(),
            self.prices.tolist(),
            self.commissions.tolist(),
            self.slippages.tolist(),
            strict=True,
        ):
            yield FillEvent(
                order_id,
                self.universe.ids[code],
                self.timestamp,
                OrderSide.BUY if quantity > 0 else OrderSide.SELL,
                abs(quantity),
                price,
                commission,
                slippage,
                self.reason,
            )


News = list["FillEvent | FillBatch | CashEvent | AdjustmentEvent"]
"""What a broker reports for one verb, in the order it happened."""
