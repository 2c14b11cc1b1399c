"""Tables larger than memory, in order of time or not."""

from __future__ import annotations

import datetime as dt
import gc
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, Bars, Strategy
from ml4t.backtest.data import sorting, stream
from ml4t.backtest.data.sorting import InOrder, OutOfOrder
from ml4t.backtest.errors import DataError, StrategyError
from tests.data.conftest import bars

START = dt.datetime(2024, 1, 2, 9, 30)
MINUTES = [START + dt.timedelta(minutes=i) for i in range(50)]
FRAME = bars(MINUTES, assets=("A", "B", "C"))


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every table is large, and temporary files can be seen."""
    monkeypatch.setattr(sorting, "CHUNK_ROWS", 16)
    monkeypatch.setattr(sorting, "_LEAST_WINDOW", 8)
    monkeypatch.setattr(sorting, "_STRETCH_ROWS", 30)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()


def left_over() -> list[str]:
    """Names of temporary folders that are still there."""
    return [path.name for path in Path(tempfile.gettempdir()).iterdir()]


def in_order(frame: pl.DataFrame, files: int = 0) -> InOrder:
    """A table as it is."""
    return InOrder(frame.lazy(), "timestamp", frame.height, files)


def out_of_order(frame: pl.DataFrame) -> OutOfOrder:
    """A table in any order."""
    return OutOfOrder(in_order(frame), "asset_id", "prices")


def mixed(seed: int = 0) -> pl.DataFrame:
    """The rows of `FRAME`, shuffled."""
    return FRAME.sample(fraction=1.0, shuffle=True, seed=seed)


@pytest.mark.parametrize("files", [0, 1, 2, 100])
@pytest.mark.parametrize("rows", [2, 7, 64, 1_000])
def test_a_table_in_order_is_cut_between_timestamps(tmp_path: Path, files: int, rows: int) -> None:
    """Whether it is read in windows or in one go."""
    path = tmp_path / "a.parquet"
    FRAME.write_parquet(path, row_group_size=40)
    table = InOrder(pl.scan_parquet(path), "timestamp", FRAME.height, files)
    frames = list(table.walk(FRAME.columns, rows))
    assert pl.concat(frames).equals(FRAME)
    times = [set(frame["timestamp"]) for frame in frames]
    assert sum(map(len, times)) == len(MINUTES)
    assert table.again() is table
    table.release()


@given(st.permutations(range(30)), st.sampled_from(["datetime", "date", "text", "number"]))
def test_every_order_of_rows_gives_the_same_stretches(order: list[int], kind: str) -> None:
    """In order of time, no timestamp in two; rows keep their number and their order."""
    times: list[Any] = [START + dt.timedelta(days=i // 3) for i in range(30)]
    column = pl.Series("timestamp", times)
    column = {
        "datetime": column,
        "date": column.cast(pl.Date),
        "text": column.cast(pl.String),
        "number": column.dt.strftime("%Y%m%d").cast(pl.Int64),
    }[kind]
    assets = pl.Series([f"A{i % 3}" for i in range(30)], dtype=pl.Categorical)
    frame = pl.DataFrame({"timestamp": column, "asset_id": assets})[order]
    frames = list(out_of_order(frame).walk(["timestamp", "asset_id"], 10))
    for earlier, later in pairwise(frames):
        assert earlier["timestamp"].max() < later["timestamp"].min()  # type: ignore[operator]
    rows = pl.concat(frames)
    assert sorted(rows["__row"]) == list(range(30))
    assert rows["timestamp"].equals(frame["timestamp"][rows["__row"].to_numpy()])
    assert all(part["__row"].is_sorted() for part in frames)


def test_a_table_with_most_rows_at_one_time_is_one_stretch() -> None:
    """A timestamp is never split, however large."""
    times = [MINUTES[1]] * 200 + [MINUTES[0]]
    frame = pl.DataFrame({"timestamp": times, "asset_id": [f"A{i}" for i in range(201)]})
    heights = [part.height for part in out_of_order(frame).walk(["timestamp"], 10)]
    assert sum(heights) == 201
    assert max(heights) >= 200


def test_files_are_kept_for_the_next_walk_and_go_when_released() -> None:
    """A walk that goes on keeps them for itself; a later one makes them anew."""
    table = out_of_order(mixed())
    assert not left_over()
    list(table.walk(FRAME.columns, 10))
    kept = left_over()
    assert len(kept) == 1
    walk = table.walk(FRAME.columns, 10)
    count = next(walk).height
    assert left_over() == kept
    table.release()
    assert left_over() == kept
    assert count + sum(frame.height for frame in walk) == FRAME.height
    del walk
    assert not left_over()
    assert sum(frame.height for frame in table.walk(FRAME.columns, 10)) == FRAME.height
    assert len(left_over()) == 1


def test_files_go_with_the_table() -> None:
    """Nobody has to say so; and another one of the same table has its own."""
    table = out_of_order(mixed())
    list(table.walk(FRAME.columns, 10))
    again = table.again()
    list(again.walk(FRAME.columns, 10))
    assert len(left_over()) == 2
    del table, again
    gc.collect()
    assert not left_over()


def test_a_disk_that_is_full_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was written is removed."""

    def fill(self: object, number: int, rows: pl.DataFrame) -> None:
        del self, number, rows
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sorting._Stretches, "_append", fill)
    table = out_of_order(mixed())
    with pytest.raises(DataError, match=r"prices: .* temporary files failed: .* No space left"):
        list(table.walk(FRAME.columns, 10))
    assert not left_over()


