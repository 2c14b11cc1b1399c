"""The text of the file in which a strategy's class stands."""

from __future__ import annotations

import inspect
import linecache
import sys
from types import FunctionType


def files_of(strategy: type) -> tuple[str, ...]:
    """Names of the files, or notebook cells, in which a class may stand; the likeliest first.

    Names and not the class, which may have been defined anew when its text is wanted, and which
    could not go to another process.
    """
    found: dict[str, None] = {}
    for member in vars(strategy).values():
        if isinstance(member, FunctionType):
            function = inspect.unwrap(member)
            if function.__module__ in (strategy.__module__, None):  # None where all is run by exec
                found[function.__code__.co_filename] = None
    home = getattr(sys.modules.get(strategy.__module__), "__file__", None)
    return (*found, *([] if home is None else [home]))


def text_of(files: tuple[str, ...]) -> str | None:
    """The text of the first file that has one, as it is now."""
    for name in files:
        linecache.checkcache(name)
        if lines := linecache.getlines(name):
            return "".join(lines)
    return None
