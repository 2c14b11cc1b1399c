"""What each helper answers and orders, on ten bars whose numbers can be redone by hand."""

from __future__ import annotations

import datetime as dt
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    DataError,
    Instrument,
    MarginAccount,
    Order,
    OrderError,
    OrderSide,
    OrderStatus,
    OrderType,
    PercentCommission,
    SimulationBroker,
    Strategy,
    TimeInForce,
)
from ml4t.backtest.testing.markets import flat_market, steady_market, ten_bars
from tests.markets import Market
from tests.stories.plan import Plan, parse_bars, tell

if TYPE_CHECKING:
    from collections.abc import Callable

# Three assets at 100, 50 and 20 that never move: money and units can be told apart.
THREE = "\n".join(
    f"{bar} {name} {price} {price} {price} {price}"
    for bar in range(8)
    for name, price in (("A", 100), ("B", 50), ("C", 20))
)


def at(**acts: Callable[[Plan], Any]) -> Callable[[Plan, int], Any]:
    """`at(s0=f, s3=g)`: call f on bar 0 and g on bar 3."""
    return lambda plan, step: acts[f"s{step}"](plan) if f"s{step}" in acts else None


def ask(step: int, question: Callable[[Plan], Any], orders: str = "", **options: Any) -> Any:
    """The answer to a question asked on one bar of a plan."""
    answers: list[Any] = []

    def acts(plan: Plan, now: int) -> None:
        if now == step:
            answers.append(question(plan))

    data = options.pop("data", None)
    strategy = Plan(orders, acts)
    BacktestEngine(
        ten_bars() if data is None else data,
        strategy=strategy,
        broker=SimulationBroker(10_000, **options),
    ).run()
    return answers[0]


# -- look ------------------------------------------------------------------------------------


def test_now() -> None:
    """The time of the current bars, as a datetime."""
    assert ask(3, lambda s: s.now) == dt.datetime(2024, 1, 5)


def test_position_long_short_flat() -> None:
    """Signed units; the order of this bar has not changed it yet."""
    assert ask(0, lambda s: (s.buy("A", 5), s.get_position("A"))[1]) == 0.0
    assert ask(1, lambda s: s.get_position("A"), "@0 buy 5") == 5.0
    assert ask(1, lambda s: s.get_position("A"), "@0 sell 5") == -5.0


def test_position_of_an_unknown_asset() -> None:
    """A name that the data does not have is a typing mistake, and the nearest is offered."""
    with pytest.raises(OrderError, match=r"Unknown asset 'AA'. Did you mean 'A'\?"):
        ask(0, lambda s: s.get_position("AA"))


def test_positions_are_sorted_and_yours() -> None:
    """Only what is held, by asset, and changing the answer changes nothing."""
    data = flat_market(3)

    def question(s: Plan) -> Any:
        s.get_positions().clear()
        return list(s.get_positions().items())

    orders = "@0 buy 2 A02\n@0 sell 1 A00"
    assert ask(2, question, orders, data=data) == [("A00", -1.0), ("A02", 2.0)]


def test_cash_equity_and_buying_power() -> None:
    """Bought 10 at 102, marked at 103."""
    money = ask(1, lambda s: (s.get_cash(), s.get_equity(), s.get_buying_power()), "@0 buy 10")
    assert money == (8_980.0, 10_010.0, 8_980.0)


def test_buying_power_of_a_short() -> None:
    """Short 10 from 102, marked at 103: proceeds and as much again are set aside."""
    power = ask(1, lambda s: s.get_buying_power(), "@0 sell 10")
    assert power == 10_000 + 1_020 - 2 * 1_030


def test_last_price_and_entry_price() -> None:
    """The last close; the average of what was paid, commission excluded."""
    prices = ask(
        3,
        lambda s: (s.get_last_price("A"), s.get_entry_price("A")),
        "@0 buy 10\n@1 buy 30",
        commission=PercentCommission(0.01),
    )
    assert prices == (109.0, (10 * 102 + 30 * 103) / 40)


def test_entry_price_when_flat() -> None:
    """There is none."""
    assert math.isnan(ask(3, lambda s: s.get_entry_price("A")))


GAPS = """
0 A 10 10 10 10
0 C 20 20 20 20
1 A 10 10 10 10
1 B 30 30 30 30
1 C 20 20 20 20
2 B 33 33 33 33
2 C 22 22 22 22
"""


class Columns(Strategy):
    """Buys A and sells C, and notes what the arrays are on every bar."""

    def on_start(self) -> None:
        self.seen: list[tuple[list[str], list[float], list[float]]] = []

    def on_bars(self, bars: Any) -> None:
        if not self.seen:
            self.buy("A", 3)
            self.sell("C", 2)
        units = self.get_position_array()
        self.seen.append((bars.asset_ids, units.tolist(), self.get_entry_price_array().tolist()))
        for row, asset in enumerate(bars.asset_ids):
            assert bars.row(asset) == row
            assert units[row] == self.get_position(asset)
        units[:] = 99.0  # a copy is nobody else's
        assert self.get_position("A") != 99.0


def test_positions_as_columns() -> None:
    """In the order of the assets that have a bar now, however many those are."""
    strategy = Columns()
    BacktestEngine(parse_bars(GAPS), strategy=strategy).run()
    names, units, entries = zip(*strategy.seen, strict=True)
    assert names == (["A", "C"], ["A", "B", "C"], ["B", "C"])
    assert units == ([0.0, 0.0], [3.0, 0.0, -2.0], [0.0, -2.0])
    assert np.isnan(entries[0]).all()
    assert entries[1][0] == 10.0
    assert math.isnan(entries[1][1])
    assert entries[1][2] == 20.0


