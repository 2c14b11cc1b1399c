"""What an order itself does to the price it gets.

Impact is paid by the fill that causes it. The prices that follow are those of the data: they do not
remember the order, so a strategy that trades the same asset in many small steps pays too little.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.simulation.checks import not_negative
from ml4t.backtest.simulation.slippage import BarSlippage
from ml4t.backtest.simulation.spread import lacks_number

if TYPE_CHECKING:
    from ml4t.backtest.types.bars import ExecutionBar


class VolumeShareSlippage(BarSlippage):
    """Impact that grows with the square of the share of the bar's volume that a fill takes.

    It does not limit how much fills: a fill of more than the bar's volume is priced by the same
    formula, far outside of what the formula is good for. Each fill counts for itself.

    Args:
        price_impact: Fraction of the price lost by a fill of a whole bar's volume.
        fallback: What to lose, as a fraction of the price, on bars without volume. Without it,
            a fill in a bar whose volume is zero or missing is an error.

    Raises:
        ConfigError: `price_impact` is negative.
        DataError: A fill's bar has no volume, and there is no fallback.

    Formula:
        reference * (1 + sign * price_impact * (quantity / volume)²)
        sign is 1 for buys, -1 for sells

    Source:
        zipline-reloaded 3.2, `zipline.finance.slippage.VolumeShareSlippage`, whose default is 0.1
        too. A rule of thumb: no fit to executions was published with it.

    Example:
        A tenth of the bar's volume loses a thousandth of the price:

        >>> from datetime import datetime
        >>> from ml4t.backtest.types.bars import ExecutionBar
        >>> from ml4t.backtest.types.order import Order
        >>> bar = ExecutionBar(datetime(2024, 1, 2), "A", 50, 51, 49, 50, 1_000, reference=50.0)
        >>> round(VolumeShareSlippage()(Order("A", "buy", 100), bar, 100.0), 6)
        50.05
    """

    def __init__(self, price_impact: float = 0.1, *, fallback: float | None = None) -> None:
        super().__init__(fallback)
        self.price_impact = not_negative("VolumeShareSlippage", "price_impact", price_impact)

    def lacks(self, bar: ExecutionBar) -> str:
        """Whether the bar has no volume."""
        return _lacks_volume(bar)

    def distance(self, bar: ExecutionBar, quantity: float) -> float:
        """Money per unit lost to impact."""
        return self.price_impact * (quantity / bar.volume) ** 2 * bar.reference


class SquareRootImpact(BarSlippage):
    """The square-root law: impact grows with the root of the share of the volume.

    Volatility and volume belong to the same time. With daily bars that is a day. The law keeps its
    form over other times, because volatility grows with the root of time and volume with time: for
    minute bars give the volatility of a minute.

    The law was measured on orders that were worked in many pieces through one day or a few, and
    says how far the last piece moved the price. Here it is charged on the whole fill, which is the
    careful side: the average piece would pay two thirds of it.

    Args:
        coefficient: The factor Y, of the order of one.
        volatility: Standard deviation of the return over one bar, as a fraction (0.02 is 2 %), or
            the name of the column that has it.
        fallback: What to lose, as a fraction of the price, on bars without volume or volatility.
            Without it, a fill in such a bar is an error.

    Raises:
        ConfigError: A negative `coefficient` or `volatility`.
        DataError: A fill's bar has no volume or no volatility, and there is no fallback.

    Formula:
        reference * (1 + sign * Y * σ * sqrt(Q / V))
        sign is 1 for buys, -1 for sells; Y coefficient, σ volatility, Q quantity, V volume

    Source:
        Tóth, Lempérière, Deremble, de Lataillade, Kockelkoren and Bouchaud, "Anomalous Price Impact
        and the Critical Nature of Liquidity in Financial Markets", Physical Review X 1, 021006
        (2011), equation 1, with Y of order one. Before it as a trading-cost rule: Torre, "BARRA
        Market Impact Model Handbook" (1997). Almgren, Thum, Hauptmann and Li, "Direct Estimation of
        Equity Market Impact", Risk 18 (2005), measured an exponent of 3/5 in place of 1/2.

    Example:
        One percent of the volume at 2 % volatility loses 20 basis points:

        >>> from datetime import datetime
        >>> from ml4t.backtest.types.bars import ExecutionBar
        >>> from ml4t.backtest.types.order import Order
        >>> bar = ExecutionBar(datetime(2024, 1, 2), "A", 50, 51, 49, 50, 1_000, reference=50.0)
        >>> round(SquareRootImpact(volatility=0.02)(Order("A", "sell", 10), bar, 10.0), 6)
        49.9
    """

    def __init__(
        self,
        coefficient: float = 1.0,
        *,
        volatility: float | str,
        fallback: float | None = None,
    ) -> None:
        super().__init__(fallback)
        self.coefficient = not_negative("SquareRootImpact", "coefficient", coefficient)
        self.volatility = (
            volatility
            if isinstance(volatility, str)
            else not_negative("SquareRootImpact", "volatility", volatility)
        )

    def lacks(self, bar: ExecutionBar) -> str:
        """Whether the bar has no volume, or its column no volatility."""
        if not isinstance(self.volatility, str):
            return _lacks_volume(bar)
        lacking = _lacks_volume(bar) or lacks_number(bar, self.volatility)
        if lacking or bar.signals[self.volatility] >= 0.0:
            return lacking
        return f"its {self.volatility} is negative"

    def distance(self, bar: ExecutionBar, quantity: float) -> float:
        """Money per unit lost to impact."""
        named = self.volatility
        sigma = float(bar.signals[named]) if isinstance(named, str) else named
        return self.coefficient * sigma * math.sqrt(quantity / bar.volume) * bar.reference


def _lacks_volume(bar: ExecutionBar) -> str:
    if bar.volume > 0.0:
        return ""
    return "its bar has no volume" if math.isnan(bar.volume) else f"its volume is {bar.volume:g}"
