from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import ConfigError, DataError
from ml4t.backtest.data import profile as look
from ml4t.backtest.research.profile import profile

START = dt.date(2024, 1, 1)


def day(number: int) -> dt.date:
    """The day of this number, from 0."""
    return START + dt.timedelta(days=number)


def bars(**closes: Sequence[float | None]) -> pl.DataFrame:
    """A bar a day and asset at one price; None is no bar."""
    rows = [
        {"timestamp": day(i), "asset_id": asset, "close": close}
        for asset, series in closes.items()
        for i, close in enumerate(series)
        if close is not None
    ]
    price = pl.col("close").cast(pl.Float64)
    return (
        pl.DataFrame(rows)
        .select(
            "timestamp",
            "asset_id",
            *(price.alias(name) for name in ("open", "high", "low", "close")),
            pl.lit(100.0).alias("volume"),
        )
        .sort("timestamp", "asset_id")
    )


def rows(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Some columns as tuples."""
    return frame.select(columns).rows()


def test_coverage_counts_what_is_missing_between_first_and_last() -> None:
    """Not what is before and after; by the timestamps of all assets."""
    found = look.coverage(bars(A=[1] * 10, B=[None, None, 1, None, None, 1, 1, None, 1, None]))
    columns = ("asset_id", "bars", "first", "last", "missing", "share", "longest_gap")
    assert rows(found, *columns) == [
        ("A", 10, day(0), day(9), 0, 1.0, 0),
        ("B", 4, day(2), day(8), 3, 4 / 7, 2),
    ]


def test_a_lone_bar_is_covered() -> None:
    """Nothing is missing between it and itself."""
    found = look.coverage(bars(A=[1, 1], B=[1, None]))
    assert rows(found, "asset_id", "missing", "share", "longest_gap")[1] == ("B", 0, 1.0, 0)


def test_volumes_of_zero_and_none_are_counted_apart() -> None:
    """A market that did not trade, and one that does not say."""
    volumes = [0.0, None, 5.0, 0.0]
    found = look.coverage(bars(A=[1] * 4).with_columns(pl.Series("volume", volumes)))
    assert rows(found, "zero_volume", "no_volume") == [(2, 1)]


def test_gaps_are_those_of_single_assets_longest_first() -> None:
    """With the bars around them."""
    frame = bars(A=[1] * 12, B=[1, None, 1, None, None, None, 1, *[None] * 2, 1, 1, 1])
    assert look.gaps(frame).is_empty()
    assert rows(look.gaps(frame, least=2), "asset_id", "after", "until", "missing") == [
        ("B", day(2), day(6), 3),
        ("B", day(6), day(9), 2),
    ]
    with pytest.raises(ConfigError, match="least must be 1 or more"):
        look.gaps(frame, least=0)


def test_a_pause_is_longer_than_a_weekend_with_a_holiday() -> None:
    """Five days from bar to bar are none, six are one."""
    for length, wanted in ((5, []), (6, [(day(3), day(9), 6.0)])):
        frame = bars(A=[1.0, 1.0, 1.0, 1.0, *[None] * (length - 1), 1.0, 1.0])
        assert rows(look.pauses(frame), "after", "until", "days") == wanted


def test_bars_of_months_have_no_pauses() -> None:
    """A usual step is none, however long."""
    times = [dt.date(2024, month, 1) for month in range(1, 7)]
    frame = bars(A=[1] * 6).with_columns(pl.Series("timestamp", times))
    assert look.pauses(frame).is_empty()


@pytest.mark.parametrize(
    ("after", "ratio"),
    [(50.0, 2.0), (52.0, 2.0), (25.0, 4.0), (14.1, 7.0), (5.0, 20.0), (200.0, 0.5), (1_000.0, 0.1),
     (60.0, None), (130.0, None), (100.0, None)],
)  # fmt: skip
def test_jumps_are_near_simple_ratios(after: float, ratio: float | None) -> None:
    """New units per old, within five percent."""
    found = look.jumps(bars(A=[100.0, after, after], B=[10.0, 10.0, 10.0]))
    wanted = [] if ratio is None else [("A", day(1), 100.0, pytest.approx(ratio))]
    assert rows(found, "asset_id", "timestamp", "before", "ratio") == wanted


def test_a_wrong_print_is_no_split() -> None:
    """A low that came back, and an open that came back; but an open that is late is."""
    spike = bars(A=[100.0, 100.0, 100.0]).with_columns(
        pl.Series("low", [100.0, 25.0, 100.0]), pl.Series("open", [100.0, 25.0, 100.0])
    )
    assert look.jumps(spike).is_empty()
    stale = bars(A=[100.0, 25.0, 25.0]).with_columns(pl.Series("open", [100.0, 99.0, 25.0]))
    assert rows(look.jumps(stale), "timestamp", "ratio") == [(day(1), 4.0)]


def test_outliers_are_measured_against_the_asset_itself() -> None:
    """Ten percent is nothing for B, and much for A."""
    calm = [100.0 + i % 2 * 0.5 for i in range(20)]
    wild = [100.0 if i % 2 else 80.0 for i in range(20)]
    calm[10] = 150.0
    found = look.outliers(bars(A=calm, B=wild))
    assert rows(found, "asset_id", "timestamp", "return", "is_reversed") == [
        ("A", day(10), pytest.approx(150 / 100.5 - 1), True),
        ("A", day(11), pytest.approx(100.5 / 150 - 1), False),
    ]
    with pytest.raises(ConfigError, match="must be positive"):
        look.outliers(bars(A=calm), deviations=0)


def test_wide_bars_reach_twice_or_half() -> None:
    """A low of 0.06 beside a close of 1,000 is no price."""
    frame = bars(A=[100.0, 100.0, 100.0, 100.0]).with_columns(
        pl.Series("high", [100.0, 199.0, 200.0, 100.0]), pl.Series("low", [100.0, 51.0, 99.0, 50.0])
    )
    assert rows(look.wide_bars(frame), "timestamp", "high", "low") == [
        (day(2), 200.0, 99.0),
        (day(3), 100.0, 50.0),
    ]


# -- the whole ---------------------------------------------------------------------------------


def test_a_profile_reads_as_a_run_does() -> None:
    """Names of columns, times and signals are what a run makes of them."""
    frame = bars(A=[1.0, 1.1, 1.2], B=[2.0, None, 2.1]).rename({"asset_id": "Ticker"})
    frame = frame.with_columns(score=pl.Series([0.1, None, None, None, None]))
    found = profile(frame)
    assert (found.rows, found.timestamps, found.frequency) == (5, 3, "1d")
    assert (found.zone, found.is_session) == (None, True)
    assert found.feeds[0]["columns"]["asset_id"] == "Ticker"
    assert rows(found.signals, "signal", "bars_with_value", "share") == [("score", 1, 0.2)]
    assert found.warnings == ["Signal 'score' is there on 20% of the bars (0 expired)."]


def test_moments_keep_their_zone() -> None:
    """Bars of a minute, in New York."""
    first = dt.datetime(2024, 1, 2, 15, tzinfo=dt.UTC)
    times = pl.Series("timestamp", [first + dt.timedelta(minutes=i) for i in range(5)])
    frame = bars(A=[1.0] * 5).with_columns(times.dt.convert_time_zone("America/New_York"))
    found = profile(frame)
    assert (found.zone, found.is_session, found.frequency) == ("America/New_York", False, "1m")
    assert str(found.coverage["first"][0]) == "2024-01-02 10:00:00-05:00"


def test_a_split_is_told_once() -> None:
    """As a jump, and not as an outlier beside it."""
    calm = [100.0 + i % 2 * 0.5 for i in range(30)]
    split = [close / (4 if i >= 15 else 1) for i, close in enumerate(calm)]
    found = profile(bars(A=split))
    assert found.outliers.height == 1
    assert [text.partition(":")[0] for text in found.warnings] == ["1 jump looks like a split"]


def test_what_a_run_refuses_is_refused() -> None:
    """With the run's own words."""
    with pytest.raises(DataError, match="'target' would be taken as a signal"):
        profile(bars(A=[1.0, 2.0]).with_columns(target=pl.lit(1.0)))


def test_known_defects_of_recorded_prices_are_found(shared_data: Any) -> None:
    """Google's low of 0.01 is a wrong print; Apple's shares were split seven for one."""
    daily = pl.read_parquet(shared_data / "equity_daily_raw.parquet").drop("ticker")
    found = profile(daily.rename({"asset": "asset_id"}))
    wide = found.wide_bars.filter(asset_id="GOOGL", timestamp=dt.date(2008, 9, 30))
    assert wide["low"].to_list() == [0.01]
    jumps = {(r["asset_id"], str(r["timestamp"])): r["ratio"] for r in found.jumps.to_dicts()}
    assert jumps["AAPL", "2014-06-09"] == 7.0
    assert jumps["AAPL", "2020-08-31"] == 4.0
    # One for twenty, on a day on which the price also fell by a fifth: an outlier, no ratio.
    assert ("AIG", dt.date(2009, 7, 1)) in rows(found.outliers, "asset_id", "timestamp")
    (gap,) = rows(found.gaps.filter(asset_id="QQQ"), "after", "until")
    assert gap[0] == dt.date(2004, 11, 30)
