"""Feeds over tables in memory."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data.feed import Request
from ml4t.backtest.data.frames import CSVDataFeed, FrameFeed, ParquetDataFeed, as_feed
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.bars import MarketEvent
from tests.data.conftest import DAYS, bars

if TYPE_CHECKING:
    from ml4t.backtest.data.feed import DataFeed

MIDNIGHTS = [dt.datetime(d.year, d.month, d.day) for d in DAYS]


def walk(feed: DataFeed) -> list[MarketEvent]:
    """All events of a feed, by hand."""
    events = []
    while not feed.is_exhausted():
        event = feed.get_next_event()
        if event is None:
            break
        events.append(event)
    return events


def test_events_come_by_time_and_then_asset(frame: pl.DataFrame) -> None:
    """Each row is one event; null and NaN signals are absent."""
    events = walk(as_feed(frame))
    assert [(e.timestamp, e.asset_id) for e in events] == [
        (t, a) for t in MIDNIGHTS for a in ("AAPL", "MSFT")
    ]
    assert events[0] == MarketEvent(
        MIDNIGHTS[0], "AAPL", 99.5, 101.0, 99.0, 100.0, 1000.0, {"ml_pred": 0.1, "up": True}
    )
    assert [e.signals for e in events[1:]] == [
        {"ml_pred": 0.2},
        {"ml_pred": 0.3, "up": False},
        {"up": True},
        {},
        {"ml_pred": 0.6, "up": False},
    ]


def test_is_exhausted_after_the_last_event(frame: pl.DataFrame) -> None:
    """The end is known before asking, and stays."""
    feed = ParquetDataFeed(frame)
    assert not feed.is_exhausted()
    for _ in range(6):
        assert not feed.is_exhausted()
        feed.get_next_event()
    assert feed.is_exhausted()
    assert feed.get_next_event() is None


def test_walking_by_hand_does_not_disturb_a_reader(frame: pl.DataFrame) -> None:
    """A reader starts at the start, however far the feed was walked; and so does the next."""
    feed = ParquetDataFeed(frame)
    feed.get_next_event()
    reader = feed.open_reader(Request())
    for _ in range(2):
        assert sum(len(block.codes) for block in reader.blocks(2)) == 6
    assert feed.get_next_event() == walk(as_feed(frame))[1]


@given(st.permutations(range(6)))
def test_the_order_of_rows_changes_nothing(order: list[int]) -> None:
    """Rows are sorted at the door."""
    frame = bars(ml_pred=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], tag=list("abcdef"))
    assert walk(as_feed(frame[order])) == walk(as_feed(frame))


def test_one_table_in_many_forms_is_one_table(frame: pl.DataFrame) -> None:
    """Polars, lazy, pandas and Arrow tables give the same events."""
    expected = walk(as_feed(frame))
    columns = {name: frame[name].to_list() for name in frame.columns}
    pandas = pd.DataFrame(columns)
    pandas["timestamp"] = pd.to_datetime(pandas["timestamp"])
    indexed = pandas.set_index(["timestamp", "asset_id"])
    forms: list[Any] = [frame.lazy(), pandas, indexed, frame.to_arrow(), pa.table(frame)]
    for form in forms:
        assert walk(as_feed(form)) == expected


def test_a_pandas_index_of_times_is_the_timestamp() -> None:
    """As it comes from most sources of prices: dated index, capitalised columns."""
    index = pd.DatetimeIndex(MIDNIGHTS, tz="America/New_York")
    columns = {n: [10.0, 11.0, 12.0] for n in ("Open", "High", "Low", "Close", "Volume")}
    events = walk(ParquetDataFeed(pd.DataFrame(columns, index=index), asset_id="AAPL"))
    assert [e.timestamp for e in events] == [t.to_pydatetime() for t in index]
    assert {e.asset_id for e in events} == {"AAPL"}
    assert str(events[0].timestamp.tzinfo) == "America/New_York"


@pytest.mark.parametrize(
    "assets",
    [
        pl.Series(["b", "a", "b", "a", "b", "a"]),
        pl.Series(["b", "a", "b", "a", "b", "a"], dtype=pl.Categorical),
        pl.Series(["b", "a", "b", "a", "b", "a"], dtype=pl.Enum(["z", "b", "a"])),
    ],
)
def test_assets_may_be_text_or_categories(assets: pl.Series) -> None:
    """Order is that of the names, not of the categories."""
    frame = bars().with_columns(assets.alias("asset_id"))
    assert [e.asset_id for e in walk(as_feed(frame))] == ["a", "b"] * 3


def test_assets_may_be_whole_numbers() -> None:
    """A number becomes its text."""
    frame = bars().with_columns(pl.Series("asset_id", [2, 10] * 3))
    assert [e.asset_id for e in walk(as_feed(frame))] == ["10", "2"] * 3


def test_prices_may_be_any_numbers_and_volume_is_optional() -> None:
    """Whole and short numbers are taken as they are; volume is NaN where there is none."""
    prices = ("open", "high", "low", "close")
    frame = bars().with_columns(pl.lit(7).cast(pl.Int32).alias(n) for n in prices)
    event = as_feed(frame.drop("volume")).get_next_event()
    assert event is not None
    assert (event.open, event.close) == (7.0, 7.0)
    assert np.isnan(event.volume)
    some = as_feed(bars(volume=[None, 1.0] * 3)).get_next_event()
    assert some is not None
    assert np.isnan(some.volume)


def test_close_only_data_is_taken_when_asked_for() -> None:
    """Every bar opens, trades and closes at the one price."""
    frame = bars().select("timestamp", "asset_id", "close")
    with pytest.raises(DataError, match="price_column='close'"):
        walk(ParquetDataFeed(frame))
    event = ParquetDataFeed(frame, price_column="close").get_next_event()
    assert event is not None
    assert (event.open, event.high, event.low, event.close) == (100.0,) * 4


def test_signal_columns_and_signals_are_one_option(frame: pl.DataFrame) -> None:
    """Only what is listed is a signal; naming the option twice is refused."""
    for feed in (
        ParquetDataFeed(frame, signal_columns=["ml_pred"]),
        ParquetDataFeed(frame, signals=["ml_pred"]),
        ParquetDataFeed(frame, signals="ml_pred"),
    ):
        assert walk(feed)[0].signals == {"ml_pred": 0.1}
    assert walk(ParquetDataFeed(frame, signal_columns=[]))[0].signals == {}
    with pytest.raises(ConfigError, match="pass one of them"):
        ParquetDataFeed(frame, signals=["up"], signal_columns=["up"])
    with pytest.raises(DataError, match="Did you mean 'ml_pred'"):
        walk(ParquetDataFeed(frame, signals=["ml_prd"]))


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([{"model_version": "v2", "n": None}, None] * 3),
        pl.Series(['{"model_version": "v2"}', None] * 3),
        pl.Series([{"model_version": "v2"}, None] * 3, dtype=pl.Object),
    ],
)
def test_meta_is_a_dict_per_row(column: pl.Series) -> None:
    """A struct, JSON text or a dict; absent entries are left out."""
    events = walk(as_feed(bars(ml_pred=[1.0] * 6).with_columns(column.alias("_meta"))))
    assert events[0].signals == {"ml_pred": 1.0, "_meta": {"model_version": "v2"}}
    assert events[1].signals == {"ml_pred": 1.0}


@pytest.mark.parametrize("value", ["no json", "[1]", "7"])
def test_meta_that_is_no_dict_is_refused(value: str) -> None:
    """Before the run."""
    frame = bars().with_columns(pl.Series("_meta", [None, value, None] * 2))
    with pytest.raises(DataError, match=re.escape(f"'_meta' holds {value!r}, which is no dict")):
        as_feed(frame).open_reader(Request())


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("label", ["close", "open"])
def test_a_label_of_a_session_is_no_short_bar(zone: str | None, label: str) -> None:
    """Midnights would be known before their day; the remedy is named as it is for dates."""
    frame = bars(MIDNIGHTS).with_columns(pl.col("timestamp").dt.replace_time_zone(zone))
    for times in (frame, bars()):
        with pytest.raises(
            ConfigError, match=r"bar_duration is 6h30m|shorter than a day"
        ) as caught:
            walk(ParquetDataFeed(times, bar_duration="6h30m", bar_label=label))
        assert "bar_duration='1d'" in str(caught.value)
    feed = ParquetDataFeed(frame, bar_duration="1d", bar_label=label)
    assert feed.open_reader(Request()).survey.axis.is_session


@pytest.mark.parametrize(
    ("column", "other", "role"),
    [
        ("close", "Close", "close"),
        ("volume", "VOLUME", "volume"),
        ("asset_id", "symbol", "asset_id"),
        ("asset_id", "Asset", "asset_id"),
        ("timestamp", "Date", "timestamp"),
    ],
)
def test_a_second_spelling_must_hold_the_same(column: str, other: str, role: str) -> None:
    """Else it is ambiguous; it is no signal either way, and naming one settles it."""
    same = bars().with_columns(pl.col(column).alias(other))
    assert as_feed(same).open_reader(Request()).survey.signals == {}
    moved = pl.col(column).reverse() if role != "asset_id" else pl.lit("X")
    frame = same.with_columns(moved.alias(other))
    for table in (frame, frame.lazy()):
        with pytest.raises(DataError, match=f"'{column}' and '{other}' could each be") as caught:
            as_feed(table).open_reader(Request())
        assert f"columns={{{role!r}: {column!r}}}" in str(caught.value)
    walk(ParquetDataFeed(frame, columns={role: column}))


def test_a_day_or_a_ticker_beside_the_key_is_no_second_key() -> None:
    """The day of trading beside moments, the time of day, and what an asset traded as."""
    minutes = bars([dt.datetime(2024, 1, 2, 23, 59), dt.datetime(2024, 1, 3, 0, 1)])
    frame = minutes.with_columns(
        date=dt.date(2024, 1, 3), time=pl.col("timestamp").dt.time(), ticker=pl.lit("T")
    )
    assert as_feed(frame).open_reader(Request()).survey.signals == {}


def test_what_cannot_be_a_signal_is_noted() -> None:
    """The source says which columns were left out for their type, and whether prices are one."""
    frame = bars().with_columns(
        listed=dt.date(2020, 1, 1), wait=dt.timedelta(1), vector=pl.lit([1.0, 2.0]), empty=None
    )
    source = as_feed(frame).open_reader(Request()).survey.source
    assert source["columns_left_out"] == {
        "listed": "Date",
        "wait": "Duration(time_unit='us')",
        "vector": "List(Float64)",
        "empty": "Null",
    }
    assert source["price_column"] is None
    closes = ParquetDataFeed(frame, price_column="close", signals=[])
    source = closes.open_reader(Request()).survey.source
    assert source["price_column"] == "close"
    assert source["columns_left_out"] == {}


def test_a_repeated_row_is_answered_with_the_users_names() -> None:
    """So that the remedy can be pasted, and it works."""
    frame = bars().rename({"timestamp": "Date", "asset_id": "Symbol"})
    twice = pl.concat([frame, frame])
    remedy = "unique(['Date', 'Symbol'], keep='last', maintain_order=True)"
    with pytest.raises(DataError, match=re.escape(remedy)):
        walk(as_feed(twice))
    assert len(walk(as_feed(eval(f"twice.{remedy}")))) == 6  # noqa: S307  our own text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1,234.5", "2,345.0"], "Commas group the digits"),
        (["1,234,567", "2,345"], "Commas group the digits"),
        (["1.234,50", "12,5"], "str.replace_all('.', '', literal=True).str.replace(',', '.')"),
        (["100,025", "100,0256"], "The comma is the decimal mark"),
        (["0,125", "0,250"], "The comma is the decimal mark"),
        (["1,234", "2,345"], "If the comma groups digits"),
        (["1.5", "2.5"], "Convert the column first, for example with pl.col('score').cast("),
        (["0.5", "low"], None),
        (["10", "20"], None),
        (["a1.5", "b2,5"], None),
    ],
)
def test_numbers_written_as_text_are_no_signal_of_text(
    values: list[str], words: str | None
) -> None:
    """The remedy depends on how they are written; words and codes of digits pass."""
    frame = bars().with_columns(score=pl.Series(values * 3))
    if words is None:
        assert as_feed(frame).open_reader(Request()).survey.signals == {"score": False}
        return
    with pytest.raises(DataError, match=re.escape(words)):
        as_feed(frame).open_reader(Request())


def test_a_table_without_assets_needs_a_name() -> None:
    """One asset is named by the feed; several cannot be told apart."""
    lone = bars(assets=("AAPL",)).drop("asset_id")
    with pytest.raises(DataError, match=re.escape("asset_id= on the feed or feeds={'AAPL'")):
        walk(as_feed(lone))
    assert {e.asset_id for e in walk(ParquetDataFeed(lone, asset_id="AAPL"))} == {"AAPL"}
    with pytest.raises(DataError, match="no column of assets, so all rows are taken as one"):
        walk(ParquetDataFeed(bars().drop("asset_id"), asset_id="AAPL"))


def test_a_feed_for_one_asset_refuses_another() -> None:
    """`asset_id` is a promise about every row."""
    with pytest.raises(DataError, match=r"the feed is for 'AAPL', but .* holds 'MSFT'"):
        walk(ParquetDataFeed(bars(), asset_id="AAPL"))


def test_bars_labelled_at_their_start_are_moved_once() -> None:
    """A bar is known when it is complete."""
    times = [dt.datetime(2024, 1, 2, 9, 30), dt.datetime(2024, 1, 2, 9, 31)]
    feed = ParquetDataFeed(bars(times), bar_label="open", bar_duration="1m")
    assert [e.timestamp.minute for e in walk(feed)] == [31, 31, 32, 32]
    with pytest.raises(ConfigError, match="needs bar_duration="):
        ParquetDataFeed(bars(), bar_label="open")
    with pytest.raises(ConfigError, match="'open' or 'close'"):
        ParquetDataFeed(bars(), bar_label="left")
    with pytest.raises(ConfigError, match="a bar takes time"):
        ParquetDataFeed(bars(), bar_duration="0m")


def test_labels_of_sessions_stand_for_their_close() -> None:
    """A daily label stays; the label of a longer bar moves to its last day."""
    daily = ParquetDataFeed(bars(), bar_label="open", bar_duration="1d")
    assert walk(daily)[0].timestamp == MIDNIGHTS[0]
    weekly = ParquetDataFeed(
        bars([dt.date(2024, 1, 1), dt.date(2024, 1, 8)]), bar_label="open", bar_duration="7d"
    )
    assert walk(weekly)[0].timestamp == dt.datetime(2024, 1, 7)
    with pytest.raises(ConfigError, match="whole days"):
        walk(ParquetDataFeed(bars(), bar_label="open", bar_duration="36h"))


def test_an_empty_table_is_refused() -> None:
    """No rows, no run."""
    for table in (bars()[:0], bars()[:0].lazy()):
        with pytest.raises(DataError, match="there are no rows"):
            walk(as_feed(table))


def test_what_is_no_table_is_refused() -> None:
    """The text lists what is taken."""
    with pytest.raises(DataError, match="Pass a Polars or pandas frame, an Arrow table"):
        walk(as_feed([1, 2, 3]))
    with pytest.raises(ConfigError, match="CSVDataFeed takes a path"):
        CSVDataFeed(bars())  # type: ignore[arg-type]


def test_a_feed_is_itself(frame: pl.DataFrame) -> None:
    """`as_feed` leaves feeds alone."""
    feed = FrameFeed(frame)
    assert as_feed(feed) is feed
    assert repr(feed) == "FrameFeed(data)"


def test_the_source_is_described_by_content_and_json(frame: pl.DataFrame) -> None:
    """Equal content, equal description, whatever the order of rows."""
    one, other, changed = (
        as_feed(table).open_reader(Request()).survey.source
        for table in (frame, frame.reverse(), frame.with_columns(pl.col("close") + 0.25))
    )
    assert json.loads(json.dumps(one)) == other
    assert one["content"] != changed["content"]
