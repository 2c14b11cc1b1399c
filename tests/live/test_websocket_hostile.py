"""What one hostile or broken message may do to a session: be left out, and counted."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from ml4t.backtest import DataError, SignalPublisher
from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.websocket.clock import ServedTime
from ml4t.backtest.live.websocket.feed import WebSocketFeed
from tests.live.scripted import MINUTE, NINE
from tests.live.websocket_server import LooseServer, Walk, bar, bars, text
from tests.live.world import START, market

FIRST, LAST = "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"


def prediction(**fields: Any) -> dict[str, Any]:
    """A message with one prediction."""
    item = {"asset_id": "A", "values": {"x": 1.0}, **fields}
    return {"type": "signals", "sequence": 1, "signals": [item]}


@pytest.fixture
def server() -> Iterator[LooseServer]:
    """A server of its own."""
    with LooseServer() as server:
        yield server


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (bars(2, bar("A", 1, start=LAST)), "bad_bars"),
        (bars(2, bar("A", 1, start=FIRST)), "bad_bars"),
        (prediction(timestamp=LAST), "bad_signals"),
        (prediction(timestamp=FIRST), "bad_signals"),
        (prediction(known_at=LAST), "bad_signals"),
        ({"type": "heartbeat", "time": LAST}, "bad_messages"),
        ({"type": "heartbeat", "time": text(NINE), "speed": 1e300}, "bad_messages"),
    ],
)
def test_times_that_cannot_be(server: LooseServer, message: Any, count: str) -> None:
    """No time that breaks arithmetic ends a session; what it came with is counted."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    server.send(message, bars(3, bar("A", 1, 11.0), previous=1))
    assert walk.next() == (2, {"A": 11.0})
    counted = walk.end()
    assert counted[count] == 1
    assert "disconnects" not in counted


@pytest.mark.parametrize("speed", [math.inf, -math.inf, math.nan])
def test_speeds_that_only_messagepack_can_say(speed: float) -> None:
    """An endless or undefined speed is no speed."""
    with LooseServer(is_binary=True) as server:
        walk = Walk(server, encoding="msgpack")
        server.send({"type": "heartbeat", "time": text(NINE), "speed": speed}, bars(1, bar("A", 0)))
        assert walk.next() == (1, {"A": 10.0})
        assert walk.end()["bad_messages"] == 1


def test_a_clock_that_races_stays_a_time() -> None:
    """A server may go fast; its time does not leave what a datetime can hold."""
    clock = ServedTime(lambda: None)
    clock.follow(9_214_646_400_000_000 - MINUTE, 1e9)
    while clock.seconds_until(9_214_646_400_000_000):
        pass
    clock.follow(9_214_646_400_000_000 + MINUTE, 1e9)
    now = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=clock.now())
    assert now.year == 2262


@pytest.mark.parametrize(
    ("welcome", "snapshot", "words"),
    [
        ({"bar_seconds": "60"}, {}, r"no welcome: .* got `str` - at `\$.bar_seconds`"),
        ({"time": LAST}, {}, "no welcome: .* is not between the years 1900 and 2261"),
        ({}, {"symbols": 5}, r"no snapshot: .* got `int` - at `\$.symbols`"),
        ({"type": "heartbeats"}, {}, "no welcome: .*heartbeats"),
        ({"type": "end"}, {}, "no welcome: End makes no sense here"),
    ],
)
def test_a_handshake_that_fails_says_why(
    server: LooseServer, welcome: dict[str, Any], snapshot: dict[str, Any], words: str
) -> None:
    """What came instead is in the message, though it was given up in the middle."""
    server.welcome, server.snapshot = welcome, snapshot
    feed = WebSocketFeed(server.url, symbols=["A"], connect_seconds=0.5)
    with pytest.raises(DataError, match=words):
        feed.open_reader(Request())
    assert feed.counts()["bad_messages"] >= 1


def test_a_server_that_is_full_says_so(server: LooseServer) -> None:
    """An error that is not final, in place of a welcome."""
    server.welcome = {"type": "error", "code": "busy", "message": "full until noon"}
    feed = WebSocketFeed(server.url, symbols=["A"], connect_seconds=0.5)
    with pytest.raises(DataError, match="the server says busy: full until noon"):
        feed.open_reader(Request())
    assert feed.counts()["server_errors"] >= 1


# -- what a model publishes ------------------------------------------------------------------------


def test_models_speak_numpy() -> None:
    """Values of arrays are numbers; NaN is none."""
    with BroadcastServer(market(3)) as server, SignalPublisher(server.url) as publisher:
        values = {
            "a": np.float32(0.5), "b": np.float64(0.25), "c": np.int64(3), "d": np.bool_(1),
            "e": np.float32("nan"),
        }  # fmt: skip
        assert publisher.publish({"A": values}, START) == 1
        [found] = server.run(lambda: list(server.hub.predictions))
    assert found.values == {"a": 0.5, "b": 0.25, "c": 3.0, "d": True, "e": None}


@pytest.mark.parametrize(
    ("signals", "options", "words"),
    [
        ({"A": 0.5}, {}, "signals of 'A' are a float: give a dict"),
        ([("A", {"x": 1.0})], {}, "signals are a list"),
        ({"A": {"x": object()}}, {}, "signals of 'A' cannot be sent: .*object"),
        ({"A": {"x": math.inf}}, {}, "signals of 'A' cannot be sent: a value is infinite"),
        ({"A": {"x": np.float32("-inf")}}, {}, "a value is infinite"),
        ({"A": {"x": 1.0}}, {"meta": {"a": object()}}, "cannot be sent"),
        ({"A": {"x": 1.0}}, {"timestamp": dt.date(2024, 1, 1)}, "has no zone"),
        ({"A": {"x": 1.0}}, {"timestamp": "2024-01-01"}, "has no zone"),
        ({"A": {"x": "y" * 2_000_000}}, {}, "more than the 1,048,576 bytes"),
    ],
)
def test_what_is_no_prediction_is_refused_before_it_is_sent(
    signals: Any, options: dict[str, Any], words: str
) -> None:
    """At once, with the place, and without a server."""
    with pytest.raises(DataError, match=words):
        SignalPublisher("ws://127.0.0.1:9").publish(signals, **options)


def test_large_predictions_go_in_several_messages() -> None:
    """None of them is too large for the server."""
    names = [f"S{i}" for i in range(30)]
    frame = market(2).filter(asset_id="A")
    data = pl.concat([frame.with_columns(asset_id=pl.lit(name)) for name in names])
    with (
        BroadcastServer(data.sort("timestamp")) as server,
        SignalPublisher(server.url) as publisher,
    ):
        signals = {name: {"text": "y" * 100_000} for name in names}
        assert publisher.publish(signals) == 30
        assert server.run(lambda: server.hub._numbers["signals"]) == 3


def test_an_infinite_value_is_not_relayed_as_none() -> None:
    """JSON would say null, which takes back what was known."""
    item = {"asset_id": "A", "values": {"x": math.inf}}
    with BroadcastServer(market(3)) as server:
        from websockets.sync.client import connect

        with connect(server.url) as socket:
            for message in (
                {"type": "hello", "version": 1, "encoding": "msgpack"},
                {"type": "publish", "signals": [item], "request": 7},
            ):
                socket.send(msgspec.msgpack.encode(message))
            socket.recv(timeout=5)
            answer: Any = msgspec.msgpack.decode(socket.recv(timeout=5, decode=False))
    assert answer["taken"] == 0
    assert "a value is infinite" in answer["refused"][0]
