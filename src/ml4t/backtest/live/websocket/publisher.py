"""SignalPublisher: a model's side of the schema, which only publishes."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from ml4t.backtest._version import __version__
from ml4t.backtest.errors import ConfigError, ConnectionLost, DataError
from ml4t.backtest.live.websocket.access import checked_url, read_token, shown_url
from ml4t.backtest.live.websocket.frames import Codec, pack, write
from ml4t.backtest.live.websocket.words import (
    MOST_BYTES,
    MOST_BYTES_SERVED,
    VERSION,
    ErrorMessage,
    FromServer,
    Hello,
    Publish,
    Published,
    SignalItem,
    Welcome,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import msgspec
    from websockets.sync.client import ClientConnection

T = TypeVar("T")

_TOGETHER = 500  # signals in a message
_ENVELOPE = 1_000  # bytes of a message beside its signals
_PAUSE = 0.25  # seconds between two tries to connect
_CLOSE_SECONDS = 1.0
_FORBIDDEN = (401, 403)
# At its finest level this logger writes the headers of the handshake, and with them the token.
_SOCKET_LOG = logging.getLogger(f"{__name__}.socket")
_SOCKET_LOG.setLevel(logging.INFO)
_INSTALL = "pip install 'ml4t-backtest[websocket]'"


class SignalPublisher:
    """Sends predictions to a server of the WebSocket schema; it hears neither bars nor signals.

    It connects with the first prediction, and again when the line was cut. What has not been
    acknowledged is sent again: with a `timestamp` it is then the same prediction once more.

    Args:
        url: Of the server, "ws://127.0.0.1:8765" or "wss://...".
        token: What gives access.
        token_file: A file with the token alone; or the environment has it, as for `WebSocketFeed`.
        patience: Seconds within which predictions must have been acknowledged.

    Raises:
        ConfigError: An option makes no sense, or the library websockets is missing.

    Example:
        with SignalPublisher("ws://127.0.0.1:8765") as publisher:
            publisher.publish({"AAPL": {"ml_pred": 0.7}}, timestamp=bar_end)
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        patience: float = 10.0,
    ) -> None:
        _require()
        if not 0.0 < patience < float("inf"):
            raise ConfigError(f"patience={patience!r}: give seconds above 0.")
        self._token = read_token(token, file=token_file)
        self.url = checked_url(url, self._token)
        self.patience = patience
        self._codec = Codec(FromServer)
        self._numbers = itertools.count(1)
        self._socket: ClientConnection | None = None
        self._opened = ExitStack()

    def __repr__(self) -> str:
        return f"SignalPublisher({shown_url(self.url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def publish(
        self,
        signals: Mapping[str, Mapping[str, Any]],
        timestamp: dt.datetime | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
    ) -> int:
        """Send predictions, and wait until the server has them.

        Args:
            signals: Values by name, by asset: numbers, booleans or text, NumPy's too; None says
                that there is none any more.
            timestamp: The end of the bar they are for, with a zone; None counts from arrival.
            meta: Of the model: its version, and so on.

        Returns:
            How many assets' predictions were taken.

        Raises:
            DataError: Something is no prediction, or no time: nothing is sent then. Or the server
                refused some; it has the others.
            ConnectionLost: It has not acknowledged all of them in time.
            ConfigError: It refuses the token, or speaks another version.
        """
        items = _packed(signals, timestamp, meta)
        end = time.monotonic() + self.patience
        taken, refused = 0, []
        for together in _messages(items):
            answer = self._deliver(together, end)
            taken += answer.taken
            refused += answer.refused
        if refused:
            raise DataError(
                f"The server took {taken} and refused {len(refused)}: {'; '.join(refused[:3])}"
            )
        return taken

    def close(self) -> None:
        """End the connection; twice is no mistake."""
        self._socket = None
        self._opened.close()

    # -- inside -----------------------------------------------------------------------------------

    def _deliver(self, items: list[msgspec.Raw], end: float) -> Published:
        """Send a message until it is acknowledged, over a new connection if need be."""
        from websockets.exceptions import InvalidStatus, WebSocketException

        message = Publish(items, next(self._numbers))
        trouble = "no answer"
        while (left := end - time.monotonic()) > 0.0:
            try:
                socket = self._connected(left)
                socket.send(write(message, is_binary=False))
                return self._await(socket, Published, end, message.request)
            except InvalidStatus as error:
                if error.response.status_code in _FORBIDDEN:
                    raise ConfigError(f"{self!r}: the server refused the token.") from None
                trouble = str(error)
            except (WebSocketException, OSError, ConnectionLost) as error:
                trouble = self._token.hide(str(error)) or type(error).__name__
            except BaseException:
                self.close()
                raise
            self.close()
            time.sleep(max(0.0, min(_PAUSE, end - time.monotonic())))
        raise ConnectionLost(
            f"{self!r}: not acknowledged within {self.patience:g} s; last: {trouble}"
        )

    def _connected(self, seconds: float) -> ClientConnection:
        from websockets.sync.client import connect

        if self._socket is not None:
            return self._socket
        socket = self._opened.enter_context(
            connect(
                self.url,
                additional_headers=self._token.headers,
                open_timeout=seconds,
                close_timeout=_CLOSE_SECONDS,
                max_size=MOST_BYTES_SERVED,
                logger=_SOCKET_LOG,
            )
        )
        end = time.monotonic() + seconds
        socket.send(write(Hello(VERSION, client=f"ml4t-backtest {__version__}"), is_binary=False))
        welcome = self._await(socket, Welcome, end)
        if welcome.version != VERSION:
            raise ConfigError(
                f"{self!r}: the server speaks version {welcome.version} of the schema, this "
                f"publisher {VERSION}."
            )
        self._socket = socket
        return socket

    def _await(
        self, socket: ClientConnection, kind: type[T], end: float, request: int | None = None
    ) -> T:
        """The next message of a kind, and with a number; others are passed over."""
        while (left := end - time.monotonic()) > 0.0:
            with suppress(TimeoutError):
                message = self._read(socket.recv(timeout=left))
                if isinstance(message, kind) and request in (None, getattr(message, "request", 0)):
                    return message
        raise ConnectionLost(f"the server sent no {kind.__name__.lower()}")

    def _read(self, frame: str | bytes) -> Any:
        """A message; one that cannot be read is None."""
        try:
            message = self._codec.read(frame)
        except DataError:
            return None
        if isinstance(message, ErrorMessage):
            words = self._token.hide(f"{message.code}: {message.message}")
            if message.is_final:
                raise ConfigError(f"{self!r}: the server refused: {words}")
            raise ConnectionLost(words)
        return message


