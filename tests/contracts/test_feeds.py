"""Every feed sits the same exam: ours in memory and from files, and one a user writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from ml4t.backtest import CSVDataFeed, DataFeed, MarketEvent, ParquetDataFeed
from ml4t.backtest.testing.contracts import FeedContract
from ml4t.backtest.testing.markets import random_market, with_late, without_bars

if TYPE_CHECKING:
    from pathlib import Path


def _market() -> pl.DataFrame:
    """Missing bars, a late asset, and a signal that is not always there."""
    market = without_bars(with_late(random_market(4, 30, seed=5), "A02", 9), 0.2, seed=5)
    known = pl.col("ml_pred") > -1.0
    return market.with_columns(
        pl.when(known).then("ml_pred").alias("ml_pred"), known.alias("is_known")
    )


class TestFrameInMemory(FeedContract):
    """A Polars frame."""

    def make_feed(self) -> DataFeed:
        """From a frame."""
        return ParquetDataFeed(_market())


class TestLazyFrame(FeedContract):
    """A Polars LazyFrame."""

    def make_feed(self) -> DataFeed:
        """From a plan."""
        return ParquetDataFeed(_market().lazy())


class TestParquetFile(FeedContract):
    """A Parquet file."""

    @pytest.fixture(autouse=True)
    def _write(self, tmp_path: Path) -> None:
        self.path = tmp_path / "prices.parquet"
        _market().write_parquet(self.path)

    def make_feed(self) -> DataFeed:
        """From the file."""
        return ParquetDataFeed(self.path)


class TestCSVFile(FeedContract):
    """A CSV file."""

    @pytest.fixture(autouse=True)
    def _write(self, tmp_path: Path) -> None:
        self.path = tmp_path / "prices.csv"
        _market().write_csv(self.path)

    def make_feed(self) -> DataFeed:
        """From the file."""
        return CSVDataFeed(self.path)


class TestZonedMinutes(FeedContract):
    """Minutes in a zone, labelled by their start."""

    def make_feed(self) -> DataFeed:
        """From a frame."""
        start = pl.datetime(2024, 3, 8, 14, 30, time_zone="UTC")
        minutes = pl.DataFrame({"i": range(50)}).with_columns(
            timestamp=(start + pl.duration(minutes="i")).dt.convert_time_zone("America/New_York"),
            asset_id=pl.lit("SPY"),
            close=100.0 + pl.col("i"),
        )
        minutes = minutes.with_columns(open="close", high="close", low="close").drop("i")
        return ParquetDataFeed(minutes, bar_label="open", bar_duration="1m")


class ListFeed(DataFeed):
    """What a user has to write."""

    def __init__(self, events: list[MarketEvent]) -> None:
        self.events = list(events)

    def get_next_event(self) -> MarketEvent | None:
        """The next one."""
        return self.events.pop(0) if self.events else None

    def is_exhausted(self) -> bool:
        """Whether none is left."""
        return not self.events


class TestListFeed(FeedContract):
    """A feed of a user's own, which can be walked once."""

    is_reopenable = False

    def make_feed(self) -> DataFeed:
        """From events in memory."""
        feed, events = ParquetDataFeed(_market()), list[MarketEvent]()
        while (event := feed.get_next_event()) is not None:
            events.append(event)
        return ListFeed(events)
