"""The clock: many feeds in one order of time, with what was known."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.clock import Clock
from ml4t.backtest.data import block, merge
from ml4t.backtest.data.context import Context
from ml4t.backtest.data.frames import ParquetDataFeed
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.bars import Chunk, MarketEvent
from tests.data.conftest import DAYS, bars
from tests.data.test_events import ListFeed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MORNING = dt.datetime(2024, 1, 2, 9, 30)
NEW_YORK = ZoneInfo("America/New_York")


def minutes(n: int, start: dt.datetime = MORNING, step: int = 1) -> list[dt.datetime]:
    """Times, `step` minutes apart."""
    return [start + dt.timedelta(minutes=step * i) for i in range(n)]


def events(chunks: Iterable[Chunk]) -> list[MarketEvent]:
    """All events of a run."""
    return [event for chunk in chunks for event in chunk.events()]


def keys(chunks: Iterable[Chunk]) -> list[tuple[dt.datetime, str]]:
    """Time and asset of every row of a run."""
    return [(event.timestamp, event.asset_id) for event in events(chunks)]


def begins(clock: Clock) -> dict[tuple[dt.datetime, str], dt.datetime]:
    """When each bar began."""
    clock.prepare()
    universe, axis = clock.universe, clock.axis
    lanes = [
        merge.Lane(r, universe, axis, calendar=clock._calendar, has_begins=True)
        for r in clock._readers
    ]
    found: dict[tuple[dt.datetime, str], dt.datetime] = {}
    for part in merge.merge(lanes, universe, block.CHUNK_ROWS):
        assert part.begins is not None
        times, starts = (axis.to_datetimes(t) for t in (part.row_times(), part.begins))
        ids = [universe.ids[code] for code in part.codes]
        found |= {(t, a): start for t, a, start in zip(times, ids, starts, strict=True)}
    return found


# -- one feed ----------------------------------------------------------------------------------


def test_one_table_passes_in_chunks_that_never_split_a_timestamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Times increase strictly across chunks, rows are sorted by asset."""
    monkeypatch.setattr("ml4t.backtest.clock.CHUNK_ROWS", 7)
    clock = Clock(bars(minutes(20), assets=("C", "A", "B")))
    chunks = list(clock.chunks())
    assert [len(chunk) for chunk in chunks] == [2] * 10
    assert keys(chunks) == [(t, a) for t in minutes(20) for a in "ABC"]
    assert keys(clock.chunks()) == keys(chunks)
    assert clock.universe.ids == ["A", "B", "C"]
    assert not clock.is_streaming
    assert clock.share_done == 1.0


def test_a_part_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """From one time to another, inside start and end; an empty part is no error, nor a late one."""
    monkeypatch.setattr("ml4t.backtest.clock.CHUNK_ROWS", 7)
    clock = Clock(bars(minutes(20), score=[0.5] * 40), start=MORNING + dt.timedelta(minutes=2))
    clock.prepare()
    times = [clock.axis.to_microseconds(moment) for moment in minutes(60)]
    found = [t for t, _ in keys(clock.between(times[0], times[4]))]
    assert found == [t for t in minutes(5)[2:] for _ in range(2)]
    assert keys(clock.between(times[11] + 1, times[12] - 1)) == []
    assert keys(clock.between(times[40], times[50])) == []
    assert len(keys(clock.between(times[7], times[7]))) == 2
    assert len(keys(clock.chunks())) == 36


def test_a_part_looks_no_further_than_its_end() -> None:
    """A feed of files is not read to its last row for its first."""
    seen: list[int] = []
    clock = Clock(bars(minutes(20)))
    clock.prepare()
    (reader,) = clock._readers
    blocks = reader.blocks

    def counted(rows: int) -> Any:
        for part in blocks(4):
            seen.append(rows)
            yield part

    reader.blocks = counted  # type: ignore[method-assign]
    first = clock.axis.to_microseconds(MORNING)
    assert len(keys(clock.between(first, first))) == 2
    assert len(seen) < 5


