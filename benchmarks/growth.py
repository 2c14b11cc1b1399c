"""How the time of our engine grows: with timestamps, with assets, with orders, and on a large case.

    python benchmarks/growth.py            # prints the tables
    python benchmarks/growth.py --write    # and writes the section of RESULTS.md

Microseconds a bar (or an order) that stay the same mean time that grows with the work and no
faster. Every run is a process of its own; the tables quote medians of the engine alone, when
opening the data is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

import data
import measure
import report
import run
import universe
import workloads as w

REPEATS = 3
BARS = [(50, bars) for bars in (500, 1000, 2000, 4000, 8000)]
ASSETS = [(assets, 1000) for assets in (10, 50, 250, 1000)]
SIDES = ("on_market_data", "empty_on_bars")
TRADED = 100  # assets of the runs that count orders
ORDERS = [(1000, 1), (1000, 10), (250, 100), (1000, 100), (4000, 100)]  # timestamps, orders at each


def workload(assets, bars):
    return w.Workload("G", f"growth_{assets}x{bars}", "1d", assets, bars, "threshold", 0, 0.0)


def path_of(job):
    path = data.folder() / f"{job.data}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = data.make("1d", job.assets, job.bars, data.SEED + job.events)
        data.write(path, [data.table_of(columns, data.timestamps("1d", job.bars))])
    return str(path)


def child(assets, bars, side, orders):
    """One run in this process, as a line of JSON."""
    job, phase = workload(assets, bars), measure.Phases()
    traded = data.asset_names(assets)[:orders]

    def make(strategies):
        return strategies.Steady(traded) if side == "orders" else strategies.make(job, side)

    fills, _ = measure.measure_ours(path_of(job), make, phase, None)
    print(json.dumps({"seconds": phase.seconds, "fills": fills}))


def seconds(assets, bars, side, orders=0):
    """Median seconds of the engine alone; the first run fills the caches."""
    path_of(workload(assets, bars))
    command = [sys.executable, __file__, "child", *map(str, (assets, bars, side, orders))]
    found = [run.launch(command) for _ in range(REPEATS + 1)][1:]
    expected = orders * (bars - 1)  # what is sent at the last bar never fills
    if side == "orders" and found[0]["fills"] != expected:
        raise run.WrongWorkError(f"{found[0]['fills']} fills instead of {expected}")
    return statistics.median(one["seconds"]["run"] for one in found)


def size_rows(sizes):
    for assets, bars in sizes:
        events = assets * bars
        costs = [1e6 * seconds(assets, bars, side) / events for side in SIDES]
        yield f"{assets:,}", f"{bars:,}", f"{events:,}", *(f"{cost:.3f}" for cost in costs)


def order_rows():
    idle = {}
    for bars, orders in ORDERS:
        if bars not in idle:
            idle[bars] = seconds(TRADED, bars, "orders")
        sent = orders * bars
        taken = seconds(TRADED, bars, "orders", orders) - idle[bars]
        yield f"{orders:,}", f"{bars:,}", f"{sent:,}", f"{1e6 * taken / sent:.2f}"


def universe_table():
    """The large case."""
    universe.path()
    right, runs = universe.expected(), []
    for _ in range(REPEATS):
        found = run.launch([sys.executable, universe.__file__])
        given = (found["fills"], found["final_equity"])
        if given[0] != right[0] or abs(given[1] / right[1] - 1) > 1e-9:
            raise run.WrongWorkError(f"{given} instead of {right}")
        runs.append(found)
    names, events = ("total", "reading", "strategy", "run"), universe.UNIVERSE.events
    spent = {n: statistics.median(one["seconds"][n] for one in runs) for n in names}
    cells = (
        f"{events:,}",
        f"{right[0]:,}",
        *(f"{spent[name]:.2f}" for name in names),
        f"**{events / spent['run']:,.0f}**",
        f"{events / spent['total']:,.0f}",
        f"{statistics.median(one['peak_mb'] for one in runs):,.0f}",
    )
    return report.markdown(UNIVERSE_COLUMNS, [cells], words=0)


BAR_COLUMNS = (
    *("assets", "timestamps", "bars"),
    *("threshold, `on_market_data`: µs a bar", "empty `on_bars`: µs a bar"),
)
ORDER_COLUMNS = ("orders a timestamp", "timestamps", "orders", "µs an order")
UNIVERSE_COLUMNS = (
    *("asset-bars", "fills", "seconds", "reading", "strategy", "engine"),
    *("asset-bars/s, engine", "asset-bars/s, all", "peak MB"),
)
SECTION = """\
Written by `python benchmarks/growth.py --write`. Engine alone, medians of {repeats}.

{about}.

With the number of timestamps:

{bars}

{bars_chart}

With the number of assets:

{assets}

{assets_chart}

With the number of market orders, sent through `buy` and `sell` from `on_bars` to {traded} assets.
The time of a run that sends none is taken off:

{orders}

{names:,} assets, {days:,} sessions, the best {top:.0%} of every day in equal weights, by `on_bars`.
Reading is opening the file and reading it in parts; the strategy is its choice of the best:

{universe}
"""


def charted(sizes, axis, at):
    """A table of sizes, and the cost of a bar over one of its columns."""
    rows = list(size_rows(sizes))
    table = report.markdown(BAR_COLUMNS, rows, words=0)
    costs = [float(row[3]) for row in rows]
    title = "Threshold strategy through on_market_data"
    return table, report.chart(title, axis, [row[at] for row in rows], "µs a bar", costs)


def section():
    bars, bars_chart = charted(BARS, "timestamps of 50 assets", at=1)
    assets, assets_chart = charted(ASSETS, "assets over 1,000 timestamps", at=0)
    return SECTION.format(
        repeats=REPEATS,
        about=report.about(),
        bars=bars,
        bars_chart=bars_chart,
        assets=assets,
        assets_chart=assets_chart,
        traded=TRADED,
        orders=report.markdown(ORDER_COLUMNS, order_rows(), words=0),
        names=universe.UNIVERSE.assets,
        days=universe.UNIVERSE.bars,
        top=universe.TOP_SHARE,
        universe=universe_table(),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    args = parser.parse_args()
    text = section()
    print(text)
    if args.write:
        report.write_section("Growth", text)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        try:
            sys.exit(main())
        except run.WrongWorkError as error:
            sys.exit(f"wrong work: {error}")
