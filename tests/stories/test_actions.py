"""Corporate actions, each worked out by hand: on positions, orders, money, trades and the past."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Broker,
    ConfigError,
    DataError,
    Instrument,
    OrderEvent,
    PercentCommission,
    SimulationBroker,
)
from ml4t.backtest.testing.markets import weekdays
from tests.stories.plan import EventFeed, Plan, parse_bars, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FLAT = """
    0    100 100 100 100
    1    100 100 100 100
    2    100 100 100 100
    3    100 100 100 100
"""

# Two for one with bar 2.
SPLIT = """
    0    100 100 100 100
    1    100 104  98 102
    2     51  53  50  52
    3     52  56  50  54
"""


def parse_actions(text: str, times: list[Any]) -> pl.DataFrame:
    """A table from lines of <bar> <kind> <asset> [ratio <n>] [amount <money>] [to <asset>]."""
    table = []
    for bar, kind, asset, *rest in rows(text):
        given = dict(zip(rest[::2], rest[1::2], strict=True))
        table.append(
            {
                "timestamp": times[int(bar)],
                "asset_id": asset,
                "kind": kind,
                "ratio": float(given["ratio"]) if "ratio" in given else None,
                "amount": float(given["amount"]) if "amount" in given else None,
                "new_asset_id": given.get("to"),
            }
        )
    numbers = {"ratio": pl.Float64, "amount": pl.Float64, "new_asset_id": pl.String}
    return pl.DataFrame(table, schema_overrides=numbers)


def happen(
    actions: str,
    orders: str = "",
    *,
    bars: str = FLAT,
    acts: Callable[[Plan, int], Any] | None = None,
    cash: float = 10_000.0,
    feed: Callable[[pl.DataFrame], Any] | None = None,
    **broker: Any,
) -> BacktestResult:
    """Run orders through actions."""
    data = parse_bars(bars)
    table = parse_actions(actions, weekdays(data["timestamp"].n_unique() + 5))
    return BacktestEngine(
        data if feed is None else feed(data),
        strategy=Plan(orders, acts),
        actions=table,
        broker=SimulationBroker(cash, **broker),
    ).run()


def flows(result: BacktestResult) -> list[Any]:
    """What was paid without a trade."""
    return result.cashflows.select("kind", "asset_id", "amount").rows()


def held(result: BacktestResult) -> dict[str, float]:
    """What is held at the end."""
    return dict(result.holdings.select("asset_id", "quantity").iter_rows())


def trade(result: BacktestResult) -> dict[str, Any]:
    """The only trade."""
    assert result.trades.height == 1
    return result.trades.row(0, named=True)


# -- dividends -------------------------------------------------------------------------------


def test_a_long_receives_a_dividend() -> None:
    """10 shares at 0.50 are 5, in cash with the bar of the ex-date, and in the trade's P&L."""
    result = happen("2 dividend A amount 0.5", "@0 buy 10")
    assert result.equity["cash"].to_list() == [10_000, 9_000, 9_005, 9_005]
    assert result.equity["equity"].to_list() == [10_000, 10_000, 10_005, 10_005]
    assert flows(result) == [("dividend", "A", 5.0)]
    assert (trade(result)["financing"], trade(result)["pnl"]) == (5.0, 5.0)
    assert result.record.counts["actions_applied"] == 1


def test_a_short_pays_a_dividend() -> None:
    """10 short at 0.50 cost 5."""
    result = happen("2 dividend A amount 0.5", "@0 sell 10")
    assert flows(result) == [("dividend", "A", -5.0)]
    assert result.final_equity == 9_995.0
    assert (trade(result)["financing"], trade(result)["pnl"]) == (-5.0, -5.0)


def test_who_buys_on_the_ex_date_has_no_dividend() -> None:
    """It is due on what was held before the bar: the order of bar 1 fills in bar 2, too late."""
    assert flows(happen("2 dividend A amount 0.5", "@1 buy 10")) == []


def test_who_sells_on_the_ex_date_has_it() -> None:
    """Sold at the open of the ex-date; the dividend belongs to the trade that ends with it."""
    result = happen("2 dividend A amount 0.5", "@0 buy 10\n@1 sell 10")
    assert flows(result) == [("dividend", "A", 5.0)]
    assert (trade(result)["status"], trade(result)["pnl"]) == ("closed", 5.0)


def test_a_dividend_pays_for_an_order_of_the_same_bar() -> None:
    """Fully invested, 100 of dividend buy one more share at the open of the ex-date."""
    result = happen("2 dividend A amount 1", "@0 buy 100\n@1 buy 5")
    assert result.fills["quantity"].to_list() == [100, 1]
    assert result.equity["cash"].to_list()[-1] == 0.0


