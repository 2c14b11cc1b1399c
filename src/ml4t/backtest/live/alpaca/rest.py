"""Requests to Alpaca that end: the vendor's client waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


class _Bounded(HTTPAdapter):
    """Gives every request a time limit."""

    def __init__(self, connect_seconds: float, read_seconds: float) -> None:
        super().__init__()
        self._limits = (connect_seconds, read_seconds)

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """As requests does, but not for ever."""
        options["timeout"] = options.get("timeout") or self._limits
        return super().send(request, *args, **options)


def bound_requests(client: Any, *, connect_seconds: float, read_seconds: float) -> None:
    """Let no request of a client of alpaca-py wait longer than this for the server.

    Args:
        client: Any of its REST clients.
        connect_seconds: For a connection.
        read_seconds: Between two pieces of the reply.
    """
    adapter = _Bounded(connect_seconds, read_seconds)
    for scheme in ("https://", "http://"):
        client._session.mount(scheme, adapter)  # noqa: SLF001  it has no other way in
