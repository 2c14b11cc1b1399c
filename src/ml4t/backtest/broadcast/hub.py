"""Who has subscribed to what, and what has been sent: numbers, and what is kept to go on from."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ml4t.backtest.live.websocket.frames import pack, write
from ml4t.backtest.live.websocket.words import (
    STREAMS,
    BarsMessage,
    CorrectionsMessage,
    Heartbeat,
    SignalsMessage,
    Snapshot,
)

if TYPE_CHECKING:
    import datetime as dt

    import msgspec

    from ml4t.backtest.live.websocket.words import Message, Subscribe

_KEPT = 10_000  # messages of each stream, to go on from
_QUEUED = 20_000  # messages that may wait for a client
_QUEUED_BYTES = 64 << 20
_SETS = 64  # of names that an asset's predictions came in
_KINDS = {"bars": BarsMessage, "corrections": CorrectionsMessage, "signals": SignalsMessage}


class Kept(NamedTuple):
    """A message as it was published.

    Attributes:
        number: In its stream.
        kind: Its type.
        items: Bars or predictions.
        time: When, by the server's clock.
    """

    number: int
    kind: str
    items: list[Any]
    time: dt.datetime


class Line:
    """What waits for one client.

    Args:
        is_binary: It is written to in MessagePack.

    Attributes:
        symbols: Assets it has subscribed to; None before it has.
        streams: What it wants of them.
        sent: The number of the last message of each stream that it was sent.
        is_slow: Set when it did not read what it was sent.
    """

    def __init__(self, *, is_binary: bool) -> None:
        self.symbols: frozenset[str] | None = None
        self.streams: tuple[str, ...] = ()
        self.sent = dict.fromkeys(STREAMS, 0)
        self.is_slow = asyncio.Event()
        self._is_binary = is_binary
        self._queue: deque[str | bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: Message) -> None:
        """Leave a message for it."""
        frame = write(message, is_binary=self._is_binary)
        self._queue.append(frame)
        self._bytes += len(frame)
        if len(self._queue) > _QUEUED or self._bytes > _QUEUED_BYTES:
            self._queue.clear()
            self.is_slow.set()
        self._changed.set()

    async def next(self) -> str | bytes:
        """The next frame for it."""
        while not self._queue:
            self._changed.clear()
            await self._changed.wait()
        frame = self._queue.popleft()
        self._bytes -= len(frame)
        return frame

    def offer(self, stream: str, kept: Kept) -> None:
        """Leave what of a message it has subscribed to."""
        if stream not in self.streams or self.symbols is None or self.is_slow.is_set():
            return
        items = [item for item in kept.items if item.asset_id in self.symbols]
        if items:
            packed = self.pack(items)
            self.put(_KINDS[kept.kind](kept.number, packed, self.sent[stream]))
            self.sent[stream] = kept.number

    def pack(self, items: list[Any]) -> list[msgspec.Raw]:
        """Items as they are written to it."""
        return pack(items, is_binary=self._is_binary)


class Hub:
    """Numbers messages, keeps the last of them, and leaves them for who has subscribed.

    Args:
        session: Of the numbers.
        symbols: What can be subscribed to, and predicted.

    Attributes:
        lines: All clients.
        counts: What happened, by name.
        predictions: What was published, for history.
    """

    def __init__(self, session: str, symbols: list[str]) -> None:
        self.session = session
        self.symbols = frozenset(symbols)
        self.lines: set[Line] = set()
        self.counts: Counter[str] = Counter()
        self.predictions: deque[Any] = deque(maxlen=_KEPT * 10)
        self._numbers = dict.fromkeys(STREAMS, 0)
        self._kept: dict[str, deque[Kept]] = {name: deque(maxlen=_KEPT) for name in STREAMS}
        self._bars: dict[str, Any] = {}
        self._signals: dict[str, dict[frozenset[str], Any]] = {}

    def publish(self, kind: str, items: list[Any], time: dt.datetime) -> None:
        """Number a message, and leave it for everybody it is for."""
        if not items:
            return
        stream = "signals" if kind == "signals" else "bars"
        self._numbers[stream] += 1
        kept = Kept(self._numbers[stream], kind, items, time)
        self._kept[stream].append(kept)
        for item in items:
            if stream == "bars":
                self._bars[item.asset_id] = item
            else:
                self._remember(item)
        self.counts[kind] += len(items)
        for line in self.lines:
            line.offer(stream, kept)

    def subscribe(self, line: Line, wanted: Subscribe) -> None:
        """A client says what it wants, and is told what is known now."""
        line.symbols = frozenset(wanted.symbols) & self.symbols
        flags = {"bars": wanted.bars, "signals": wanted.signals}
        line.streams = tuple(name for name in STREAMS if flags[name])
        after = self._after(wanted)
        line.sent = dict(self._numbers) if after is None else after
        names = sorted(line.symbols)
        unknown = sorted(set(wanted.symbols) - self.symbols)
        bars = [self._bars[name] for name in names if name in self._bars and wanted.bars]
        signals = [
            item
            for name in names
            for item in self._signals.get(name, {}).values()
            if wanted.signals
        ]
        line.put(
            Snapshot(
                names,
                line.pack(bars),
                line.pack(signals),
                dict(line.sent),
                after is not None,
                dict.fromkeys(unknown, "it is not in the data"),
            )
        )
        if after is not None:
            self._repeat(line, after)

    def beat(self, time: dt.datetime, speed: float, *, is_news: bool = False) -> None:
        """A sign of life for everybody who has read what was sent, or news of the time for all."""
        for line in self.lines:
            if line.symbols is not None and (is_news or not len(line)):
                line.put(Heartbeat(time, dict(line.sent), speed))

    def _repeat(self, line: Line, after: dict[str, int]) -> None:
        """Predictions first, as they came before their bars."""
        missed = [
            (kept.time, stream == "bars", kept.number, stream, kept)
            for stream, number in after.items()
            for kept in self._kept[stream]
            if kept.number > number
        ]
        for _, _, _, stream, kept in sorted(missed, key=lambda one: one[:3]):
            line.offer(stream, kept)

    def _after(self, wanted: Subscribe) -> dict[str, int] | None:
        """From which numbers a client goes on; None when what followed is not here any more."""
        if wanted.resume is not None and wanted.resume.session == self.session:
            numbers = {"bars": wanted.resume.bars, "signals": wanted.resume.signals}
        elif wanted.since is not None:
            numbers = {name: self._number_at(name, wanted.since) for name in STREAMS}
        else:
            return None
        for name, number in numbers.items():
            oldest = self._numbers[name] - len(self._kept[name])
            if not oldest <= number <= self._numbers[name]:
                return None
        return numbers

    def _number_at(self, stream: str, time: dt.datetime) -> int:
        """The last number before a time; -1 when it is not known any more."""
        kept = self._kept[stream]
        if not kept:
            return 0
        earlier = [one.number for one in kept if one.time <= time]
        if earlier:
            return earlier[-1]
        return 0 if kept[0].number == 1 else -1

    def _remember(self, item: Any) -> None:
        known = self._signals.setdefault(item.asset_id, {})
        names = frozenset(item.values)
        known.pop(names, None)
        known[names] = item
        if len(known) > _SETS:
            del known[next(iter(known))]
