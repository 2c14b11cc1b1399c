"""Drives the venues of the rehearsal for the exam of gateways, as a third party would."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from ml4t.backtest import AlpacaBroker, IBBroker, SimulationBroker
from ml4t.backtest.live.gateway import Gateway
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market

ASSETS = ("AAPL", "IBM")
PRICES = (100.0, 50.0, 49.0, 150.0)  # in turns


class RehearsalDriver:
    """A venue whose prices go round, and in which one order at a time may trade.

    Attributes:
        asset_ids: As of `VenueDriver`.
        venue: The exchange.
        server: What stands in front of it.
    """

    asset_ids = ASSETS
    hangs: dict[str, str]  # what a call of the exam is by the server's faults

    def __init__(self) -> None:
        self._room: tuple[int, float] | None = None
        broker = SimulationBroker(100_000.0, liquidity=self._liquidity)
        bars = market(list(itertools.islice(itertools.cycle(PRICES), 80)), assets=ASSETS, spread=0)
        self.venue = Venue(bars, broker=broker)
        self.server = self.make_server()
        self.server.start()
        self.server.step()
        self.is_down = False
        self.gateway: Gateway | None = None

    def make_server(self) -> Any:
        """Which protocol it is."""
        raise NotImplementedError

    def _liquidity(self, order: Any, _bar: Any) -> float:
        """Of this bar the order that is filled may have its part, and nobody else anything."""
        if self._room is None:
            return 0.0
        number, room = self._room
        working = self.venue.market.blotter.find(number)
        assert working is not None
        return room if working.order is order else 0.0

    def fill(self, client_id: str, quantity: float, price: float) -> None:
        """Let prices go round to this one, at which the order alone may trade."""
        number = self.number_of(client_id)

        def play() -> None:
            while PRICES[(self.venue.step_number + 1) % len(PRICES)] != price:
                self.venue.step()
            self._room = (number, quantity)
            self.venue.step()
            self._room = None

        play() if self.is_down else self.server.run(play)

    def number_of(self, client_id: str) -> int:
        """The number of an order in the simulation."""
        raise NotImplementedError

    def drop(self) -> None:
        """The server goes away; the exchange goes on."""
        self.server.stop()
        self.is_down = True

    def restore(self) -> None:
        """It comes back at the same address."""
        self.server.start()
        self.is_down = False

    def lose_answer(
        self, call: Literal["send", "standing"], when: Literal["before", "after"]
    ) -> None:
        """It never comes."""
        self.server.add_fault(f"hang-{when}:call={self.hangs[call]},times=1")

    def close(self) -> None:
        """End the server."""
        self.server.stop()


class AlpacaDriver(RehearsalDriver):
    """Behind Alpaca's protocol."""

    hangs = {"send": "submit", "standing": "account"}  # noqa: RUF012  of this class alone

    def make_server(self) -> RehearsalServer:
        """Its REST calls and streams."""
        return RehearsalServer(self.venue)

    def make_gateway(self) -> Gateway:
        """As a program makes it."""
        broker = AlpacaBroker(
            "key", "secret", url=self.server.url, request_seconds=1.0, requests_per_minute=None
        )
        return broker.gateway

    def number_of(self, client_id: str) -> int:
        """By the name that went there."""
        tickets = self.venue.register.tickets.values()
        return next(t.number for t in tickets if t.client_order_id == client_id and t.is_open)


class IBDriver(RehearsalDriver):
    """Behind TWS's protocol."""

    hangs = {"send": "submit", "standing": "positions"}  # noqa: RUF012

    def make_server(self) -> TwsRehearsal:
        """Its socket."""
        return TwsRehearsal(self.venue)

    def make_gateway(self) -> Gateway:
        """As a program makes it."""
        self.gateway = IBBroker(
            port=self.server.port, answer_seconds=1.0, heartbeat=2.0, messages_a_second=1e5
        ).gateway
        return self.gateway

    def number_of(self, client_id: str) -> int:
        """An order keeps its first name here: the broker's number of it tells which it is."""
        orders = self.server.office.desk.all
        found = [one for one in orders if one.wanted.ref == client_id and one.is_open]
        if not found:
            assert self.gateway is not None
            names = {report.venue_id for report in self.gateway.find(client_id)}
            found = [one for one in orders if str(one.perm_id) in names and one.is_open]
        ticket = found[0].ticket
        assert ticket is not None
        return ticket.number
