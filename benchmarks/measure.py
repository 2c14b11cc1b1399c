"""One side of one workload, in a process of its own: prints one line of JSON.

    python benchmarks/measure.py W2 on_market_data [--profile out.prof]

Sides are ours (`on_market_data`, `on_bars`, `empty_on_bars`), the floors (`floor_build`,
`floor_engine`), and `read_only`, which imports Polars and reads the file.
"""

from __future__ import annotations

import argparse
import cProfile
import json
from contextlib import contextmanager
from time import perf_counter, process_time

import workloads as w

OURS = ("on_market_data", "on_bars", "empty_on_bars")
FLOORS = ("floor_build", "floor_engine")
SHORT = 5_000  # rows: less is handed to Polars as lists


class Phases:
    """Seconds by phase, in order: on the clock, and of the processor in all threads."""

    def __init__(self):
        self.seconds = {}
        self.cpu = {}

    @contextmanager
    def __call__(self, name):
        start, cpu_start = perf_counter(), process_time()
        yield
        self.seconds[name] = perf_counter() - start
        self.cpu[name] = process_time() - cpu_start

    def combine(self, name, plus, minus=()):
        """A phase that is made up of others."""
        for found in (self.seconds, self.cpu):
            found[name] = sum(found[n] for n in plus) - sum(found[n] for n in minus)


def measure_ours(path, make, phase, profile):
    """Fills and final equity of our engine; `make` gets the module of strategies, returns one."""
    with phase("import"):
        import strategies

        from ml4t.backtest import (
            BacktestEngine,
            PercentCommission,
            SimulationBroker,
        )
    with profiled(profile), phase("total"):
        engine = BacktestEngine(
            path,
            strategy=make(strategies),
            broker=SimulationBroker(w.INITIAL_CASH, commission=PercentCommission(w.COMMISSION)),
        )
        engine.clock.prepare = timed(phase, "load", engine.clock.prepare)
        result = engine.run()
        equity = result.final_equity
    phase.combine("run", ["total"], minus=["load"])
    with phase("frames"):
        _, fills = result.equity, result.fills.height
    return fills, equity


def timed(phase, name, function):
    """The function, with the seconds of its first call noted."""

    def call():
        if name in phase.seconds:
            return function()
        with phase(name):
            return function()

    return call


def measure_floor(workload, path, side, phase, profile):
    with phase("import"):
        import floors
    with phase("load"):
        times, names, columns = floors.load(path, workload.assets)
    with phase("prepare"):
        rows = floors.prepare(times, names, columns)
    account = floors.Account(workload.budget)
    fills, equity = None, None
    with profiled(profile), phase("run"):
        if side == "floor_build":
            floors.run_build(rows, account)
        else:
            strategy = (
                floors.Threshold()
                if workload.strategy == "threshold"
                else floors.Rebalance(names[-1], workload.top_n)
            )
            fills, equity = floors.run_engine(rows, strategy, account)
    phase.combine("total", ["load", "prepare", "run"])
    return fills, equity


def measure_read(path, phase):
    with phase("import"):
        import polars as pl
    with phase("total"):
        pl.read_parquet(path)


@contextmanager
def profiled(path):
    if path is None:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    yield
    profile.disable()
    profile.dump_stats(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(w.WORKLOADS))
    parser.add_argument("side", choices=[*OURS, *FLOORS, "read_only"])
    parser.add_argument("--path", help="the Parquet file; made when missing by default")
    parser.add_argument("--profile", help="write cProfile statistics here")
    args = parser.parse_args()
    workload, path = w.WORKLOADS[args.workload], args.path
    if path is None:
        import data

        path = str(data.path_of(workload.data))
    phase, fills, equity = Phases(), None, None
    if args.side in OURS:
        if workload.events > SHORT:
            import numpy.ma  # noqa: F401  Polars imports it when it meets a long array
        fills, equity = measure_ours(
            path, lambda strategies: strategies.make(workload, args.side), phase, args.profile
        )
    elif args.side in FLOORS:
        fills, equity = measure_floor(workload, path, args.side, phase, args.profile)
    else:
        measure_read(path, phase)
    found = {"seconds": phase.seconds, "cpu": phase.cpu, "fills": fills, "final_equity": equity}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
