"""What an account holds at one moment, at the prices of that moment."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from ml4t.backtest.kernels import total

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars

Moved = tuple["np.ndarray | list[int]", "np.ndarray | list[float]"]
"""Codes of the positions that changed, and their signed units now."""
_FEW = 32


class Marks(Protocol):
    """Prices by row of a chunk: a column, or what can be asked like one."""

    def __getitem__(self, rows: Any, /) -> Any:
        """The prices of some rows, float64[n]."""


class Holdings:
    """Cash and positions after the exits of a moment; worked out when somebody looks.

    Args:
        portfolio: What was held before; read only.
        cash: Money after the exits, the proceeds of short sales included.
        moved: What changed since; nothing when left out.
        bars: The moment's bars; without them everything is worth its last close.
        prices: The moment's price of every row of the chunk: its open or its close column.
        proceeds: What sales of this timestamp brought, net of commission; part of `cash`.
        entries: Average entry prices that changed since, by code.
    """

    def __init__(
        self,
        portfolio: Portfolio,
        cash: float,
        *,
        moved: Moved = ([], []),
        bars: Bars | None = None,
        prices: Marks | None = None,
        proceeds: float = 0.0,
        entries: Mapping[int, float] | None = None,
    ) -> None:
        self.portfolio = portfolio
        self.cash = cash
        self.proceeds = proceeds
        self._moved = moved
        self._bars = bars
        self._prices = prices
        self._entries = entries

    @cached_property
    def quantity(self) -> np.ndarray:
        """Signed units by code."""
        quantity = self.portfolio.quantity
        codes, units = self._moved
        if len(codes):
            quantity = quantity.copy()
            quantity[codes] = units
        return quantity

    @cached_property
    def codes(self) -> np.ndarray:
        """The assets that are held, by code."""
        codes: np.ndarray = (self.quantity != 0.0).nonzero()[0]
        return codes

    @cached_property
    def values(self) -> np.ndarray:
        """Signed market value of each of `codes`."""
        codes, portfolio = self.codes, self.portfolio
        price = portfolio.last_prices()[codes]
        if self._bars is not None and self._prices is not None:
            rows = self._bars.chunk_rows_of_codes(codes)
            has_bar = rows >= 0
            price[has_bar] = self._prices[rows[has_bar]]
        values: np.ndarray = self.quantity[codes] * price * portfolio.multiplier[codes]
        return values

    @property
    def short_value(self) -> float:
        """Market value of what is sold short, positive."""
        units = self._moved[1]
        if not isinstance(units, list):  # of a few numbers NumPy's least is the slower one
            units = units.tolist() if len(units) <= _FEW else [units.min().item()]
        lowest = min(units, default=0.0)
        if not self.portfolio.short_count and lowest >= 0.0:
            return 0.0  # long only: the usual case
        values = self.values
        short = values[values < 0.0]
        return -total(short) if len(short) else 0.0

    @property
    def short_cost(self) -> float:
        """What was got for what is sold short, at average entry prices; positive."""
        shorts: np.ndarray = (self.quantity < 0.0).nonzero()[0]
        if not len(shorts):
            return 0.0
        portfolio, entries = self.portfolio, self._entries or {}
        price = portfolio.entry_price[shorts]
        for row, code in enumerate(shorts.tolist()):
            price[row] = entries.get(code, price[row])
        return -total(self.quantity[shorts] * price * portfolio.multiplier[shorts])