def test_a_dividend_of_a_future_counts_its_multiplier() -> None:
    """Money per unit of price, times 50."""
    instruments = [Instrument(asset_id="A", multiplier=50.0)]
    result = happen("2 dividend A amount 0.5", "@0 buy 1", instruments=instruments)
    assert flows(result) == [("dividend", "A", 25.0)]


def test_two_dividends_of_one_day() -> None:
    """A regular and a special one."""
    result = happen("2 dividend A amount 0.5\n2 dividend A amount 3", "@0 buy 10")
    assert flows(result) == [("dividend", "A", 5.0), ("dividend", "A", 30.0)]


def test_a_spinoff_pays_its_value() -> None:
    """What the shares of the new company are worth, in cash."""
    result = happen("2 spinoff A amount 7", "@0 buy 10")
    assert flows(result) == [("spinoff", "A", 70.0)]
    assert trade(result)["pnl"] == 70.0


def test_a_dividend_at_the_first_bar_finds_nothing_and_at_the_last_pays() -> None:
    """Bar 0 has no position before it; bar 3 is as good as any."""
    result = happen("0 dividend A amount 9\n3 dividend A amount 1", "@0 buy 10")
    assert flows(result) == [("dividend", "A", 10.0)]
    assert result.record.counts["actions_applied"] == 2


def test_what_lies_outside_of_the_run_is_ignored_and_counted() -> None:
    """One before `start`, one after the last bar."""
    data = parse_bars(FLAT)
    days = weekdays(8)
    table = parse_actions(
        "0 dividend A amount 1\n2 dividend A amount 2\n6 dividend A amount 4", days
    )
    result = BacktestEngine(data, strategy=Plan("@0 buy 10"), actions=table, start=days[1]).run()
    assert flows(result) == []  # bought in bar 2
    assert result.record.counts["actions_applied"] == 1
    assert result.record.counts["actions_ignored"] == 2
    assert "1 took effect, 2 outside of the run" in result.summary()


# -- splits ----------------------------------------------------------------------------------


def test_a_split_of_a_long() -> None:
    """10 at 100 become 20 at 50; equity follows the price alone: 10,020 at 102, 10,040 at 52."""
    seen: list[Any] = []

    def look(plan: Plan, step: int) -> None:
        seen.append((step, plan.get_position("A"), plan.get_entry_price("A")))

    result = happen("2 split A ratio 2", "@0 buy 10", bars=SPLIT, acts=look)
    assert result.equity["equity"].to_list() == [10_000, 10_020, 10_040, 10_080]
    assert result.equity["cash"].to_list() == [10_000, 9_000, 9_000, 9_000]
    assert seen[1:] == [(1, 10.0, 100.0), (2, 20.0, 50.0), (3, 20.0, 50.0)]
    assert result.fills["quantity"].to_list() == [10]
    assert held(result) == {"A": 20.0}
    assert result.positions.select("quantity", "entry_price").rows() == [(10, 100), (20, 50)]
    assert result.holdings["unrealized_pnl"].to_list() == [80.0]
    found = result.adjustments.row(0, named=True)
    assert (found["kind"], found["ratio"], found["fill_id"]) == ("split", 2.0, 1)
    assert (found["quantity_before"], found["quantity"]) == (10.0, 20.0)


def test_a_trade_across_a_split_is_told_in_the_units_of_its_entry() -> None:
    """10 bought at 100, sold as 20 at 52: as if 10 at 104, P&L 40; highest 106, lowest 98."""
    result = happen("2 split A ratio 2", "@0 buy 10\n@2 sell 20", bars=SPLIT)
    row = trade(result)
    assert (row["quantity"], row["entry_price"], row["exit_price"]) == (10.0, 100.0, 104.0)
    assert (row["pnl"], row["gross_pnl"], row["return_pct"]) == (40.0, 40.0, 0.04)
    assert (row["mfe"], row["mae"]) == (pytest.approx(0.06), pytest.approx(-0.02))
    assert row["bars_held"] == 2
    assert result.fills.select("quantity", "price").rows() == [(10, 100), (20, 52)]


def test_a_split_of_a_short() -> None:
    """10 short at 100 become 20 short; bought back at 52 they lose 40."""
    result = happen("2 split A ratio 2", "@0 sell 10\n@2 buy 20", bars=SPLIT)
    assert result.equity["equity"].to_list() == [10_000, 9_980, 9_960, 9_960]
    row = trade(result)
    assert (row["side"], row["exit_price"], row["pnl"]) == ("short", 104.0, -40.0)


def test_a_position_added_to_after_a_split() -> None:
    """10 at 100, then 20 of the new at 52: in old units 20 at an average of 102."""
    result = happen("2 split A ratio 2", "@0 buy 10\n@2 buy 20", bars=SPLIT)
    row = trade(result)
    assert (row["quantity"], row["entry_price"]) == (20.0, 102.0)
    assert row["pnl"] == 40 * 54 - 1_000 - 1_040
    assert result.positions["entry_price"].to_list() == [100.0, 50.0, 51.0]


