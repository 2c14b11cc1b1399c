"""SignalBuffer: predictions from threads and coroutines, and how they reach the strategy."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    ConfigError,
    DataError,
    MarketEvent,
    SignalBuffer,
    Strategy,
)
from ml4t.backtest.live.sayings import Said, Sayings
from ml4t.backtest.types.time import TimeAxis
from tests.live.scripted import MINUTE, NINE, SECOND, FakeTime, ScriptedFeed, bar

UTC = TimeAxis(zone="UTC")


def when(moment: int) -> dt.datetime:
    """As a user has it."""
    return UTC.to_datetime(moment)


def bound(time: FakeTime, **options: Any) -> SignalBuffer:
    """A buffer of a feed of A and B."""
    buffer = SignalBuffer(**options)
    buffer.bind(["A", "B"], time, lambda: None)
    return buffer


# -- alone -----------------------------------------------------------------------------------


def test_the_latest_value_of_each_name_counts() -> None:
    """Names that are left out stay; None and NaN take a value away."""
    buffer = SignalBuffer()
    buffer.update("A", {"p": 0.5, "up": True, "tag": "x", "_meta": {"v": 1}})
    buffer.update("A", {"p": np.float32(0.25), "up": None})
    assert buffer.get_latest("A") == {"p": 0.25, "tag": "x", "_meta": {"v": 1}}
    buffer.update_many({"A": {"p": math.nan, "tag": None, "_meta": None}, "B": {"p": 1}})
    assert buffer.get_latest("A") is None
    assert buffer.get_latest("B") == {"p": 1}
    assert buffer.get_latest("C") is None


def test_values_age() -> None:
    """Each name for itself; a timestamp makes a value as old as it says."""
    time = FakeTime()
    buffer = bound(time, max_age_seconds=60)
    buffer.update("A", {"p": 0.5})
    buffer.update("B", {"p": 0.5}, timestamp=when(NINE - 50 * SECOND))
    time.moment += 30 * SECOND
    buffer.update("A", {"q": 1.0})
    assert buffer.ages("A") == {"p": 30.0, "q": 0.0}
    assert (buffer.age("A"), buffer.age("B"), buffer.age("C")) == (0.0, 80.0, None)
    assert buffer.get_latest("B") is None
    time.moment += 30 * SECOND
    assert buffer.get_latest("A") == {"p": 0.5, "q": 1.0}  # not above 60 s
    time.moment += 1
    assert buffer.get_latest("A") == {"q": 1.0}


def test_values_keep_their_age_when_the_session_has_another_time() -> None:
    """A rehearsal shows a day of the past."""
    buffer = SignalBuffer(max_age_seconds=60)
    buffer.update("A", {"p": 0.5})
    buffer.bind(["A"], FakeTime(), lambda: None)
    assert buffer.age("A") == pytest.approx(0.0, abs=5.0)
    assert buffer.get_latest("A") == {"p": 0.5}


@pytest.mark.parametrize(
    ("asset_id", "signals", "words"),
    [
        ("A", {"target": 1.0}, r"'target' would be taken as a signal.*names=\[...\]"),
        ("A", {"fwd_ret": 1.0}, "name is that of a label"),
        ("A", {"p": [1.0]}, "signal 'p' is a list"),
        ("A", {"q": "high"}, "signal 'q' is a number in some bars and 'high' in another"),
        ("AA", {"p": 1.0}, "the feed has no asset 'AA'. Did you mean 'A'"),
        ("A", {"_meta": 3}, "'_meta' of 'A' is 3; it holds a dict"),
        ("A", [1.0], "the signals of 'A' are a list"),
    ],
)
def test_what_is_refused(asset_id: str, signals: Any, words: str) -> None:
    """In the words used for columns; and nothing of the update is taken."""
    buffer = bound(FakeTime())
    buffer.update("A", {"q": 1.0})
    with pytest.raises(DataError, match=words):
        buffer.update_many({"B": {"p": 1.0}, asset_id: signals})
    assert buffer.get_latest("B") is None
    buffer.update("B", {"p": "text"})  # nor was its kind learnt


def test_declared_names() -> None:
    """Others are refused; a label may be taken knowingly; kinds are known before any value."""
    buffer = SignalBuffer(names={"target": float, "regime": str})
    buffer.update("A", {"target": 1.0, "regime": "calm"})
    with pytest.raises(DataError, match=r"'regimes' is not in names=. Did you mean 'regime'\?"):
        buffer.update("A", {"regimes": "calm"})
    with pytest.raises(DataError, match="'regime' is a number in some"):
        buffer.update("A", {"regime": 1.0})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_age_seconds": 0}, "max_age_seconds=0"),
        ({"max_age_seconds": math.inf}, "max_age_seconds=inf"),
        ({"max_age_seconds": math.nan}, "max_age_seconds=nan"),
        ({"names": "p"}, r"names=\['p'\]"),
        ({"names": {"p": list}}, "float, bool or str"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """Named, with what to do."""
    with pytest.raises(ConfigError, match=words):
        SignalBuffer(**options)


@pytest.mark.parametrize("timestamp", [dt.datetime(2024, 3, 5), "2024-03-05", 5])
def test_times_without_a_zone_are_refused(timestamp: Any) -> None:
    """Nobody could say which moment is meant."""
    with pytest.raises(DataError, match="not a datetime with a zone"):
        SignalBuffer().update("A", {"p": 1.0}, timestamp=timestamp)


def test_assets_seen_before_a_feed_is_known_must_be_its() -> None:
    """A typing error shows when the session begins."""
    buffer = SignalBuffer()
    buffer.update("APPL", {"p": 1.0})
    with pytest.raises(DataError, match=r"no asset 'APPL'. Did you mean 'AAPL'\?"):
        buffer.bind(["AAPL"], FakeTime(), lambda: None)


# -- threads and coroutines ------------------------------------------------------------------


def test_threads_update_at_once() -> None:
    """No value is lost, none is half written, and readers see pairs that belong together."""
    buffer = bound(FakeTime())
    torn: list[Any] = []
    done = threading.Event()

    def write(asset_id: str) -> None:
        for i in range(2_000):
            buffer.update(asset_id, {"p": float(i), "q": float(-i)})

    def read() -> None:
        while not done.is_set():
            for values in buffer.values_at(NINE + MINUTE, ["A", "B"]).values():
                torn.extend([values] if values and values["p"] != -values["q"] else [])

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=[a]) for a in "AABB"]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert torn == []
    assert buffer.counts()["signal_updates"] == 8_000
    assert buffer.get_latest("A") == {"p": 1999.0, "q": -1999.0}


def test_coroutines_update_without_blocking_their_loop() -> None:
    """While the feed reads, the loop goes on, and the update arrives afterwards."""
    buffer = bound(FakeTime())

    async def go() -> int:
        await buffer.aupdate("A", {"p": 0.5})
        await buffer.aupdate({"A": {"q": 1.0}, "B": {"p": 0.5}})
        buffer._lock.acquire()
        waiting = asyncio.create_task(buffer.aupdate("A", {"p": 0.75}))
        turns = 0
        while turns < 20:
            await asyncio.sleep(0.001)
            assert not waiting.done()
            turns += 1
        buffer._lock.release()
        await waiting
        return turns

    assert asyncio.run(go()) == 20
    assert buffer.get_latest("A") == {"p": 0.75, "q": 1.0}
    with pytest.raises(DataError, match="give the signals"):
        asyncio.run(buffer.aupdate("A"))


# -- beside bars -----------------------------------------------------------------------------


class Watch(Strategy):
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, dict[str, Any]]] = []

    def on_market_data(self, event: MarketEvent) -> None:
        """One entry a bar."""
        minute = (UTC.to_microseconds(event.timestamp) - NINE) // MINUTE
        self.seen.append((event.asset_id, minute, dict(event.signals)))


def says(
    buffer: SignalBuffer, moment: float, asset_id: str, about: int | None = None, **values: Any
) -> tuple[int, Any]:
    """A line of a script: an update some seconds after nine."""

    def act() -> None:
        buffer.update(asset_id, values, timestamp=None if about is None else when(about))

    return NINE + int(moment * SECOND), act


def bars(asset_id: str, *which: int) -> list[tuple[int, Any]]:
    """Bars of minutes, a second after their end."""
    return [(NINE + (i + 1) * MINUTE + SECOND, bar(asset_id, NINE + i * MINUTE)) for i in which]


def seen(buffer: SignalBuffer, script: list[Any], wait: float | None = None, **options: Any) -> Any:
    """What a strategy sees of each bar, when the feed gave it, and what was counted."""
    feed = ScriptedFeed(["A", "B"], script, signals=buffer, **options)
    feed.wait_for_signals = wait
    watch = Watch()
    BacktestEngine(data=feed, strategy=watch).run()
    return watch.seen, {n: c for n, c in feed.counts().items() if c and n.startswith("signal")}


def test_predictions_are_columns_of_the_bars() -> None:
    """The strategy cannot tell where they came from; absent ones are absent."""
    buffer = SignalBuffer(max_age_seconds=90)
    script = [
        says(buffer, 30, "A", p=0.5, tag="x", _meta={"v": 1}),
        says(buffer, 100, "B", p=0.25),
        *bars("A", 0, 1, 2),
        *bars("B", 0, 1, 2),
    ]
    found, counted = seen(buffer, script)
    assert found == [
        ("A", 1, {"p": 0.5, "tag": "x", "_meta": {"v": 1}}),
        ("B", 1, {}),
        ("A", 2, {}),  # 91 s old
        ("B", 2, {"p": 0.25}),
        ("A", 3, {}),
        ("B", 3, {"p": 0.25}),
    ]
    assert counted == {"signal_updates": 2, "signals_stale": 6}


def test_a_name_once_seen_stays_a_column() -> None:
    """And a declared one is there from the first bar."""
    buffer = SignalBuffer(names=["p"])
    feed = ScriptedFeed(["A"], [*bars("A", 0, 1), says(buffer, 90, "A", p=1.0)], signals=buffer)
    columns = feed.walk(lambda block: block.signals["p"].tolist())
    assert columns == [pytest.approx([math.nan], nan_ok=True), [1.0]]


def test_a_prediction_for_a_later_bar_waits_for_it() -> None:
    """As it would in a backtest, where it is joined by its time."""
    buffer = SignalBuffer()
    script = [
        says(buffer, 10, "A", about=NINE + MINUTE, p=1.0),
        says(buffer, 20, "A", about=NINE + 2 * MINUTE, p=2.0),
        says(buffer, 25, "A", about=NINE - MINUTE, p=0.0),  # late, and the older one
        *bars("A", 0, 1, 2),
    ]
    found, _ = seen(buffer, script)
    assert [s["p"] for _, _, s in found] == [1.0, 2.0, 2.0]


def test_a_timestamp_waits_for_its_predictions() -> None:
    """Until the last has come, by time or by timestamp."""
    buffer = SignalBuffer()
    script = [
        *bars("A", 0),
        *bars("B", 0),
        says(buffer, 50, "A", p=9.0),  # made before the bar's end
        says(buffer, 65, "A", p=1.0),
        says(buffer, 70, "B", about=NINE + MINUTE, p=2.0),
        *bars("A", 1),
    ]
    found, counted = seen(buffer, script, wait=20)
    assert found[:2] == [("A", 1, {"p": 1.0}), ("B", 1, {"p": 2.0})]
    assert counted == {"signal_updates": 3, "signals_missing": 1}


def test_but_not_beyond_the_deadline() -> None:
    """Grace and wait after the bar's end; what comes then is late."""
    buffer = SignalBuffer()
    times: list[float] = []
    script = [
        *bars("A", 0),
        *bars("B", 0),
        says(buffer, 66, "A", p=1.0),
        says(buffer, 86, "B", p=2.0),
        says(buffer, 87, "A", about=NINE + MINUTE, p=3.0),
    ]
    feed = ScriptedFeed(["A", "B"], script, signals=buffer)
    feed.wait_for_signals = 20
    feed.script.append((NINE + 88 * SECOND, feed.stop))
    rows: list[Any] = []

    def look(block: Any) -> None:
        times.append((feed.clock.moment - NINE) / SECOND)
        rows.append(block.signals["p"].tolist())

    feed.walk(look)
    assert times == [85.0]
    assert rows[0][0] == 1.0
    assert math.isnan(rows[0][1])


