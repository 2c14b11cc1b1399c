"""The parts that ask for less, or otherwise, than a broker would: each on its own."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ml4t.backtest import (
    BacktestResult,
    BasisPointSlippage,
    CashAtSubmission,
    ConfigError,
    EachLeg,
    FixedSlippage,
    MarketOnly,
    NoCommission,
    NoSlippage,
    OpeningOnly,
    OverdraftAccount,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
    WithinBar,
)
from ml4t.backtest.testing.markets import market_of_bars, ten_bars
from tests.simulation.test_one_by_one import fills, run

Sent = list[tuple[str, float]]


def batch(*orders: tuple[str, float]) -> dict[int, Any]:
    """Market orders decided on bar 1, where the close is 103."""
    return {1: [lambda s, o=order: getattr(s, o[0])("A", o[1]) for order in orders]}


def statuses(result: BacktestResult) -> list[str]:
    """Of the orders, in order of submission."""
    return result.orders["status"].to_list()


# -- cash at submission ----------------------------------------------------------------------


def test_orders_are_paid_in_thought_at_the_last_close() -> None:
    """10,000 pay for 97 at the close of 103, and not for 98; the open is at 103 too."""
    options: dict[str, Any] = {"initial_cash": 10_000.0, "admission": CashAtSubmission()}
    assert statuses(run(batch(("buy", 97)), **options)) == ["filled"]
    result = run(batch(("buy", 98)), **options)
    assert statuses(result) == ["rejected"]
    assert result.orders["reason"][0] == "unaffordable at submission: -94.00 would be left"


def test_commission_counts_at_submission() -> None:
    """97 cost 9,991, and nine more for the order."""
    options: dict[str, Any] = {"initial_cash": 10_000.0, "admission": CashAtSubmission()}
    assert statuses(run(batch(("buy", 97)), commission=PerOrderCommission(9.0), **options)) == [
        "filled"
    ]
    assert statuses(run(batch(("buy", 97)), commission=PerOrderCommission(9.5), **options)) == [
        "rejected"
    ]


@pytest.mark.parametrize(
    ("refused_count", "expected"),
    [
        (False, ["filled", "rejected", "filled", "filled"]),
        (True, ["filled", "rejected", "rejected", "filled"]),
    ],
)
def test_a_refused_order_may_take_others_along(refused_count: Any, expected: list[str]) -> None:
    """60, 60 and 30 with money for 97; then a sale that brings the sum above zero again."""
    admission = CashAtSubmission(refused_count=refused_count)
    orders = batch(("buy", 60), ("buy", 60), ("buy", 30), ("sell", 60))
    account = OverdraftAccount()
    result = run(orders, initial_cash=10_000.0, admission=admission, account=account)
    assert statuses(result) == expected


def test_the_exits_of_a_refused_entry_end_with_it() -> None:
    """They waited for it."""
    plan = {1: [lambda s: s.bracket("A", 98, stop_loss=90.0, take_profit=110.0)]}
    result = run(plan, initial_cash=10_000.0, admission=CashAtSubmission())
    assert statuses(result) == ["rejected", "canceled", "canceled"]


def test_an_exit_that_is_refused_takes_its_bracket_along() -> None:
    """A short sale of 10 brings 1,030; a stop at 110 closes it, and then the target buys 10."""
    plan = {
        1: [
            lambda s: s.bracket("A", -10, stop_loss=110.0, take_profit=95.0),
            lambda s: s.buy("A", 1),
        ]
    }
    options: dict[str, Any] = {"account": OverdraftAccount(), "admission": CashAtSubmission()}
    # 900 + 1,030 - 1,100 - 950 is less than nothing; the target itself costs 950 of 830.
    result = run(plan, initial_cash=900.0, **options)
    assert statuses(result) == ["canceled", "canceled", "rejected", "filled"]
    assert result.orders["reason"][0] == "order 3, which waits for it, was rejected"
    result = run(plan, initial_cash=2_000.0, **options)
    assert statuses(result)[0] == "filled"


def test_orders_are_asked_for_money_at_their_own_prices() -> None:
    """A limit at 90 is paid at 90: 111 units for 10,000."""
    plan = {1: [lambda s: s.buy("A", 111, limit_price=90)]}
    options: dict[str, Any] = {"initial_cash": 10_000.0, "admission": CashAtSubmission()}
    assert statuses(run(plan, **options)) == ["filled"]
    plan = {1: [lambda s: s.buy("A", 112, limit_price=90)]}
    assert statuses(run(plan, **options)) == ["rejected"]


def test_admission_works_at_the_same_close_too() -> None:
    """Orders are asked before they fill at the close they were decided on."""
    options: dict[str, Any] = {"initial_cash": 10_000.0, "admission": CashAtSubmission()}
    result = run(batch(("buy", 98)), fill_at="close", **options)
    assert statuses(result) == ["rejected"]


# -- the overdraft ---------------------------------------------------------------------------


def test_short_sales_bring_cash_that_buys() -> None:
    """1,000 in cash and 50 sold short at 103 pay for 59 more elsewhere, not for 60."""
    bars = ten_bars().vstack(ten_bars("B")).sort("timestamp", "asset_id")

    def plan(units: float) -> dict[int, Any]:
        return {1: [lambda s: s.sell("A", 50)], 2: [lambda s: s.buy("B", units)]}

    options: dict[str, Any] = {"initial_cash": 1_000.0, "account": OverdraftAccount()}
    # 1,000 + 50 * 103 = 6,150; 56 at the open of 108 are 6,048.
    assert statuses(run(plan(56), bars, funding="reject", **options)) == ["filled", "filled"]
    assert statuses(run(plan(57), bars, funding="reject", **options)) == ["filled", "rejected"]
    assert statuses(run(batch(("sell", 50)), funding="reject", initial_cash=1_000.0)) == [
        "rejected"
    ]


@pytest.mark.parametrize(("limit", "status"), [(0, "rejected"), (300, "filled")])
def test_purchases_may_go_below_zero_by_the_limit(limit: float, status: str) -> None:
    """100 at 103 cost 10,300."""
    account = OverdraftAccount(limit)
    result = run(batch(("buy", 100)), initial_cash=10_000.0, account=account, funding="reject")
    assert statuses(result) == [status]
    if status == "filled":
        assert result.equity["cash"][-1] == -300.0


def test_without_limit_nothing_is_checked() -> None:
    """A hundred times the money."""
    account = OverdraftAccount(math.inf)
    assert statuses(run(batch(("buy", 10_000)), initial_cash=10_300.0, account=account)) == [
        "filled"
    ]


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_without_equity_may_go_on(ends: Any) -> None:
    """300 for 10,000 from 103 to 60: 12,900 are lost."""
    bars = market_of_bars([(103,) * 4] * 3 + [(60,) * 4] * 3)
    account = OverdraftAccount(math.inf, ends_at_zero=ends)
    result = run(batch(("buy", 300)), bars, initial_cash=10_000.0, account=account)
    assert result.equity.height == (4 if ends else 6)
    assert result.equity["equity"][-1] == 10_000.0 - 300 * 43
    assert result.holdings.is_empty() is ends


@pytest.mark.parametrize(
    ("arguments", "options"), [((-1,), {}), (("1",), {}), ((math.nan,), {}), ((), {"ends": 1})]
)
def test_an_overdraft_is_a_number(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    """From zero on."""
    named = {"ends_at_zero": options["ends"]} if options else {}
    with pytest.raises(ConfigError, match="OverdraftAccount"):
        OverdraftAccount(*arguments, **named)


@pytest.mark.parametrize(
    ("paid", "funding", "expected"),
    [(False, "scale", 60.0), (True, "scale", 20.0), (True, "reject", 0.0)],
)
def test_a_cover_may_have_to_be_paid(paid: Any, funding: Any, expected: float) -> None:
    """60 short at 100 bring 6,000, which go into B; the cover at 50 has the 1,000 there were."""
    bars = market_of_bars([(100,) * 4] * 3 + [(50,) * 4] * 3)
    bars = bars.vstack(bars.with_columns(asset_id=bars["asset_id"].replace("A", "B")))
    plan = {
        0: [lambda s: s.sell("A", 60)],
        1: [lambda s: s.buy("B", 60)],
        3: [lambda s: s.close_position("A")],
    }
    account = OverdraftAccount(covers_are_paid=paid)
    options: dict[str, Any] = {"account": account, "funding": funding, "initial_cash": 1_000.0}
    found = run(plan, bars.sort("timestamp", "asset_id"), **options)
    assert found.fills.filter(asset_id="A", side="buy")["quantity"].sum() == expected
    statuses_of = {60.0: "filled", 20.0: "canceled", 0.0: "rejected"}
    assert statuses(found)[-1] == statuses_of[expected]
    assert (found.equity["cash"][-1] < 0.0) is not paid


def test_a_cover_that_is_filled_whole_or_not_at_all_is_not_cut() -> None:
    """There is money for six of ten."""
    bars = market_of_bars([(100,) * 4] * 3 + [(200,) * 4] * 3)
    plan = {0: [lambda s: s.sell("A", 10)], 3: [lambda s: s.buy("A", 10, time_in_force="fok")]}
    account = OverdraftAccount(covers_are_paid=True)
    found = run(plan, bars, account=account, initial_cash=200.0)
    assert statuses(found) == ["filled", "canceled"]
    assert found.orders["reason"][1] == "fill or kill: 6 of 10 could be filled"


def test_the_overdraft_pays_for_covers_too() -> None:
    """500 more than there is: at 50, ten units."""
    bars = market_of_bars([(100,) * 4] * 3 + [(200,) * 4] * 3)
    plan = {0: [lambda s: s.sell("A", 10)], 3: [lambda s: s.close_position("A")]}
    for limit, units in ((0.0, 6.0), (400.0, 8.0), (900.0, 10.0)):
        account = OverdraftAccount(limit, covers_are_paid=True)
        found = run(plan, bars, account=account, initial_cash=200.0)
        assert found.fills["quantity"].to_list() == [10.0, units]


def test_what_noise_leaves_of_the_cash_buys_nothing() -> None:
    """All of it is spent in fractions, and then there is a second purchase."""
    bars = market_of_bars([(70.1,) * 4] * 3 + [(0.3,) * 4] * 4)
    plan = {0: [lambda s: s.buy("A", 1_000)], 3: [lambda s: s.buy("A", 1_000)]}
    for cash in (1_000.0, 1_000.1, 777.7, 12_345.67):
        options: dict[str, Any] = {"fractional": True, "commission": PercentCommission(0.001)}
        found = run(plan, bars, initial_cash=cash, **options)
        assert found.fills.height == 1
        assert found.fills["quantity"][0] == pytest.approx(cash / 70.1 / 1.001)


# -- costs -----------------------------------------------------------------------------------


def test_slippage_stays_within_the_bar() -> None:
    """Bar 7 has one price, bar 2 goes from 102 to 105: five percent of 103 are cut at 105."""
    slippage = WithinBar(BasisPointSlippage(500))
    assert fills(run(batch(("buy", 10)), slippage=slippage)) == [(2, "buy", 10.0, 105.0)]
    assert fills(run({6: [lambda s: s.sell("A", 10)]}, slippage=slippage)) == [
        (7, "sell", 10.0, 102.0)
    ]
    small = WithinBar(FixedSlippage(0.25))
    assert fills(run(batch(("buy", 10)), slippage=small)) == [(2, "buy", 10.0, 103.25)]


def test_slippage_of_openings_leaves_exits_alone() -> None:
    """Bought a quarter above the open of 103, closed at the open of 108."""
    plan = {1: [lambda s: s.buy("A", 10)], 2: [lambda s: s.close_position("A")]}
    found = fills(run(plan, slippage=OpeningOnly(FixedSlippage(0.25))))
    assert found == [(2, "buy", 10.0, 103.25), (3, "sell", 10.0, 108.0)]


def test_slippage_of_openings_is_for_what_opens() -> None:
    """25 sold at 104 against 10: ten at 104, fifteen at 103; and then 15 bought back at 109."""
    plan = {
        0: [lambda s: s.buy("A", 10)],
        2: [lambda s: s.sell("A", 25)],
        4: [lambda s: s.buy("A", 15)],
    }
    opens = (100.0, 102.0, 103.0, 104.0, 105.0, 109.0)
    frame = market_of_bars([(price, price + 1.0, price - 1.0, price) for price in opens])
    result = run(plan, frame, slippage=OpeningOnly(FixedSlippage(1.0)))
    prices = result.fills["price"].to_list()
    assert prices == [103.0, pytest.approx((10 * 104.0 + 15 * 103.0) / 25), 109.0]


def test_the_opening_part_is_paid_for_at_its_own_price() -> None:
    """10 sold short at 99 and 21 bought at 100: 11 of them are paid with 101 each, 1,111."""
    plan = {0: [lambda s: s.sell("A", 10)], 1: [lambda s: s.buy("A", 21)]}
    frame = market_of_bars([(100.0, 101.0, 99.0, 100.0)] * 4)
    parts: dict[str, Any] = {
        "slippage": OpeningOnly(FixedSlippage(1.0)),
        "funding": "reject",
        "account": OverdraftAccount(),
    }
    # After the sale 990 more, after the closing 1,000 less.
    assert statuses(run(plan, frame, initial_cash=1_121.0, **parts)) == ["filled", "filled"]
    assert statuses(run(plan, frame, initial_cash=1_120.0, **parts)) == ["filled", "canceled"]


def test_a_wrapped_slippage_is_started() -> None:
    """One with state forgets the run before."""

    class Growing:
        def __init__(self) -> None:
            self.started = 0

        def start(self) -> None:
            self.started += 1

        def __call__(self, order: Any, bar: Any, quantity: float) -> float:
            return float(bar.reference)

    inner = Growing()
    run(batch(("buy", 1)), slippage=WithinBar(NoSlippage() + inner))
    assert inner.started >= 1


def test_slippage_of_market_orders_leaves_levels_alone() -> None:
    """Bought a quarter above the open of 108, stopped at 96 exactly."""
    plan = {2: [lambda s: s.bracket("A", 10, stop_loss=96)]}
    found = fills(run(plan, slippage=MarketOnly(FixedSlippage(0.25))))
    assert found == [(3, "buy", 10.0, 108.25), (4, "sell", 10.0, 96.0)]


@pytest.mark.parametrize("part", [WithinBar, OpeningOnly, MarketOnly])
@pytest.mark.parametrize("inner", [NoSlippage, 5])
def test_wrapped_slippages_must_be_objects(part: Any, inner: Any) -> None:
    """Neither a class nor a number."""
    with pytest.raises(ConfigError, match=part.__name__):
        part(inner)


def test_each_leg_pays_its_own_minimum() -> None:
    """From 10 long to 20 short: the sale of 30 is one fill, and two minimums."""
    plan = {1: [lambda s: s.buy("A", 10)], 2: [lambda s: s.sell("A", 30)]}
    plain = PerShareCommission(0.01, 2.0)
    for commission, expected in ((plain, [2.0, 2.0]), (EachLeg(plain), [2.0, 4.0])):
        assert run(plan, commission=commission).fills["commission"].to_list() == expected
    percent = run(plan, commission=EachLeg(PercentCommission(0.01)))
    assert percent.fills["commission"].to_list() == pytest.approx([10.3, 32.4])


def test_each_leg_is_counted_where_money_is_asked_for() -> None:
    """At the fill and at submission: a flip that leaves just less than its second minimum."""
    plan = {1: [lambda s: s.sell("A", 10)], 6: [lambda s: s.buy("A", 20)]}
    # 10 sold at 103 bring 1,030 less 2; 20 at 103 cost 2,060 and 4.
    options: dict[str, Any] = {
        "commission": EachLeg(PerOrderCommission(2.0)),
        "account": OverdraftAccount(),
        "funding": "reject",
    }
    for cash, status in ((1_036.0, "filled"), (1_035.0, "rejected")):
        admitted = run(plan, ten_flat(), initial_cash=cash, admission=CashAtSubmission(), **options)
        assert statuses(admitted) == ["filled", status]
    refused = run(plan, ten_flat(), initial_cash=1_035.0, **options)
    assert statuses(refused) == ["filled", "canceled"]  # closed, and opened nothing


def ten_flat() -> Any:
    """Ten bars at 103."""
    return market_of_bars([(103,) * 4] * 10)


@pytest.mark.parametrize("inner", [NoCommission, 5])
def test_each_leg_takes_an_object(inner: Any) -> None:
    """Neither a class nor a number."""
    with pytest.raises(ConfigError, match="EachLeg"):
        EachLeg(inner)


def test_each_leg_refuses_a_commission_with_a_memory() -> None:
    """It would remember the wrong fills."""

    class Counting:
        def on_fill(self, *fill: Any) -> None:
            """A fill."""

        def __call__(self, *fill: Any) -> float:
            return 0.0

    with pytest.raises(ConfigError, match="memory"):
        EachLeg(Counting())