def test_a_partial_exit_before_and_another_after_a_split() -> None:
    """4 of 10 sold at 100, 12 of the new at 52, none left: pnl is 12 * 52 - 6 * 100 = 24."""
    bars = FLAT.replace("3    100 100 100 100", "3 52 52 52 52").replace(
        "2    100 100 100 100", "2 100 100 100 100"
    )
    result = happen("3 split A ratio 2", "@0 buy 10\n@1 sell 4\n@2 sell 6", bars=bars)
    row = trade(result)
    assert result.fills["quantity"].to_list() == [10, 4, 12]
    assert (row["pnl"], row["quantity"], row["status"]) == (24.0, 10.0, "closed")
    assert row["exit_price"] == pytest.approx((4 * 100 + 6 * 104) / 10)


def test_a_reverse_split_pays_the_fraction_in_cash() -> None:
    """25 at 102 before become 2.5: 2 and half a share at 1,020."""
    bars = """
        0    100 100 100 100
        1    100 104  98 102
        2   1030 1040 1000 1010
    """
    result = happen("2 split A ratio 0.1", "@0 buy 25", bars=bars)
    assert flows(result) == [("cash_in_lieu", "A", pytest.approx(510.0))]
    assert held(result) == {"A": 2.0}
    assert result.equity["cash"].to_list() == [10_000, 7_500, pytest.approx(8_010)]
    assert trade(result)["pnl"] == pytest.approx(510 + 2 * 1_010 - 2_500)


def test_a_short_pays_for_the_fraction() -> None:
    """25 short become 2 short; the half is bought back at 1,020."""
    bars = "0 100 100 100 100\n1 100 104 98 102\n2 1030 1040 1000 1010"
    result = happen("2 split A ratio 0.1", "@0 sell 25", bars=bars)
    assert flows(result) == [("cash_in_lieu", "A", pytest.approx(-510.0))]
    assert held(result) == {"A": -2.0}


def test_a_position_that_becomes_less_than_a_share_is_paid_out() -> None:
    """5 become half a share: 510 in cash, and the trade is over without an exit price."""
    bars = "0 100 100 100 100\n1 100 104 98 102\n2 1030 1040 1000 1010\n3 1 1 1 1"
    result = happen("2 split A ratio 0.1", "@0 buy 5", bars=bars)
    assert held(result) == {}
    assert result.final_equity == pytest.approx(10_010.0)
    row = trade(result)
    assert (row["status"], row["exit_reason"], row["exit_price"]) == (
        "closed",
        "cash_in_lieu",
        None,
    )
    assert row["exit_time"] == weekdays(3)[2]
    assert row["pnl"] == pytest.approx(10.0)


def test_a_new_trade_after_one_that_was_paid_out() -> None:
    """What is bought after it is another trade."""
    bars = "0 100 100 100 100\n1 100 104 98 102\n2 1030 1040 1000 1010\n3 1000 1000 1000 1000"
    result = happen("2 split A ratio 0.1", "@0 buy 5\n@2 buy 3", bars=bars)
    assert result.trades.select("status", "quantity", "entry_price").rows() == [
        ("closed", 5.0, 100.0),
        ("open", 3.0, 1000.0),
    ]


def test_fractional_lots_keep_the_fraction() -> None:
    """25 become 2.5, and nothing is paid."""
    bars = "0 100 100 100 100\n1 100 104 98 102\n2 1030 1040 1000 1010"
    result = happen("2 split A ratio 0.1", "@0 buy 25", bars=bars, fractional=True)
    assert held(result) == {"A": 2.5}
    assert flows(result) == []


def test_open_orders_follow_a_split() -> None:
    """A limit of 96 for 10 becomes one of 48 for 20, a stop of 110 one of 55, and so they fill."""
    seen: list[Any] = []

    def look(plan: Plan, step: int) -> None:
        orders = plan.get_open_orders("A")
        seen.append([(o.quantity, o.limit_price, o.stop_price) for o in orders])

    bars = SPLIT + "    4     50  51  47  49\n"
    result = happen(
        "2 split A ratio 2", "@0 buy 10 limit 96\n@0 buy 3 stop 110", bars=bars, acts=look
    )
    assert seen[1] == [(10.0, 96.0, None), (3.0, None, 110.0)]
    assert seen[2] == [(20.0, 48.0, None), (6.0, None, 55.0)]
    assert result.fills.select("quantity", "price", "reason").rows() == [
        (6, 55, "stop"),
        (20, 48, "limit"),
    ]
    # The record shows orders as they stood at the end.
    assert result.orders.select("quantity", "limit_price", "stop_price").rows() == [
        (20, 48, None),
        (6, None, 55),
    ]


