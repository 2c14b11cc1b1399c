"""What the broker and the feed of Interactive Brokers may be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.live.checks import positive

_LARGEST_PORT = 65_535
_LARGEST_ID = 2**31 - 1


def check_address(host: Any, port: Any, client_id: Any) -> None:
    """Where TWS is, and our number at it.

    Raises:
        ConfigError: One of them cannot be meant.
    """
    if not isinstance(host, str) or not host.strip():
        raise ConfigError(f'host must be a name or an address such as "127.0.0.1", not {host!r}.')
    _check_whole("port", port, 1, _LARGEST_PORT)
    _check_whole("client_id", client_id, 0, _LARGEST_ID)


def check_terms(contracts: Any, account: Any, paper: Any) -> None:
    """What is traded, where, and with which money.

    Raises:
        ConfigError: One of them cannot be meant.
    """
    if contracts is not None and not isinstance(contracts, Mapping):
        raise ConfigError(
            "contracts must be a dict of asset_id to a contract or to a dict such as "
            f'{{"kind": "future", "symbol": "ES"}}, not {contracts!r}.'
        )
    if account is not None and (not isinstance(account, str) or not account.strip()):
        raise ConfigError(
            f'account must be the name of one, such as "DU1234567", or None, not {account!r}.'
        )
    if paper is not None and not isinstance(paper, bool):
        raise ConfigError(
            f"paper must be True, False, or None to tell it by the port, not {paper!r}."
        )


def check_seconds(**given: Any) -> None:
    """Waits and paces.

    Raises:
        ConfigError: One is no positive number.
    """
    for name, value in given.items():
        positive(name, value)


def _check_whole(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
