"""The live feed: what the strategy is given, and when, over scripts of arrivals."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, Bars, ConfigError, DataError, Strategy
from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.arrivals import BadBar, Connected, Lost, Missed, Refused
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.notices import (
    FeedLost,
    FeedRestored,
    FeedStale,
    GapFilled,
    GapUnfilled,
    Notice,
)
from ml4t.backtest.live.pump import LonePump
from ml4t.backtest.live.timing import WallTime
from ml4t.backtest.testing.contracts import FeedContract
from ml4t.backtest.testing.markets import random_market, without_bars
from tests.live.scripted import MINUTE, NINE, SECOND, FakeTime, ScriptedFeed, bar


def minutes(asset_id: str, *which: int, delay: float = 0.0) -> list[tuple[int, Any]]:
    """The bars of some minutes after nine, each arriving a second after its end."""
    return [
        (
            NINE + (i + 1) * MINUTE + int((1 + delay) * SECOND),
            bar(asset_id, NINE + i * MINUTE, i + 10.0),
        )
        for i in which
    ]


def times(feed: ScriptedFeed) -> list[tuple[float, float]]:
    """Of each timestamp, minutes after nine, and seconds after its end at which it was given."""

    def look(block: Any) -> tuple[float, float]:
        end = int(block.times[0])
        return (end - NINE) / MINUTE, (feed.clock.moment - end) / SECOND

    return feed.walk(look)


def test_timestamps_are_given_as_soon_as_they_are_complete() -> None:
    """When B has come, when the grace time is over, and when later bars have come."""
    script = [*minutes("A", 0, 1, 2, 3), *minutes("B", 0, 3, delay=2)]
    feed = ScriptedFeed(["B", "A"], script)
    assert times(feed) == [(1, 3.0), (2, 5.0), (3, 5.0), (4, 3.0)]


def test_assets_without_a_bar_are_absent() -> None:
    """And codes are those of the sorted symbols."""
    feed = ScriptedFeed(["B", "A"], [*minutes("A", 1), *minutes("B", 0, 1)])
    assert feed.table() == [(1, {"B": 10.0}), (2, {"A": 11.0, "B": 11.0})]
    assert feed.symbols == ["A", "B"]


def test_a_late_bar_is_counted_and_time_does_not_go_back() -> None:
    """B's first bar comes after the grace time."""
    feed = ScriptedFeed(["A", "B"], [*minutes("A", 0, 1), *minutes("B", 0, 1, delay=10)])
    assert feed.table() == [(1, {"A": 10.0}), (2, {"A": 11.0})]
    assert feed.counts()["late_bars"] == 2
    assert feed.is_closed


def test_a_busy_strategy_makes_no_bar_late() -> None:
    """What was on the inbox in time is read before lateness is judged."""
    script = [*minutes("A", 0, 1, 2), *minutes("B", 0, 1, 2, delay=2)]
    feed = ScriptedFeed(["A", "B"], script)

    def busy(block: Any) -> tuple[float, int]:
        feed.clock.moment += 10 * MINUTE
        return (int(block.times[0]) - NINE) / MINUTE, len(block.codes)

    assert feed.walk(busy) == [(1, 2), (2, 2), (3, 2)]
    assert feed.counts()["late_bars"] == 0


def test_nothing_is_read_ahead() -> None:
    """When a timestamp is given, what arrives later has not been looked at."""
    feed = ScriptedFeed(["A"], minutes("A", 0, 1, 2))
    assert feed.walk(lambda _: len(feed.script)) == [2, 1, 0]


def test_stop_ends_after_the_present_timestamp() -> None:
    """What waits is counted."""
    feed = ScriptedFeed(["A", "B"], [*minutes("A", 0, 1), *minutes("B", 0)])
    feed.script.append((NINE + 2 * MINUTE + 2 * SECOND, feed.stop))
    assert feed.table() == [(1, {"A": 10.0, "B": 10.0})]
    assert feed.counts()["unfinished"] == 1


