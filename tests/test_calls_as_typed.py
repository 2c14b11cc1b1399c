"""The calls that people type first, typed that way."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    Clock,
    Context,
    Order,
    OrderSide,
    ParquetDataFeed,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import random_market, weekdays

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = 60
DAYS = weekdays(SESSIONS)


@pytest.fixture
def df() -> pl.DataFrame:
    """Prices with prediction columns joined on."""
    names = {"A00": "AAPL", "A01": "MSFT"}
    predictions = pl.col("ml_pred")
    return random_market(2, SESSIONS, seed=6, information=0.2).with_columns(
        pl.col("asset_id").replace_strict(names),
        ml_pred_5d=predictions / 2,
        confidence=predictions.abs().clip(0, 1),
        momentum_80pct=predictions > 0,
    )


@pytest.fixture
def vix() -> pl.DataFrame:
    """A market-wide series."""
    return pl.DataFrame({"timestamp": DAYS, "close": [15.0 + i % 20 for i in range(SESSIONS)]})


@pytest.fixture
def spy() -> pl.DataFrame:
    """Another."""
    return pl.DataFrame({"timestamp": DAYS, "trend": [float(i % 3 - 1) for i in range(SESSIONS)]})


@pytest.fixture
def strategy() -> Strategy:
    """A useful strategy in a few lines."""

    class MLStrategy(Strategy):
        def on_market_data(self, event, context):
            if context.get("VIX", 0) > 30:
                return
            p, confidence = event.signals.get("ml_pred", 0), event.signals.get("confidence", 0)
            if p > 0.8 and not self.get_position(event.asset_id):
                self.size_by_confidence(event.asset_id, confidence, max_percent=0.10)
            elif p < 0.4 and self.get_position(event.asset_id):
                self.close_position(event.asset_id)

    return MLStrategy()


def watch_context(strategy: Strategy) -> list[dict[str, Any]]:
    """The contexts a strategy is given from now on."""
    seen: list[dict[str, Any]] = []
    plain = strategy.on_market_data

    def hook(event: Any, context: dict[str, Any]) -> None:
        seen.append(context)
        plain(event, context)

    strategy.on_market_data = hook  # type: ignore[method-assign]
    return seen


def test_one_frame(df: pl.DataFrame, strategy: Strategy) -> None:
    """A frame with everything in it."""
    result = BacktestEngine(data=df, strategy=strategy).run()
    assert result.fills.height > 5


def test_one_feed(
    df: pl.DataFrame, strategy: Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Parquet file of one asset, with a broker of one's own."""
    monkeypatch.chdir(tmp_path)
    df.filter(asset_id="AAPL").write_parquet("aapl.parquet")
    engine = BacktestEngine(
        feed=ParquetDataFeed("aapl.parquet"),
        broker=SimulationBroker(initial_cash=100_000),
        strategy=strategy,
    )
    assert set(engine.run().fills["asset_id"]) == {"AAPL"}


def test_many_feeds(
    df: pl.DataFrame, vix: pl.DataFrame, spy: pl.DataFrame, strategy: Strategy
) -> None:
    """Feeds by asset, and context as tables."""
    aapl_feed = ParquetDataFeed(df.filter(asset_id="AAPL"))
    msft_feed = ParquetDataFeed(df.filter(asset_id="MSFT"))
    seen = watch_context(strategy)
    result = BacktestEngine(
        feeds={"AAPL": aapl_feed, "MSFT": msft_feed},
        context=Context({"VIX": vix, "SPY_trend": spy}),
        strategy=strategy,
    ).run()
    assert result.fills.height > 5
    assert seen[0] == {"VIX": 15.0, "SPY_trend": -1.0}


def test_context_columns(df: pl.DataFrame, vix: pl.DataFrame, strategy: Strategy) -> None:
    """Columns of the prices that are context, by a pattern."""
    wide = pl.DataFrame({"timestamp": DAYS, "VIX": vix["close"], "SPY_trend": 1.0, "DXY": 100.0})
    combined = df.join(wide, on="timestamp")
    seen = watch_context(strategy)
    BacktestEngine(data=combined, context_pattern="VIX|SPY_.*|DXY", strategy=strategy).run()
    assert seen[0] == {"VIX": 15.0, "SPY_trend": 1.0, "DXY": 100.0}


