"""Questions about quantities: whole shares, targets, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.probes.ask_entries import ENTRY, Facts
from tests.parity.probes.common import (
    FLAT,
    TEN,
    Bar,
    Bars,
    Engine,
    Order,
    Run,
    Terms,
    clean,
    cleaned,
    fill_or_state,
    same,
    which,
)

SIZES = (10.7, 2.5, 3.5, 0.4, 10.99995, -10.7)
TWO: dict[str, Bars] = {name: [FLAT] * 8 for name in "AB"}


def fractions(engine: Engine) -> Facts:
    """Fractions of shares."""
    found: dict[str, str] = {}
    for size in SIZES:
        order = Order(bar=1, quantity=size)
        terms = Terms(may_short=size < 0)
        run = engine.run({"A": [FLAT] * 6}, [order], terms)
        found[str(size)] = str(clean(run.held())) if run.fills else f"no: {fill_or_state(run, 0)}"
    return {"rule": _rounding(found), "evidence": found}


def _rounding(found: dict[str, str]) -> str:
    """The name of what was done to the sizes."""
    got = tuple(found.values())
    if all(size == value for size, value in found.items()):
        return "kept"
    if found["10.7"].startswith("no"):
        words = f"refused ({found['10.7'][4:]})"
        less = "" if found["0.4"].startswith("no") else f"; 0.4 gives {found['0.4']}"
        return words + less
    down = {"10.7": "10", "2.5": "2", "3.5": "3"}
    if all(found[size] == value for size, value in down.items()):
        near = "; 10.99995 is 11" if found["10.99995"] == "11" else ""
        return ("toward zero" if found["-10.7"] == "-10" else "down") + near
    if (found["2.5"], found["3.5"]) == ("2", "4"):
        return "to the nearest, halves to even"
    return "to the nearest" if found["10.7"] == "11" else str(got)


def fractions_on_request(engine: Engine) -> Facts:
    """Fractions of shares, where they can be asked for."""
    order = Order(bar=1, quantity=10.7)
    run = engine.run({"A": [FLAT] * 6}, [order], Terms(fractional=True))
    held = run.held()
    return {"10.7 shares": clean(held), "evidence": {"fills": run.briefs(), "states": run.states}}


def _units(quantity: float, whole: dict[str, float]) -> str:
    """The candidates for a quantity, exact or rounded down."""
    exact = which(quantity, **whole)
    if not exact.startswith("none"):
        return exact
    floors = {name: float(int(value)) for name, value in whole.items()}
    return f"{which(quantity, **floors)}, rounded down"


def target_price(engine: Engine) -> Facts:
    """The price that sizes a target of half the equity."""
    run = engine.run({"A": list(TEN)}, [Order(bar=2, fraction=0.5)], Terms(cash=1_000_000))
    prices = {
        "close_of_the_decision": 104.0,
        "next_open": 108.0,
        "next_middle": 108.5,
        "next_close": 109.0,
    }
    held = run.held()
    return {
        "price": _units(held, {name: 500_000 / price for name, price in prices.items()}),
        "evidence": {"quantity": clean(held), "fills": run.briefs()},
    }


def target_equity(engine: Engine) -> Facts:
    """The equity that sizes a target: at which prices."""
    other: Bars = [Bar(10, 10, 10, 10)] * 8
    first: Bars = [*[FLAT] * 3, Bar(110, 125, 105, 120), *[Bar(130, 150, 128, 140)] * 4]
    orders = [Order(bar=1, quantity=50), Order(bar=3, fraction=0.4, asset="B")]
    run = engine.run({"A": first, "B": other}, orders, Terms())
    values = {
        "at_the_start": 10_000.0,
        "at_the_close_of_the_decision": 11_000.0,
        "at_the_next_open": 11_500.0,
        "at_the_next_middle": 11_950.0,
        "at_the_next_close": 12_000.0,
    }
    held = run.held("B")
    return {
        "equity": _units(held, {name: 0.4 * value / 10 for name, value in values.items()}),
        "evidence": {"quantity": clean(held), "fills": run.briefs()},
    }


def target_twice(engine: Engine) -> Facts:
    """The same target twice in one bar."""
    order = Order(bar=2, fraction=0.4)
    once = engine.run({"A": list(TEN)}, [order], Terms()).held()
    twice = engine.run({"A": list(TEN)}, [order, order], Terms())
    held = twice.held()
    price = twice.fills[0].price if twice.fills else 1.0
    rest = int(0.4 * (10_000 - once * price) / price)
    known = {"as_if_sent_once": once, "doubled": 2 * once, "again_of_the_rest": once + rest}
    return {
        "position": which(held, **known),
        "evidence": {"once": clean(once), "twice": twice.briefs()},
    }


def rotation(engine: Engine) -> Facts:
    """From 90 % in A to 90 % in B, with a fee of 1 %."""
    start = Order(bar=1, fraction=0.9)
    out, into = Order(bar=3, fraction=0.0), Order(bar=3, fraction=0.9, asset="B")

    def one(*orders: Order) -> tuple[str, Any]:
        run = engine.run(TWO, [start, *orders], Terms(percent_fee=0.01))
        late = [fill for fill in run.fills if fill.bar > 2]
        words = ", ".join(f"{fill.quantity:g} {fill.asset}" for fill in late)
        return words or "none", {"fills": run.briefs(), "cash": clean(run.cash[-1])}

    first, second = one(out, into), one(into, out)
    return {
        "sale sent first": first[0],
        "purchase sent first": second[0],
        "evidence": {"sale first": first[1], "purchase first": second[1]},
    }


def all_in(engine: Engine) -> Facts:
    """A target of the whole equity at 30 a share, with a fee of 1 %."""
    bars: Bars = [Bar(30, 30, 30, 30)] * 6
    run = engine.run({"A": bars}, [Order(bar=1, fraction=1.0)], Terms(percent_fee=0.01))
    held = run.held()
    afford = 10_000 / (30 * 1.01)
    sizes = {
        "as_many_as_can_be_paid_with_fee": afford,
        "as_many_as_can_be_paid_without_fee": 10_000 / 30,
    }
    return {
        "shares": _units(held, sizes) if held else f"none: {fill_or_state(run, 0)}",
        "cash": clean(run.cash[-1]),
        "evidence": {"fills": run.briefs(), "states": run.states},
    }


def equity_mark(engine: Engine) -> Facts:
    """The price that values a position in the bar of its entry."""
    run: Run = engine.run({"A": list(TEN)}, [ENTRY], Terms())
    fill = run.fills[0]
    bar = TEN[fill.bar]
    value = run.equity[fill.bar - min(run.calls)]
    known = {name: 10_000 + 10 * (price - fill.price) for name, price in bar.prices().items()}
    return {
        "marked at": which(value, **known),
        "evidence": {"fill": fill.brief(), "equity": cleaned(run.equity)},
    }


def closed_trades(engine: Engine) -> Facts:
    """Profit of a trade: 10 at 100, 10 at 110, 10 sold at 120, the rest at 130."""
    bars: Bars = []
    for price in (100, 110, 120, 130):
        bars += [Bar(price, price, price, price)] * 3
    orders = [
        Order(bar=1, quantity=10),
        Order(bar=4, quantity=10),
        Order(bar=7, quantity=-10),
        Order(bar=10, quantity=-10),
    ]
    run = engine.run({"A": [*bars, *bars[-2:]]}, orders, Terms())
    known = {
        (200, 200): "first in, first out",
        (150, 250): "average price",
        (400,): "one trade, until flat",
    }
    profits = [clean(profit) for profit in run.profits]
    name = next((n for sums, n in known.items() if _all_same(run.profits, sums)), str(profits))
    return {"rule": name, "evidence": {"profits": profits, "fills": run.briefs()}}


def _all_same(values: list[float], others: tuple[float, ...]) -> bool:
    return len(values) == len(others) and all(map(same, values, others))


QUESTIONS: tuple[Callable[[Engine], Facts], ...] = (
    fractions,
    fractions_on_request,
    target_price,
    target_equity,
    target_twice,
    rotation,
    all_in,
    equity_mark,
    closed_trades,
)
