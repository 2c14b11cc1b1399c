"""The step seen from a strategy: which hooks are called, with what, in which order."""

from __future__ import annotations

import datetime as dt
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    Context,
    DataFeed,
    MarketEvent,
    Order,
    OrderSide,
    OrderStatus,
    ParquetDataFeed,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import (
    flat_market,
    market_of_bars,
    random_market,
    ten_bars,
    weekdays,
    with_late,
)
from ml4t.backtest.types.events import CashEvent

DAYS = [dt.datetime.combine(day, dt.time()) for day in weekdays(10)]
VIX = pl.DataFrame({"timestamp": weekdays(10), "VIX": [float(10 + i) for i in range(10)]})


def run(strategy: Strategy, data: Any = None, **options: Any) -> Any:
    """A run on the ten bars."""
    return BacktestEngine(ten_bars() if data is None else data, strategy=strategy, **options).run()


class Diary(Strategy):
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_start(self):
        self.calls = [("start",)]

    def on_market_data(self, event, context):
        self.calls.append(("event", event.timestamp, event.asset_id))
        if event.timestamp == DAYS[0] and event.asset_id == "A01":
            self.buy("A01", 2)
            self.sell("A00", 1)

    def on_bars(self, bars, context):
        self.calls.append(("bars", bars.timestamp, bars.asset_ids))

    def on_fill_event(self, fill):
        self.calls.append(("fill", fill.timestamp, fill.asset_id))

    def on_order_event(self, order):
        self.calls.append(("order", order.timestamp, order.asset_id, order.status.value))

    def on_end(self):
        self.calls.append(("end",))


def test_hooks_are_called_in_order() -> None:
    """Fills, then changes of orders, then each asset, then all, for every timestamp."""
    strategy = Diary()
    run(strategy, flat_market(2, sessions=2))
    first, second = DAYS[:2]
    assert strategy.calls == [
        ("start",),
        ("event", first, "A00"),
        ("event", first, "A01"),
        ("bars", first, ["A00", "A01"]),
        ("fill", second, "A01"),
        ("fill", second, "A00"),
        ("order", first, "A01", "accepted"),
        ("order", first, "A00", "accepted"),
        ("order", second, "A01", "filled"),
        ("order", second, "A00", "filled"),
        ("event", second, "A00"),
        ("event", second, "A01"),
        ("bars", second, ["A00", "A01"]),
        ("end",),
    ]


def test_news_of_the_end_is_told_before_on_end() -> None:
    """Positions closed at the end come to on_fill_event; on_end sees everything flat."""
    strategy = Diary()
    run(strategy, flat_market(2, sessions=2), broker=SimulationBroker(close_at_end=True))
    assert [call[0] for call in strategy.calls[-7:]] == ["fill", "fill", *["order"] * 4, "end"]


