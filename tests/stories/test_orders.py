"""When an order fills, and at what price: each plan worked out by hand from the rules."""

from __future__ import annotations

import pytest

from tests.stories.plan import tell

HELD = "@0 buy 10\n"
BOUGHT = "1 buy 10 at 102\n"


# -- market ----------------------------------------------------------------------------------


def test_market_order_fills_at_the_next_open() -> None:
    """Decided on bar 1, filled at the open of bar 2."""
    tell("@1 buy 10", "2 buy 10 at 103 slip 0 fee 0 because open", "1 filled")


def test_market_order_at_next_close() -> None:
    """Decided on bar 1, filled at the close of bar 2."""
    tell("@1 buy 10", "2 buy 10 at 104 because close", "1 filled", fill_at="next_close")


def test_market_order_at_the_close_it_was_decided_on() -> None:
    """Decided on bar 1, filled at the close of bar 1, and counted."""
    result = tell("@1 buy 10", "1 buy 10 at 103 because close", "1 filled", fill_at="close")
    assert result.record.counts["same_close_fills"] == 1


def test_market_order_on_the_last_bar_stays_open() -> None:
    """There is no next bar, so nothing fills and the order is reported as open."""
    tell("@9 buy 10", "", "1 accepted")


def test_market_order_on_the_last_bar_at_close() -> None:
    """The close of the last bar can still be had with `fill_at="close"`."""
    tell("@9 buy 10", "9 buy 10 at 105", fill_at="close")


# -- limit -----------------------------------------------------------------------------------


def test_buy_limit_below_a_gap_fills_at_the_open() -> None:
    """Bar 3 stays above 101.5; bar 4 opens at 100, better than the limit."""
    tell("@2 buy 10 limit 101.5", "4 buy 10 at 100 because limit at open")


def test_sell_limit_below_a_gap_fills_at_the_open() -> None:
    """Bar 3 opens at 108, better than 106."""
    tell("@2 sell 10 limit 106", "3 sell 10 at 108 because limit at open")


def test_buy_limit_inside_the_bar_fills_at_its_level() -> None:
    """Bar 2 opens at 103 and trades down to 102: 102.5 was traded."""
    tell("@1 buy 10 limit 102.5", "2 buy 10 at 102.5 because limit")


def test_sell_limit_inside_the_bar_fills_at_its_level() -> None:
    """Bar 2 opens at 103 and trades up to 105: 104.5 was traded."""
    tell("@1 sell 10 limit 104.5", "2 sell 10 at 104.5 because limit")


def test_buy_limit_touched() -> None:
    """The low of bar 4 is exactly 95: a touch is enough by default."""
    tell("@3 buy 10 limit 95", "4 buy 10 at 95")


def test_buy_limit_through() -> None:
    """With "through" the touch of bar 4 is not enough; bar 5 trades down to 90."""
    tell("@3 buy 10 limit 95", "5 buy 10 at 95", limit_fill="through")


def test_sell_limit_touched() -> None:
    """The high of bar 3 is exactly 110."""
    tell("@2 sell 10 limit 110", "3 sell 10 at 110")


def test_sell_limit_through() -> None:
    """With "through" the touch of 110 is not enough, and no bar trades higher."""
    tell("@2 sell 10 limit 110", "", "1 accepted", limit_fill="through")


def test_limit_at_exactly_the_open() -> None:
    """The open is a trade at that price: a limit equal to it fills there, either way."""
    tell("@3 buy 10 limit 100", "4 buy 10 at 100 because limit at open")
    tell("@3 buy 10 limit 100", "4 buy 10 at 100 because limit at open", limit_fill="through")


def test_limit_orders_ignore_fill_at() -> None:
    """Where market orders fill at closes, a limit still fills at its level."""
    tell("@1 buy 10 limit 102.5", "2 buy 10 at 102.5", fill_at="next_close")
    tell("@1 buy 10 limit 102.5", "2 buy 10 at 102.5", fill_at="close")


def test_limit_never_reached() -> None:
    """A limit that no bar reaches stays open, and is reported so."""
    tell("@0 buy 10 limit 80", "", "1 accepted")


# -- stop ------------------------------------------------------------------------------------


def test_sell_stop_above_a_gap_fills_at_the_open() -> None:
    """Bar 4 opens at 100, beyond the stop of 101: the open is what one gets."""
    tell(HELD + "@3 sell 10 stop 101", BOUGHT + "4 sell 10 at 100 because stop at open")


def test_buy_stop_below_a_gap_fills_at_the_open() -> None:
    """Bar 3 opens at 108, beyond the stop of 106."""
    tell("@2 buy 10 stop 106", "3 buy 10 at 108 because stop at open")


