"""`live journal`: what happened in a session, a line for each entry."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ml4t.backtest.cli import sessions
from ml4t.backtest.cli.screen import console
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.reading import Line, lines
from ml4t.backtest.live.records import KINDS
from ml4t.backtest.live.sentences import Teller, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

_LOOK = 0.5  # seconds between two looks
_STYLES = {"warning": "yellow", "debug": "dim"}


def show(
    journal: Path,
    *,
    kinds: Sequence[str],
    after: int,
    last: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Print entries.

    Args:
        journal: The file.
        kinds: Which; all but those for DEBUG without any.
        after: Leave out entries up to this number.
        last: At most so many, the latest.
        follow: Go on with what is written until somebody ends it.
        as_json: An object each.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"There are no entries of kind {kind!r}. {did_you_mean(kind, KINDS)}")
    opened = Journal(sessions.find(journal), is_read_only=True)
    try:
        screen, reader = console(), _Reader(opened, kinds, after)
        found = reader.read()
        _print(screen, found if last is None else deque(found, maxlen=last), as_json=as_json)
        while follow:
            time.sleep(_LOOK)
            _print(screen, reader.read(), as_json=as_json)
    finally:
        opened.close()


class _Reader:
    """Reads on where it was, and remembers whose order is whose."""

    def __init__(self, journal: Journal, kinds: Sequence[str], after: int) -> None:
        self._journal = journal
        self._kinds = kinds
        self._after = after
        self._teller = Teller()
        self._number = 0

    def read(self) -> Iterator[Line]:
        """The entries since the last time that are wanted."""
        for line in lines(self._journal, self._teller, after=self._number):
            self._number = line.entry.number
            if self._number > self._after and self._is_wanted(line):
                yield line

    def _is_wanted(self, line: Line) -> bool:
        return line.entry.kind in self._kinds if self._kinds else line.level != "debug"


def _print(screen: Console, found: Iterable[Line], *, as_json: bool) -> None:
    for line in found:
        if as_json:
            plain = {
                "number": line.entry.number,
                "time": line.entry.at,
                "kind": line.entry.kind,
                "level": line.level,
                "text": line.text,
                "order_id": line.order_id,
                "client_id": line.client_id,
                "asset_id": line.asset_id,
            }
            screen.print(Text(msgspec.json.encode(plain).decode()), soft_wrap=True)
            continue
        name = f"{line.client_id}: " if line.client_id else ""
        entry = line.entry
        text = f"{entry.number:>7}  {moment(entry.at)}  {entry.kind:<9}  {name}{line.text}"
        screen.print(Text(text, style=_STYLES.get(line.level, "")), soft_wrap=True)
