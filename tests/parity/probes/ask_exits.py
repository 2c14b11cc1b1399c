"""Questions about stops, trailing stops and brackets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.parity.probes.ask_entries import (
    BY_BAR,
    ENTRY,
    EVE,
    FALLING,
    GAP,
    THROUGH,
    TOUCHES,
    Facts,
    alike,
    place,
)
from tests.parity.probes.common import (
    CALM,
    Bar,
    Bars,
    Engine,
    Fill,
    Order,
    Run,
    Terms,
    Unsupported,
    calm,
    distance,
    mirrored,
    same,
    which,
)

WIDE = Bar(100, 106, 94, 100)


def _stop(engine: Engine, side: int, bars: Bars, offset: float) -> tuple[Run, Fill | None, float]:
    """A stop so far from 100, sent in bar 2; bars are for a sale."""
    level = 100 + side * offset
    order = Order(bar=2, quantity=10 * side, stop=level)
    if side > 0:
        run = engine.run({"A": mirrored(bars)}, [order], Terms())
        return run, run.first(), level
    run = engine.run({"A": bars}, [ENTRY, order], Terms())
    return run, run.first(after=run.fills[0].bar), level


def _sides(one: Callable[[int], tuple[str, Any]]) -> Facts:
    """The rule of both sides; an engine may have stops to leave a position only."""
    sell = one(-1)
    try:
        buy = one(1)
    except Unsupported as reason:
        return {"sell": sell[0], "buy": f"unsupported: {reason}", "evidence": {"sell": sell[1]}}
    return alike(buy, sell)


def stop_trigger(engine: Engine) -> Facts:
    """What triggers a stop order, and its price then."""

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _stop(engine, side, FALLING, 4)
        bars = FALLING if side < 0 else mirrored(FALLING)
        bar = bars[fill.bar] if fill else None
        if fill is None or bar is None:
            return "never filled", run.briefs()
        price = which(fill.price, stop=level, **bar.prices())
        return f"the {BY_BAR[fill.bar]}; at {price}", {"stop": level, "fills": run.briefs()}

    return _sides(one)


def stop_touch(engine: Engine) -> Facts:
    """Is touching the stop enough."""
    trigger = _stop(engine, -1, FALLING, 4)[1]
    if trigger is None:
        return {"rule": "never filled", "evidence": []}

    def one(side: int) -> tuple[str, Any]:
        bars = calm(3, TOUCHES[BY_BAR[trigger.bar]], THROUGH)
        run, fill, level = _stop(engine, side, bars, 4)
        is_enough = "yes" if fill and fill.bar == 3 else "no"
        return is_enough, {"stop": level, "fills": run.briefs()}

    return _sides(one)


def stop_gap(engine: Engine) -> Facts:
    """The price of a stop order when the bar opens beyond the stop."""

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _stop(engine, side, GAP, 4)
        bars = GAP if side < 0 else mirrored(GAP)
        bar = bars[3]
        best = {"high": bar.high, "low": bar.low} if bar else {}
        where = place(fill, bars, 2, stop=level, **best)
        return where, {"stop": level, "fills": run.briefs()}

    return _sides(one)


def stop_behind(engine: Engine) -> Facts:
    """A stop order whose level is passed already when it is sent."""
    bars = [*calm(2), EVE, Bar(101, 103, 98, 102.5), CALM]

    def one(side: int) -> tuple[str, Any]:
        run, fill, level = _stop(engine, side, bars, -4)
        shown = bars if side < 0 else mirrored(bars)
        where = place(fill, shown, 2, stop=level) if fill else run.states[-1]
        return where, {"stop": level, "fills": run.briefs(), "notes": run.notes[:1]}

    return _sides(one)


def stop_limit(engine: Engine) -> Facts:
    """A stop-limit order to sell, stop 96."""
    after = [Bar(94.2, 98.5, 93, 94), Bar(97, 98, 96, 97.5), Bar(99, 101, 98, 98.8)]

    def where(limit: float, bar: Bar) -> tuple[str, Any]:
        bars = calm(3, bar, *after)
        order = Order(bar=2, quantity=-10, stop=96, limit=limit)
        run = engine.run({"A": bars}, [ENTRY, order], Terms())
        fill = run.first(after=run.fills[0].bar)
        return place(fill, bars, 2, stop=96, limit=limit), run.briefs()

    inside = where(95, Bar(100, 100.5, 94, 94.5))
    above = where(98, Bar(100, 100.5, 95, 95.5))
    gap = where(95, Bar(94, 94.4, 93, 94))
    return {
        "limit 95, bar falls through both": inside[0],
        "limit 98, reached before the stop": above[0],
        "limit 95, bar opens below both": gap[0],
        "evidence": {"through": inside[1], "before": above[1], "gap": gap[1]},
    }


def trailing_stop(engine: Engine) -> Facts:
    """A trailing stop 5 points (where it must be: 5 %) behind."""
    bars = calm(3, Bar(100, 110, 99.5, 104), Bar(104, 104.25, 98, 100), CALM)
    orders = [ENTRY, Order(bar=2, quantity=-10, trail=5)]
    run = engine.run({"A": bars}, orders, Terms())
    fill = run.first(after=run.fills[0].bar)
    if fill is None:
        return {"follows": "nothing", "evidence": run.briefs()}
    follows, moves = "unknown", "after the bar's test"
    if fill.bar == 3:
        follows, moves = "the high", "inside the bar"
    elif fill.price > 104 or same(fill.price, 104):
        follows = "the high"
    elif same(fill.price, 99) or same(fill.price, 0.95 * 104):
        follows = "the close"
    levels = {"level": 105.0, "level_of_percent": 104.5, "high": 104.25, "level_of_close": 99.0}
    return {
        "follows": follows,
        "moves": moves,
        "exit": f"bar {fill.bar}, at {which(fill.price, open=104, **levels)}",
        "evidence": {"fills": run.briefs(), "bars 3 and 4": [list(b) for b in bars[3:5] if b]},
    }


def _bracket(engine: Engine, bar: Bar, *rest: Bar) -> tuple[str, Any]:
    """What ends a position with stop 95 and target 105."""
    entry = Order(bar=1, quantity=10, bracket=(95, 105))
    run = engine.run({"A": calm(3, bar, *rest, CALM)}, [entry], Terms())
    exits = run.fills[1:]
    known = {"open": bar.open, "high": bar.high, "low": bar.low}
    words = [which(fill.price, stop=95, target=105, **known) for fill in exits]
    return ", ".join(words) or "neither", run.briefs()


def stop_and_target(engine: Engine) -> Facts:
    """Stop and target of a bracket in one bar."""
    cases = {
        "open in the middle": WIDE,
        "open nearer to the high": Bar(103, 106, 94, 100),
        "open nearer to the low": Bar(97, 106, 94, 100),
    }
    found = {name: _bracket(engine, bar) for name, bar in cases.items()}
    rules = {answer for answer, _ in found.values()}
    answers = {name: answer for name, (answer, _) in found.items()}
    shown: Facts = {"rule": f"{rules.pop()} always"} if len(rules) == 1 else answers
    return {**shown, "evidence": {name: fills for name, (_, fills) in found.items()}}


def bracket_gap(engine: Engine) -> Facts:
    """The price of a bracket's leg when the bar opens beyond it."""
    stop = _bracket(engine, Bar(93, 94, 92, 93))
    target = _bracket(engine, Bar(107, 108, 106, 107))
    return {
        "stop": stop[0],
        "target": target[0],
        "evidence": {"stop 95, open 93": stop[1], "target 105, open 107": target[1]},
    }


