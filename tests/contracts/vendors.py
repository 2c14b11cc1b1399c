"""Drives the vendors of the package's live feeds for their exam, as a third party would."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from ml4t.backtest import AlpacaStreamFeed, IBStreamFeed
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.testing.live_feeds import HandTime
from tests.live.alpaca_server import KEY, SECRET, AlpacaServer, past, wire
from tests.live.scripted import MINUTE, NINE
from tests.rehearsal.clients import market

PIECES = 12  # of five seconds


class AlpacaVendor:
    """Drives a server of Alpaca's stream and history."""

    start = NINE

    def __init__(self, symbols: Sequence[str], grace_seconds: float) -> None:
        self.server = AlpacaServer()
        self.server.__enter__()
        self.clock = HandTime(NINE)
        self.feed: LiveDataFeed = AlpacaStreamFeed(
            KEY, SECRET, symbols=symbols, calendar="24/7", max_silence=None,
            grace_seconds=grace_seconds, **self.server.addresses(),
        )  # fmt: skip
        self.feed.time = self.clock

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        self.server.send(wire(asset_id, NINE + minute * MINUTE, close, "u" if is_update else "b"))

    def send_garbage(self) -> None:
        self.server.send_raw(b"\xc1\xff")
        self.server.send({**wire("A", NINE, 1.0), "t": "noon"})

    def keep(self, asset_id: str, minute: int, close: float) -> None:
        bars = self.server.history.setdefault(asset_id, [])
        bars.append(past(NINE + minute * MINUTE, close))

    def pass_to(self, minute: float) -> None:
        self.clock.moment = NINE + round(minute * MINUTE)

    def drop(self) -> None:
        self.server.drop()

    def close(self) -> None:
        self.server.__exit__()


class IBVendor:
    """Drives a TWS whose bars are said by hand; it has no corrections."""

    start = NINE

    def __init__(self, symbols: Sequence[str], grace_seconds: float, source: str) -> None:
        # Its own clock is later than all that is said here.
        bars = market([10.0, 10.0], assets=symbols, first=dt.datetime(2025, 1, 2, tzinfo=dt.UTC))
        self.server = TwsRehearsal(Venue(bars))
        told: Any = self.server.office.bars
        self.read_end = told._end
        told._frame, told._end = self.history, self.end
        self.past: list[tuple[str, int, float]] = []
        self.clock = HandTime(NINE)
        self.source = source
        self.server.start()
        self.feed: LiveDataFeed = IBStreamFeed(
            symbols, port=self.server.port, calendar="24/7", max_silence=None, source=source,
            grace_seconds=grace_seconds, answer_seconds=2.0,
        )  # fmt: skip
        self.feed.time = self.clock

    def end(self, text: str) -> int:
        """Until when history is asked; now by the feed's time."""
        now = self.clock.moment
        return min(now, self.read_end(text)) if text else now

    def history(self, asset_id: str, _length: int, first: int, last: int) -> pl.DataFrame:
        """What was kept, of a span."""
        rows = [
            (start, close, close + 1, close - 1, close, 100.0)
            for name, start, close in sorted(self.past)
            if name == asset_id and first <= start and start + MINUTE <= last
        ]
        names = ("begins", "open", "high", "low", "close", "volume")
        return pl.DataFrame(rows, names, orient="row")

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        """Piece by piece; or as a minute that is whole because the next one has begun.

        A correction is the bar again, with other prices.
        """
        del is_update
        seconds = (NINE + minute * MINUTE) // 1_000_000
        values = (close, close + 1, close - 1, close)
        if self.source == "live":
            self._say(
                asset_id,
                *([seconds + 5 * i, *values, 10.0, close, 1] for i in range(PIECES)),
            )
        else:
            o, h, low, c = values
            self._say(
                asset_id,
                *([1, seconds + 60 * i, o, c, h, low, close, 10.0] for i in range(2)),
            )

    def _say(self, asset_id: str, *rows: list[Any]) -> None:
        kind = [50, 3] if self.source == "live" else [90]

        def say() -> None:
            for line in self.server.office.lines:
                for request, watch in line.bars.items():
                    if watch.listing.asset_id == asset_id:
                        line.say(*([*kind, request, *row] for row in rows))

        self.server.run(say)

    def send_garbage(self) -> None:
        """A message that nobody knows, a bar without numbers, and one that nobody asked for."""

        def say() -> None:
            for line in self.server.office.lines:
                line.say([999, 1, "nonsense"], [50, 3, 12_345, 0, 1, 1, 1, 1, 1, 1, 1])
                for request in line.bars:
                    line.say([50, 3, request, "noon", "a", "b", "c", "d", "e", "f", "g"])

        self.server.run(say)

    def keep(self, asset_id: str, minute: int, close: float) -> None:
        self.past.append((asset_id, NINE + minute * MINUTE, close))

    def pass_to(self, minute: float) -> None:
        self.clock.moment = NINE + round(minute * MINUTE)

    def drop(self) -> None:
        self.server.run(self.server.office.lines.drop)

    def close(self) -> None:
        self.server.stop()
