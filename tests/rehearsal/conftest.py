"""Rehearsal servers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import Listener, listening, market, watching


class Stage:
    """Servers and clients of one test."""

    def __init__(self) -> None:
        self.servers = ExitStack()
        self.listeners: list[Listener] = []

    def serve(self, data: Any = None, *, server: Any = None, **options: Any) -> RehearsalServer:
        """A server on some bars, stepped by hand."""
        venue = Venue(market() if data is None else data, **options)
        return self.servers.enter_context(RehearsalServer(venue, **(server or {})))

    def listen(self, server: RehearsalServer, **options: Any) -> Listener:
        """A client of trade updates."""
        return self._keep(listening(server, **options))

    def watch(self, server: RehearsalServer, *symbols: str, **options: Any) -> Listener:
        """A client of bars."""
        return self._keep(watching(server, *symbols, **options))

    def _keep(self, listener: Listener) -> Listener:
        self.listeners.append(listener)
        return listener

    def end(self) -> None:
        """Clients are told, servers end, clients follow."""
        for listener in self.listeners:
            listener.stop()
        self.servers.close()
        for listener in self.listeners:
            listener.join()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Servers and clients that end with the test."""
    found = Stage()
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def serve(stage: Stage) -> Callable[..., RehearsalServer]:
    """Starts a server."""
    return stage.serve