def test_a_market_order_of_the_day_before_follows_a_split() -> None:
    """10 decided at 102 are 20 at the open of 51."""
    result = happen("2 split A ratio 2", "@1 buy 10", bars=SPLIT)
    assert result.fills.select("quantity", "price").rows() == [(20, 51)]
    assert result.adjustments.select("quantity_before", "quantity").rows() == [(0, 0)]


def test_a_whole_basket_follows_a_split() -> None:
    """A rebalance decided before the split trades at its terms."""

    def rebalance(plan: Plan, step: int) -> None:
        if step == 1:
            plan.rebalance_to_weights({"A": 1.0})

    result = happen("2 split A ratio 2", bars=SPLIT, acts=rebalance)
    assert result.fills.select("quantity", "price").rows() == [(196, 51)]


def test_an_order_that_becomes_less_than_a_lot_ends() -> None:
    """3 become 0.3: there is nothing left to order, and the order says so."""
    bars = "0 100 100 100 100\n1 100 104 98 102\n2 1030 1040 1000 1010"
    result = happen("2 split A ratio 0.1", "@0 buy 3 limit 50", bars=bars)
    assert result.orders.select("status", "reason").rows() == [
        ("canceled", "below one lot after the split")
    ]


def test_a_protective_stop_follows_a_split() -> None:
    """Ten percent below 100 is 90, and 45 afterwards; it sells all 20."""
    bars = SPLIT + "    4     50  51  44  46\n"

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss(percent=0.1)

    result = happen("2 split A ratio 2", "@0 buy 10", bars=bars, acts=protect)
    assert result.fills.select("quantity", "price").rows() == [(10, 100), (20, 45)]
    assert held(result) == {}


def test_a_trailing_stop_follows_a_split() -> None:
    """Five behind the best of 104 is 99, in new terms 49.50, and then 2.50 behind 53."""
    bars = SPLIT.replace("3     52  56  50  54", "3     52  52  50  51")

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_trailing_stop(amount=5.0)

    result = happen("2 split A ratio 2", "@0 buy 10", bars=bars, acts=protect)
    assert result.fills.select("quantity", "price").rows() == [(10, 100), (20, 50.5)]


def test_a_rule_in_money_follows_a_split() -> None:
    """Ten under 100 is 90, then 45; five under the average of 51 after more at 52 is 46."""

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss("A", amount=10.0)

    result = happen("2 split A ratio 2", "@0 buy 10\n@2 buy 20", bars=SPLIT, acts=protect)
    assert result.orders.filter(pl.col("type") == "stop")["stop_price"].to_list() == [46.0]
    again = happen(
        "2 split A ratio 2", "@0 buy 10\n@1 sell 10\n@2 buy 20", bars=SPLIT, acts=protect
    )  # the next position's stop is in new terms, too
    assert again.orders.filter(pl.col("type") == "stop")["stop_price"].to_list()[-1] == 47.0


def test_a_bracket_that_waits_follows_a_split() -> None:
    """The entry has not filled; its stop and target are restated with it."""

    def order(plan: Plan, step: int) -> None:
        if step == 0:
            plan.bracket("A", 10, limit_price=96.0, stop_loss=90.0, take_profit=120.0)

    bars = SPLIT + "    4     48  51  47  49\n    5     50  61  49  60\n"
    result = happen("2 split A ratio 2", bars=bars, acts=order)
    assert result.fills.select("quantity", "price").rows() == [(20, 48), (20, 60)]


def test_the_past_is_told_in_new_terms_from_the_split_on() -> None:
    """Prices before are halved and volumes doubled, and not a bar earlier."""
    seen: dict[int, Any] = {}

    def look(plan: Plan, step: int) -> None:
        closes = plan.history("A", 4).tolist()
        volumes = plan.history("A", 4, "volume").tolist()
        matrix = plan.history(n=4, field="open")[:, 0].tolist()
        seen[step] = closes, volumes, matrix

    happen("2 split A ratio 2", bars=SPLIT, acts=look)
    assert seen[1] == ([100, 102], [1_000, 1_000], [100, 100])
    assert seen[2] == ([50, 51, 52], [2_000, 2_000, 1_000], [50, 50, 51])
    assert seen[3] == ([50, 51, 52, 54], [2_000, 2_000, 1_000, 1_000], [50, 50, 51, 52])


def test_signals_are_left_alone() -> None:
    """A split says nothing about a prediction, now or in the past."""
    data = parse_bars(SPLIT).with_columns(score=pl.int_range(pl.len()).cast(pl.Float64))
    seen = []
    table = parse_actions("2 split A ratio 2", weekdays(4))
    plan = Plan("", lambda plan, step: seen.append(plan.history("A", 4, "score").tolist()))
    BacktestEngine(data, strategy=plan, actions=table).run()
    assert seen[-1] == [0.0, 1.0, 2.0, 3.0]


