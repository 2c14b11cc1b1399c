"""What the limits refuse of single orders and of baskets, worked out by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    Instrument,
    Order,
    OrderError,
    RiskLimits,
    SimulationBroker,
)
from ml4t.backtest.broker.basket import Basket
from tests.examples import examples
from tests.limits.guarded import THREE, closes, guarded, reason, statuses
from tests.stories.plan import Plan, parse_bars

# -- single orders -----------------------------------------------------------------------------

VALUE = RiskLimits(max_order_value=1_000)
QUANTITY = RiskLimits(max_order_quantity=10)
POSITION = RiskLimits(max_position_value=1_500)
WEIGHT = RiskLimits(max_position_weight=0.15)  # of 10,000
GROSS = RiskLimits(max_gross_exposure=0.5)
NET = RiskLimits(max_net_exposure=0.2)
DISTANCE = RiskLimits(max_price_distance=0.1)


@pytest.mark.parametrize(
    ("limits", "orders", "expected"),
    [
        # What one order opens, in money: A is at 100, B at 50.
        (VALUE, "@0 buy 9", "f"),
        (VALUE, "@0 buy 10", "f"),
        (VALUE, "@0 buy 11", "r"),
        (VALUE, "@0 sell 10", "f"),
        (VALUE, "@0 sell 11", "r"),
        (VALUE, "@0 buy 20 B", "f"),
        (VALUE, "@0 buy 21 B", "r"),
        (VALUE, "@0 buy 10; @1 buy 10; @2 sell 20", "fff"),  # larger than the limit, but closes
        (VALUE, "@0 sell 10; @1 sell 10; @2 buy 20", "fff"),
        (VALUE, "@0 buy 10; @1 sell 20", "ff"),  # a flip opens 10
        (VALUE, "@0 buy 10; @1 sell 21", "frf"),  # opens 11: refused; the other 10 close
        (VALUE, "@0 buy 11 limit 1", "r"),  # a limit far below does not make it cheaper
        # In units.
        (QUANTITY, "@0 buy 10", "f"),
        (QUANTITY, "@0 buy 10.5", "r"),
        (QUANTITY, "@0 buy 11 C", "r"),
        (QUANTITY, "@0 sell 11 C", "r"),
        # What a position gets to.
        (POSITION, "@0 buy 15", "f"),
        (POSITION, "@0 buy 16", "r"),
        (POSITION, "@0 sell 15", "f"),
        (POSITION, "@0 sell 16", "r"),
        (POSITION, "@0 buy 10; @1 buy 5", "ff"),
        (POSITION, "@0 buy 10; @1 buy 6", "fr"),
        (POSITION, "@0 buy 10; @0 buy 5", "ff"),
        (POSITION, "@0 buy 10; @0 buy 6", "fr"),  # what was ordered in the same step counts
        (POSITION, "@0 buy 10 limit 90; @2 buy 6", "ar"),  # what may still fill counts
        (POSITION, "@0 buy 10 limit 90; @2 sell 15", "af"),  # it would make this one smaller
        (POSITION, "@0 buy 15; @1 sell 30", "ff"),
        (POSITION, "@0 buy 15; @1 sell 31", "frf"),
        (POSITION, "@0 buy 15; @1 sell 15; @1 buy 15", "fff"),
        (WEIGHT, "@0 buy 15", "f"),
        (WEIGHT, "@0 buy 16", "r"),
        (WEIGHT, "@0 sell 16", "r"),
        (WEIGHT, "@0 buy 15; @0 buy 30 B", "ff"),  # each asset for itself
        # All positions together.
        (GROSS, "@0 buy 30; @0 buy 40 B", "ff"),
        (GROSS, "@0 buy 30; @0 buy 41 B", "fr"),
        (GROSS, "@0 sell 30; @0 buy 40 B", "ff"),
        (GROSS, "@0 sell 30; @0 buy 41 B", "fr"),
        (GROSS, "@0 buy 30; @1 buy 41 B", "fr"),
        (GROSS, "@0 buy 50; @1 sell 50; @1 buy 100 B", "fff"),  # what is sold first makes room
        (GROSS, "@0 buy 50; @1 buy 100 B; @1 sell 50", "frf"),  # but not afterwards
        (GROSS, "@0 buy 50; @1 sell 50 limit 120; @1 buy 1 B", "far"),  # that may never be sold
        (GROSS, "@0 buy 50; @1 sell 50 reduce_only; @1 buy 100 B", "fff"),
        (GROSS, "@0 buy 50; @1 sell 50 reduce_only stop 80; @1 buy 1 B", "far"),
        (GROSS, "@0 buy 30 limit 90; @0 buy 41 B", "ar"),
        # Longs minus shorts.
        (NET, "@0 buy 20", "f"),
        (NET, "@0 buy 21", "r"),
        (NET, "@0 sell 20", "f"),
        (NET, "@0 sell 21", "r"),
        (NET, "@0 sell 20; @0 buy 80 B", "ff"),
        (NET, "@0 sell 20; @0 buy 81 B", "fr"),
        (NET, "@0 buy 20; @1 sell 20 B; @1 buy 10", "fff"),  # a hedge makes room
        (NET, "@0 sell 20; @0 buy 40 B; @1 buy 20", "fff"),  # closing a hedge is always allowed
        (NET, "@0 buy 20; @1 sell 80 B", "ff"),  # 4,000 short against 2,000 long
        (NET, "@0 buy 20; @1 sell 81 B", "fr"),
        # Prices.
        (DISTANCE, "@0 buy 1 limit 90", "a"),
        (DISTANCE, "@0 buy 1 limit 89.9", "r"),
        (DISTANCE, "@0 buy 1 limit 110", "f"),
        (DISTANCE, "@0 buy 1 limit 110.1", "r"),
        (DISTANCE, "@0 sell 1 stop 90", "a"),
        (DISTANCE, "@0 sell 1 stop 89.9", "r"),
        (DISTANCE, "@0 buy 1 stop 109 limit 111", "r"),
        (DISTANCE, "@0 buy 1; @1 sell 1 stop 50", "fa"),  # protects what is held
        (DISTANCE, "@0 buy 1", "f"),
        # Assets.
        (RiskLimits(allowed_assets=["A"]), "@0 buy 1; @0 buy 1 B", "fr"),
        (RiskLimits(forbidden_assets=["A"]), "@0 buy 1; @0 buy 1 B", "rf"),
        # None.
        (RiskLimits(), "@0 buy 100", "f"),
    ],
)
def test_what_a_limit_refuses(limits: RiskLimits, orders: str, expected: str) -> None:
    """One letter an order: filled, accepted and still open, or rejected."""
    result = guarded(limits, orders.replace(";", "\n"))
    assert statuses(result) == expected, result.orders
    refused = result.orders.filter(status="rejected")["reason"]
    assert refused.str.starts_with("limit: ").all()


@pytest.mark.parametrize(
    ("limits", "order", "words"),
    [
        (VALUE, "buy 12", "order value 1,200.00 is above max_order_value 1,000.00"),
        (QUANTITY, "buy 1200", "quantity 1,200 is above max_order_quantity 10"),
        (POSITION, "sell 16", "position value 1,600.00 is above max_position_value 1,500.00"),
        (
            WEIGHT,
            "buy 16",
            "position value 1,600.00 is above max_position_weight 0.15 of equity, 1,500.00",
        ),
        (
            GROSS,
            "sell 51",
            "gross exposure 5,100.00 is above max_gross_exposure 0.5 of equity, 5,000.00",
        ),
        (NET, "sell 21", "net exposure 2,100.00 is above max_net_exposure 0.2 of equity, 2,000.00"),
        (
            DISTANCE,
            "buy 1 limit 80",
            "limit_price 80 is 20.00% from the last close, above max_price_distance 10.00%",
        ),
        (RiskLimits(allowed_assets=["B"]), "buy 1", "the asset is not allowed"),
    ],
)
def test_a_reason_can_be_acted_on(limits: RiskLimits, order: str, words: str) -> None:
    """It says what was asked, which limit that broke, and where that one is."""
    assert reason(guarded(limits, f"@0 {order}"), 1) == f"limit: {words}"


def test_refusals_are_grouped_in_the_summary() -> None:
    """Reasons that differ in numbers alone are one line."""
    page = guarded(VALUE, "@0 buy 11\n@1 buy 12\n@2 sell 13").summary()
    grouped = " ".join(page.split())
    assert "3 × limit: order value … is above max_order_value …" in grouped
    assert "limits max_order_value 1,000" in grouped


def test_a_flip_is_split() -> None:
    """What it closes is sent, what it would open is refused; the helper returns what was sent."""
    ids: list[int] = []

    def acts(plan: Plan, step: int) -> None:
        if step == 1:
            ids.append(plan.sell("A", 18, tag="turn"))

    result = guarded(RiskLimits(max_position_value=700), "@0 buy 7", acts=acts)
    rows = result.orders.select("order_id", "quantity", "status", "tag").rows()
    assert rows == [
        (1, 7.0, "filled", None),
        (2, 11.0, "rejected", "turn"),
        (3, 7.0, "filled", "turn"),
    ]
    assert ids == [3]


def test_orders_that_cannot_be_meant_keep_their_reasons() -> None:
    """The broker's own words come before the limits."""
    result = guarded(
        VALUE, acts=lambda s, step: (s.buy("X", 100), s.buy("A", -100)) if step == 0 else None
    )
    assert "unknown asset 'X'" in reason(result, 1)
    assert "must be positive" in reason(result, 2)


