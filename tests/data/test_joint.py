"""Many feeds of one asset each: opened together, they are what they are one by one."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
import pytest

from ml4t.backtest.clock import Clock
from ml4t.backtest.data import joint, stream
from ml4t.backtest.data.feed import DataFeed, Request
from ml4t.backtest.data.frames import FrameFeed, ParquetDataFeed
from ml4t.backtest.errors import BacktestError, DataError
from ml4t.backtest.types.bars import MarketEvent
from tests.data.conftest import bars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ml4t.backtest.data.feed import Reader, Survey

NAMES = [f"A{i:02d}" for i in range(12)]
DAYS = [dt.datetime(2024, 1, 1) + dt.timedelta(days=i) for i in range(20)]
MINUTES = [dt.datetime(2024, 1, 2, 9, 30) + dt.timedelta(minutes=i) for i in range(40)]

Tables = dict[str, pl.DataFrame]


def dense() -> Tables:
    """Days of every asset, with a prediction."""
    return {
        name: bars(DAYS, assets=(name,), p=[i + k / 100 for k in range(20)])
        for i, name in enumerate(NAMES)
    }


def staggered() -> Tables:
    """Minutes; some assets are new, all lack some, one has a single bar."""
    row = pl.int_range(pl.len())
    tables = {
        name: bars(MINUTES, assets=(name,), p=[0.5] * 40).filter((row >= i) & (row % (4 + i) > 0))
        for i, name in enumerate(NAMES)
    }
    return tables | {"A05": tables["A05"][:1]}


def uneven_days() -> Tables:
    """Labels of sessions, of which one asset has a single one and one has gaps."""
    tables = dense()
    gaps = tables["A07"].filter(pl.int_range(pl.len()) % 5 > 0)
    return tables | {"A03": tables["A03"][4:5], "A07": gaps}


def without_assets() -> Tables:
    """Nothing but the name of the feed says which asset it is."""
    return {name: table.drop("asset_id") for name, table in dense().items()}


def backwards() -> Tables:
    """Neither rows nor feeds are in order."""
    return {name: table.reverse() for name, table in reversed(staggered().items())}


def with_gaps() -> Tables:
    """Predictions that are missing, text, and `_meta`."""
    more = {
        "p": pl.when(pl.int_range(pl.len()) % 3 > 0).then("p"),
        "tag": pl.when(pl.int_range(pl.len()) % 2 > 0).then(pl.lit("x")),
        "_meta": pl.lit('{"model": 1}'),
    }
    return {name: table.with_columns(**more) for name, table in dense().items()}


def zoned() -> Tables:
    """Nanoseconds in a zone, assets as categories."""
    time = pl.col("timestamp").cast(pl.Datetime("ns")).dt.replace_time_zone("America/New_York")
    asset = pl.col("asset_id").cast(pl.Categorical)
    return {name: table.with_columns(time, asset) for name, table in staggered().items()}


MARKETS = [dense, staggered, uneven_days, without_assets, backwards, with_gaps, zoned]


def clock_of(feeds: dict[str, Any], **options: Any) -> Clock:
    """A clock over feeds by asset."""
    clock = Clock(**options)
    for name, feed in feeds.items():
        clock.add_data_feed(feed, asset_id=name)
    return clock


def in_memory(tables: Tables, _: Path, **options: Any) -> dict[str, Any]:
    """One feed for each table."""
    return {name: ParquetDataFeed(table, **options) for name, table in tables.items()}


def in_files(tables: Tables, folder: Path, **options: Any) -> dict[str, Any]:
    """One feed for each file."""
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    return {n: ParquetDataFeed(folder / f"{n}.parquet", **options) for n in tables}


def shown(clock: Clock) -> list[list[Any]]:
    """Every bar of a run, and when it began if that was before the timestamp before it."""
    rows, before = [], None
    for chunk in clock.chunks():
        begins = [None] * len(chunk.codes) if chunk.begins is None else chunk.begins.tolist()
        earlier = [before, *chunk.microseconds[:-1]]
        for i, begin in enumerate(begins):
            last = earlier[int(np.searchsorted(chunk.offsets, i, side="right")) - 1]
            is_early = begin is not None and last is not None and begin < last
            rows.append([chunk.event(i), begin if is_early else None])
        before = chunk.microseconds[-1]
    return rows


def plain(survey: Survey) -> dict[str, Any]:
    """A survey that can be compared."""
    found = msgspec.structs.asdict(survey)
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in found.items()}


def opened(feeds: dict[str, Any]) -> tuple[list[Reader], list[Survey]]:
    """Feeds as a run opens them."""
    return joint.open_readers([(f, Request(f"feeds[{n!r}]", n)) for n, f in feeds.items()])


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on every feed is opened alone."""

    def switch() -> None:
        monkeypatch.setattr(joint, "_FEW", 1_000)

    return switch


