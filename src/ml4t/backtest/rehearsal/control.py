"""`/rehearsal/...`: how tests and operators step, look, break and stop a venue."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.alpaca import read_moment
from ml4t.backtest.rehearsal.alpaca_words import money, time

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from ml4t.backtest.rehearsal.server import RehearsalServer

Json = dict[str, Any]


class Control:
    """The calls that no broker has.

    Args:
        server: What they are about.
    """

    def __init__(self, server: RehearsalServer) -> None:
        self.server = server
        self.venue = server.venue

    def routes(self) -> list[Route]:
        """Every call, by its address."""
        calls: list[tuple[str, str, Callable[[Json], Json]]] = [
            ("GET", "/rehearsal/state", self.state),
            ("POST", "/rehearsal/step", self.step),
            ("POST", "/rehearsal/clock", self.clock),
            ("GET", "/rehearsal/faults", self.faults),
            ("POST", "/rehearsal/faults", self.add_fault),
            ("DELETE", "/rehearsal/faults", self.clear_faults),
            ("POST", "/rehearsal/restart", self.restart),
            ("POST", "/rehearsal/stop", self.stop),
        ]
        return [Route(path, _endpoint(function), methods=[m]) for m, path, function in calls]

    def state(self, _asked: Json) -> Json:
        """Where the rehearsal stands."""
        venue, server = self.venue, self.server
        return {
            "now": time(venue.now),
            "step": venue.step_number,
            "steps": len(venue.tape),
            "is_over": venue.is_over,
            "speed": server.speed,
            "orders": len(venue.register.tickets),
            "open_orders": len(venue.register.open),
            "fills": sum(activity.kind == "FILL" for activity in venue.register.activities),
            "calls": server.calls,
            "sockets": server.sockets,
            "cash": money(venue.market.portfolio.cash),
            "equity": money(venue.market.portfolio.equity),
            "faults": venue.faults.report(),
        }

    def step(self, asked: Json) -> Json:
        """Play `count` timestamps (1), or all up to the time `to`, included."""
        to = read_moment(str(asked.get("to", "")), "to")
        if to is not None:
            stepped = self.venue.step_to(to)
        else:
            stepped = self.venue.step(_whole(asked, "count", 1))
        return {"stepped": stepped} | self.state({})

    def clock(self, asked: Json) -> Json:
        """Set `speed` (null waits for steps), or `skew_seconds`, how far the clock is off."""
        if "speed" in asked:
            self.server.set_speed(asked["speed"])
        if "skew_seconds" in asked:
            self.venue.skew = dt.timedelta(seconds=float(asked["skew_seconds"]))
        return self.state({})

    def faults(self, _asked: Json) -> Json:
        """The faults, and how often each struck."""
        return {"faults": self.venue.faults.report()}

    def add_fault(self, asked: Json) -> Json:
        """One more `fault`, as a command line has it."""
        self.venue.faults.add(str(asked.get("fault", "")))
        return self.faults({})

    def clear_faults(self, _asked: Json) -> Json:
        """No faults from now on."""
        self.venue.faults.clear()
        return self.faults({})

    def restart(self, asked: Json) -> Json:
        """Go away for `seconds` (0.5), and come back as before."""
        self.server.request_restart(float(asked.get("seconds", 0.5)))
        return {"restarting": True}

    def stop(self, _asked: Json) -> Json:
        """End the server."""
        self.server.request_stop()
        return {"stopping": True}


def _endpoint(function: Callable[[Json], Json]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if "origin" in request.headers:  # a page in a browser, not a test
            return _reply(403, {"message": "control calls are not for browsers"})
        body = await request.body()
        try:
            return _reply(200, function(msgspec.json.decode(body or b"{}", type=dict)))
        except (BacktestError, msgspec.MsgspecError, ValueError, TypeError) as error:
            return _reply(422, {"message": str(error)})

    return endpoint


def _reply(status: int, body: Json) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def _whole(asked: Json, name: str, default: int) -> int:
    value = asked.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, not {value!r}.")
    return value
