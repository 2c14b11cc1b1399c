"""The schema by itself: what can be read, and what numbers say."""

from __future__ import annotations

import datetime as dt
import pickle
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.live.websocket.access import Token, read_token, shown_url
from ml4t.backtest.live.websocket.clock import ServedTime
from ml4t.backtest.live.websocket.frames import Codec, ItemReader, pack, write
from ml4t.backtest.live.websocket.sequences import Judged, Sequence
from ml4t.backtest.live.websocket.words import (
    BarItem,
    BarsMessage,
    FromClient,
    FromServer,
    Hello,
    SignalItem,
    Welcome,
)

NINE = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize("is_binary", [False, True])
def test_messages_come_back_as_they_were(is_binary: bool) -> None:
    """In both encodings, times and values exactly."""
    bar = BarItem("A", NINE, 1.1, 2.2, 0.3, 1.7)
    meta = {"v": [1, "x"]}
    signal = SignalItem("B", {"p": 0.1, "up": True, "mood": "é", "none": None}, NINE, NINE, meta)
    for kind, item in ((BarItem, bar), (SignalItem, signal)):
        frame = write(BarsMessage(7, pack([item], is_binary=is_binary), 5), is_binary=is_binary)
        assert isinstance(frame, bytes) == is_binary
        message = Codec(FromServer).read(frame)
        assert (message.sequence, message.previous) == (7, 5)
        assert ItemReader(kind).read(message.bars[0], is_binary=is_binary) == item


def test_a_later_server_may_say_more() -> None:
    """Fields that are not known are passed over."""
    found = Codec(FromClient).read('{"type":"hello","version":1,"colour":"blue"}')
    assert found == Hello(1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('"time":"2024-03-05T09:00:00"', "time"),
        ('"time":"2024-03-05T09:00:00Z","bar_seconds":0', "bar_seconds"),
        ('"time":"2024-03-05T09:00:00Z","speed":-1', "speed"),
        ('"time":"2024-03-05T09:00:00Z","session":""', "session"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(fields: str, words: str) -> None:
    """A time without a zone, lengths below nothing, empty names."""
    base = '"version":1,"session":"s","bar_seconds":60,"heartbeat_seconds":1'
    assert isinstance(
        Codec(FromServer).read(_welcome(base, '"time":"2024-03-05T09:00:00Z"')), Welcome
    )
    with pytest.raises(DataError, match=words):
        Codec(FromServer).read(_welcome(base, fields))


def _welcome(base: str, fields: str) -> str:
    return f'{{"type":"welcome",{base},{fields}}}'


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_no_frame_breaks_the_reader(frame: Any) -> None:
    """It is a message, or an error of ours."""
    for kind in (FromServer, FromClient):
        with suppress(DataError):
            Codec(kind).read(frame)


# -- numbers ---------------------------------------------------------------------------------------


def test_what_numbers_say() -> None:
    """Step by step, with what is counted."""
    counts: Counter[str] = Counter()
    numbers = Sequence(counts)
    numbers.begin(10)
    fresh, lacking = Judged(), Judged(is_lacking=True)
    assert numbers.judge(11, None, "a") == fresh
    assert numbers.judge(11, None, "a") == Judged(is_taken=False)
    assert numbers.judge(20, 11, "b") == fresh  # nine messages were for others
    assert numbers.judge(23, None, "c") == lacking  # 21 and 22 were missed
    assert numbers.judge(22, None, "d") == Judged(is_late=True)
    assert numbers.hear(23) is False
    assert numbers.hear(25) is True
    assert numbers.judge(11, None, "z") == lacking  # 11 again, with another content
    assert dict(counts) == {
        "duplicate_messages": 1,
        "sequence_gaps": 2,
        "missed_messages": 4,
        "messages_out_of_order": 1,
        "false_sequences": 1,
    }


@given(st.lists(st.tuples(st.integers(0, 2**53), st.none() | st.integers(0, 2**53)), max_size=200))
def test_no_numbers_make_a_reader_deaf(pairs: list[tuple[int, int | None]]) -> None:
    """Different contents are all taken, whatever their numbers."""
    numbers = Sequence(Counter())
    numbers.begin(0)
    for i, (number, previous) in enumerate(pairs):
        assert numbers.judge(number, previous, f"content {i}").is_taken


def test_numbers_take_a_bounded_memory() -> None:
    """However long a stream is."""
    numbers = Sequence(Counter())
    for i in range(0, 20_000, 2):
        numbers.judge(i, None, "x")
    assert len(numbers._seen) <= 1_024
    assert len(numbers._holes) <= 64


# -- time and access -------------------------------------------------------------------------------


def test_the_time_at_a_server_never_goes_back() -> None:
    """Whatever it says; and when time stands, nobody sleeps for long."""
    asked: list[int] = []

    def ask() -> None:
        asked.append(1)
        clock.follow(1_000, 0.0)

    clock = ServedTime(ask)
    assert clock.now() == 1_000
    assert clock.follow(5_000, 0.0)
    assert clock.now() == 5_000
    assert not clock.follow(2_000, 0.0)
    assert clock.now() == 5_000
    assert clock.seconds_until(10**15) < 1.0
    assert clock.seconds_until(4_000) == 0.0
    clock.follow(6_000, 60.0)
    assert clock.seconds_until(6_000 + 60_000_000) <= 1.0
    assert asked == [1]


def test_a_token_shows_itself_nowhere() -> None:
    """Not when printed, pickled or formatted."""
    token = Token("hush")
    assert "hush" not in f"{token!r} {token}"
    with pytest.raises(TypeError, match="read it anew"):
        pickle.dumps(token)
    assert token.hide("they say hush here") == "they say [hidden] here"
    assert not Token(None)
    assert Token(None).headers == {}
    assert shown_url("wss://me:pw@host:1/a?key=hush#x") == "wss://host:1/a"
    with pytest.raises(ConfigError, match="is empty"):
        read_token(" ")
