"""AlpacaStreamFeed on the unmodified alpaca-py, against a server over loopback."""

from __future__ import annotations

import builtins
import datetime as dt
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ml4t.backtest import AlpacaStreamFeed, ConfigError, DataError
from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.notices import FeedLost, FeedRestored, FeedStale, GapFilled
from ml4t.backtest.live.pump import LonePump
from ml4t.backtest.live.timing import ScaledTime
from tests.live.alpaca_server import KEY, SECRET, AlpacaServer, past, wire
from tests.live.scripted import MINUTE, NINE, row

FAST = 60.0  # a minute a second


@pytest.fixture
def server() -> Iterator[AlpacaServer]:
    """A server of its own."""
    with AlpacaServer() as server:
        yield server


class Session:
    """A feed that is walked by hand, and what it told the session."""

    def __init__(
        self, server: AlpacaServer, *symbols: str, speed: float = 1.0, **options: Any
    ) -> None:
        given = {"api_key": KEY, "secret_key": SECRET, **server.addresses(), **options}
        self.feed = AlpacaStreamFeed(symbols=symbols or ["AAPL"], calendar="24/7", **given)
        self.feed.time = ScaledTime(NINE, speed)
        self.feed.since = NINE  # however long it takes to connect
        self.notices: list[Any] = []
        self.inbox = self.feed.inbox
        self.pump = LonePump(self.inbox, self.feed.time)
        self.feed.pump = self.wait
        self.blocks = self.feed.open_reader(Request()).blocks(1)

    def wait(self, deadline: int | None) -> Any:
        """As a session does: notices are its own."""
        while True:
            seconds = None if deadline is None else self.feed.time.seconds_until(deadline)
            message = self.inbox.take(seconds)
            if message is None or message.source == "feed":
                return None if message is None else message.content
            self.notices.append(message.content)

    def next(self) -> tuple[float, dict[str, float]]:
        """The next timestamp."""
        return row(next(self.blocks), self.feed.symbols)

    def end(self) -> dict[str, int]:
        """Stop, and what was counted."""
        self.feed.stop()
        assert list(self.blocks) == []
        while (message := self.inbox.take(0)) is not None:
            self.notices += [message.content] if message.source == "session" else []
        return {n: c for n, c in self.feed.counts().items() if c}


def feed_of(server: AlpacaServer, **options: Any) -> AlpacaStreamFeed:
    """A feed that has not connected."""
    given = {"api_key": KEY, "secret_key": SECRET, **server.addresses(), **options}
    return AlpacaStreamFeed(symbols=["AAPL"], calendar="24/7", **given)


# -- bars ------------------------------------------------------------------------------------


def test_bars_come_stamped_with_their_end(server: AlpacaServer) -> None:
    """Whole timestamps, as soon as both stocks have come."""
    session = Session(server, "MSFT", "AAPL")
    assert server.subscribed == [
        {"action": "subscribe", "bars": ["AAPL", "MSFT"], "updatedBars": ["AAPL", "MSFT"]}
    ]
    server.send(wire("MSFT", NINE, 20.0), wire("AAPL", NINE, 10.0))
    assert session.next() == (1, {"AAPL": 10.0, "MSFT": 20.0})
    server.send(wire("AAPL", NINE + MINUTE, 11.0))
    server.send(wire("MSFT", NINE + MINUTE, 21.0))
    assert session.next() == (2, {"AAPL": 11.0, "MSFT": 21.0})
    assert session.end() == {"timestamps": 2, "bars": 4, **_ahead(session)}
    until(lambda: server.connections == 0)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def _ahead(session: Session) -> dict[str, int]:
    """The test is faster than its clock."""
    counted = session.feed.counts()["ahead_of_clock"]
    return {"ahead_of_clock": counted} if counted else {}


def test_updated_late_and_broken_bars(server: AlpacaServer) -> None:
    """An update after its bar is a correction; what cannot be read is left out."""
    session = Session(server, "AAPL", "MSFT")
    server.send(wire("AAPL", NINE, 10.0), wire("AAPL", NINE, 12.0, kind="u"))
    server.send(wire("MSFT", NINE + MINUTE, 20.0), wire("AAPL", NINE + MINUTE, 11.0))
    assert session.next() == (1, {"AAPL": 12.0})
    server.send(wire("AAPL", NINE, 13.0, kind="u"), wire("MSFT", NINE, 19.0))
    server.send(wire("AAPL", NINE + 2 * MINUTE, 10.0, h=1.0), wire("AAPL", NINE, 1.0, o=None))
    server.send({**wire("AAPL", NINE, 1.0), "t": "noon"}, wire("AAPL", NINE + 2 * MINUTE, 14.0))
    server.send_raw(b"\xc1\xff")
    server.send(wire("MSFT", NINE + 2 * MINUTE, 22.0))
    assert session.next() == (2, {"AAPL": 11.0, "MSFT": 20.0})
    assert session.next() == (3, {"AAPL": 14.0, "MSFT": 22.0})
    counted = session.end()
    assert {n: counted[n] for n in ("replaced", "corrected", "late_bars", "bad_bars")} == {
        "replaced": 1,
        "corrected": 1,
        "late_bars": 1,
        "bad_bars": 4,
    }


