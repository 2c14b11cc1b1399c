"""Feeds over files, small and large."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from ml4t.backtest.clock import Clock
from ml4t.backtest.data import sorting, stream
from ml4t.backtest.data.feed import Request
from ml4t.backtest.data.files import list_files
from ml4t.backtest.data.frames import (
    CSVDataFeed,
    FrameFeed,
    ParquetDataFeed,
    TableReader,
    as_feed,
)
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.bars import Chunk, MarketEvent
from tests.data.conftest import DAYS, bars

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MINUTES = [dt.datetime(2024, 1, 2, 9, 30) + dt.timedelta(minutes=i) for i in range(200)]


def walk(feed: FrameFeed) -> list[MarketEvent]:
    """All events of a feed."""
    events = []
    while (event := feed.get_next_event()) is not None:
        events.append(event)
    return events


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is large."""
    monkeypatch.setattr(stream, "_WHOLE_CELLS", 0)
    monkeypatch.setattr(stream, "CHUNK_ROWS", 64)
    monkeypatch.setattr(sorting, "CHUNK_ROWS", 64)
    monkeypatch.setattr(sorting, "_LEAST_WINDOW", 64)
    monkeypatch.setattr(sorting, "_STRETCH_ROWS", 64)
    stream._SCANS.clear()


