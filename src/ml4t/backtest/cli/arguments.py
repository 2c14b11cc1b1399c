"""What the command line adds to the words of a description."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from ml4t.backtest.cli.running import STORE
from ml4t.backtest.description import RunDescription
from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        return super().parse_args(ctx, spread(args))


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


def described(
    config: Path | None,
    *,
    strategy: str | None = None,
    data: Sequence[str] = (),
    signals: Sequence[str] = (),
    tables: dict[str, dict[str, Any]] | None = None,
    sets: Sequence[str] = (),
) -> RunDescription:
    """The description that a file and the options given beside it make; options win.

    Args:
        config: The file.
        strategy: As "FILE.py" or "FILE.py:Class".
        data: Paths of prices.
        signals: Paths of predictions; of several, as "name=path" or by the name of the file.
        tables: Fields by table; None leaves a field as it is.
        sets: As of `RunDescription.with_set`, last.

    Raises:
        ConfigError: As of `RunDescription`.
    """
    found = RunDescription({}) if config is None else RunDescription.read(config)
    entries: dict[str, dict[str, Any]] = {}
    if strategy is not None:
        file, name = _split(strategy)
        entries["strategy"] = {"file": _absolute(file)} | ({"class": name} if name else {})
    if data:
        paths = [_absolute(path) for path in data]
        entries["data"] = {"path": paths[0] if len(paths) == 1 else paths}
    for table, fields in (tables or {}).items():
        given = {name: value for name, value in fields.items() if value is not None}
        if given:
            entries[table] = {**entries.get(table, {}), **given}
    if signals:
        found = found.without("signals")
        entries["signals"] = _signals(signals)
    return found.with_entries(entries).with_set(*sets)


def _split(strategy: str) -> tuple[str, str | None]:
    file, colon, name = strategy.rpartition(":")
    return (file, name) if colon and file.endswith(".py") else (strategy, None)


def _signals(given: Sequence[str]) -> dict[str, Any]:
    if len(given) == 1 and "=" not in given[0]:
        return {"path": _absolute(given[0])}
    found: dict[str, Any] = {}
    for text in given:
        name, equals, path = text.rpartition("=")
        key = name if equals else Path(text).stem
        if key in found:
            raise ConfigError(f"--signals: two tables are called {key!r}; write name=path.")
        found[key] = {"path": _absolute(path if equals else text)}
    return found


def _absolute(path: str) -> str:
    return str(Path.cwd() / Path(path).expanduser())
