"""Strategy: the hooks a user writes, and the helpers they are written with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import OrderError
from ml4t.backtest.strategy.targets import check_confidence, check_fraction, check_rule
from ml4t.backtest.types.order import (
    Bracket,
    Order,
    OrderEvent,
    OrderSide,
    OrderType,
    TimeInForce,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date, datetime, timedelta

    import numpy as np

    from ml4t.backtest.strategy.desk import Desk
    from ml4t.backtest.types.bars import Bars, MarketEvent
    from ml4t.backtest.types.events import FillEvent

_BUY, _SELL = OrderSide.BUY, OrderSide.SELL
_MARKET, _GTC = OrderType.MARKET, TimeInForce.GTC


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

    def save_state(self) -> Any:
        """What this strategy needs after a restart of a live session, as plain values.

        Asked for after every step. Without it a session comes back by making its steps again,
        which is right for every strategy whose decisions follow from its bars. Write it, together
        with `load_state`, for what does not, such as a model that learns from the outside.

        Returns:
            None, booleans, numbers, text, bytes, and lists and dicts of them.
        """

    def load_state(self, state: Any) -> None:
        """What `save_state` gave last; called once after a restart, before new bars.

        When a strategy has this, its hooks of before are not called again, only `on_start`. What
        they asked for (orders, rules over positions, notes) is asked for again from the journal,
        and schedules and limits are where they were: there is nothing to do here but to take the
        strategy's own attributes back.
        """

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
            return self._desk.portfolio.known_quantities[asset_id]
        except KeyError:
            return self._desk.position(asset_id)

    def get_positions(self) -> dict[str, float]:
        """Signed units of every asset held, by `asset_id`, sorted."""
        return dict(sorted(self._desk.portfolio.held.items()))

    def get_position_array(self) -> np.ndarray:
        """Signed units held of each of the current `bars.asset_ids`: float64[n], a copy.

        With `get_entry_price_array` and the columns of `bars`, a decision over all assets is a
        comparison of arrays. What is held and has no bar now is not among them: count positions
        with `get_positions`. Fills and orders are told before `on_bars` gets the bars of the time:
        in `on_fill_event` and `on_order_event`, ask for the asset by name.

        Raises:
            OrderError: There are no bars yet.
        """
        return self._desk.position_column()

    def get_cash(self) -> float:
        """Money in the account, in its currency."""
        return self._desk.portfolio.cash

    def get_equity(self) -> float:
        """Cash plus the market value of all positions at their last closes."""
        return self._desk.portfolio.equity

    def get_buying_power(self) -> float:
        """Notional of purchases that can be paid for now, beside those that are ordered."""
        return self._desk.broker.buying_power()

    def get_last_price(self, asset_id: str) -> float:
        """Last known close of an asset; NaN before its first bar."""
        return self._desk.last_price(asset_id)

    def get_entry_price(self, asset_id: str) -> float:
        """Average fill price of the open position, commission excluded; NaN when flat."""
        try:
            return self._desk.portfolio.known_entry_prices[asset_id]
        except KeyError:
            return self._desk.entry_price(asset_id)

    def get_entry_price_array(self) -> np.ndarray:
        """Entry prices of the current `bars.asset_ids`: float64[n], NaN where flat.

        Raises:
            OrderError: There are no bars yet.
        """
        return self._desk.entry_price_column()

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
            DataError: An unknown field, `n` that is no whole number from 1, or more bars than a
                streamed run keeps.
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
        trail_amount: float | None = None,
        trail_percent: float | None = None,
        limit_offset: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_at: datetime | date | None = None,
        reduce_only: bool = False,
        tag: str = "",
    ) -> int:
        """Buy units: at the market, or as a limit, stop or trailing order if prices are given.

        Args:
            asset_id: What to buy.
            quantity: Units, positive.
            limit_price: Highest price to pay.
            stop_price: Price from which on the order is active.
            trail_amount: Distance of a trailing stop to the best price, in money per unit.
            trail_percent: The same as a fraction: 0.05 is five percent.
            limit_offset: With a trail: how far beyond the stop the limit lies.
            time_in_force: "gtc", "gtd", "day", "ioc", "fok", "opg" or "cls".
            expires_at: The last time, or date, of a "gtd" order.
            reduce_only: Only cover a short position.
            tag: A word of yours that comes back in the results.

        Returns:
            The order's id.
        """
        units = float(quantity) if type(quantity) is int else quantity
        is_trailing = trail_amount is not None or trail_percent is not None
        kind = _type_for(limit_price, stop_price, limit_offset, is_trailing=is_trailing)
        is_plain = kind is _MARKET and time_in_force is _GTC and expires_at is None
        if is_plain and limit_offset is None:
            return self._desk.market(asset_id, _BUY, units, tag, reduce_only=reduce_only)
        return self._desk.submit(
            Order(
                asset_id,
                _BUY,
                units,
                kind,
                limit_price,
                stop_price,
                trail_amount,
                trail_percent,
                time_in_force,
                expires_at,
                reduce_only,
                tag,
                limit_offset,
            )
        )

    def sell(
        self,
        asset_id: str,
        quantity: float,
        *,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail_amount: float | None = None,
        trail_percent: float | None = None,
        limit_offset: float | None = None,
        time_in_force: TimeInForce | str = TimeInForce.GTC,
        expires_at: datetime | date | None = None,
        reduce_only: bool = False,
        tag: str = "",
    ) -> int:
        """Sell units, short if more than held; arguments as for `buy`."""
        units = float(quantity) if type(quantity) is int else quantity
        is_trailing = trail_amount is not None or trail_percent is not None
        kind = _type_for(limit_price, stop_price, limit_offset, is_trailing=is_trailing)
        is_plain = kind is _MARKET and time_in_force is _GTC and expires_at is None
        if is_plain and limit_offset is None:
            return self._desk.market(asset_id, _SELL, units, tag, reduce_only=reduce_only)
        return self._desk.submit(
            Order(
                asset_id,
                _SELL,
                units,
                kind,
                limit_price,
                stop_price,
                trail_amount,
                trail_percent,
                time_in_force,
                expires_at,
                reduce_only,
                tag,
                limit_offset,
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

    def bracket(
        self,
        asset_id: str,
        quantity: float,
        *,
        stop_loss: float | None = None,
        take_profit: float | None = None,
        limit_price: float | None = None,
        tag: str = "",
    ) -> Bracket:
        """Enter a position together with the orders that leave it.

        The exits wait for the entry, work as many units as it has filled, only ever reduce the
        position, and cancel each other. After an entry at the open they can trade in that bar.

        Args:
            asset_id: What to trade.
            quantity: Units; negative sells short.
            stop_loss: Price at which a loss is cut.
            take_profit: Price at which a profit is taken.
            limit_price: Worst price of the entry; at the market when left out.
            tag: A word of yours, on all of them.

        Returns:
            The orders' ids.

        Raises:
            OrderError: No exit is given, or the prices are in the wrong order.
        """
        return self._desk.bracket(asset_id, quantity, stop_loss, take_profit, limit_price, tag)

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

    def replace_order(
        self,
        order_id: int,
        *,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail_amount: float | None = None,
        trail_percent: float | None = None,
        limit_offset: float | None = None,
    ) -> bool:
        """Change an open order, which keeps its id and what it has filled.

        Args:
            order_id: Which one.
            quantity: Units in all, those that have filled included.
            limit_price: Its new limit, for an order that has one.
            stop_price: Its new stop, likewise; a stop-limit order waits for it again.
            trail_amount: Its new trail, likewise, starting from the last close.
            trail_percent: The same as a fraction.
            limit_offset: Likewise.

        Returns:
            Whether it was still open.

        Raises:
            OrderError: What it would be cannot be meant, or fewer units than have filled.
        """
        changes = {
            "quantity": quantity,
            "limit_price": limit_price,
            "stop_price": stop_price,
            "trail_amount": trail_amount,
            "trail_percent": trail_percent,
            "limit_offset": limit_offset,
        }
        given = {name: value for name, value in changes.items() if value is not None}
        return self._desk.replace(order_id, given)

    def cancel_order(self, order_id: int) -> bool:
        """Cancel an open order; whether it was still open."""
        return self._desk.cancel(order_id)

    def cancel_all(self, asset_id: str | None = None) -> int:
        """Cancel the open orders of one asset, or all; how many there were."""
        return self._desk.cancel_all(asset_id)

    # -- act: rules over positions ------------------------------------------------------------

    def set_stop_loss(
        self,
        asset_id: str | None = None,
        *,
        percent: float | None = None,
        amount: float | None = None,
    ) -> None:
        """Close a position when the price has gone so far against its average entry price.

        As all rules over positions: for one asset, its position of now included, or without one
        for every position opened from now on. The rule rests as an order of the position's size,
        follows it when it changes, and gives the exit its reason. Without a distance, the rule
        ends.

        Args:
            asset_id: Which asset; every one when left out.
            percent: Distance as a fraction of the entry price: 0.05 is five percent.
            amount: Distance in money per unit.
        """
        self._desk.watch(asset_id, check_rule("stop_loss", percent, amount))

    def set_take_profit(
        self,
        asset_id: str | None = None,
        *,
        percent: float | None = None,
        amount: float | None = None,
    ) -> None:
        """Close a position when the price has gone so far in its favour; see `set_stop_loss`."""
        self._desk.watch(asset_id, check_rule("take_profit", percent, amount))

    def set_trailing_stop(
        self,
        asset_id: str | None = None,
        *,
        percent: float | None = None,
        amount: float | None = None,
    ) -> None:
        """Close a position when the price comes back so far from its best; see `set_stop_loss`."""
        self._desk.watch(asset_id, check_rule("trailing_stop", percent, amount))

    def set_time_exit(self, asset_id: str | None = None, *, bars: int | None = None) -> None:
        """Close a position at the market once it has lasted some bars of its asset.

        The bar at whose open, or inside which, it was opened is the first. The order goes out
        after the last one, and trades where market orders do.

        Args:
            asset_id: Which asset; every one when left out.
            bars: How many; None ends the rule.
        """
        self._desk.watch(asset_id, check_rule("time_exit", bars=bars))

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


def _type_for(
    limit_price: float | None,
    stop_price: float | None,
    limit_offset: float | None,
    *,
    is_trailing: bool,
) -> OrderType:
    if is_trailing:
        return OrderType.TRAILING_STOP if limit_offset is None else OrderType.TRAILING_STOP_LIMIT
    if limit_price is None:
        return OrderType.MARKET if stop_price is None else OrderType.STOP
    return OrderType.LIMIT if stop_price is None else OrderType.STOP_LIMIT
