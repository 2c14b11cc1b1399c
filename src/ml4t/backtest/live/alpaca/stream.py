"""Alpaca's stream of bars; imported when a feed connects: it needs alpaca-py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.alpaca.line import AlpacaLine, Watched, socket_options
from ml4t.backtest.live.alpaca.mapping import bar_of, refusal
from ml4t.backtest.live.alpaca.vendor import (
    CryptoDataStream,
    DataFeed,
    DataStream,
    StockDataStream,
    WebSocketException,
)
from ml4t.backtest.live.arrivals import BadBar, Connected, Lost, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.live.credentials import Credentials
    from ml4t.backtest.live.inbox import Inbox


class AlpacaConnection(AlpacaLine):
    """Bars of some symbols, put on an inbox until it is closed.

    Args:
        credentials: Of the account.
        symbols: All stocks, or all crypto.
        inbox: Where bars and breaks go.
        feed: "iex" or "sip" for stocks, None for crypto.
        url: Of the stream; None is Alpaca's.
    """

    def __init__(
        self,
        credentials: Credentials,
        symbols: Sequence[str],
        inbox: Inbox,
        *,
        feed: str | None,
        url: str | None,
    ) -> None:
        super().__init__(credentials, name="alpaca-data", called="The client of Alpaca")
        self._symbols = list(symbols)
        self._inbox = inbox
        self._has_connected = False
        self._stream = self._make(feed, url)

    def start(self, seconds: float) -> bool:
        """Connect; whether bars will come, or it was refused, within some seconds."""
        return self._begin(seconds)

    # -- on the thread of the stream ----------------------------------------------------------

    def subscribed(self, answer: dict[str, Any]) -> None:
        """The server lists what it sends."""
        missing = sorted(set(self._symbols) - set(answer.get("bars") or ()))
        if missing:
            self.refuse(None, f"it does not send bars of {', '.join(missing)}")
            return
        self._has_connected = True
        self._inbox.put("feed", Connected())
        self._settled.set()

    def refuse(self, code: int | None, words: str) -> None:
        """The server, or the client, said no; trying again may help or not."""
        text, is_final = refusal(code, self._credentials.hide(words))
        self.trouble = text
        if is_final or "does not send" in words:
            self._end(text)

    def refuse_keys(self, error: ValueError) -> None:
        """The client gives the reason in words alone."""
        self.refuse(None, str(error))

    def lose(self, error: BaseException) -> None:
        """The socket broke, or could not be had."""
        self.trouble = self._words(error)
        if self._has_connected and not self._is_closing:
            self._inbox.put("feed", Lost(self.trouble))

    def garbled(self, error: BaseException) -> None:
        """A frame could not be read; the stream goes on."""
        words = self._words(error)
        self._inbox.put("feed", BadBar("?", f"a frame could not be read ({words}),"))

    async def take_bar(self, raw: Any) -> None:
        """A minute bar."""
        self._inbox.put("feed", bar_of(raw, is_update=False))

    async def take_update(self, raw: Any) -> None:
        """A minute bar again, with trades that were reported late."""
        self._inbox.put("feed", bar_of(raw, is_update=True))

    def _make(self, feed: str | None, url: str | None) -> _WatchedBars:
        options: dict[str, Any] = {
            "api_key": self._credentials.key,
            "secret_key": self._credentials.secret,
            "raw_data": True,
            "url_override": url,
            "websocket_params": socket_options(ping_timeout=60),
        }
        stream: _WatchedStocks | _WatchedCrypto = (
            _WatchedCrypto(**options)
            if feed is None
            else _WatchedStocks(feed=DataFeed(feed), **options)
        )
        stream.line = stream.connection = self
        # Now, and never from a handler: there it would wait for itself.
        stream.subscribe_bars(self.take_bar, *self._symbols)
        stream.subscribe_updated_bars(self.take_update, *self._symbols)
        return stream

    def _tell_end(self, why: str) -> None:
        if self._settled.is_set():
            self._inbox.put("feed", Refused(why))


class _WatchedBars(Watched, DataStream):
    """The vendor's client, telling what happens to its connection."""

    connection: AlpacaConnection

    async def _consume(self) -> bool:
        try:
            return bool(await super()._consume())
        except (WebSocketException, OSError) as error:
            self.connection.lose(error)
            raise
        except Exception as error:
            self.connection.garbled(error)
            raise

    async def _dispatch(self, msg: dict[str, Any]) -> None:
        await super()._dispatch(msg)
        if msg.get("T") == "subscription":
            self.connection.subscribed(msg)
        elif msg.get("T") == "error":
            self.connection.refuse(msg.get("code"), str(msg.get("msg")))


class _WatchedStocks(_WatchedBars, StockDataStream):
    """For stocks."""


class _WatchedCrypto(_WatchedBars, CryptoDataStream):
    """For crypto."""