def test_there_are_no_columns_before_the_first_bars() -> None:
    """Nor is there a row of an asset that has no bar."""

    class Early(Strategy):
        def on_start(self) -> None:
            for ask_early in (self.get_position_array, self.get_entry_price_array):
                with pytest.raises(OrderError, match="no bars"):
                    ask_early()

        def on_bars(self, bars: Any) -> None:
            if len(bars) == 2 and "B" not in bars:
                with pytest.raises(KeyError, match="'B' has no bar"):
                    bars.row("B")

    BacktestEngine(parse_bars(GAPS), strategy=Early()).run()


def test_an_asset_without_a_bar_is_no_misspelt_one() -> None:
    """Its name is right, so no other is offered; a wrong name is not said to lack a bar."""
    texts: dict[tuple[int, str], str] = {}

    class Look(Strategy):
        def on_bars(self, bars: Any) -> None:
            for asset in ("B", "BB"):
                for look in (bars.row, bars.__getitem__):
                    if asset not in bars:
                        with pytest.raises(KeyError) as caught:
                            look(asset)
                        texts[len(texts), asset] = caught.value.args[0]

    BacktestEngine(parse_bars(GAPS), strategy=Look()).run()
    absent = {text for (_, asset), text in texts.items() if asset == "B"}
    assert absent == {
        "'B' has no bar at 2024-01-02 00:00:00. Ask first whether it has one: 'B' in bars."
    }
    unknown = {text for (_, asset), text in texts.items() if asset == "BB"}
    assert unknown == {"Unknown asset 'BB'. Did you mean 'B'?"}


def test_positions_as_columns_are_those_of_the_assets_with_a_bar() -> None:
    """A is held on the third day and has no bar: it is in the dict alone."""
    seen: list[tuple[int, int]] = []

    class Count(Columns):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            held = self.get_position_array() != 0.0
            seen.append((int(held.sum()), len(self.get_positions())))

    BacktestEngine(parse_bars(GAPS), strategy=Count()).run()
    assert seen == [(0, 0), (2, 2), (1, 2)]


def test_positions_as_columns_at_a_fill_are_those_of_its_bars() -> None:
    """`on_fill_event` comes before `on_bars`: what was kept there has another length."""
    lengths: list[tuple[int, int]] = []

    class Told(Columns):
        def on_fill_event(self, fill: Any) -> None:
            lengths.append((len(self.seen[-1][0]), len(self.get_position_array())))

    BacktestEngine(parse_bars(GAPS), strategy=Told()).run()
    assert lengths == [(2, 3), (2, 3)]


def test_unrealized_pnl() -> None:
    """Ten from 102, at 104: 20 of money, 2/102; the opposite for a short; nothing when flat."""

    def question(s: Plan) -> Any:
        return s.get_unrealized_pnl("A"), s.get_unrealized_pnl_pct("A")

    assert ask(2, question, "@0 buy 10") == (20.0, pytest.approx(2 / 102))
    assert ask(2, question, "@0 sell 10") == (-20.0, pytest.approx(-2 / 102))
    assert ask(2, question) == (0.0, 0.0)


def test_unrealized_pnl_of_a_multiplier() -> None:
    """One contract of 50 a point, two points up."""
    contract = [Instrument(asset_id="A", multiplier=50)]
    assert ask(2, lambda s: s.get_unrealized_pnl("A"), "@0 buy 1", instruments=contract) == 100.0


def test_last_price_before_the_first_bar() -> None:
    """In on_start there is no price yet."""
    seen: list[float] = []

    class Early(Strategy):
        def on_start(self):
            seen.append(self.get_last_price("A"))
            seen.append(self.get_cash())
            seen.append(self.get_position("A"))

        def on_bars(self, bars):
            pass

    BacktestEngine(ten_bars(), strategy=Early()).run()
    assert math.isnan(seen[0])
    assert seen[1:] == [100_000.0, 0.0]


def test_open_orders_are_seen_at_once() -> None:
    """Orders of this step are listed, with all that was asked for; of one asset, or all."""

    def question(s: Plan) -> Any:
        s.buy("A00", 3, limit_price=90.0, time_in_force="day", tag="dip")
        s.sell("A01", 2)
        return s.get_open_orders("A00"), s.get_open_orders()

    one, everything = ask(2, question, data=flat_market(3))
    (order,) = one
    assert (order.order_id, order.asset_id, order.side) == (1, "A00", OrderSide.BUY)
    assert (order.type, order.limit_price, order.stop_price) == (OrderType.LIMIT, 90.0, None)
    assert (order.quantity, order.filled_quantity, order.remaining_quantity) == (3.0, 0.0, 3.0)
    assert (order.time_in_force, order.tag, order.reduce_only) == (TimeInForce.DAY, "dip", False)
    assert order.status is OrderStatus.ACCEPTED
    assert [o.asset_id for o in everything] == ["A00", "A01"]


def test_open_orders_of_a_basket() -> None:
    """A rebalance is listed like single orders, with consecutive ids."""

    def question(s: Plan) -> Any:
        s.rebalance_to_weights({"A00": 0.5, "A01": -0.2})
        return [(o.order_id, o.asset_id, o.side.value, o.quantity) for o in s.get_open_orders()]

    expected = [(1, "A00", "buy", 50.0), (2, "A01", "sell", 20.0)]
    assert ask(0, question, data=flat_market(3)) == expected


