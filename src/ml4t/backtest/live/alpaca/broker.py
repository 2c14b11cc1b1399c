"""AlpacaBroker: an account at Alpaca, behind the same counter as the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.alpaca.gateway import AlpacaGateway
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.checks import positive
from ml4t.backtest.live.credentials import read_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ml4t.backtest.types.instrument import Instrument


class AlpacaBroker(LiveBroker):
    """Trades stocks and crypto through an account at Alpaca, in a session.

    The key and the secret come from the arguments, from a file, or from the environment variables
    APCA_API_KEY_ID and APCA_API_SECRET_KEY. Nothing is connected before a session begins.

    Args:
        api_key: The key.
        secret_key: The secret.
        paper: Whether the account's money is play money; with False it is real.
        credentials_file: A file with the key and the secret, which its owner alone can read.
        url: Another address for calls, such as a rehearsal's.
        stream_url: Another address for trade updates; follows from `url` when left out.
        extended_hours: Send limit orders for the day so that they trade outside the regular
            hours, too. Alpaca takes no others there.
        commission: What fills cost; nothing when left out, as for stocks at Alpaca.
        instruments: As of `LiveBroker`.
        fractional: Whether any fraction of a unit can be traded; crypto needs it.
        basket_wait: Seconds that entries wait for the exits that pay for them.
        silence: Seconds after which an order that nothing was heard of is looked up.
        max_order_age: Seconds after which a decision that has not reached Alpaca is given up; one
            that waits for money has `basket_wait` more.
        cushion: Share by which purchases may cost more than at the last close.
        connect_seconds: How long to try before a session is refused.
        request_seconds: How long to wait for an answer.
        requests_per_minute: What the account may ask; Alpaca's own word goes before. None for no
            limit, in a rehearsal that runs faster than time.

    Raises:
        ConfigError: There are no credentials, an option makes no sense, or alpaca-py is missing.
    """

    def __init__(
        self,
        api_key: str | None = None,
        secret_key: str | None = None,
        *,
        paper: bool = True,
        credentials_file: str | Path | None = None,
        url: str | None = None,
        stream_url: str | None = None,
        extended_hours: bool = False,
        commission: Any = None,
        instruments: Iterable[Instrument] = (),
        fractional: bool = False,
        basket_wait: float = 30.0,
        silence: float = 30.0,
        max_order_age: float = 120.0,
        cushion: float = 0.01,
        connect_seconds: float = 30.0,
        request_seconds: float = 10.0,
        requests_per_minute: int | None = 200,
    ) -> None:
        gateway = AlpacaGateway(
            read_credentials(api_key, secret_key, file=credentials_file),
            paper=paper,
            url=url,
            stream_url=stream_url,
            extended_hours=extended_hours,
            lot_of=self._lot_of,
            connect_seconds=positive("connect_seconds", connect_seconds, "number of seconds"),
            request_seconds=positive("request_seconds", request_seconds, "number of seconds"),
            requests_per_minute=_whole("requests_per_minute", requests_per_minute),
        )
        super().__init__(
            gateway,
            commission=commission,
            instruments=instruments,
            fractional=fractional,
            basket_wait=basket_wait,
            silence=silence,
            max_order_age=max_order_age,
            cushion=cushion,
        )

    def __repr__(self) -> str:
        return f"AlpacaBroker({self.gateway!r})"

    def _lot_of(self, asset_id: str) -> float:
        instrument = self.instruments.get(asset_id)
        return self.default_lot if instrument is None else instrument.lot_size


def _whole(name: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(f"{name} must be a positive whole number, or None, not {value!r}.")
