"""WebSocketFeed against a server that breaks off, floods, lies, and talks nonsense."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import ConfigError, DataError, SignalBuffer
from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.websocket.feed import WebSocketFeed
from tests.live.websocket_server import SECRET, LooseServer, Walk, bar, bars, signals


@pytest.fixture
def server() -> Iterator[LooseServer]:
    """A server of its own."""
    with LooseServer() as server:
        yield server


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for something that happens on another thread."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.005)


def heard(server: LooseServer, kind: str) -> list[dict[str, Any]]:
    """What clients said of a kind."""
    return [message for message in list(server.heard) if message["type"] == kind]


# -- bars and predictions --------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_bars_with_predictions_beside_them(encoding: str) -> None:
    """Whole timestamps; predictions as columns; the handshake says what is wanted."""
    with LooseServer(is_binary=encoding == "msgpack") as server:
        walk = Walk(server, "B", "A", encoding=encoding)
        server.send(
            signals(1, "A", 1, ml_pred=0.5, mood="calm"),
            bars(1, bar("A", 0), bar("B", 0, 20.0)),
            signals(2, "A", 2, ml_pred=None),
            bars(2, bar("B", 1, 21.0), bar("A", 1, 11.0)),
        )
        assert walk.next() == (1, {"A": 10.0, "B": 20.0, "A.ml_pred": 0.5, "A.mood": "calm"})
        assert walk.next() == (2, {"A": 11.0, "B": 21.0, "A.mood": "calm"})
        counted = walk.end()
        assert counted.pop("ahead_of_clock", 0) <= 4
        assert counted == {"timestamps": 2, "bars": 4, "signal_updates": 2}
        hello, subscribe = heard(server, "hello")[0], heard(server, "subscribe")[0]
        assert (hello["version"], hello.get("encoding", "json")) == (1, encoding)
        assert subscribe["symbols"] == ["A", "B"]
        assert "resume" not in subscribe


def test_a_prediction_for_no_bar_in_particular(server: LooseServer) -> None:
    """Counts from when it was known, or from its arrival."""
    walk = Walk(server)
    known = {"asset_id": "A", "values": {"x": 1.0}, "known_at": "2024-03-05T09:01:30Z"}
    server.send(
        {"type": "signals", "sequence": 1, "signals": [known]},
        signals(2, "A", None, z=2.0),
        bars(1, bar("A", 0)),
        bars(2, bar("A", 1)),
    )
    assert walk.next() == (1, {"A": 10.0, "A.z": 2.0})
    assert walk.next() == (2, {"A": 10.0, "A.x": 1.0, "A.z": 2.0})
    walk.end()


def test_without_a_buffer_no_predictions_are_asked_for(server: LooseServer) -> None:
    """And those that come all the same are passed over."""
    walk = Walk(server, signals=None)
    server.send(signals(1, "A", 1, x=1.0), bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    walk.end()
    assert heard(server, "subscribe")[0]["signals"] is False


def test_corrections_and_a_missing_volume(server: LooseServer) -> None:
    """A bar is put right as long as its timestamp has not been given."""
    walk = Walk(server, "A", "B")
    server.send(
        bars(1, bar("A", 0, volume=None)),
        {"type": "corrections", "sequence": 2, "bars": [bar("A", 0, 12.0)]},
        bars(3, bar("B", 0, 20.0)),
    )
    assert walk.next() == (1, {"A": 12.0, "B": 20.0})
    assert walk.end()["replaced"] == 1


def test_a_recording_that_is_over_ends_the_run(server: LooseServer) -> None:
    """Once everything has been given."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)), {"type": "end"})
    assert walk.next() == (1, {"A": 10.0})
    assert walk.next() is None


# -- what cannot be read or cannot be --------------------------------------------------------------