def test_a_dividend_and_a_split_of_one_day() -> None:
    """The dividend is per share as held before: 10 shares at 1, and then they become 20."""
    result = happen("2 split A ratio 2\n2 dividend A amount 1", "@0 buy 10", bars=SPLIT)
    assert flows(result) == [("dividend", "A", 10.0)]
    assert held(result) == {"A": 20.0}


def test_two_splits() -> None:
    """2 for 1, and the next day 3 for 1: 10 become 60."""
    bars = "0 600 600 600 600\n1 600 600 600 600\n2 300 300 300 300\n3 100 110 90 100"
    seen: list[Any] = []
    result = happen(
        "2 split A ratio 2\n3 split A ratio 3",
        "@0 buy 10",
        bars=bars,
        acts=lambda plan, step: seen.append(plan.history("A", 9).tolist()),
    )
    assert held(result) == {"A": 60.0}
    assert result.equity["equity"].to_list() == [10_000] * 4
    assert seen[-1] == [100.0] * 4
    row = trade(result)
    assert (row["entry_price"], row["quantity"], row["mfe"]) == (600.0, 10.0, pytest.approx(0.1))


def test_commission_is_paid_for_trades_alone() -> None:
    """A split costs nothing."""
    result = happen(
        "2 split A ratio 2", "@0 buy 10", bars=SPLIT, commission=PercentCommission(0.01)
    )
    assert result.commission == 10.0


# -- without a bar that day -------------------------------------------------------------------


GAP = """
    0    100 100 100 100
    0 B  10 10 10 10
    1    100 104  98 102
    1 B  10 10 10 10
    2 B  10 10 10 10
    3     51  53  50  52
    3 B  10 10 10 10
"""


def test_an_action_waits_for_the_next_bar_of_its_asset() -> None:
    """A has no bar on day 2: the split and the dividend come with the bar of day 3."""
    result = happen("2 split A ratio 2\n2 dividend A amount 1", "@0 buy 10", bars=GAP)
    assert result.equity["equity"].to_list() == [10_000, 10_020, 10_020, 10_050]
    assert result.adjustments["timestamp"].to_list() == [weekdays(4)[3]]


def test_an_asset_that_was_not_there_before_has_nothing_to_adjust() -> None:
    """B has its first bar with the split: the order from before keeps its quantity."""
    bars = "0 100 100 100 100\n1 100 100 100 100\n1 B 10 10 10 10\n2 B 10 10 10 10"
    result = happen("0 split B ratio 2", "@0 buy 10 B", bars=bars)
    assert result.fills.select("asset_id", "quantity").rows() == [("B", 10)]


# -- delisting -------------------------------------------------------------------------------


GONE = """
    0    100 100 100 100
    0 B  10 10 10 10
    1    100 104  98 102
    1 B  10 10 10 10
    2    102 103 101 101
    2 B  10 10 10 10
    3 B  10 10 10 10
    4 B  10 10 10 10
"""


@pytest.mark.parametrize("day", [2, 3], ids=["its last day", "the day after"])
def test_a_delisting_closes_at_the_last_price(day: int) -> None:
    """Whether it is dated with the last bar or after it: sold at 101 on day 3, free of charge."""
    result = happen(
        f"{day} delisting A",
        "@0 buy 10\n@1 sell 10 limit 200",
        bars=GONE,
        commission=PercentCommission(0.01),
    )
    last = result.fills.row(-1, named=True)
    assert (last["timestamp"], last["price"], last["reason"]) == (weekdays(4)[3], 101.0, "delisted")
    assert (last["quantity"], last["commission"]) == (10.0, 0.0)
    assert result.orders.select("status", "reason").rows()[1] == ("canceled", "delisted")
    assert (trade(result)["exit_reason"], trade(result)["pnl"]) == ("delisted", 0.0)
    assert held(result) == {}


@pytest.mark.parametrize(("amount", "pnl"), [(0.0, -1_000.0), (40.0, -600.0)])
def test_a_delisting_at_what_is_left(amount: float, pnl: float) -> None:
    """Worthless, or 40 a share."""
    result = happen(f"3 delisting A amount {amount}", "@0 buy 10", bars=GONE)
    assert trade(result)["pnl"] == pnl
    assert result.final_equity == 10_000 + pnl


def test_a_short_gains_from_a_worthless_delisting() -> None:
    """10 sold at 100 need not be bought back."""
    result = happen("3 delisting A amount 0", "@0 sell 10", bars=GONE)
    assert trade(result)["pnl"] == 1_000.0


