"""Alpaca's stream of trade updates on a thread of its own, with its state known outside.

Imported when a broker connects: it needs alpaca-py. The vendor's client reconnects by itself, for
ever and without a word; what it does at each step is watched here by extending it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConnectionLost

with warnings.catch_warnings():
    # The client uses the older half of websockets, and the newer half says so.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.trading.stream import TradingStream
    from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.credentials import Credentials

_HANDSHAKE_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
_MOST_REFUSALS = 5  # in a row, once it had been let in
# Seconds between two tries: from the first to the second, doubling, with some chance in it.
PAUSES = (1.0, 30.0)
# At its finest level this logger writes frames, and the first frame holds the keys.
_SOCKET_LOG = logging.getLogger(f"{__name__}.socket")
_SOCKET_LOG.setLevel(logging.INFO)
_SOCKET_OPTIONS = {
    "ping_interval": 10,
    "ping_timeout": 20,
    "max_queue": 1024,
    "close_timeout": _CLOSE_SECONDS,
    "logger": _SOCKET_LOG,
}


class AlpacaUpdates:
    """What happens to an account's orders, until it is closed.

    Args:
        credentials: Of the account.
        paper: Whether it is a paper account.
        url: Of the stream; None is Alpaca's.
        heard: Called with every update, on the stream's thread: it only leaves a message.
        linked: Likewise, with whether the stream is there again or lost, and why.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        paper: bool,
        url: str | None,
        heard: Callable[[Json], None],
        linked: Callable[[bool, str], None],
    ) -> None:
        self.refused = ""
        self.trouble = "the server did not answer"
        self._credentials = credentials
        self._heard = heard
        self._linked = linked
        self._settled = threading.Event()
        self._is_closing = False
        self._was_up = self._is_up = False
        self._refusals = 0
        self._stream = _Watched(
            credentials.key,
            credentials.secret,
            paper=paper,
            raw_data=True,  # unknown words are no errors then
            url_override=url,  # type: ignore[arg-type]
            websocket_params=_SOCKET_OPTIONS,
        )
        self._stream.updates = self
        self._stream.set_pauses(*PAUSES)
        self._stream.subscribe_trade_updates(self.take)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="alpaca-orders", daemon=True)

    def start(self, seconds: float) -> None:
        """Connect, and return once updates come.

        Raises:
            ConnectionLost: The stream was refused, or was not there in time.
        """
        self._thread.start()
        is_settled = self._settled.wait(seconds)
        if is_settled and not self.refused:
            return
        self.close()
        raise ConnectionLost(
            self.refused
            or f"There was no stream of trade updates within {seconds:g} seconds; last: "
            f"{self.trouble}."
        )

    def drop(self, reason: str) -> None:
        """Close the socket, which says nothing any more; the client then makes a new one."""
        self.trouble = reason
        self._call(self._hang_up)

    def close(self) -> None:
        """End the thread."""
        self._is_closing = True
        self._call(self._cancel)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    # -- on the thread of the stream ----------------------------------------------------------

    async def take(self, message: Json) -> None:
        """An update has come. A handler that fails is only logged by the client: none may."""
        try:
            self._heard(message["data"])
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, it is looked up
            self.garbled(error)

    def listening(self, streams: Any) -> None:
        """The server says what it sends."""
        if "trade_updates" not in (streams or ()):
            self._end("Alpaca's stream does not send trade updates to this account.")
            return
        self._refusals = 0
        if self._was_up and not self._is_up:
            self._linked(True, "trade updates")
        self._was_up = self._is_up = True
        self._settled.set()

    def refuse(self) -> None:
        """The keys were refused; once they were good, it may be for a moment."""
        self._refusals += 1
        self.trouble = "Alpaca refused the key and the secret for its stream of trade updates."
        if not self._was_up or self._refusals >= _MOST_REFUSALS:
            self._end(self.trouble)

    def lose(self, error: BaseException) -> None:
        """The socket broke, or could not be had."""
        self.trouble = self._credentials.hide(f"{type(error).__name__}: {error}")
        self._tell_lost(self.trouble)

    def garbled(self, error: BaseException) -> None:
        """Something could not be read: what it was is found out as after a lost connection."""
        words = self._credentials.hide(f"{type(error).__name__}: {error}")
        self._linked(False, f"an update could not be read ({words})")
        if self._is_up:
            self._linked(True, "trade updates")

    def _tell_lost(self, why: str) -> None:
        if self._is_up and not self._is_closing:
            self._linked(False, why)
        self._is_up = False

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001  whatever the vendor's client raises
            self.trouble = self._credentials.hide(f"{type(error).__name__}: {error}")
        if not self._is_closing and not self.refused:
            self._end(f"The client of Alpaca's trade updates ended: {self.trouble}")

    async def _live(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        try:
            if not self._is_closing:
                await self._stream.run_on()
        finally:
            self._task = None
            with suppress(Exception):
                await self._stream.close()

    def _end(self, why: str) -> None:
        if not self.refused:
            self.refused = why
            self._tell_lost(why)
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


class _Watched(TradingStream):
    """The vendor's client, telling what happens to its connection."""

    updates: AlpacaUpdates

    def set_pauses(self, shortest: float, longest: float) -> None:
        """Seconds between tries to connect, at first and at most."""
        self._reconnect_min_backoff, self._reconnect_max_backoff = shortest, longest

    async def run_on(self) -> None:
        """As `run`, on a loop that is there already."""
        await self._run_forever()  # type: ignore[no-untyped-call]

    async def _start_ws(self) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                await super()._start_ws()  # type: ignore[no-untyped-call]
        except ValueError:
            self.updates.refuse()
            raise
        except Exception as error:
            self.updates.lose(error)
            raise

    async def _consume(self) -> None:
        try:
            await super()._consume()  # type: ignore[no-untyped-call]
        except WebSocketException as error:
            self.updates.lose(error)
            raise
        except OSError as error:  # the client would go on reading from a socket that is gone
            self.updates.lose(error)
            raise WebSocketException(str(error)) from error
        except Exception as error:
            self.updates.garbled(error)
            raise

    async def _dispatch(self, msg: Json) -> None:
        await super()._dispatch(msg)
        if msg.get("stream") == "listening":
            self.updates.listening(msg["data"].get("streams"))
