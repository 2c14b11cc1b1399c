"""What other tools are given is what the result says, and no file of theirs is harmed."""

from __future__ import annotations

import builtins
import csv
import datetime as dt
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, Strategy
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results import export
from ml4t.backtest.results.export import FRAMES
from ml4t.backtest.results.result import BacktestResult
from ml4t.backtest.testing.markets import random_market
from tests.results.conftest import sessions_from

if TYPE_CHECKING:
    from ml4t.backtest.results.record import RunRecord
    from tests.results.conftest import Simulate

pd = pytest.importorskip("pandas")


# pandas


def test_returns_are_the_sessions(result: BacktestResult) -> None:
    """A float Series on days without a zone, in order; nothing is lost or rounded."""
    series = result.returns_series()
    assert isinstance(series.index, pd.DatetimeIndex)
    assert series.index.tz is None
    assert series.index.is_monotonic_increasing
    assert series.index.is_unique
    assert series.dtype == np.float64
    assert series.tolist() == result.returns["return"].to_list()
    assert [t.date() for t in series.index] == result.returns["session"].to_list()
    assert list(series.index) == list(series.index.normalize())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_empyrical_finds_our_figures(simulate: Simulate, seed: int) -> None:
    """Given the Series, a library of others arrives at the same ratios and drawdown."""
    import empyrical

    result = BacktestResult(simulate(seed=seed, n_sessions=260))
    series = result.returns_series()
    theirs = {
        "sharpe": empyrical.sharpe_ratio(series, annualization=252),
        "sortino": empyrical.sortino_ratio(series, annualization=252),
        "volatility": empyrical.annual_volatility(series, annualization=252),
        "cagr": empyrical.annual_return(series, annualization=252),
        "max_drawdown": empyrical.max_drawdown(series),
        "calmar": empyrical.calmar_ratio(series, annualization=252),
        "total_return": empyrical.cum_returns_final(series),
        "tail_ratio": empyrical.tail_ratio(series),
        "value_at_risk": empyrical.value_at_risk(series),
    }
    for name, value in theirs.items():
        assert result.metrics[name] == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_series_can_be_cut_by_months(simulate: Simulate) -> None:
    """The index is one that tools group by: months compound to the whole."""
    import empyrical

    result = BacktestResult(simulate(n_sessions=260))
    months = empyrical.aggregate_returns(result.returns_series(), "monthly")
    assert len(months) == 12
    assert math.prod(1.0 + months) - 1.0 == pytest.approx(result.total_return, rel=1e-9)


def test_times_with_a_zone_still_give_plain_days(simulate: Simulate) -> None:
    """Sessions are days, whatever the clock of the bars."""
    days = sessions_from(dt.date(2020, 1, 1), 30)
    stamps = [dt.datetime(d.year, d.month, d.day, 21, tzinfo=dt.UTC) for d in days]
    result = BacktestResult(simulate(stamps=stamps, times=pl.Datetime("us", "UTC")))
    index = result.returns_series().index
    assert [t.date() for t in index] == days


def test_a_run_without_sessions_gives_an_empty_series(simulate: Simulate) -> None:
    """Empty, of the right types."""
    series = BacktestResult(simulate(n_sessions=0)).returns_series()
    assert len(series) == 0
    assert series.dtype == np.float64
    assert isinstance(series.index, pd.DatetimeIndex)


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_goes_to_pandas(result: BacktestResult, name: str) -> None:
    """The same columns and rows."""
    frame = result.to_pandas(name)
    assert list(frame.columns) == getattr(result, name).columns
    assert len(frame) == len(getattr(result, name))


def test_values_arrive_in_pandas(result: BacktestResult) -> None:
    """Numbers, texts and times of the trades."""
    ours, theirs = result.trades, result.to_pandas("trades")
    assert theirs["pnl"].tolist() == ours["pnl"].to_list()
    assert theirs["asset_id"].tolist() == ours["asset_id"].to_list()
    assert [t.to_pydatetime() for t in theirs["entry_time"]] == ours["entry_time"].to_list()