def test_without_a_price_nothing_can_be_judged() -> None:
    """An asset that had no bar yet; units can be counted."""
    late = "\n".join(line for line in THREE.splitlines() if not line.startswith(("0 C", "1 C")))
    for limits in (VALUE, POSITION, WEIGHT, GROSS, NET):
        result = guarded(limits, "@0 buy 1 C\n@2 buy 1 C", bars=late)
        assert statuses(result) == "rf"
        assert reason(result, 1) == "limit: no price yet to judge it by"
    assert statuses(guarded(QUANTITY, "@0 buy 1 C", bars=late)) == "f"
    assert statuses(guarded(DISTANCE, "@0 buy 1 C\n@0 buy 1 C limit 20", bars=late)) == "fr"


def test_orders_from_before_the_first_bar() -> None:
    """There is no price yet, and no minute in which they came."""

    class Early(Plan):
        def on_start(self) -> None:
            super().on_start()
            for _ in range(3):
                self.buy("A", 1)

    def run(limits: RiskLimits) -> str:
        broker, strategy = SimulationBroker(10_000), Early("@0 buy 1\n@0 buy 1\n@0 buy 1")
        engine = BacktestEngine(parse_bars(THREE), strategy=strategy, broker=broker, limits=limits)
        return statuses(engine.run())

    assert run(VALUE) == "rrrfff"
    assert run(RiskLimits(max_orders_per_minute=2)) == "ffrffr"