def test_the_exits_of_a_basket_are_sent_first() -> None:
    """What is sold less of before what is bought, whatever the names."""

    class Turn(Strategy):
        def on_bars(self, bars: Any) -> None:
            weights = [{"A01": 0.5, "A02": -0.3}, {"A00": 0.4, "A01": 0.2, "A02": -0.1}]
            if bars.index in {0, 3}:
                self.rebalance_to_weights(weights[bars.index // 3])

    broker = SimulationBroker()
    result = BacktestEngine(flat_market(3), strategy=Turn(), broker=broker).run()
    ids = result.orders.sort("order_id")["asset_id"].to_list()
    assert ids == ["A01", "A02", "A01", "A02", "A00"]


def test_history() -> None:
    """The last closes with the current one; fewer at the start; other fields by name."""
    assert ask(2, lambda s: s.history("A", 2).tolist()) == [103.0, 104.0]
    assert ask(1, lambda s: s.history("A", 5).tolist()) == [100.0, 103.0]
    assert ask(2, lambda s: s.history("A", 2, "low").tolist()) == [101.0, 102.0]
    assert ask(2, lambda s: s.history("A", n=1, field="volume").tolist()) == [1_000.0]


def test_history_is_read_only() -> None:
    """The past cannot be written to."""

    def question(s: Plan) -> Any:
        with pytest.raises(ValueError, match="read-only"):
            s.history("A", 2)[0] = 1.0

    ask(3, question)


def test_history_of_all_assets() -> None:
    """A matrix with a column for each of `bars.asset_ids`."""
    matrix = ask(2, lambda s: s.history(None, 2).tolist(), data=steady_market(1.0, assets=2))
    assert matrix == [[200.0, 200.0], [400.0, 400.0]]


def test_history_of_an_unknown_field() -> None:
    """The nearest field is offered."""
    with pytest.raises(DataError, match=r"no history of 'clse'. Did you mean 'close'\?"):
        ask(0, lambda s: s.history("A", 2, "clse"))


# -- increments ------------------------------------------------------------------------------


def test_buy_and_sell_types() -> None:
    """Prices say which type an order is of."""

    def question(s: Plan) -> Any:
        s.buy("A", 1)
        s.buy("A", 1, limit_price=90)
        s.sell("A", 1, stop_price=90)
        s.sell("A", 1, stop_price=90, limit_price=89)
        return [o.type.value for o in s.get_open_orders()]

    assert ask(0, question) == ["market", "limit", "stop", "stop_limit"]


def test_increments_add_up() -> None:
    """Asked twice, bought twice; what was open stays open."""
    twice = at(s0=lambda s: (s.buy("A", 5), s.buy("A", 5)), s1=lambda s: s.buy("A", 5))
    tell(
        "@0 buy 1 limit 80",
        "1 buy 5 at 102\n1 buy 5 at 102\n2 buy 5 at 103",
        "1 accepted",
        acts=twice,
    )


def test_submit_order_takes_words_or_enumerations() -> None:
    """Both spellings are the same order, in fills, events and the result."""
    orders = (
        Order("A", "buy", 10, "limit", limit_price=np.float64(102.5), time_in_force="day"),
        Order("A", OrderSide.BUY, 10, OrderType.LIMIT, 102.5, time_in_force=TimeInForce.DAY),
    )
    results = []
    for order in orders:
        events: list[Any] = []
        strategy = Plan("", at(s1=partial(Plan.submit_order, order=order)))
        strategy.on_fill_event = events.append  # type: ignore[method-assign, assignment]
        result = BacktestEngine(ten_bars(), strategy=strategy).run()
        (fill,) = events
        assert fill.side is OrderSide.BUY
        assert type(fill.price) is float
        results.append((result.fills.rows(), result.orders.rows()))
    assert results[0] == results[1]


def test_submit_order_takes_orders_only() -> None:
    """Anything else is a mistake of the caller, and says what an order looks like."""
    with pytest.raises(OrderError, match="takes an Order, such as"):
        ask(0, lambda s: s.submit_order("A"))  # type: ignore[arg-type]


def test_buy_percent_adds() -> None:
    """Ten percent of 10,000 at 100 is 10; asked again the next day, 10 more."""
    acts = at(s0=lambda s: s.buy_percent("A", 0.1), s1=lambda s: s.buy_percent("A", 0.1))
    tell("", "1 buy 10 A at 100\n2 buy 10 A at 100", bars=THREE, acts=acts)


def test_buy_percent_rounds_toward_zero() -> None:
    """2,599 buys 25 at 100; fractional accounts buy 25.99."""
    acts = at(s0=lambda s: s.buy_percent("A", 0.2599))
    tell("", "1 buy 25 A at 100", bars=THREE, acts=acts)
    tell("", "1 buy 25.99 A at 100", bars=THREE, acts=acts, fractional=True)


def test_buy_percent_below_a_lot() -> None:
    """Money for less than a share is refused, with the figures."""
    acts = at(s0=lambda s: s.buy_percent("A", 0.005))
    tell("", "", "1 rejected 50.00 is less than one lot at 100.00", bars=THREE, acts=acts)


def test_sell_percent_of_the_position() -> None:
    """Half of 10; a third of the 5 left is 1; all of the rest."""
    acts = at(
        s1=lambda s: s.sell_percent("A", 0.5),
        s2=lambda s: s.sell_percent("A", 1 / 3),
        s3=lambda s: s.sell_percent("A", 1.0),
    )
    tell(
        "@0 buy 10 A",
        "1 buy 10 A at 100\n2 sell 5 A at 100\n3 sell 1 A at 100\n4 sell 4 A at 100",
        bars=THREE,
        acts=acts,
    )


@pytest.mark.parametrize("orders", ["", "@0 sell 10 A"])
def test_sell_percent_without_a_long_position(orders: str) -> None:
    """Flat or short there is nothing to sell: rejected, with that reason."""
    result = tell(
        orders,
        "1 sell 10 A at 100" if orders else "",
        bars=THREE,
        acts=at(s1=lambda s: s.sell_percent("A", 0.5)),
    )
    last = result.orders.row(-1, named=True)
    assert (last["status"], last["reason"], last["side"]) == ("rejected", "no position", "sell")


def test_sell_percent_never_sells_short() -> None:
    """Two sales of everything in one bar sell everything once."""
    acts = at(s1=lambda s: (s.sell_percent("A", 1.0), s.sell_percent("A", 1.0)))
    tell(
        "@0 buy 10 A",
        "1 buy 10 A at 100\n2 sell 10 A at 100",
        "2 filled\n3 canceled position closed",
        bars=THREE,
        acts=acts,
    )


def test_sell_percent_above_one() -> None:
    """More than the position cannot be sold."""
    with pytest.raises(OrderError, match=r"percent=1.5 of a position cannot be sold; 1.0 is all"):
        ask(0, lambda s: s.sell_percent("A", 1.5))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.buy_percent("A", 50),
        lambda s: s.sell_percent("A", 50),
        lambda s: s.order_target_percent("A", 50),
        lambda s: s.order_target_percent("A", -50),
        lambda s: s.size_by_confidence("A", 0.5, 50),
        lambda s: s.size_by_confidence("A", 0.5, max_percent=-50),
    ],
)
def test_percent_is_a_fraction(call: Callable[[Plan], Any]) -> None:
    """Above 10 it was surely meant in per cent, and the text says so."""
    with pytest.raises(OrderError, match=r"percentages are fractions, 0.05 is five percent"):
        ask(0, call)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", None])
