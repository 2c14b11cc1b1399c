"""Sessions with `AlpacaBroker` in front of a rehearsal server that is stepped by the feed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, Strategy
from ml4t.backtest.data.feed import DataFeed, Reader, Request
from ml4t.backtest.data.frames import FrameFeed
from ml4t.backtest.live.alpaca import pace, updates
from ml4t.backtest.live.alpaca.broker import AlpacaBroker
from ml4t.backtest.live.alpaca.gateway import AlpacaGateway
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.session.session import Session
from tests.live.world import Killed, ManualTime, MortalJournal

PATIENCE = 10.0
_ROUNDS = 60
_NUMBERS = itertools.count(1)


class RehearsedFeed(DataFeed):
    """Bars that the server trades on before anybody sees them; those it has traded come again."""

    def __init__(self, make: Callable[[], DataFeed], world: RehearsedWorld) -> None:
        self.make = make
        self.world = world

    def get_next_event(self) -> None:
        return None

    def is_exhausted(self) -> bool:
        return True

    def open_reader(self, request: Request) -> Reader:
        reader = self.make().open_reader(request)
        blocks = reader.blocks

        def traded(rows: int) -> Any:
            number = -1
            for several in blocks(rows):
                for i in range(len(several.times)):
                    number += 1
                    block = several.part(i, i + 1)
                    self.world.pass_to(number, int(block.times[0]))
                    yield block

        reader.blocks = traded  # type: ignore[method-assign]
        return reader


class RehearsedWorld:
    """One server and one journal, and as many sessions as it takes.

    Attributes:
        before: What else happens just before a bar is traded, by its number.
        options: Of the broker.
    """

    def __init__(self, folder: Path, data: Any, **venue: Any) -> None:
        self.path = folder / "session.journal"
        self.make: Callable[[], DataFeed] = data if callable(data) else lambda: FrameFeed(data)
        self.server = RehearsalServer(Venue(self.make(), **venue))
        self.time = ManualTime()
        self.options: dict[str, Any] = {"requests_per_minute": None, "request_seconds": 5.0}
        self.before: dict[int, Callable[[], Any]] = {}
        self.session: Session | None = None
        self.broker: AlpacaBroker | None = None
        self.result: BacktestResult | None = None
        self.writes = 0  # of the latest session's journal

    @property
    def venue(self) -> Venue:
        """The exchange."""
        return self.server.venue

    @property
    def gateway(self) -> AlpacaGateway:
        """The one of the latest session."""
        assert self.broker is not None
        assert isinstance(self.broker.gateway, AlpacaGateway)
        return self.broker.gateway

    def pass_to(self, number: int, now: int) -> None:
        """Let the server trade a bar, unless it has."""
        if number <= self.venue.step_number:
            self.time.moment = max(self.time.moment, now)
            return
        if self.session is not None and self.session.is_live:
            self.settle()
        if number in self.before:
            self.before[number]()
        self.time.moment = now
        assert self.server.step() == 1
        self.barrier()

    def settle(self) -> None:
        """Let the session and the server talk until nothing is left to say."""
        session = self.session
        assert session is not None
        for _ in range(_ROUNDS):
            self.barrier()
            calls = self.server.calls
            session.settle()
            self.barrier()
            if not len(session.inbox) and self.server.calls == calls:
                return
        raise AssertionError("the session and the server do not come to rest")

    def barrier(self) -> None:
        """Wait until the session has been left all that the server has told."""
        updates_ = None if self.broker is None else self.gateway._updates
        if updates_ is None:
            return
        number, heard = next(_NUMBERS), threading.Event()
        stream: Any = updates_._stream
        dispatch = stream._dispatch

        async def watched(message: Any) -> None:
            if message.get("stream") == "marker":
                if message["data"] == number:
                    heard.set()
                return
            await dispatch(message)

        stream._dispatch = watched
        frame = msgspec.json.encode({"stream": "marker", "data": number})

        def mark() -> bool:
            lines = [line for line in self.server._trades.lines.ready() if not line.is_mute]
            for line in lines:
                line.put(frame)
            return bool(lines)

        try:
            if self.server.run(mark):
                heard.wait(PATIENCE)
        finally:
            stream._dispatch = dispatch

    def feed(self) -> DataFeed:
        """What a session gets its bars from."""
        return RehearsedFeed(self.make, self)

    def run(
        self,
        strategy: Strategy,
        *,
        die_at: int | None = None,
        dies_after: bool = False,
        engine: dict[str, Any] | None = None,
        **options: Any,
    ) -> BacktestResult:
        """One session, until the bars end or something kills it."""
        journal = MortalJournal(self.path)
        journal.die_at, journal.dies_after = die_at, dies_after
        self.broker = AlpacaBroker("key", "secret", url=self.server.url, **self.options)
        feed = self.feed()
        made = BacktestEngine(feed, strategy=strategy, broker=self.broker, **(engine or {}))
        self.session = Session(made, journal, time=self.time, **options)
        try:
            self.result = self.session.run()
            return self.result
        finally:
            self.writes = journal.writes
            journal.close()

    def kill(self) -> None:
        """The process has died, as far as a session can tell."""
        raise Killed

    def wait_for_stream(self) -> None:
        """Until the server has a listener again."""
        ready = threading.Event()
        for _ in range(int(PATIENCE / 0.01)):
            if self.server.run(self.server._trades.lines.ready):
                return
            ready.wait(0.01)
        raise AssertionError("the stream did not come back")

    # -- what is there in the end -----------------------------------------------------------------

    def check(self, *, money: float = 0.0) -> None:
        """Positions, cash and executions of the session are those of the server.

        And nothing was done twice: no order has filled more than was asked.
        """
        assert self.result is not None
        over = self.result.orders.filter(
            pl.col("filled_quantity") > pl.col("quantity") * (1 + 1e-9)
        )
        assert over.height == 0, over
        broker, venue, session = self.broker, self.venue, self.session
        assert broker is not None
        assert session is not None
        held = {h.symbol: h.qty for h in venue.accounts.holdings()}
        assert broker.positions() == pytest.approx(held)
        assert broker.cash() == pytest.approx(venue.market.portfolio.cash, abs=1e-6)
        assert session.audit.mismatch == ""
        listed = {}
        for fill in venue.register.activities:
            if fill.kind == "FILL":
                sign = 1.0 if fill.side == "buy" else -1.0
                cum = f"{fill.cum_qty:.10f}".rstrip("0").rstrip(".")
                listed[f"{fill.order_id}:{cum}"] = (sign * fill.qty, fill.price)
        known = {
            name: (one.quantity, one.price)
            for name, one in broker.executions.items()
            if "@" not in name
        }
        assert known.keys() == listed.keys()
        for name, (quantity, price) in listed.items():
            assert known[name] == pytest.approx((quantity, price))
        booked = [float(flow) for flow in self.result_flows()]
        assert sum(booked) == pytest.approx(money, abs=1e-6)
        ours = {ticket.name for ticket in broker.tickets}
        theirs = {self.gateway._names.name_of_id(order) for order in venue.register.open}
        assert theirs == ours, (theirs, ours)

    def result_flows(self) -> list[float]:
        """Money that the session booked without a fill."""
        journal = Journal(self.path, is_read_only=True)
        entries = [msgspec.msgpack.decode(entry.content) for entry in journal.entries("cash")]
        journal.close()
        return [amount for _, amount in entries]

    def notes(self) -> str:
        """Everything the operator was told."""
        journal = Journal(self.path, is_read_only=True)
        text = "\n".join(e.content.decode(errors="replace") for e in journal.entries("note"))
        journal.close()
        return text


@contextmanager
def rehearsed(folder: Path, data: Any, **venue: Any) -> Iterator[RehearsedWorld]:
    """A world whose server ends with its test."""
    world = RehearsedWorld(folder, data, **venue)
    pauses, updates.PAUSES = updates.PAUSES, (0.02, 0.1)
    pause, pace._PAUSE = pace._PAUSE, 0.005
    try:
        with world.server:
            yield world
    finally:
        updates.PAUSES, pace._PAUSE = pauses, pause
        if world.broker is not None:
            world.gateway.close()


def bars(rows: dict[str, list[tuple[float, float, float, float]]], start: Any) -> pl.DataFrame:
    """Minute bars of a few assets: open, high, low and close."""
    import datetime as dt

    return pl.DataFrame(
        {
            "timestamp": start + dt.timedelta(minutes=i),
            "asset_id": name,
            "open": float(bar[0]),
            "high": float(bar[1]),
            "low": float(bar[2]),
            "close": float(bar[3]),
            "volume": 1e6,
        }
        for i in range(len(next(iter(rows.values()))))
        for name, some in rows.items()
        for bar in [some[i]]
    )
