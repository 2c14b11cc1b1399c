"""A session as it is used: bars and predictions from threads, in a time that passes."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, LiveDataFeed, SignalBuffer, SimulationBroker
from ml4t.backtest.errors import LiveError
from ml4t.backtest.live.arrivals import Connected, LiveBar
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.timing import ScaledTime
from ml4t.backtest.testing.venues import ScriptedVenue
from tests.live.test_session import Threshold, told
from tests.live.world import MINUTE, START, market

SPEED = 400.0  # slow enough for a machine that has other work


class Exchange(LiveDataFeed):
    """Brings recorded minutes as they end, from a thread; the venue trades on them first."""

    def __init__(
        self, frame: pl.DataFrame, venue: ScriptedVenue | None = None, **options: Any
    ) -> None:
        symbols = frame["asset_id"].unique().sort().to_list()
        super().__init__(symbols, grace_seconds=20.0, max_silence=None, **options)
        self.frame = frame
        self.venue = venue
        self.thread: threading.Thread | None = None
        self.publish: Any = None

    def connect(self, inbox: Inbox) -> None:
        self.thread = threading.Thread(target=self.play, args=(inbox,), daemon=True)
        self.thread.start()

    def play(self, inbox: Inbox) -> None:
        try:
            self.bring(inbox)
        finally:
            self.stop()

    def bring(self, inbox: Inbox) -> None:
        inbox.put("feed", Connected())
        for (stamp,), bars in self.frame.group_by("timestamp", maintain_order=True):
            assert isinstance(stamp, dt.datetime)
            end = int(stamp.timestamp() * 1e6)
            time.sleep(self.time.seconds_until(end))
            rows = bars.rows(named=True)
            if self.venue is not None:
                paths = {
                    row["asset_id"]: (row["open"], row["high"], row["low"], row["close"])
                    for row in rows
                }
                self.venue.trade(end, paths)
            if self.publish is not None:
                self.publish(stamp, rows)
            for row in rows:
                prices = {name: row[name] for name in ("open", "high", "low", "close", "volume")}
                inbox.put("feed", LiveBar(asset_id=row["asset_id"], start=end - MINUTE, **prices))
        time.sleep(self.time.seconds_until(end + MINUTE))

    def reconnect(self) -> None:
        raise AssertionError("nothing was lost")

    def close(self) -> None:
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(10)

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        return []


def beginning() -> ScaledTime:
    """Two minutes before the first bar ends."""
    return ScaledTime(int(START.timestamp() * 1e6) - 2 * MINUTE, SPEED)


def test_bars_and_predictions_from_threads_make_a_backtest(tmp_path: Path) -> None:
    """Predictions come while their bar waits for them; nothing differs from the table."""
    frame = market(20)
    buffer = SignalBuffer(names=["ml_pred"])
    known = {(t, a): p for t, a, p in frame.select("timestamp", "asset_id", "ml_pred").rows()}

    def publish(stamp: dt.datetime, rows: list[dict[str, Any]]) -> None:
        def late() -> None:
            time.sleep(0.005)
            buffer.update_many(
                {row["asset_id"]: {"ml_pred": known[stamp, row["asset_id"]]} for row in rows},
                timestamp=stamp,
            )

        threading.Thread(target=late).start()

    feed = Exchange(frame.drop("ml_pred"), signals=buffer)
    feed.publish = publish
    engine = BacktestEngine(feed, strategy=Threshold(), broker=SimulationBroker())
    result = engine.run_live(
        "shadow", journal=tmp_path / "j", wait_for_signals=600.0, time=beginning()
    )
    wanted = BacktestEngine(frame, strategy=Threshold()).run()
    assert told(result).equals(told(wanted))
    assert result.equity["equity"].to_list() == wanted.equity["equity"].to_list()
    assert result.fills.height > 5


def test_a_broker_on_live_bars(tmp_path: Path) -> None:
    """Orders leave when bars come; the session that goes on with its journal knows all of it."""
    frame = market(20).with_columns(ml_pred=0.0).drop("ml_pred")

    class Rising(Threshold):
        def on_market_data(self, event: Any, context: Any) -> None:
            if event.close > event.open and not self.get_position(event.asset_id):
                self.buy(event.asset_id, 10)
            elif event.close < event.open:
                self.close_position(event.asset_id)

    venue = ScriptedVenue()
    venue.account = tmp_path.name
    options: dict[str, Any] = {"journal": tmp_path / "j", "max_clock_skew": None}
    engine = BacktestEngine(Exchange(frame, venue), strategy=Rising(), broker=LiveBroker(venue))
    first = engine.run_live(time=beginning(), **options)
    assert first.fills.height > 5
    held = {name: units for name, units in sorted(venue.positions.items()) if units}
    signed = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0) * pl.col("quantity")
    sums = first.fills.group_by("asset_id").agg(signed.sum().alias("held")).sort("asset_id")
    assert dict(sums.filter(pl.col("held") != 0.0).rows()) == held
    late = frame.with_columns(pl.col("timestamp") + dt.timedelta(minutes=20))
    again = BacktestEngine(Exchange(late, venue), strategy=Rising(), broker=LiveBroker(venue))
    moment = ScaledTime(int(START.timestamp() * 1e6) + 14 * MINUTE, SPEED)
    second = again.run_live(time=moment, **options)
    assert second.fills.head(first.fills.height).equals(first.fills)
    assert second.equity.height == 40


def test_a_session_without_bars_has_no_result(tmp_path: Path) -> None:
    """Stopped before anything came."""
    feed = Exchange(market(3))
    feed.stop()
    engine = BacktestEngine(feed, strategy=Threshold(), broker=SimulationBroker())
    with pytest.raises(LiveError, match="before any bars had come"):
        engine.run_live("shadow", journal=tmp_path / "j", time=beginning())
