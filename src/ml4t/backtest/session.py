"""A live session: the steps of a run on what comes, with everything written down."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest._version import __version__
from ml4t.backtest.errors import ConfigError, ConnectionLost, JournalError, ReconcileError
from ml4t.backtest.live.blocks import BarsRecord, block_of, record_of
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.intake import IntakeFeed, codes_of
from ml4t.backtest.live.reconcile import catch_up, compare
from ml4t.backtest.live.timing import WallTime
from ml4t.backtest.live.words import Answer, Change, Link, Request, VenueEvent
from ml4t.backtest.run import Run
from ml4t.backtest.strategy.strategy import Strategy
from ml4t.backtest.types.order import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import DataFeed, Reader
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.live.inbox import Message
    from ml4t.backtest.live.journal import Entry, Journal
    from ml4t.backtest.live.timing import TimeSource
    from ml4t.backtest.live.words import Standing
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.types.bars import Bars, MarketEvent

_SECOND = 1_000_000
_LOG = logging.getLogger("ml4t.backtest.live")
# What a journal holds beside steps, and what it is.
_NOTES: dict[str, Any] = {
    "event": VenueEvent,
    "request": tuple[int, Request],
    "answer": tuple[str, str, Answer],
    "cancel": str,
    "change": Change,
    "cut": tuple[int, float],
    "given_up": tuple[int, str],
    "adoption": tuple[str, float, float],
    "cash": tuple[str, float],
}
_DATED = frozenset({"request", "answer", "cancel", "change", "adoption"})
WARMUP = "warm-up: no orders are sent"


class Opening(msgspec.Struct, frozen=True):
    """How a journal begins.

    Args:
        run_name: What the names of its orders begin with.
        cash: Money in the account.
        positions: Units that are taken over, by `asset_id`.
        prices: What a unit of each is worth.
        version: Of the library.
    """

    run_name: str
    cash: float
    positions: dict[str, float]
    prices: dict[str, float]
    version: str


class Session:
    """Runs an engine live: reads its journal, then history, then what comes.

    Args:
        engine: What to run.
        journal: Where everything is written down.
        reconcile: "halt" takes no orders while the broker holds what cannot be explained, and
            does not begin with it; "adopt" takes it over.
        warmup: Bars of before, for the strategy to warm up on; a feed, or what one is made of.
        max_data_age: Seconds after which bars are too old to trade on; None for any age.
        audit_every: Seconds between two reconciliations.
        time: What time it is.
        alert: Called with a line of text when something needs a look.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        journal: Journal,
        *,
        reconcile: str = "halt",
        warmup: DataFeed | None = None,
        max_data_age: float | None = None,
        audit_every: float = 300.0,
        time: TimeSource | None = None,
        alert: Callable[[str], None] | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.journal = journal
        self.time = WallTime() if time is None else time
        self.inbox = Inbox() if inbox is None else inbox
        self.policy = reconcile
        self.warmup = warmup
        self.max_data_age = max_data_age
        self.audit_every = audit_every
        self.alert = alert
        self.mismatch = ""
        self.stopped = ""
        self._next_audit = 0
        self._is_live = False
        self._commands: bytes | None = None  # of the step that is being repeated
        self._state: Any = None
        self._for_feed: list[Any] = []
        self._held: dict[str, float] = {}
        self.feed = _only_feed(engine)
        self.engine = copy.copy(engine)
        self.engine.clock = engine.clock.over(IntakeFeed(self.feed, self))
        broker = engine.broker
        self.broker = broker if isinstance(broker, LiveBroker) else None
        if self.broker is not None:
            self.broker.write = self.write
            self.broker.now = self.time.now
        feed: Any = self.feed
        if hasattr(feed, "pump"):
            feed.pump, feed.time = self.pump, self.time

    # -- the life of a session ----------------------------------------------------------------

    def run(self) -> BacktestResult:
        """Until the feed ends or the session is stopped; what happened since the journal began."""
        try:
            self._open()
            self.live_run = LiveRun(self.engine, self)
            return self.live_run.run()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the feed and the broker; the journal stays open for whoever gave it."""
        for part in (self.feed, None if self.broker is None else self.broker.gateway):
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def _open(self) -> None:
        """Connect, and take what the account held when the journal began."""
        broker = self.broker
        if broker is None:
            self.write("session", {"version": __version__})
            return
        standing = broker.gateway.connect(self.inbox)
        entry = self.journal.last("opening")
        if entry is None:
            opening = self._new_opening(standing)
            self.write("opening", opening)
        else:
            opening = msgspec.msgpack.decode(entry.content, type=Opening)
        broker.run_name = opening.run_name
        broker.since = self.time.now()
        self.opening = opening
        self.write("session", {"version": __version__})

    def _new_opening(self, standing: Standing) -> Opening:
        """What the account holds now: all of it in cash, or taken over when that is wanted."""
        now = self.time.now()
        digest = hashlib.sha256(f"{standing.account} {now} {self.journal.path}".encode())
        return Opening(
            f"ml4t-{digest.hexdigest()[:10]}",
            standing.cash,
            standing.positions,
            standing.prices,
            __version__,
        )

    # -- the steps ------------------------------------------------------------------------------

    def opened(self, reader: Reader) -> None:
        """The assets are known: what the account holds of them is where the run begins."""
        broker = self.broker
        if broker is None:
            return
        opening, ours = self.opening, set(reader.ids)
        self._held = {name: units for name, units in opening.positions.items() if name in ours}
        if self._held and self.policy != "adopt" and self.journal.last("bars") is None:
            shown = ", ".join(f"{units:g} {name}" for name, units in sorted(self._held.items()))
            raise ReconcileError(
                f'The account holds {shown} already. Close it, or begin with reconcile="adopt" '
                "to let the strategy have it."
            )
        worth = sum(
            units * opening.prices[name] * broker.multiplier_of(name)
            for name, units in self._held.items()
        )
        broker.initial_cash = opening.cash + worth

    def recorded(self, reader: Reader) -> Iterator[Block]:
        """The journal's steps; what happened between them is applied on the way."""
        for name, units in sorted(self._held.items()):
            price = self.opening.prices[name]
            assert self.broker is not None
            self.broker.note_holding(name, units, price, self.broker.since)
        for entry in self.journal.entries():
            if entry.kind == "bars":
                record = msgspec.msgpack.decode(entry.content, type=BarsRecord)
                self._refuse(record.refusal)
                self._commands = self._commands_of(entry)
                yield block_of(record, codes_of(reader, record.asset_ids))
            elif self.broker is not None:
                self._apply(entry)
        self._commands = None

    def _commands_of(self, bars: Entry) -> bytes | None:
        """What the strategy decided on bars of the journal; None when it never got that far."""
        for entry in self.journal.entries("bars", "decisions", after=bars.number):
            return entry.content if entry.kind == "decisions" else None
        return None

    def _apply(self, entry: Entry) -> None:
        """What happened between two steps, once more."""
        if entry.kind == "state":
            self._state = msgspec.msgpack.decode(entry.content)
            return
        kind = _NOTES.get(entry.kind)
        if kind is None:
            return
        broker, content = self.broker, msgspec.msgpack.decode(entry.content, type=kind)
        assert broker is not None
        if entry.kind == "event":
            broker.apply(content)
            return
        note = getattr(broker, f"note_{entry.kind}")
        values = content if isinstance(content, tuple) else (content,)
        note(*values, *([entry.at] if entry.kind in _DATED else []))

    def warm(self, reader: Reader) -> Iterator[Block]:
        """History, unless the journal has it; then the session goes live."""
        if self.warmup is not None and self.journal.last("bars") is None:
            yield from self._history(reader)
        self._go_live()

    def _history(self, reader: Reader) -> Iterator[Block]:
        from ml4t.backtest.data.feed import Request as Wanted

        assert self.warmup is not None
        past = self.warmup.open_reader(Wanted())
        codes = codes_of(reader, [name for name in past.ids if name in reader.ids])
        for several in past.blocks(4_096):
            for i in range(len(several.times)):
                block = several.part(i, i + 1)
                record = record_of(block, past.ids, refusal=WARMUP, is_warmup=True)
                self._refuse(WARMUP)
                self.write("bars", record)
                yield block_of(record, codes)

    def _go_live(self) -> None:
        """The past is over: ask the broker what happened meanwhile, and open the feed."""
        if self._state is not None:
            self.engine.strategy.load_state(self._state)
        self._is_live = True
        if self.broker is not None:
            self.handle_broker(Link(is_up=True))
            self.reconcile(is_start=True)
        connect = getattr(self.feed, "connect", None)
        if connect is not None:
            connect(self.inbox)
        self.settle()

    def begin(self, block: Block, reader: Reader) -> None:
        """Bars have come: written down before anything is made of them."""
        self.settle()
        refusal = self._refusal(int(block.times[0]))
        self._refuse(refusal)
        self.write("bars", record_of(block, reader.ids, refusal=refusal, is_warmup=False))

    def _refusal(self, time: int) -> str:
        """Why no order is taken in the next step; empty when orders are."""
        if self.stopped or self.mismatch:
            return f"halted: {self.stopped or self.mismatch}"
        if self.max_data_age is None:
            return ""
        age = (self.time.now() - time) / _SECOND
        if age <= self.max_data_age:
            return ""
        return f"stale data: the bars are {age:.0f} seconds old"

    def _refuse(self, refusal: str) -> None:
        if self.broker is not None:
            self.broker.halted = refusal

    # -- between the steps ------------------------------------------------------------------------

    def settle(self) -> int | None:
        """Take in what has arrived, and let the broker act until all is quiet.

        Returns:
            When to come again, microseconds; None when only news can change anything.
        """
        while True:
            while (message := self.inbox.take(0)) is not None:
                self._handle(message)
            if self.broker is None or not self._is_live:
                return None
            if self.time.now() >= self._next_audit:
                self.reconcile()
            due = self.broker.tend()
            if not len(self.inbox):
                return self._next_audit if due is None else min(due, self._next_audit)

    def _handle(self, message: Message) -> None:
        if message.source == "broker":
            self.handle_broker(message.content)
        elif message.source == "session":
            self.notice(str(message.content))
        else:
            self._for_feed.append(message.content)

    def pump(self, deadline: int | None) -> Any | None:
        """The next message for the feed; everything else is done meanwhile."""
        while True:
            due = self.settle()
            if self._for_feed:
                return self._for_feed.pop(0)
            if deadline is not None and self.time.now() >= deadline:
                return None
            moments = [moment for moment in (deadline, due) if moment is not None]
            timeout = min((self.time.seconds_until(m) for m in moments), default=None)
            message = self.inbox.take(timeout)
            if message is not None:
                self._handle(message)

    def handle_broker(self, event: VenueEvent) -> None:
        """Something arrived from the broker."""
        assert self.broker is not None
        was_up = self.broker.is_up
        if isinstance(event, Link):
            self.notice(f"connection {'up' if event.is_up else 'lost'} {event.reason}".strip())
        self.broker.receive(event)
        if isinstance(event, Link) and event.is_up and not was_up and self._next_audit:
            self.reconcile()

    def reconcile(self, *, is_start: bool = False) -> None:
        """Compare with the broker; take in what was missed, and halt on what is not explained."""
        broker = self.broker
        assert broker is not None
        self._next_audit = self.time.now() + int(self.audit_every * _SECOND)
        try:
            catch_up(broker)
            findings = compare(broker, broker.gateway.standing())
        except ConnectionLost as error:
            self.notice(f"reconciliation: {error}")
            if is_start:
                raise
            return
        if findings.differences and self.policy == "adopt":
            for one in findings.differences:
                content = (one.asset_id, one.actual - one.known, one.price)
                self.write("adoption", content)
                broker.note_adoption(*content, self.time.now())
            findings = compare(broker, broker.gateway.standing())
        before, self.mismatch = self.mismatch, "; ".join(map(str, findings.differences))
        if self.mismatch:
            if is_start:
                raise ReconcileError(
                    f"The account is not what the journal says ({self.mismatch}). Find out why; "
                    'begin with reconcile="adopt" to go on with what the broker has.'
                )
            if self.mismatch != before:
                self.notice(f"halted: {self.mismatch}")
            return
        if findings.cash:
            self.write("cash", ("broker", findings.cash))
            broker.note_cash("broker", findings.cash)
        for stranger in findings.orders:
            self.notice(f"an open order that is not ours: {stranger}")

    def notice(self, text: str) -> None:
        """Something that an operator should know."""
        self.write("note", text)
        _LOG.warning(text)
        if self.alert is not None:
            self.alert(text)

    def write(self, kind: str, content: Any) -> None:
        """Write into the journal, at the time of now."""
        self.journal.write(kind, content, self.time.now())

    # -- decisions --------------------------------------------------------------------------------

    def is_repeating(self) -> bool:
        """Whether the step's decisions stand in the journal and are not to be made again."""
        return self._commands is not None and _overrides(self.engine.strategy, "load_state")

    def repeat(self) -> None:
        """Give the orders of the journal again, for a strategy whose state is loaded."""
        broker = self.broker
        assert broker is not None
        assert self._commands is not None
        for kind, content in msgspec.msgpack.decode(self._commands):
            if kind == "submit":
                broker.submit_order(_order_of(content))
            elif kind == "cancel":
                broker.cancel(*content)
            elif kind == "replace":
                broker.replace(content[0], **content[1])

    def end_step(self, bars: Bars) -> None:
        """What was decided: written down before any of it is sent, or compared with before."""
        if self.broker is None:
            self.settle()
            return
        commands = msgspec.msgpack.encode(self.broker.commands)
        self.broker.commands.clear()
        if self._commands is not None:
            if commands != self._commands:
                raise JournalError(self._difference(bars, commands))
            return
        with self.journal.together():
            self.write("decisions", msgspec.Raw(commands))
            strategy = self.engine.strategy
            if _overrides(strategy, "save_state"):
                self.write("state", strategy.save_state())
        if self._is_live:
            self.settle()

    def _difference(self, bars: Bars, commands: bytes) -> str:
        assert self._commands is not None
        before, now = (msgspec.msgpack.decode(x) for x in (self._commands, commands))
        return (
            f"At {bars.timestamp} the strategy now decides something else than the journal says "
            f"({now!r}, not {before!r}). It has changed, or depends on more than its bars: write "
            "save_state and load_state, or begin a new journal with the account flat."
        )


