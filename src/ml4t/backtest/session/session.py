"""A live session: the steps of a run on what comes, with everything written down."""

from __future__ import annotations

import copy
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.live.blocks import BarsRecord, record_of
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.intake import IntakeFeed
from ml4t.backtest.live.logs import SessionLog
from ml4t.backtest.live.timing import MICROSECONDS, WallTime
from ml4t.backtest.live.words import Execution, Link
from ml4t.backtest.session.account import Account
from ml4t.backtest.session.alerts import Alerts
from ml4t.backtest.session.audit import Audit
from ml4t.backtest.session.checks import only_feed
from ml4t.backtest.session.lookout import Lookout
from ml4t.backtest.session.memory import Memory
from ml4t.backtest.session.running import LiveRun
from ml4t.backtest.session.warmup import warm_up
from ml4t.backtest.session.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import DataFeed, Reader
    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.live.inbox import Message
    from ml4t.backtest.live.journal import Journal
    from ml4t.backtest.live.timing import TimeSource
    from ml4t.backtest.live.words import VenueEvent
    from ml4t.backtest.results.result import BacktestResult
    from ml4t.backtest.types.bars import Bars

_PATIENCE = 30 * MICROSECONDS  # for open orders to end when a session does


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
        self.alerts = Alerts(alert, self.inbox)
        self.policy = reconcile
        self.warmup = warmup
        self.max_data_age = max_data_age
        self.max_clock_skew = max_clock_skew
        self.max_rejections = max_rejections
        self.audit_every = audit_every
        self.on_stop = on_stop
        self.is_replay = is_replay
        self.latest_bar = 0
        self.is_live = False
        self._ended_by = "the feed has ended"
        self._for_feed: list[Any] = []
        self.live_run: LiveRun
        self.feed = only_feed(engine)
        self.engine = copy.copy(engine)
        self.memory, self.account = Memory(self), Account(self)
        self.audit, self.watch, self.lookout = Audit(self), Watch(self), Lookout(self)
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
        except (Exception, KeyboardInterrupt) as error:
            if not self.is_replay:
                self.watch.tell_failure(error)
            raise
        finally:
            self.close()

    def stop(self, why: str = "it was stopped") -> None:
        """End after the present step; from any thread."""
        self._ended_by = why
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

        def wanted(number: int, _frame: Any) -> None:
            for one, before in old.items():
                signal.signal(one, before)
            self.stop(signal.Signals(number).name)

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
        self.alerts.close()
        self.account.close()

    def _open(self) -> None:
        """Say where the bars go on, and connect."""
        if isinstance(self.feed, LiveDataFeed) and (latest := self.journal.last("bars")):
            self.feed.since = msgspec.msgpack.decode(latest.content, type=BarsRecord).time
        self.account.open()

    # -- the steps ------------------------------------------------------------------------------

    def opened(self, reader: Reader) -> None:
        """The assets are known: what the account holds of them is where the run begins."""
        self.account.take_over(reader)

    def recorded(self, reader: Reader) -> Iterator[Block]:
        """The journal's steps; what happened between them is applied on the way."""
        return self.memory.recorded(reader)

    def warm(self, reader: Reader) -> Iterator[Block]:
        """History, unless the journal has it; then the session goes live."""
        if self.warmup is not None and self.journal.last("bars") is None:
            yield from warm_up(self, reader)
        self._go_live()

    def _go_live(self) -> None:
        """The past is over: ask the broker what happened meanwhile, and open the feed."""
        self.live_run.wake()
        if self.is_replay:
            return
        self.is_live = True
        if self.watch.stopped:
            self.refuse(f"halted: {self.watch.stopped}")
        if self.broker is not None:
            self.handle_broker(Link(is_up=True))
            self.audit.begin()
        self.settle()

    def begin(self, block: Block, reader: Reader) -> None:
        """Bars have come: written down before anything is made of them."""
        self.settle()
        if self.broker is not None:
            self.broker.tender.search.confirm()
            self.settle()
        self.latest_bar = int(block.times[0])
        stale = self._staleness(self.latest_bar)
        self.lookout.see(block, reader, stale)
        reason = self.watch.stopped or self.audit.mismatch
        refusal = f"halted: {reason}" if reason else stale
        self.refuse(refusal)
        self.write("bars", record_of(block, reader.ids, refusal=refusal, is_warmup=False))

    def _staleness(self, time: int) -> str:
        """Why bars are too old to trade on; empty when they are not."""
        if self.max_data_age is None:
            return ""
        age = (self.time.now() - time) / MICROSECONDS
        return "" if age <= self.max_data_age else f"stale data: the bars are {age:.0f} seconds old"

    def refuse(self, refusal: str) -> None:
        """Take no orders in the next step, for a reason; empty to take them."""
        if self.broker is not None:
            self.broker.halted = refusal

    def end_step(self, bars: Bars, asked: bytes | None, decided: list[Any]) -> None:
        """What was decided is kept before any of it is sent; see `Memory.keep`."""
        if self.memory.keep(bars, asked, decided) and self.is_live:
            self.settle()

    # -- between the steps ------------------------------------------------------------------------

    def settle(self) -> int | None:
        """Take in what has arrived, and let the broker act until all is quiet.

        Returns:
            When to come again, microseconds; None when only news can change anything.
        """
        while True:
            while (message := self.inbox.take(0)) is not None:
                self.handle(message)
            if not self.is_live:
                return None
            self.watch.look_around()
            if self.broker is None:
                return self.watch.next_at
            if self.audit.is_due():
                self.audit.reconcile()
            due = self.broker.tend()
            if not len(self.inbox):
                moments = (self.audit.next_at, self.watch.next_at, due)
                return min(moment for moment in moments if moment is not None)

    def finish(self) -> None:
        """Nothing more will come: what becomes of open orders, and of positions."""
        broker = self.broker
        if not self.is_live:
            return
        if broker is not None and self.on_stop != "keep":
            clearance = "orders" if self.on_stop == "cancel" else "positions"
            broker.halted = "the session ends"
            self.write("clearance", clearance)
            broker.notes.clearance(clearance)
            until = self.time.now() + _PATIENCE
            while self._has_business() and self.time.now() < until:
                due = self.settle()
                wait = until if due is None else min(due, until)
                if (message := self.inbox.take(self.time.seconds_until(wait))) is not None:
                    self.handle(message)
        self.settle()
        self.watch.tell_given_up()
        self.watch.note(f"the session ends: {self._ended_by}{self._what_stays()}")
        self.watch.tell_status("stopped")

    def _what_stays(self) -> str:
        if self.broker is None:
            return ""
        orders, held = len(self.broker.blotter.open), len(self.broker.positions())
        return f"; it leaves open orders: {orders}, positions: {held}"

    def _has_business(self) -> bool:
        assert self.broker is not None
        is_flat = self.on_stop == "cancel" or not self.broker.positions()
        return bool(self.broker.blotter.open) or not is_flat

    def handle(self, message: Message) -> None:
        """Something has arrived."""
        if message.source == "broker":
            self.handle_broker(message.content)
        elif message.source == "session":
            self.watch.notice(str(message.content))
        elif message.source == "alerts":
            self.watch.note(str(message.content))
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
                self.handle(message)

    def handle_broker(self, event: VenueEvent) -> None:
        """Something arrived from the broker."""
        assert self.broker is not None
        was_up = self.broker.is_up
        if isinstance(event, Link):
            self.watch.notice(
                f"connection {'up' if event.is_up else 'lost'} {event.reason}".strip()
            )
        self.broker.receive(event)
        if isinstance(event, Execution) and self.broker.holdings.fee_room(event.asset_id) > 0.0:
            self.audit.hasten()
        if isinstance(event, Link) and event.is_up and not was_up and self.audit.next_at:
            self.audit.reconcile()

    def write(self, kind: str, content: Any) -> None:
        """Write into the journal, at the time of now, and into the log."""
        now = self.time.now()
        self.journal.write(kind, content, now)
        self._log.write(kind, content, now)
