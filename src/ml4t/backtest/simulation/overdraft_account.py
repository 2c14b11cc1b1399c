"""An account that asks for little: cash, down to an overdraft, and nothing for shorts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.account import Account
from ml4t.backtest.simulation.checks import is_number

if TYPE_CHECKING:
    from ml4t.backtest.simulation.holdings import Holdings


class OverdraftAccount(Account):
    """Pays purchases from cash, down to an overdraft; a short sale brings cash and binds nothing.

    No broker offers these terms. Many simulators have them, and this account says what they are:
    the proceeds of a short sale buy something else at once, losses of shorts are never called,
    and a run may go on when its equity is gone. Compare with them; do not believe them.

    Args:
        limit: How far below zero purchases may take the cash; `math.inf` checks nothing.
        ends_at_zero: Whether an account without equity is closed, and the run with it.
        covers_are_paid: Whether a purchase that closes a short is cut, too, to what the cash and
            the overdraft pay for, when the proceeds have bought something else.

    Formula:
        free = cash + limit
        An entry uses its notional (a short sale: less than nothing) and its commission.

    Raises:
        ConfigError: `limit` is no number from 0, or a switch is neither True nor False.

    Example:
        >>> OverdraftAccount()
        OverdraftAccount(limit=0.0, ends_at_zero=False, covers_are_paid=False)
    """

    leverage = math.inf

    def __init__(
        self, limit: float = 0.0, *, ends_at_zero: bool = False, covers_are_paid: bool = False
    ) -> None:
        if not is_number(limit) or not limit >= 0.0:
            raise ConfigError(f"OverdraftAccount: limit must be a number from 0, not {limit!r}.")
        given = {"ends_at_zero": ends_at_zero, "covers_are_paid": covers_are_paid}
        for name, value in given.items():
            if not isinstance(value, bool):
                raise ConfigError(f"OverdraftAccount: {name} must be True or False, not {value!r}.")
        self.limit = float(limit)
        self.ends_at_zero = ends_at_zero
        self.covers_are_paid = covers_are_paid

    def __repr__(self) -> str:
        return (
            f"OverdraftAccount(limit={self.limit}, ends_at_zero={self.ends_at_zero}, "
            f"covers_are_paid={self.covers_are_paid})"
        )

    def free(self, holdings: Holdings) -> float:
        """Money that entries may use."""
        return holdings.cash + self.limit

    def cover_money(self, cash: float) -> float:
        """Money that closes shorts, where `covers_are_paid`."""
        return cash + self.limit

    def initial(self, codes: Any, sign: Any) -> Any:
        """All of a purchase; of a short sale the whole notional comes in instead."""
        del codes
        return sign
