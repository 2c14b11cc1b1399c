"""What is refused at the door, and in which words."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data import checks
from ml4t.backtest.data.feed import Request
from ml4t.backtest.data.frames import ParquetDataFeed, as_feed
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import TimeAxis
from tests.data.conftest import DAYS, bars


def refusal(frame: pl.DataFrame, **options: Any) -> str:
    """The text with which a table is refused."""
    with pytest.raises(DataError) as caught:
        ParquetDataFeed(frame, **options).open_reader(Request())
    return str(caught.value)


def with_value(column: str, row: int, value: float | None) -> pl.DataFrame:
    """Sound bars with one value replaced."""
    frame = bars()
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=pl.Float64))


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "absent (null or NaN)"),
        (math.nan, "absent (null or NaN)"),
        (math.inf, "inf"),
        (0.0, "0.0"),
        (-3.5, "-3.5"),
    ],
)
def test_prices_are_positive_and_finite(column: str, value: float | None, shown: str) -> None:
    """Column, row, time, asset, value and remedy are named."""
    text = refusal(with_value(column, 3, value))
    assert f"column '{column}' must hold positive, finite prices, and does not in 1 row" in text
    assert f"row 3 (2024-01-03, 'MSFT'), where it is {shown}" in text
    assert f"filter(pl.col('{column}').is_finite() & (pl.col('{column}') > 0))" in text


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("high", 50.0, "'high' is below 'low' in 1 row"),
        ("open", 500.0, "'high' is below 'open' in 1 row"),
        ("close", 500.0, "'high' is below 'close' in 1 row"),
        ("open", 50.0, "'open' is below 'low' in 1 row"),
        ("close", 50.0, "'close' is below 'low' in 1 row"),
    ],
)
def test_open_and_close_lie_between_low_and_high(column: str, value: float, words: str) -> None:
    """Which two columns contradict each other, and where."""
    text = refusal(with_value(column, 4, value))
    assert words in text
    assert "row 4 (2024-01-04, 'AAPL')" in text


def test_the_last_digits_of_adjusted_prices_may_disagree() -> None:
    """Products of prices and factors leave a bar by rounding, which is no error."""
    frame = bars(high=[c * (1 - 1e-12) for c in bars()["close"]])
    as_feed(frame).open_reader(Request())


def test_the_first_row_is_the_first_of_the_users_table() -> None:
    """Rows are counted in the order in which they were given, not in which they are sorted."""
    frame = with_value("close", 1, -1.0).with_columns(
        close=pl.when(pl.int_range(pl.len()) == 4).then(-2.0).otherwise("close")
    )
    text = refusal(frame.reverse())
    assert "2 rows; the first is row 1 (2024-01-04, 'AAPL'), where it is -2.0" in text


@pytest.mark.parametrize("value", [-1.0, math.inf])
def test_volume_is_not_negative(value: float) -> None:
    """An absent volume is allowed, a negative one is not."""
    text = refusal(with_value("volume", 2, value))
    assert "column 'volume' is negative or infinite in 1 row" in text
    assert "row 2 (2024-01-03, 'AAPL')" in text


def test_one_bar_per_asset_and_time() -> None:
    """Both rows are named."""
    frame = pl.concat([bars(), bars()[3:4]])
    text = refusal(frame)
    assert "1 row with a (timestamp, asset) that an earlier row has" in text
    assert "row 6 (2024-01-03, 'MSFT'): see rows 3 and 6" in text
    assert "columns={'asset_id': '...'}" in text


def test_every_row_names_its_asset() -> None:
    """A row without an asset belongs to nothing."""
    frame = bars().with_columns(
        asset_id=pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise("asset_id")
    )
    text = refusal(frame)
    assert "column 'asset_id' names no asset in 1 rows; the first is row 2" in text


def test_every_row_has_a_time() -> None:
    """A row without a time is at no time."""
    frame = bars().with_columns(
        timestamp=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("timestamp")
    )
    assert "row 5" in refusal(frame)


def test_prices_as_text_are_refused_with_the_value_that_is_no_number() -> None:
    """As CSV files and spreadsheets give them."""
    texts = ["100", "101", "1,002.5", "103", "104", "105"]
    frame = bars().with_columns(pl.Series("close", texts))
    text = refusal(frame)
    assert "column 'close' holds text" in text
    assert "'1,002.5' in row 2 is not a number" in text
    assert "is text" in refusal(bars().with_columns(pl.col("close").cast(pl.String)))


def test_daily_and_minute_bars_in_one_table_are_refused() -> None:
    """Unless the length of the bars is declared, a long bar could fill an early order."""
    minutes = [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=i) for i in range(12 * 1440)]
    days = [dt.datetime(2024, 1, 1 + i) for i in range(12)]
    fast, slow = bars(minutes, assets=("FAST",)), bars(days, assets=("SLOW",))
    text = refusal(pl.concat([fast, slow]))
    assert "'FAST' has one every 1m, 'SLOW' one every 1d" in text
    assert "bar_duration=" in text


@given(st.integers(0, 2**32 - 1))
def test_assets_that_trade_rarely_are_not_taken_for_slow_bars(seed: int) -> None:
    """Minutes without a trade are missing in real data; that is no other frequency."""
    rng = np.random.default_rng(seed)
    times = np.arange(2_000, dtype=np.int64) * 60_000_000
    present = rng.random((2_000, 4)) < np.array([1.0, 0.7, 0.3, 0.05])
    stamps, codes = np.nonzero(present)
    place = checks.Place("data", times[stamps], codes.astype(np.int32), list("abcd"), TimeAxis())
    offsets = np.append(0, np.cumsum(present.sum(axis=1)))
    assert checks.check_one_frequency(place, offsets) == 60_000_000


@pytest.mark.parametrize(
    ("steps", "is_session", "unknown"),
    [
        ([60, 60, 90], False, [False, False, False]),
        ([60, 120, 3_600], False, [False, True, True]),
        ([60, checks.NO_STEP], False, [False, True]),
        ([checks.NO_STEP, checks.NO_STEP], False, [True, True]),
        ([3_600, 3_600], False, [False, False]),
        ([86_400, 3 * 86_400, 7 * 86_400, checks.NO_STEP], True, [False, False, True, False]),
        ([7 * 86_400], True, [False]),
    ],
)
def test_an_asset_with_longer_steps_than_others_may_have_longer_bars(
    steps: list[int], is_session: bool, unknown: list[bool]
) -> None:
    """Two bars in a row settle it, however rarely an asset trades otherwise."""
    shortest = np.array([s if s == checks.NO_STEP else s * 1_000_000 for s in steps])
    axis = TimeAxis(is_session=is_session)
    assert checks.unknown_lengths(shortest, axis).tolist() == unknown


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_the_shortest_steps_are_those_of_a_walk_over_all_rows(seed: int, cut: int) -> None:
    """However the rows are cut, and with assets that show later."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, 200, 60))
    codes = rng.integers(0, 1 + np.arange(60) // 12).astype(np.int32)
    found, previous = checks.ShortestSteps(), []
    for part in (slice(0, cut), slice(cut, None)):
        previous += found.add(times[part], codes[part], 5).tolist()
    latest: dict[int, int] = {}
    shortest: dict[int, int] = {}
    for time, code, before in zip(times.tolist(), codes.tolist(), previous, strict=True):
        assert before == latest.get(code, checks.LONG_AGO)
        if code in latest:
            shortest[code] = min(time - latest[code], shortest.get(code, checks.NO_STEP))
        latest[code] = time
    assert found.steps.tolist() == [shortest.get(code, checks.NO_STEP) for code in range(5)]


def test_context_must_be_the_same_for_all_assets() -> None:
    """A column that differs between assets at one time is no context; absent values are ignored."""
    same = bars(VIX=[1.0, 1.0, None, 2.0, math.nan, None], mood=list("aabbcc"))
    blocks = as_feed(same).open_reader(Request(context_pattern="VIX|mood")).blocks(100)
    context = next(iter(blocks)).context
    assert context["VIX"][:2].tolist() == [1.0, 2.0]
    assert math.isnan(context["VIX"][2])
    assert context["mood"].tolist() == ["a", "b", "c"]
    for column in ({"VIX": [1.0, 1.0, 2.0, 2.0, 3.0, 4.0]}, {"VIX": list("aabbcd")}):
        with pytest.raises(DataError, match="'VIX' matches context_pattern") as caught:
            as_feed(bars(**column)).open_reader(Request(context_pattern="VIX"))
        assert "row 4 (2024-01-04, 'AAPL')" in str(caught.value)


def test_the_usual_step_is_the_most_frequent() -> None:
    """Weekends do not make a week of days."""
    days = np.array([1, 2, 3, 6, 7, 8]) * 86_400_000_000
    assert checks.usual_step(checks.count_steps(days)) == 86_400_000_000
    assert checks.usual_step(checks.count_steps(days[:1])) is None


def test_an_asset_that_trades_rarely_shows_its_shortest_step() -> None:
    """No step is in the majority; two bars in a row tell how long a bar is."""
    assert checks.usual_step({60: 2, 180: 3, 300: 3}) == 60


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (86_400_000_000, "1d"),
        (3_600_000_000, "1h"),
        (300_000_000, "5m"),
        (90_000_000, "90s"),
        (250_000, "0.25s"),
    ],
)
def test_durations_are_shown_as_people_write_them(microseconds: int, text: str) -> None:
    """The largest unit that divides."""
    assert checks.show_duration(microseconds) == text


def test_mixed_days_and_bars_are_one_table() -> None:
    """Sound bars pass every check."""
    survey = as_feed(bars()).open_reader(Request()).survey
    assert (survey.rows, survey.is_staggered, len(DAYS)) == (6, False, 3)
