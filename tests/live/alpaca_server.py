"""A small server that speaks Alpaca's data stream and its history, over loopback."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgpack  # type: ignore[import-untyped]
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.live.scripted import MINUTE

KEY, SECRET = "PKTESTKEY0123456789", "sEcReT/of+The-AcCouNt42"


def wire(symbol: str, start: int, close: float, kind: str = "b", **fields: Any) -> dict[str, Any]:
    """A bar as the stream has it."""
    values = {"o": close, "h": close + 1, "l": close - 1, "c": close, "v": 100, "n": 3, "vw": close}
    moment = msgpack.Timestamp.from_unix_nano(start * 1_000)
    return {"T": kind, "S": symbol, "t": moment, **values, **fields}


def past(start: int, close: float) -> dict[str, Any]:
    """A bar as history has it."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start // 1_000_000))
    raw = wire("", start, close)
    return {"t": moment, **{name: raw[name] for name in ("o", "h", "l", "c", "v", "n", "vw")}}


class AlpacaServer:
    """Both servers, each on a thread.

    Attributes:
        greetings: What the next connections are told in place of a welcome, one each.
        is_mute: Connections get nothing but the answers of the handshake.
        leaves_out: Symbols that subscriptions are not confirmed for.
        history: Bars by symbol.
        refuses: HTTP status and text for every request for history.
        subscribed: What clients asked for.
        requests: Queries for history.
    """

    def __init__(self) -> None:
        self.greetings: list[dict[str, Any]] = []
        self.is_mute = False
        self.leaves_out: set[str] = set()
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.refuses: tuple[int, str] | None = None
        self.hangs = threading.Event()
        self.hangs.set()
        self.subscribed: list[dict[str, Any]] = []
        self.requests: list[dict[str, list[str]]] = []
        self._open: set[ServerConnection] = set()
        self._ready = threading.Event()
        self._port = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve()])
        self._thread.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._rest = threading.Thread(target=self._http.serve_forever, args=[0.05])
        self._rest.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.hangs.set()
        self._loop.call_soon_threadsafe(self._end.set)
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)
        self._rest.join(10)

    def addresses(self, path: str = "/v2/iex") -> dict[str, Any]:
        """Options of a feed."""
        return {
            "stream_url": f"ws://127.0.0.1:{self._port}{path}",
            "url": f"http://127.0.0.1:{self._http.server_port}",
        }

    def send(self, *messages: dict[str, Any]) -> None:
        """One frame to everybody."""
        frame = msgpack.packb(list(messages))
        self._do(asyncio.gather, [socket.send(frame) for socket in set(self._open)])

    def send_raw(self, frame: bytes) -> None:
        """Anything."""
        self._do(asyncio.gather, [socket.send(frame) for socket in set(self._open)])

    def drop(self) -> None:
        """Cut every connection."""

        async def cut() -> None:
            for socket in set(self._open):
                socket.transport.abort()

        self._do(asyncio.gather, [cut()])

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._open)

    def _do(self, gather: Any, work: list[Any]) -> None:
        async def all_of() -> None:
            with suppress(ConnectionClosed):
                await gather(*work)

        asyncio.run_coroutine_threadsafe(all_of(), self._loop).result(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self._talk, "127.0.0.1", 0, close_timeout=0.5) as server:
            self._port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._end.wait()

    async def _talk(self, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await self._say(socket, {"T": "success", "msg": "connected"})
            asked = msgpack.unpackb(await socket.recv())
            if self.greetings:
                await self._say(socket, self.greetings.pop(0))
                await socket.wait_closed()
                return
            if (asked.get("key"), asked.get("secret")) != (KEY, SECRET):
                await self._say(socket, {"T": "error", "code": 402, "msg": "auth failed"})
                return
            await self._say(socket, {"T": "success", "msg": "authenticated"})
            async for frame in socket:
                wanted = msgpack.unpackb(frame)
                self.subscribed.append(wanted)
                bars = [s for s in wanted.get("bars", []) if s not in self.leaves_out]
                if not self.is_mute:
                    self._open.add(socket)
                await self._say(socket, {"T": "subscription", "bars": bars})
        self._open.discard(socket)

    async def _say(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        await socket.send(msgpack.packb([message]))

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.hangs.wait(10)
                address = urlsplit(self.path)
                query = parse_qs(address.query)
                server.requests.append(query | {"path": [address.path]})
                status, text = server.refuses or (200, "")
                if self.headers["APCA-API-SECRET-KEY"] != SECRET:
                    status, text = 401, '{"message": "unauthorized."}'
                if not text:
                    low, high = (query[n][0][:19] for n in ("start", "end"))
                    symbols = query["symbols"][0].split(",")
                    bars = {
                        s: [b for b in server.history.get(s, []) if low <= b["t"][:19] <= high]
                        for s in symbols
                    }
                    text = json.dumps({"bars": bars, "next_page_token": None})
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def minute(base: int, i: int) -> int:
    """The start of a minute."""
    return base + i * MINUTE
