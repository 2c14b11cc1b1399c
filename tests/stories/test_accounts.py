"""Settlement, margin, calls, bankruptcy, interest and borrow fees: worked out by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BorrowFee,
    CashAccount,
    Instrument,
    Interest,
    MarginAccount,
    SimulationBroker,
    UnleveragedAccount,
)
from tests.stories.plan import Plan, parse_bars, tell


def flat(*days: int | str, names: str = "AB", price: float = 100.0) -> dict[str, Any]:
    """Bars that never move, on days of June 2024 (numbers) or of any month (texts)."""
    bars = "\n".join(
        f"{i} {name} {price} {price} {price} {price}" for i in range(len(days)) for name in names
    )
    when = [dt.date(2024, 6, d) if isinstance(d, int) else dt.date.fromisoformat(d) for d in days]
    return {"bars": bars, "times": when}


def gaps(*prices: float) -> str:
    """Bars of "A" that open where they close: prices move by gaps alone."""
    return "\n".join(f"{i} {p} {p} {p} {p}" for i, p in enumerate(prices))


def watch(
    question: Any, orders: str, *, bars: str, times: Any = None, cash: float = 10_000.0, **how: Any
) -> list[Any]:
    """What a question about the broker is answered after the decisions of every bar."""
    broker, answers = SimulationBroker(cash, **how), list[Any]()
    plan = Plan(orders, lambda *_: answers.append(question(broker)))
    BacktestEngine(parse_bars(bars, times), strategy=plan, broker=broker).run()
    return answers


def unsettled(orders: str, *days: int | str, **how: Any) -> list[float]:
    """Unsettled cash on every day."""
    return watch(lambda b: b.unsettled_cash, orders, **flat(*days), account=CashAccount(**how))


def flows(result: BacktestResult) -> list[tuple[str, str | None, float]]:
    """Kind, asset and money of what moved without a trade."""
    frame = result.record.cashflows
    return [
        (kind, asset, round(money, 6))
        for kind, asset, money in frame.select("kind", "asset_id", "amount").iter_rows()
    ]


# -- a cash account: settlement ---------------------------------------------------------------


def test_a_cash_account_cannot_sell_short() -> None:
    """What is held can be sold, and not more; the default account would sell 100 short."""
    tell(
        "@0 sell 10\n@1 buy 10\n@2 sell 30",
        "2 buy 10 at 100\n3 sell 10 at 100",
        "1 rejected the account cannot sell short\n3 canceled the account cannot sell short",
        **flat(3, 4, 5, 6, names="A"),
        account=CashAccount(),
    )


def test_a_rebalance_cannot_sell_short_in_a_cash_account() -> None:
    """A basket goes order by order then, and its purchase trades."""
    result = tell(
        "",
        "1 buy 50 B at 100",
        acts=lambda plan, bar: plan.rebalance_to_weights({"A": -0.5, "B": 0.5}) if not bar else 0,
        **flat(3, 4),
        account=CashAccount(),
    )
    assert result.orders["reason"].to_list() == ["the account cannot sell short", None]


def test_a_sale_on_friday_settles_on_monday() -> None:
    """One business day: 2024-06-07 is a Friday. The same money does not buy on that day."""
    tell(
        "@0 buy 100\n@1 sell 100\n@1 buy 100 B\n@2 buy 100 B",
        "1 buy 100 at 100\n2 sell 100 at 100\n3 buy 100 B at 100",
        "3 canceled scaled: buying power, 10,000.00 unsettled\n4 filled",
        **flat(5, 6, 7, 10, 11),
        account=CashAccount(),
    )
    held = unsettled("@0 buy 100\n@1 sell 100", 5, 6, 7, 10, 11)
    assert held == [0.0, 0.0, 10_000.0, 0.0, 0.0]


def test_a_sale_settles_two_business_days_later_before_the_change() -> None:
    """Friday 2024-05-17 and two business days is Tuesday; on Monday nothing can be bought."""
    days = ("2024-05-15", "2024-05-16", "2024-05-17", "2024-05-20", "2024-05-21", "2024-05-22")
    tell(
        "@0 buy 100\n@1 sell 100\n@2 buy 100 B\n@3 buy 100 B",
        "1 buy 100 at 100\n2 sell 100 at 100\n4 buy 100 B at 100",
        "3 canceled scaled: buying power, 10,000.00 unsettled\n4 filled",
        **flat(*days),
        account=CashAccount(),
    )


def test_both_cycles_settle_on_the_same_day_at_the_change() -> None:
    """Sold on Friday 05-24 (two days) and on Tuesday 05-28 (one day): both settle on the 29th.

    Monday the 27th was a holiday, so the run has no session then.
    """
    days = ("2024-05-22", "2024-05-23", "2024-05-24", "2024-05-28", "2024-05-29")
    orders = "@0 buy 100\n@1 sell 40\n@2 sell 60"
    assert unsettled(orders, *days) == [0.0, 0.0, 4_000.0, 10_000.0, 0.0]


def test_a_sale_settled_after_three_days_before_2017() -> None:
    """Friday 2017-09-01 took three business days, Tuesday 09-05 two: both settle on the 7th."""
    days = ("2017-08-30", "2017-08-31", *(f"2017-09-0{d}" for d in (1, 5, 6, 7)))
    orders = "@0 buy 100\n@1 sell 40\n@2 sell 60"
    assert unsettled(orders, *days) == [0.0, 0.0, 4_000.0, 10_000.0, 10_000.0, 0.0]


def test_days_of_your_own() -> None:
    """Zero days settle at once, three take until the third session."""
    orders, days = "@0 buy 100\n@0 buy 5 B\n@1 sell 50", (3, 4, 5, 6, 7, 10)
    assert unsettled(orders, *days, settlement_days=0) == [0.0] * 6
    held = unsettled("@0 buy 100\n@1 sell 50", *days, settlement_days=3)
    assert held == [0.0, 0.0, 5_000.0, 5_000.0, 5_000.0, 0.0]


def test_weekends_of_a_market_that_never_closes_are_no_business_days() -> None:
    """A share that has bars on Saturday and Sunday too: Friday's sale settles on Monday."""
    held = unsettled("@0 buy 100\n@1 sell 50", 5, 6, 7, 8, 9, 10)
    assert held == [0.0, 0.0, 5_000.0, 5_000.0, 5_000.0, 0.0]


