"""The exams of the two contracts a user can implement: `Broker` and `DataFeed`.

An exam is a base class whose tests pytest collects from a class of yours that makes the thing
under test. No test knows how it works inside; each runs it and checks a law.

Example:
    In a test module of yours, `pytest` finds and runs every test of the exam:

    >>> from ml4t.backtest import SimulationBroker
    >>> class TestMyBroker(BrokerContract):
    ...     def make_broker(self):
    ...         return SimulationBroker(100_000)
    >>> TestMyBroker().test_order_ids_count_from_one()
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.engine import BacktestEngine
from ml4t.backtest.errors import DataError
from ml4t.backtest.strategy.strategy import Strategy
from ml4t.backtest.testing.markets import (
    flat_market,
    random_market,
    ten_bars,
    with_late,
    without_bars,
)
from ml4t.backtest.types.bars import MarketEvent
from ml4t.backtest.types.order import Order, OrderEvent, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.data.feed import DataFeed
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import FillEvent

_FINAL = ("filled", "canceled", "rejected", "expired")
_VERBS = ("advance", "check_margin", "submit", "finish", "end")
_NOISE = 1e-9


class Script(Strategy):
    """A strategy that does what a function says at each timestamp, and keeps what it is told.

    Args:
        acts: Called with the strategy, the number of the timestamp from 0, and its bars.
    """

    def __init__(self, acts: Callable[[Script, int, Bars], Any]) -> None:
        self._acts = acts
        self._fills: list[FillEvent] = []
        self._changes: list[OrderEvent] = []
        self._step = -1

    def on_start(self) -> None:
        """Forget what an earlier run left."""
        self._fills.clear()
        self._changes.clear()
        self._step = -1

    def on_bars(self, bars: Bars) -> None:
        """Do what the script says."""
        self._step += 1
        self._acts(self, self._step, bars)

    def on_fill_event(self, fill: FillEvent) -> None:
        """Keep the fill."""
        self._fills.append(fill)

    def on_order_event(self, order: OrderEvent) -> None:
        """Keep the change."""
        self._changes.append(order)

    @property
    def fills(self) -> list[FillEvent]:
        """Fills so far, in order."""
        return self._fills

    @property
    def changes(self) -> list[OrderEvent]:
        """Changes of orders so far, in order."""
        return self._changes


class BrokerContract:
    """What every `Broker` guarantees; derive, and say in `make_broker` how to make yours.

    The broker should start with at least 10,000 of money: the markets of the exam trade at about
    100 in whole shares. What a broker does not offer (limits, shorts) it may reject, with a reason.
    It should do nothing on its own, such as closing positions at the end.

    Attributes:
        fills_at_decision: True for a broker that fills an order in the bar it was decided on.
    """

    fills_at_decision = False

    def make_broker(self) -> Broker:
        """A new broker, no run behind it."""
        raise NotImplementedError("Say in make_broker how to make the broker under test.")

    # -- identity and ends --------------------------------------------------------------------

    def test_order_ids_count_from_one(self) -> None:
        """Ids are 1, 2, 3, ... in order of submission, refused orders included."""
        ids: list[int] = []

        def acts(script: Script, step: int, bars: Bars) -> None:
            if step < 3:
                asset_id = bars.asset_ids[0]
                ids.append(script.buy(asset_id, 1))
                ids.append(script.sell(asset_id, math.nan))

        result = self._run(acts, ten_bars())
        assert ids == [1, 2, 3, 4, 5, 6]
        assert result.orders["order_id"].to_list() == ids

    def test_orders_that_cannot_be_meant_are_rejected(self) -> None:
        """Unknown assets, quantities that are no positive number, missing prices: a reason each."""
        bad = [
            Order("NOBODY", "buy", 1),
            Order("A", "buy", math.nan),
            Order("A", "buy", math.inf),
            Order("A", "buy", 0),
            Order("A", "sell", -5),
            Order("A", "buy", 1, "limit"),
            Order("A", "buy", 1, "stop", stop_price=math.nan),
            Order("A", "buy", 1, "market", limit_price=100.0),
            Order("A", "sideways", 1),
            Order("A", "buy", 1, time_in_force="forever"),
        ]
        result = self._run(_submit_at(0, bad), ten_bars())
        assert result.orders["status"].to_list() == ["rejected"] * len(bad)
        assert all(result.orders["reason"].to_list()), "every refusal has a reason"
        assert result.fills.is_empty()

    def test_every_end_but_a_fill_has_a_reason(self) -> None:
        """Orders are open or ended; canceled, rejected and expired ones say why."""
        orders = self._busy().orders
        assert set(orders["status"]) <= {*_FINAL, "accepted", "partially_filled"}
        ended = orders.filter(pl.col("status").is_in(["canceled", "rejected", "expired"]))
        assert ended["reason"].null_count() == 0

    def test_status_moves_forward(self) -> None:
        """An order is accepted or rejected first, and nothing follows its end."""
        script = Script(_busy)
        self._run(script, without_bars(_market(), 0.2, seed=1))
        seen: dict[int, list[OrderStatus]] = {}
        for change in script.changes:
            seen.setdefault(change.order_id, []).append(change.status)
        assert seen, "on_order_event was never called"
        for order_id, statuses in seen.items():
            assert statuses[0] in {OrderStatus.ACCEPTED, OrderStatus.REJECTED}, order_id
            assert all(status.is_open for status in statuses[:-1]), order_id

    def test_cancel_takes_an_order_out_once(self) -> None:
        """A canceled order never fills; canceling it again, or an unknown id, is False."""
        answers: list[bool] = []

        def acts(script: Script, step: int, bars: Bars) -> None:
            if step == 0:
                order_id = script.buy(bars.asset_ids[0], 1)
                answers.extend(script.cancel_order(i) for i in (order_id, order_id, 999))

        result = self._run(acts, ten_bars())
        assert answers == [True, False, False]
        assert result.orders["status"].to_list() == ["canceled"]
        assert result.fills.is_empty()

    # -- fills --------------------------------------------------------------------------------

    def test_a_market_order_is_filled(self) -> None:
        """One share at 100, with plenty of money and bars to come, is bought."""
        result = self._run(_submit_at(0, [Order("A00", "buy", 1)]), flat_market())
        assert result.orders["status"].to_list() == ["filled"]
        assert result.fills["quantity"].sum() == 1.0

    def test_no_fill_before_the_next_bar(self) -> None:
        """An order decided on a bar fills in a later bar of its asset, never where it has none."""
        market = without_bars(_market(), 0.3, seed=2)
        result = self._run(_busy, market)
        fills = result.fills.join(
            result.orders.select("order_id", "created_at"), on="order_id", validate="m:1"
        )
        early = pl.col("timestamp") < pl.col("created_at")
        if not self.fills_at_decision:
            early |= pl.col("timestamp") == pl.col("created_at")
        assert fills.filter(early).is_empty()
        keys = market.select(pl.col("timestamp").cast(fills.schema["timestamp"]), "asset_id")
        assert fills.join(keys, on=["timestamp", "asset_id"], how="anti").is_empty()

    def test_reference_prices_lie_within_the_bar(self) -> None:
        """The price before slippage is one that the bar has seen, or the fill says so."""
        market = _market()
        fills = self._run(_busy, market).fills
        fills = fills.filter(~pl.col("reason").str.ends_with("in a gap"))
        bars = market.select(
            pl.col("timestamp").cast(fills.schema["timestamp"]), "asset_id", "high", "low"
        )
        sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
        reference = pl.col("price") - sign * pl.col("slippage") / pl.col("quantity")
        joined = fills.join(bars, on=["timestamp", "asset_id"])
        outside = (reference > pl.col("high") * (1 + _NOISE)) | (
            reference < pl.col("low") * (1 - _NOISE)
        )
        assert joined.height == fills.height
        assert joined.filter(outside).is_empty()

    def test_fills_add_up(self) -> None:
        """Fills of an order sum to its filled quantity, which is whole when it is filled."""
        result = self._busy()
        sums = result.fills.group_by("order_id").agg(pl.col("quantity").sum().alias("sum"))
        orders = result.orders.join(sums, on="order_id", how="left").with_columns(
            pl.col("sum").fill_null(0.0)
        )
        for row in orders.iter_rows(named=True):
            assert math.isclose(row["sum"], row["filled_quantity"], abs_tol=_NOISE), row
            assert row["filled_quantity"] <= row["quantity"] * (1 + _NOISE), row
            if row["status"] == "filled":
                assert math.isclose(row["filled_quantity"], row["quantity"]), row

    def test_positions_and_cash_come_from_fills(self) -> None:
        """`get_position` is the signed sum of fills, `get_cash` the start less what they cost.

        Money that moves without a trade, such as interest, is news of its own.
        """
        broker = self.make_broker()
        result = BacktestEngine(_market(), strategy=Script(_busy), broker=broker).run()
        sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
        fills = result.fills.with_columns((sign * pl.col("quantity")).alias("signed"))
        for (asset_id,), part in fills.group_by("asset_id"):
            held = broker.get_position(str(asset_id))
            assert math.isclose(held, part["signed"].sum(), abs_tol=_NOISE), asset_id
        flows = float((fills["signed"] * fills["price"] + fills["commission"]).sum())
        moved = result.record.financing - flows
        assert math.isclose(broker.get_cash(), broker.initial_cash + moved, rel_tol=_NOISE)

    def test_positions_and_cash_before_a_run(self) -> None:
        """Without a run, cash is the initial cash and everything is flat."""
        broker = self.make_broker()
        assert broker.get_cash() == broker.initial_cash
        assert broker.get_position("A") == 0.0

    def test_a_basket_is_its_orders(self) -> None:
        """A rebalance gives the positions that the same orders give one by one."""
        market = _market()

        def as_basket(script: Script, step: int, bars: Bars) -> None:
            if step == 3:
                script.rebalance_to_weights(dict.fromkeys(bars.asset_ids, 0.1))

        first = self._run(as_basket, market)
        orders = [Order(*row) for row in first.orders.select("asset_id", "side", "quantity").rows()]
        second = self._run(_submit_at(3, orders), market)
        assert len(orders) == 4
        columns = ["asset_id", "side", "quantity"]
        assert (
            first.fills.select(columns)
            .sort(columns)
            .equals(second.fills.select(columns).sort(columns))
        )

    # -- the verbs ----------------------------------------------------------------------------

    def test_the_broker_never_books(self) -> None:
        """No verb changes the portfolio: news goes to the engine, which does."""
        broker, touched = self.make_broker(), list[str]()
        for verb in _VERBS:
            setattr(broker, verb, _watching(broker, verb, touched))
        BacktestEngine(_market(), strategy=Script(_busy), broker=broker).run()
        assert touched == []

    def test_idle_is_honest(self) -> None:
        """A broker that calls itself idle would have done nothing."""
        market = without_bars(with_late(_market(), "A01", 5), 0.1, seed=3)
        lazy, eager = self.make_broker(), self.make_broker()
        eager.is_idle = lambda bars: False  # type: ignore[method-assign]  # noqa: ARG005
        results = [
            BacktestEngine(market, strategy=Script(_seldom), broker=broker).run()
            for broker in (lazy, eager)
        ]
        _assert_same(*results)

    def test_a_run_can_be_repeated(self) -> None:
        """The same broker gives the same fills in a second run, and in another engine."""
        broker, market = self.make_broker(), _market()
        engine = BacktestEngine(market, strategy=Script(_busy), broker=broker)
        first, second = engine.run(), engine.run()
        other = BacktestEngine(market, strategy=Script(_busy), broker=broker).run()
        _assert_same(first, second)
        _assert_same(first, other)

    def test_submit_order_gives_the_id(self) -> None:
        """The plain call returns the id under which the order appears in the result."""
        broker, ids = self.make_broker(), list[int]()

        def acts(script: Script, step: int, bars: Bars) -> None:
            del script
            if step in {0, 2}:
                ids.append(broker.submit_order(Order(bars.asset_ids[0], "buy", 1)))

        result = BacktestEngine(ten_bars(), strategy=Script(acts), broker=broker).run()
        assert ids == result.orders["order_id"].to_list() == [1, 2]

    # -- inside -------------------------------------------------------------------------------

    def _run(self, acts: Any, market: pl.DataFrame) -> BacktestResult:
        script = acts if isinstance(acts, Script) else Script(acts)
        return BacktestEngine(market, strategy=script, broker=self.make_broker()).run()

    def _busy(self) -> BacktestResult:
        return self._run(_busy, without_bars(_market(), 0.2, seed=1))


class FeedContract:
    """What every `DataFeed` guarantees; derive, and say in `make_feed` how to make yours.

    The feed should hold at least three timestamps and, to be quick, not more than some thousand
    bars.

    Attributes:
        is_reopenable: False for a feed that can be walked once; a second run must then be refused.

    Example:
        >>> from ml4t.backtest import ParquetDataFeed
        >>> class TestMyFeed(FeedContract):
        ...     def make_feed(self):
        ...         return ParquetDataFeed(ten_bars())
        >>> TestMyFeed().test_time_never_goes_back()
    """

    is_reopenable = True

    def make_feed(self) -> DataFeed:
        """A new feed, nothing read from it."""
        raise NotImplementedError("Say in make_feed how to make the feed under test.")

    def test_it_has_bars(self) -> None:
        """There are at least three timestamps, so that the other tests mean something."""
        assert len({event.timestamp for event in self._walk()}) >= 3

    def test_time_never_goes_back(self) -> None:
        """Timestamps rise or stay, and all are naive or all are zoned."""
        times = [event.timestamp for event in self._walk()]
        assert len({time.tzinfo is None for time in times}) == 1
        assert times == sorted(times)

    def test_one_bar_an_asset_and_time(self) -> None:
        """No asset has two bars at one timestamp."""
        keys = [(event.timestamp, event.asset_id) for event in self._walk()]
        assert len(keys) == len(set(keys))

    def test_bars_can_be(self) -> None:
        """Prices are positive and finite, within low and high; assets have names."""
        for event in self._walk():
            assert isinstance(event, MarketEvent), event
            assert isinstance(event.asset_id, str), event
            assert event.asset_id, event
            prices = (event.open, event.high, event.low, event.close)
            assert all(math.isfinite(price) and price > 0 for price in prices), event
            assert event.low <= min(prices) * (1 + _NOISE), event
            assert event.high >= max(prices) * (1 - _NOISE), event

    def test_a_missing_signal_is_absent(self) -> None:
        """Signals are by name, and none of them is NaN or None."""
        for event in self._walk():
            for name, value in event.signals.items():
                assert isinstance(name, str), event
                assert value is not None, event
                assert value == value, event  # noqa: PLR0124  NaN differs from itself

    def test_exhausted_after_the_last_event(self) -> None:
        """`is_exhausted` turns True with the last event; from then on there is None."""
        feed, count = self.make_feed(), len(self._walk())
        for _ in range(count):
            assert not feed.is_exhausted()
            assert feed.get_next_event() is not None
        assert feed.is_exhausted()
        assert feed.get_next_event() is None
        assert feed.is_exhausted()

    def test_asking_takes_nothing(self) -> None:
        """`is_exhausted` can be asked any number of times without losing an event."""
        feed, seen = self.make_feed(), list[MarketEvent]()
        while not (feed.is_exhausted() or feed.is_exhausted()):
            event = feed.get_next_event()
            assert event is not None
            seen.append(event)
        assert _plain(seen) == _plain(self._walk())

    def test_new_feeds_are_alike(self) -> None:
        """Two feeds made alike give the same events."""
        assert _plain(self._walk()) == _plain(self._walk())

    def test_the_engine_sees_the_same_events(self) -> None:
        """A run is given every event once, in order of time and then asset."""
        seen: list[MarketEvent] = []
        BacktestEngine(feed=self.make_feed(), strategy=_Watch(seen)).run()
        expected = sorted(self._walk(), key=lambda event: (event.timestamp, event.asset_id))
        assert _plain(seen) == _plain(expected)

    def test_a_second_run(self) -> None:
        """A feed brings the same bars again, or the second run is refused."""
        first, second = list[MarketEvent](), list[MarketEvent]()
        feed = self.make_feed()
        BacktestEngine(feed=feed, strategy=_Watch(first)).run()
        engine = BacktestEngine(feed=feed, strategy=_Watch(second))
        if self.is_reopenable:
            engine.run()
            assert _plain(first) == _plain(second)
            return
        try:
            engine.run()
        except DataError:
            return
        raise AssertionError("the feed was used up, but a second run was not refused")

    def _walk(self) -> list[MarketEvent]:
        feed, events = self.make_feed(), list[MarketEvent]()
        while not feed.is_exhausted():
            event = feed.get_next_event()
            assert event is not None, "get_next_event gave None though the feed was not exhausted"
            events.append(event)
        return events


class _Watch(Strategy):
    """Keeps every event it is shown."""

    def __init__(self, seen: list[MarketEvent]) -> None:
        self._seen = seen

    def on_market_data(self, event: MarketEvent) -> None:
        self._seen.append(event)


def _market() -> pl.DataFrame:
    return random_market(assets=4, sessions=60, seed=11)


def _submit_at(when: int, orders: list[Order]) -> Callable[[Script, int, Bars], None]:
    def acts(script: Script, step: int, bars: Bars) -> None:
        del bars
        if step == when:
            for order in orders:
                script.submit_order(order)

    return acts


def _busy(script: Script, step: int, bars: Bars) -> None:
    """Orders of every kind, some of which cannot be paid, closed or reached."""
    for i, event in enumerate(bars):
        name, price, turn = event.asset_id, event.close, (step + 3 * i) % 9
        if turn == 0:
            script.buy(name, 8)
        elif turn == 2:
            script.buy(name, 5, limit_price=0.99 * price, time_in_force="day")
        elif turn == 3:
            script.sell(name, 6, stop_price=0.98 * price, reduce_only=True)
        elif turn == 4:
            script.buy(name, 4, stop_price=1.01 * price, limit_price=1.02 * price)
        elif turn == 5:
            script.sell(name, 7, time_in_force="ioc")
        elif turn == 6:
            script.buy(name, 100_000)
        elif turn == 8:
            script.close_position(name)


def _seldom(script: Script, step: int, bars: Bars) -> None:
    """A few orders with long pauses, in which a broker may rest."""
    if step % 15 == 4:
        script.buy(bars.asset_ids[0], 10)
    elif step % 15 == 12:
        script.close_all()


def _watching(broker: Broker, verb: str, touched: list[str]) -> Callable[..., Any]:
    """A verb that notes its name when it changed the portfolio."""
    original = getattr(broker, verb)

    def call(*args: Any) -> Any:
        portfolio = broker.portfolio
        if portfolio is None:
            return original(*args)
        before = (portfolio.cash, portfolio.fill_count, dict(portfolio.held))
        news = original(*args)
        if before != (portfolio.cash, portfolio.fill_count, dict(portfolio.held)):
            touched.append(verb)
        return news

    return call


def _assert_same(first: BacktestResult, second: BacktestResult) -> None:
    assert first.fills.equals(second.fills)
    assert first.orders.equals(second.orders)
    assert first.equity.equals(second.equity)


def _plain(events: list[MarketEvent]) -> list[tuple[Any, ...]]:
    """Events as values that compare equal where both have no volume."""
    return [
        (
            event.timestamp,
            event.asset_id,
            event.open,
            event.high,
            event.low,
            event.close,
            None if math.isnan(event.volume) else event.volume,
            event.signals,
        )
        for event in events
    ]
