"""The margin account: positions bind a share of their value, and must keep another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.account import Account

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.instrument import Instrument


class MarginAccount(Account):
    """Positions bind a share of their value; below another share the broker liquidates.

    Entries are judged by initial margin when they fill, at the prices of that moment and after
    the exits of it; what is held counts with its initial margin too. Once the equity at a close
    is below the maintenance margin, a margin call follows, see `MarginCall`.

    The shares of an `Instrument` come before those of the account. What regulators ask beyond
    shares is not in it: no minimum equity of 2,000, no minimum per share for cheap shorts, no
    pattern day trading, no memorandum account that keeps yesterday's gains.

    Args:
        initial: Initial margin of longs: 0.5 buys for twice the equity.
        maintenance: Maintenance margin of longs.
        short_initial: Initial margin of shorts, beside the proceeds, which stay in the account.
        short_maintenance: Maintenance margin of shorts, likewise.

    Attributes:
        leverage: 1 over the smallest initial margin, those of instruments included.

    Formula:
        equity = cash + Σ value                      value is signed, short is negative
        free = equity - Σ |value| * initial
        buying power = free / initial                of a long without a margin of its own
        call where equity < Σ |value| * maintenance
        An entry uses its notional times `initial`, its slippage and its commission.

    Sources:
        Regulation T, 12 CFR 220.12: 50 percent of a long, 150 of a short, proceeds included.
        FINRA Rule 4210 (c): 25 percent of longs, 30 percent of shorts.

    Raises:
        ConfigError: A margin that is not above 0, one of longs above 1, or maintenance above
            initial.

    Example:
        >>> MarginAccount().leverage, MarginAccount(initial=0.25).leverage
        (2.0, 4.0)
    """

    has_calls = True
    _portfolio: Portfolio

    def __init__(
        self,
        initial: float = 0.5,
        maintenance: float = 0.25,
        *,
        short_initial: float = 0.5,
        short_maintenance: float = 0.30,
    ) -> None:
        self.long = _shares("", initial, maintenance, largest=1.0)
        self.short = _shares("short_", short_initial, short_maintenance, largest=math.inf)
        self.leverage = 1.0 / min(self.long[0], self.short[0])
        self._columns: dict[tuple[int, bool], np.ndarray] = {}

    def __repr__(self) -> str:
        (initial, maintenance), (short_initial, short_maintenance) = self.long, self.short
        return (
            f"MarginAccount(initial={initial!r}, maintenance={maintenance!r}, "
            f"short_initial={short_initial!r}, short_maintenance={short_maintenance!r})"
        )

    def initial(self, codes: Any, sign: Any) -> Any:
        """Initial margin of entries."""
        return self._margin(0, codes, sign)

    def maintenance(self, codes: Any, sign: Any) -> Any:
        """Maintenance margin of positions."""
        return self._margin(1, codes, sign)

    def power(self, free: float) -> float:
        """The notional of longs, without a margin of their own, that `free` money pays for."""
        return free / self.long[0]

    def leverage_with(self, instruments: Iterable[Instrument]) -> float:
        """As `leverage`, with the margins of some instruments.

        Raises:
            ConfigError: An instrument whose maintenance margin, or the account's where it has
                none, is above its initial margin.
        """
        smallest = 1.0 / self.leverage
        for instrument in instruments:
            for shares in (self.long, self.short):
                initial, maintenance = _own(instrument, shares)
                if maintenance > initial:
                    raise ConfigError(
                        f"Instrument {instrument.asset_id!r}: the maintenance margin {maintenance} "
                        f"is above the initial margin {initial}, so every entry would be called "
                        "at once. Give the instrument both."
                    )
                smallest = min(smallest, initial)
        return 1.0 / smallest

    def start(self, portfolio: Portfolio, calendar: TradingCalendar | None) -> None:
        """A run begins."""
        del calendar
        self._portfolio = portfolio
        self._columns = {}

    def _margin(self, which: int, codes: Any, sign: Any) -> Any:
        longs = self._column(which, is_long=True)[codes]
        return np.where(sign > 0.0, longs, self._column(which, is_long=False)[codes])

    def _column(self, which: int, *, is_long: bool) -> np.ndarray:
        """One margin by asset code; made anew when the run has gained assets."""
        instruments = self._portfolio.instruments
        column = self._columns.get((which, is_long))
        if column is None or len(column) < len(instruments):
            shares = self.long if is_long else self.short
            column = np.array([_own(instrument, shares)[which] for instrument in instruments])
            self._columns[which, is_long] = column
        return column


def _own(instrument: Instrument, shares: tuple[float, float]) -> tuple[float, float]:
    """Initial and maintenance margin of an instrument, or those of the account."""
    initial, maintenance = instrument.initial_margin, instrument.maintenance_margin
    return (
        shares[0] if initial is None else initial,
        shares[1] if maintenance is None else maintenance,
    )


def _shares(kind: str, initial: Any, maintenance: Any, *, largest: float) -> tuple[float, float]:
    for name, share in (("initial", initial), ("maintenance", maintenance)):
        is_number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
        if not is_number or not (0 < share <= largest and math.isfinite(share)):
            most = "" if math.isinf(largest) else " and at most 1"
            raise ConfigError(
                f"MarginAccount: {kind}{name} is a share of the value, above 0{most}, "
                f"not {share!r}."
            )
    if maintenance > initial:
        raise ConfigError(
            f"MarginAccount: {kind}maintenance={maintenance} is above {kind}initial={initial}, "
            "so every entry would be called at once."
        )
    return float(initial), float(maintenance)
