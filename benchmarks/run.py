"""Times our engine against bare loops that do the same job, and checks that it is the same job.

    python benchmarks/run.py                              # W1, W2, W3, W5, R2, R5
    python benchmarks/run.py --workloads W2 R2 --repeats 9
    python benchmarks/run.py --workloads W4               # 9.8 million events; the floor takes 4 GB
    python benchmarks/run.py --write                      # and its section of RESULTS.md
    python benchmarks/run.py --guard                      # quick; fails when we have become slow

Every side runs in a process of its own, sides in turn, and the table quotes medians. All read the
same Parquet file with the same Python; loading, preparing and running count on both sides,
imports on neither. Ratios are what can be compared between machines; those of processor time
("CPU") hold on a machine that is busy with other things, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import data
import report
from workloads import COMPARISONS, WORKLOADS

from ml4t.backtest.kernels import is_compiled

HERE = Path(__file__).parent
USUAL = ("W1", "W2", "W3", "W5", "R2", "R5")
REPEATS = 5
GUARD_REPEATS = 3
ONCE_FROM = 5_000_000  # events: longer runs are measured once


class WrongWorkError(Exception):
    """A side did not do the job."""


def measure(workload, side):
    """One side, once: its own seconds by phase, the process' seconds and peak memory."""
    path = str(data.path_of(workload.data))
    found = launch([sys.executable, str(HERE / "measure.py"), workload.name, side, "--path", path])
    check(workload, side, found)
    return found


def launch(command):
    """What a process prints as JSON, with its seconds on the clock and its peak memory."""
    # As after an installation: compiled modules are kept, but not among the sources.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(data.folder().resolve() / "pycache")
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise WrongWorkError(f"{' '.join(command[1:])} ended with {process.returncode}")
    found = json.loads(text)
    found["seconds"]["process"] = seconds
    found["peak_mb"] = usage.ru_maxrss / 1024
    return found


def check(workload, side, found):
    """Fills and final equity must be those of the reference."""
    if side in {"floor_build", "read_only"}:
        return
    expected = (workload.fills, workload.final_equity)
    if side == "empty_on_bars":
        expected = (0, 1_000_000.0)
    given = (found["fills"], round(found["final_equity"], 4))
    if given != expected:
        raise WrongWorkError(
            f"{workload.name} {side}: {given[0]} fills and {given[1]:,.4f} at the end; "
            f"the reference has {expected[0]} and {expected[1]:,.4f}"
        )


def collect(comparisons, repeats):
    """Medians by (workload, side): every side once, then every side again, ..."""
    sides = dict.fromkeys((c.workload, side) for c in comparisons for side in (c.floor, c.side))
    sides |= {(c.workload, "read_only"): None for c in comparisons if c.workload == "W1"}
    runs = {key: [] for key in sides}
    for repeat in range(repeats + 1):
        for name, side in sides:
            if repeat != 1 and (repeats == 1 or WORKLOADS[name].events > ONCE_FROM):
                continue
            found = measure(WORKLOADS[name], side)
            if repeat:  # the first round fills the caches
                runs[name, side].append(found)
            progress(f"{name} {side}: {found['seconds']['total']:.3f} s")
    progress("")
    return {key: median_of(found) for key, found in runs.items()}


def median_of(runs):
    names = runs[0]["seconds"]
    medians = {n: statistics.median(run["seconds"][n] for run in runs) for n in names}
    medians["cpu"] = statistics.median(run["cpu"]["total"] for run in runs)
    medians["peak_mb"] = statistics.median(run["peak_mb"] for run in runs)
    return medians


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="", file=sys.stderr, flush=True)


COLUMNS = (
    *("", "hook", "against", "**ratio**", "target", "CPU", "engine alone", "events/s"),
    *("seconds", "floor", "process", "floor", "peak MB", "floor"),
)


def row(comparison, ours, floor):
    events = WORKLOADS[comparison.workload].events
    hook = "`on_bars`, empty" if comparison.side == "empty_on_bars" else f"`{comparison.side}`"
    return (
        comparison.workload,
        hook,
        f"`{comparison.floor}`",
        f"**{ours['total'] / floor['total']:.2f}**",
        "" if comparison.target is None else f"{comparison.target:g}",
        f"{ours['cpu'] / floor['cpu']:.2f}",
        f"{ours['run'] / floor['run']:.2f}",
        f"{events / ours['total']:,.0f}",
        f"{ours['total']:.3f}",
        f"{floor['total']:.3f}",
        f"{ours['process']:.2f}",
        f"{floor['process']:.2f}",
        f"{ours['peak_mb']:.0f}",
        f"{floor['peak_mb']:.0f}",
    )


def table(comparisons, medians):
    """The table of ratios, as Markdown."""
    rows = [row(c, medians[c.workload, c.side], medians[c.workload, c.floor]) for c in comparisons]
    lines = [report.markdown(COLUMNS, rows, words=3)]
    reading = medians.get(("W1", "read_only"))
    if reading:
        ours = medians["W1", "on_market_data"]["process"]
        text = (
            f"W1 as a whole process takes {ours:.2f} s, {ours / reading['process']:.2f} times a "
            f"process that imports Polars and reads the file ({reading['process']:.2f} s)."
        )
        lines += ["", text]
    return "\n".join(lines)


SECTION = """\
Written by `python benchmarks/run.py --write`.

{about}

{table}
"""


def about(repeats):
    return f"{report.about()}; medians of {repeats} (W4: one run)."


def guard():
    """Whether we are as fast as we were, give or take much; measured again before it says no."""
    if not is_compiled:
        print("The kernels are not compiled here; the limits are for those that are.")
        return 0
    comparisons = [c for c in COMPARISONS if c.limit is not None]
    for _ in range(2):
        medians = collect(comparisons, GUARD_REPEATS)
        print(table(comparisons, medians))
        slow = [c for c in comparisons if ratio(c, medians) > c.limit]
        if not slow:
            return 0
        for c in slow:
            print(
                f"{c.workload} through {c.side} takes {ratio(c, medians):.2f}x {c.floor}; "
                f"the limit is {c.limit:g}x"
            )
        comparisons = slow
    return 1


def ratio(comparison, medians):
    """In processor time, which other work on the machine disturbs less than the clock."""
    c = comparison
    return medians[c.workload, c.side]["cpu"] / medians[c.workload, c.floor]["cpu"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), default=USUAL)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--guard", action="store_true", help="fail when beyond the limits")
    args = parser.parse_args()
    if args.guard:
        return guard()
    comparisons = [c for c in COMPARISONS if c.workload in args.workloads]
    text = table(comparisons, collect(comparisons, args.repeats))
    print(f"{about(args.repeats)}\n\n{text}")
    if args.write:
        section = SECTION.format(about=about(args.repeats), table=text)
        report.write_section("Against bare Python", section)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WrongWorkError as error:
        sys.exit(f"wrong work: {error}")
