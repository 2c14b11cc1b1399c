"""What may change about a run without changing its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    ParquetDataFeed,
    PercentCommission,
    PerShareCommission,
    SimulationBroker,
)
from tests.examples import examples
from tests.markets import Market
from tests.replay import Replay, ReplayByEvent, random_plan

SEEDS = st.integers(0, 2**32 - 1)
HOLES = st.sampled_from([0.0, 0.2])


def market_and_plan(seed: int, missing: float, **options: Any) -> tuple[Market, Any]:
    """A small market and what to do in it."""
    market = Market(seed, assets=5, steps=25, missing=missing, late=missing)
    return market, random_plan(market.rng, market, **options)


def costly(**options: Any) -> SimulationBroker:
    """A broker that charges."""
    return SimulationBroker(
        commission=PercentCommission(0.001), slippage=BasisPointSlippage(5.0), **options
    )


def renamed(plan: Any, names: dict[str, str]) -> Any:
    """The same decisions about assets of other names."""

    def one(decision: Any) -> Any:
        if decision[0] == "weights":
            return "weights", {names[a]: w for a, w in decision[1].items()}
        return decision[0], names[decision[1]], *decision[2:]

    return [[one(decision) for decision in decisions] for decisions in plan]


def with_names(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """A frame whose assets are called otherwise."""
    return frame.with_columns(pl.col("asset_id").replace_strict(names))


@examples(30)
@given(seed=SEEDS, missing=HOLES, by_event=st.booleans())
def test_two_runs_have_one_fingerprint(seed: int, missing: float, by_event: bool) -> None:
    """The same engine twice, and an engine made anew: the same bits."""
    market, plan = market_and_plan(seed, missing)
    strategy = ReplayByEvent if by_event else Replay
    engine = BacktestEngine(market.frame(), strategy=strategy(plan), broker=costly())
    first = engine.run().fingerprint
    assert engine.run().fingerprint == first
    anew = BacktestEngine(market.frame(), strategy=strategy(plan), broker=costly())
    assert anew.run().fingerprint == first


@examples(30)
@given(seed=SEEDS, missing=HOLES)
def test_rows_and_feeds_come_in_any_order(seed: int, missing: float) -> None:
    """Shuffled rows, and a feed for each asset in any order: the same bits."""
    market, plan = market_and_plan(seed, missing)
    frame = market.frame()
    feeds = {
        asset: ParquetDataFeed(frame.filter(pl.col("asset_id") == asset))
        for asset in reversed(market.assets)
    }
    runs = [
        BacktestEngine(frame, strategy=Replay(plan), broker=costly()),
        BacktestEngine(market.frame(shuffled=True), strategy=Replay(plan), broker=costly()),
        BacktestEngine(feeds=feeds, strategy=Replay(plan), broker=costly()),
    ]
    assert len({engine.run().fingerprint for engine in runs}) == 1


@examples(30)
@given(seed=SEEDS, missing=HOLES, order=st.permutations(range(5)))
def test_names_are_only_labels(seed: int, missing: float, order: list[int]) -> None:
    """Other names in another order: the same money, the same fills under the new names."""
    market, plan = market_and_plan(seed, missing)
    names = {asset: f"N{order[i]}" for i, asset in enumerate(market.assets)}
    base = BacktestEngine(market.frame(), strategy=Replay(plan), broker=costly()).run()
    other = BacktestEngine(
        with_names(market.frame(), names), strategy=Replay(renamed(plan, names)), broker=costly()
    ).run()
    for column in ("equity", "cash", "gross_exposure"):
        np.testing.assert_allclose(other.equity[column], base.equity[column], rtol=1e-9, atol=1e-7)
    keys = ("timestamp", "asset_id", "side", "quantity")
    expected = with_names(base.fills, names).select(keys).sort(keys)
    assert other.fills.select(keys).sort(keys).equals(expected)


@examples(30)
@given(seed=SEEDS, missing=HOLES, power=st.integers(-3, 6))
def test_units_of_price_do_not_matter(seed: int, missing: float, power: int) -> None:
    """Prices times k, units by k: the same money. With k a power of two, the same bits."""
    market, plan = market_and_plan(seed, missing, whole=False, kinds=("add", "target", "weights"))
    k = 2.0**power
    prices = ("open", "high", "low", "close")
    scaled = market.frame().with_columns(pl.col(prices) * k)
    fewer = [[d if d[0] == "weights" else (*d[:2], d[2] / k) for d in step] for step in plan]
    broker = costly(fractional=True)
    base = BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker).run()
    other = BacktestEngine(scaled, strategy=Replay(fewer), broker=costly(fractional=True)).run()
    assert other.equity.equals(base.equity)
    assert (other.fills["quantity"] * k).equals(base.fills["quantity"])


@examples(30)
@given(seed=SEEDS, missing=HOLES, k=st.floats(0.01, 100.0))
def test_units_of_price_hardly_matter(seed: int, missing: float, k: float) -> None:
    """As above for any k, up to rounding."""
    market, plan = market_and_plan(seed, missing, whole=False, kinds=("add", "target", "weights"))
    prices = ("open", "high", "low", "close")
    scaled = market.frame().with_columns(pl.col(prices) * k)
    fewer = [[d if d[0] == "weights" else (*d[:2], d[2] / k) for d in step] for step in plan]
    broker = costly(fractional=True)
    base = BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker).run()
    other = BacktestEngine(scaled, strategy=Replay(fewer), broker=costly(fractional=True)).run()
    np.testing.assert_allclose(other.equity["equity"], base.equity["equity"], rtol=1e-9)


@examples(30)
@given(
    seed=SEEDS,
    missing=HOLES,
    rate=st.floats(0.0, 0.01),
    bps=st.floats(0.0, 50.0),
    minimum=st.floats(0.0, 10.0),
)
def test_costs_only_cost(
    seed: int, missing: float, rate: float, bps: float, minimum: float
) -> None:
    """For the same orders, more costs never leave more equity at any time."""
    market, plan = market_and_plan(seed, missing, kinds=("add",), activity=0.3)
    # Money for everything: costs must not change what is bought.
    cash = 1e9
    free = BacktestEngine(
        market.frame(), strategy=Replay(plan), broker=SimulationBroker(cash)
    ).run()
    before = free.equity["equity"].to_numpy()
    for commission in (PercentCommission(rate), PerShareCommission(rate, minimum)):
        broker = SimulationBroker(cash, commission=commission, slippage=BasisPointSlippage(bps))
        result = BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker).run()
        assert result.fills["quantity"].equals(free.fills["quantity"])
        assert (result.equity["equity"].to_numpy() <= before + 1e-6).all()
        gap = free.final_equity - result.final_equity
        np.testing.assert_allclose(gap, result.costs, rtol=1e-6, atol=1e-4)
        before_dearer = result
    assert before_dearer.costs >= 0.0


@examples(30)
@given(seed=SEEDS, missing=HOLES, cut=st.integers(1, 24), by_event=st.booleans())
def test_the_past_does_not_know_where_the_data_ends(
    seed: int, missing: float, cut: int, by_event: bool
) -> None:
    """Cut at a time, a run is equal to the longer one until then, to the bit."""
    market, plan = market_and_plan(seed, missing)
    frame = market.frame()
    strategy = ReplayByEvent if by_event else Replay
    whole = BacktestEngine(frame, strategy=strategy(plan), broker=costly()).run()
    last = market.times[cut - 1]
    by_option = BacktestEngine(frame, strategy=strategy(plan), broker=costly(), end=last).run()
    same_until(last, whole, by_option)
    present = frame.filter(pl.col("timestamp") <= last)
    known = set(present["asset_id"])
    heard = [[d for d in step if _names(d) <= known] for step in plan]
    if heard == plan:  # assets that come later are unknown to the shorter run
        cut_off = BacktestEngine(present, strategy=strategy(plan), broker=costly()).run()
        same_until(last, whole, cut_off)


def _names(decision: Any) -> set[str]:
    return set(decision[1]) if decision[0] == "weights" else {decision[1]}


def same_until(last: Any, whole: BacktestResult, short: BacktestResult) -> None:
    """Equity, fills and orders up to a time are equal bit for bit."""
    until = pl.col("timestamp") <= last
    assert short.equity.equals(whole.equity.filter(until))
    assert short.record.fills.equals(whole.record.fills.filter(until))
    asked = [
        "order_id", "created_at", "asset_id", "side", "type", "quantity", "limit_price",
        "stop_price", "time_in_force", "tag",
    ]  # fmt: skip
    orders = whole.orders.filter(pl.col("created_at") <= last)
    assert short.orders.select(asked).equals(orders.select(asked))
