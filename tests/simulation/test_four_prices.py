"""A bar as four prices, on bars small enough to follow by eye."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import BacktestResult, ConfigError, FourPrices, Order, SimulationBroker
from ml4t.backtest.testing.markets import market_of_bars
from tests.simulation.test_one_by_one import fills
from tests.simulation.test_one_by_one import run as run_with

FLAT = (100.0, 100.0, 100.0, 100.0)


def run(plan: dict[int, Any], *bars: tuple[float, ...], **options: Any) -> BacktestResult:
    """A run at the close, after a flat bar at 100 and before another one."""
    level = FourPrices(gaps="level")
    given: dict[str, Any] = {"fill_at": "close", "matching": level, **options}
    frame = market_of_bars([FLAT, *bars, FLAT])  # type: ignore[list-item]
    return run_with(plan, frame, **given)


def ends(result: BacktestResult) -> list[tuple[str, str]]:
    """Status and reason of each order."""
    return list(result.orders.select("status", "reason").iter_rows())


def test_a_gap_fills_at_the_price_or_at_the_level() -> None:
    """The bar opens at 110, beyond a stop at 105 and a sale's limit at 104."""
    plan = {
        0: [lambda s: s.buy("A", 10, stop_price=105), lambda s: s.sell("A", 5, limit_price=104)]
    }
    bar = (110.0, 112.0, 108.0, 109.0)
    found = fills(run(plan, bar, matching=FourPrices()))
    assert found == [(1, "buy", 10.0, 110.0), (1, "sell", 5.0, 110.0)]
    result = run(plan, bar)
    assert fills(result) == [(1, "buy", 10.0, 105.0), (1, "sell", 5.0, 104.0)]
    assert result.fills["reason"].to_list() == ["stop in a gap", "limit in a gap"]


@pytest.mark.parametrize(("path", "price"), [("ohlc", 108.0), ("olhc", 92.0)])
def test_the_path_decides_between_a_stop_and_a_target(path: Any, price: float) -> None:
    """Both are in the bar: the target is at the high, the stop at the low."""
    plan = {0: [lambda s: s.bracket("A", 10, stop_loss=92, take_profit=108)]}
    result = run(plan, (100, 109, 91, 100), matching=FourPrices(path=path))
    assert fills(result) == [(0, "buy", 10.0, 100.0), (1, "sell", 10.0, price)]


def test_a_limit_that_the_close_satisfies_fills_at_it() -> None:
    """Sent at a close of 100 with a limit of 103; one of 99 waits for the low."""
    plan = {0: [lambda s: s.buy("A", 10, limit_price=103), lambda s: s.buy("A", 5, limit_price=99)]}
    found = fills(run(plan, (101, 102, 98, 101)))
    assert found == [(0, "buy", 10.0, 100.0), (1, "buy", 5.0, 99.0)]


def test_a_limit_waits_for_the_next_bar_where_market_orders_do() -> None:
    """With fill_at="next_open" nothing trades at the close of the decision."""
    plan = {0: [lambda s: s.buy("A", 10, limit_price=103), lambda s: s.buy("A", 5)]}
    found = fills(run(plan, (101, 102, 98, 101), fill_at="next_open"))
    assert found == [(1, "buy", 5.0, 101.0), (1, "buy", 10.0, 103.0)]


def test_a_stop_that_is_passed_when_it_comes_is_refused() -> None:
    """A purchase's stop at 99 with a close of 100; one at the close, too."""
    plan = {0: [lambda s: s.buy("A", 10, stop_price=99), lambda s: s.sell("A", 10, stop_price=100)]}
    assert ends(run(plan)) == [
        ("rejected", "the price of 100 has passed the stop of 99"),
        ("rejected", "the price of 100 has passed the stop of 100"),
    ]


def test_a_target_goes_with_a_stop_that_is_refused() -> None:
    """The entry at 95 fills at a low of 90, where its stop at 92 is passed already."""
    plan = {0: [lambda s: s.bracket("A", 10, limit_price=95, stop_loss=92, take_profit=97)]}
    result = run(plan, (100, 100, 90, 98))
    assert fills(result) == [(1, "buy", 10.0, 95.0)]
    assert [status for status, _ in ends(result)] == ["filled", "rejected", "rejected"]


def test_exits_work_from_the_price_after_their_entry_on() -> None:
    """Entered at 95 on the way to the low of 94, the target at 97 is met at the close."""
    plan = {0: [lambda s: s.bracket("A", 10, limit_price=95, stop_loss=92, take_profit=97)]}
    found = fills(run(plan, (100, 100, 94, 98)))
    assert found == [(1, "buy", 10.0, 95.0), (1, "sell", 10.0, 97.0)]


def test_an_exit_that_finds_nothing_to_reduce_is_refused() -> None:
    """There is no position."""
    plan = {0: [lambda s: s.sell("A", 10, stop_price=95, reduce_only=True)]}
    assert ends(run(plan)) == [("rejected", "there is nothing to reduce")]


def test_a_fill_leaves_the_price_at_its_level_for_those_behind() -> None:
    """Limits at 97 and 96 and a low of 95: the second one is met by the next price."""
    plan = {0: [lambda s: s.buy("A", 1, limit_price=96), lambda s: s.buy("A", 2, limit_price=97)]}
    # The close at 98 is no reason to buy at 96; the next bar opens at 95.5.
    found = fills(run(plan, (100, 100, 95, 98), (95.5, 96, 95, 96)))
    assert found == [(1, "buy", 2.0, 97.0), (2, "buy", 1.0, 96.0)]