def other_leg(engine: Engine) -> Facts:
    """What becomes of a bracket's other leg."""
    ends, fills = _bracket(engine, Bar(100, 106, 99, 100), Bar(100, 101, 94, 100))
    return {
        "rule": "cancelled" if len(fills) == 2 else f"stays: {ends}",
        "evidence": {"target in bar 3, stop reached in bar 4": fills},
    }


def legs_in_the_bar_of_entry(engine: Engine) -> Facts:
    """Can a bracket end in the bar of its entry."""
    entry = Order(bar=2, quantity=10, bracket=(95, 105))
    plain = engine.run({"A": calm(8)}, [Order(bar=2, quantity=10)], Terms()).fills[0].bar
    bars = calm(9)
    bars[plain] = bars[plain + 1] = WIDE
    run = engine.run({"A": bars}, [entry], Terms())
    out = run.first(after=plain) if len(run.fills) > 1 and run.fills[1].bar > plain else None
    when = distance(plain, out.bar) if out else "same bar" if len(run.fills) > 1 else "never"
    return {"first exit after the entry": when, "evidence": {"fills": run.briefs()}}


def legs_behind_a_limit(engine: Engine) -> Facts:
    """Can a bracket end in the bar in which its limit entry fills."""
    entry = Order(bar=2, quantity=10, limit=98, bracket=(95, 105))
    # The limit is reached in the middle of the bar too, for those who look at that.
    below = Bar(97, 105.5, 90, 100)
    bars = calm(3, Bar(100, 106, 89, 97), below, CALM)
    run = engine.run({"A": bars}, [entry], Terms())
    if len(run.fills) < 2:
        word = "rejected" if any("Rejected" in note for note in run.notes) else "no exit"
        told = {"fills": run.briefs(), "notes": run.notes}
        return {"first exit after the entry": f"never: {word}", "evidence": told}
    first, second = run.fills[:2]
    known = {"stop": 95.0, "target": 105.0, "open": 97.0, "high": 105.5, "low": 90.0}
    known["5_below_the_entry"] = first.price - 5
    when = distance(first.bar, second.bar)
    return {
        "entry": distance(2, first.bar),
        "first exit after the entry": f"{when}, at {which(second.price, **known)}",
        "evidence": {"fills": run.briefs(), "notes": run.notes[:1]},
    }


def stop_and_limit_apart(engine: Engine) -> Facts:
    """A stop and a limit order to sell, without a link, both reached in one bar."""
    stop, limit = Order(bar=2, quantity=-10, stop=95), Order(bar=2, quantity=-10, limit=105)
    terms = Terms(may_short=True)

    def sequence(*orders: Order) -> tuple[str, Any]:
        run = engine.run({"A": calm(3, WIDE, CALM, CALM)}, [ENTRY, *orders], terms)
        exits = [fill for fill in run.fills if fill.quantity < 0]
        names = [which(fill.price, stop=95, limit=105, close=100) for fill in exits]
        return f"{', '.join(names) or 'none'}; position {run.held():g}", run.briefs()

    first, second = sequence(stop, limit), sequence(limit, stop)
    return {
        "stop sent first": first[0],
        "limit sent first": second[0],
        "evidence": {"stop first": first[1], "limit first": second[1]},
    }


QUESTIONS: tuple[Callable[[Engine], Facts], ...] = (
    stop_trigger,
    stop_touch,
    stop_gap,
    stop_behind,
    stop_limit,
    trailing_stop,
    stop_and_target,
    bracket_gap,
    other_leg,
    legs_in_the_bar_of_entry,
    legs_behind_a_limit,
    stop_and_limit_apart,
)
