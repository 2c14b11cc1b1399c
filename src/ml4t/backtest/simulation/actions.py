"""What a corporate action does to what is held and ordered.

It takes effect before anything trades at the bars of its time, on the positions and orders from
before. Prices, units and the average cost of a position change together, so an action moves
equity by the money it pays and by nothing else.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.portfolio.portfolio import entry_price_after, position_after
from ml4t.backtest.types.action import Action, ActionKind
from ml4t.backtest.types.events import AdjustmentEvent, CashEvent, FillEvent
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.broker.watchers import Watchers
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News

DELISTED = "delisted"
RENAMED = "renamed"
# What float noise may leave of units that should be whole lots, relative to the units.
_NOISE = 1e-9
# The logarithm of the least ratio whose trace in the price can be told from an ordinary move.
_TELLING = math.log(1.4)
_PRICES = ("limit_price", "stop_price", "trail_amount", "limit_offset")


def effect_of(
    action: Action, bars: Bars, portfolio: Portfolio, blotter: Blotter, watchers: Watchers
) -> News:
    """What an action does, as news; open orders are changed or ended at once.

    An asset without a bar before has no old terms: nothing happens.
    """
    asset = Affected(action, bars, portfolio, blotter, watchers)
    return [] if math.isnan(asset.last) else _EFFECTS[action.kind](asset)


def is_unlike(action: Action, bars: Bars, portfolio: Portfolio) -> bool:
    """Whether the price of a split asset stayed, or moved the other way round.

    It is then adjusted already, or the ratio is upside down. Small ratios cannot be told from an
    ordinary move.
    """
    change = -math.log(action.ratio)
    row, last = bars.chunk_row(action.asset_id), portfolio.last_price(action.asset_id)
    if action.kind is not ActionKind.SPLIT or abs(change) < _TELLING or row < 0 or not last > 0.0:
        return False
    moved = math.log(bars.chunk.opens[row] / last)
    return min(abs(moved), abs(moved + change)) < 0.25 * abs(change)


class Affected:
    """The asset of an action, as it was before the bars with which the action takes effect.

    Args:
        action: What happens to it.
        bars: The first bars at the new terms.
        portfolio: Read only.
        blotter: Its open orders of the asset are changed.
        watchers: Its rules follow the position.

    Attributes:
        held: Signed units.
        last: Last close.
    """

    def __init__(
        self,
        action: Action,
        bars: Bars,
        portfolio: Portfolio,
        blotter: Blotter,
        watchers: Watchers,
    ) -> None:
        codes = portfolio.universe.codes
        self.action = action
        self.now = bars.timestamp
        self.portfolio = portfolio
        self.blotter = blotter
        self.watchers = watchers
        self.code, self.new = codes[action.asset_id], codes[action.new_asset_id]
        self.held = portfolio.quantities[action.asset_id]
        self.last = float(portfolio.last_prices()[self.code])
        self.multiplier = portfolio.instruments[self.code].multiplier
        self.lot = portfolio.instruments[self.new].lot_size

    def pay(self) -> News:
        """Money per unit: longs receive it, shorts pay it."""
        amount = self.action.amount
        assert amount is not None
        return self._cash(self.action.kind.value, self.held * amount * self.multiplier)

    def exchange(self) -> News:
        """New units for old ones, of the same asset or of another one."""
        is_changed = self._restate()
        if self.action.ratio != 1.0:
            self.watchers.restate(self.code, self.action.ratio)
        if not self.held:
            self.watchers.rename(self.code, self.new)
            return [self._adjustment(0.0, 0.0)] if is_changed else []
        if self.code != self.new and self.portfolio.quantities[self.action.new_asset_id]:
            return [*([self._adjustment(0.0, 0.0)] if is_changed else []), *self._merge()]
        ratio = self.action.ratio
        units = self.held * ratio
        whole = round_to_lot(units, self.lot)
        rest = units - whole if abs(units - whole) > _NOISE * abs(units) else 0.0
        self.watchers.rename(self.code, self.new)
        if not whole:
            self.watchers.forget(self.new)
        paid = self._cash("cash_in_lieu", rest * (self.last / ratio) * self.multiplier)
        return [self._adjustment(self.held, whole), *paid]

    def delist(self) -> News:
        """Orders are canceled, and the position ends at what is left of it."""
        for working in self.blotter.listed(self.code):
            if working.status.is_open:  # one may have ended with another
                self.blotter.end(working, OrderStatus.CANCELED, DELISTED)
        self.watchers.forget(self.code)
        amount = self.action.amount
        price = self.last if amount is None else amount
        return [self._fill(self.code, -self.held, price, DELISTED)[1]] if self.held else []

    def _merge(self) -> News:
        """Both are held: one ends and the other grows, at the last price and free of charge.

        The rules over the one that ends have nothing left to do; those over the other follow it.
        """
        ratio, portfolio = self.action.ratio, self.portfolio
        signed, price = round_to_lot(self.held * ratio, self.lot), self.last / ratio
        self.watchers.forget(self.code)
        _, closing = self._fill(self.code, -self.held, self.last, RENAMED)
        if not signed:
            return [closing]
        working, opening = self._fill(self.new, signed, price, RENAMED)
        before, entry = portfolio.units[self.new], portfolio.entry_price[self.new].item()
        after = position_after(before, signed)
        entry = entry_price_after(before, entry, signed, after, price)
        if self.watchers.is_used:
            self.watchers.follow(self.new, before, after, entry, working)
        for order in self.blotter.working(self.new):
            if order.order.reduce_only and order.sign * after >= 0.0:
                self.blotter.end(order, OrderStatus.CANCELED, "position closed")
        return [closing, opening]

    def _restate(self) -> bool:
        """Open orders go on in the new terms; less than a lot ends.

        Returns:
            Whether there was any.
        """
        orders = self._orders()
        for working in orders:
            if not working.status.is_open:  # it ended with another one
                continue
            ratio = self.action.ratio
            remaining = round_to_lot(working.remaining * ratio, self.lot)
            done = working.filled * ratio + remaining
            whole = max(done, round_to_lot(working.whole * ratio, self.lot))
            if whole == 0.0 or (working.remaining and not remaining):
                text = f"below one lot after the {self.action.kind.value}"
                self.blotter.end(working, OrderStatus.CANCELED, text)
                continue
            order = self._in_new_terms(working.order, whole)
            self.blotter.restate(working, order, self.new, ratio=ratio, remaining=remaining)
        return bool(orders)

    def _orders(self) -> list[Working]:
        """Its orders that are open or wait for another one, in order of submission."""
        blotter = self.blotter
        is_needed = blotter.links.pending or blotter.has_open(self.code)
        return blotter.listed(self.code) if is_needed else []

    def _in_new_terms(self, order: Order, quantity: float) -> Order:
        given = {name: getattr(order, name) for name in _PRICES}
        prices = {name: p / self.action.ratio for name, p in given.items() if p is not None}
        asset_id = self.action.new_asset_id
        return structs.replace(order, asset_id=asset_id, quantity=quantity, **prices)

    def _adjustment(self, before: float, after: float) -> AdjustmentEvent:
        action = self.action
        return AdjustmentEvent(
            self.now,
            action.kind.value,
            action.asset_id,
            action.new_asset_id,
            action.ratio,
            before,
            after,
        )

    def _cash(self, kind: str, money: float) -> News:
        return [CashEvent(self.now, kind, money, self.action.new_asset_id)] if money else []

    def _fill(
        self, code: int, signed: float, price: float, reason: str
    ) -> tuple[Working, FillEvent]:
        """A fill that nobody asked for, through an order of its own, free of charge."""
        asset_id, units = self.portfolio.universe.ids[code], abs(signed)
        side = OrderSide.BUY if signed > 0 else OrderSide.SELL
        order = Order(asset_id, side, units, tag=reason)
        working = self.blotter.accept(order, code, units)
        self.blotter.fill(working, units, price)
        number = working.order_id
        fill = FillEvent(number, asset_id, self.now, side, units, price, 0.0, 0.0, reason)
        return working, fill


_EFFECTS: dict[ActionKind, Callable[[Affected], News]] = {
    ActionKind.DIVIDEND: Affected.pay,
    ActionKind.SPINOFF: Affected.pay,
    ActionKind.SPLIT: Affected.exchange,
    ActionKind.RENAME: Affected.exchange,
    ActionKind.DELISTING: Affected.delist,
}
