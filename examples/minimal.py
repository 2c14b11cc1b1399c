"""The smallest useful backtest: prices with a column of predictions, and one rule.

Run it: python examples/minimal.py
"""

from ml4t.backtest import BacktestEngine, PercentCommission, SimulationBroker, Strategy
from ml4t.backtest.testing.markets import random_market


class Threshold(Strategy):
    """Holds a fifth of equity in what is predicted to rise."""

    def on_market_data(self, event):
        prediction = event.signals.get("ml_pred", 0)
        if prediction > 1.0:
            self.order_target_percent(event.asset_id, 0.2)
        elif prediction < -1.0:
            self.close_position(event.asset_id)


# Five assets for a year; the predictions are worth a little.
prices = random_market(assets=5, sessions=250, seed=3, information=0.1)

result = BacktestEngine(
    prices,
    strategy=Threshold(),
    broker=SimulationBroker(commission=PercentCommission(0.0005)),
).run()

print(result.summary().rsplit("\n", 2)[0])  # all but the fingerprint
print()
print(result.explain("A00", "2024-02-01"))
