"""What zipline alone plays, or plays otherwise."""

from __future__ import annotations

from tests.parity.plans import by_hand
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import (
    LONG_SHORT,
    PER_SHARE,
    PERCENT,
    PLAIN,
    ROTATION,
    crowd,
    five,
    hand,
    kinds,
    rough,
    thin,
)

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
