"""A live session: the steps of a run on what comes, with everything written down."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import os
import signal
import threading
from collections import deque
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest._version import __version__
from ml4t.backtest.data.feed import Request
from ml4t.backtest.data.frames import as_feed
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import (
    ConfigError,
    ConnectionLost,
    JournalError,
    LiveError,
    ReconcileError,
    did_you_mean,
)
from ml4t.backtest.live.blocks import BarsRecord, block_of, record_of
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.intake import IntakeFeed, codes_of
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.killswitch import Command, KillSwitch
from ml4t.backtest.live.lock import AccountLock
from ml4t.backtest.live.logs import SessionLog
from ml4t.backtest.live.reconcile import catch_up, compare
from ml4t.backtest.live.recorded import RecordedGateway
from ml4t.backtest.live.records import Opening, apply_entry
from ml4t.backtest.live.status import Status, open_order, status_path
from ml4t.backtest.live.timing import WallTime, is_due
from ml4t.backtest.live.words import Link
from ml4t.backtest.run import Run
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.strategy.strategy import Strategy
from ml4t.backtest.types.order import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import DataFeed, Reader
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.live.inbox import Message
    from ml4t.backtest.live.journal import Entry
    from ml4t.backtest.live.timing import TimeSource
    from ml4t.backtest.live.words import Standing, VenueEvent
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.types.bars import Bars, MarketEvent

_SECOND = 1_000_000
_PATIENCE = 30 * _SECOND  # for open orders to end when a session does
_MODES = ("shadow", "paper", "live")
_POLICIES = ("halt", "adopt")
_ENDINGS = ("keep", "cancel", "flatten")
WARMUP = "warm-up: no orders are sent"


class Session:
    """Runs an engine live: reads its journal, then history, then what comes.

    Args:
        engine: What to run.
        journal: Where everything is written down.
        mode: "shadow", "paper" or "live".
        reconcile: "halt" takes no orders while the broker holds what cannot be explained, and
            does not begin with it; "adopt" takes it over.
        warmup: Bars of before, for the strategy to warm up on.
        max_data_age: Seconds after which bars are too old to trade on; None for any age.
        max_clock_skew: Seconds by which the broker's clock may differ; None for any.
        max_rejections: Orders in a row that the broker may refuse before the session halts.
        audit_every: Seconds between two reconciliations.
        on_stop: What becomes of open orders at the end: "keep", "cancel" them, or "flatten", which
            closes positions, too.
        time: What time it is.
        alert: Called with a line of text when something needs a look.
        confirm: In mode "live" the account's name, so that nobody trades real money by accident.
        is_replay: Make the steps of the journal again, and nothing else.
    """

    def __init__(
        self,
        engine: BacktestEngine,
        journal: Journal,
        *,
        mode: str = "paper",
        reconcile: str = "halt",
        warmup: DataFeed | None = None,
        max_data_age: float | None = None,
        max_clock_skew: float | None = None,
        max_rejections: int = 10,
        audit_every: float = 300.0,
        on_stop: str = "keep",
        time: TimeSource | None = None,
        alert: Callable[[str], None] | None = None,
        confirm: str | None = None,
        is_replay: bool = False,
    ) -> None:
        self.journal = journal
        self._log = SessionLog(journal.path)
        self.confirm = confirm
        self.mode = mode
        self.time = WallTime() if time is None else time
        self.inbox = Inbox()
        self.policy = reconcile
        self.warmup = warmup
        self.max_data_age = max_data_age
        self.max_clock_skew = max_clock_skew
        self.max_rejections = max_rejections
        self.audit_every = audit_every
        self.on_stop = on_stop
        self.alert = alert
        self.is_replay = is_replay
        self.mismatch = self.stopped = ""
        self.opening: Opening | None = None
        self.switch = KillSwitch.of(journal.path)
        self._next_audit = self._next_look = 0
        self._is_live = False
        self._commands: bytes | None = None  # of the step that is being repeated
        self._state: Any = None
        self._for_feed: list[Any] = []
        self._held: dict[str, float] = {}
        self._notices: deque[str] = deque(maxlen=20)
        self._latest_bar = 0
        self._is_stopping = False
        self._lock: AccountLock | None = None
        self.live_run: LiveRun
        self.feed = _only_feed(engine)
        self.engine = copy.copy(engine)
        self.engine.clock = engine.clock.over(IntakeFeed(self.feed, self))
        self.engine.clock.is_open_ended = True
        broker = engine.broker
        self.broker = broker if isinstance(broker, LiveBroker) else None
        if self.broker is not None:
            self.broker.write = self.write
            self.broker.now = self.time.now
        if isinstance(self.feed, LiveDataFeed):
            self.feed.inbox, self.feed.pump, self.feed.time = self.inbox, self.pump, self.time

    # -- the life of a session ----------------------------------------------------------------

    def run(self) -> BacktestResult:
        """Until the feed ends or the session is stopped; what happened since the journal began."""
        try:
            self._open()
            self.live_run = LiveRun(self.engine, self)
            with self._on_signals():
                return self.live_run.run()
        finally:
            self.close()

    def stop(self) -> None:
        """End after the present step; from any thread."""
        self._is_stopping = True
        if isinstance(self.feed, LiveDataFeed):
            self.feed.stop()

    @contextmanager
    def _on_signals(self) -> Iterator[None]:
        """The first interrupt ends the session after its step, the second one at once."""
        if threading.current_thread() is not threading.main_thread() or not isinstance(
            self.feed, LiveDataFeed
        ):
            yield
            return

        def wanted(_number: int, _frame: Any) -> None:
            for number, before in old.items():
                signal.signal(number, before)
            self.stop()

        old = {one: signal.signal(one, wanted) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, before in old.items():
                signal.signal(number, before)

    def close(self) -> None:
        """Let go of the feed and the broker; the journal stays open for whoever gave it."""
        if isinstance(self.feed, LiveDataFeed):
            self.feed.close()
        if self.broker is not None and not self.is_replay:
            self.broker.gateway.close()
        if self._lock is not None:
            self._lock.release()

    def _open(self) -> None:
        """Connect, and take what the account held when the journal began."""
        broker, entry = self.broker, self.journal.last("opening")
        if isinstance(self.feed, LiveDataFeed) and (latest := self.journal.last("bars")):
            self.feed.since = msgspec.msgpack.decode(latest.content, type=BarsRecord).time
        if entry is not None:
            self.opening = msgspec.msgpack.decode(entry.content, type=Opening)
        if broker is None or self.is_replay:
            self._name_orders()
            return
        standing = broker.gateway.connect(self.inbox)
        self._lock = AccountLock(
            f"{broker.gateway.name} {standing.account} {broker.gateway.place}".strip()
        )
        self._check_confirmation(standing)
        self._check_clock(standing)
        if self.opening is None:
            self.opening = self._new_opening(standing)
            self.write("opening", self.opening)
        elif self.opening.account != standing.account:
            raise JournalError(
                f"The journal {str(self.journal.path)!r} is of account {self.opening.account!r}, "
                f"not {standing.account!r}. Name another file with journal=."
            )
        self._name_orders()
        self.write("session", {"version": __version__, "mode": self.mode})

    def _name_orders(self) -> None:
        if self.broker is not None and self.opening is not None:
            self.broker.run_name = self.opening.run_name
            self.broker.since = self.time.now()

    def _check_confirmation(self, standing: Standing) -> None:
        if self.mode == "live" and self.confirm != standing.account:
            raise LiveError(
                f"mode='live' trades real money in account {standing.account!r}: say so with "
                f"confirm={standing.account!r}."
            )

    def _check_clock(self, standing: Standing) -> None:
        if self.max_clock_skew is None or not standing.at:
            return
        skew = (self.time.now() - standing.at) / _SECOND
        if abs(skew) > self.max_clock_skew:
            raise LiveError(
                f"This machine's clock is {skew:+.1f} seconds off the broker's, more than "
                f"max_clock_skew={self.max_clock_skew:g}: set it, or orders are judged by the "
                "wrong time."
            )

    def _new_opening(self, standing: Standing) -> Opening:
        """What the account holds now."""
        digest = hashlib.sha256(
            f"{standing.account} {self.time.now()} {self.journal.path}".encode()
        )
        return Opening(
            f"ml4t-{digest.hexdigest()[:10]}",
            standing.account,
            standing.cash,
            standing.positions,
            standing.prices,
            __version__,
        )

    # -- the steps ------------------------------------------------------------------------------

    def opened(self, reader: Reader) -> None:
        """The assets are known: what the account holds of them is where the run begins."""
        broker, opening = self.broker, self.opening
        if broker is None or opening is None:
            return
        ours = set(reader.ids)
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
            assert self.broker is not None
            assert self.opening is not None
            price = self.opening.prices[name]
            self.broker.note_holding(name, units, price, self.broker.since)
        for entry in self.journal.entries():
            if entry.kind == "bars":
                record = msgspec.msgpack.decode(entry.content, type=BarsRecord)
                self._refuse(record.refusal)
                self._commands = self._commands_of(entry)
                if self.broker is not None and isinstance(self.broker.gateway, RecordedGateway):
                    self.broker.gateway.expect(self._commands)
                yield block_of(record, codes_of(reader, record.asset_ids))
            elif entry.kind == "state":
                self._state = msgspec.msgpack.decode(entry.content)
            elif entry.kind == "halt":
                self._recall_halt(msgspec.msgpack.decode(entry.content, type=str))
            elif self.broker is not None:
                apply_entry(entry, self.broker)
        self._commands = None

    def _recall_halt(self, reason: str) -> None:
        """A halt lasts until an operator ends it, whatever becomes of the process."""
        self.stopped = reason
        if self.broker is not None:
            self.broker.rejections = 0

    def _commands_of(self, bars: Entry) -> bytes | None:
        """What the strategy decided on bars of the journal; None when it never got that far."""
        for entry in self.journal.entries("bars", "decisions", after=bars.number):
            return entry.content if entry.kind == "decisions" else None
        return None

    def warm(self, reader: Reader) -> Iterator[Block]:
        """History, unless the journal has it; then the session goes live."""
        if self.warmup is not None and self.journal.last("bars") is None:
            yield from self._history(reader)
        self._go_live()

    def _history(self, reader: Reader) -> Iterator[Block]:
        assert self.warmup is not None
        past = self.warmup.open_reader(Request())
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
        if self.is_replay:
            return
        self._is_live = True
        if self.stopped:
            self._refuse(f"halted: {self.stopped}")
        if self.broker is not None:
            self.handle_broker(Link(is_up=True))
            self.reconcile(is_start=True)
        self.settle()

    def begin(self, block: Block, reader: Reader) -> None:
        """Bars have come: written down before anything is made of them."""
        self.settle()
        if self.broker is not None:
            self.broker.tender.confirm()
            self.settle()
        self._latest_bar = int(block.times[0])
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
            if not self._is_live:
                return None
            self._look_around()
            if self.broker is None:
                return self._next_look
            if is_due(self._next_audit, self.time.now(), int(self.audit_every * _SECOND)):
                self.reconcile()
            due = self.broker.tend()
            if not len(self.inbox):
                moments = (self._next_audit, self._next_look, due)
                return min(moment for moment in moments if moment is not None)

    def _look_around(self) -> None:
        """Once a second: has somebody said something, and how do things stand?"""
        now = self.time.now()
        if not is_due(self._next_look, now, _SECOND):
            return
        self._next_look = now + _SECOND
        if (command := self.switch.take()) is not None:
            self.obey(command)
            self.switch.done()
        self._watch_rejections()
        self.tell_status()

    def _watch_rejections(self) -> None:
        broker = self.broker
        if broker is None or self.stopped or broker.rejections < self.max_rejections:
            return
        broker.rejections = 0
        self.halt(f"the broker refused {self.max_rejections} orders in a row")

    def obey(self, command: Command) -> None:
        """What an operator wants."""
        self.notice(f"the operator says {command}")
        if command is Command.HALT:
            self.halt("halted by the operator")
        elif command is Command.FLATTEN:
            self.halt("flattened by the operator", clearance="positions")
        elif command is Command.RESUME:
            self.stopped = ""
            self.write("halt", "")
        elif command is Command.STOP:
            self.stop()
        elif self.broker is not None:
            self.reconcile()

    def halt(self, reason: str, *, clearance: str = "entries") -> None:
        """Take no orders from now on, and cancel what would open a position."""
        self.stopped = reason
        self.write("halt", reason)
        self.notice(f"halted: {reason}")
        if self.broker is not None:
            self.broker.halted = f"halted: {reason}"
            self.write("clearance", clearance)
            self.broker.note_clearance(clearance)

    def finish(self) -> None:
        """Nothing more will come: what becomes of open orders, and of positions."""
        broker = self.broker
        if broker is None or not self._is_live:
            return
        if self.on_stop != "keep":
            clearance = "orders" if self.on_stop == "cancel" else "positions"
            broker.halted = "the session ends"
            self.write("clearance", clearance)
            broker.note_clearance(clearance)
            until = self.time.now() + _PATIENCE
            while self._has_business() and self.time.now() < until:
                due = self.settle()
                wait = until if due is None else min(due, until)
                if (message := self.inbox.take(self.time.seconds_until(wait))) is not None:
                    self._handle(message)
        self.settle()
        self.tell_status("stopped")

    def _has_business(self) -> bool:
        assert self.broker is not None
        is_flat = self.on_stop == "cancel" or not self.broker.positions()
        return bool(self.broker.blotter.open) or not is_flat

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
            findings = compare(broker, broker.gateway.standing(), adopts=self.policy == "adopt")
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
        self._notices.append(text)
        if self.alert is not None:
            self.alert(text)

    def tell_status(self, state: str = "") -> None:
        """Leave word of how things stand beside the journal."""
        run, broker = self.live_run, self.broker
        portfolio = run.portfolio
        reason = self.stopped or self.mismatch
        ages: dict[str, float] = {}
        if isinstance(self.feed, LiveDataFeed) and self.feed.signals is not None:
            found = {name: self.feed.signals.ages(name) for name in self.feed.symbols}
            ages = {name: min(one.values()) for name, one in found.items() if one}
        account = "" if self.opening is None else self.opening.account
        status = Status(
            process=os.getpid(),
            mode=self.mode,
            strategy=type(self.engine.strategy).__name__,
            account=account,
            state=state or ("halted" if reason else "running"),
            reason=reason,
            updated_at=self.time.now(),
            last_bar=self._latest_bar,
            is_connected=broker is None or broker.is_up,
            equity=portfolio.equity,
            cash=portfolio.cash if broker is None else broker.cash(),
            start_equity=run.broker.initial_cash,
            positions=dict(portfolio.held) if broker is None else broker.positions(),
            orders=[open_order(working, broker) for working in run.blotter.listed()],
            counts=run.counts(),
            signal_ages=ages,
            notices=list(self._notices),
        )
        status.write(status_path(self.journal.path))

    def write(self, kind: str, content: Any) -> None:
        """Write into the journal, at the time of now, and into the log."""
        now = self.time.now()
        self.journal.write(kind, content, now)
        self._log.write(kind, content, now)

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

    def _end(self) -> None:
        if self.bars is None:
            raise LiveError("The session ended before any bars had come; there is no result.")
        super()._end()

    def counts(self) -> dict[str, int]:
        """As any run's, and those of the feed."""
        feed = self.session.feed
        extra = feed.counts() if isinstance(feed, LiveDataFeed) else {}
        return super().counts() | {name: count for name, count in extra.items() if count}

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


