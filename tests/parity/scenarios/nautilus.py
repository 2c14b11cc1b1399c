"""What nautilus alone plays, or plays otherwise."""

from __future__ import annotations

from functools import partial

from tests.parity import plans
from tests.parity.plans import by_hand
from tests.parity.scenario import Known, Scenario
from tests.parity.scenarios.common import (
    LONG_SHORT,
    PERCENT,
    PLAIN,
    THRESHOLD,
    bracketed,
    five,
    hand,
    kinds,
    rough,
    ten,
)

TRAILING = ("market", "limit", "stop", "trailing_stop")

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
            "A stop that fills at the last price of a bar, when no other order of its asset is "
            "left, leaves the market at its level "
            "(`OrderMatchingEngine.determine_market_price_and_volume`, `iterate`), where the next "
            "market order fills instead of at the close, and a new stop counts as passed. Ours "
            "takes the close.",
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
    Scenario(
        "same-price-again", "a bar whose high is its open, and one that opens at the last close",
        hand(
            (100, 101, 99, 100), (105, 105, 103, 103.2), (103.2, 106, 103, 104),
            (104, 105, 103, 104),
        ),
        by_hand(
            {"bar": 0, "side": "sell", "type": "limit", "limit": 102.0},
            {"bar": 0, "side": "sell", "type": "limit", "limit": 103.5},
        ),
        engines=("nautilus",),
    ),
    Scenario(
        "brackets-behind-others", "limit brackets among those before them", rough(1, 400, 72),
        bracketed(35, limit=True, every=2), commission=PERCENT, engines=("nautilus",),
    ),
    Scenario(
        "dated-order-in-a-gap", "a stop that the open after its date has passed", ten,
        by_hand({"bar": 1, "type": "stop", "stop": 106.0, "until": "2024-01-04"}),
        engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "An order is matched before anybody looks at its time (`OrderMatchingEngine.iterate`), "
            "so the first price after it can still fill it. Ours has expired by then.",
        )},
    ),
    Scenario(
        "four-orders", "four orders on one asset at a time, stop-limits among them",
        rough(4, 250, 71), kinds(72, PLAIN, each=4, dated=False), commission=PERCENT,
        engines=("nautilus",),
        known={"nautilus": Known(
            "theirs",
            "A stop-limit that is triggered keeps its place among the orders, that of its stop, "
            "until another order comes (`MatchingCore.sort_ask_orders`); ours takes that of its "
            "limit at once. Two orders of one bar change places, and so what each trade gained.",
            parts=("trades",),
        )},
    ),
)  # fmt: skip