def test_exposure_is_judged_at_the_equity_of_the_decision() -> None:
    """50 shares bought at 100 are worth 10,000 at 200: of 15,000 of equity, not of 10,000."""
    bars = closes(100, 100, 200, 200, 200)
    limits = RiskLimits(max_position_weight=0.7)
    assert statuses(guarded(limits, "@0 buy 50\n@2 buy 2", bars=bars)) == "ff"  # 10,400
    assert statuses(guarded(limits, "@0 buy 50\n@2 buy 3", bars=bars)) == "fr"  # 10,600
    # The position has outgrown another limit: it may shrink, and not grow.
    half = RiskLimits(max_position_weight=0.5)
    assert statuses(guarded(half, "@0 buy 50\n@2 sell 1\n@3 buy 1", bars=bars)) == "ffr"


def test_a_multiplier_counts() -> None:
    """One contract of 50 units at 100 is worth 5,000."""
    with_future: dict[str, Any] = {"instruments": [Instrument(asset_id="A", multiplier=50)]}
    assert statuses(guarded(RiskLimits(max_order_value=5_000), "@0 buy 1", **with_future)) == "f"
    assert statuses(guarded(RiskLimits(max_order_value=4_999), "@0 buy 1", **with_future)) == "r"


def test_orders_that_wait_for_others_count() -> None:
    """Each could be opened once the first one has filled."""

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            first = plan.buy("B", 1, limit_price=40)
            for _ in range(2):
                plan.submit_order(Order("A", "buy", 10.0, after=first))

    result = guarded(RiskLimits(max_position_value=1_500), acts=acts)
    assert statuses(result) == "apr"