def test_stop_wakes_a_feed_that_waits_for_ever() -> None:
    """From another thread, with the feed's own way to wait."""
    feed = ScriptedFeed(["A"], [])
    feed.time = WallTime()
    feed.pump = LonePump(feed.inbox, feed.time)
    timer = threading.Timer(0.05, feed.stop)
    timer.start()
    assert feed.walk() == []
    timer.join()


def test_bad_bars_do_not_end_the_session(caplog: pytest.LogCaptureFixture) -> None:
    """They are left out, counted and logged with the reason."""
    bad = [(NINE + MINUTE, bar("A", NINE, high=1.0)), (NINE + MINUTE, BadBar("A", "o is missing"))]
    feed = ScriptedFeed(["A"], [*bad, *minutes("A", 1)])
    assert feed.table() == [(2, {"A": 11.0})]
    assert feed.counts()["bad_bars"] == 2
    assert "o is missing in the bar of 'A'" in caplog.text


def test_what_no_feed_puts_is_refused_by_name() -> None:
    """A mistake of whoever writes a feed."""
    with pytest.raises(DataError, match="a str was put on the inbox"):
        ScriptedFeed(["A"], [(NINE, "bar")]).walk()


# -- breaks ----------------------------------------------------------------------------------

BREAK = [
    *minutes("A", 0),
    (NINE + 2 * MINUTE - 30 * SECOND, Lost("socket closed")),
    (NINE + 4 * MINUTE + 10 * SECOND, Connected()),
    *minutes("A", 4, 5),
]


def test_the_bars_of_a_break_come_from_history_in_order() -> None:
    """And the session is told."""
    past = [bar("A", NINE + i * MINUTE, i + 20.0) for i in range(4)]
    feed = ScriptedFeed(["A"], BREAK, past=past)
    found = feed.table()
    assert found == [(i + 1, {"A": (i if i in {0, 4, 5} else i + 10) + 10.0}) for i in range(6)]
    counts = feed.counts()
    assert (counts["backfilled"], counts["reconnects"], counts["gaps_filled"]) == (3, 1, 1)
    assert counts["disconnects"] == 1
    name, end = "ScriptedFeed", NINE + 4 * MINUTE
    assert feed.notices == [
        FeedLost(name, "socket closed"),
        FeedRestored(name, NINE + MINUTE),
        GapFilled(name, NINE + MINUTE, end, 3),
    ]


@pytest.mark.parametrize(
    ("notice", "line"),
    [
        (FeedLost("F", "gone"), "F: the connection is lost (gone); it is being got back"),
        (FeedLost("F", "no such key", is_final=True), "(no such key); nobody tries again"),
        (FeedRestored("F", NINE), "F: the connection is back; bars are missing since"),
        (FeedStale("F", NINE, 300.4), "F: no bar has come for 300 seconds, since"),
        (GapFilled("F", NINE, NINE + MINUTE, 3), "F: history gave 3 bars that were missing,"),
        (GapUnfilled("F", NINE, NINE + MINUTE, "no answer"), "are missing for good: no answer"),
    ],
)
def test_notices_are_lines_for_operators(notice: Notice, line: str) -> None:
    """With times as people write them."""
    assert line in str(notice)
    assert str(NINE) not in str(notice)


def test_a_break_within_a_minute_needs_no_history() -> None:
    """No bar ended in it."""
    script = [
        *minutes("A", 0, 1),
        (NINE + MINUTE + 10 * SECOND, Lost("x")),
        (NINE + MINUTE + 20 * SECOND, Connected()),
    ]
    feed = ScriptedFeed(["A"], script)
    assert [t for t, _ in feed.table()] == [1, 2]
    assert feed.asked == []


