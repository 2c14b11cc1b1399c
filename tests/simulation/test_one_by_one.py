"""Orders that go through a bar one after another, on bars small enough to follow by eye."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Bars,
    ConfigError,
    OneByOne,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import market_of_bars, ten_bars


class Plan(Strategy):
    """Calls functions of the strategy by bar."""

    def __init__(self, plan: dict[int, Any]) -> None:
        self._plan = plan

    def on_start(self) -> None:
        self.step = -1

    def on_bars(self, bars: Bars) -> None:
        self.step += 1
        for act in self._plan.get(self.step, ()):
            act(self)


def run(plan: dict[int, Any], bars: Any = None, **options: Any) -> BacktestResult:
    """A run on the ten bars, or others."""
    broker = SimulationBroker(**options)
    frame = ten_bars() if bars is None else bars
    return BacktestEngine(frame, strategy=Plan(plan), broker=broker).run()


def fills(result: BacktestResult) -> list[tuple[Any, ...]]:
    """(number of the bar, side, units, price) of each fill."""
    times = result.equity["timestamp"].to_list()
    rows = result.fills.select("timestamp", "side", "quantity", "price").iter_rows()
    return [(times.index(time), *rest) for time, *rest in rows]


def test_money_of_an_exit_inside_the_bar_pays_for_an_entry_at_its_open() -> None:
    """100 units at 103 use up 10,300; the stop at 101 in bar 4 comes before the purchase."""
    plan = {
        1: [lambda s: s.buy("A", 100)],
        3: [
            lambda s: s.sell("A", 100, stop_price=96),
            lambda s: s.buy("A", 90),
        ],
    }
    options = {"initial_cash": 10_300.0, "funding": "reject"}
    inside = [(2, "buy", 100.0, 103.0), (4, "sell", 100.0, 96.0)]
    assert fills(run(plan, **options)) == inside
    assert fills(run(plan, matching=OneByOne(), **options)) == [*inside, (4, "buy", 90.0, 100.0)]


def test_the_first_submitted_gets_the_money() -> None:
    """Of two purchases that cannot both be paid the first fills, even where the default cuts."""
    plan = {1: [lambda s: s.buy("A", 60), lambda s: s.buy("A", 60)]}
    options = {"initial_cash": 10_000.0, "matching": OneByOne()}
    assert fills(run(plan, funding="reject", **options)) == [(2, "buy", 60.0, 103.0)]
    # 3,820 are left, which pay for 37 units at 103.
    scaled = fills(run(plan, funding="scale", **options))
    assert scaled == [(2, "buy", 60.0, 103.0), (2, "buy", 37.0, 103.0)]


@pytest.mark.parametrize(
    ("begin", "bar", "price"), [("at_once", 8, 97.0), ("after_market", 8, 97.0), ("next_bar", 9, 0)]
)
def test_when_the_exits_of_a_market_entry_begin(begin: Any, bar: int, price: float) -> None:
    """Bar 8 opens at 103 and has its low at 96, bar 9 stays above 104: a stop at 97."""
    plan = {7: [lambda s: s.bracket("A", 10, stop_loss=97.0)]}
    found = fills(run(plan, matching=OneByOne(exits_begin=begin)))
    expected = [(8, "buy", 10.0, 103.0)]
    assert found == (expected if not price else [*expected, (bar, "sell", 10.0, price)])


@pytest.mark.parametrize(("begin", "is_met"), [("at_once", True), ("after_market", False)])
def test_exits_of_a_limit_entry_wait_after_market_only(begin: Any, *, is_met: bool) -> None:
    """A limit at 98 fills inside bar 8; the target at 107 is met there, or never again."""
    plan = {7: [lambda s: s.bracket("A", 10, take_profit=107.0, limit_price=98.0)]}
    found = fills(run(plan, matching=OneByOne(exits_begin=begin)))
    entry = (8, "buy", 10.0, 98.0)
    assert found == ([entry, (8, "sell", 10.0, 107.0)] if is_met else [entry])


def test_rules_over_positions_begin_with_the_next_bar_too() -> None:
    """A stop 5 percent below 103 is 97.85: in bar 8 at once, else not before the end."""
    plan = {
        0: [lambda s: s.set_stop_loss("A", percent=0.05)],
        7: [lambda s: s.buy("A", 10)],
    }
    at_once = fills(run(plan, matching=OneByOne()))
    assert [fill[:3] for fill in at_once] == [(8, "buy", 10.0), (8, "sell", 10.0)]
    assert len(fills(run(plan, matching=OneByOne(exits_begin="next_bar")))) == 1


@pytest.mark.parametrize(("by", "expected"), [("range", 107.8), ("close", 106.82)])
def test_trailing_stops_follow_the_range_or_the_close(by: Any, expected: float) -> None:
    """Two percent behind the high of 110, or behind the close of 109, in a bar that opens above."""
    bars = market_of_bars(
        [(100, 101, 99, 100), (100, 110, 99, 109), (109, 109.5, 106, 107), (107, 108, 106, 107)]
    )
    plan = {
        0: [lambda s: s.buy("A", 10), lambda s: s.sell("A", 10, trail_percent=0.02)],
    }
    found = fills(run(plan, bars, matching=OneByOne(trail_by=by)))
    assert found[0] == (1, "buy", 10.0, 100.0)
    assert found[1][:3] == (2, "sell", 10.0)
    assert found[1][3] == pytest.approx(expected)


def test_protective_orders_go_first_the_latest_before_the_others() -> None:
    """A sale of 20 from 10 turns the position around, unless a stop has closed it before."""
    plan = {
        1: [lambda s: s.buy("A", 10)],
        3: [
            lambda s: s.sell("A", 20),
            lambda s: s.sell("A", 10, stop_price=96, reduce_only=True),
        ],
    }
    sold_first = [(2, "buy", 10.0, 103.0), (4, "sell", 20.0, 100.0)]
    assert fills(run(plan, matching=OneByOne())) == sold_first
    stopped = [(2, "buy", 10.0, 103.0), (4, "sell", 10.0, 96.0), (4, "sell", 20.0, 100.0)]
    assert fills(run(plan, matching=OneByOne(first="protective"))) == stopped


@pytest.mark.parametrize(
    ("first", "prices"), [("submitted", [98.0, 102.5, 102.0]), ("protective", [98.0, 102.0])]
)
def test_when_a_target_has_its_turn(first: Any, prices: list[float]) -> None:
    """By when its bracket was sent, or by when its entry filled, which was later.

    Bar 6 meets both sales, from 98 up to 103: the target at 102.5 comes before the plain order at
    102, which then opens a short position; or after it, when there is nothing left to sell.
    """
    plan = {
        3: [
            lambda s: s.bracket("A", 10, limit_price=98, stop_loss=80, take_profit=102.5),
            lambda s: s.sell("A", 10, limit_price=102),
        ]
    }
    result = run(plan, matching=OneByOne(first=first, exits_begin="next_bar"))
    assert result.fills["price"].to_list() == prices


def test_market_orders_at_a_close_take_turns() -> None:
    """At the same close, and at the next one."""
    plan = {1: [lambda s: s.buy("A", 60), lambda s: s.buy("A", 60)]}
    options = {"initial_cash": 10_000.0, "funding": "reject", "matching": OneByOne()}
    assert fills(run(plan, fill_at="close", **options)) == [(1, "buy", 60.0, 103.0)]
    assert fills(run(plan, fill_at="next_close", **options)) == [(2, "buy", 60.0, 104.0)]


def test_orders_with_one_chance_lose_it() -> None:
    """Immediate or cancel: not met in bar 2, gone in bar 4."""
    plan = {1: [lambda s: s.buy("A", 10, limit_price=96, time_in_force="ioc")]}
    result = run(plan, matching=OneByOne())
    assert result.orders["status"].to_list() == ["canceled"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"first": "submited"}, "Did you mean 'submitted'"),
        ({"exits_begin": "never"}, "exits_begin"),
        ({"trail_by": "open"}, "trail_by"),
        ({"judged_by": "open"}, "judged_by"),
    ],
)
def test_unknown_words_are_refused(options: Any, text: str) -> None:
    """The text names the option."""
    with pytest.raises(ConfigError, match=text):
        OneByOne(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"matching": OneByOne}, "an object"),
        ({"matching": OneByOne(), "intrabar": "best"}, "leave intrabar="),
        ({"matching": OneByOne(), "intrabar_feed": ten_bars()}, "leave intrabar="),
        ({"admission": "cash"}, "CashAtSubmission"),
    ],
)
def test_what_does_not_go_together_is_refused(options: Any, text: str) -> None:
    """A class instead of an object; two that would decide the same."""
    with pytest.raises(ConfigError, match=text):
        SimulationBroker(**options)


def test_assets_may_have_their_turns_by_name() -> None:
    """One after another for the money: A before B, whoever was sent first."""
    bars = ten_bars().vstack(ten_bars("B")).sort("timestamp", "asset_id")
    plan = {1: [lambda s: s.buy("B", 10), lambda s: s.buy("A", 10), lambda s: s.buy("A", 5)]}
    for first, names in (("submitted", ["B", "A", "A"]), ("asset", ["A", "A", "B"])):
        matching = OneByOne(first=first)  # type: ignore[arg-type]
        assert run(plan, bars, matching=matching).fills["asset_id"].to_list() == names


# -- judged by the close ---------------------------------------------------------------------

CLOSES = OneByOne(judged_by="close")


def test_levels_that_the_close_has_not_passed_are_not_met() -> None:
    """Bar 5 goes from 97 to 99 and 90 and closes at 98: a limit at 95 sees the 98 alone."""
    plan = {4: [lambda s: s.buy("A", 10, limit_price=95), lambda s: s.buy("A", 5, limit_price=98)]}
    found = fills(run(plan, matching=CLOSES))
    assert found == [(5, "buy", 5.0, 98.0)]
    assert run(plan, matching=CLOSES).fills["reason"].to_list() == ["limit at close"]


def test_a_stop_fills_at_the_close_that_has_passed_it() -> None:
    """Bought at 103; the low of bar 4 is 95, its close 96."""
    plan = {1: [lambda s: s.buy("A", 10)], 3: [lambda s: s.sell("A", 10, stop_price=97)]}
    found = fills(run(plan, matching=CLOSES))
    assert found == [(2, "buy", 10.0, 103.0), (4, "sell", 10.0, 96.0)]


def test_a_stop_limit_waits_for_a_close_within_its_limit() -> None:
    """Triggered by 96 with a limit of 97: the closes of 98 is the next one it can have."""
    plan = {
        1: [lambda s: s.buy("A", 10)],
        3: [lambda s: s.sell("A", 10, stop_price=98, limit_price=97)],
    }
    found = fills(run(plan, matching=CLOSES))
    assert found == [(2, "buy", 10.0, 103.0), (5, "sell", 10.0, 98.0)]


def test_trailing_stops_follow_closes_after_the_test() -> None:
    """Ten behind the close of 109 in bar 3; bar 4 closes at 96."""
    plan = {
        1: [lambda s: s.buy("A", 10)],
        2: [lambda s: s.sell("A", 10, trail_amount=10)],
    }
    found = fills(run(plan, matching=CLOSES))
    assert found == [(2, "buy", 10.0, 103.0), (4, "sell", 10.0, 96.0)]


def test_exits_without_a_position_are_not_triggered() -> None:
    """A protective stop that the closes pass before there is anything to protect."""
    plan = {
        3: [lambda s: s.sell("A", 10, stop_price=97, limit_price=101, reduce_only=True)],
        5: [lambda s: s.buy("A", 10)],
    }
    result = run(plan, matching=CLOSES)
    # Triggered in bar 4, it would sell at the close of 102 in bar 6, which is within its limit.
    assert fills(result) == [(6, "buy", 10.0, 98.0)]


@pytest.mark.parametrize(
    ("fill_at", "first", "turns"),
    [
        ("close", "asset", ["A", "B", "C"]),
        ("close", "value", ["C", "B", "A"]),  # -1,500 of C, 600 of B, 1,000 of A
        ("next_open", "value", ["B", "C", "A"]),  # at the next open B is worth most of what goes
    ],
)
def test_turns_by_value(fill_at: str, first: Any, turns: list[str]) -> None:
    """The largest sale has the first turn and the largest purchase the last, at the bar's price."""
    prices = {"A": (10, 10, 10), "B": (20, 20, 300), "C": (30, 30, 30)}
    bars = pl.concat(
        market_of_bars([(price,) * 4 for price in column], asset_id=name)
        for name, column in prices.items()
    )
    start = [lambda s: [s.buy("B", 40), s.buy("C", 50)]]
    way = -1 if fill_at == "next_open" else 1
    act = [
        lambda s: [s.buy("A", 100), s.order_target("B", 40 + way * 30), s.sell("C", 50)],
    ]
    result = run(
        {0: start, 1: act}, bars, fill_at=fill_at,
        matching=OneByOne(first=first), initial_cash=100_000.0,
    )  # fmt: skip
    assert result.fills["asset_id"].to_list()[2:] == turns
