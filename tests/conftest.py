"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import laws

ROOT = Path(__file__).resolve().parents[1]

# `ci` finds the same examples on every run; `deep` looks for new ones and takes its time.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("deep", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data, which is not part of the repository."""
    folder = Path(os.environ.get("ML4T_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded market data: {folder} is missing; set ML4T_SHARED to its parent")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Makes our markers known."""
    config.addinivalue_line(
        "markers", "breaks_laws(why): its engine runs are wrong on purpose and are not checked"
    )


@pytest.fixture(autouse=True)
def lawful_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Checks every engine run of every test against the laws; holds the results checked."""
    checked: list[Any] = []
    if request.node.get_closest_marker("breaks_laws") is None:
        from ml4t.backtest.engine import BacktestEngine

        monkeypatch.setattr(BacktestEngine, "run", laws.lawful(BacktestEngine.run, checked))
    return checked
