"""Folders that a process works in until they are whole, and the sweeping of what it left.

A place is a folder and a file beside it that its writer keeps locked. The system drops the lock
when the process ends, however it ends, so what is not locked belongs to nobody. Where the system
has no such locks, only age tells.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = ".lock"
_OLD_SECONDS = 86_400.0  # no save takes a day


class Scratch:
    """Where new runs are written and removed ones are taken apart.

    Args:
        folder: On the same file system as the runs, so that a rename can move them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def claim(self) -> Iterator[Path]:
        """An empty folder of one's own, gone at the end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, lock = self._new_lock()
        place = lock.with_suffix("")
        try:
            place.mkdir()
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            lock.unlink(missing_ok=True)
            os.close(handle)

    def _new_lock(self) -> tuple[int, Path]:
        while True:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix="", suffix=_LOCK)
            _lock(handle, wait=True)
            if _is_at(handle, Path(name)):
                return handle, Path(name)
            os.close(handle)  # swept between its making and its locking

    def sweep(self) -> None:
        """Deletes the places of processes that are gone, and no others."""
        if not self._folder.is_dir():
            return
        found = sorted(self._folder.iterdir())
        for lock in found:
            if lock.suffix == _LOCK:
                self._sweep(lock)
        locked = {lock.with_suffix("") for lock in found if lock.suffix == _LOCK}
        for place in found:
            if place.suffix != _LOCK and place not in locked and self._is_old(place):
                shutil.rmtree(place, ignore_errors=True)

    def _sweep(self, lock: Path) -> None:
        try:
            handle = os.open(lock, os.O_RDWR)
        except OSError:  # its writer has finished, or it is not ours to touch
            return
        try:
            has_lock = _lock(handle, wait=False)
            is_free = self._is_old(lock) if has_lock is None else has_lock
            if is_free and _is_at(handle, lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _is_old(self, path: Path) -> bool:
        """Against the clock of the file system, which also dated the path."""
        with tempfile.TemporaryFile(dir=self._folder) as now:
            try:
                age = os.fstat(now.fileno()).st_mtime - path.stat().st_mtime
            except FileNotFoundError:
                return False
        return age > _OLD_SECONDS


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _lock(handle: int, *, wait: bool) -> bool | None:
    """True when locked, False when another has it, None where locks do not exist."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # some network drives
        return None
    return True