def test_weekly_bars_settle_within_their_week() -> None:
    """Seven days hold five weekdays, which is more than two."""
    held = unsettled("@0 buy 100\n@1 sell 50", 3, 10, 17, 24, settlement_days=2)
    assert held == [0.0, 0.0, 5_000.0, 0.0]


def test_commission_and_intraday_bars_settle_by_session() -> None:
    """Sold at noon for 5,000 less 25; settled with the first bar of the next session."""
    times = [dt.datetime(2024, 6, day, hour) for day in (6, 7) for hour in (10, 11, 12)]
    held = watch(
        lambda b: b.unsettled_cash,
        "@0 buy 100\n@1 sell 50",
        bars=flat(*range(1, 7), names="A")["bars"],
        times=times,
        account=CashAccount(),
        cash=10_100.0,
        commission=lambda order, quantity, price, *_: 0.005 * quantity * price,
    )
    assert held == [0.0, 0.0, 4_975.0, 0.0, 0.0, 0.0]


def test_buying_power_leaves_unsettled_money_out() -> None:
    """Half sold: 5,000 are there, none can be used until the next day."""
    orders, market = "@0 buy 100\n@1 sell 50", flat(3, 4, 5, 6)
    power = watch(lambda b: b.buying_power(), orders, **market, account=CashAccount())
    assert power == [0.0, 0.0, 0.0, 5_000.0]


# -- a cash account: good faith ----------------------------------------------------------------


def violations(orders: str, *days: int | str) -> int:
    """Good faith violations of a plan."""
    how = {**flat(*days, names="ABC"), "account": CashAccount(good_faith=True)}
    data = parse_bars(how["bars"], how["times"])
    broker = SimulationBroker(10_000.0, account=how["account"])
    result = BacktestEngine(data, strategy=Plan(orders), broker=broker).run()
    assert (result.orders["status"] == "filled").all()
    return int(result.record.counts["good_faith_violations"])


