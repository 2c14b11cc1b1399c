"""The kill switch: what an operator wants of a session that runs, in a file beside its journal."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path


class Command(StrEnum):
    """What a session can be told.

    HALT: no order is taken, and what would open a position is canceled. FLATTEN: likewise, and
    every position is closed at the market. RESUME: orders are taken again. STOP: the session ends
    after the present step. RECONCILE: compare with the broker now.
    """

    HALT = "halt"
    FLATTEN = "flatten"
    RESUME = "resume"
    STOP = "stop"
    RECONCILE = "reconcile"


class KillSwitch:
    """A file that anybody with access to the machine can write, with a word in it.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken = path.with_name(f"{path.name}.taken")

    @classmethod
    def of(cls, journal: Path) -> KillSwitch:
        """The switch of a session, by its journal."""
        return cls(journal.with_name(journal.name + ".command"))

    def tell(self, command: str) -> None:
        """Leave a word for the session.

        Raises:
            ConfigError: No such word.
        """
        try:
            word = Command(command)
        except ValueError:
            raise ConfigError(
                f"A session does not know {command!r}. {did_you_mean(command, list(Command))}"
            ) from None
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        part.write_text(word.value, encoding="utf-8")
        part.replace(self.path)

    def take(self) -> Command | None:
        """What was said since the last look; a word that nobody knows is a halt.

        Whoever writes into this file wants something to stop. A word is given again, also to the
        next process, until it is `done`.
        """
        if not self._taken.exists():
            try:
                self.path.replace(self._taken)
            except FileNotFoundError:
                return None
        try:
            return Command(
                self._taken.read_text(encoding="utf-8", errors="replace").strip().lower()
            )
        except ValueError:
            return Command.HALT

    def done(self) -> None:
        """What was taken last has been obeyed."""
        self._taken.unlink(missing_ok=True)

    @property
    def is_waiting(self) -> bool:
        """Whether a word has not been obeyed yet."""
        return self.path.exists() or self._taken.exists()
