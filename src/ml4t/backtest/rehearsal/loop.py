"""A server with an event loop in a thread of its own, started and stopped in a bounded time."""

from __future__ import annotations

import asyncio
import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ml4t.backtest.errors import BacktestError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

T = TypeVar("T")

HOST = "127.0.0.1"
TICK = 0.02  # seconds between two looks at the time
_PATIENCE = 10.0  # seconds for a start or a stop
_LONGEST = 60.0  # seconds for a call


class LoopServer(ABC):
    """Runs in a thread what a server writes as `_serve`, and reaches into it from others.

    Everything that a server owns is changed in its own loop, one thing at a time.

    Attributes:
        called: What error texts call it.
        thread_name: Of its thread.
    """

    called = "The server"
    thread_name = "server"

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._never_started = False
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None

    @abstractmethod
    async def _serve(self) -> None:
        """Serve until `_stopping` is set; `_started` is to be set once clients may come."""

    def _prepare(self) -> None:  # noqa: B027  most need nothing
        """Before the thread starts: whatever may fail without it."""

    def _end(self) -> None:
        """On the loop: it is to stop."""
        self._stopping.set()

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
        self._started.clear()
        self._stopping, self._failure, self._never_started = asyncio.Event(), None, False
        self._prepare()
        self._thread = threading.Thread(target=self._main, name=self.thread_name, daemon=True)
        self._thread.start()
        # One that came up and failed at once has started: its end is told by `stop`.
        if not self._started.wait(_PATIENCE) or self._never_started:
            failure, self._failure = self._failure, None
            self.stop()
            raise BacktestError(f"{self.called} did not start: {failure}.") from failure

    def stop(self) -> None:
        """Stop listening, and let everybody go.

        Raises:
            BacktestError: It did not stop in time, or had failed on the way.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.request_stop()
        thread.join(_PATIENCE)
        if thread.is_alive():
            raise BacktestError(f"{self.called} did not stop in {_PATIENCE:g} seconds.")
        if self._failure is not None:
            raise BacktestError(f"{self.called} failed: {self._failure}.") from self._failure

    def request_stop(self) -> None:
        """Ask for the end, without waiting for it; from any thread."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._end)

    def wait(self, seconds: float) -> bool:
        """Wait until somebody has stopped the server.

        Returns:
            Whether it has been stopped.
        """
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def run(self, function: Callable[[], T]) -> T:
        """Call a function in the server's thread, between two messages of clients.

        Raises:
            BacktestError: The server does not run.
        """

        async def call() -> T:
            return function()

        return self._ask(call())

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None or self._thread is None:
            work.close()
            raise BacktestError(f"{self.called} does not run.")
        return asyncio.run_coroutine_threadsafe(work, loop).result(_LONGEST)

    # -- in the server's thread ---------------------------------------------------------------

    def _main(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001  it is raised where the server was started
            self._failure = error
        finally:
            self._loop = None
            self._never_started = not self._started.is_set()
            self._started.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._serve()


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
