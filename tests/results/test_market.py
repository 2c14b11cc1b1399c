"""The market of a run, read again."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Context,
    CSVDataFeed,
    DataError,
    ParquetDataFeed,
    Strategy,
)
from ml4t.backtest.testing.markets import random_market, ten_bars
from tests.stories.plan import EventFeed

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars


class Idle(Strategy):
    """Looks on."""

    def on_bars(self, bars: Bars) -> None:
        """At nothing."""


def run(*data: Any, **options: Any) -> BacktestResult:
    """What is left of a run that did nothing."""
    return BacktestEngine(*data, strategy=Idle(), **options).run()


def loaded(result: BacktestResult, folder: Path) -> BacktestResult:
    """The result after a folder."""
    result.save(folder)
    return BacktestResult.load(folder)


def small() -> pl.DataFrame:
    """Three assets over 60 sessions, with a signal."""
    return random_market(assets=3, sessions=60, seed=2)


def test_the_market_is_what_went_in() -> None:
    """Prices and signals; of some assets, some columns, and a part of the time."""
    data = ten_bars().with_columns(ml_pred=pl.int_range(pl.len()).cast(pl.Float64))
    data = data.with_columns(pl.when(pl.col("ml_pred") != 3).then("ml_pred"))
    other = data.with_columns(asset_id=pl.lit("B"), close=pl.col("high"))
    both = pl.concat([other, data])
    result = run(both, start=data["timestamp"][2])
    expected = both.sort("timestamp", "asset_id").filter(
        pl.col("timestamp") >= data["timestamp"][2]
    )
    assert_frame_equal(result.market(), expected.select(result.market().columns))
    assert_frame_equal(
        result.market(["B"], ["close", "ml_pred"]),
        expected.filter(asset_id="B").select("timestamp", "asset_id", "close", "ml_pred"),
    )
    assert result.signal_coverage["bars"].to_list() == [16]  # untouched by the second reading
    with pytest.raises(DataError, match="no asset 'C'"):
        result.market(["C"])
    with pytest.raises(DataError, match="no column 'ml_perd'"):
        result.market(columns=["ml_perd"])


# -- after loading -----------------------------------------------------------------------------


def test_a_file_is_opened_again(tmp_path: Path) -> None:
    """What was written is what is read, long after the run, from start to end."""
    data = small()
    data.write_parquet(tmp_path / "prices.parquet")
    days = data["timestamp"].unique().sort()
    result = run(tmp_path / "prices.parquet", start=days[5], end=str(days[40]))
    expected = data.sort("timestamp", "asset_id").filter(
        pl.col("timestamp").is_between(days[5], days[40])
    )
    found = loaded(result, tmp_path / "run").market()
    assert_frame_equal(found, expected.select(found.columns))


def test_where_data_came_from_is_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    """The same bars from memory and from a file give the same result."""
    small().write_parquet(tmp_path / "prices.parquet")
    assert run(small()).fingerprint == run(tmp_path / "prices.parquet").fingerprint


def test_options_of_feeds_are_kept(tmp_path: Path) -> None:
    """Names, close-only prices, separators, labels of starts, and the asset of each feed."""
    hours = pl.datetime_range(
        dt.datetime(2024, 1, 2, 9), dt.datetime(2024, 1, 2, 18), "1h", eager=True
    )
    table = pl.DataFrame({"When": hours, "Last": pl.arange(10, 20, eager=True) / 4, "Note": 1.0})
    table.write_csv(tmp_path / "a.txt", separator=";", decimal_comma=True)
    table.write_parquet(tmp_path / "b.parquet")
    options: dict[str, Any] = {
        "columns": {"timestamp": "When"},
        "price_column": "Last",
        "signal_columns": [],
        "bar_label": "open",
        "bar_duration": "1h",
    }
    text = CSVDataFeed(tmp_path / "a.txt", separator=";", decimal_comma=True, **options)
    feeds = {"A": text, "B": ParquetDataFeed(tmp_path / "b.parquet", asset_id="B", **options)}
    result = run(feeds=feeds)
    found = loaded(result, tmp_path / "run").market()
    expected = pl.DataFrame({"timestamp": hours + dt.timedelta(hours=1), "close": table["Last"]})
    for asset in ("A", "B"):
        assert_frame_equal(
            found.filter(asset_id=asset).select("timestamp", "close"), expected, check_dtypes=False
        )
    assert found.columns == ["timestamp", "asset_id", "open", "high", "low", "close", "volume"]


@pytest.mark.parametrize("max_age", [None, "3d"])
def test_signals_in_files_are_joined_as_before(tmp_path: Path, max_age: str | None) -> None:
    """Several tables by name, each late by the delay, and expired by their age."""
    data = small()
    data.drop("ml_pred").write_parquet(tmp_path / "prices.parquet")
    mondays = data.filter(pl.col("timestamp").dt.weekday() == 1)
    mondays.select("timestamp", "asset_id", "ml_pred").write_csv(tmp_path / "one.csv")
    mondays.select("timestamp", "asset_id", size=pl.col("close")).write_parquet(
        tmp_path / "two.parquet"
    )
    signals = {"one": str(tmp_path / "one.csv"), "two": tmp_path / "two.parquet"}
    result = run(
        tmp_path / "prices.parquet",
        signals=signals,
        signal_columns=["ml_pred", "size"],
        signal_delay="1d",
        signal_max_age=max_age,
        calendar="24/7",
    )
    found = loaded(result, tmp_path / "run").market()
    assert_frame_equal(found, result.market())
    first = mondays["timestamp"].min()
    assert isinstance(first, dt.date)
    known = found.filter(pl.col("ml_pred").is_not_null())
    assert known["timestamp"][0] == first + dt.timedelta(days=1)
    weekdays = {2, 3, 4, 5} if max_age else {1, 2, 3, 4, 5}
    assert set(known["timestamp"].dt.weekday()) == weekdays


def test_many_files(tmp_path: Path) -> None:
    """A folder and a pattern of more files than a result lists; each asset is a file."""
    folder = tmp_path / "prices"
    folder.mkdir()
    for i in range(25):
        ten_bars().drop("asset_id").write_parquet(folder / f"A{i:02d}.parquet")
    kept = [
        loaded(run(data), tmp_path / f"run{i}")
        for i, data in enumerate((folder, f"{folder}/*.parquet"))
    ]
    for result in kept:
        assert result.market()["asset_id"].n_unique() == 25
    os.utime(folder / "A07.parquet", ns=(1, 1))  # not the first, not the last
    for result in kept:
        with pytest.raises(DataError, match=r"some of the 25 files of .* have changed"):
            result.market()
    ten_bars().drop("asset_id").write_parquet(folder / "A25.parquet")
    for result in kept:
        with pytest.raises(DataError, match="26 files now, the run read 25"):
            result.market()


def test_many_feeds_of_one_file_each(tmp_path: Path) -> None:
    """They are opened as one table, and described each on its own."""
    for i in range(12):
        ten_bars().drop("asset_id").write_parquet(tmp_path / f"{i}.parquet")
    feeds = {f"A{i}": ParquetDataFeed(tmp_path / f"{i}.parquet") for i in range(12)}
    result = run(feeds=feeds)
    assert_frame_equal(loaded(result, tmp_path / "run").market(), result.market())


def test_relative_paths_count_from_where_the_run_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files, folders and patterns, seen from elsewhere, are the same; moved, they are missing."""
    (tmp_path / "[new]" / "prices").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "[new]")
    ten_bars().write_parquet("prices/one.parquet")
    for i, data in enumerate(("prices/one.parquet", "prices", "prices/*.parquet")):
        run(data).save(tmp_path / f"run{i}")
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        assert BacktestResult.load(tmp_path / f"run{i}").market().height == 10
    (tmp_path / "[new]").rename(tmp_path / "old")
    for i in range(3):
        with pytest.raises(DataError, match=r"gone: .*\[new\].prices.one.parquet' is missing"):
            BacktestResult.load(tmp_path / f"run{i}").market()


