"""ib_async, unmodified, in front of a rehearsal of TWS."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, Self

from ib_async import IB, Order, Stock

from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market

PATIENCE = 10.0


class Desk:
    """A rehearsal, and clients of it on one loop; ends with its test."""

    def __init__(self, data: Any = None, *, listings: Any = (), **options: Any) -> None:
        self.tws = TwsRehearsal(
            Venue(market() if data is None else data, **options), listings=listings
        )
        self.loop = asyncio.new_event_loop()
        self.clients: list[IB] = []

    def __enter__(self) -> Self:
        self.tws.start()
        return self

    def __exit__(self, *_: object) -> None:
        for ib in self.clients:
            self.do(ib.disconnect)
        self.do(lambda: asyncio.sleep(0.02))
        self.loop.close()
        self.tws.stop()

    def do(self, function: Callable[[], Any]) -> Any:
        """Call something of the client on its loop, and wait for what it promises."""

        async def call() -> Any:
            found = function()
            return await found if inspect.isawaitable(found) else found

        return self.loop.run_until_complete(call())

    def client(self, client_id: int = 1, *, timeout: float = 4.0) -> IB:
        """A client that is connected, with all that happened to it."""
        ib = IB()
        self.clients.append(ib)
        ib.errors = []  # type: ignore[attr-defined]
        ib.errorEvent += lambda *words: ib.errors.append(words[:2])  # type: ignore[attr-defined]
        self.connect(ib, client_id, timeout=timeout)
        return ib

    def connect(self, ib: IB, client_id: int = 1, *, timeout: float = 4.0) -> None:
        """(Re)connect a client."""
        self.do(lambda: ib.connectAsync("127.0.0.1", self.tws.port, client_id, timeout=timeout))

    def place(self, ib: IB, order: Order, symbol: str = "AAPL") -> Any:
        """Place an order, good till canceled unless it says otherwise."""
        order.tif = order.tif or "GTC"
        return self.do(lambda: ib.placeOrder(Stock(symbol, "SMART", "USD"), order))

    def until(self, condition: Callable[[], Any], what: str = "it") -> None:
        """Let the clients listen until something is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"{what} did not happen in {PATIENCE:g} seconds"
            self.do(lambda: asyncio.sleep(0.005))

    def settle(self, ib: IB) -> None:
        """Let a client hear all that was said to it so far."""
        self.do(ib.reqCurrentTimeAsync)

    def step(self, ib: IB, count: int = 1) -> None:
        """Play bars, and hear of them."""
        self.settle(ib)
        self.tws.step(count)
        self.settle(ib)
