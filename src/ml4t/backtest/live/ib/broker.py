"""IBBroker: an account at Interactive Brokers behind the same counter as the simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.ib.gateway import IBGateway
from ml4t.backtest.live.ib.options import check_address, check_seconds, check_terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ml4t.backtest.broker.broker import Broker
    from ml4t.backtest.types.instrument import Instrument


class IBBroker(LiveBroker):
    """Trades an account at Interactive Brokers, over TWS or the Gateway on this machine.

    Nothing is connected before a session begins. Assets are stocks and ETFs of their symbol, in
    dollars, unless `contracts` says what they are.

    Args:
        host: Where TWS or the Gateway runs.
        port: 7497 (TWS) and 4002 (Gateway) are set up for paper money there, 7496 and 4001 for
            real money.
        client_id: Our number at it. Keep it: orders can be canceled by the number that sent them
            alone.
        account: Which one, when the login has several.
        contracts: By `asset_id`, a contract of ib_async, or a dict with `kind` ("stock", "future",
            "fx", "crypto", ...), `symbol`, `exchange`, `currency`, `expiry`, `multiplier`,
            `primary_exchange`, `local_symbol`, `con_id`.
        currency: Of stocks that are not named.
        paper: Whether the money is play money; told by the port when left out, and checked.
        answer_seconds: How long to wait for any one answer.
        commission_seconds: How long a fill waits for the broker to say what it cost.
        heartbeat: Seconds of silence after which the connection is tried, and made anew.
        messages_a_second: How many messages the broker takes; some are kept for cancels.
        commission: As of `LiveBroker`, for fills whose cost the broker does not say.
        instruments: Multiplier, lot and tick of assets that are no plain shares.
        basket_wait: As of `LiveBroker`.
        silence: As of `LiveBroker`.
        max_order_age: As of `LiveBroker`.
        cushion: As of `LiveBroker`.
        shadow: As of `LiveBroker`.

    Raises:
        ConfigError: An option makes no sense, or ib_async is missing.

    Example:
        >>> broker = IBBroker(port=4002, contracts={
        ...     "ES": {"kind": "future", "exchange": "CME", "expiry": "202412"}})
        >>> broker.gateway.is_paper
        True
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 7497,
        client_id: int = 1,
        account: str | None = None,
        *,
        contracts: Mapping[str, Any] | None = None,
        currency: str = "USD",
        paper: bool | None = None,
        answer_seconds: float = 5.0,
        commission_seconds: float = 2.0,
        heartbeat: float = 30.0,
        messages_a_second: float = 40.0,
        commission: Any = None,
        instruments: Iterable[Instrument] = (),
        basket_wait: float = 30.0,
        silence: float = 30.0,
        max_order_age: float = 120.0,
        cushion: float = 0.01,
        shadow: Broker | None = None,
    ) -> None:
        seconds = {
            "answer_seconds": answer_seconds,
            "commission_seconds": commission_seconds,
            "heartbeat": heartbeat,
            "messages_a_second": messages_a_second,
        }
        check_seconds(**seconds)
        check_address(host, port, client_id)
        check_terms(contracts, account, paper)
        gateway = IBGateway(
            host,
            port,
            client_id,
            account=account,
            contracts={} if contracts is None else contracts,
            multipliers=self.multiplier_of,
            currency=currency,
            paper=paper,
            **seconds,
        )
        super().__init__(
            gateway,
            commission=commission,
            instruments=instruments,
            basket_wait=basket_wait,
            silence=silence,
            max_order_age=max_order_age,
            cushion=cushion,
            shadow=shadow,
        )
