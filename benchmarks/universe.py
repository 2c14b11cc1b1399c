"""Three thousand assets over four thousand sessions: every day the best 5% in equal weights.

Makes a file of twelve million rows, a year of sessions at a time. Prints, as JSON, the seconds of
our engine by what they went for: opening and reading the file, the strategy's own decisions, and
the engine itself, which is the rest. Fills and final equity are compared with those of a plain
loop over days.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import data
import measure
import numpy as np
import workloads as w

TOP_SHARE = 0.05
BLOCK = 250  # sessions that are made at a time
UNIVERSE = w.Workload("U", "daily_3000", "1d", 3000, 4000, "rebalance", 0, 0.0)
TOP_N = int(UNIVERSE.assets * TOP_SHARE)
EACH = w.WEIGHTS / TOP_N
PRICES = ("open", "high", "low", "close")


def path():
    """The file, made if it is missing."""
    target = data.folder() / f"{UNIVERSE.data}.parquet"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        data.write(target, blocks())
    return target


def blocks():
    """Tables of a year each; prices go on where those of the year before ended."""
    times, close = data.timestamps("1d", UNIVERSE.bars), None
    for start in range(0, UNIVERSE.bars, BLOCK):
        bars = min(BLOCK, UNIVERSE.bars - start)
        columns = data.make("1d", UNIVERSE.assets, bars, data.SEED + 1000 + start)
        if close is not None:
            scale = close / columns["open"][0]
            for name in PRICES:
                columns[name] = np.maximum(np.round(columns[name] * scale, 2), 0.01)
        close = columns["close"][-1]
        yield data.table_of(columns, times[start : start + bars])


def days():
    """Opens, closes and predictions of each day."""
    import pyarrow.parquet as pq

    names = ["open", "close", "ml_pred"]
    file = pq.ParquetFile(path())
    # Row groups hold whole days: a year of sessions is less than a million rows.
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=names)
        matrices = [table[name].to_numpy().reshape(-1, UNIVERSE.assets) for name in names]
        yield from zip(*matrices, strict=True)


def expected():
    """Fills and final equity by a plain loop."""
    cash, fills = w.INITIAL_CASH, 0
    held = wanted = np.zeros(UNIVERSE.assets)
    for open_, close, prediction in days():
        change = wanted - held
        cash -= change @ open_ + w.COMMISSION * (np.abs(change) @ open_)
        fills += np.count_nonzero(change)
        held = wanted
        equity = cash + held @ close
        best = np.argsort(-prediction)[:TOP_N]
        wanted = np.zeros(UNIVERSE.assets)
        wanted[best] = np.floor(EACH * equity / close[best])
    return int(fills), float(equity)


def main():
    source = str(path())
    phase = measure.Phases()
    spent = {"reading": 0.0, "strategy": 0.0}
    with phase("import"):
        import numpy.ma  # noqa: F401  Polars imports it when it first meets an array

        from ml4t.backtest import BacktestEngine, PercentCommission, SimulationBroker, Strategy

    class Best(Strategy):
        def on_bars(self, bars):
            start = perf_counter()
            weights = dict.fromkeys(bars.top("ml_pred", TOP_N), EACH)
            spent["strategy"] += perf_counter() - start
            self.rebalance_to_weights(weights)

    def reading(chunks):
        found = chunks()
        while True:
            start = perf_counter()
            chunk = next(found, None)
            spent["reading"] += perf_counter() - start
            if chunk is None:
                return
            yield chunk

    with phase("total"):
        commission = PercentCommission(w.COMMISSION)
        broker = SimulationBroker(w.INITIAL_CASH, commission=commission)
        engine = BacktestEngine(source, strategy=Best(), broker=broker)
        chunks = engine.clock.chunks
        engine.clock.prepare = measure.timed(phase, "load", engine.clock.prepare)
        engine.clock.chunks = lambda: reading(chunks)
        result = engine.run()
        equity = result.final_equity
    spent["reading"] += phase.seconds.pop("load")
    seconds = {**phase.seconds, **spent, "run": phase.seconds["total"] - sum(spent.values())}
    print(json.dumps({"seconds": seconds, "fills": result.fills.height, "final_equity": equity}))


if __name__ == "__main__":
    if sys.argv[1:] == ["expected"]:
        print(json.dumps(dict(zip(("fills", "final_equity"), expected(), strict=True))))
    else:
        main()