def test_sell_stop_inside_the_bar_fills_at_its_level() -> None:
    """Bar 5 opens at 97 and trades down to 90: 92 was traded."""
    tell(HELD + "@4 sell 10 stop 92", BOUGHT + "5 sell 10 at 92 because stop")


def test_buy_stop_inside_the_bar_fills_at_its_level() -> None:
    """Bar 2 opens at 103 and trades up to 105: 104.5 was traded."""
    tell("@1 buy 10 stop 104.5", "2 buy 10 at 104.5 because stop")


def test_sell_stop_touched() -> None:
    """The low of bar 4 is exactly 95; a stop is triggered by a touch, whatever limits need."""
    tell(HELD + "@3 sell 10 stop 95", BOUGHT + "4 sell 10 at 95", limit_fill="through")


def test_buy_stop_touched() -> None:
    """The high of bar 2 is exactly 105."""
    tell("@1 buy 10 stop 105", "2 buy 10 at 105")


def test_stop_that_is_passed_already() -> None:
    """A sell stop above the market is beyond its level at the next open."""
    tell(HELD + "@5 sell 10 stop 120", BOUGHT + "6 sell 10 at 98 because stop at open")


# -- stop-limit ------------------------------------------------------------------------------


def test_stop_limit_fills_at_its_stop() -> None:
    """Triggered inside bar 2 at 104.5, which is within the limit of 104.8."""
    tell("@1 buy 10 stop 104.5 limit 104.8", "2 buy 10 at 104.5 because stop_limit")


def test_stop_limit_behind_a_gap_rests_as_a_limit() -> None:
    """Bar 3 opens at 108, triggered but above 107; its low of 107 touches the limit."""
    tell("@2 buy 10 stop 106 limit 107", "3 buy 10 at 107 because limit")


def test_stop_limit_stays_triggered() -> None:
    """Triggered by the open of bar 3, too dear there; bar 4 opens at 100, below the limit."""
    tell("@2 buy 10 stop 106 limit 106.5", "4 buy 10 at 100 because limit at open")


def test_stop_limit_triggered_within_the_limit_at_the_open() -> None:
    """Bar 3 opens at 108, beyond the stop and within the limit: the open it is."""
    tell("@2 buy 10 stop 106 limit 109", "3 buy 10 at 108 because limit at open")


def test_sell_stop_limit_behind_a_gap() -> None:
    """Bar 4 opens at 100, below the limit of 100.5, and trades up to 101."""
    tell(HELD + "@3 sell 10 stop 101 limit 100.5", BOUGHT + "4 sell 10 at 100.5")


def test_sell_stop_limit_waits_for_its_price() -> None:
    """Triggered at the open of bar 4; 102 is not seen again before bar 6."""
    tell(HELD + "@3 sell 10 stop 101 limit 102", BOUGHT + "6 sell 10 at 102")


def test_stop_limit_inside_counts_only_what_surely_came_after() -> None:
    """Triggered at 99 inside bar 5 with a limit of 98: only its close of 98 is sure to be later."""
    tell("@4 buy 10 stop 99 limit 98", "5 buy 10 at 98 because stop_limit")


def test_stop_limit_inside_ignores_what_may_have_come_before() -> None:
    """The low of 90 may have come before the trigger; the close of 98 is above 97.5."""
    tell("@4 buy 10 stop 99 limit 97.5", "6 buy 10 at 97.5 because limit")


# -- time in force ---------------------------------------------------------------------------


def test_day_order_on_daily_bars_has_one_bar() -> None:
    """Not filled in bar 3, it is gone when bar 4 touches its limit."""
    tell("@2 buy 10 limit 95 day", "", "1 expired day order: not filled in its session")


def test_day_order_fills_in_its_session() -> None:
    """Bar 4 is the first session in which it could trade."""
    tell("@3 buy 10 limit 95 day", "4 buy 10 at 95", "1 filled")


def test_ioc_has_one_bar() -> None:
    """What does not fill in bar 3 is canceled at its end."""
    tell(
        "@2 buy 10 limit 101.5 ioc",
        "",
        "1 canceled immediate or cancel: not filled in its bar",
    )


def test_ioc_market_order_fills() -> None:
    """A market order has its price in the first bar."""
    tell("@2 buy 10 ioc", "3 buy 10 at 108", "1 filled")


def test_gtc_waits_as_long_as_it_takes() -> None:
    """Decided on bar 0, filled in bar 5."""
    tell("@0 buy 10 limit 94", "5 buy 10 at 94", "1 filled")


