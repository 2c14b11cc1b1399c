"""Everything together, and nobody in step: server, streams, vendor's clients, session."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import AlpacaBroker, AlpacaStreamFeed, BacktestEngine, Strategy
from ml4t.backtest.live.timing import ScaledTime
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from tests.live.test_session import told
from tests.live.world import market

SPEED = 60.0


class Rising(Strategy):
    """Holds what has risen in the last minute."""

    def on_market_data(self, event: Any, context: Any) -> None:
        if event.close > event.open and not self.get_position(event.asset_id):
            self.buy(event.asset_id, 10)
        elif event.close < event.open:
            self.close_position(event.asset_id)


@pytest.mark.slow
def test_a_rehearsal_that_runs_by_itself_is_its_backtest(tmp_path: Path) -> None:
    """From the first bar the session saw: the same fills, though bars and fills race."""
    names = {"A": "AAPL", "B": "IBM", "C": "SPY"}
    frame = market(16).drop("ml_pred").with_columns(pl.col("asset_id").replace(names))
    with RehearsalServer(Venue(frame, cash=100_000.0), speed=SPEED) as server:
        begun = server.run(lambda: server.venue.now)
        clock = ScaledTime(int(begun.timestamp() * 1e6), SPEED)
        keys: dict[str, Any] = {"api_key": "key", "secret_key": "secret", "url": server.url}
        feed = AlpacaStreamFeed(
            **keys, symbols=sorted(names.values()), stream_url=server.data_stream_url("iex"),
            grace_seconds=15.0, calendar="24/7", max_silence=None,
        )  # fmt: skip
        broker = AlpacaBroker(**keys, stream_url=server.stream_url)

        def stop_at_the_end() -> None:
            while not server.run(lambda: server.venue.is_over):
                time.sleep(0.1)
            time.sleep(1.5)
            feed.stop()

        watcher = threading.Thread(target=stop_at_the_end, daemon=True)
        watcher.start()
        engine = BacktestEngine(data=feed, broker=broker, strategy=Rising())
        live = engine.run_live("paper", journal=tmp_path / "j", time=clock, max_clock_skew=None)
        watcher.join(10)
    since = frame.filter(pl.col("timestamp") >= live.equity["timestamp"][0])
    backtest = BacktestEngine(since, strategy=Rising()).run()
    assert live.equity.height > 8
    assert told(live).equals(told(backtest))
    assert live.final_equity == pytest.approx(backtest.final_equity)
