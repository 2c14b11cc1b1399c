"""The text of the file in which a strategy's class stands."""

from __future__ import annotations

import inspect
import linecache
import sys
from types import FunctionType, ModuleType
from typing import Any


def text_of(module: str, qualname: str) -> str | None:
    """The file of a class as it is now, or the notebook cell; None when there is none to read.

    Args:
        module: The class's `__module__`.
        qualname: Its `__qualname__`.
    """
    home = sys.modules.get(module)
    if home is None:
        return None
    try:
        return inspect.getsource(home)
    except (OSError, TypeError):  # a notebook, a prompt, a file that is gone
        return _cell_of(home, qualname)


def _cell_of(home: ModuleType, qualname: str) -> str | None:
    """The cell in which the methods of a class were typed."""
    thing: Any = home
    for part in qualname.split("."):
        thing = getattr(thing, part, None)
    for member in vars(thing).values() if isinstance(thing, type) else ():
        if isinstance(member, FunctionType) and (
            lines := linecache.getlines(member.__code__.co_filename)
        ):
            return "".join(lines)
    return None