def test_a_delisting_after_the_last_bar_is_ignored() -> None:
    """The position is marked, and the action counted as outside."""
    result = happen("3 delisting A", "@0 buy 10")
    assert held(result) == {"A": 10.0}
    assert result.record.counts["actions_ignored"] == 1


def test_a_rule_does_not_outlive_a_delisting() -> None:
    """The protective order goes with the position."""

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss(percent=0.5)

    result = happen("3 delisting A", "@0 buy 10", bars=GONE, acts=protect)
    assert set(result.orders["status"]) == {"filled", "canceled"}


# -- rename ----------------------------------------------------------------------------------


NAMES = """
    0    100 100 100 100
    1    100 104  98 102
    2 B  103 105 101 104
    3 B  104 106 102 105
"""


def test_a_position_goes_on_under_its_new_name() -> None:
    """10 A are 10 B from bar 2; the old name is flat; one trade from 100 to 104."""
    seen: list[Any] = []

    def look(plan: Plan, step: int) -> None:
        seen.append((plan.get_position("A"), plan.get_position("B"), plan.get_entry_price("B")))

    result = happen("2 rename A to B", "@0 buy 10\n@2 sell 10 B", bars=NAMES, acts=look)
    assert seen[2] == (0.0, 10.0, 100.0)
    assert result.equity["equity"].to_list() == [10_000, 10_020, 10_040, 10_040]
    row = trade(result)
    assert (row["asset_id"], row["entry_price"], row["exit_price"]) == ("A", 100.0, 104.0)
    assert (row["pnl"], row["bars_held"]) == (40.0, 2)
    assert (row["mfe"], row["mae"]) == (pytest.approx(0.05), pytest.approx(-0.02))
    assert result.positions.select("asset_id", "quantity").rows() == [
        ("A", 10),
        ("A", 0),
        ("B", 10),
        ("B", 0),
    ]


def test_orders_and_past_go_on_under_the_new_name() -> None:
    """The limit at 101 fills in B; B's past is A's, and A's is over."""
    seen: dict[int, Any] = {}

    def look(plan: Plan, step: int) -> None:
        matrix = plan.history(n=4)[:, 0].tolist()
        seen[step] = plan.history("B", 9).tolist(), plan.history("A", 9).tolist(), matrix

    result = happen("2 rename A to B", "@1 buy 10 limit 101", bars=NAMES, acts=look)
    assert result.fills.select("asset_id", "price").rows() == [("B", 101)]
    assert result.orders["asset_id"].to_list() == ["B"]
    assert seen[1][0] == []
    assert seen[3] == ([100, 102, 104, 105], [], [100, 102, 104, 105])


def test_a_rule_goes_on_under_the_new_name() -> None:
    """A stop-loss of ten percent below 100 sells B at 90."""
    bars = NAMES + "    4 B 95 96 89 92\n"

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss("A", percent=0.1)

    result = happen("2 rename A to B", "@0 buy 10", bars=bars, acts=protect)
    assert result.fills.select("asset_id", "price").rows() == [("A", 100), ("B", 90)]


def test_a_new_name_with_a_ratio() -> None:
    """A merger into shares: 25 A are 12.5 B; 12, and half a share at 204."""
    bars = NAMES.replace("2 B  103 105 101 104", "2 B  206 210 202 208").replace(
        "3 B  104 106 102 105", "3 B  208 212 204 210"
    )
    seen: list[Any] = []
    result = happen(
        "2 rename A to B ratio 0.5",
        "@0 buy 25",
        bars=bars,
        acts=lambda plan, step: seen.append(plan.history("B", 9).tolist()),
    )
    assert flows(result) == [("cash_in_lieu", "B", 102.0)]
    assert held(result) == {"B": 12.0}
    assert seen[-1] == [200.0, 204.0, 208.0, 210.0]
    assert trade(result)["pnl"] == pytest.approx(102 + 12 * 210 - 2_500)


def test_a_dividend_under_either_name() -> None:
    """On the day of the rename the old name still pays, and so does the new one, once each."""
    actions = "2 rename A to B\n2 dividend A amount 1\n3 dividend B amount 2"
    result = happen(actions, "@0 buy 10", bars=NAMES)
    assert flows(result) == [("dividend", "A", 10.0), ("dividend", "B", 20.0)]
    assert trade(result)["financing"] == 30.0


def test_a_merger_of_two_holdings() -> None:
    """A becomes B, and B is held: A is sold at its last price of 102, B grows by as much."""
    bars = GAP.replace("3     51  53  50  52\n", "")
    result = happen("2 rename A to B ratio 10", "@0 buy 10\n@0 buy 50 B", bars=bars)
    assert held(result) == {"B": 150.0}
    assert result.fills.select("asset_id", "side", "quantity", "price", "reason").rows()[2:] == [
        ("A", "sell", 10.0, 102.0, "renamed"),
        ("B", "buy", 100.0, pytest.approx(10.2), "renamed"),
    ]
    assert result.trades["pnl"].to_list() == [pytest.approx(20.0), pytest.approx(-20.0)]


