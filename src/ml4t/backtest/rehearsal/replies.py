"""Replies of the REST dialect, and what goes wrong on the way to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from ml4t.backtest.rehearsal.alpaca_words import ERRORS
from ml4t.backtest.rehearsal.tickets import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from ml4t.backtest.rehearsal.venue import Venue

Answer = tuple[int, Any]
"""HTTP status, and what the body says; None for an empty one."""

_LIMIT = 200  # calls a minute that a standard account has
_MINUTE = 60
_TIMED_OUT = "<html><body><h1>504 Gateway Time-out</h1></body></html>"


class Ask:
    """One call: its query, the words in its path, and its body."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.query = request.query_params
        self.path = request.path_params
        self.body = body

    def text(self, name: str, default: str = "") -> str:
        """A word of the query."""
        return str(self.query.get(name, default))

    def flag(self, name: str) -> bool:
        """A yes or no of the query."""
        return self.text(name).lower() == "true"

    def whole(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, from 1 to `most`.

        Raises:
            RefusedError: It is none.
        """
        text = self.text(name, str(default))
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise RefusedError("unprocessable", f"{name} must be 1 to {most}, not {text!r}")
        return int(text)


class Counter:
    """Carries out calls, unless a fault or wrong credentials keep it from doing so.

    Args:
        venue: With the faults.
        keys: The key and the secret that clients must have; None takes any.
        stopping: Set when the server ends, so that no reply hangs longer than that.
    """

    def __init__(
        self, venue: Venue, keys: tuple[str, str] | None, stopping: Callable[[], asyncio.Event]
    ) -> None:
        self.venue = venue
        self.keys = keys
        self.stopping = stopping
        self.calls = 0
        self._minute = (0, 0)  # which one, and the calls in it

    def route(
        self, path: str, call: str, function: Callable[[Ask], Answer], method: str = "GET"
    ) -> Route:
        """A call of the dialect.

        Args:
            path: Its address.
            call: What conditions of faults call it.
            function: Answers it.
            method: GET, POST, PATCH or DELETE.
        """

        async def endpoint(request: Request) -> Response:
            return await self._serve(request, call, function)

        return Route(path, endpoint, methods=[method])

    async def _serve(
        self, request: Request, call: str, function: Callable[[Ask], Answer]
    ) -> Response:
        self.calls += 1
        ask = Ask(request, await request.body())
        refused = self._refuse(request, call) or await self._lose(call, "before")
        if refused is not None:
            return refused
        status, body = self._carry_out(ask, function)
        return await self._lose(call, "after") or self._reply(status, body)

    def _refuse(self, request: Request, call: str) -> Response | None:
        """Not let a call in."""
        faults = self.venue.faults
        if not self._knows(request) or faults.take("401", call=call):
            return self._reply(401, _error(40110000, "request is not authorized"))
        limited = faults.take("429", call=call)
        if limited is None:
            return None
        wait = limited.options["seconds"]
        return self._reply(429, _error(42910000, "too many requests."), left=0, wait=wait)

    async def _lose(self, call: str, when: str) -> Response | None:
        """Lose a call before, or the reply after it was carried out."""
        faults = self.venue.faults
        if faults.take(f"504-{when}", call=call):
            return _timed_out()
        hung = faults.take(f"hang-{when}", call=call)
        if hung is None:
            return None
        with suppress(TimeoutError):  # nobody stopped the server: the reply comes late
            await asyncio.wait_for(self.stopping().wait(), hung.options["seconds"])
        return _timed_out()

    def _carry_out(self, ask: Ask, function: Callable[[Ask], Answer]) -> Answer:
        try:
            return function(ask)
        except RefusedError as error:
            return refusal(error)

    def _knows(self, request: Request) -> bool:
        key = request.headers.get("apca-api-key-id", "")
        secret = request.headers.get("apca-api-secret-key", "")
        return is_known(self.keys, key, secret)

    def _reply(
        self, status: int, body: Any, *, left: int | None = None, wait: float | None = None
    ) -> Response:
        content = b"" if body is None else msgspec.json.encode(body)
        now = self.venue.now.timestamp()
        minute = int(now // _MINUTE)
        self._minute = (minute, self._minute[1] + 1 if self._minute[0] == minute else 1)
        reset = (minute + 1) * _MINUTE if wait is None else now + wait
        headers = {
            "X-Ratelimit-Limit": str(_LIMIT),
            "X-Ratelimit-Remaining": str(
                max(0, _LIMIT - self._minute[1]) if left is None else left
            ),
            "X-Ratelimit-Reset": str(int(reset)),
        }
        return Response(content, status, headers, media_type="application/json")


def is_known(keys: tuple[str, str] | None, key: str, secret: str) -> bool:
    """Whether these credentials are taken."""
    return bool(key and secret) if keys is None else (key, secret) == keys


def refusal(error: RefusedError) -> Answer:
    """A refusal as the dialect says it."""
    status, code = ERRORS[error.kind]
    return status, _error(code, str(error)) | error.details


async def no_such_call(request: Request, error: Exception) -> Response:
    """What is said of an address that the dialect, or this venue, does not have."""
    del request, error
    body = _error(40410000, "endpoint not found.")
    return Response(msgspec.json.encode(body), 404, media_type="application/json")


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _timed_out() -> Response:
    """What a proxy says; it is no JSON."""
    return Response(_TIMED_OUT, 504, media_type="text/html")
