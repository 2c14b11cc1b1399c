"""Times other backtest engines beside ours, at the same job on the same file.

    python benchmarks/run_peers.py --write                # all, and the section of RESULTS.md
    python benchmarks/run_peers.py --peers bt --workloads W2 R2 --repeats 5

The first run gives each peer an environment of its own, with the versions that stand in
`peers/requirements`. Every run is a process of its own, sides in turn; long ones are measured
once. Fills and final equity are compared with the reference: ours must be equal to it, of a peer
the table says how far off it is.

What was run is kept until all is done: started again, a session that was broken off goes on
(`--anew` begins afresh).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import data
import report
import run
from peer_environments import environment, progress
from workloads import WORKLOADS

HERE = Path(__file__).parent
REPEATS = 3
LONG = 10  # seconds of an engine's own run: measured once
OURS = {"threshold": ("on_market_data", "on_bars"), "rebalance": ("on_bars", "on_market_data")}
WARM_UP_BARS = 30

# How often each calls Python, which is most of what separates them.
PEERS = {
    "vectorbt": "never: compiled",
    "bt": "per bar",
    "nautilus": "per asset and bar",
    "pybroker": "per asset and bar",
    "backtesting": "per bar of one asset",
    "backtrader": "per bar",
    "zipline": "per bar",
    "akquant": "per asset and bar",
}
CALLS = PEERS | {"on_market_data": "per asset and bar", "on_bars": "per bar"}
# The plan: everything runs whole, but the slow ones take the first bars only.
FIRST_BARS = {("akquant", "W3"): 9_828, ("akquant", "W5"): 252, ("akquant", "R5"): 252}
CANNOT = {("backtesting", "R2"), ("backtesting", "R5")}  # holds one asset at a time


@dataclass(frozen=True)
class Job:
    """A workload, or its first bars."""

    workload: str
    bars: int

    @property
    def whole(self):
        return WORKLOADS[self.workload]

    @property
    def part(self):
        return replace(self.whole, bars=self.bars)

    @property
    def path(self):
        if self.bars == self.whole.bars:
            return data.path_of(self.whole.data)
        return data.first_bars(self.whole.data, self.whole.assets, self.bars)

    @property
    def title(self):
        title = f"{self.workload}: {self.part.events:,} events"
        return title if self.bars == self.whole.bars else f"{title}, its first {self.bars:,} bars"


# -- runs ------------------------------------------------------------------------------------


def command(side, job, python):
    if side in PEERS:
        head = [str(python), str(HERE / "peers" / f"peer_{side}.py"), job.workload]
    else:
        head = [sys.executable, str(HERE / "measure.py"), job.workload, side]
    return [*head, "--path", str(job.path)]


def warm_up(peer, python, names):
    """Once without a clock: modules and what a peer compiles are kept from then on."""
    strategies = {WORKLOADS[name].strategy for name in names}
    for name in ("W2", "R2"):
        if WORKLOADS[name].strategy in strategies and (peer, name) not in CANNOT:
            attempt(peer, Job(name, WARM_UP_BARS), python)


def attempt(side, job, python):
    """What one run found; None if it failed."""
    try:
        return run.launch(command(side, job, python))
    except run.WrongWorkError as error:
        progress(f"{job.title}: {error}")
        return None


def plan(peers, names):
    """The sides of each job, ours first."""
    jobs = {}
    for name in names:
        for peer in peers:
            if (peer, name) not in CANNOT:
                bars = FIRST_BARS.get((peer, name), WORKLOADS[name].bars)
                jobs.setdefault(Job(name, bars), []).append(peer)
    return {job: [*OURS[job.whole.strategy], *sides] for job, sides in jobs.items()}


def collect(jobs, pythons, repeats):
    """All runs by (job, side): every side once, then every side again, ..."""
    runs = {(job, side): [] for job, sides in jobs.items() for side in sides}
    for key, one in earlier():
        if key in runs:
            runs[key].append(one)
    failed = set()
    for repeat in range(repeats):
        for (job, side), found in runs.items():
            is_done = len(found) > repeat or (found and found[0]["seconds"]["run"] > LONG)
            if is_done or (job, side) in failed:
                continue
            one = attempt(side, job, pythons.get(side))
            if one is None:
                failed.add((job, side))
                continue
            found.append(one)
            keep(job, side, one)
            seconds = one["seconds"]
            progress(f"{job.title}, {side}: {seconds['run']:.3f} s of {seconds['process']:.1f}")
    return runs


def kept():
    """Where the runs of a session stand until all are done."""
    return data.folder() / "peers.jsonl"


def keep(job, side, one):
    with kept().open("a", encoding="utf-8") as file:
        file.write(json.dumps([job.workload, job.bars, side, one]) + "\n")


def earlier():
    """The runs of a session that was broken off."""
    if kept().exists():
        for line in kept().read_text(encoding="utf-8").splitlines():
            workload, bars, side, one = json.loads(line)
            yield (Job(workload, bars), side), one


def reference(job):
    """Fills and final equity that are right: known for a whole workload, else of bare Python."""
    if job.bars == job.whole.bars:
        return job.whole.fills, job.whole.final_equity
    found = run.launch(command("floor_engine", job, None))
    return found["fills"], found["final_equity"]


def difference(found, right):
    """How far a run is from the reference."""
    fills, equity = found["fills"] - right[0], found["final_equity"] - right[1]
    if fills == 0 and abs(equity) < 0.005:
        return "equal"
    return f"{fills:+d} fills, {equity:+,.2f}"


# -- the tables ------------------------------------------------------------------------------

COLUMNS = (
    *("engine", "Python is called", "against the reference", "engine alone, s", "events/s"),
    *("**x ours**", "CPU, x ours", "process, s", "x ours", "peak MB", "runs"),
)


def medians(found):
    return {
        "run": statistics.median(one["seconds"]["run"] for one in found),
        "cpu": statistics.median(one["cpu"]["run"] for one in found),
        "process": statistics.median(one["seconds"]["process"] for one in found),
        "peak_mb": statistics.median(one["peak_mb"] for one in found),
    }


def table(job, sides, runs):
    """One job's engines, the fastest first; the factors are to the first of our sides."""
    right, figures, checks = reference(job), {}, {}
    for side in sides:
        found = runs[job, side]
        if found:
            figures[side] = medians(found)
            checks[side] = difference(found[-1], right)
    ours = sides[0]
    for side in OURS[job.whole.strategy]:
        if checks.get(side) != "equal":
            raise run.WrongWorkError(f"{job.title}, {side}: {checks.get(side, 'failed')}")
    rows = [
        row(side, job, checks[side], figures[side], figures[ours], len(runs[job, side]))
        for side in sorted(figures, key=lambda side: figures[side]["run"])
    ]
    failed = [side for side in sides if side not in figures]
    lines = [report.markdown(COLUMNS, rows, words=3)]
    lines += [f"Failed: {', '.join(failed)}."] if failed else []
    return "\n\n".join(lines)


