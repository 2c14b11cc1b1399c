"""A word for a session: left beside its journal, and waited for until it is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ml4t.backtest.cli import failures, sessions
from ml4t.backtest.cli.screen import say
from ml4t.backtest.cli.screen import tell as warn
from ml4t.backtest.errors import LiveError
from ml4t.backtest.live.killswitch import KillSwitch
from ml4t.backtest.live.status import Status, status_path

if TYPE_CHECKING:
    from pathlib import Path

_LOOK = 0.05  # seconds between two looks
_AT_THE_BROKER = "Its orders and positions, if any, are at the broker as they were."


def tell(word: str, journal: Path, *, wait: float) -> int:
    """Leave a word for the session of a journal, and wait until it has it.

    Args:
        word: What it is told.
        journal: The session's.
        wait: Seconds; 0 does not wait.

    Returns:
        The exit code: 1 when nobody has taken it.
    """
    journal = sessions.find(journal)
    absence = _absence(journal)
    if absence:
        warn(f"No session runs on {journal}: {absence} Nothing was left for one.", "bold red")
        return failures.FAILED
    switch = KillSwitch.of(journal)
    switch.tell(word)
    if wait <= 0.0:
        say(f"Left {word!r} for the session of {journal}.")
        return failures.FINE
    until = time.monotonic() + wait
    while time.monotonic() < until:
        if not switch.is_waiting:
            say(f"The session of {journal} has taken {word!r}.")
            return failures.FINE
        time.sleep(_LOOK)
    warn(
        f"The session of {journal} has not taken {word!r} within {wait:g} seconds. It stays there, "
        "and is obeyed when the session looks again; if it hangs, act at the broker.",
        "bold red",
    )
    return failures.FAILED


def _absence(journal: Path) -> str:
    """Why nobody would hear; empty when somebody does."""
    try:
        status = Status.read(status_path(journal))
    except LiveError:
        return "none has said that it does."
    if status.has_ended:
        return f"it has ended. {_AT_THE_BROKER}"
    if not sessions.is_alive(status):
        return f"process {status.process} is gone. {_AT_THE_BROKER}"
    return ""
