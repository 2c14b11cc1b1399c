"""Alpaca's stream of trade updates; imported when a broker connects: it needs alpaca-py."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.alpaca.line import AlpacaLine, Watched, socket_options

with warnings.catch_warnings():
    # The client uses the older half of websockets, and the newer half says so.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.trading.stream import TradingStream
    from websockets.exceptions import WebSocketException

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.credentials import Credentials

_MOST_REFUSALS = 5  # in a row, once it had been let in
# Seconds between two tries: from the first to the second, doubling, with some chance in it.
PAUSES = (1.0, 30.0)


class AlpacaUpdates(AlpacaLine):
    """What happens to an account's orders, until it is closed.

    Args:
        credentials: Of the account.
        paper: Whether it is a paper account.
        url: Of the stream; None is Alpaca's.
        heard: Called with every update, on the stream's thread: it only leaves a message.
        linked: Likewise, with whether the stream is there again or lost, and why.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        paper: bool,
        url: str | None,
        heard: Callable[[Json], None],
        linked: Callable[[bool, str], None],
    ) -> None:
        super().__init__(
            credentials, name="alpaca-orders", called="The client of Alpaca's trade updates"
        )
        self._heard = heard
        self._linked = linked
        self._was_up = self._is_up = False
        self._refusals = 0
        stream = _WatchedUpdates(
            credentials.key,
            credentials.secret,
            paper=paper,
            raw_data=True,  # unknown words are no errors then
            url_override=url,  # type: ignore[arg-type]
            websocket_params=socket_options(ping_timeout=20),
        )
        stream.line = stream.updates = self
        stream.set_pauses(*PAUSES)
        stream.subscribe_trade_updates(self.take)
        self._stream = stream

    def start(self, seconds: float) -> None:
        """Connect, and return once updates come.

        Raises:
            ConnectionLost: The stream was refused, or was not there in time.
        """
        is_settled = self._begin(seconds)
        if is_settled and not self.refused:
            return
        self.close()
        raise ConnectionLost(
            self.refused
            or f"There was no stream of trade updates within {seconds:g} seconds; last: "
            f"{self.trouble}."
        )

    # -- on the thread of the stream ----------------------------------------------------------

    async def take(self, message: Json) -> None:
        """An update has come. A handler that fails is only logged by the client: none may."""
        try:
            self._heard(message["data"])
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, it is looked up
            self.garbled(error)

    def listening(self, streams: Any) -> None:
        """The server says what it sends."""
        if "trade_updates" not in (streams or ()):
            self._end("Alpaca's stream does not send trade updates to this account.")
            return
        self._refusals = 0
        if self._was_up and not self._is_up:
            self._linked(True, "trade updates")
        self._was_up = self._is_up = True
        self._settled.set()

    def refuse_keys(self, error: ValueError) -> None:
        """The keys were refused; once they were good, it may be for a moment."""
        del error  # it says no more
        self._refusals += 1
        self.trouble = "Alpaca refused the key and the secret for its stream of trade updates."
        if not self._was_up or self._refusals >= _MOST_REFUSALS:
            self._end(self.trouble)

    def lose(self, error: BaseException) -> None:
        """The socket broke, or could not be had."""
        self.trouble = self._words(error)
        self._tell_lost(self.trouble)

    def garbled(self, error: BaseException) -> None:
        """Something could not be read: what it was is found out as after a lost connection."""
        self._linked(False, f"an update could not be read ({self._words(error)})")
        if self._is_up:
            self._linked(True, "trade updates")

    def _tell_lost(self, why: str) -> None:
        if self._is_up and not self._is_closing:
            self._linked(False, why)
        self._is_up = False

    def _tell_end(self, why: str) -> None:
        self._tell_lost(why)


class _WatchedUpdates(Watched, TradingStream):
    """The vendor's client, telling what happens to its connection."""

    updates: AlpacaUpdates

    def set_pauses(self, shortest: float, longest: float) -> None:
        """Seconds between tries to connect, at first and at most."""
        self._reconnect_min_backoff, self._reconnect_max_backoff = shortest, longest

    async def _consume(self) -> None:
        try:
            await super()._consume()  # type: ignore[no-untyped-call]
        except WebSocketException as error:
            self.updates.lose(error)
            raise
        except OSError as error:  # the client would go on reading from a socket that is gone
            self.updates.lose(error)
            raise WebSocketException(str(error)) from error
        except Exception as error:
            self.updates.garbled(error)
            raise

    async def _dispatch(self, msg: Json) -> None:
        await super()._dispatch(msg)
        if msg.get("stream") == "listening":
            self.updates.listening(msg["data"].get("streams"))
