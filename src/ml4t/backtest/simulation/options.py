"""The options of a simulation: what each may be, and what is said when it is not.

All of these raise a `ConfigError` that names the option.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.simulation.account import Account, UnleveragedAccount
from ml4t.backtest.simulation.financing import BorrowFee
from ml4t.backtest.types.instrument import Instrument

if TYPE_CHECKING:
    from collections.abc import Iterable


def positive(name: str, value: Any) -> float:
    """A positive, finite number."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{name} must be a positive, finite number, not {value!r}.")
    return float(value)


def count(name: str, value: Any) -> int:
    """A whole number from 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number from 1, not {value!r}.")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} must be True or False, not {value!r}.")
    return bool(value)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """One of a few words."""
    if value not in allowed:
        raise ConfigError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}. "
            f"{did_you_mean(str(value), allowed)}"
        )
    return value


def called(name: str, value: Any, default: Any) -> Any:
    """An object that can be called; the default when none was given."""
    if value is None:
        return default
    if isinstance(value, type):
        raise ConfigError(f"{name} takes an object, not a class: write {value.__name__}(...).")
    if not callable(value):
        raise ConfigError(
            f"{name} must be an object that can be called, such as {default!r}, not {value!r}."
        )
    return value


def account_of(account: Any) -> Account:
    """An account; one without leverage when none was given."""
    if account is None:
        return UnleveragedAccount()
    if not isinstance(account, Account):
        raise ConfigError(
            f"account must be an object such as {UnleveragedAccount()!r}, not {account!r}."
        )
    return account


def borrow_of(borrow: Any, instruments: dict[str, Instrument]) -> BorrowFee | None:
    """What shares sold short cost, when anything says so."""
    if isinstance(borrow, BorrowFee):
        return borrow
    has_rates = any(i.borrow_rate is not None for i in instruments.values())
    return BorrowFee(borrow) if has_rates or borrow is not None else None


def currency_of(currency: Any) -> str:
    """The name of a currency."""
    if not isinstance(currency, str) or not currency:
        raise ConfigError(f"currency must be a name such as 'USD', not {currency!r}.")
    return currency


def instruments_by_id(instruments: Iterable[Instrument], currency: str) -> dict[str, Instrument]:
    """Instruments by their `asset_id`, all in the currency of the account."""
    if isinstance(instruments, Instrument):
        raise ConfigError("instruments takes a list; write instruments=[Instrument(...)].")
    by_id: dict[str, Instrument] = {}
    for instrument in instruments:
        if not isinstance(instrument, Instrument):
            raise ConfigError(f"instruments must be Instrument objects, not {instrument!r}.")
        if instrument.asset_id in by_id:
            raise ConfigError(f"instruments names {instrument.asset_id!r} twice.")
        if instrument.currency not in ("", currency):
            raise ConfigError(
                f"Instrument {instrument.asset_id!r} is in {instrument.currency}, the account in "
                f"{currency}: convert its prices, or run it in an account of its own."
            )
        by_id[instrument.asset_id] = instrument
    return by_id


def matching_of(matching: Any, intrabar: str, intrabar_feed: Any) -> Any:
    """How orders take turns, which leaves nothing for the options about the path to decide."""
    if matching is None:
        return None
    if isinstance(matching, type) or not callable(getattr(matching, "run", None)):
        raise ConfigError(f"matching must be an object such as OneByOne(), not {matching!r}.")
    if intrabar != "worst" or intrabar_feed is not None:
        raise ConfigError(
            f"With matching={matching!r} the turn of an order decides what comes first inside a "
            "bar: leave intrabar= and intrabar_feed= out."
        )
    return matching


def admission_of(admission: Any) -> Any:
    """What is asked of an order before it may trade."""
    is_class = isinstance(admission, type)
    if admission is None or (not is_class and callable(getattr(admission, "refused", None))):
        return admission
    raise ConfigError(f"admission must be an object such as CashAtSubmission(), not {admission!r}.")