def test_signal_columns(df: pl.DataFrame) -> None:
    """Three signals by name, of two types; the others are left out."""
    feed = ParquetDataFeed(df, signal_columns=["ml_pred_5d", "confidence", "momentum_80pct"])
    event = feed.get_next_event()
    assert event is not None
    assert set(event.signals) == {"ml_pred_5d", "confidence", "momentum_80pct"}
    assert isinstance(event.signals["momentum_80pct"], bool)
    alias = ParquetDataFeed(df, signals=["ml_pred_5d", "confidence", "momentum_80pct"])
    assert alias.get_next_event() == event


def test_hooks_as_typed(df: pl.DataFrame, vix: pl.DataFrame) -> None:
    """With and without the context argument."""
    seen: list[float] = []

    class Without(Strategy):
        def on_market_data(self, event): ...

    class With(Strategy):
        def on_market_data(self, event, context):
            seen.append(context.get("VIX", 50))

    BacktestEngine(data=df, strategy=Without()).run()
    BacktestEngine(data=df, strategy=With()).run()
    BacktestEngine(data=df, strategy=With(), context=Context({"VIX": vix})).run()
    assert (seen[0], seen[2 * SESSIONS]) == (50, 15.0)


def test_signals_as_typed(df: pl.DataFrame) -> None:
    """A missing signal has a default, and `_meta` holds a dict."""
    seen: list[tuple[Any, Any]] = []

    class Reader(Strategy):
        def on_market_data(self, event):
            seen.append((event.signals.get("ml_pred", 0), event.signals["_meta"]["model_version"]))

    first = pl.col("timestamp") == DAYS[0]
    data = df.with_columns(
        pl.when(~first).then("ml_pred").alias("ml_pred"),
        pl.struct(model_version=pl.lit("v3")).alias("_meta"),
    )
    BacktestEngine(data=data, strategy=Reader()).run()
    assert seen[0] == (0, "v3")
    assert seen[2] == (df["ml_pred"][2], "v3")


def test_helpers_as_typed(df: pl.DataFrame) -> None:
    """Each helper on a day of its own; what follows is what it says."""
    held: list[dict[str, float]] = []

    class Typed(Strategy):
        def on_bars(self, bars):
            day = DAYS.index(bars.timestamp.date())
            held.append(self.get_positions())
            event = bars["AAPL"]
            if day == 0:
                self.buy_percent(event.asset_id, 0.95)
            elif day == 2:
                self.sell_percent(event.asset_id, 0.5)
            elif day == 4:
                self.close_position(event.asset_id)
            elif day == 6:
                self.size_by_confidence(event.asset_id, confidence=0.9, max_percent=0.95)
            elif day == 8:
                self.rebalance_to_weights({"AAPL": 0.4, "MSFT": 0.6})

    BacktestEngine(data=df, strategy=Typed()).run()
    closes = dict(df.filter(asset_id="AAPL").select("timestamp", "close").iter_rows())
    bought = held[1]["AAPL"]
    assert bought == pytest.approx(95_000 / closes[DAYS[0]], abs=1)
    assert held[3]["AAPL"] == bought - bought // 2
    assert held[5] == {}
    assert held[7]["AAPL"] == pytest.approx(0.855 * 100_000 / closes[DAYS[6]], rel=0.2)
    assert set(held[9]) == {"AAPL", "MSFT"}


def test_broker_as_typed(df: pl.DataFrame) -> None:
    """The plain calls, before a run and after it."""
    broker = SimulationBroker(initial_cash=100_000)
    order = Order("AAPL", OrderSide.BUY, 10)
    assert broker.submit_order(order) == 1

    class Idle(Strategy):
        def on_bars(self, bars): ...

    BacktestEngine(data=df, broker=broker, strategy=Idle()).run()
    assert broker.get_position("AAPL") == 10.0
    assert broker.get_position("MSFT") == 0.0
    assert broker.get_cash() == 100_000 - 10 * df.filter(asset_id="AAPL")["open"][0]


def test_feed_and_clock_as_typed(df: pl.DataFrame) -> None:
    """One event after the other, and feeds added to a clock."""
    feed = ParquetDataFeed(df)
    count = 0
    while not feed.is_exhausted():
        assert feed.get_next_event() is not None
        count += 1
    assert count == df.height
    assert feed.get_next_event() is None

    clock = Clock()
    clock.add_data_feed(ParquetDataFeed(df))
    assert sum(len(chunk) for chunk in clock.chunks()) == SESSIONS


def test_context_as_typed(vix: pl.DataFrame) -> None:
    """What was known at a time, as a plain dict."""
    context = Context({"VIX": vix})
    timestamp = dt.datetime.combine(DAYS[3], dt.time())
    assert context.at(timestamp) == {"VIX": 18.0}
