"""The runs people ask about: events a second, peak memory, and where the time goes.

    python benchmarks/scenarios.py             # all five; the last makes a file of 300 MB
    python benchmarks/scenarios.py W2 W5

Prints Markdown. Rates are medians of runs without a profiler; the functions are those with the
most time of their own under one.
"""

from __future__ import annotations

import pstats
import statistics
import subprocess
import sys
from pathlib import Path

import data
import run
from workloads import WORKLOADS

SCENARIOS = {
    "W1": "daily, 1 asset, 5 years",
    "W2": "daily, 100 assets, 5 years",
    "W3": "minutes, 10 assets, 1 year",
    "W4": "minutes, 100 assets, 1 year",
    "W5": "daily, 500 assets, 10 years",
}
SIDE = "on_market_data"
SHOWN = 6


def hottest(name):
    """(share, function) of the functions with the most own time, waiting for files left out."""
    target = data.folder() / f"{name}.prof"
    command = [sys.executable, str(Path(run.__file__).with_name("measure.py")), name, SIDE]
    subprocess.run([*command, "--profile", str(target)], check=True, stdout=subprocess.DEVNULL)
    stats = pstats.Stats(str(target))
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:SHOWN]
    return [(own / stats.total_tt, label(key)) for key, (_, _, own, _, _) in rows]


def label(key):
    file, _, function = key
    path = Path(file)
    if "backtest" in path.parts:
        return f"{'/'.join(path.parts[path.parts.index('backtest') + 1 :])}: {function}"
    return f"{path.name}: {function}" if path.suffix else function


def main():
    names = sys.argv[1:] or list(SCENARIOS)
    print("| | events | seconds | events/s | engine alone, events/s | peak MB |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in names:
        workload = WORKLOADS[name]
        runs = [run.measure(workload, SIDE) for _ in range(1 if name == "W4" else 3)]
        total, alone = (
            statistics.median(r["seconds"][phase] for r in runs) for phase in ("total", "run")
        )
        peak = statistics.median(r["peak_mb"] for r in runs)
        cells = (workload.events, workload.events / total, workload.events / alone, peak)
        events, rate, alone_rate, peak = (f"{cell:,.0f}" for cell in cells)
        print(
            f"| {SCENARIOS[name]} | {events} | {total:.3f} | {rate} | {alone_rate} | {peak} |",
            flush=True,
        )
    for name in names:
        print(f"\n{SCENARIOS[name]}:\n")
        for share, function in hottest(name):
            print(f"- {share:.0%} `{function}`", flush=True)


if __name__ == "__main__":
    main()
