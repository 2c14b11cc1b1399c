"""The numbers a user sets: what is refused, and how they are written down."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from ml4t.backtest import BacktestEngine, ConfigError, RiskLimits
from ml4t.backtest.testing.markets import ten_bars
from tests.stories.plan import Plan

AMOUNTS = ("max_order_value", "max_order_quantity", "max_position_value")
SHARES = ("max_position_weight", "max_gross_exposure", "max_net_exposure", "max_price_distance")
LOSSES = ("max_daily_loss", "max_drawdown")


def made(name: str, value: Any) -> RiskLimits:
    """Limits with one option."""
    options: dict[str, Any] = {name: value}
    return RiskLimits(**options)


@pytest.mark.parametrize("name", [*AMOUNTS, *SHARES, *LOSSES])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "0.1"])
def test_what_is_no_positive_number_is_refused(name: str, value: Any) -> None:
    """The error names the option and what was given."""
    with pytest.raises(
        ConfigError, match=f"{name} must be a positive, finite number.*not {value!r}"
    ):
        made(name, value)


@pytest.mark.parametrize("name", [*SHARES, *LOSSES])
def test_percentages_are_fractions(name: str) -> None:
    """20 was surely meant in per cent."""
    with pytest.raises(ConfigError, match=f"{name}=20 is refused: it is a fraction, 0.05 is five"):
        made(name, 20)


@pytest.mark.parametrize("name", LOSSES)
def test_nobody_loses_more_than_all(name: str) -> None:
    """A loss is a fraction of equity, up to all of it."""
    with pytest.raises(ConfigError, match=r"at most 1\."):
        made(name, 1.5)
    assert getattr(made(name, 1), name) == 1.0


@pytest.mark.parametrize("value", [0, -3, 1.5, True, "10"])
def test_orders_per_minute_are_counted(value: Any) -> None:
    """A whole number from 1."""
    with pytest.raises(ConfigError, match="max_orders_per_minute must be a whole number from 1"):
        RiskLimits(max_orders_per_minute=value)


@pytest.mark.parametrize("name", ["allowed_assets", "forbidden_assets"])
@pytest.mark.parametrize(("value", "words"), [("AAPL", "takes a list"), ([1], "names of assets")])
def test_assets_are_a_list_of_names(name: str, value: Any, words: str) -> None:
    """One name alone is a sequence of letters, and not what was meant."""
    with pytest.raises(ConfigError, match=f"{name}.*{words}"):
        made(name, value)


def test_an_asset_is_allowed_or_forbidden() -> None:
    """Not both."""
    with pytest.raises(ConfigError, match="'B' is in allowed_assets and in forbidden_assets"):
        RiskLimits(allowed_assets=["A", "B"], forbidden_assets=["B"])


def test_a_misspelt_policy_gets_the_nearest_one() -> None:
    """With the words that exist."""
    with pytest.raises(ConfigError, match=r"'halt', 'flatten', not 'flaten'.*mean 'flatten'"):
        RiskLimits(on_breach="flaten")  # type: ignore[arg-type]


def test_the_engine_takes_an_object() -> None:
    """Neither the class nor a mapping."""
    for wrong in (RiskLimits, {"max_drawdown": 0.2}):
        with pytest.raises(ConfigError, match=r"limits= takes an object such as RiskLimits\("):
            BacktestEngine(ten_bars(), strategy=Plan(""), limits=wrong)  # type: ignore[arg-type]


def test_equal_limits_are_written_alike() -> None:
    """Whole numbers, NumPy's numbers, order and repetition of names do not matter."""
    one = RiskLimits(max_order_value=1_000, allowed_assets=["B", "A", "B"])
    other = RiskLimits(max_order_value=np.float64(1_000.0), allowed_assets={"A", "B"})
    assert one == other
    assert repr(one) == "RiskLimits(max_order_value=1000.0, allowed_assets=('A', 'B'))"


def test_limits_go_through_a_file() -> None:
    """Written as JSON and read again they are equal."""
    limits = RiskLimits(
        max_order_value=1e4, max_drawdown=0.2, forbidden_assets=["X"], on_breach="flatten"
    )
    assert msgspec.json.decode(msgspec.json.encode(limits), type=RiskLimits) == limits


def test_settings_name_what_is_set() -> None:
    """And nothing else; the policy only where there is a loss to act on."""
    assert RiskLimits().settings() == {}
    assert RiskLimits(max_order_value=5).settings() == {"max_order_value": 5.0}
    assert RiskLimits(max_drawdown=0.1, forbidden_assets=["X"]).settings() == {
        "max_drawdown": 0.1,
        "forbidden_assets": ["X"],
        "on_breach": "halt",
    }