@pytest.mark.parametrize("source", [in_memory, in_files])
@pytest.mark.parametrize("market", MARKETS)
def test_together_is_as_one_by_one(
    tmp_path: Path,
    source: Callable[..., dict[str, Any]],
    market: Callable[[], Tables],
    one_by_one: Callable[[], None],
) -> None:
    """The same bars, the same signals, the same beginnings, the same knowledge of each feed."""
    feeds = source(market(), tmp_path)
    readers, surveys = opened(feeds)
    clock = clock_of(feeds)
    rows, coverage, described = shown(clock), clock.signal_coverage(), clock.source()
    assert len(readers) == 1
    one_by_one()
    lone_readers, lone_surveys = opened(feeds)
    clock = clock_of(feeds)
    assert len(lone_readers) == len(feeds)
    assert [plain(survey) for survey in surveys] == [plain(survey) for survey in lone_surveys]
    lone_rows = shown(clock)
    assert len(rows) == sum(survey.rows or 0 for survey in surveys)
    assert rows == lone_rows
    assert coverage.equals(clock.signal_coverage())
    assert described == clock.source()


@pytest.mark.parametrize("options", [{"bar_duration": "1m"}, {"bar_label": "open"}])
def test_declared_times_are_applied(
    tmp_path: Path, options: dict[str, str], one_by_one: Callable[[], None]
) -> None:
    """To every feed alike."""
    options = options | {"bar_duration": "1m"}
    feeds = in_memory(staggered(), tmp_path, **options)
    assert len(opened(feeds)[0]) == 1
    rows = shown(clock_of(feeds))
    one_by_one()
    assert rows == shown(clock_of(feeds))


def test_bars_of_different_length_keep_their_beginnings(one_by_one: Callable[[], None]) -> None:
    """Two minutes beside three, as long as that is allowed."""
    minutes = [MINUTES[0] + dt.timedelta(minutes=i) for i in range(120)]
    feeds = {
        name: ParquetDataFeed(bars(minutes[:: 2 + i % 2], assets=(name,)))
        for i, name in enumerate(NAMES)
    }
    readers, _ = opened(feeds)
    assert len(readers) == 1
    rows = shown(clock_of(feeds))
    assert any(row[1] is not None for row in rows)
    one_by_one()
    assert rows == shown(clock_of(feeds))


def test_different_frequencies_are_refused_by_name(tmp_path: Path) -> None:
    """They are compared feed by feed."""
    tables = dense() | {"A06": dense()["A06"][::3]}
    words = r"feeds\['A00'\] has a bar every 1d, feeds\['A06'\] one every 3d"
    with pytest.raises(DataError, match=words):
        clock_of(in_memory(tables, tmp_path)).prepare()


def test_context_in_columns_is_the_same_for_all(
    tmp_path: Path, one_by_one: Callable[[], None]
) -> None:
    """As one feed after the other says it; where two disagree, the run is refused."""
    vix = pl.Series([None if i % 4 == 0 else 20.0 + i for i in range(20)], dtype=pl.Float64)
    tables = {name: table.with_columns(VIX=vix) for name, table in dense().items()}
    tables["A03"] = tables["A03"][:11]
    feeds = in_memory(tables, tmp_path)

    def contexts() -> list[dict[str, Any]]:
        chunks = clock_of(feeds, context_pattern="VIX").chunks()
        return [c.context_at(i) for c in chunks if c.context_at is not None for i in range(len(c))]

    together = contexts()
    assert together[1] == {"VIX": 21.0}
    one_by_one()
    assert contexts() == together
    tables["A06"] = tables["A06"].with_columns(VIX=pl.lit(1.0))
    with pytest.raises(DataError, match="context is the same for all"):
        shown(clock_of(in_memory(tables, tmp_path), context_pattern="VIX"))


def test_what_differs_is_opened_apart(tmp_path: Path) -> None:
    """Other options, other columns, files beside frames, feeds of one's own."""
    tables = dense()
    feeds = in_memory(tables, tmp_path) | in_files({"A00": tables["A00"]}, tmp_path)
    feeds["A01"] = ParquetDataFeed(tables["A01"], signal_columns=["p"])
    feeds["A02"] = FrameFeed(tables["A02"].lazy())
    readers, surveys = opened(feeds)
    assert len(readers) == 4
    assert [survey.name for survey in surveys] == [f"feeds[{name!r}]" for name in NAMES]
    feeds = in_memory(tables | {"A04": tables["A04"].with_columns(q=0.5)}, tmp_path)
    assert len(opened(feeds)[0]) == len(NAMES)
    assert len(opened(dict(list(feeds.items())[:4]))[0]) == 4


class Lone(DataFeed):
    """A feed of a user's own: one asset, bar by bar."""

    def __init__(self, asset_id: str) -> None:
        self.asset_id = asset_id
        self.days = list(DAYS)

    def get_next_event(self) -> MarketEvent | None:
        """The next day's bar."""
        return MarketEvent(self.days.pop(0), self.asset_id, 1.0, 1.0, 1.0, 1.0)

    def is_exhausted(self) -> bool:
        """No day is left."""
        return not self.days


