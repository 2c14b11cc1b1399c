from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.coverage import Coverage, coverage_frame
from ml4t.backtest.data.publications import Grid, Timeline
from ml4t.backtest.data.signals import SignalFrame, read_signals, refuse_collisions
from ml4t.backtest.data.times import read_times
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.bars import Universe

if TYPE_CHECKING:
    from pathlib import Path

UTC = dt.UTC
Row = tuple[Any, ...]


def d(day: int, hour: int | None = None, minute: int = 0) -> dt.date | dt.datetime:
    """A day of March 2021 as a label, or a time of it in UTC. The first is a Monday."""
    if hour is None:
        return dt.date(2021, 3, day)
    return dt.datetime(2021, 3, day, hour, minute, tzinfo=UTC)


def table(rows: list[Row], *names: str) -> pl.DataFrame:
    """Predictions; columns are timestamp, asset_id, ml_pred unless named."""
    return pl.DataFrame(
        rows, schema=list(names or ("timestamp", "asset_id", "ml_pred")), orient="row"
    )


def _or_none(value: Any) -> Any:
    """A value, or None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


class Bars:
    """Bars of given assets at given times, without prices."""

    def __init__(self, times: list[Any], assets: list[list[str]] | str = "A") -> None:
        ids = [list(assets)] * len(times) if isinstance(assets, str) else assets
        self.universe = Universe(sorted({a for row in ids for a in row}))
        self.times, self.axis = read_times(pl.Series(times), source="bars")
        codes = [self.universe.codes[a] for row in ids for a in sorted(row)]
        self.codes = np.array(codes, dtype=np.int32)
        self.offsets = np.cumsum([0, *(len(row) for row in ids)])

    def meet(self, frame: SignalFrame, calendar: str | None = None) -> None:
        """Bind a frame to these bars."""
        frame.bind(
            self.axis,
            self.universe,
            calendar=None if calendar is None else TradingCalendar(calendar),
            first=int(self.times[0]),
            last=int(self.times[-1]),
        )

    def attach(self, frame: SignalFrame) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The signals of a bound frame at these bars."""
        return frame.attach(self.times, self.codes, self.offsets, self.universe)

    def see(
        self, data: Any, *, name: str = "ml_pred", calendar: str | None = None, **options: Any
    ) -> list[Any]:
        """What each bar sees of one signal, None where it is absent."""
        frame = SignalFrame(data, **options)
        self.meet(frame, calendar)
        signals, _ = self.attach(frame)
        return [_or_none(v) for v in signals[name].tolist()]


# When a prediction is seen.


def test_a_label_is_seen_by_the_bar_of_the_same_label() -> None:
    """Predictions and bars that are both labelled by session compare as sessions."""
    bars = Bars([d(1), d(2), d(3)])
    assert bars.see(table([(d(2), "A", 0.7)])) == [None, 0.7, 0.7]


def test_labels_of_two_kinds_compare_as_sessions() -> None:
    """A date, a naive midnight and a midnight in New York are the same label."""
    midnights = pl.Series([dt.datetime(2021, 3, day) for day in (1, 2, 3)])
    frame = table([(d(2), "A", 0.7)])
    assert Bars(midnights.to_list()).see(frame) == [None, 0.7, 0.7]
    local = midnights.dt.replace_time_zone("America/New_York").to_list()
    assert Bars(local).see(frame) == [None, 0.7, 0.7]


def test_a_daily_bar_sees_what_arrived_during_its_day() -> None:
    """The bar of the second is known at its close, after 09:00; the one of the first is not."""
    bars = Bars([d(1), d(2)])
    assert bars.see(table([(d(2, 9), "A", 0.7)])) == [None, 0.7]
    assert bars.see(table([(d(2, 9), "A", 0.7)]), calendar="XNYS") == [None, 0.7]


def test_a_daily_bar_does_not_see_what_arrived_after_its_close() -> None:
    """New York closes at 21:00 UTC; without a calendar the day ends at midnight."""
    bars = Bars([d(1), d(2)])
    late = table([(d(1, 22), "A", 0.7)])
    assert bars.see(late, calendar="XNYS") == [None, 0.7]
    assert bars.see(late) == [0.7, 0.7]