def test_an_unknown_frame_is_refused(result: BacktestResult) -> None:
    """With the nearest name; attributes that are no frames count as unknown."""
    with pytest.raises(ConfigError, match=r"no frame 'trade'\. Did you mean 'trades'"):
        result.to_pandas("trade")
    with pytest.raises(ConfigError, match="no frame 'metrics'"):
        result.to_pandas("metrics")


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_without_pandas_the_remedy_is_named(
    result: BacktestResult, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text says which command installs what is missing."""
    original = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == missing:
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[pandas\]'"):
        result.returns_series()
    with pytest.raises(ConfigError, match=r"to_pandas\(\) needs pandas"):
        result.to_pandas("trades")


# Files


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_files_hold_every_frame(result: BacktestResult, tmp_path: Path) -> None:
    """One file a frame, its name and columns; numbers to the last bit."""
    files = result.export_csv(tmp_path / "out")
    assert sorted(path.name for path in files) == sorted(f"{name}.csv" for name in FRAMES)
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    fills = _rows(tmp_path / "out" / "fills.csv")
    assert list(fills[0]) == result.fills.columns
    assert [float(row["price"]) for row in fills] == result.fills["price"].to_list()
    assert [dt.datetime.fromisoformat(row["timestamp"]) for row in fills] == result.fills[
        "timestamp"
    ].to_list()
    for name in FRAMES:
        frame = getattr(result, name)
        if frame.width:
            assert len(_rows(tmp_path / "out" / f"{name}.csv")) == frame.height, name


def test_parquet_files_hold_every_frame(result: BacktestResult, tmp_path: Path) -> None:
    """Read again, each is the frame."""
    result.export_parquet(str(tmp_path / "deep" / "out"))
    for name in FRAMES:
        found = pl.read_parquet(tmp_path / "deep" / "out" / f"{name}.parquet")
        assert found.equals(getattr(result, name), null_equal=True), name


KINDS = [
    pl.Series("duration", [dt.timedelta(days=1, hours=6), None], dtype=pl.Duration("us")),
    pl.Series("day", [dt.date(2024, 1, 2), None]),
    pl.Series("time", [dt.time(9, 30), None]),
    pl.Series("word", ["up", None], dtype=pl.Enum(["up", "down"])),
    pl.Series("raw", [b"\x00\xff", None]),
    pl.Series("pair", [[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
    pl.Series("decimal", ["1.50", None]).cast(pl.Decimal(10, 2)),
    pl.Series("nothing", [None, None]),
    pl.Series("object", [{1, 2}, None], dtype=pl.Object),
]


def test_every_kind_of_column_can_be_written(record: RunRecord, tmp_path: Path) -> None:
    """Context may be of any type; what CSV has no form for becomes text."""
    times = record.equity["timestamp"][:2]
    decisions = pl.DataFrame([times.alias("timestamp"), *KINDS])
    result = BacktestResult(record.replace(decisions=decisions))
    result.export_csv(tmp_path / "out")
    first, second = _rows(tmp_path / "out" / "decisions.csv")
    assert first["duration"] == "P1DT6H"
    assert (first["day"], first["word"], first["pair"]) == ("2024-01-02", "up", "[1,2]")
    assert (first["raw"], first["decimal"]) == ('"AP8="', "1.50")
    assert first["time"].startswith("09:30:00")
    assert {v for k, v in second.items() if k != "timestamp"} == {""}


def test_a_run_with_signals_can_be_exported(tmp_path: Path) -> None:
    """Of the engine, with coverage and all else a real run has."""

    class Best(Strategy):
        def on_bars(self, bars, context):
            self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", 1), 0.5))
            self.log("done")
            self.record(one=1.0)

    market = random_market(assets=3, sessions=30, seed=1, information=0.1)
    result = BacktestEngine(market, strategy=Best()).run()
    for write in (result.export_csv, result.export_parquet):
        assert len(write(tmp_path / "out")) == len(FRAMES)
    assert len(_rows(tmp_path / "out" / "signal_coverage.csv")) == 1


ODD = {
    "levels": [[1.5, None], None, []],
    "quote": [{"bid": 1.0, "ask": 2.0}, {"bid": None, "ask": 3.0}, None],
    "many": [[{"a": dt.date(2024, 1, 2)}], [], None],
    "text": ['a "quoted", one\nof two lines', "", None],
}


def test_what_a_cell_cannot_hold_becomes_json(record: RunRecord, tmp_path: Path) -> None:
    """Lists and structs are JSON text; null stays empty, and text with commas stays one cell."""
    decisions = pl.DataFrame({"timestamp": record.equity["timestamp"][:3], **ODD})
    result = BacktestResult(record.replace(decisions=decisions))
    result.export_csv(tmp_path / "out")
    rows = _rows(tmp_path / "out" / "decisions.csv")
    assert [row["levels"] and json.loads(row["levels"]) for row in rows] == [[1.5, None], "", []]
    assert [row["quote"] and json.loads(row["quote"]) for row in rows] == [
        {"bid": 1.0, "ask": 2.0},
        {"bid": None, "ask": 3.0},
        "",
    ]
    assert [row["many"] and json.loads(row["many"]) for row in rows] == [
        [{"a": "2024-01-02"}],
        [],
        "",
    ]
    assert [row["text"] for row in rows] == ['a "quoted", one\nof two lines', "", ""]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_others_are_not_touched(result: BacktestResult, tmp_path: Path, kind: str) -> None:
    """A file of the same name is refused, one of another name is left, and nothing is added."""
    write = getattr(result, f"export_{kind}")
    (tmp_path / "thesis.txt").write_text("chapter one")
    (tmp_path / f"trades.{kind}").write_text("mine")
    with pytest.raises(ConfigError, match=rf"trades\.{kind} exist there.*overwrite=True"):
        write(tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "thesis.txt": "chapter one",
        f"trades.{kind}": "mine",
    }
    write(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "chapter one"
    assert len(list(tmp_path.iterdir())) == len(FRAMES) + 1
    with pytest.raises(ConfigError, match="and others exist there"):
        write(tmp_path)


def test_places_that_cannot_be_meant_are_refused(result: BacktestResult, tmp_path: Path) -> None:
    """A file, a folder with the name of a file, the folder of a saved result."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it is a file"):
        result.export_csv(tmp_path / "file")
    (tmp_path / "folder" / "fills.csv").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"fills\.csv is a folder there"):
        result.export_csv(tmp_path / "folder", overwrite=True)
    result.save(tmp_path / "saved")
    with pytest.raises(ConfigError, match="holds a saved result"):
        result.export_parquet(tmp_path / "saved", overwrite=True)
    assert BacktestResult.load(tmp_path / "saved").fingerprint == result.fingerprint


def test_a_full_disk_leaves_nothing(
    result: BacktestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that fails while it writes: no folder, no file, no rest."""

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(export, "_flat", full)
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(OSError, match="no space"):
            result.export_csv(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_move_that_fails_puts_everything_back(
    result: BacktestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """All files or none, also in a folder that holds others."""
    before = {"thesis.txt": "chapter one"}
    if overwrite:
        before |= {"equity.csv": "old equity", "stale.csv": "old stale"}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.parent.name == "new" and self.name == "stale.csv":
            raise OSError("busy")
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", fails)
    with pytest.raises(OSError, match="busy"):
        result.export_csv(tmp_path, overwrite=overwrite)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == before


def test_the_names_are_all_frames(result: BacktestResult) -> None:
    """Every attribute that holds a frame is exported; a new one must not be forgotten."""
    frames = {
        name
        for name in dir(type(result))
        if not name.startswith("_") and isinstance(getattr(result, name), pl.DataFrame)
    }
    assert frames == set(FRAMES)
