"""Plain orders, without a date, for engines that have no others in common."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.scenario import Scenario
from tests.parity.scenarios.common import PER_SHARE, PERCENT, PLAIN, five, holes, kinds, rough

LATER = ("nautilus", "zipline")

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