def test_a_minute_bar_does_not_see_a_prediction_labelled_with_its_day() -> None:
    """A daily prediction summarises the day, and is seen from the session's close on."""
    bars = Bars([d(1, 15), d(1, 20, 59), d(1, 21), d(2, 15)])
    labelled = table([(d(1), "A", 0.7)])
    assert bars.see(labelled, calendar="XNYS") == [None, None, 0.7, 0.7]
    assert bars.see(labelled) == [None, None, None, 0.7]


def test_an_instant_is_seen_from_that_instant_on() -> None:
    """The bar at the same time sees it."""
    bars = Bars([d(1, 15), d(1, 16), d(1, 17)])
    assert bars.see(table([(d(1, 16), "A", 0.7)])) == [None, 0.7, 0.7]


def test_available_at_decides_alone() -> None:
    """A prediction for the second, published the evening before, is seen then."""
    bars = Bars([d(1, 15), d(1, 23), d(2, 15)])
    rows = [(d(2, 15), d(1, 22), "A", 0.7)]
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    assert bars.see(table(rows, *names)) == [None, 0.7, 0.7]
    assert bars.see(table(rows, *names), delay="5d") == [None, 0.7, 0.7]


def test_available_at_may_be_an_instant_where_timestamp_is_a_label() -> None:
    """The label of the first, known on the second at 07:00, is seen by the bar of the second."""
    rows = [(d(1), d(2, 7), "A", 0.7)]
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    assert Bars([d(1), d(2)]).see(table(rows, *names)) == [None, 0.7]


def test_a_delay_of_days_moves_a_label() -> None:
    """Friday's prediction known a day later is first seen by Monday's bar."""
    bars = Bars([d(4), d(5), d(8)])
    assert bars.see(table([(d(5), "A", 0.7)]), delay="1d") == [None, None, 0.7]


def test_a_delay_of_hours_is_added_to_the_close() -> None:
    """An hour after the close the day's bar is over; the next minute bar may still come."""
    rows = table([(d(1), "A", 0.7)])
    assert Bars([d(1), d(2)]).see(rows, delay="1h") == [None, 0.7]
    minutes = Bars([d(1, 21, 59), d(1, 22)])
    assert minutes.see(rows, delay=dt.timedelta(hours=1), calendar="XNYS") == [None, 0.7]


def test_a_delay_of_an_instant_is_elapsed_time() -> None:
    """Half an hour after the prediction's time."""
    bars = Bars([d(1, 16), d(1, 16, 29), d(1, 16, 30)])
    assert bars.see(table([(d(1, 16), "A", 0.7)]), delay="30m") == [None, None, 0.7]


# Which prediction is current.


def test_a_newer_publication_ends_the_older_for_every_asset() -> None:
    """B is missing from the second publication, so it has no prediction from then on."""
    bars = Bars([d(1), d(2), d(3)], "AB")
    rows = [(d(1), "A", 0.1), (d(1), "B", 0.2), (d(2), "A", 0.3)]
    assert bars.see(table(rows)) == [0.1, 0.2, 0.3, None, 0.3, None]


def test_a_publication_for_assets_outside_the_run_counts_too() -> None:
    """Z is not traded, but its row shows that the model has published."""
    bars = Bars([d(1), d(2)])
    assert bars.see(table([(d(1), "A", 0.1), (d(2), "Z", 0.3)])) == [0.1, None]


def test_the_latest_timestamp_wins_over_the_latest_arrival() -> None:
    """A row about an earlier time that arrives late changes nothing."""
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    rows = [(d(2, 9), d(2, 10), "A", 0.2), (d(1, 9), d(2, 12), "A", 0.1)]
    assert Bars([d(2, 11), d(2, 13)]).see(table(rows, *names)) == [0.2, 0.2]


def test_a_correction_of_the_same_timestamp_wins_when_it_arrives() -> None:
    """Among rows of one asset and timestamp the last to become available counts."""
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    rows = [(d(2, 9), d(2, 10), "A", 0.2), (d(2, 9), d(2, 12), "A", 0.3)]
    assert Bars([d(2, 11), d(2, 13)]).see(table(rows, *names)) == [0.2, 0.3]