@pytest.fixture
def frame() -> pl.DataFrame:
    """200 minutes of two assets, with a prediction, a text and a context column."""
    n = 400
    return bars(
        MINUTES,
        ml_pred=[None if i % 7 == 0 else i / n for i in range(n)],
        tag=["x" if i % 3 else None for i in range(n)],
        VIX=[float(i // 2) for i in range(n)],
    )


def test_a_parquet_file_gives_the_same_events_as_its_table(
    tmp_path: Path, frame: pl.DataFrame
) -> None:
    """Path as text or Path, through the feed or as_feed."""
    path = tmp_path / "prices.parquet"
    frame.write_parquet(path)
    expected = walk(FrameFeed(frame))
    for feed in (ParquetDataFeed(path), ParquetDataFeed(str(path)), as_feed(path)):
        assert isinstance(feed, FrameFeed)
        assert walk(feed) == expected


def test_a_csv_file_gives_the_same_events(tmp_path: Path, frame: pl.DataFrame) -> None:
    """ISO times are read; the separator may be another."""
    expected = walk(FrameFeed(frame))
    frame.write_csv(tmp_path / "prices.csv")
    frame.write_csv(tmp_path / "prices.tsv", separator="\t")
    frame.write_csv(tmp_path / "odd.txt", separator=";")
    assert walk(CSVDataFeed(tmp_path / "prices.csv")) == expected
    assert walk(CSVDataFeed(tmp_path / "prices.tsv")) == expected
    assert walk(CSVDataFeed(tmp_path / "odd.txt", separator=";")) == expected


def test_a_file_without_assets_is_named_by_its_stem(tmp_path: Path) -> None:
    """Unless asset_id= says otherwise."""
    lone = bars(assets=("X",)).drop("asset_id")
    lone.write_parquet(tmp_path / "AAPL.parquet")
    lone.write_csv(tmp_path / "MSFT.csv")
    assert {e.asset_id for e in walk(ParquetDataFeed(tmp_path / "AAPL.parquet"))} == {"AAPL"}
    assert {e.asset_id for e in walk(CSVDataFeed(tmp_path / "MSFT.csv"))} == {"MSFT"}
    named = ParquetDataFeed(tmp_path / "AAPL.parquet", asset_id="AAPL.US")
    assert {e.asset_id for e in walk(named)} == {"AAPL.US"}


@pytest.mark.parametrize("what", ["", "*.parquet", "**/*.parquet"])
def test_a_folder_of_files_without_assets_is_one_asset_each(tmp_path: Path, what: str) -> None:
    """Folder or pattern, sorted by time across files."""
    for name, scale in (("MSFT", 2.0), ("AAPL", 1.0)):
        prices = pl.col("open", "high", "low", "close") * scale
        bars(assets=("X",)).drop("asset_id").with_columns(prices).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    events = walk(ParquetDataFeed(tmp_path / what if what else tmp_path))
    assert [(e.timestamp.day, e.asset_id, e.close) for e in events] == [
        (d.day, a, (100.0 + i) * s)
        for i, d in enumerate(DAYS)
        for a, s in (("AAPL", 1.0), ("MSFT", 2.0))
    ]


def test_a_folder_of_parts_is_one_table(tmp_path: Path, frame: pl.DataFrame) -> None:
    """Files by period, one of them without a column, numbers of different types."""
    frame[:200].with_columns(pl.col("volume").cast(pl.Int64)).write_parquet(tmp_path / "a.parquet")
    frame[200:].drop("tag").write_parquet(tmp_path / "b.parquet")
    expected = walk(FrameFeed(frame.with_columns(tag=pl.when(pl.int_range(400) < 200).then("tag"))))
    assert walk(ParquetDataFeed(tmp_path)) == expected


def test_folders_may_be_named_by_asset(tmp_path: Path) -> None:
    """As partitioned tables are written: asset=AAPL/0.parquet."""
    for name in ("AAPL", "MSFT"):
        folder = tmp_path / f"asset={name}"
        folder.mkdir()
        bars(assets=("X",)).drop("asset_id").write_parquet(folder / "0.parquet")
    for path in (tmp_path, tmp_path / "**" / "*.parquet"):
        assert [e.asset_id for e in walk(ParquetDataFeed(path))] == ["AAPL", "MSFT"] * 3


def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    """A file that exists is that file."""
    bars().write_parquet(tmp_path / "a[1].parquet")
    assert len(walk(ParquetDataFeed(tmp_path / "a[1].parquet"))) == 6
    bars(DAYS[:1], assets=("Z",)).write_csv(tmp_path / "b[1].csv")
    assert len(walk(CSVDataFeed(tmp_path / "b[1].csv"))) == 1


def test_files_that_disagree_are_refused_by_name(tmp_path: Path) -> None:
    """Zones and types are the same in all files of a table."""
    utc = pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    naive = pl.col("timestamp").cast(pl.Datetime("us"))
    bars().with_columns(naive).write_parquet(tmp_path / "a.parquet")
    bars().with_columns(utc).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"naive in a.parquet and in zone UTC in b.parquet"):
        walk(ParquetDataFeed(tmp_path))
    bars().with_columns(naive, pl.col("close").cast(pl.String)).write_parquet(
        tmp_path / "b.parquet"
    )
    with pytest.raises(DataError, match=r"'close' has type Float64 in a.parquet and String in b"):
        walk(ParquetDataFeed(tmp_path))


def test_files_that_differ_a_little_are_one_table(tmp_path: Path) -> None:
    """Units of time, kinds of text, numbers, and columns without any value."""
    utc = pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
    one = bars(MINUTES[:2], p=[1.0] * 4).with_columns(
        utc, pl.col("asset_id").cast(pl.Categorical), p=pl.lit(None), q=pl.lit(1.5)
    )
    two = bars(MINUTES[2:4], p=[2.0] * 4).with_columns(
        utc.cast(pl.Datetime("ms", "UTC")), q=pl.lit(None)
    )
    one.write_parquet(tmp_path / "a.parquet")
    two.write_parquet(tmp_path / "b.parquet")
    signals = [e.signals for e in walk(ParquetDataFeed(tmp_path))]
    assert signals == [{"q": 1.5}] * 4 + [{"p": 2.0}] * 4


def test_paths_that_lead_nowhere_are_refused_at_once(tmp_path: Path) -> None:
    """With the nearest name."""
    bars().write_parquet(tmp_path / "aapl.parquet")
    with pytest.raises(DataError, match=r"Did you mean 'aapl.parquet'"):
        ParquetDataFeed(tmp_path / "appl.parquet")
    with pytest.raises(DataError, match="no folder"):
        ParquetDataFeed(tmp_path / "nowhere" / "a.parquet")
    with pytest.raises(DataError, match="no Parquet or CSV file in"):
        ParquetDataFeed(tmp_path / "*.csv")
    (tmp_path / "data.bin").write_bytes(b"")
    with pytest.raises(DataError, match="neither Parquet nor CSV by its ending"):
        as_feed(tmp_path / "data.bin")
    (tmp_path / "b.csv").write_text("x\n")
    with pytest.raises(DataError, match=re.escape("Pass a pattern that matches one kind")):
        as_feed(tmp_path)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """The file is named."""
    path = tmp_path / "broken.parquet"
    path.write_bytes(b"this is no parquet file")
    with pytest.raises(DataError, match=r"broken.parquet cannot be read"):
        walk(ParquetDataFeed(path))


def test_an_ending_does_not_matter_to_a_feed_of_one_kind(tmp_path: Path) -> None:
    """ParquetDataFeed reads Parquet, whatever the file is called."""
    bars().write_parquet(tmp_path / "prices.data")
    assert len(walk(ParquetDataFeed(tmp_path / "prices.data"))) == 6


def test_numbers_as_text_in_a_csv_are_refused(tmp_path: Path) -> None:
    """The first value that is no number is shown with its row."""
    path = tmp_path / "a.csv"
    header = "date,symbol,open,high,low,close"
    path.write_text(f"{header}\n2024-01-02,A,1,1,1,1\n2024-01-03,A,1,1,1,soon\n")
    with pytest.raises(DataError, match=r"a.csv: column 'close' holds text.*'soon' in row 1"):
        walk(CSVDataFeed(path))
    path.write_text(f"{header}\n2024-01-02,A,1,1,1,1\n2024-01-03,A,1,1,1,n/a\n")
    with pytest.raises(DataError, match=r"'close' must hold positive, finite prices.*absent"):
        walk(CSVDataFeed(path))


HEADER = "date,symbol,open,high,low,close"


def test_rows_of_text_are_named_as_the_user_wrote_them(tmp_path: Path) -> None:
    """Though the table is sorted before it is used."""
    path = tmp_path / "a.csv"
    path.write_text(f"{HEADER}\n2024-01-03,A,1,1,1,1\n2024-01-02,A,1,1,1,x\n")
    with pytest.raises(DataError, match=r"'x' in row 1 is not a number"):
        walk(CSVDataFeed(path))


def test_a_decimal_comma_is_read_when_asked_for(tmp_path: Path) -> None:
    """Without the option the refusal names it; it never says to drop the comma."""
    path = tmp_path / "a.csv"
    rows = "2024-01-02;A;100,02568;100,5;99,75;100,125\n2024-01-03;A;100,25;101,5;99,5;NA\n"
    path.write_text(f"{HEADER.replace(',', ';')};score\n" + rows.replace("\n", ";0,5\n"))
    with pytest.raises(DataError, match=r"decimal mark.*decimal_comma=True") as caught:
        walk(CSVDataFeed(path, separator=";"))
    assert "replace_all" not in str(caught.value)
    path.write_text(path.read_text().replace("NA", "100,5"))
    events = walk(CSVDataFeed(path, separator=";", decimal_comma=True))
    assert [e.open for e in events] == [100.02568, 100.25]
    assert [e.signals["score"] for e in events] == [0.5, 0.5]
    path.write_text(f"{HEADER}\n" + '2024-01-02,A,"1,5","1,5","1,5","1,5"\n')
    assert walk(CSVDataFeed(path, decimal_comma=True))[0].close == 1.5


def test_a_decimal_comma_goes_with_missing_values(tmp_path: Path) -> None:
    """Both are ways of writing numbers."""
    path = tmp_path / "a.csv"
    path.write_text(
        f"{HEADER.replace(',', ';')};score\n2024-01-02;A;1,5;1,5;1,5;1,5;0,25\n"
        "2024-01-03;A;1,5;1,5;1,5;1,5;NA\n"
    )
    events = walk(CSVDataFeed(path, separator=";", decimal_comma=True))
    assert [e.signals.get("score") for e in events] == [0.25, None]


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "nan", "NaN", "null", "NULL", "None", "#N/A", "<NA>"]
)
def test_words_for_no_value_are_nulls_in_columns_of_numbers(tmp_path: Path, word: str) -> None:
    """As pandas reads them; in text, and as names of assets, they stay."""
    path = tmp_path / "a.csv"
    path.write_text(
        f"{HEADER},volume,score,up,tag\n2024-01-02,NA,1,1,1,1,{word},{word},True,x\n"
        f"2024-01-03,NA,1,1,1,1,5,0.5,{word},{word}\n"
    )
    feed = CSVDataFeed(path)
    kinds = feed.open_reader(Request()).survey.signals
    assert kinds == {"score": True, "up": False, "tag": False}
    first, second = walk(feed)
    assert first.asset_id == "NA"
    assert first.volume != first.volume
    assert first.signals == {"up": True, "tag": "x"}
    assert second.signals == {"score": 0.5, "tag": word}