def test_percent_is_a_number(value: Any) -> None:
    """NaN is no fraction of anything."""
    with pytest.raises(OrderError, match="percent must be a finite number"):
        ask(0, lambda s: s.buy_percent("A", value))


def test_negative_percentages_of_increments() -> None:
    """Buying less than nothing is selling: say so."""
    with pytest.raises(OrderError, match="negative; use the opposite helper"):
        ask(0, lambda s: s.buy_percent("A", -0.1))


# -- targets ---------------------------------------------------------------------------------

TARGETS: dict[str, Callable[[Plan], Any]] = {
    "order_target": lambda s: s.order_target("A", 20),
    "order_target_value": lambda s: s.order_target_value("A", 2_000),
    "order_target_percent": lambda s: s.order_target_percent("A", 0.2),
    "size_by_confidence": lambda s: s.size_by_confidence("A", 0.5, max_percent=0.4),
    "rebalance_to_weights": lambda s: s.rebalance_to_weights({"A": 0.2}),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_is_reached_once(name: str) -> None:
    """Asked for on every bar, and twice on some: 20 are bought, once."""
    target = TARGETS[name]
    acts = at(s0=lambda s: (target(s), target(s)), s1=target, s2=target, s3=target)
    tell("", "1 buy 20 A at 100", bars=THREE, acts=acts)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_supersedes_what_is_open(name: str) -> None:
    """An open limit order is canceled with that reason; the target is what counts."""
    tell(
        "@0 buy 7 A limit 90\n@0 sell 3 A limit 120",
        "2 buy 20 A at 100",
        "1 canceled superseded\n2 canceled superseded\n3 filled",
        bars=THREE,
        acts=at(s1=TARGETS[name]),
    )


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_leaves_protection_alone(name: str) -> None:
    """A resting reduce-only order guards the position and survives."""
    tell(
        "@0 buy 10 A\n@0 sell 10 A stop 80 reduce_only",
        "1 buy 10 A at 100\n2 buy 10 A at 100",
        "2 accepted",
        bars=THREE,
        acts=at(s1=TARGETS[name]),
    )


def test_the_last_target_of_a_step_wins() -> None:
    """Whatever kind it is of."""
    acts = at(
        s0=lambda s: (
            s.order_target("A", 50),
            s.rebalance_to_weights({"A": 0.4, "B": 0.1}),
            s.order_target_percent("A", 0.3),
        )
    )
    tell(
        "",
        "1 buy 20 B at 50\n1 buy 30 A at 100",
        "1 canceled superseded\n2 canceled superseded\n3 filled\n4 filled",
        bars=THREE,
        acts=acts,
    )


def test_a_target_of_another_asset_is_not_touched() -> None:
    """Targets are by asset."""
    acts = at(s0=lambda s: (s.order_target("A", 5), s.order_target("B", 5)))
    tell("", "1 buy 5 A at 100\n1 buy 5 B at 50", bars=THREE, acts=acts)


def test_targets_can_flip() -> None:
    """From 20 long to 20 short is one order of 40."""
    acts = at(s0=lambda s: s.order_target("A", 20), s1=lambda s: s.order_target("A", -20))
    tell("", "1 buy 20 A at 100\n2 sell 40 A at 100", bars=THREE, acts=acts)


def test_an_increment_after_a_target_adds() -> None:
    """The target's order stays; the increment comes on top."""
    acts = at(s0=lambda s: (s.order_target("A", 20), s.buy("A", 5)))
    tell("", "1 buy 20 A at 100\n1 buy 5 A at 100", bars=THREE, acts=acts)


def test_targets_return_ids_or_nothing() -> None:
    """An id where something trades, None where the position is there already."""
    answers: list[Any] = []
    acts = at(
        s0=lambda s: answers.append(s.order_target("A", 20)),
        s1=lambda s: answers.append(s.order_target("A", 20)),
        s2=lambda s: answers.append(s.close_position("A")),
        s3=lambda s: answers.append(s.close_position("A")),
    )
    tell("", "1 buy 20 A at 100\n3 sell 20 A at 100", bars=THREE, acts=acts)
    assert answers == [1, None, 2, None]


def test_tolerance() -> None:
    """A change worth less than the tolerance is not traded; at the tolerance it is."""
    acts = at(
        s0=lambda s: s.order_target("A", 20),
        s1=lambda s: s.order_target("A", 29, tolerance=0.1),
        s2=lambda s: s.order_target_percent("A", 0.29, tolerance=0.1),
        s3=lambda s: s.order_target_value("A", 2_900, tolerance=0.1),
        s4=lambda s: s.rebalance_to_weights({"A": 0.29, "B": 0.3}, tolerance=0.1),
        s5=lambda s: s.size_by_confidence("A", 1.0, 0.3, tolerance=0.1),
    )
    tell("", "1 buy 20 A at 100\n5 buy 60 B at 50\n6 buy 10 A at 100", bars=THREE, acts=acts)


def test_tolerance_still_supersedes() -> None:
    """A target within tolerance means: be where you are, so what is open goes."""
    tell(
        "@0 buy 5 A limit 90",
        "",
        "1 canceled superseded",
        bars=THREE,
        acts=at(s1=lambda s: s.order_target("A", 1, tolerance=0.5)),
    )


def test_size_by_confidence_clips() -> None:
    """Below 0 is nothing, above 1 is all; a negative maximum is short."""
    acts = at(
        s0=lambda s: (
            s.size_by_confidence("A", 7.0, 0.3),
            s.size_by_confidence("B", -3.0, 0.3),
            s.size_by_confidence("C", 0.5, -0.2),
        )
    )
    tell("", "1 buy 30 A at 100\n1 sell 50 C at 20", bars=THREE, acts=acts)


def test_size_by_confidence_needs_a_number() -> None:
    """An asset without a confidence is to be skipped by the strategy, not guessed."""
    with pytest.raises(
        OrderError, match=r"confidence for 'A' is nan, not a number from 0 to 1. Skip"
    ):
        ask(0, lambda s: s.size_by_confidence("A", math.nan, 0.3))
    with pytest.raises(OrderError, match="confidence for 'A' is 'high', not a number from 0 to 1"):
        ask(0, lambda s: s.size_by_confidence("A", "high", 0.3))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_targets_are_finite(value: float) -> None:
    """No target can be NaN."""
    with pytest.raises(OrderError, match="target for 'A' must be finite"):
        ask(0, lambda s: s.order_target("A", value))
    with pytest.raises(OrderError, match="value must be a finite amount of money"):
        ask(0, lambda s: s.order_target_value("A", value))


def test_targets_of_an_asset_without_a_price() -> None:
    """It had no bar yet: refused with that reason, not sized at nothing."""
    bars = "0 A 100 100 100 100\n1 A 100 100 100 100\n1 B 50 50 50 50"
    acts = at(s0=lambda s: (s.order_target_percent("B", 0.1), s.buy_percent("B", 0.1)))
    tell(
        "",
        "",
        "1 rejected no price yet: it had no bar\n2 rejected no price yet: it had no bar",
        bars=bars,
        acts=acts,
    )


# -- closing ---------------------------------------------------------------------------------


def test_close_position_cancels_its_protection_once_flat() -> None:
    """The stop lives until the sale fills, and ends with it."""
    tell(
        "@0 buy 10 A\n@0 sell 10 A stop 80 reduce_only",
        "1 buy 10 A at 100\n3 sell 10 A at 100",
        "2 canceled position closed",
        bars=THREE,
        acts=at(s2=lambda s: s.close_position("A")),
    )


def test_close_position_of_a_short() -> None:
    """A short is bought back."""
    tell(
        "@0 sell 10 A",
        "1 sell 10 A at 100\n2 buy 10 A at 100",
        bars=THREE,
        acts=at(s1=lambda s: s.close_position("A")),
    )


def test_close_position_twice_closes_once() -> None:
    """The second close supersedes the first."""
    tell(
        "@0 buy 10 A",
        "1 buy 10 A at 100\n2 sell 10 A at 100",
        "2 canceled superseded",
        bars=THREE,
        acts=at(s1=lambda s: (s.close_position("A"), s.close_position("A"))),
    )


def test_close_position_takes_fractions_whole() -> None:
    """What is held in fractions can be closed whole."""
    tell(
        "@0 buy 10.3 A",
        "1 buy 10.3 A at 100\n2 sell 10.3 A at 100",
        bars=THREE,
        fractional=True,
        acts=at(s1=lambda s: s.close_position("A")),
    )


def test_close_all() -> None:
    """Every position, by asset; the ids come back."""
    answers: list[Any] = []
    acts = at(s1=lambda s: answers.extend(s.close_all()))
    tell(
        "@0 buy 10 A\n@0 sell 10 C",
        "1 buy 10 A at 100\n1 sell 10 C at 20\n2 sell 10 A at 100\n2 buy 10 C at 20",
        bars=THREE,
        acts=acts,
    )
    assert answers == [3, 4]


# -- rebalancing -----------------------------------------------------------------------------


def test_rebalance_is_for_the_whole_portfolio() -> None:
    """What is not named goes to zero; exits come first."""
    acts = at(
        s0=lambda s: s.rebalance_to_weights({"A": 0.5, "B": 0.5}),
        s1=lambda s: s.rebalance_to_weights({"B": 0.5, "C": -0.5}),
    )
    tell(
        "",
        "1 buy 50 A at 100\n1 buy 100 B at 50\n2 sell 50 A at 100\n2 sell 250 C at 20",
        bars=THREE,
        acts=acts,
    )


def test_rebalance_counts_its_orders() -> None:
    """How many orders were sent."""
    answers: list[int] = []
    acts = at(
        s0=lambda s: answers.append(s.rebalance_to_weights({"A": 0.5, "B": 0.5})),
        s1=lambda s: answers.append(s.rebalance_to_weights({"A": 0.5, "B": 0.5})),
        s2=lambda s: answers.append(s.rebalance_to_weights({})),
    )
    tell(
        "",
        "1 buy 50 A at 100\n1 buy 100 B at 50\n3 sell 50 A at 100\n3 sell 100 B at 50",
        bars=THREE,
        acts=acts,
    )
    assert answers == [2, 0, 2]


@pytest.mark.parametrize("kind", [np.array, list, tuple])
def test_rebalance_to_an_array(kind: Any) -> None:
    """Weights in the order of `bars.asset_ids`."""
    acts = at(s0=lambda s: s.rebalance_to_weights(kind([0.5, 0.0, 0.2])))
    tell("", "1 buy 50 A at 100\n1 buy 100 C at 20", bars=THREE, acts=acts)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"A": math.nan}, "1 weights are not finite; the first is nan for 'A'"),
        ({"A": math.inf}, "1 weights are not finite; the first is inf for 'A'"),
        (np.array([0.1, math.nan, math.nan]), "2 weights are not finite; the first is nan for 'B'"),
        ({"AA": 0.5}, r"weights name an unknown asset 'AA'. Did you mean 'A'\?"),
        ({"A": 0.7, "B": 0.4}, "weights add up to 1.1 in absolute value, but the account allows 1"),
        ({"A": 0.7, "B": -0.4}, "weights add up to 1.1 in absolute value"),
        ({"A": "half"}, "the weight of 'A' is 'half', not a number"),
        ({"A": None}, "the weight of 'A' is None, not a number"),
        (np.array([True, False, False]), "weights are True and False"),
        ([False, True, False], "weights are True and False"),
        (np.array([0.5]), r"weights have shape \(1,\), but 3 assets have a bar now"),
    ],
)
def test_weights_are_checked(weights: Any, text: str) -> None:
    """Weights that cannot be meant are an error, not a smaller portfolio."""
    with pytest.raises(OrderError, match=text):
        ask(0, lambda s: s.rebalance_to_weights(weights), data=parse_three())