def test_nothing_is_given_twice_when_history_overlaps_the_stream() -> None:
    """The vendor's history has bars that came before and after the break as well."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0) for i in range(-5, 5)]
    script = [*minutes("A", 0, 1, 2), (NINE + 3 * MINUTE + 3 * SECOND, Connected())]
    feed = ScriptedFeed(["A", "B"], [*script, *minutes("A", 3)], past=past)
    assert [t for t, _ in feed.table()] == [1, 2, 3, 4]


def test_while_the_connection_is_down_a_timestamp_waits_for_its_other_bars() -> None:
    """Half a timestamp would look as if B had not traded."""
    script = [
        *minutes("A", 0),
        (NINE + MINUTE + 2 * SECOND, Lost("x")),
        (NINE + MINUTE + 12 * SECOND, Connected()),
    ]
    past = [bar("B", NINE, 30.0)]
    feed = ScriptedFeed(["A", "B"], script, past=past)
    assert feed.table() == [(1, {"A": 10.0, "B": 30.0})]


def test_but_not_for_ever() -> None:
    """For as long as a break may hold bars up."""
    script = [*minutes("A", 0), (NINE + MINUTE + 2 * SECOND, Lost("x"))]
    feed = ScriptedFeed(["A", "B"], script, backfill_seconds=20)
    assert times(feed) == [(1, 25.0)]


class Deaf(ScriptedFeed):
    """Its history hangs, or raises."""

    error: Exception | None = None
    released: threading.Event

    def history(self, start: dt.datetime, end: dt.datetime) -> list[Any]:
        """Never an answer."""
        if self.error is not None:
            raise self.error
        self.released.wait(10)
        return []


def test_history_that_hangs_holds_nothing_up_for_ever() -> None:
    """The feed goes on without, and says so."""
    feed = Deaf(["A"], BREAK, backfill_seconds=0.05)
    feed.released = threading.Event()
    assert [t for t, _ in feed.table()] == [1, 5, 6]
    feed.released.set()
    assert feed.counts()["gaps_unfilled"] == 1
    unfilled = [n for n in feed.notices if isinstance(n, GapUnfilled)]
    assert [n.reason for n in unfilled] == ["no answer within 0.05 s"]


def test_history_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then the reason is told."""
    monkeypatch.setattr("ml4t.backtest.live.backfill._PAUSES", (0.0, 0.0))
    feed = Deaf(["A"], BREAK)
    feed.error = OSError("no route")
    assert [t for t, _ in feed.table()] == [1, 5, 6]
    (told,) = [n for n in feed.notices if isinstance(n, GapUnfilled)]
    assert told.reason == "OSError: no route"


class Slow(ScriptedFeed):
    """Its history answers when the script says so."""

    is_prompt = False

    def history(self, start: dt.datetime, end: dt.datetime) -> list[Any]:
        """After a while."""
        self.asking.wait(10)
        return super().history(start, end)

    def answer(self) -> Any:
        """A line of the script: the answer comes now."""
        self.asking.set()
        message = self.inbox.take(10)
        while message is not None and message.source != "feed":
            message = self.inbox.take(10)
        self.asking.clear()
        assert message is not None
        return message.content

    @property
    def asking(self) -> threading.Event:
        """Set when history may answer."""
        return self.__dict__.setdefault("_asking", threading.Event())


def test_newer_bars_wait_while_a_break_is_filled() -> None:
    """Although all of theirs has come, and their grace time is over."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0) for i in range(4)]
    feed = Slow(["A"], BREAK, past=past)
    feed.script.append((NINE + 8 * MINUTE, feed.answer))
    feed.script.append((NINE + 9 * MINUTE, feed.stop))
    found = times(feed)
    assert [t for t, _ in found] == [1, 2, 3, 4, 5, 6]
    assert found[-1] == (6, 120.0)


def test_a_second_break_while_the_first_is_filled() -> None:
    """Is filled after it."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0) for i in range(7)]
    feed = Slow(["A"], BREAK[:3], past=past)
    feed.script.append((NINE + 7 * MINUTE + 10 * SECOND, Connected()))
    feed.script.append((NINE + 8 * MINUTE, feed.answer))  # up to the fourth minute
    feed.script.append((NINE + 8 * MINUTE, feed.answer))
    feed.script.append((NINE + 9 * MINUTE, feed.stop))
    assert [t for t, _ in feed.table()] == [1, 2, 3, 4, 5, 6, 7]