def test_files_of_a_folder_may_miss_values_in_different_places(tmp_path: Path) -> None:
    """One has numbers only, one has gaps, one has nothing but gaps."""
    for name, score in (("A", "0.5"), ("B", "NA"), ("C", "0.25")):
        (tmp_path / f"{name}.csv").write_text(
            "date,open,high,low,close,score\n2024-01-02,1,1,1,1,0.125\n".replace(
                "0.125", "NA" if name != "A" else "0.125"
            )
            + f"2024-01-03,1,1,1,1,{score}\n"
        )
    scores = [(e.asset_id, e.signals.get("score")) for e in walk(CSVDataFeed(tmp_path))]
    assert scores == [
        *[("A", 0.125), ("B", None), ("C", None)],
        *[("A", 0.5), ("B", None), ("C", 0.25)],
    ]


@pytest.mark.usefixtures("small_limits")
def test_numbers_with_words_among_them_are_no_signal_of_text(tmp_path: Path) -> None:
    """In a file that is read in parts, too."""
    path = tmp_path / "a.parquet"
    scores = ["0.5", "0.25", "oops", None, "1", "2"]
    bars().with_columns(score=pl.Series(scores)).write_parquet(path)
    with pytest.raises(DataError, match=r"'score'.*4 of 5 values are numbers; 'oops' in row 2"):
        walk(ParquetDataFeed(path))


