"""The laws hold however the broker is set: orders of all kinds, by a strategy without sense.

Each run here is checked by the fixture that checks every engine run; what is asserted beside it is
what a mode adds to the laws.
"""

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
    Instrument,
    NoCommission,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
    SideFee,
    SimulationBroker,
    TieredCommission,
)
from tests.examples import examples
from tests.markets import Market
from tests.properties.test_no_look_ahead import Curious

COMMISSIONS = [
    NoCommission(),
    PercentCommission(0.002),
    PerShareCommission(0.01, 2.0),
    PerOrderCommission(1.5) + SideFee("sell", rate=0.002),
    TieredCommission({0: 0.05, 500: 0.01}, minimum=1.0),
]


def run(market: Market, seed: int, **options: Any) -> BacktestResult:
    """A run of a strategy that orders at random."""
    broker = SimulationBroker(**options)
    frame = market.frame(signal="ml_pred")
    return BacktestEngine(frame, strategy=Curious(seed), broker=broker).run()


@examples(100)
@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.25]),
    commission=st.sampled_from(COMMISSIONS),
    bps=st.sampled_from([0.0, 10.0]),
    options=st.fixed_dictionaries(
        {
            "fill_at": st.sampled_from(["next_open", "next_close", "close"]),
            "funding": st.sampled_from(["scale", "reject"]),
            "limit_fill": st.sampled_from(["touch", "through"]),
            "fractional": st.booleans(),
            "close_at_end": st.booleans(),
            "stale_after": st.sampled_from([1, 3]),
            "on_vanish": st.sampled_from(["mark", "close", 12.5]),
        }
    ),
)
def test_every_mode_is_lawful(
    seed: int, missing: float, commission: Any, bps: float, options: dict[str, Any]
) -> None:
    """Any setting of the broker: lawful, repeatable, and flat at the end when asked for."""
    market = Market(seed, assets=4, steps=30, missing=missing, late=missing)
    parts = {"commission": commission, "slippage": BasisPointSlippage(bps)}
    result = run(market, seed, **parts, **options)
    assert run(market, seed, **parts, **options).fingerprint == result.fingerprint
    if options["close_at_end"]:
        assert result.holdings.is_empty()
        assert (result.trades["status"] == "closed").all()
        assert abs(result.equity["cash"][-1] - result.final_equity) <= 1e-9 * 100_000.0
    if options["fill_at"] != "close":
        assert result.record.counts["same_close_fills"] == 0
    limited = result.fills.join(
        result.orders.select("order_id", "limit_price").drop_nulls(), on="order_id"
    )
    worse = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    beyond = limited.filter(worse * (pl.col("price") - pl.col("limit_price")) > 0.0)
    assert beyond.is_empty(), "no fill is worse than its limit"


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.25]),
    lot=st.sampled_from([0.001, 0.1, 1.0, 10.0]),
    multiplier=st.sampled_from([0.1, 1.0, 50.0]),
)
def test_lots_and_multipliers_are_lawful(
    seed: int, missing: float, lot: float, multiplier: float
) -> None:
    """Whatever a unit is worth and whatever the smallest step: every fill is whole lots."""
    market = Market(seed, assets=4, steps=30, missing=missing)
    instruments = [
        Instrument(asset_id=a, lot_size=lot, multiplier=multiplier) for a in market.assets
    ]
    result = run(market, seed, initial_cash=1e6, instruments=instruments)
    lots = result.fills["quantity"].to_numpy() / lot
    np.testing.assert_allclose(lots, np.round(lots), atol=1e-6)
    assert (np.round(lots) >= 1.0).all()


@examples(40)
@given(seed=st.integers(0, 2**32 - 1), missing=st.sampled_from([0.0, 0.25]))
def test_longs_are_paid_in_cash(seed: int, missing: float) -> None:
    """What entries leave free is never negative: cash less twice what is sold short, at the fill.

    Checked at the opens of every bar in which something was bought or sold to open, from the
    frames of the result alone.
    """
    market = Market(seed, assets=4, steps=30, missing=missing)
    result = run(market, seed, fractional=True)
    fills = result.record.fills.filter(pl.col("reason") == "open")
    bars = market.bars()
    times = result.equity["timestamp"].to_list()
    only_open = result.record.fills.group_by("timestamp").agg((pl.col("reason") == "open").all())
    pure = set(only_open.filter("reason")["timestamp"])
    held: dict[str, float] = {}
    last: dict[str, float] = {}
    by_time = {time: part for (time,), part in fills.group_by(["timestamp"], maintain_order=True)}
    every = result.record.fills
    for t, time in enumerate(times):
        before = dict(held)
        now = every.filter(pl.col("timestamp") == time)
        held |= dict(now.select("asset_id", "position").iter_rows())
        if time in by_time and time in pure and _has_entry(before, held):
            short = -sum(
                units * (bars[t][a][0] if a in bars[t] else last[a])
                for a, units in held.items()
                if units < 0
            )
            assert result.equity["cash"][t] - 2.0 * short >= -1e-6
        last.update({a: bar[1] for a, bar in bars[t].items()})


def _has_entry(before: dict[str, float], after: dict[str, float]) -> bool:
    return any(
        abs(units) > abs(before.get(asset, 0.0)) or units * before.get(asset, 0.0) < 0.0
        for asset, units in after.items()
    )