def test_late_predictions_are_counted() -> None:
    """With a timestamp by it, without one when their bar was waited for in vain."""
    time = FakeTime(NINE + MINUTE)
    buffer = bound(time)
    buffer.values_at(NINE + MINUTE, ["A", "B"])
    buffer.give_up(["B"])
    time.moment += SECOND
    buffer.update("A", {"p": 1.0})  # nobody waited for it
    buffer.update("B", {"p": 1.0})  # late
    buffer.update("B", {"p": 1.0})  # once
    buffer.update("A", {"p": 1.0}, timestamp=when(NINE + MINUTE))  # late
    buffer.update("A", {"p": 1.0}, timestamp=when(NINE + 2 * MINUTE))
    assert buffer.counts()["signals_late"] == 2
    assert buffer.counts()["signals_missing"] == 1


def test_old_timestamps_do_not_wait() -> None:
    """Nobody will predict for the bars of a break: a day of them must not take a day."""
    buffer = SignalBuffer()
    past = [bar("A", NINE + i * MINUTE) for i in range(50)]
    feed = ScriptedFeed(["A"], [], past=past, signals=buffer)
    feed.since, feed.wait_for_signals = NINE, 30
    feed.clock.moment = NINE + 50 * MINUTE + 10 * SECOND
    assert len(feed.walk()) == 50
    assert feed.clock.moment == NINE + 50 * MINUTE + 35 * SECOND  # the last one did