def test_an_index_that_pandas_wrote_is_no_signal(tmp_path: Path) -> None:
    """df.to_csv() counts the rows in a column without a name; what does not count is refused."""
    path = tmp_path / "a.csv"
    rows = [f"2024-01-0{i},A,1,1,1,1,0.5" for i in (2, 3, 4)]
    for name in ("", "Unnamed: 0", "index"):
        lines = [f"{i},{row}" for i, row in enumerate(rows)]
        path.write_text("\n".join([f"{name},{HEADER},score", *lines]))
        assert CSVDataFeed(path).open_reader(Request()).survey.signals == {"score": True}
    lines = [f"{i},{row}" for i, row in zip((0, 2, 5), rows, strict=True)]
    path.write_text("\n".join([f",{HEADER},score", *lines]))
    with pytest.raises(DataError, match=r"column 1 has no name.*index=False"):
        walk(CSVDataFeed(path))
    listed = CSVDataFeed(path, signals=["score"])
    assert walk(listed)[0].signals == {"score": 0.5}
    path.write_text("\n".join([f"index,{HEADER},score", *lines]))
    assert walk(CSVDataFeed(path))[1].signals == {"index": 2, "score": 0.5}


def test_files_of_a_folder_may_each_count_their_rows(tmp_path: Path) -> None:
    """Every file begins at 0."""
    for name in "AB":
        (tmp_path / f"{name}.csv").write_text(
            ",date,open,high,low,close\n0,2024-01-02,1,1,1,1\n1,2024-01-03,1,1,1,1\n"
        )
    assert CSVDataFeed(tmp_path).open_reader(Request()).survey.signals == {}


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_separator_is_named(tmp_path: Path, mark: str) -> None:
    """A header of one field that holds others says which; the remedy works."""
    path = tmp_path / "a.csv"
    bars().write_csv(path, separator=mark)
    with pytest.raises(DataError, match="separator=") as caught:
        walk(CSVDataFeed(path))
    assert f"CSVDataFeed({str(path)!r}, separator={mark!r})" in str(caught.value)
    assert walk(CSVDataFeed(path, separator=mark)) == walk(FrameFeed(bars()))


def test_a_missing_file_is_compared_with_data_files(tmp_path: Path) -> None:
    """Hidden files and files that are no data are not offered."""
    for name in (".hidden.parquet", "notes.md", "zoo.parquet"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"Known: 'zoo.parquet'\.$"):
        as_feed(tmp_path / "bars_of_the_day.csv")


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    """A feed that outlives a change of its file gives the new rows."""
    path = tmp_path / "a.parquet"
    bars().write_parquet(path)
    feed = ParquetDataFeed(path)
    assert feed.open_reader(Request()).survey.rows == 6
    bars(DAYS[:1]).write_parquet(path)
    os.utime(path, ns=(1, 1))
    assert feed.open_reader(Request()).survey.rows == 2


