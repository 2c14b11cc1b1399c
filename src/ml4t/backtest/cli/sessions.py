"""Sessions on this machine: where they write, and whether they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConfigError, JournalError, did_you_mean
from ml4t.backtest.live.status import Status, status_path
from ml4t.backtest.live.timing import MICROSECONDS, WallTime

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path("ml4t-live")
_SUFFIX = ".journal"
STALE = 15.0  # seconds without a status after which a session is said to be silent


def find(journal: Path | None) -> Path:
    """The journal that is meant.

    Args:
        journal: Its file; a folder, or None for the usual one, means the latest in there.

    Raises:
        ConfigError: There is none.
        JournalError: The file does not exist.
    """
    folder = FOLDER if journal is None else journal.expanduser()
    if folder.is_dir():
        found = list(folder.glob(f"*{_SUFFIX}"))
        if not found:
            raise ConfigError(f"There is no journal in the folder {folder}. {_HINT}")
        return max(found, key=_written_at)
    if journal is None:
        raise ConfigError(f"There is no folder {folder} here. {_HINT}")
    if not folder.exists():
        raise JournalError(f"There is no journal {str(folder)!r}. {_near(folder)}".rstrip())
    return folder


_HINT = "Sessions write there unless they are told otherwise; name the journal of yours."


def _near(journal: Path) -> str:
    names = [str(path) for path in _journals({journal.parent, FOLDER})]
    return did_you_mean(str(journal), names) if names else ""


def _journals(folders: Iterable[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.glob(f"*{_SUFFIX}"))


def _written_at(journal: Path) -> float:
    """When a session last wrote anything."""
    beside = [journal, status_path(journal), journal.with_name(f"{journal.name}-wal")]
    return max(path.stat().st_mtime for path in beside if path.exists())


def is_alive(status: Status) -> bool:
    """Whether the process that wrote a status runs on this machine."""
    try:
        os.kill(status.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's, and there
        return True
    return True


def age(journal: Path) -> float:
    """Real seconds since the status was written, whatever time its session lives in."""
    written = status_path(journal).stat().st_mtime
    return max(0.0, WallTime().now() / MICROSECONDS - written)


def trouble(status: Status, journal: Path) -> str:
    """What an operator should know before everything else; empty when all is well."""
    if status.state == "stopped":
        return ""
    if status.state == "failed":
        return f"Ended by an error: {status.reason.rstrip('.')}. {_left(status)}"
    old = age(journal)
    if not is_alive(status):
        return (
            f"Process {status.process}, which wrote this {ago(old)} ago, is gone without a word. "
            f"{_left(status)}"
        )
    if old > STALE:
        return (
            f"This is {ago(old)} old: process {status.process} is there, but has not said how it "
            "stands since."
        )
    return f"Halted: {status.reason}" if status.reason else ""


def _left(status: Status) -> str:
    """What a session that is not there any more has left, and what to do."""
    again = "Start the session again with the same journal."
    if status.mode == "shadow":
        return again
    return f"Its orders and positions are at the broker, and nobody looks after them. {again}"


_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0


def ago(seconds: float) -> str:
    """A span as people say it."""
    if seconds < 2.0 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2.0 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2.0 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"