def test_unsettled_money_may_buy_in_good_faith() -> None:
    """A is sold for B at one open, and B is kept until the sale has settled."""
    assert violations("@0 buy 100\n@1 sell 100\n@1 buy 100 B\n@2 sell 100 B", 3, 4, 5, 6) == 0


def test_selling_before_the_money_has_settled_is_a_violation() -> None:
    """With two days to settle, B is sold one day after it was bought with the money of A."""
    days = ("2024-05-13", "2024-05-14", "2024-05-15", "2024-05-16", "2024-05-17")
    orders = "@0 buy 100\n@1 sell 100\n@1 buy 100 B\n@2 sell 100 B"
    assert violations(orders, *days) == 1
    later = "@0 buy 100\n@1 sell 100\n@1 buy 100 B\n@3 sell 100 B"
    assert violations(later, *days) == 0


def test_what_settled_money_paid_for_can_be_sold() -> None:
    """20 of B were bought before; selling 20 of 70 is fine, selling 21 is not."""
    days = ("2024-05-13", "2024-05-14", "2024-05-15", "2024-05-16", "2024-05-17")
    start = "@0 buy 50\n@0 buy 20 B\n@0 buy 30 C\n@1 sell 50\n@1 buy 50 B\n"
    assert violations(start + "@2 sell 20 B", *days) == 0
    assert violations(start + "@2 sell 21 B", *days) == 1


def test_a_violation_is_on_the_first_page() -> None:
    """Counted, and said; the sale goes through."""
    days = ("2024-05-13", "2024-05-14", "2024-05-15", "2024-05-16", "2024-05-17")
    result = tell(
        "@0 buy 100\n@1 sell 100\n@1 buy 100 B\n@2 sell 100 B",
        "1 buy 100 at 100\n2 sell 100 at 100\n2 buy 100 B at 100\n3 sell 100 B at 100",
        **flat(*days),
        account=CashAccount(good_faith=True),
    )
    assert "1 violation: sold before the money that had paid for it was settled" in " ".join(
        result.summary().split()
    )


# -- margin: entries ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_half_the_notional_is_bound(side: str) -> None:
    """10,000 carry 200 at 100, long or short."""
    tell(
        f"@0 {side} 250",
        f"1 {side} 200 at 100",
        "1 canceled scaled: buying power",
        **flat(3, 4),
        account=MarginAccount(),
    )


def test_margins_of_longs_and_shorts_differ() -> None:
    """A long of 100 binds 4,000; the 6,000 left carry a short of 75 at 0.8."""
    tell(
        "@0 buy 100\n@1 sell 100 B",
        "1 buy 100 at 100\n2 sell 75 B at 100",
        **flat(3, 4, 5),
        account=MarginAccount(0.4, 0.25, short_initial=0.8, short_maintenance=0.3),
    )


def test_an_entry_costs_its_slippage_and_commission_too() -> None:
    """At 101 with 1 of commission a share: 50 + 1 + 1 each, so 192 of 10,000."""
    tell(
        "@0 buy 250",
        "1 buy 192 at 101 fee 192 slip 192",
        **flat(3, 4),
        account=MarginAccount(),
        slippage=lambda order, bar, quantity: bar.reference + 1.0,
        commission=lambda order, quantity, *_: quantity,
    )


def test_buying_power_follows_the_market() -> None:
    """200 at 100 use all; at 110 equity is 12,000, 11,000 are bound, 1,000 buy for 2,000.

    At 90 equity is 8,000 and 9,000 are bound: nothing more can be bought.
    """
    power = watch(
        lambda b: b.buying_power(),
        "@0 buy 200",
        bars=gaps(100, 100, 110, 90),
        account=MarginAccount(),
    )
    assert power == [0.0, 0.0, 2_000.0, 0.0]


def test_rejected_in_words_of_notional() -> None:
    """Buying power is 20,000; the order would need 30,000."""
    tell(
        "@0 buy 300",
        "",
        "1 rejected unaffordable: needs 30,000.00, buying power is 20,000.00",
        **flat(3, 4),
        account=MarginAccount(),
        funding="reject",
    )


