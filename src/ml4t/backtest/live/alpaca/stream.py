"""Alpaca's data stream on a thread of its own, with its state known outside.

Imported when a feed connects: it needs alpaca-py. The vendor's client reconnects by itself, and
tells nobody; what it does at each step is watched here by extending it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.alpaca.mapping import bar_of, refusal
from ml4t.backtest.live.alpaca.vendor import (
    CryptoDataStream,
    DataFeed,
    DataStream,
    StockDataStream,
    WebSocketException,
)
from ml4t.backtest.live.arrivals import BadBar, Connected, Lost, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.live.credentials import Credentials
    from ml4t.backtest.live.inbox import Inbox

_HANDSHAKE_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
# At its finest level this logger writes frames, and the first frame holds the keys.
_SOCKET_LOG = logging.getLogger(f"{__name__}.socket")
_SOCKET_LOG.setLevel(logging.INFO)
_SOCKET_OPTIONS = {
    "ping_interval": 10,
    "ping_timeout": 60,
    "max_queue": 1024,
    "close_timeout": _CLOSE_SECONDS,
    "logger": _SOCKET_LOG,
}


class AlpacaConnection:
    """Bars of some symbols, put on an inbox until it is closed.

    Args:
        credentials: Of the account.
        symbols: All stocks, or all crypto.
        inbox: Where bars and breaks go.
        feed: "iex" or "sip" for stocks, None for crypto.
        url: Of the stream; None is Alpaca's.
    """

    def __init__(
        self,
        credentials: Credentials,
        symbols: Sequence[str],
        inbox: Inbox,
        *,
        feed: str | None,
        url: str | None,
    ) -> None:
        self.refused: str | None = None
        self.trouble = "the server did not answer"
        self._credentials = credentials
        self._symbols = list(symbols)
        self._inbox = inbox
        self._settled = threading.Event()
        self._is_closing = False
        self._has_connected = False
        self._stream = self._make(feed, url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="alpaca-data", daemon=True)

    def start(self, seconds: float) -> bool:
        """Connect; whether bars will come, or it was refused, within some seconds."""
        self._thread.start()
        return self._settled.wait(seconds)

    def drop(self) -> None:
        """Close the socket; the client then makes a new one. Returns at once."""
        self._call(self._hang_up)

    def close(self) -> None:
        """End the thread."""
        self._is_closing = True
        self._call(self._cancel)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    # -- on the thread of the stream ----------------------------------------------------------

    def subscribed(self, answer: dict[str, Any]) -> None:
        """The server lists what it sends."""
        missing = sorted(set(self._symbols) - set(answer.get("bars") or ()))
        if missing:
            self.refuse(None, f"it does not send bars of {', '.join(missing)}")
            return
        self._has_connected = True
        self._inbox.put("feed", Connected())
        self._settled.set()

    def refuse(self, code: int | None, words: str) -> None:
        """The server, or the client, said no; trying again may help or not."""
        text, is_final = refusal(code, self._credentials.hide(words))
        self.trouble = text
        if is_final or "does not send" in words:
            self._end(text)

    def lose(self, error: BaseException) -> None:
        """The socket broke, or could not be had."""
        self.trouble = self._credentials.hide(f"{type(error).__name__}: {error}")
        if self._has_connected and not self._is_closing:
            self._inbox.put("feed", Lost(self.trouble))

    def garbled(self, error: BaseException) -> None:
        """A frame could not be read; the stream goes on."""
        words = self._credentials.hide(f"{type(error).__name__}: {error}")
        self._inbox.put("feed", BadBar("?", f"a frame could not be read ({words}),"))

    async def take_bar(self, raw: Any) -> None:
        """A minute bar."""
        self._inbox.put("feed", bar_of(raw, is_update=False))

    async def take_update(self, raw: Any) -> None:
        """A minute bar again, with trades that were reported late."""
        self._inbox.put("feed", bar_of(raw, is_update=True))

    def _make(self, feed: str | None, url: str | None) -> _Watched:
        options: dict[str, Any] = {
            "api_key": self._credentials.key,
            "secret_key": self._credentials.secret,
            "raw_data": True,
            "url_override": url,
            "websocket_params": _SOCKET_OPTIONS,
        }
        stream: _WatchedStocks | _WatchedCrypto = (
            _WatchedCrypto(**options)
            if feed is None
            else _WatchedStocks(feed=DataFeed(feed), **options)
        )
        stream.connection = self
        # Now, and never from a handler: there it would wait for itself.
        stream.subscribe_bars(self.take_bar, *self._symbols)
        stream.subscribe_updated_bars(self.take_update, *self._symbols)
        return stream

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001  whatever the vendor's client raises
            self.trouble = self._credentials.hide(f"{type(error).__name__}: {error}")
        if not self._is_closing and self.refused is None:
            self._end(f"The client of Alpaca ended: {self.trouble}")

    async def _live(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if not self._is_closing:
                await self._stream._run_forever()  # noqa: SLF001  `run` makes its own loop
        finally:
            self._task = None
            with suppress(Exception):
                await self._stream.close()

    def _end(self, why: str) -> None:
        if self.refused is None:
            self.refused = why
            if self._settled.is_set():
                self._inbox.put("feed", Refused(why))
            self._settled.set()
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and self._loop is not None:
            # A cancellation may be swallowed, where a frame comes or a socket closes at the same
            # moment: the client is told to stop as well, and cancelled until it has.
            self._stopping = self._loop.create_task(self._stream.stop_ws())
            self._task.cancel()
            self._loop.call_later(_AGAIN_SECONDS, self._cancel)

    def _hang_up(self) -> None:
        socket: Any = self._stream._ws  # noqa: SLF001  the client has no word for it
        if socket is not None and self._loop is not None:
            self._closing = self._loop.create_task(socket.close())

    def _call(self, function: Any) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function)


class _Watched(DataStream):
    """The vendor's client, telling what happens to its connection."""

    connection: AlpacaConnection

    async def _start_ws(self) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await super()._start_ws()
        except ValueError as error:
            self.connection.refuse(None, str(error))
            raise
        except Exception as error:
            self.connection.lose(error)
            raise

    async def _consume(self) -> bool:
        try:
            return bool(await super()._consume())
        except (WebSocketException, OSError) as error:
            self.connection.lose(error)
            raise
        except Exception as error:
            self.connection.garbled(error)
            raise

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        await super()._dispatch(msg)
        if msg.get("T") == "subscription":
            self.connection.subscribed(msg)
        elif msg.get("T") == "error":
            self.connection.refuse(msg.get("code"), str(msg.get("msg")))


class _WatchedStocks(_Watched, StockDataStream):
    """For stocks."""


class _WatchedCrypto(_Watched, CryptoDataStream):
    """For crypto."""
