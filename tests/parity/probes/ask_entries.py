"""Questions about market and limit orders, and about several orders at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.probes.common import (
    CALM,
    FLAT,
    TEN,
    Bar,
    Bars,
    Engine,
    Fill,
    Order,
    Run,
    Terms,
    calm,
    clean,
    distance,
    fill_or_state,
    mirrored,
    same,
    which,
)

Facts = dict[str, Any]
ENTRY = Order(bar=1, quantity=10)
EVE = Bar(99, 100.5, 98.5, 100)  # a close of 100, which the other prices are not
BY_BAR = {3: "low or high", 4: "middle of low and high", 5: "close"}
# From bar 3 on, first the low is below 96, then the middle, then the close.
FALLING = calm(
    3,
    Bar(100, 101, 94, 100),
    Bar(100, 100.5, 90, 99.5),
    Bar(100, 100.5, 94.5, 95.5),
    CALM,
)
GAP = calm(3, Bar(94, 95, 92, 93), CALM)
TOUCHES = {
    "low or high": Bar(100, 101, 96, 99),
    "middle of low and high": Bar(99, 100, 92, 99),
    "close": Bar(100, 101, 96, 96),
}
THROUGH = Bar(97, 98, 80, 85)


def alike(buy: tuple[str, Any], sell: tuple[str, Any]) -> Facts:
    """One rule where both sides have the same, with the evidence of both."""
    evidence = {"buy": buy[1], "sell": sell[1]}
    if buy[0] == sell[0]:
        return {"rule": buy[0], "evidence": evidence}
    return {"buy": buy[0], "sell": sell[0], "evidence": evidence}


def place(fill: Fill | None, bars: Bars, sent: int, **levels: float) -> str:
    """When and at which price."""
    if fill is None:
        return "never filled"
    bar = bars[fill.bar]
    prices = bar.prices() if bar else {}
    return f"{distance(sent, fill.bar)}, at {which(fill.price, **levels, **prices)}"


def market_order(engine: Engine) -> Facts:
    """When and where a market order fills."""
    run = engine.run({"A": list(TEN)}, [ENTRY, Order(bar=5, quantity=-10)], Terms())
    buy, sell = run.fills
    return {
        "buy": place(buy, list(TEN), 1),
        "sell": place(sell, list(TEN), 5),
        "evidence": {"sent in": [1, 5], "fills": run.briefs()},
    }


def _limit(engine: Engine, side: int, bars: Bars, offset: float) -> tuple[Run, Fill | None, float]:
    """A limit order so far from 100, sent in bar 2; bars are for a buy."""
    level = 100 - side * offset
    order = Order(bar=2, quantity=10 * side, limit=level)
    if side > 0:
        run = engine.run({"A": bars}, [order], Terms())
        return run, run.first(), level
    run = engine.run({"A": mirrored(bars)}, [ENTRY, order], Terms())
    return run, run.first(after=run.fills[0].bar), level


def limit_trigger(engine: Engine) -> Facts:
    """What triggers a limit order, and its price then."""

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _limit(engine, side, FALLING, 4)
        bars = FALLING if side > 0 else mirrored(FALLING)
        bar = bars[fill.bar] if fill else None
        if fill is None or bar is None:
            return "never filled", run.briefs()
        price = which(fill.price, limit=level, **bar.prices())
        return f"the {BY_BAR[fill.bar]}; at {price}", {"limit": level, "fills": run.briefs()}

    return alike(one(1), one(-1))


def limit_touch(engine: Engine) -> Facts:
    """Is touching the limit enough."""
    trigger = _limit(engine, 1, FALLING, 4)[1]
    if trigger is None:
        return {"rule": "never filled", "evidence": []}

    def one(side: int) -> tuple[str, Any]:
        bars = calm(3, TOUCHES[BY_BAR[trigger.bar]], THROUGH)
        run, fill, level = _limit(engine, side, bars, 4)
        is_enough = "yes" if fill and fill.bar == 3 else "no"
        return is_enough, {"limit": level, "fills": run.briefs()}

    return alike(one(1), one(-1))


def limit_gap(engine: Engine) -> Facts:
    """The price of a limit order when the bar opens beyond the limit."""

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _limit(engine, side, GAP, 4)
        bars = GAP if side > 0 else mirrored(GAP)
        return place(fill, bars, 2, limit=level), {"limit": level, "fills": run.briefs()}

    return alike(one(1), one(-1))


def marketable_limit(engine: Engine) -> Facts:
    """A limit order that could fill at once when it is sent."""
    bars = [*calm(2), EVE, Bar(101, 103, 98, 102.5), CALM]

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _limit(engine, side, bars, -5)
        shown = bars if side > 0 else mirrored(bars)
        return place(fill, shown, 2, limit=level), {"limit": level, "fills": run.briefs()}

    return alike(one(1), one(-1))


def time_in_force(engine: Engine) -> Facts:
    """How long a limit order rests, by default."""
    bars = calm(6, Bar(94, 95, 92, 93), CALM)
    order = Order(bar=2, quantity=10, limit=96)
    run = engine.run({"A": bars}, [order], Terms(as_shipped=True))
    rests = bool(run.fills)
    return {
        "default": "until it is cancelled" if rests else "given up before bar 6",
        "evidence": {"sent in": 2, "first reached in": 6, "fills": run.briefs()},
    }


def day_order(engine: Engine) -> Facts:
    """An order for the day, on daily bars."""

    def one(bar: int) -> tuple[str, Any]:
        bars = calm(bar, Bar(94, 95, 92, 93), CALM)
        run = engine.run({"A": bars}, [Order(bar=2, quantity=10, limit=96, day=True)], Terms())
        fill = run.first()
        if fill:
            return "filled", run.briefs()
        return fill_or_state(run, 0), {"state": fill_or_state(run, 0)}

    next_bar, later = one(3), one(5)
    bars = calm(5, Bar(94, 95, 92, 93), CALM)
    order = Order(bar=2, quantity=10, limit=96, day=True)
    two = engine.run({"A": bars}, [order, order], Terms())
    return {
        "reached in the next bar": next_bar[0],
        "reached later": later[0],
        "two of an asset, reached later": "; ".join(two.states),
        "evidence": {"next bar": next_bar[1], "later": later[1], "two": two.briefs()},
    }


def order_of_fills(engine: Engine) -> Facts:
    """The order in which the orders of one bar are executed."""
    markets: dict[str, Bars] = {"A": calm(7), "B": calm(7)}
    held = Order(bar=1, quantity=10, asset="B")
    buy_a, buy_b = Order(bar=1, quantity=10), Order(bar=1, quantity=10, asset="B")
    sell = Order(bar=3, quantity=-10, asset="B")
    buy = Order(bar=3, quantity=10)

    def sequence(*orders: Order) -> str:
        fills = engine.run(markets, list(orders), Terms()).fills
        late = [fill for fill in fills if fill.bar == fills[-1].bar]
        return ", ".join(f"{'buy' if f.quantity > 0 else 'sell'} {f.asset}" for f in late)

    found = {
        "sent buy A, buy B": sequence(buy_a, buy_b),
        "sent buy B, buy A": sequence(buy_b, buy_a),
        "sent buy A, sell B": sequence(held, buy, sell),
        "sent sell B, buy A": sequence(held, sell, buy),
    }
    if all(sent == f"sent {done}" for sent, done in found.items()):
        rule = "as sent"
    elif found["sent buy A, sell B"].startswith("sell"):
        rule = "sales first, then by asset"
    else:
        rule = "by asset"
    return {"rule": rule, "evidence": found}


def two_orders(engine: Engine) -> Facts:
    """Two orders for one asset in one bar."""

    def quantities(*sizes: float) -> list[int]:
        orders = [Order(bar=1, quantity=size) for size in sizes]
        run = engine.run({"A": calm(6)}, orders, Terms(may_short=True))
        return [int(fill.quantity) for fill in run.fills]

    two, mixed = quantities(10, 5), quantities(10, -4)
    words = {(10, 5): "two fills", (15,): "one fill of the sum", (10,): "the first only"}
    mix = {(10, -4): "two fills, as sent", (-4, 10): "two fills, sale first", (6,): "one net fill"}
    return {
        "buys of 10 and 5": words.get(tuple(two), str(two)),
        "buy 10, sell 4": mix.get(tuple(mixed), str(mixed)),
        "evidence": {"two buys": two, "buy and sell": mixed},
    }


def reversal(engine: Engine) -> Facts:
    """From long 10 to short 15 by selling 25, with a fee of 1 %."""
    orders = [ENTRY, Order(bar=3, quantity=-25)]
    terms = Terms(percent_fee=0.01, may_short=True)
    run = engine.run({"A": [FLAT] * 6}, orders, terms)
    sales = [fill for fill in run.fills if fill.quantity < 0]
    fee = sum(fill.fee for fill in sales)
    return {
        "sales": ", ".join(f"{fill.quantity:g}" for fill in sales) or "none",
        "position": clean(run.held()),
        "fee": "on the whole" if same(fee, 25) else f"{fee:g}",
        "evidence": {"fills": run.briefs(), "states": run.states},
    }


QUESTIONS: tuple[Callable[[Engine], Facts], ...] = (
    market_order,
    limit_trigger,
    limit_touch,
    limit_gap,
    marketable_limit,
    time_in_force,
    day_order,
    order_of_fills,
    two_orders,
    reversal,
)
