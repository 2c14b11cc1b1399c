"""What several engines play: the strategies, costs and orders that nearly all of them know."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.plans import by_hand
from tests.parity.scenario import ENGINES, Known, Scenario
from tests.parity.scenarios.common import (
    LONG_SHORT,
    PER_SHARE,
    PERCENT,
    ROTATION,
    THRESHOLD,
    apple,
    bracketed,
    crowd,
    five,
    holes,
    kinds,
    rough,
    ten,
)

MANY: tuple[str, ...] = ("backtrader", "bt")
ONE = ("backtesting.py",)
MANY += ("vectorbt", "pybroker")
PER_ORDER = tuple(engine for engine in MANY if engine != "vectorbt")
QUEUES = ("backtrader", "backtesting.py")

FLIPPED_COSTS = Known(
    "ours",
    "The commission of a fill that turns a position around belongs to the trade it closes and to "
    "the one it opens in proportion to their units (`results/trades.py`); theirs charges each "
    "part by itself. The sum, the cash and the equity agree.",
    parts=("trades",),
)
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
