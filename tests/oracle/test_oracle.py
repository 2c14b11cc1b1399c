"""The product against a plain loop that shares no code with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    PercentCommission,
    PerShareCommission,
    SimulationBroker,
)
from tests.markets import Market
from tests.oracle.oracle import Action, Costs, Row, simulate
from tests.replay import Replay, ReplayByEvent, action_table, random_actions, random_plan

CLOSE_ENOUGH = 1e-9

COSTS = {
    "free": Costs(),
    "percent": Costs(rate=0.001, bps=5.0),
    "per share": Costs(per_share=0.01, minimum=1.0),
    "minimum": Costs(per_share=0.005, minimum=25.0, bps=10.0),
    "slippage": Costs(bps=20.0),
}


def broker_like(costs: Costs, *, whole: bool, cash: float = 100_000.0) -> SimulationBroker:
    """The product's broker with the oracle's costs."""
    commission: Any = None
    if costs.rate:
        commission = PercentCommission(costs.rate)
    elif costs.per_share:
        commission = PerShareCommission(costs.per_share, costs.minimum)
    slippage = BasisPointSlippage(costs.bps) if costs.bps else None
    return SimulationBroker(cash, commission=commission, slippage=slippage, fractional=not whole)


def positions_by_time(result: BacktestResult) -> list[dict[str, float]]:
    """What was held after every timestamp."""
    changes: dict[Any, list[tuple[str, float]]] = {}
    for time, asset, units, _ in result.positions.iter_rows():
        changes.setdefault(time, []).append((asset, units))
    held: dict[str, float] = {}
    rows = []
    for time in result.equity["timestamp"]:
        held.update(changes.get(time, []))
        rows.append({asset: units for asset, units in held.items() if units})
    return rows


def assert_same(result: BacktestResult, rows: list[Row], *, whole: bool) -> None:
    """Cash, positions and equity at every timestamp."""
    assert result.equity.height == len(rows)
    room = CLOSE_ENOUGH * np.array([abs(row.equity) for row in rows])
    for t, (held, row) in enumerate(zip(positions_by_time(result), rows, strict=True)):
        if whole:
            assert held == row.positions, f"positions at timestamp {t}"
            continue
        for asset in set(held) | set(row.positions):
            units = row.positions.get(asset, 0.0)
            gap = abs(held.get(asset, 0.0) - units)
            assert gap <= CLOSE_ENOUGH * max(1.0, abs(units)), f"{asset} at timestamp {t}"
    for name, plain in (("cash", [r.cash for r in rows]), ("equity", [r.equity for r in rows])):
        gap = np.abs(result.equity[name].to_numpy() - np.array(plain))
        assert (gap <= room).all(), f"{name} at timestamp {int(np.argmax(gap - room))}"


def compare(
    market: Market,
    plan: Any,
    costs: Costs,
    *,
    whole: bool,
    strategy: type[Any] = Replay,
    actions: dict[int, list[Action]] | None = None,
) -> BacktestResult:
    """Run both, compare all, return the product's result."""
    rows = simulate(market.bars(), plan, costs=costs, whole=whole, actions=actions)
    result = BacktestEngine(
        market.frame(),
        strategy=strategy(plan),
        broker=broker_like(costs, whole=whole),
        actions=action_table(actions, market) if actions else None,
    ).run()
    assert_same(result, rows, whole=whole)
    return result


@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 10),
    steps=st.integers(1, 40),
    missing=st.sampled_from([0.0, 0.1, 0.4]),
    late=st.sampled_from([0.0, 0.5]),
    costs=st.sampled_from(sorted(COSTS)),
    whole=st.booleans(),
    short=st.booleans(),
    by_event=st.booleans(),
)
def test_random_runs_agree(
    seed: int,
    assets: int,
    steps: int,
    missing: float,
    late: float,
    costs: str,
    whole: bool,
    short: bool,
    by_event: bool,
) -> None:
    """Any market, any decisions, any costs: the same cash, positions and equity."""
    market = Market(seed, assets=assets, steps=steps, missing=missing, late=late)
    plan = random_plan(market.rng, market, whole=whole, short=short)
    strategy = ReplayByEvent if by_event else Replay
    compare(market, plan, COSTS[costs], whole=whole, strategy=strategy)


