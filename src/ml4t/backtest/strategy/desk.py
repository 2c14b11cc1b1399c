"""The desk: carries out, within one run, what a strategy's helpers ask for."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.broker.order_checks import unknown_asset
from ml4t.backtest.errors import ConfigError, DataError, OrderError
from ml4t.backtest.kernels import changes_to_weights
from ml4t.backtest.strategy.targets import (
    check_bracket,
    check_tolerance,
    is_amount,
    is_noise,
    weight_column,
)
from ml4t.backtest.types.bars import as_numbers
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import (
    Bracket,
    Order,
    OrderEvent,
    OrderSide,
    OrderStatus,
    OrderType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.broker.watchers import Rule
    from ml4t.backtest.data.history import History
    from ml4t.backtest.limits.guard import Guard
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars, Universe
    from ml4t.backtest.types.events import News

SUPERSEDED = "superseded"
_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
NO_PRICE = "no price yet: it had no bar"


class Desk:
    """What a strategy is bound to during a run: reads the portfolio, orders from the broker.

    Args:
        broker: Takes the orders.
        portfolio: Read only.
        history: The past bars.
        book: Takes news that a broker returns at once.
        schedule: Registers a calendar rule and the function it calls.
        guard: Approves what is ordered; None without limits.
        is_growing: Assets may still appear, so an unknown one is not yet a mistake.

    Attributes:
        takes_short_ways: Plain orders need not be an `Order` here, and the hottest questions are
            answered on the strategy object. Not where everything that is asked has to be noted.
    """

    takes_short_ways = True

    def __init__(
        self,
        broker: Broker,
        portfolio: Portfolio,
        history: History,
        *,
        book: Callable[[News], None],
        schedule: Callable[[Any, Callable[..., Any]], None],
        guard: Guard | None,
        is_growing: bool,
    ) -> None:
        self.broker = broker
        self.portfolio = portfolio
        self.universe: Universe = portfolio.universe
        self.bars: Bars | None = None
        self.records: list[tuple[int, str, Any]] = []
        self.logs: list[tuple[int, str]] = []
        self.schedule = schedule
        self._history = history
        self._book = book
        self._guard = guard
        self.is_growing = is_growing

    # -- looking ------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time of the current bars."""
        if self.bars is None:
            raise OrderError("There is no current time before the first bar.")
        return self.bars.timestamp

    def code(self, asset_id: str) -> int:
        """The asset's code, or a helpful error."""
        code = self.universe.codes.get(asset_id)
        if code is None:
            text = unknown_asset(asset_id, self.universe)
            raise OrderError(text[0].upper() + text[1:])
        return code

    def position(self, asset_id: str) -> float:
        """Signed units of an asset the hot look-up did not find."""
        if not self.is_growing:
            self.code(asset_id)
        return self.portfolio.quantities.get(asset_id, 0.0)

    def entry_price(self, asset_id: str) -> float:
        """Average entry price of an asset the hot look-up did not find; NaN when flat."""
        if not self.is_growing:
            self.code(asset_id)
        return self.portfolio.entry_prices.get(asset_id, math.nan)

    def position_column(self) -> np.ndarray:
        """Signed units of each asset that has a bar now."""
        return self._current(self.portfolio.quantity)

    def entry_price_column(self) -> np.ndarray:
        """Average entry prices likewise; NaN where flat."""
        entries, units = self._current(self.portfolio.entry_price), self.position_column()
        entries[units == 0.0] = math.nan
        return entries

    def _current(self, column: np.ndarray) -> np.ndarray:
        """A column of the portfolio, for the assets that have a bar now."""
        if self.bars is None:
            raise OrderError("There are no bars before the first timestamp.")
        chunk = self.bars.chunk
        return column[: chunk.width].copy() if chunk.is_dense else column[self.bars.codes]

    def last_price(self, asset_id: str) -> float:
        """Last known close; NaN before the asset's first bar."""
        if self.is_growing and asset_id not in self.universe:
            return math.nan
        self.code(asset_id)
        return self.portfolio.last_price(asset_id)

    def open_orders(self, asset_id: str | None) -> list[OrderEvent]:
        """Open orders, in order of submission."""
        blotter = self.broker.blotter
        code = None if asset_id is None else self.code(asset_id)
        return [blotter.event(working) for working in blotter.listed(code)]

    def history(self, asset_id: str | None, n: int, field: str) -> np.ndarray:
        """The last bars; see `Strategy.history`."""
        bars = self.bars
        if bars is None:
            raise DataError("There is no history before the first bar.")
        if asset_id is None:
            past = self._history.matrix(bars.chunk, bars.index, n, field)
        else:
            past = self._history.last(bars.chunk, bars.stop, self.code(asset_id), n, field)
        past = as_numbers(past)
        past.flags.writeable = False
        return past

    # -- ordering -----------------------------------------------------------------------------

    def submit(self, order: Order) -> int:
        """Send one order; its id."""
        guard = self._guard
        return self.broker.submit_order(order) if guard is None else guard.submit(order)

    def market(
        self,
        asset_id: str,
        side: OrderSide,
        quantity: float,
        tag: str,
        *,
        reduce_only: bool = False,
    ) -> int:
        """Send a plain market order, the short way where there is one; its id."""
        take_plain = self.broker.take_plain
        if take_plain is not None and self._guard is None and self.takes_short_ways:
            order_id = take_plain(asset_id, side, quantity, tag, reduce_only=reduce_only)
            if order_id:
                return order_id
        return self.submit(Order(asset_id, side, quantity, reduce_only=reduce_only, tag=tag))

    def bracket(
        self,
        asset_id: str,
        quantity: float,
        stop_loss: float | None,
        take_profit: float | None,
        limit_price: float | None,
        tag: str,
    ) -> Bracket:
        """Send an entry, and the orders that leave it again."""
        last = self.last_price(asset_id) if asset_id in self.universe else math.nan
        check_bracket(asset_id, quantity, stop_loss, take_profit, limit_price, last)
        way_in, way_out = (_BUY, _SELL) if quantity > 0 else (_SELL, _BUY)
        kind = OrderType.MARKET if limit_price is None else OrderType.LIMIT
        size = float(abs(quantity))
        entry = self.submit(Order(asset_id, way_in, size, kind, limit_price=limit_price, tag=tag))
        if self.broker.blotter.get(entry) is None:
            return Bracket(entry)
        leave = partial(
            Order,
            asset_id,
            way_out,
            size,
            reduce_only=True,
            tag=tag,
            after=entry,
            oco=f"bracket {entry}",
        )
        stop = target = None
        if stop_loss is not None:
            kind = OrderType.STOP
            stop = self.submit(leave(type=kind, stop_price=stop_loss, role="stop_loss"))
        if take_profit is not None:
            kind = OrderType.LIMIT
            target = self.submit(leave(type=kind, limit_price=take_profit, role="take_profit"))
        return Bracket(entry, stop, target)

    def reject(self, asset_id: str, side: OrderSide, reason: str, tag: str) -> int:
        """Note an order that cannot even be sized."""
        code = self.universe.codes.get(asset_id, -1)
        return self.broker.blotter.reject(Order(asset_id, side, math.nan, tag=tag), reason, code)

    def obstacle(self, asset_id: str) -> str:
        """Why nothing can be sized for an asset now; an empty string when it can."""
        if asset_id not in self.universe:
            return unknown_asset(asset_id, self.universe)
        if math.isnan(self.portfolio.last_price(asset_id)):
            return NO_PRICE
        return ""

    def units_worth(self, asset_id: str, money: float) -> float:
        """Whole lots of a priced asset that `money` buys at its last close."""
        portfolio = self.portfolio
        instrument = portfolio.instruments[self.universe.codes[asset_id]]
        value = portfolio.last_price(asset_id) * instrument.multiplier
        return round_to_lot(money / value, instrument.lot_size)

    def add_worth(self, asset_id: str, money: float, tag: str) -> int:
        """Buy units worth `money`, on top of what is held and ordered."""
        obstacle = self.obstacle(asset_id)
        if obstacle:
            return self.reject(asset_id, OrderSide.BUY, obstacle, tag)
        units = self.units_worth(asset_id, money)
        if units == 0.0:
            reason = f"{money:,.2f} is less than one lot at {self.last_price(asset_id):,.2f}"
            return self.reject(asset_id, OrderSide.BUY, reason, tag)
        return self.market(asset_id, OrderSide.BUY, units, tag)

    def target_worth(self, asset_id: str, money: float, tolerance: float, tag: str) -> int | None:
        """Bring a position to units worth `money`."""
        obstacle = self.obstacle(asset_id)
        if obstacle:
            side = OrderSide.BUY if money >= 0 else OrderSide.SELL
            return self.reject(asset_id, side, obstacle, tag)
        return self.target(asset_id, self.units_worth(asset_id, money), tolerance, tag)

    def sell_share(self, asset_id: str, share: float, tag: str) -> int:
        """Sell a share of a long position."""
        if asset_id not in self.universe:
            reason = unknown_asset(asset_id, self.universe)
            return self.reject(asset_id, OrderSide.SELL, reason, tag)
        held = self.portfolio.quantities[asset_id]
        if held <= 0.0:
            return self.reject(asset_id, OrderSide.SELL, "no position", tag)
        quantity = held if share == 1.0 else held * share
        return self.market(asset_id, OrderSide.SELL, quantity, tag, reduce_only=True)

    def target(self, asset_id: str, units: float, tolerance: float, tag: str) -> int | None:
        """Bring a position to `units`; None when nothing needs to trade."""
        if not is_amount(units):
            raise OrderError(f"The target for {asset_id!r} must be finite, not {units!r}.")
        code = self.universe.codes.get(asset_id)
        if code is None:
            side = OrderSide.BUY if units >= 0 else OrderSide.SELL
            return self.reject(asset_id, side, unknown_asset(asset_id, self.universe), tag)
        tolerance = check_tolerance(tolerance)
        self.supersede(code)
        held = self.portfolio.units[code]
        if units != held:
            units = round_to_lot(units, self.portfolio.instruments[code].lot_size)
        change = units - held
        if is_noise(change, units, held) or self._is_below(tolerance, change, asset_id, code):
            return None
        side = OrderSide.BUY if change > 0 else OrderSide.SELL
        return self.market(asset_id, side, abs(change), tag)

    def _is_below(self, tolerance: float, change: float, asset_id: str, code: int) -> bool:
        if not tolerance:
            return False
        portfolio = self.portfolio
        worth = abs(change) * portfolio.last_price(asset_id) * portfolio.multiplier[code]
        return bool(worth < tolerance * portfolio.equity)

    def close(self, asset_id: str, tag: str) -> int | None:
        """Close a position at the market; None when it is flat."""
        code = self.universe.codes.get(asset_id)
        if code is None:
            reason = unknown_asset(asset_id, self.universe)
            return self.reject(asset_id, OrderSide.SELL, reason, tag)
        if not self.broker.blotter.is_empty:
            self.supersede(code)
        held = self.portfolio.units[code]
        if held == 0.0:
            return None
        side = OrderSide.SELL if held > 0 else OrderSide.BUY
        return self.market(asset_id, side, abs(held), tag, reduce_only=True)

    def rebalance(
        self, weights: Mapping[str, float] | np.ndarray, tolerance: float, tag: str
    ) -> int:
        """Bring the whole portfolio to target weights; the number of orders."""
        portfolio, broker = self.portfolio, self.broker
        column = weight_column(weights, self.universe, self.bars, broker.leverage)
        tolerance = check_tolerance(tolerance)
        self.supersede(None)
        n, equity = len(column), portfolio.equity
        # Exits come first, for brokers that ask for cash order by order.
        codes, change, unpriced = changes_to_weights(
            column,
            portfolio.quantity[:n],
            portfolio.last_prices()[:n],
            portfolio.multiplier[:n],
            portfolio.lots[:n],
            equity,
            tolerance * equity,
        )
        for code in unpriced.tolist():
            side = OrderSide.BUY if column[code] > 0 else OrderSide.SELL
            self.reject(self.universe.ids[code], side, NO_PRICE, tag)
        basket = Basket(self.universe, codes, change, tag)
        if self._guard is not None:
            basket = self._guard.screen(basket)
        if len(basket):
            news = broker.submit(basket)
            if news:
                self._book(news)
        return len(codes) + len(unpriced)

    def watch(self, asset_id: str | None, rule: Rule) -> None:
        """Set a rule that watches over positions; one without a distance removes it."""
        if asset_id is not None:
            self.code(asset_id)
        watchers = self.broker.watchers
        if rule.percent is None and rule.amount is None and not rule.bars:
            watchers.remove(rule.role, asset_id)
        else:
            watchers.put(rule, asset_id)

    # -- canceling ----------------------------------------------------------------------------

    def supersede(self, code: int | None) -> None:
        """A target replaces what is open, but not the orders that protect a position."""
        blotter = self.broker.blotter
        if blotter.is_empty or (code is not None and not blotter.has_open(code)):
            return
        for working in blotter.working(code):
            if not is_protective(working):
                self.broker.cancel(working.order_id, SUPERSEDED)

    def cancel(self, order_id: int) -> bool:
        """Cancel one open order; whether it was open."""
        return self.broker.cancel(order_id)

    def replace(self, order_id: int, changes: dict[str, float]) -> bool:
        """Change one open order; whether it was open."""
        guard = self._guard
        if guard is not None:
            return guard.replace(order_id, changes)
        return self.broker.replace(order_id, **changes)

    def cancel_all(self, asset_id: str | None) -> int:
        """Cancel open orders; how many there were."""
        code = None if asset_id is None else self.code(asset_id)
        working = self.broker.blotter.listed(code)
        return sum(self.broker.cancel(w.order_id) for w in working)

    # -- notes --------------------------------------------------------------------------------

    def record(self, values: Mapping[str, Any]) -> None:
        """Put values on the result, at the current time."""
        now = self._now_us()
        for name, value in values.items():
            if not isinstance(value, bool | int | float | np.number | np.bool_):
                raise ConfigError(
                    f"record({name}={value!r}): only numbers can be recorded; use log for text."
                )
        self.records.extend((now, name, value) for name, value in values.items())

    def log(self, message: str) -> None:
        """Put a line on the result, at the current time."""
        self.logs.append((self._now_us(), str(message)))

    def _now_us(self) -> int:
        if self.bars is None:
            raise OrderError("There is no current time before the first bar.")
        return int(self.bars.chunk.times[self.bars.index])


def is_protective(working: Working) -> bool:
    """Whether an order guards a position: of a rule, or resting and only able to reduce it."""
    return (
        working.order.reduce_only
        and (working.type is not OrderType.MARKET or working.order.role != "")
        and working.status is not OrderStatus.PENDING
    )
