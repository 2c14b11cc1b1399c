"""Every file in `examples/` prints what its `.out` file says."""

from __future__ import annotations

import difflib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_there_are_examples() -> None:
    """Each example has its output beside it, and each output its example."""
    assert EXAMPLES
    outputs = sorted((ROOT / "examples").glob("*.out"))
    assert [path.stem for path in outputs] == [path.stem for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_its_output(path: Path, tmp_path: Path) -> None:
    """Run in a process of its own, from an empty folder, without warnings."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    expected = path.with_suffix(".out").read_text(encoding="utf-8")
    diff = difflib.unified_diff(
        expected.splitlines(), done.stdout.splitlines(), "expected", "printed", lineterm=""
    )
    assert done.stdout == expected, "\n".join(diff)
    assert list(tmp_path.iterdir()) == []
