"""The journal: what came in, what was decided, and what was sent, before it is sent."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ml4t.backtest.errors import JournalError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

FORMAT = 3
_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX entries_of_a_kind ON entries (kind, number);
"""


class Entry(NamedTuple):
    """One line of a journal.

    Attributes:
        number: From 1, without gaps.
        at: When it was written, microseconds since 1970.
        kind: What it is.
        content: MessagePack of it.
    """

    number: int
    at: int
    kind: str
    content: bytes


class Journal:
    """An append-only file (SQLite, write-ahead log) of one account's sessions.

    What is written is on the disk before `write` returns, unless it is inside `together`, which
    then does so at its end, for all of it or for nothing.

    Args:
        path: The file; made when it is missing, with its folder.
        about: What it belongs to (account, strategy, ...): the same each time.
        is_read_only: Only look at it; another process may be writing.

    Raises:
        JournalError: The file is of another account, strategy or format, is no journal, or cannot
            be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        about: dict[str, str] | None = None,
        *,
        is_read_only: bool = False,
    ) -> None:
        self.path = Path(path)
        self._depth = 0
        self._open(is_read_only=is_read_only)
        try:
            self._check(about or {}, is_read_only=is_read_only)
            self.count = self._counted()
        except BaseException:
            self.close()
            raise

    def _open(self, *, is_read_only: bool) -> None:
        if is_read_only and not self.path.exists():
            raise JournalError(f"There is no journal {str(self.path)!r}.")
        try:
            if not is_read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if is_read_only else "rwc"
            self._database = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
            )
            if not is_read_only:
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
        except (OSError, sqlite3.Error) as error:
            raise self._failure("cannot be opened", error) from error

    def _check(self, about: dict[str, str], *, is_read_only: bool) -> None:
        try:
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master")}
            if not tables and not is_read_only:
                self._create(about)
                tables = {"about", "entries"}
            if not {"about", "entries"} <= tables:
                raise JournalError(f"{str(self.path)!r} is no journal of a session.")
            found = dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.Error as error:
            raise self._failure("cannot be read", error) from error
        if found.get("format") != str(FORMAT):
            raise JournalError(
                f"The journal {str(self.path)!r} is of format {found.get('format')}, this version "
                f"reads {FORMAT}. Finish that session with the version that wrote it, or name "
                "another file."
            )
        for name, value in about.items():
            if found.get(name) != value:
                raise JournalError(
                    f"The journal {str(self.path)!r} is of {name} {found.get(name)!r}, not "
                    f"{value!r}. Name another file with journal=, or move this one away."
                )
        self.about = found

    def _counted(self) -> int:
        """How many entries there are; all of them must be."""
        try:
            found, last = self._database.execute(
                "SELECT count(*), coalesce(max(number), 0) FROM entries"
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failure("cannot be read", error) from error
        if found != last:
            raise JournalError(
                f"The journal {str(self.path)!r} is damaged: {last - found} of its {last} entries "
                f"are missing. {_RESTORE}"
            )
        return int(last)

    def _create(self, about: dict[str, str]) -> None:
        with self.together():
            for statement in filter(str.strip, _SCHEMA.split(";")):
                self._database.execute(statement)
            rows = [("format", str(FORMAT)), *about.items()]
            self._database.executemany("INSERT INTO about VALUES (?, ?)", rows)

    # -- writing ------------------------------------------------------------------------------

    def write(self, kind: str, content: Any, at: int) -> int:
        """Append one entry.

        Args:
            kind: What it is.
            content: Anything MessagePack can hold.
            at: Microseconds since 1970.

        Returns:
            Its number.

        Raises:
            JournalError: It could not be written; nothing of it was.
        """
        number, packed = self.count + 1, msgspec.msgpack.encode(content)
        try:
            self._database.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?)",
                (number, at, kind, packed, _checksum(number, at, kind, packed)),
            )
        except sqlite3.Error as error:
            raise self._failure("cannot be written", error) from error
        self.count = number
        return number

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside stands in the file as a whole, or not at all."""
        if self._depth:
            yield
            return
        self._depth, before = 1, getattr(self, "count", 0)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException as error:
            self.count = before
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._failure("cannot be written", error) from error
            raise
        finally:
            self._depth = 0

    # -- reading ------------------------------------------------------------------------------

    def entries(self, *kinds: str, after: int = 0) -> Iterator[Entry]:
        """Entries in order, those of some kinds or all, from behind a number on."""
        which = f" AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
        try:
            yield from map(
                self._checked,
                self._database.execute(
                    f"SELECT * FROM entries WHERE number > ?{which} ORDER BY number",  # noqa: S608  only question marks
                    (after, *kinds),
                ),
            )
        except sqlite3.Error as error:
            raise self._failure("cannot be read", error) from error

    def last(self, kind: str) -> Entry | None:
        """The latest entry of a kind."""
        try:
            row = self._database.execute(
                "SELECT * FROM entries WHERE kind = ? ORDER BY number DESC LIMIT 1", (kind,)
            ).fetchone()
        except sqlite3.Error as error:
            raise self._failure("cannot be read", error) from error
        return None if row is None else self._checked(row)

    def _checked(self, row: tuple[int, int, str, bytes, int]) -> Entry:
        entry = Entry(*row[:4])
        if _checksum(*entry) != row[4]:
            raise JournalError(
                f"The journal {str(self.path)!r} is damaged: entry {entry.number} is not what was "
                f"written. {_RESTORE}"
            )
        return entry

    def close(self) -> None:
        """Close the file; twice is no mistake."""
        self._database.close()

    def _failure(self, what: str, error: Exception) -> JournalError:
        damaged = f" {_RESTORE}" if type(error) is sqlite3.DatabaseError else ""
        return JournalError(f"The journal {str(self.path)!r} {what}: {error}.{damaged}")


_RESTORE = (
    "Put a copy of before in its place, with the files beside it that begin with its name; "
    'without one, begin a new journal with the account flat or reconcile="adopt".'
)


def _checksum(number: int, at: int, kind: str, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(f"{number} {at} {kind}".encode()))