def test_a_future_on_its_own_margin() -> None:
    """Ten per cent of 50 times 100: 10,000 carry 20 contracts, ten times the equity."""
    future = Instrument(asset_id="A", multiplier=50, initial_margin=0.1, maintenance_margin=0.08)
    broker = SimulationBroker(account=MarginAccount(), instruments=[future])
    assert broker.leverage == pytest.approx(10.0)
    tell(
        "@0 buy 30",
        "1 buy 20 at 100",
        **flat(3, 4),
        account=MarginAccount(),
        instruments=[future],
    )


def test_weights_up_to_the_leverage() -> None:
    """One and a half times the equity, in two halves."""
    result = tell(
        "",
        "1 buy 75 at 100\n1 buy 75 B at 100",
        acts=lambda plan, bar: plan.rebalance_to_weights({"A": 0.75, "B": 0.75}) if not bar else 0,
        **flat(3, 4),
        account=MarginAccount(),
    )
    assert result.equity["cash"][-1] == -5_000.0


def test_a_margin_of_one_is_the_default_account() -> None:
    """The same plan, long and short and flipped, fills the same."""
    orders = "@0 buy 80\n@1 sell 200\n@3 buy 300\n@5 sell 90\n@6 buy 10 limit 97"
    one = MarginAccount(1.0, 0.01, short_initial=1.0, short_maintenance=0.01)
    runs = [
        BacktestEngine(
            parse_bars(gaps(100, 103, 99, 104, 98, 97, 101, 96, 100)),
            strategy=Plan(orders),
            broker=SimulationBroker(10_000.0, account=account),
        ).run()
        for account in (one, UnleveragedAccount())
    ]
    assert runs[0].fills.equals(runs[1].fills)
    assert len(runs[0].fills) > 3


# -- buying power and open orders --------------------------------------------------------------


def test_open_entries_reserve_buying_power() -> None:
    """Market orders at the last close, limits at their limit, exits nothing."""
    orders = "@0 buy 20\n@1 buy 10 limit 90\n@1 buy 10 B\n@1 sell 5\n@1 sell 20 reduce_only stop 80"
    power = watch(lambda b: b.buying_power(), orders, **flat(3, 4, 5), cash=10_000.0)
    assert power[0] == 10_000.0 - 2_000.0
    assert power[1] == 8_000.0 - 900.0 - 1_000.0
    assert power[2] == 8_000.0 + 500.0 - 1_000.0 - 900.0


def test_a_flip_reserves_what_it_opens() -> None:
    """Selling 30 of 10 held opens 20 short, which bind 2,000 beside their proceeds."""
    power = watch(lambda b: b.buying_power(), "@0 buy 10\n@1 sell 30", **flat(3, 4))
    assert power[1] == 9_000.0 - 2_000.0


def test_a_basket_reserves_as_its_orders_do() -> None:
    """Half of it in A, on margin: 2,500 of margin, 5,000 of notional."""
    answers: list[float] = []

    def acts(plan: Plan, bar: int) -> None:
        if bar == 0:
            plan.rebalance_to_weights({"A": 0.5})
            answers.append(plan.get_buying_power())

    tell("", "1 buy 50 at 100", acts=acts, **flat(3, 4), account=MarginAccount())
    assert answers == [15_000.0]


# -- margin calls ------------------------------------------------------------------------------


def test_a_call_sells_exactly_enough() -> None:
    """200 at 60 must keep 3,000, equity is 2,000. 67 less lower that by 1,005, 66 by 990."""
    result = tell(
        "@0 buy 200",
        "1 buy 200 at 100\n3 sell 67 at 60",
        "2 filled",
        bars=gaps(100, 100, 60, 60),
        account=MarginAccount(),
    )
    assert result.record.counts["margin_calls"] == 1
    assert result.orders["tag"].to_list()[1] == "margin call"
    assert "1 close below the maintenance margin; 1 order forced" in result.summary()


def test_at_the_requirement_there_is_no_call() -> None:
    """160 at 50 must keep 2,000, and equity is 8,000 less the 6,000 that are owed: 2,000."""
    result = tell(
        "@0 buy 160", "1 buy 160 at 100", bars=gaps(100, 100, 50, 50), account=MarginAccount()
    )
    assert result.record.counts["margin_calls"] == 0
    assert "margin calls none" in " ".join(result.summary().split())


