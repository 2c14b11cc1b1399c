"""The words of a command line, brought into the form that the parser knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand
from typer.exceptions import TyperException

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where runs are kept when nobody says where.
STORE = "ml4t-runs"
_SCRIPT = re.compile(r".+\.py(:\w+)?")
_MANY = frozenset({"--data", "-d", "--signals", "-s", "--set"})
_SAVE = "--save"


class RunCommand(TyperCommand):
    """Options that take as many values as follow, and `--save` with and without a folder.

    A shell turns `--data prices/*.csv` into many words. All up to the next option belong to
    `--data`, but for the Python file of the strategy.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring the words into the form that the parser knows."""
        try:
            return super().parse_args(ctx, spread(args))
        except TyperException as error:
            text = getattr(error, "message", "")
            if "extra argument" in text:
                error.message = f"{text}. Prices follow --data, predictions --signals."
            raise


def spread(words: Sequence[str]) -> list[str]:
    """Repeat options that were given many values, and name the store where none was."""
    found: list[str] = []
    current: str | None = None
    count = 0
    for position, word in enumerate(words):
        if word == "--":
            return [*found, *words[position:]]
        if word.startswith("-") and len(word) > 1:
            current, count = (word if word in _MANY else None), 0
            found.append(word)
            following = words[position + 1] if position + 1 < len(words) else "-"
            if word == _SAVE and (following.startswith("-") or _SCRIPT.fullmatch(following)):
                found.append(STORE)
        elif current is not None and not _SCRIPT.fullmatch(word):
            found += [current, word] if count else [word]
            count += 1
        else:
            found.append(word)
    return found
