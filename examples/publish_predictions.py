"""A model that runs elsewhere publishes its predictions, and a session trades on them.

Run it: python examples/publish_predictions.py
"""

import json
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from websockets.sync.client import connect

from ml4t.backtest import BacktestEngine, SignalBuffer, Strategy, WebSocketFeed
from ml4t.backtest.broadcast.server import BroadcastServer


def model(url):
    """The model: knows the schema, and nothing of this library."""
    with connect(url) as socket:
        socket.send('{"type": "hello", "version": 1}')
        socket.send('{"type": "subscribe", "symbols": ["XYZ"], "signals": false}')
        for message in map(json.loads, socket):
            if message["type"] == "end":
                return
            for bar in message["bars"] if message["type"] == "bars" else ():
                values = {"ml_pred": bar["close"] / bar["open"] - 1}
                end = (datetime.fromisoformat(bar["start"]) + timedelta(minutes=1)).isoformat()
                signal = {"asset_id": bar["asset_id"], "timestamp": end, "values": values}
                socket.send(json.dumps({"type": "publish", "signals": [signal]}))


class Follow(Strategy):
    """Holds what is predicted to rise."""

    def on_market_data(self, event):
        rises = event.signals["ml_pred"] > 0
        self.order_target_percent(event.asset_id, 0.5 if rises else 0.0)


def prices(minutes=60, seed=3):
    """An hour of made-up minutes."""
    close = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.001, minutes).cumsum())
    close = close.round(2)
    opens = np.append(100.0, close[:-1])
    start = datetime(2024, 1, 2, 14, 31, tzinfo=UTC)
    return pl.DataFrame(
        {
            "timestamp": [start + timedelta(minutes=i) for i in range(minutes)],
            "asset_id": "XYZ",
            "open": opens,
            "high": np.maximum(opens, close),
            "low": np.minimum(opens, close),
            "close": close,
            "volume": 1_000.0,
        }
    )


with BroadcastServer(prices(), speed=1_200, wait_for=2) as server:
    elsewhere = threading.Thread(target=model, args=[server.url])
    elsewhere.start()
    buffer = SignalBuffer(names=["ml_pred"])
    feed = WebSocketFeed(server.url, symbols=["XYZ"], signals=buffer, max_silence=None)
    feed.time = feed.clock  # the recording's time
    feed.wait_for_signals = 600  # seconds of it
    result = BacktestEngine(feed, strategy=Follow()).run()
    elsewhere.join()

counts = feed.counts()
print(f"{counts['bars']} bars, {counts['signal_updates']} predictions, "
      f"{counts['signals_missing']} missing")  # fmt: skip
print(f"equity {result.final_equity:,.2f} after {len(result.fills)} fills")
