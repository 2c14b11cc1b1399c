"""A venue that speaks TWS's socket protocol, on the loopback."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ml4t.backtest.rehearsal.faults import TWS
from ml4t.backtest.rehearsal.ib_line import TwsLine
from ml4t.backtest.rehearsal.ib_office import TwsOffice
from ml4t.backtest.rehearsal.ib_orders import ACCOUNT
from ml4t.backtest.rehearsal.ib_words import SERVER_VERSION, read_frame, stamp
from ml4t.backtest.rehearsal.stage import Stage

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from ml4t.backtest.rehearsal.ib_words import Listing

_START_API = "71"
_OLDEST_CLIENT = 157


class TwsRehearsal(Stage):
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

    thread_name = "rehearsal-tws"
    protocol = TWS

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
        super().__init__(source, speed=speed, port=port, longest_pause=longest_pause)
        self.office = TwsOffice(self.venue, listings, account=account)
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def _leave(self, *, for_good: bool) -> None:
        del for_good  # clients are broken off when it has left
        self._leaving.set()

    def _prepare(self) -> None:
        super()._prepare()
        self._leaving = asyncio.Event()

    async def _serve_once(self, listener: socket.socket) -> None:
        """Listen until it is time to leave; then break everybody off."""
        self._leaving.clear()
        if self._stopping.is_set():
            listener.close()
            return
        server = await asyncio.start_server(self._take, sock=listener)
        self._started.set()
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


async def _first_frame(reader: asyncio.StreamReader) -> str:
    """The versions that a client speaks: a frame without a closing zero."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    return (await reader.readexactly(min(length, 64))).decode()