def test_what_makes_no_sense_is_counted_and_survived(server: LooseServer) -> None:
    """Frames, bars and predictions, each by itself: the others of its message are taken."""
    walk = Walk(server, "A", "B")
    bad_bars = [bar("B", 0, high=1.0), {"asset_id": "B"}, 7, {**bar("B", 0), "start": "2024-03-05"}]
    bad_signals = [
        {"asset_id": "A", "values": {"x": [1]}},
        {"asset_id": "NOBODY", "values": {"x": 1.0}},
        {"asset_id": "A", "values": {"fwd_return": 1.0}},
        "nonsense",
    ]
    good = {"asset_id": "A", "values": {"x": 0.5}}
    server.send(
        "nonsense", b"\xc1\xff", "[]", '{"type":"unheard of"}', '{"type":"bars","sequence":-1}',
        "[" * 5_000, '{"type":"welcome"}', {"type": "published", "request": 1, "taken": 0},
        {"type": "signals", "sequence": 1, "signals": [*bad_signals, good]},
        bars(1, *bad_bars, bar("A", 0), bar("B", 0, 20.0)),
    )  # fmt: skip
    assert walk.next() == (1, {"A": 10.0, "B": 20.0, "A.x": 0.5})
    counted = walk.end()
    assert [counted[n] for n in ("bad_messages", "bad_bars", "bad_signals")] == [8, 4, 4]


def test_an_oversized_frame_is_not_asked_for_again(server: LooseServer) -> None:
    """The connection ends with it; what was missed comes from history."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    server.now += 130_000_000
    server.past = [bar("A", 1, 11.0)]
    server.send("x" * (9 << 20))
    assert walk.next() == (2, {"A": 11.0})
    counted = walk.end()
    assert (counted["oversized_messages"], counted["backfilled"]) == (1, 1)
    assert "resume" not in heard(server, "subscribe")[-1]


def test_made_up_names_of_signals_do_not_fill_the_memory(server: LooseServer) -> None:
    """There is a limit, and what is beyond it is counted."""
    walk = Walk(server)
    for i in range(3):
        values = {f"s{i}_{k}": 1.0 for k in range(400)}
        server.send(signals(i + 1, "A", None, **values))
    server.send(bars(1, bar("A", 0)))
    assert len(walk.next()[1]) == 801
    assert walk.end()["bad_signals"] == 1


# -- numbers ---------------------------------------------------------------------------------------


def test_a_gap_in_the_numbers_is_filled_from_history(server: LooseServer) -> None:
    """In order: what came after the gap waits for what was missed."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    server.tell(3.5)
    server.past = [bar("A", 1, 11.0)]
    server.send(bars(3, bar("A", 2, 12.0)))
    assert [walk.next(), walk.next()] == [(2, {"A": 11.0}), (3, {"A": 12.0})]
    counted = walk.end()
    names = ("sequence_gaps", "missed_messages", "gaps_filled", "backfilled")
    assert [counted[name] for name in names] == [1, 1, 1, 1]
    assert "disconnects" not in counted


