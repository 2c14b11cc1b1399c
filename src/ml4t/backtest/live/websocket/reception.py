"""What a server's messages mean to a feed: bars, predictions, and what is amiss."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.errors import DataError
from ml4t.backtest.live.arrivals import BadBar, LiveBar, Missed, Wake
from ml4t.backtest.live.websocket.frames import Codec, ItemReader
from ml4t.backtest.live.websocket.sequences import Sequence
from ml4t.backtest.live.websocket.words import (
    STREAMS,
    BarItem,
    BarsMessage,
    CorrectionsMessage,
    End,
    ErrorMessage,
    FromServer,
    Heartbeat,
    HistoryReply,
    Resume,
    SignalItem,
    SignalsMessage,
    Snapshot,
    Welcome,
)
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from ml4t.backtest.live.websocket.clock import ServedTime

_LOG = logging.getLogger(__name__)
_UTC = TimeAxis(zone="UTC")
_AGAIN = 5.0  # seconds between two requests for what was missed
_MOST_NAMES = 1_000  # of signals: a server that makes up names would fill the memory
_BYTES = 200  # of predictions, that weigh as much as a bar
_MOST_HISTORY = 2_000_000  # bars of one request


class Predictions(msgspec.Struct, frozen=True):
    """Predictions that have come, in the order they came.

    Args:
        items: Asset, values by name, and the time they are about in microseconds or None.
    """

    items: list[tuple[str, dict[str, Any], int | None]]


class Over(msgspec.Struct, frozen=True):
    """The server has nothing more."""


class Wanted:
    """A request for the past, and what came of it."""

    def __init__(self) -> None:
        self.bars: list[LiveBar] = []
        self.error = ""
        self.is_answered = threading.Event()

    def fail(self, why: str) -> None:
        """There will be no answer."""
        self.error = why
        self.is_answered.set()


class Reception:
    """Takes messages on the thread of the socket, and puts what they bring on the inbox.

    Args:
        put: Leaves an arrival for the feed, with its weight.
        time: The server's time, which messages set.
        monotonic: Seconds, for pauses.
        counts: What was amiss, by name.

    Attributes:
        session: The server's session that the numbers are of.
        wanted: Requests for the past that wait, by number.
        is_over: The server has nothing more.
        reason: Why something was left out last.
    """

    def __init__(
        self,
        put: Callable[..., None],
        time: ServedTime,
        monotonic: Callable[[], float],
        counts: Counter[str],
    ) -> None:
        self.counts = counts
        self.session = ""
        self.wanted: dict[int, Wanted] = {}
        self.is_over = False
        self.reason = ""
        self._put = put
        self._time = time
        self._monotonic = monotonic
        self._codec = Codec(FromServer)
        self._items = {"bars": ItemReader(BarItem), "signals": ItemReader(SignalItem)}
        self._numbers = {name: Sequence(self.counts) for name in STREAMS}
        self._is_lacking = False
        self._asked = -math.inf
        self._can_resume = False
        self._names: set[str] = set()

    # -- frames -----------------------------------------------------------------------------------

    def read(self, frame: str | bytes) -> Any:
        """The message of a frame; None when it is none, which is counted."""
        try:
            return self._codec.read(frame)
        except DataError as error:
            self.refuse("bad_messages", f"a message cannot be read: {error}")
            return None

    def refuse(self, count: str, why: str) -> None:
        """Something is left out."""
        self.counts[count] += 1
        self.reason = why
        _LOG.warning("left out: %s", why)

    def complain(self, message: ErrorMessage) -> None:
        """The server says that something is wrong."""
        self.refuse("server_errors", f"the server says {message.code}: {message.message}")

    def pass_over(self, message: Any) -> None:
        """A message that has no place where it came."""
        self.refuse("bad_messages", f"{type(message).__name__} makes no sense here")

    def resume(self) -> Resume | None:
        """Where to go on after a break; None when there is nothing to go on from."""
        if not self._can_resume:
            return None
        bars, signals = (self._numbers[name].last or 0 for name in STREAMS)
        return Resume(self.session, bars, signals)

    def forget(self) -> None:
        """Do not go on from these numbers: what came next could not be taken."""
        self._can_resume = False

    # -- messages ---------------------------------------------------------------------------------

    def greet(self, welcome: Welcome) -> None:
        """A connection begins."""
        if welcome.session != self.session:
            self._can_resume = False
        self.session = welcome.session
        self.follow(welcome.time, welcome.speed)

    def begin(self, snapshot: Snapshot, *, is_binary: bool) -> None:
        """What is known now; messages follow."""
        for name, numbers in self._numbers.items():
            if not snapshot.resumed or numbers.last is None:
                numbers.begin(snapshot.sequences.get(name, 0))
        self._can_resume = True
        if not snapshot.resumed:
            self._take_signals(snapshot.signals, is_binary=is_binary)

    def take(self, frame: str | bytes) -> ErrorMessage | None:
        """A frame; what of it the connection has to see to is given back."""
        message = self.read(frame)
        is_binary = isinstance(frame, bytes)
        match message:
            case BarsMessage() | CorrectionsMessage():
                is_update = isinstance(message, CorrectionsMessage)
                self._take_bars(message, frame, is_update=is_update)
            case SignalsMessage():
                judged = self._numbers["signals"].judge(message.sequence, message.previous, frame)
                self._note_lack(is_lacking=judged.is_lacking)
                if judged.is_taken:
                    self._take_signals(message.signals, is_binary=is_binary, is_late=judged.is_late)
            case Heartbeat():
                self._hear(message)
            case HistoryReply():
                self._take_history(message, is_binary=is_binary)
            case End():
                self.is_over = True
                self.follow(self._time.now(), 1.0)
                self._put(Over())
            case ErrorMessage():
                self.complain(message)
                return message
            case None:
                pass
            case _:
                self.pass_over(message)
        self._ask_again()
        return None

    def follow(self, moment: Any, speed: float) -> None:
        """What time it is at the server; whoever waits for a time looks again."""
        now = moment if isinstance(moment, int) else _UTC.to_microseconds(moment)
        if self._time.follow(now, speed):
            self._put(Wake())

    def _hear(self, message: Heartbeat) -> None:
        self.follow(message.time, message.speed)
        for name, last in message.sequences.items():
            if name in self._numbers:
                self._note_lack(is_lacking=self._numbers[name].hear(last))

    def _note_lack(self, *, is_lacking: bool) -> None:
        self._is_lacking |= is_lacking

    def _ask_again(self) -> None:
        """Have what was missed fetched: at once, but not again and again."""
        now = self._monotonic()
        if self._is_lacking and now >= self._asked + _AGAIN:
            self._is_lacking, self._asked = False, now
            self._put(Missed())

    def _take_bars(self, message: Any, frame: str | bytes, *, is_update: bool) -> None:
        judged = self._numbers["bars"].judge(message.sequence, message.previous, frame)
        if judged.is_lacking:
            # Before the bars, so that none of them overtakes those that were missed.
            self._note_lack(is_lacking=True)
            self._ask_again()
        if judged.is_taken:
            is_binary = isinstance(frame, bytes)
            for raw in message.bars:
                self._put(self._bar(raw, is_binary=is_binary, is_update=is_update))

    def _bar(self, raw: msgspec.Raw, *, is_binary: bool, is_update: bool = False) -> Any:
        try:
            item: BarItem = self._items["bars"].read(raw, is_binary=is_binary)
        except DataError as error:
            return BadBar("?", f"{error},")
        return LiveBar(
            asset_id=item.asset_id,
            start=_UTC.to_microseconds(item.start),
            open=item.open,
            high=item.high,
            low=item.low,
            close=item.close,
            volume=math.nan if item.volume is None else item.volume,
            is_update=is_update,
        )

    def _take_signals(
        self, items: list[msgspec.Raw], *, is_binary: bool, is_late: bool = False
    ) -> None:
        found = []
        for raw in items:
            try:
                item: SignalItem = self._items["signals"].read(raw, is_binary=is_binary)
            except DataError as error:
                self.refuse("bad_signals", f"a prediction cannot be read: {error}")
                continue
            about = item.timestamp or item.known_at
            if is_late and about is None:
                self.refuse(
                    "signals_superseded", f"predictions for {item.asset_id!r}, out of order"
                )
                continue
            if not self._is_known(item.values):
                self.refuse("bad_signals", f"more than {_MOST_NAMES} names of signals")
                continue
            values = item.values if item.meta is None else {**item.values, "_meta": item.meta}
            found.append(
                (item.asset_id, values, None if about is None else _UTC.to_microseconds(about))
            )
        if found:
            weight = sum(memoryview(raw).nbytes for raw in items) // _BYTES
            self._put(Predictions(found), max(1, weight))

    def _is_known(self, values: dict[str, Any]) -> bool:
        """Whether there is room for these names."""
        fresh = values.keys() - self._names
        if len(fresh) + len(self._names) > _MOST_NAMES:
            return False
        self._names |= fresh
        return True

    def _take_history(self, reply: HistoryReply, *, is_binary: bool) -> None:
        wanted = self.wanted.get(reply.request)
        if wanted is None:
            self.refuse("bad_messages", f"history {reply.request} was not asked for")
            return
        self._take_signals(reply.signals, is_binary=is_binary)
        for raw in reply.bars:
            bar = self._bar(raw, is_binary=is_binary)
            if isinstance(bar, LiveBar):
                wanted.bars.append(bar)
            else:
                self._put(bar)
        if reply.error or len(wanted.bars) > _MOST_HISTORY:
            wanted.fail(reply.error or f"more than {_MOST_HISTORY:,} bars came")
        elif reply.is_last:
            wanted.is_answered.set()
