"""What a feed tells the session beside its bars. Times are microseconds since 1970 UTC."""

from __future__ import annotations

import msgspec


class FeedLost(msgspec.Struct, frozen=True, gc=False):
    """The connection broke.

    Args:
        feed: Which feed.
        reason: In words.
        is_final: Nobody will try again; the feed ends with an error.
    """

    feed: str
    reason: str
    is_final: bool = False


class FeedRestored(msgspec.Struct, frozen=True, gc=False):
    """The connection is back; what was missed is being asked for.

    Args:
        feed: Which feed.
        missing_since: Nothing later has been given to the strategy yet.
    """

    feed: str
    missing_since: int


class FeedStale(msgspec.Struct, frozen=True, gc=False):
    """The market is open, the connection stands, and no bar came; the feed connects anew.

    Args:
        feed: Which feed.
        silent_since: The last sign of life, or the open of the market.
        seconds: For how long.
    """

    feed: str
    silent_since: int
    seconds: float


class GapFilled(msgspec.Struct, frozen=True, gc=False):
    """The bars of a break came from history.

    Args:
        feed: Which feed.
        start: From when.
        end: Until when.
        bars: How many bars there were.
    """

    feed: str
    start: int
    end: int
    bars: int


class GapUnfilled(msgspec.Struct, frozen=True, gc=False):
    """The bars of a break could not be had in time; the feed goes on without them.

    Args:
        feed: Which feed.
        start: From when.
        end: Until when.
        reason: In words.
    """

    feed: str
    start: int
    end: int
    reason: str


Notice = FeedLost | FeedRestored | FeedStale | GapFilled | GapUnfilled
