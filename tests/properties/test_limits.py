"""Whatever is ordered, what was approved keeps the limits; wide limits change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, BacktestResult, RiskLimits, SimulationBroker
from tests.examples import examples
from tests.markets import Market
from tests.replay import Replay, random_plan

SEEDS = st.integers(0, 2**32 - 1)
NOISE = 1e-6
WIDE = RiskLimits(
    max_order_value=1e12,
    max_order_quantity=1e12,
    max_position_value=1e12,
    max_position_weight=10,
    max_gross_exposure=10,
    max_net_exposure=10,
    max_orders_per_minute=10**9,
    max_price_distance=10,
    max_daily_loss=1,
    max_drawdown=1,
    forbidden_assets=["unknown"],
)


def run(market: Market, plan: Any, limits: RiskLimits | None, **options: Any) -> BacktestResult:
    """One run with 100,000 of money."""
    broker = SimulationBroker(100_000, **options)
    return BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker, limits=limits).run()


@examples(60)
@given(
    seed=SEEDS,
    missing=st.sampled_from([0.0, 0.2]),
    fill_at=st.sampled_from(["next_open", "next_close", "close"]),
)
def test_wide_limits_change_nothing(seed: int, missing: float, fill_at: Any) -> None:
    """The same run, to the bit, whether looked at or not."""
    market = Market(seed, assets=5, steps=25, missing=missing)
    market.present[0] = True  # without a price nothing can be judged, and that would be refused
    plan = random_plan(market.rng, market)
    without = run(market, plan, None, fill_at=fill_at)
    wide = run(market, plan, WIDE, fill_at=fill_at)
    assert wide.fingerprint == without.fingerprint
    assert wide.settings == {**without.settings, "limits": WIDE.settings()}


@examples(120)
@given(
    seed=SEEDS,
    weight=st.none() | st.floats(0.05, 0.6),
    gross=st.none() | st.floats(0.1, 1.2),
    net=st.none() | st.floats(0.1, 0.8),
    value=st.none() | st.floats(1_000.0, 50_000.0),
    kinds=st.sampled_from(
        [("weights",), ("weights", "add", "close"), ("add", "target", "percent")]
    ),
)
def test_what_trades_keeps_the_limits(
    seed: int,
    weight: float | None,
    gross: float | None,
    net: float | None,
    value: float | None,
    kinds: tuple[str, ...],
) -> None:
    """At the closes and the equity of the decision, worked out from fills and prices alone."""
    market = Market(seed, assets=4, steps=25)
    plan = random_plan(market.rng, market, kinds=kinds)
    if net is not None or "target" in kinds:
        # A later decision may cancel an exit, or half of a hedge, that was counted on before.
        plan = [decisions[:1] for decisions in plan]
    limits = RiskLimits(
        max_position_weight=weight,
        max_gross_exposure=gross,
        max_net_exposure=net,
        max_order_value=value,
    )
    result = run(market, plan, limits)
    equity = result.equity["equity"].to_numpy()
    units = positions(result, market)
    closes = market.prices["close"]
    for t in range(1, len(market.times)):
        before, after = units[t - 1], units[t]
        is_entry = (np.abs(after) > np.abs(before)) | (after * before < 0)
        if not is_entry.any():
            continue
        worth, most = after * closes[t - 1], equity[t - 1] * (1 + NOISE)
        if weight is not None:
            assert (np.abs(worth[is_entry]) <= weight * most).all()
        if gross is not None:
            assert np.abs(worth).sum() <= gross * most
        if net is not None and not result.record.counts["clipped_orders"]:
            closer = abs(worth.sum()) <= abs((before * closes[t - 1]).sum()) + NOISE * most
            closing = np.where(is_entry, np.where(after * before < 0, -before, 0.0), after - before)
            hedges = abs(((before + closing) * closes[t - 1]).sum())  # what exits alone leave
            assert abs(worth.sum()) <= net * most or closer or hedges > net * most
        if value is not None and kinds == ("weights",):
            opened = np.where(after * before > 0, np.abs(after) - np.abs(before), np.abs(after))
            assert (opened[is_entry] * closes[t - 1][is_entry] <= value * (1 + NOISE)).all()


def positions(result: BacktestResult, market: Market) -> np.ndarray:
    """Units held after each timestamp, one column an asset."""
    moved = np.zeros((len(market.times), len(market.assets)))
    for row in result.fills.iter_rows(named=True):
        sign = 1.0 if row["side"] == "buy" else -1.0
        t, a = market.times.index(row["timestamp"]), market.assets.index(row["asset_id"])
        moved[t, a] += sign * row["quantity"]
    return np.cumsum(moved, axis=0)


@examples(60)
@given(
    seed=SEEDS,
    missing=st.sampled_from([0.0, 0.2]),
    drawdown=st.none() | st.floats(0.01, 0.1),
    daily=st.none() | st.floats(0.005, 0.05),
    policy=st.sampled_from(["halt", "flatten"]),
)
def test_nothing_is_opened_after_a_halt(
    seed: int, missing: float, drawdown: float | None, daily: float | None, policy: Any
) -> None:
    """From the bar on which the loss shows; and flattening ends with nothing held."""
    market = Market(seed, assets=4, steps=30, missing=missing)
    plan = random_plan(market.rng, market)
    limits = RiskLimits(max_drawdown=drawdown, max_daily_loss=daily, on_breach=policy)
    result = run(market, plan, limits)
    equity = result.equity["equity"].to_numpy()
    peak = np.maximum.accumulate(np.maximum(equity, 100_000.0))
    if drawdown is None or not (equity < peak * (1 - drawdown) * (1 - NOISE)).any():
        return
    first = int(np.argmax(equity < peak * (1 - drawdown) * (1 - NOISE)))
    units = positions(result, market)[first:]
    assert (np.abs(units[1:]) <= np.abs(units[:-1])).all()
    assert (units[1:] * units[:-1] >= 0.0).all()
    if policy == "flatten":
        seen = market.present[first + 1 :]
        assert (units[-1][seen.any(axis=0)] == 0.0).all()
