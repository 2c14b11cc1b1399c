"""Questions about cash, shorts, fees and slippage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.probes.ask_entries import ENTRY, FALLING, Facts
from tests.parity.probes.common import (
    CALM,
    FLAT,
    TEN,
    Bar,
    Bars,
    Engine,
    Order,
    Run,
    Terms,
    Unsupported,
    calm,
    clean,
    cleaned,
    fill_or_state,
    same,
    which,
)

THREE: dict[str, Bars] = {name: [FLAT] * 8 for name in "ABC"}
TWO: dict[str, Bars] = {name: [FLAT] * 8 for name in "AB"}


def outcome(run: Run, number: int, order: Order) -> str:
    """Filled, filled in part, or what the engine says instead."""
    got = sum(
        f.quantity
        for f in run.fills
        if f.asset == order.asset and f.bar >= order.bar and f.quantity * order.quantity > 0
    )
    if same(got, order.quantity):
        return "filled"
    if got:
        return f"{got:g} of {order.quantity:g}"
    return f"no: {fill_or_state(run, number)}"


def _told(run: Run) -> dict[str, Any]:
    """The evidence of a question about cash."""
    told: dict[str, Any] = {"fills": run.briefs(), "states": run.states}
    told["least cash"] = clean(min(run.cash)) if run.cash else None
    if run.worth:
        told["market value"] = cleaned(run.worth)
    if run.notes:
        told["notes"] = run.notes[:2]
    return told


def cash_check(engine: Engine) -> Facts:
    """At which price is an order checked against cash."""
    at_fill, at_decision = Order(bar=2, quantity=95), Order(bar=3, quantity=98)
    first = engine.run({"A": list(TEN)}, [at_fill], Terms())
    second = engine.run({"A": list(TEN)}, [at_decision], Terms())
    return {
        "affordable when decided, not one bar later": outcome(first, 0, at_fill),
        "affordable one bar later, not when decided": outcome(second, 0, at_decision),
        "evidence": {
            "95 at 104, then 108 to 109": _told(first),
            "98 at 109, then 100": _told(second),
        },
    }


def too_dear(engine: Engine) -> Facts:
    """A purchase of one and a half times the cash."""
    order = Order(bar=1, quantity=150)
    run = engine.run({"A": [FLAT] * 6}, [order], Terms())
    return {
        "outcome": outcome(run, 0, order),
        "cash": clean(run.cash[-1]),
        "run": "goes on" if max(run.calls) == 5 else f"ends in bar {max(run.calls)}",
        "evidence": _told(run),
    }


def cash_for_the_fee(engine: Engine) -> Facts:
    """A purchase for all the cash, with a fee of 1 %."""
    order = Order(bar=1, quantity=100)
    run = engine.run({"A": [FLAT] * 6}, [order], Terms(percent_fee=0.01))
    return {
        "outcome": outcome(run, 0, order),
        "cash": clean(run.cash[-1]),
        "evidence": _told(run),
    }


def batch(engine: Engine) -> Facts:
    """Purchases of 60, 60 and 30 for 100 each, with cash for 100 shares."""
    sizes = {"A": 60, "B": 60, "C": 30}
    orders = [Order(bar=1, quantity=size, asset=name) for name, size in sizes.items()]
    run = engine.run(THREE, orders, Terms())
    words = [outcome(run, number, order) for number, order in enumerate(orders)]
    return {"outcome": "; ".join(words), "evidence": _told(run)}


def resting_orders(engine: Engine) -> Facts:
    """Two limit orders, each for most of the cash, reached later in one bar."""
    bars = calm(4, Bar(94, 95, 92, 93), CALM)
    orders = [Order(bar=2, quantity=80, limit=96, asset=name) for name in "AB"]
    run = engine.run({"A": bars, "B": bars}, orders, Terms())
    words = [outcome(run, number, order) for number, order in enumerate(orders)]
    return {"outcome": "; ".join(words), "evidence": _told(run)}


def sale_pays(engine: Engine) -> Facts:
    """Does a sale pay for a purchase of the same bar."""
    entry = Order(bar=1, quantity=90)
    sale, purchase = Order(bar=3, quantity=-90), Order(bar=3, quantity=90, asset="B")

    def one(*orders: Order) -> tuple[str, Any]:
        run = engine.run(TWO, [entry, *orders], Terms())
        return outcome(run, 1 + orders.index(purchase), purchase), _told(run)

    first, second = one(sale, purchase), one(purchase, sale)
    entry = Order(bar=1, quantity=90, asset="B")
    sale, purchase = Order(bar=3, quantity=-90, asset="B"), Order(bar=3, quantity=90)
    third = one(sale, purchase)
    return {
        "sale of A sent, then purchase of B": first[0],
        "purchase of B sent, then sale of A": second[0],
        "sale of B sent, then purchase of A": third[0],
        "evidence": {"after": first[1], "before": second[1], "other assets": third[1]},
    }


def short_sale(engine: Engine) -> Facts:
    """Short sales of half and of five times the equity."""
    half, five = Order(bar=1, quantity=-50), Order(bar=1, quantity=-500)
    run = engine.run({"A": [FLAT] * 6}, [half], Terms(may_short=True))
    more = engine.run({"A": [FLAT] * 6}, [five], Terms(may_short=True))
    usual = engine.run({"A": [FLAT] * 6}, [half], Terms())
    return {
        "half": outcome(run, 0, half),
        "five times": outcome(more, 0, five),
        "cash after the half": clean(run.cash[-1]),
        "without asking for it": outcome(usual, 0, half),
        "evidence": {"half": _told(run), "five times": _told(more), "usual": _told(usual)},
    }


def short_pays(engine: Engine) -> Facts:
    """Short for 5,000 with 10,000 in cash, then a purchase for 14,000."""
    orders = [Order(bar=1, quantity=-50), Order(bar=3, quantity=140, asset="B")]
    run = engine.run(TWO, orders, Terms(may_short=True))
    return {
        "purchase": outcome(run, 1, orders[1]),
        "cash": clean(run.cash[-1]),
        "evidence": _told(run),
    }


def ruin(engine: Engine) -> Facts:
    """Equity below zero: short 90 at 100, then the price is 300."""
    bars: Bars = [*[FLAT] * 4, *[Bar(300, 300, 300, 300)] * 3]
    run = engine.run({"A": bars}, [Order(bar=1, quantity=-90)], Terms(may_short=True))
    fill = run.first(after=3)
    return {
        "afterwards": "goes on" if max(run.calls) == 6 else f"not asked after bar {max(run.calls)}",
        "position": clean(run.held()),
        "closed": f"bar {fill.bar} at {fill.price:g}" if fill else "no",
        "last equity": clean((run.worth or run.equity)[-1]),
        "evidence": {**_told(run), "equity": cleaned(run.equity)},
    }


def percent_fee(engine: Engine) -> Facts:
    """A fee of 1 %, with slippage of 1 %: of which price, taken when."""
    wide: Bars = [Bar(100, 120, 80, 100)] * 6
    orders = [Order(bar=1, quantity=90), Order(bar=3, quantity=-90)]
    run = engine.run({"A": wide}, orders, Terms(percent_fee=0.01, slippage=0.01))
    buy, sell = run.fills
    base = {"price_of_the_fill": round(0.9 * buy.price, 2), "price_before_slippage": 90.0}
    paid = 10_000 - run.cash[buy.bar - min(run.calls)]
    taken = {"with_the_price": 90 * buy.price + buy.fee, "alone": buy.fee, "not_yet": 0.0}
    odd: Bars = [Bar(33.33, 33.33, 33.33, 33.33)] * 6
    cent = engine.run({"A": odd}, [Order(bar=1, quantity=3)], Terms(percent_fee=0.001)).fills[0]
    return {
        "1 % of the": which(buy.fee, **base),
        "rounded": which(cent.fee, no=0.09999, to_cents=0.1),
        "sales pay too": "yes" if sell.fee else "no",
        "taken from cash in the bar of the fill": which(paid, **taken),
        "evidence": {
            "fills": run.briefs(),
            "cash": cleaned(run.cash),
            "0.1 % of 99.99": clean(cent.fee),
        },
    }


def share_fee(engine: Engine) -> Facts:
    """A fee of 0.05 a share, at least 1."""
    try:
        return _share_fee(engine, 1.0)
    except Unsupported as reason:
        return {**_share_fee(engine, 0.0), "minimum": f"unsupported: {reason}"}


def _share_fee(engine: Engine, least: float) -> Facts:
    terms = Terms(share_fee=0.05, least_fee=least)
    fees = {}
    for size in (10, 80):
        run = engine.run({"A": [FLAT] * 6}, [Order(bar=1, quantity=size)], terms)
        fees[size] = run.fills[0].fee
    return {
        "fee of 10 shares": clean(fees[10]),
        "fee of 80 shares": clean(fees[80]),
        "evidence": {str(size): clean(fee) for size, fee in fees.items()},
    }


def slippage(engine: Engine) -> Facts:
    """Slippage of 1 % on market orders; is it kept inside the bar."""

    def prices(bar: Bar) -> tuple[list[str], Any]:
        run = engine.run(
            {"A": [bar] * 6}, [ENTRY, Order(bar=3, quantity=-10)], Terms(slippage=0.01)
        )
        known = {"high": bar.high, "low": bar.low, "unslipped": 100.0}
        slipped = {
            "1_%_above": 101.0,
            "1_%_below": 99.0,
            "a_cent_above": 100.01,
            "a_cent_below": 99.99,
        }
        return [which(fill.price, **known, **slipped) for fill in run.fills], run.briefs()

    wide, narrow = prices(Bar(100, 120, 80, 100)), prices(Bar(100, 100.4, 99.6, 100))
    return {
        "wide bar, buy and sell": ", ".join(wide[0]),
        "narrow bar, buy and sell": ", ".join(narrow[0]),
        "evidence": {"wide": wide[1], "narrow": narrow[1]},
    }


def slippage_elsewhere(engine: Engine) -> Facts:
    """Slippage of 1 % on limit and stop orders inside the bar."""
    found: Facts = {}
    evidence: Facts = {}
    orders = {
        "limit": [Order(bar=2, quantity=10, limit=96)],
        "stop": [ENTRY, Order(bar=2, quantity=-10, stop=96)],
    }
    for kind, sent in orders.items():
        try:
            run = engine.run({"A": FALLING}, sent, Terms(slippage=0.01))
        except Unsupported as reason:
            if kind == "stop" and not evidence:
                raise
            found[kind] = f"unsupported: {reason}"
            continue
        evidence[kind] = run.briefs()
        if len(run.fills) < len(sent):
            found[kind] = "never filled"
            continue
        last = run.fills[-1]
        bar = FALLING[last.bar] or CALM
        sign = 1 if kind == "limit" else -1
        worse = 1 + sign * 0.01
        levels = {
            "level": 96.0,
            "1_%_worse": 96 * worse,
            "1_%_worse_than_the_close": bar.close * worse,
            "1_%_worse_than_the_middle": round(bar.mid * worse, 2),
            "a_cent_worse": 96 + sign * 0.01,
            "1_%_worse_than_4_below_the_entry": (run.fills[0].price - 4) * worse,
        }
        found[kind] = which(last.price, **levels)
    return {**found, "evidence": evidence}


def defaults(engine: Engine) -> Facts:
    """Cash, fee and slippage when nothing is set."""
    small: Bars = [Bar(1, 1, 1, 1)] * 6
    run = engine.run({"A": small}, [ENTRY], Terms(cash=None, as_shipped=True))
    fill = run.fills[0]
    return {
        "cash": "must be given" if engine.needs_cash else clean(run.equity[0]),
        "fee of 10 shares": clean(fill.fee),
        "slippage": f"{clean(1e4 * (fill.price - 1))} bp",
        "evidence": {"fills": run.briefs(), "first equity": clean(run.equity[0])},
    }


QUESTIONS: tuple[Callable[[Engine], Facts], ...] = (
    cash_check,
    too_dear,
    cash_for_the_fee,
    batch,
    resting_orders,
    sale_pays,
    short_sale,
    short_pays,
    ruin,
    percent_fee,
    share_fee,
    slippage,
    slippage_elsewhere,
    defaults,
)
