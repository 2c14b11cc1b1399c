"""Trailing stops, times in force and replacing, worked out by hand on the ten reference bars."""

from __future__ import annotations

import datetime as dt

import pytest

from ml4t.backtest import BacktestEngine, Order, OrderError, Strategy
from tests.stories.plan import Plan, parse_bars, tell

HELD = "@0 buy 10\n"
BOUGHT = "1 buy 10 at 102\n"

# -- trailing stops --------------------------------------------------------------------------


def test_a_trailing_stop_follows_and_a_gap_fills_at_the_open() -> None:
    """From the close of 103 the stop is 100; highs of 105 and 110 lift it to 102 and 107."""
    tell(HELD + "@1 sell 10 trail 3", BOUGHT + "4 sell 10 at 100 because stop at open")


def test_a_trailing_stop_inside_the_bar() -> None:
    """From the close of 96 the stop is 93, and bar 5 falls to 90."""
    tell(HELD + "@4 sell 10 trail 3", BOUGHT + "5 sell 10 at 93 because stop")


def test_a_stop_is_tested_before_it_moves() -> None:
    """The high of bar 2 lifts the stop to 103.5, above the low of the same bar."""
    tell(HELD + "@1 sell 10 trail 1.5", BOUGHT + "4 sell 10 at 100 because stop at open")


def test_a_trail_is_a_fraction_for_a_purchase_too() -> None:
    """From 96 the stop is 100.8; the low of 90 brings it to 94.5, below the next open."""
    tell("@4 buy 10 trail 5%", "6 buy 10 at 98 because stop at open")


def test_a_stop_never_moves_back() -> None:
    """A high of 99 in bar 5 would lower the stop of 98 (from the high of 101) to 96."""
    tell(HELD + "@6 sell 10 trail 4.5", BOUGHT + "8 sell 10 at 97.5 because stop")


def test_a_trailing_stop_limit() -> None:
    """Stop 93, limit 92: triggered inside bar 5, within its limit."""
    tell(HELD + "@4 sell 10 trail 3 offset 1", BOUGHT + "5 sell 10 at 93 because stop_limit")


def test_a_trailing_stop_limit_behind_a_gap_rests_as_a_limit() -> None:
    """Stop 106, limit 105: the open of 100 triggers it, and 105 comes back in bar 8."""
    tell(HELD + "@3 sell 10 trail 3 offset 1", BOUGHT + "8 sell 10 at 105 because limit")


def test_there_is_nothing_to_trail_before_the_first_bar() -> None:
    """An asset without a price has no best price."""
    tell(
        "@0 sell 1 B trail 1",
        "",
        "1 rejected no price yet to trail: it had no bar",
        bars="0 A 1 1 1 1\n1 A 1 1 1 1\n1 B 1 1 1 1",
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"type": "trailing_stop"}, "needs one of trail_amount and trail_percent"),
        (
            {"type": "trailing_stop", "trail_amount": 1, "trail_percent": 0.1},
            "needs one of trail_amount and trail_percent",
        ),
        ({"type": "trailing_stop", "trail_amount": -1}, "trail_amount must be positive, not -1"),
        ({"type": "trailing_stop", "trail_percent": 5}, "fraction between 0 and 1, not 5"),
        ({"type": "trailing_stop", "trail_amount": 1, "limit_offset": 1}, "has no limit_offset"),
        ({"type": "trailing_stop_limit", "trail_amount": 1}, "needs a limit_offset"),
        (
            {"type": "trailing_stop_limit", "trail_amount": 1, "limit_offset": -1},
            "limit_offset must be zero or positive, not -1",
        ),
        ({"type": "trailing_stop", "trail_amount": 1, "stop_price": 1}, "has no stop_price"),
        ({"type": "stop", "stop_price": 1, "trail_amount": 1}, "a stop order has no trail_amount"),
        ({"trail_percent": 0.1}, "a market order has no trail_percent"),
        ({"time_in_force": "gtd"}, "a gtd order needs expires_at"),
        ({"expires_at": dt.date(2024, 1, 5)}, "a gtc order has no expires_at"),
        (
            {"time_in_force": "gtd", "expires_at": "2024-01-05"},
            "expires_at must be a date or datetime, not '2024-01-05'",
        ),
        (
            {"time_in_force": "cls", "type": "stop", "stop_price": 1},
            "a stop order cannot be cls: only market and limit orders can",
        ),
    ],
)
def test_what_cannot_be_meant_is_rejected(options: dict, text: str) -> None:
    """With the field that is wrong."""

    class Once(Strategy):
        def on_bars(self, bars):
            if bars.index == 0:
                self.submit_order(Order("A", "buy", 1, **options))

    result = BacktestEngine(parse_bars("0 9 9 9 9\n1 9 9 9 9"), strategy=Once()).run()
    assert result.orders["status"].to_list() == ["rejected"]
    assert text in result.orders["reason"][0]


