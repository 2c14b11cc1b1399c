"""Run the probes of other engines, and compare with or write the facts that are kept.

    python tests/parity/probes/run.py                  # all: exit status 1 if a fact changed
    python tests/parity/probes/run.py --write zipline  # keep what was found, write the page

The environments are those of `benchmarks/run_peers.py`; what is missing is installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
sys.path[0] = str(ROOT)  # not this folder: its files bear the names of the engines

from benchmarks.peer_environments import environment, interpreter, progress  # noqa: E402

from tests.parity.probes import page  # noqa: E402

ENGINES = ("backtrader", "zipline", "vectorbt", "backtesting", "bt", "nautilus", "pybroker")
FACTS = ROOT / "tests" / "parity" / "facts"
PAGE = ROOT / "docs" / "peer-facts.md"
PATIENCE = 300  # seconds; on a machine with nothing else to do, ten are enough


class ProbeError(Exception):
    """A probe did not come to its end."""


def probe(engine: str, python: Path) -> dict[str, Any]:
    """What an engine does, as its probe finds it now."""
    done = subprocess.run(
        [str(python), "-W", "ignore", "-m", f"tests.parity.probes.{engine}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise ProbeError(f"{engine}: {done.stderr.strip() or 'no word'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def kept(engine: str) -> dict[str, Any]:
    """The facts that are checked in."""
    found: dict[str, Any] = json.loads((FACTS / f"{engine}.json").read_text(encoding="utf-8"))
    return found


def is_installed(engine: str) -> bool:
    """Is there an interpreter with the engine."""
    return interpreter(engine).exists()


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A line for each fact that is not what it was, and for the version."""
    engine = new["engine"]
    lines = []
    if old["version"] != new["version"]:
        lines.append(f"{engine}: version was {old['version']}, is {new['version']}")
    for question in {**old["facts"], **new["facts"]}:
        was, now = old["facts"].get(question), new["facts"].get(question)
        if was == now:
            continue
        for part in {**(was or {}), **(now or {})}:
            before, after = (json.dumps((one or {}).get(part)) for one in (was, now))
            if before != after:
                lines.append(f"{engine}: {question}, {part}: was {before}, is {after}")
    return lines


def write(found: dict[str, Any]) -> None:
    """Keep the facts of an engine."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (FACTS / f"{found['engine']}.json").write_text(f"{text}\n", encoding="utf-8")


def main() -> int:
    """All engines, or those that are named."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("engines", nargs="*", metavar="engine", help=", ".join(ENGINES))
    parser.add_argument("--write", action="store_true", help="keep the facts and write the page")
    args = parser.parse_args()
    unknown = set(args.engines) - set(ENGINES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ENGINES)}")
    lines = []
    for engine in args.engines or ENGINES:
        python = environment(engine)
        if python is None:
            lines.append(f"{engine}: could not be installed")
            continue
        progress(f"asking {engine}")
        found = probe(engine, python)
        if args.write:
            write(found)
        else:
            lines += changes(kept(engine), found)
    if args.write:
        PAGE.write_text(page.text([kept(engine) for engine in ENGINES]), encoding="utf-8")
    for line in lines:
        progress(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