def test_a_trade_that_a_call_closed_says_so() -> None:
    """B lost 2,000, A 1,600. Of 7,380 to be kept 6,400 are there; all of B frees 900, 2 of A 81."""
    result = tell(
        "@0 buy 40 B\n@0 buy 160",
        "1 buy 40 B at 100\n1 buy 160 at 100\n3 sell 40 B at 50\n3 sell 2 at 90",
        bars="\n".join(
            f"{i} {name} {p} {p} {p} {p}"
            for name, prices in (("A", (100, 100, 90, 90)), ("B", (100, 100, 50, 50)))
            for i, p in enumerate(prices)
        ),
        account=MarginAccount(0.5, 0.45, short_initial=0.5, short_maintenance=0.45),
    )
    closed = result.trades.filter(pl.col("status") == "closed")
    assert closed.select("asset_id", "exit_reason").rows() == [("B", "margin call")]


def test_a_short_is_called() -> None:
    """200 short from 100; at 120 equity is 6,000 and 7,200 are needed: 34 free 1,224."""
    tell(
        "@0 sell 200",
        "1 sell 200 at 100\n3 buy 34 at 120",
        bars=gaps(100, 100, 120, 120),
        account=MarginAccount(),
    )


def test_a_call_is_met_at_the_same_close_where_orders_fill_there() -> None:
    """With fill_at="close" the broker trades where the strategy does."""
    tell(
        "@0 buy 200",
        "0 buy 200 at 100\n1 sell 67 at 60",
        bars=gaps(100, 60, 60),
        account=MarginAccount(),
        fill_at="close",
    )


def test_the_largest_loss_goes_first() -> None:
    """A lost 3,600 and B 2,700. 11,700 are held, so 2,925 must be kept, and 2,700 are there.

    13 of A lower that by 227.50, which is enough for the 225 that are missing.
    """
    bars = """
        0   100 100 100 100
        0 B 100 100 100 100
        1   100 100 100 100
        1 B 100 100 100 100
        2    70  70  70  70
        2 B  55  55  55  55
        3    70  70  70  70
        3 B  55  55  55  55
    """
    tell(
        "@0 buy 120\n@0 buy 60 B",
        "1 buy 120 at 100\n1 buy 60 B at 100\n3 sell 13 at 70",
        bars=bars,
        cash=9_000.0,
        account=MarginAccount(),
    )


def test_what_the_strategy_sells_itself_counts() -> None:
    """It orders 50 of the 67 on the bar of the call; 17 are added."""
    tell(
        "@0 buy 200\n@2 sell 50",
        "1 buy 200 at 100\n3 sell 50 at 60\n3 sell 17 at 60",
        bars=gaps(100, 100, 60, 60),
        account=MarginAccount(),
    )


def test_a_strategy_that_gets_out_is_left_alone() -> None:
    """It closes on the bar of the call: nothing is sold twice, nothing is flipped."""
    result = tell(
        "@0 buy 200\n@2 sell 200",
        "1 buy 200 at 100\n3 sell 200 at 60",
        bars=gaps(100, 100, 60, 60),
        account=MarginAccount(),
    )
    assert result.record.counts["margin_calls"] == 1
    assert len(result.orders) == 2


def test_nothing_is_opened_during_a_call() -> None:
    """The purchase on the bar of the call finds no free margin."""
    tell(
        "@0 buy 200\n@2 buy 10",
        "1 buy 200 at 100\n3 sell 67 at 60",
        "2 canceled scaled: buying power",
        bars=gaps(100, 100, 60, 60),
        account=MarginAccount(),
    )


def test_a_gap_after_the_call_leads_to_another() -> None:
    """67 are sold at 58 instead of 60: 133 need 1,928.50 and 1,600 are there: 23 more."""
    result = tell(
        "@0 buy 200",
        "1 buy 200 at 100\n3 sell 67 at 58\n4 sell 23 at 58",
        bars=gaps(100, 100, 60, 58, 58),
        account=MarginAccount(),
    )
    assert result.record.counts["margin_calls"] == 2


# -- bankruptcy --------------------------------------------------------------------------------


