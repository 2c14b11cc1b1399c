"""Rates as users give them, and interest by calendar day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BorrowFee,
    ConfigError,
    DataError,
    Instrument,
    Interest,
    MarginAccount,
    SimulationBroker,
)
from ml4t.backtest.simulation.rates import DailyRates
from ml4t.backtest.testing.markets import ten_bars
from tests.stories.plan import Plan, parse_bars, tell

JUNE = {"timestamp": [dt.date(2024, 6, 3), dt.date(2024, 6, 5)], "rate": [0.01, 0.02]}


def day(number: int) -> int:
    """A day of June 2024 as days since 1970-01-01."""
    return (dt.date(2024, 6, number) - dt.date(1970, 1, 1)).days


@pytest.mark.parametrize(
    "given",
    [
        dict(zip(*JUNE.values(), strict=True)),
        pl.DataFrame(JUNE),
        pl.DataFrame(JUNE).reverse(),
        pl.DataFrame(JUNE).lazy(),
        pl.DataFrame(JUNE).rename({"timestamp": "Date"}),
        pl.DataFrame(JUNE).with_columns(
            pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York")
        ),
        pd.DataFrame({**JUNE, "timestamp": pd.to_datetime(["2024-06-03", "2024-06-05"])}),
    ],
    ids=["mapping", "frame", "unsorted", "lazy", "Date", "zoned", "pandas"],
)
def test_a_rate_counts_until_the_next(given: Any) -> None:
    """Two rates in June, in every form."""
    days = np.array([day(n) for n in (4, 5, 30)])
    assert DailyRates("interest", given).at(days).tolist() == [0.01, 0.02, 0.02]


def test_a_day_before_the_first_rate_is_refused() -> None:
    """Nothing is made up."""
    with pytest.raises(
        DataError, match="begins on 2024-06-03, but a rate is needed for 2024-06-01"
    ):
        DailyRates("interest", pl.DataFrame(JUNE)).at(np.array([day(1)]))


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"timestamp": JUNE["timestamp"], "fee": [1.0, 2.0]}, "has no column 'rate'"),
        ({"rate": [1.0]}, "has no column of times"),
        ({"timestamp": ["2024-06-03"], "rate": [0.1]}, "holds String, not dates"),
        ({"timestamp": [dt.date(2024, 6, 3)], "rate": ["a"]}, "must hold a number in every row"),
        ({"timestamp": [dt.date(2024, 6, 3)], "rate": [None]}, "must hold a number in every row"),
        ({"timestamp": [dt.date(2024, 6, 3)] * 2, "rate": [0.1, 0.2]}, "2024-06-03 twice"),
        ({"timestamp": pl.Series([], dtype=pl.Date), "rate": []}, "has no rows"),
    ],
)
def test_tables_that_are_no_rates_are_refused(table: Any, text: str) -> None:
    """With what is missing."""
    with pytest.raises(DataError, match=text):
        Interest(pl.DataFrame(table))


@pytest.mark.parametrize("rate", [5.25e2, float("nan"), float("-inf")])
def test_rates_are_fractions(rate: float) -> None:
    """525 is no rate; NaN is none; in a table too."""
    with pytest.raises(ConfigError, match="rate"):
        SimulationBroker(rates=rate)
    with pytest.raises(ConfigError, match="rate"):
        SimulationBroker(borrow={"A": rate})
    with pytest.raises(ConfigError, match="row 1"):
        Interest(pl.DataFrame({**JUNE, "rate": [0.1, rate]}))
    with pytest.raises(ConfigError, match="borrow_rate is a fraction a year"):
        Instrument(asset_id="A", borrow_rate=rate)


def test_other_options_are_checked() -> None:
    """Spreads are not negative, years have 360 or 365 days, classes are known."""
    with pytest.raises(ConfigError, match="debit_spread"):
        Interest(0.01, debit_spread=-0.01)
    with pytest.raises(ConfigError, match="year_days must be 360 or 365"):
        Interest(0.01, year_days=366)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="year_days must be 360 or 365"):
        BorrowFee(0.01, year_days=252)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="asset_class must be 'equity' or 'future'"):
        Instrument(asset_id="A", asset_class="bond")  # type: ignore[arg-type]


def test_a_fee_for_an_unknown_asset_is_refused() -> None:
    """A name that was mistyped would be lent for free."""
    engine = BacktestEngine(
        ten_bars(), strategy=Plan(""), broker=SimulationBroker(borrow={"AA": 1})
    )
    with pytest.raises(ConfigError, match="borrow names 'AA'"):
        engine.run()


def test_a_table_of_fees_needs_assets() -> None:
    """Which are what it is about."""
    with pytest.raises(DataError, match="no column of assets"):
        BorrowFee(pl.DataFrame(JUNE))


def test_a_table_of_fees_may_hold_more_than_the_run() -> None:
    """Other assets, and days before its asset's first row, which have the instrument's rate."""
    table = pl.DataFrame(
        {
            "timestamp": [dt.date(2024, 6, 6), dt.date(2024, 6, 1)],
            "asset_id": ["A", "Z"],
            "rate": [0.072, 9.0],
        }
    )
    result = tell(
        "@0 sell 100",
        "1 sell 100 at 100",
        bars="\n".join(f"{i} 100 100 100 100" for i in range(4)),
        times=[dt.date(2024, 6, d) for d in (4, 5, 6, 7)],
        borrow=table,
        instruments=[Instrument(asset_id="A", borrow_rate=0.036)],
    )
    assert result.record.cashflows["amount"].to_list() == pytest.approx([-1.0, -2.0])


def test_assets_that_appear_later_have_their_rates() -> None:
    """A feed that names its assets as it goes."""
    table = pl.DataFrame({"timestamp": [dt.date(2000, 1, 1)], "asset_id": ["B"], "rate": [0.036]})
    bars = "\n".join(f"{i} A 100 100 100 100" for i in range(6))
    bars += "\n" + "\n".join(f"{i} B 100 100 100 100" for i in range(2, 6))
    result = tell("@2 sell 100 B", "3 sell 100 B at 100", bars=bars, borrow=table, as_events=True)
    days = pl.col("timestamp").diff().dt.total_days()
    expected = result.equity.select(days)["timestamp"].to_list()[4:]
    assert result.record.cashflows["amount"].to_list() == pytest.approx(
        [-1.0 * d for d in expected]
    )


def test_a_future_owes_nothing_for_its_notional() -> None:
    """Two contracts of 50 times 100 on 10,000: interest is on the 10,000, long or short."""
    future = Instrument(
        asset_id="A",
        multiplier=50,
        asset_class="future",
        initial_margin=0.1,
        maintenance_margin=0.08,
        borrow_rate=0.5,
    )
    for side in ("buy", "sell"):
        result = tell(
            f"@0 {side} 2",
            f"1 {side} 2 at 100",
            bars="0 100 100 100 100\n1 100 100 100 100\n2 100 100 100 100",
            times=[dt.date(2024, 6, d) for d in (4, 5, 6)],
            account=MarginAccount(),
            rates=Interest(0.036),
            instruments=[future],
        )
        flows = result.record.cashflows
        assert flows["kind"].to_list() == ["interest"] * 2
        assert flows["amount"].to_list() == pytest.approx([1.0, 1.0001])


def test_the_settings_say_what_was_charged() -> None:
    """As it was given, and none as None."""
    broker = SimulationBroker(rates=0.05, borrow={"A": 0.01})
    assert broker.settings()["rates"] == "Interest(rate=0.05)"
    assert broker.settings()["borrow"] == "BorrowFee(rate={'A': 0.01})"
    plain = SimulationBroker().settings()
    assert (plain["rates"], plain["borrow"]) == (None, None)
    shown = repr(Interest(pl.DataFrame(JUNE), credit_spread=0.005, year_days=365))
    assert shown == "Interest(rate=by day, credit_spread=0.005, year_days=365)"
    assert repr(BorrowFee()) == "BorrowFee(rate=None)"


def test_interest_over_chunks_and_gaps() -> None:
    """Bars of a month: 31 days of July at 3.6 % on 10,000 are 31."""
    bars = "0 100 100 100 100\n1 100 100 100 100\n2 100 100 100 100"
    times = [dt.date(2024, 7, 1), dt.date(2024, 8, 1), dt.date(2024, 9, 1)]
    result = BacktestEngine(
        parse_bars(bars, times),
        strategy=Plan(""),
        broker=SimulationBroker(10_000.0, rates=0.036),
    ).run()
    assert result.record.cashflows["amount"].to_list() == pytest.approx([31.0, 31.0961])
