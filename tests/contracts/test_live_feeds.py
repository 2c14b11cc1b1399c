"""Every live feed sits the same exam; and feeds that are broken, each in one way, fail it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ml4t.backtest import WebSocketFeed
from ml4t.backtest.data.feed import Reader, Request
from ml4t.backtest.live.arrivals import BadBar, Connected, LiveBar, Lost
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.testing.live_feeds import FeedDriver, HandTime, LiveFeedContract
from tests.live.scripted import MINUTE, NINE
from tests.live.scripted import bar as live_bar
from tests.live.websocket_server import LooseServer
from tests.live.websocket_server import bar as wire_bar
from tests.live.websocket_server import bars as wire_bars


class HandFeed(LiveDataFeed):
    """A vendor in the same process: a list that a thread of the feed's own watches."""

    def __init__(self, symbols: Sequence[str], **options: Any) -> None:
        super().__init__(symbols, max_silence=None, **options)
        self.time = HandTime(NINE)
        self.sent: list[Any] = []
        self.past: list[LiveBar] = []
        self.is_open = False
        self.thread: threading.Thread | None = None

    def connect(self, inbox: Inbox) -> None:
        self.is_open = True
        self.thread = threading.Thread(target=self.receive, args=[inbox], daemon=True)
        self.thread.start()

    def receive(self, inbox: Inbox) -> None:
        inbox.put("feed", Connected())
        while self.is_open:
            if self.sent:
                self.take(inbox, self.sent.pop(0))
            time.sleep(0.001)

    def take(self, inbox: Inbox, arrival: Any) -> None:
        inbox.put("feed", arrival)

    def reconnect(self) -> None:
        self.sent += [Lost("asked to"), Connected()]

    def close(self) -> None:
        self.is_open = False
        if self.thread is not None:
            self.thread.join()

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        low, high = (round(t.timestamp()) * 1_000_000 for t in (start, end))
        return [b for b in self.past if low <= b.start and b.start + MINUTE <= high]


class HandDriver:
    """Drives a `HandFeed`."""

    start = NINE

    def __init__(self, feed: HandFeed) -> None:
        self.feed: Any = feed

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        bar = live_bar(asset_id, NINE + minute * MINUTE, close, is_update=is_update)
        self.feed.sent.append(bar)

    def send_garbage(self) -> None:
        self.feed.sent.append(BadBar("A", "nothing fits"))

    def keep(self, asset_id: str, minute: int, close: float) -> None:
        self.feed.past.append(live_bar(asset_id, NINE + minute * MINUTE, close))

    def pass_to(self, minute: float) -> None:
        self.feed.time.moment = NINE + round(minute * MINUTE)

    def drop(self) -> None:
        self.feed.reconnect()

    def close(self) -> None:
        """Nothing is left."""


class TestHandFeed(LiveFeedContract):
    """The smallest feed there can be."""

    def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
        return HandDriver(HandFeed(symbols, grace_seconds=grace_seconds))


class WebSocketDriver:
    """Drives a server of the schema."""

    start = NINE

    def __init__(self, symbols: Sequence[str], grace_seconds: float, encoding: str) -> None:
        self.server = LooseServer(is_binary=encoding == "msgpack")
        self.server.__enter__()
        self.feed: LiveDataFeed = WebSocketFeed(
            self.server.url,
            symbols=symbols,
            max_silence=None,
            grace_seconds=grace_seconds,
            encoding=encoding,
        )
        assert isinstance(self.feed, WebSocketFeed)
        self.feed.time = self.feed.clock
        self.number = 0

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        self.number += 1
        message = wire_bars(self.number, wire_bar(asset_id, minute, close))
        self.server.send({**message, "type": "corrections"} if is_update else message)

    def send_garbage(self) -> None:
        self.server.send("nonsense", b"\xc1")

    def keep(self, asset_id: str, minute: int, close: float) -> None:
        self.server.past.append(wire_bar(asset_id, minute, close))

    def pass_to(self, minute: float) -> None:
        self.server.tell(minute)

    def drop(self) -> None:
        self.server.snapshot = {"sequences": {"bars": self.number}}
        self.server.drop()

    def close(self) -> None:
        self.server.__exit__()