def test_a_loss_at_the_end_is_seen_by_the_heartbeat(server: LooseServer) -> None:
    """And predictions that were missed come with the history."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    server.past = [bar("A", 1, 11.0)]
    server.past_signals = signals(0, "A", 2, x=0.7)["signals"]
    server.tell(2.5, bars=2, signals=1)
    assert walk.next() == (2, {"A": 11.0, "A.x": 0.7})
    assert walk.end()["sequence_gaps"] == 2


def test_numbers_of_a_filtered_stream(server: LooseServer) -> None:
    """`previous` says what this client was sent before: others had the messages between."""
    walk = Walk(server)
    server.send(bars(4, bar("A", 0), previous=0), bars(9, bar("A", 1, 11.0), previous=4))
    assert [walk.next(), walk.next()] == [(1, {"A": 10.0}), (2, {"A": 11.0})]
    assert "sequence_gaps" not in walk.end()


def test_twice_and_out_of_order(server: LooseServer) -> None:
    """What came before is left out; what was missed is taken when it comes, if it is not over."""
    walk = Walk(server, "A", "B")
    server.answers_history = False
    server.send(
        bars(1, bar("A", 0)), bars(1, bar("A", 0)),
        signals(3, "A", None, x=0.9), signals(2, "A", None, x=0.1), signals(1, "A", 1, z=0.2),
        bars(3, bar("A", 1, 11.0)), bars(2, bar("B", 0, 20.0)), bars(4, bar("B", 1, 21.0)),
    )  # fmt: skip
    assert walk.next() == (1, {"A": 10.0, "B": 20.0, "A.x": 0.9, "A.z": 0.2})
    assert walk.next() == (2, {"A": 11.0, "B": 21.0, "A.x": 0.9, "A.z": 0.2})
    counted = walk.end()
    names = ("duplicate_messages", "messages_out_of_order", "signals_superseded", "sequence_gaps")
    assert [counted[name] for name in names] == [1, 3, 1, 2]


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 5, 2, 2, 2**53, 3, 3, 10**12, 0, 1],  # at random
        [7, 7, 7, 7, 7, 7, 7, 7, 7, 7],  # always the same
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],  # backwards
        [1, 2, 3, 1, 2, 3, 1, 2, 3, 1],  # begun anew, without saying so
        [10**6 * i + 5 for i in range(10)],  # leaps
    ],
)
def test_a_server_that_lies_about_its_numbers(server: LooseServer, numbers: list[int]) -> None:
    """No bar is lost, the lies are counted, and history is not asked for again and again."""
    walk = Walk(server)
    server.send(*(bars(n, bar("A", i, 10.0 + i)) for i, n in enumerate(numbers)))
    found = [walk.next() for _ in numbers]
    assert found == [(i + 1, {"A": 10.0 + i}) for i in range(10)]
    server.tell(10, bars=3, signals=2**40)
    counted = walk.end()
    lies = sum(counted.get(name, 0) for name in ("false_sequences", "sequence_gaps"))
    assert lies >= 2
    assert len(heard(server, "history_request")) <= 2


# -- breaks ----------------------------------------------------------------------------------------


def test_a_cut_socket_is_replaced_and_the_gap_filled(server: LooseServer) -> None:
    """The feed says where it was, and asks for what it missed."""
    walk = Walk(server)
    server.send(signals(7, "A", 1, x=0.5), bars(5, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0, "A.x": 0.5})
    server.past = [bar("A", 1, 11.0), bar("A", 2, 12.0)]
    server.now += 200_000_000
    server.snapshot = {"sequences": {"bars": 8, "signals": 9}}
    server.drop()
    assert [walk.next(), walk.next()] == [
        (2, {"A": 11.0, "A.x": 0.5}),
        (3, {"A": 12.0, "A.x": 0.5}),
    ]
    assert heard(server, "subscribe")[-1]["resume"] == {"session": "one", "bars": 5, "signals": 7}
    server.send(bars(9, bar("A", 3, 13.0)))
    assert walk.next()[0] == 4
    counted = walk.end()
    names = ("disconnects", "reconnects", "backfilled", "sequence_gaps")
    assert [counted.get(name, 0) for name in names] == [
        1,
        1,
        2,
        2,
    ]  # gaps: the first of each


def test_a_new_session_begins_new_numbers(server: LooseServer) -> None:
    """A server that was started anew is not asked for what the old one had."""
    walk = Walk(server)
    server.send(bars(1, bar("A", 0)))
    walk.next()
    server.welcome = {"session": "two"}
    server.snapshot = {"signals": signals(0, "A", None, x=0.3)["signals"]}
    before = len(heard(server, "subscribe"))
    server.drop()
    until(lambda: len(heard(server, "subscribe")) > before and server.connections == 1)
    assert "resume" not in heard(server, "subscribe")[-1]
    server.send(bars(1, bar("A", 1, 11.0)))
    assert walk.next() == (2, {"A": 11.0, "A.x": 0.3})
    assert "false_sequences" not in walk.end()


def test_a_mute_socket_is_replaced(server: LooseServer) -> None:
    """Three heartbeats without a word are too many."""
    walk = Walk(server, silence_seconds=0.3)
    before = len(heard(server, "subscribe"))
    until(lambda: len(heard(server, "subscribe")) > before)
    began = time.monotonic()
    while walk.found.empty() and time.monotonic() < began + 10.0:
        server.send(bars(1, bar("A", 0)))  # to whichever connection there is now
        time.sleep(0.1)
    assert walk.next() == (1, {"A": 10.0})
    counted = walk.end()
    assert counted["mute_connections"] >= 1
    assert counted["reconnects"] >= 1


def test_attempts_grow_rare(server: LooseServer) -> None:
    """A server that lets nobody in is not stormed."""
    walk = Walk(server)
    server.refuses = 503
    before = len(server.headers)
    server.drop()
    time.sleep(2.0)
    assert 1 <= len(server.headers) - before <= 5
    known = len(heard(server, "subscribe"))
    server.refuses = None
    until(lambda: len(heard(server, "subscribe")) > known)
    assert walk.end()["disconnects"] == 1


# -- too much --------------------------------------------------------------------------------------


def test_a_slow_strategy_holds_the_server_up_and_loses_nothing(server: LooseServer) -> None:
    """What waits is bounded; the rest waits in the socket."""
    count = 1_200
    walk = Walk(server, max_waiting=50)
    walk.pause.clear()
    for i in range(count):
        server.send(signals(i + 1, "A", i + 1, x=float(i)), bars(i + 1, bar("A", i, 10.0 + i)))
        if i == 300:
            until(lambda: walk.feed.counts()["held_back"] > 0)
            assert len(walk.feed.inbox) <= 110
            walk.pause.set()
    found = [walk.next() for _ in range(count)]
    assert found == [(i + 1, {"A": 10.0 + i, "A.x": float(i)}) for i in range(count)]
    assert "duplicates" not in walk.end()


@pytest.mark.slow
def test_a_flood_leaves_the_memory_as_it_was(server: LooseServer) -> None:
    """A hundred megabytes of predictions, nonsense and old bars, against a strategy that sleeps."""
    walk = Walk(server, max_waiting=1_000)
    server.send(bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0})
    walk.pause.clear()
    server.send(bars(2, bar("A", 1)))
    junk = "x" * 500_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(200):
        server.send(bars(i + 3, *[bar("A", 0, 10.0 + k) for k in range(200)]))
        server.send(signals(i + 1, "A", i, x=1.0, note="y" * 10_000), junk)
        if i == 20:
            walk.pause.set()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    until(lambda: walk.feed.counts()["bad_messages"] == 200, seconds=30.0)
    counted = walk.end()
    assert held < 20e6
    assert counted["bad_messages"] == 200
    assert counted["signal_updates"] == 200
    assert counted["held_back"] > 0


# -- what keeps a feed from connecting -------------------------------------------------------------


def refusal(server: LooseServer, kind: type[Exception], **options: Any) -> str:
    """The text with which it does not connect, in time."""
    began = time.monotonic()
    feed = WebSocketFeed(server.url, symbols=["A"], **{"connect_seconds": 5.0, **options})
    with pytest.raises(kind) as caught:
        feed.connect(Inbox())
    feed.close()
    assert time.monotonic() - began < 8.0
    return str(caught.value)


def test_another_version_is_refused(server: LooseServer) -> None:
    """At once, with both numbers."""
    server.welcome = {"version": 2}
    assert "speaks version 2 of the schema, this client 1" in refusal(server, ConfigError)


def test_other_bars_are_refused(server: LooseServer) -> None:
    """With what to do."""
    server.welcome = {"bar_seconds": 300.0}
    assert "pass vendor_bar='300s'" in refusal(server, ConfigError)


def test_symbols_it_does_not_have(server: LooseServer) -> None:
    """Are named, with the reason."""
    server.snapshot = {"symbols": [], "refused": {"A": "delisted"}}
    assert "sends no bars of A: delisted" in refusal(server, ConfigError)


def test_a_server_that_does_not_answer_is_given_up(server: LooseServer) -> None:
    """In time, and what was in the way is told."""
    server.refuses = 503
    text = refusal(server, DataError, connect_seconds=0.5)
    assert "no connection within 0.5 s" in text
    assert "503" in text


def test_a_final_error_ends_a_session(server: LooseServer) -> None:
    """With the server's reason."""
    walk = Walk(server)
    server.send({"type": "error", "code": "slow", "message": "hurry up"})
    server.send({"type": "error", "code": "closed", "message": "for good", "is_final": True})
    found = walk.next()
    assert isinstance(found, DataError)
    assert "The server refused: closed: for good" in str(found)
    assert walk.feed.counts()["server_errors"] == 2


