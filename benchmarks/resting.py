"""What resting orders cost: seconds of the engine alone, with a way out that rests at the broker.

    python benchmarks/resting.py

Prints Markdown. The strategy of the workloads without its stop, whose exits rest instead: rules
over positions, brackets, and entries by limit orders. Medians of runs by turns, each in a process
of its own; and how many times those of the first line.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

import data
import measure
import workloads as w

WAYS = {
    "none": "nothing rests",
    "stop": "stop-loss rule",
    "both": "and take-profit rule",
    "trail": "trailing-stop rule",
    "bracket": "brackets",
    "limit": "entries by day limits",
}
RUNS = 5
RULES = {
    "stop": {"set_stop_loss": 0.05},
    "both": {"set_stop_loss": 0.05, "set_take_profit": 0.1},
    "trail": {"set_trailing_stop": 0.08},
}


def strategy(budget, way):
    """The strategy, with this way in and out."""
    from ml4t.backtest import Strategy

    class Resting(Strategy):
        def on_start(self):
            for name, percent in RULES.get(way, {}).items():
                getattr(self, name)(percent=percent)

        def on_market_data(self, event):
            asset, signals = event.asset_id, event.signals
            if self.get_position(asset):
                if signals["ml_pred"] < w.SELL_BELOW:
                    self.close_position(asset)
            elif signals["ml_pred"] > w.BUY_ABOVE and signals["confidence"] > w.SURE_ABOVE:
                enter(self, way, asset, int(budget / event.close), event.close)

    return Resting()


def enter(strategy, way, asset, shares, close):
    """Order as this way does."""
    if way == "bracket":
        strategy.bracket(asset, shares, stop_loss=close * 0.95, take_profit=close * 1.1)
    elif way != "limit":
        strategy.buy(asset, shares)
    elif not strategy.get_open_orders(asset):
        strategy.buy(asset, shares, limit_price=close * 0.99, time_in_force="day")


def run_one(name, way):
    """One run in this process: prints its seconds, fills and orders."""
    import numpy.ma  # noqa: F401  Polars imports it when it meets a long array

    from ml4t.backtest import BacktestEngine, PercentCommission, SimulationBroker

    workload, phase = w.WORKLOADS[name], measure.Phases()
    engine = BacktestEngine(
        str(data.path_of(workload.data)),
        strategy=strategy(workload.budget, way),
        broker=SimulationBroker(w.INITIAL_CASH, commission=PercentCommission(w.COMMISSION)),
    )
    engine.clock.prepare()
    with phase("run"):
        result = engine.run()
    print(phase.seconds["run"], len(result.fills), len(result.orders))


def main():
    print("| | | seconds | times | fills | orders |")
    print("|---|---|--:|--:|--:|--:|")
    for name, said in (("W2", "daily, 100 assets"), ("W3", "minutes, 10 assets")):
        runs = {way: [] for way in WAYS}
        for _ in range(RUNS):
            for way, found in runs.items():
                command = [sys.executable, __file__, name, way]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append(tuple(map(float, done.stdout.split())))
        least = None
        for way, found in runs.items():
            seconds = statistics.median(one for one, _, _ in found)
            least = least or seconds
            _, fills, orders = found[0]
            cells = f"{seconds:.3f} | {seconds / least:.1f} | {fills:,.0f} | {orders:,.0f}"
            print(f"| {said} | {WAYS[way]} | {cells} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one(*sys.argv[1:])
    else:
        main()