def test_columns_that_are_context(tmp_path: Path) -> None:
    """What the pattern took out of the signals stays out of them."""
    small().with_columns(VIX=pl.lit(15.0)).write_parquet(tmp_path / "prices.parquet")
    result = run(tmp_path / "prices.parquet", context_pattern="VIX")
    assert "VIX" not in loaded(result, tmp_path / "run").market().columns


# -- gone --------------------------------------------------------------------------------------


def test_a_file_that_has_changed(tmp_path: Path) -> None:
    """Missing, of another size, or written again: the file and the change are named."""
    path = tmp_path / "prices.parquet"
    small().write_parquet(path)
    fresh = run(path)
    kept = loaded(fresh, tmp_path / "run")
    seen = path.stat()
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 10**9))
    for result in (kept, fresh):
        with pytest.raises(DataError, match=r"prices.parquet' has changed: it was written at 20"):
            result.market()
    size = len(path.read_bytes())
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=rf"it has 1 bytes, the run read {size:,}.*Run it again"):
        kept.market()
    path.unlink()
    for result in (kept, fresh):
        with pytest.raises(DataError, match=r"prices.parquet' is missing"):
            result.market()


class OwnFrames(ParquetDataFeed):
    """A class of a user's."""


def test_what_cannot_be_opened_again(tmp_path: Path) -> None:
    """Memory, lazy frames, feeds of single events and of one's own: each says what it was."""
    ten_bars().write_parquet(tmp_path / "prices.parquet")
    cases: dict[str, dict[str, Any]] = {
        "data: it was a table in memory": {"data": ten_bars()},
        "data: it was a lazy frame": {"data": ten_bars().lazy()},
        "EventFeed: it was a feed of your own, EventFeed": {"feed": EventFeed(ten_bars())},
        "it was read by a class of your own, OwnFrames": {
            "feed": OwnFrames(tmp_path / "prices.parquet")
        },
    }
    for number, (why, data) in enumerate(cases.items()):
        result = loaded(run(**data), tmp_path / f"run{number}")
        with pytest.raises(DataError, match=f"The bars of this run are gone: .*{why}"):
            result.market()
    with pytest.raises(DataError, match="single events, which can be walked once"):
        run(feed=EventFeed(ten_bars())).market()


