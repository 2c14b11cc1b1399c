"""Orders in rounds at one price of the bar, on bars small enough to follow by eye."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import (
    CollateralAccount,
    ConfigError,
    InRounds,
    PercentCommission,
    SimulationBroker,
)
from ml4t.backtest.testing.markets import market_of_bars, ten_bars
from tests.simulation.test_one_by_one import fills, run

MIDDLE: dict[str, Any] = {"fill_at": "next_middle", "matching": InRounds()}


def bracket(**exits: float) -> Any:
    """Buys ten with these exits."""
    return lambda s: s.bracket("A", 10, **exits)


def buy(name: str, units: float, **options: Any) -> Any:
    """Buys at the market, or as the options say."""
    return lambda s: s.buy(name, units, **options)


def two(*names: str) -> Any:
    """The ten bars for some assets."""
    bars = ten_bars(names[0])
    for name in names[1:]:
        bars = bars.vstack(ten_bars(name))
    return bars.sort("timestamp", "asset_id")


@pytest.mark.parametrize(
    ("place", "price"), [("next_open", 103.0), ("next_middle", 103.5), ("next_close", 104.0)]
)
def test_a_bar_has_one_price(place: Any, price: float) -> None:
    """Bar 2 goes from 103 over 105 and 102 to 104."""
    plan = {1: [lambda s: s.buy("A", 10)]}
    found = run(plan, fill_at=place, matching=InRounds())
    assert fills(found) == [(2, "buy", 10.0, price)]
    assert found.fills["slippage"].to_list() == [0.0]


def test_a_limit_is_compared_with_the_price_of_the_bar() -> None:
    """Bar 4 goes down to 95, its middle is 98; that of bar 5 is 94.5."""
    found = run({2: [lambda s: s.buy("A", 10, limit_price=97)]}, **MIDDLE)
    assert fills(found) == [(5, "buy", 10.0, 94.5)]
    found = run({2: [lambda s: s.buy("A", 10, limit_price=98)]}, **MIDDLE)
    assert fills(found) == [(4, "buy", 10.0, 98.0)]


def test_stops_fill_at_their_level_or_at_the_end_of_the_bar() -> None:
    """Bought at 108.5 in bar 3. Bar 4 opens at 100, and reaches from 101 to 95."""
    for stop, price in ((97.0, 97.0), (100.5, 100.5), (103.0, 101.0)):
        found = run({2: [bracket(stop_loss=stop)]}, **MIDDLE)
        assert fills(found)[1] == (4, "sell", 10.0, price)


def test_targets_fill_at_their_level_or_at_the_end_of_the_bar() -> None:
    """Bought at 94.5 in bar 5; bar 6 reaches from 97 to 103."""
    for target, price in ((102.0, 102.0), (99.0, 99.0)):
        found = run({4: [bracket(take_profit=target)]}, **MIDDLE)
        assert fills(found)[1] == (6, "sell", 10.0, price)
    bars = market_of_bars([(100, 101, 99, 100)] * 3 + [(110, 111, 109, 110)])
    found = run({0: [bracket(take_profit=105)]}, bars, **MIDDLE)
    assert fills(found)[1] == (3, "sell", 10.0, 109.0)


def test_what_is_opened_in_a_bar_is_protected_from_the_next() -> None:
    """Bar 8 reaches from 96 to 108, the entry is its middle; bar 9 goes from 104 to 106."""
    plan = {7: [lambda s: s.bracket("A", 10, stop_loss=97, take_profit=107)]}
    assert fills(run(plan, **MIDDLE)) == [(8, "buy", 10.0, 102.0)]


def test_a_stop_comes_before_a_target_and_before_a_sale() -> None:
    """In bar 8 both are met; the sale finds nothing left."""
    plan = {
        5: [lambda s: s.bracket("A", 10, stop_loss=97, take_profit=107)],
        7: [lambda s: s.sell("A", 10, reduce_only=True)],
    }
    found = run(plan, **MIDDLE)
    assert fills(found) == [(6, "buy", 10.0, 100.0), (8, "sell", 10.0, 97.0)]
    assert found.orders["status"].to_list() == ["filled", "filled", "canceled", "canceled"]


def test_a_trailing_stop_follows_the_range_after_the_test() -> None:
    """Bought at 94.5; 10 behind the high of 103, then of 108: met by nothing."""
    plan = {4: [lambda s: (s.set_trailing_stop("A", amount=8.0), s.buy("A", 10))]}
    # 86.5 at first, 95 after bar 6, which bar 7 (102) keeps; 96 is above it; then 100, and 104.
    assert fills(run(plan, **MIDDLE)) == [(5, "buy", 10.0, 94.5)]
    plan = {4: [lambda s: (s.set_trailing_stop("A", amount=6.5), s.buy("A", 10))]}
    assert fills(run(plan, **MIDDLE))[1] == (8, "sell", 10.0, 96.5)


def test_a_stop_limit_goes_on_as_a_limit() -> None:
    """Triggered in bar 3 above 107; the middle of 108.5 is above its limit, 98 of bar 4 is not."""
    plan = {1: [lambda s: s.buy("A", 10, stop_price=107, limit_price=108)]}
    assert fills(run(plan, **MIDDLE)) == [(4, "buy", 10.0, 98.0)]
    plan = {1: [lambda s: s.buy("A", 10, stop_price=107, limit_price=109)]}
    assert fills(run(plan, **MIDDLE)) == [(3, "buy", 10.0, 108.5)]


def test_covers_come_first_then_sales_then_purchases_by_name() -> None:
    """Sent in another order."""
    bars = two("A", "B", "C", "D")
    plan = {
        1: [lambda s: s.sell("D", 10), lambda s: s.buy("C", 10)],
        3: [
            *(buy(name, 5) for name in ("B", "A")),
            lambda s: s.sell("C", 10),
            lambda s: s.close_position("D"),
        ],
    }
    found = run(plan, bars, **MIDDLE).fills.filter(reason="middle")
    assert found["asset_id"].to_list() == ["D", "C", "D", "C", "A", "B"]


def test_what_an_earlier_bar_has_left_comes_last() -> None:
    """1,000 pay for ten at 98: of A, which was sent later, but is new."""
    plan = {
        2: [lambda s: s.buy("B", 10, limit_price=98)],
        3: [lambda s: s.buy("A", 10)],
    }
    found = run(plan, two("A", "B"), initial_cash=1_000.0, **MIDDLE)
    assert found.fills["asset_id"].to_list() == ["A"]


def test_prices_are_rounded_half_up() -> None:
    """The middle of 100.01 and 100.02 is 100.015; 100 lies outside of the bar."""
    bars = market_of_bars([(100.01, 100.02, 100.01, 100.02)] * 3)
    plan = {0: [lambda s: s.buy("A", 10)]}
    for decimals, price in ((None, 100.015), (2, 100.02), (0, 100.01)):
        matching = InRounds(decimals=decimals)
        found = fills(run(plan, bars, fill_at="next_middle", matching=matching))
        assert found == [(1, "buy", 10.0, pytest.approx(price, rel=1e-15))]


def test_auctions_keep_their_prices() -> None:
    """At the open and at the close, whatever the price of the bar."""
    for force, price in (("opg", 103.0), ("cls", 104.0)):
        found = run({1: [buy("A", 10, time_in_force=force)]}, **MIDDLE)
        assert fills(found) == [(2, "buy", 10.0, price)]


def test_orders_at_the_close_of_their_decision_have_turns_too() -> None:
    """Sales before purchases, by name."""
    plan = {1: [lambda s: s.buy("B", 5), lambda s: s.buy("A", 5), lambda s: s.sell("C", 5)]}
    found = run(plan, two("A", "B", "C"), fill_at="close", matching=InRounds())
    assert found.fills["asset_id"].to_list() == ["C", "A", "B"]
    assert found.fills["price"].to_list() == [103.0] * 3


@pytest.mark.parametrize("decimals", [-1, 13, 2.0, True, "2"])
def test_decimals_are_a_small_whole_number(decimals: Any) -> None:
    """Or None."""
    with pytest.raises(ConfigError, match="decimals must be a whole number from 0 to 12"):
        InRounds(decimals=decimals)


def test_a_middle_needs_one_price_for_all() -> None:
    """The default goes through a bar by its moments, of which the middle is none."""
    with pytest.raises(ConfigError, match=r"needs matching=InRounds\(\)"):
        SimulationBroker(fill_at="next_middle")


# -- the account that goes with it -----------------------------------------------------------


def rising() -> Any:
    """At 100 for three bars, then at 150."""
    return market_of_bars([(100,) * 4] * 3 + [(150,) * 4] * 4)


@pytest.mark.parametrize(("account", "units"), [(CollateralAccount(), 20.0), (None, 0.0)])
def test_shorts_bind_what_they_were_sold_for(account: Any, units: float) -> None:
    """10,000 and 70 short at 100 leave 3,000, which buy 20 at 150; by the default nothing is left.

    There, 17,000 less twice 10,500.
    """
    plan = {0: [lambda s: s.sell("A", 70)], 3: [lambda s: s.buy("B", 20)]}
    bars = rising().vstack(rising().with_columns(asset_id=rising()["asset_id"].replace("A", "B")))
    found = run(plan, bars.sort("timestamp", "asset_id"), initial_cash=10_000.0, account=account)
    assert found.fills.filter(asset_id="B")["quantity"].sum() == units


def test_a_short_of_this_very_bar_binds_its_price() -> None:
    """One order after another: 10,000 pay for 60 short at 100, and then for 40 more."""
    plan = {0: [lambda s: s.sell("A", 60), lambda s: s.sell("A", 60)]}
    found = run(plan, rising(), initial_cash=10_000.0, account=CollateralAccount(), **MIDDLE)
    assert found.fills["quantity"].to_list() == [60.0, 40.0]


def test_a_closed_short_gives_back_what_is_left() -> None:
    """50 from 100 to 150 lose 2,500: 7,500 buy 50 at 150."""
    plan = {0: [lambda s: s.sell("A", 50)], 3: [lambda s: s.close_position("A")]}
    plan[4] = [lambda s: s.buy("A", 60)]
    found = run(plan, rising(), initial_cash=10_000.0, account=CollateralAccount())
    assert found.fills["quantity"].to_list() == [50.0, 50.0, 50.0]


@pytest.mark.parametrize(("counts", "units"), [(True, 99.0), (False, 100.0)])
def test_commission_may_be_left_out_of_the_question(counts: Any, units: float) -> None:
    """100 at 100 and 10 for each unit... of 10,000: 99 with a commission of a percent."""
    account = CollateralAccount(commission_counts=counts)
    options: dict[str, Any] = {"account": account, "commission": PercentCommission(0.01)}
    plan = {0: [lambda s: s.buy("A", 150)], 2: [lambda s: s.buy("A", 1)]}
    found = run(plan, rising(), initial_cash=10_000.0, **options)
    assert found.fills["quantity"].to_list() == [units]
    assert found.equity["cash"][1] == pytest.approx(10_000.0 - units * 101.0)


@pytest.mark.parametrize("ends", [True, False])
def test_such_a_run_may_go_on_without_equity(ends: Any) -> None:
    """90 short at 100 lose 13,500 at 250."""
    bars = market_of_bars([(100,) * 4] * 3 + [(250,) * 4] * 3)
    account = CollateralAccount(ends_at_zero=ends)
    plan = {0: [lambda s: s.sell("A", 90)]}
    found = run(plan, bars, initial_cash=10_000.0, account=account)
    assert found.equity.height == (4 if ends else 6)


@pytest.mark.parametrize("name", ["commission_counts", "ends_at_zero"])
def test_switches_are_true_or_false(name: str) -> None:
    """Not one."""
    with pytest.raises(ConfigError, match=f"CollateralAccount: {name} must be True or False"):
        CollateralAccount(**{name: 1})  # type: ignore[arg-type]
