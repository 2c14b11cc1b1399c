"""Interpreters that stay: an engine that takes seconds to import is imported once."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO, Self

from tests.parity.harness import command, read, theirs, write
from tests.parity.scenario import Answer, Stage

STAYING = ("vectorbt", "pybroker")
"""The engines whose runners can be asked again and again."""


class Staying:
    """Asks engines, and keeps the interpreters of those that can stay; a context manager.

    What changes an engine, to show that a rule of its is the cause of a difference, is asked of
    an interpreter of its own.
    """

    def __enter__(self) -> Self:
        self._open: dict[str, tuple[subprocess.Popen[str], IO[str]]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        for process, errors in self._open.values():
            process.communicate()  # ends what it reads, and closes both pipes
            errors.close()

    def theirs(self, stage: Stage, engine: str, folder: Path) -> Answer:
        """What the engine does."""
        if engine not in STAYING or stage.cure:
            return theirs(stage, engine, folder)
        if engine not in self._open:
            self._open[engine] = started(engine)
        process, errors = self._open[engine]
        assert process.stdin is not None
        assert process.stdout is not None
        write(stage, folder)
        process.stdin.write(f"{folder}\n")
        process.stdin.flush()
        if process.stdout.readline() != "done\n":
            process.wait()
            errors.seek(0)
            text = errors.read()[-4000:]
            raise RuntimeError(f"{engine} failed at {stage.scenario.name}:\n{text}")
        return read(folder)


def started(engine: str) -> tuple[subprocess.Popen[str], IO[str]]:
    """An interpreter that waits for folders, and a file for what it has to say."""
    errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  the caller's
    pipe = subprocess.PIPE
    words = [*command(engine), "-"]
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=errors, text=True), errors