def test_a_calendar_of_ones_own(tmp_path: Path) -> None:
    """Its name does not stand for it."""
    calendars = pytest.importorskip("exchange_calendars", reason="the extra is not installed")
    ten_bars().write_parquet(tmp_path / "prices.parquet")
    calendar = calendars.get_calendar("XNYS", start="2019-01-01", end="2025-12-31")
    result = run(tmp_path / "prices.parquet", calendar=calendar)
    assert len(result.market()) == 10
    with pytest.raises(DataError, match="calendar of the run was an object"):
        loaded(result, tmp_path / "run").market()


def test_signals_that_are_gone_while_the_bars_are_there(tmp_path: Path) -> None:
    """Columns of what is left can be asked for."""
    data = small()
    data.drop("ml_pred").write_parquet(tmp_path / "prices.parquet")
    predictions = data.select("timestamp", "asset_id", "ml_pred")
    result = loaded(
        run(
            tmp_path / "prices.parquet",
            signals=predictions,
            signal_columns="ml_pred",
            signal_delay="1d",
        ),
        tmp_path / "run",
    )
    for columns in (None, ["close", "ml_pred"]):
        with pytest.raises(
            DataError, match="signal 'ml_pred' of this run is gone: signals: it was a table in"
        ):
            result.market(columns=columns)
    found = result.market(["A01"], ["close"])
    assert found["close"].to_list() == data.filter(asset_id="A01")["close"].to_list()


def test_context_does_not_stand_in_the_way(tmp_path: Path) -> None:
    """The market is bars and signals: a context that is gone hides neither."""
    small().write_parquet(tmp_path / "prices.parquet")
    context = Context({"VIX": dict.fromkeys(small()["timestamp"], 15.0)})
    result = loaded(run(tmp_path / "prices.parquet", context=context), tmp_path / "run")
    assert len(result.market()) == len(small())


def test_folders_of_before(tmp_path: Path) -> None:
    """A result that does not say how to open its input loads, and has no market."""
    ten_bars().write_parquet(tmp_path / "prices.parquet")
    record = run(tmp_path / "prices.parquet").record
    feeds = [
        {k: v for k, v in feed.items() if k not in ("folder", "path", "options", "asset_id")}
        for feed in record.source["feeds"]
    ]
    old = {"feeds": feeds, "signals": [], "context": None}
    result = BacktestResult(record.replace(source=old))
    with pytest.raises(DataError, match="gone: the result does not say how to open its input"):
        loaded(result, tmp_path / "run").market()
