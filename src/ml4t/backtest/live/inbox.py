"""The one queue between the threads of sockets and the thread of the strategy."""

from __future__ import annotations

import queue
from typing import Any, NamedTuple, Protocol


class Message(NamedTuple):
    """Something that arrived.

    Attributes:
        source: "feed", "broker" or "session": who is to handle it.
        content: What that one understands.
    """

    source: str
    content: Any


class Inbox:
    """Where threads leave what they have received, and the session takes it, in order of arrival.

    Any thread may put; one thread takes. Whoever puts does nothing else: a handler that works in
    the thread of a socket holds the socket up.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, source: str, content: Any) -> None:
        """Leave a message; never waits."""
        self._queue.put(Message(source, content))

    def take(self, timeout: float | None) -> Message | None:
        """The next message, or None when none has come after `timeout` seconds.

        Args:
            timeout: Seconds to wait; 0 looks once, None waits for as long as it takes.
        """
        try:
            return self._queue.get(timeout=timeout) if timeout != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None

    def __len__(self) -> int:
        return self._queue.qsize()


class Pump(Protocol):
    """How a live feed waits: whoever runs the session does everything else meanwhile."""

    def __call__(self, deadline: int | None) -> Any | None:
        """The next message for the feed.

        Args:
            deadline: Microseconds since 1970 by the session's time at which to give up; None
                waits for as long as it takes.

        Returns:
            What was put for "feed"; None once the deadline has passed.
        """
        ...
