"""IBStreamFeed: minute bars of anything that Interactive Brokers trades, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, ConnectionLost, DataError, did_you_mean
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.ib.options import check_address, check_seconds, check_terms

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.buffer import SignalBuffer
    from ml4t.backtest.live.ib.stream import IBConnection
    from ml4t.backtest.live.inbox import Inbox

_INSTALL = "pip install 'ml4t-backtest[ib]'"
_SOURCES = ("live", "kept")
_PRICES = ("TRADES", "MIDPOINT", "BID", "ASK")


class IBStreamFeed(LiveDataFeed):
    """Live bars from Interactive Brokers; see `LiveDataFeed` for what that means.

    Assets are stocks and ETFs of their symbol, in dollars, unless `contracts` says what they are.

    Args:
        symbols: What to bring bars of.
        host: Where TWS or the Gateway runs.
        port: Likewise; as of `IBBroker`.
        client_id: Our number at it; another one than the broker's.
        contracts: As of `IBBroker`.
        currency: Of stocks that are not named.
        source: "live" puts bars of five seconds together; "kept" takes minutes that are kept up to
            date, which are known when the next one begins.
        prices: "TRADES", or "MIDPOINT", "BID" or "ASK" where nothing is reported as traded.
        bar_duration: As of `LiveDataFeed`, made of minutes.
        grace_seconds: As of `LiveDataFeed`.
        signals: Where predictions come in.
        max_silence: As of `LiveDataFeed`.
        calendar: As of `LiveDataFeed`; the default is "XNYS" for stocks alone, else "24/7".
        regular_hours: Leave out bars outside sessions.
        backfill_seconds: As of `LiveDataFeed`; the broker takes its time.
        answer_seconds: How long to wait for any one answer.
        heartbeat: Seconds of silence after which the connection is tried, and made anew.

    Raises:
        ConfigError: An option makes no sense, or ib_async is missing.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        host: str = "127.0.0.1",
        port: int = 7497,
        client_id: int = 2,
        contracts: Mapping[str, Any] | None = None,
        currency: str = "USD",
        source: str = "live",
        prices: str = "TRADES",
        bar_duration: dt.timedelta | str = "1m",
        grace_seconds: float = 5.0,
        signals: SignalBuffer | None = None,
        max_silence: dt.timedelta | str | None = "5m",
        calendar: Any = None,
        regular_hours: bool = False,
        backfill_seconds: float = 60.0,
        answer_seconds: float = 10.0,
        heartbeat: float = 30.0,
    ) -> None:
        super().__init__(
            symbols,
            bar_duration=bar_duration,
            grace_seconds=grace_seconds,
            signals=signals,
            max_silence=max_silence,
            calendar=calendar or ("24/7" if contracts else "XNYS"),
            regular_hours=regular_hours,
            backfill_seconds=backfill_seconds,
        )
        check_address(host, port, client_id)
        check_terms(contracts, None, None)
        check_seconds(answer_seconds=answer_seconds, heartbeat=heartbeat)
        for name, value, known in (("source", source, _SOURCES), ("prices", prices, _PRICES)):
            if value not in known:
                raise ConfigError(f"{name}={value!r}: {did_you_mean(value, known)}")
        try:
            from ml4t.backtest.live.ib.contracts import Contracts
        except ImportError as error:
            raise ConfigError(
                f"IBStreamFeed needs the extra 'ib' ({error}). Run: {_INSTALL}"
            ) from None
        self._source = source
        self._prices = prices
        self._contracts = Contracts(contracts or {}, None, currency=currency)
        self._options: dict[str, Any] = {
            "host": host,
            "port": port,
            "client_id": client_id,
            "account": None,
            "answer_seconds": answer_seconds,
            "heartbeat": heartbeat,
            "messages_a_second": 40.0,
        }
        self._connection: IBConnection | None = None

    def connect(self, inbox: Inbox) -> None:
        """Connect, and return when bars of all assets are on order.

        Raises:
            ConfigError: An asset is no contract, or several.
            DataError: The account may not have the bars, or nobody answers.
        """
        from ml4t.backtest.live.ib.stream import IBConnection

        self.close()
        connection = self._connection = IBConnection(
            self.symbols,
            self._contracts,
            inbox,
            is_live=self._source == "live",
            what=self._prices,
            now=self.time.now,
            **self._options,
        )
        try:
            connection.start()
        except ConnectionLost as error:
            self.close()
            raise DataError(f"{self.name}: {error}") from error
        except BaseException:
            self.close()
            raise

    def reconnect(self) -> None:
        """Drop the connection; a new one is made."""
        if self._connection is not None:
            self._connection.drop()

    def close(self) -> None:
        """End the connection and its thread."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """Minute bars of a past span; connects for it when the feed is not.

        Raises:
            DataError: The broker refused, or did not answer in time.
        """
        from ml4t.backtest.live.inbox import Inbox

        is_alone = self._connection is None
        if is_alone:
            self.connect(Inbox())
        assert self._connection is not None
        try:
            return self._connection.history(start, end)
        except ConnectionLost as error:
            raise DataError(f"{self.name}: {error}") from error
        finally:
            if is_alone:
                self.close()
