"""A stream of Alpaca's client on a thread of its own, with its state known outside.

Imported when something connects: it needs alpaca-py. The vendor's client reconnects by itself, for
ever and without a word; what it does at each step is watched here by extending it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.credentials import Credentials

_HANDSHAKE_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
# At its finest level this logger writes frames, and the first frame holds the keys.
_SOCKET_LOG = logging.getLogger(f"{__name__}.socket")
_SOCKET_LOG.setLevel(logging.INFO)


def socket_options(*, ping_timeout: int) -> dict[str, Any]:
    """How the client's socket is to be opened.

    Args:
        ping_timeout: Seconds without an answer after which it counts as broken.
    """
    return {
        "ping_interval": 10,
        "ping_timeout": ping_timeout,
        "max_queue": 1024,
        "close_timeout": _CLOSE_SECONDS,
        "logger": _SOCKET_LOG,
    }


class AlpacaLine(ABC):
    """Runs a client of the vendor's until it is closed, or refused for good.

    Args:
        credentials: Of the account.
        name: Of the thread.
        called: What the client is called when it ends by itself.

    Attributes:
        refused: Why trying again would not help; empty while it may.
        trouble: What went wrong last.
    """

    def __init__(self, credentials: Credentials, *, name: str, called: str) -> None:
        self.refused = ""
        self.trouble = "the server did not answer"
        self._credentials = credentials
        self._called = called
        self._settled = threading.Event()
        self._is_closing = False
        self._stream: Any
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def refuse_keys(self, error: ValueError) -> None:
        """On the thread: the client says that the server refused it at the start."""

    @abstractmethod
    def lose(self, error: BaseException) -> None:
        """On the thread: the socket broke, or could not be had."""

    @abstractmethod
    def garbled(self, error: BaseException) -> None:
        """On the thread: something could not be read; the stream goes on."""

    @abstractmethod
    def _tell_end(self, why: str) -> None:
        """On the thread: nothing will come any more."""

    # -- from other threads -------------------------------------------------------------------

    def drop(self, reason: str = "") -> None:
        """Close the socket; the client then makes a new one. Returns at once."""
        self.trouble = reason or self.trouble
        self._call(self._hang_up)

    def close(self) -> None:
        """End the thread."""
        self._is_closing = True
        self._call(self._cancel)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _begin(self, seconds: float) -> bool:
        """Start the thread; whether it is known after some seconds how that went."""
        self._thread.start()
        return self._settled.wait(seconds)

    def _call(self, function: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(function)

    # -- on the thread of the stream ----------------------------------------------------------

    def _words(self, error: BaseException) -> str:
        return self._credentials.hide(f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001  whatever the vendor's client raises
            self.trouble = self._words(error)
        if not self._is_closing and not self.refused:
            self._end(f"{self._called} ended: {self.trouble}")

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
        if not self.refused:
            self.refused = why
            self._tell_end(why)
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


class Watched:
    """Goes before a client of the vendor's: tells a line what becomes of a connection."""

    line: AlpacaLine

    async def _start_ws(self) -> None:
        client: Any = super()
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await client._start_ws()  # noqa: SLF001  what it does is watched
        except ValueError as error:
            self.line.refuse_keys(error)
            raise
        except Exception as error:
            self.line.lose(error)
            raise