def test_files_are_described_for_json(tmp_path: Path) -> None:
    """Path, size and time of modification; of many files the first and last."""
    for i in range(30):
        bars(DAYS[:1], assets=(f"A{i:02d}",)).write_parquet(tmp_path / f"{i:02d}.parquet")
    described = list_files(tmp_path).describe()
    assert described["count"] == 30
    assert [f["path"] for f in described["files"]] == [
        str(tmp_path / "00.parquet"),
        str(tmp_path / "29.parquet"),
    ]


# -- larger than memory ------------------------------------------------------------------------


@pytest.mark.usefixtures("small_limits")
def test_a_streamed_file_gives_the_same_events(tmp_path: Path, frame: pl.DataFrame) -> None:
    """Parquet, CSV and lazy frames in parts, never splitting a timestamp."""
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=50)
    frame.write_csv(tmp_path / "a.csv")
    expected = walk(FrameFeed(frame))
    for data in (tmp_path / "a.parquet", tmp_path / "a.csv", frame.lazy()):
        feed = FrameFeed(data)
        reader = feed.open_reader(Request())
        assert reader.survey.is_streaming
        blocks = list(reader.blocks(30))
        assert len(blocks) > 5
        assert all(a.times[-1] < b.times[0] for a, b in pairwise(blocks))
        assert walk(feed) == expected


@pytest.mark.usefixtures("small_limits")
def test_rows_of_a_timestamp_may_come_in_any_order_in_a_streamed_file(
    tmp_path: Path, frame: pl.DataFrame
) -> None:
    """Only time must be in order."""
    backwards = frame.sort("timestamp", "asset_id", descending=[False, True])
    backwards.write_parquet(tmp_path / "a.parquet")
    assert walk(ParquetDataFeed(tmp_path / "a.parquet")) == walk(FrameFeed(frame))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("how", ["blocked", "shuffled"])
def test_a_file_out_of_order_is_sorted(tmp_path: Path, frame: pl.DataFrame, how: str) -> None:
    """With a warning that says how to avoid it."""
    path = tmp_path / "a.parquet"
    by_asset = frame.sort("asset_id", "timestamp")
    mixed = by_asset if how == "blocked" else frame.sample(fraction=1.0, shuffle=True, seed=1)
    mixed.write_parquet(path, row_group_size=50)
    feed = ParquetDataFeed(path)
    remedy = r"sort\(\['timestamp', 'asset_id'\]\)\.sink_parquet"
    with pytest.warns(UserWarning, match=rf"a.parquet: .* not in order of time.*{remedy}"):
        reader = feed.open_reader(Request())
    assert reader.survey.is_streaming
    assert len(list(reader.blocks(64))) > 2
    assert walk(feed) == walk(FrameFeed(frame))


def test_a_small_table_out_of_order_is_sorted_without_a_word(frame: pl.DataFrame) -> None:
    """It is read whole anyway, and warnings are errors here."""
    assert walk(FrameFeed(frame.sort("asset_id", "timestamp").lazy())) == walk(FrameFeed(frame))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.filterwarnings("ignore:.*not in order of time:UserWarning")
@pytest.mark.parametrize("is_sorted", [True, False])
def test_a_bad_row_is_found_before_the_run_wherever_it_is(
    tmp_path: Path, frame: pl.DataFrame, *, is_sorted: bool
) -> None:
    """Row numbers are those of the file, also after sorting."""
    if not is_sorted:
        frame = frame.sort("asset_id", "timestamp")
    broken = frame.with_columns(
        close=pl.when(pl.int_range(pl.len()) == 333).then(None).otherwise("close")
    )
    broken.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: column 'close' .* the first is row 333 "):
        ParquetDataFeed(tmp_path / "a.parquet").open_reader(Request())
    pl.concat([frame, frame[100:101]]).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="see rows 100 and 400"):
        ParquetDataFeed(tmp_path / "b.parquet").open_reader(Request())


