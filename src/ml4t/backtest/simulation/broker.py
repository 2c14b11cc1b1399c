"""SimulationBroker: the parts, composed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.simulation.account import UnleveragedAccount
from ml4t.backtest.simulation.batch import BatchSettlement, is_market
from ml4t.backtest.simulation.columns import BasketMatch, ready_orders
from ml4t.backtest.simulation.commission import NoCommission
from ml4t.backtest.simulation.costs import Candidate, Costs
from ml4t.backtest.simulation.slippage import NoSlippage
from ml4t.backtest.simulation.stale import StaleWatch
from ml4t.backtest.simulation.trading import BarTrading
from ml4t.backtest.types.instrument import Instrument, round_to_lot
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.broker.basket import OpenBasket
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.commission import Commission
    from ml4t.backtest.simulation.slippage import Slippage
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News

FillAt = Literal["next_open", "next_close", "close"]
_FILL_AT = ("next_open", "next_close", "close")
_FUNDING = ("scale", "reject")
_LIMIT_FILL = ("touch", "through")


class SimulationBroker(Broker):
    """Trades recorded bars: next-bar fills, exits before entries, baskets funded as one.

    Args:
        initial_cash: Money at the start, positive.
        fill_at: Where market orders fill: "next_open" of the asset's next bar, "next_close" of
            it, or "close", the close of the bar they were decided on. The last assumes that one
            can trade at a price one has just learned; the result says so.
        commission: What a fill costs: `NoCommission()` by default. Any callable
            `(order, quantity, price, timestamp, instrument) -> money`.
        slippage: How much worse than the reference price a fill is: `NoSlippage()` by default.
            Any callable `(order, bar, quantity) -> price`.
        account: What entries may use: `UnleveragedAccount()` by default.
        instruments: `Instrument`s, for assets that are not plain shares.
        funding: When entries together need more than there is: "scale" cuts all by one factor,
            "reject" takes them in order and rejects what cannot be paid.
        fractional: Assets without an instrument trade in any fraction instead of whole shares.
        limit_fill: A limit inside a bar fills at a "touch", or only when traded "through".
        close_at_end: Close all positions at the last close, so that every trade is closed.
        stale_after: Sessions without a bar after which a held asset counts as stale.
        on_vanish: What to do with a stale holding: keep its "mark", "close" it at its last
            close, or close it at a price given as a number.

    Raises:
        ConfigError: An option out of range.
    """

    def __init__(
        self,
        initial_cash: float = 100_000.0,
        *,
        fill_at: FillAt = "next_open",
        commission: Commission | None = None,
        slippage: Slippage | None = None,
        account: Account | None = None,
        instruments: Iterable[Instrument] = (),
        funding: Literal["scale", "reject"] = "scale",
        fractional: bool = False,
        limit_fill: Literal["touch", "through"] = "touch",
        close_at_end: bool = False,
        stale_after: int = 5,
        on_vanish: Literal["mark", "close"] | float = "mark",
    ) -> None:
        super().__init__()
        self.initial_cash = _positive("initial_cash", initial_cash)
        self.fill_at = _one_of("fill_at", fill_at, _FILL_AT)
        self.commission: Commission = _callable("commission", commission, NoCommission())
        self.slippage: Slippage = _callable("slippage", slippage, NoSlippage())
        self.account: Account = _account(account)
        self.leverage = self.account.leverage
        self.instruments = _by_id(instruments)
        self.funding = _one_of("funding", funding, _FUNDING)
        self.fractional = _flag("fractional", fractional)
        self.default_lot = 0.0 if fractional else 1.0
        self.limit_fill = _one_of("limit_fill", limit_fill, _LIMIT_FILL)
        self.close_at_end = _flag("close_at_end", close_at_end)
        self.stale_after = _count("stale_after", stale_after)
        self.on_vanish = (
            _one_of("on_vanish", on_vanish, ("mark", "close"))
            if isinstance(on_vanish, str)
            else _positive("on_vanish", on_vanish)
        )
        self._staged: list[Order] = []
        self._stale: StaleWatch | None = None
        self._costs = Costs(self.commission, self.slippage)
        self._counts: dict[str, int] = {}

    # -- the verbs ----------------------------------------------------------------------------

    def start(self, portfolio: Portfolio) -> None:
        """A run begins. Orders submitted before it count as decided before its first bar."""
        super().start(portfolio)
        self._stale = StaleWatch(portfolio, self.stale_after)
        self._costs = Costs(self.commission, self.slippage)
        self._counts = {"ambiguous_bars": 0, "clipped_orders": 0, "same_close_fills": 0}
        self.submit(self._staged)

    def is_idle(self, bars: Bars) -> bool:
        """Nothing is open, and nothing held can have gone stale."""
        blotter = self.blotter
        if blotter.open or blotter.baskets:
            return False
        if bars.chunk.is_dense:
            if bars.index == 0:
                assert self._stale is not None
                self._stale.pass_dense(bars.chunk)
            return True
        assert self.portfolio is not None
        return not self.portfolio.held

    def submit(self, orders: Iterable[Order]) -> News:
        """Accept or reject each order at once; what is accepted can trade from the next bar."""
        if isinstance(orders, Basket):
            self.blotter.accept_basket(orders)
            return []
        for order in orders:
            self.submit_order(order)
        return []

    def submit_order(self, order: Order) -> int:
        """Submit one order; outside a run it waits for the first bar of every run to come.

        Returns:
            Its id.
        """
        if self.is_running:
            return self._submit_one(order)
        self._staged.append(order)
        return len(self._staged)

    def advance(self, bars: Bars) -> News:
        """Match everything that is open against `bars`."""
        blotter, portfolio = self.blotter, self.portfolio
        assert portfolio is not None
        news = self._vanish(bars)
        if blotter.is_empty:
            return news
        if not blotter.open and len(blotter.baskets) == 1 and not news and self._takes_baskets:
            batches = self._match_basket(bars, blotter.baskets[0], portfolio)
            if batches is not None:
                return batches
        trading = self._trading(bars, news)
        live = trading.tradable()
        if not live:
            return news
        resting = [pair for pair in live if not is_market(pair[0])]
        trading.at_open(live if self.fill_at == "next_open" else resting)
        if resting:
            trading.inside(resting)
        if self.fill_at == "next_close":
            trading.at_close([pair for pair in live if is_market(pair[0])])
        trading.drop(resting if self.fill_at == "close" else live)
        return self._settled(trading)

    def finish(self, bars: Bars) -> News:
        """With `fill_at="close"`, market orders fill at the close they were decided on."""
        if self.fill_at != "close" or self.blotter.is_empty:
            return []
        trading = self._trading(bars)
        live = [(w, row) for w, row in trading.tradable(at_once=True) if is_market(w)]
        trading.at_close(live)
        trading.drop(live)
        news = self._settled(trading)
        self._counts["same_close_fills"] += len(news)
        return news

    def end(self, bars: Bars) -> News:
        """With `close_at_end`, every position is closed at its last close."""
        if not self.close_at_end or self.portfolio is None:
            return []
        prices = self.portfolio.last_prices()
        codes = self.portfolio.universe.codes
        return self._close(bars, {a: float(prices[codes[a]]) for a in self.portfolio.held}, "end")

    def buying_power(self) -> float:
        """Money that new entries may use now, at the last closes, before open orders."""
        portfolio = self.portfolio
        if portfolio is None:
            return self.initial_cash
        short = portfolio.short_value(portfolio.quantity, portfolio.last_prices())
        return max(0.0, self.account.free(portfolio.cash, short))

    def settings(self) -> dict[str, Any]:
        """The assumptions behind the fills."""
        return {
            "broker": type(self).__name__,
            "initial_cash": self.initial_cash,
            "fill_at": self.fill_at,
            "commission": repr(self.commission),
            "slippage": repr(self.slippage),
            "account": repr(self.account),
            "funding": self.funding,
            "fractional": self.fractional,
            "limit_fill": self.limit_fill,
            "intrabar": "worst",
            "close_at_end": self.close_at_end,
            "stale_after": self.stale_after,
            "on_vanish": self.on_vanish,
            "instruments": [repr(i) for i in self.instruments.values()],
        }

    def counts(self) -> dict[str, int]:
        """Ambiguous bars, clipped orders, same-close fills."""
        return dict(self._counts)

    def stale_holdings(self) -> list[tuple[int, str, float]]:
        """(microseconds, asset_id, share of equity) for every session a holding was stale."""
        return self._stale.rows if self._stale is not None else []

    # -- accepting ----------------------------------------------------------------------------

    def _submit_one(self, order: Order) -> int:
        portfolio, blotter = self.portfolio, self.blotter
        assert portfolio is not None
        order, code, reason = blotter.check(order)
        if reason:
            return blotter.reject(order, reason, code)
        quantity = order.quantity
        if quantity != abs(portfolio.quantities[order.asset_id]):  # a whole position can be closed
            quantity = round_to_lot(quantity, portfolio.instruments[code].lot_size)
        if quantity == 0.0:
            return blotter.reject(order, f"below one lot: {order.quantity:g} units", code)
        return blotter.accept(order, code, quantity).order_id

    # -- what a bar's settlement is made of ----------------------------------------------------

    def _match_basket(self, bars: Bars, basket: OpenBasket, portfolio: Portfolio) -> News | None:
        """Fill a whole basket as columns; None when it has to go order by order."""
        ready, rows = ready_orders(basket, bars)
        if len(ready) == 0:
            return []
        match = BasketMatch(basket, ready, rows, bars, portfolio, self._costs)
        if not match.affords(self.account):
            return None
        order = match.order()
        order_ids = self.blotter.fill_basket(basket, ready[order], match.price[order])
        return [match.fills(order_ids, order)]

    @property
    def _takes_baskets(self) -> bool:
        """Whether a basket can be matched as columns."""
        return self.fill_at == "next_open" and self._costs.has_columns

    def _trading(self, bars: Bars, news: News | None = None) -> BarTrading:
        return BarTrading(self._settlement(bars, news), limit_fill=self.limit_fill)

    def _settled(self, trading: BarTrading) -> News:
        self._counts["ambiguous_bars"] += trading.ambiguous
        self._counts["clipped_orders"] += trading.settlement.clipped
        return trading.settlement.news

    def _settlement(self, bars: Bars, news: News | None = None) -> BatchSettlement:
        assert self.portfolio is not None
        return BatchSettlement(
            news or [],
            bars,
            self.portfolio,
            self.blotter,
            costs=self._costs,
            account=self.account,
            funding=self.funding,
        )

    # -- positions that end without a decision --------------------------------------------------

    def _vanish(self, bars: Bars) -> News:
        assert self._stale is not None
        assert self.portfolio is not None
        if bars.chunk.is_dense:
            self._stale.pass_dense(bars.chunk)
            return []
        stale = self._stale.newly_stale(bars)
        if not stale or self.on_vanish == "mark":
            return []
        last, codes = self.portfolio.last_prices(), self.portfolio.universe.codes
        given = None if isinstance(self.on_vanish, str) else self.on_vanish
        prices = {a: float(last[codes[a]]) if given is None else given for a in stale}
        return self._close(bars, prices, "vanished")

    def _close(self, bars: Bars, prices: dict[str, float], reason: str) -> News:
        """Close positions at given prices, each through an order of its own."""
        portfolio = self.portfolio
        assert portfolio is not None
        settlement = self._settlement(bars)
        for asset_id in sorted(prices):
            code, held = portfolio.universe.codes[asset_id], portfolio.quantities[asset_id]
            for working in self.blotter.working(code):
                self.blotter.end(working, OrderStatus.CANCELED, f"position closed: {reason}")
            side = OrderSide.SELL if held > 0 else OrderSide.BUY
            order = Order(asset_id, side, abs(held), reduce_only=True, tag=reason)
            working = self.blotter.accept(order, code, abs(held))
            settlement.settle([Candidate(working, -1, prices[asset_id], reason)], bars.chunk.close)
        return settlement.news


def _positive(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name} must be a positive, finite number, not {value!r}.")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, not {value!r}.")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be True or False, not {value!r}.")
    return bool(value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise ConfigError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}. "
            f"{did_you_mean(str(value), allowed)}"
        )
    return value


def _callable(name: str, value: Any, default: Any) -> Any:
    if value is None:
        return default
    if isinstance(value, type):
        raise ConfigError(f"{name} takes an object, not a class: write {value.__name__}(...).")
    if not callable(value):
        raise ConfigError(
            f"{name} must be an object that can be called, such as {default!r}, not {value!r}."
        )
    return value


def _account(account: Any) -> Account:
    if account is None:
        return UnleveragedAccount()
    if isinstance(account, type) or not hasattr(account, "free"):
        raise ConfigError(
            f"account must be an object such as {UnleveragedAccount()!r}, not {account!r}."
        )
    return account  # type: ignore[no-any-return]


def _by_id(instruments: Iterable[Instrument]) -> dict[str, Instrument]:
    if isinstance(instruments, Instrument):
        raise ConfigError("instruments takes a list; write instruments=[Instrument(...)].")
    by_id: dict[str, Instrument] = {}
    for instrument in instruments:
        if not isinstance(instrument, Instrument):
            raise ConfigError(f"instruments must be Instrument objects, not {instrument!r}.")
        if instrument.asset_id in by_id:
            raise ConfigError(f"instruments names {instrument.asset_id!r} twice.")
        by_id[instrument.asset_id] = instrument
    return by_id