def test_a_null_is_an_abstention_and_never_filled() -> None:
    """Null and NaN are absent, though an older value exists."""
    rows = [(d(1), "A", 0.1), (d(2), "A", None), (d(3), "A", math.nan)]
    bars = Bars([d(1), d(2), d(3)])
    assert bars.see(table(rows)) == [0.1, None, None]
    assert bars.see(table(rows), max_age="9d") == [0.1, None, None]


def test_with_a_maximal_age_each_asset_keeps_its_own() -> None:
    """B keeps its prediction of the first for two days, and no longer."""
    bars = Bars([d(1), d(2), d(3), d(4)], "AB")
    rows = [(d(1), "A", 0.1), (d(1), "B", 0.2), (d(2), "A", 0.3)]
    seen = bars.see(table(rows), max_age="2d")
    assert seen == [0.1, 0.2, 0.3, 0.2, 0.3, 0.2, 0.3, None]


def test_the_maximal_age_counts_from_when_a_value_became_known() -> None:
    """Exactly as old is still current."""
    bars = Bars([d(1, 17), d(1, 17, 1)])
    assert bars.see(table([(d(1, 16), "A", 0.7)]), max_age="1h") == [0.7, None]


def test_with_a_maximal_age_an_old_value_does_not_come_back() -> None:
    """The newest timestamp of an asset counts even when it has expired."""
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    rows = [(d(2, 9), d(2, 10), "A", 0.2), (d(1, 9), d(2, 12), "A", 0.1)]
    assert Bars([d(2, 11), d(2, 13)]).see(table(rows, *names), max_age="2h") == [0.2, None]


class Naive:
    """The rules as loops, over rows of (timestamp, available, asset, value)."""

    def __init__(self, rows: list[tuple[int, int, str, float]], max_age: int | None) -> None:
        self.rows = rows
        self.max_age = max_age

    def see(self, now: int, asset: str) -> tuple[float | None, bool]:
        """The value seen, and whether there is none though the asset had a row."""
        known = [row for row in self.rows if row[1] <= now]
        mine = [row for row in known if row[2] == asset]
        if not mine:
            return None, False
        newest = max(mine, key=lambda row: (row[0], row[1]))
        if self.max_age is None:
            is_current = newest[0] == max(row[0] for row in known)
        else:
            is_current = now - newest[1] <= self.max_age
        return (newest[3], False) if is_current else (None, True)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[tuple[int, int, str, float]], list[list[str]], Any]:
    stamps = st.integers(0, 12)
    if draw(st.booleans()):  # as the grid wants them
        lag = draw(st.integers(0, 3))
        keys = draw(st.lists(st.tuples(stamps, st.sampled_from("ABCZ")), unique=True, min_size=1))
        rows = [(t, t + lag, a, float(i)) for i, (t, a) in enumerate(keys)]
    else:
        three = st.tuples(stamps, stamps, st.sampled_from("ABCZ"))
        keys3 = draw(st.lists(three, unique=True, min_size=1))
        rows = [(t, k, a, float(i)) for i, (t, k, a) in enumerate(keys3)]
    bars = draw(st.lists(st.lists(st.sampled_from("ABC"), unique=True), min_size=1, max_size=15))
    if draw(st.booleans()):
        bars = [["A", "B", "C"]] * len(bars)
    return rows, bars, draw(st.none() | st.integers(0, 5))


@given(_cases())
def test_the_join_agrees_with_a_loop(case: Any) -> None:
    """Values and counts are those of the rules written as loops over rows."""
    rows, assets, max_age = case
    minute = dt.timedelta(minutes=1)
    start = dt.datetime(2021, 3, 1, 9, 30)
    shown = [(start + t * minute, start + k * minute, a, v) for t, k, a, v in rows]
    frame = table([*shown], "timestamp", "available_at", "asset_id", "ml_pred")
    signals = SignalFrame(frame, max_age=None if max_age is None else max_age * minute)
    bars = Bars([start + i * minute for i in range(len(assets))], [*assets])
    bars.universe = Universe(["A", "B", "C"])
    bars.codes = np.array(["ABC".index(a) for row in assets for a in sorted(row)], dtype=np.int32)
    signals.bind(bars.axis, bars.universe)
    seen = bars.attach(signals)[0]["ml_pred"].tolist()
    loop = Naive(rows, max_age)
    expected = [loop.see(i, a) for i, row in enumerate(assets) for a in sorted(row)]
    assert [_or_none(v) for v in seen] == [value for value, _ in expected]
    coverage = signals.coverage[0]
    assert coverage.bars == len(expected)
    assert coverage.bars_with_value == sum(value is not None for value, _ in expected)
    assert coverage.expired == sum(is_expired for _, is_expired in expected)


