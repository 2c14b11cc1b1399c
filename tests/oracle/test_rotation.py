"""Rotation through real prices against plain loops."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    ParquetDataFeed,
    SimulationBroker,
    Strategy,
)
from tests.oracle.oracle import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest import Bars

HELD = 25
LOOK_BACK = 20


class Rotation(Strategy):
    """Holds the 25 best by their signal, every day anew, with a part of the money."""

    def __init__(self, part: float) -> None:
        self.part = part

    def on_bars(self, bars: Bars) -> None:
        """Equal weights for the best."""
        best = bars.top("momentum", HELD)
        self.rebalance_to_weights(dict.fromkeys(best, self.part / HELD))


class RotationByEvent(Rotation):
    """The same from `on_market_data`, which has to collect the signals of a timestamp first."""

    def on_start(self) -> None:
        """Nothing is collected yet."""
        self.scores: dict[str, float] = {}

    def on_bars(self, bars: Bars) -> None:
        """Decide on what the events brought, and nothing else."""
        ranked = sorted(self.scores, key=lambda asset: (-self.scores[asset], asset))
        self.rebalance_to_weights(dict.fromkeys(ranked[:HELD], self.part / HELD))
        self.scores.clear()

    def on_market_data(self, event: Any) -> None:
        """Note the signal."""
        if "momentum" in event.signals:
            self.scores[event.asset_id] = event.signals["momentum"]


@cache
def panel(path: Path) -> pl.DataFrame:
    """Closes of 296 stocks with their return over twenty sessions as the signal."""
    momentum = pl.col("close") / pl.col("close").shift(LOOK_BACK) - 1.0
    return (
        pl.read_parquet(path)
        .select("timestamp", pl.col("asset").alias("asset_id"), "close")
        .sort("asset_id", "timestamp")
        .with_columns(momentum.over("asset_id").alias("momentum"))
        .sort("timestamp", "asset_id")
    )


@pytest.fixture
def prices(shared_data: Path) -> pl.DataFrame:
    """The panel, or a skip when it is not there."""
    path = shared_data / "equity_daily_total_return_panel.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the recorded market data")
    return panel(path)


def matrices(prices: pl.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Assets, closes and signals as [sessions, assets], NaN where there is no bar."""
    wide = [
        prices.pivot("asset_id", index="timestamp", values=name, sort_columns=True)
        for name in ("close", "momentum")
    ]
    assets = wide[0].columns[1:]
    closes, scores = (
        w.sort("timestamp").select(assets).cast(pl.Float64).fill_null(np.nan).to_numpy()
        for w in wide
    )
    return assets, closes, scores


def best_of(scores: np.ndarray) -> np.ndarray:
    """Columns of the 25 highest, ties by position."""
    known = np.flatnonzero(~np.isnan(scores))
    return known[np.lexsort((known, -scores[known]))][:HELD]


def run(prices: pl.DataFrame, strategy: Strategy, *, fractional: bool = True) -> BacktestResult:
    """A run on closes alone."""
    feed = ParquetDataFeed(prices, price_column="close", signal_columns=["momentum"])
    broker = SimulationBroker(1_000_000.0, fractional=fractional)
    return BacktestEngine(feed=feed, strategy=strategy, broker=broker).run()


@pytest.mark.parametrize("strategy", [Rotation, RotationByEvent])
def test_rotation_without_friction(prices: pl.DataFrame, strategy: type[Rotation]) -> None:
    """With money to spare: yesterday's targets, bought and sold at today's price, nothing else.

    A close-only bar opens, trades and closes at one price, so what is decided on one close fills
    at the next one.
    """
    assets, closes, scores = matrices(prices)
    assert len(assets) == 296
    cash, units, wanted = 1_000_000.0, np.zeros(len(assets)), None
    last = np.full(len(assets), np.nan)
    equity = []
    for price, score in zip(closes, scores, strict=True):
        last = np.where(np.isnan(price), last, price)
        if wanted is not None:
            here = ~np.isnan(price)
            change = np.where(here, wanted - units, 0.0)
            cash -= float(np.nansum(change * price))
            units = units + change
        worth = cash + float(np.nansum(units * last))
        equity.append(worth)
        wanted = np.zeros(len(assets))
        best = best_of(score)
        wanted[best] = 0.8 / HELD * worth / last[best]
    result = run(prices, strategy(0.8))
    ours = result.equity["equity"].to_numpy()
    assert len(ours) == len(equity) > 1_000
    np.testing.assert_allclose(ours, np.array(equity), rtol=1e-9)
    assert result.record.counts["clipped_orders"] == 0, "there was money to spare"


@pytest.mark.parametrize("fractional", [True, False], ids=["fractional", "whole"])
def test_rotation_of_everything(prices: pl.DataFrame, fractional: bool) -> None:
    """Fully invested, entries are cut where prices rose overnight; the oracle cuts alike."""
    times = prices["timestamp"].unique().sort()
    prices = prices.filter(pl.col("timestamp") <= times[750])
    assets, closes, scores = matrices(prices)
    bars = [
        {assets[a]: (float(p[a]), float(p[a])) for a in np.flatnonzero(~np.isnan(p))}
        for p in closes
    ]
    plan: Any = [
        [("weights", dict.fromkeys([assets[a] for a in best_of(s)], 1.0 / HELD))] for s in scores
    ]
    rows = simulate(bars, plan, cash=1_000_000.0, whole=not fractional)
    result = run(prices, Rotation(1.0), fractional=fractional)
    expected = np.array([row.equity for row in rows])
    np.testing.assert_allclose(result.equity["equity"].to_numpy(), expected, rtol=1e-9)
    assert result.record.counts["clipped_orders"] > 100
    held = result.holdings.height
    assert held >= HELD, "nobody is dropped for lack of a few dollars"