def test_context_of_columns_is_known_in_a_part() -> None:
    """It is the last value there was, though that came before the part."""
    quotes = [9.0, 9.0] + [None] * 18
    clock = Clock(bars(minutes(10), VIX=quotes), context_pattern="VIX")
    clock.prepare()
    last = clock.axis.to_microseconds(minutes(10)[-1])
    (chunk,) = clock.between(last, last)
    assert chunk.context_at is not None
    assert chunk.context_at(0) == {"VIX": 9.0}


def test_an_asset_may_miss_bars() -> None:
    """Nothing is filled in."""
    frame = bars(minutes(3))[[0, 1, 2, 5]]
    assert keys(Clock(frame).chunks()) == [
        (MORNING, "AAPL"),
        (MORNING, "MSFT"),
        (minutes(2)[1], "AAPL"),
        (minutes(3)[2], "MSFT"),
    ]


def test_sessions_are_the_labels_or_the_dates() -> None:
    """A label is its session; a moment belongs to the date of the interval it ends."""
    (daily,) = Clock(bars()).chunks()
    assert daily.sessions.astype("datetime64[D]").tolist() == DAYS
    late = [dt.datetime(2024, 1, 2, 23, 59), dt.datetime(2024, 1, 3)]
    (chunk,) = Clock(bars(late)).chunks()
    assert chunk.sessions.astype("datetime64[D]").tolist() == [DAYS[0], DAYS[0]]
    assert chunk.begins is None


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [2, 3, 4]),
        ("2024-01-03", None, [3, 4]),
        (dt.date(2024, 1, 3), dt.date(2024, 1, 3), [3]),
        (None, dt.datetime(2024, 1, 3), [2, 3]),
    ],
)
def test_start_and_end_are_included(start: Any, end: Any, expected: list[int]) -> None:
    """As text, date or datetime."""
    clock = Clock(bars(), start=start, end=end)
    assert sorted({e.timestamp.day for e in events(clock.chunks())}) == expected


def test_a_window_without_bars_is_refused() -> None:
    """The text says what there is."""
    with pytest.raises(DataError, match=r"data: 2024-01-02 to 2024-01-04"):
        Clock(bars(), start="2025-01-01").prepare()
    with pytest.raises(DataError, match="no bars between"):
        list(Clock(bars([DAYS[0], DAYS[2]]), start="2024-01-03", end="2024-01-03").chunks())
    with pytest.raises(ConfigError, match="is after end="):
        Clock(bars(), start="2024-01-04", end="2024-01-03").prepare()


def test_without_a_feed_there_is_no_run() -> None:
    """And no feed is added twice, or late."""
    with pytest.raises(ConfigError, match="nothing to run on"):
        Clock().prepare()
    feed = ParquetDataFeed(bars())
    clock = Clock(feed)
    with pytest.raises(ConfigError, match="added twice"):
        clock.add_data_feed(feed)
    clock.prepare()
    with pytest.raises(ConfigError, match="The run has begun"):
        clock.add_data_feed(bars())


def test_the_source_names_what_was_taken() -> None:
    """Ready for the result."""
    frame = bars(ml_pred=[0.5] * 6, VIX=[9.0] * 6)
    source = Clock(frame, context_pattern="VIX").source()
    (feed,) = source["feeds"]
    assert feed["kind"] == "frame"
    assert feed["rows"] == 6
    assert feed["columns"]["signals"] == ["ml_pred"]
    assert feed["columns"]["context"] == ["VIX"]


# -- many feeds --------------------------------------------------------------------------------


def lone(asset_id: str, times: list[Any], **columns: Any) -> ParquetDataFeed:
    """A feed of one asset, without a column of assets."""
    frame = bars(times, assets=(asset_id,), **columns).drop("asset_id")
    return ParquetDataFeed(frame)


