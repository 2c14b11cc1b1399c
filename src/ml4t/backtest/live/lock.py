"""One process per account: a lock that goes when its process goes, however that ends."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from pathlib import Path

from ml4t.backtest.errors import LiveError


class AccountLock:
    """Held by the session that trades an account on this machine.

    It is an open transaction on a small database, which the operating system ends with its
    process; so nothing is left behind by a crash.

    Args:
        account: The broker's name for the account, and the broker's.
        folder: Where locks are; the folder for temporary files by default.

    Raises:
        LiveError: Another process holds it.
    """

    def __init__(self, account: str, folder: Path | None = None) -> None:
        folder = Path(tempfile.gettempdir()) if folder is None else folder
        self.path = folder / f"ml4t-backtest-{re.sub(r'[^A-Za-z0-9-]', '_', account)}.lock"
        self._database = sqlite3.connect(self.path, isolation_level=None, timeout=0.2)
        try:
            self._database.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._database.close()
            raise LiveError(
                f"Another session trades {account} on this machine (lock {str(self.path)!r}: "
                f"{error}). Stop it first: two sessions on one account would trade against each "
                "other."
            ) from None

    def release(self) -> None:
        """Let others have it; twice is no mistake."""
        self._database.close()