def row(side, job, check, figures, ours, count):
    return (
        side if side in PEERS else f"**ours**, `{side}`",
        CALLS[side],
        check,
        f"{figures['run']:.3f}",
        f"{job.part.events / figures['run']:,.0f}",
        f"**{figures['run'] / ours['run']:.2f}**",
        f"{figures['cpu'] / ours['cpu']:.2f}",
        f"{figures['process']:.2f}",
        f"{figures['process'] / ours['process']:.2f}",
        f"{figures['peak_mb']:.0f}",
        str(count),
    )


WRITTEN = (
    "Written by `python benchmarks/run_peers.py --write`. Where the factors by the clock and of "
    "processor time (CPU) differ, the machine had other work: the latter hold better."
)


def section(tables, runs, missing):
    """The text of the section; jobs that were not run now keep the tables they have."""
    firsts = [found[0] for (_, side), found in runs.items() if side in PEERS and found]
    versions = sorted({f"{one['name']} {one['version']}" for one in firsts})
    lines = [
        WRITTEN,
        f"Ours: {report.about()}. Peers, on the same Python: {', '.join(versions)}.",
    ]
    if missing:
        lines.append(f"Could not be installed on this Python: {', '.join(missing)}.")
    stand = report.split(report.written().get("Peers", ""), "### ") | tables
    titles = [job.title for job in plan(PEERS, run.USUAL)]
    return "\n\n".join([*lines, *(f"### {t}\n\n{stand[t]}" for t in titles if t in stand)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--peers", nargs="+", choices=sorted(PEERS), default=list(PEERS))
    parser.add_argument("--workloads", nargs="+", choices=run.USUAL, default=run.USUAL)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--anew", action="store_true", help="forget a session that was broken off")
    args = parser.parse_args()
    if args.anew:
        kept().unlink(missing_ok=True)
    pythons = {peer: environment(peer) for peer in args.peers}
    able = [peer for peer, python in pythons.items() if python]
    for peer in able:
        warm_up(peer, pythons[peer], args.workloads)
    jobs = plan(able, args.workloads)
    runs = collect(jobs, pythons, args.repeats)
    tables = {job.title: table(job, sides, runs) for job, sides in jobs.items()}
    for title, text in tables.items():
        print(f"\n### {title}\n\n{text}")
    if args.write:
        missing = [peer for peer in args.peers if peer not in able]
        report.write_section("Peers", section(tables, runs, missing))
    kept().unlink()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except run.WrongWorkError as error:
        sys.exit(f"wrong work: {error}")