# -- reduce only -----------------------------------------------------------------------------


def test_reduce_only_sells_no_more_than_is_held() -> None:
    """Ten are held, twenty asked for: ten go, and the order ends with the position."""
    tell(
        HELD + "@1 sell 20 reduce_only",
        BOUGHT + "2 sell 10 at 103",
        "2 canceled position closed",
    )


def test_reduce_only_market_order_when_flat() -> None:
    """There is nothing to reduce at its bar, and it does not wait for something."""
    tell("@0 sell 10 reduce_only\n@1 buy 10", "2 buy 10 at 103", "1 canceled nothing to reduce")


@pytest.mark.parametrize("fill_at", ["next_close", "close"])
def test_reduce_only_market_order_when_flat_at_closes(fill_at: str) -> None:
    """The same where market orders fill at closes: it does not lie in wait for a later buy."""
    price = {"next_close": "2 buy 10 at 104", "close": "1 buy 10 at 103"}[fill_at]
    tell(
        "@0 sell 10 reduce_only\n@1 buy 10", price, "1 canceled nothing to reduce", fill_at=fill_at
    )


def test_reduce_only_covers_a_short() -> None:
    """A reduce-only buy covers the short of 10, and no more."""
    tell("@0 sell 10\n@1 buy 30 reduce_only", "1 sell 10 at 102\n2 buy 10 at 103")


def test_reduce_only_on_the_same_side_does_nothing() -> None:
    """A reduce-only buy does not add to a long position."""
    tell(HELD + "@1 buy 5 reduce_only", BOUGHT, "2 canceled nothing to reduce")


# -- protection ------------------------------------------------------------------------------


def test_protective_stop_is_live_in_the_entry_bar() -> None:
    """Bought at the open of bar 5 at 97; the same bar trades down to 90, through the stop."""
    tell(
        "@4 buy 10\n@4 sell 10 stop 93 reduce_only",
        "5 buy 10 at 97\n5 sell 10 at 93",
        "2 filled",
    )


def test_protective_stop_that_the_entry_open_has_passed() -> None:
    """The entry gaps to 100, below its own stop of 101: out at the same open."""
    tell(
        "@3 buy 10\n@3 sell 10 stop 101 reduce_only",
        "4 buy 10 at 100\n4 sell 10 at 100 because stop at open",
    )


def test_protective_target_is_live_after_an_entry_at_the_open() -> None:
    """Bought at the open of bar 6 at 98; the bar trades up to 103, through the target of 101."""
    tell("@5 buy 10\n@5 sell 10 limit 101 reduce_only", "6 buy 10 at 98\n6 sell 10 at 101")


