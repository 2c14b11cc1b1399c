"""A stepped market behind TWS's protocol, and sessions on it that can be killed at any moment."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import polars as pl

from ml4t.backtest import BacktestEngine, BacktestResult, IBBroker, SimulationBroker, Strategy
from ml4t.backtest.data.feed import DataFeed, Reader, Request
from ml4t.backtest.data.frames import FrameFeed
from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.session.session import Session
from tests.live.world import ManualTime, MortalJournal

FAST = {
    "answer_seconds": 3.0,
    "commission_seconds": 0.3,
    "heartbeat": 5.0,
    "messages_a_second": 1e5,
}


class SteppedFeed(DataFeed):
    """Bars that the rehearsal has traded on before anybody sees them."""

    def __init__(self, frame: pl.DataFrame, world: IBWorld) -> None:
        self.frame = frame
        self.world = world

    def get_next_event(self) -> None:
        return None

    def is_exhausted(self) -> bool:
        return True

    def open_reader(self, request: Request) -> Reader:
        reader = FrameFeed(self.frame).open_reader(request)
        blocks = reader.blocks

        def traded(rows: int) -> Any:
            number = -1
            for several in blocks(rows):
                for i in range(len(several.times)):
                    block = several.part(i, i + 1)
                    number += 1
                    self.world.play(number, int(block.times[0]))
                    yield block

        reader.blocks = traded  # type: ignore[method-assign]
        return reader


class IBWorld:
    """One rehearsal of TWS and one journal, and as many sessions as it takes."""

    def __init__(self, folder: Path, frame: pl.DataFrame, **venue: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "session.journal"
        self.frame = frame
        venue.setdefault("broker", SimulationBroker())
        self.venue = Venue(frame, **venue)
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
        self.tws = TwsRehearsal(self.venue, account=f"DU{digest}")
        self.time = ManualTime()
        self.options: dict[str, Any] = {}
        self.before: dict[int, Any] = {}  # what else happens just before a bar, by its number
        self.broker: IBBroker | None = None
        self.session: Session | None = None
        self.writes = 0

    def __enter__(self) -> Self:
        self.tws.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.tws.stop()

    def hear(self) -> None:
        """Let the gateway hear all that was said so far."""
        assert self.broker is not None
        gateway: Any = self.broker.gateway
        link = gateway._link
        if link is not None and link.is_up:
            with suppress(ConnectionLost):  # it was cut off at this moment
                link.call(link.now)

    def play(self, number: int, now: int) -> None:
        """A bar passes, unless it has; and its news arrive."""
        self.time.moment = max(self.time.moment, now)
        if number > self.tws.run(lambda: self.venue.step_number):
            if number in self.before:
                self.before[number](self)
            self.tws.step()
        self.hear()

    def feed(self) -> DataFeed:
        """What a session gets its bars from."""
        return SteppedFeed(self.frame, self)

    def run(
        self,
        strategy: Strategy,
        *,
        die_at: int | None = None,
        dies_after: bool = False,
        **options: Any,
    ) -> BacktestResult:
        """One session, until the bars end or it is killed."""
        journal = MortalJournal(self.path)
        journal.die_at, journal.dies_after = die_at, dies_after
        self.broker = IBBroker(port=self.tws.port, **(FAST | self.options))
        feed = self.feed()
        made = BacktestEngine(feed, strategy=strategy, broker=self.broker)
        self.session = Session(made, journal, time=self.time, **options)
        try:
            return self.session.run()
        finally:
            self.writes = journal.writes
            journal.close()

    def held(self) -> dict[str, float]:
        """What the account holds."""
        found = self.tws.run(self.venue.accounts.holdings)
        return {one.symbol: one.qty for one in found}

    def fills(self) -> list[tuple[Any, ...]]:
        """What was traded, by the venue."""
        notes = self.tws.run(lambda: list(self.venue.register.activities))
        return sorted(
            (one.at, one.symbol, one.side, one.qty, one.price)
            for one in notes
            if one.kind == "FILL"
        )
