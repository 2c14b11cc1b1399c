"""What is played on both sides, and where the sides are known to differ."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from ml4t.backtest.testing.markets import market_of_bars, ten_bars
from tests.parity import plans
from tests.parity.harness import ENGINES, Known, Scenario
from tests.parity.plans import KINDS, SYMBOLS, by_hand

PERCENT = {"kind": "percent", "rate": 0.001}
PER_SHARE = {"kind": "per_share", "per_share": 0.005, "minimum": 1.0}
THRESHOLD = {"kind": "threshold", "enter": 1.0, "leave": 0.0, "short": False, "share": 0.25}
ROTATION = {"kind": "rotation", "every": 21, "top": 25, "invested": 0.95, "as_weights": False}
LONG_SHORT = {**THRESHOLD, "short": True}
MANY: tuple[str, ...] = ("backtrader", "bt")
ONE = ("backtesting.py",)
MANY += ("vectorbt", "pybroker")
PER_ORDER = tuple(engine for engine in MANY if engine != "vectorbt")
QUEUES = ("backtrader", "backtesting.py")


def five(folder: Path) -> pl.DataFrame:
    """Five shares, four years."""
    return plans.recorded(folder, SYMBOLS, 2010, 2013)


def apple(folder: Path) -> pl.DataFrame:
    """One share, four years."""
    return plans.recorded(folder, ("AAPL",), 2010, 2013)


def crowd(folder: Path) -> pl.DataFrame:
    """110 shares, 400 sessions."""
    return plans.panel(folder, 110, 400)


def crowd_in_cents(folder: Path) -> pl.DataFrame:
    """The same, at prices of two decimals."""
    prices = pl.col("open", "high", "low", "close").round(2)
    return plans.with_signal(crowd(folder).drop("signal").with_columns(prices), days=21)


def rough(assets: int, sessions: int, seed: int) -> Any:
    """Makes a market with gaps; see `plans.rough`."""
    return lambda _folder: plans.rough(assets, sessions, seed)


def holes(_folder: Path) -> pl.DataFrame:
    """Four assets, three of them late, bars missing."""
    return plans.with_holes(plans.rough(4, 300, 3), 1)


def ten(_folder: Path) -> pl.DataFrame:
    """The ten bars of the documentation."""
    return plans.with_signal(ten_bars())


def hand(*bars: tuple[float, float, float, float]) -> Any:
    """Makes a market of a few bars."""
    return lambda _folder: plans.with_signal(market_of_bars(bars))


def kinds(seed: int, names: tuple[str, ...] = KINDS, **options: Any) -> Any:
    """Makes a plan of orders of some kinds."""
    return partial(plans.orders_of_all_kinds, seed=seed, kinds=names, **options)


def bracketed(seed: int, **options: Any) -> Any:
    """Makes a plan of brackets."""
    return partial(plans.brackets, seed=seed, **options)


def pair(_folder: Path) -> pl.DataFrame:
    """The ten bars for A and for B."""
    return plans.with_signal(pl.concat([ten_bars(), ten_bars("B")]))


TENTH = {"stop_loss": {"percent": 0.1}}

FLIPPED_COSTS = Known(
    "ours",
    "The commission of a fill that turns a position around belongs to the trade it closes and to "
    "the one it opens in proportion to their units (`results/trades.py`); theirs charges each "
    "part by itself. The sum, the cash and the equity agree.",
    parts=("trades",),
)

CUT = ("vectorbt", "pybroker")
CUT_BY_DIVISION = Known(
    "ours",
    "Rounding, of what is cut most of all: theirs divides the cash by the price with its fee "
    "(`buy_nb`), ours looks for the largest share that is paid for by halving "
    "(`simulation/fitting.py`); the quantities agree to a relative 1e-9.",
    quantities=1e-9,
)
CUT_TO_DIGITS = Known(
    "theirs",
    "What is cut is cut to nine digits behind the point (`_SHARES_EPSILON`), and sums are decimal; "
    "ours uses all there is. Without that rule, the quantities agree to a relative 1e-9.",
    quantities=1e-9,
    cure="fine fractions",
)
LOTS = (
    "A short is so many lots, and what is covered are the oldest of them (`Portfolio._cover`): the "
    "collateral of those that are left is their price of sale. Ours has one average price."
)
EVERYWHERE = (
    Scenario(
        "threshold-rough",
        "long-only by a threshold, generated",
        rough(1, 250, 21),
        {**THRESHOLD, "share": 0.6},
        commission=PERCENT,
    ),
    Scenario(
        "reversals",
        "through zero, in one order or two",
        rough(1, 300, 5),
        partial(plans.reversals, seed=2),
        commission=PERCENT,
        engines=tuple(engine for engine in ENGINES if engine != "pybroker"),
    ),
    Scenario(
        "end-of-data",
        "an order on the last bar, and a position held there",
        ten,
        by_hand({"bar": 1, "quantity": 30.0}, {"bar": 9}),
    ),
)

SEVERAL_ASSETS = (
    Scenario(
        "threshold-long", "long-only by a threshold, five shares", five, THRESHOLD,
        is_recorded=True, engines=MANY,
    ),
    Scenario(
        "threshold-long-short", "long and short, commission in percent", five, LONG_SHORT,
        is_recorded=True, commission=PERCENT, engines=MANY,
    ),
    Scenario(
        "per-share-minimum", "long and short, commission per share with a minimum", five,
        LONG_SHORT, is_recorded=True, commission=PER_SHARE, engines=PER_ORDER,
        known={"backtrader": FLIPPED_COSTS},
    ),
    Scenario(
        "fractions", "fractional units, long and short", five,
        {**LONG_SHORT, "fractional": True}, is_recorded=True, commission=PERCENT,
        fractional=True, engines=MANY,
        known={
            "vectorbt": CUT_BY_DIVISION,
            "pybroker": CUT_TO_DIGITS,
            "nautilus": Known(
                "theirs",
                "Quantities have as many decimals as the instrument, here six, where differences "
                "of floating-point numbers have sixteen digits; they agree to a relative 1e-9.",
                parts=("fills", "bars", "orders"),
                quantities=1e-9,
            ),
        },
    ),
    Scenario(
        "rotation", "25 of 110 shares every 21 sessions, as orders", crowd, ROTATION,
        is_recorded=True, cash=1e6, commission=PERCENT, engines=MANY,
        known={"pybroker": Known(
            "theirs",
            "Fill prices are rounded to cents (`PriceScope._round_float`), also where quotes are "
            "finer and the bar has no such price. Ours stays inside the bar.",
            cure="prices unrounded",
        )},
    ),
    Scenario(
        "too-little-cash", "batches that the cash pays for in part, long and short",
        rough(4, 300, 3), partial(plans.too_much, seed=1), cash=10_000.0, commission=PERCENT,
        engines=("backtrader",),
    ),
    Scenario(
        "too-little-cash-orders", "orders of every kind that the cash pays for in part",
        rough(4, 500, 12), kinds(9, units=30.0), cash=20_000.0, commission=PERCENT,
        engines=("backtrader",),
    ),
    Scenario(
        "orders-of-every-kind", "market, limit, stop, stop-limit and trailing orders",
        rough(4, 500, 11), kinds(9), engines=("backtrader",),
    ),
    Scenario(
        "orders-on-shares", "the same on recorded prices", five, kinds(4), is_recorded=True,
        commission=PERCENT, engines=("backtrader",),
    ),
    Scenario(
        "several-orders", "three orders on one asset at a time", rough(2, 300, 8),
        kinds(5, each=3), engines=("backtrader",),
    ),
    Scenario(
        "orders-with-slippage", "slippage on all but stop-limits", rough(4, 300, 1),
        kinds(1, ("market", "limit", "stop", "trailing_stop")), slippage={"rate": 0.002},
        commission=PERCENT, engines=("backtrader",),
    ),
    Scenario(
        "brackets", "market entries with a stop and a target", rough(4, 300, 2),
        bracketed(1, limit=False), engines=("backtrader",),
    ),
    Scenario(
        "brackets-limit", "limit entries with a stop and a target", rough(4, 500, 12),
        bracketed(9, limit=True), engines=("backtrader",),
    ),
    Scenario(
        "missing-bars", "market orders, late assets, missing bars", holes, kinds(1, ("market",)),
        engines=("backtrader",),
    ),
)  # fmt: skip

ONE_ASSET = (
    Scenario(
        "one-long", "long-only by a threshold, one share", apple, {**THRESHOLD, "share": 0.9},
        is_recorded=True, engines=ONE,
    ),
    Scenario(
        "one-long-short", "long and short, commission in percent", apple,
        {**LONG_SHORT, "share": 0.9}, is_recorded=True, commission=PERCENT, engines=ONE,
    ),
    Scenario(
        "one-per-share-minimum", "long and short, commission per share with a minimum", apple,
        {**LONG_SHORT, "share": 0.4}, is_recorded=True, commission=PER_SHARE, engines=ONE,
        known={"backtesting.py": FLIPPED_COSTS},
    ),
    Scenario(
        "one-spread", "spread on entries, long-only", apple, {**THRESHOLD, "share": 0.4},
        is_recorded=True, slippage={"rate": 0.001}, commission=PERCENT, engines=ONE,
    ),
    Scenario(
        "one-orders", "market, limit and stop orders", rough(1, 500, 1),
        kinds(1, ("market", "limit", "stop"), dated=False), engines=QUEUES,
    ),
    Scenario(
        "one-orders-on-shares", "the same on recorded prices", apple,
        kinds(6, ("market", "limit", "stop"), dated=False), is_recorded=True, cash=1e6,
        commission=PERCENT, engines=QUEUES,
    ),
    Scenario(
        "one-several-orders", "three orders at a time", rough(1, 300, 8),
        kinds(5, ("market", "limit", "stop"), each=3, dated=False), engines=QUEUES,
    ),
    Scenario(
        "one-brackets", "market entries with a stop and a target", rough(1, 500, 2),
        bracketed(1, limit=False), engines=QUEUES,
    ),
    Scenario(
        "one-brackets-limit", "limit entries with a stop and a target", rough(1, 500, 3),
        bracketed(2, limit=True), engines=QUEUES,
    ),
    Scenario(
        "one-too-little-cash", "purchases beyond the cash", rough(1, 400, 3),
        partial(plans.too_much_long, seed=1), cash=10_000.0, commission=PERCENT, engines=QUEUES,
    ),
)  # fmt: skip

OF_BT = (
    Scenario(
        "weights", "25 of 110 shares every 21 sessions, as weights", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, engines=("bt",),
    ),
    Scenario(
        "overdrawn", "purchases far beyond the cash, which nobody checks", rough(4, 120, 3),
        partial(plans.too_much, seed=1), cash=10_000.0, commission=PERCENT, engines=("bt",),
    ),
)  # fmt: skip

DIFFER = (
    Scenario(
        "missing-bars-resting", "resting orders where bars are missing", holes, kinds(1),
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "A limit or stop order is tried against the asset's last bar again when only other "
            "assets have a new one, so it can fill in the bar it was decided on, at prices that "
            "are past: `BackBroker._try_exec` asks for a later bar in `_try_exec_market` only. "
            "Ours waits for the asset's next bar.",
            cure="later bars only",
        )},
    ),
    Scenario(
        "cancel-at-once", "an order taken back on the bar it was sent on", ten,
        by_hand({"bar": 2, "type": "limit", "limit": 101.5}, {"bar": 2, "cancel": "1"}),
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "`BackBroker.cancel` looks among the pending orders, and an order is not there "
            "before the next bar (`submitted`): the cancel has no effect. Ours cancels.",
        )},
    ),
    Scenario(
        "day-order", "a day order on daily bars", ten,
        by_hand({"bar": 3, "type": "limit", "limit": 101.5, "day": True}),
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "`Order.DAY` ends with the day of the decision (`OrderBase.__init__`, `valid`), before "
            "a daily bar can fill it. Ours ends with the first session in which it could trade.",
        )},
    ),
    Scenario(
        "stop-limit-through-limit", "a stop-limit whose limit is nearer than its stop",
        hand((100, 101, 99, 100), (100, 106, 99.5, 102), (104, 105, 103.5, 104)),
        by_hand({"bar": 0, "type": "stop_limit", "stop": 105.0, "limit": 103.0}),
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "Triggered inside a bar that closes above its open, a purchase whose limit lies below "
            "its stop waits (`_try_exec_stoplimit`), although the price must have come back "
            "through the limit to the close. Ours fills at the limit.",
        )},
    ),
    Scenario(
        "stop-limit-slippage", "stop-limits with slippage", rough(4, 300, 1),
        kinds(1, ("stop_limit",)), slippage={"rate": 0.002}, commission=PERCENT,
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "A stop-limit triggered inside the bar is slipped up to the bar's range, past its own "
            "limit (`_try_exec_stoplimit` gives `_slip_up` the high, not the limit), and one that "
            "becomes a limit sale has the fault of limit-sale-slippage. Ours passes neither limit "
            "nor bar.",
            cure="limits and bars kept",
        )},
    ),
    Scenario(
        "limit-sale-slippage", "a limit sale at a gap, with slippage wider than the bar",
        hand((100, 101, 99, 100), (100, 101, 99, 100), (110, 111, 109.9, 110.5)),
        by_hand({"bar": 0}, {"bar": 1, "side": "sell", "type": "limit", "limit": 102.0}),
        slippage={"rate": 0.01}, engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "`_try_exec_limit` works out `pmin`, the higher of low and limit, for sales and then "
            "passes the limit instead, so a sale may fill below the bar's low. Ours stays inside "
            "the bar, as theirs does for purchases.",
            cure="bars kept",
        )},
    ),
    Scenario(
        "overlapping-brackets", "a second bracket against the first", rough(4, 300, 2),
        bracketed(1, limit=False, every=2), engines=("backtrader",),
        known={"backtrader": Known(
            "ours",
            "The exits of our brackets only reduce a position and end with it; theirs are plain "
            "orders, which open a new position when the old one is gone (`BackBroker._execute`). "
            "With exits that may do the same, ours differs in nothing.",
        )},
    ),
    Scenario(
        "stop-limit-gap", "stop-limits", rough(1, 400, 1),
        kinds(1, ("stop_limit",), dated=False), engines=ONE,
        known={"backtesting.py": Known(
            "theirs",
            "A stop-limit fills at its stop even where the bar opens beyond it: "
            "`_Broker._process_orders` takes `min(stop_price or open, order.limit)`. Ours fills "
            "at the open.",
            cure="gaps count",
        )},
    ),
    Scenario(
        "short-beyond-margin", "shorts that the margin pays for in part", rough(1, 400, 3),
        partial(plans.too_much, seed=1), cash=10_000.0, commission=PERCENT, engines=ONE,
        known={"backtesting.py": Known(
            "theirs",
            "Orders at the open are judged by `margin_available` at the close of the same bar "
            "(`_Broker.last_price`), which nobody knows then. Ours judges at the open.",
            cure="margin at the open",
        )},
    ),
    Scenario(
        "spread-through-zero", "spread on orders that turn a position around", apple,
        {**LONG_SHORT, "share": 0.4}, is_recorded=True, slippage={"rate": 0.001}, engines=ONE,
        known={"backtesting.py": Known(
            "ours",
            "A fill has one price; theirs closes at the plain price and opens at the one with "
            "spread (`_close_trade` and `_open_trade` in `_process_orders`).",
        )},
    ),
    Scenario(
        "spread-beyond-limit", "a limit purchase with spread", ten,
        by_hand({"bar": 2, "type": "limit", "limit": 101.5}), slippage={"rate": 0.02},
        engines=ONE,
        known={"backtesting.py": Known(
            "theirs",
            "The spread is put on top of the limit (`_adjusted_price` in `_process_orders`), so a "
            "limit order pays more than its limit. Ours never does.",
        )},
    ),
    Scenario(
        "ruin", "a short that costs more than there is",
        hand(*[(100, 101, 99, 100)] * 3, (100, 250, 100, 240), *[(240, 250, 230, 240)] * 3),
        by_hand({"bar": 1, "side": "sell", "quantity": 80.0}), cash=10_000.0,
        engines=("backtesting.py", "bt"),
        known={
            "backtesting.py": Known(
                "theirs",
                "An account without equity is set to zero: the debt is forgiven "
                "(`_Broker.next`). Ours closes at the last close and shows what is owed.",
                parts=("fills", "bars", "trades", "orders"),
            ),
            "bt": Known(
                "ours",
                "Our run is over with its equity; theirs is flattened likewise and shows the same "
                "debt on every row to the end (`StrategyBase.update`).",
                parts=("bars", "fills"),
            ),
        },
    ),
    Scenario(
        "weights-with-commission", "weights, and commission in percent", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, commission=PERCENT,
        engines=("bt",),
        known={"bt": Known(
            "ours",
            "`rebalance_to_weights` sizes before costs; `SecurityBase.allocate` looks for the "
            "quantity that costs the amount with its commission inside.",
            cure="sizes before costs",
        )},
    ),
    Scenario(
        "weights-in-fractions", "weights in fractional units", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, fractional=True,
        engines=("bt",),
        known={"bt": Known(
            "ours",
            "Rounding: theirs divides the change of a value by the price, ours takes what is held "
            "from what is wanted; the quantities agree to a relative 1e-9.",
            parts=("fills", "bars"),
            quantities=1e-9,
        )},
    ),
)  # fmt: skip

OF_CUT = (
    Scenario(
        "reversals-in-one", "through zero, in one order", rough(1, 300, 5),
        partial(plans.reversals, seed=2, split=0.0), commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "reversals-of-many", "four assets through zero, commission per share with a minimum",
        rough(4, 300, 6), partial(plans.reversals, seed=3, split=0.0), commission=PER_SHARE,
        engines=CUT,
    ),
    Scenario(
        "cut-long", "purchases beyond the cash are cut, four assets", rough(4, 300, 3),
        partial(plans.cut, seed=1, short=False), cash=20_000.0, commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "cut-long-short", "likewise, long and short", rough(4, 300, 3),
        partial(plans.cut, seed=1, short=True), cash=20_000.0, commission=PERCENT, engines=CUT,
        known={"pybroker": Known("ours", LOTS, cure="lots at average")},
    ),
    Scenario(
        "cut-in-fractions", "likewise, in fractional units", rough(4, 300, 3),
        partial(plans.cut, seed=1, short=True), cash=20_000.0, commission=PERCENT,
        fractional=True, engines=CUT,
        known={"vectorbt": CUT_BY_DIVISION, "pybroker": Known(
            "theirs", f"{CUT_TO_DIGITS.cause} And as in cut-long-short.", quantities=1e-9,
            cure="lots at average, fine fractions",
        )},
    ),
    Scenario(
        "market-with-slippage", "market orders with slippage", rough(4, 300, 1),
        kinds(1, ("market",)), slippage={"rate": 0.002}, cash=1e7, commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "market-with-holes", "market orders, late assets, missing bars", holes,
        kinds(1, ("market",)), cash=1e7, commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "guards-percent", "exits at percents from the entry", rough(3, 600, 2),
        partial(plans.guarded, seed=1, unit="percent"), commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "guards-trailing", "trailing stops and targets at percents", rough(3, 600, 4),
        partial(plans.guarded, seed=2, unit="percent", trail=True), commission=PERCENT,
        engines=CUT,
    ),
    Scenario(
        "guards-on-shares", "exits at percents on recorded prices", five,
        partial(plans.guarded, seed=3, unit="percent"), is_recorded=True, commission=PERCENT,
        engines=CUT,
    ),
    Scenario(
        "guards-trailing-on-shares", "trailing stops on recorded prices", five,
        partial(plans.guarded, seed=4, unit="percent", trail=True), is_recorded=True,
        engines=CUT,
    ),
    Scenario(
        "guards-slippage", "exits at percents, with slippage", rough(3, 600, 2),
        partial(plans.guarded, seed=1, unit="percent"), slippage={"rate": 0.002}, engines=CUT,
        known={
            "vectorbt": Known(
                "theirs",
                "Distances are counted from the close of the entry, not from what was paid "
                '(`stop_entry_price`, "close"). Ours counts from the average entry price.',
                cure="stops from the fill",
            ),
            "pybroker": Known(
                "theirs",
                "Slippage takes a target past its level (`Portfolio._slip_stop_fill_price`). Ours "
                "is a limit, which is never passed.",
                cure="targets kept",
            ),
        },
    ),
    Scenario(
        "guards-money", "exits at money from the entry", rough(3, 600, 2),
        partial(plans.guarded, seed=5, unit="amount"), commission=PERCENT,
        engines=("pybroker",),
    ),
    Scenario(
        "guards-with-holes", "exits at percents, late assets, missing bars", holes,
        partial(plans.guarded, seed=6, unit="amount"), engines=("pybroker",),
    ),
    Scenario(
        "limits-at-the-middle", "market and limit orders, some with a date", rough(4, 500, 11),
        kinds(9, ("market", "limit")), commission=PERCENT, engines=("pybroker",),
    ),
    Scenario(
        "limits-on-shares", "the same on recorded prices", five, kinds(4, ("market", "limit")),
        is_recorded=True, cash=1e7, commission=PERCENT, engines=("pybroker",),
    ),
    Scenario(
        "limits-with-holes", "limit orders, late assets, missing bars", holes,
        kinds(1, ("market", "limit"), dated=False), engines=("pybroker",),
    ),
    Scenario(
        "rotation-in-cents", "25 of 110 shares every 21 sessions, at prices of cents",
        crowd_in_cents, ROTATION, is_recorded=True, cash=1e6, commission=PERCENT, engines=CUT,
    ),
    Scenario(
        "limits-with-slippage", "limit orders at the middle, with slippage", rough(4, 500, 11),
        kinds(9, ("limit",)), cash=1e7, slippage={"rate": 0.002}, engines=("pybroker",),
        known={"pybroker": Known(
            "theirs",
            "A limit is compared with the price after slippage (`_attempt_pending_order`, then "
            "`Portfolio.buy`), and fills there. Ours is compared with the price, and then not "
            "passed by slippage.",
            cure="limits before slippage",
        )},
    ),
    Scenario(
        "limit-without-cash", "a limit when the cash is gone", ten,
        by_hand(
            {"bar": 1, "quantity": 97.0}, {"bar": 2, "type": "limit", "limit": 110.0},
            {"bar": 4, "side": "sell", "quantity": 50.0},
        ),
        cash=10_100.0, engines=("pybroker",),
        known={"pybroker": Known(
            "theirs",
            "A limit with patience (`buy_timeout_bars`) that the cash pays nothing of is tried "
            "again (`_process_persistent_orders`). Ours ends, as all that is cut.",
        )},
    ),
    Scenario(
        "ruin-goes-on", "a short that costs more than there is",
        hand(*[(100, 101, 99, 100)] * 3, (100, 250, 100, 240), *[(240, 250, 230, 240)] * 3),
        by_hand({"bar": 1, "side": "sell", "quantity": 80.0}), cash=10_000.0, engines=CUT,
    ),
    Scenario(
        "stop-pays-later", "an entry at the close of a bar in which a stop has brought money",
        pair,
        by_hand(
            {"bar": 3, "asset": "B", "quantity": 100.0, "guard": TENTH},
            {"bar": 4, "asset": "A", "quantity": 50.0, "guard": TENTH},
        ),
        cash=10_900.0, engines=("vectorbt",),
        known={"vectorbt": Known(
            "ours",
            "A stop and an entry at the close stand in one row, and have their turns by column "
            "(`simulate_from_signals_nb`): an entry may come before the stop of another asset has "
            "paid for it. Ours trades inside the bar first, then at its close.",
        )},
    ),
    Scenario(
        "several-at-the-close", "three market orders on one asset at a time", rough(2, 300, 8),
        kinds(5, ("market",), each=3), commission=PERCENT, engines=("vectorbt",),
    ),
    Scenario(
        "weights-at-the-close", "25 of 110 shares every 21 sessions, as weights", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, commission=PERCENT,
        fractional=True, engines=("vectorbt",), known={"vectorbt": CUT_BY_DIVISION},
    ),
)  # fmt: skip

PLAIN = ("market", "limit", "stop", "stop_limit")
LATER = ("nautilus", "zipline")
TRAILING = ("market", "limit", "stop", "trailing_stop")


def thin(assets: int, sessions: int, seed: int, quiet: float = 0.0) -> Any:
    """Makes a market in which little is traded, and at times nothing; see `plans.thin`."""
    return lambda _folder: plans.thin(plans.rough(assets, sessions, seed), seed, quiet)


PLAIN_ORDERS = (
    Scenario(
        "plain-orders", "market, limit, stop and stop-limit orders, without a date",
        rough(4, 500, 11), kinds(9, PLAIN, dated=False), engines=LATER,
    ),
    Scenario(
        "plain-orders-on-shares", "the same on recorded prices", five,
        kinds(7, PLAIN, dated=False, often=0.1), is_recorded=True, commission=PERCENT,
        engines=LATER,
    ),
    Scenario(
        "plain-several-orders", "three of them on one asset at a time", rough(2, 300, 8),
        kinds(5, PLAIN, each=3, dated=False), commission=PER_SHARE, engines=LATER,
    ),
    Scenario(
        "plain-missing-bars", "the same, late assets, missing bars", holes,
        kinds(1, PLAIN, dated=False), engines=LATER,
    ),
    Scenario(
        "plain-overdrawn", "purchases and shorts far beyond the cash, which nobody checks",
        rough(4, 300, 3), partial(plans.too_much, seed=1), cash=10_000.0, commission=PERCENT,
        engines=LATER,
    ),
)  # fmt: skip

OF_ZIPLINE = (
    Scenario(
        "fractions-cut", "fractional units where they must be whole", five,
        {**LONG_SHORT, "fractional": True}, is_recorded=True, commission=PERCENT,
        engines=("zipline",),
        known={"zipline": Known(
            "ours",
            "An order that was cut to whole units ends as canceled, for the fraction that is "
            "left of it; theirs never had it (`TradingAlgorithm.round_order`). Fills and money "
            "agree.",
            parts=("orders",),
        )},
    ),
    Scenario(
        "as-shipped", "costs as zipline comes, long and short", five, LONG_SHORT,
        is_recorded=True, as_shipped=True, engines=("zipline",),
    ),
    Scenario(
        "thin-as-shipped", "the same where there is little volume, or none",
        thin(4, 300, 7, 0.1), kinds(3, ("market",), dated=False), as_shipped=True,
        engines=("zipline",),
    ),
    Scenario(
        "thin-minimum", "commission with a minimum on orders that fill in parts",
        thin(4, 400, 8), kinds(4, ("market", "stop"), often=0.1, dated=False), commission=PER_SHARE,
        slippage={"rate": 0.001, "share": 0.1}, engines=("zipline",),
    ),
    Scenario(
        "volume-share", "impact by the share of the volume, long and short", five, LONG_SHORT,
        is_recorded=True, commission=PERCENT, slippage={"impact": 0.1, "share": 0.025},
        engines=("zipline",),
    ),
    Scenario(
        "market-slippage", "market and stop orders with slippage", rough(4, 300, 1),
        kinds(1, ("market", "stop"), dated=False), slippage={"rate": 0.002}, commission=PERCENT,
        engines=("zipline",),
    ),
    Scenario(
        "limit-slippage", "limit orders with slippage", rough(4, 300, 1),
        kinds(1, ("limit", "stop_limit"), dated=False), slippage={"rate": 0.002},
        engines=("zipline",),
        known={"zipline": Known(
            "theirs",
            "A limit order pays more than its limit: `FixedBasisPointsSlippage.process_order` "
            "does not look at it. Ours stays at the limit.",
            cure="limits kept",
        )},
    ),
    Scenario(
        "thin-limits", "limit orders where there is little volume", thin(4, 300, 7),
        kinds(3, ("limit",), dated=False), slippage={"rate": 0.0, "share": 0.1},
        engines=("zipline",),
        known={"zipline": Known(
            "theirs",
            "A limit order that was met once is not asked again (`Order.check_order_triggers`): "
            "what did not fit into the volume fills at any price later on. Ours looks at the "
            "limit each time.",
            cure="limits asked again",
        )},
    ),
    Scenario(
        "thin-several-orders", "three orders on one asset where there is little volume",
        thin(2, 300, 9), kinds(5, ("market",), each=3, dated=False),
        slippage={"impact": 0.1, "share": 0.1}, engines=("zipline",),
        known={"zipline": Known(
            "ours",
            "The impact of a fill is that of its own share of the volume; theirs counts what "
            "orders before it took from the same bar (`VolumeShareSlippage.process_order`).",
        )},
    ),
    Scenario(
        "stop-without-volume", "a stop that is passed in a bar without volume",
        thin(4, 400, 7, 0.1), kinds(3, ("stop",), often=0.1, dated=False), engines=("zipline",),
        known={"zipline": Known(
            "theirs",
            "Bars without volume are not looked at (`SlippageModel.simulate`), so a stop is not "
            "triggered by their prices. Ours is, and fills with the next volume.",
            cure="prices without volume count",
        )},
    ),
    Scenario(
        "levels-on-the-tick", "limits and stops that a close meets to the cent", five,
        kinds(4, PLAIN, dated=False), is_recorded=True, commission=PERCENT, engines=("zipline",),
        known={"zipline": Known(
            "theirs",
            "Limits and stops are rounded to the tick as a multiple of 0.01 in floating point "
            "(`asymmetric_round_price`): 57.30 becomes 57.300000000000004, which a close of "
            "57.30 does not reach. Ours takes the level as it is given.",
            cure="levels as given",
        )},
    ),
    Scenario(
        "weights-rounded", "25 of 110 shares every 21 sessions, as weights", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, commission=PERCENT,
        engines=("zipline",),
        known={"zipline": Known(
            "ours",
            "`order_target_percent` rounds what is to be traded toward zero, so a position that "
            "is cut keeps up to a unit more; ours rounds the target down.",
            cure="targets rounded",
        )},
    ),
    Scenario(
        "end-of-day", "two day orders that are not met on their day",
        hand((100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 97, 97)),
        by_hand(*[{"bar": 0, "type": "limit", "limit": 98.0, "day": True}] * 2),
        engines=("zipline",),
        known={"zipline": Known(
            "theirs",
            "With `EODCancel`, daily bars cancel the first of an asset's orders if there are "
            "several, and none if there is one (`SimulationBlotter.execute_daily_cancel_policy`). "
            "Ours ends both with their session.",
        ), "nautilus": Known(
            "theirs",
            "Day orders do not end with the day: `OrderMatchingEngine.iterate` knows orders with "
            "a time (`GTD`) only. Ours ends them with their session.",
        )},
    ),
)  # fmt: skip

OF_NAUTILUS = (
    Scenario(
        "trailing-stops", "trailing stops and market orders", rough(4, 500, 11),
        kinds(9, ("market", "trailing_stop"), often=0.1, dated=False), engines=("nautilus",),
    ),
    Scenario(
        "trailing-on-shares", "the same on recorded prices", five,
        kinds(5, ("market", "trailing_stop"), often=0.03, dated=False), is_recorded=True,
        commission=PERCENT, engines=("nautilus",),
    ),
    Scenario(
        "market-tick", "market and stop orders with a tick of slippage", rough(4, 300, 1),
        kinds(1, ("market", "stop"), dated=False), slippage={"decimals": 2},
        commission=PERCENT, engines=("nautilus",),
    ),
    Scenario(
        "limit-tick", "limit orders with a tick of slippage", rough(4, 300, 1),
        kinds(1, ("limit", "stop_limit"), dated=False), slippage={"decimals": 2},
        engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "The tick of slippage is put on top of the limit "
            "(`OrderMatchingEngine.apply_fills`), so a limit order pays more than its limit. "
            "Ours never does.",
        )},
    ),
    Scenario(
        "cash-account", "long-only on an account without margin", five,
        {**THRESHOLD, "share": 0.15}, is_recorded=True, commission=PERCENT, is_cash=True,
        engines=("nautilus",),
    ),
    Scenario(
        "cash-account-too-little", "a purchase beyond the cash, without margin", ten,
        by_hand({"bar": 1}, {"bar": 3, "quantity": 200.0}, {"bar": 5, "side": "sell"}),
        cash=10_000.0, is_cash=True, engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "Market orders are not asked for cash where there are only bars "
            "(`RiskEngine._check_orders_risk`); the balance below zero that the fill would leave "
            "(`CashAccount.update_balances`) ends the run, without an error. Ours rejects the "
            "order and goes on.",
        )},
    ),
    Scenario(
        "dated-orders", "orders that are good till a date", rough(4, 500, 11), kinds(9, PLAIN),
        engines=("nautilus",),
    ),
    Scenario(
        "trailing-by-last", "trailing stops that follow the last price", rough(4, 500, 11),
        partial(plans.trails_by_last, seed=9, often=0.1),
        engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "By default (`TriggerType.DEFAULT`) a trailing stop follows the price before the one "
            "of now: `OrderMatchingEngine.iterate` moves it before the last price is set. With "
            "`TriggerType.BID_ASK`, as in the other runs, it follows the price of now, as ours.",
            cure="no delay",
        )},
    ),
    Scenario(
        "trailing-among-orders", "trailing stops among other orders", rough(4, 500, 11),
        kinds(9, TRAILING, dated=False), engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "Orders are sorted by level when one is added (`MatchingCore.sort_bid_orders`), not "
            "when a trailing stop moves, and it follows the price at which a stop before it has "
            "filled. Ours sorts by the levels of now, and follows the price of the bar.",
        )},
    ),
    Scenario(
        "price-left-behind", "a market order at the close, after a stop has filled there",
        hand((100, 101, 99, 100), (100, 101, 94, 94), (94, 95, 93, 94), (94, 95, 93, 94)),
        by_hand(
            {"bar": 0, "quantity": 20.0},
            {"bar": 0, "side": "sell", "type": "stop", "stop": 95.0},
            {"bar": 1, "side": "sell"},
        ),
        engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "A stop that fills at the last price of a bar leaves the market at its level "
            "(`OrderMatchingEngine.determine_market_price_and_volume`), where the next market "
            "order fills instead of at the close. Ours fills it at the close.",
        )},
    ),
    Scenario(
        "money-in-cents", "commission in percent, in money of two decimals", five, LONG_SHORT,
        is_recorded=True, commission=PERCENT, decimals=2, engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "Commission, profits and balances are rounded to the decimals of the currency, two "
            "for dollars (`Money`). Ours rounds nothing. The other runs are in a currency of "
            "twelve decimals.",
            parts=("fills", "bars", "trades"),
            cure="fine money",
        )},
    ),
)  # fmt: skip

JOINED = {
    "nautilus": (
        *("threshold-long", "threshold-long-short", "per-share-minimum", "fractions", "rotation"),
        *("brackets", "brackets-limit", "missing-bars", "one-orders", "one-orders-on-shares"),
        *("one-several-orders", "one-brackets", "one-brackets-limit", "cancel-at-once", "ruin"),
        *("day-order", "stop-limit-through-limit", "overlapping-brackets", "end-of-day"),
    ),
    "zipline": (
        *("threshold-long", "threshold-long-short", "per-share-minimum", "rotation"),
        *("missing-bars", "one-orders-on-shares", "one-several-orders", "cancel-at-once", "ruin"),
    ),
}
"""Engines that play scenarios of the tables above, too."""


def joined(scenario: Scenario) -> Scenario:
    """A scenario with the engines that join in."""
    more = tuple(engine for engine, names in JOINED.items() if scenario.name in names)
    return replace(scenario, engines=(*scenario.engines, *more))


SCENARIOS = {
    scenario.name: joined(scenario)
    for scenario in (
        *(*EVERYWHERE, *SEVERAL_ASSETS, *ONE_ASSET, *OF_BT, *OF_CUT, *DIFFER),
        *(*PLAIN_ORDERS, *OF_NAUTILUS, *OF_ZIPLINE),
    )
}
QUICK = "threshold-rough"
"""The scenario that the default suite plays with every engine that is there."""
