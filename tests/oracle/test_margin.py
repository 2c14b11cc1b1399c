"""Margin, calls, bankruptcy, interest and borrow fees against the plain loop."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BorrowFee,
    Interest,
    MarginAccount,
    SimulationBroker,
)
from tests.examples import examples
from tests.markets import Market
from tests.oracle.oracle import Costs, Row, Terms, simulate
from tests.oracle.test_oracle import COSTS, assert_same, broker_like
from tests.replay import Replay, random_plan

EPOCH = dt.date(1970, 1, 1)


def days_of(market: Market) -> tuple[int, ...]:
    """The calendar day of every timestamp."""
    return tuple((day - EPOCH).days for day in market.times)


def geared(plan: Any, gear: float) -> Any:
    """The same decisions, of a bolder strategy."""

    def bolder(decision: Any) -> Any:
        kind, what, *rest = decision
        if kind == "weights":
            return kind, {asset: gear * weight for asset, weight in what.items()}
        return kind, what, *(gear * amount if kind == "percent" else amount for amount in rest)

    return [[bolder(decision) for decision in decided] for decided in plan]


def compare(
    market: Market, plan: Any, costs: Costs, terms: Terms, *, whole: bool
) -> tuple[BacktestResult, list[Row]]:
    """Run both, compare all, return both."""
    rows = simulate(market.bars(), plan, costs=costs, whole=whole, terms=terms)
    like = broker_like(costs, whole=whole)
    broker = SimulationBroker(
        100_000.0,
        commission=like.commission,
        slippage=like.slippage,
        fractional=not whole,
        account=MarginAccount(
            terms.initial,
            terms.maintenance,
            short_initial=terms.short_initial,
            short_maintenance=terms.short_maintenance,
        ),
        borrow=BorrowFee(terms.borrow),
        rates=Interest(terms.earned, debit_spread=terms.owed - terms.earned),
    )
    result = BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker).run()
    assert_same(result, rows, whole=whole)
    return result, rows


@examples(80)
@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 8),
    steps=st.integers(2, 40),
    missing=st.sampled_from([0.0, 0.2]),
    costs=st.sampled_from(sorted(COSTS)),
    whole=st.booleans(),
    margins=st.sampled_from([(0.5, 0.25, 0.5, 0.3), (0.2, 0.18, 0.3, 0.25), (1.0, 0.9, 1.5, 1.2)]),
    borrow=st.sampled_from([0.0, 0.05, -0.01]),
    interest=st.sampled_from([(0.0, 0.0), (0.02, 0.06)]),
    gap=st.sampled_from([0.01, 0.08]),
)
def test_random_runs_on_margin_agree(
    seed: int,
    assets: int,
    steps: int,
    missing: float,
    costs: str,
    whole: bool,
    margins: tuple[float, float, float, float],
    borrow: float,
    interest: tuple[float, float],
    gap: float,
) -> None:
    """Any market, margins, rates and costs: the same cash, positions and equity."""
    market = Market(seed, assets=assets, steps=steps, missing=missing, gap=gap)
    initial, maintenance, short_initial, short_maintenance = margins
    terms = Terms(
        initial, short_initial, maintenance, short_maintenance, borrow, *interest, days_of(market)
    )
    plan = geared(random_plan(market.rng, market, whole=whole), 0.99 / min(initial, short_initial))
    compare(market, plan, COSTS[costs], terms, whole=whole)


def test_long_runs_on_margin_agree() -> None:
    """Six assets at four times the equity over a year: calls are made and met."""
    calls, met = 0, 0
    for seed in range(4):
        market = Market(seed, assets=6, steps=250, missing=0.05)
        terms = Terms(0.25, 0.25, 0.2, 0.2, 0.04, 0.02, 0.06, days_of(market))
        plan = random_plan(market.rng, market, kinds=("weights",), activity=0.15)
        whole = seed % 2 == 0
        result, _ = compare(market, geared(plan, 3.9), COSTS["percent"], terms, whole=whole)
        forced = result.orders.filter(result.orders["tag"] == "margin call")
        calls += result.record.counts["margin_calls"]
        met += int((forced["status"] == "filled").sum())
        assert set(result.record.cashflows["kind"]) == {"borrow", "interest"}
    assert calls > 5
    assert met > 5


# The loop itself, by hand


def test_the_loop_carries_a_weekend() -> None:
    """9,000 owed at 36 % over three days are 27; 100 sold short at 100, 3.6 % of 10,000 is 3."""
    bars = [{"A": (100.0, 100.0)}] * 3
    terms = Terms(0.5, 0.5, 0.25, 0.3, owed=0.36, borrow=0.036, days=(3, 4, 7))
    rows = simulate(bars, [[("add", "A", 190.0)], [], []], cash=10_000.0, terms=terms)
    assert [row.cash for row in rows] == pytest.approx([10_000.0, -9_000.0, -9_027.0])
    rows = simulate(bars, [[("add", "A", -100.0)], [], []], cash=10_000.0, terms=terms)
    assert [row.cash for row in rows] == pytest.approx([10_000.0, 20_000.0, 19_997.0])


def test_the_loop_meets_a_call() -> None:
    """200 at 100 on 10,000; at 60 they need 3,000 and equity is 2,000: 67 are sold."""
    bars = [{"A": (100.0, 100.0)}, {"A": (100.0, 60.0)}, {"A": (60.0, 60.0)}]
    terms = Terms(0.5, 0.5, 0.25, 0.3)
    rows = simulate(bars, [[("add", "A", 200.0)], [], []], cash=10_000.0, terms=terms)
    assert rows[2].positions == {"A": 133.0}


def test_the_loop_ends_with_a_bankruptcy() -> None:
    """At 45 nothing is left of 10,000 that bought for 20,000."""
    bars = [{"A": (100.0, 100.0)}, {"A": (100.0, 45.0)}, {"A": (60.0, 60.0)}]
    rows = simulate(
        bars, [[("add", "A", 200.0)], [], []], cash=10_000.0, terms=Terms(0.5, 0.5, 0.25, 0.3)
    )
    assert rows[1:] == [Row(-1_000.0, {}, -1_000.0)]
