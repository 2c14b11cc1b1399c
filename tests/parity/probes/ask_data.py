"""Questions about the data: its ends, its gaps, volume and times."""

from __future__ import annotations

from collections.abc import Callable

from tests.parity.probes.ask_entries import ENTRY, EVE, Facts
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
    calm,
    clean,
    cleaned,
    distance,
    fill_or_state,
    which,
)

LATER = Bar(110, 112, 107, 111)


def first_decision(engine: Engine) -> Facts:
    """The first and the last bar in which the strategy can decide."""
    run = engine.run({"A": list(TEN)}, [], Terms())
    return {
        "first": min(run.calls),
        "last": "the last bar" if max(run.calls) == 9 else max(run.calls),
        "evidence": {"calls": run.calls},
    }


def fill_time(engine: Engine) -> Facts:
    """The time on a fill; bars are labelled with midnight."""
    fill = engine.run({"A": list(TEN)}, [ENTRY], Terms()).fills[0]
    day = f"2024-01-{fill.bar + 1:02d}"
    is_label = fill.time.startswith(f"{day} 00:00:00")
    return {
        "time": "the label of the bar of the fill"
        if is_label
        else fill.time.removeprefix(f"{day} "),
        "evidence": {"bar": fill.bar, "time": fill.time},
    }


def order_in_the_last_bar(engine: Engine) -> Facts:
    """A market order sent in the last bar."""
    run = engine.run({"A": list(TEN[:9])}, [Order(bar=8, quantity=10)], Terms())
    fill = run.first()
    state = f"filled, at {which(fill.price, **TEN[8].prices())}" if fill else not_filled(run)
    return {"outcome": state, "evidence": {"fills": run.briefs(), "states": run.states}}


def position_at_the_end(engine: Engine) -> Facts:
    """A position that is open when the data end."""
    run = engine.run({"A": list(TEN[:9])}, [ENTRY], Terms())
    fill = run.fills[0]
    known = {f"at the {name}": price for name, price in TEN[8].prices().items()}
    worth = {name: 10_000 + 10 * (price - fill.price) for name, price in known.items()}
    return {
        "position": "stays open" if len(run.fills) == 1 else "is closed",
        "valued": which(run.equity[-1], **worth),
        "evidence": {"fills": run.briefs(), "last equity": clean(run.equity[-1])},
    }


def not_filled(run: Run) -> str:
    """With the state, where it says more."""
    state = fill_or_state(run, 0)
    return state if state == "not filled" else f"not filled ({state})"


def _gappy(*missing: int) -> dict[str, Bars]:
    """A with all bars; B jumps to 110 and lacks some, after bars around 100."""
    whole = [*calm(2), EVE, *[LATER] * 6]
    return {"A": calm(9), "B": [None if n in missing else bar for n, bar in enumerate(whole)]}


def order_before_a_gap(engine: Engine) -> Facts:
    """A market order when the asset lacks the next two bars."""
    markets = _gappy(3, 4)
    run = engine.run(markets, [Order(bar=2, quantity=10, asset="B")], Terms())
    return _where(run, markets, 2)


def order_in_a_gap(engine: Engine) -> Facts:
    """A market order in a bar that the asset lacks, as the next one."""
    markets = _gappy(3, 4)
    run = engine.run(markets, [Order(bar=3, quantity=10, asset="B")], Terms())
    return _where(run, markets, 3)


def limit_in_a_gap(engine: Engine) -> Facts:
    """A limit order far above the price, sent in a bar that the asset lacks, as the next one."""
    markets = _gappy(3, 4)
    run = engine.run(markets, [Order(bar=3, quantity=10, limit=120, asset="B")], Terms())
    return _where(run, markets, 3)


def _where(run: Run, markets: dict[str, Bars], sent: int) -> Facts:
    fill = run.first(asset="B")
    if run.stopped:
        told = {"fills": run.briefs(), "error": run.stopped}
        return {"outcome": "the run ends with an error in the gap", "evidence": told}
    if fill is None:
        told = {"states": run.states, "notes": run.notes[:1]}
        return {"outcome": not_filled(run), "evidence": told}
    bar = markets["B"][fill.bar]
    prices = bar.prices() if bar else {"last_price_of_before": 100.0}
    when = distance(sent, fill.bar) if fill.bar >= sent else "on its bar of before the gap"
    if fill.bar >= 5:
        when = f"its {('next', 'second')[fill.bar - 5]} bar"
    return {
        "outcome": f"{when}, at {which(fill.price, **prices)}",
        "evidence": {"sent in": sent, "missing": [3, 4], "fills": run.briefs()},
    }