def parse_three() -> pl.DataFrame:
    """The three assets as prices."""
    from tests.stories.plan import parse_bars

    return parse_bars(THREE)


def test_weights_may_miss_one_by_float_noise() -> None:
    """Thirds add up to one."""
    acts = at(s0=lambda s: s.rebalance_to_weights(dict.fromkeys("ABC", 1 / 3 + 1e-10)))
    tell("", "1 buy 33 A at 100\n1 buy 66 B at 50\n1 buy 166 C at 20", bars=THREE, acts=acts)


# -- canceling -------------------------------------------------------------------------------


def test_cancel_order_and_cancel_all() -> None:
    """One by its id, those of an asset, or all; protection included."""
    answers: list[Any] = []
    acts = at(
        s1=lambda s: answers.append((s.cancel_order(1), s.cancel_order(1), s.cancel_all("B"))),
        s2=lambda s: answers.append((s.cancel_all(), s.cancel_all())),
    )
    tell(
        "@0 buy 1 A limit 90\n@0 buy 1 B limit 40\n@0 buy 1 B limit 41\n@0 buy 1 C limit 10\n"
        "@0 sell 1 C stop 10 reduce_only",
        "",
        "\n".join(f"{i} canceled canceled by the strategy" for i in range(1, 6)),
        bars=THREE,
        acts=acts,
    )
    assert answers == [(True, False, 2), (2, 0)]