def test_rules_after_a_merger_of_two_holdings() -> None:
    """A's stop ends with A; B's guards all of B, five percent under its new average cost."""
    bars = GAP.replace("3     51  53  50  52\n", "")

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss(percent=0.05)

    result = happen("2 rename A to B ratio 10", "@0 buy 10\n@0 buy 50 B", bars=bars, acts=protect)
    assert held(result) == {"B": 150.0}
    stops = result.orders.filter(pl.col("type") == "stop")
    assert stops.select("status", "quantity", "reason").rows() == [
        ("canceled", 100.0, "position closed"),
        ("accepted", 150.0, None),
    ]
    first = result.fills.filter(asset_id="B")["price"][0]
    cost = (50 * first + 100 * 10.2) / 150
    assert stops["stop_price"][1] == pytest.approx(0.95 * cost)


def test_a_long_merges_with_a_short() -> None:
    """What guarded the short has nothing left to reduce."""
    bars = GAP.replace("3     51  53  50  52\n", "")

    def protect(plan: Plan, step: int) -> None:
        if step == 0:
            plan.set_stop_loss("B", percent=0.5)

    result = happen("2 rename A to B ratio 10", "@0 buy 10\n@0 sell 50 B", bars=bars, acts=protect)
    assert held(result) == {"B": 50.0}
    stops = result.orders.filter(pl.col("type") == "stop")
    assert stops.select("side", "status", "quantity").rows() == [
        ("buy", "canceled", 50.0),
        ("sell", "accepted", 50.0),
    ]


def test_a_name_that_moves_on() -> None:
    """A is renamed to B, and C takes the name A on the same day."""
    bars = """
        0   10 10 10 10
        0 C 50 50 50 50
        1   10 10 10 10
        1 C 50 50 50 50
        2   52 52 52 52
        2 B 12 12 12 12
        3   54 54 54 54
        3 B 13 13 13 13
    """
    seen: list[Any] = []
    result = happen(
        "2 rename C to A\n2 rename A to B\n3 dividend A amount 1\n3 dividend B amount 2",
        "@0 buy 10\n@0 buy 20 C",
        bars=bars,
        acts=lambda plan, step: seen.append(
            (plan.history("A", 9).tolist(), plan.history("B", 9).tolist())
        ),
    )
    assert held(result) == {"A": 20.0, "B": 10.0}
    assert seen[-1] == ([50, 50, 52, 54], [10, 10, 12, 13])
    found = {row["asset_id"]: row for row in result.trades.iter_rows(named=True)}
    assert found["A"]["pnl"] == 10 * (13 - 10) + 20
    assert found["C"]["pnl"] == 20 * (54 - 50) + 20


# -- however the data come --------------------------------------------------------------------


@pytest.mark.parametrize("as_events", [False, True])
def test_streamed_data_give_the_same(tmp_path: Path, as_events: bool) -> None:
    """A file, or a feed of events, and every chunk border: one fingerprint."""
    actions = "2 split A ratio 2\n3 dividend A amount 1"

    def to_file(data: pl.DataFrame) -> Any:
        if as_events:
            return EventFeed(data)
        data.write_parquet(tmp_path / "bars.parquet", row_group_size=1)
        return tmp_path / "bars.parquet"

    one = happen(actions, "@0 buy 11\n@1 sell 3 limit 106", bars=SPLIT)
    other = happen(actions, "@0 buy 11\n@1 sell 3 limit 106", bars=SPLIT, feed=to_file)
    assert one.fills.drop("timestamp").rows() == other.fills.drop("timestamp").rows()
    assert one.equity["equity"].to_list() == other.equity["equity"].to_list()
    assert flows(one) == flows(other)
    assert one.adjustments.drop("timestamp").rows() == other.adjustments.drop("timestamp").rows()


def test_a_feed_may_never_name_an_asset_that_has_actions() -> None:
    """Actions of an asset that does not come are ignored, of every kind."""
    kinds = "2 split Z ratio 2\n2 dividend Z amount 1\n2 rename Z to A\n2 delisting Z"
    result = happen(kinds, "@0 buy 10", bars=SPLIT, feed=EventFeed)
    assert result.record.counts["actions_ignored"] == 4