def test_the_usual_table_is_searched_by_grid_and_others_by_time() -> None:
    """Both ways are in use, or the test above would compare one."""
    bars = Bars([d(1), d(2)], "AB")
    frame = SignalFrame(table([(d(1), "A", 0.1), (d(1), "B", 0.2), (d(2), "A", 0.3)]))
    bars.meet(frame)
    assert isinstance(frame._rows, Grid)
    aged = SignalFrame(table([(d(1), "A", 0.1)]), max_age="1d")
    bars.meet(aged)
    assert isinstance(aged._rows, Timeline)


# What the table may look like.


def test_numbers_booleans_and_text_are_signals() -> None:
    """Numbers arrive as floats, the others as they are; a missing one is None."""
    rows = [(d(1), "A", 3, True, "up"), (d(2), "A", None, None, None)]
    frame = SignalFrame(table(rows, "date", "symbol", "rank", "is_long", "regime"))
    bars = Bars([d(1), d(2)])
    bars.meet(frame)
    signals, meta = bars.attach(frame)
    assert meta is None
    assert frame.names == ["rank", "is_long", "regime"]
    assert signals["rank"].dtype == np.float64
    assert signals["rank"][0] == 3.0
    assert np.isnan(signals["rank"][1])
    assert signals["is_long"].tolist() == [True, None]
    assert signals["regime"].tolist() == ["up", None]


@pytest.mark.parametrize("form", ["struct", "json"])
def test_meta_is_a_dict_per_row(form: str) -> None:
    """From a struct or JSON text; missing entries are left out, missing rows are None."""
    given_rows = [{"model_version": "v1", "fold": None}, {"model_version": "v2", "fold": 3}, None]
    meta = (
        pl.Series(given_rows)
        if form == "struct"
        else pl.Series(['{"model_version":"v1"}', '{"model_version":"v2","fold":3}', None])
    )
    frame = table([(d(1), "A", 0.1), (d(2), "A", 0.2), (d(3), "A", 0.3)])
    signals = SignalFrame(frame.with_columns(_meta=meta))
    assert signals.names == ["ml_pred"]
    assert signals.has_meta
    bars = Bars([d(1), d(2), d(3)])
    bars.meet(signals)
    found = bars.attach(signals)[1]
    assert found is not None
    assert found.tolist() == [{"model_version": "v1"}, {"model_version": "v2", "fold": 3}, None]


def test_meta_of_another_type_is_refused() -> None:
    """The error says what it holds."""
    with pytest.raises(DataError, match=r"'_meta' has type Int64. It holds a struct or JSON"):
        SignalFrame(table([(d(1), "A", 0.1, 5)], "date", "asset", "p", "_meta"))


def test_every_kind_of_table_is_read(tmp_path: Path) -> None:
    """Polars, lazy, pandas, Arrow and files give the same."""
    frame = table([(dt.datetime(2021, 3, 1), "A", 0.1), (dt.datetime(2021, 3, 2), "A", 0.2)])
    frame.write_parquet(tmp_path / "p.parquet")
    frame.write_csv(tmp_path / "p.csv")
    pandas = frame.to_pandas()
    indexed = pandas.set_index(["timestamp", "asset_id"])
    files = [tmp_path / "p.parquet", str(tmp_path / "p.csv")]
    for data in (frame, frame.lazy(), pandas, indexed, frame.to_arrow(), *files):
        assert Bars([d(1), d(2), d(3)]).see(data) == [0.1, 0.2, 0.2]


