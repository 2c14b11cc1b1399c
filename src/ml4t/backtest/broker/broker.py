"""The contract every broker fulfils, simulated or real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ml4t.backtest.broker.blotter import Blotter
from ml4t.backtest.types.bars import Universe
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ml4t.backtest.portfolio.portfolio import Portfolio
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
        portfolio: Read-only for a broker; None before a run.
        on_news: Where the plain calls report news; set by the engine.
        is_running: Between `start` and `stop`; a broker is in one run at a time.
    """

    initial_cash: float = 100_000.0
    default_lot: float = 1.0
    leverage: float = 1.0
    instruments: Mapping[str, Instrument] = {}
    portfolio: Portfolio | None = None
    is_running: bool = False
    on_news: Callable[[News], None] | None = None

    def __init__(self) -> None:
        self.blotter = Blotter(Universe())

    def start(self, portfolio: Portfolio) -> None:
        """A run begins: a new blotter on the run's universe, and the portfolio to read."""
        self.portfolio = portfolio
        self.blotter = Blotter(portfolio.universe)
        self.is_running = True

    def is_idle(self, bars: Bars) -> bool:
        """Whether `advance`, `check_margin` and `finish` would have nothing to do with `bars`.

        The engine skips them then. False is always right.
        """
        del bars
        return False

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
        self.on_news = None

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
        """Money that new entries may use now."""
        return self.get_cash()
