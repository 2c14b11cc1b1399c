"""SimulationBroker: the parts, composed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ml4t.backtest.broker.basket import Basket
from ml4t.backtest.broker.blotter import refusal, unknown_asset
from ml4t.backtest.broker.broker import Broker
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.portfolio.valuation import running_cash, total
from ml4t.backtest.simulation.account import UnleveragedAccount
from ml4t.backtest.simulation.batch import NOISE, BatchSettlement, Candidate, is_market
from ml4t.backtest.simulation.commission import NoCommission
from ml4t.backtest.simulation.matching import match_behind, match_inside, match_open
from ml4t.backtest.simulation.slippage import NoSlippage
from ml4t.backtest.simulation.stale import StaleWatch
from ml4t.backtest.types.events import FillBatch
from ml4t.backtest.types.instrument import Instrument, round_to_lot
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ml4t.backtest.broker.basket import OpenBasket
    from ml4t.backtest.broker.blotter import Working
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
        self._counts: dict[str, int] = {}

    # -- the verbs ----------------------------------------------------------------------------

    def start(self, portfolio: Portfolio) -> None:
        """A run begins. Orders submitted before it count as decided before its first bar."""
        super().start(portfolio)
        self._stale = StaleWatch(portfolio, self.stale_after)
        self._counts = {"ambiguous_bars": 0, "clipped_orders": 0, "same_close_fills": 0}
        self.submit(self._staged)

    def is_idle(self, bars: Bars) -> bool:
        """Nothing is open, and nothing held can have gone stale."""
        if self.blotter.open or self.blotter.baskets:
            return False
        assert self.portfolio is not None
        assert self._stale is not None
        if bars.chunk.is_dense:
            self._stale.pass_dense(bars)
            return True
        return not self.portfolio.held

    def submit(self, orders: Iterable[Order]) -> News:
        """Accept or reject each order at once; what is accepted can trade from the next bar."""
        if isinstance(orders, Basket):
            self.blotter.accept_basket(orders)
            return []
        for order in orders:
            if self.is_running:
                self._submit_one(order)
            else:
                self._staged.append(order)
        return []

    def submit_order(self, order: Order) -> int:
        """Submit one order; outside a run it waits for the first bar of every run to come.

        Returns:
            Its id.
        """
        self.submit((order,))
        return self.blotter.count if self.is_running else len(self._staged)

    def advance(self, bars: Bars) -> News:
        """Match everything that is open against `bars`."""
        blotter, portfolio = self.blotter, self.portfolio
        assert portfolio is not None
        news = self._vanish(bars)
        if blotter.is_empty:
            return news
        if not blotter.open and len(blotter.baskets) == 1 and not news:
            batches = self._match_basket(bars, blotter.baskets[0])
            if batches is not None:
                return batches
        live = self._tradable(bars)
        if not live:
            return news
        settlement = self._settlement(bars, news)
        self._match_open(live, settlement)
        self._match_inside(live, settlement)
        if self.fill_at == "next_close":
            self._match_close([(w, row) for w, row in live if is_market(w)], settlement)
        self._drop([w for w, _ in live if self.fill_at != "close" or not is_market(w)])
        self._counts["clipped_orders"] += settlement.clipped
        return settlement.news

    def finish(self, bars: Bars) -> News:
        """With `fill_at="close"`, market orders fill at the close they were decided on."""
        if self.fill_at != "close" or self.blotter.is_empty:
            return []
        now, begins = self.blotter.now_us, bars.chunk.begins
        orders = [w for w in self.blotter.working() if is_market(w)]
        rows = bars.rows_of([w.code for w in orders])
        live = [
            (w, row)
            for w, row in zip(orders, rows, strict=True)
            if row >= 0 and (w.decided_at == now or begins is None or begins[row] >= w.decided_at)
        ]
        settlement = self._settlement(bars)
        self._match_close(live, settlement)
        self._drop([w for w, _ in live])
        self._counts["clipped_orders"] += settlement.clipped
        self._counts["same_close_fills"] += len(settlement.news)
        return settlement.news

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

    def _submit_one(self, order: Order) -> None:
        portfolio = self.portfolio
        assert portfolio is not None
        reason = refusal(order)
        code = portfolio.universe.codes.get(str(order.asset_id), -1)
        if not reason and code < 0:
            reason = unknown_asset(order.asset_id, portfolio.universe)
        if reason:
            self.blotter.reject(order, reason, code)
            return
        lot = portfolio.instruments[code].lot_size
        quantity = round_to_lot(float(order.quantity), lot)
        if order.quantity == abs(portfolio.quantities[order.asset_id]):
            quantity = float(order.quantity)  # a whole position can always be closed
        if quantity == 0.0:
            self.blotter.reject(order, f"below one lot: {order.quantity:g} units", code)
            return
        self.blotter.accept(order, code, quantity)

    # -- matching -----------------------------------------------------------------------------

    def _tradable(self, bars: Bars) -> list[tuple[Working, int]]:
        """Open orders whose asset has a bar now that began at or after their decision."""
        self._expire(bars)
        orders = self.blotter.working()
        rows = bars.rows_of([w.code for w in orders])
        begins = bars.chunk.begins
        session = int(bars.chunk.sessions[bars.index])
        live = []
        for working, row in zip(orders, rows, strict=True):
            if row < 0 or (begins is not None and begins[row] < working.decided_at):
                continue
            if working.session is None:
                working.session = session
            live.append((working, row))
        return live

    def _expire(self, bars: Bars) -> None:
        session = int(bars.chunk.sessions[bars.index])
        for working in self.blotter.working():
            if (
                working.time_in_force is TimeInForce.DAY
                and working.session is not None
                and working.session < session
            ):
                self.blotter.end(
                    working, OrderStatus.EXPIRED, "day order: not filled in its session"
                )

    def _match_open(self, live: Sequence[tuple[Working, int]], settlement: BatchSettlement) -> None:
        opens = settlement.bars.chunk.opens
        at_open = self.fill_at == "next_open"
        candidates = []
        for working, row in live:
            if working.type is OrderType.MARKET and not at_open:
                continue
            match = match_open(working, opens[row])
            if match is not None:
                candidates.append(Candidate(working, row, *match))
        if candidates:
            settlement.settle(candidates, settlement.bars.chunk.open)
            self._protect(candidates, settlement)

    def _match_inside(
        self, live: Sequence[tuple[Working, int]], settlement: BatchSettlement
    ) -> None:
        resting = [(w, row) for w, row in live if not is_market(w) and self._is_open(w)]
        if not resting:
            return
        touched = self._touched(resting, settlement)
        exits = [c for c in touched if settlement.position(c.working.code) * c.working.sign < 0.0]
        self._count_ambiguous(exits)
        opens = settlement.bars.chunk.opens
        # The worse of two touches comes first, stops before limits; of two stops, or two limits,
        # the one that a price on its way from the open reaches first.
        exits.sort(
            key=lambda c: (c.working.type is OrderType.LIMIT, abs(c.reference - opens[c.row]))
        )
        entries = [c for c in touched if c not in exits and not c.working.order.reduce_only]
        chunk = settlement.bars.chunk
        settlement.settle(exits, chunk.open)
        self._protect(exits, settlement)
        entries = [c for c in entries if self._is_open(c.working)]
        settlement.settle(entries, chunk.open)
        if entries:
            stops = self._stops_behind(entries, resting, settlement)
            settlement.settle(stops, chunk.open)
            self._protect(stops, settlement)

    def _stops_behind(
        self,
        entries: list[Candidate],
        resting: list[tuple[Working, int]],
        settlement: BatchSettlement,
    ) -> list[Candidate]:
        """Protective stops that trade after entries inside the bar."""
        chunk = settlement.bars.chunk
        entered = {c.working.code: c.reference for c in entries}
        stops = []
        for working, row in resting:
            entry = entered.get(working.code)
            is_stop = working.type is OrderType.STOP and working.order.reduce_only
            if entry is None or not is_stop or not self._is_open(working):
                continue
            match = match_behind(working, entry, chunk.highs[row], chunk.lows[row])
            if match is not None:
                stops.append(Candidate(working, row, *match))
        return stops

    def _touched(
        self, resting: list[tuple[Working, int]], settlement: BatchSettlement
    ) -> list[Candidate]:
        chunk = settlement.bars.chunk
        through = self.limit_fill == "through"
        touched = []
        for working, row in resting:
            # A protective stop behind an entry at this open may already be passed by it.
            match = match_open(working, chunk.opens[row]) or match_inside(
                working, chunk.highs[row], chunk.lows[row], chunk.closes[row], through=through
            )
            if match is not None:
                touched.append(Candidate(working, row, *match))
        return touched

    def _count_ambiguous(self, exits: list[Candidate]) -> None:
        stops = {c.working.code for c in exits if c.working.type is not OrderType.LIMIT}
        limits = {c.working.code for c in exits if c.working.type is OrderType.LIMIT}
        self._counts["ambiguous_bars"] += len(stops & limits)

    def _match_close(self, live: list[tuple[Working, int]], settlement: BatchSettlement) -> None:
        closes = settlement.bars.chunk.closes
        candidates = [
            Candidate(w, row, closes[row], "close") for w, row in live if self._is_open(w)
        ]
        if candidates:
            settlement.settle(candidates, settlement.bars.chunk.close)
            self._protect(candidates, settlement)

    def _protect(self, traded: list[Candidate], settlement: BatchSettlement) -> None:
        """Orders that may only reduce a position end with it, be it closed or flipped."""
        assert self.portfolio is not None
        for code in {c.working.code for c in traded if c.exit}:
            now = settlement.position(code)
            if now != 0.0 and now * self.portfolio.quantity[code] > 0.0:
                continue
            for working in self.blotter.working(code):
                if working.order.reduce_only and working.sign * now >= 0.0:
                    self.blotter.end(working, OrderStatus.CANCELED, "position closed")

    def _drop(self, tried: Sequence[Working]) -> None:
        """End what has had its only chance."""
        for working in tried:
            if not self._is_open(working):
                continue
            if working.time_in_force is TimeInForce.IOC:
                text = "immediate or cancel: not filled in its bar"
                self.blotter.end(working, OrderStatus.CANCELED, text)
            elif is_market(working) and working.order.reduce_only:
                self.blotter.end(working, OrderStatus.CANCELED, "nothing to reduce")

    def _is_open(self, working: Working) -> bool:
        return working.order_id in self.blotter.open

    def _settlement(self, bars: Bars, news: News | None = None) -> BatchSettlement:
        assert self.portfolio is not None
        return BatchSettlement(
            news or [],
            bars,
            self.portfolio,
            self.blotter,
            commission=self.commission,
            slippage=self.slippage,
            account=self.account,
            funding=self.funding,
        )

    # -- many market orders at once -----------------------------------------------------------

    def _match_basket(self, bars: Bars, basket: OpenBasket) -> News | None:
        """A whole basket at the next open as columns; None when it needs the order-wise path."""
        charge: Any = getattr(self.commission, "charge", None)
        price_of: Any = getattr(self.slippage, "price", None)
        if charge is None or price_of is None or self.fill_at != "next_open":
            return None
        portfolio, chunk = self.portfolio, bars.chunk
        assert portfolio is not None
        rows = bars.rows_of_codes(basket.codes)
        ready = rows >= 0
        if chunk.begins is not None:
            ready &= chunk.begins[rows] >= basket.decided_at
        index = ready.nonzero()[0]
        if len(index) == 0:
            return []
        rows, codes, quantity = rows[index], basket.codes[index], basket.quantities[index]
        sign = np.sign(quantity)
        reference = chunk.open[rows]
        price = price_of(sign, reference)
        size, multiplier = np.abs(quantity), portfolio.multiplier[codes]
        commission = charge(size, price, multiplier)
        held = portfolio.quantity[codes]
        exits = np.where(held * sign < 0.0, np.minimum(size, np.abs(held)), 0.0)
        if not self._affords(bars, codes, sign, size, exits, reference, price):
            return None
        is_exit = exits == size
        first = np.concatenate([is_exit.nonzero()[0], (~is_exit).nonzero()[0]])
        self.blotter.fill_basket(basket, index[first], price[first])
        return [
            FillBatch(
                portfolio.universe,
                bars.timestamp,
                order_ids=np.asarray(self.blotter.ended_baskets[-1][1]),
                codes=codes[first],
                quantities=quantity[first],
                prices=price[first],
                commissions=commission[first],
                slippages=(sign * (price - reference) * size * multiplier)[first],
                reason="open",
            )
        ]

    def _affords(  # noqa: PLR0917  one column each
        self,
        bars: Bars,
        codes: np.ndarray,
        sign: np.ndarray,
        size: np.ndarray,
        exits: np.ndarray,
        reference: np.ndarray,
        price: np.ndarray,
    ) -> bool:
        """Whether all entries of a basket can be paid after its exits, as columns."""
        portfolio, charge = self.portfolio, self.commission.charge  # type: ignore[attr-defined]
        assert portfolio is not None
        entry = size - exits
        opens = entry.nonzero()[0]
        if len(opens) == 0:
            return True
        multiplier = portfolio.multiplier[codes]
        closing = np.where(exits > 0.0, charge(exits, price, multiplier), 0.0)
        flows = sign * exits * price * multiplier + closing
        cash = running_cash(portfolio.cash, flows[entry == 0.0])
        freed = -total(flows[opens][exits[opens] > 0.0])
        unit = np.where(sign > 0.0, price, 2.0 * reference - price) * multiplier
        extra = charge(size, price, multiplier) - closing
        needs = total((entry * unit + extra)[opens])
        free = self.account.free(cash + freed, self._short_value(bars, codes, sign * exits))
        return needs <= free + NOISE * abs(needs)

    def _short_value(self, bars: Bars, codes: np.ndarray, moved: np.ndarray) -> float:
        portfolio = self.portfolio
        assert portfolio is not None
        quantity = portfolio.quantity.copy()
        quantity[codes] += moved
        if not (quantity < 0.0).any():
            return 0.0
        now = portfolio.last_prices().copy()
        now[bars.codes] = bars.open
        return portfolio.short_value(quantity, now)

    # -- positions that end without a decision --------------------------------------------------

    def _vanish(self, bars: Bars) -> News:
        assert self._stale is not None
        assert self.portfolio is not None
        if bars.chunk.is_dense:
            self._stale.pass_dense(bars)
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
