"""Runs to write pages of: one with hostile names, and a large one that is made up."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.results.record import FRAMES, RunRecord, empty_frame
from ml4t.backtest.testing.markets import random_market

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

# What breaks a page that forgets to escape one place.
EVIL = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>&\"'"


class Evil(Strategy):
    """Holds the best two, protects them, and talks."""

    def __init__(self, motto: str = EVIL) -> None:
        self.motto = motto

    def on_start(self) -> None:
        """Protects everything."""
        self.set_stop_loss(percent=0.02)

    def on_bars(self, bars: Bars) -> None:
        """Trades, with a tag, and is refused now and then."""
        self.log(self.motto)
        best = bars.top("ml_pred", 2)
        self.rebalance_to_weights(dict.fromkeys(best, 0.45), tolerance=0.05, tag=self.motto)


def evil_market(sessions: int = 120) -> pl.DataFrame:
    """Five assets, one of them called by a script, with a confidence and a mood."""
    market = random_market(assets=5, sessions=sessions, seed=11, information=0.1)
    confidence = (0.5 + pl.col("ml_pred") * 10.0).clip(0.0, 1.0)
    return market.with_columns(
        pl.col("asset_id").replace({"A00": EVIL}),
        confidence=confidence,
        mood=pl.when(pl.col("ml_pred") > 0.0).then(pl.lit(EVIL)).otherwise(pl.lit("low")),
    ).sort("timestamp", "asset_id")


def evil_run(sessions: int = 120) -> BacktestResult:
    """A run over the first sessions of it."""
    market = evil_market()
    days = market["timestamp"].unique().sort()
    market = market.filter(pl.col("timestamp") <= days[sessions - 1])
    broker = SimulationBroker(
        initial_cash=100_000, commission=PercentCommission(0.001), slippage=BasisPointSlippage(2)
    )
    names = ["ml_pred", "confidence", "mood"]
    return BacktestEngine(market, strategy=Evil(), broker=broker, signal_columns=names).run()


@pytest.fixture(scope="session")
def evil() -> BacktestResult:
    """A run in which every name is a script."""
    return evil_run()


@pytest.fixture(scope="session")
def evil_page(evil: BacktestResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its page."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    return evil.report(path, benchmark="equal_weight")


def large_record(trades: int = 100_000, bars: int = 200_000, assets: int = 400) -> RunRecord:
    """As many trades as a busy year of minutes has, made up: two fills each."""
    rng = np.random.default_rng(1)
    start = dt.datetime(2020, 1, 1)
    times = pl.datetime_range(
        start, start + dt.timedelta(minutes=bars - 1), "1m", eager=True, time_unit="us"
    )
    gains = rng.normal(0.5, 60.0, bars).cumsum()
    equity = 1e6 + gains - gains.min() * 0.5
    n = 2 * trades
    entries = np.sort(rng.integers(0, bars - 50, trades))
    asset = np.arange(trades) % assets
    steps = np.column_stack([entries, entries + rng.integers(1, 40, trades)]).ravel()
    ids = pl.Series([f"ASSET{i:04d}" for i in range(assets)]).gather(np.repeat(asset, 2))
    price = 100.0 + rng.normal(0.0, 1.0, n)
    sides = pl.Series(["buy", "sell"] * trades)
    orders = pl.DataFrame(
        {
            "order_id": np.arange(1, n + 1),
            "created_at": times.gather(np.maximum(steps - 1, 0)),
            "asset_id": ids,
            "side": sides,
            "type": "market",
            "quantity": 10.0,
            "limit_price": pl.Series([None] * n, dtype=pl.Float64),
            "stop_price": pl.Series([None] * n, dtype=pl.Float64),
            "time_in_force": "gtc",
            "status": "filled",
            "filled_quantity": 10.0,
            "average_fill_price": price,
            "reason": pl.Series([None] * n, dtype=pl.String),
            "tag": pl.Series([None] * n, dtype=pl.String),
            "signal_ml_pred": rng.normal(size=n),
        }
    )
    fills = pl.DataFrame(
        {
            "fill_id": np.arange(1, n + 1),
            "order_id": np.arange(1, n + 1),
            "timestamp": times.gather(steps),
            "asset_id": ids,
            "side": sides,
            "quantity": 10.0,
            "price": price,
            "commission": 0.1,
            "slippage": 0.05,
            "reason": "open",
            "position": [10.0, 0.0] * trades,
            "multiplier": 1.0,
        }
    )
    table = pl.DataFrame({"timestamp": times, "equity": equity}).with_columns(
        session=pl.col("timestamp").dt.date(),
        cash=pl.col("equity") / 2.0,
        gross_exposure=pl.col("equity") / 2.0,
        net_exposure=pl.col("equity") / 4.0,
    )
    frames: dict[str, Any] = {name: empty_frame(name, pl.Datetime("us")) for name in FRAMES}
    frames |= {"equity": table, "orders": orders, "fills": fills}
    return RunRecord(
        **frames,
        initial_cash=1e6,
        settings={"strategy": "Busy", "commission": "PercentCommission(rate=0.0001)"},
        asset_ids=[f"ASSET{i:04d}" for i in range(assets)],
    )
