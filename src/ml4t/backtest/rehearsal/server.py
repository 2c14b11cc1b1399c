"""A venue behind loopback addresses: started and stopped in a bounded time, in a thread.

Everything that touches the venue happens in the server's own event loop, one thing at a time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.venue import Venue

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from starlette.applications import Starlette

    from ml4t.backtest.rehearsal.faults import Fault
    from ml4t.backtest.types.bars import Bars

T = TypeVar("T")

HOST = "127.0.0.1"
_PATIENCE = 10.0  # seconds for a start or a stop
_GRACE = 1  # seconds for calls that are under way at a stop
_TICK = 0.02  # seconds between two looks at the time
_INSTALL = "pip install 'ml4t-backtest[rehearse]'"


class RehearsalServer:
    """Alpaca's REST and stream dialects in front of a venue, on 127.0.0.1 alone.

    Args:
        source: A `Venue`, or bars to make one of.
        speed: How much faster than in the market time goes; None waits for `step`.
        port: A free one when 0.
        key: What clients must send as their key; with `secret`. Any when left out.
        secret: What they must send as their secret.
        longest_pause: Seconds that nights and gaps take at most, however long they are.

    Attributes:
        venue: The exchange. While the server runs, change it through `run` alone.
        port: Where it listens.
        url: What REST clients take as `url_override`.
        stream_url: The same for `TradingStream`.
        calls: REST calls so far.

    Raises:
        ConfigError: What the server needs is not installed, or an option is out of range.

    Example:
        with RehearsalServer(bars) as server:
            client = TradingClient("key", "secret", url_override=server.url)
            client.submit_order(...)
            server.step()
    """

    def __init__(
        self,
        source: Any,
        *,
        speed: float | None = None,
        port: int = 0,
        key: str | None = None,
        secret: str | None = None,
        longest_pause: float = 1.0,
    ) -> None:
        _require()
        if (key is None) != (secret is None):
            raise ConfigError("key= and secret= belong together: give both, or neither.")
        self.venue = source if isinstance(source, Venue) else Venue(source)
        self.speed = checked_speed(speed)
        self.port = port
        self.longest_pause = longest_pause
        self._keys = None if key is None or secret is None else (key, secret)
        self._app = self._application()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._server: Any = None
        self._restart_after: float | None = None

    # -- addresses ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base of the REST calls."""
        return f"http://{HOST}:{self.port}"

    @property
    def stream_url(self) -> str:
        """The stream of trade updates."""
        return f"ws://{HOST}:{self.port}/stream"

    def data_stream_url(self, feed: str = "iex") -> str:
        """A stream of market data.

        Args:
            feed: "iex" or "sip" for shares, "crypto" for crypto pairs.
        """
        place = "v1beta3/crypto/us" if feed == "crypto" else f"v2/{feed}"
        return f"ws://{HOST}:{self.port}/{place}"

    # -- from other threads -------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, in a thread of its own.

        Raises:
            BacktestError: The port is taken, or the server did not come up in time.
        """
        if self._thread is not None:
            raise ConfigError("This server runs already.")
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self._started.clear()
        self._stopping, self._failure, self._restart_after = asyncio.Event(), None, None
        self._server = None
        self._thread = threading.Thread(
            target=self._main, args=(listener,), name="rehearsal", daemon=True
        )
        self._thread.start()
        if not self._started.wait(_PATIENCE) or self._server is None:
            failure, self._failure = self._failure, None
            self.stop()
            raise BacktestError(f"The rehearsal server did not start: {failure!r}.") from failure

    def stop(self) -> None:
        """Stop listening; calls under way are given a second.

        Raises:
            BacktestError: It did not stop in time, or had failed on the way.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.request_stop()
        thread.join(_PATIENCE)
        if thread.is_alive():
            raise BacktestError(f"The rehearsal server did not stop in {_PATIENCE:g} seconds.")
        if self._failure is not None:
            raise BacktestError(f"The rehearsal failed: {self._failure}.") from self._failure

    def wait(self, seconds: float) -> bool:
        """Wait until somebody has stopped the server.

        Returns:
            Whether it has been stopped.
        """
        thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def run(self, function: Callable[[], T]) -> T:
        """Call a function in the server's thread, between two calls of clients.

        Raises:
            BacktestError: The server does not run.
        """

        async def call() -> T:
            return function()

        return self._ask(call())

    def step(self, count: int = 1) -> int:
        """Play the next timestamps; what they bring is on its way to clients then.

        Returns:
            How many there were.
        """
        return self.run(lambda: self.venue.step(count))

    def step_to(self, time: dt.datetime) -> int:
        """Play everything up to a time, included.

        Returns:
            How many timestamps that were.
        """
        return self.run(lambda: self.venue.step_to(time))

    def add_fault(self, fault: str) -> Fault:
        """One more fault, from now on."""
        return self.run(lambda: self.venue.faults.add(fault))

    def restart(self, seconds: float = 0.5) -> None:
        """Go away, and come back on the same port with everything as it was."""
        self._started.clear()
        self.run(lambda: self.request_restart(seconds))
        if not self._started.wait(_PATIENCE + seconds) or self._failure is not None:
            raise BacktestError(f"The rehearsal server did not come back: {self._failure!r}.")

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None or self._thread is None:
            work.close()
            raise BacktestError("The rehearsal server does not run.")
        return asyncio.run_coroutine_threadsafe(work, loop).result(_PATIENCE * 6)

    # -- in the server's thread ---------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it listens: not before a start, and not in the midst of a restart."""
        server = self._server
        is_going = self._restart_after is not None or self._stopping.is_set()
        return server is not None and server.started and not is_going

    @property
    def sockets(self) -> dict[str, int]:
        """Clients of each stream."""
        return {
            "trades": len(self._trades.lines),
            "data": len(self._shares.lines) + len(self._crypto.lines),
        }

    @property
    def calls(self) -> int:
        """REST calls so far."""
        return self._counter.calls

    def set_speed(self, speed: float | None) -> None:
        """From now on time goes that fast; None waits for steps."""
        self.speed = checked_speed(speed)

    def request_restart(self, seconds: float) -> None:
        """Restart once the call under way is answered."""
        self._restart_after = seconds
        for line in (*self._trades.lines, *self._shares.lines, *self._crypto.lines):
            line.drop()
        self._server.should_exit = True

    def request_stop(self) -> None:
        """Stop once the call under way is answered; from any thread."""
        loop = self._loop
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True

    def _application(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute

        from ml4t.backtest.rehearsal.alpaca import TradingApi
        from ml4t.backtest.rehearsal.alpaca_data import DataApi
        from ml4t.backtest.rehearsal.control import Control
        from ml4t.backtest.rehearsal.replies import Counter, no_such_call
        from ml4t.backtest.rehearsal.streams import DataStream, TradeStream

        venue, keys = self.venue, self._keys
        self._counter = Counter(venue, keys, lambda: self._stopping)
        self._trades = TradeStream(venue, keys)
        self._shares = DataStream(venue, keys, is_crypto=False)
        self._crypto = DataStream(venue, keys, is_crypto=True)
        venue.on_bars.append(self._on_bars)
        return Starlette(
            routes=[
                *TradingApi(venue, self._counter).routes(),
                *DataApi(venue, self._counter).routes(),
                *Control(self).routes(),
                WebSocketRoute("/stream", self._trades.serve),
                WebSocketRoute("/v2/{feed}", self._shares.serve),
                WebSocketRoute("/v1beta3/crypto/{place}", self._crypto.serve),
            ],
            exception_handlers={404: no_such_call, 405: no_such_call},
        )

    def _main(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except Exception as error:  # noqa: BLE001  it is raised where the server was started
            self._failure = error
        finally:
            self._loop = None
            self._started.set()

    async def _serve(self, listener: socket.socket | None) -> None:
        self._loop = asyncio.get_running_loop()
        pace = asyncio.create_task(self._pace())
        try:
            while not self._stopping.is_set():
                await self._serve_once(listener or listen(self.port))
                listener = None
                if self._restart_after is not None and not self._stopping.is_set():
                    await asyncio.sleep(self._restart_after)
                    self._restart_after = None
        finally:
            pace.cancel()

    async def _serve_once(self, listener: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(_TICK / 10)
        self._started.set()
        await serving
        listener.close()

    async def _pace(self) -> None:
        """Let time go by, unless the server is away or time waits for steps."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            seconds, before = now - before, now
            if self.speed is None or self._restart_after is not None:
                continue
            try:
                self.venue.play(seconds, self.speed, self.longest_pause)
            except Exception as error:  # noqa: BLE001  it is raised where the server is stopped
                self._failure = error
                self._end()
                return

    def _on_bars(self, _bars: Bars) -> None:
        fault = self.venue.faults.take("restart")
        if fault is not None and self._server is not None:
            self.request_restart(fault.options["seconds"])


def listen(port: int) -> socket.socket:
    """A socket on the loopback.

    Raises:
        BacktestError: The port is taken.
    """
    # Named as TCP, or asyncio would not take the wait for larger packets from its connections.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise BacktestError(f"Port {port} of {HOST} cannot be used: {error}.") from error
    return listener


def checked_speed(speed: Any) -> float | None:
    """A speed that time can have.

    Raises:
        ConfigError: It cannot.
    """
    if speed is None:
        return None
    is_number = isinstance(speed, int | float) and not isinstance(speed, bool)
    if not is_number or not 0.0 < speed < float("inf"):
        raise ConfigError(
            f"speed must be a positive number, 1 for the market's own, or None; not {speed!r}."
        )
    return float(speed)


def _require() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"A rehearsal server needs the extra 'rehearse' ({error}). Run: {_INSTALL}"
        ) from error
