"""What holes in the data, and money that is short, cost: seconds of the engine alone.

    python benchmarks/gaps.py

Prints Markdown. Each job runs on the whole data, on data without one bar in a hundred, and on data
whose assets are listed one after the other and of which a tenth ends early. A rebalance runs with
95% of the money, as in the workloads, and with all of it, which the next open often asks too much
of. Medians of runs by turns, each in a process of its own; in brackets, how many times the first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import data
import measure
import workloads as w

JOBS = (
    ("W2", "on_market_data", None),
    ("W3", "on_market_data", None),
    ("W5", "on_market_data", None),
    ("R2", "on_bars", 0.95),
    ("R2", "on_bars", 1.0),
    ("R5", "on_bars", 0.95),
    ("R5", "on_bars", 1.0),
)
KINDS = {"whole": "all bars", "holes": "1% missing", "listed": "listed and delisted"}
RUNS = 7


def path_of(workload, kind):
    """The file of a workload's data, or of a part of it; made if it is missing."""
    whole = data.path_of(workload.data)
    path = whole.with_name(f"{workload.data}_{kind}.parquet")
    if kind == "whole" or path.exists():
        return whole if kind == "whole" else path
    import polars as pl

    frame = pl.read_parquet(whole)
    if kind == "holes":
        kept = pl.int_range(pl.len()).hash(seed=1) % 100 > 0
    else:
        times = frame["timestamp"].unique().sort()
        assets = sorted(frame["asset"].unique().to_list())
        count, steps = len(assets), len(times)
        first = {a: times[steps * i // (2 * count)] for i, a in enumerate(assets)}
        last = {a: times[steps * 7 // 10 if i % 10 == 3 else -1] for i, a in enumerate(assets)}
        name, kind_of = pl.col("asset").cast(pl.String), frame.schema["timestamp"]
        kept = pl.col("timestamp").is_between(
            name.replace_strict(first, return_dtype=kind_of),
            name.replace_strict(last, return_dtype=kind_of),
        )
    frame.filter(kept).write_parquet(path)
    return path


def run_one(name, side, weights, path):
    """One run in this process: prints its seconds."""
    import numpy.ma  # noqa: F401  Polars imports it when it meets a long array

    workload, phase = w.WORKLOADS[name], measure.Phases()
    w.WEIGHTS = weights or w.WEIGHTS
    measure.measure_ours(path, lambda strategies: strategies.make(workload, side), phase, None)
    print(json.dumps(phase.seconds["run"]))


def seconds(name, side, weights):
    """The medians of some runs on each kind of data, by turns."""
    runs = {kind: [] for kind in KINDS}
    for _ in range(RUNS):
        for kind, found in runs.items():
            path = path_of(w.WORKLOADS[name], kind)
            command = [sys.executable, __file__, name, side, str(weights or ""), str(path)]
            done = subprocess.run(command, check=True, capture_output=True)
            found.append(float(done.stdout))
    return [statistics.median(found) for found in runs.values()]


def main():
    print(f"| | {' | '.join(KINDS.values())} |")
    print(f"|---|{'--:|' * len(KINDS)}")
    for name, side, weights in JOBS:
        found = seconds(name, side, weights)
        cells = [f"{found[0]:.3f}", *(f"{one:.3f} ({one / found[0]:.1f})" for one in found[1:])]
        share = "" if weights is None else f", {weights:.0%} invested"
        print(f"| {name} `{side}`{share} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one(sys.argv[1], sys.argv[2], float(sys.argv[3] or 0) or None, sys.argv[4])
    else:
        main()