def open_session(
    engine: BacktestEngine,
    mode: str,
    *,
    journal: str | os.PathLike[str] | None,
    warmup: Any,
    wait_for_signals: float | None,
    max_data_age: float | None,
    **options: Any,
) -> Session:
    """The session of an engine, with everything checked that can be before it begins.

    Args:
        engine: What to run.
        mode: "shadow", "paper" or "live".
        journal: The file; a name of its own under `ml4t-live` when left out.
        warmup: What a feed is made of, or None.
        wait_for_signals: Seconds for which bars wait for their predictions.
        max_data_age: As `Session`; None is two bars.
        options: As `Session`.

    Raises:
        ConfigError: Options that contradict each other, or the broker.
        JournalError: The journal cannot be used.
    """
    for name, allowed in (("reconcile", _POLICIES), ("on_stop", _ENDINGS)):
        if options[name] not in allowed:
            raise ConfigError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, not {options[name]!r}. "
                f"{did_you_mean(str(options[name]), allowed)}"
            )
    engine = _in_mode(engine, mode)
    feed = _only_feed(engine)
    if isinstance(feed, LiveDataFeed):
        feed.wait_for_signals = wait_for_signals
        if max_data_age is None:
            length = read_duration(feed.bar_duration or feed.vendor_bar, "bar_duration") / _SECOND
            max_data_age = 2.0 * length + feed.grace_seconds
    elif wait_for_signals is not None:
        raise ConfigError("wait_for_signals= is for live feeds; this one has its signals already.")
    strategy = type(engine.strategy).__name__
    path = Path("ml4t-live") / f"{strategy}-{mode}.journal" if journal is None else Path(journal)
    opened = Journal(path, {"strategy": strategy, "mode": mode})
    past = None if warmup is None else as_feed(warmup)
    return Session(
        engine, opened, mode=mode, warmup=past, max_data_age=max_data_age, **options
    )  # fmt: skip


def _in_mode(engine: BacktestEngine, mode: str) -> BacktestEngine:
    """The engine with the broker that the mode trades with."""
    broker = engine.broker
    if mode not in _MODES:
        raise ConfigError(
            f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}. "
            f"{did_you_mean(str(mode), _MODES)}"
        )
    if mode == "shadow":
        if isinstance(broker, LiveBroker):
            engine = copy.copy(engine)
            engine.broker = broker.shadow or SimulationBroker(
                commission=broker.commission,
                instruments=broker.instruments.values(),
                fractional=broker.default_lot == 0.0,
            )
        return engine
    if not isinstance(broker, LiveBroker):
        raise ConfigError(
            f"mode={mode!r} sends orders to a broker, and {type(broker).__name__} is a simulation: "
            "pass broker=AlpacaBroker(...), or mode='shadow' to trade on paper of your own."
        )
    if broker.gateway.is_paper != (mode == "paper"):
        kind = "paper money" if broker.gateway.is_paper else "real money"
        raise ConfigError(f"mode={mode!r}, but {broker.gateway.name} is set up for {kind}.")
    return engine