def test_row_order_does_not_matter() -> None:
    """A shuffled table gives the same."""
    rows = [(d(day), asset, day + ord(asset) / 100) for day in range(1, 9) for asset in "ABC"]
    bars = Bars([d(day) for day in range(1, 9)], "ABC")
    shuffled = table(rows).sample(fraction=1.0, shuffle=True, seed=5)
    assert bars.see(shuffled) == bars.see(table(rows))


def test_a_single_asset_run_needs_no_column_of_assets() -> None:
    """The only asset is meant."""
    assert Bars([d(1), d(2)]).see(table([(d(2), 0.7)], "date", "ml_pred")) == [None, 0.7]


def test_without_a_column_of_assets_several_assets_are_refused() -> None:
    """The error counts them and says what to add."""
    with pytest.raises(DataError, match=r"no column of assets, but the run has 2: 'A', 'B'"):
        Bars([d(1)], "AB").see(table([(d(1), 0.7)], "date", "ml_pred"))


def test_assets_that_show_later_are_matched_then() -> None:
    """A feed may name its assets as it goes."""
    frame = SignalFrame(table([(d(1), "A", 0.1), (d(1), "B", 0.2)]))
    first, second = Bars([d(1)], "B"), Bars([d(2)], "B")
    universe = first.universe
    frame.bind(first.axis, universe)
    seen = [frame.attach(first.times, first.codes, first.offsets, universe)[0]["ml_pred"].tolist()]
    universe.add("A")
    codes, offsets = np.array([0, 1], dtype=np.int32), np.array([0, 2])
    seen += [frame.attach(second.times, codes, offsets, universe)[0]["ml_pred"].tolist()]
    assert seen == [[0.2], [0.2, 0.1]]


def test_signal_columns_choose_and_allow_labels() -> None:
    """Only those are taken, and a label when it is named."""
    frame = table([(d(1), "A", 0.1, 0.2, 0.3)], "date", "asset", "p", "fwd_ret", "q")
    assert SignalFrame(frame, signal_columns=["fwd_ret", "p", "elsewhere"]).names == [
        "fwd_ret",
        "p",
    ]


@pytest.mark.parametrize(
    "name", ["target", "label", "y", "fwd_5d", "Forward_ret", "future_x", "next_r"]
)
def test_columns_named_like_labels_are_refused(name: str) -> None:
    """Also in a table that holds only predictions."""
    with pytest.raises(DataError, match=f"signals: '{name}' would be taken as a signal"):
        SignalFrame(table([(d(1), "A", 0.1)], "date", "asset", name))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"date": [], "p": []}), "there are no rows"),
        (table([("A", 0.1)], "asset", "p"), "no column of times: one of 'timestamp'"),
        (table([(d(1), "A")], "date", "asset"), "no column that could be a signal"),
        (table([(d(1), "A", 0.1)], "date", "asset", "Close"), "'Close' .* the name of a price"),
        (table([(d(1), None, 0.1)], "date", "asset", "p"), "'asset' is missing in 1 rows.* row 0"),
        (table([(d(1), "A", 0.1), (None, "A", 0.1)], "date", "asset", "p"), "first is in row 1"),
    ],
)
def test_tables_that_cannot_be_predictions_are_refused(frame: pl.DataFrame, message: str) -> None:
    """The error names the table, the column and the row."""
    with pytest.raises(DataError, match=f"signals.*{message}"):
        SignalFrame(frame)


def test_signal_columns_that_match_nothing_are_refused() -> None:
    """With the nearest name."""
    frame = table([(d(1), "A", 0.1)])
    with pytest.raises(
        DataError, match=r"none of signal_columns=\['ml_prd'\]. Did you mean 'ml_pred'"
    ):
        SignalFrame(frame, signal_columns=["ml_prd"])
    with pytest.raises(DataError, match=r"signal_columns=\[\] takes nothing"):
        SignalFrame(frame, signal_columns=[])


def test_a_named_column_of_another_type_is_refused() -> None:
    """A date is no signal."""
    frame = table([(d(1), "A", d(1))], "date", "asset", "until")
    with pytest.raises(DataError, match=r"'until' has type Date and cannot be a signal"):
        SignalFrame(frame, signal_columns=["until"])


