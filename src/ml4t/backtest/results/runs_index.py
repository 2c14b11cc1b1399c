"""The index of a run store: what is told of each run, so that a list need not open every folder.

It is a cache. The folders are the truth, each row carries the stamp of the folder it was read
from, and an index that is missing, locked for long, damaged or read-only costs time only.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest.results.runs_entry import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_WAIT_SECONDS = 30.0
# The version of `Entry` is part of the name, so that two versions of the library can share a file.
_TABLE = "runs_1"
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} (
    run_id TEXT PRIMARY KEY, stamp TEXT NOT NULL, family TEXT, name TEXT, entry BLOB NOT NULL
) WITHOUT ROWID
"""
_PUT = f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?, ?, ?, ?)"  # noqa: S608  our own constant
_ALL = f"SELECT run_id, stamp, entry FROM {_TABLE}"  # noqa: S608
_DROP = f"DELETE FROM {_TABLE} WHERE run_id = ?"  # noqa: S608
_CLEAR = f"DELETE FROM {_TABLE}"  # noqa: S608


class Index:
    """Rows of one SQLite file; every call is a connection and a short transaction of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, tuple[str, Entry]]:
        """Stamp and entry by run id; nothing when there is no index to read."""
        if not self._path.is_file():
            return {}
        try:
            with self._open() as base:
                rows = base.execute(_ALL).fetchall()
            return {r: (stamp, msgspec.json.decode(raw, type=Entry)) for r, stamp, raw in rows}
        except sqlite3.OperationalError:  # no table yet, locked for too long, not ours to open
            return {}
        except (sqlite3.DatabaseError, msgspec.MsgspecError, UnicodeDecodeError):
            self._discard()
            return {}

    def write(self, put: Iterable[tuple[str, Entry]], drop: Iterable[str] = ()) -> None:
        """Adds or replaces entries with their stamps, and forgets others."""
        self._change(put, drop, clear=False)

    def replace(self, put: Iterable[tuple[str, Entry]]) -> None:
        """Forgets everything but these."""
        self._change(put, (), clear=True)

    def _change(
        self, put: Iterable[tuple[str, Entry]], drop: Iterable[str], *, clear: bool
    ) -> None:
        rows = [(e.run_id, stamp, _family(e), e.name, msgspec.json.encode(e)) for stamp, e in put]
        gone = [(run_id,) for run_id in drop]
        if not (rows or gone or clear):
            return
        # What could not be written here is read from its folder again.
        with suppress(sqlite3.OperationalError):
            try:
                self._write(rows, gone, clear=clear)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._discard()
                self._write(rows, gone, clear=clear)

    def _write(
        self, rows: Sequence[tuple[object, ...]], gone: list[tuple[str]], *, clear: bool
    ) -> None:
        with self._open() as base:
            if base.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                base.execute("PRAGMA journal_mode = WAL")
            base.execute("BEGIN IMMEDIATE")
            base.execute(_CREATE)
            if clear:
                base.execute(_CLEAR)
            base.executemany(_DROP, gone)
            base.executemany(_PUT, rows)
            base.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        base = sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        with closing(base):
            base.execute("PRAGMA synchronous = NORMAL")
            yield base

    def _discard(self) -> None:
        """Takes a damaged file away; the next write begins a new one."""
        with suppress(OSError):  # a folder that may only be read
            for end in ("-wal", "-shm", ""):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)


def _family(entry: Entry) -> str | None:
    return None if entry.note is None else entry.note.family
