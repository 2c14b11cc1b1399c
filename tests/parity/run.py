"""Plays every scenario with every engine that has a profile, and writes what came of it.

    python tests/parity/run.py            # all, and says what is not as it should be
    python tests/parity/run.py --write    # likewise, and writes docs/parity.md
    python tests/parity/run.py --engines bt --scenarios weights

The first run gives each engine an environment of its own, as the benchmarks do. Ends with an
error when a difference is found that nobody knows, or one that is known has gone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import run_peers  # type: ignore[import-not-found]  # a script beside the benchmarks  # noqa: E402

from ml4t.backtest.simulation.profiles import PROFILES  # noqa: E402
from tests.parity.harness import Verdict, compare, interpreter  # noqa: E402
from tests.parity.scenario import ENGINES, Known, Scenario  # noqa: E402
from tests.parity.scenarios import SCENARIOS  # noqa: E402
from tests.parity.staying import Staying  # noqa: E402

PAGE = ROOT / "docs" / "parity.md"
DATA = Path(os.environ.get("ML4T_SHARED", ROOT.parent / "shared")) / "data"


INTRODUCTION = """\
# Parity with other engines

<!-- Written by `make parity`; do not edit. -->

`SimulationBroker.like("backtrader")` and its kind have the rules of another engine; \
[profiles](profiles.md) says which these are.
Here is what was found when both played the same decisions on the same bars.
Compared were, in both directions, every fill with its time, asset, side, quantity, price, \
commission and order; cash, equity and positions after each bar; closed trades; and how each \
order ended.
Quantities must be equal to the bit, prices and money to a relative 1e-8.
bt has neither orders nor trades, so there the rest is compared.
zipline keeps no trades.
Where weights are played, how orders ended is not compared.

Without any difference: {equal} of {runs} runs, with {fills:,} fills.
The others differ in a way that is understood, and are listed with the cause: a rule of theirs \
that ours does not repeat, or one of ours.
Where a † stands, the same was played once more with that rule of theirs taken away, and nothing \
differed: it is all of the cause.

| engine | version | runs | equal | fills in them |
|---|---|--:|--:|--:|"""


@dataclass(frozen=True)
class Played:
    """A scenario with one engine, and what came of it."""

    scenario: Scenario
    engine: str
    verdict: Verdict


def play(engines: list[str], names: list[str]) -> list[Played]:
    """All scenarios that these engines can do."""
    played = []
    with Staying() as staying:
        for name in names:
            scenario = SCENARIOS[name]
            able = [engine for engine in scenario.engines if engine in engines]
            if not able:
                continue
            stage = scenario.staged(DATA)
            for engine in able:
                began = perf_counter()
                with tempfile.TemporaryDirectory() as folder:
                    verdict = compare(stage, engine, Path(folder), staying.theirs)
                played.append(Played(scenario, engine, verdict))
                took = perf_counter() - began
                say(f"{engine}, {name}: {verdict.problem or word(played[-1])} ({took:.1f} s)")
    return played


def word(one: Played) -> str:
    """What came of it, in a few words."""
    if one.verdict.problem:
        return "**not explained**"
    known = one.scenario.known.get(one.engine)
    return "equal" if known is None else f"differs: {known.whose}"


def wrong_version(one: Played) -> str:
    """A sentence where an engine is not the one that its profile is proven against."""
    wanted = PROFILES[one.engine].version
    if one.verdict.version == wanted:
        return ""
    return f"{one.engine} {one.verdict.version} was run; its profile is for {wanted}"


def page(played: list[Played]) -> str:
    """The page about parity."""
    fills = sum(one.verdict.fills for one in played if one.engine not in one.scenario.known)
    equal = [one for one in played if one.engine not in one.scenario.known]
    lines = [INTRODUCTION.format(equal=len(equal), runs=len(played), fills=fills)]
    for engine in ENGINES:
        own = [one for one in played if one.engine == engine]
        good = [one for one in own if engine not in one.scenario.known]
        count = sum(one.verdict.fills for one in good)
        versions = ", ".join(sorted({one.verdict.version for one in own}))
        lines.append(f"| {engine} | {versions} | {len(own)} | {len(good)} | {count:,} |")
    for engine in ENGINES:
        own = [one for one in played if one.engine == engine]
        lines += ["", f"## {engine}", "", "| scenario | about | fills | |", "|---|---|--:|---|"]
        lines += [
            f"| {one.scenario.name} | {one.scenario.title} | {one.verdict.fills:,} | {word(one)} |"
            for one in own
        ]
        lines += ["", "What differs, and why:", ""]
        lines += [
            f"- **{one.scenario.name}** ({known.whose}{mark(known)}): {known.cause}"
            for one in own
            if (known := one.scenario.known.get(engine)) is not None
        ]
    return "\n".join([*lines, ""])


def mark(known: Known) -> str:
    """Where a rule is shown to be all of the cause, to the last digit."""
    return " †" if known.cure and known.quantities is None else ""


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--scenarios", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--write", action="store_true", help="write docs/parity.md")
    args = parser.parse_args()
    is_whole = args.engines == list(ENGINES) and args.scenarios == list(SCENARIOS)
    if args.write and not is_whole:
        parser.error("--write needs all engines and all scenarios")
    if not DATA.is_dir():
        parser.error(f"no recorded market data: {DATA} is missing; set ML4T_SHARED to its parent")
    for engine in args.engines:
        if interpreter(engine) is None and run_peers.environment(ENGINES[engine]) is None:
            parser.error(f"{engine} cannot be installed")
    played = play(args.engines, args.scenarios)
    wrong = [f"{one.scenario.name}, {one.engine}: {one.verdict.problem}" for one in played]
    wrong = [text for text, one in zip(wrong, played, strict=True) if one.verdict.problem]
    wrong += sorted({text for one in played if (text := wrong_version(one))})
    for text in wrong:
        say(text)
    if args.write and not wrong:
        PAGE.write_text(page(played), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
