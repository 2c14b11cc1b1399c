"""The hottest loops: plain Python and NumPy, and the same compiled where a compiler was at hand.

The Python forms are the reference: they say what each kernel means, run wherever nothing could be
compiled, and are run when the environment has `ML4T_BACKTEST_PURE` set. The compiled forms give
the same values, bit by bit; a test compares the two.

Attributes:
    is_compiled: Whether the compiled forms are used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ml4t.backtest.kernels import events as _events
from ml4t.backtest.kernels.events import has_all, is_absent

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["events", "has_all", "is_absent", "is_compiled"]


def _find() -> ModuleType | None:
    if os.environ.get("ML4T_BACKTEST_PURE"):
        return None
    try:
        from ml4t.backtest.kernels import _compiled
    except ImportError:  # nothing was compiled when this was installed
        return None
    return _compiled


_found: Any = _find()
is_compiled = _found is not None
events = _events.events if _found is None else _found.Events