def test_feeds_by_asset_are_merged_by_time() -> None:
    """The order of feeds changes nothing."""
    for order in (["MSFT", "AAPL"], ["AAPL", "MSFT"]):
        clock = Clock()
        for asset_id in order:
            clock.add_data_feed(lone(asset_id, DAYS), asset_id=asset_id)
        expected = [(dt.datetime(d.year, d.month, d.day), a) for d in DAYS for a in sorted(order)]
        assert keys(clock.chunks()) == expected
        assert clock.universe.ids == ["AAPL", "MSFT"]
        assert clock.axis.is_date


def test_a_feed_that_holds_another_asset_is_refused() -> None:
    """The key of feeds= is a promise."""
    clock = Clock()
    clock.add_data_feed(bars(assets=("MSFT",)), asset_id="AAPL")
    with pytest.raises(DataError, match=r"feeds\['AAPL'\]: the feed is for 'AAPL'.*'MSFT'"):
        clock.prepare()


@given(st.integers(0, 2**32 - 1))
def test_a_merge_of_parts_is_the_whole(seed: int) -> None:
    """Any split of a table into feeds gives the same bars, in bounded parts."""
    rng = np.random.default_rng(seed)
    frame = bars(minutes(60), assets=("A", "B", "C", "D"), p=rng.random(240).tolist())
    frame = frame.filter(pl.Series(rng.random(240) < 0.8))
    part = rng.integers(0, 3, frame.height)
    feeds = [ParquetDataFeed(frame.filter(pl.Series(part == i))) for i in range(3)]
    small = merge._LEAST_ROWS
    merge._LEAST_ROWS = 5
    try:
        clock = Clock(*feeds)
        clock.prepare()
        lanes = [merge.Lane(r, clock.universe, clock.axis) for r in clock._readers]
        blocks = list(merge.merge(lanes, clock.universe, 1))
    finally:
        merge._LEAST_ROWS = small
    assert max(len(b.codes) for b in blocks) <= 3 * 8
    times = np.concatenate([b.times for b in blocks])
    assert (np.diff(times) > 0).all()
    assert events(clock.chunks()) == events(Clock(frame).chunks())


def test_signals_that_one_feed_lacks_are_absent_there() -> None:
    """Numbers and text; `_meta` too."""
    clock = Clock(
        bars(assets=("A",), p=[0.1, 0.2, 0.3], tag=["x", None, "y"], _meta=['{"v": 1}'] * 3),
        bars(assets=("B",), q=[1.0, 2.0, 3.0]),
    )
    found = events(clock.chunks())
    assert found[0].signals == {"p": 0.1, "tag": "x", "_meta": {"v": 1}}
    assert found[1].signals == {"q": 1.0}
    assert clock.signal_names == ["p", "tag", "q"]
    mixed = Clock(bars(assets=("A",), p=[0.1] * 3), bars(assets=("B",), p=["x"] * 3))
    with pytest.raises(DataError, match="signal 'p' holds no numbers, and the opposite"):
        mixed.prepare()


def test_one_bar_in_two_feeds_is_refused() -> None:
    """Both feeds are named."""
    with pytest.raises(
        DataError, match=r"feed 1 \(data\) and feed 2 \(data\) both have a bar of 'A'"
    ):
        list(Clock(bars(assets=("A", "B")), bars(assets=("A", "C"))).chunks())


def test_naive_and_zoned_feeds_are_refused() -> None:
    """Both sources are named."""
    zoned = bars(minutes(3), assets=("B",)).with_columns(
        pl.col("timestamp").dt.replace_time_zone("UTC")
    )
    with pytest.raises(DataError, match=r"feed 1 \(data\) is naive, feed 2 \(data\) is in UTC"):
        Clock(bars(minutes(3), assets=("A",)), zoned).prepare()


def test_a_feed_of_events_and_a_table_are_merged() -> None:
    """As both become known; the assets of the feed's first time are known before the run."""
    made = [
        MarketEvent(t, a, 10.0, 11.0, 9.0, 10.0, 1.0, {"p": 0.5})
        for t in minutes(4)
        for a in ("B", "Z")
    ]
    clock = Clock(bars(minutes(5), assets=("A", "C"), q=[1.0] * 10), ListFeed(made))
    found = events(clock.chunks())
    assert [(e.timestamp, e.asset_id) for e in found] == [
        (t, a) for t in minutes(4) for a in "ABCZ"
    ] + [(minutes(5)[4], a) for a in "AC"]
    assert found[1].signals == {"p": 0.5}
    assert clock.is_growing
    assert clock.is_streaming
    assert clock.universe.ids == ["A", "B", "C", "Z"]


