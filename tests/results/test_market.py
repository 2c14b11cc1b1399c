"""The market of a run, read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ml4t.backtest import BacktestEngine, BacktestResult, DataError, Strategy
from ml4t.backtest.testing.markets import ten_bars
from tests.stories.plan import EventFeed

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars


class Idle(Strategy):
    """Looks on."""

    def on_bars(self, bars: Bars) -> None:
        """At nothing."""


def test_the_market_is_what_went_in() -> None:
    """Prices and signals; of some assets, some columns, and a part of the time."""
    data = ten_bars().with_columns(ml_pred=pl.int_range(pl.len()).cast(pl.Float64))
    data = data.with_columns(pl.when(pl.col("ml_pred") != 3).then("ml_pred"))
    other = data.with_columns(asset_id=pl.lit("B"), close=pl.col("high"))
    both = pl.concat([other, data])
    result = BacktestEngine(both, strategy=Idle(), start=data["timestamp"][2]).run()
    expected = both.sort("timestamp", "asset_id").filter(
        pl.col("timestamp") >= data["timestamp"][2]
    )
    assert_frame_equal(result.market(), expected.select(result.market().columns))
    assert_frame_equal(
        result.market(["B"], ["close", "ml_pred"]),
        expected.filter(asset_id="B").select("timestamp", "asset_id", "close", "ml_pred"),
    )
    assert result.signal_coverage["bars"].to_list() == [16]  # untouched by the second reading
    with pytest.raises(DataError, match="no asset 'C'"):
        result.market(["C"])
    with pytest.raises(DataError, match="no column 'ml_perd'"):
        result.market(columns=["ml_perd"])


def test_a_market_that_is_gone(tmp_path: Path) -> None:
    """A folder keeps what happened, a feed of events is walked once."""
    result = BacktestEngine(ten_bars(), strategy=Idle()).run()
    result.save(tmp_path / "run")
    with pytest.raises(DataError, match="gone"):
        BacktestResult.load(tmp_path / "run").market()
    result = BacktestEngine(feed=EventFeed(ten_bars()), strategy=Idle()).run()
    with pytest.raises(DataError):
        result.market()
