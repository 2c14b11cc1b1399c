"""What other engines do is what the kept facts say: complete, and as the probes find it now."""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.peer_environments import interpreter, requirements

from tests.parity.probes import page, run
from tests.parity.probes.questions import ASKED, TITLES

ROOT = Path(__file__).parents[2]
MODULES = {"nautilus": "nautilus_trader"}
# What zipline itself stands on is part of how one calls it.
STANDARD = {name: set[str]() for name in run.ENGINES}
STANDARD["zipline"] = {"exchange_calendars", "sqlalchemy"}
PACKAGES = {
    "nautilus": "nautilus-trader",
    "pybroker": "lib-pybroker",
    "zipline": "zipline-reloaded",
}


@pytest.fixture(params=run.ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine."""
    name: str = request.param
    return name


# -- what is kept ----------------------------------------------------------------------------


def test_every_engine_answers_every_question(engine: str) -> None:
    """No question is left out; what an engine has not, it says with a reason."""
    kept = run.kept(engine)
    assert kept["engine"] == engine
    assert list(kept["facts"]) == list(ASKED)
    for question, fact in kept["facts"].items():
        if "unsupported" in fact:
            assert list(fact) == ["unsupported"], question
            assert fact["unsupported"], question
            continue
        assert fact["evidence"], question
        assert re.fullmatch(r"[\w/]+\.pyx?:[\w.]+", fact["source"]), question
        assert set(fact) - {"evidence", "source"}, question


def test_no_answer_is_open(engine: str) -> None:
    """Where an answer could not be told from the numbers, the question must be asked better."""
    for question, fact in run.kept(engine)["facts"].items():
        shown = {key: value for key, value in fact.items() if key not in page.ASIDE}
        assert "none of these" not in json.dumps(shown), question
        assert "unknown" not in json.dumps(shown), question


def test_the_version_is_the_one_that_is_installed(engine: str) -> None:
    """The facts are of the version that the requirements pin."""
    package = PACKAGES.get(engine, engine)
    pinned = re.search(rf"(?m)^{package}==(\S+)", requirements(engine).read_text(encoding="utf-8"))
    assert pinned, f"{package} is not in the requirements"
    assert run.kept(engine)["version"] == pinned[1]


def test_the_page_is_written_from_the_facts() -> None:
    """Nobody edits it, and nobody forgets it."""
    text = page.text([run.kept(engine) for engine in run.ENGINES])
    assert run.PAGE.read_text(encoding="utf-8") == text, (
        "run `python tests/parity/probes/run.py --write`"
    )


def test_titles_are_different() -> None:
    """A reader finds a question by its title."""
    assert len(set(TITLES.values())) == len(ASKED)


def test_a_probe_imports_its_engine_only(engine: str) -> None:
    """And what every environment has: never our package."""
    allowed = {MODULES.get(engine, engine), "tests", "numpy", "pandas"} | STANDARD[engine]
    path = Path(run.__file__).with_name(f"{engine}.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
            assert not names[0].startswith("tests") or names[0] == "tests.parity.probes"
        else:
            continue
        heads = {name.split(".")[0] for name in names}
        assert heads <= allowed | sys.stdlib_module_names, path.name


# -- what the comparison notices -------------------------------------------------------------


def test_nothing_changed_says_nothing(engine: str) -> None:
    """The same facts have no changes."""
    assert run.changes(run.kept(engine), run.kept(engine)) == []


def test_a_changed_number_is_named() -> None:
    """Of a fact, the part with its old and new value."""
    old = run.kept("backtrader")
    new = copy.deepcopy(old)
    new["facts"]["market_order"]["buy"] = "same bar, at close"
    new["facts"]["market_order"]["evidence"]["fills"][0][3] += 1e-6
    first, second = run.changes(old, new)
    assert first == (
        'backtrader: market_order, buy: was "next bar, at open", is "same bar, at close"'
    )
    assert second.startswith("backtrader: market_order, evidence: was ")
    assert "103.000001" in second


def test_a_new_version_and_a_lost_fact_are_named() -> None:
    """Neither can pass unseen."""
    old = run.kept("bt")
    new: dict[str, Any] = {**old, "version": "9", "facts": dict(old["facts"])}
    del new["facts"]["ruin"]
    lines = run.changes(old, new)
    assert lines[0] == f"bt: version was {old['version']}, is 9"
    assert any(line.startswith("bt: ruin, last equity: was -8000, is null") for line in lines)


def test_an_engine_that_there_is_not_is_refused() -> None:
    """With the names of those there are."""
    done = subprocess.run(
        [sys.executable, str(Path(run.__file__)), "lean"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "unknown: lean; there are backtrader, zipline" in done.stderr


def test_environments_are_looked_for_where_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for the benchmarks."""
    monkeypatch.setenv("ML4T_BENCH_PEERS", str(tmp_path))
    assert interpreter("bt") == tmp_path.resolve() / "bt" / "bin" / "python"
    assert not run.is_installed("bt")


# -- the engines themselves ------------------------------------------------------------------


@pytest.mark.peers
def test_the_engine_does_what_it_did(engine: str) -> None:
    """Run the probe, and compare every fact."""
    if not run.is_installed(engine):
        looked = os.environ.get("ML4T_BENCH_PEERS", ".venv/peers")
        pytest.skip(f"{engine} is not installed below {looked}; probes/run.py installs it")
    found = run.probe(engine, interpreter(engine))
    changed = run.changes(run.kept(engine), found)
    assert not changed, "\n".join(changed)
