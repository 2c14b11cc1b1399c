"""What people see: text and tables, with colours on a terminal and plain elsewhere."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What is piped into a file or another program is never wrapped.
_PIPED_WIDTH = 10_000
# 128 and the number of SIGPIPE.
READER_GONE = 141
# Values up to this length are never broken.
_WORD = 24
_NUMBER = re.compile(r"[+-]?[\d,]+(\.\d+)?(e[+-]?\d+)?%?")


class _Console(Console):
    """A console whose reader may leave early, as `head` does."""

    def on_broken_pipe(self) -> None:
        """End with the code that shells give to what a closed pipe ended, which is no failure."""
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise SystemExit(READER_GONE)


def console(*, stderr: bool = False) -> Console:
    """The output or the error stream, as it is now; rich honours NO_COLOR and dumb terminals."""
    found = _Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not found.is_terminal:
        found.width = _PIPED_WIDTH
    return found


def say(text: str, style: str | None = None) -> None:
    """Text as it is on the output stream."""
    console().print(Text(text, style=style or ""), soft_wrap=True)


def tell(text: str, style: str | None = None) -> None:
    """Text as it is on the error stream: what happened beside the answer."""
    console(stderr=True).print(Text(text, style=style or ""), soft_wrap=True)


def say_page(text: str) -> None:
    """A page whose first line is its title."""
    title, _, rest = text.partition("\n")
    screen = console()
    screen.print(Text(title, style="bold"), soft_wrap=True)
    screen.print(Text(rest), soft_wrap=True)


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> None:
    """A table; numbers to the right, plain columns when it is piped."""
    screen = console()
    found = [[as_text(value) for value in row] for row in rows]
    if not screen.is_terminal or _least_width([columns, *found]) > screen.width:
        say("\n".join([*([title] if title else []), *_aligned([list(columns), *found]), ""]))
        return
    kinds = [list(column) for column in zip(*found, strict=True)] or [[] for _ in columns]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="bold",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name, values in zip(columns, kinds, strict=True):
        is_number = bool(values) and all(_is_number(v) for v in values)
        table.add_column(
            Text(name),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=max(map(len, values), default=0) <= _WORD,  # ids must be there to be copied
        )
    for row in found:
        table.add_row(*(Text(value) for value in row))
    screen.print(table, soft_wrap=False)


def _least_width(rows: Sequence[Sequence[str]]) -> int:
    """How wide a terminal must be, so that nothing is broken that must not be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(2 + min(width, _WORD) for width in widths)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows as lines in which columns stand below each other."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [len(column) > 1 and all(map(_is_number, column[1:])) for column in columns]
    return [
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def as_text(value: Any) -> str:
    """A value of a table, as a person reads it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"  # noqa: PLR2004
    return str(value)


def _is_number(text: str) -> bool:
    return text == "-" or _NUMBER.fullmatch(text) is not None