# -- frequencies -------------------------------------------------------------------------------


def test_feeds_of_different_frequency_must_say_how_long_their_bars_are() -> None:
    """Both are named, with what they look like."""
    fast = bars(minutes(500), assets=("F",))
    slow = bars([dt.datetime(2024, 1, 2 + i, 16) for i in range(4)], assets=("S",))
    with pytest.raises(DataError) as caught:
        Clock(fast, slow).prepare()
    text = str(caught.value)
    assert "feed 1 (data) has a bar every 1m, feed 2 (data) one every 1d" in text
    assert "bar_duration=" in text
    declared = Clock(
        ParquetDataFeed(fast, bar_duration="1m"), ParquetDataFeed(slow, bar_duration="390m")
    )
    found = begins(declared)
    assert found[dt.datetime(2024, 1, 2, 16), "S"] == dt.datetime(2024, 1, 2, 9, 30)
    assert found[minutes(500)[7], "F"] == minutes(500)[6]


def test_feeds_of_one_frequency_need_not() -> None:
    """A bar began where the last bar of its asset ended, at the earliest."""
    clock = Clock(bars(minutes(3), assets=("A",)), bars(minutes(3), assets=("B",)))
    found = begins(clock)
    assert found[minutes(3)[1], "A"] == MORNING
    assert found[MORNING, "B"] == MORNING - dt.timedelta(minutes=1)


def test_a_run_is_told_when_bars_began_only_where_it_matters() -> None:
    """Where each bar began after the timestamp before it there is nothing to tell."""
    aligned = Clock(bars(minutes(9), assets=("A",)), bars(minutes(9), assets=("B",)))
    assert [chunk.begins for chunk in aligned.chunks()] == [None]
    later = minutes(9, MORNING + dt.timedelta(seconds=30))
    shifted = Clock(bars(minutes(9), assets=("A",)), bars(later, assets=("B",)))
    assert all(chunk.begins is not None for chunk in shifted.chunks())
    declared = ParquetDataFeed(bars(minutes(9, step=5)), bar_duration="5m")
    assert [chunk.begins for chunk in Clock(declared).chunks()] == [None]
    overlapping = ParquetDataFeed(bars(minutes(9, step=5)), bar_duration="6m")
    assert [chunk.begins for chunk in Clock(overlapping).chunks()] == [None]


def test_a_short_day_is_not_taken_for_an_early_start() -> None:
    """The clocks go forward: a day of 23 hours begins where the last one ended."""
    closes = [dt.datetime(2024, 3, d, 16, tzinfo=NEW_YORK) for d in (8, 9, 10, 11)]
    clock = Clock(bars(closes, assets=("A",)), bars(closes, assets=("B",)))
    found = begins(clock)
    assert found[closes[2], "A"] == closes[1]


def test_assets_with_bars_at_different_hours_of_one_table() -> None:
    """A daily bar that ends at 21:00 began before one that ended at midnight."""
    midnight = [dt.datetime(2024, 1, 1 + i, 0, 0) for i in range(12)]
    evening = [t + dt.timedelta(hours=21) for t in midnight]
    frame = pl.concat([bars(midnight, assets=("COIN",)), bars(evening, assets=("STOCK",))])
    found = begins(Clock(frame))
    assert found[evening[3], "STOCK"] == evening[2]
    assert found[midnight[3], "COIN"] == midnight[2]