def test_cancel_a_leg_of_a_basket() -> None:
    """A rebalance can be canceled order by order."""
    acts = at(s0=lambda s: (s.rebalance_to_weights({"A": 0.5, "B": 0.5}), s.cancel_order(1)))
    tell("", "1 buy 100 B at 50", "1 canceled canceled by the strategy", bars=THREE, acts=acts)


# -- notes and time --------------------------------------------------------------------------


def test_record_and_log() -> None:
    """Values and lines, each with the time of their step."""

    def acts(plan: Plan, step: int) -> None:
        if step in {1, 3}:
            plan.record(step=step, is_late=step > 2, ratio=np.float32(0.5))
            plan.log(f"step {step}")

    result = tell(acts=acts)
    days = [dt.date(2024, 1, 3), dt.date(2024, 1, 5)]
    assert result.records.filter(name="step").select("timestamp", "value").rows() == [
        (days[0], 1.0),
        (days[1], 3.0),
    ]
    assert set(result.records["name"]) == {"step", "is_late", "ratio"}
    assert result.logs.rows() == [(days[0], "step 1"), (days[1], "step 3")]


def test_a_line_says_what_was_true_when_it_was_written() -> None:
    """What is no text is written down at once: a list goes on growing."""
    seen: list[int] = []

    def acts(plan: Plan, step: int) -> None:
        seen.append(step)
        if step < 2:
            plan.log(seen)  # type: ignore[arg-type]

    result = tell(acts=acts)
    seen.append(99)
    assert result.logs["message"].to_list() == ["[0]", "[0, 1]"]


