"""AlpacaStreamFeed: minute bars of stocks or crypto, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.live.alpaca.mapping import bar_of, reply_words
from ml4t.backtest.live.arrivals import LiveBar
from ml4t.backtest.live.credentials import read_credentials
from ml4t.backtest.live.feed import LiveDataFeed

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ml4t.backtest.live.alpaca.stream import AlpacaConnection
    from ml4t.backtest.live.buffer import SignalBuffer
    from ml4t.backtest.live.inbox import Inbox

_INSTALL = "pip install 'ml4t-backtest[alpaca]'"
_FEEDS = ("iex", "sip")


class AlpacaStreamFeed(LiveDataFeed):
    """Live bars from Alpaca, for stocks or for crypto; see `LiveDataFeed` for what that means.

    Which of the two is told by the symbols: "AAPL" is a stock, "BTC/USD" is crypto. The key and
    the secret come from the arguments, from a file, or from the environment variables
    APCA_API_KEY_ID and APCA_API_SECRET_KEY.

    Args:
        api_key: The key.
        secret_key: The secret.
        symbols: What to bring bars of.
        credentials_file: A file with both, which its owner alone can read.
        feed: "iex", or "sip" for accounts that have it; of stocks.
        bar_duration: As of `LiveDataFeed`, made of minutes.
        grace_seconds: As of `LiveDataFeed`.
        signals: Where predictions come in.
        max_silence: As of `LiveDataFeed`; bars of IEX alone come seldom for small stocks.
        calendar: As of `LiveDataFeed`; the default is "XNYS" for stocks and "24/7" for crypto.
        regular_hours: Leave out bars outside sessions.
        backfill_seconds: As of `LiveDataFeed`.
        connect_seconds: How long to try before a session is refused.
        url: Another address for history, such as a rehearsal's.
        stream_url: Another address for the stream.

    Raises:
        ConfigError: There are no credentials, an option makes no sense, or alpaca-py is missing.
    """

    def __init__(
        self,
        api_key: str | None = None,
        secret_key: str | None = None,
        *,
        symbols: Sequence[str],
        credentials_file: str | Path | None = None,
        feed: str = "iex",
        bar_duration: dt.timedelta | str = "1m",
        grace_seconds: float = 5.0,
        signals: SignalBuffer | None = None,
        max_silence: dt.timedelta | str | None = "5m",
        calendar: Any = None,
        regular_hours: bool = False,
        backfill_seconds: float = 30.0,
        connect_seconds: float = 30.0,
        url: str | None = None,
        stream_url: str | None = None,
    ) -> None:
        self.is_crypto = _is_crypto(symbols)
        super().__init__(
            symbols,
            bar_duration=bar_duration,
            grace_seconds=grace_seconds,
            signals=signals,
            max_silence=max_silence,
            calendar=calendar or ("24/7" if self.is_crypto else "XNYS"),
            regular_hours=regular_hours,
            backfill_seconds=backfill_seconds,
        )
        if feed not in _FEEDS:
            raise ConfigError(f"feed={feed!r}: {did_you_mean(feed, _FEEDS)}")
        self._credentials = read_credentials(api_key, secret_key, file=credentials_file)
        self._kind = None if self.is_crypto else feed
        self._connect_seconds = connect_seconds
        self._stream_url = stream_url
        self._connection: AlpacaConnection | None = None
        self._client = self._history_client(url)

    def connect(self, inbox: Inbox) -> None:
        """Connect, and return when the server has confirmed the symbols.

        Raises:
            ConfigError: The keys, the plan or the symbols were refused.
            DataError: There was no connection in time; says what came in the way.
        """
        from ml4t.backtest.live.alpaca.stream import AlpacaConnection

        self.close()
        connection = AlpacaConnection(
            self._credentials, self.symbols, inbox, feed=self._kind, url=self._stream_url
        )
        self._connection = connection
        is_settled = connection.start(self._connect_seconds)
        if is_settled and not connection.refused:
            return
        self.close()
        if connection.refused:
            raise ConfigError(f"{self.name}: {connection.refused}")
        raise DataError(
            f"{self.name}: no connection to Alpaca's stream within {self._connect_seconds:g} s; "
            f"last: {connection.trouble}"
        )

    def reconnect(self) -> None:
        """Drop the socket; the client makes a new one after a pause of a second or more."""
        if self._connection is not None:
            self._connection.drop()

    def close(self) -> None:
        """End the stream and its thread."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """Minute bars of a past span, as traded.

        Raises:
            DataError: Alpaca refused the request, or did not answer in time.
        """
        from requests import RequestException

        from ml4t.backtest.live.alpaca.vendor import APIError

        try:
            found = self._ask(start, end)
        except APIError as error:
            words = self._credentials.hide(reply_words(str(error)))
            raise DataError(
                f"{self.name}: Alpaca refused history (HTTP {error.status_code}): {words}"
            ) from None
        except RequestException as error:
            words = self._credentials.hide(str(error))
            raise DataError(
                f"{self.name}: Alpaca did not answer for history: {type(error).__name__}: {words}"
            ) from None
        bars = [
            bar_of(raw, symbol, is_update=False)
            for symbol, series in found.items()
            for raw in series or ()
        ]
        last = int(end.timestamp() * 1_000_000) - self.bins.vendor
        return [bar for bar in bars if isinstance(bar, LiveBar) and bar.start <= last]

    def _ask(self, start: dt.datetime, end: dt.datetime) -> Mapping[str, Any]:
        from ml4t.backtest.live.alpaca.vendor import (
            Adjustment,
            CryptoBarsRequest,
            DataFeed,
            StockBarsRequest,
            TimeFrame,
        )

        what: dict[str, Any] = {
            "symbol_or_symbols": self.symbols,
            "timeframe": TimeFrame.Minute,
            "start": start,
            "end": end,
        }
        found: Mapping[str, Any] = (
            self._client.get_crypto_bars(CryptoBarsRequest(**what))
            if self._kind is None
            else self._client.get_stock_bars(
                StockBarsRequest(**what, adjustment=Adjustment.RAW, feed=DataFeed(self._kind))
            )
        )
        return found

    def _history_client(self, url: str | None) -> Any:
        try:
            from ml4t.backtest.live.alpaca.rest import bound_requests
            from ml4t.backtest.live.alpaca.vendor import (
                CryptoHistoricalDataClient,
                StockHistoricalDataClient,
            )
        except ImportError as error:
            raise ConfigError(
                f"AlpacaStreamFeed needs the extra 'alpaca' ({error}). Run: {_INSTALL}"
            ) from error
        kind = CryptoHistoricalDataClient if self.is_crypto else StockHistoricalDataClient
        client = kind(
            self._credentials.key, self._credentials.secret, raw_data=True, url_override=url
        )
        bound_requests(client, connect_seconds=5.0, read_seconds=15.0)
        return client


def _is_crypto(symbols: Any) -> bool:
    pairs = [str(symbol) for symbol in symbols if "/" in str(symbol)]
    if pairs and len(pairs) < len(list(symbols)) and not isinstance(symbols, str):
        raise ConfigError(
            f"symbols has crypto ({pairs[0]!r}) beside stocks; Alpaca has a stream for each. Make "
            f"one feed for the stocks or one for crypto."
        )
    return bool(pairs)