def test_a_gap_can_take_everything() -> None:
    """200 at 45 are 9,000 and 10,000 are owed: closed there, and the run is over."""
    bars_seen = []
    result = tell(
        "@0 buy 200\n@1 buy 10 limit 20",
        "1 buy 200 at 100\n2 sell 200 at 45 because bankrupt",
        "2 canceled position closed: bankrupt\n3 filled",
        bars=gaps(100, 100, 45, 60, 70),
        acts=lambda plan, bar: bars_seen.append(bar),
        account=MarginAccount(),
    )
    assert bars_seen == [0, 1]
    assert result.record.complete
    assert result.equity.height == 3
    assert result.final_equity == -1_000.0
    assert result.record.counts["bankruptcies"] == 1
    text = " ".join(result.summary().split())
    assert "BANKRUPT: on 2024-01-04 nothing was left; the run ended there." in text
    assert "BANKRUPT" in repr(result)
    assert "BANKRUPT" in result._repr_html_()


def test_orders_of_other_assets_end_with_a_bankruptcy() -> None:
    """What is open is canceled, whatever it is for."""
    bars = gaps(100, 100, 45, 60) + "\n0 B 50 50 50 50\n1 B 50 50 50 50"
    tell(
        "@0 buy 200\n@1 buy 1 B limit 10",
        "1 buy 200 at 100\n2 sell 200 at 45",
        "2 canceled bankrupt",
        bars=bars,
        account=MarginAccount(),
    )


def test_a_short_in_the_default_account_can_take_everything() -> None:
    """100 short from 100 on 10,000: at 210 equity is -1,000."""
    result = tell(
        "@0 sell 100",
        "1 sell 100 at 100\n2 buy 100 at 210 because bankrupt",
        bars=gaps(100, 100, 210, 50),
    )
    assert result.final_equity == -1_000.0


def test_what_is_ordered_after_a_bankruptcy_is_rejected() -> None:
    """`on_end` is called, and can trade no more."""

    class Hopeful(Plan):
        def on_end(self) -> None:
            self.buy("A", 1)
            self.rebalance_to_weights({"A": 1.0})

    result = BacktestEngine(
        parse_bars(gaps(100, 100, 45, 60)),
        strategy=Hopeful("@0 buy 200"),
        broker=SimulationBroker(10_000.0, account=MarginAccount()),
    ).run()
    late = result.orders.filter(pl.col("order_id") > 2)
    assert set(late["reason"]) == {"the account is bankrupt"}


# -- borrow fees -------------------------------------------------------------------------------


def test_a_weekend_of_borrowing_is_three_days() -> None:
    """100 short at 100 from Friday to Monday at 3.6 %: 10,000 * 0.036 * 3 / 360 = 3."""
    result = tell(
        "@0 sell 100\n@2 buy 100",
        "1 sell 100 at 100\n3 buy 100 at 100",
        **flat(6, 7, 10, 11, 12, names="A"),
        borrow=0.036,
    )
    # Sold on Friday the 7th; three days until Monday, one until Tuesday, when it is closed.
    assert flows(result) == [("borrow", "A", -3.0), ("borrow", "A", -1.0)]
    assert result.trades["financing"].to_list() == pytest.approx([-4.0])
    assert result.trades["pnl"].to_list() == pytest.approx([-4.0])


def test_a_year_of_365_days() -> None:
    """10,000 * 0.0365 / 365 is 1 a day."""
    result = tell(
        "@0 sell 100",
        "1 sell 100 at 100",
        **flat(4, 5, 6, names="A"),
        borrow=BorrowFee(0.0365, year_days=365),
    )
    assert flows(result) == [("borrow", "A", -1.0)]


def test_fees_by_asset() -> None:
    """B is dear; A has the rate of its instrument; longs and unnamed C pay nothing."""
    result = tell(
        "@0 sell 20\n@0 sell 20 B\n@0 sell 20 C\n@0 buy 10 D",
        "1 sell 20 at 100\n1 sell 20 B at 100\n1 sell 20 C at 100\n1 buy 10 D at 100",
        **flat(4, 5, 6, names="ABCD"),
        borrow={"B": 0.36},
        instruments=[Instrument(asset_id="A", borrow_rate=0.18)],
    )
    assert flows(result) == [("borrow", "A", -1.0), ("borrow", "B", -2.0)]