def test_fill_event_content() -> None:
    """Id, asset, time of the bar it filled in, side, quantity, price, costs, reason."""
    fills: list[Any] = []

    class Buyer(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[1]:
                self.sell("A", 7)

        def on_fill_event(self, fill):
            fills.append((fill, self.get_position("A"), self.get_cash()))

    run(Buyer())
    ((fill, position, cash),) = fills
    assert (fill.order_id, fill.asset_id, fill.timestamp) == (1, "A", DAYS[2])
    assert (fill.side, fill.quantity, fill.price) == (OrderSide.SELL, 7.0, 103.0)
    assert (fill.commission, fill.slippage, fill.reason) == (0.0, 0.0, "open")
    assert (position, cash) == (-7.0, 100_000 + 721), "the portfolio has the fill already"


class Paying(SimulationBroker):
    """Pays a dividend of 2 a share on A, and interest, on the fourth day."""

    def is_idle(self, bars: Any) -> bool:
        del bars
        return False

    def advance(self, bars: Any) -> Any:
        if bars.timestamp != DAYS[3]:
            return super().advance(bars)
        paid = 2.0 * self.get_position("A")
        flows = [
            CashEvent(bars.timestamp, "dividend", paid, "A"),
            CashEvent(bars.timestamp, "interest", 0.5),
        ]
        return [*flows, *super().advance(bars)]


def test_cash_that_moves_without_a_trade() -> None:
    """It is in cash at once, in the P&L of the trade that it belongs to, and no fill is told."""

    class Hold(Strategy):
        def on_start(self):
            self.fills = []

        def on_bars(self, bars):
            self.order_target("A", 10)

        def on_fill_event(self, fill):
            self.fills.append(fill)

    strategy = Hold()
    result = run(strategy, broker=Paying(10_000.0))
    assert len(strategy.fills) == result.fills.height == 1
    assert result.cashflows.rows() == [
        (weekdays(10)[3], "A", "dividend", 20.0),
        (weekdays(10)[3], None, "interest", 0.5),
    ]
    assert result.trades["financing"].to_list() == [20.0]
    assert result.metrics["financing"] == 20.5


def test_order_events_of_a_scaled_order() -> None:
    """Accepted, partially filled, canceled with a reason: three snapshots, not one object."""
    seen: list[Any] = []

    class Greedy(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[1]:
                self.buy("A", 1_000)

        def on_order_event(self, order):
            seen.append((order.status.value, order.filled_quantity, order.remaining_quantity))
            assert (order.reason != "") == (order.status is OrderStatus.CANCELED)

    run(Greedy(), broker=SimulationBroker(10_000))
    assert seen == [
        ("accepted", 0.0, 1_000.0),
        ("partially_filled", 97.0, 903.0),
        ("canceled", 97.0, 903.0),
    ]


def test_watching_orders_changes_nothing() -> None:
    """A strategy that listens to changes gets the same fills as one that does not."""

    class Rotate(Strategy):
        def on_bars(self, bars):
            self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", 2), 0.45), tag="rotate")

    class Listening(Rotate):
        def on_order_event(self, order):
            assert order.tag == "rotate"

    class Looking(Rotate):
        def on_bars(self, bars):
            super().on_bars(bars)
            self.get_open_orders()

    data = random_market(5, 60, seed=4)
    first, second, third = (run(s, data) for s in (Rotate(), Listening(), Looking()))
    assert first.fills.height > 50
    assert first.fills.equals(second.fills)
    assert first.orders.equals(second.orders)
    assert first.fills.equals(third.fills)


def test_changes_of_a_basket_are_told_order_by_order() -> None:
    """Every leg is accepted and filled."""
    seen: list[tuple[int, str, str]] = []

    class Basket(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[0]:
                self.rebalance_to_weights({"A00": 0.5, "A01": -0.5})

        def on_order_event(self, order):
            seen.append((order.order_id, order.side.value, order.status.value))

    run(Basket(), flat_market(2))
    assert seen == [
        (1, "buy", "accepted"),
        (2, "sell", "accepted"),
        (1, "buy", "filled"),
        (2, "sell", "filled"),
    ]


# -- hooks of every kind ---------------------------------------------------------------------


def test_hooks_with_and_without_context() -> None:
    """The argument can be left out, in either hook; with it comes a plain dict."""
    seen: list[Any] = []

    class Short(Strategy):
        def on_market_data(self, event):
            seen.append(event.asset_id)

        def on_bars(self, bars):
            seen.append(len(bars))

    class Long(Strategy):
        def on_market_data(self, event, context):
            seen.append(context)

        def on_bars(self, bars, context=None):
            seen.append(context)

    bars = ten_bars().head(1)
    run(Short(), bars, context=Context({"VIX": VIX}))
    run(Long(), bars, context=Context({"VIX": VIX}))
    run(Long(), bars)
    assert seen == ["A", 1, {"VIX": 10.0}, {"VIX": 10.0}, {}, {}]
    assert all(type(item) is dict for item in seen[2:])


def test_hooks_can_be_inherited_assigned_or_wrapped() -> None:
    """A subclass of a subclass, a lambda, a partial, a static method, any number of arguments."""

    class Base(Strategy):
        def on_bars(self, bars):
            self.buy("A", 1)

    class Derived(Base):
        pass

    class Variadic(Strategy):
        def on_bars(self, *everything):
            assert len(everything) == 2
            self.buy("A", 1)

    class Static(Strategy):
        @staticmethod
        def on_bars(bars):
            static.buy("A", 1)

    assigned, wrapped, static = Derived(), Base(), Static()
    assigned.on_bars = lambda bars: assigned.buy("A", 1)  # type: ignore[method-assign]
    wrapped.on_bars = partial(lambda s, bars, context: s.buy("A", 1), wrapped)  # type: ignore[method-assign]
    for strategy in (Derived(), Variadic(), assigned, wrapped, static):
        assert run(strategy).fills.height == 9, strategy


def test_a_parent_hook_can_be_called() -> None:
    """`super().on_bars(...)` reaches the empty hook of the base class."""

    class Polite(Strategy):
        def on_bars(self, bars, context):
            super().on_bars(bars, context)
            self.buy("A", 1)

    assert run(Polite()).fills.height == 9


# -- orders from every hook ------------------------------------------------------------------


def test_orders_from_every_hook() -> None:  # noqa: C901  one strategy with every hook
    """Each hook can order: from on_start for the first open, from on_end to stay open."""

    class Everywhere(Strategy):
        def on_start(self):
            self.buy("A", 1, tag="start")

        def on_market_data(self, event):
            if event.timestamp == DAYS[1]:
                self.buy("A", 1, tag="event")

        def on_bars(self, bars):
            if bars.timestamp == DAYS[1]:
                self.buy("A", 1, tag="bars")

        def on_fill_event(self, fill):
            if fill.timestamp == DAYS[0]:
                self.buy("A", 1, tag="fill")

        def on_order_event(self, order):
            if order.tag == "start" and order.status is OrderStatus.FILLED:
                self.buy("A", 1, tag="order")

        def on_end(self):
            self.buy("A", 1, tag="end")

    result = run(Everywhere())
    filled = result.fills.join(result.orders.select("order_id", "tag"), on="order_id")
    days = weekdays(10)
    assert list(zip(filled["tag"], filled["timestamp"], strict=True)) == [
        ("start", days[0]),
        ("fill", days[1]),
        ("order", days[1]),
        ("event", days[2]),
        ("bars", days[2]),
    ]
    last = result.orders.row(-1, named=True)
    assert (last["tag"], last["status"], last["created_at"]) == ("end", "accepted", days[-1])


def test_cancel_inside_on_order_event() -> None:
    """Changes made while changes are told are told at the next timestamp."""
    seen: list[str] = []

    class Nervous(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[0]:
                self.buy("A", 1, limit_price=50)

        def on_order_event(self, order):
            seen.append(f"{DAYS.index(self.now)} {order.status.value}")
            self.cancel_order(order.order_id)

    run(Nervous())
    assert seen == ["1 accepted", "2 canceled"]


def test_orders_before_a_run() -> None:
    """Orders given to the broker itself wait for the first open of a run, and are told."""
    broker, seen = SimulationBroker(), list[tuple[int, str]]()
    assert broker.submit_order(Order("A", "buy", 1)) == 1
    assert broker.submit_order(Order("NOBODY", "buy", 1)) == 2

    class Listener(Strategy):
        def on_bars(self, bars):
            pass

        def on_order_event(self, order):
            seen.append((order.order_id, order.status.value))

    engine = BacktestEngine(ten_bars(), strategy=Listener(), broker=broker)
    first = engine.run()
    assert first.fills["timestamp"].to_list() == weekdays(1)
    assert seen == [(1, "accepted"), (2, "rejected"), (1, "filled")]
    assert engine.run().fingerprint == first.fingerprint


def test_orders_between_runs_are_not_lost() -> None:
    """After a run the broker takes orders for the next one."""
    broker = SimulationBroker()
    engine = BacktestEngine(ten_bars(), strategy=Diary(), broker=broker)
    assert engine.run().fills.is_empty()
    broker.submit_order(Order("A", "buy", 3))
    assert engine.run().fills["quantity"].to_list() == [3.0]


def test_the_broker_answers_after_a_run() -> None:
    """Position and cash of the run that was last; a new broker knows its initial cash."""
    broker = SimulationBroker(10_000)
    assert (broker.get_cash(), broker.get_position("A")) == (10_000.0, 0.0)

    class Buyer(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[0]:
                self.buy("A", 10)

    run(Buyer(), broker=broker)
    assert (broker.get_cash(), broker.get_position("A")) == (8_980.0, 10.0)


# -- repeating -------------------------------------------------------------------------------


class Model(Strategy):
    """Trades the predictions, with state that on_start resets."""

    def on_start(self):
        self.count = 0

    def on_market_data(self, event, context):
        self.count += 1
        if event.signals["ml_pred"] > 1.0:
            self.size_by_confidence(event.asset_id, 0.5, max_percent=0.4)
        elif event.signals["ml_pred"] < 0.0:
            self.close_position(event.asset_id)


def test_a_second_run_is_the_same() -> None:
    """The same engine, or a new one, gives the same result to the bit."""
    data = random_market(4, 80, seed=9)
    engine = BacktestEngine(data, strategy=Model())
    first = engine.run()
    assert first.fills.height > 20
    assert engine.run().fingerprint == first.fingerprint
    assert run(Model(), data).fingerprint == first.fingerprint


def test_rows_and_names_in_any_order() -> None:
    """Shuffled rows give the same result."""
    data = random_market(4, 80, seed=9)
    shuffled = data.sample(fraction=1.0, shuffle=True, seed=1)
    assert run(Model(), shuffled).fills.equals(run(Model(), data).fills)


def test_one_feed_or_one_for_each_asset() -> None:
    """Feeds by asset, in any order, give what the table gives."""
    data = random_market(3, 60, seed=2)
    feeds = {name: ParquetDataFeed(data.filter(asset_id=name)) for name in ("A02", "A00", "A01")}
    merged = BacktestEngine(feeds=feeds, strategy=Model()).run()
    assert merged.fills.equals(run(Model(), data).fills)


def test_parameters_are_those_before_the_run() -> None:
    """What a strategy counted during the run is no parameter of it."""

    class Counter(Strategy):
        def __init__(self, top: int) -> None:
            self.top = top
            self.count = 0

        def on_bars(self, bars):
            self.count += 1

    assert run(Counter(3)).settings["strategy"]["parameters"] == {"count": 0, "top": 3}


def test_a_strategy_can_be_used_in_two_engines() -> None:
    """It is bound while it runs, and free afterwards."""
    strategy = Model()
    data = random_market(2, 40, seed=3)
    first = run(strategy, data)
    run(strategy, random_market(3, 40, seed=4))
    assert run(strategy, data).fingerprint == first.fingerprint


# -- time ------------------------------------------------------------------------------------


def test_every() -> None:
    """A function called by time, after on_bars, with as many arguments as it takes."""
    seen: list[Any] = []

    class Timed(Strategy):
        def on_start(self):
            self.every(dt.timedelta(days=3), self.nothing)
            self.every("week_start", self.with_bars)
            self.every("month_end", self.with_context)

        def nothing(self):
            seen.append(("days", self.now))

        def with_bars(self, bars):
            seen.append(("week", bars.timestamp))

        def with_context(self, bars, context):
            seen.append(("month", bars.timestamp, context["VIX"]))

        def on_bars(self, bars):
            seen.append(("bars", bars.timestamp))

    days = weekdays(23)
    data = market_of_bars([(100, 100, 100, 100)] * 23)
    vix = pl.DataFrame({"timestamp": days, "VIX": 1.0})
    run(Timed(), data, context=Context({"VIX": vix}), calendar="24/5")
    weeks = [call[1].date() for call in seen if call[0] == "week"]
    assert weeks == [day for day in days if day.weekday() == 0]
    assert [call[1].date() for call in seen if call[0] == "month"] == [dt.date(2024, 1, 31)]
    spaced = [call[1] for call in seen if call[0] == "days"]
    assert all(b - a >= dt.timedelta(days=3) for a, b in pairwise(spaced))
    for before, after in pairwise(seen):
        assert before[1] == after[1] or after[0] == "bars", "schedules run after on_bars"


def test_start_and_end() -> None:
    """Both are included; nothing outside is seen."""
    seen: list[dt.datetime] = []

    class Watch(Strategy):
        def on_bars(self, bars):
            seen.append(bars.timestamp)

    run(Watch(), start="2024-01-04", end=dt.date(2024, 1, 8))
    assert seen == DAYS[2:5]


def test_progress_ends_at_one() -> None:
    """A function receives the share done."""
    shares: list[float] = []
    run(Diary(), progress=shares.append)
    assert shares[-1] == 1.0
    assert shares == sorted(shares)


# -- feeds that name assets as they go -------------------------------------------------------


class Growing(DataFeed):
    """Gives the events of a list."""

    def __init__(self, events: list[MarketEvent]) -> None:
        self.events = events

    def get_next_event(self):
        return self.events.pop(0) if self.events else None

    def is_exhausted(self):
        return not self.events


def growing() -> Growing:
    """B on six days, A from the fourth on."""
    return Growing(
        [
            MarketEvent(day, name, 10.0, 10.0, 10.0, 10.0 + i)
            if name == "B" and i == -1
            else MarketEvent(day, name, 10.0 + i, 11.0 + i, 9.0, 10.0 + i)
            for i, day in enumerate(DAYS[:6])
            for name in (("B",) if i < 3 else ("A", "B"))
        ]
    )


def test_an_asset_that_a_feed_names_late() -> None:
    """Unknown until it appears; then it trades, and older bars are as they were."""
    kept: list[Any] = []

    class Explorer(Strategy):
        def on_bars(self, bars):
            kept.append(bars)
            if bars.timestamp == DAYS[0]:
                self.buy("A", 1)
                self.buy("B", 5)
                assert self.get_position("A") == 0.0
            if bars.timestamp == DAYS[3]:
                self.rebalance_to_weights({"A": 0.5, "B": 0.4})
            assert self.get_last_price("B") == bars["B"].close
            assert self.history("B", 2)[-1] == bars["B"].close

    result = BacktestEngine(feed=growing(), strategy=Explorer()).run()
    assert result.orders["status"].to_list() == ["rejected", "filled", "filled", "filled"]
    assert "unknown asset 'A'" in result.orders["reason"][0]
    assert [bars.asset_ids for bars in kept] == [["B"]] * 3 + [["A", "B"]] * 3
    assert [len(list(bars)) for bars in kept] == [1, 1, 1, 2, 2, 2]
    assert kept[0].chunk_row("A") == -1
    assert "A" not in kept[0]


def test_a_late_asset_of_a_table_is_known_from_the_start() -> None:
    """A table's assets are known, so that an order can wait for the first bar."""

    class Early(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == DAYS[0]:
                self.buy("A01", 1)

    result = run(Early(), with_late(flat_market(2), "A01", 4))
    assert result.fills["timestamp"].to_list() == [weekdays(5)[-1]]


# -- books that stay sound -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_fractional_flips_leave_no_dust(seed: int) -> None:
    """Fractions that do not add up exactly end filled, flat, and without leftover protection."""

    class Flipper(Strategy):
        def on_market_data(self, event):
            step = self.history("A00", 1_000).size
            size = 0.1 * (step % 7 + 1)
            if step % 5 == 4:
                self.close_position("A00")
            elif step % 2:
                self.buy("A00", size)
                self.sell("A00", 1.0, stop_price=event.close * 0.99, reduce_only=True)
            else:
                self.sell("A00", size + 0.3)

    broker = SimulationBroker(fractional=True)
    result = run(Flipper(), random_market(1, 120, seed=seed), broker=broker)
    orders = result.orders
    assert orders.filter(pl.col("status") == "partially_filled").is_empty()
    assert result.fills["quantity"].min() > 1e-6
    market = orders.filter(pl.col("type") == "market", status="accepted")
    assert market.height <= 2, "only what was decided on the last bar is open"
