"""A server of the WebSocket schema: recorded bars at any speed, and predictions from anywhere."""

from __future__ import annotations

import asyncio
import http
import logging
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ml4t.backtest._version import __version__
from ml4t.backtest.broadcast.hub import Hub
from ml4t.backtest.broadcast.playback import Playback
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.websocket.access import read_token
from ml4t.backtest.live.websocket.words import MOST_BYTES, VERSION, End, Welcome
from ml4t.backtest.rehearsal.loop import HOST, TICK, LoopServer
from ml4t.backtest.rehearsal.tape import moment

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.broadcast.playback import Step

_LOOPBACK = (HOST, "localhost", "::1")
_LEAP = 6 * 3_600 * 1_000_000  # microseconds that time may go on without a word
_TOGETHER = 1_000  # bars in a message
_CROWD = 5_000  # messages that wait for a client: time stands still
# At its finest level this logger writes the headers of handshakes, and with them tokens.
_LOG = logging.getLogger(f"{__name__}.socket")
_LOG.setLevel(logging.INFO)
_INSTALL = "pip install 'ml4t-backtest[websocket]'"


class BroadcastServer(LoopServer):
    """Streams a recording, and relays predictions from those who publish to those who subscribe.

    Time stands until somebody has subscribed. Without a token it listens on the loopback alone,
    and refuses browsers whose page is from elsewhere.

    Args:
        data: Bars: anything that the engine takes as `data=`, or a list of feeds.
        speed: How much faster than in the market time goes; None waits for `step`.
        port: A free one when 0.
        host: Where it listens.
        token: What clients must send.
        token_file: A file with the token alone.
        heartbeat_seconds: Between two signs of life.
        longest_pause: Seconds that nights and gaps take at most, however long they are.
        wait_for: How many must have subscribed before time begins.
        options: Of the `Clock` that joins bars and predictions: `signals`, `signal_columns`, ...

    Attributes:
        playback: The recording. While the server runs, change it through `run` alone.
        hub: Who has subscribed to what; likewise.

    Raises:
        ConfigError: An option is out of range, or the library websockets is missing.
        DataError: The data is refused.

    Example:
        with BroadcastServer(bars, speed=60) as server:
            feed = WebSocketFeed(server.url, symbols=["AAPL"])
    """

    thread_name = "broadcast"

    def __init__(
        self,
        data: Any,
        *,
        speed: float | None = None,
        port: int = 0,
        host: str = HOST,
        token: str | None = None,
        token_file: str | Path | None = None,
        heartbeat_seconds: float = 2.0,
        longest_pause: float = 1.0,
        wait_for: int = 1,
        **options: Any,
    ) -> None:
        _require()
        super().__init__()
        self.token = read_token(token, file=token_file)
        if host not in _LOOPBACK and not self.token:
            raise ConfigError(f"host={host!r} is open to others: set a token, too.")
        if speed is not None and not 0.0 < speed < float("inf"):
            raise ConfigError(f"speed={speed!r}: give a positive number, or None for steps.")
        if not 0.0 < heartbeat_seconds < float("inf"):
            raise ConfigError(f"heartbeat_seconds={heartbeat_seconds!r}: give seconds above 0.")
        self.playback = Playback(data, **options)
        self.speed = speed
        self.host = host
        self.port = port
        self.heartbeat_seconds = heartbeat_seconds
        self.longest_pause = longest_pause
        self.wait_for = wait_for
        # Numbers begin anew with every server: whoever heard an earlier one shall not go on here.
        session = f"{os.getpid():x}-{time.perf_counter_ns():x}"
        self.hub = Hub(session, self.playback.symbols)
        self._told = self.playback.now
        self._has_begun = False
        self._is_ended = False

    # -- from other threads -----------------------------------------------------------------------

    @property
    def url(self) -> str:
        """What clients connect to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"

    def step(self, count: int = 1) -> int:
        """Play the next timestamps, whoever listens.

        Returns:
            How many there were.
        """

        def play() -> int:
            played = 0
            while played < count and not self.playback.is_over:
                self._send(self.playback.next())
                played += 1
            self._beat()
            return played

        return self.run(play)

    def drop(self) -> None:
        """Cut every connection, as a broken line does."""

        def cut() -> None:
            for socket in self._server.connections:
                socket.transport.abort()

        self.run(cut)

    # -- in the server's thread -------------------------------------------------------------------

    @property
    def pace(self) -> float:
        """How fast time goes now."""
        return self.speed if self.speed is not None and self._has_begun else 0.0

    @property
    def is_over(self) -> bool:
        """Whether all has been played."""
        return self.playback.is_over

    def welcome(self) -> Welcome:
        """What a client is told first."""
        return Welcome(
            VERSION,
            self.hub.session,
            self.playback.tape.duration / 1e6,
            self.heartbeat_seconds,
            moment(self.playback.now),
            self.pace,
            MOST_BYTES,
            f"ml4t-backtest {__version__}",
            self.playback.offset / 1e6,
        )

    def subscribed(self) -> None:
        """Somebody has subscribed: time may begin."""
        listeners = [line for line in self.hub.lines if "bars" in line.streams]
        if not self._has_begun and len(listeners) >= self.wait_for:
            self._has_begun = True
            self._beat()
        if self._is_ended:
            self._tell_end()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        from ml4t.backtest.broadcast.relay import Relay

        async def talk(socket: Any) -> None:
            await Relay(self, socket, is_known=self._is_known(socket.request)).serve()

        async with serve(
            talk,
            self.host,
            self.port,
            process_request=self._check,
            max_size=MOST_BYTES,
            ping_interval=20,
            ping_timeout=120,
            close_timeout=1,
            logger=_LOG,
        ) as server:
            self._server = server
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._started.set()
            tasks = [asyncio.create_task(work()) for work in (self._play, self._beat_on)]
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                done, _ = await asyncio.wait(
                    [stopping, *tasks], return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
            finally:
                for task in (stopping, *tasks):
                    task.cancel()

    def _check(self, socket: Any, request: Any) -> Any:
        """Refuse wrong tokens, and browsers that show a page from elsewhere."""
        if self.token and "Authorization" in request.headers and not self._is_known(request):
            return socket.respond(http.HTTPStatus.UNAUTHORIZED, "The token is wrong.\n")
        origin = request.headers.get("Origin")
        if origin is not None and not self.token and urlsplit(origin).hostname not in _LOOPBACK:
            return socket.respond(
                http.HTTPStatus.FORBIDDEN, "Pages from elsewhere need a token: start with one.\n"
            )
        return None

    def _is_known(self, request: Any) -> bool:
        from ml4t.backtest.broadcast.relay import is_same

        given = request.headers.get("Authorization", "")
        return is_same(self.token.text, given.removeprefix("Bearer "))

    async def _play(self) -> None:
        """Let time go by."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            seconds, before = now - before, now
            if self.speed is None or not self._has_begun or self._is_crowded():
                continue
            behind = self.playback.now
            for step in self.playback.play(seconds, self.speed, self.longest_pause):
                self._send(step)
                if self._is_crowded():
                    break
            if self.playback.now - behind > 2e6 * self.speed * seconds:
                self._beat()  # a night went by

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_seconds)
            self._beat()

    def _beat(self) -> None:
        self._told = self.playback.now
        self.hub.beat(moment(self._told), self.pace)

    def _is_crowded(self) -> bool:
        """Time waits for those who read slowly, as long as they read."""
        return max(map(len, self.hub.lines), default=0) > _CROWD

    def _send(self, step: Step) -> None:
        known = moment(step.time)
        if step.time - self._told > _LEAP:  # or bars would seem to come from the future
            self._told = step.time
            self.hub.beat(known, self.pace, is_news=True)
        for kind, items in (("signals", step.signals), ("bars", step.bars)):
            for i in range(0, len(items), _TOGETHER):
                self.hub.publish(kind, items[i : i + _TOGETHER], known)
        if self.playback.is_over and not self._is_ended:
            self._is_ended = True
            self._tell_end()

    def _tell_end(self) -> None:
        """Tell those who have heard the last bar that it was the last."""
        for line in self.hub.lines:
            if line.symbols is not None:
                line.put(End("the recording is over"))


def _require() -> None:
    try:
        import websockets.asyncio.server  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"A streaming server needs the extra 'websocket' ({error}). Run: {_INSTALL}"
        ) from error
