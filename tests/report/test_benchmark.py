"""What a run can be compared with."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, ConfigError, DataError, Strategy
from ml4t.backtest.results.report.benchmark import resolve
from ml4t.backtest.testing.markets import random_market

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars


class Half(Strategy):
    """Half of the money in the first asset."""

    def on_bars(self, bars: Bars) -> None:
        """Holds it."""
        self.rebalance_to_weights({bars.asset_ids[0]: 0.5}, tolerance=0.1)


@pytest.fixture
def run() -> BacktestResult:
    """Thirty sessions of three assets."""
    return BacktestEngine(random_market(assets=3, sessions=30, seed=3), strategy=Half()).run()


def test_an_asset_is_its_closes(run: BacktestResult) -> None:
    """From the money at the start."""
    found = resolve(run, "A01")
    close = run.market(["A01"])["close"].to_numpy()
    np.testing.assert_allclose(found.equity["equity"], 100_000 * close / close[0], rtol=1e-12)
    assert found.name == "A01"
    assert "no dividends" in found.note


def test_an_unknown_asset_is_refused(run: BacktestResult) -> None:
    """With the nearest name."""
    with pytest.raises(ConfigError, match="Did you mean 'equal_weight'"):
        resolve(run, "equal_wieght")


@pytest.mark.parametrize("kind", ["polars", "pandas frame", "pandas series", "pandas column"])
def test_a_table_of_yours_is_scaled(run: BacktestResult, kind: str) -> None:
    """Prices or equity, with the times in a column or the index."""
    times = run.equity["timestamp"].to_list()
    values = [50.0 + i for i in range(len(times))]
    series = pd.Series(values, index=pd.DatetimeIndex(times), name="INDEX")
    given = {
        "polars": pl.DataFrame({"timestamp": times, "close": values}),
        "pandas frame": series.to_frame("close"),
        "pandas series": series,
        "pandas column": pd.DataFrame({"timestamp": times, "close": values}),
    }[kind]
    found = resolve(run, given)
    expected = 100_000 * np.array(values) / 50.0
    np.testing.assert_allclose(found.equity["equity"], expected, rtol=1e-12)
    assert found.name == ("INDEX" if kind == "pandas series" else "benchmark")


def test_a_benchmark_is_known_as_of_each_bar(run: BacktestResult) -> None:
    """A gap keeps the last value, never the next one."""
    days = run.equity["timestamp"].to_list()
    found = resolve(run, pl.DataFrame({"timestamp": [days[0], days[10]], "equity": [1.0, 2.0]}))
    assert found.equity["equity"].to_list() == [100_000.0] * 10 + [200_000.0] * (len(days) - 10)


def test_daily_values_meet_intraday_bars_at_the_end_of_the_session() -> None:
    """The close of a day is not shown in its morning."""
    day = dt.datetime(2024, 3, 5)
    times = [day + dt.timedelta(days=d, hours=h) for d in (0, 1) for h in (10, 12, 16)]
    bars = pl.DataFrame(
        {"timestamp": times, "asset_id": "A", "close": [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]}
    ).with_columns(open="close", high="close", low="close", volume=pl.lit(1.0))
    result = BacktestEngine(bars, strategy=Half()).run()
    daily = pl.DataFrame({"date": [day.date(), times[-1].date()], "close": [4.0, 5.0]})
    found = resolve(result, daily)
    assert found.equity["equity"].to_list() == [100_000.0] * 5 + [125_000.0]


def test_another_result_is_a_benchmark(run: BacktestResult) -> None:
    """Its equity; its returns are those of the run's sessions."""
    found = resolve(run, run)
    np.testing.assert_allclose(found.equity["equity"], run.equity["equity"], rtol=1e-12)
    returns = found.returns(run)["return"]
    np.testing.assert_allclose(returns, run.returns["return"], rtol=1e-9, atol=1e-12)


def test_what_is_no_benchmark_is_refused(run: BacktestResult) -> None:
    """With what would be one."""
    with pytest.raises(ConfigError, match="not int"):
        resolve(run, 7)
    with pytest.raises(ConfigError, match="has no times"):
        resolve(run, pl.Series([1.0]))
    with pytest.raises(ConfigError, match="one column of times"):
        resolve(run, pl.DataFrame({"timestamp": [dt.date(2024, 1, 1)], "a": [1.0], "b": [2.0]}))
    with pytest.raises(DataError, match="no positive value within the run"):
        resolve(run, pl.DataFrame({"timestamp": [dt.date(2050, 1, 1)], "close": [1.0]}))


def test_a_table_of_many_assets_is_refused(run: BacktestResult) -> None:
    """Nobody can know which of them is meant; equal rows are one."""
    market = run.market().select("timestamp", "asset_id", "close")
    with pytest.raises(DataError, match=r"several values at .* choose one asset"):
        resolve(run, market)
    one = market.filter(pl.col("asset_id") == "A01")
    twice = resolve(run, pl.concat([one, one]))
    np.testing.assert_array_equal(twice.equity["equity"], resolve(run, one).equity["equity"])


def test_what_a_benchmark_does_not_cover_is_said(run: BacktestResult, tmp_path: Path) -> None:
    """A curve that is level because nothing is known must not pass for one that earned nothing."""
    closes = run.market(["A01"], ["close"]).select("timestamp", "close")
    part = closes[3:-5]
    first, last = part["timestamp"][0], part["timestamp"][-1]
    words = (
        f"benchmark begins on {first}, 3 sessions after the run and ends on {last}, "
        "5 sessions before the run: its curve is level there."
    )
    assert resolve(run, part).lacks == words
    assert resolve(run, closes).lacks == ""
    assert words in run.plot("equity", benchmark=part).layout.meta["note"]
    page = run.report(tmp_path / "page.html", benchmark=part).read_text(encoding="utf-8")
    assert page.count(words) == 3  # with the figures, under the curve, and in its own data


def test_days_of_a_benchmark_are_those_of_its_own_zone() -> None:
    """Midnight in Tokyo is the afternoon before in UTC; the close must not come a day early."""
    market = random_market(assets=1, sessions=30, seed=3)
    result = BacktestEngine(market, strategy=Half()).run()
    days = result.equity["timestamp"].cast(pl.Datetime("us"))
    values = pl.Series("close", [50.0 + i for i in range(len(days))])
    given = pl.DataFrame([days.dt.replace_time_zone("Asia/Tokyo"), values])
    expected = 100_000 * values.to_numpy() / 50.0
    np.testing.assert_allclose(resolve(result, given).equity["equity"], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["A00", "equal_weight"])
def test_a_split_is_no_loss_of_the_benchmark(name: str) -> None:
    """Quoted prices halve on the tenth day; what one share became does not."""
    market = random_market(assets=1, sessions=20, seed=3)
    asset, day = market["asset_id"][0], market["timestamp"].unique().sort()[10]
    prices = pl.col("open", "high", "low", "close")
    quoted = market.with_columns(
        pl.when(pl.col("timestamp") >= day).then(prices / 2.0).otherwise(prices)
    )
    split = pl.DataFrame([{"timestamp": day, "asset_id": asset, "kind": "split", "ratio": 2.0}])
    name = asset if name == "A00" else name
    with_split = BacktestEngine(quoted, strategy=Half(), actions=split).run()
    without = BacktestEngine(market, strategy=Half()).run()
    found, expected = (resolve(run, name).equity["equity"] for run in (with_split, without))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
