"""A run is the same to the bit whichever form of the kernels makes it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.kernels.forms import needs_compiled


def runs(seeds: int, **environment: str) -> list[str]:
    """What a process of its own says of its runs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.whole_runs", str(seeds)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_compiled
@pytest.mark.parametrize("seeds", [12, pytest.param(120, marks=pytest.mark.slow)])
def test_whole_runs_are_the_same(seeds: int) -> None:
    """Fills, orders, money, records and fingerprints of strategies that do all kinds of things."""
    form, *compiled = runs(seeds)
    plain_form, *plain = runs(seeds, ML4T_BACKTEST_PURE="1")
    assert (form, plain_form) == ("True", "False")
    assert len(compiled) == 3 * seeds
    assert len(set(compiled)) == 3 * seeds, "each run is another one"
    assert compiled == plain
