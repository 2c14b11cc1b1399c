"""The portfolio: cash, positions, and what they are worth now."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.kernels import book, held_value, total
from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.types.events import AdjustmentEvent, FillBatch, FillEvent
from ml4t.backtest.types.instrument import Instrument
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml4t.backtest.types.bars import Bars, Universe
    from ml4t.backtest.types.events import CashEvent, News

_BUY = OrderSide.BUY
_UNKNOWN: dict[str, float] = {}
_MANY = 100  # batches nobody has looked behind


class Portfolio:
    """The one owner of cash and positions of a run.

    Everybody else reads. It changes in one way only: `apply` books the news of a broker. Columns
    are indexed by the asset's code in `universe`; `quantities`, `entry_prices` (NaN when flat) and
    `held` have the same numbers by `asset_id`. These are brought up to date when they are looked
    at: a strategy that trades baskets need not. `known_quantities` and `known_entry_prices` are
    the same, or empty while they are behind, for the strategy's hot look-ups.

    Args:
        cash: Money at the start, in the account's currency.
        universe: Assets by code; may grow during the run.
        instruments: Multiplier and lot by `asset_id`; plain shares when missing.
        default_lot: Lot of the assets that are not in `instruments`.
    """

    def __init__(
        self,
        cash: float,
        universe: Universe,
        instruments: Mapping[str, Instrument] | None = None,
        default_lot: float = 1.0,
    ) -> None:
        self.cash = float(cash)
        self.universe = universe
        self.bars: Bars | None = None
        self._quantities: dict[str, float] = {}
        self._entry_prices: dict[str, float] = {}
        self._held: dict[str, float] = {}
        self.known_quantities = self._quantities
        self.known_entry_prices = self._entry_prices
        self._behind: list[np.ndarray] = []  # codes whose names have older numbers
        self.short_count = 0  # of the positions held
        self.fill_count = 0
        self._given = dict(instruments or {})
        self._default_lot = float(default_lot)
        self.instruments: list[Instrument] = []
        self._allocate(len(universe))
        self.grow()
        self._marked_until = 0
        self._equity: float | None = None
        self._restated: Bars | None = None  # whose closes are in older terms than `last`

    # -- assets -----------------------------------------------------------------------------

    def _allocate(self, size: int) -> None:
        old = len(self.instruments)
        plain = {"quantity": 0.0, "entry_price": 0.0, "last": np.nan}
        plain |= {"multiplier": 1.0, "lots": self._default_lot}
        for name, value in plain.items():
            column = np.full(size, value)
            if old:
                column[:old] = getattr(self, name)[:old]
            setattr(self, name, column)
        self.units: Any = self.quantity.data
        self._entry: Any = self.entry_price.data

    quantity: np.ndarray
    entry_price: np.ndarray
    last: np.ndarray
    multiplier: np.ndarray
    lots: np.ndarray

    def grow(self) -> None:
        """Make room for assets that the universe has gained."""
        known, size = len(self.instruments), len(self.universe)
        if known == size:
            return
        if size > len(self.quantity):
            self._allocate(size)
        for asset_id in self.universe.ids[known:]:
            instrument = self._given.get(asset_id) or Instrument(
                asset_id=asset_id, lot_size=self._default_lot
            )
            self.multiplier[len(self.instruments)] = instrument.multiplier
            self.lots[len(self.instruments)] = instrument.lot_size
            self.instruments.append(instrument)
            self._quantities[asset_id] = 0.0
            self._entry_prices[asset_id] = math.nan

    # -- by name ----------------------------------------------------------------------------

    @property
    def quantities(self) -> dict[str, float]:
        """Signed units of every asset, by `asset_id`."""
        if self._behind:
            self._name()
        return self._quantities

    @property
    def entry_prices(self) -> dict[str, float]:
        """Average entry price of every asset, by `asset_id`; NaN when flat."""
        if self._behind:
            self._name()
        return self._entry_prices

    @property
    def held(self) -> dict[str, float]:
        """Signed units of the assets that are not flat, by `asset_id`."""
        if self._behind:
            self._name()
        return self._held

    @property
    def may_hold(self) -> bool:
        """False where nothing is held for certain; True, too, until a basket's fills have names."""
        return bool(self._held or self._behind)

    def _name(self) -> None:
        """Bring the numbers by `asset_id` up to date with the columns."""
        ids, units, entry = self.universe.ids, self.units, self._entry
        quantities, entry_prices, held = self._quantities, self._entry_prices, self._held
        for codes in self._behind:
            for code in codes.tolist():
                asset_id, quantity = ids[code], units[code]
                quantities[asset_id] = quantity
                if quantity:
                    entry_prices[asset_id] = entry[code]
                    held[asset_id] = quantity
                else:
                    entry_prices[asset_id] = math.nan
                    held.pop(asset_id, None)
        self._behind = []
        self.known_quantities, self.known_entry_prices = self._quantities, self._entry_prices

    # -- the news ---------------------------------------------------------------------------

    def apply(self, news: News) -> list[float | np.ndarray]:
        """Book fills, cash and adjustments, in order.

        Returns:
            The signed position after each item of news: a float for a fill or an adjustment,
            float64[n] for a batch, 0.0 for cash, which has none.
        """
        self._equity = None
        if len(news) == 1 and isinstance(batch := news[0], FillBatch):  # the usual case
            return [self._book_batch(batch)]
        return [
            self._book(item) if isinstance(item, FillEvent) else self._book_other(item)
            for item in news
        ]

    def _book_other(self, item: FillBatch | CashEvent | AdjustmentEvent) -> float | np.ndarray:
        if isinstance(item, FillBatch):
            return self._book_batch(item)
        if isinstance(item, AdjustmentEvent):
            return self._book_adjustment(item)
        self.cash += item.amount
        return 0.0

    def _book_adjustment(self, event: AdjustmentEvent) -> float:
        """A position goes on in other terms: its average cost and last price with it."""
        if not event.before:
            return event.quantity
        asset_id, new_id = event.asset_id, event.new_asset_id
        code, new = self.universe.codes[asset_id], self.universe.codes[new_id]
        last, entry = self.last_prices(), self._entry[code] / event.ratio
        last[new] = last[code] / event.ratio
        self._put(asset_id, code, 0.0, 0.0)
        self._put(new_id, new, event.quantity, entry)
        self._restated = self.bars
        self.short_count += (event.quantity < 0.0) - (event.before < 0.0)
        return event.quantity

    def _put(self, asset_id: str, code: int, quantity: float, entry: float) -> None:
        """Hold so many units of an asset at this average cost."""
        self.units[code] = self._quantities[asset_id] = quantity
        if quantity:
            self._entry[code] = self._entry_prices[asset_id] = entry
            self._held[asset_id] = quantity
        else:
            self._entry[code] = 0.0
            self._entry_prices[asset_id] = math.nan
            self._held.pop(asset_id, None)

    def _book(self, fill: FillEvent) -> float:
        asset_id, price = fill.asset_id, fill.price
        code = self.universe.codes[asset_id]
        signed = fill.quantity if fill.side == _BUY else -fill.quantity
        before = self.units[code]
        after = position_after(before, signed) if before else signed
        self.cash -= signed * price * self.instruments[code].multiplier + fill.commission
        self.short_count += (after < 0.0) - (before < 0.0)
        entry = price
        if before and after:
            entry = entry_price_after(before, self._entry[code], signed, after, price)
        self._put(asset_id, code, after, entry)
        self.fill_count += 1
        return after

    def _book_batch(self, batch: FillBatch) -> np.ndarray:
        codes = batch.codes
        after, self.cash, shorts = book(
            codes,
            batch.quantities,
            batch.prices,
            batch.commissions,
            self.quantity,
            self.entry_price,
            self.multiplier,
            self.cash,
        )
        self.short_count += shorts
        self._behind.append(codes)
        if len(self._behind) == _MANY:
            self._behind = [np.unique(np.concatenate(self._behind))]
        self.known_quantities = self.known_entry_prices = _UNKNOWN
        self.fill_count += len(batch)
        return after

    # -- worth ------------------------------------------------------------------------------

    def mark(self, bars: Bars) -> None:
        """From now on positions are worth the closes of `bars`, or their last close before."""
        if self.bars is not None and self.bars.chunk is not bars.chunk:
            self._catch_up()
            self._marked_until = 0
        self.bars = bars
        self._equity = None

    def _catch_up(self) -> None:
        bars = self.bars
        if bars is None or bars.stop == self._marked_until:
            return
        chunk, start = bars.chunk, self._marked_until
        if chunk.is_dense and chunk.width == len(self.last):
            self.last[:] = chunk.close[bars.start : bars.stop]
        else:
            self.last[chunk.codes[start : bars.stop]] = chunk.close[start : bars.stop]
        self._marked_until = bars.stop

    def last_prices(self) -> np.ndarray:
        """Last known close by code; NaN for an asset that had no bar yet."""
        self._catch_up()
        return self.last

    def last_price(self, asset_id: str) -> float:
        """Last known close of one asset; NaN when it had no bar yet."""
        bars, code = self.bars, self.universe.codes[asset_id]
        if bars is self._restated:  # or there are none yet
            return float(self.last_prices()[code])
        if bars is not None and bars.chunk.is_dense and code < bars.chunk.width:
            return float(bars.chunk.closes[bars.start + code])
        return float(self.last_prices()[code])

    def values(self) -> np.ndarray:
        """Signed market value of each position by code, at the last close; 0 when flat."""
        n = len(self.instruments)
        quantity = self.quantity[:n]
        price = np.where(quantity == 0.0, 0.0, self.last_prices()[:n])
        values: np.ndarray = quantity * price * self.multiplier[:n]
        return values

    @property
    def equity(self) -> float:
        """Cash plus the market value of all positions."""
        if self._equity is None:
            value = 0.0
            if self.may_hold:
                value = held_value(self.quantity, self.last_prices(), self.multiplier)
            self._equity = self.cash + value
        return self._equity

    def short_value(self, quantity: np.ndarray, prices: np.ndarray) -> float:
        """Market value of the short side of some holdings, positive."""
        short = np.flatnonzero(quantity < 0.0)
        return -total(quantity[short] * prices[short] * self.multiplier[short])

    def entry_price_of(self, asset_id: str) -> float:
        """Average fill price of the open position, commission excluded; NaN when flat."""
        return self.entry_prices[asset_id]


def position_after(before: float, signed: float) -> float:
    """A signed position after a fill; what float noise leaves of a closed one is nothing."""
    after = before + signed
    return 0.0 if abs(after) <= DUST * (abs(before) + abs(signed)) else after


def entry_price_after(
    before: float, entry: float, signed: float, after: float, price: float
) -> float:
    """Average entry price of a position after one fill.

    Adding averages by quantity, reducing leaves it, a flip starts anew at the fill's price.

    Args:
        before: Signed position before the fill.
        entry: Average entry price before.
        signed: Signed quantity of the fill.
        after: Signed position after the fill.
        price: The fill's price.
    """
    if after == 0.0:
        return 0.0
    if before == 0.0 or before * after < 0.0:
        return price
    if abs(after) < abs(before):
        return entry
    return (entry * abs(before) + price * abs(signed)) / (abs(before) + abs(signed))
