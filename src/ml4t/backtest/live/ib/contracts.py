"""Which contract of the broker an asset is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.live.ib.vendor import Contract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_KINDS = {
    "stock": "STK", "future": "FUT", "fx": "CASH", "crypto": "CRYPTO", "option": "OPT",
    "index": "IND", "cfd": "CFD", "bond": "BOND",
}  # fmt: skip
_PLACES = {"STK": "SMART", "CASH": "IDEALPRO", "CRYPTO": "PAXOS"}
_FIELDS = {
    "symbol": "symbol",
    "exchange": "exchange",
    "currency": "currency",
    "primary_exchange": "primaryExchange",
    "expiry": "lastTradeDateOrContractMonth",
    "multiplier": "multiplier",
    "local_symbol": "localSymbol",
    "trading_class": "tradingClass",
    "strike": "strike",
    "right": "right",
    "con_id": "conId",
}
_SHOWN = 6


class UnclearContractError(ConfigError):
    """No contract, or more than one, is what an asset was said to be."""


class Contracts:
    """The broker's contracts of assets.

    Args:
        given: By `asset_id`: a contract of ib_async, or its fields in a few words. Other assets
            are stocks of their name.
        multipliers: Money per point of an asset, as the run counts it; None for prices alone.
        currency: Of stocks that are not named.

    Raises:
        ConfigError: A field that there is not.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        multipliers: Callable[[str], float] | None,
        *,
        currency: str = "USD",
    ) -> None:
        self._given = {asset_id: _read(asset_id, spec) for asset_id, spec in given.items()}
        self._multiplier = multipliers
        self._currency = currency
        self._found: dict[str, Contract] = {}
        self._assets: dict[int, str] = {}

    @property
    def given(self) -> list[str]:
        """The assets that were named."""
        return list(self._given)

    def wanted(self, asset_id: str) -> Contract:
        """What an asset was said to be."""
        found = self._given.get(asset_id)
        if found is not None:
            return found
        return Contract(secType="STK", symbol=asset_id, exchange="SMART", currency=self._currency)

    async def find(
        self, asset_id: str, ask: Callable[[Contract], Awaitable[list[Any]]]
    ) -> Contract:
        """The broker's contract of an asset; asked for once.

        Args:
            asset_id: The asset.
            ask: Gives the broker's details of what fits a contract.

        Raises:
            UnclearContractError: None, or several; lists them.
        """
        known = self._found.get(asset_id)
        if known is not None:
            return known
        wanted = self.wanted(asset_id)
        details = await ask(wanted)
        candidates = [one.contract for one in details if one.contract.secType == wanted.secType]
        if len(candidates) != 1:
            raise UnclearContractError(_unclear(asset_id, wanted, candidates))
        found: Contract = candidates[0]
        if wanted.exchange == "SMART":
            found.exchange = "SMART"
        self._check(asset_id, found)
        self._found[asset_id] = found
        self._assets[found.conId] = asset_id
        return found

    def _check(self, asset_id: str, found: Contract) -> None:
        if self._multiplier is None:
            return
        theirs, ours = float(found.multiplier or 1.0), self._multiplier(asset_id)
        if theirs != ours:
            raise UnclearContractError(
                f"A point of {asset_id!r} is {theirs:g} money at Interactive Brokers, and {ours:g} "
                f"here: pass instruments=[Instrument(asset_id={asset_id!r}, "
                f"multiplier={theirs:g})]."
            )

    def asset_of(self, contract: Contract) -> str:
        """The asset that a contract of the broker's is."""
        known = self._assets.get(contract.conId)
        if known is not None:
            return known
        is_plain = contract.secType == "STK" and contract.currency == self._currency
        return contract.symbol if is_plain else contract.localSymbol or contract.symbol


def _read(asset_id: str, spec: Any) -> Contract:
    if isinstance(spec, Contract):
        return spec
    if not isinstance(spec, dict):
        raise ConfigError(
            f"contracts[{asset_id!r}] must be a contract of ib_async or a dict such as "
            f"{{'kind': 'future', 'symbol': 'ES', 'exchange': 'CME', 'expiry': '202406'}}, "
            f"not {spec!r}."
        )
    words = dict(spec)
    kind = words.pop("kind", "stock")
    if kind not in _KINDS:
        raise ConfigError(
            f"contracts[{asset_id!r}]: no kind={kind!r}. {did_you_mean(str(kind), _KINDS)}"
        )
    sec_type = _KINDS[kind]
    fields = {"symbol": asset_id, "currency": "USD", "exchange": _PLACES.get(sec_type, "")}
    for name, value in words.items():
        if name not in _FIELDS:
            raise ConfigError(
                f"contracts[{asset_id!r}] has no {name!r}. {did_you_mean(name, ['kind', *_FIELDS])}"
            )
        fields[name] = value
    named: dict[str, Any] = {_FIELDS[name]: value for name, value in fields.items()}
    return Contract(secType=sec_type, **named)


def _unclear(asset_id: str, wanted: Contract, candidates: list[Contract]) -> str:
    what = _show(wanted)
    if not candidates:
        return (
            f"Interactive Brokers knows no contract for {asset_id!r} ({what}): say what it is with "
            f"contracts={{{asset_id!r}: ...}}."
        )
    shown = "; ".join(_show(one) for one in candidates[:_SHOWN])
    more = "; ..." if len(candidates) > _SHOWN else ""
    return (
        f"Interactive Brokers has {len(candidates)} contracts for {asset_id!r} ({what}): {shown}"
        f"{more}. Say which with contracts={{{asset_id!r}: ...}}."
    )


def _show(contract: Contract) -> str:
    words = (
        contract.secType,
        contract.localSymbol or contract.symbol,
        contract.lastTradeDateOrContractMonth,
        contract.primaryExchange or contract.exchange,
        contract.currency,
        f"con_id={contract.conId}" if contract.conId else "",
    )
    return " ".join(word for word in words if word)