@pytest.mark.parametrize("costs", sorted(COSTS))
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fractional"])
@pytest.mark.parametrize("seed", [1, 2])
def test_large_runs_agree(costs: str, whole: bool, seed: int) -> None:
    """Sixty assets over half a year, missing bars and late assets, long and short."""
    market = Market(seed, assets=60, steps=120, missing=0.08, late=0.3)
    plan = random_plan(market.rng, market, whole=whole, activity=0.8)
    result = compare(market, plan, COSTS[costs], whole=whole)
    assert len(result.fills) > 500
    assert result.record.counts["clipped_orders"] > 20, "the limit of cash was met"
    assert (result.orders["status"] == "filled").sum() > 200


@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 6),
    steps=st.integers(1, 40),
    missing=st.sampled_from([0.0, 0.1, 0.4]),
    costs=st.sampled_from(sorted(COSTS)),
    whole=st.booleans(),
)
def test_runs_with_corporate_actions_agree(
    seed: int, assets: int, steps: int, missing: float, costs: str, whole: bool
) -> None:
    """Dividends and splits of anything, at any time, on positions and open orders."""
    market = Market(seed, assets=assets, steps=steps, missing=missing, late=0.2)
    plan = random_plan(market.rng, market, whole=whole)
    actions = random_actions(market.rng, market)
    compare(market, plan, COSTS[costs], whole=whole, actions=actions)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fractional"])
def test_a_large_run_with_corporate_actions_agrees(whole: bool) -> None:
    """Forty assets over half a year, long and short."""
    market = Market(3, assets=40, steps=120, missing=0.08, late=0.3)
    plan = random_plan(market.rng, market, whole=whole, activity=0.8)
    actions = random_actions(market.rng, market, activity=0.02)
    result = compare(market, plan, COSTS["percent"], whole=whole, actions=actions)
    assert result.adjustments.height > 20
    assert result.cashflows.filter(kind="dividend").height > 20


@pytest.mark.parametrize("by_event", [False, True])
@pytest.mark.parametrize("kinds", [("weights",), ("add",), ("target", "close"), ("percent",)])
def test_each_kind_of_decision_agrees(kinds: tuple[str, ...], by_event: bool) -> None:
    """Weights, increments, targets and shares of equity, each alone, through either hook."""
    market = Market(11, assets=12, steps=80, missing=0.15, late=0.2)
    plan = random_plan(market.rng, market, kinds=kinds, activity=0.7)
    strategy = ReplayByEvent if by_event else Replay
    compare(market, plan, COSTS["percent"], whole=True, strategy=strategy)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_more_runs_agree(seed: int) -> None:
    """Forty long runs over many assets, all kinds of costs."""
    name = sorted(COSTS)[seed % len(COSTS)]
    whole = seed % 2 == 0
    market = Market(1_000 + seed, assets=80, steps=250, missing=0.1, late=0.3)
    plan = random_plan(market.rng, market, whole=whole, activity=0.9)
    compare(market, plan, COSTS[name], whole=whole)


@given(data=st.data())
def test_round_numbers_agree(data: st.DataObject) -> None:
    """Prices and amounts that fit exactly, where a unit in the last place would decide."""
    n, steps = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 8))
    market = Market(0, assets=n, steps=steps)
    prices = st.sampled_from([1.0, 2.0, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0])
    for name in ("open", "close"):
        column = data.draw(st.lists(prices, min_size=n * steps, max_size=n * steps))
        market.prices[name] = np.array(column).reshape(steps, n)
    market.prices["high"] = np.maximum(market.prices["open"], market.prices["close"])
    market.prices["low"] = np.minimum(market.prices["open"], market.prices["close"])
    asset = st.sampled_from(market.assets)
    units = st.sampled_from([-1000.0, -500.0, -100.0, -1.0, 1.0, 10.0, 100.0, 500.0, 1000.0])
    share = st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
    decision = st.one_of(
        st.tuples(st.just("add"), asset, units),
        st.tuples(st.just("target"), asset, units),
        st.tuples(st.just("percent"), asset, share),
        st.tuples(st.just("close"), asset),
        st.just(("weights", dict.fromkeys(market.assets, 1.0 / n))),
    )
    plan = data.draw(st.lists(st.lists(decision, max_size=3), min_size=steps, max_size=steps))
    compare(market, plan, Costs(), whole=True)


