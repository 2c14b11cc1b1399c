"""What backtesting.py plays otherwise."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.plans import by_hand
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import (
    LONG_SHORT,
    PER_SHARE,
    PERCENT,
    apple,
    hand,
    kinds,
    rough,
    ten,
)

ONE = ("backtesting.py",)

OF_BACKTESTING = (
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
            "spread (`_close_trade` and `_open_trade` in `_process_orders`). That is the average "
            "of the two: quantities, money and equity agree, and what each of the two trades "
            "gained does not.",
            parts=("trades",),
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
        "lots-with-minimum", "several purchases closed at once, commission with a minimum", ten,
        by_hand({"bar": 1}, {"bar": 2}, {"bar": 3}, {"bar": 5, "side": "sell", "quantity": 30.0}),
        commission=PER_SHARE, engines=ONE,
        known={"backtesting.py": Known(
            "theirs",
            "A position is so many trades, one for each purchase, and each of them pays the "
            "commission of its closing (`_Broker._close_trade`). Ours is one position.",
            parts=("fills", "bars", "trades"),
            cure="one trade",
        )},
    ),
    Scenario(
        "lots-and-exits", "a sale that closes the units of a bracket, among others", ten,
        by_hand(
            {"bar": 1, "stop_loss": 93.0, "take_profit": 115.0},
            {"bar": 2},
            {"bar": 3, "side": "sell"},
        ),
        engines=ONE,
        known={"backtesting.py": Known(
            "theirs",
            "An order closes the oldest trades first, and the exits of a trade end with it "
            "(`_Broker._close_trade`). Ours belong to the position: they stay while there is one.",
        )},
    ),
)  # fmt: skip
