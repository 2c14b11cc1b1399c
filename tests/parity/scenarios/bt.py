"""What bt alone plays: weights."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import PERCENT, ROTATION, crowd, late, rough

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

DIFFERENT_IN_BT = (
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
    Scenario(
        "weights-of-late-assets", "2 of 6 assets every 3 sessions, of which five start late", late,
        {**ROTATION, "as_weights": True, "every": 3, "top": 2}, engines=("bt",),
    ),
)  # fmt: skip
