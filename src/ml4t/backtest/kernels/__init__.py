"""The hottest loops: plain Python and NumPy, and the same compiled where a compiler was at hand.

The Python forms, in the modules beside this one, are the reference: they say what each kernel
means, run wherever nothing could be compiled, and are run when the environment has
`ML4T_BACKTEST_PURE` set. The compiled forms give the same values, bit by bit; a test compares the
two.

Attributes:
    is_compiled: Whether the compiled forms are used.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from ml4t.backtest.kernels.events import has_all, is_absent

is_compiled = (
    not os.environ.get("ML4T_BACKTEST_PURE")
    and find_spec("ml4t.backtest.kernels._compiled") is not None
)

if is_compiled:
    from ml4t.backtest.kernels._compiled import (
        are_positive,
        book,
        changes_to_weights,
        events,
        held_value,
        lookup,
        match,
        needs,
        pay_exits,
        ranges,
        reached,
        slippages,
        steep,
        take,
        top,
        total,
        weights_by_code,
        worth,
    )
else:
    from ml4t.backtest.kernels.baskets import (
        are_positive,
        book,
        changes_to_weights,
        held_value,
        match,
        needs,
        pay_exits,
        slippages,
        top,
        weights_by_code,
    )
    from ml4t.backtest.kernels.events import events, take
    from ml4t.backtest.kernels.holdings import ranges, steep, worth
    from ml4t.backtest.kernels.levels import reached
    from ml4t.backtest.kernels.lookups import lookup
    from ml4t.backtest.kernels.sums import total

__all__ = [
    "are_positive",
    "book",
    "changes_to_weights",
    "events",
    "has_all",
    "held_value",
    "is_absent",
    "is_compiled",
    "lookup",
    "match",
    "needs",
    "pay_exits",
    "ranges",
    "reached",
    "slippages",
    "steep",
    "take",
    "top",
    "total",
    "weights_by_code",
    "worth",
]
