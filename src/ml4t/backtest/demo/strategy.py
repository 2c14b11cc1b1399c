"""A strategy to copy: trade a model's predictions, with an eye on the market as a whole."""

from __future__ import annotations

from typing import Any

from ml4t.backtest import Bars, Strategy


class PredictedReturns(Strategy):
    """Holds what is predicted to rise, and less of it when the market is rough.

    Reads the signal `predicted_return` of each asset, and from the context `market_trend` (the
    index against its own average) and `market_volatility` (of the index, a year).
    """

    def __init__(self, hurdle: float = 0.002, calm: float = 0.25) -> None:
        self.hurdle = hurdle  # smaller predictions do not pay for the trade
        self.calm = calm  # volatility up to which the money is fully used

    def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
        """Decide the whole portfolio after each close; it trades at the next open."""
        budget = min(1.0, self.calm / context.get("market_volatility", 1.0))
        if context.get("market_trend", 0.0) < 0.0:
            budget /= 2
        wanted = [
            event.asset_id
            for event in bars
            if event.signals.get("predicted_return", 0.0) > self.hurdle
        ]
        self.rebalance_to_weights({a: budget / len(bars) for a in wanted}, tolerance=0.05)
