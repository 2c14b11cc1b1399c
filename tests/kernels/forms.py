"""The two forms of the kernels, for tests that compare them."""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any

import pytest

from ml4t.backtest import kernels

compiled: Any = (
    importlib.import_module("ml4t.backtest.kernels._compiled") if kernels.is_compiled else None
)
_COMPILERS = ("cc", "gcc", "clang", "cl")


def _why_not() -> str | None:
    """Why the compiled forms cannot be tested, where that is right; None where it is not."""
    if os.environ.get("ML4T_BACKTEST_PURE"):
        return "ML4T_BACKTEST_PURE asks for the Python forms"
    if not any(map(shutil.which, _COMPILERS)):
        return "there is no C compiler, so the package is plain Python"
    return None


needs_compiled = pytest.mark.skipif(
    not kernels.is_compiled and _why_not() is not None, reason=_why_not() or "compiled"
)
