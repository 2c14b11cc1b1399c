"""WebSocketFeed: bars and predictions from any server that speaks a small schema."""

from __future__ import annotations

import logging
import time
from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.websocket.access import checked_url, read_token, shown_url
from ml4t.backtest.live.websocket.clock import ServedTime
from ml4t.backtest.live.websocket.gate import Gate, GatedPump
from ml4t.backtest.live.websocket.reception import Over, Predictions, Reception
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.buffer import SignalBuffer
    from ml4t.backtest.live.inbox import Inbox, Pump
    from ml4t.backtest.live.websocket.connection import WebSocketConnection

_LOG = logging.getLogger(__name__)
_UTC = TimeAxis(zone="UTC")
_INSTALL = "pip install 'ml4t-backtest[websocket]'"
_ENCODINGS = ("json", "msgpack")
_COUNTED = (
    *("bad_messages", "bad_signals", "oversized_messages", "server_errors"),
    *("duplicate_messages", "messages_out_of_order", "sequence_gaps", "missed_messages"),
    *("false_sequences", "signals_superseded", "mute_connections", "held_back"),
)


class WebSocketFeed(LiveDataFeed):
    """Live bars and predictions over a WebSocket; see `LiveDataFeed` for what that means.

    The server speaks the schema of `docs/websocket-schema.md`; `ml4t-backtest serve` is one.
    Predictions go through the buffer `signals`, so that a strategy sees them as columns of the
    data. The token, if the server wants one, comes from the argument, from a file, or from the
    environment variable ML4T_WEBSOCKET_TOKEN.

    Args:
        url: Where the server is: "wss://host:port/path".
        symbols: What to bring bars and predictions of.
        token: What gives access.
        token_file: A file with the token alone, which only its owner can read.
        encoding: How the server is to write: "json" or "msgpack".
        vendor_bar: Length of the server's bars.
        vendor_offset: How long after multiples of that, from midnight UTC on, they begin: "30m" for
            hours that begin at 9:30.
        bar_duration: As of `LiveDataFeed`, made of the server's; as long as those when left out.
        grace_seconds: As of `LiveDataFeed`.
        signals: Where predictions come in; without one they are not asked for.
        max_silence: As of `LiveDataFeed`.
        calendar: As of `LiveDataFeed`.
        regular_hours: Leave out bars outside sessions.
        backfill_seconds: As of `LiveDataFeed`.
        connect_seconds: How long to try before a session is refused.
        silence_seconds: Without any message for so long it connects anew; three heartbeats of the
            server when those are longer.
        max_waiting: How many bars and messages may wait for the strategy; more hold the server up.

    Attributes:
        clock: The time at the server, for recordings: pass it as `time=` of `run_live`, or set
            `feed.time`.

    Raises:
        ConfigError: An option makes no sense, the token would travel in the open, or the library
            websockets is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        symbols: Sequence[str],
        token: str | None = None,
        token_file: str | Path | None = None,
        encoding: str = "json",
        vendor_bar: dt.timedelta | str = "1m",
        vendor_offset: dt.timedelta | str = "0s",
        bar_duration: dt.timedelta | str | None = None,
        grace_seconds: float = 5.0,
        signals: SignalBuffer | None = None,
        max_silence: dt.timedelta | str | None = "5m",
        calendar: Any = None,
        regular_hours: bool = False,
        backfill_seconds: float = 30.0,
        connect_seconds: float = 30.0,
        silence_seconds: float = 30.0,
        max_waiting: int = 10_000,
    ) -> None:
        self.vendor_bar, self.vendor_offset = vendor_bar, vendor_offset
        super().__init__(
            symbols,
            bar_duration=vendor_bar if bar_duration is None else bar_duration,
            grace_seconds=grace_seconds,
            signals=signals,
            max_silence=max_silence,
            calendar=calendar,
            regular_hours=regular_hours,
            backfill_seconds=backfill_seconds,
        )
        if encoding not in _ENCODINGS:
            raise ConfigError(f"encoding={encoding!r}: {did_you_mean(encoding, _ENCODINGS)}")
        for name, value in (("connect", connect_seconds), ("silence", silence_seconds)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"{name}_seconds={value!r}: give seconds above 0.")
        if type(max_waiting) is not int or max_waiting < 1:
            raise ConfigError(f"max_waiting={max_waiting!r}: give a whole number above 0.")
        _require()
        self._token = read_token(token, file=token_file)
        self.url = checked_url(url, self._token)
        self.encoding = encoding
        self.connect_seconds = connect_seconds
        self.silence_seconds = silence_seconds
        self.max_waiting = max_waiting
        self.clock = ServedTime(self._ask_for_time)
        self._connection: WebSocketConnection | None = None
        self._gate: Gate | None = None
        self._counted: Counter[str] = Counter()
        self._is_over = False

    def __repr__(self) -> str:
        return f"{self.name}({shown_url(self.url)!r}, symbols={self.symbols!r})"

    # -- what every live feed does ----------------------------------------------------------------

    def connect(self, inbox: Inbox) -> None:
        """Connect, and return when the server has confirmed the symbols.

        Raises:
            ConfigError: The token, the version or the symbols were refused.
            DataError: There was no connection in time; says what came in the way.
        """
        self.close()
        self._gate = Gate(inbox, self.max_waiting, self._counted)
        begins = self.clock.now() if self.time is self.clock and self.since is None else None
        self._connection = self._connect(self._gate)
        if begins is not None:
            self.since = self.bins.start_of(begins)  # a recording may have gone on meanwhile

    def reconnect(self) -> None:
        """Break the connection; its thread makes a new one."""
        if self._connection is not None:
            self._connection.drop()

    def close(self) -> None:
        """End the connection and its thread."""
        if self._gate is not None:
            self._gate.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """The server's bars of a past span; predictions for them go where all of them go.

        Raises:
            ConnectionLost: The server did not answer, or refused.
        """
        connection = self._connection
        if connection is not None:
            return connection.history(start, end)
        connection = self._visit()
        try:
            return connection.history(start, end)
        finally:
            connection.close()

    def counts(self) -> dict[str, int]:
        """What happened so far, by name; `docs/websocket.md` says what each means."""
        return super().counts() | {name: self._counted[name] for name in _COUNTED}

    @property
    def pump(self) -> Pump:
        """How to wait: predictions are seen to on the way, in the order in which they came."""
        return GatedPump(super().pump, self._end_when_idle, self._see_to)

    @pump.setter
    def pump(self, pump: Pump) -> None:
        self._pump = pump

    # -- inside -----------------------------------------------------------------------------------

    def _connect(self, gate: Gate, *, is_visit: bool = False) -> WebSocketConnection:
        from ml4t.backtest.live.websocket.connection import Settings, WebSocketConnection

        settings = Settings(
            self.url,
            self._token,
            self.symbols,
            self.signals is not None,
            self.bins.vendor,
            self.bins.offset,
            self.encoding == "msgpack",
            self.silence_seconds,
            min(10.0, self.connect_seconds),
            is_visit,
        )
        reception = Reception(gate.put, self.clock, time.monotonic, self._counted)
        connection = WebSocketConnection(settings, reception, gate.put)
        is_settled = connection.start(self.connect_seconds)
        if is_settled and connection.refused is None:
            return connection
        connection.close()
        where = f"{self.name} ({shown_url(self.url)})"
        if connection.refused is not None:
            raise ConfigError(f"{where}: {connection.refused}")
        raise DataError(
            f"{where}: no connection within {self.connect_seconds:g} s; last: {connection.trouble}"
        )

    def _visit(self) -> WebSocketConnection:
        """A connection of which only the answers matter."""
        gate = Gate(self.inbox, 1, self._counted)
        gate.close()
        return self._connect(gate, is_visit=True)

    def _ask_for_time(self) -> None:
        """Hear what time it is at the server, by a connection of a moment."""
        self._visit().close()

    def _end_when_idle(self) -> None:
        """A recording is over, and all of it has been given."""
        if self._is_over and self._reader is not None and self._reader.is_idle:
            self.stop()

    def _see_to(self, message: Any) -> bool:
        """What the reader does not know; on the thread of the strategy."""
        if isinstance(message, Predictions):
            self._say(message)
        elif isinstance(message, Over):
            self._is_over = True
        else:
            return False
        return True

    def _say(self, predictions: Predictions) -> None:
        """Put predictions into the buffer; where one is refused, a bad one spoils no other."""
        if self.signals is None:
            return
        for about, items in groupby(predictions.items, key=itemgetter(2)):
            moment = None if about is None else _UTC.to_datetime(about)
            many = [(asset_id, values) for asset_id, values, _ in items]
            together = dict(many)
            if len(together) < len(many) or not self._is_said(together, moment):
                for asset_id, values in many:
                    if not self._is_said({asset_id: values}, moment, is_last=True):
                        self._counted["bad_signals"] += 1

    def _is_said(
        self,
        values: dict[str, dict[str, Any]],
        moment: dt.datetime | None,
        *,
        is_last: bool = False,
    ) -> bool:
        assert self.signals is not None
        try:
            self.signals.update_many(values, moment)
        except DataError as error:
            if is_last:
                _LOG.warning("left out: %s", error)
            return False
        return True


def _require() -> None:
    try:
        import websockets.sync.client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"WebSocketFeed needs the extra 'websocket' ({error}). Run: {_INSTALL}"
        ) from error
