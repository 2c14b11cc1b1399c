"""Alerts: lines for the operator, on a thread of their own."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.inbox import Inbox

_PATIENCE = 10.0  # seconds for what is left to be told when a session ends
_WAITING = 1_000  # lines; what nobody takes for so long is in the journal


class Alerts:
    """Calls the operator's function with lines, one after the other.

    A mail server that is down, or does not answer, must not end or hold up a session that has
    positions: the function is called on another thread, and what it raises is told to the inbox.

    Args:
        function: Takes a line; None for nobody.
        inbox: Where failures go, as messages from "alerts".
    """

    def __init__(self, function: Callable[[str], object] | None, inbox: Inbox) -> None:
        self._function = function
        self._inbox = inbox
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, text: str) -> None:
        """Call the operator, soon."""
        if self._function is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            self._inbox.put("alerts", f"alert= does not return; it was not told: {text}")

    def close(self) -> None:
        """Wait a while until everything has been told."""
        if self._thread is None:
            return
        try:
            self._lines.put(None, timeout=_PATIENCE)
        except queue.Full:
            return
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        function = self._function
        assert function is not None
        while (text := self._lines.get()) is not None:
            try:
                function(text)
            except Exception as error:  # noqa: BLE001  whatever a user's code raises
                name = type(error).__name__
                self._inbox.put("alerts", f"alert= raised {name}: {error}; it was not told: {text}")
