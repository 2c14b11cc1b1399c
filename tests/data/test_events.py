"""Users' own feeds: assembled by timestamp, and checked as they go."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pytest

from ml4t.backtest.clock import Clock
from ml4t.backtest.data.feed import DataFeed
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.bars import Chunk, MarketEvent

NINE = dt.datetime(2024, 1, 2, 9, 0)
MINUTE = dt.timedelta(minutes=1)


class ListFeed(DataFeed):
    """Gives the events of a list, and counts them."""

    def __init__(self, events: list[Any]) -> None:
        self.events = list(events)
        self.given = 0

    def get_next_event(self) -> MarketEvent | None:
        """The next of the list."""
        if self.is_exhausted():
            return None
        self.given += 1
        return self.events[self.given - 1]

    def is_exhausted(self) -> bool:
        """Whether the list is at its end."""
        return self.given == len(self.events)


def bar(time: dt.datetime, asset_id: str = "A", /, **fields: Any) -> MarketEvent:
    """A sound bar; fields replace its values."""
    values = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 100.0, **fields}
    return MarketEvent(time, asset_id, **values)


def chunks(*events: Any, **options: Any) -> list[Chunk]:
    """The chunks of a run over a feed of these events."""
    return list(Clock(ListFeed(list(events)), **options).chunks())


def refusal(*events: Any, **options: Any) -> str:
    """The text with which a feed of these events is refused."""
    with pytest.raises(DataError) as caught:
        chunks(*events, **options)
    return str(caught.value)


class Silent(ListFeed):
    """Gives None once in the middle, without being exhausted."""

    def get_next_event(self) -> MarketEvent | None:
        """None in place of the third."""
        if self.given == 2:
            self.given += 1
            return None
        return super().get_next_event()


def test_a_feed_that_falls_silent_is_no_feed_that_ends() -> None:
    """None while is_exhausted() is False would end the run without a word."""
    feed = Silent([bar(NINE + i * MINUTE) for i in range(5)])
    with pytest.raises(DataError, match=r"Silent.*None after 2 events.*is_exhausted\(\)"):
        list(Clock(feed).chunks())
    late = Silent([bar(NINE + i * MINUTE) for i in range(3)])
    assert len(list(Clock(late).chunks())) == 2  # it knew only after it had looked


def test_an_event_may_have_no_signals_at_all() -> None:
    """None is as good as an empty dict; anything else is refused by name."""
    found = chunks(bar(NINE, signals=None), bar(NINE + MINUTE, signals={"p": 0.5}))
    assert [list(c.signals) for c in found] == [[], ["p"]]
    assert "signals of 'A' at 2024-01-02 09:00:00 are a list" in refusal(bar(NINE, signals=[0.5]))


def test_events_of_one_time_are_one_timestamp_sorted_by_asset() -> None:
    """In whatever order the feed gives them; assets get codes as they appear."""
    found = chunks(bar(NINE, "B"), bar(NINE, "A"), bar(NINE + MINUTE, "C"), bar(NINE + MINUTE, "B"))
    rows = [(c.stamps[0], [c.universe.ids[i] for i in c.codes]) for c in found]
    assert rows == [(NINE, ["A", "B"]), (NINE + MINUTE, ["B", "C"])]
    assert found[0].universe is found[1].universe
    assert found[1].universe.ids == ["A", "B", "C"]


def test_the_feed_is_read_one_event_ahead_and_no_more() -> None:
    """Nothing of the timestamp after next is known to anybody."""
    feed = ListFeed([bar(NINE + i * MINUTE, a) for i in range(4) for a in "AB"])
    seen = [feed.given for _ in Clock(feed).chunks()]
    assert seen == [3, 5, 7, 8]


def test_signals_become_columns_and_absent_ones_stay_absent() -> None:
    """A name, once seen, stays; `_meta` is a dict."""
    first, second, third = chunks(
        bar(NINE, signals={"p": 0.5, "up": True, "_meta": {"v": 1}}),
        bar(NINE + MINUTE, signals={"p": None, "tag": "x"}),
        bar(NINE + 2 * MINUTE, signals={"p": math.nan}),
    )
    assert next(first.events()).signals == {"p": 0.5, "up": True, "_meta": {"v": 1}}
    assert next(second.events()).signals == {"tag": "x"}
    assert next(third.events()).signals == {}
    assert set(third.signals) == {"p", "up", "tag"}
    assert np.isnan(third.bars(0).signal("p")).all()


def test_signal_columns_and_context_pattern_apply() -> None:
    """Only wanted names are signals; what matches the pattern is context."""
    signals = {"p": 0.5, "q": 1.0, "VIX": 20.0}
    (chunk,) = chunks(
        bar(NINE, "A", signals=signals),
        bar(NINE, "B", signals=signals),
        signal_columns=["p"],
        context_pattern="VIX",
    )
    assert list(chunk.signals) == ["p"]
    assert chunk.context_at is not None
    assert chunk.context_at(0) == {"VIX": 20.0}
    other = bar(NINE, "B", signals={"VIX": 21.0})
    assert "same for all assets" in refusal(
        bar(NINE, signals=signals), other, context_pattern="VIX"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"open": 0.0}, "open is 0.0, not a positive, finite price"),
        ({"high": math.inf}, "high is inf"),
        ({"low": math.nan}, "low is nan"),
        ({"close": "10"}, "close is '10'"),
        ({"high": 10.0}, "high 10.0 is below close 10.5"),
        ({"low": 10.2}, "open 10.0 is below low 10.2"),
        ({"volume": -1.0}, "volume is -1.0"),
    ],
)
def test_a_bad_bar_stops_the_run_where_it_comes(fields: dict[str, Any], words: str) -> None:
    """The feed, the asset and the time are named; earlier bars were given."""
    feed = ListFeed([bar(NINE), bar(NINE + MINUTE, **fields)])
    walked = Clock(feed).chunks()
    assert next(walked).stamps == [NINE]
    with pytest.raises(DataError) as caught:
        next(walked)
    assert words in str(caught.value)
    assert "ListFeed" in str(caught.value)
    assert "'A' at 2024-01-02 09:01:00" in str(caught.value)


def test_a_feed_that_goes_back_in_time_is_refused_with_both_times() -> None:
    """Time never goes back."""
    text = refusal(bar(NINE), bar(NINE + 5 * MINUTE), bar(NINE + MINUTE))
    assert "ListFeed went back in time" in text
    assert "after 2024-01-02 09:05:00 came 2024-01-02 09:01:00" in text


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "has no bars"),
        ([bar(NINE), bar(NINE)], "two bars of 'A'"),
        ([(NINE, "A")], "gave a tuple; it must give a MarketEvent"),
        ([bar(NINE, "")], "asset_id '' at"),
        ([bar(dt.date(2024, 1, 2))], "is not a datetime"),  # type: ignore[arg-type]
        ([bar(NINE), bar(NINE.replace(tzinfo=dt.UTC))], "which are naive"),
        ([bar(NINE.replace(tzinfo=dt.UTC)), bar(NINE)], "which are in zone UTC"),
        ([bar(NINE, signals={"p": 1.0}), bar(NINE + MINUTE, signals={"p": "x"})], "is a number in"),
        ([bar(NINE, signals={"p": [1.0]})], "signal 'p' is a list"),
        ([bar(NINE, signals={"target": 1.0})], "'target' would be taken as a signal"),
    ],
)
def test_what_cannot_be_is_refused(events: list[Any], words: str) -> None:
    """Each with its own words."""
    assert words in refusal(*events)


def test_midnights_are_labels_of_sessions() -> None:
    """The first two times decide; the feed may know better."""
    days = [dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 3)]
    assert chunks(*map(bar, days))[0].axis.is_session
    assert not chunks(bar(days[0]), bar(days[0] + MINUTE))[0].axis.is_session
    assert "is_session = False" in refusal(*map(bar, days), bar(days[1] + MINUTE))
    feed = ListFeed([*map(bar, days), bar(days[1] + MINUTE)])
    feed.is_session = False
    assert len(list(Clock(feed).chunks())) == 3


def test_a_feed_is_walked_once() -> None:
    """A second run needs a new feed."""
    clock = Clock(ListFeed([bar(NINE)]))
    assert len(list(clock.chunks())) == 1
    with pytest.raises(DataError, match="walked once"):
        list(clock.chunks())
    with pytest.raises(DataError, match="has no bars"):
        Clock(ListFeed([])).prepare()


def test_the_assets_of_the_first_time_are_known_before_the_run() -> None:
    """Orders before the first bar can name them."""
    clock = Clock(ListFeed([bar(NINE, "B"), bar(NINE, "A"), bar(NINE + MINUTE, "0")]))
    clock.prepare()
    assert clock.universe.ids == ["A", "B"]
    assert [chunk.codes.tolist() for chunk in clock.chunks()] == [[0, 1], [2]]


@pytest.mark.parametrize("names", ["ABCDE", "EDCBA", "CAEBD"])
def test_the_order_of_feeds_does_not_show(names: str) -> None:
    """Assets that appear later get their codes by time and name, not by feed."""
    times = [NINE + i * MINUTE for i in range(4)]
    feeds = [
        ListFeed([bar(times[0], f"{n}0"), bar(times[2 - (n == "E")], f"{n}1"), bar(times[3], n)])
        for n in names
    ]
    clock = Clock(*feeds)
    rows = [(c.times.tolist(), c.codes.tolist()) for c in clock.chunks()]
    late = ["E1", "A1", "B1", "C1", "D1", *"ABCDE"]
    assert clock.universe.ids == ["A0", "B0", "C0", "D0", "E0", *late]
    assert [codes for _, codes in rows] == [[0, 1, 2, 3, 4], [5], [6, 7, 8, 9], [*range(10, 15)]]


@pytest.mark.parametrize("hour", [0, 16])
def test_feeds_that_start_before_a_weekend_and_after_it_are_of_one_frequency(hour: int) -> None:
    """The first step of a feed is a weekend or a day; its bars are days."""
    days = [dt.datetime(2024, 1, d, hour) for d in (5, 8, 9, 10)]
    friday = ListFeed([bar(day, "A") for day in days])
    monday = ListFeed([bar(day, "B") for day in days[1:]])
    assert len(list(Clock(friday, monday).chunks())) == 4


def test_labels_among_minutes_are_clearly_longer() -> None:
    """Whatever the first step of a feed is, a label is a day at least."""
    days = ListFeed([bar(dt.datetime(2024, 1, d), "A") for d in (2, 3)])
    fast = ListFeed([bar(NINE + i * MINUTE, "B") for i in range(3)])
    with pytest.raises(DataError, match="one every 1d"):
        Clock(days, fast).prepare()


def test_what_a_feed_has_shown_decides_when_its_bars_began() -> None:
    """Minutes of A and rare minutes of B: once B had two in a row, its bars are minutes too."""
    traded = {"A": range(9), "B": (1, 4, 5, 8)}
    found = chunks(*(bar(NINE + i * MINUTE, a) for i in range(9) for a in "AB" if i in traded[a]))
    began = [
        None if c.begins is None else c.axis.to_datetimes(c.begins)[-1]
        for c in found
        if len(c.codes) == 2
    ]
    assert began[1] == NINE + MINUTE  # since B's last bar
    assert [began[0] is None, *began[2:]] == [False, None, None]


def test_a_feed_for_one_asset_refuses_another() -> None:
    """`feeds={'A': feed}` is a promise about every event."""
    clock = Clock()
    clock.add_data_feed(ListFeed([bar(NINE, "A"), bar(NINE + MINUTE, "B")]), asset_id="A")
    with pytest.raises(
        DataError, match=r"feeds\['A'\]: the feed is for 'A', but gave a bar of 'B'"
    ):
        list(clock.chunks())


def test_bar_duration_is_read_from_the_feed() -> None:
    """So that a run knows when a bar began."""
    feed = ListFeed([bar(NINE), bar(NINE + MINUTE, "B")])
    feed.bar_duration = "5m"
    first, second = Clock(feed).chunks()
    assert first.begins is None
    assert second.begins is not None
    assert first.axis.to_datetimes(second.begins) == [NINE - 4 * MINUTE]
    feed.bar_duration = "soon"
    feed.given = 0
    with pytest.raises(ConfigError, match="bar_duration='soon'"):
        Clock(feed).prepare()
