"""What an account may buy or sell short."""

from __future__ import annotations

from typing import Protocol


class Account(Protocol):
    """How much money new entries may use, asked after the exits of a moment."""

    leverage: float

    def free(self, cash: float, short_value: float, /) -> float:
        """Money that entries may use; `short_value` is positive."""
        ...


class UnleveragedAccount:
    """The default account: gross exposure never exceeds equity when an entry is made.

    Longs are paid in cash, so cash never falls below zero through them. Shorts are fully
    collateralised: the proceeds of the sale and as much again are set aside.

    Formula:
        free = cash - 2 * short_value
        An entry uses its notional, its slippage and its commission, long or short.
    """

    leverage = 1.0

    def free(self, cash: float, short_value: float) -> float:
        """Money that entries may use.

        Args:
            cash: After the exits of this moment; short proceeds are in it.
            short_value: Market value of what is sold short, positive.
        """
        return cash - 2.0 * short_value

    def __repr__(self) -> str:
        return "UnleveragedAccount()"