class TestWebSocketFeed(LiveFeedContract):
    """Over loopback, in JSON."""

    encoding = "json"

    def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
        return WebSocketDriver(symbols, grace_seconds, self.encoding)


class TestWebSocketFeedInMessagePack(TestWebSocketFeed):
    """Likewise."""

    encoding = "msgpack"


# -- broken ones -----------------------------------------------------------------------------------


class Halved(HandFeed):
    """Loses every bar of one asset but the first."""

    def take(self, inbox: Inbox, arrival: Any) -> None:
        if not (isinstance(arrival, LiveBar) and arrival.asset_id == "B" and arrival.start > NINE):
            super().take(inbox, arrival)


class Batching(HandFeed):
    """Keeps each bar back until the next one of its asset."""

    def take(self, inbox: Inbox, arrival: Any) -> None:
        held: dict[str, Any] = self.__dict__.setdefault("held", {})
        if not isinstance(arrival, LiveBar):
            super().take(inbox, arrival)
        elif (before := held.pop(arrival.asset_id, None)) is not None:
            super().take(inbox, before)
        if isinstance(arrival, LiveBar):
            held[arrival.asset_id] = arrival


class Impatient(HandFeed):
    """Has no grace time."""

    def __init__(self, symbols: Sequence[str], **options: Any) -> None:
        super().__init__(symbols, **options | {"grace_seconds": 0.0})


class Tidy(HandFeed):
    """Keeps to itself what is late."""

    def take(self, inbox: Inbox, arrival: Any) -> None:
        latest = self.__dict__.setdefault("latest", 0)
        if isinstance(arrival, LiveBar):
            if arrival.start < latest:
                return
            self.__dict__["latest"] = arrival.start
        super().take(inbox, arrival)


class Final(HandFeed):
    """Knows no corrections."""

    def take(self, inbox: Inbox, arrival: Any) -> None:
        if not (isinstance(arrival, LiveBar) and arrival.is_update):
            super().take(inbox, arrival)


class Fragile(HandFeed):
    """Ends with what it does not understand."""

    def take(self, inbox: Inbox, arrival: Any) -> None:
        if isinstance(arrival, BadBar):
            self.is_open = False
        super().take(inbox, arrival)


class Ignorant(HandFeed):
    """Has no history."""

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        return []


class Generous(HandFeed):
    """History has the bar that is not over, too."""

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        return super().history(start, end + dt.timedelta(minutes=1))


class Lingering(HandFeed):
    """Its thread goes on."""

    def close(self) -> None:
        """Not yet."""


class Endless(HandFeed):
    """Can be opened again and again."""

    def open_reader(self, request: Request) -> Reader:
        self._reader = None
        return super().open_reader(request)


BROKEN: tuple[tuple[Callable[..., HandFeed], str], ...] = (
    (Halved, "test_timestamps_come_whole_and_in_order"),
    (Batching, "test_an_asset_whose_next_bar_has_come_is_not_waited_for"),
    (Impatient, "test_what_lacks_is_waited_for_until_the_grace_time_is_over"),
    (Tidy, "test_time_does_not_go_back"),
    (Final, "test_corrections"),
    (Fragile, "test_garbage_is_survived"),
    (Ignorant, "test_the_bars_of_a_break_come_from_history"),
    (Ignorant, "test_it_goes_on_from_where_a_session_ended"),
    (Generous, "test_history_has_whole_bars_of_the_span"),
    (Lingering, "test_a_stop_from_elsewhere_ends_it"),
    (Endless, "test_it_is_walked_once"),
)


@pytest.mark.parametrize(("feed", "test"), BROKEN, ids=lambda one: getattr(one, "__name__", ""))
def test_broken_feeds_fail(feed: Callable[..., HandFeed], test: str) -> None:
    """Each fails the test that is about what it does wrong."""
    made: list[HandFeed] = []

    class Exam(LiveFeedContract):
        patience = 0.5

        def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
            made.append(feed(symbols, grace_seconds=grace_seconds))
            return HandDriver(made[-1])

    with pytest.raises(AssertionError):
        getattr(Exam(), test)()
    HandFeed.close(made[0])


def test_every_point_has_a_broken_feed() -> None:
    """So that no test of the exam passes whatever one does."""
    tests = {name for name in vars(LiveFeedContract) if name.startswith("test_")}
    assert tests == {test for _, test in BROKEN}
