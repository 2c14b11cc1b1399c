"""The description that a file and the options given beside it make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.description import RunDescription
from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


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