def _packed(
    signals: Mapping[str, Mapping[str, Any]],
    timestamp: dt.datetime | None,
    meta: Mapping[str, Any] | None,
) -> list[msgspec.Raw]:
    """Predictions as they are sent, each for itself.

    Raises:
        DataError: They are none; says which.
    """
    is_moment = isinstance(timestamp, dt.datetime) and timestamp.tzinfo is not None
    if timestamp is not None and not is_moment:
        raise DataError(
            f"timestamp={timestamp!r} has no zone: give the end of the bar as a datetime with one, "
            f"such as UTC."
        )
    if not isinstance(signals, Mapping):
        raise DataError(
            f"The signals are a {type(signals).__name__}: give values by name, by asset, such as "
            f"{{'AAPL': {{'ml_pred': 0.7}}}}."
        )
    about = None if meta is None else dict(meta)
    packed = []
    for asset_id, values in signals.items():
        if not isinstance(values, Mapping):
            raise DataError(
                f"The signals of {asset_id!r} are a {type(values).__name__}: give a dict of values "
                f"by name."
            )
        plain = {name: _plain(value) for name, value in values.items()}
        try:
            packed += pack([SignalItem(asset_id, plain, timestamp, meta=about)], is_binary=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"The signals of {asset_id!r} cannot be sent: {error}.") from None
        if memoryview(packed[-1]).nbytes > MOST_BYTES - _ENVELOPE:
            raise DataError(
                f"The signals of {asset_id!r} and their meta make more than the {MOST_BYTES:,} "
                f"bytes that a message may have: send less of them."
            )
    return packed


def _plain(value: Any) -> Any:
    """A value without NumPy; what is no number is absent."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and plain != plain else plain  # noqa: PLR0124  NaN


def _messages(items: list[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    """Items in groups that a server takes as messages."""
    together: list[msgspec.Raw] = []
    size = 0
    for item in items:
        more = memoryview(item).nbytes + 1
        if together and (len(together) == _TOGETHER or size + more > MOST_BYTES - _ENVELOPE):
            yield together
            together, size = [], 0
        together.append(item)
        size += more
    if together:
        yield together


def _require() -> None:
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"SignalPublisher needs the extra 'websocket' ({error}). Run: {_INSTALL}"
        ) from error
