"""What backtrader alone plays, or plays otherwise."""

from __future__ import annotations

from tests.parity.plans import by_hand
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import (
    PERCENT,
    ROTATION,
    bracketed,
    crowd,
    ended,
    hand,
    holes,
    kinds,
    rough,
    ten,
)

OF_BACKTRADER = (
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
        "brackets-too-little-cash", "brackets of which the cash does not pay for all orders",
        rough(4, 250, 71), bracketed(15, limit=False, every=15), cash=2_500.0, commission=PERCENT,
        engines=("backtrader",),
    ),
    Scenario(
        "brackets-limit-too-little-cash", "the same with limit entries", rough(4, 250, 71),
        bracketed(16, limit=True, every=15), cash=2_500.0, commission=PERCENT,
        engines=("backtrader",),
    ),
    Scenario(
        "turn-of-a-target", "a target and an order that was sent after its bracket, in one bar",
        ten,
        by_hand(
            {
                "bar": 3, "type": "limit", "limit": 98.0, "stop_loss": 80.0,
                "take_profit": 102.5,
            },
            {"bar": 3, "side": "sell", "type": "limit", "limit": 102.0},
        ),
        engines=("backtrader", "backtesting.py"),
    ),
    Scenario(
        "dated-order-without-bars", "an order with a date on an asset that has ended", ended,
        by_hand({
            "bar": 1, "asset": "B", "type": "limit", "limit": 50.0, "until": "2024-01-10",
        }),
        engines=("backtrader",),
        known={"backtrader": Known(
            "theirs",
            "An order's date is compared with the last bar of its asset (`Order.expire`): "
            "when there are no more, it stays open for ever. Ours ends it with its date.",
            parts=("orders",),
        )},
    ),
    Scenario(
        "targets", "25 of 110 shares every 21 sessions, as targets in percent", crowd,
        {**ROTATION, "as_weights": True}, is_recorded=True, cash=1e6, commission=PERCENT,
        engines=("backtrader",),
        known={"backtrader": Known(
            "ours",
            "Sizes are any fraction, but what `order_target_percent` comes to is not: the change "
            "is rounded to whole units, toward zero (`CommInfoBase.getsize`). Ours trades the "
            "fraction, or with `fractional=False` a whole target. Without the rounding, the "
            "quantities agree to a relative 1e-9.",
            quantities=1e-9,
            cure="targets in fractions",
        )},
    ),
)  # fmt: skip
