"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
