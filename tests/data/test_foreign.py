"""pandas frames, column by column."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal

import pandas as pd
import polars as pl
import pytest

from ml4t.backtest.data.foreign import from_pandas
from ml4t.backtest.errors import DataError

DAYS = pd.to_datetime(["2024-01-02", "2024-01-03"])


def test_types_have_their_counterparts() -> None:
    """Numbers, text, booleans, times and their absent values arrive."""
    table = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [0.5, None],
            "b": [True, False],
            "s": ["x", None],
            "c": pd.Categorical(["u", None]),
            "ni": pd.array([1, None], dtype="Int64"),
            "nb": pd.array([True, None], dtype="boolean"),
            "t": DAYS,
            "z": DAYS.tz_localize("America/New_York"),
            "u": DAYS.tz_localize(dt.timezone(dt.timedelta(hours=1))),
            "o": [dt.date(2024, 1, 2), None],
        }
    )
    frame = from_pandas(table, source="data")
    new_york = pl.Datetime(frame.schema["z"].time_unit, "America/New_York")  # type: ignore[attr-defined]
    assert frame.schema["z"] == new_york
    assert frame.schema["u"].time_zone == "UTC"  # type: ignore[attr-defined]
    assert frame["t"].to_list() == DAYS.to_pydatetime().tolist()
    assert frame["z"].dt.date().to_list() == [dt.date(2024, 1, 2), dt.date(2024, 1, 3)]
    assert frame["u"][0] == dt.datetime(2024, 1, 1, 23, tzinfo=dt.UTC)
    plain = frame.drop("t", "z", "u", "f").rows()
    assert plain == [
        (1, True, "x", "u", 1.0, True, dt.date(2024, 1, 2)),
        (2, False, None, None, pytest.approx(float("nan"), nan_ok=True), None, None),
    ]


def test_an_index_that_carries_data_becomes_columns() -> None:
    """Times and assets are levels of the index in most pandas code."""
    pairs = pd.MultiIndex.from_arrays([DAYS, ["b", "a"]])
    assert from_pandas(pd.DataFrame({"x": [1, 2]}, pairs), source="d").columns == [
        "timestamp",
        "asset_id",
        "x",
    ]
    named = pairs.set_names(["Date", "Ticker"])
    assert from_pandas(pd.DataFrame({"x": [1, 2]}, named), source="d").columns == [
        "Date",
        "Ticker",
        "x",
    ]
    assert from_pandas(pd.DataFrame({"x": [1]}, [7]), source="d").columns == ["x"]


def test_meta_stays_a_dict() -> None:
    """A column of dicts keeps each dict as it is."""
    table = pd.DataFrame({"_meta": [{"a": 1}, {"b": 2}]})
    assert from_pandas(table, source="d")["_meta"].to_list() == [{"a": 1}, {"b": 2}]


def test_columns_in_levels_or_twice_are_refused() -> None:
    """The text says how to bring the table into long form."""
    wide = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("x", "a"), ("x", "b")]))
    with pytest.raises(DataError, match="long form"):
        from_pandas(wide, source="data")
    with pytest.raises(DataError, match="more than one column 'x'"):
        from_pandas(pd.DataFrame([[1, 2]], columns=["x", "x"]), source="data")


def test_a_type_without_counterpart_is_refused_by_name() -> None:
    """The column and its type are named."""
    with pytest.raises(DataError, match="column 'x' has pandas type object"):
        from_pandas(pd.DataFrame({"x": [Decimal(1), "a"]}), source="data")


def test_pandas_needs_no_pyarrow() -> None:
    """Text and times go through NumPy when pyarrow is missing."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas as pd\n"
        "from ml4t.backtest.data.foreign import from_pandas\n"
        "t = pd.to_datetime(['2024-01-02'])\n"
        "table = pd.DataFrame({'t': t, 'z': t.tz_localize('UTC'), 's': ['x']})\n"
        "print(from_pandas(table, source='d').rows())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'x'" in done.stdout