# -- time in force ---------------------------------------------------------------------------


def test_fill_or_kill_fills_whole() -> None:
    """As any order that can."""
    tell("@0 buy 98 fok", "1 buy 98 at 102")


def test_fill_or_kill_takes_no_part() -> None:
    """200 at 102 cost more than the 10,000 there are."""
    tell("@0 buy 200 fok", "", "1 canceled fill or kill: 98 of 200 could be filled")


def test_fill_or_kill_has_one_bar() -> None:
    """Bar 5 would touch 90."""
    tell("@0 buy 10 limit 90 fok", "", "1 canceled fill or kill: not filled in its bar")


def test_good_till_date_lives_through_its_date() -> None:
    """Bar 4 is the first to touch 96."""
    tell("@0 buy 10 limit 96 until 4", "4 buy 10 at 96 because limit")


def test_good_till_date_ends_after_its_date() -> None:
    """One day less is too short."""
    tell("@0 buy 10 limit 96 until 3", "", "1 expired good till 2024-01-05: not filled")


def test_at_the_open_is_the_next_session_s() -> None:
    """A limit at the open has that open only: bar 1 opens at 102 and touches 101."""
    tell("@0 buy 10 opg\n@0 buy 10 limit 102 opg", "1 buy 10 at 102\n1 buy 10 at 102")
    tell("@0 buy 10 limit 101 opg", "", "1 canceled at the open: not filled there")


def test_at_the_close_is_the_next_session_s() -> None:
    """Bar 1 closes at 103."""
    orders = "@0 buy 10 cls\n@0 buy 10 limit 103 cls"
    tell(orders, "1 buy 10 at 103 because close\n1 buy 10 at 103 because close")
    tell("@0 buy 10 limit 102 cls", "", "1 canceled at the close: not filled there")


def minutes(*times: str) -> list[dt.datetime]:
    """Instants of January 2024, as day and time in UTC."""
    return [dt.datetime.fromisoformat(f"2024-01-{time}:00+00:00") for time in times]


SESSIONS = """
    0  10 11  9 10
    1  11 12 10 11
    2  12 13 11 12
    3  20 21 19 20
    4  21 22 20 21
"""
# New York closes at 21:00 in winter.
CLOCK = minutes("02T20:58", "02T20:59", "02T21:00", "03T14:31", "03T14:32")


class Auctions(Strategy):
    """One order for the open and one for the close."""

    def __init__(self, bar: int) -> None:
        self.bar = bar

    def on_bars(self, bars):
        if bars.index == self.bar:
            self.buy("A", 1, time_in_force="opg")
            self.buy("A", 2, time_in_force="cls")


def test_auctions_of_an_intraday_session() -> None:
    """Decided at 20:58: the close is that of today, the open that of tomorrow."""
    bars = parse_bars(SESSIONS, CLOCK)
    result = BacktestEngine(bars, strategy=Auctions(0), calendar="XNYS").run()
    assert result.fills.select("timestamp", "quantity", "price").rows() == [
        (CLOCK[2], 2.0, 12.0),
        (CLOCK[3], 1.0, 20.0),
    ]


def test_auctions_decided_at_the_close() -> None:
    """The bar of the close is over: the next open comes first, the next close never."""
    bars = parse_bars(SESSIONS, CLOCK)
    result = BacktestEngine(bars, strategy=Auctions(2), calendar="XNYS").run()
    assert result.fills.select("timestamp", "quantity", "price").rows() == [(CLOCK[3], 1.0, 20.0)]
    assert result.orders["status"].to_list() == ["filled", "accepted"]


def test_an_asset_without_a_bar_at_the_close() -> None:
    """A trades until 20:59; only B has a bar at 21:00. The order does not wait for tomorrow."""
    bars = parse_bars(SESSIONS.replace("    2  12", "    2 B 12") + "0 B 5 5 5 5\n", CLOCK)
    result = BacktestEngine(bars, strategy=Auctions(0), calendar="XNYS").run()
    assert result.fills["quantity"].to_list() == [1.0]
    assert result.orders.select("status", "reason").rows()[1] == (
        "canceled",
        "at the close: the asset has no bar there",
    )


LONG_DAY = """
    0   9  9  9  9
    1  10 11  9 10
    2  11 12 10 11
    3  12 13 11 12
    4  20 21 19 20
    5  21 22 20 21
    6  22 23 21 22
"""
# Before the open at 14:30, at the first minute, at the close of 21:00, twice after it, and the
# next day before the open and at its first minute.
LONG_CLOCK = minutes(
    *("02T14:00", "02T14:31", "02T21:00", "02T21:01", "02T21:02"),
    *("03T14:00", "03T14:31"),
)