def test_a_bracket_is_an_entry_and_its_exits() -> None:
    """Its stop and target only reduce; a refused entry has none."""

    def acts(plan: Plan, step: int) -> None:
        if step in (0, 1):
            plan.bracket("A", 10 + step, stop_loss=50, take_profit=200)

    limits = RiskLimits(max_order_value=1_000, max_price_distance=0.1)
    assert statuses(guarded(limits, acts=acts)) == "faar"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"quantity": 15}, True),
        ({"quantity": 16}, False),
        ({"quantity": 5}, True),
        ({"quantity": 16, "limit_price": 85}, False),
        ({"limit_price": 89}, False),
        ({"limit_price": 92}, True),
    ],
)
def test_an_order_is_replaced_within_the_limits(changes: dict[str, float], expected: bool) -> None:
    """Its old form does not count; when the new one is refused, the old one stays."""
    answers: list[bool] = []

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            plan.buy("A", 10, limit_price=90)
        if step == 1:
            answers.append(plan.replace_order(1, **changes))
            assert plan.replace_order(99, quantity=1) is False

    limits = RiskLimits(max_position_value=1_500, max_price_distance=0.1)
    result = guarded(limits, acts=acts)
    assert answers == [expected]
    if expected:
        assert statuses(result) == "a"
        return
    assert statuses(result) == "ar"
    assert reason(result, 2).endswith("; it would replace order 1")
    kept = result.orders.row(0, named=True)
    assert (kept["quantity"], kept["limit_price"]) == (10.0, 90.0)


def test_what_an_order_cannot_become_stops_the_run() -> None:
    """As without limits; less of an order is always allowed."""

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            plan.buy("A", 20, limit_price=90)
            assert plan.replace_order(1, quantity=16)
            plan.replace_order(1, limit_price=-1)

    with pytest.raises(OrderError, match="Order 1 cannot become that"):
        guarded(RiskLimits(max_price_distance=0.1), acts=acts)


def test_a_basket_names_no_prices() -> None:
    """So their distance does not matter to it."""
    limits = RiskLimits(max_price_distance=0.1)
    assert rebalanced(limits, {"A": 0.2}) == [{"A": 20.0}]


# -- orders per minute -------------------------------------------------------------------------


def minutes(*seconds: int) -> list[dt.datetime]:
    """Times from nine on."""
    nine = dt.datetime(2024, 1, 2, 9, 0)
    return [nine + dt.timedelta(seconds=s) for s in seconds]


