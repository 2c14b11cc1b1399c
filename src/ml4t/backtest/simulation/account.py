"""What every account is, and the one without leverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.kernels import total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.simulation.holdings import Holdings
    from ml4t.backtest.types.bars import Bars
    from ml4t.backtest.types.events import News
    from ml4t.backtest.types.instrument import Instrument


class Account:
    """The terms on which positions may be opened and kept.

    Derive an account of your own and override what differs; as it stands it has no leverage and
    settles at once. Every run works on a copy of the object that a broker was given, which
    `start` prepares.

    Attributes:
        leverage: Largest sum of absolute weights that `rebalance_to_weights` accepts.
        can_short: Whether a sale may open a position.
        has_calls: Whether `maintenance` is watched.
        ends_at_zero: Whether an account without equity is closed, and the run with it.
        commission_counts: Whether an entry must leave enough for its commission.
        covers_are_paid: Whether a purchase that closes a short must be paid from cash, too, and
            is cut like an entry. Elsewhere what closes a position always trades.
        asks_entries: Whether shorts count at the price they were sold at: `free` looks at
            `holdings.short_cost`, and a short sale uses its proceeds instead of its notional and
            slippage.

    Formula:
        free = cash + Σ value - Σ |value| * initial      value is signed, short is negative
        An entry uses its notional times `initial`, its slippage, and its commission.

    Example:
        >>> class Careful(Account):
        ...     '''Keeps a tenth of the money.'''
        ...     def free(self, holdings):
        ...         return super().free(holdings) - 0.1 * holdings.cash
    """

    leverage: float = 1.0
    can_short: bool = True
    has_calls: bool = False
    ends_at_zero: bool = True
    commission_counts: bool = True
    covers_are_paid: bool = False
    asks_entries: bool = False

    def free(self, holdings: Holdings) -> float:
        """Money that entries may use, asked after the exits of a moment."""
        values = holdings.values
        bound = np.abs(values) * self.initial(holdings.codes, np.sign(values))
        return holdings.cash + total(values - bound)

    def cover_money(self, cash: float) -> float:
        """Money that closes shorts, where `covers_are_paid`."""
        return cash

    def initial(self, codes: Any, sign: Any) -> Any:
        """Initial margin: the share of its notional that an entry binds.

        Args:
            codes: The asset's code, or a column of them.
            sign: 1 for a purchase, -1 for a short sale; likewise.
        """
        del codes, sign
        return 1.0

    def maintenance(self, codes: Any, sign: Any) -> Any:
        """Maintenance margin: the share of a position's value that equity must not fall below.

        Args:
            codes: As for `initial`.
            sign: 1 for a long position, -1 for a short one; likewise.
        """
        del codes, sign
        return 0.0

    def leverage_with(self, instruments: Iterable[Instrument]) -> float:
        """`leverage` where these instruments are traded.

        Raises:
            ConfigError: An instrument has a margin, and this account knows none.
        """
        for instrument in instruments:
            if instrument.initial_margin is not None or instrument.maintenance_margin is not None:
                raise ConfigError(
                    f"Instrument {instrument.asset_id!r} has a margin, which counts in a "
                    f"MarginAccount alone: give account=MarginAccount(), not {self!r}."
                )
        return self.leverage

    def power(self, free: float) -> float:
        """The notional of purchases that `free` money pays for."""
        return free

    def shortage(self, holdings: Holdings) -> str:
        """What else explains that money was not enough; an empty string when nothing does."""
        del holdings
        return ""

    # -- during a run -------------------------------------------------------------------------

    def start(self, portfolio: Portfolio, calendar: TradingCalendar | None) -> None:
        """A run begins.

        Args:
            portfolio: Read only.
            calendar: The engine's, if it has one.
        """

    def is_due(self, bars: Bars) -> bool:
        """Whether `enter` would have something to do."""
        del bars
        return False

    def enter(self, bars: Bars) -> None:
        """Before anything trades in `bars`: what is due settles."""

    def book(self, news: News, bars: Bars) -> None:
        """News of `bars` that the portfolio is about to book."""

    def unsettled(self) -> float:
        """Proceeds of sales that are in the cash and not yet settled."""
        return 0.0

    def counts(self) -> dict[str, int]:
        """What a reader of the result should know about, counted over the run."""
        return {}


class UnleveragedAccount(Account):
    """The default account: gross exposure never exceeds equity when an entry is made.

    Longs are paid in cash, so cash never falls below zero through them. Shorts are fully
    collateralised: the proceeds of the sale and as much again are set aside. Sales settle at once.

    Formula:
        free = cash - 2 * short_value
        An entry uses its notional, its slippage and its commission, long or short.
    """

    def free(self, holdings: Holdings) -> float:
        """Money that entries may use; the general formula with an initial margin of 1."""
        return holdings.cash - 2.0 * holdings.short_value

    def __repr__(self) -> str:
        return "UnleveragedAccount()"