def test_feeds_of_ones_own_stand_beside_them(tmp_path: Path) -> None:
    """They are asked event by event, as ever, and merged."""
    feeds = in_memory(dense(), tmp_path) | {f"B{i}": Lone(f"B{i}") for i in range(9)}
    clock = clock_of(feeds)
    events = [row[0] for row in shown(clock)]
    assert [e.asset_id for e in events] == [*NAMES, *(f"B{i}" for i in range(9))] * len(DAYS)


BAD = {
    "a price": ({"close": pl.lit(-1.0)}, r"feeds\['A06'\]: column 'close' must hold positive"),
    "another asset": ({"asset_id": pl.lit("ZZ")}, r"feeds\['A06'\]: the feed is for 'A06'"),
    "no asset": ({"asset_id": pl.lit(None, pl.String)}, r"feeds\['A06'\]: .* names no asset"),
    "no time": (
        {"timestamp": pl.lit(None, pl.Datetime("us"))},
        r"feeds\['A06'\]: .* missing times",
    ),
    "a time twice": ({"timestamp": pl.lit(DAYS[3])}, r"feeds\['A06'\]: .* earlier row has"),
    "text": ({"close": pl.lit("x")}, r"feeds\['A06'\]: column 'close' holds text"),
}


@pytest.mark.parametrize("source", [in_memory, in_files])
@pytest.mark.parametrize("what", BAD)
def test_what_is_refused_is_refused_by_name(
    tmp_path: Path, source: Callable[..., dict[str, Any]], what: str
) -> None:
    """As if each feed were alone: the error names the feed, and the row in it."""
    columns, words = BAD[what]
    tables = dense()
    tables["A06"] = tables["A06"].with_columns(**columns)
    feeds = source(tables, tmp_path)
    with pytest.raises(DataError, match=words):
        clock_of(feeds).prepare()


def test_a_file_that_is_empty_or_broken_is_refused_by_name(tmp_path: Path) -> None:
    """It does not just vanish among the others."""
    feeds = in_files(dense(), tmp_path)
    dense()["A06"].clear().write_parquet(tmp_path / "A06.parquet")
    with pytest.raises(DataError, match=r"feeds\['A06'\]: there are no rows"):
        clock_of(feeds).prepare()
    (tmp_path / "A06.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"A06.parquet cannot be read"):
        clock_of(feeds).prepare()
    (tmp_path / "A06.parquet").unlink()
    with pytest.raises((BacktestError, OSError), match="A06"):
        clock_of(feeds).prepare()


def test_labels_and_moments_are_told_apart(tmp_path: Path, one_by_one: Callable[[], None]) -> None:
    """One feed of dates among feeds of minutes is read as when it is alone."""
    noon = pl.col("timestamp") + pl.duration(hours=12)
    tables = {n: t.with_columns(noon) for n, t in dense().items()} | {"A06": dense()["A06"]}
    feeds = in_memory(tables, tmp_path)
    readers, surveys = opened(feeds)
    assert len(readers) == len(NAMES)
    assert [survey.axis.is_session for survey in surveys] == [n == "A06" for n in NAMES]
    rows = shown(clock_of(feeds))
    one_by_one()
    assert rows == shown(clock_of(feeds))


def test_two_feeds_of_one_asset_are_one_after_the_other(tmp_path: Path) -> None:
    """As files by year may be."""
    feeds = in_memory(dense(), tmp_path)
    later = dense()["A06"].with_columns(pl.col("timestamp") + pl.duration(days=30))
    clock = clock_of(feeds)
    clock.add_data_feed(ParquetDataFeed(later), asset_id="A06")
    events = [row[0] for row in shown(clock)]
    assert sum(event.asset_id == "A06" for event in events) == 2 * len(DAYS)


def test_together_they_are_no_larger_than_what_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More feeds than that are opened in several parts, and far too many one by one."""
    feeds = in_memory(dense() | {f"B{n}": t for n, t in without_assets().items()}, tmp_path)
    feeds = {n: ParquetDataFeed(f._data.drop("asset_id", strict=False)) for n, f in feeds.items()}
    cells = 24 * 20 * 7
    for limit, readers in ((cells, 1), (cells // 2, 2), (cells // 3, 3), (cells // 4, 24)):
        monkeypatch.setattr(stream, "_WHOLE_CELLS", limit)
        assert len(opened(feeds)[0]) == readers
    files = in_files(without_assets(), tmp_path)
    monkeypatch.setattr(stream, "_WHOLE_CELLS", 12 * 20 * 7 // 3)
    monkeypatch.setattr(joint, "_BYTES_A_CELL", 1_000_000)  # they seem to be tiny
    assert len(opened(files)[0]) == len(NAMES)


def test_an_asset_in_two_places_is_refused_with_both(tmp_path: Path) -> None:
    """The feeds that were opened together have a name as well."""
    clock = clock_of(in_memory(dense(), tmp_path) | {"A06": ParquetDataFeed(dense()["A06"])})
    clock.add_data_feed(Lone("A07"))
    words = r"feeds\['A00'\] to feeds\['A11'\] and feed 13 \(Lone\) both have a bar of 'A07'"
    with pytest.raises(DataError, match=words):
        shown(clock)
