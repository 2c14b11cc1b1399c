"""Sockets of a stream: who is connected, what is on its way to them, what is held back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.websockets import WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.websockets import WebSocket

# Frames that may wait for a slow client before it is cut off.
_PATIENCE = 50_000
_GONE_AWAY, _BROKEN, _SLOW = 1001, 1012, 1013

Frame = bytes | str


class Line:
    """One socket, with a queue so that nobody waits for it.

    Attributes:
        is_ready: It may be sent what is published.
        is_mute: It stays open, and nothing is sent any more.
    """

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.is_ready = False
        self.is_mute = False
        self._queue: asyncio.Queue[Frame | int] = asyncio.Queue(_PATIENCE)
        self._sender = asyncio.create_task(self._send())

    def put(self, frame: Frame) -> None:
        """Send a frame, soon."""
        if self.is_mute:
            return
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.drop(_SLOW)

    def drop(self, code: int = _BROKEN) -> None:
        """Break the socket off; what waits for it is lost."""
        self.is_ready = False
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(code)

    def close(self, code: int = _GONE_AWAY) -> None:
        """End the socket once all is sent."""
        self.is_ready = False
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(code)

    async def frames(self) -> AsyncIterator[Frame]:
        """What the client sends, until it goes."""
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                message = await self.socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                yield message["text"] if data is None else data

    async def first(self, seconds: float) -> Frame | None:
        """The first frame that the client sends; None when it sends none in time."""
        try:
            return await asyncio.wait_for(anext(self.frames()), seconds)
        except (TimeoutError, StopAsyncIteration):
            return None

    async def end(self) -> None:
        """The client has gone."""
        self.is_ready = False
        self._sender.cancel()
        with suppress(asyncio.CancelledError):
            await self._sender

    async def finish(self) -> None:
        """Wait until all is sent and the socket is closed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._sender), 1.0)

    async def _send(self) -> None:
        # A client that goes while it is written to is not an error of ours.
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                frame = await self._queue.get()
                if isinstance(frame, int):
                    await self.socket.close(frame)
                    return
                if isinstance(frame, bytes):
                    await self.socket.send_bytes(frame)
                else:
                    await self.socket.send_text(frame)


class Lines:
    """All sockets of a stream."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(tuple(self._lines))

    def add(self, socket: WebSocket) -> Line:
        """A new socket."""
        line = Line(socket)
        self._lines.append(line)
        return line

    async def remove(self, line: Line) -> None:
        """A socket has ended."""
        self._lines.remove(line)
        await line.end()

    def ready(self) -> list[Line]:
        """Those that may be sent what is published."""
        return [line for line in self._lines if line.is_ready]

    def drop(self) -> None:
        """Break all off."""
        for line in self:
            line.drop()

    def mute(self) -> None:
        """Keep all open, and send nothing any more."""
        for line in self:
            line.is_mute = True
