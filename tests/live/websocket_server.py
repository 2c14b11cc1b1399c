"""A server of the WebSocket schema that says what a test tells it to, true or not."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import queue
import threading
from contextlib import suppress
from typing import Any, Self

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ml4t.backtest import SignalBuffer
from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.websocket.feed import WebSocketFeed
from tests.live.scripted import MINUTE, NINE

SECRET = "tOkEn-of-the-FEED/42"  # noqa: S105


def text(moment: int) -> str:
    """A time as the schema has it."""
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=moment)).isoformat()


def bar(asset_id: str, minute: int, close: float = 10.0, **fields: Any) -> dict[str, Any]:
    """A bar that begins some minutes after nine."""
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 100.0}
    return {"asset_id": asset_id, "start": text(NINE + minute * MINUTE), **values, **fields}


def bars(sequence: int, *items: Any, **fields: Any) -> dict[str, Any]:
    """A message of bars."""
    return {"type": "bars", "sequence": sequence, "bars": list(items), **fields}


def signals(sequence: int, asset_id: str, minute: int | None, **values: Any) -> dict[str, Any]:
    """A message of predictions for the bar that ends some minutes after nine."""
    item: dict[str, Any] = {"asset_id": asset_id, "values": values}
    if minute is not None:
        item["timestamp"] = text(NINE + minute * MINUTE)
    return {"type": "signals", "sequence": sequence, "signals": [item]}


class LooseServer:
    """Shakes hands as it should, and then does as it is told.

    Attributes:
        welcome, snapshot: Fields in place of those it would send.
        past: Bars that history has.
        answers_history: Whether it answers requests.
        heard: Messages of clients.
        headers: Of each handshake.
        refuses: HTTP status for every handshake; None lets them in.
    """

    def __init__(self, *, is_binary: bool = False) -> None:
        self.welcome: dict[str, Any] = {}
        self.snapshot: dict[str, Any] = {}
        self.past: list[dict[str, Any]] = []
        self.past_signals: list[dict[str, Any]] = []
        self.answers_history = True
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refuses: int | None = None
        self.now = NINE
        self.is_binary = is_binary
        self._open: set[ServerConnection] = set()
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve()])
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/stream"

    @property
    def connections(self) -> int:
        return len(self._open)

    def send(self, *messages: Any) -> None:
        """Frames to everybody who has subscribed: messages, or text and bytes as they are."""
        for message in messages:
            self._do(self._all(message))

    def tell(self, minute: float, **sequences: int) -> None:
        """What time it is: minutes after nine."""
        self.now = NINE + round(minute * MINUTE)
        heartbeat = {"type": "heartbeat", "time": text(self.now), "speed": 0.0}
        self.send({**heartbeat, "sequences": sequences})

    def drop(self) -> None:
        """Cut every connection."""

        async def cut() -> None:
            for socket in set(self._open):
                socket.transport.abort()
            self._open.clear()

        self._do(cut())

    async def _all(self, message: Any) -> None:
        frame = message if isinstance(message, str | bytes) else self._frame(message)
        for socket in set(self._open):
            with suppress(ConnectionClosed):
                await socket.send(frame)

    def _frame(self, message: Any) -> str | bytes:
        return msgspec.msgpack.encode(message) if self.is_binary else json.dumps(message)

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()

        def check(socket: Any, request: Any) -> Any:
            self.headers.append(dict(request.headers))
            return None if self.refuses is None else socket.respond(self.refuses, "no\n")

        options: dict[str, Any] = {"ping_interval": None, "close_timeout": 0.5, "max_size": None}
        async with serve(self._talk, "127.0.0.1", 0, process_request=check, **options) as server:
            self._port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            async for frame in socket:
                read = msgspec.msgpack if isinstance(frame, bytes) else msgspec.json
                message = read.decode(frame)
                self.heard.append(message)
                await self._answer(socket, message)
        except ConnectionClosed:
            pass
        finally:
            self._open.discard(socket)

    async def _answer(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        if message["type"] == "hello":
            fields = {"version": 1, "session": "one", "bar_seconds": 60.0, "speed": 0.0}
            fields |= {"heartbeat_seconds": 0.2, "time": text(self.now)}
            await socket.send(self._frame({"type": "welcome", **fields, **self.welcome}))
        elif message["type"] == "subscribe":
            snapshot = {"type": "snapshot", "symbols": message["symbols"], **self.snapshot}
            await socket.send(self._frame(snapshot))
            self._open.add(socket)
        elif message["type"] == "history_request" and self.answers_history:
            start, end = (_moment(message[n]) for n in ("start", "end"))
            found = [b for b in self.past if start <= dt.datetime.fromisoformat(b["start"]) < end]
            reply = {"type": "history", "request": message["request"], "bars": found}
            await socket.send(self._frame({**reply, "signals": self.past_signals}))


def _moment(time: Any) -> dt.datetime:
    """A time as MessagePack or JSON has it."""
    return time if isinstance(time, dt.datetime) else dt.datetime.fromisoformat(time)


class Walk:
    """A feed that is walked on a thread, so that no test waits for ever."""

    def __init__(self, server: LooseServer, *symbols: str, **options: Any) -> None:
        given: dict[str, Any] = {"grace_seconds": 5.0, "max_silence": None, **options}
        given.setdefault("signals", SignalBuffer())
        self.feed = WebSocketFeed(server.url, symbols=symbols or ("A",), **given)
        self.feed.time = self.feed.clock
        self.found: queue.Queue[Any] = queue.Queue()
        self.pause = threading.Event()
        self.pause.set()
        reader = self.feed.open_reader(Request())
        self._thread = threading.Thread(target=self._walk, args=[reader], daemon=True)
        self._thread.start()

    def _walk(self, reader: Any) -> None:
        try:
            for block in reader.blocks(1):
                closes = block.prices["close"].tolist()
                names = [reader.ids[code] for code in block.codes]
                row: dict[str, Any] = dict(zip(names, closes, strict=True))
                for name, column in block.signals.items():
                    for asset_id, value in zip(names, column.tolist(), strict=True):
                        if value is not None and value == value:  # noqa: PLR0124  NaN
                            row[f"{asset_id}.{name}"] = value
                self.found.put(((int(block.times[0]) - NINE) / MINUTE, row))
                self.pause.wait(30)
        except Exception as error:  # noqa: BLE001  the test is to see it
            self.found.put(error)
        self.found.put(None)

    def next(self) -> Any:
        """The next timestamp: minutes after nine, closes and signals."""
        return self.found.get(timeout=15)

    def end(self) -> dict[str, int]:
        """Stop, and what was counted."""
        self.pause.set()
        self.feed.stop()
        while self.next() is not None:
            pass
        self._thread.join(15)
        assert not self._thread.is_alive()
        return {name: count for name, count in self.feed.counts().items() if count}