@pytest.mark.parametrize(
    ("decided", "opens", "closes"),
    [
        (0, 6, 2),  # before the open: the close of today
        (1, 6, 2),
        (2, 6, None),  # at the close: that of tomorrow, which the data do not reach
        (3, 6, None),  # after it
    ],
)
def test_auctions_are_not_in_extended_hours(decided: int, opens: int, closes: int | None) -> None:
    """Bars before the open and after the close hold no auction."""
    bars = parse_bars(LONG_DAY, LONG_CLOCK)
    result = BacktestEngine(bars, strategy=Auctions(decided), calendar="XNYS").run()
    fills = {row["quantity"]: row["timestamp"] for row in result.fills.iter_rows(named=True)}
    assert fills.get(1.0) == LONG_CLOCK[opens]
    assert fills.get(2.0) == (None if closes is None else LONG_CLOCK[closes])


def test_a_session_without_a_bar_at_its_close() -> None:
    """Bars stop at 20:59: the order for the close ends, and says why."""
    bars = parse_bars(SESSIONS, minutes("02T20:57", "02T20:58", "02T20:59", "03T14:31", "03T14:32"))
    result = BacktestEngine(bars, strategy=Auctions(0), calendar="XNYS").run()
    assert result.orders.select("status", "reason").rows()[1] == (
        "canceled",
        "at the close: the session had no bar there",
    )


def test_the_close_of_an_intraday_session_needs_a_calendar() -> None:
    """Nothing in the bars says which one is the last."""
    result = BacktestEngine(parse_bars(SESSIONS, CLOCK), strategy=Auctions(0)).run()
    assert result.orders["status"].to_list() == ["filled", "rejected"]
    assert "needs calendar= on the engine" in result.orders["reason"][1]


def test_a_time_to_expire_must_be_of_the_data_s_kind() -> None:
    """A naive time says nothing about bars with a zone."""

    class Naive(Strategy):
        def on_bars(self, bars):
            if bars.index == 0:
                when = dt.datetime(2024, 1, 5)
                self.buy("A", 1, limit_price=1, time_in_force="gtd", expires_at=when)

    result = BacktestEngine(parse_bars(SESSIONS, CLOCK), strategy=Naive()).run()
    assert "is naive, the data's times are not" in result.orders["reason"][0]


def test_a_time_to_expire_within_a_session() -> None:
    """Good until 20:59: the bar that is complete then counts, the next does not."""

    class Until(Strategy):
        def on_bars(self, bars):
            if bars.index == 0:
                for limit in (10.0, 9.5):
                    self.buy("A", 1, limit_price=limit, time_in_force="gtd", expires_at=CLOCK[1])

    result = BacktestEngine(parse_bars(SESSIONS, CLOCK), strategy=Until()).run()
    assert result.orders["status"].to_list() == ["filled", "expired"]


# -- replacing -------------------------------------------------------------------------------


def test_a_limit_can_be_moved() -> None:
    """From 90 to 103: bar 4 opens below it."""

    def move(plan: Plan, bar: int) -> None:
        if bar == 2:
            assert plan.replace_order(1, limit_price=103)

    tell("@0 buy 10 limit 90", "4 buy 10 at 100 because limit at open", acts=move)


def test_a_quantity_can_be_changed() -> None:
    """It is the quantity in all."""

    def grow(plan: Plan, bar: int) -> None:
        if bar == 1:
            plan.replace_order(1, quantity=25)

    result = tell("@0 buy 10 limit 96", "4 buy 25 at 96 because limit", acts=grow)
    assert result.orders["quantity"].to_list() == [25.0]


def test_a_trail_starts_anew() -> None:
    """From the close of 104 in bar 2, ten below is 94: bar 5 is the first to fall so far."""

    def widen(plan: Plan, bar: int) -> None:
        if bar == 2:
            plan.replace_order(2, trail_amount=15)

    # Bar 3 lifts the stop from 89 to 95; bar 4 falls to 95.
    tell(HELD + "@1 sell 10 trail 3", BOUGHT + "4 sell 10 at 95 because stop", acts=widen)


def test_what_is_over_cannot_be_replaced() -> None:
    """The answer is no; nothing happens."""

    def late(plan: Plan, bar: int) -> None:
        if bar == 2:
            assert not plan.replace_order(1, quantity=5)

    tell("@0 buy 10", "1 buy 10 at 102", acts=late)


def test_a_replacement_must_be_an_order_that_can_be_meant() -> None:
    """A market order has no limit, and a quantity is positive."""

    def wrong(plan: Plan, bar: int) -> None:
        if bar == 0:
            with pytest.raises(OrderError, match="a market order has no limit_price"):
                plan.replace_order(1, limit_price=5)
            with pytest.raises(OrderError, match="quantity must be positive"):
                plan.replace_order(1, quantity=-5)

    tell("@0 buy 10", "1 buy 10 at 102", acts=wrong)
