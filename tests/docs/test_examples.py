"""Every example in the README, the docs and the docstrings runs, and links lead somewhere.

A Markdown file is one test: its Python blocks run from top to bottom in one namespace, in an
empty folder. A block that starts with `>>>` is compared with the output it shows. A block is
left out by the line `<!--- skip: next -->` above it, or with a reason that is printed:
`<!--- skip: next "needs an account" -->`.

The docstrings of a module are one test too, each docstring in its own namespace.
"""

from __future__ import annotations

import doctest
import importlib
import re
from typing import TYPE_CHECKING
from unittest import SkipTest

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = ROOT / "src"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)
FLAGS = doctest.ELLIPSIS
SYBIL = Sybil([PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()], path=str(ROOT))
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_examples_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a page tells a reader to type works, in the order in which it stands."""
    monkeypatch.chdir(tmp_path)
    for example in SYBIL.parse(page).examples():
        try:
            example.evaluate()
        except SkipTest as reason:  # one block is left out, the page goes on
            print(f"{_name(page)}:{example.line} left out: {reason}")  # noqa: T201


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a docstring shows is what the code returns."""
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=FLAGS)
    tests = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    for test in tests:
        runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
    assert any(t.examples for t in tests), f"{name} shows examples that no docstring holds"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files(page: Path) -> None:
    """A relative link of a page names a file that exists."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [t for t in targets if not (page.parent / t).exists()] == []