def test_labels_among_moments_are_known_at_the_end_of_their_session() -> None:
    """By the calendar, or at the end of the day; they began at its start."""
    times = [
        dt.datetime(2024, 1, 2, 9, 31, tzinfo=NEW_YORK) + dt.timedelta(minutes=i) for i in range(3)
    ]
    fast = ParquetDataFeed(bars(times, assets=("F",)), bar_duration="1m")
    slow = ParquetDataFeed(bars(DAYS, assets=("S",)), bar_duration="1d")
    found = begins(Clock(fast, slow))
    label = (dt.datetime(2024, 1, 3, tzinfo=NEW_YORK), "S")
    assert found[label] == dt.datetime(2024, 1, 2, tzinfo=NEW_YORK)
    found = begins(Clock(fast, slow, calendar="XNYS"))
    closed = dt.datetime(2024, 1, 2, 16, tzinfo=NEW_YORK)
    assert found[closed, "S"] == dt.datetime(2024, 1, 2, 9, 30, tzinfo=NEW_YORK)
    weekly = ParquetDataFeed(bars([dt.date(2024, 1, 5)], assets=("W",)), bar_duration="7d")
    found = begins(Clock(fast, weekly))
    assert found[dt.datetime(2024, 1, 6, tzinfo=NEW_YORK), "W"] == dt.datetime(
        2023, 12, 30, tzinfo=NEW_YORK
    )


def test_labels_of_different_make_are_compared_as_dates() -> None:
    """Dates and midnights in a zone are labels of the same sessions."""
    zoned = [dt.datetime(d.year, d.month, d.day, tzinfo=NEW_YORK) for d in DAYS]
    clock = Clock(bars(DAYS, assets=("A",)), bars(zoned, assets=("B",)))
    assert keys(clock.chunks()) == [(t, a) for t in zoned for a in "AB"]


# -- signals and context -----------------------------------------------------------------------


def test_predictions_are_joined_as_of() -> None:
    """As SignalFrame says; columns of the prices stand beside them."""
    predictions = pl.DataFrame(
        {"timestamp": DAYS[:2], "asset_id": ["AAPL", "MSFT"], "ml_pred": [0.7, 0.8]}
    )
    clock = Clock(bars(own=[1.0] * 6), signals=predictions)
    assert [e.signals.get("ml_pred") for e in events(clock.chunks())] == [
        0.7, None, None, 0.8, None, 0.8,
    ]  # fmt: skip
    assert clock.signal_names == ["own", "ml_pred"]
    coverage = clock.signal_coverage()
    assert coverage.select("signal", "bars", "bars_with_value").rows() == [
        ("own", 6, 6),
        ("ml_pred", 6, 3),
    ]


def test_signal_columns_are_looked_for_in_prices_and_predictions() -> None:
    """A name that nobody has is refused with the nearest one."""
    predictions = pl.DataFrame({"timestamp": DAYS, "asset_id": ["AAPL"] * 3, "ml_pred": [0.7] * 3})
    prices = bars(own=[1.0] * 6, other=[2.0] * 6)
    clock = Clock(prices, signals=predictions, signal_columns=["own", "ml_pred"])
    clock.prepare()
    assert clock.signal_names == ["own", "ml_pred"]
    with pytest.raises(DataError, match=r"signal_columns='othr': .* Did you mean 'other'"):
        Clock(prices, signal_columns=["othr"]).prepare()
    with pytest.raises(DataError, match="both the price data and signals"):
        Clock(bars(ml_pred=[1.0] * 6), signals=predictions).prepare()
    with pytest.raises(ConfigError, match="about predictions passed as signals="):
        Clock(prices, signal_delay="1h").prepare()


def test_signals_that_match_nothing_are_refused() -> None:
    """A join that went wrong is no strategy that abstains."""
    predictions = pl.DataFrame({"timestamp": DAYS, "asset_id": ["aapl"] * 3, "ml_pred": [0.7] * 3})
    with pytest.raises(DataError, match="no asset in common"):
        Clock(bars(), signals=predictions).prepare()
    joined = bars().join(
        predictions, on=["timestamp", "asset_id"], how="left", maintain_order="left"
    )
    with pytest.raises(DataError, match="No bar of the run has a value of 'ml_pred'"):
        list(Clock(joined).chunks())