@pytest.mark.parametrize("rows_a_chunk", [1, 2, 3])
def test_chunk_borders_change_nothing(monkeypatch: pytest.MonkeyPatch, rows_a_chunk: int) -> None:
    """The same bits, and the same past, wherever the data are cut."""
    actions = "2 split A ratio 2\n2 dividend A amount 1"

    def told() -> tuple[BacktestResult, list[Any]]:
        seen: list[Any] = []
        result = happen(
            actions,
            "@0 buy 11\n@1 sell 3 limit 106",
            bars=SPLIT,
            acts=lambda plan, step: seen.append(plan.history("A", 3).tolist()),
        )
        return result, seen

    whole, past = told()
    monkeypatch.setattr("ml4t.backtest.clock.CHUNK_ROWS", rows_a_chunk)
    cut, told_past = told()
    assert cut.fingerprint == whole.fingerprint
    assert told_past == past
    assert cut.trades.equals(whole.trades)


def test_a_saved_result_keeps_its_adjustments(tmp_path: Path) -> None:
    """They are in the folder and in the fingerprint."""
    result = happen("2 split A ratio 2", "@0 buy 10", bars=SPLIT)
    result.save(tmp_path / "run")
    loaded = BacktestResult.load(tmp_path / "run")
    assert loaded.adjustments.equals(result.adjustments)
    assert loaded.trades.equals(result.trades)
    assert loaded.fingerprint == result.fingerprint


def test_minutes_and_a_date() -> None:
    """A split dated with a day takes effect with the first bar of that session."""
    times = [
        dt.datetime(2024, 1, 2, 15, 59),
        dt.datetime(2024, 1, 2, 16, 0),
        dt.datetime(2024, 1, 3, 9, 31),
        dt.datetime(2024, 1, 3, 9, 32),
    ]
    table = pl.DataFrame(
        {
            "timestamp": [dt.date(2024, 1, 3)],
            "asset_id": ["A"],
            "kind": ["split"],
            "ratio": [2.0],
        }
    )
    data = parse_bars(SPLIT, times)
    result = BacktestEngine(data, strategy=Plan("@0 buy 10"), actions=table).run()
    assert result.adjustments["timestamp"].to_list() == [times[2]]
    assert result.equity["equity"].to_list() == [100_000, 100_020, 100_040, 100_080]


def test_actions_are_explained() -> None:
    """`explain` tells what happened to the holding without a trade."""
    result = happen("2 split A ratio 2\n2 dividend A amount 1", "@0 buy 10", bars=SPLIT)
    said = result.explain("A", str(weekdays(3)[2]))
    assert "The position went from 10 to 20 at an average cost of 50." in said
    assert "A split gave 2 new units for each old one." in said
    assert "It received 10.00 (dividend)." in said


def test_the_order_hook_hears_of_new_terms() -> None:
    """An order that goes on in new units is told like any other change."""
    heard: list[Any] = []

    class Listening(Plan):
        def on_order_event(self, order: OrderEvent) -> None:
            heard.append((order.status.value, order.quantity, order.limit_price))

    table = parse_actions("2 split A ratio 2", weekdays(4))
    orders = "@1 buy 10 limit 102"
    BacktestEngine(parse_bars(SPLIT), strategy=Listening(orders), actions=table).run()
    assert heard == [("accepted", 10, 102), ("accepted", 20, 51), ("filled", 20, 51)]


def test_a_broker_that_does_not_work_out_actions_says_so() -> None:
    """A real one reports them itself."""

    class Real(SimulationBroker):
        adjust = Broker.adjust

    table = parse_actions("2 split A ratio 2", weekdays(4))
    engine = BacktestEngine(parse_bars(SPLIT), strategy=Plan(""), actions=table, broker=Real())
    with pytest.raises(ConfigError, match=r"Real does not apply corporate actions .split of 'A'"):
        engine.run()


def test_an_engine_runs_its_actions_again() -> None:
    """A second run is the first one again."""
    table = parse_actions("2 split A ratio 2\n3 dividend A amount 1", weekdays(4))
    engine = BacktestEngine(parse_bars(SPLIT), strategy=Plan("@0 buy 10"), actions=table)
    assert engine.run().fingerprint == engine.run().fingerprint


def test_a_table_that_is_refused_leaves_the_broker_free() -> None:
    """The run has not begun; the same broker goes into the next one."""
    broker, data = SimulationBroker(), parse_bars(SPLIT)
    bad = parse_actions("2 split A ratio -2", weekdays(4))
    with pytest.raises(DataError, match="has ratio -2"):
        BacktestEngine(data, strategy=Plan(""), actions=bad, broker=broker).run()
    BacktestEngine(data, strategy=Plan(""), broker=broker).run()


def test_no_actions_leave_no_trace() -> None:
    """Neither counts nor rows, and the fingerprint of a run without the option."""
    plain = BacktestEngine(parse_bars(FLAT), strategy=Plan("@0 buy 10")).run()
    assert "actions_applied" not in plain.record.counts
    assert plain.adjustments.is_empty()
    assert "corporate actions" not in plain.summary()
