"""Brackets and other orders that depend on each other, worked out by hand on the ten bars."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import Order, OrderError, VolumeParticipation
from tests.stories.plan import TEN, Plan, rows, tell

BOUGHT = "1 buy 10 at 102\n"


def on(step: int, do: Any) -> Any:
    """Do something on one bar."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == step:
            do(plan)

    return acts


def bracket(step: int, quantity: float = 10, **prices: float) -> Any:
    """A bracket on A, decided on one bar."""
    return on(step, lambda plan: plan.bracket("A", quantity, **prices))


# -- brackets --------------------------------------------------------------------------------


def test_the_stop_of_a_bracket_cancels_its_target() -> None:
    """Bar 5 falls from 97 to 90."""
    tell(
        fills=BOUGHT + "5 sell 10 at 94 because stop_loss",
        ends="1 filled\n2 filled\n3 canceled one cancels other: order 2 filled",
        acts=bracket(0, stop_loss=94, take_profit=112),
    )


def test_the_target_of_a_bracket_cancels_its_stop() -> None:
    """Bar 3 opens at 108 and rises to 110."""
    tell(
        fills=BOUGHT + "3 sell 10 at 109 because take_profit",
        ends="2 canceled one cancels other: order 3 filled",
        acts=bracket(0, stop_loss=94, take_profit=109),
    )


def test_a_gap_beyond_the_target() -> None:
    """The open of 108 is better than the 107 asked for."""
    tell(
        fills=BOUGHT + "3 sell 10 at 108 because take_profit at open",
        acts=bracket(0, stop_loss=94, take_profit=107),
    )


def test_a_gap_beyond_the_stop() -> None:
    """Bar 4 opens at 100, below the stop of 101."""
    tell(
        fills="3 buy 10 at 108\n4 sell 10 at 100 because stop_loss at open",
        acts=bracket(2, stop_loss=101, take_profit=112),
    )