def test_stop_and_target_in_one_bar_takes_the_stop() -> None:
    """Bar 8 touches 97 and 107, nobody knows which first: the worse is taken, and counted."""
    result = tell(
        "@6 buy 10\n@7 sell 10 stop 97 reduce_only\n@7 sell 10 limit 107 reduce_only",
        "7 buy 10 at 102\n8 sell 10 at 97",
        "2 filled\n3 canceled position closed",
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_target_before_stop_in_the_order_of_submission_changes_nothing() -> None:
    """The worse is taken whichever order was placed first."""
    result = tell(
        "@6 buy 10\n@7 sell 10 limit 107 reduce_only\n@7 sell 10 stop 97 reduce_only",
        "7 buy 10 at 102\n8 sell 10 at 97",
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_stop_and_target_in_the_entry_bar() -> None:
    """Bought at the open of bar 8 itself: stop and target are live, the stop is taken."""
    result = tell(
        "@7 buy 10\n@7 sell 10 limit 107 reduce_only\n@7 sell 10 stop 97 reduce_only",
        "8 buy 10 at 103\n8 sell 10 at 97",
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_stop_and_target_of_a_short() -> None:
    """Short from 102, stop at 107 and target at 97, both in bar 8: the stop."""
    result = tell(
        "@6 sell 10\n@7 buy 10 stop 107 reduce_only\n@7 buy 10 limit 97 reduce_only",
        "7 sell 10 at 102\n8 buy 10 at 107",
        "3 canceled position closed",
    )
    assert result.record.counts["ambiguous_bars"] == 1


def test_a_target_alone_is_not_ambiguous() -> None:
    """Bar 8 reaches the target and not the stop."""
    result = tell(
        "@6 buy 10\n@7 sell 10 stop 95 reduce_only\n@7 sell 10 limit 107 reduce_only",
        "7 buy 10 at 102\n8 sell 10 at 107",
        "2 canceled position closed",
    )
    assert result.record.counts["ambiguous_bars"] == 0


def test_gap_through_the_stop_is_not_ambiguous() -> None:
    """Bar 4 opens at 100, beyond the stop: the open comes first, whatever the bar did later."""
    result = tell(
        HELD + "@3 sell 10 stop 101 reduce_only\n@3 sell 10 limit 100.5 reduce_only",
        BOUGHT + "4 sell 10 at 100",
    )
    assert result.record.counts["ambiguous_bars"] == 0


def test_after_an_entry_inside_the_bar_the_stop_may_fill_but_not_the_target() -> None:
    """Bar 8: bought by a stop at 104; its low of 96 is taken to come after, its high not."""
    tell(
        "@7 buy 10 stop 104\n@7 sell 10 limit 107 reduce_only\n@7 sell 10 stop 98 reduce_only",
        "8 buy 10 at 104\n8 sell 10 at 98",
        "2 canceled position closed",
    )


def test_target_after_an_entry_inside_the_bar_waits() -> None:
    """Bar 8: bought at a limit of 98; its high of 108 may have come before."""
    tell(
        "@7 buy 10 limit 98\n@7 sell 10 limit 106 reduce_only",
        "8 buy 10 at 98\n9 sell 10 at 106",
    )


def test_stop_above_an_entry_inside_the_bar_gets_the_price_of_the_entry() -> None:
    """Bar 8: bought at a limit of 98, below its own stop: the open of 103 is past by then."""
    tell(
        "@7 buy 10 limit 98\n@7 sell 10 stop 104 reduce_only",
        "8 buy 10 at 98\n8 sell 10 at 98",
    )


def test_the_nearer_of_two_stops_fills_first() -> None:
    """On the way down to 90 the price passes 95 before 92, whichever was placed first."""
    tell(
        HELD + "@4 sell 10 stop 92 reduce_only\n@4 sell 10 stop 95 reduce_only",
        BOUGHT + "5 sell 10 at 95",
        "2 canceled position closed",
    )


def test_the_nearer_of_two_targets_fills_first() -> None:
    """On the way up to 105 the price passes 104 before 104.5."""
    tell(
        HELD + "@1 sell 10 limit 104.5 reduce_only\n@1 sell 10 limit 104 reduce_only",
        BOUGHT + "2 sell 10 at 104",
        "2 canceled position closed",
    )


def test_protective_orders_outlive_a_partial_exit() -> None:
    """Half is sold; the stop for ten then sells the five that are left."""
    tell(
        HELD + "@1 sell 10 stop 92 reduce_only\n@2 sell 5",
        BOUGHT + "3 sell 5 at 108\n5 sell 5 at 92",
        "2 canceled position closed",
    )


def test_a_flip_ends_the_protection_of_the_old_side() -> None:
    """The stop of the long does not lie in wait for the next long."""
    tell(
        HELD + "@1 sell 10 stop 92 reduce_only\n@1 sell 20\n@2 buy 20",
        BOUGHT + "2 sell 20 at 103\n3 buy 20 at 108",
        "2 canceled position closed",
    )


# -- flips and several orders ----------------------------------------------------------------


def test_flip_is_one_fill() -> None:
    """Long 10, sell 30: one fill at one price, short 20 after."""
    result = tell(HELD + "@1 sell 30", BOUGHT + "2 sell 30 at 103")
    assert result.positions.row(-1, named=True)["quantity"] == -20.0
    assert result.trades["side"].to_list() == ["long", "short"]


def test_flip_from_short_to_long() -> None:
    """Short 10, buy 30: long 20 after."""
    result = tell("@0 sell 10\n@1 buy 30", "1 sell 10 at 102\n2 buy 30 at 103")
    assert result.positions.row(-1, named=True)["quantity"] == 20.0


def test_several_orders_of_one_asset_in_a_bar() -> None:
    """Increments are never merged: each is filled on its own, in order."""
    tell(
        "@0 buy 5\n@0 buy 7\n@0 buy 1",
        "1 buy 5 at 102\n1 buy 7 at 102\n1 buy 1 at 102",
    )


def test_exits_come_before_entries() -> None:
    """The buy was placed first; the sale it is paid from still comes first."""
    tell(
        "@0 buy 90\n@1 buy 90 B\n@1 sell 90",
        "1 buy 90 at 102\n2 sell 90 at 103\n2 buy 90 B at 103",
        bars="""
            0   100 101  99 100
            0 B 100 101  99 100
            1   102 104 101 103
            1 B 102 104 101 103
            2   103 105 102 104
            2 B 103 105 102 104
        """,
    )
