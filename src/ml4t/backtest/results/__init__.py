"""The library: what a run leaves behind, and how to read it.

A run hands over one `RunRecord` of columns; everything a reader sees (trades, metrics, summary,
explanations, files) is derived from it, on demand. May import `types` and `errors`; knows no
engine, broker or strategy. Start with `record.py`, then `result.py`; how a figure is defined
stands in `metrics.py`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from ml4t.backtest.results import (  # noqa: F401  for `result.py`, when it is asked
        attribution,
        card,
        explain,
        export,
        intervals,
        market,
        metrics,
        skill,
        store,
        summary,
        trades,
    )


def __getattr__(name: str) -> ModuleType:
    """A module of this room, loaded when it is first asked for: most runs need few of them."""
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
