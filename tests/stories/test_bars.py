"""Missing, late and vanished bars, short runs, and sessions within a day."""

from __future__ import annotations

import datetime as dt

import pytest

from ml4t.backtest import PercentCommission
from tests.stories.plan import tell

HOLES = """
    0    100 101  99 100
    0 B   50  51  49  50
    1    102 104 101 103
    2    103 105 102 104
    2 B   52  53  51  52
    3    108 110 107 109
    4    100 101  95  96
    4 B   54  55  53  54
"""


# -- missing ---------------------------------------------------------------------------------


def test_a_market_order_waits_for_its_bar() -> None:
    """B has no bar 1: what was decided on bar 0 fills in bar 2."""
    tell("@0 buy 10 B", "2 buy 10 B at 52", bars=HOLES)


def test_an_order_decided_where_its_asset_has_no_bar() -> None:
    """Decided on bar 1, which B does not have."""
    tell("@1 buy 10 B", "2 buy 10 B at 52", bars=HOLES)


def test_only_the_missing_leg_of_a_basket_waits() -> None:
    """A fills in bar 1, B in bar 2."""
    tell("@0 buy 10 B\n@0 buy 10", "1 buy 10 at 102\n2 buy 10 B at 52", bars=HOLES)


def test_a_rebalance_with_a_missing_leg() -> None:
    """The same for weights, sized at the closes of bar 0."""
    tell(
        "",
        "1 buy 40 at 102\n2 buy 80 B at 52",
        bars=HOLES,
        acts=lambda plan, step: step == 0 and plan.rebalance_to_weights({"A": 0.4, "B": 0.4}),
    )


def test_an_order_at_the_close_waits_for_its_bar_too() -> None:
    """With same-close fills, B's first close after the decision is that of bar 2."""
    tell("@1 buy 10 B", "2 buy 10 B at 52", bars=HOLES, fill_at="close")


@pytest.mark.parametrize("time_in_force", ["day", "ioc"])
@pytest.mark.parametrize("fill_at", ["next_open", "close"])
def test_short_lived_orders_live_until_they_could_trade(time_in_force: str, fill_at: str) -> None:
    """A day order, or an immediate one, has its chance in the first bar of its asset."""
    tell(f"@1 buy 10 B {time_in_force}", "2 buy 10 B at 52", bars=HOLES, fill_at=fill_at)


def test_a_day_limit_expires_after_the_first_session_it_could_trade_in() -> None:
    """Bar 2 is B's first after the decision; 51.0 is its low, 50 is not reached."""
    tell(
        "@0 buy 10 B limit 50 day",
        "",
        "1 expired day order: not filled in its session",
        bars=HOLES,
    )


def test_a_missing_bar_is_marked_at_the_last_close() -> None:
    """B is worth its close of bar 2 at bar 3."""
    result = tell("@0 buy 10 B", "2 buy 10 B at 52", bars=HOLES)
    assert result.equity["equity"].to_list() == [10_000, 10_000, 10_000, 10_000, 10_020]


def test_a_stop_does_not_see_a_missing_bar() -> None:
    """Bar 3 is missing for B; its stop is looked at in bar 4 again."""
    tell(
        "@0 buy 10 B\n@2 sell 10 B stop 53.5",
        "2 buy 10 B at 52\n4 sell 10 B at 53.5",
        bars=HOLES,
    )


# -- late ------------------------------------------------------------------------------------

LATE = """
    0    100 101  99 100
    1    102 104 101 103
    2    103 105 102 104
    2 B   52  53  51  52
    3    108 110 107 109
    3 B   54  55  53  54
"""


def test_a_late_asset_can_be_ordered_before_it_appears() -> None:
    """Its first bar is bar 2."""
    tell("@0 buy 10 B", "2 buy 10 B at 52", bars=LATE)


def test_a_late_asset_cannot_be_sized_before_it_appears() -> None:
    """Weights need a price: rejected with that reason, and the others go ahead."""
    tell(
        "",
        "1 buy 50 at 102",
        "1 rejected no price yet: it had no bar",
        bars=LATE,
        acts=lambda plan, step: step == 0 and plan.rebalance_to_weights({"A": 0.5, "B": 0.5}),
    )


# -- vanished --------------------------------------------------------------------------------

GONE = """
    0    100 100 100 100
    0 B   50  50  50  50
    1    100 100 100 100
    1 B   50  50  50  50
    2    100 100 100 100
    2 B   48  48  40  40
    3    100 100 100 100
    4    100 100 100 100
    5    100 100 100 100
    6    100 100 100 100
    7    100 100 100 100
"""


