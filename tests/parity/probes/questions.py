"""All questions, in the order of the page: a function for each, its docstring is the title."""

from __future__ import annotations

from tests.parity.probes import ask_data, ask_entries, ask_exits, ask_money, ask_sizes

MODULES = (ask_entries, ask_exits, ask_money, ask_sizes, ask_data)
ASKED = {ask.__name__: ask for module in MODULES for ask in module.QUESTIONS}
TITLES = {name: str(ask.__doc__).split("\n", 1)[0].rstrip(".") for name, ask in ASKED.items()}
