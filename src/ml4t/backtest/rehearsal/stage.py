"""A venue in front of which clients play: its time, its faults, and its going away."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.loop import TICK, LoopServer, listen
from ml4t.backtest.rehearsal.venue import Venue

if TYPE_CHECKING:
    import datetime as dt
    import socket

    from ml4t.backtest.rehearsal.faults import Fault
    from ml4t.backtest.types.bars import Bars

_PATIENCE = 10.0  # seconds for a return


class Stage(LoopServer):
    """A server of one protocol or another in front of a venue, on 127.0.0.1 alone.

    Args:
        source: A `Venue`, or bars to make one of.
        speed: How much faster than in the market time goes; None waits for `step`.
        port: A free one when 0.
        longest_pause: Seconds that nights and gaps take at most, however long they are.

    Attributes:
        venue: The exchange. While the server runs, change it through `run` alone.
        port: Where it listens.

    Raises:
        ConfigError: An option is out of range, or a fault is of another protocol.
    """

    called = "The rehearsal server"
    protocol: str

    def __init__(
        self, source: Any, *, speed: float | None, port: int, longest_pause: float
    ) -> None:
        super().__init__()
        self.venue = source if isinstance(source, Venue) else Venue(source)
        self.venue.faults.speak(self.protocol)
        self.speed = checked_speed(speed)
        self.port = port
        self.longest_pause = longest_pause
        self._listener: socket.socket | None = None
        self._away: float | None = None  # for how many seconds it has gone, or is about to go

    @abstractmethod
    async def _serve_once(self, listener: socket.socket) -> None:
        """Let clients in, until it is time to leave."""

    @abstractmethod
    def _leave(self, *, for_good: bool) -> None:
        """On the loop: let `_serve_once` end; who comes back breaks every client off."""

    # -- from other threads -------------------------------------------------------------------

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
        self.run(lambda: self.request_restart(seconds))
        if not self._started.wait(_PATIENCE + seconds) or self._never_started:
            raise BacktestError(f"{self.called} did not come back: {self._failure!r}.")

    # -- in the server's thread ---------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it listens: not before a start, and not in the midst of a restart."""
        is_going = self._away is not None or self._stopping.is_set()
        return self._started.is_set() and self._loop is not None and not is_going

    def set_speed(self, speed: float | None) -> None:
        """From now on time goes that fast; None waits for steps."""
        self.speed = checked_speed(speed)

    def request_restart(self, seconds: float) -> None:
        """Restart once the call under way is answered."""
        self._away = seconds
        self._started.clear()
        self._leave(for_good=False)

    def _end(self) -> None:
        super()._end()
        self._leave(for_good=True)

    def _prepare(self) -> None:
        self._away = None
        self._listener = listen(self.port)
        self.port = self._listener.getsockname()[1]

    async def _serve(self) -> None:
        self.venue.on_bars.append(self._on_bars)
        pace = asyncio.create_task(self._pace())
        try:
            while not self._stopping.is_set():
                listener, self._listener = self._listener or listen(self.port), None
                await self._serve_once(listener)
                if self._away is not None and not self._stopping.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), self._away)
                    self._away = None
        finally:
            pace.cancel()
            self.venue.on_bars.remove(self._on_bars)

    async def _pace(self) -> None:
        """Let time go by, unless clients cannot come or time waits for steps."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(TICK)
            now = loop.time()
            seconds, before = now - before, now
            if self.speed is None or not self.is_up:
                continue
            try:
                self.venue.play(seconds, self.speed, self.longest_pause)
            except Exception as error:  # noqa: BLE001  it is raised where the server is stopped
                self._failure = error
                self._end()
                return

    def _on_bars(self, _bars: Bars) -> None:
        fault = self.venue.faults.take("restart")
        if fault is not None:
            self.request_restart(fault.options["seconds"])


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
