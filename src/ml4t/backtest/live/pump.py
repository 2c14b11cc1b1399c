"""How a live feed waits when no session runs it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.timing import TimeSource

_LOG = logging.getLogger(__name__)


class LonePump:
    """Takes what comes from an inbox of the feed's own; what is for others is logged.

    Args:
        inbox: Of the feed.
        time: What the deadlines are in.
    """

    def __init__(self, inbox: Inbox, time: TimeSource) -> None:
        self._inbox = inbox
        self._time = time

    def __call__(self, deadline: int | None) -> Any | None:
        """The next message for the feed, or None once the deadline has passed."""
        while True:
            seconds = None if deadline is None else self._time.seconds_until(deadline)
            message = self._inbox.take(seconds)
            if message is None or message.source == "feed":
                return None if message is None else message.content
            _LOG.warning("%s", message.content)