# The loop itself, by hand


def test_the_loop_buys_at_the_next_open() -> None:
    """10 shares decided at 100 cost 11 each at the next open and are worth 12 each after it."""
    bars = [{"A": (100.0, 100.0)}, {"A": (11.0, 12.0)}]
    rows = simulate(bars, [[("add", "A", 10.0)], []], cash=1_000.0)
    assert rows[0] == Row(1_000.0, {}, 1_000.0)
    assert rows[1] == Row(890.0, {"A": 10.0}, 1_010.0)


def test_the_loop_cuts_entries_by_one_factor() -> None:
    """100 and 50 shares at 10 with cash for 75: the factor is one half, 50 and 25 are bought."""
    bars = [{"A": (10.0, 10.0), "B": (10.0, 10.0)}] * 2
    rows = simulate(bars, [[("add", "A", 100.0), ("add", "B", 50.0)], []], cash=750.0)
    assert rows[1] == Row(0.0, {"A": 50.0, "B": 25.0}, 750.0)


def test_the_loop_sets_short_proceeds_aside() -> None:
    """100 shares sold short at 10 bring 1,000 and bind 2,000: with 1,500 there is cash for 50."""
    bars = [{"A": (10.0, 10.0), "B": (10.0, 10.0)}] * 3
    plan: Any = [[("add", "A", -100.0)], [("add", "B", 100.0)], []]
    rows = simulate(bars, plan, cash=1_500.0)
    assert rows[1] == Row(2_500.0, {"A": -100.0}, 1_500.0)
    assert rows[2] == Row(2_000.0, {"A": -100.0, "B": 50.0}, 1_500.0)


def test_the_loop_charges_a_flip_once() -> None:
    """Selling 30 of 10 held is one fill of 30 for the minimum of 5, not two."""
    bars = [{"A": (10.0, 10.0)}] * 3
    costs = Costs(per_share=0.1, minimum=5.0)
    plan: Any = [[("add", "A", 10.0)], [("add", "A", -30.0)], []]
    rows = simulate(bars, plan, cash=1_000.0, costs=costs)
    assert rows[1].cash == 1_000.0 - 100.0 - 5.0
    assert rows[2].cash == rows[1].cash + 300.0 - 5.0
    assert rows[2].positions == {"A": -20.0}


def test_the_loop_pays_and_splits() -> None:
    """5 shares get 2 each and become 7 and a half: 7, and half of 100 / 1.5."""
    bars = [{"A": (100.0, 100.0)}] * 2 + [{"A": (70.0, 70.0)}]
    actions: Any = {2: [("split", "A", 1.5), ("dividend", "A", 2.0)]}
    rows = simulate(bars, [[("add", "A", 5.0)], [], []], cash=500.0, actions=actions)
    assert rows[2].positions == {"A": 7.0}
    assert rows[2].cash == pytest.approx(10.0 + 50.0 / 1.5)


def test_the_loop_waits_for_a_bar() -> None:
    """An order for an asset without a bar fills at its next one; the last close marks it."""
    bars = [{"A": (1.0, 2.0), "B": (1.0, 1.0)}, {"B": (1.0, 1.0)}, {"A": (4.0, 5.0)}]
    rows = simulate(bars, [[("add", "A", 10.0)], [], []], cash=100.0)
    assert [row.equity for row in rows] == [100.0, 100.0, 110.0]