def test_fees_by_day() -> None:
    """One day at 3.6 %, then a weekend: Friday at 36 %, Saturday and Sunday at 72 %."""
    rates = pl.DataFrame(
        {
            "timestamp": [dt.date(2024, 5, 1), dt.date(2024, 6, 7), dt.date(2024, 6, 8)],
            "asset_id": "A",
            "rate": [0.036, 0.36, 0.72],
        }
    )
    result = tell(
        "@0 sell 100",
        "1 sell 100 at 100",
        **flat(5, 6, 7, 10, names="A"),
        borrow=rates,
    )
    assert flows(result) == [("borrow", "A", -1.0), ("borrow", "A", -50.0)]


def test_intraday_positions_pay_nothing() -> None:
    """Sold short and bought back within a session."""
    times = [dt.datetime(2024, 6, day, hour) for day in (6, 7) for hour in (10, 11, 12)]
    result = tell(
        "@0 sell 100\n@1 buy 100",
        "1 sell 100 at 100\n2 buy 100 at 100",
        bars=flat(*range(1, 7), names="A")["bars"],
        times=times,
        borrow=0.5,
        rates=Interest(0.0, debit_spread=0.01),
    )
    assert flows(result) == []


def test_a_position_opened_at_the_same_close_pays_from_then_on() -> None:
    """Days before it, on which nothing was open, cost nothing."""
    result = tell(
        "@2 sell 100",
        "2 sell 100 at 100",
        **flat(3, 4, 5, 6, names="A"),
        borrow=0.036,
        fill_at="close",
    )
    assert flows(result) == [("borrow", "A", -1.0)]


# -- interest ----------------------------------------------------------------------------------


def test_interest_on_money_owed() -> None:
    """19,000 bought with 10,000: 9,000 at 3 % and 1 % over a weekend are 3."""
    result = tell(
        "@0 buy 190",
        "1 buy 190 at 100",
        **flat(6, 7, 10, names="A"),
        account=MarginAccount(),
        rates=Interest(0.03, debit_spread=0.01),
    )
    # One day on 10,000 of cash at 3 % before that.
    assert flows(result) == [("interest", None, 0.833333), ("interest", None, -3.0 + 0.000278)]


def test_interest_on_money_held() -> None:
    """10,000 at 4 % less 0.4 %: 1 a day."""
    result = tell("", "", **flat(3, 4, 7, names="A"), rates=Interest(0.04, credit_spread=0.004))
    assert flows(result) == [("interest", None, 1.0), ("interest", None, 3.0003)]


def test_a_low_rate_earns_nothing_and_a_negative_one_costs() -> None:
    """A spread takes no more than the rate; below zero the rate itself is paid."""
    result = tell("", "", **flat(3, 4, names="A"), rates=Interest(0.004, credit_spread=0.005))
    assert flows(result) == []
    result = tell("", "", **flat(3, 4, names="A"), rates=Interest(-0.0036, credit_spread=0.005))
    assert flows(result) == [("interest", None, -0.1)]


def test_short_proceeds_earn_nothing() -> None:
    """20,000 of cash, half of it from the sale: interest is on 10,000."""
    result = tell("@0 sell 100", "1 sell 100 at 100", **flat(4, 5, 6, names="A"), rates=0.036)
    assert flows(result) == [("interest", None, 1.0), ("interest", None, 1.0001)]


def test_rates_by_day() -> None:
    """Thursday at 3.6 %; from Friday on 7.2 %, for three days."""
    rates = {dt.date(2024, 1, 1): 0.036, dt.date(2024, 6, 7): 0.072}
    result = tell("", "", **flat(6, 7, 10, names="A"), rates=rates)
    assert flows(result) == [("interest", None, 1.0), ("interest", None, 6.0006)]


def test_free_credit_and_free_shares_are_said_loudly() -> None:
    """On the first page, where they were used and nothing was charged."""
    result = tell(
        "@0 buy 150\n@0 sell 20 B",
        "1 buy 150 at 100\n1 sell 20 B at 100",
        **flat(3, 4),
        account=MarginAccount(),
    )
    text = " ".join(result.summary().split())
    assert "interest NONE: money owed is assumed to be free of charge" in text
    assert "borrow fee NONE: shares sold short are assumed to be lent for free" in text