def test_exits_are_live_in_the_bar_whose_open_the_entry_gets() -> None:
    """Bar 8 goes from 103 to 108 and to 96: the worse is taken, and counted."""
    result = tell(
        fills="8 buy 10 at 103\n8 sell 10 at 97 because stop_loss",
        acts=bracket(7, stop_loss=97, take_profit=107),
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_after_an_entry_inside_the_bar_the_stop_is_live() -> None:
    """Bar 8 falls through the entry of 100 to 96; that it came back to 107 is not assumed."""
    tell(
        fills="8 buy 10 at 100 because limit\n8 sell 10 at 97 because stop_loss",
        acts=bracket(7, limit_price=100, stop_loss=97, take_profit=107),
    )


def test_after_an_entry_inside_the_bar_the_target_is_not() -> None:
    """It waits for the next bar, which opens at 105 and rises to 106."""
    tell(
        fills="8 buy 10 at 100 because limit\n9 sell 10 at 105.5 because take_profit",
        acts=bracket(7, limit_price=100, stop_loss=95, take_profit=105.5),
    )


def test_a_short_bracket() -> None:
    """Sold at 108; bar 4 opens at 100."""
    tell(
        fills="3 sell 10 at 108\n4 buy 10 at 100 because take_profit at open",
        acts=bracket(2, -10, stop_loss=111, take_profit=101),
    )


def test_the_stop_of_a_short_bracket() -> None:
    """Sold at 102; bar 2 rises to 105."""
    tell(
        fills="1 sell 10 at 102\n2 buy 10 at 104.5 because stop_loss",
        acts=bracket(0, -10, stop_loss=104.5, take_profit=80),
    )


def test_one_exit_is_enough() -> None:
    """A bracket without a target."""
    tell(fills=BOUGHT + "5 sell 10 at 94 because stop_loss", acts=bracket(0, stop_loss=94))


def test_exits_work_what_the_entry_filled() -> None:
    """510 pay for five of the ten; the stop sells five."""
    tell(
        fills="1 buy 5 at 102\n5 sell 5 at 94 because stop_loss",
        ends="1 canceled scaled: buying power\n"
        "2 canceled order 1, which it waited for, gave it 5 units\n"
        "3 canceled one cancels other: order 2 filled",
        acts=bracket(0, stop_loss=94, take_profit=112),
        cash=510.0,
    )


def test_exits_end_with_an_entry_that_does_not_come() -> None:
    """Canceled on bar 2, and with it what waits for it."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            ids = plan.bracket("A", 10, limit_price=50, stop_loss=40, take_profit=60)
            assert ids == (1, 2, 3)
            listed = {order.order_id: order.status for order in plan.get_open_orders("A")}
            assert listed == {1: "accepted", 2: "pending", 3: "pending"}
        if bar == 2:
            plan.cancel_order(1)

    waits = "canceled order 1, which it waits for, was canceled with nothing filled"
    tell(ends=f"1 canceled canceled by the strategy\n2 {waits}\n3 {waits}", acts=acts)


def test_a_rejected_entry_has_no_exits() -> None:
    """There is nothing to protect."""

    def do(plan: Plan) -> None:
        assert plan.bracket("A", 0.5, stop_loss=90) == (1, None, None)

    tell(ends="1 rejected below one lot: 0.5 units", acts=on(0, do))


def test_exits_end_with_the_position() -> None:
    """Closed at the open of bar 3."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, stop_loss=94, take_profit=112)
        if bar == 2:
            plan.close_position("A")

    tell(
        fills=BOUGHT + "3 sell 10 at 108 because open",
        ends="2 canceled position closed\n3 canceled position closed",
        acts=acts,
    )


def test_exits_are_not_superseded_by_a_target() -> None:
    """A target of half the position sells five at the open of bar 3; the stop the rest."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, stop_loss=94)
        if bar == 2:
            plan.order_target("A", 5)

    tell(fills=BOUGHT + "3 sell 5 at 108\n5 sell 5 at 94 because stop_loss", acts=acts)


@pytest.mark.parametrize(
    ("quantity", "prices", "text"),
    [
        (10, {}, "needs a stop_loss, a take_profit, or both"),
        (0, {"stop_loss": 90}, "finite number and not zero, not 0"),
        (float("nan"), {"stop_loss": 90}, "finite number and not zero, not nan"),
        (10, {"stop_loss": -1}, "stop_loss must be a positive price, not -1"),
        (10, {"stop_loss": 110, "take_profit": 90}, r"long bracket's stop_loss \(110\) must be be"),
        (-10, {"stop_loss": 90, "take_profit": 110}, r"short bracket's stop_loss \(90\) must be a"),
        (10, {"stop_loss": 0.05, "take_profit": 0.1}, r"last price \(100\) must be below its take"),
        (-10, {"stop_loss": 95}, r"short bracket's last price|stop_loss \(95\) must be above"),
        (10, {"limit_price": 80, "stop_loss": 90}, r"stop_loss \(90\) must be below its limit_pr"),
    ],
)
def test_a_bracket_that_cannot_be_meant(quantity: float, prices: Any, text: str) -> None:
    """An error in the hook, with the price that is wrong."""

    def do(plan: Plan) -> None:
        with pytest.raises(OrderError, match=text):
            plan.bracket("A", quantity, **prices)

    result = tell(acts=on(0, do))
    assert result.orders.is_empty()


# -- links of one's own ----------------------------------------------------------------------


def test_one_cancels_other() -> None:
    """Two entries, of which the first one that is touched is wanted."""

    def do(plan: Plan) -> None:
        plan.submit_order(Order("A", "buy", 10, "limit", limit_price=96, oco="either"))
        plan.submit_order(Order("A", "buy", 10, "stop", stop_price=105.5, oco="either"))

    tell(
        fills="3 buy 10 at 108 because stop at open",
        ends="1 canceled one cancels other: order 2 filled\n2 filled",
        acts=on(0, do),
    )


def test_one_triggers_other() -> None:
    """A limit sale that exists from when the purchase has filled: bar 4 on, not bar 3."""

    def do(plan: Plan) -> None:
        plan.submit_order(Order("A", "buy", 10, "limit", limit_price=96))
        plan.submit_order(Order("A", "sell", 10, "limit", limit_price=101.5, after=1))

    tell(fills="4 buy 10 at 96 because limit\n6 sell 10 at 101.5 because limit", acts=on(0, do))


def test_two_entries_of_a_group_are_not_both_funded() -> None:
    """There is money for a hundred; the first that is asked for gets it."""

    def do(plan: Plan) -> None:
        for asset_id in "AB":
            plan.submit_order(Order(asset_id, "buy", 100, "limit", limit_price=9, oco="one"))

    bars = "0 A 10 10 10 10\n0 B 10 10 10 10\n1 A 9 9 9 9\n1 B 9 9 9 9\n2 A 9 9 9 9\n2 B 9 9 9 9"
    tell(
        fills="1 buy 100 A at 9",
        ends="2 canceled one cancels other: order 1 filled",
        bars=bars,
        cash=900.0,
        acts=on(0, do),
    )


def test_exits_of_fractions() -> None:
    """A lot of zero leaves nothing unprotected."""
    tell(
        fills="1 buy 0.5 at 102\n5 sell 0.5 at 94 because stop_loss",
        acts=bracket(0, 1, stop_loss=94, take_profit=112),
        cash=51.0,
        fractional=True,
    )


def test_replacing_what_waits_changes_no_quantity() -> None:
    """It still works what its entry fills."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.submit_order(Order("A", "buy", 10, "limit", limit_price=102))
            plan.submit_order(Order("A", "sell", 10, "limit", limit_price=104, after=1))
            plan.replace_order(2, limit_price=104.5)

    tell(fills=BOUGHT + "2 sell 10 at 104.5 because limit", acts=acts)


def test_exits_follow_an_entry_that_is_replaced() -> None:
    """Twice as many are bought, and twice as many protected."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, limit_price=96, stop_loss=92)
            plan.replace_order(1, quantity=20)

    tell(fills="4 buy 20 at 96 because limit\n5 sell 20 at 92 because stop_loss", acts=acts)


def test_a_waiting_order_has_its_own_time_in_force() -> None:
    """Immediate or cancel has the bar in which it began to work; the close is not inside it."""

    def do(plan: Plan) -> None:
        plan.buy("A", 10)
        sale: dict[str, Any] = {"type": "limit", "limit_price": 104.5, "after": 1}
        plan.submit_order(Order("A", "sell", 10, time_in_force="ioc", **sale))
        plan.submit_order(Order("A", "sell", 10, time_in_force="cls", **sale))

    tell(
        fills=BOUGHT,
        ends="2 canceled immediate or cancel: not filled in its bar\n"
        "3 canceled at the close: not filled there",
        acts=on(0, do),
    )


def test_a_market_order_that_waits_fills_at_the_next_open() -> None:
    """Not in the bar whose inside it waited for."""

    def do(plan: Plan) -> None:
        plan.submit_order(Order("A", "buy", 10, "limit", limit_price=96))
        plan.submit_order(Order("A", "sell", 4, after=1))

    tell(fills="4 buy 10 at 96 because limit\n5 sell 4 at 97 because open", acts=on(0, do))


def test_a_trailing_stop_that_waits_starts_at_the_fill() -> None:
    """Bought at 102, trailing by 4 from there: 98, then 100, 101 and 106; bar 4 opens at 100."""

    def do(plan: Plan) -> None:
        plan.submit_order(Order("A", "buy", 10))
        plan.submit_order(
            Order("A", "sell", 10, "trailing_stop", trail_amount=4, after=1, reduce_only=True)
        )

    tell(fills=BOUGHT + "4 sell 10 at 100 because stop at open", acts=on(0, do))


def test_waiting_for_what_is_not_there() -> None:
    """Ids are those of orders."""

    def do(plan: Plan) -> None:
        plan.submit_order(Order("A", "buy", 10, after=7))

    tell(ends="1 rejected after=7: there is no such order", acts=on(0, do))


def test_waiting_for_what_has_filled_already() -> None:
    """It is at work at once."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.buy("A", 10)
        if bar == 1:
            plan.submit_order(Order("A", "sell", 10, "limit", limit_price=107, after=1))

    tell(fills=BOUGHT + "3 sell 10 at 108 because limit at open", acts=acts)


def test_waiting_for_what_has_failed() -> None:
    """There will be no fill to wait for."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.buy("A", 10, limit_price=90, time_in_force="ioc")
        if bar == 1:
            plan.submit_order(Order("A", "sell", 10, after=1))

    tell(ends="2 rejected order 1, which it waits for, was canceled with nothing filled", acts=acts)


def test_exits_of_unequal_size_in_one_bar() -> None:
    """Bar 3 opens at 108: the stop sells ten of twelve, and the smaller target is over."""

    def do(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, stop_loss=97.5, take_profit=111)
            plan.buy("A", 2)
        if bar == 2:
            plan.replace_order(3, quantity=4, limit_price=107.5)
            plan.replace_order(2, stop_price=108)

    tell(
        fills="1 buy 10 at 102\n1 buy 2 at 102\n3 sell 10 at 108 because stop_loss at open",
        ends="3 canceled one cancels other: order 2 filled",
        acts=do,
    )


def test_a_waiting_order_that_is_made_smaller_than_it_has_worked() -> None:
    """Four units a bar. The sale of 20 is owed a fifth of what is bought, and has four already."""
    bars = TEN + "".join(" ".join([r[0], "B", *r[1:]]) + "\n" for r in rows(TEN))

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.submit_order(Order("A", "buy", 100))
            plan.submit_order(Order("B", "sell", 100, after=1))
        if bar == 2:
            plan.replace_order(2, quantity=20)

    tell(
        fills="""
            1 buy 4 at 102
            2 buy 4 at 103
            2 sell 4 B at 103
            3 buy 4 at 108
            4 buy 4 at 100
            5 buy 4 at 97
            6 buy 4 at 98
            7 buy 4 at 102
            8 buy 4 at 103
            8 sell 1 B at 103
            9 buy 4 at 105
            9 sell 1 B at 105
        """,
        bars=bars,
        acts=acts,
        cash=20_000,
        liquidity=VolumeParticipation(0.004),
    )


def test_what_others_of_a_group_have_filled_is_not_there_to_be_replaced() -> None:
    """The target has sold two of ten: a stop for two would have nothing to do."""

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.bracket("A", 10, stop_loss=90, take_profit=103)
        if bar == 3:
            with pytest.raises(OrderError, match="and others of its oco 2; 2 in all leave nothing"):
                plan.replace_order(2, quantity=2)

    tell(
        fills="""
            1 buy 4 at 102
            2 buy 4 at 103
            3 sell 2 at 108 because take_profit at open
            5 sell 4 at 90 because stop_loss
            6 sell 2 at 98 because stop_loss at open
        """,
        acts=acts,
        liquidity=VolumeParticipation(0.004),
    )