@pytest.mark.parametrize("as_events", [False, True])
def test_a_vanished_holding_is_marked_and_counted(as_events: bool) -> None:
    """Ten of B stay worth their last close of 40; stale from the third session without a bar."""
    result = tell("@0 buy 10 B", "1 buy 10 B at 50", bars=GONE, as_events=as_events, stale_after=3)
    assert result.equity["equity"].to_list() == [10_000, 10_000] + [9_900] * 6
    assert result.stale["asset_id"].to_list() == ["B", "B", "B"]
    assert result.stale["timestamp"].to_list() == result.equity["timestamp"].to_list()[5:]
    assert result.stale["share_of_equity"][0] == pytest.approx(400 / 9_900)


@pytest.mark.parametrize("as_events", [False, True])
def test_a_vanished_holding_is_closed_when_it_is_stale(as_events: bool) -> None:
    """Not earlier than the third session without a bar, at the last close."""
    tell(
        "@0 buy 10 B",
        "1 buy 10 B at 50\n5 sell 10 B at 40 because vanished",
        bars=GONE,
        as_events=as_events,
        stale_after=3,
        on_vanish="close",
    )


@pytest.mark.parametrize("as_events", [False, True])
def test_a_vanished_holding_is_closed_at_a_price(as_events: bool) -> None:
    """Worth 5 a share to whoever knows what became of it, with the usual commission."""
    result = tell(
        "@0 buy 10 B",
        "1 buy 10 B at 50 fee 5\n5 sell 10 B at 5 fee 0.5 because vanished",
        bars=GONE,
        as_events=as_events,
        stale_after=3,
        on_vanish=5.0,
        commission=PercentCommission(0.01),
    )
    assert result.final_equity == pytest.approx(10_000 - 500 - 5 + 50 - 0.5)


@pytest.mark.parametrize("as_events", [False, True])
def test_a_vanished_short_is_closed(as_events: bool) -> None:
    """A short is bought back at the last close."""
    tell(
        "@0 sell 10 B",
        "1 sell 10 B at 50\n5 buy 10 B at 40 because vanished",
        bars=GONE,
        as_events=as_events,
        stale_after=3,
        on_vanish="close",
    )


@pytest.mark.parametrize("as_events", [False, True])
def test_closing_what_vanished_ends_its_orders(as_events: bool) -> None:
    """A stop of the vanished asset has nothing left to protect."""
    tell(
        "@0 buy 10 B\n@1 sell 10 B stop 30 reduce_only",
        "1 buy 10 B at 50\n5 sell 10 B at 40",
        "2 canceled position closed: vanished",
        bars=GONE,
        as_events=as_events,
        stale_after=3,
        on_vanish="close",
    )


@pytest.mark.parametrize("as_events", [False, True])
def test_a_holding_with_gaps_is_not_stale(as_events: bool) -> None:
    """Three sessions without a bar are needed in a row; a bar starts the count anew."""
    bars = """
        0    100 100 100 100
        0 B   50  50  50  50
        1    100 100 100 100
        1 B   50  50  50  50
        2    100 100 100 100
        3    100 100 100 100
        4    100 100 100 100
        4 B   40  40  40  40
        5    100 100 100 100
        6    100 100 100 100
    """
    result = tell(
        "@0 buy 10 B",
        "1 buy 10 B at 50",
        bars=bars,
        as_events=as_events,
        stale_after=3,
        on_vanish="close",
    )
    assert result.stale.is_empty()


@pytest.mark.parametrize("as_events", [False, True])
def test_an_asset_that_trades_once_a_day_is_not_stale(as_events: bool) -> None:
    """B has one bar in the middle of each session: no session is without one."""
    times = [dt.datetime(2024, 1, day, hour) for day in range(2, 8) for hour in (14, 15, 16)]
    lines = [f"{i} 100 100 100 100" for i in range(len(times))]
    lines += [f"{i} B 50 50 50 50" for i in range(1, len(times), 3)]
    result = tell(
        "@1 buy 10 B",
        "4 buy 10 B at 50",
        bars="\n".join(lines),
        times=times,
        as_events=as_events,
        stale_after=1,
        on_vanish="close",
    )
    assert result.stale.is_empty()


@pytest.mark.parametrize("as_events", [False, True])
def test_sessions_without_a_bar_are_counted_when_they_are_over(as_events: bool) -> None:
    """B trades until the first bar of session 2; sessions 3 and 4 pass; closed as 5 begins."""
    times = [dt.datetime(2024, 1, day, hour) for day in range(2, 9) for hour in (14, 15)]
    lines = [f"{i} 100 100 100 100" for i in range(len(times))]
    lines += [f"{i} B 50 50 50 50" for i in range(3)]
    tell(
        "@0 buy 10 B",
        "1 buy 10 B at 50\n8 sell 10 B at 50 because vanished",
        bars="\n".join(lines),
        times=times,
        as_events=as_events,
        stale_after=2,
        on_vanish="close",
    )


def test_what_vanished_pays_for_what_is_bought() -> None:
    """The 8,000 from closing B are there for the order of the same bar."""
    tell(
        "@0 buy 200 B\n@4 buy 100",
        "1 buy 200 B at 50\n5 sell 200 B at 40\n5 buy 80 at 100",
        "2 canceled scaled: buying power",
        bars=GONE,
        stale_after=3,
        on_vanish="close",
    )


