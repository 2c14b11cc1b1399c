"""The contract every broker fulfils, simulated or real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ml4t.backtest.broker.blotter import Blotter
from ml4t.backtest.broker.ticks import on_grid
from ml4t.backtest.broker.watchers import Watchers
from ml4t.backtest.errors import ConfigError, OrderError
from ml4t.backtest.types.bars import Universe
from ml4t.backtest.types.instrument import round_to_lot
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.action import Action
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order


class Broker(ABC):
    """Takes orders and reports what happened to them.

    The engine calls the verbs in the order of a step: `advance` when new bars are known,
    `check_margin` after positions are marked, `submit` for what the strategy decides, `finish`
    when it has decided. Each returns the news: fills, in the order they happened. The engine
    books them in the portfolio; a broker never changes the portfolio itself. Orders live in
    `blotter`, which gives ids and remembers every end with its reason.

    A broker of your own implements `advance` and `submit`; the other verbs have defaults that do
    nothing.

    Attributes:
        initial_cash: Money the account starts with.
        instruments: Multiplier and lot by `asset_id`.
        default_lot: Lot of assets without an instrument: 1 is whole shares, 0 fractional.
        leverage: Largest sum of absolute weights that `rebalance_to_weights` accepts.
        blotter: The book of the run's orders.
        watchers: The rules that watch over the run's positions; set by `start`.
        portfolio: Read-only for a broker; None before a run.
        calendar: The engine's trading calendar, if it has one.
        on_news: Where the plain calls report news; set by the engine.
        take_plain: A short way for market orders with nothing but asset, side, units, tag and
            `reduce_only`: it returns the order's id, or 0 for one that has to go the long way. None
            when every order goes through `submit_order`. Settled when a run starts.
        is_over: The account is bankrupt; the engine ends the run after `check_margin`.
        is_running: Between `start` and `stop`; a broker is in one run at a time.
    """

    initial_cash: float = 100_000.0
    default_lot: float = 1.0
    leverage: float = 1.0
    instruments: Mapping[str, Instrument] = {}
    portfolio: Portfolio | None = None
    calendar: TradingCalendar | None = None
    watchers: Watchers
    is_over: bool = False
    is_running: bool = False
    on_news: Callable[[News], None] | None = None
    take_plain: Callable[..., int] | None = None

    def __init__(self) -> None:
        self.blotter = Blotter(Universe())

    def start(self, portfolio: Portfolio) -> None:
        """A run begins: a new blotter on the run's universe, and the portfolio to read."""
        self.portfolio = portfolio
        self.blotter = Blotter(portfolio.universe)
        self.blotter.lot_of = lambda code: portfolio.instruments[code].lot_size
        self.blotter.price_of = lambda code: portfolio.last_price(portfolio.universe.ids[code])
        self.watchers = Watchers(self.blotter, portfolio)
        self.is_running = True
        self.is_over = False

    def is_idle(self, bars: Bars) -> bool:
        """Whether `advance`, `check_margin` and `finish` would have nothing to do with `bars`.

        The engine skips them then, and asks again after the strategy if it has ordered anything
        or a rule watches over positions. False is always right.
        """
        del bars
        return False

    def adjust(self, bars: Bars, action: Action) -> News:
        """A corporate action takes effect with `bars`: what it does to positions and orders.

        Called before `advance`, on what was held and ordered before these bars.

        Raises:
            ConfigError: This broker does not work out corporate actions.
        """
        raise ConfigError(
            f"{type(self).__name__} does not apply corporate actions ({action.kind} of "
            f"{action.asset_id!r} at {bars.timestamp}). Leave actions= out, or give it `adjust`."
        )

    @abstractmethod
    def advance(self, bars: Bars) -> News:
        """What happened to open orders in these bars, decided before them."""

    @abstractmethod
    def submit(self, orders: Iterable[Order]) -> News:
        """Take orders, each accepted or rejected in the blotter at once.

        `orders` may be a `Basket`, whose columns a broker can use instead of its items.
        """

    def check_margin(self, bars: Bars) -> News:
        """Positions are marked at `bars`: what the account forces now."""
        del bars
        return []

    def finish(self, bars: Bars) -> News:
        """The strategy has decided on `bars`: what still happens at their close."""
        del bars
        return []

    def end(self, bars: Bars) -> News:
        """The data has ended with `bars`: what happens last."""
        del bars
        return []

    def stop(self) -> None:
        """The run is over, be it by an error; nothing of it can trade any more."""
        self.is_running = False
        self.on_news = self.take_plain = None

    def cancel(self, order_id: int, reason: str = "canceled by the strategy") -> bool:
        """Take an open order out of the book.

        Returns:
            Whether it was open.
        """
        working = self.blotter.get(order_id)
        if working is None:
            return False
        self.blotter.end(working, OrderStatus.CANCELED, reason)
        return True

    def replace(self, order_id: int, **changes: float) -> bool:
        """Change an open order: its `quantity` (in all), prices, or trail.

        It counts as decided now. It keeps its id and what it has filled.

        Returns:
            Whether it was open.

        Raises:
            OrderError: What it would be cannot be meant, or leaves no unit beyond those that have
                filled, of it and of the others of its `oco`.
        """
        working = self.blotter.get(order_id)
        if working is None:
            return False
        order, _, reason = self.blotter.check(structs.replace(working.order, **changes))
        if reason:
            raise OrderError(f"Order {order_id} cannot become that: {reason}.")
        if self.portfolio is not None and (
            tick := self.portfolio.instruments[working.code].tick_size
        ):
            order = on_grid(order, tick)
        quantity = self._whole_lots(order.quantity, working.code)
        if quantity <= working.filled + working.taken:
            others = f", and others of its oco {working.taken:g}" if working.taken else ""
            raise OrderError(
                f"Order {order_id} has filled {working.filled:g} units{others}; "
                f"{order.quantity:g} in all leave nothing to fill. Cancel it instead."
            )
        self.blotter.replace(working, order, quantity)
        return True

    def _whole_lots(self, quantity: float, code: int) -> float:
        if self.portfolio is None:
            return quantity
        return round_to_lot(quantity, self.portfolio.instruments[code].lot_size)

    def settings(self) -> dict[str, Any]:
        """What a result should say about the assumptions made, as plain JSON values."""
        return {"broker": type(self).__name__, "initial_cash": self.initial_cash}

    def counts(self) -> dict[str, int]:
        """What a reader of the result should know about, counted over the run."""
        return {}

    def stale_holdings(self) -> list[tuple[int, str, float]]:
        """(microseconds, asset_id, share of equity) for every session a holding was stale."""
        return []

    # -- the three plain calls ----------------------------------------------------------------

    def submit_order(self, order: Order) -> int:
        """Submit one order.

        Returns:
            Its id. Whether it was accepted shows in the blotter, the hooks and the result.
        """
        news = self.submit((order,))
        if news and self.on_news is not None:
            self.on_news(news)
        return self.blotter.count

    def get_position(self, asset_id: str) -> float:
        """Signed units held; 0.0 when flat."""
        if self.portfolio is None:
            return 0.0
        return self.portfolio.quantities.get(asset_id, 0.0)

    def get_cash(self) -> float:
        """Money in the account."""
        return self.initial_cash if self.portfolio is None else self.portfolio.cash

    def buying_power(self) -> float:
        """Notional of purchases that can be paid for now."""
        return self.get_cash()
