"""The page about the facts: a table for each group of questions, a column for each engine."""

from __future__ import annotations

from typing import Any

from tests.parity.probes import ask_data, ask_entries, ask_exits, ask_money, ask_sizes
from tests.parity.probes.questions import TITLES

HEAD = """# What other engines do

Written by `python tests/parity/probes/run.py --write`; do not edit it.

For each engine a small program, which imports that engine only, runs tiny markets of exact
prices and works the answers out from the fills, the cash and the equity it sees.
The numbers behind each answer, and the file and function of the engine that show it, are in
`tests/parity/facts`.
A new version of an engine that changes an answer fails the test of its probe.

The same script is given to every engine: unless a title says otherwise, whole shares, a cash of
10,000, no costs, daily bars, and the engine's settings as they come.
"Same bar" is the bar in which the strategy decided.
A question in which all bars are flat cannot tell open from close; it asks about something else.
The account of nautilus is a cash account, and a margin account with a leverage of 1 where a
script may go short.
"""
GROUPS = {
    "Market and limit orders": ask_entries,
    "Stops and brackets": ask_exits,
    "Cash, shorts, fees and slippage": ask_money,
    "Quantities and targets": ask_sizes,
    "Data": ask_data,
}
ASIDE = {"evidence", "source"}


def text(found: list[dict[str, Any]]) -> str:
    """The whole page."""
    tables = [
        f"## {title}\n\n{_table([ask.__name__ for ask in group.QUESTIONS], found)}"
        for title, group in GROUPS.items()
    ]
    return "\n\n".join([HEAD.strip(), *tables]) + "\n"


def _table(questions: list[str], found: list[dict[str, Any]]) -> str:
    heads = [f"{one['engine']} {one['version']}" for one in found]
    rows = [
        [TITLES[question], *(answer(one["facts"][question]) for one in found)]
        for question in questions
    ]
    lines = [["", *heads], ["---"] * (len(heads) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def answer(fact: dict[str, Any]) -> str:
    """A fact as the text of a cell."""
    if "unsupported" in fact:
        return f"- ({_safe(fact['unsupported'])})"
    parts = {key: value for key, value in fact.items() if key not in ASIDE}
    if len(parts) == 1:
        return _safe(*parts.values())
    return "<br>".join(f"{_safe(key)}: **{_safe(value)}**" for key, value in parts.items())


def _safe(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ").replace("*", "\\*")