def test_crypto_has_a_stream_of_its_own(server: AlpacaServer) -> None:
    """And its own history."""
    addresses = server.addresses("/v1beta3/crypto/us")
    session = Session(server, "BTC/USD", **addresses)
    server.send(wire("BTC/USD", NINE, 60_000.5, v=0.25))
    assert session.next() == (1, {"BTC/USD": 60_000.5})
    session.end()
    start = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)
    server.history = {"BTC/USD": [past(NINE + i * MINUTE, 10.0 + i) for i in range(3)]}
    found = session.feed.history(start, start + dt.timedelta(minutes=2))
    assert [(b.start, b.close) for b in found] == [(NINE, 10.0), (NINE + MINUTE, 11.0)]
    assert server.requests[-1]["path"] == ["/v1beta3/crypto/us/bars"]


def test_history_asks_for_raw_minutes_of_the_feed(server: AlpacaServer) -> None:
    """In whole minutes that have ended, and in UTC whatever the zone it is asked in."""
    server.history = {"AAPL": [past(NINE + i * MINUTE, 10.0 + i) for i in range(-2, 3)]}
    start = dt.datetime(2024, 3, 5, 10, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    found = feed_of(server).past_bars(start, start + dt.timedelta(minutes=2))
    assert found["close"].to_list() == [10.0, 11.0]
    (asked,) = server.requests
    assert (asked["timeframe"], asked["feed"], asked["adjustment"]) == (["1Min"], ["iex"], ["raw"])


# -- breaks ----------------------------------------------------------------------------------


def test_a_dropped_socket_is_replaced_and_the_gap_filled(server: AlpacaServer) -> None:
    """In order, before newer bars, and nothing twice."""
    session = Session(server, speed=FAST)
    server.send(wire("AAPL", NINE, 10.0))
    assert session.next() == (1, {"AAPL": 10.0})
    until(lambda: session.feed.time.now() >= NINE + MINUTE)
    server.history = {"AAPL": [past(NINE + i * MINUTE, 20.0 + i) for i in range(3)]}
    server.drop()
    until(lambda: len(server.subscribed) > 1 and session.feed.time.now() >= NINE + 3 * MINUTE)
    server.send(wire("AAPL", NINE + 3 * MINUTE, 30.0))
    expected = [(2, {"AAPL": 21.0}), (3, {"AAPL": 22.0}), (4, {"AAPL": 30.0})]
    assert [session.next() for _ in range(3)] == expected
    counted = session.end()
    names = ("backfilled", "disconnects", "reconnects", "corrected")
    assert [counted.get(n, 0) for n in names] == [2, 1, 1, 0]
    kinds = [type(n) for n in session.notices]
    assert kinds == [FeedLost, FeedRestored, GapFilled]


def test_a_mute_socket_is_dropped(server: AlpacaServer) -> None:
    """Connected, pinging, and without bars: the watchdog asks for another."""
    server.is_mute = True
    session = Session(server, speed=FAST, max_silence="40s")
    server.history = {"AAPL": [past(NINE + i * MINUTE, 20.0 + i) for i in range(60)]}
    assert session.next() == (1, {"AAPL": 20.0})
    counted = session.end()
    assert counted["stale_alarms"] >= 1
    assert counted["reconnects"] >= 1
    assert isinstance(session.notices[0], FeedStale)


def test_keys_withdrawn_in_the_middle_end_the_session(server: AlpacaServer) -> None:
    """With the reason, not with silence."""
    session = Session(server)
    server.greetings = [{"T": "error", "code": 402, "msg": "auth failed"}]
    server.drop()
    with pytest.raises(DataError, match="AlpacaStreamFeed: Alpaca refused the stream: auth failed"):
        session.next()


# -- what keeps a feed from connecting -------------------------------------------------------


def refusal(feed: AlpacaStreamFeed, kind: type[Exception]) -> str:
    """The text with which it does not connect, in time."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        feed.connect(Inbox())
    assert time.monotonic() - began < 20.0
    feed.close()
    return str(caught.value)


def test_a_wrong_key_is_an_error_at_once(server: AlpacaServer) -> None:
    """The client by itself would try for ever, and say nothing."""
    text = refusal(feed_of(server, secret_key="no" + SECRET), ConfigError)
    assert "auth failed. Check the key and the secret" in text


@pytest.mark.parametrize(
    ("code", "msg", "words"),
    [
        (409, "insufficient subscription", "feed='iex' is free"),
        (405, "symbol limit exceeded", "fewer symbols"),
    ],
)
def test_what_the_plan_does_not_allow(
    server: AlpacaServer, code: int, msg: str, words: str
) -> None:
    """Is final too."""
    server.greetings = [{"T": "error", "code": code, "msg": msg}]
    assert words in refusal(feed_of(server, feed="sip"), ConfigError)


def test_symbols_that_are_not_confirmed(server: AlpacaServer) -> None:
    """Are named: their bars would never come."""
    server.leaves_out = {"AAPL"}
    assert "it does not send bars of AAPL" in refusal(feed_of(server), ConfigError)


def test_another_connection_is_waited_for(server: AlpacaServer) -> None:
    """A broken one may count for a while."""
    server.greetings = [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]
    session = Session(server)
    server.send(wire("AAPL", NINE, 10.0))
    assert session.next()[1] == {"AAPL": 10.0}
    session.end()


def test_but_not_longer_than_said(server: AlpacaServer) -> None:
    """Then the error says what may be the matter."""
    server.greetings = [{"T": "error", "code": 406, "msg": "connection limit exceeded"}] * 9
    text = refusal(feed_of(server, connect_seconds=1.0), DataError)
    assert "no connection to Alpaca's stream within 1 s" in text
    assert "Another process has the account's one connection" in text


def test_nobody_there(server: AlpacaServer) -> None:
    """A refused connection, and a server that takes it and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/v2/iex"
        text = refusal(feed_of(server, stream_url=url, connect_seconds=0.5), DataError)
    assert "the server did not answer" in text
    text = refusal(feed_of(server, stream_url=url, connect_seconds=0.5), DataError)
    assert "ConnectionRefusedError" in text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((403, '{"message": "subscription does not permit"}'), r"HTTP 403\): subscription does"),
        ((502, "<html>bad gateway</html>"), r"HTTP 502\): <html>"),
    ],
)
def test_history_that_is_refused(server: AlpacaServer, reply: Any, words: str) -> None:
    """Status and reason, JSON or not."""
    server.refuses = reply
    start = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)
    with pytest.raises(DataError, match=words):
        feed_of(server).history(start, start)


