"""The vendor's own client, unmodified, in front of a rehearsal server; and small markets for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import polars as pl
from alpaca.common.exceptions import APIError
from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.trading.client import TradingClient
from alpaca.trading.stream import TradingStream

from ml4t.backtest.rehearsal.server import RehearsalServer

__all__ = [
    "APIError",
    "CryptoDataStream",
    "CryptoHistoricalDataClient",
    "Listener",
    "StockDataStream",
    "StockHistoricalDataClient",
    "TradingClient",
    "TradingStream",
    "listening",
    "market",
    "trading_client",
    "until",
    "watching",
]

FIRST = datetime(2024, 1, 2, 15, 1, tzinfo=UTC)
PATIENCE = 10.0


def market(
    opens: Sequence[float] = (10, 11, 12, 11, 13, 12, 12, 11),
    *,
    assets: Sequence[str] = ("AAPL",),
    first: datetime = FIRST,
    spread: float = 0.5,
    volume: float = 1_000.0,
) -> pl.DataFrame:
    """Minute bars known at 15:01, 15:02, ...: high and low around the open, close at the open."""
    return pl.DataFrame(
        {
            "timestamp": first + timedelta(minutes=i),
            "asset_id": asset,
            "open": float(price),
            "high": price + spread,
            "low": price - spread,
            "close": float(price),
            "volume": volume,
        }
        for i, price in enumerate(opens)
        for asset in assets
    )


def until(condition: Callable[[], Any], what: str = "it") -> None:
    """Wait, for a bounded time, until something is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {PATIENCE:g} seconds"
        time.sleep(0.005)


def trading_client(server: RehearsalServer, *keys: str) -> Any:
    """A client of orders, with its patience between two tries shortened."""
    key, word = keys or ("key", "secret")
    client = TradingClient(key, word, url_override=server.url)
    client._retry_wait = 0  # three seconds by default
    client._session.trust_env = False
    return client


class Listener:
    """A stream of the client in a thread of its own, and what it has heard."""

    def __init__(self, stream: Any) -> None:
        stream._reconnect_min_backoff = 0.05  # one second by default
        self.stream = stream
        self.heard: list[Any] = []
        self._thread = threading.Thread(target=stream.run, daemon=True)

    async def hear(self, item: Any) -> None:
        """What the stream calls."""
        self.heard.append(item)

    @property
    def events(self) -> list[str]:
        """The events of the trade updates heard."""
        return [update.event for update in self.heard]

    def start(self) -> Self:
        """Run the stream."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ask the stream to end; it does so when the server has gone."""
        if self.stream._loop is not None and self.stream._loop.is_running():
            self.stream.stop()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def listening(server: RehearsalServer, *, ready: bool = True) -> Listener:
    """A client of trade updates."""
    stream = TradingStream("key", "secret", url_override=server.stream_url)
    listener = Listener(stream)
    stream.subscribe_trade_updates(listener.hear)
    listener.start()
    if ready:
        until(lambda: server.run(server._trades.lines.ready), "listening")
    return listener


def watching(
    server: RehearsalServer, *symbols: str, crypto: bool = False, ready: bool = True, **options: Any
) -> Listener:
    """A client of bars."""
    if crypto:
        url = server.data_stream_url("crypto")
        stream: Any = CryptoDataStream("key", "secret", url_override=url, **options)
    else:
        url = server.data_stream_url()
        stream = StockDataStream("key", "secret", url_override=url, **options)
    listener = Listener(stream)
    stream.subscribe_bars(listener.hear, *symbols)
    listener.start()
    if ready:
        lines = (server._crypto if crypto else server._shares).lines
        until(lambda: server.run(lambda: any(line.wanted["bars"] for line in lines)), "watching")
    return listener
