"""What happens when the account loses more than it may, worked out by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    RiskLimits,
    SimulationBroker,
    Strategy,
)
from tests.limits.guarded import closes, guarded, reason, statuses
from tests.stories.plan import Plan, parse_bars

if TYPE_CHECKING:
    from ml4t.backtest import OrderEvent

# 50 units bought on bar 0 fill at 100 on bar 1. Their value then is 5,000 of 10,000, so a close
# at 90 loses 500, five percent.
FALL = closes(100, 100, 90, 90, 90, 90)
BUY = "@0 buy 50\n"
HALTED = "limit: halted for the rest of the {}: {} is above {}; all positions are being closed"


def daily(most: float, on_breach: Any = "halt") -> RiskLimits:
    """A limit to the loss of a session."""
    return RiskLimits(max_daily_loss=most, on_breach=on_breach)


def fallen(most: float, on_breach: Any = "halt") -> RiskLimits:
    """A limit to the fall from the peak."""
    return RiskLimits(max_drawdown=most, on_breach=on_breach)


def halts(result: BacktestResult) -> int:
    """How often entries were stopped."""
    return result.record.counts.get("limit_halts", 0)


@pytest.mark.parametrize("limits", [daily(0.0499), fallen(0.0499)])
def test_a_larger_loss_stops_entries(limits: RiskLimits) -> None:
    """On the bar on which it shows; exits pass."""
    result = guarded(limits, BUY + "@1 buy 1\n@2 buy 1\n@2 sell 10", bars=FALL)
    assert statuses(result) == "ffrf"
    assert halts(result) == 1


@pytest.mark.parametrize("limits", [daily(0.05), fallen(0.05), daily(0.0501), fallen(0.0501)])
def test_a_loss_up_to_the_limit_does_not(limits: RiskLimits) -> None:
    """Equal passes."""
    result = guarded(limits, BUY + "@2 buy 1", bars=FALL)
    assert statuses(result) == "ff"
    assert halts(result) == 0
    assert "limit_halts" not in result.record.counts
    assert result.logs.is_empty()


def test_a_short_position_loses_too() -> None:
    """When prices rise."""
    result = guarded(daily(0.04), "@0 sell 50\n@2 buy 60", bars=closes(100, 100, 110, 110))
    assert statuses(result) == "frf"  # of the flip, the 50 that close
    assert result.fills["quantity"].to_list() == [50.0, 50.0]


def test_a_daily_loss_halts_until_the_session_ends() -> None:
    """Each bar is a session here, so the next one begins anew from its own equity."""
    result = guarded(daily(0.04), BUY + "@2 buy 1\n@3 buy 1", bars=FALL)
    assert statuses(result) == "frf"
    expected = "limit: halted for the rest of the session: daily loss 5.00% is above max_daily_loss"
    assert reason(result, 2) == f"{expected} 4.00%"


def test_a_session_is_what_the_bars_say() -> None:
    """Six bars of two days: the loss of the first day's second bar halts all of that day."""
    hours = [dt.datetime(2024, 1, day, hour) for day in (2, 3) for hour in (10, 11, 12, 13)]
    bars = closes(100, 100, 90, 90, 90, 90, 80, 90)
    orders = BUY + "@2 buy 1\n@3 buy 1\n@4 buy 1\n@5 buy 1\n@6 buy 1"
    result = guarded(daily(0.04), orders, bars=bars, times=hours)
    # The second day opens with the 9,500 of the first one's last bar and loses 520 at 80.
    assert statuses(result) == "frrffr"
    assert halts(result) == 2
    assert result.logs["timestamp"].to_list() == [hours[2], hours[6]]


def test_a_recovery_does_not_lift_a_halt() -> None:
    """Within the session; for a drawdown, within the run."""
    hours = [dt.datetime(2024, 1, 2, hour) for hour in (10, 11, 12, 13, 14)]
    bars = closes(100, 100, 90, 110, 110)
    assert statuses(guarded(daily(0.04), BUY + "@3 buy 1", bars=bars, times=hours)) == "fr"
    assert statuses(guarded(fallen(0.04), BUY + "@3 buy 1\n@4 buy 1", bars=bars)) == "frr"