@pytest.mark.parametrize(
    ("seconds", "orders", "expected"),
    [
        ((0, 60, 120, 180), "@0 buy 1; @0 buy 1; @0 buy 1; @1 buy 1; @1 buy 1", "ffrff"),
        ((0, 30, 60, 90), "@0 buy 1; @1 buy 1; @1 buy 1; @2 buy 1", "ffrf"),
        ((0, 20, 40, 60), "@0 buy 1; @1 buy 1; @2 buy 1", "ffr"),
        (
            (0, 20, 40, 60),
            "@0 buy 1; @0 buy 1; @1 sell 2; @2 buy 1",
            "fffr",
        ),  # exits pass, and count
    ],
)
def test_orders_of_a_minute(seconds: tuple[int, ...], orders: str, expected: str) -> None:
    """By the time of the bars: two in any 60 seconds."""
    flat = closes(*[100.0] * len(seconds))
    limits = RiskLimits(max_orders_per_minute=2)
    result = guarded(limits, orders.replace(";", "\n"), bars=flat, times=minutes(*seconds))
    assert statuses(result) == expected
    if "r" in expected:
        text = "orders in a minute are above max_orders_per_minute 2"
        assert text in result.orders.filter(status="rejected")["reason"][0]


def test_a_basket_has_as_many_orders_as_assets() -> None:
    """Entries that are too many are refused together, so that no asset is favoured."""

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            plan.rebalance_to_weights({"A": 0.2, "B": 0.2})
        if step == 1:
            plan.rebalance_to_weights({"B": 0.3, "C": 0.2})  # A goes, B grows, C is new

    assert statuses(guarded(RiskLimits(max_orders_per_minute=3), acts=acts)) == "fffff"
    result = guarded(RiskLimits(max_orders_per_minute=2), acts=acts)
    assert result.orders["asset_id"].to_list() == ["A", "B", "B", "C", "A"]
    assert statuses(result) == "ffrrf"


# -- baskets -----------------------------------------------------------------------------------


def rebalanced(limits: RiskLimits, *weights: dict[str, float]) -> list[dict[str, float]]:
    """The positions after each of several rebalances, one a bar."""
    seen: list[dict[str, float]] = []

    def acts(plan: Plan, step: int) -> None:
        seen.append(plan.get_positions())
        if step < len(weights):
            plan.rebalance_to_weights(weights[step])

    guarded(limits, acts=acts)
    return seen[1 : len(weights) + 1]


def test_one_order_of_a_basket_is_refused_alone() -> None:
    """The others go on."""
    limits = RiskLimits(max_position_weight=0.3)
    (held,) = rebalanced(limits, {"A": 0.2, "B": 0.4, "C": -0.3})
    assert held == {"A": 20.0, "C": -150.0}


def test_a_basket_may_rotate() -> None:
    """Gross exposure is judged after the exits, whatever the names."""
    limits = RiskLimits(max_gross_exposure=0.5)
    assert rebalanced(limits, {"B": 0.5}, {"A": 0.3, "C": -0.2}) == [
        {"B": 100.0},
        {"A": 30.0, "C": -100.0},
    ]


def test_entries_of_a_basket_are_refused_together() -> None:
    """When they are too much together; its exits go on."""
    limits = RiskLimits(max_gross_exposure=0.5)
    assert rebalanced(limits, {"B": 0.4}, {"A": 0.4, "B": 0.1, "C": -0.1}) == [
        {"B": 80.0},
        {"B": 20.0},
    ]


def test_a_basket_may_be_hedged() -> None:
    """Net exposure is that of all its orders."""
    limits = RiskLimits(max_net_exposure=0.2)
    assert rebalanced(limits, {"A": 0.5, "B": -0.4}, {"A": 0.5, "B": -0.2}) == [
        {"A": 50.0, "B": -80.0},
        {"A": 50.0, "B": -40.0},  # covers a short: that is an exit
    ]
    assert rebalanced(limits, {"A": 0.5, "B": -0.2}) == [{}]


def test_a_flip_in_a_basket_is_split() -> None:
    """It closes what is held."""
    limits = RiskLimits(max_position_weight=0.3)
    assert rebalanced(limits, {"A": 0.3, "B": 0.3}, {"A": -0.4, "B": -0.3}) == [
        {"A": 30.0, "B": 60.0},
        {"B": -60.0},
    ]


