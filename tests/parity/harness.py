"""The same scenario by another engine and by ours, and everything in which they differ.

Compared are, in both directions, every fill (time, asset, side, quantity, price, commission, and
the order it belongs to), cash, equity and positions after each bar, closed trades, and the end of
every order: filled, open, canceled, rejected or expired, and how much of it filled. Quantities are
compared exactly, prices and money to a relative 1e-8.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.parity.playing import ours
from tests.parity.scenario import ENGINES, Answer, Stage

HERE = Path(__file__).parent
RELATIVE = 1e-8
# Below a ten-thousandth of a cent, money is the noise of a sum.
MONEY_NOISE = 1e-6
TIMEOUT = 600

NEVER = {"bt": {"orders", "trades"}, "zipline": {"trades"}}
"""What an engine does not have; where weights are played, orders have no names either."""


# -- the other engine ------------------------------------------------------------------------


def interpreter(engine: str) -> Path | None:
    """The Python of an engine's environment, if there is one."""
    root = Path(os.environ.get("ML4T_BENCH_PEERS", ROOT / ".venv" / "peers"))
    python = root / ENGINES[engine] / "bin" / "python"
    return python if python.exists() else None


def absence(engine: str) -> str:
    """Why an engine is left out, and what to do."""
    return (
        f"{engine} is not installed: `make parity` makes its environment in .venv/peers, or set "
        "ML4T_BENCH_PEERS to a folder that has one"
    )


def theirs(stage: Stage, engine: str, folder: Path) -> Answer:
    """What the engine does, in an interpreter of its own."""
    write(stage, folder)
    done = subprocess.run(
        [*command(engine), folder], capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    if done.returncode:
        raise RuntimeError(f"{engine} failed at {stage.scenario.name}:\n{done.stderr[-4000:]}")
    return read(folder)


def command(engine: str) -> list[str]:
    """The interpreter of an engine, and its runner."""
    python = interpreter(engine)
    assert python is not None, absence(engine)
    return [str(python), str(HERE / "engines" / f"run_{ENGINES[engine]}.py")]


def write(stage: Stage, folder: Path) -> None:
    """The question for a runner."""
    stage.bars.write_parquet(folder / "bars.parquet")
    (folder / "scenario.json").write_text(json.dumps(stage.terms()), encoding="utf-8")


def read(folder: Path) -> Answer:
    """The answer of a runner."""
    answer: Answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return answer


# -- the comparison --------------------------------------------------------------------------

KEYS = {
    "fills": ("order", "time", "asset"),
    "bars": ("time",),
    "trades": ("asset", "entry_time", "exit_time"),
    "orders": ("order",),
}


def differences(left: Answer, right: Answer, *, quantities: float = 0.0) -> list[str]:
    """Everything that one answer has and the other has not, or has otherwise.

    Args:
        left: An answer.
        right: Another one.
        quantities: Relative room for them; they are compared exactly without.

    Parts that an engine does not have are missing from its answer and are not compared. Which
    order a fill belongs to is None where an engine does not have orders.
    """
    found: list[str] = []
    for part, keys in KEYS.items():
        if part not in left or part not in right:
            continue
        ours, others = _by_key(left[part], keys), _by_key(right[part], keys)
        for key in dict.fromkeys([*ours, *others]):
            one, other = ours.get(key), others.get(key)
            if one is None or other is None:
                side = "the first" if other is None else "the second"
                found.append(f"{part} {key}: only in {side}: {one or other}")
                continue
            found += [
                f"{part} {key}: {name} {one[name]!r} and {other[name]!r}"
                for name in one
                if not _same(name, one[name], other[name], quantities)
            ]
    return found


def _by_key(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[tuple, dict[str, Any]]:
    """Rows by what they are about; the second of a kind is number 1, and so on."""
    found: dict[tuple, dict[str, Any]] = {}
    counts: dict[tuple, int] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        counts[key] = counts.get(key, -1) + 1
        found[*key, counts[key]] = row
    return found


def _same(name: str, one: Any, other: Any, quantities: float) -> bool:
    if quantities and name == "positions":
        return one.keys() == other.keys() and all(
            math.isclose(units, other[asset], rel_tol=quantities) for asset, units in one.items()
        )
    if quantities and name in {"quantity", "filled"}:
        return math.isclose(one, other, rel_tol=quantities)
    if name == "price":
        return math.isclose(one, other, rel_tol=RELATIVE)
    if name in {"cash", "equity", "commission", "pnl"}:
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=MONEY_NOISE)
    return bool(one == other)


Ask = Callable[[Stage, str, Path], Answer]


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        differences: All of them.
        fills: How many fills the other engine had.
        version: Of the other engine.
        problem: What is wrong: a difference that nobody knows, or a known one that has gone.
    """

    differences: list[str]
    fills: int
    version: str
    problem: str


def compare(stage: Stage, engine: str, folder: Path, ask: Ask | None = None) -> Verdict:
    """Play a scenario on both sides; `ask` is another way than `theirs` to ask the engine."""
    answer, own = (ask or theirs)(stage, engine, folder), ours(stage, engine)
    silent = set(KEYS) - answer.keys() - NEVER.get(engine, set())
    silent -= {"orders"} if stage.plan.get("as_weights") else set()
    assert not silent, f"{engine} says nothing of {sorted(silent)}"
    found = differences(answer, own)
    known = stage.scenario.known.get(engine)
    problem = ""
    if known is None:
        if found:
            problem = f"{len(found)} differences, the first: {found[0]}"
    elif not found:
        problem = f"known to differ, and does not: {known.cause}"
    elif odd := [text for text in found if text.split(" ", 1)[0] not in known.parts]:
        problem = f"differs in more than is known: {odd[0]}"
    elif known.cure:
        cured = theirs(replace(stage, cure=known.cure), engine, folder)
        left = differences(cured, own, quantities=known.quantities or 0.0)
        problem = f"differs without the rule that is the cause, too: {left[0]}" if left else ""
    elif known.quantities is not None:
        left = differences(answer, own, quantities=known.quantities)
        problem = f"more than rounding: {left[0]}" if left else ""
    return Verdict(found, len(answer["fills"]), answer["version"], problem)