@pytest.mark.parametrize(
    ("column", "words"),
    [("timestamp", "1 missing times.*row {0}"), ("asset_id", "names no asset.*row {1}")],
)
def test_a_row_that_cannot_be_placed_is_named(column: str, words: str) -> None:
    """Without a time or an asset; what was written is removed."""
    is_bad = pl.int_range(pl.len()) == 77
    frame = mixed().with_columns(pl.when(~is_bad).then(column).alias(column))
    words = words.format(77 % 16, 77)
    with pytest.raises(DataError, match=words) as caught:
        list(out_of_order(frame).walk(FRAME.columns, 10))
    assert column in str(caught.value)
    if column == "timestamp":
        assert "prices (from row 64)" in str(caught.value)
    assert not left_over()


def test_stretches_are_of_about_equal_size() -> None:
    """Also where a year is followed by a busy day."""
    rng = np.random.default_rng(0)
    minutes = [START + dt.timedelta(days=i) for i in range(300)]
    minutes += [START + dt.timedelta(days=301, seconds=i) for i in range(600)]
    frame = bars(minutes, assets=("A",))[rng.permutation(900)]
    heights = [part.height for part in out_of_order(frame).walk(FRAME.columns, 10)]
    assert len(heights) == 30
    assert max(heights) < 3 * 30


class Best(Strategy):
    """Holds the two assets with the highest closes, and may fail on the way."""

    def __init__(self, fails_at: dt.datetime | None = None) -> None:
        self.fails_at = fails_at

    def on_bars(self, bars: Bars) -> None:
        """Every minute."""
        if bars.timestamp == self.fails_at:
            raise ZeroDivisionError
        self.rebalance_to_weights(dict.fromkeys(bars.top("p", 2), 0.4))


@pytest.fixture
def large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read whole."""
    monkeypatch.setattr(stream, "_WHOLE_CELLS", 0)
    stream._SCANS.clear()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One table in three orders."""
    rng = np.random.default_rng(3)
    frame = FRAME.with_columns(p=pl.Series(rng.random(FRAME.height)))
    tables = {
        "by_time": frame,
        "by_asset": frame.sort("asset_id", "timestamp"),
        "shuffled": frame.sample(fraction=1.0, shuffle=True, seed=5),
    }
    for name, table in tables.items():
        table.write_parquet(tmp_path / f"{name}.parquet", row_group_size=40)
    return {name: tmp_path / f"{name}.parquet" for name in tables}


@pytest.mark.usefixtures("large_files")
def test_a_run_does_not_depend_on_the_order_of_rows(files: dict[str, Path]) -> None:
    """The same fingerprint, run after run; nothing is left behind."""
    whole = BacktestEngine(pl.read_parquet(files["by_time"]), strategy=Best()).run().fingerprint
    assert BacktestEngine(files["by_time"], strategy=Best()).run().fingerprint == whole
    for name in ("by_asset", "shuffled"):
        engine = BacktestEngine(files[name], strategy=Best())
        with pytest.warns(UserWarning, match=rf"{name}.parquet: the rows are not in order of time"):
            assert engine.run().fingerprint == whole
        assert not left_over()
        assert engine.run().fingerprint == whole
        assert not left_over()


@pytest.mark.usefixtures("large_files")
@pytest.mark.filterwarnings("ignore:.*not in order of time:UserWarning")
def test_a_run_that_fails_leaves_no_files(files: dict[str, Path]) -> None:
    """In a hook, at the door, or before its first bar."""
    engine = BacktestEngine(files["shuffled"], strategy=Best(fails_at=MINUTES[30]))
    with pytest.raises(StrategyError):
        engine.run()
    assert not left_over()
    bad = pl.read_parquet(files["shuffled"]).with_columns(close=pl.lit(-1.0))
    bad.write_parquet(files["shuffled"])
    engine = BacktestEngine(files["shuffled"], strategy=Best())
    with pytest.raises(DataError, match="'close' must hold positive"):
        engine.run()
    assert not left_over()
    engine = BacktestEngine(files["by_asset"], strategy=Best(), start="2030-01-01")
    with pytest.raises(DataError, match="no bars between"):
        engine.run()
    del engine
    gc.collect()
    assert not left_over()