# -- the end ---------------------------------------------------------------------------------


def test_close_at_end() -> None:
    """Everything is closed at the last close, long and short."""
    result = tell(
        "@0 buy 10\n@0 sell 10 B",
        "1 buy 10 at 102\n2 sell 10 B at 52\n"
        "4 sell 10 at 96 because end\n4 buy 10 B at 54 because end",
        bars=HOLES,
        close_at_end=True,
        commission=PercentCommission(0.01),
    )
    assert result.trades["status"].to_list() == ["closed", "closed"]
    fees = 0.01 * 10 * (102 + 52 + 96 + 54)
    assert result.final_equity == pytest.approx(10_000 - 60 - 20 - fees)
    assert result.equity["cash"][-1] == pytest.approx(result.final_equity)


def test_positions_left_are_marked() -> None:
    """Without it, positions stay open and are worth the last close."""
    result = tell("@0 buy 10", "1 buy 10 at 102", bars=HOLES)
    assert result.trades["status"].to_list() == ["open"]
    assert result.final_equity == 10_000 - 60


# -- short runs ------------------------------------------------------------------------------


def test_a_run_of_one_bar() -> None:
    """Nothing can fill, and everything can be asked for."""
    result = tell("@0 buy 10", "", "1 accepted", bars="0 100 101 99 100")
    assert result.equity.height == 1
    assert result.final_equity == 10_000
    assert "1" in result.summary()


def test_a_run_of_one_bar_at_its_close() -> None:
    """A same-close fill is possible on the only bar."""
    tell("@0 buy 10", "0 buy 10 at 100", bars="0 100 101 99 100", fill_at="close")


def test_a_run_without_orders() -> None:
    """Equity is flat, frames are empty, and the summary can be read."""
    result = tell()
    assert result.equity["equity"].to_list() == [10_000.0] * 10
    assert result.fills.is_empty()
    assert result.orders.is_empty()
    assert result.trades.is_empty()
    assert result.summary()


def test_a_day_on_which_no_held_asset_trades() -> None:
    """Bar 1 has bars of nobody who is held or ordered."""
    bars = """
        0    100 101  99 100
        1 C   10  10  10  10
        2    103 105 102 104
    """
    result = tell("@0 buy 10", "2 buy 10 at 103", bars=bars)
    assert result.equity["equity"].to_list() == [10_000, 10_000, 10_010]


# -- within a day ----------------------------------------------------------------------------

HOURS = [dt.datetime(2024, 1, day, hour, 0) for day in (2, 3) for hour in (14, 15, 16)]
SIX = """
    0  100 101  99 100
    1  100 102  99 101
    2  101 103 100 102
    3  102 104 101 103
    4  103 105  97 104
    5  104 106 103 105
"""


def test_a_day_order_ends_with_its_session() -> None:
    """Decided on the first bar of a session, gone with its last: bar 4 is another day."""
    tell(
        "@0 buy 10 limit 98 day",
        "",
        "1 expired day order: not filled in its session",
        bars=SIX,
        times=HOURS,
    )


def test_a_day_order_fills_late_in_its_session() -> None:
    """Bar 2 is the last of the session, and trades at 103."""
    tell("@0 sell 10 limit 103 day", "2 sell 10 at 103", bars=SIX, times=HOURS)


def test_a_day_order_of_the_last_bar_lives_in_the_next_session() -> None:
    """It could not trade in the session that ended with its decision."""
    tell("@2 buy 10 limit 98 day", "4 buy 10 at 98", bars=SIX, times=HOURS)


def test_ioc_within_a_day() -> None:
    """One bar, not one session."""
    tell(
        "@0 sell 10 limit 103 ioc",
        "",
        "1 canceled immediate or cancel: not filled in its bar",
        bars=SIX,
        times=HOURS,
    )


def test_gtc_goes_over_night() -> None:
    """Without a time in force an order waits for the next day."""
    tell("@0 buy 10 limit 98", "4 buy 10 at 98", bars=SIX, times=HOURS)


def test_slippage_of_a_vanished_asset_sees_its_own_price() -> None:
    """There is no bar to show, and another asset's bar of another time is none."""
    seen = []

    def slippage(order, bar, quantity):
        seen.append((bar.asset_id, bar.reference, bar.close))
        return bar.reference

    rows = [f"{i} A 10 10 10 10" for i in range(2)] + [f"{i} B 70 70 70 70" for i in range(8)]
    tell(
        "@0 buy 1 A",
        "1 buy 1 A at 10\n3 sell 1 A at 10",
        bars="\n".join(rows),
        slippage=slippage,
        on_vanish="close",
        stale_after=2,
    )
    assert seen[-1] == ("A", 10.0, 10.0)
