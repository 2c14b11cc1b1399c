"""The page about the command line shows what the command prints."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
from pathlib import Path

from tests.cli.conftest import Invoke
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
PRICES = ROOT / "src" / "ml4t" / "backtest" / "demo" / "prices.parquet"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(kind: str) -> list[str]:
    """The blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_tells_the_truth(invoke: Invoke) -> None:
    """Every command of the page, in order, in one folder with its two files."""
    shutil.copy(PRICES, "prices.parquet")
    (strategy,) = [text for text in blocks("python") if "class Momentum" in text]
    (described,) = blocks("toml")
    Path("momentum.py").write_text(strategy, encoding="utf-8")
    Path("run.toml").write_text(described, encoding="utf-8")
    steps = [step for block in blocks("console") for step in re.split(r"(?m)^\$ ", block) if step]
    assert len(steps) == 8
    for step in steps:
        command, _, wanted = step.partition("\n")
        name, *words = shlex.split(command)
        assert name == "ml4t-backtest"
        found = invoke(*words)
        shown = found.stdout + found.stderr
        assert doctest.OutputChecker().check_output(wanted, shown, FLAGS), f"{command}\n{shown}"
