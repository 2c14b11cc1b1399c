"""One day, three wires: sessions whose bars come by a stream, one step after the other.

A server plays the next timestamp when the session has come to rest, so that a day is as fast as
the machine and as exact as a backtest. Predictions are published for each timestamp before its
bars are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from ml4t.backtest import (
    AlpacaStreamFeed,
    BacktestEngine,
    BacktestResult,
    IBStreamFeed,
    SignalBuffer,
    SimulationBroker,
    Strategy,
    WebSocketFeed,
)
from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.data.feed import DataFeed, Reader, Request
from ml4t.backtest.live.arrivals import LiveBar
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.session.session import Session
from tests.live.ib_world import IBWorld
from tests.live.rehearsed import RehearsedWorld
from tests.live.world import ManualTime

PATIENCE = 10.0
GRACE = 1.0
SIGNAL = "ml_pred"
_SECOND = 1_000_000


class Conductor:
    """Steps a server for a feed, and waits until its bars have arrived.

    Args:
        frame: The day, with predictions.
        clock: What time the session takes it to be.
        step: Plays a timestamp, whose time it is given.
        rest: Waits until what was decided last has been carried out and told.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        clock: ManualTime,
        step: Callable[[int], Any],
        rest: Callable[[], Any] = lambda: None,
    ) -> None:
        self.clock = clock
        self.step = step
        self.rest = rest
        self.signals = SignalBuffer(names=[SIGNAL])
        self.publishes = True
        self._days = frame.sort("timestamp").partition_by(
            "timestamp", as_dict=True, maintain_order=True
        )
        self._heard = 0
        first = min(when for (when,) in self._days)
        self.clock.moment = int(first.timestamp() * _SECOND) - 60 * _SECOND

    @property
    def options(self) -> dict[str, Any]:
        """Of any feed."""
        return {
            "signals": self.signals,
            "grace_seconds": GRACE,
            "calendar": "24/7",
            "max_silence": None,
        }

    def conduct(self, feed: LiveDataFeed) -> DataFeed:
        """The feed, with steps of the server between its timestamps."""
        open_reader = feed.open_reader

        def opened(request: Request) -> Reader:
            self._listen(feed)
            reader = open_reader(request)
            blocks = reader.blocks
            reader.blocks = lambda rows: self._blocks(feed, blocks(rows))  # type: ignore[method-assign]
            return reader

        feed.open_reader = opened  # type: ignore[method-assign]
        return feed

    def _listen(self, feed: LiveDataFeed) -> None:
        put = feed.inbox.put

        def counted(source: str, content: Any) -> None:
            put(source, content)
            self._heard += isinstance(getattr(content, "content", content), LiveBar)

        feed.inbox.put = counted  # type: ignore[method-assign]

    def _blocks(self, feed: LiveDataFeed, blocks: Iterator[Any]) -> Iterator[Any]:
        for (when,), bars in self._days.items():
            moment = int(when.timestamp() * _SECOND)
            if self.publishes:
                rows = zip(bars["asset_id"], bars[SIGNAL], strict=True)
                self.signals.update_many({name: {SIGNAL: value} for name, value in rows}, when)
            wanted = self._heard + bars.height
            self.step(moment)
            end = time.monotonic() + PATIENCE
            while self._heard < wanted:
                assert time.monotonic() < end, f"the bars of {when} did not arrive"
                time.sleep(0.0005)
            self.clock.moment = moment + int(GRACE * _SECOND)
            yield next(blocks)
        self.rest()
        feed.stop()
        yield from blocks


class StreamedAlpaca(RehearsedWorld):
    """Bars, orders and fills by alpaca-py."""

    def __init__(self, folder: Path, frame: pl.DataFrame, **venue: Any) -> None:
        super().__init__(folder, frame.drop(SIGNAL), **venue)
        self.conductor = Conductor(
            frame,
            self.time,
            lambda now: self.pass_to(self.venue.step_number + 1, now),
            self.settle,
        )

    def feed(self) -> DataFeed:
        """The vendor's stream."""
        return self.conductor.conduct(
            AlpacaStreamFeed(
                "key",
                "secret",
                symbols=self.venue.accounts.symbols,
                url=self.server.url,
                stream_url=self.server.data_stream_url(),
                **self.conductor.options,
            )
        )


class StreamedIB(IBWorld):
    """Likewise by ib_async."""

    def __init__(self, folder: Path, frame: pl.DataFrame, **venue: Any) -> None:
        super().__init__(folder, frame.drop(SIGNAL), **venue)
        self.conductor = Conductor(
            frame,
            self.time,
            lambda now: self.play(self.venue.step_number + 1, now),
            self.rest,
        )

    def rest(self) -> None:
        """Let the session hear what has become of its last orders."""
        assert self.session is not None
        self.session.settle()
        self.hear()
        self.session.settle()

    def feed(self) -> DataFeed:
        """The vendor's bars of five seconds."""
        return self.conductor.conduct(
            IBStreamFeed(self.venue.accounts.symbols, port=self.tws.port, **self.conductor.options)
        )


def run_shadow(
    folder: Path, frame: pl.DataFrame, strategy: Strategy, broker: SimulationBroker
) -> BacktestResult:
    """Bars and predictions over a WebSocket, orders in a simulation."""
    clock = ManualTime()
    with BroadcastServer(frame) as server:
        conductor = Conductor(frame, clock, lambda _: server.step())
        conductor.publishes = False  # the server streams them
        symbols = frame["asset_id"].unique().sort().to_list()
        feed = WebSocketFeed(server.url, symbols=symbols, **conductor.options)
        journal = Journal(folder / "shadow.journal")
        engine = BacktestEngine(conductor.conduct(feed), strategy=strategy, broker=broker)
        try:
            return Session(engine, journal, mode="shadow", time=clock).run()
        finally:
            journal.close()
