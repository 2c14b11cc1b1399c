"""The two forms of the kernels, for tests that compare them."""

from __future__ import annotations

import importlib
import os
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from ml4t.backtest import kernels
from ml4t.backtest.kernels import baskets, holdings, levels, sums

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

ROOMS = (baskets, holdings, levels, sums)
SIZES = st.integers(0, 40)
SEEDS = st.integers(0, 2**32).map(np.random.default_rng)
# Numbers that float arithmetic stumbles over, beside ordinary ones.
ODD = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-13, 1e300, -1e300, 100.0, -100.0)


def numbers(rng: Any, size: int, *, nan: bool = False) -> np.ndarray:
    """Signed numbers; a third of them odd."""
    column = np.round(rng.normal(0.0, 50.0, size), rng.integers(0, 6))
    odd = rng.random(size) < 0.33
    column[odd] = rng.choice(ODD, odd.sum())
    if nan:
        column[rng.random(size) < 0.2] = np.nan
    return column


def positive(rng: Any, size: int) -> np.ndarray:
    """Prices, multipliers and the like."""
    return np.abs(numbers(rng, size)) + 0.01


def bits(value: Any) -> Any:
    """A value so that equal means equal to the bit, kind and length included; NaN equals NaN."""
    if isinstance(value, tuple | list):
        return [bits(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.kind, value.shape, np.where(np.isnan(value), np.nan, value).tobytes()
    if isinstance(value, float):
        return "float", np.float64(np.nan if np.isnan(value) else value).tobytes()
    return type(value).__name__, value


def same(name: str, *args: Any) -> Any:
    """What both forms give; what they change in place is the same, too."""
    plain = [arg.copy() if isinstance(arg, np.ndarray) else arg for arg in args]
    with np.errstate(all="ignore"):
        expected = next(getattr(room, name) for room in ROOMS if hasattr(room, name))(*plain)
    found = getattr(compiled, name)(*args)
    assert bits(found) == bits(expected)
    assert bits(args) == bits(plain)
    return found