def test_a_drawdown_counts_from_the_peak() -> None:
    """10,000 to 12,500 at 150, then 11,250 at 125: ten percent below the peak."""
    bars = closes(100, 100, 150, 125, 125)
    result = guarded(fallen(0.09), BUY + "@2 buy 1\n@3 buy 1", bars=bars)
    assert statuses(result) == "ffr"
    words = "drawdown 10.00% is above max_drawdown 9.00%"
    # One unit more was bought at 125, where the prices fell to.
    assert words in reason(result, 3)
    assert halts(result) == 1


def test_what_is_open_is_canceled() -> None:
    """Entries are, with the reason; what protects or closes the position stays."""
    orders = BUY + (
        "@1 buy 5 limit 80\n"  # an entry
        "@1 sell 50 stop 70 reduce_only\n"
        "@1 sell 30 limit 130\n"  # closes a part
        "@1 sell 30 limit 140\n"  # with the one before more than is held
        "@1 sell 20 limit 150"
    )
    result = guarded(fallen(0.04), orders, bars=FALL)
    assert statuses(result) == "fcaaca"
    assert reason(result, 2).startswith("limit: halted for the rest of the run: drawdown 5.00%")
    assert result.logs["message"][0].endswith("; open orders canceled: 2")


def test_a_strategy_hears_of_it_at_once() -> None:
    """`on_order_event` brings the cancellation before the decisions of that bar."""
    heard: list[tuple[int, str]] = []

    class Listening(Plan):
        def on_order_event(self, order: OrderEvent) -> None:
            if order.status == "canceled":
                heard.append((self._step, order.reason))

    strategy = Listening(BUY + "@1 buy 5 limit 80")
    BacktestEngine(
        parse_bars(FALL), strategy=strategy, broker=SimulationBroker(10_000), limits=fallen(0.04)
    ).run()
    ((step, why),) = heard
    assert step == 1  # `on_bars` of bar 2 has not been called yet
    assert why.startswith("limit: halted for the rest of the run")


# -- flatten -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "until", "words", "name"),
    [
        (daily(0.04, "flatten"), "session", "daily loss 5.00%", "max_daily_loss"),
        (fallen(0.04, "flatten"), "run", "drawdown 5.00%", "max_drawdown"),
    ],
)
def test_flatten_closes_everything(limits: RiskLimits, until: str, words: str, name: str) -> None:
    """At the next open, by an order that says so; so does the trade."""
    result = guarded(limits, BUY + "@1 sell 50 limit 130\n@2 sell 10\n@2 buy 1", bars=FALL)
    assert statuses(result) == "fcrrf"
    why = HALTED.format(until, words, f"{name} 4.00%")
    assert {reason(result, n) for n in (2, 3, 4)} == {why}
    last = result.orders.row(4, named=True)
    assert (last["side"], last["quantity"], last["tag"]) == ("sell", 50.0, f"limit: {name}")
    (trade,) = result.trades.to_dicts()
    assert (trade["exit_reason"], trade["exit_price"]) == (f"limit: {name}", 90.0)
    assert trade["entry_reason"] == "open"
    assert f"tagged 'limit: {name}'" in result.explain("A", "2024-01-04")


def test_flatten_at_the_same_close() -> None:
    """With `fill_at="close"` the positions are gone at the close that showed the loss."""
    result = guarded(fallen(0.04, "flatten"), BUY, bars=FALL, fill_at="close")
    assert result.fills["price"].to_list() == [100.0, 90.0]
    assert result.fills["timestamp"][1] == result.logs["timestamp"][0]


def test_flatten_covers_shorts_and_keeps_stops() -> None:
    """A protective stop lives as long as the position."""
    bars = closes(100, 100, 110, 110)
    orders = "@0 sell 50\n@1 buy 50 stop 150 reduce_only"
    result = guarded(fallen(0.04, "flatten"), orders, bars=bars)
    assert statuses(result) == "fcf"
    assert reason(result, 2) == "position closed"
    assert result.holdings.is_empty()