def test_longer_bars_with_a_hole_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar of five minutes made of three would have a wrong open, extremes and volume."""
    monkeypatch.setattr("ml4t.backtest.live.backfill._PAUSES", ())
    script = [
        *minutes("A", *range(4)),
        (NINE + 4 * MINUTE + 30 * SECOND, Lost("x")),
        (NINE + 8 * MINUTE, Connected()),
        *minutes("A", *range(8, 15)),
    ]
    feed = Deaf(["A"], script, bar_duration="5m")
    feed.error = OSError("no route")
    assert [t for t, _ in feed.table()] == [15]
    assert feed.counts()["incomplete"] > 0


def test_the_first_long_bar_is_whole() -> None:
    """The minutes before the feed was opened come from history."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0, open=i + 9.5) for i in range(3)]
    feed = ScriptedFeed(["A"], minutes("A", 3, 4), past=past, bar_duration="5m")
    feed.clock.moment = NINE + 3 * MINUTE
    (found,) = feed.walk(lambda block: (block.prices["open"][0], block.prices["volume"][0]))
    assert found == (9.5, 500.0)


def test_a_feed_goes_on_from_where_a_session_ended() -> None:
    """What came after `since` is fetched first."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0) for i in range(-3, 3)]
    feed = ScriptedFeed(["A"], minutes("A", 3), past=past)
    feed.clock.moment = NINE + 3 * MINUTE
    feed.since = NINE
    assert [t for t, _ in feed.table()] == [1, 2, 3, 4]


def test_what_was_missed_is_fetched_while_the_connection_stands() -> None:
    """No break is told, and newer bars wait."""
    past = [bar("A", NINE + MINUTE, 11.0)]
    missed = (NINE + 3 * MINUTE, Missed())
    feed = ScriptedFeed(["A"], [*minutes("A", 0), missed, *minutes("A", 2)], past=past)
    assert [t for t, _ in feed.table()] == [1, 2, 3]
    counted = feed.counts()
    assert (counted["gaps_filled"], counted["disconnects"], counted["reconnects"]) == (1, 0, 0)


def test_a_final_refusal_ends_the_run_with_its_reason() -> None:
    """Keys that were withdrawn: nobody waits for bars that will not come."""
    feed = ScriptedFeed(["A"], [*minutes("A", 0), (NINE + 2 * MINUTE, Refused("no such key"))])
    with pytest.raises(DataError, match="ScriptedFeed: no such key"):
        feed.walk()
    assert feed.inbox.take(0) == ("session", FeedLost("ScriptedFeed", "no such key", is_final=True))
    assert feed.is_closed


@settings(max_examples=60)
@given(
    holes=st.sets(st.tuples(st.sampled_from("AB"), st.integers(0, 11)), max_size=10),
    delays=st.lists(st.integers(1, 4), min_size=24, max_size=24),
    breaks=st.lists(st.tuples(st.integers(10, 600), st.integers(1, 200)), max_size=3),
)
def test_a_break_leaves_no_trace(
    holes: set[tuple[str, int]], delays: list[int], breaks: list[tuple[int, int]]
) -> None:
    """Whenever it comes and however long it is: what is given is what was traded, in order."""
    traded = [(a, i) for i in range(12) for a in "AB" if (a, i) not in holes]
    bars = {(a, i): bar(a, NINE + i * MINUTE, 10.0 + i) for a, i in traded}
    down: list[tuple[int, int]] = []
    for begin, seconds in breaks:
        start = NINE + begin * SECOND + max([0, *(e - NINE - begin * SECOND for _, e in down)])
        down.append((start, start + seconds * SECOND))
    script: list[tuple[int, Any]] = []
    for n, ((_, i), one) in enumerate(bars.items()):
        arrives = NINE + (i + 1) * MINUTE + delays[n] * SECOND
        if not any(start <= arrives < end for start, end in down):
            script.append((arrives, one))
    for start, end in down:
        script += [(start, Lost("x")), (end, Connected())]
    script.append((NINE + 20 * MINUTE, Connected()))
    feed = ScriptedFeed(["A", "B"], script, past=bars.values(), backfill_seconds=10_000)
    expected = [
        (i + 1, {a: 10.0 + i for a in "AB" if (a, i) in bars})
        for i in sorted({i for _, i in traded})
    ]
    assert feed.table() == expected
    counts = feed.counts()
    assert (counts["late_bars"], counts["corrected"], counts["unfinished"]) == (0, 0, 0)


# -- silence ---------------------------------------------------------------------------------


def test_silence_makes_the_feed_connect_anew() -> None:
    """Again and again, and the session is told each time."""
    feed = ScriptedFeed(["A"], minutes("A", 0, 8), max_silence="3m")
    assert [t for t, _ in feed.table()] == [1, 9]
    heard = NINE + MINUTE + SECOND
    assert feed.reconnects == [heard + 3 * MINUTE, heard + 6 * MINUTE]
    assert feed.notices == [
        FeedStale("ScriptedFeed", heard, 180.0),
        FeedStale("ScriptedFeed", heard + 3 * MINUTE, 180.0),
    ]
    assert feed.counts()["stale_alarms"] == 2


def test_a_closed_market_is_silent() -> None:
    """From Tuesday's close to Wednesday's open there is no alarm, but three minutes after it."""
    closes, opens = 12 * 60, 29 * 60 + 30  # minutes after nine UTC
    script = minutes("A", closes - 1, opens + 10)
    feed = ScriptedFeed(["A"], script, max_silence="3m", calendar="XNYS")
    feed.clock.moment = NINE + (closes - 2) * MINUTE
    assert [t for t, _ in feed.table()] == [closes, opens + 11]
    first = NINE + (opens + 3) * MINUTE
    assert feed.reconnects == [first, first + 3 * MINUTE, first + 6 * MINUTE]


@pytest.mark.parametrize(("days", "hours"), [(4, 0), (83, -9)])  # a Saturday; Memorial Day
def test_no_alarm_on_weekends_and_holidays(days: int, hours: int) -> None:
    """The first comes in the next session."""
    feed = ScriptedFeed(["A"], minutes("A", 0), max_silence="10m", calendar="XNYS")
    start = NINE + (days * 24 + hours) * 60 * MINUTE
    feed.script = [(start + i * 60 * MINUTE, lambda: None) for i in range(24)]
    feed.clock.moment = start
    feed.walk()
    assert feed.reconnects == []


def test_around_the_clock_midnight_is_no_break() -> None:
    """For markets that never close."""
    feed = ScriptedFeed(["A"], [], max_silence="3m")
    midnight = NINE + 15 * 60 * MINUTE
    feed.clock.moment = midnight - 2 * MINUTE
    feed.script = [(midnight + 2 * MINUTE, feed.stop)]
    feed.walk()
    assert feed.reconnects == [midnight + MINUTE]


# -- in a run --------------------------------------------------------------------------------


class Rotate(Strategy):
    """Holds what rose most in the last bar."""

    def on_bars(self, bars: Bars, context: dict[str, Any]) -> None:
        """Half of equity in the winner."""
        moves = {b.asset_id: b.close / b.open for b in bars}
        best = max(sorted(moves), key=moves.__getitem__)
        self.rebalance_to_weights({best: 0.5})
        self.record(known=float(len(self.history(best, 5, "close"))))


def _market() -> pl.DataFrame:
    """Minutes with holes, stamped with their end."""
    market = without_bars(random_market(4, 60, seed=7), 0.2, seed=7).drop("ml_pred")
    stamps = {t: i for i, t in enumerate(market["timestamp"].unique().sort())}
    minute = pl.col("timestamp").replace_strict(stamps, return_dtype=pl.Int64) + 1
    return market.with_columns(
        timestamp=pl.from_epoch(minute * MINUTE + NINE, "us").dt.replace_time_zone("UTC")
    )


def _scripted(market: pl.DataFrame, **options: Any) -> ScriptedFeed:
    """The same bars, arriving in some order a little after their end."""
    script = []
    for i, line in enumerate(market.iter_rows(named=True)):
        end = int(line["timestamp"].timestamp()) * SECOND
        fields = {n: line[n] for n in ("open", "high", "low", "close", "volume")}
        one = bar(line["asset_id"], end - MINUTE, **fields)
        script.append((end + (i * 7 % 4) * SECOND, one))
    return ScriptedFeed(sorted(market["asset_id"].unique()), script, **options)


def test_a_run_over_a_live_feed_equals_the_run_over_a_frame() -> None:
    """The strategy cannot tell, and neither can the simulated broker."""
    market = _market()
    live = BacktestEngine(data=_scripted(market), strategy=Rotate()).run()
    frame = BacktestEngine(data=market, strategy=Rotate()).run()
    assert live.equity.equals(frame.equity)
    assert live.fills.equals(frame.fills)
    assert live.fills.height > 20
    assert live.orders.equals(frame.orders)


class TestScriptedFeed(FeedContract):
    """The exam of every feed."""

    is_reopenable = False

    def make_feed(self) -> LiveDataFeed:
        """From a script."""
        return _scripted(_market())


def test_past_bars_are_those_the_feed_would_have_given() -> None:
    """Put together, stamped with their end, and whole."""
    past = [bar("A", NINE + i * MINUTE, i + 10.0) for i in range(12)]
    feed = ScriptedFeed(["A"], [], past=past, bar_duration="5m")
    start = dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC)
    found = feed.past_bars(start, start + dt.timedelta(minutes=12))
    assert found["timestamp"].to_list() == [start + dt.timedelta(minutes=i) for i in (5, 10)]
    assert found["close"].to_list() == [14.0, 19.0]
    assert found["volume"].to_list() == [500.0, 500.0]
    assert feed.past_bars(start, start).is_empty()


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "options", "words"),
    [
        ("AAPL", {}, r"symbols=\['AAPL'\]"),
        ([], {}, "symbols is empty"),
        (["A", "A"], {}, "'A' is there twice"),
        ([1], {}, "1 is not a name"),
        (["A"], {"grace_seconds": -1}, "grace_seconds=-1"),
        (["A"], {"bar_duration": "90s"}, "bar_duration is .*multiple"),
        (["A"], {"max_silence": "0s"}, "max_silence is 0"),
        (["A"], {"calendar": "XNYX"}, "Did you mean"),
    ],
)
def test_options_that_make_no_sense(symbols: Any, options: dict[str, Any], words: str) -> None:
    """Each is named with what to do."""
    with pytest.raises(ConfigError, match=words):
        ScriptedFeed(symbols, [], **options)


def test_a_feed_of_several_assets_is_not_for_one() -> None:
    """As of any feed."""
    feed = ScriptedFeed(["A", "B"], [])
    with pytest.raises(DataError, match="the feed is for 'A', but has the symbols 'A', 'B'"):
        feed.open_reader(Request(asset_id="A"))


def test_the_feeds_own_pump_passes_on_its_messages_and_logs_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When no session runs it."""
    inbox = Inbox()
    inbox.put("session", FeedLost("X", "gone"))
    inbox.put("feed", 1)
    pump = LonePump(inbox, FakeTime())
    assert pump(None) == 1
    assert pump(NINE) is None
    assert "gone" in caplog.text