def test_record_takes_numbers_only() -> None:
    """Text would be lost in a column of numbers, so it is refused."""
    with pytest.raises(Exception, match=r"record\(regime='bull'\): only numbers can be recorded"):
        ask(0, lambda s: s.record(regime="bull"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call", [lambda s: s.log("begin"), lambda s: s.record(x=1), lambda s: s.now]
)
def test_there_is_no_time_before_the_first_bar(call: Callable[[Strategy], Any]) -> None:
    """In on_start there is nothing to date a note with."""

    class Early(Strategy):
        def on_start(self):
            call(self)

        def on_bars(self, bars):
            pass

    with pytest.raises(OrderError, match="no current time before the first bar"):
        BacktestEngine(ten_bars(), strategy=Early()).run()


def test_helpers_outside_a_run() -> None:
    """Before and after a run they say where they work."""
    strategy = Plan("")
    text = "Plan is not running: its helpers work inside the hooks of a BacktestEngine run"
    with pytest.raises(OrderError, match=text):
        strategy.buy("A", 1)
    BacktestEngine(ten_bars(), strategy=strategy).run()
    for call in (strategy.get_cash, strategy.get_positions, strategy.close_all):
        with pytest.raises(OrderError, match=text):
            call()


# -- orders that cannot be meant --------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (Order("AA", "buy", 1), "unknown asset 'AA'. Did you mean 'A'?"),
        (Order("A", "buy", math.nan), "quantity must be a finite number, not nan"),
        (Order("A", "buy", math.inf), "quantity must be a finite number, not inf"),
        (Order("A", "buy", "10"), "quantity must be a finite number, not '10'"),  # type: ignore[arg-type]
        (Order("A", "buy", None), "quantity must be a finite number, not None"),  # type: ignore[arg-type]
        (Order("A", "buy", 0), "quantity must be positive, not 0; the side says the direction"),
        (Order("A", "sell", -5.0), "quantity must be positive, not -5.0"),
        (Order("A", "hold", 5), "side 'hold' is not one of 'buy', 'sell'"),
        (Order("A", "buy", 5, "trailing"), "type 'trailing' is not one of 'market', 'limit'"),
        (Order("A", "buy", 5, time_in_force="gtx"), "time_in_force 'gtx' is not one of 'day'"),
        (Order("A", "buy", 5, "limit"), "a limit order needs a positive limit_price, not None"),
        (Order("A", "buy", 5, "limit", limit_price="9"), "needs a positive limit_price, not '9'"),  # type: ignore[arg-type]
        (Order("A", "buy", 5, "limit", limit_price=-9), "needs a positive limit_price, not -9"),
        (Order("A", "buy", 5, "stop", stop_price=math.nan), "needs a positive stop_price, not nan"),
        (Order("A", "buy", 5, "stop", limit_price=9), "a stop order has no limit_price"),
        (Order("A", "buy", 5, limit_price=9.0), "a market order has no limit_price"),
        (Order("A", "buy", 10**400), "quantity must be a finite number"),
        (Order("A", "buy", 2 + 1j), "quantity must be a finite number, not (2+1j)"),  # type: ignore[arg-type]
        (Order(None, "buy", 5), "asset_id None is not a name"),  # type: ignore[arg-type]
        (Order(["A"], "buy", 5), "asset_id ['A'] is not a name"),  # type: ignore[arg-type]
    ],
)
def test_orders_that_cannot_be_meant(order: Order, reason: str) -> None:
    """Rejected with a reason, shown in the hook, the orders and the summary; the run goes on."""
    seen: list[Any] = []
    strategy = Plan("", at(s1=lambda s: s.submit_order(order), s2=lambda s: s.buy("A", 1)))
    strategy.on_order_event = seen.append  # type: ignore[method-assign, assignment]
    result = BacktestEngine(ten_bars(), strategy=strategy).run()
    row = result.orders.row(0, named=True)
    assert row["status"] == "rejected"
    assert reason in row["reason"]
    assert (seen[0].status, seen[0].reason) == (OrderStatus.REJECTED, row["reason"])
    assert (seen[0].order_id, seen[0].side, seen[0].type) == (1, order.side, order.type)
    assert "rejected" in result.summary()
    assert result.fills.height == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.buy("AA", 1),
        lambda s: s.sell("AA", 1),
        lambda s: s.buy_percent("AA", 0.1),
        lambda s: s.sell_percent("AA", 0.5),
        lambda s: s.order_target("AA", 5),
        lambda s: s.order_target_value("AA", 500),
        lambda s: s.order_target_percent("AA", -0.1),
        lambda s: s.size_by_confidence("AA", 0.9, 0.1),
        lambda s: s.close_position("AA"),
    ],
)
def test_every_order_for_an_unknown_asset_is_rejected(act: Callable[[Strategy], Any]) -> None:
    """Whatever helper it came through: one REJECTED order with the nearest name, no exception."""

    class Typo(Strategy):
        def on_bars(self, bars):
            if bars.timestamp == dt.datetime(2024, 1, 2):
                assert act(self) == 1

    orders = BacktestEngine(ten_bars(), strategy=Typo()).run().orders
    assert orders["status"].to_list() == ["rejected"]
    assert orders["reason"].to_list() == ["unknown asset 'AA'. Did you mean 'A'?"]
    assert orders["asset_id"].to_list() == ["AA"]


def test_an_order_from_before_the_first_bar_has_no_date() -> None:
    """It was decided when there was no time yet, and can fill at the first open."""

    class Early(Strategy):
        def on_start(self):
            self.buy("A", 1)

        def on_bars(self, bars):
            pass

    result = BacktestEngine(ten_bars(), strategy=Early()).run()
    assert result.orders["created_at"].to_list() == [None]
    assert result.fills["timestamp"].to_list() == [dt.date(2024, 1, 2)]