class LiveRun(Run):
    """A run whose steps are written down.

    Args:
        engine: What it was told.
        session: Writes, and looks after the broker between the steps.
    """

    def __init__(self, engine: BacktestEngine, session: Session) -> None:
        self.session = session
        super().__init__(engine)

    def _step(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        super()._step(bars, events)
        self.session.end_step(bars)

    def _run_hooks(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        if not self.session.is_repeating():
            super()._run_hooks(bars, events)
            return
        self._fills.clear()
        self.blotter.take_changes()
        if events is not None:
            list(islice(events, bars.stop - bars.start))
        self.session.repeat()


def _only_feed(engine: BacktestEngine) -> DataFeed:
    feeds = engine.clock.feeds
    if len(feeds) != 1:
        raise ConfigError(
            f"run_live takes one feed that brings all assets, not {len(feeds)}: give it as data=."
        )
    return feeds[0]


def _order_of(entry: dict[str, Any]) -> Order:
    """An order as a journal holds it."""
    expires = entry.pop("expires_at", None)
    if isinstance(expires, str):
        is_date = len(expires) == len("2024-01-31")
        kind = dt.date if is_date else dt.datetime
        expires = kind.fromisoformat(expires)
    return Order(**entry, expires_at=expires)


def _overrides(strategy: Strategy, name: str) -> bool:
    return getattr(type(strategy), name, None) is not getattr(Strategy, name, None)