@pytest.mark.usefixtures("small_limits")
def test_a_folder_of_assets_larger_than_memory_is_sorted(
    tmp_path: Path, frame: pl.DataFrame
) -> None:
    """Each file holds one asset, in order of time; the folder as a whole is not."""
    for (name,), part in frame.group_by("asset_id"):
        part.drop("asset_id").write_parquet(tmp_path / f"{name}.parquet")
    feed = ParquetDataFeed(tmp_path)
    with pytest.warns(UserWarning, match="not in order of time"):
        feed.open_reader(Request())
    assert walk(feed) == walk(FrameFeed(frame))


@pytest.mark.usefixtures("small_limits")
def test_a_second_run_does_not_look_again(tmp_path: Path, frame: pl.DataFrame) -> None:
    """What was found is kept by path, size and time of modification."""
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    ParquetDataFeed(path).open_reader(Request())
    (known,) = stream._SCANS.values()
    ParquetDataFeed(path).open_reader(Request())
    assert list(stream._SCANS.values()) == [known]
    ParquetDataFeed(path, signals=["ml_pred"]).open_reader(Request())
    assert len(stream._SCANS) == 2


@pytest.mark.usefixtures("small_limits")
def test_the_latest_scans_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more than a few."""
    monkeypatch.setattr(stream, "_KEPT_SCANS", 2)
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    for path in paths:
        bars().write_parquet(path)
        ParquetDataFeed(path).open_reader(Request())
    assert [str(key).count("2.parquet") > 0 for key in stream._SCANS] == [False, True]


@pytest.mark.usefixtures("small_limits")
def test_a_timestamp_may_be_larger_than_a_part(tmp_path: Path) -> None:
    """It is still one timestamp."""
    assets = tuple(f"A{i:03d}" for i in range(300))
    bars(MINUTES[:3], assets=assets).write_parquet(tmp_path / "a.parquet", row_group_size=50)
    reader = ParquetDataFeed(tmp_path / "a.parquet").open_reader(Request())
    assert [len(b.codes) for b in reader.blocks(50)] == [300, 300, 300]


@pytest.mark.usefixtures("small_limits")
def test_mixed_frequencies_and_labels_are_seen_in_a_streamed_file(tmp_path: Path) -> None:
    """The pre-scan looks at the file as a whole."""
    days = [dt.datetime(2024, 1, 1 + i) for i in range(15)]
    minutes = [days[0] + dt.timedelta(minutes=30 * i) for i in range(15 * 48)]
    path = tmp_path / "a.parquet"
    mixed = pl.concat([bars(minutes, assets=("FAST",)), bars(days, assets=("SLOW",))])
    mixed.sort("timestamp").write_parquet(path)
    with pytest.raises(DataError, match="'FAST' has one every 30m, 'SLOW' one every 1d"):
        ParquetDataFeed(path).open_reader(Request())
    bars(days, assets=("SLOW",)).write_parquet(path)
    survey = ParquetDataFeed(path).open_reader(Request()).survey
    assert survey.axis.is_session
    assert survey.step == 86_400_000_000


@pytest.mark.usefixtures("small_limits")
@pytest.mark.filterwarnings("ignore:.*not in order of time:UserWarning")
def test_text_whose_order_is_not_that_of_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorting text sorts letters."""
    monkeypatch.setattr(sorting, "_STRETCH_ROWS", 1)
    times = ["2024-01-02T10:00:00+05:00", "2024-01-02T09:00:00+00:00", "2024-01-02T08:00:00+00:00"]
    bars(times, assets=("A",)).write_csv(tmp_path / "a.csv")
    with pytest.raises(DataError, match="whose order is not that of time"):
        CSVDataFeed(tmp_path / "a.csv").open_reader(Request())


