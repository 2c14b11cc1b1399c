"""Crypto minutes, round the clock, in fractions of a coin."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Instrument,
    ParquetDataFeed,
    PercentCommission,
    SimulationBroker,
    Strategy,
    VolumeParticipation,
)

MINUTE = dt.timedelta(minutes=1)
LOT = 1e-8


class Swing(Strategy):
    """Half of equity in a coin while it is above its mean of an hour, with a trailing stop."""

    def on_start(self):
        self.set_trailing_stop(percent=0.01)

    def on_market_data(self, event):
        closes = self.history(event.asset_id, 60)
        if len(closes) < 60:
            return
        if event.close > closes.mean() * 1.001 and not self.get_position(event.asset_id):
            self.order_target_percent(event.asset_id, 0.5)
        elif event.close < closes.mean():
            self.close_position(event.asset_id)


@pytest.fixture(scope="module")
def minutes(shared_data: Path) -> pl.DataFrame:
    """Coinbase trades by minute, labelled by their start."""
    return pl.read_parquet(shared_data / "crypto_minute.parquet").rename({"asset": "asset_id"})


def run(minutes: pl.DataFrame, **options: Any) -> BacktestResult:
    """A year has 365 sessions of 24 hours."""
    feed = ParquetDataFeed(minutes, bar_label="open", bar_duration=MINUTE, signal_columns=[])
    coins = [Instrument(asset_id=a, lot_size=LOT) for a in minutes["asset_id"].unique()]
    broker = SimulationBroker(commission=PercentCommission(0.001), instruments=coins, **options)
    return BacktestEngine(feed, strategy=Swing(), broker=broker, calendar="24/7").run()


def test_fractions_of_a_coin(minutes: pl.DataFrame) -> None:
    """Quantities are whole steps of the lot; nothing is left over; a year is 365 days."""
    result = run(minutes, close_at_end=True)
    assert result.fills.height > 50
    steps = result.fills["quantity"] / LOT
    assert ((steps - steps.round()).abs() < 1e-3).all()
    assert (result.fills["quantity"] % 1.0 != 0.0).any()
    assert result.holdings.is_empty()
    assert "trailing_stop" in set(result.trades["exit_reason"].str.replace(" at open", ""))
    assert result.settings["calendar"] == "24/7"
    assert result.metrics["periods_per_year"] == pytest.approx(365.0, abs=0.3)


def test_a_share_of_thin_minutes(minutes: pl.DataFrame) -> None:
    """A hundredth of a minute's coins: orders take many minutes, and no more than that of any."""
    result = run(minutes, liquidity=VolumeParticipation(0.01))
    volume = minutes.select(
        pl.col("timestamp").dt.offset_by("1m"), "asset_id", "volume"
    ).with_columns(pl.col("timestamp").cast(result.fills.schema["timestamp"]))
    taken = result.fills.group_by("timestamp", "asset_id").agg(pl.col("quantity").sum())
    joined = taken.join(volume, on=["timestamp", "asset_id"])
    assert joined.height == taken.height
    assert (joined["quantity"] <= joined["volume"] * 0.01 + 1e-12).all()
    fills_an_order = result.fills.group_by("order_id").len()["len"]
    assert max(fills_an_order.to_list()) > 3