def test_context_is_looked_up_once_per_timestamp() -> None:
    """From series of its own and from columns; absent values are carried from before."""
    frame = bars(VIX=[20.0, 20.0, None, None, 22.0, None])
    series = Context({"SPY_trend": {DAYS[1]: "up"}})
    clock = Clock(frame, context=series, context_pattern="VIX")
    found = [c.context_at(i) for c in clock.chunks() for i in range(len(c)) if c.context_at]
    assert found == [
        {"VIX": 20.0},
        {"VIX": 20.0, "SPY_trend": "up"},
        {"VIX": 22.0, "SPY_trend": "up"},
    ]
    (late,) = Clock(frame, context_pattern="VIX", start="2024-01-03").chunks()
    assert late.context_at is not None
    assert [late.context_at(i) for i in range(2)] == [{"VIX": 20.0}, {"VIX": 22.0}]
    (plain,) = Clock(frame, context={"SPY_trend": {DAYS[1]: "up"}}).chunks()
    assert "VIX" in plain.signals
    with pytest.raises(DataError, match="'VIX' comes from both context= and a column"):
        Clock(frame, context={"VIX": {DAYS[0]: 1.0}}, context_pattern="VIX").prepare()


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    """The columns are listed; only whole names match."""
    with pytest.raises(DataError, match=r"context_pattern='VI' matches no column .* VIX"):
        Clock(bars(VIX=[1.0] * 6), context_pattern="VI").prepare()


def test_a_lone_name_in_signal_columns_is_a_name() -> None:
    """A text is not a list of letters."""
    clock = Clock(bars(p=[1.0] * 6, q=[2.0] * 6), signal_columns="p")
    clock.prepare()
    assert clock.signal_names == ["p"]


def test_context_of_feeds_that_overlap_must_agree() -> None:
    """One value at one time, whichever feed brings it."""
    one, other = bars(assets=("A",), VIX=[1.0, None, 3.0]), bars(assets=("B",), VIX=[1.0, 2.0, 3.0])
    clock = Clock(one, other, context_pattern="VIX")
    (chunk,) = clock.chunks()
    assert chunk.context_at is not None
    assert [chunk.context_at(i)["VIX"] for i in range(3)] == [1.0, 2.0, 3.0]
    wrong = bars(assets=("B",), VIX=[1.0, 2.0, 4.0])
    with pytest.raises(DataError, match=re.escape("it is 3.0 in an earlier feed and 4.0 in this")):
        list(Clock(one, wrong, context_pattern="VIX").chunks())


# -- streaming ---------------------------------------------------------------------------------


def test_a_streamed_run_is_the_run_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk, and merged with another feed."""
    frame = bars(minutes(300), assets=("A", "B", "C"), p=np.linspace(0, 1, 900).tolist())
    other = bars(minutes(300), assets=("D",))
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    expected = events(Clock(frame, other).chunks())
    monkeypatch.setattr("ml4t.backtest.data.stream._WHOLE_CELLS", 0)
    monkeypatch.setattr("ml4t.backtest.clock.CHUNK_ROWS", 64)
    monkeypatch.setattr(merge, "_LEAST_ROWS", 16)
    clock = Clock(tmp_path / "a.parquet", other)
    assert events(clock.chunks()) == expected
    assert clock.is_streaming
    assert block.CHUNK_ROWS == 131_072
    alone = Clock(tmp_path / "a.parquet", start=minutes(300)[100], end=minutes(300)[102])
    assert len(events(alone.chunks())) == 9


def test_bars_are_views_of_chunks() -> None:
    """What a strategy sees of one timestamp."""
    (chunk,) = Clock(bars(p=[0.1, 0.9, 0.2, 0.8, 0.3, 0.7])).chunks()
    now = chunk.bars(1)
    assert now.top("p", 1) == ["MSFT"]
    assert now.top("p", 10**30) == now.top("p", 2), "no more than there are"
    assert now.close.base is not None
    assert not now.close.flags.writeable