def test_rows_that_repeat_another_are_refused() -> None:
    """The error has the row and the command that keeps one of each."""
    rows = [(d(2), "A", 0.1), (d(1), "A", 0.1), (d(2), "A", 0.2)]
    with pytest.raises(
        DataError,
        match=r"1 rows with the same \(timestamp, asset_id\) .* row 2 \(2021-03-02, 'A'\).*unique",
    ):
        SignalFrame(table(rows))


# Where two sources meet.


def test_naive_and_zoned_times_are_refused_with_both_named() -> None:
    """Of `timestamp` and of `available_at`."""
    bars = Bars([d(1, 15)])
    with pytest.raises(
        DataError, match=r"signals \(timestamp\) is naive, the price data is in UTC"
    ):
        bars.see(table([(dt.datetime(2021, 3, 1, 9), "A", 0.1)]))
    names = ("timestamp", "available_at", "asset_id", "ml_pred")
    rows = [(d(1), dt.datetime(2021, 3, 1, 9), "A", 0.1)]
    with pytest.raises(DataError, match=r"signals \(available_at\) is naive"):
        bars.see(table(rows, *names))


def test_no_asset_in_common_is_refused_with_examples() -> None:
    """Of both sides."""
    with pytest.raises(
        DataError, match=r"no asset in common: predictions are for 'AAPL.US', bars for 'A', 'B'"
    ):
        Bars([d(1)], "AB").see(table([(d(1), "AAPL.US", 0.1)]))


def test_predictions_after_the_last_bar_are_refused() -> None:
    """No bar could see them."""
    with pytest.raises(
        DataError,
        match=r"start after the last bar.* from 2021-03-05 to .*; bars run from 2021-03-01 to ",
    ):
        Bars([d(1), d(2)]).see(table([(d(5), "A", 0.1), (d(6), "A", 0.1)]))


def test_predictions_that_are_too_old_for_the_first_bar_are_refused() -> None:
    """With a maximal age; without one the last publication stays current."""
    frame = table([(d(1), "A", 0.1)])
    with pytest.raises(DataError, match=r"are older than signal_max_age allows"):
        Bars([d(8), d(9)]).see(frame, max_age="3d")
    assert Bars([d(8), d(9)]).see(frame) == [0.1, 0.1]


def test_a_run_in_which_no_bar_saw_a_value_is_refused() -> None:
    """What could not be told before the run is told after it."""
    bars = Bars([d(1), d(2)], [["A"], ["B"]])
    frame = SignalFrame(table([(d(2), "A", 0.1)]))
    bars.meet(frame)
    bars.attach(frame)
    with pytest.raises(DataError, match=r"none of the 2 bars of the run had a value of 'ml_pred'"):
        frame.refuse_no_match()
    frame.reset()
    frame.refuse_no_match()  # no bars, no complaint


def test_several_frames_keep_their_column_names() -> None:
    """The key names the frame, not the signal."""
    daily = table([(d(1), "A", 0.1)], "date", "asset", "slow")
    hourly = table([(d(1, 10), "A", 0.2)], "date", "asset", "fast")
    frames = read_signals({"daily": daily, "hourly": hourly})
    assert [(f.name, f.names) for f in frames] == [
        ("signals['daily']", ["slow"]),
        ("signals['hourly']", ["fast"]),
    ]
    assert read_signals(None) == []


def test_signals_of_one_name_from_two_sources_are_refused() -> None:
    """Both sources are named."""
    frame = table([(d(1), "A", 0.1)])
    with pytest.raises(
        DataError, match=r"'ml_pred' comes from both signals\['a'\] and signals\['b'\]"
    ):
        read_signals({"a": frame, "b": frame})
    with pytest.raises(DataError, match=r"'ml_pred' comes from both the price data and signals"):
        refuse_collisions({"the price data": ["ml_pred"], "signals": ["ml_pred"]})


def test_an_empty_mapping_is_refused() -> None:
    """It is a mistake more likely than a wish."""
    with pytest.raises(ConfigError, match=r"is empty"):
        read_signals({})


# What the result says.


