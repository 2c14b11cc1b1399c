"""A feed of your own: bars assembled from a stream of prints, with a signal computed on the way.

Run it: python examples/own_feed.py
"""

from collections import deque
from datetime import UTC, datetime, timedelta

import numpy as np

from ml4t.backtest import BacktestEngine, DataFeed, MarketEvent, SimulationBroker, Strategy


class PrintFeed(DataFeed):
    """Five-minute bars from prints (time, price, size), stamped when they are complete."""

    bar_duration = "5m"
    is_session = False

    def __init__(self, asset_id, prints):
        self._asset_id = asset_id
        self._prints = deque(prints)
        self._closes = deque(maxlen=12)

    def is_exhausted(self):
        return not self._prints

    def get_next_event(self):
        if not self._prints:
            return None
        end = self._prints[0][0].replace(second=0)
        end += timedelta(minutes=5 - end.minute % 5)
        inside = []
        while self._prints and self._prints[0][0] < end:
            inside.append(self._prints.popleft())
        prices = [price for _, price, _ in inside]
        self._closes.append(prices[-1])
        signals = {}
        if len(self._closes) == self._closes.maxlen:
            signals["momentum"] = self._closes[-1] / self._closes[0] - 1
        return MarketEvent(
            end,
            self._asset_id,
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            sum(size for _, _, size in inside),
            signals,
        )


class Follow(Strategy):
    """Long while the last hour went up, short while it went down."""

    def on_market_data(self, event):
        momentum = event.signals.get("momentum")
        if momentum is not None and abs(momentum) > 0.001:
            self.order_target_percent(event.asset_id, 0.9 if momentum > 0 else -0.4, tolerance=0.5)


def prints(seed=4):
    """A day of made-up prints, one every 20 seconds."""
    rng = np.random.default_rng(seed)
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    steps = rng.normal(0, 0.0003, 1170).cumsum()
    sizes = rng.integers(1, 20, 1170)
    for i, (step, size) in enumerate(zip(steps, sizes, strict=True)):
        yield (
            start + timedelta(seconds=20 * i),
            round(100 * float(np.exp(step)), 2),
            int(size) * 100,
        )


result = BacktestEngine(
    feed=PrintFeed("XYZ", prints()), strategy=Follow(), broker=SimulationBroker(close_at_end=True)
).run()

for trade in result.trades.iter_rows(named=True):
    print(
        f"{trade['entry_time']:%H:%M} to {trade['exit_time']:%H:%M}  {trade['side']:5} "
        f"{trade['quantity']:5.0f} at {trade['entry_price']:.2f}, P&L {trade['pnl']:8.2f}"
    )
print(f"equity {result.final_equity:,.2f} after {len(result.fills)} fills")
