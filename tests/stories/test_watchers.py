"""Rules that watch over positions, worked out by hand on the ten reference bars."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, OrderError, Strategy
from ml4t.backtest.testing.markets import ten_bars
from tests.stories.plan import Plan, tell

BOUGHT = "1 buy 10 at 102\n"


def at(**steps: Any) -> Any:
    """What to do on some bars, named b0, b1, ..."""

    def acts(plan: Plan, bar: int) -> None:
        do = steps.get(f"b{bar}")
        if do is not None:
            do(plan)

    return acts


def stop(percent: float | None = 0.05, asset_id: str | None = None) -> Any:
    """Set a stop-loss."""
    return lambda plan: plan.set_stop_loss(asset_id, percent=percent)


# -- each rule -------------------------------------------------------------------------------


def test_a_stop_loss() -> None:
    """Five percent under 102 is 96.9; bar 4 falls from 100 to 95."""
    tell("@0 buy 10", BOUGHT + "4 sell 10 at 96.9 because stop_loss", acts=at(b0=stop()))


def test_a_stop_loss_in_money() -> None:
    """Four under 102."""
    acts = at(b0=lambda plan: plan.set_stop_loss(amount=4))
    tell("@0 buy 10", BOUGHT + "4 sell 10 at 98 because stop_loss", acts=acts)


def test_a_rule_that_no_price_can_meet_is_refused_in_sight() -> None:
    """A hundred and fifty under 102; the target of a short the same way down."""
    acts = at(b0=lambda plan: plan.set_stop_loss(amount=150))
    text = "stop_loss: 150 from an entry at 102 is no positive price"
    tell("@0 buy 10", BOUGHT, f"2 rejected {text}", acts=acts)
    acts = at(b0=lambda plan: plan.set_take_profit(amount=102))
    text = "take_profit: 102 from an entry at 102 is no positive price"
    tell("@0 sell 10", "1 sell 10 at 102", f"2 rejected {text}", acts=acts)


def test_a_take_profit() -> None:
    """Five percent over 102 is 107.1; bar 3 opens beyond it."""
    acts = at(b0=lambda plan: plan.set_take_profit(percent=0.05))
    tell("@0 buy 10", BOUGHT + "3 sell 10 at 108 because take_profit at open", acts=acts)


def test_a_trailing_stop() -> None:
    """The high of 110 lifts it to 104.5; bar 4 opens at 100."""
    acts = at(b0=lambda plan: plan.set_trailing_stop(percent=0.05))
    tell("@0 buy 10", BOUGHT + "4 sell 10 at 100 because trailing_stop at open", acts=acts)


def test_a_time_exit() -> None:
    """Bars 1 and 2 are two; the next open is that of bar 3."""
    acts = at(b0=lambda plan: plan.set_time_exit(bars=2))
    tell("@0 buy 10", BOUGHT + "3 sell 10 at 108 because time_exit", acts=acts)


@pytest.mark.parametrize(
    ("fill_at", "fills"),
    [
        ("next_close", "1 buy 10 at 103\n4 sell 10 at 96 because time_exit at close"),
        ("close", "0 buy 10 at 100\n2 sell 10 at 104 because time_exit at close"),
    ],
)
def test_a_time_exit_at_the_close(fill_at: str, fills: str) -> None:
    """It trades where market orders trade; a bar at whose close one enters does not count."""
    acts = at(b0=lambda plan: plan.set_time_exit(bars=2))
    tell("@0 buy 10", fills, acts=acts, fill_at=fill_at)


def test_a_time_exit_counts_bars_of_the_asset() -> None:
    """A misses bar 2."""
    bars = "0 A 9 9 9 9\n0 B 9 9 9 9\n1 A 9 9 9 9\n2 B 9 9 9 9\n3 A 8 8 8 8\n4 A 7 7 7 7"
    acts = at(b0=lambda plan: plan.set_time_exit("A", bars=2))
    tell("@0 buy 10", "1 buy 10 at 9\n4 sell 10 at 7 because time_exit", bars=bars, acts=acts)


def test_a_rule_is_live_in_the_bar_whose_open_the_entry_gets() -> None:
    """Bar 8 opens at 103 and falls to 96."""
    tell("@7 buy 10", "8 buy 10 at 103\n8 sell 10 at 97.85 because stop_loss", acts=at(b0=stop()))


def test_after_an_entry_inside_the_bar_only_the_stop_is_live() -> None:
    """Bar 8 falls through 100 to 96; 105 in the same bar may have come before."""

    def rules(plan: Plan) -> None:
        plan.set_stop_loss(percent=0.03)
        plan.set_take_profit(percent=0.05)

    fills = "8 buy 10 at 100 because limit\n8 sell 10 at 97 because stop_loss"
    tell("@7 buy 10 limit 100", fills, acts=at(b0=rules))


def test_a_short_position() -> None:
    """Three percent over 102 is 105.06; bar 3 opens at 108."""
    tell(
        "@0 sell 10",
        "1 sell 10 at 102\n3 buy 10 at 108 because stop_loss at open",
        acts=at(b0=stop(0.03)),
    )


def test_the_worse_of_two_rules_is_taken_and_counted() -> None:
    """Bar 8 touches 97 and 107."""

    def rules(plan: Plan) -> None:
        plan.set_stop_loss(amount=6)
        plan.set_take_profit(amount=4)

    fills = "8 buy 10 at 103\n8 sell 10 at 97 because stop_loss"
    result = tell("@7 buy 10", fills, acts=at(b0=rules))
    assert result.record.counts["ambiguous_bars"] == 1
    assert result.orders["reason"].to_list()[1:] == [None, "position closed"]


# -- positions that change -------------------------------------------------------------------


def test_a_rule_grows_with_its_position() -> None:
    """Ten more at 108: the average is 105, five percent under it 99.75."""
    fills = BOUGHT + "3 buy 10 at 108\n4 sell 20 at 99.75 because stop_loss"
    tell("@0 buy 10\n@2 buy 10", fills, acts=at(b0=stop()))


def test_a_rule_survives_a_partial_exit() -> None:
    """Six are left, entered at 102."""
    fills = BOUGHT + "2 sell 4 at 103\n4 sell 6 at 96.9 because stop_loss"
    tell("@0 buy 10\n@1 sell 4", fills, acts=at(b0=stop()))


def test_a_rule_ends_with_its_position_and_starts_with_the_next() -> None:
    """Sold at 103, bought again at 98: 93.1 is never reached, 90 was before."""
    result = tell(
        "@0 buy 10\n@1 sell 10\n@5 buy 10",
        BOUGHT + "2 sell 10 at 103\n6 buy 10 at 98",
        acts=at(b0=stop()),
    )
    assert result.orders["status"].to_list() == [
        "filled",
        "canceled",
        "filled",
        "filled",
        "accepted",
    ]
    assert result.orders["stop_price"][4] == pytest.approx(93.1)


def test_a_rule_turns_with_its_position() -> None:
    """Twenty sold at 103 leave ten short: the stop is 108.15 then, and bar 3 rises to 110."""
    fills = BOUGHT + "2 sell 20 at 103\n3 buy 10 at 108.15 because stop_loss"
    tell("@0 buy 10\n@1 sell 20", fills, acts=at(b0=stop()))


def test_a_rule_set_on_a_position() -> None:
    """From the next bar on, at five percent under the entry."""
    tell("@0 buy 10", BOUGHT + "4 sell 10 at 96.9 because stop_loss", acts=at(b2=stop(0.05, "A")))


def test_a_rule_for_all_is_for_new_positions() -> None:
    """The one that is there goes on without."""
    tell("@0 buy 10", BOUGHT, acts=at(b2=stop()))


def test_a_rule_of_an_asset_goes_before_the_rule_for_all() -> None:
    """Ten percent for A; all others would have five."""

    def rules(plan: Plan) -> None:
        plan.set_stop_loss(percent=0.05)
        plan.set_stop_loss("A", percent=0.10)

    tell("@0 buy 10", BOUGHT + "5 sell 10 at 91.8 because stop_loss", acts=at(b0=rules))


def test_an_asset_without_the_rule_for_all() -> None:
    """A distance of None ends a rule."""

    def rules(plan: Plan) -> None:
        plan.set_stop_loss(percent=0.05)
        plan.set_stop_loss("A", percent=None)

    tell("@0 buy 10", BOUGHT, acts=at(b0=rules))


def test_a_rule_can_be_changed_and_ended() -> None:
    """Five percent becomes ten, and then nothing."""
    acts = at(b0=stop(0.05, "A"), b2=stop(0.10, "A"), b4=stop(None, "A"))
    result = tell("@0 buy 10", BOUGHT, acts=acts)
    assert result.orders["reason"].to_list() == [None, *["the rule was removed"] * 2]


def test_an_order_of_a_rule_that_was_canceled_does_not_come_back() -> None:
    """The user has the last word."""

    def cancel(plan: Plan) -> None:
        (order,) = plan.get_open_orders("A")
        plan.cancel_order(order.order_id)

    tell("@0 buy 10\n@2 sell 4", BOUGHT + "3 sell 4 at 108", acts=at(b0=stop(), b1=cancel))


# -- all ways in -----------------------------------------------------------------------------


def test_a_rebalance_is_watched_too() -> None:
    """Baskets open positions like single orders."""

    class Half(Strategy):
        def on_start(self):
            self.set_stop_loss(percent=0.05)
            self.sent = False

        def on_bars(self, bars):
            if not self.sent:
                self.rebalance_to_weights({"A": 0.5})
            self.sent = True

    result = BacktestEngine(ten_bars(), strategy=Half()).run()
    assert result.fills["reason"].to_list() == ["open", "stop_loss"]
    assert result.trades["exit_reason"].to_list() == ["stop_loss"]


def test_a_second_run_starts_without_rules() -> None:
    """They belong to a run."""

    class Once(Strategy):
        first = True

        def on_start(self):
            if self.first:
                self.set_stop_loss(percent=0.05)

        def on_bars(self, bars):
            if bars.index == 0:
                self.buy("A", 10)

        def on_end(self):
            Once.first = False

    engine = BacktestEngine(ten_bars(), strategy=Once())
    assert [engine.run().fills.height for _ in range(2)] == [2, 1]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (lambda plan: plan.set_stop_loss(percent=5), "percent=5 is refused"),
        (lambda plan: plan.set_stop_loss(percent=-0.1), "positive fraction below 1"),
        (lambda plan: plan.set_stop_loss(percent=0.1, amount=1), "percent or amount, not both"),
        (lambda plan: plan.set_take_profit(amount=float("nan")), "positive money per unit"),
        (lambda plan: plan.set_trailing_stop(percent=1.0), "positive fraction below 1"),
        (lambda plan: plan.set_time_exit(bars=0), "whole number from 1, not 0"),
        (lambda plan: plan.set_time_exit(bars=1.5), "whole number from 1, not 1.5"),
        (lambda plan: plan.set_stop_loss("AA", percent=0.1), "Unknown asset 'AA'"),
    ],
)
def test_a_rule_that_cannot_be_meant(rule: Any, text: str) -> None:
    """An error in the hook."""

    def check(plan: Plan) -> None:
        with pytest.raises(OrderError, match=text):
            rule(plan)

    tell(acts=at(b0=check))
