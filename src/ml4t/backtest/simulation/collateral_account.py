"""An account that binds shorts at the price they were sold at, and forgets what they have lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.account import Account

if TYPE_CHECKING:
    from ml4t.backtest.simulation.holdings import Holdings


class CollateralAccount(Account):
    """Pays purchases from cash; a short sale binds its proceeds and as much again until it closes.

    As the default account, but shorts count at the average price they were sold at: what they
    gain or lose since is noticed when they are closed. Some simulators work like this. With it,
    losses of shorts neither keep an entry from being made nor end a run unless `ends_at_zero`.

    Args:
        commission_counts: Whether an entry must leave enough for its commission. Where it need
            not, commissions may take the cash below zero; then nothing is opened any more.
        ends_at_zero: Whether an account without equity is closed, and the run with it.

    Formula:
        free = cash - 2 * Σ units sold short * average entry price
        An entry uses units * price, slippage included, and (if it counts) its commission.

    Raises:
        ConfigError: An argument is neither True nor False.

    Example:
        >>> CollateralAccount()
        CollateralAccount(commission_counts=True, ends_at_zero=True)
    """

    asks_entries = True

    def __init__(self, *, commission_counts: bool = True, ends_at_zero: bool = True) -> None:
        given = {"commission_counts": commission_counts, "ends_at_zero": ends_at_zero}
        for name, value in given.items():
            if not isinstance(value, bool):
                raise ConfigError(
                    f"CollateralAccount: {name} must be True or False, not {value!r}."
                )
        self.commission_counts = commission_counts
        self.ends_at_zero = ends_at_zero

    def __repr__(self) -> str:
        return (
            f"CollateralAccount(commission_counts={self.commission_counts}, "
            f"ends_at_zero={self.ends_at_zero})"
        )

    def free(self, holdings: Holdings) -> float:
        """Money that entries may use."""
        return holdings.cash - 2.0 * holdings.short_cost
