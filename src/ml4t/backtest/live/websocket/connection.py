"""A WebSocket on a thread of its own, made anew when it breaks.

Imported when a feed connects: it needs the library websockets.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from websockets.exceptions import (
    ConnectionClosed,
    InvalidStatus,
    PayloadTooBig,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect

from ml4t.backtest._version import __version__
from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.arrivals import Connected, Lost, Refused
from ml4t.backtest.live.websocket.access import Token, shown_url
from ml4t.backtest.live.websocket.frames import write
from ml4t.backtest.live.websocket.reception import Wanted
from ml4t.backtest.live.websocket.words import (
    MOST_BYTES_SERVED,
    VERSION,
    ErrorMessage,
    Heartbeat,
    Hello,
    HistoryRequest,
    Snapshot,
    Subscribe,
    Welcome,
)
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.websocket.reception import Reception

_UTC = TimeAxis(zone="UTC")
_HANDSHAKE_SECONDS = 10.0
_HISTORY_SECONDS = 15.0
_CLOSE_SECONDS = 1.0
_JOIN_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
_LASTS = 10.0  # seconds: a connection that stood so long was a good one
_BEATS = 3.0  # heartbeats that may be missed
_TOO_LARGE, _NO_ACCESS, _OTHER_VERSION = 1009, 4001, 4002
_FORBIDDEN = (401, 403)
# At its finest level this logger writes the headers of the handshake, and with them the token.
_SOCKET_LOG = logging.getLogger(f"{__name__}.socket")
_SOCKET_LOG.setLevel(logging.INFO)


class Settings(NamedTuple):
    """What a connection is to do.

    Attributes:
        url: Where the server is.
        token: What gives access.
        symbols: Whose bars and predictions to ask for.
        wants_signals: Whether predictions.
        bar: Length of the bars, microseconds.
        offset: How long after multiples of it they begin.
        is_binary: Ask for MessagePack.
        silence: Real seconds without a message after which it connects anew.
        patience: Seconds to wait for a socket.
        is_visit: Subscribe to nothing: for the time, or for history.
    """

    url: str
    token: Token
    symbols: Sequence[str]
    wants_signals: bool
    bar: int
    offset: int
    is_binary: bool
    silence: float
    patience: float
    is_visit: bool = False


class DeclinedError(Exception):
    """The server, or this side, said no, and trying again will not help."""


class WebSocketConnection:
    """Messages of a server, taken until it is closed.

    Args:
        settings: What to do.
        reception: Takes the messages.
        put: Leaves an arrival for the feed.

    Attributes:
        refused: Why it was given up; None while it was not.
        trouble: What was last in the way.
    """

    def __init__(
        self, settings: Settings, reception: Reception, put: Callable[[Any], None]
    ) -> None:
        self.refused: str | None = None
        self.trouble = "the server did not answer"
        self._settings = settings
        self._reception = reception
        self._put = put
        self._settled = threading.Event()
        self._closing = threading.Event()
        self._has_connected = False
        self._open: ClientConnection | None = None
        self._socket: ClientConnection | None = None  # that has subscribed
        self._numbers = count(1)
        self._chance = np.random.default_rng(zlib.crc32(settings.url.encode()) + os.getpid())
        self._thread = threading.Thread(target=self._run, name="websocket-feed", daemon=True)

    # -- from other threads -----------------------------------------------------------------------

    def start(self, seconds: float) -> bool:
        """Connect; whether messages will come, or it was refused, within some seconds."""
        self._thread.start()
        return self._settled.wait(seconds)

    def drop(self) -> None:
        """Break the connection; a new one is made. Returns at once."""
        self._abort()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._abort()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """Bars of the past.

        Raises:
            ConnectionLost: There is no answer; says why.
        """
        number, wanted = next(self._numbers), Wanted()
        self._reception.wanted[number] = wanted
        try:
            socket = self._socket
            if socket is None:
                raise ConnectionLost("there is no connection to ask for history")
            self._send(socket, HistoryRequest(number, list(self._settings.symbols), start, end))
            if not wanted.is_answered.wait(_HISTORY_SECONDS):
                raise ConnectionLost(f"no history within {_HISTORY_SECONDS:g} s")
        except (WebSocketException, OSError) as error:
            raise ConnectionLost(self._words(error)) from None
        finally:
            self._reception.wanted.pop(number, None)
        if wanted.error:
            raise ConnectionLost(self._settings.token.hide(wanted.error))
        return wanted.bars

    # -- on the thread of the socket --------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closing.is_set() and self.refused is None:
            began = time.monotonic()
            try:
                self._live()
            except DeclinedError as error:
                self._end(str(error))
            except Exception as error:  # noqa: BLE001  whatever a library or a server comes up with
                self._lose(error)
            if self._reception.is_over:
                return
            if time.monotonic() - began > _LASTS:
                pause = _FIRST_PAUSE
            # Many clients that were cut off at once shall not come back at once.
            if self._closing.wait(pause * self._chance.uniform(0.5, 1.5)):
                return
            pause = min(2.0 * pause, _LONGEST_PAUSE)

    def _live(self) -> None:
        """One connection, from its begin to its end."""
        with connect(
            self._settings.url,
            additional_headers=self._settings.token.headers,
            open_timeout=self._settings.patience,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=None,  # heartbeats tell more: a reader that is held up answers no ping
            max_size=MOST_BYTES_SERVED,
            max_queue=4,
            logger=_SOCKET_LOG,
        ) as socket:
            self._open = socket
            try:
                if not self._closing.is_set():
                    self._greet(socket)
                    self._listen(socket)
            finally:
                self._open = self._socket = None

    def _greet(self, socket: ClientConnection) -> None:
        settings = self._settings
        encoding = "msgpack" if settings.is_binary else "json"
        name = f"ml4t-backtest {__version__}"
        self._send(socket, Hello(VERSION, encoding, client=name))
        welcome, _ = self._await(socket, Welcome)
        if welcome.version != VERSION:
            raise DeclinedError(
                f"The server speaks version {welcome.version} of the schema, this client {VERSION}."
            )
        if round(welcome.bar_seconds * 1e6) != settings.bar:
            raise DeclinedError(
                f"The server's bars are of {welcome.bar_seconds:g} seconds: pass "
                f"vendor_bar='{welcome.bar_seconds:g}s'."
            )
        if round(welcome.bar_offset_seconds * 1e6) != settings.offset:
            seconds = f"{welcome.bar_offset_seconds:g}"
            raise DeclinedError(
                f"The server's bars begin {seconds} seconds after multiples of their length: pass "
                f"vendor_offset='{seconds}s'."
            )
        self._patience = max(settings.silence, _BEATS * welcome.heartbeat_seconds)
        self._reception.greet(welcome)
        if settings.is_visit:
            self._socket = socket
            self._settled.set()
            return
        subscribe = Subscribe(
            list(settings.symbols),
            signals=settings.wants_signals,
            resume=self._reception.resume(),
        )
        self._send(socket, subscribe)
        snapshot, is_binary = self._await(socket, Snapshot)
        missing = sorted(set(settings.symbols) - set(snapshot.symbols))
        if missing:
            why = snapshot.refused.get(missing[0], "it does not say why")
            raise DeclinedError(f"The server sends no bars of {', '.join(missing)}: {why}")
        self._socket = socket
        self._put(Connected())
        self._has_connected = True
        self._settled.set()
        self._reception.begin(snapshot, is_binary=is_binary)

    def _listen(self, socket: ClientConnection) -> None:
        while not self._closing.is_set():
            try:
                frame = socket.recv(timeout=self._patience)
            except TimeoutError:
                self._reception.counts["mute_connections"] += 1
                raise ConnectionLost(f"nothing came for {self._patience:g} s") from None
            self._see_to(self._reception.take(frame))

    def _await(self, socket: ClientConnection, kind: Any) -> tuple[Any, bool]:
        """The next message, which must be of a kind; and whether it was binary."""
        until = time.monotonic() + min(_HANDSHAKE_SECONDS, self._settings.patience)
        name, why = kind.__name__.lower(), ""
        while (left := until - time.monotonic()) > 0:
            try:
                frame = socket.recv(timeout=left)
            except TimeoutError:
                break
            message = self._reception.read(frame)
            if isinstance(message, kind):
                return message, isinstance(frame, bytes)
            if isinstance(message, ErrorMessage):
                self._reception.complain(message)
                self._see_to(message)
            elif message is not None and not isinstance(message, Heartbeat):
                self._reception.pass_over(message)
            why = f": {self._settings.token.hide(self._reception.reason)}"
            self.trouble = f"the server sent no {name}{why}"
        raise ConnectionLost(f"the server sent no {name}{why}")

    def _see_to(self, message: Any) -> None:
        if not isinstance(message, ErrorMessage):
            return
        words = self._settings.token.hide(f"{message.code}: {message.message}")
        if message.is_final:
            raise DeclinedError(f"The server refused: {words}")
        self.trouble = words

    def _lose(self, error: BaseException) -> None:
        """The connection broke, or could not be had."""
        if isinstance(error, InvalidStatus):
            self._see_to_status(error.response.status_code)
        code = _close_code(error)
        if code in (_NO_ACCESS, _OTHER_VERSION):
            self._end(f"The server refused: {self._words(error)}")
        if code == _TOO_LARGE or isinstance(error, PayloadTooBig):
            self._reception.counts["oversized_messages"] += 1
            self._reception.forget()  # or it would come again
        if not self._closing.is_set():  # or it is only that we have closed the socket
            self.trouble = self._words(error)
        for wanted in list(self._reception.wanted.values()):
            wanted.fail("the connection broke")
        if self._has_connected and not self._closing.is_set():
            self._put(Lost(self.trouble))

    def _see_to_status(self, status: int) -> None:
        if status in _FORBIDDEN:
            self._end(
                f"The server refused access (HTTP {status}). Check the token: token=, token_file= "
                f"or the environment variable ML4T_WEBSOCKET_TOKEN."
            )

    def _end(self, why: str) -> None:
        if self.refused is None:
            self.refused = self._settings.token.hide(why)
            if self._has_connected:
                self._put(Refused(self.refused))
            self._settled.set()

    def _send(self, socket: ClientConnection, message: Any) -> None:
        socket.send(write(message, is_binary=self._settings.is_binary))

    def _abort(self) -> None:
        """Close the socket under whoever reads from it; a close by handshake could wait."""
        socket = self._open
        if socket is not None:
            with suppress(OSError):
                socket.close_socket()

    def _words(self, error: BaseException) -> str:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        url = self._settings.url
        return self._settings.token.hide(text.replace(url, shown_url(url)))


def _close_code(error: BaseException) -> int | None:
    """The code with which a connection was closed, by either side."""
    if not isinstance(error, ConnectionClosed):
        return None
    for close in (error.rcvd, error.sent):
        if close is not None and close.code >= _TOO_LARGE:
            return int(close.code)
    return None
