"""The messages of the WebSocket schema, version 1; `docs/websocket-schema.md` explains them.

A message is one frame: JSON in a text frame, MessagePack in a binary one. Fields that a reader
does not know are passed over, so that a later server may say more.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta

VERSION = 1
MOST_BYTES = 1 << 20  # of a frame from a client
MOST_BYTES_SERVED = 8 << 20  # of a frame from a server
MOST_SYMBOLS = 10_000
MOST_ITEMS = 10_000
STREAMS = ("bars", "signals")

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Time = Annotated[dt.datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Symbols = Annotated[list[Name], Meta(min_length=1, max_length=MOST_SYMBOLS)]
Items = Annotated[list[msgspec.Raw], Meta(max_length=MOST_ITEMS)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Speed = Annotated[float, Meta(ge=0, le=1e9)]
Value = float | bool | str | None
FIRST_YEAR, LAST_YEAR = 1900, 2261  # outside of these a time is a mistake, and breaks arithmetic


def _check(*times: dt.datetime | None) -> None:
    """Refuse times that cannot be meant.

    Raises:
        ValueError: One is outside of what is reckoned with; the reader says of which field.
    """
    for time in times:
        if time is not None and not FIRST_YEAR <= time.year <= LAST_YEAR:
            raise ValueError(
                f"the time {time.isoformat()} is not between the years {FIRST_YEAR} and {LAST_YEAR}"
            )


class BarItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bar.

    Args:
        asset_id: Of what.
        start: When it began.
        open: First price.
        high: Highest price.
        low: Lowest price.
        close: Last price.
        volume: Traded quantity; null when it is not known.
    """

    asset_id: Name
    start: Time
    open: float
    high: float
    low: float
    close: float
    volume: float | None = None

    def __post_init__(self) -> None:
        """A time that cannot be."""
        _check(self.start)


class SignalItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Predictions for one asset.

    Args:
        asset_id: Of what.
        values: By name; null says that there is none.
        timestamp: The end of the bar they are for.
        known_at: When the model knew them, for those that are for no bar in particular.
        meta: Of the model: its version, and so on.
    """

    asset_id: Name
    values: Annotated[dict[Name, Value], Meta(max_length=1_000)]
    timestamp: Time | None = None
    known_at: Time | None = None
    meta: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Times and values that cannot be."""
        _check(self.timestamp, self.known_at)
        values = self.values.values()
        if math.inf in values or -math.inf in values:  # JSON has no word for it but null
            raise ValueError("a value is infinite")


