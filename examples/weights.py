"""A portfolio in the top decile of the predictions, long only, decided every day.

Predictions come as a table of their own, and the market's trend as context.
Run it: python examples/weights.py
"""

import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    Context,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import random_market


class TopDecile(Strategy):
    """Equal weights in the tenth of the assets with the highest predictions."""

    def on_bars(self, bars, context):
        best = bars.top("score", max(1, len(bars) // 10))
        invested = 0.95 if context.get("trend", 0.0) > 0.0 else 0.5
        self.rebalance_to_weights(dict.fromkeys(best, invested / len(best)), tolerance=0.005)
        self.record(invested=invested)


market = random_market(assets=50, sessions=500, seed=8, information=0.05)
prices = market.drop("ml_pred")
scores = market.select("timestamp", "asset_id", score="ml_pred")

index = prices.group_by("timestamp").agg(pl.col("close").mean()).sort("timestamp")
trend = index.select("timestamp", trend=pl.col("close") / pl.col("close").rolling_mean(20) - 1)

result = BacktestEngine(
    prices,
    signals=scores,
    context=Context(trend),
    strategy=TopDecile(),
    broker=SimulationBroker(
        initial_cash=1_000_000,
        commission=PercentCommission(0.0005),
        slippage=BasisPointSlippage(2),
    ),
).run()

print(f"return a year   {result.cagr:8.2%}")
print(f"Sharpe          {result.sharpe:8.2f}")
print(f"max drawdown    {result.max_drawdown:8.2%}")
print(f"turnover a year {result.turnover:8.2f}")
print(f"costs           {result.costs:8,.0f}")
print(f"trades          {len(result.trades):8,}")
print()
print("What trades earned, by the score that opened them:")
for row in result.by_signal("score", buckets=3).iter_rows(named=True):
    scores = f"{row['low']:5.2f} to {row['high']:4.2f}"
    print(f"  {scores}  {row['trades']:4} trades  {row['average_return']:+.2%}")