_PEAK = """
import resource, sys
from ml4t.backtest.clock import Clock
clock = Clock(sys.argv[1])
rows = sum(len(chunk.codes) for chunk in clock.chunks())
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def noise(factor: int) -> pl.Expr:
    """Numbers from 0 to 1 that look random, and depend on nothing but the time and the asset."""
    number = pl.col("timestamp").to_physical() // 60_000_000 * factor + pl.col("asset_id").hash(1)
    return (number % 9_973).cast(pl.Float64) / 9_973


def write_long(path: Path, parts: Iterable[tuple[list[dt.datetime], list[str]]]) -> None:
    """Bars of assets at times, part by part, uncompressed, in row groups as pyarrow makes them."""
    writer = None
    for times, assets in parts:
        grid = pl.DataFrame({"timestamp": times}).join(
            pl.DataFrame({"asset_id": assets}), how="cross"
        )
        close = 100.0 + noise(7_919)
        bars_of_part = grid.with_columns(
            open=close - noise(31) / 2,
            high=close + noise(31),
            low=close - noise(31),
            close=close,
            volume=noise(37),
            ml_pred=noise(104_729),
            confidence=noise(41),
        )
        table = bars_of_part.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(
            path, table.schema, compression="none", use_dictionary=["asset_id"]
        )
        writer.write_table(table, row_group_size=1_000_000)
    assert writer is not None
    writer.close()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="measured with getrusage")
def test_peak_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Ten times the rows, about the same memory, also where row groups are as large as usual."""
    assets = [f"A{i:03d}" for i in range(500)]
    days = [dt.datetime(2000, 1, 3) + dt.timedelta(days=i) for i in range(40_000)]
    peaks = {}
    for millions in (2, 20):
        path = tmp_path / f"{millions}.parquet"
        write_long(path, [(days[i : i + 2_000], assets) for i in range(0, millions * 2_000, 2_000)])
        found = []
        for _ in range(3):  # the allocator of a busy machine may keep more, never less
            done = subprocess.run(
                [sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True
            )
            rows, peak = map(int, done.stdout.split())
            assert rows == millions * 1_000_000
            found.append(peak)
        peaks[millions] = min(found)
    assert peaks[20] < 1.5 * peaks[2]
    # A third less on a machine that does nothing else.
    assert peaks[20] < 800 * 1024  # kilobytes


_LIMIT = 700_000_000  # bytes
_LIMITED = f"""
import resource, sys, warnings
resource.setrlimit(resource.RLIMIT_DATA, ({_LIMIT}, {_LIMIT}))
import numpy as np
import polars as pl
if sys.argv[2] == "whole":
    print(pl.read_parquet(sys.argv[1]).height)
    sys.exit()
from ml4t.backtest import BacktestEngine, Strategy
class Best(Strategy):
    steps = 0
    def on_bars(self, bars):
        if self.steps % 1_000 == 0:
            self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", 10), 0.09))
        self.steps += 1
warnings.simplefilter("ignore", UserWarning)
result = BacktestEngine(sys.argv[1], strategy=Best()).run()
print(result.fills.height, result.fingerprint)
"""


def run_limited(path: Path, how: str) -> subprocess.CompletedProcess[str]:
    """A process that may take no more than `_LIMIT`; freed memory counts as free."""
    return subprocess.run(
        [sys.executable, "-c", _LIMITED, str(path), how],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"_RJEM_MALLOC_CONF": "retain:false", "POLARS_MAX_THREADS": "2"},
    )


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA as Linux has it")
def test_a_file_several_times_larger_than_memory(tmp_path: Path) -> None:
    """By time or by asset, a run comes to the same; reading it whole is out of the question."""
    assets = [f"A{i:03d}" for i in range(100)]
    minutes = [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=i) for i in range(240_000)]
    path = tmp_path / "a.parquet"
    write_long(path, ((minutes[i : i + 10_000], assets) for i in range(0, 240_000, 10_000)))
    assert path.stat().st_size > 2.0 * _LIMIT
    assert run_limited(path, "whole").returncode != 0
    by_time = run_limited(path, "run")
    assert int(by_time.stdout.split()[0]) > 1_000, by_time.stderr[-2000:]
    write_long(path, ((minutes, [asset]) for asset in assets))
    by_asset = run_limited(path, "run")
    assert by_asset.stdout == by_time.stdout, by_asset.stderr[-2000:]


# -- recorded data -----------------------------------------------------------------------------

REFUSED = {
    "context_daily": "no column for 'open'",
    "crypto_minute_quotes": "Did you mean 'bid_open', 'ask_open'",
    "equity_adjustment_factors": "no column of times",
    "equity_corporate_actions": "no column of times",
    "equity_daily_adjclose_panel": "price_column='close'",
    "equity_daily_total_return_panel": "price_column='close'",
    "equity_minute_quotes": "Did you mean 'bid_open', 'ask_open'",
    "equity_quote_ticks": "no column for 'open'",
    "equity_symbol_history": "no column of times",
    "equity_trade_ticks": "no column for 'open'",
    "equity_universe_daily": "price_column='close'",
    "future_daily": "another column tells the rows apart",
    "future_margins": "no column of times",
    "future_minute": "another column tells the rows apart",
}