class Message(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type"):
    """Any message."""


# -- from a client ---------------------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """The first message of a client.

    Args:
        version: Of the schema.
        encoding: How the server is to write.
        token: What gives access, where a header cannot be set: in a browser.
        client: What the server's operator reads.
    """

    version: int
    encoding: str = "json"
    token: str | None = None
    client: Annotated[str, Meta(max_length=200)] = ""


class Resume(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a client that was here before goes on.

    Args:
        session: The server's name for the session the numbers are of.
        bars: The last number it has of this stream.
        signals: Likewise.
    """

    session: Name
    bars: Count = 0
    signals: Count = 0


class Subscribe(Message, frozen=True, tag="subscribe"):
    """What a client wants to hear, in place of what it wanted before.

    Args:
        symbols: Of which assets.
        bars: Whether bars.
        signals: Whether predictions.
        resume: What came after these numbers is sent first, when the server still has it.
        since: Likewise, what was known after a time, for a client without numbers.
    """

    symbols: Symbols
    bars: bool = True
    signals: bool = True
    resume: Resume | None = None
    since: Time | None = None

    def __post_init__(self) -> None:
        """A time that cannot be."""
        _check(self.since)


class HistoryRequest(Message, frozen=True, tag="history_request"):
    """Asks for the past.

    Args:
        request: The client's number for it.
        symbols: Of which assets.
        start: Bars that began then or later,
        end: and ended by then; predictions for these bars.
    """

    request: Count
    symbols: Symbols
    start: Time
    end: Time

    def __post_init__(self) -> None:
        """A time that cannot be."""
        _check(self.start, self.end)


class Publish(Message, frozen=True, tag="publish"):
    """Predictions for everybody who has subscribed to them.

    Args:
        signals: `SignalItem`s.
        request: The client's number for it; the answer has it, too.
    """

    signals: Items
    request: Count = 0


# -- from a server ---------------------------------------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """The answer to hello.

    Args:
        version: Of the schema.
        session: Changes when the server's numbers begin anew.
        bar_seconds: Length of its bars.
        heartbeat_seconds: Something comes at least that often.
        time: What time it is there.
        speed: Seconds that pass there in a real one; 0 when time goes by steps.
        max_bytes: The largest frame it takes.
        server: What a client's operator reads.
        bar_offset_seconds: How long after multiples of their length, from midnight UTC on, its
            bars begin.
    """

    version: int
    session: Name
    bar_seconds: Seconds
    heartbeat_seconds: Seconds
    time: Time
    speed: Speed = 1.0
    max_bytes: Count = MOST_BYTES
    server: Annotated[str, Meta(max_length=200)] = ""
    bar_offset_seconds: Annotated[float, Meta(ge=0, lt=86_400)] = 0.0

    def __post_init__(self) -> None:
        """A time that cannot be."""
        _check(self.time)


class Snapshot(Message, frozen=True, tag="snapshot"):
    """The answer to subscribe: what is known now, and where the numbers are.

    Args:
        symbols: Whose bars and predictions will come.
        bars: Latest bar of each.
        signals: Current predictions of each.
        sequences: The last number of each stream before what follows.
        resumed: What was missed follows, from the numbers of `resume` on.
        refused: Why there is nothing of the other symbols.
    """

    symbols: Annotated[list[Name], Meta(max_length=MOST_SYMBOLS)]
    bars: Items = []
    signals: Items = []
    sequences: dict[str, Count] = {}
    resumed: bool = False
    refused: dict[str, str] = {}


class BarsMessage(Message, frozen=True, tag="bars"):
    """New bars.

    Args:
        sequence: Its number in the stream "bars".
        bars: `BarItem`s.
        previous: The number of the message that this client was sent before it; `sequence` - 1
            when left out.
    """

    sequence: Count
    bars: Items
    previous: Count | None = None


class CorrectionsMessage(Message, frozen=True, tag="corrections"):
    """Bars that were sent before, as they should have been; in the stream "bars", too.

    Args:
        sequence: As of `bars`.
        bars: As of `bars`.
        previous: As of `bars`.
    """

    sequence: Count
    bars: Items
    previous: Count | None = None


class SignalsMessage(Message, frozen=True, tag="signals"):
    """New predictions.

    Args:
        sequence: Its number in the stream "signals".
        signals: `SignalItem`s.
        previous: As of `bars`.
    """

    sequence: Count
    signals: Items
    previous: Count | None = None


class HistoryReply(Message, frozen=True, tag="history"):
    """A page of the past.

    Args:
        request: As of the request.
        bars: In order of time.
        signals: Likewise.
        is_last: No page follows.
        error: Why there is none.
    """

    request: Count
    bars: Items = []
    signals: Items = []
    is_last: bool = True
    error: str = ""


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """A sign of life.

    Args:
        time: What time it is at the server.
        sequences: The last number that this client was sent, of each stream.
        speed: As of `welcome`.
    """

    time: Time
    sequences: dict[str, Count] = {}
    speed: Speed = 1.0

    def __post_init__(self) -> None:
        """A time that cannot be."""
        _check(self.time)


class Published(Message, frozen=True, tag="published"):
    """The answer to publish.

    Args:
        request: As of the request.
        taken: How many were taken.
        refused: Why the others were not.
    """

    request: Count
    taken: Count
    refused: Annotated[list[str], Meta(max_length=MOST_ITEMS)] = []


class ErrorMessage(Message, frozen=True, tag="error"):
    """Something was refused.

    Args:
        code: In a word.
        message: In a sentence.
        is_final: The server closes, and trying again will not help.
    """

    code: Name
    message: Annotated[str, Meta(max_length=2_000)]
    is_final: bool = False


class End(Message, frozen=True, tag="end"):
    """There is nothing more: a recording is over.

    Args:
        reason: Why.
    """

    reason: Annotated[str, Meta(max_length=2_000)] = ""


FromClient = Hello | Subscribe | HistoryRequest | Publish
FromServer = (
    Welcome
    | Snapshot
    | BarsMessage
    | CorrectionsMessage
    | SignalsMessage
    | HistoryReply
    | Heartbeat
    | Published
    | ErrorMessage
    | End
)
