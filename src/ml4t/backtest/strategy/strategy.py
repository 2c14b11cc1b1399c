"""Strategy: the hooks a user writes, and the helpers they are written with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import OrderError
from ml4t.backtest.strategy.targets import check_confidence, check_fraction
from ml4t.backtest.types.order import Order, OrderEvent, OrderSide, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    import numpy as np

    from ml4t.backtest.strategy.desk import Desk
    from ml4t.backtest.types.bars import Bars, MarketEvent
    from ml4t.backtest.types.events import FillEvent

_BUY, _SELL = OrderSide.BUY, OrderSide.SELL


class _NotRunning:
    """Stands where the desk is during a run.

    The engine puts the desk on the strategy object itself, so that a helper finds it without a
    call; this descriptor answers only when there is none.
    """

    def __get__(self, strategy: Strategy | None, owner: type) -> Any:
        if strategy is None:
            return self
        raise OrderError(
            f"{owner.__name__} is not running: its helpers work inside the hooks of a "
            "BacktestEngine run."
        )


class Strategy:
    """Base class of a trading strategy; plain Python with state, the same in backtest and live.

    Override at least one of `on_market_data` (once per asset and bar) and `on_bars` (once per
    timestamp, with columns). Both may leave out the `context` argument. Orders decided in a hook
    can fill from the asset's next bar on. State of your own goes on `self`; reset it in
    `on_start`.

    Percentages are fractions: 0.05 is five percent. Increments (`buy`, `sell`, `buy_percent`,
    `sell_percent`, `submit_order`) add to what is open. Targets (`order_target*`, weights,
    `size_by_confidence`, `close_position`) replace the asset's open orders, so that asking twice
    for the same target never accumulates.

    Example:
        >>> class Threshold(Strategy):
        ...     def on_market_data(self, event, context):
        ...         prediction = event.signals.get("ml_pred", 0)
        ...         if prediction > 0.8:
        ...             self.order_target_percent(event.asset_id, 0.10)
        ...         elif prediction < 0.4:
        ...             self.close_position(event.asset_id)
    """

    if TYPE_CHECKING:
        _desk: Desk
    else:
        _desk = _NotRunning()

    # -- hooks --------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Before the first bar of a run: reset state, register schedules."""

    if TYPE_CHECKING:
        # Both forms, with and without `context`, are right; a type checker has to be told.
        def on_market_data(self, event: MarketEvent, *args: Any, **kwargs: Any) -> None:
            """One asset's bar has completed."""

        def on_bars(self, bars: Bars, *args: Any, **kwargs: Any) -> None:
            """All bars of a timestamp have completed."""

    else:

        def on_market_data(self, event: MarketEvent, context: dict[str, Any]) -> None:
            """One asset's bar has completed; called in order of `asset_id` within a timestamp."""

        def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
            """All bars of a timestamp have completed."""

    def on_fill_event(self, fill: FillEvent) -> None:
        """An order was executed, in part or whole."""

    def on_order_event(self, order: OrderEvent) -> None:
        """An order changed its status."""

    def on_end(self) -> None:
        """After the last bar of a run."""

    @property
    def is_running(self) -> bool:
        """Whether the strategy is in a run now."""
        return "_desk" in vars(self)

    # -- look ---------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time of the current bars."""
        return self._desk.now()

    def get_position(self, asset_id: str) -> float:
        """Signed units held: positive long, negative short, 0.0 flat.

        Raises:
            OrderError: The data has no such asset.
        """
        try:
            return self._desk.quantities[asset_id]
        except KeyError:
            return self._desk.position(asset_id)

    def get_positions(self) -> dict[str, float]:
        """Signed units of every asset held, by `asset_id`, sorted."""
        return dict(sorted(self._desk.portfolio.held.items()))

    def get_cash(self) -> float:
        """Money in the account, in its currency."""
        return self._desk.portfolio.cash

    def get_equity(self) -> float:
        """Cash plus the market value of all positions at their last closes."""
        return self._desk.portfolio.equity

    def get_buying_power(self) -> float:
        """Money that new entries may use now."""
        return self._desk.broker.buying_power()

    def get_last_price(self, asset_id: str) -> float:
        """Last known close of an asset; NaN before its first bar."""
        return self._desk.last_price(asset_id)

    def get_entry_price(self, asset_id: str) -> float:
        """Average fill price of the open position, commission excluded; NaN when flat."""
        try:
            return self._desk.entry_prices[asset_id]
        except KeyError:
            self._desk.position(asset_id)
            return math.nan

    def get_unrealized_pnl(self, asset_id: str) -> float:
        """Money the open position has gained since entry, commission excluded; 0.0 when flat."""
        quantity = self.get_position(asset_id)
        if not quantity:
            return 0.0
        desk = self._desk
        multiplier = desk.portfolio.instruments[desk.code(asset_id)].multiplier
        return quantity * (desk.last_price(asset_id) - self.get_entry_price(asset_id)) * multiplier

    def get_unrealized_pnl_pct(self, asset_id: str) -> float:
        """Gain of the open position as a fraction of its entry value; 0.0 when flat."""
        quantity = self.get_position(asset_id)
        if not quantity:
            return 0.0
        change = self._desk.last_price(asset_id) / self.get_entry_price(asset_id) - 1.0
        return change if quantity > 0 else -change

    def get_open_orders(self, asset_id: str | None = None) -> list[OrderEvent]:
        """Open orders of one asset, or all, in order of submission; this step's included."""
        return self._desk.open_orders(asset_id)

    def history(self, asset_id: str | None = None, n: int = 1, field: str = "close") -> np.ndarray:
        """The last `n` bars of one field, the current bar included, read-only.

        Args:
            asset_id: One asset, for float64[n] (fewer at the start of its data); or None for
                float64[n, assets] over the last timestamps, columns as in `bars.asset_ids`, NaN
                where an asset had no bar.
            n: Number of bars, from 1.
            field: "open", "high", "low", "close", "volume", or the name of a signal.

        Raises:
            DataError: An unknown field, or more bars than a streamed run keeps.
        """
        return self._desk.history(asset_id, n, field)

    # -- act: increments ----------------------------------------------------------------------

    def submit_order(self, order: Order) -> int:
        """Submit an order as it is.

        Returns:
            Its id. An order that cannot be meant ends REJECTED with a reason.

        Raises:
            OrderError: Something that is not an `Order`.
        """
        if not isinstance(order, Order):
            raise OrderError(
                f'submit_order takes an Order, such as Order("AAPL", "buy", 10), not {order!r}.'
            )
        return self._desk.submit(order)

    def buy(
        self,
        asset_id: str,
        quantity: float,
        *,
        limit_price: float | None = None,
        stop_price: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        reduce_only: bool = False,
        tag: str = "",
    ) -> int:
        """Buy units: at the market, or as a limit, stop or stop-limit order if prices are given.

        Args:
            asset_id: What to buy.
            quantity: Units, positive.
            limit_price: Highest price to pay.
            stop_price: Price from which on the order is active.
            time_in_force: "gtc", "day" or "ioc".
            reduce_only: Only cover a short position.
            tag: A word of yours that comes back in the results.

        Returns:
            The order's id.
        """
        kind = _type_for(limit_price, stop_price)
        return self._desk.submit(
            Order(
                asset_id,
                _BUY,
                float(quantity) if type(quantity) is int else quantity,
                kind,
                limit_price,
                stop_price,
                time_in_force,
                reduce_only,
                tag,
            )
        )

    def sell(
        self,
        asset_id: str,
        quantity: float,
        *,
        limit_price: float | None = None,
        stop_price: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        reduce_only: bool = False,
        tag: str = "",
    ) -> int:
        """Sell units, short if more than held; arguments as for `buy`."""
        kind = _type_for(limit_price, stop_price)
        return self._desk.submit(
            Order(
                asset_id,
                _SELL,
                float(quantity) if type(quantity) is int else quantity,
                kind,
                limit_price,
                stop_price,
                time_in_force,
                reduce_only,
                tag,
            )
        )

    def buy_percent(self, asset_id: str, percent: float, *, tag: str = "") -> int:
        """Add units worth a fraction of equity at the last close.

        Args:
            asset_id: What to buy.
            percent: Fraction of equity, 0.05 is five percent.
            tag: A word of yours.

        Returns:
            The order's id; REJECTED when it is worth less than one lot.
        """
        percent = check_fraction("percent", percent, signed=False)
        return self._desk.add_worth(asset_id, percent * self.get_equity(), tag)

    def sell_percent(self, asset_id: str, percent: float, *, tag: str = "") -> int:
        """Sell a fraction of the long position.

        Args:
            asset_id: What to sell.
            percent: Fraction of the position, 0 to 1.
            tag: A word of yours.

        Returns:
            The order's id; REJECTED "no position" when there is nothing to sell.
        """
        percent = check_fraction("percent", percent, signed=False)
        if percent > 1.0:
            raise OrderError(f"percent={percent} of a position cannot be sold; 1.0 is all of it.")
        return self._desk.sell_share(asset_id, percent, tag)

    # -- act: targets -------------------------------------------------------------------------

    def order_target(
        self, asset_id: str, quantity: float, *, tolerance: float = 0.0, tag: str = ""
    ) -> int | None:
        """Bring the position to `quantity` units, negative for short.

        Args:
            asset_id: What to hold.
            quantity: Signed units.
            tolerance: Fraction of equity; a smaller change is not traded.
            tag: A word of yours.

        Returns:
            The order's id, or None when nothing needs to trade.
        """
        return self._desk.target(asset_id, quantity, tolerance, tag)

    def order_target_value(
        self, asset_id: str, value: float, *, tolerance: float = 0.0, tag: str = ""
    ) -> int | None:
        """As `order_target`, for units worth `value` money at the last close."""
        if not math.isfinite(value):
            raise OrderError(f"value must be a finite amount of money, not {value!r}.")
        return self._desk.target_worth(asset_id, value, tolerance, tag)

    def order_target_percent(
        self, asset_id: str, percent: float, *, tolerance: float = 0.0, tag: str = ""
    ) -> int | None:
        """As `order_target`, for units worth a fraction of equity at the last close."""
        percent = check_fraction("percent", percent)
        return self._desk.target_worth(asset_id, percent * self.get_equity(), tolerance, tag)

    def size_by_confidence(
        self,
        asset_id: str,
        confidence: float,
        max_percent: float,
        *,
        tolerance: float = 0.0,
        tag: str = "",
    ) -> int | None:
        """Target a position of `confidence * max_percent` of equity.

        Args:
            asset_id: What to hold.
            confidence: 0 to 1; what lies outside is clipped.
            max_percent: Fraction of equity at full confidence; negative is short.
            tolerance: Fraction of equity; a smaller change is not traded.
            tag: A word of yours.
        """
        max_percent = check_fraction("max_percent", max_percent)
        share = check_confidence(asset_id, confidence) * max_percent
        return self._desk.target_worth(asset_id, share * self.get_equity(), tolerance, tag)

    def close_position(self, asset_id: str, *, tag: str = "") -> int | None:
        """Close the position at the market; None when there is none."""
        return self._desk.close(asset_id, tag)

    def close_all(self, *, tag: str = "") -> list[int]:
        """Close every position; the ids of the orders."""
        orders = [self._desk.close(asset_id, tag) for asset_id in self.get_positions()]
        return [order for order in orders if order is not None]

    def rebalance_to_weights(
        self,
        weights: Mapping[str, float] | np.ndarray,
        *,
        tolerance: float = 0.0,
        tag: str = "",
    ) -> int:
        """Bring the whole portfolio to target weights; assets not named go to zero.

        Args:
            weights: Fractions of equity by `asset_id`, negative for short; or an array aligned
                with `bars.asset_ids`.
            tolerance: Fraction of equity; smaller changes are not traded.
            tag: A word of yours.

        Returns:
            Number of orders sent.

        Raises:
            OrderError: Unknown assets, weights that are not finite, or that add up to more than
                the account's leverage.
        """
        return self._desk.rebalance(weights, tolerance, tag)

    def cancel_order(self, order_id: int) -> bool:
        """Cancel an open order; whether it was still open."""
        return self._desk.cancel(order_id)

    def cancel_all(self, asset_id: str | None = None) -> int:
        """Cancel the open orders of one asset, or all; how many there were."""
        return self._desk.cancel_all(asset_id)

    # -- note and time ------------------------------------------------------------------------

    def record(self, **values: float | np.number[Any] | np.bool_) -> None:
        """Put named numbers on the result, at the current time."""
        self._desk.record(values)

    def log(self, message: str) -> None:
        """Put a line on the result, at the current time."""
        self._desk.log(message)

    def every(self, rule: str | timedelta, function: Callable[..., Any]) -> None:
        """Call a function by the calendar, after `on_bars`; to be used in `on_start`.

        Args:
            rule: "month_end", "month_start", "week_end", "week_start", a time of day such as
                "15:45" (intraday bars only), or a `timedelta`. All but the last need a
                `calendar` on the engine.
            function: Called without arguments, or with `bars`, or with `bars, context`.

        Raises:
            ConfigError: An unknown rule, or one that needs a calendar and has none.
        """
        self._desk.schedule(rule, function)


def _type_for(limit_price: float | None, stop_price: float | None) -> OrderType:
    if limit_price is None:
        return OrderType.MARKET if stop_price is None else OrderType.STOP
    return OrderType.LIMIT if stop_price is None else OrderType.STOP_LIMIT