def value_in_a_gap(engine: Engine) -> Facts:
    """The value of a position while its asset has no bar."""
    run = engine.run(_gappy(4, 5), [Order(bar=1, quantity=10, asset="B")], Terms())
    held = run.first(asset="B")
    if run.stopped:
        return {"valued": "the run ends with an error", "evidence": {"error": run.stopped}}
    if held is None or len(run.equity) < 6:
        return {"valued": "no position", "evidence": {"states": run.states}}
    base = 10_000 - 10 * held.price
    known = {"last_close": base + 1110, "next_open": base + 1100, "nothing": base}
    value = run.equity[5]
    word = "not a number" if value != value else which(value, **known)  # noqa: PLR0124
    return {"valued": word, "evidence": {"missing": [4, 5], "equity": cleaned(run.equity)}}


def late_asset(engine: Engine) -> Facts:
    """B's bars begin in bar 3: what A and the strategy see before."""
    markets = _gappy(0, 1, 2)
    run = engine.run(markets, [Order(bar=1, quantity=10)], Terms())
    fill = run.first()
    return {
        "first decision": min(run.calls),
        "order for A in bar 1": distance(1, fill.bar) if fill else fill_or_state(run, 0),
        "evidence": {"calls": run.calls, "fills": run.briefs()},
    }


def order_before_the_first_bar(engine: Engine) -> Facts:
    """A market order for an asset that has no bar yet."""
    markets = _gappy(0, 1, 2)
    run = engine.run(markets, [Order(bar=1, quantity=10, asset="B")], Terms())
    fill = run.first()
    outcome = f"bar {fill.bar} at {fill.price:g}" if fill else f"no: {fill_or_state(run, 0)}"
    told = {"first bar": 3, "fills": run.briefs(), "notes": run.notes[:1]}
    return {"outcome": outcome, "evidence": told}


def volume(engine: Engine) -> Facts:
    """A purchase of 3,000 where each bar has a volume of 1,000."""
    bars: Bars = [Bar(100, 100.5, 99.5, 100, 1_000)] * 8
    run = engine.run({"A": bars}, [Order(bar=1, quantity=3_000)], _rich())
    first = run.fills[0].bar
    sizes = [f"{fill.quantity:g} at {fill.price:g}" for fill in run.fills if fill.bar == first]
    later = [f"{fill.quantity:g}" for fill in run.fills if fill.bar > first]
    return {
        "first bar": " + ".join(sizes),
        "later bars": ", ".join(later) or "none",
        "evidence": {"fills": run.briefs(), "states": run.states},
    }


def no_volume(engine: Engine) -> Facts:
    """A market order when the bars have no volume."""
    still = CALM._replace(volume=0)
    bars: Bars = [CALM, CALM, still, still, CALM, CALM]
    run = engine.run({"A": bars}, [Order(bar=2, quantity=10)], _rich())
    fill = run.first()
    waits = "waits for volume" if fill and fill.bar >= 4 else "fills"
    return {
        "outcome": waits if fill else f"no: {fill_or_state(run, 0)}",
        "evidence": {"bars without volume": [2, 3], "fills": run.briefs()},
    }


def _rich() -> Terms:
    """Enough cash, and the engine's own limits."""
    return Terms(cash=1_000_000, as_shipped=True)


def holding_costs(engine: Engine) -> Facts:
    """What a short position costs while it is held."""
    run = engine.run({"A": [FLAT] * 8}, [Order(bar=1, quantity=-10)], Terms(may_short=True))
    change = run.equity[-1] - run.equity[0] if run.fills else 0.0
    return {
        "costs": "nothing" if run.fills and not change else f"{-change:g}",
        "evidence": {"equity": cleaned(run.equity), "fills": run.briefs()},
    }


QUESTIONS: tuple[Callable[[Engine], Facts], ...] = (
    first_decision,
    fill_time,
    order_in_the_last_bar,
    position_at_the_end,
    order_before_a_gap,
    order_in_a_gap,
    limit_in_a_gap,
    value_in_a_gap,
    late_asset,
    order_before_the_first_bar,
    volume,
    no_volume,
    holding_costs,
)