def test_weights_as_a_pandas_series_go_by_its_index() -> None:
    """The order of the series does not matter, its index does."""
    pandas = pytest.importorskip("pandas", reason="needs the pandas extra")

    class Weigh(Strategy):
        def __init__(self, weights):
            self.weights = weights

        def on_bars(self, bars):
            self.rebalance_to_weights(self.weights, tolerance=0.05)

    by_series = BacktestEngine(
        steady_market(assets=2), strategy=Weigh(pandas.Series({"A01": 0.6, "A00": 0.2}))
    ).run()
    by_dict = BacktestEngine(
        steady_market(assets=2), strategy=Weigh({"A00": 0.2, "A01": 0.6})
    ).run()
    assert by_series.fills.height > 0
    assert by_series.fingerprint == by_dict.fingerprint


def test_yes_and_no_signals_are_numbers_in_columns() -> None:
    """An event has True and False; a column has 1.0, 0.0, and NaN where there is none."""
    frame = ten_bars().with_columns(pl.Series("up", [True, False, None] * 3 + [True]))
    seen = []

    class Look(Strategy):
        def on_bars(self, bars):
            column = bars.signal("up")
            assert column.dtype == np.float64
            seen.append((float(column[0]), bars["A"].signals.get("up"), bars.top("up", 1)))
            assert self.history("A", 2, "up").dtype == np.float64

    BacktestEngine(frame, strategy=Look()).run()
    assert seen[:2] == [(1.0, True, ["A"]), (0.0, False, ["A"])]
    assert math.isnan(seen[2][0])
    assert seen[2][1:] == (None, [])


def test_words_may_be_written_in_capitals() -> None:
    """DAY is day."""
    answers = ask(
        0, lambda s: s.buy("A", 1, limit_price=1, time_in_force="DAY") and s.get_open_orders()
    )
    assert [order.time_in_force for order in answers] == [TimeInForce.DAY]


def test_a_target_is_rounded_to_the_lot() -> None:
    """Ten and a half units are ten, and asking again trades nothing."""
    acts = at(s0=lambda s: s.order_target("A", 10.5), s2=lambda s: s.order_target("A", 10.5))
    tell("", "1 buy 10 A at 100", bars=THREE, acts=acts)
    acts = at(s0=lambda s: s.buy("A", 15), s2=lambda s: s.order_target("A", 10.7))
    tell("", "1 buy 15 A at 100\n3 sell 5 A at 100", bars=THREE, acts=acts)


def test_a_refused_tolerance_leaves_open_orders_alone() -> None:
    """The target is refused before anything is superseded."""

    def act(plan: Strategy) -> int:
        plan.buy("A", 1, limit_price=50)
        with pytest.raises(OrderError, match="tolerance"):
            plan.order_target("A", 5, tolerance=-1)
        with pytest.raises(OrderError, match="tolerance"):
            plan.rebalance_to_weights({"A": 0.5}, tolerance=-1)
        return len(plan.get_open_orders())

    assert ask(0, act) == 1


def test_parameters_are_those_of_the_start() -> None:
    """What a first run left on the strategy is no parameter of the second."""

    class Count(Strategy):
        def __init__(self):
            self.size = 3

        def on_bars(self, bars):
            self.seen = getattr(self, "seen", 0) + 1

    engine = BacktestEngine(ten_bars(), strategy=Count())
    for _ in range(2):
        assert engine.run().settings["strategy"]["parameters"] == {"size": 3}


@pytest.mark.parametrize("every", [1, 7, 250])
def test_positions_after_baskets_whenever_they_are_looked_at(every: int) -> None:
    """Positions by name are brought up to date when somebody looks, however long nobody has."""
    market = Market(5, assets=12, steps=300, missing=0.05)
    seen: list[tuple[Any, dict[str, float], dict[str, float]]] = []

    class Rotating(Strategy):
        count = 0

        def on_bars(self, bars: Any, context: Any) -> None:
            self.count += 1
            if self.count % every == 0:
                units = {name: self.get_position(name) for name in market.assets}
                entries = {name: self.get_entry_price(name) for name in market.assets}
                assert self.get_positions() == {name: u for name, u in units.items() if u}
                seen.append((self.now.date(), units, entries))
            best = bars.top("signal", 3)
            self.rebalance_to_weights({name: (-1.0) ** i / 4 for i, name in enumerate(best)})

    broker = SimulationBroker(100_000, account=MarginAccount())
    result = BacktestEngine(market.frame(signal="signal"), strategy=Rotating(), broker=broker).run()
    held, paid = dict.fromkeys(market.assets, 0.0), dict.fromkeys(market.assets, math.nan)
    rows = iter(result.fills.rows(named=True))
    fill = next(rows, None)
    for now, units, entries in seen:
        while fill is not None and fill["timestamp"] <= now:
            name, before = fill["asset_id"], held[fill["asset_id"]]
            bought = fill["quantity"] if fill["side"] == "buy" else -fill["quantity"]
            after = before + bought
            if after == 0.0:
                paid[name] = math.nan
            elif before * after <= 0.0:
                paid[name] = fill["price"]
            elif abs(after) > abs(before):
                paid[name] = (paid[name] * before + fill["price"] * bought) / after
            held[name], fill = after, next(rows, None)
        assert units == held
        assert entries == pytest.approx(paid, nan_ok=True)
    assert result.fills.height > 500