def test_only_wanted_signals_are_taken_and_context_is_context() -> None:
    """As with columns of a feed."""
    buffer = SignalBuffer()
    script = [says(buffer, 30, "A", p=0.5, q=1.0, VIX=20.0), *bars("A", 0)]
    feed = ScriptedFeed(["A"], script, signals=buffer)
    contexts: list[Any] = []

    class Look(Strategy):
        def on_market_data(self, event: MarketEvent, context: dict[str, Any]) -> None:
            contexts.append((event.signals, context))

    engine = BacktestEngine(data=feed, strategy=Look(), signal_columns=["p"], context_pattern="VIX")
    engine.run()
    assert contexts == [({"p": 0.5}, {"VIX": 20.0})]


# -- laws ------------------------------------------------------------------------------------


@given(
    said=st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)), max_size=30),
    ends=st.lists(st.integers(0, 20), max_size=5),
)
def test_the_chosen_value_is_the_latest_that_is_not_for_a_later_bar(
    said: list[tuple[int, int | None]], ends: list[int]
) -> None:
    """Whatever was asked before: against a plain search through everything that was said."""
    sayings = Sayings()
    cames = sorted(came for came, _ in said)  # in the order in which they come
    told = [Said(i, cames[i], about) for i, (_, about) in enumerate(said)]
    for one in told:
        sayings.say("A", "p", one)
    for end in sorted(ends):
        fits = [s for s in told if s.about is None or s.about <= end]
        expected = max(
            fits, key=lambda s: (s.came if s.about is None else s.about, s.value), default=None
        )
        chosen = dict(sayings.choose("A", end))
        assert chosen.get("p") == expected


def test_a_model_may_be_a_day_ahead() -> None:
    """Each bar has the value that was said of it."""
    buffer = bound(FakeTime())
    for i in range(1, 391):
        buffer.update("A", {"p": i / 1_000}, when(NINE + i * MINUTE))
    for i in range(1, 391):
        assert buffer.values_at(NINE + i * MINUTE, ["A"]) == {"A": {"p": i / 1_000}}
    assert buffer.counts()["signals_dropped"] == 0


def test_what_has_to_be_dropped_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The values about the earliest bars; a value about none is kept."""
    buffer = bound(FakeTime())
    buffer.update("A", {"p": 7.0})
    for i in range(1, 10_003):
        buffer.update("A", {"p": float(i)}, when(NINE + i * MINUTE))
    assert buffer.counts()["signals_dropped"] == 3
    (record,) = caplog.records
    assert record.getMessage().startswith("SignalBuffer: the earliest of more than 10,000 values")
    assert buffer.values_at(NINE + 3 * MINUTE, ["A"]) == {"A": {"p": 7.0}}
    assert buffer.values_at(NINE + 4 * MINUTE, ["A"]) == {"A": {"p": 4.0}}