def test_history_has_an_end(server: LooseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come is an error; before a session history has its own connection."""
    monkeypatch.setattr("ml4t.backtest.live.websocket.connection._HISTORY_SECONDS", 0.2)
    server.past = [bar("A", i, 10.0 + i) for i in range(3)]
    feed = WebSocketFeed(server.url, symbols=["A"])
    start = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)
    found = feed.past_bars(start, start + dt.timedelta(minutes=2))
    assert found["close"].to_list() == [10.0, 11.0]
    server.answers_history = False
    with pytest.raises(ConnectionLost, match=r"no history within 0.2 s"):
        feed.history(start, start + dt.timedelta(minutes=2))


# -- access ----------------------------------------------------------------------------------------


def test_the_token_is_in_the_header_and_nowhere_else(
    server: LooseServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """From the argument, a file or the environment; not in logs, errors or what is printed."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text(SECRET + "\n", encoding="utf-8")
    file.chmod(0o600)
    monkeypatch.setenv("ML4T_WEBSOCKET_TOKEN", SECRET)
    for options in ({"token": SECRET}, {"token_file": file}, {}):
        feed = WebSocketFeed(server.url, symbols=["A"], **options)
        feed.connect(Inbox())
        feed.close()
        assert server.headers[-1]["authorization"] == f"Bearer {SECRET}"
        assert SECRET not in repr(feed) + repr(vars(feed))
    server.refuses = 401
    assert SECRET not in refusal(server, ConfigError, token=SECRET)
    server.refuses = None
    server.welcome = {"version": 2, "server": SECRET}
    assert SECRET not in refusal(server, ConfigError, token=SECRET)
    ours = [record.getMessage() for record in caplog.records if "server" not in record.name]
    assert SECRET not in str(ours)
    assert SECRET not in json.dumps(server.heard)


def test_tokens_that_are_refused(tmp_path: Path) -> None:
    """One that others can read, or could on the way, and those that are none."""
    file = tmp_path / "token"
    file.write_text(SECRET, encoding="utf-8")
    file.chmod(0o644)
    for options, words in (
        ({"token_file": file}, "chmod 600"),
        ({"token_file": tmp_path / "none"}, "cannot be read"),
        ({"token": "two words"}, "has spaces"),
        ({"token": 7}, "token is a int"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            WebSocketFeed("ws://127.0.0.1:1", symbols=["A"], **options)
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match=r"use wss:// instead of ws://"):
        WebSocketFeed("ws://example.com", symbols=["A"], token=SECRET)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://x"}, "is no address such as"),
        ({"encoding": "msgpak"}, "Did you mean 'msgpack'"),
        ({"connect_seconds": 0}, "connect_seconds=0"),
        ({"silence_seconds": float("inf")}, "silence_seconds=inf"),
        ({"max_waiting": 0}, "max_waiting=0"),
        ({"bar_duration": "90s"}, "multiple"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """Each is named with what to do."""
    with pytest.raises(ConfigError, match=words):
        WebSocketFeed(**{"url": "ws://127.0.0.1:1", "symbols": ["A"], **options})


def test_a_buffer_that_declares_its_names(server: LooseServer) -> None:
    """Refuses others, as always; counted here."""
    walk = Walk(server, signals=SignalBuffer(names=["x"]))
    server.send(signals(1, "A", 1, x=1.0), signals(2, "A", 1, y=2.0), bars(1, bar("A", 0)))
    assert walk.next() == (1, {"A": 10.0, "A.x": 1.0})
    assert walk.end()["bad_signals"] == 1
