"""What a vendor's threads put on the inbox for the feed: bars, and the state of the connection."""

from __future__ import annotations

import msgspec


class LiveBar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One bar as a vendor gives it.

    Args:
        asset_id: Of what.
        start: When it began, microseconds since 1970 UTC; its length is the feed's `vendor_bar`.
        open: First price.
        high: Highest price.
        low: Lowest price.
        close: Last price.
        volume: Traded quantity.
        is_update: The vendor gave this bar before, and corrects it.
    """

    asset_id: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_update: bool = False


class BadBar(msgspec.Struct, frozen=True, gc=False):
    """A bar that could not be read.

    Args:
        asset_id: Of what, as far as that could be read.
        reason: What is wrong with it, in words that go before "in the bar of".
    """

    asset_id: str
    reason: str


class Connected(msgspec.Struct, frozen=True, gc=False):
    """The vendor sends bars from now on; after a break, those in between are missing."""


class Lost(msgspec.Struct, frozen=True, gc=False):
    """The connection broke; the vendor's thread tries to get it back.

    Args:
        reason: In words, without credentials.
    """

    reason: str


class Missed(msgspec.Struct, frozen=True, gc=False):
    """The connection stands, but something was missed: it is fetched from history."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The vendor will not send bars, and trying again will not help.

    Args:
        reason: In words, without credentials.
    """

    reason: str


class History(msgspec.Struct, frozen=True):
    """Bars of a gap, all there are.

    Args:
        gap: Which gap they are for.
        bars: In any order.
    """

    gap: int
    bars: list[LiveBar]


class NoHistory(msgspec.Struct, frozen=True, gc=False):
    """The bars of a gap could not be had.

    Args:
        gap: Which gap.
        reason: In words, without credentials.
    """

    gap: int
    reason: str


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Look again: predictions have come, or the feed is to stop."""


Arrival = LiveBar | BadBar | Connected | Lost | Missed | Refused | History | NoHistory | Wake
