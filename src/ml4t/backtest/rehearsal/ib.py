"""A venue that speaks TWS's socket protocol: started and stopped in a bounded time, in a thread.

Everything that touches the venue happens in the server's own event loop, one thing at a time.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.ib_line import TwsLine
from ml4t.backtest.rehearsal.ib_office import TwsOffice
from ml4t.backtest.rehearsal.ib_orders import ACCOUNT
from ml4t.backtest.rehearsal.ib_words import SERVER_VERSION, read_frame, stamp
from ml4t.backtest.rehearsal.server import checked_speed, listen
from ml4t.backtest.rehearsal.venue import Venue

if TYPE_CHECKING:
    import datetime as dt
    import socket
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from ml4t.backtest.rehearsal.faults import Fault
    from ml4t.backtest.rehearsal.ib_words import Listing
    from ml4t.backtest.types.bars import Bars

T = TypeVar("T")

_PATIENCE = 10.0  # seconds for a start or a stop
_TICK = 0.02  # seconds between two looks at the time
_START_API = "71"
_OLDEST_CLIENT = 157


class TwsRehearsal:
    """TWS in front of a venue, on 127.0.0.1 alone; ib_async connects to it as it is.

    Args:
        source: A `Venue`, or bars to make one of.
        speed: How much faster than in the market time goes; None waits for `step`.
        port: A free one when 0.
        listings: What the assets are by the broker's words; shares in dollars when left out.
        account: Its name; those of play money begin with a D.
        longest_pause: Seconds that nights and gaps take at most, however long they are.

    Attributes:
        venue: The exchange. While the server runs, change it through `run` alone.
        port: Where it listens.
        office: Its clients, orders and answers.

    Raises:
        ConfigError: An option is out of range.

    Example:
        with TwsRehearsal(bars) as tws:
            ib.connect("127.0.0.1", tws.port, clientId=1)
            ib.placeOrder(contract, order)
            tws.step()
    """

    def __init__(
        self,
        source: Any,
        *,
        speed: float | None = None,
        port: int = 0,
        listings: Iterable[Listing] = (),
        account: str = ACCOUNT,
        longest_pause: float = 1.0,
    ) -> None:
        self.venue = source if isinstance(source, Venue) else Venue(source)
        self.speed = checked_speed(speed)
        self.port = port
        self.longest_pause = longest_pause
        self.office = TwsOffice(self.venue, listings, account=account)
        self.venue.on_bars.append(self._on_bars)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stopping = self._leaving = asyncio.Event()
        self._away: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
        self._ready.clear()
        self._failure, self._away = None, None
        self._stopping, self._leaving = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(
            target=self._main, args=(listener,), name="rehearsal-tws", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_PATIENCE) or self._failure is not None:
            failure, self._failure = self._failure, None
            self.stop()
            raise BacktestError(f"The rehearsal server did not start: {failure!r}.") from failure

    def stop(self) -> None:
        """Stop listening, and break off every client.

        Raises:
            BacktestError: It did not stop in time, or had failed on the way.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._end)
        thread.join(_PATIENCE)
        if thread.is_alive():
            raise BacktestError(f"The rehearsal server did not stop in {_PATIENCE:g} seconds.")
        if self._failure is not None:
            raise BacktestError(f"The rehearsal failed: {self._failure}.") from self._failure

    def wait(self, seconds: float) -> bool:
        """Wait until the server has ended.

        Returns:
            Whether it has.
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

        loop = self._loop
        if loop is None or self._thread is None:
            raise BacktestError("The rehearsal server does not run.")
        return asyncio.run_coroutine_threadsafe(call(), loop).result(_PATIENCE * 6)

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
        self._ready.clear()
        self.run(lambda: self._leave(seconds))
        if not self._ready.wait(_PATIENCE + seconds) or self._failure is not None:
            raise BacktestError(f"The rehearsal server did not come back: {self._failure!r}.")

    @property
    def is_up(self) -> bool:
        """Whether it listens."""
        return self._ready.is_set() and self._away is None and self._loop is not None

    # -- in the server's thread ---------------------------------------------------------------

    def _leave(self, seconds: float) -> None:
        self._away = seconds
        self._leaving.set()

    def _end(self) -> None:
        self._stopping.set()
        self._leaving.set()

    def _main(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except Exception as error:  # noqa: BLE001  it is raised where the server was started
            self._failure = error
        finally:
            self._loop = None
            self._ready.set()

    async def _serve(self, listener: socket.socket | None) -> None:
        self._loop = asyncio.get_running_loop()
        pace = asyncio.create_task(self._pace())
        try:
            while not self._stopping.is_set():
                await self._serve_once(listener or listen(self.port))
                listener = None
                if self._away is not None and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), self._away)
                    self._away = None
        finally:
            pace.cancel()

    async def _serve_once(self, listener: socket.socket) -> None:
        """Listen until it is time to leave; then break everybody off."""
        self._leaving.clear()
        if self._stopping.is_set():
            listener.close()
            return
        server = await asyncio.start_server(self._take, sock=listener)
        self._ready.set()
        await self._leaving.wait()
        server.close()
        self.office.lines.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its coming to its going."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = TwsLine(writer)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, ValueError, IndexError):
                await self._talk(reader, line)
        except asyncio.CancelledError:
            line.drop()
        finally:
            self._tasks.discard(task)
            self.office.lines.remove(line)
            line.close()

    async def _talk(self, reader: asyncio.StreamReader, line: TwsLine) -> None:
        if await reader.readexactly(4) != b"API\0":
            return
        versions = await _first_frame(reader)
        newest = int(versions.removeprefix("v").split("..")[-1].split()[0])
        if newest < _OLDEST_CLIENT:
            return
        line.say_version(min(SERVER_VERSION, newest), stamp(self.venue.now))
        while True:
            fields = await read_frame(reader)
            if line.client_id >= 0:
                try:
                    self.office.answer(line, fields)
                except Exception as error:  # a fault of ours: tell whoever runs the server
                    self._failure = error
                    self._end()
                    raise
            elif fields[0] != _START_API or not self.office.welcome(line, int(fields[2])):
                return

    async def _pace(self) -> None:
        """Let time go by, unless the server is away or time waits for steps."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            seconds, before = now - before, now
            if self.speed is None or self._away is not None:
                continue
            try:
                self.venue.play(seconds, self.speed, self.longest_pause)
            except Exception as error:  # noqa: BLE001  it is raised where the server is stopped
                self._failure = error
                self._end()
                return

    def _on_bars(self, _bars: Bars) -> None:
        fault = self.venue.faults.take("restart")
        if fault is not None and self._loop is not None:
            self._leave(fault.options["seconds"])


async def _first_frame(reader: asyncio.StreamReader) -> str:
    """The versions that a client speaks: a frame without a closing zero."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    return (await reader.readexactly(min(length, 64))).decode()
