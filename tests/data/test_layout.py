"""Which column is what."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from ml4t.backtest.data import layout as layouts
from ml4t.backtest.data.layout import Layout, Naming, refuse_labels
from ml4t.backtest.errors import ConfigError, DataError

OHLC: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close"), pl.Float64)
BARS: dict[str, Any] = {"timestamp": pl.Date, "asset_id": pl.String, **OHLC, "volume": pl.Int64}


def recognise(columns: dict[str, Any], naming: Naming, source: str) -> Layout:
    """As layout.recognise, of columns by type."""
    return layouts.recognise(columns, naming, source)


@pytest.mark.parametrize("time", ["timestamp", "Datetime", "DATE", "time", "ts", " Date "])
@pytest.mark.parametrize("asset", ["asset_id", "Asset", "SYMBOL", "ticker"])
def test_usual_names_are_recognised_in_any_case(time: str, asset: str) -> None:
    """Times, assets and prices are found under their usual names."""
    schema = {time: pl.Date, asset: pl.String, **{n.title(): t for n, t in OHLC.items()}}
    layout = recognise(schema, Naming(), "data")
    assert (layout.time, layout.asset) == (time, asset)
    assert layout.prices == {n: n.title() for n in OHLC}
    assert layout.volume is None


def test_every_other_column_of_numbers_booleans_or_text_is_a_signal() -> None:
    """What is left is a signal, if it can be one; other spellings of a key are not left."""
    extra = {
        "ml_pred": pl.Float32,
        "up": pl.Boolean,
        "regime": pl.Categorical,
        "ticker": pl.String,
        "date": pl.Date,
        "embedding": pl.List(pl.Float64),
        "empty": pl.Null,
        "_meta": pl.Struct({"model_version": pl.String}),
    }
    layout = recognise(BARS | extra, Naming(), "data")
    assert layout.signals == ("ml_pred", "up", "regime")
    assert layout.meta == "_meta"


def test_columns_can_be_named_explicitly() -> None:
    """`columns` overrides the usual names."""
    schema = BARS | {"Last": pl.Float64, "when": pl.Date}
    naming = Naming(columns={"timestamp": "when", "close": "Last"})
    layout = recognise(schema, naming, "data")
    assert layout.time == "when"
    assert layout.prices["close"] == "Last"


def test_price_column_stands_for_all_prices() -> None:
    """Close-only data is allowed when asked for; the other prices are then no signals."""
    layout = recognise(BARS | {"adj": pl.Float64}, Naming(price_column="adj"), "data")
    assert set(layout.prices.values()) == {"adj"}
    assert layout.signals == ()


@pytest.mark.parametrize(
    ("schema", "naming", "words"),
    [
        ({"asset": pl.String, **OHLC}, Naming(), ["no column of times", "columns={'timestamp'"]),
        (
            {"date": pl.Date, "close": pl.Float64},
            Naming(),
            ["no columns 'open', 'high', 'low'", "price_column='close'"],
        ),
        (
            {"date": pl.Date, **OHLC} | {"clse": pl.Float64, "close": pl.Date},
            Naming(),
            ["'close' has type Date"],
        ),
        (
            {
                "date": pl.Date,
                "open": pl.Float64,
                "high": pl.Float64,
                "low": pl.Float64,
                "clos": pl.Int64,
            },
            Naming(),
            ["no column for 'close'", "Did you mean 'clos'?"],
        ),
        (
            {"Date": pl.String, "Time": pl.String, **OHLC},
            Naming(),
            ["'Date' and 'Time'", "columns={'timestamp': 'Date'}"],
        ),
        (
            {"Close": pl.Float64, "CLOSE": pl.Float64, "date": pl.Date},
            Naming(),
            ["'Close' and 'CLOSE' could each be the close"],
        ),
        (BARS, Naming(columns={"close": "Lst"}), ["there is no such column"]),
        (BARS, Naming(price_column="adj_clse"), ["price_column='adj_clse'"]),
        (
            BARS | {"ml_pred": pl.Float64},
            Naming(signal_columns=("ml_prd",)),
            ["signal_columns='ml_prd'", "Did you mean 'ml_pred'?"],
        ),
        (
            BARS | {"when": pl.Date},
            Naming(signal_columns=("when",)),
            ["'when' has type Date and cannot be a signal"],
        ),
        (BARS | {"asset_id": pl.Float64}, Naming(), ["'asset_id' has type Float64"]),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(
    schema: dict, naming: Naming, words: list[str]
) -> None:
    """The text says which column, and what to do."""
    with pytest.raises(DataError) as caught:
        recognise(schema, naming, "data")
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_key_of_columns_is_an_option_error() -> None:
    """`columns` knows timestamp, asset_id, prices and volume."""
    with pytest.raises(ConfigError, match="Did you mean 'close'"):
        recognise(BARS, Naming(columns={"clos": "close"}), "data")


@pytest.mark.parametrize(
    "name", ["target", "LABEL", "y", "fwd_ret_5d", "Forward_1", "future_x", "next_close"]
)
def test_columns_named_like_labels_are_refused_unless_listed(name: str) -> None:
    """What a model was trained to predict is not what was known."""
    schema = BARS | {name: pl.Float64, "ml_pred": pl.Float64}
    with pytest.raises(DataError, match=name):
        recognise(schema, Naming(), "data")
    assert recognise(schema, Naming(signal_columns=(name,)), "data").signals == (name,)
    assert recognise(schema, Naming(wanted=(name, "other")), "data").signals == (name,)
    assert recognise(schema, Naming(signal_columns=("ml_pred",)), "data").signals == ("ml_pred",)
    with pytest.raises(DataError, match=name):
        recognise(schema, Naming(context_pattern=f"(?i){name}"), "data")


@pytest.mark.parametrize(
    "name",
    [
        *("y_true", "Y_test", "y_train", "y_val", "ret_fwd_5", "ret_5_fwd", "RET_FWD", "r_forward"),
        *("ret_future", "ret_forward_5d", "ret_future5", "price_target", "up_label"),
        *("label_5d", "target_5d", "y_1", "Y_10d", "target_return", "label_up", "ret_5d_ahead"),
    ],
)
def test_more_names_of_labels_are_no_signals_unless_listed(name: str) -> None:
    """As context they may be asked for: ES_future is a market."""
    schema = BARS | {name: pl.Float64}
    with pytest.raises(DataError, match=name):
        recognise(schema, Naming(), "data")
    assert recognise(schema, Naming(signal_columns=(name,)), "data").signals == (name,)
    assert recognise(schema, Naming(context_pattern=name), "data").context == (name,)


@pytest.mark.parametrize(
    "name", ["adj_close", "Adj Close", "adjusted_open", "close_adj", "AdjPrice"]
)
def test_adjusted_prices_are_no_signals_unless_listed(name: str) -> None:
    """They know of dividends and splits that are yet to come."""
    schema = BARS | {name: pl.Float64, "adj_factor_rank": pl.Float64}
    found = recognise(schema, Naming(), "data")
    assert found.signals == ("adj_factor_rank",)
    assert found.left_out == {name: "adjusted prices know the future"}
    assert recognise(schema, Naming(signal_columns=(name,)), "data").signals == (name,)


def test_names_that_only_resemble_labels_pass() -> None:
    """Only whole words at the ends count; predictions are none."""
    names = [
        "targets_hit",
        "yield",
        "nextgen",
        "forwardness",
        "label2",
        "y_pred",
        "y_hat",
        "y_prob",
        "target_weight",
    ]
    names += ["forwarder", "div_yield", "straightforward", "carry_forwarder", "futures_basis"]
    refuse_labels([*names, "targeted", "labelled", "on_target_share"], "data")


def test_columns_that_match_the_pattern_are_context_and_no_signals() -> None:
    """The whole name must match; keys and prices never do."""
    schema = BARS | {"VIX": pl.Float64, "VIX_ratio": pl.Float64, "SPY_trend": pl.String}
    layout = recognise(schema, Naming(context_pattern="VIX|SPY_.*|close|asset.*"), "data")
    assert layout.context == ("VIX", "SPY_trend")
    assert layout.signals == ("VIX_ratio",)
    with pytest.raises(ConfigError, match="not a regular expression"):
        recognise(schema, Naming(context_pattern="("), "data")
