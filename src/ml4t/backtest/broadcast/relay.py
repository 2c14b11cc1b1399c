"""What a streaming server says to one client, and what it takes from it."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from msgspec import structs
from websockets.exceptions import ConnectionClosed

from ml4t.backtest.broadcast.hub import Line
from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.live.websocket.frames import Codec, ItemReader, write
from ml4t.backtest.live.websocket.words import (
    MOST_BYTES_SERVED,
    VERSION,
    ErrorMessage,
    FromClient,
    Hello,
    HistoryReply,
    HistoryRequest,
    Publish,
    Published,
    SignalItem,
    Subscribe,
)
from ml4t.backtest.rehearsal.tape import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.asyncio.server import ServerConnection

    from ml4t.backtest.broadcast.server import BroadcastServer

_HELLO_SECONDS = 10.0
_PAGE_BYTES = MOST_BYTES_SERVED // 8
_PAGE = 5_000  # bars and predictions
_CROWD = 5_000  # messages that wait for somebody: publishers wait, too
_ENCODINGS = ("json", "msgpack")
NO_ACCESS, OTHER_VERSION, NO_SENSE, TOO_SLOW = 4001, 4002, 4003, 4008


class Relay:
    """One client, from hello to its end.

    Args:
        server: What it is served from.
        socket: The client.
        is_known: It has shown the token already.
    """

    def __init__(
        self, server: BroadcastServer, socket: ServerConnection, *, is_known: bool
    ) -> None:
        self._server = server
        self._hub = server.hub
        self._socket = socket
        self._is_known = is_known
        self._codec = Codec(FromClient)
        self._signals = ItemReader(SignalItem)
        self._is_binary = False
        self._line = Line(is_binary=False)

    async def serve(self) -> None:
        """Until one of both ends it."""
        with suppress(ConnectionClosed):
            if not await self._greet():
                return
            self._hub.lines.add(self._line)
            writing = asyncio.create_task(self._write())
            try:
                async for frame in self._socket:
                    await self._take(frame)
            finally:
                self._hub.lines.discard(self._line)
                writing.cancel()

    async def _greet(self) -> bool:
        hello = await self._hear_hello()
        if isinstance(hello, str):
            return await self._refuse(NO_SENSE, "hello", f"say hello first{hello}")
        if hello.version != VERSION:
            words = f"this server speaks version {VERSION}, not {hello.version}"
            return await self._refuse(OTHER_VERSION, "version", words)
        if not self._is_known and not is_same(self._server.token.text, hello.token):
            return await self._refuse(NO_ACCESS, "unauthorized", "the token is wrong or missing")
        if hello.encoding not in _ENCODINGS:
            words = f"encoding {hello.encoding!r}: {did_you_mean(hello.encoding, _ENCODINGS)}"
            return await self._refuse(NO_SENSE, "encoding", words)
        self._is_binary = hello.encoding == "msgpack"
        self._line = Line(is_binary=self._is_binary)
        self._line.put(self._server.welcome())
        return True

    async def _hear_hello(self) -> Hello | str:
        """It; or, where it is none, how a sentence about that ends."""
        try:
            hello = self._codec.read(await asyncio.wait_for(self._socket.recv(), _HELLO_SECONDS))
        except TimeoutError:
            return f", within {_HELLO_SECONDS:g} s"
        except DataError as error:
            return f": {error}"
        return hello if isinstance(hello, Hello) else ""

    async def _refuse(self, close: int, code: str, words: str) -> bool:
        """Say no, and close."""
        self._hub.counts["refused"] += 1
        is_final = close in (NO_ACCESS, OTHER_VERSION)
        message = ErrorMessage(code, words, is_final)
        await self._socket.send(write(message, is_binary=self._is_binary))
        await self._socket.close(close, code)
        return False

    async def _write(self) -> None:
        """Send what waits for it; let it go when it does not read."""
        sending = asyncio.create_task(self._send())
        slow = asyncio.create_task(self._line.is_slow.wait())
        try:
            await asyncio.wait([sending, slow], return_when=asyncio.FIRST_COMPLETED)
            if slow.done():
                self._hub.counts["slow_clients"] += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._socket.close(TOO_SLOW, "too slow"), 1.0)
                self._socket.transport.abort()
        finally:
            sending.cancel()
            slow.cancel()

    async def _send(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._socket.send(await self._line.next())

    async def _take(self, frame: str | bytes) -> None:
        try:
            message = self._codec.read(frame)
        except DataError as error:
            self._hub.counts["bad_messages"] += 1
            self._line.put(ErrorMessage("bad_message", str(error)))
            return
        match message:
            case Subscribe():
                self._hub.subscribe(self._line, message)
                self._server.subscribed()
            case HistoryRequest():
                await self._tell_past(message)
            case Publish():
                self._publish(message, is_binary=isinstance(frame, bytes))
                await self._wait_for_readers()
            case _:
                self._hub.counts["bad_messages"] += 1
                self._line.put(ErrorMessage("bad_message", "hello was said before"))

    def _publish(self, message: Publish, *, is_binary: bool) -> None:
        taken: list[SignalItem] = []
        refused: list[str] = []
        for raw in message.signals:
            try:
                item = self._signals.read(raw, is_binary=is_binary)
            except DataError as error:
                refused.append(str(error))
                continue
            if item.asset_id in self._hub.symbols:
                taken.append(item)
            else:
                near = did_you_mean(item.asset_id, sorted(self._hub.symbols))
                refused.append(f"there is no asset {item.asset_id!r}. {near}")
        self._hub.counts["refused_signals"] += len(refused)
        self._hub.predictions.extend(taken)
        self._hub.publish("signals", taken, moment(self._server.playback.now))
        self._line.put(Published(message.request, len(taken), refused))

    async def _wait_for_readers(self) -> None:
        """Whoever publishes more than others can read is held up, and not those cut off."""
        for _ in range(100):
            if max(map(len, self._hub.lines), default=0) < _CROWD:
                return
            self._hub.counts["held_back"] += 1
            await asyncio.sleep(0.05)

    async def _tell_past(self, wanted: HistoryRequest) -> None:
        """Answer in pages, as the client reads them."""
        page = HistoryReply(wanted.request, [], [], is_last=False)
        size = 0
        for bar, signal in self._past(wanted):
            for item, place in ((bar, page.bars), (signal, page.signals)):
                if item is not None:
                    place.extend(self._line.pack([item]))
                    size += memoryview(place[-1]).nbytes
            if size > _PAGE_BYTES or len(page.bars) + len(page.signals) >= _PAGE:
                self._line.put(page)
                page, size = HistoryReply(wanted.request, [], [], is_last=False), 0
                await asyncio.sleep(0)
        self._line.put(structs.replace(page, is_last=True))

    def _past(self, wanted: HistoryRequest) -> Iterator[tuple[Any, Any]]:
        """Bars and predictions of a span, one or both at a time."""
        symbols = self._hub.symbols & set(wanted.symbols)
        span = microseconds(wanted.start), microseconds(wanted.end)
        for step in self._server.playback.between(*span):
            for bar, signal in zip_longest(step.bars, step.signals):
                if bar.asset_id in symbols:
                    yield bar, signal
        for item in list(self._hub.predictions):
            about = item.timestamp
            is_within = about is not None and wanted.start < about <= wanted.end
            if is_within and item.asset_id in symbols:
                yield None, item


def is_same(wanted: str | None, given: str | None) -> bool:
    """Whether a token is right, in a time that tells nothing about it."""
    if wanted is None:
        return True
    return hmac.compare_digest(wanted.encode(), (given or "").encode())
