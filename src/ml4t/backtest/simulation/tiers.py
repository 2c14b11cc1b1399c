"""A price per unit that falls with what was traded in the month."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.simulation.checks import not_negative, optional_fraction
from ml4t.backtest.simulation.commission import AddableCommission

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from ml4t.backtest.types.instrument import Instrument
    from ml4t.backtest.types.order import Order


class TieredCommission(AddableCommission):
    """Money per unit by the units traded so far in the calendar month.

    Rates are marginal: a fill that crosses a border pays the old rate up to it and the new one
    beyond. Volume is brought forward once a day, so all fills of a day start from the volume of
    the days before, whatever their order. Days and months are those of the timestamps.

    It counts what it is told of, and forgets it when a run starts. A broker whose minimum is for
    an order counts an order that lives on overnight as a new one, and so does this.

    Args:
        tiers: Units traded in the month from which a rate holds, and that rate in money per unit:
            `{0: 0.0035, 300_000: 0.002}`.
        minimum: Least money charged for an order in a session.
        maximum_rate: Most charged for it as a fraction of what is traded: 0.01 is 1 %.

    Raises:
        ConfigError: No tier from 0 on, a negative number, or `maximum_rate` above 1.

    Formula:
        min(max(minimum, Σ rate_i * units in tier i), maximum_rate * notional)

    Source:
        Interactive Brokers, "Stock and ETF Fixed vs. Tiered Pricing Comparison Examples" (marginal
        rates) and "Calculation of Tiered Commission Monthly Trade Value" (once daily).

    Example:
        >>> tiered = TieredCommission({0: 0.0035, 300_000: 0.002})
        >>> round(tiered.between(0, 400_000), 2)  # 300,000 at 0.0035 and 100,000 at 0.002
        1250.0
    """

    charged_per = "session"

    def __init__(
        self,
        tiers: Mapping[int, float] | Mapping[float, float],
        *,
        minimum: float = 0.0,
        maximum_rate: float | None = None,
    ) -> None:
        self.tiers = _tiers(tiers)
        self.minimum = not_negative("TieredCommission", "minimum", minimum)
        self.maximum_rate = optional_fraction("TieredCommission", "maximum_rate", maximum_rate)
        self.start()

    def start(self) -> None:
        """A run begins: nothing has been traded."""
        self._day: date | None = None
        self._before = 0.0  # units of this month, up to the day before `_day`
        self._today = 0.0

    def __call__(
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> float:
        """Money for what is filled of an order in one session."""
        del order
        if quantity <= 0.0:
            return 0.0
        before = self._volume_before(timestamp.date())
        money = max(self.minimum, self.between(before, before + quantity))
        if self.maximum_rate is None:
            return money
        return min(money, self.maximum_rate * (quantity * price * instrument.multiplier))

    def on_fill(
        self,
        order: Order,
        quantity: float,
        price: float,
        timestamp: datetime,
        instrument: Instrument,
        /,
    ) -> None:
        """A fill happened: its units count from the next day on."""
        del order, price, instrument
        day = timestamp.date()
        if day != self._day:
            self._before, self._today, self._day = self._volume_before(day), 0.0, day
        self._today += quantity

    def between(self, low: float, high: float) -> float:
        """Money for the units of a month from the `low`-th to the `high`-th, before any bounds."""
        borders = [*self.tiers, math.inf]
        money = 0.0
        for (start, stop), rate in zip(pairwise(borders), self.tiers.values(), strict=True):
            money += rate * max(0.0, min(high, stop) - max(low, start))
        return money

    def _volume_before(self, day: date) -> float:
        """Units traded in the month of `day` before it."""
        last = self._day
        if last is None or (last.year, last.month) != (day.year, day.month):
            return 0.0
        return self._before if day == last else self._before + self._today


def _tiers(tiers: Any) -> dict[float, float]:
    try:
        found = {
            not_negative("TieredCommission", "tiers", start): not_negative(
                "TieredCommission", "tiers", rate
            )
            for start, rate in dict(tiers).items()
        }
    except (TypeError, ValueError):
        found = {}
    if 0.0 not in found:
        raise ConfigError(
            "TieredCommission: tiers must say from how many units a rate holds, beginning with 0, "
            f"for example {{0: 0.0035, 300_000: 0.002}}; not {tiers!r}."
        )
    return dict(sorted(found.items()))
