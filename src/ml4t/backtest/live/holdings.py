"""What a live account holds by the executions that are known, told to the strategy or not yet."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.broker.blotter import Working
from ml4t.backtest.live.reasons import ADOPTED, FEE
from ml4t.backtest.live.timing import MICROSECONDS
from ml4t.backtest.portfolio.portfolio import entry_price_after, position_after
from ml4t.backtest.types.events import CashEvent, FillEvent
from ml4t.backtest.types.order import OrderSide, OrderType

if TYPE_CHECKING:
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.words import Execution
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News

_REASONS = {OrderType.MARKET: "open", OrderType.LIMIT: "limit", OrderType.STOP_LIMIT: "limit"}


class Fill(msgspec.Struct, frozen=True):
    """What an execution did, until it is told with the next bars."""

    working: Working
    quantity: float
    price: float
    commission: float


class Holdings:
    """Positions and money of a live broker; what it has not told yet counts.

    Args:
        broker: Whose.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker
        self._positions: dict[int, float] = {}
        self._entries: dict[int, float] = {}
        self._bought: dict[str, float] = {}  # units, by asset; and those kept of it as a fee
        self._kept: dict[str, float] = {}
        self._fills: list[Fill] = []
        self._cash: list[tuple[str, float, str | None]] = []

    def position(self, code: int) -> float:
        """Signed units, executions included that the strategy has not been told of yet."""
        held = self._positions.get(code)
        if held is None:
            assert self.broker.portfolio is not None
            held = float(self.broker.portfolio.units[code])
        return held

    def positions(self) -> dict[str, float]:
        """As `position`, of all assets that are held, by `asset_id`."""
        assert self.broker.portfolio is not None
        held = dict(self.broker.portfolio.held)
        for code, quantity in self._positions.items():
            held[self.broker.portfolio.universe.ids[code]] = quantity
        return {asset_id: quantity for asset_id, quantity in sorted(held.items()) if quantity}

    def cash(self) -> float:
        """Money, executions included that the strategy has not been told of yet."""
        assert self.broker.portfolio is not None
        cash = self.broker.portfolio.cash + math.fsum(amount for _, amount, _ in self._cash)
        for fill in self._fills:
            multiplier = self.broker.portfolio.instruments[fill.working.code].multiplier
            cash -= fill.quantity * fill.price * multiplier + fill.commission
        return cash

    def adjust_cash(self, kind: str, amount: float, asset_id: str | None = None) -> None:
        """Money moved at the broker without a trade; told with the next bars."""
        self._cash.append((kind, amount, asset_id))

    def news(self, bars: Bars) -> News:
        """What has happened since the bars before, to be told with these."""
        news: News = [self._told(fill, bars) for fill in self._fills]
        news += [CashEvent(bars.timestamp, *item) for item in self._cash]
        self._fills, self._cash = [], []
        self._positions.clear()
        self._entries.clear()
        return news

    def book(
        self, working: Working, signed: float, execution: Execution
    ) -> tuple[float, float, float]:
        """Units change hands: known here at once, told to the strategy with the next bars.

        Returns:
            The position before and after, and its entry price.
        """
        assert self.broker.portfolio is not None
        code, price = working.code, execution.price
        before = self.position(code)
        after = position_after(before, signed)
        entry = self._entries.get(code, float(self.broker.portfolio.entry_price[code]))
        entry = entry_price_after(before, entry, signed, after, price)
        self._positions[code], self._entries[code] = after, entry
        if signed > 0.0 and working.order.role != ADOPTED:
            asset_id = working.order.asset_id
            self._bought[asset_id] = self._bought.get(asset_id, 0.0) + signed
        self._fills.append(Fill(working, signed, price, self._commission(working, execution)))
        return before, after, entry

    def _commission(self, working: Working, execution: Execution) -> float:
        if not math.isnan(execution.commission):
            return execution.commission
        if self.broker.commission is None:
            return 0.0
        assert self.broker.portfolio is not None
        at = dt.datetime.fromtimestamp(execution.at / MICROSECONDS, tz=dt.UTC)
        instrument = self.broker.portfolio.instruments[working.code]
        quantity = abs(execution.quantity)
        return float(
            self.broker.commission(working.order, quantity, execution.price, at, instrument)
        )

    def fee_room(self, asset_id: str) -> float:
        """Units that the broker may still keep of what was bought, as a fee."""
        bought = self._bought.get(asset_id, 0.0) * self.broker.gateway.coin_fee(asset_id)
        return bought - self._kept.get(asset_id, 0.0)

    def note_kept(self, asset_id: str, units: float) -> None:
        """The broker has kept units as a fee."""
        self._kept[asset_id] = self._kept.get(asset_id, 0.0) + units

    def _told(self, fill: Fill, bars: Bars) -> FillEvent:
        """A fill as the strategy and the result see it, at the time of the bars it is told with."""
        working, order = fill.working, fill.working.order
        code = working.code
        assert self.broker.portfolio is not None
        multiplier = self.broker.portfolio.instruments[code].multiplier
        reference = self._reference(working, bars, fill.price)
        return FillEvent(
            working.order_id,
            order.asset_id,
            bars.timestamp,
            OrderSide.BUY if fill.quantity > 0.0 else OrderSide.SELL,
            abs(fill.quantity),
            fill.price,
            fill.commission,
            fill.quantity * (fill.price - reference) * multiplier,
            order.role or _REASONS.get(working.type, "stop"),
        )

    def _reference(self, working: Working, bars: Bars, price: float) -> float:
        """What slippage is measured from, as in the simulation: the open, or the order's level."""
        if working.order.role in (ADOPTED, FEE):
            return price
        if working.type is OrderType.MARKET:
            row = bars.chunk_row_of_code(working.code)
            return float(bars.chunk.open[row]) if row >= 0 else price
        level = working.limit if working.type.has_limit else working.stop
        if level is None or working.type.is_trailing:
            return price
        return level