def test_coverage_counts_values_ages_and_what_expired() -> None:
    """A has values 0 and 1 days old; B is dropped on the third day."""
    bars = Bars([d(1), d(2), d(3)], "AB")
    rows = [(d(1), "A", 0.1), (d(1), "B", 0.2), (d(3), "A", 0.3)]
    frame = SignalFrame(table(rows))
    bars.meet(frame)
    bars.attach(frame)
    row = coverage_frame(frame.coverage).row(0, named=True)
    assert row == {
        "signal": "ml_pred",
        "source": "signals",
        "bars": 6,
        "bars_with_value": 5,
        "share": 5 / 6,
        "mean_age": dt.timedelta(days=2) / 5,
        "max_age": dt.timedelta(days=1),
        "expired": 1,
    }


def test_coverage_of_nothing() -> None:
    """No bars, no age; the columns are there."""
    row = coverage_frame([Coverage("p", "the price data")]).row(0, named=True)
    assert (row["share"], row["mean_age"], row["max_age"]) == (0.0, None, None)
    assert coverage_frame([]).columns[:2] == ["signal", "source"]


def test_signals_of_the_price_data_are_new_with_their_bar() -> None:
    """Without ages the value became known with the bar."""
    coverage = Coverage("p", "the price data")
    coverage.add(np.array([True, False]))
    row = coverage_frame([coverage]).row(0, named=True)
    assert (row["bars_with_value"], row["max_age"]) == (1, dt.timedelta(0))


def test_the_description_tells_two_tables_apart() -> None:
    """Same shape, another value, another hash."""
    one = SignalFrame(table([(d(1), "A", 0.1)])).describe()
    other = SignalFrame(table([(d(1), "A", 0.2)])).describe()
    assert one | {"content": ""} == other | {"content": ""}
    assert one["content"] != other["content"]


def test_pandas_with_times_in_the_index_is_read() -> None:
    """The usual shape of a prediction in pandas: one column, dated index, one asset."""
    index = pd.DatetimeIndex(["2021-03-01", "2021-03-02"])
    frame = pd.DataFrame({"ml_pred": [0.1, 0.2]}, index=index)
    assert Bars([d(1), d(2)]).see(frame) == [0.1, 0.2]


def test_a_frame_can_serve_several_runs() -> None:
    """Meeting other bars starts anew."""
    frame = SignalFrame(table([(d(1), "A", 0.1)]))
    for bars in (Bars([d(1)]), Bars([d(2, 10)])):
        bars.meet(frame)
        assert bars.attach(frame)[0]["ml_pred"].tolist() == [0.1]


def test_a_table_of_predictions_is_read_with_the_same_care_as_prices() -> None:
    """Counts of rows, second keys, numbers as text, names of labels, columns left out."""
    frame = table([(d(1), "A", 0.5), (d(2), "A", 0.25)], "timestamp", "asset_id", "p")
    counted = frame.with_columns(
        index=pl.int_range(pl.len()), symbol="asset_id", ranks=pl.concat_list("p", "p")
    )
    found = SignalFrame(counted)
    assert found.names == ["p"]
    assert list(found.describe()["columns_left_out"]) == ["ranks"]
    for change, words in (
        ({"symbol": pl.lit("B")}, "'asset_id' and 'symbol' could each be the asset_id"),
        ({"p": pl.Series(["0,5", "0,25"])}, "The comma is the decimal mark"),
        ({"y_true": pl.lit(1.0)}, "the name is that of a label"),
        ({"Unnamed: 0": pl.lit(7)}, "has no name"),
    ):
        with pytest.raises(DataError, match=words):
            SignalFrame(frame.with_columns(**change))


@pytest.mark.parametrize("name", ["avail_at", "availableAt", "known_at"])
def test_a_time_that_is_not_taken_is_refused(name: str) -> None:
    """Ignored, it would let predictions be seen too early."""
    frame = pl.DataFrame({"timestamp": [d(1)], "asset_id": ["A"], "score": [0.5], name: [d(4)]})
    with pytest.raises(DataError, match=f"column '{name}' holds times.*call it 'available_at'"):
        Bars([d(1), d(2)]).see(frame)
