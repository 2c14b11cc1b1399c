"""What was tried, by family: a file to which lines are added and from which none is taken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.results.runs_entry import Note


class Trial(msgspec.Struct, frozen=True):
    """One configuration of a family."""

    family: str
    configuration: str


class Tally:
    """The trials of a store, whatever becomes of their runs.

    Args:
        path: A file of one JSON object a line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, note: Note) -> None:
        """Counts a run's configuration, once."""
        trial = Trial(note.family, note.configuration)
        if trial in self._read():
            return
        # One write of a short line to the end of a file is whole, whoever else writes. The line
        # break comes first too, so that a line cut short by a full disk spoils no other.
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, b"\n" + msgspec.json.encode(trial) + b"\n")
        finally:
            os.close(handle)

    def of(self, family: str) -> set[str]:
        """The configurations of a family."""
        return {trial.configuration for trial in self._read() if trial.family == family}

    def _read(self) -> set[Trial]:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return set()
        return {trial for line in lines if (trial := _trial(line)) is not None}


def _trial(line: bytes) -> Trial | None:
    try:
        return msgspec.json.decode(line, type=Trial)
    except msgspec.MsgspecError:  # blank, or cut short
        return None