def test_a_basket_says_why() -> None:
    """A refused order of a basket stands in the blotter like any other, with its tag."""

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            n = plan.rebalance_to_weights({"A": 0.4, "B": 0.1}, tag="monday")
            assert n == 2

    result = guarded(RiskLimits(max_order_value=2_000), acts=acts)
    row = result.orders.row(0, named=True)
    assert (row["asset_id"], row["side"], row["quantity"], row["tag"]) == (
        "A",
        "buy",
        40.0,
        "monday",
    )
    assert row["reason"] == "limit: order value 4,000.00 is above max_order_value 2,000.00"
    assert statuses(result) == "rf"


def test_a_basket_that_waits_counts() -> None:
    """B has no bar for a while, so its entry is still open."""
    hole = "\n".join(line for line in THREE.splitlines() if not line.startswith(("1 B", "2 B")))

    def acts(plan: Plan, step: int) -> None:
        if step == 0:
            plan.rebalance_to_weights({"A": 0.2, "B": 0.2})
        if step == 1:
            plan.buy("A", 11)
            plan.buy("A", 10)

    result = guarded(RiskLimits(max_gross_exposure=0.5), bars=hole, acts=acts)
    assert statuses(result) == "ffrf"


def test_an_exit_that_waits_makes_no_room() -> None:
    """B was to be sold, but it has had no bar since: it is still there."""
    hole = "\n".join(line for line in THREE.splitlines() if not line.startswith(("2 B", "3 B")))
    orders = "@0 buy 100 B\n@1 sell 100 B\n@2 buy 50\n@4 buy 50"
    result = guarded(RiskLimits(max_gross_exposure=0.5), orders, bars=hole)
    assert statuses(result) == "ffrf"


# -- single orders and baskets agree -----------------------------------------------------------


@examples(50)
@given(
    held=st.tuples(*[st.integers(-40, 40)] * 3),
    ahead=st.lists(st.tuples(st.sampled_from("ABC"), st.integers(-30, 30)), max_size=3),
    asked=st.tuples(st.integers(0, 2), st.integers(-90, 90).filter(bool)),
    limits=st.builds(
        RiskLimits,
        max_order_value=st.none() | st.floats(500, 4_000),
        max_order_quantity=st.none() | st.floats(5, 60),
        max_position_value=st.none() | st.floats(500, 4_000),
        max_position_weight=st.none() | st.floats(0.05, 0.5),
        max_gross_exposure=st.none() | st.floats(0.1, 1.0),
        max_net_exposure=st.none() | st.floats(0.1, 1.0),
        max_orders_per_minute=st.none() | st.integers(1, 4),
        forbidden_assets=st.sampled_from([[], ["B"]]),
    ),
)
def test_a_basket_of_one_is_an_order(
    held: tuple[int, ...], ahead: list[tuple[str, int]], asked: tuple[int, int], limits: RiskLimits
) -> None:
    """The same units are refused for the same reason."""
    code, units = asked
    verdicts: list[Any] = []

    def acts(plan: Plan, step: int) -> None:
        guard = plan._desk._guard
        assert guard is not None
        if step == 0:  # past the guard
            for asset, quantity in zip("ABC", held, strict=True):
                if quantity:
                    plan._desk.broker.submit_order(_order(asset, quantity))
        if step == 1:
            for asset, quantity in ahead:
                if quantity:
                    plan.submit_order(_order(asset, quantity))
            order = _order("ABC"[code], units)
            one = guard._judge(order, code, float(units))
            basket = Basket(plan._desk.universe, np.array([code]), np.array([float(units)]))
            refused, reasons = guard._judge_basket(basket)
            verdicts.extend([one, (float(refused[0]), reasons.get(0, ""))])

    guarded(limits, acts=acts)
    assert verdicts[0] == verdicts[1]


def _order(asset: str, units: float) -> Order:
    return Order(asset, "buy" if units > 0 else "sell", float(abs(units)))