def test_recorded_data_loads_or_is_refused_with_the_right_words(shared_data: Path) -> None:
    """No false refusal, no silent acceptance."""
    for path in sorted(shared_data.glob("*.parquet")):
        feed = ParquetDataFeed(path)
        if path.stem in REFUSED:
            with pytest.raises(DataError, match=REFUSED[path.stem]):
                feed.open_reader(Request())
        else:
            reader = feed.open_reader(Request())
            assert reader.survey.rows == sum(len(b.codes) for b in reader.blocks(10_000))


def test_recorded_data_loads_with_the_options_the_words_ask_for(shared_data: Path) -> None:
    """Each remedy works."""
    contracts = {"asset_id": "contract"}
    for name, rows, options in (
        ("equity_daily_total_return_panel", 745_032, {"price_column": "close"}),
        ("equity_daily_adjclose_panel", 99_756, {"price_column": "close"}),
        ("future_daily", 203, {"columns": contracts}),
        ("future_minute", 23_948, {"columns": contracts}),
    ):
        reader = ParquetDataFeed(shared_data / f"{name}.parquet", **options).open_reader(Request())
        assert reader.survey.rows == rows


# -- a part of a streamed file -----------------------------------------------------------------


def keys(chunks: Iterable[Chunk]) -> list[tuple[dt.datetime, str, float]]:
    """Time, asset and close of every row."""
    return [(e.timestamp, e.asset_id, e.close) for chunk in chunks for e in chunk.events()]


def part_cases(folder: Path) -> dict[str, Clock]:
    """Clocks over streamed files, whose times come in every way."""
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(100)]
    zoned = pl.Series(MINUTES).dt.replace_time_zone("America/New_York").to_list()
    tables = {
        "minutes": bars(MINUTES),
        "zoned": bars(zoned),
        "days": bars(days, assets=("D",)),
        "early": bars(MINUTES[:50], assets=("E",)),
        "text": bars([str(minute) for minute in MINUTES]),
    }
    paths = {name: folder / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        closes = pl.int_range(table.height).cast(pl.Float64) / 1_000 + 1
        prices = dict.fromkeys(("open", "high", "low", "close"), closes)
        table.with_columns(**prices).write_parquet(paths[name], row_group_size=50)
    one = dt.timedelta(minutes=1)
    return {
        **{name: Clock(paths[name]) for name in ("minutes", "zoned", "days", "text")},
        "labelled by start": Clock(
            ParquetDataFeed(paths["minutes"], bar_label="open", bar_duration=one)
        ),
        "one ends early": Clock(
            ParquetDataFeed(paths["minutes"], bar_duration=one),
            ParquetDataFeed(paths["early"], bar_duration=one),
        ),
        "days and minutes": Clock(
            ParquetDataFeed(paths["minutes"], bar_duration=one),
            ParquetDataFeed(paths["days"], bar_duration="1d"),
        ),
    }


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "case",
    ["minutes", "zoned", "days", "text", "labelled by start", "one ends early", "days and minutes"],
)
def test_a_part_of_a_streamed_file_is_what_the_whole_has(tmp_path: Path, case: str) -> None:
    """At any time of the run, whatever was not read before it."""
    clock = part_cases(tmp_path)[case]
    whole = keys(clock.chunks())
    assert clock.is_streaming
    times = sorted({time for time, _, _ in whole})
    for time in [*times[::17], times[-1]]:
        at = clock.axis.to_microseconds(time)
        assert keys(clock.between(at, at)) == [row for row in whole if row[0] == time]
    assert keys(clock.chunks()) == whole


@pytest.mark.usefixtures("small_limits")
def test_what_comes_before_a_part_is_not_read(tmp_path: Path) -> None:
    """The last of 400 rows are found without the others."""
    bars(MINUTES).write_parquet(tmp_path / "a.parquet", row_group_size=50)
    clock = Clock(tmp_path / "a.parquet")
    clock.prepare()
    (reader,) = clock._readers
    assert isinstance(reader, TableReader)
    later = reader.since(clock.axis.to_microseconds(MINUTES[-1]))
    assert [len(part.codes) for part in later.blocks(30)] == [2]
    assert sum(len(part.codes) for part in reader.blocks(30)) == 400
