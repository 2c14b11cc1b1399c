"""What is played on both sides, and where the sides are known to differ."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.scenario import Scenario
from tests.parity.scenarios.backtesting import OF_BACKTESTING
from tests.parity.scenarios.backtrader import OF_BACKTRADER
from tests.parity.scenarios.bt import DIFFERENT_IN_BT, OF_BT
from tests.parity.scenarios.cutting import OF_CUT
from tests.parity.scenarios.later import PLAIN_ORDERS
from tests.parity.scenarios.nautilus import OF_NAUTILUS
from tests.parity.scenarios.shared import EVERYWHERE, ONE_ASSET, SEVERAL_ASSETS
from tests.parity.scenarios.zipline import OF_ZIPLINE

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
        *(*EVERYWHERE, *SEVERAL_ASSETS, *ONE_ASSET, *OF_BT, *OF_CUT),
        *(*OF_BACKTRADER, *OF_BACKTESTING, *DIFFERENT_IN_BT),
        *(*PLAIN_ORDERS, *OF_NAUTILUS, *OF_ZIPLINE),
    )
}
QUICK = "threshold-rough"
"""The scenario that the default suite plays with every engine that is there."""
