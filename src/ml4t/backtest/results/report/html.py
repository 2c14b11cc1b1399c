"""Pieces of HTML. Whatever comes from data passes through `text` or `data_script`."""

from __future__ import annotations

import datetime as dt
import math
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_MANY = 30  # rows of a table that scrolls in a box of its own


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    Args:
        title: Its heading.
        is_number: Whether it is set flush right.
    """

    title: str
    is_number: bool = True


def text(value: Any) -> str:
    """Text, safe between tags and in attributes."""
    return escape(str(value))


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain words; empty without any."""
    return f"<p{_class(kind)}>{text(words)}</p>" if words else ""


def missing(what: str, why: object) -> str:
    """Says that something is not shown, and why."""
    return f'<p class="missing"><strong>{text(what)}</strong> {text(why)}</p>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str]], kind: str = ""
) -> str:
    """A table that scrolls by itself where it is too wide or long; the first cell heads its row.

    Args:
        caption: What it shows, in words.
        columns: Its columns.
        rows: Cells, in the order of the columns; plain text.
        kind: A class of the style sheet.
    """
    heads = "".join(
        f'<th scope="col"{_class("number" if c.is_number else "")}>{text(c.title)}</th>'
        for c in columns
    )
    lines = [f"<tr>{_cells(columns, row)}</tr>" for row in rows]
    return scrolling(
        caption,
        f"<table{_class(kind)}><caption>{text(caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>",
        "tall" if len(lines) > _MANY else "",
    )


def _cells(columns: Sequence[Column], row: Sequence[str]) -> str:
    first, *others = zip(columns, row, strict=True)
    return f'<th scope="row">{text(first[1])}</th>' + "".join(
        f"<td{_class('number' if column.is_number else '')}>{text(cell)}</td>"
        for column, cell in others
    )


def scrolling(name: str, inner: str, kind: str = "") -> str:
    """A box that scrolls by itself, by keyboard too.

    Args:
        name: What is in it.
        inner: HTML.
        kind: A class of the style sheet.
    """
    label, classes = text(name), f"scroll {kind}".strip()
    return f'<div class="{classes}" role="region" aria-label="{label}" tabindex="0">{inner}</div>'


def data_script(name: str, value: Any) -> str:
    """Data for the script of the page: JSON that cannot end its element."""
    return raw_script(name, msgspec.json.encode(value).decode())


def raw_script(name: str, json: str) -> str:
    """The same, of JSON at hand."""
    safe = json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{text(name)}">{safe}</script>'


def when(moment: dt.date | None) -> str:
    """A time as a cell shows it."""
    if moment is None:
        return ""
    if not isinstance(moment, dt.datetime) or moment.time() == dt.time.min:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"


def number(value: float | None, form: str = ",.2f") -> str:
    """A number as a cell shows it; empty where there is none."""
    if value is None or not math.isfinite(value):
        return ""
    return format(value + 0.0, form)
