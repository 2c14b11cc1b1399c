"""SimulationBroker: the parts, composed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.broker.counter import Counter
from ml4t.backtest.broker.trailing import start_trail
from ml4t.backtest.data.frames import as_feed
from ml4t.backtest.kernels import is_compiled
from ml4t.backtest.simulation import options
from ml4t.backtest.simulation.actions import effect_of, is_unlike
from ml4t.backtest.simulation.batch import BatchSettlement, is_market
from ml4t.backtest.simulation.clearing import Clearing
from ml4t.backtest.simulation.columns import BasketMatch
from ml4t.backtest.simulation.commission import NoCommission
from ml4t.backtest.simulation.costs import Candidate, Costs
from ml4t.backtest.simulation.financing import Interest
from ml4t.backtest.simulation.hours import Hours
from ml4t.backtest.simulation.in_rounds import check_middle
from ml4t.backtest.simulation.levels import Levels
from ml4t.backtest.simulation.liquidity import UnlimitedLiquidity
from ml4t.backtest.simulation.slippage import NoSlippage
from ml4t.backtest.simulation.stale import StaleWatch
from ml4t.backtest.simulation.trading import BarTrading
from ml4t.backtest.types.events import CashEvent
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.broker.basket import Gathering, OpenBasket
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.account import Account
    from ml4t.backtest.simulation.admission import CashAtSubmission
    from ml4t.backtest.simulation.commission import Commission
    from ml4t.backtest.simulation.finer import FinerBars
    from ml4t.backtest.simulation.four_prices import FourPrices
    from ml4t.backtest.simulation.in_rounds import InRounds
    from ml4t.backtest.simulation.liquidity import Liquidity
    from ml4t.backtest.simulation.one_by_one import OneByOne
    from ml4t.backtest.simulation.profiles import Profile
    from ml4t.backtest.simulation.slippage import Slippage
    from ml4t.backtest.simulation.trading import Live
    from ml4t.backtest.types.action import Action
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.instrument import Instrument

FillAt = Literal["next_open", "next_middle", "next_close", "close"]
_FILL_AT = ("next_open", "next_middle", "next_close", "close")
_FUNDING = ("scale", "reject")
_LIMIT_FILL = ("touch", "through")
_INTRABAR = ("worst", "best", "ohlc", "olhc")
# What a bankrupt account's last orders and fills say.
RUIN = "bankrupt"
_MARKET = OrderType.MARKET
_TRAILS = frozenset({"trail_amount", "trail_percent", "limit_offset"})
_AUCTIONS = frozenset({TimeInForce.OPG, TimeInForce.CLS})


class SimulationBroker(Broker):
    """Trades recorded bars: next-bar fills, exits before entries, baskets funded as one.

    Args:
        initial_cash: Money at the start, positive.
        fill_at: Where market orders fill: "next_open" of the asset's next bar, "next_close" of
            it, or "close", the close of the bar they were decided on. The last assumes that one
            can trade at a price one has just learned; the result says so. "next_middle", halfway
            between high and low, needs `matching=InRounds()`.
        commission: What a fill costs: `NoCommission()` by default. Any callable
            `(order, quantity, price, timestamp, instrument) -> money`.
        slippage: How much worse than the reference price a fill is: `NoSlippage()` by default.
            Any callable `(order, bar, quantity) -> price`.
        liquidity: How much of an order a bar can take: `UnlimitedLiquidity()` by default. Any
            callable `(order, bar) -> units`. What does not fit stays open.
        account: What entries may use, and what must be kept: `UnleveragedAccount()` by default,
            `CashAccount()`, `MarginAccount()`, or one of your own.
        rates: Interest on cash: none by default, an `Interest`, or what one is made from (a
            number such as 0.05 a year, a mapping from dates, a table).
        borrow: Fee for shares sold short: none by default but that of instruments, a
            `BorrowFee`, or what one is made from (a number, a mapping from assets, a table).
        instruments: `Instrument`s, for assets that are not plain shares.
        currency: What cash and all prices are in.
        funding: When entries together need more than there is: "scale" cuts all by one factor,
            "reject" takes them in order and rejects what cannot be paid.
        fractional: Assets without an instrument trade in any fraction instead of whole shares.
        limit_fill: A limit inside a bar fills at a "touch", or only when traded "through".
        intrabar: What is assumed of the path inside a bar where it matters: that the "worst" or
            the "best" of two touches comes first, or that the price goes from the open to the
            high, the low and the close ("ohlc"), or to the low first ("olhc").
        intrabar_feed: Finer bars of the same assets, say minutes under daily bars, as a feed or
            what one is made from: resting orders trade in the order in which these meet them, and
            `intrabar` holds inside the finer bars only, and where there are none.
        close_at_end: Close all positions at the last close, so that every trade is closed.
        stale_after: Sessions without a bar after which a held asset counts as stale.
        on_vanish: What to do with a stale holding: keep its "mark", "close" it at its last
            close, or close it at a price given as a number.
        matching: `OneByOne(...)` to try orders one after another, `InRounds(...)` to do so at one
            price of the bar, `FourPrices(...)` to take a bar for four trades; left out, a bar is
            gone through by its moments, exits before entries, entries funded together.
        admission: `CashAtSubmission(...)` to refuse what cash would not pay for where it was
            decided; left out, affordability is judged when an order fills.

    Raises:
        ConfigError: An option out of range.
    """

    _clearing: Clearing  # of the run
    _counter: Counter
    _hours: Hours

    def __init__(
        self,
        initial_cash: float = 100_000.0,
        *,
        fill_at: FillAt = "next_open",
        commission: Commission | None = None,
        slippage: Slippage | None = None,
        liquidity: Liquidity | None = None,
        account: Account | None = None,
        rates: Any = None,
        borrow: Any = None,
        instruments: Iterable[Instrument] = (),
        currency: str = "USD",
        funding: Literal["scale", "reject"] = "scale",
        fractional: bool = False,
        limit_fill: Literal["touch", "through"] = "touch",
        intrabar: Literal["worst", "best", "ohlc", "olhc"] = "worst",
        intrabar_feed: Any = None,
        close_at_end: bool = False,
        stale_after: int = 5,
        on_vanish: Literal["mark", "close"] | float = "mark",
        matching: OneByOne | InRounds | FourPrices | None = None,
        admission: CashAtSubmission | None = None,
    ) -> None:
        super().__init__()
        self.initial_cash = options.positive("initial_cash", initial_cash)
        self.fill_at = options.one_of("fill_at", fill_at, _FILL_AT)
        self.commission: Commission = options.called("commission", commission, NoCommission())
        self.slippage: Slippage = options.called("slippage", slippage, NoSlippage())
        self.liquidity: Liquidity = options.called("liquidity", liquidity, UnlimitedLiquidity())
        self.account: Account = options.account_of(account)
        self.currency = options.currency_of(currency)
        self.instruments = options.instruments_by_id(instruments, self.currency)
        self._has_ticks = any(i.tick_size for i in self.instruments.values())
        self.leverage = self.account.leverage_with(self.instruments.values())
        self.interest = rates if rates is None or isinstance(rates, Interest) else Interest(rates)
        self.borrow = options.borrow_of(borrow, self.instruments)
        self.funding = options.one_of("funding", funding, _FUNDING)
        self.fractional = options.flag("fractional", fractional)
        self.default_lot = 0.0 if fractional else 1.0
        self.limit_fill = options.one_of("limit_fill", limit_fill, _LIMIT_FILL)
        self.intrabar = options.one_of("intrabar", intrabar, _INTRABAR)
        self.intrabar_feed = None if intrabar_feed is None else as_feed(intrabar_feed)
        self.close_at_end = options.flag("close_at_end", close_at_end)
        self.stale_after = options.count("stale_after", stale_after)
        self.on_vanish = (
            options.one_of("on_vanish", on_vanish, ("mark", "close"))
            if isinstance(on_vanish, str)
            else options.positive("on_vanish", on_vanish)
        )
        self.matching = options.matching_of(matching, self.intrabar, self.intrabar_feed)
        check_middle(self.fill_at, self.matching)
        self.admission = options.admission_of(admission)
        self.profile: Profile | None = None
        self._profile_said = ""
        self._admitted = 0  # how many of the blotter's orders have been asked
        self._staged: list[Order] = []
        self._stale: StaleWatch | None = None
        self._levels: Levels | None = None
        self._finer: FinerBars | None = None
        self._taken: tuple[int, dict[int, float]] = -1, {}  # the step, and units by code
        self._costs = Costs(self.commission, self.slippage)
        self._counts: dict[str, int] = {}

    @classmethod
    def like(cls, engine: str, **overrides: Any) -> Self:
        """A broker with the rules of another engine, put together from the ordinary parts.

        What is proven, against which version, and what differs is in the page about parity.

        Args:
            engine: "backtesting.py", "backtrader", "bt", "nautilus", "pybroker", "vectorbt" or
                "zipline".
            overrides: Options of this class, instead of the profile's. The result says which of
                its rules they replace.

        Raises:
            ConfigError: There is no profile of that name, or an option is out of range.

        Example:
            >>> SimulationBroker.like("backtrader", initial_cash=50_000).profile.version
            '1.9.78.123'
        """
        from ml4t.backtest.simulation.profiles import profile_of

        profile = profile_of(engine)
        own = profile.options()
        broker, plain = cls(**(own | overrides)), SimulationBroker(**own).settings()
        given = broker.settings() | {"broker": plain["broker"]}
        changed = [name for name in plain if given[name] != plain[name]]
        broker.profile, broker._profile_said = profile, profile.said_of(changed)
        return broker

    # -- the verbs ----------------------------------------------------------------------------

    def start(self, portfolio: Portfolio) -> None:
        """A run begins. Orders submitted before it count as decided before its first bar."""
        super().start(portfolio)
        if self.intrabar_feed is not None:
            from ml4t.backtest.simulation.finer import FinerBars

            self._finer = FinerBars(self.intrabar_feed, portfolio.universe, self.calendar)
        self._taken = -1, {}
        self._admitted = 0
        self._stale = StaleWatch(portfolio, self.stale_after)
        self._costs = Costs(self.commission, self.slippage)
        self._costs.start()
        self._counts = {"ambiguous_bars": 0, "clipped_orders": 0, "same_close_fills": 0}
        self._clearing = Clearing(
            self.account,
            self.interest,
            self.borrow,
            portfolio=portfolio,
            blotter=self.blotter,
            calendar=self.calendar,
        )
        self._hours = Hours(self.calendar)
        self._counter = Counter(portfolio, self.blotter, self.calendar)
        # In plain NumPy a few orders are quicker one by one.
        self._can_take_baskets = (
            self.fill_at == "next_open"
            and self.matching is None
            and self._costs.has_columns
            and type(self.liquidity) is UnlimitedLiquidity
            and not self._has_ticks
        )
        self.blotter.gathers = is_compiled and self._takes_baskets and self.admission is None
        is_own = type(self).submit_order is _SUBMIT_ORDER
        has_short_way = self.blotter.gathers and is_own and "submit_order" not in vars(self)
        self.take_plain = self._counter.take_plain if has_short_way else None
        self._levels = None  # what they look at is their own affair
        if self.matching is None and self.admission is None:
            self._levels = Levels(self.blotter, looks_at_all=self._finer is not None)
        self.submit(self._staged)

    def is_idle(self, bars: Bars) -> bool:
        """Nothing can trade or is due in the account, and nothing held can have gone stale."""
        blotter, portfolio = self.blotter, self.portfolio
        assert portfolio is not None
        if blotter.baskets or portfolio.short_count or portfolio.cash < 0.0:
            return False
        if blotter.open and (self._levels is None or not self._levels.are_quiet(bars)):
            return False
        if self.watchers.is_used and self.watchers.counts_bars:
            return False
        if self._clearing.accrues and self._clearing.is_due(bars):
            return False
        stale = self._stale
        assert stale is not None
        if bars.chunk.is_dense:
            if bars.index == 0:
                stale.pass_dense(bars.chunk)
            return True
        return not stale.is_due(bars)

    def submit(self, orders: Iterable[Order]) -> News:
        """Accept or reject each order at once; what is accepted can trade from the next bar."""
        if isinstance(orders, Basket) and not self.is_over:
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
            return self._counter.take(order)
        self._staged.append(order)
        return len(self._staged)

    def replace(self, order_id: int, **changes: float) -> bool:
        """As any broker's; a trailing stop starts anew from the last close."""
        was_open = super().replace(order_id, **changes)
        working = self.blotter.get(order_id)
        if working is not None and not _TRAILS.isdisjoint(changes):
            assert self.portfolio is not None
            start_trail(working, self.portfolio.last_price(working.order.asset_id))
        return was_open

    def adjust(self, bars: Bars, action: Action) -> News:
        """What a corporate action does to positions and open orders."""
        assert self.portfolio is not None
        if is_unlike(action, bars, self.portfolio):
            self._counts["splits_unlike_prices"] = self._counts.get("splits_unlike_prices", 0) + 1
        assert self._stale is not None
        self._stale.look_again()
        return effect_of(action, bars, self.portfolio, self.blotter, self.watchers)

    def advance(self, bars: Bars) -> News:
        """Book what is due, then match everything that is open against `bars`."""
        news = self._match(bars, self._clearing.advance(bars))
        self._clearing.account.book(news, bars)
        return news

    def check_margin(self, bars: Bars) -> News:
        """Watch the margin; an account without equity is closed, and the run with it."""
        assert self.portfolio is not None
        if not self._clearing.is_at_risk:
            return []
        if self.portfolio.equity <= 0.0 and self.account.ends_at_zero:
            return self._ruin(bars)
        self._clearing.watch()
        return []

    def _match(self, bars: Bars, due: News) -> News:
        """What was due, and everything that trades in `bars`."""
        blotter = self.blotter
        news = due + self._vanish(bars)
        if self.admission is not None:
            self._admit(bars)
        if blotter.is_empty:
            return news
        baskets, levels = blotter.baskets, self._levels
        if levels is not None and (not blotter.open or levels.are_quiet(bars)):
            if not baskets:
                return news
            is_calm = len(news) == len(due) and blotter.stands_alone(baskets[0])
            if len(baskets) == 1 and is_calm and self._takes_baskets:
                batches = self._match_basket(bars, baskets[0], due)
                if batches is not None:
                    return due + batches
        trading = self._trading(bars, news)
        orders = blotter.working()
        if levels is not None:
            codes = levels.due(bars)
            orders = [working for working in orders if working.code in codes]
        live = trading.tradable(orders)
        if not live:
            return news
        try:
            self._trade(trading, live)
        except Exception:  # what traded before it has happened all the same
            self._report(trading)
            raise
        return self._settled(trading)

    def _trade(self, trading: BarTrading, live: list[Live]) -> None:
        """Open, inside, close: what becomes of the orders that can trade in these bars."""
        if self.matching is not None:
            tried = self.matching.run(trading, live, self.fill_at, self.watchers)
            trading.drop(tried)
            return
        opening, resting, closing = trading.phases(live, self.fill_at)
        trading.at_open(opening)
        if resting or self.blotter.links.activated:
            if self._finer is None:
                trading.inside(resting)
            else:
                self._descend(trading, resting)
        if closing:
            with self.watchers.at_close():
                trading.at_close(closing)
        trading.drop(opening)
        trading.drop(resting)  # what joined it inside the bar, too
        trading.drop(closing)

    def _admit(self, bars: Bars) -> None:
        """Ask of every order that came since the last bar whether it may trade at all."""
        blotter, portfolio = self.blotter, self.portfolio
        assert self.admission is not None
        assert portfolio is not None
        blotter.unpack()
        orders = blotter.singles[self._admitted :]
        self._admitted = len(blotter.singles)
        for working, reason in self.admission.refused(
            orders, portfolio, self._costs, bars.timestamp
        ):
            blotter.end(working, OrderStatus.REJECTED, reason)
            entry = blotter.get(working.order.after) if working.order.after else None
            if entry is not None and not entry.filled:
                text = f"order {working.order_id}, which waits for it, was rejected"
                blotter.end(entry, OrderStatus.CANCELED, text)

    def _report(self, trading: BarTrading) -> None:
        if self.on_news is not None:
            self.on_news(trading.settlement.news)

    def finish(self, bars: Bars) -> News:
        """With `fill_at="close"`, market orders fill at the close they were decided on."""
        if self.watchers.counts_bars:
            for order in self.watchers.pass_bar(bars):
                self.submit_order(order)
        for order in self._clearing.forced():
            self._counter.take(order)
        if self.fill_at != "close" or self.blotter.is_empty:
            return []
        if self.admission is not None:
            self._admit(bars)
        trading = self._trading(bars)
        now = self.blotter.now_us if getattr(self.matching, "on_arrival", False) else None
        new = [w for w in self.blotter.working() if w.session is None or is_market(w)]
        live = [
            (w, row)
            for w, row in trading.tradable(new, at_once=True)
            if (is_market(w) or w.decided_at == now) and w.time_in_force not in _AUCTIONS
        ]
        try:
            if self.matching is None:
                trading.at_close(live)
            else:
                self.matching.at_close(trading, live)
            trading.drop(live)
        except Exception:
            self._report(trading)
            raise
        news = self._settled(trading)
        self._counts["same_close_fills"] += len(news)
        self._clearing.account.book(news, bars)
        return news

    def end(self, bars: Bars) -> News:
        """With `close_at_end`, every position is closed at its last close."""
        if not self.close_at_end or self.portfolio is None:
            return []
        prices = self.portfolio.last_prices()
        codes = self.portfolio.universe.codes
        return self._close(bars, {a: float(prices[codes[a]]) for a in self.portfolio.held}, "end")

    def buying_power(self) -> float:
        """Notional of purchases that the account could pay for now, beside those ordered.

        At the last closes and before costs. Entries among the open orders have reserved theirs,
        and what open exits will free does not count yet.
        """
        if self.portfolio is None:
            return self.account.power(self.initial_cash)
        return self._clearing.buying_power()

    @property
    def unsettled_cash(self) -> float:
        """Proceeds of sales in the cash that have not settled; 0.0 but in a `CashAccount`."""
        return 0.0 if self.portfolio is None else self._clearing.account.unsettled()

    def settings(self) -> dict[str, Any]:
        """The assumptions behind the fills."""
        named = {} if self.profile is None else {"profile": self._profile_said}
        return {
            "broker": type(self).__name__,
            **named,
            "initial_cash": self.initial_cash,
            "currency": self.currency,
            "fill_at": self.fill_at,
            "commission": repr(self.commission),
            "slippage": repr(self.slippage),
            "liquidity": repr(self.liquidity),
            "account": repr(self.account),
            "rates": None if self.interest is None else repr(self.interest),
            "borrow": None if self.borrow is None else repr(self.borrow),
            "funding": self.funding,
            "fractional": self.fractional,
            "limit_fill": self.limit_fill,
            "intrabar": self.intrabar,
            "intrabar_feed": None if self._finer is None else self._finer.describe(),
            "close_at_end": self.close_at_end,
            "stale_after": self.stale_after,
            "on_vanish": self.on_vanish,
            "matching": None if self.matching is None else repr(self.matching),
            "admission": None if self.admission is None else repr(self.admission),
            "instruments": [repr(i) for i in self.instruments.values()],
        }

    def counts(self) -> dict[str, int]:
        """Ambiguous bars, clipped orders, same-close fills, and what the account counts."""
        counts = self._counts | ({} if self.portfolio is None else self._clearing.counts())
        return counts | ({} if self._finer is None else self._finer.counts())

    def stale_holdings(self) -> list[tuple[int, str, float]]:
        """(microseconds, asset_id, share of equity) for every session a holding was stale."""
        return self._stale.rows if self._stale is not None else []

    # -- what a bar's settlement is made of ----------------------------------------------------

    def _descend(self, trading: BarTrading, resting: list[Live]) -> None:
        """Trade inside bars by the finer feed; by assumption where it has no bars."""
        from ml4t.backtest.simulation.descent import Descent

        finer, bars = self._finer, trading.bars
        assert finer is not None
        trading.join_activated(resting)
        portfolio = trading.portfolio
        codes = [w.code for w in self.blotter.links.pending.values()]
        if portfolio.short_count or self.leverage > 1.0:  # what is held bears on buying power
            codes += [portfolio.universe.codes[asset_id] for asset_id in portfolio.held]
        rows = [row for working, row in resting if trading.is_open(working)]
        lanes = finer.inside(bars, [*rows, *(row for row in bars.chunk_rows_of(codes) if row >= 0)])
        Descent(trading, lanes, finer.moments, finer.axis).run(resting)
        assumed = [pair for pair in resting if pair[1] not in lanes and trading.is_open(pair[0])]
        finer.missing += len({row for _, row in assumed})
        known = len(assumed)
        trading.inside(assumed)
        resting += assumed[known:]

    def _match_basket(self, bars: Bars, basket: OpenBasket | Gathering, due: News) -> News | None:
        """Fill a whole basket as columns; None when it has to go order by order."""
        portfolio = self.portfolio
        assert portfolio is not None
        cash = portfolio.cash
        for item in due:
            assert isinstance(item, CashEvent)
            cash += item.amount
        match = BasketMatch(basket, bars, portfolio, self._costs)
        if len(match) == 0:
            return []
        if not match.fund(self._clearing.account, cash, scales=self.funding == "scale"):
            return None
        self._counts["clipped_orders"] += self.blotter.fill_basket(
            basket, match.ready, match.ids, match.quantity, match.price, reason=match.reason
        )
        fills = match.fills()
        return [fills] if len(fills) else []

    @property
    def _takes_baskets(self) -> bool:
        """Whether a basket can be matched as columns."""
        return self._can_take_baskets and not self.watchers.is_used

    def _trading(self, bars: Bars, news: News | None = None) -> BarTrading:
        return BarTrading(
            self._settlement(bars, news),
            limit_fill=self.limit_fill,
            intrabar=self.intrabar,
            hours=self._hours.of(bars),
        )

    def _settled(self, trading: BarTrading) -> News:
        self._counts["ambiguous_bars"] += trading.ambiguous
        self._counts["clipped_orders"] += trading.settlement.clipped
        return trading.settlement.news

    def _settlement(self, bars: Bars, news: News | None = None) -> BatchSettlement:
        assert self.portfolio is not None
        if self._taken[0] != self.blotter.step:
            self._taken = self.blotter.step, {}
        return BatchSettlement(
            news or [],
            bars,
            self.portfolio,
            self.blotter,
            watchers=self.watchers,
            costs=self._costs,
            liquidity=None if type(self.liquidity) is UnlimitedLiquidity else self.liquidity,
            account=self._clearing.account,
            funding=self.funding,
            taken=self._taken[1],
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

    def _ruin(self, bars: Bars) -> News:
        """Nothing is left: close everything at the last closes, and cancel what is open."""
        portfolio, blotter = self.portfolio, self.blotter
        assert portfolio is not None
        prices, codes = portfolio.last_prices(), portfolio.universe.codes
        news = self._close(bars, {a: float(prices[codes[a]]) for a in portfolio.held}, RUIN)
        for working in blotter.working():
            if working.order_id in blotter.open:
                blotter.end(working, OrderStatus.CANCELED, RUIN)
        self.is_over = True
        self._counter.closed = "the account is bankrupt"
        self._counts["bankruptcies"] = 1
        return news

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


# As it is written here: one that somebody has put into the class instead is asked every time.
_SUBMIT_ORDER = SimulationBroker.submit_order
