"""What engines play that cut orders to the cash, in one row or at one price of a bar."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.plans import by_hand
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import (
    PER_SHARE,
    PERCENT,
    ROTATION,
    crowd,
    crowd_in_cents,
    five,
    hand,
    holes,
    kinds,
    pair,
    rough,
    ten,
)
from tests.parity.scenarios.shared import CUT_BY_DIVISION, CUT_TO_DIGITS

DEAR = {"kind": "per_share", "per_share": 0.05, "minimum": 0.5}
TENTH = {"stop_loss": {"percent": 0.1}}

CUT = ("vectorbt", "pybroker")
LOTS = (
    "A short is so many lots, and what is covered are the oldest of them (`Portfolio._cover`): the "
    "collateral of those that are left is their price of sale. Ours has one average price."
)

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
    Scenario(
        "weights-by-value", 'likewise, sales first (`call_seq="auto"`)', crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, commission=PERCENT,
        fractional=True, by_value=True, engines=("vectorbt",), known={"vectorbt": CUT_BY_DIVISION},
    ),
    Scenario(
        "cut-by-value", "purchases beyond the cash, by their value", rough(4, 300, 3),
        partial(plans.cut, seed=1, short=False), cash=20_000.0, commission=PERCENT, by_value=True,
        engines=("vectorbt",),
    ),
    Scenario(
        "cut-with-slippage", "orders beyond the cash, long and short, with slippage",
        rough(4, 300, 71), partial(plans.cut, seed=54, short=True), cash=8_000.0,
        commission=PERCENT, slippage={"rate": 0.003}, engines=CUT,
        known={"pybroker": Known("ours", LOTS, cure="lots at average")},
    ),
    Scenario(
        "cut-with-fee", "orders beyond the cash, commission per share", rough(4, 300, 3),
        partial(plans.cut, seed=1, short=False), cash=20_000.0, commission=DEAR, engines=CUT,
        known={"vectorbt": Known(
            "theirs",
            "There is no commission per share: it is a fixed fee (`fixed_fees`) of the order as it "
            "was asked for, and stays when the order is cut (`buy_nb`). Ours is that of the units "
            "that are traded.",
        )},
    ),
)  # fmt: skip