def test_a_strategy_cannot_stop_the_closing() -> None:
    """It cancels, sets targets and rebalances on every bar, and B has no bars for a while."""
    rows = [
        f"{bar} {asset} {price} {price} {price} {price}"
        for bar, price in enumerate((100, 100, 80, 80, 80, 80, 80))
        for asset in "AB"
        if asset == "A" or bar not in (3, 4)
    ]

    class Stubborn(Strategy):
        def on_bars(self, bars: Any) -> None:
            self.cancel_all()
            self.rebalance_to_weights({"A": 0.4, "B": 0.4})
            self.close_position("B")
            self.order_target_percent("B", 0.4)

    result = BacktestEngine(
        parse_bars("\n".join(rows)),
        strategy=Stubborn(),
        broker=SimulationBroker(10_000),
        limits=fallen(0.1, "flatten"),
    ).run()
    assert result.holdings.is_empty()
    when = result.equity["timestamp"]
    exits = result.fills.filter(side="sell")
    assert exits["asset_id"].to_list() == ["A", "B"]
    assert exits["timestamp"].to_list() == [when[3], when[5]]
    assert halts(result) == 1


def test_a_closing_order_waits_for_its_bar() -> None:
    """One is enough, however long that takes; a stop may be faster."""
    rows = [
        f"{bar} {asset} {price} {price} {price} {price}"
        for bar, price in enumerate((100, 100, 80, 80, 80, 80))
        for asset in "AB"
        if asset == "A" or bar not in (3, 4)
    ]
    orders = "@0 buy 30 A\n@0 buy 30 B"
    result = guarded(fallen(0.1, "flatten"), orders, bars="\n".join(rows))
    assert statuses(result) == "ffff"
    assert result.fills["timestamp"].to_list()[2:] == [
        result.equity["timestamp"][t] for t in (3, 5)
    ]


def test_after_flattening_only_the_halt_is_left() -> None:
    """The reason no longer speaks of closing, and entries stay refused."""
    result = guarded(fallen(0.04, "flatten"), BUY + "@4 buy 1", bars=FALL)
    assert statuses(result) == "ffr"
    expected = "limit: halted for the rest of the run: drawdown 5.00% is above max_drawdown 4.00%"
    assert reason(result, 3) == expected


def test_a_daily_loss_can_become_a_drawdown() -> None:
    """The first halts a session, the second the run."""
    limits = RiskLimits(max_daily_loss=0.04, max_drawdown=0.08)
    bars = closes(100, 100, 90, 90, 80, 80, 80)
    result = guarded(limits, BUY + "@2 buy 1\n@3 buy 1\n@4 buy 1\n@5 buy 1", bars=bars)
    assert statuses(result) == "frfrr"
    assert halts(result) == 2
    assert "drawdown" in reason(result, 5)


# -- what the result says ----------------------------------------------------------------------


def test_the_first_page_says_so() -> None:
    """How often, and when first."""
    result = guarded(daily(0.04), BUY, bars=closes(100, 100, 90, 81, 81))
    page = " ".join(result.summary().split())
    assert "limits max_daily_loss 0.04, on_breach halt; HALTED 2 times, first at 2024-01-04" in page
    assert result.settings["limits"] == {"max_daily_loss": 0.04, "on_breach": "halt"}


def test_an_engine_runs_twice() -> None:
    """With the same outcome: a guard lives for one run."""
    engine = BacktestEngine(
        parse_bars(FALL),
        strategy=Plan(BUY + "@2 buy 1\n@3 buy 1"),
        broker=SimulationBroker(10_000),
        limits=RiskLimits(max_drawdown=0.04, max_orders_per_minute=1, on_breach="flatten"),
    )
    assert engine.run().fingerprint == engine.run().fingerprint


def test_no_limits_leave_no_trace() -> None:
    """Neither in the settings nor in the summary."""
    result = guarded(None, BUY, bars=FALL)
    assert "limits" not in result.settings
    assert "limits " not in result.summary().replace("limits trust", "")


def test_limits_are_saved_with_a_result(tmp_path: Any) -> None:
    """And read again."""
    limits = RiskLimits(max_daily_loss=0.04, forbidden_assets=["X", "Y"])
    result = guarded(limits, BUY, bars=FALL)
    result.save(tmp_path / "run")
    loaded = BacktestResult.load(tmp_path / "run")
    assert loaded.settings["limits"] == limits.settings()
    assert "forbidden_assets X, Y" in " ".join(loaded.summary().split())
