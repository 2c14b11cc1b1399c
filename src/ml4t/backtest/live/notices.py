"""What a feed tells the session beside its bars. Times are microseconds since 1970 UTC.

As text, each is a line for the operator.
"""

from __future__ import annotations

import msgspec

from ml4t.backtest.live.sentences import moment


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

    def __str__(self) -> str:
        next_ = "nobody tries again" if self.is_final else "it is being got back"
        return f"{self.feed}: the connection is lost ({self.reason}); {next_}"


class FeedRestored(msgspec.Struct, frozen=True, gc=False):
    """The connection is back; what was missed is being asked for.

    Args:
        feed: Which feed.
        missing_since: Nothing later has been given to the strategy yet.
    """

    feed: str
    missing_since: int

    def __str__(self) -> str:
        since = _utc(self.missing_since)
        return f"{self.feed}: the connection is back; bars are missing since {since}"


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

    def __str__(self) -> str:
        return (
            f"{self.feed}: no bar has come for {self.seconds:.0f} seconds, since "
            f"{_utc(self.silent_since)}; it connects anew"
        )


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

    def __str__(self) -> str:
        span = f"{_utc(self.start)} to {_utc(self.end)}"
        return f"{self.feed}: history gave {self.bars} bars that were missing, {span}"


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

    def __str__(self) -> str:
        span = f"{_utc(self.start)} to {_utc(self.end)}"
        return f"{self.feed}: bars from {span} are missing for good: {self.reason}"


Notice = FeedLost | FeedRestored | FeedStale | GapFilled | GapUnfilled


def _utc(at: int) -> str:
    return f"{moment(at)} UTC"