def test_a_stop_limit_fills_at_its_stop_when_the_price_is_within_its_limit() -> None:
    """Stop 105, limit 107: triggered at a high of 106, or at one of 110 and bought at the low."""
    plan = {0: [lambda s: s.buy("A", 10, stop_price=105, limit_price=107)]}
    assert fills(run(plan, (100, 106, 100, 101))) == [(1, "buy", 10.0, 105.0)]
    assert fills(run(plan, (100, 110, 100, 101))) == [(1, "buy", 10.0, 105.0)]
    # Triggered by an open of 110; the low of 106 is within the limit, and worse than the stop.
    assert fills(run(plan, (110, 111, 106, 109))) == [(1, "buy", 10.0, 106.0)]
    # Nothing comes back to the limit in this bar; the next one opens at 100.
    assert fills(run(plan, (110, 111, 108, 109))) == [(2, "buy", 10.0, 105.0)]


def test_what_stop_limits_leave_behind() -> None:
    """One that is triggered leaves its limit, one that waited the price it has filled at."""
    two = {
        0: [
            lambda s: s.buy("A", 1, stop_price=105, limit_price=109),
            lambda s: s.buy("A", 2, stop_price=104, limit_price=108),
        ]
    }
    # At the high of 106 the first leaves 109, beyond the limit of the second: it has the low.
    found = fills(run(two, (100, 106, 100, 101)))
    assert found == [(1, "buy", 1.0, 105.0), (1, "buy", 2.0, 104.0)]
    # Triggered at 110 without a fill, both fill at the low, at their stops.
    assert fills(run(two, (100, 110, 100, 101))) == found


def test_trailing_stops_move_after_each_price() -> None:
    """Five behind the high of 110: the low of 99 meets 105."""
    plan = {0: [lambda s: s.sell("A", 10, trail_amount=5)]}
    assert fills(run(plan, (100, 110, 99, 106))) == [(1, "sell", 10.0, 105.0)]


def test_each_asset_sees_its_own_four_prices() -> None:
    """The same stop in both; only one market reaches it."""
    bars = market_of_bars([FLAT, (100, 106, 100, 100)])
    other = market_of_bars([FLAT, (100, 104, 100, 100)], asset_id="B")
    both = bars.vstack(other).sort("timestamp", "asset_id")
    plan = {0: [lambda s, a=asset: s.buy(a, 10, stop_price=105) for asset in "AB"]}
    result = run_with(plan, both, fill_at="close", matching=FourPrices())
    assert result.fills["asset_id"].to_list() == ["A"]


def test_auctions_keep_their_places() -> None:
    """Orders at the open and at the close of the bar after the decision."""

    def send(force: str) -> Any:
        return lambda s: s.submit_order(Order("A", "buy", 1, time_in_force=force))

    found = fills(run({0: [send("opg"), send("cls")]}, (101, 105, 99, 103)))
    assert found == [(1, "buy", 1.0, 101.0), (1, "buy", 1.0, 103.0)]


def test_rest_of_a_stop_trades_at_the_next_prices() -> None:
    """Three units to a bar: what is left of a stop is not asked for its level again."""
    plan = {0: [lambda s: s.buy("A", 5, stop_price=105)]}
    found = fills(run(plan, (100, 106, 100, 101), (98, 99, 97, 98), liquidity=lambda *_: 3.0))
    assert found == [(1, "buy", 3.0, 105.0), (2, "buy", 2.0, 98.0)]


def test_an_unknown_path_is_refused() -> None:
    """With the nearest one that there is."""
    with pytest.raises(ConfigError, match="path must be one of"):
        FourPrices(path="ohcl")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="gaps must be one of"):
        FourPrices(gaps="open")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="an object"):
        SimulationBroker(matching=FourPrices)  # type: ignore[arg-type]


def test_a_price_like_the_one_before_is_no_trade() -> None:
    """The open of 105 fills 102 and leaves the price there; the high is the same 105."""
    plan = {
        0: [lambda s: s.sell("A", 5, limit_price=102), lambda s: s.sell("A", 5, limit_price=104)]
    }
    found = fills(run(plan, (105, 105, 103, 103.5), (103.5, 106, 103, 104)))
    assert found == [(1, "sell", 5.0, 102.0), (2, "sell", 5.0, 104.0)]


def test_an_exit_comes_to_the_price_that_a_fill_before_has_left() -> None:
    """At the high of 112 a stop buys at 107, so the stop at 108 of a new short is not passed."""
    plan = {
        0: [
            lambda s: s.buy("A", 5, stop_price=107),
            lambda s: s.bracket("A", -10, limit_price=106, stop_loss=108, take_profit=90),
        ]
    }
    result = run(plan, (101, 112, 100, 101), (101, 109, 100, 101))
    assert fills(result) == [
        *((1, "buy", 5.0, 107.0), (1, "sell", 10.0, 106.0)),
        (2, "buy", 5.0, 108.0),
    ]


@pytest.mark.parametrize(("fill", "bar"), [("touch", 1), ("through", 2)])
def test_a_limit_may_need_a_price_beyond_it(fill: Any, bar: int) -> None:
    """The low of the first bar is the limit, that of the second lies below it."""
    plan = {0: [lambda s: s.buy("A", 10, limit_price=95)]}
    found = fills(run(plan, (100, 101, 95, 99), (99, 100, 94, 98), limit_fill=fill))
    assert found == [(bar, "buy", 10.0, 95.0)]
