"""Plays every strategy in all four ways, and writes what came of it.

    python -m tests.live.four_ways_page            # says what is not as it should be
    python -m tests.live.four_ways_page --write    # likewise, and writes docs/four-ways.md

Ends with an error when a difference is found that nobody knows, or one that is known has gone.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from tests.live import four_strategies
from tests.live.four_ways import (
    OPEN,
    PLAYS,
    ROOT,
    SHARES,
    Play,
    Verdict,
    compare,
    complaints,
    recorded,
    run,
)

PAGE = ROOT / "docs" / "four-ways.md"
_SHOWN = 6  # of the differences of one way

INTRODUCTION = """\
# One strategy, four ways

<!-- Written by `make four-ways`; do not edit. -->

The same class, unchanged, on the same recorded day: as a backtest, in shadow, and live with two \
brokers.

| way | bars | predictions | orders |
|---|---|---|---|
| backtest | a table | a column of it | simulated |
| shadow | `WebSocketFeed` from a `BroadcastServer` | the same stream | simulated |
| Alpaca | `AlpacaStreamFeed` | published into a `SignalBuffer` | `AlpacaBroker`, both by \
`alpaca-py` against [its rehearsal](rehearsal.md) |
| Interactive Brokers | `IBStreamFeed` | likewise | `IBBroker`, both by `ib_async` against \
[its rehearsal](interactive-brokers.md#rehearse-it) |

The day is {day}, the minutes of {shares} in the regular session; commission 0.005 a share, \
slippage one basis point.
Compared with the backtest are every decision (time, asset, side, type, quantity, prices, the \
prediction it was made on, what became of it), every fill (time, asset, side, quantity, price, \
commission), and cash and equity after every bar.
Decisions and fills are equal to the bit, or listed below with the cause; sums of money to nine \
digits.

| strategy | about | minutes | decisions | fills | shadow | Alpaca | Interactive Brokers |
|---|---|--:|--:|--:|---|---|---|"""

ABOUT = """
What a rehearsal cannot show is in [rehearsal](rehearsal.md#what-it-does-not): it knows nothing \
between two bars, so the equality is that of the whole chain of decisions, orders, protocols and \
books, and not of prices on a real exchange.

## What differs, and why
"""


def page(results: list[tuple[Play, list[Verdict]]]) -> str:
    """All of it."""
    lines = [INTRODUCTION.format(day=f"{OPEN:%Y-%m-%d}", shares=_listed(SHARES))]
    for play, verdicts in results:
        first, *others = verdicts
        words = ["equal" if v.is_equal else "differs" for v in others]
        lines.append(
            f"| `{play.name}` | {play.about} | {play.minutes} | {first.decisions} | "
            f"{first.fills} | {' | '.join(words)} |"
        )
    lines.append(ABOUT)
    for play, verdicts in results:
        for verdict in verdicts:
            if not verdict.is_equal:
                lines += _difference(play, verdict)
    lines += ["## What was played", "", "```python", source(), "```", ""]
    return "\n".join(lines)


def _difference(play: Play, verdict: Verdict) -> list[str]:
    lines = [f"### `{play.name}` at {verdict.way}", "", play.causes[verdict.way], ""]
    counts = [
        ("decisions that ended otherwise", verdict.missing[1].height, verdict.added[1].height),
        ("fills", verdict.missing[0].height, verdict.added[0].height),
    ]
    for what, missing, added in counts:
        if missing or added:
            lines.append(f"- {what}: {missing} in the backtest alone, {added} here alone")
    rows = _rows(verdict)
    if rows:
        lines += ["", f"The first {len(rows)} fills of them:" if len(rows) > 1 else "The fill:", ""]
        lines += ["| time | asset | side | quantity | price | where |", "|---|---|---|--:|--:|---|"]
        lines += rows
    return [*lines, ""]


def _rows(verdict: Verdict) -> list[str]:
    """The first differences in order of time."""
    found = [
        frame.with_columns(pl.lit(where).alias("where"))
        for frame, where in (
            (verdict.missing[0], "the backtest"),
            (verdict.added[0], verdict.way),
        )
    ]
    both = pl.concat(found).sort("timestamp", "asset_id", "where").head(_SHOWN)
    return [
        f"| {row['timestamp']:%H:%M} | {row['asset_id']} | {row['side']} | {row['quantity']:g} | "
        f"{row['price']:.6g} | {row['where']} |"
        for row in both.iter_rows(named=True)
    ]


def source() -> str:
    """The strategies, as the page shows them."""
    text = inspect.getsource(four_strategies)
    return text.split('"""\n', 1)[1].replace("from __future__ import annotations\n", "").strip()


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}"


def play_all() -> tuple[list[tuple[Play, list[Verdict]]], list[str]]:
    """What came of everything on the recorded day, and what is not as it is known to be."""
    results: list[tuple[Play, list[Verdict]]] = []
    wrong: list[str] = []
    for play in PLAYS:
        with tempfile.TemporaryDirectory() as folder:
            verdicts = compare(run(play, recorded(play.minutes), Path(folder)))
        results.append((play, verdicts))
        wrong += complaints(play, verdicts)
    return results, wrong


def main(arguments: list[str]) -> int:
    """Play all, say what is not as it should be, and write the page."""
    parser = argparse.ArgumentParser(description="Plays every strategy in all four ways.")
    parser.add_argument("--write", action="store_true", help="write docs/four-ways.md")
    wanted = parser.parse_args(arguments)
    for name in ("ib_async", "ml4t"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    results, wrong = play_all()
    if wrong:
        sys.stderr.write("\n".join([*wrong, ""]))
        return 1
    if wanted.write:
        PAGE.write_text(page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
