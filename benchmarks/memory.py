"""Peak memory: of files that are read in parts, and of context beside five hundred assets.

    python benchmarks/memory.py            # makes 3.5 GB of files in .data, takes minutes

Each figure is the peak resident memory of a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import data
import workloads as w

LONG = w.Workload("M", "minute_100_quarter", "1m", 100, 63 * 390, "threshold", 0, 0.0)
LENGTHS = (1, 4, 40)
NAMES = [f"macro_{i}" for i in range(10)]


def long_file(times):
    """A quarter's minutes of a hundred assets, over and over: `times` times 2.5 million rows."""
    path = data.folder() / f"{LONG.data}_x{times}.parquet"
    if not path.exists():
        import pyarrow.parquet as pq

        base = data.folder() / f"{LONG.data}.parquet"
        base.parent.mkdir(parents=True, exist_ok=True)
        if not base.exists():
            columns = data.make(LONG.frequency, LONG.assets, LONG.bars, data.SEED)
            stamps = data.timestamps(LONG.frequency, LONG.bars)
            data.write(base, [data.table_of(columns, stamps)])
        data.write(path, repeated(pq.read_table(base), times))
    return path


def repeated(table, times):
    """The table over and over, each time a quarter later."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stamps = table["timestamp"]
    weeks = pa.scalar(13 * 7 * 24 * 3600 * 10**9, pa.duration("ns"))  # past the last session
    for _ in range(times):
        yield table.set_column(0, "timestamp", stamps)
        stamps = pc.add(stamps, weeks)


def run_long(times, side):
    import strategies

    from ml4t.backtest import BacktestEngine

    engine = BacktestEngine(long_file(times), strategy=strategies.make(LONG, side))
    return engine.run().final_equity


def run_context(how):
    """Ten market-wide columns: left out, as `Context`, or repeated for every asset."""
    import numpy as np
    import polars as pl
    import strategies

    from ml4t.backtest import BacktestEngine, Context

    prices = pl.read_parquet(data.path_of("daily_500"))
    times = prices["timestamp"].unique().sort()
    rng = np.random.default_rng(1)
    macro = pl.DataFrame({"timestamp": times, **{n: rng.normal(size=len(times)) for n in NAMES}})
    options = {}
    if how == "context":
        options["context"] = Context(macro)
    elif how == "embedded":
        prices = prices.join(macro, on="timestamp", maintain_order="left")
    BacktestEngine(prices, strategy=strategies.Empty(), **options).run()
    held = {"context": macro, "embedded": prices.select(pl.col("^macro_.*$"))}.get(how)
    return 0.0 if held is None else held.estimated_size("mb")


def peak_mb(*arguments):
    """Peak resident memory of this file run with `arguments`, in MB."""
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE
    )
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments} ended with {process.returncode}")
    return usage.ru_maxrss / 1024, json.loads(said)


def main():
    print("| rows | file MB | `on_bars`, empty: peak MB | `on_market_data`, threshold: peak MB |")
    print("|--:|--:|--:|--:|")
    for times in LENGTHS:
        path = long_file(times)
        peaks = [peak_mb("long", times, side)[0] for side in ("empty_on_bars", "on_market_data")]
        cells = (LONG.events * times, path.stat().st_size / 1e6, *peaks)
        print("|" + "|".join(f" {cell:,.0f} " for cell in cells) + "|")
    print("\n| ten context columns beside 500 assets x 2,520 days | columns MB | peak MB |")
    print("|---|--:|--:|")
    for how in ("none", "context", "embedded"):
        peak, size = peak_mb("context", how)
        print(f"| {how} | {size:.2f} | {peak:,.0f} |")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "long":
        print(json.dumps(run_long(int(sys.argv[2]), sys.argv[3])))
    else:
        print(json.dumps(run_context(sys.argv[2])))
