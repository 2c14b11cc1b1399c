"""A market, a venue and sessions on them that can be killed at any moment."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest import BacktestEngine, BacktestResult, Strategy
from ml4t.backtest.data.feed import DataFeed, Reader, Request
from ml4t.backtest.data.frames import FrameFeed
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.session.session import Session
from ml4t.backtest.testing.venues import ScriptedVenue

START = dt.datetime(2024, 3, 4, 14, 31, tzinfo=dt.UTC)
MINUTE = 60_000_000


def market(
    steps: int = 30, assets: tuple[str, ...] = ("A", "B", "C"), seed: int = 1
) -> pl.DataFrame:
    """Minute bars of a random walk, with a prediction."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in assets:
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.004, steps)))
        opened = np.append(100.0, close[:-1]) * np.exp(rng.normal(0.0, 0.001, steps))
        high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, 0.002, steps)))
        low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, 0.002, steps)))
        rows += [
            {
                "timestamp": START + dt.timedelta(minutes=i),
                "asset_id": name,
                "open": round(opened[i], 2),
                "high": round(max(high[i], opened[i], close[i]) + 0.005, 2),
                "low": round(min(low[i], opened[i], close[i]) - 0.005, 2),
                "close": round(close[i], 2),
                "volume": 1e6,
                "ml_pred": float(rng.random()),
            }
            for i in range(steps)
        ]
    return pl.DataFrame(rows).sort("timestamp", "asset_id")


class ManualTime:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.moment = int(START.timestamp() * 1e6)

    def now(self) -> int:
        return self.moment

    def seconds_until(self, moment: int) -> float:
        return 0.0


class VenueFeed(DataFeed):
    """Bars that the venue trades on before anybody sees them; those it has traded come again."""

    def __init__(self, frame: pl.DataFrame, venue: ScriptedVenue, time: ManualTime) -> None:
        self.frame = frame
        self.venue = venue
        self.time = time
        self.settle: Callable[[], Any] = lambda: None
        self.before: dict[int, Any] = {}  # what else happens just before a bar, by its number

    def get_next_event(self) -> None:
        return None

    def is_exhausted(self) -> bool:
        return True

    def open_reader(self, request: Request) -> Reader:
        reader = FrameFeed(self.frame).open_reader(request)
        reader.survey = msgspec.structs.replace(reader.survey, is_streaming=True)  # as it is live
        blocks = reader.blocks

        def traded(rows: int) -> Any:
            for several in blocks(rows):
                for i in range(len(several.times)):
                    block = several.part(i, i + 1)
                    now = int(block.times[0])
                    self.time.moment = max(self.time.moment, now)
                    if now > self.venue.traded_until:
                        if i in self.before:
                            self.before[i](self.venue)
                        names = [reader.ids[code] for code in block.codes.tolist()]
                        prices = [block.prices[n] for n in ("open", "high", "low", "close")]
                        bars = {
                            name: tuple(float(column[k]) for column in prices)
                            for k, name in enumerate(names)
                        }
                        self.venue.trade(now, bars, self.settle)  # type: ignore[arg-type]
                    yield block

        reader.blocks = traded  # type: ignore[method-assign]
        return reader


class Killed(BaseException):
    """The process has died."""


class MortalJournal(Journal):
    """A journal whose process dies at one of its writes, just before or just after it."""

    die_at: int | None = None
    dies_after: bool = False
    writes: int = 0

    def _open(self, *, is_read_only: bool) -> None:
        super()._open(is_read_only=is_read_only)
        self._database.execute("PRAGMA synchronous=OFF")  # the process dies here, not the machine

    def write(self, kind: str, content: Any, at: int) -> int:
        self.writes += 1
        if self.writes == self.die_at and not self.dies_after:
            raise Killed
        number = super().write(kind, content, at)
        if self.writes == self.die_at:
            raise Killed
        return number


class World:
    """One venue and one journal, and as many sessions as it takes."""

    def __init__(self, folder: Path, frame: pl.DataFrame, **venue: Any) -> None:
        self.path = folder / "session.journal"
        self.frame = frame
        self.venue = ScriptedVenue(**venue)
        self.venue.account = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        self.time = ManualTime()
        self.options: dict[str, Any] = {}
        self.before: dict[int, Any] = {}
        self.session: Session | None = None
        self.broker: LiveBroker | None = None
        self.writes = 0

    def run(
        self,
        strategy: Strategy,
        *,
        die_at: int | None = None,
        dies_after: bool = False,
        engine: dict[str, Any] | None = None,
        **options: Any,
    ) -> BacktestResult:
        """One session, until the bars end or it is killed."""
        journal = MortalJournal(self.path)
        journal.die_at, journal.dies_after = die_at, dies_after
        self.broker = LiveBroker(self.venue, **self.options)
        feed = VenueFeed(self.frame, self.venue, self.time)
        feed.before = self.before
        made = BacktestEngine(feed, strategy=strategy, broker=self.broker, **(engine or {}))
        self.session = Session(made, journal, time=self.time, **options)
        feed.settle = self.session.settle
        try:
            return self.session.run()
        finally:
            self.writes = journal.writes
            journal.close()
