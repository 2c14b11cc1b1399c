"""Alpaca's REST calls and streams in front of a venue, on loopback addresses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.rehearsal.faults import ALPACA
from ml4t.backtest.rehearsal.loop import HOST, TICK
from ml4t.backtest.rehearsal.stage import Stage

if TYPE_CHECKING:
    import socket

    from starlette.applications import Starlette

_GRACE = 1  # seconds for calls that are under way at a stop
_INSTALL = "pip install 'ml4t-backtest[rehearse]'"


class RehearsalServer(Stage):
    """Alpaca's REST and stream dialects in front of a venue, on 127.0.0.1 alone.

    Args:
        source: A `Venue`, or bars to make one of.
        speed: How much faster than in the market time goes; None waits for `step`.
        port: A free one when 0.
        key: What clients must send as their key; with `secret`. Any when left out.
        secret: What they must send as their secret.
        longest_pause: Seconds that nights and gaps take at most, however long they are.

    Attributes:
        venue: The exchange. While the server runs, change it through `run` alone.
        port: Where it listens.
        url: What REST clients take as `url_override`.
        stream_url: The same for `TradingStream`.
        calls: REST calls so far.

    Raises:
        ConfigError: What the server needs is not installed, or an option is out of range.

    Example:
        with RehearsalServer(bars) as server:
            client = TradingClient("key", "secret", url_override=server.url)
            client.submit_order(...)
            server.step()
    """

    thread_name = "rehearsal"
    protocol = ALPACA

    def __init__(
        self,
        source: Any,
        *,
        speed: float | None = None,
        port: int = 0,
        key: str | None = None,
        secret: str | None = None,
        longest_pause: float = 1.0,
    ) -> None:
        _require()
        if (key is None) != (secret is None):
            raise ConfigError("key= and secret= belong together: give both, or neither.")
        super().__init__(source, speed=speed, port=port, longest_pause=longest_pause)
        self._keys = None if key is None or secret is None else (key, secret)
        self._app = self._application()
        self._server: Any = None

    # -- addresses ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base of the REST calls."""
        return f"http://{HOST}:{self.port}"

    @property
    def stream_url(self) -> str:
        """The stream of trade updates."""
        return f"ws://{HOST}:{self.port}/stream"

    def data_stream_url(self, feed: str = "iex") -> str:
        """A stream of market data.

        Args:
            feed: "iex" or "sip" for shares, "crypto" for crypto pairs.
        """
        place = "v1beta3/crypto/us" if feed == "crypto" else f"v2/{feed}"
        return f"ws://{HOST}:{self.port}/{place}"

    # -- in the server's thread ---------------------------------------------------------------

    @property
    def sockets(self) -> dict[str, int]:
        """Clients of each stream."""
        return {
            "trades": len(self._trades.lines),
            "data": len(self._shares.lines) + len(self._crypto.lines),
        }

    @property
    def calls(self) -> int:
        """REST calls so far."""
        return self._counter.calls

    def _leave(self, *, for_good: bool) -> None:
        if not for_good:
            for line in (*self._trades.lines, *self._shares.lines, *self._crypto.lines):
                line.drop()
        if self._server is not None:
            self._server.should_exit = True

    def _application(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute

        from ml4t.backtest.rehearsal.alpaca import TradingApi
        from ml4t.backtest.rehearsal.alpaca_data import DataApi
        from ml4t.backtest.rehearsal.control import Control
        from ml4t.backtest.rehearsal.replies import Counter, no_such_call
        from ml4t.backtest.rehearsal.streams import DataStream, TradeStream

        venue, keys = self.venue, self._keys
        self._counter = Counter(venue, keys, lambda: self._stopping)
        self._trades = TradeStream(venue, keys)
        self._shares = DataStream(venue, keys, is_crypto=False)
        self._crypto = DataStream(venue, keys, is_crypto=True)
        return Starlette(
            routes=[
                *TradingApi(venue, self._counter).routes(),
                *DataApi(venue, self._counter).routes(),
                *Control(self).routes(),
                WebSocketRoute("/stream", self._trades.serve),
                WebSocketRoute("/v2/{feed}", self._shares.serve),
                WebSocketRoute("/v1beta3/crypto/{place}", self._crypto.serve),
            ],
            exception_handlers={404: no_such_call, 405: no_such_call},
        )

    async def _serve_once(self, listener: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(TICK / 10)
        if self._server.started:
            self._started.set()
        await serving
        listener.close()


def _require() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"A rehearsal server needs the extra 'rehearse' ({error}). Run: {_INSTALL}"
        ) from error