def test_history_that_hangs(server: AlpacaServer) -> None:
    """Ends by its time limit."""
    server.hangs.clear()
    feed = feed_of(server)
    feed._client._session.adapters["http://"]._limits = (1.0, 0.2)
    start = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)
    with pytest.raises(DataError, match="did not answer for history: ReadTimeout"):
        feed.history(start, start)


# -- options and credentials -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"symbols": ["AAPL", "BTC/USD"]}, "crypto .'BTC/USD'. beside stocks"),
        ({"symbols": ["AAPL"], "feed": "sipp"}, "feed='sipp': Did you mean 'sip'"),
        ({"symbols": "AAPL"}, r"symbols=\['AAPL'\]"),
        ({"symbols": ["AAPL"], "bar_duration": "30s"}, "multiple"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """Refused before anything is sent."""
    with pytest.raises(ConfigError, match=words):
        AlpacaStreamFeed(KEY, SECRET, **options)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an ImportError from somewhere."""
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.endswith("alpaca.vendor"):
            raise ImportError("No module named 'alpaca'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[alpaca\]'"):
        AlpacaStreamFeed(KEY, SECRET, symbols=["AAPL"], calendar="24/7")


def test_credentials_are_nowhere_to_be_seen(
    server: AlpacaServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs at their finest, nor in errors, notices or what is shown of objects."""
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []
    assert "auth failed" in refusal(feed_of(server, secret_key=SECRET + "x"), ConfigError)
    session = Session(server)
    server.send(wire("AAPL", NINE, 10.0))
    session.next()
    session.feed.history(*(dt.datetime(2024, 3, 5, h, tzinfo=dt.UTC) for h in (9, 10)))
    assert "connecting to" in caplog.text
    assert SECRET not in caplog.text  # of anybody: the client, requests, websockets
    assert KEY not in caplog.text
    # a server that repeats what it was told
    server.refuses = (403, f'{{"message": "key {KEY} with {SECRET} may not"}}')
    server.greetings = [{"T": "error", "code": 402, "msg": f"auth failed for {KEY} {SECRET}"}]
    with pytest.raises(DataError) as caught:
        session.feed.history(*(dt.datetime(2024, 3, 5, h, tzinfo=dt.UTC) for h in (9, 10)))
    told += [caught.value, *caught.value.args]
    server.drop()
    with pytest.raises(DataError) as caught:
        session.next()
    told += [caught.value, session.notices, session.feed, vars(session.feed), session.feed.counts()]
    ours = "".join(r.getMessage() for r in caplog.records if r.name.startswith("ml4t"))
    shown = ours + "".join(f"{thing!r} {thing!s}" for thing in told)
    assert "[hidden]" in shown
    assert SECRET not in shown
    assert KEY not in shown
