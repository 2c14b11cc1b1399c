"""Recorded prices as they were quoted, with their corporate actions, against adjusted prices."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, ParquetDataFeed, SimulationBroker
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

PRICES = ("open", "high", "low", "close")
MONEY = 1_000_000.0


class AllIn(Strategy):
    """Holds one asset with all the money, whatever it is called; dividends are reinvested."""

    def on_bars(self, bars: Bars) -> None:
        """What was paid buys more at the next open."""
        self.order_target_percent(bars.asset_ids[0], 1.0, tolerance=1e-6)


class Buy(Strategy):
    """Buys units of assets on the first day, and never again."""

    def __init__(self, **units: float) -> None:
        self._units = units

    def on_start(self) -> None:
        """Once."""
        self._is_done = False

    def on_bars(self, bars: Bars) -> None:
        """The first bars."""
        del bars
        if not self._is_done:
            for asset_id, units in self._units.items():
                self.order_target(asset_id, units)
        self._is_done = True


def bars_of(folder: Path, asset: str) -> pl.DataFrame:
    """As quoted."""
    raw = pl.read_parquet(folder / "equity_daily_raw.parquet")
    return raw.filter(asset=asset).select("timestamp", "asset", *PRICES, "volume")


def actions_of(folder: Path, asset: str) -> pl.DataFrame:
    """Splits and dividends, in our columns."""
    actions = pl.read_parquet(folder / "equity_corporate_actions.parquet")
    is_split = pl.col("kind") == "split"
    return actions.filter(asset=asset).select(
        "asset",
        "kind",
        pl.col("ex_date").alias("timestamp"),
        pl.when(is_split).then("value").alias("ratio"),
        pl.when(~is_split).then("value").alias("amount"),
    )


def adjusted(folder: Path, asset: str) -> pl.DataFrame:
    """By the factors as shipped, for splits and dividends."""
    factors = pl.read_parquet(folder / "equity_adjustment_factors.parquet").filter(asset=asset)
    dated = bars_of(folder, asset).with_columns(valid_through=pl.col("timestamp").cast(pl.Date))
    joined = dated.join_asof(
        factors.drop("asset").sort("valid_through"),
        on="valid_through",
        strategy="forward",
        check_sortedness=False,
    )
    factor = pl.col("price_factor") * pl.col("split_factor")
    return joined.select(
        "timestamp", "asset", *(pl.col(name) * factor for name in PRICES), "volume"
    )


def run(data: Any, strategy: Strategy, actions: Any = None, **broker: Any) -> Any:
    """Free of charge."""
    return BacktestEngine(
        data, strategy=strategy, actions=actions, broker=SimulationBroker(MONEY, **broker)
    ).run()


# Relative gap of final equity. A factor reinvests a dividend before the open of its ex-date, the
# strategy one open later, and factors are rounded: a dividend of 1 % moves on by about 1 % of that.
@pytest.mark.parametrize(
    ("asset", "count", "room"),
    [
        ("AAPL", 39, 5e-4),  # 2:1, 2:1, 7:1, 4:1, and 35 dividends
        ("AIG", 79, 6e-3),  # 3:2, 5:4, 3:2, 1:20, and one dividend of a sixth of the price
        ("IBM", 94, 5e-4),
        ("SPY", 94, 1e-3),
        ("BAC", 91, 3e-3),
        ("GOOGL", 1, 1e-9),  # a split alone
    ],
)
def test_quoted_prices_and_actions_earn_what_adjusted_prices_do(
    shared_data: Path, asset: str, count: int, room: float
) -> None:
    """Twenty-three years in one stock: the same total return, and no jump on any day."""
    actions = actions_of(shared_data, asset)
    quoted = run(bars_of(shared_data, asset), AllIn(), actions, fractional=True)
    told = run(adjusted(shared_data, asset), AllIn(), fractional=True)
    assert quoted.record.counts["actions_applied"] == count
    assert quoted.final_equity / told.final_equity == pytest.approx(1.0, abs=room)
    daily = [np.diff(np.log(r.equity["equity"].to_numpy())) for r in (quoted, told)]
    assert np.abs(daily[0] - daily[1]).max() < 5e-3


def test_ten_years_of_dividends(shared_data: Path) -> None:
    """1,000 IBM from 2010 to 2019: the money is that of the table, added up by hand."""
    first, last = dt.datetime(2010, 1, 4), dt.datetime(2019, 12, 31)
    bars = bars_of(shared_data, "IBM").filter(pl.col("timestamp").is_between(first, last))
    actions = actions_of(shared_data, "IBM")
    result = run(bars, Buy(IBM=1_000), actions)
    bought = bars["timestamp"][1].date()
    due = actions.filter(pl.col("timestamp") > bought, pl.col("timestamp") <= last.date())
    assert set(due["kind"]) == {"dividend"}
    assert due.height == 40
    paid = math.fsum(1_000 * amount for amount in due["amount"])
    assert result.cashflows["amount"].sum() == pytest.approx(paid, rel=1e-12)
    expected = MONEY + paid + 1_000 * (bars["close"][-1] - bars["open"][1])
    assert result.final_equity == pytest.approx(expected, rel=1e-12)
    assert result.trades["financing"].item() == pytest.approx(paid, rel=1e-12)
    assert result.trades["pnl"].item() == pytest.approx(expected - MONEY, rel=1e-9)


def test_a_short_pays_all_of_them(shared_data: Path) -> None:
    """The other side of the same trade."""
    bars = bars_of(shared_data, "IBM").filter(pl.col("timestamp") >= dt.datetime(2010, 1, 4))
    actions = actions_of(shared_data, "IBM")
    long, short = (run(bars, Buy(IBM=units), actions) for units in (1_000, -1_000))
    gains = [result.final_equity - MONEY for result in (long, short)]
    assert gains[0] == pytest.approx(-gains[1], rel=1e-9)
    assert short.cashflows["amount"].sum() < -40_000


def test_whole_shares_through_a_reverse_split(shared_data: Path) -> None:
    """1,015 AIG at 1.13 become 50 and three quarters, and 15 old shares are paid at 1.13 each."""
    bars = bars_of(shared_data, "AIG").filter(
        pl.col("timestamp").is_between(dt.datetime(2009, 6, 1), dt.datetime(2009, 7, 31))
    )
    result = run(bars, Buy(AIG=1_015), actions_of(shared_data, "AIG"))
    assert result.holdings["quantity"].to_list() == [50.0]
    (money,) = result.cashflows["amount"].to_list()
    before = bars.filter(pl.col("timestamp") < dt.datetime(2009, 7, 1))["close"][-1]
    assert money == pytest.approx(15 * before, rel=1e-9)
    moves = result.equity["equity"].diff().abs().max()
    assert isinstance(moves, float)
    assert moves < 0.25 * 1_015 * before, "no jump where the price jumps twentyfold"


def test_one_year_of_two_stocks(shared_data: Path) -> None:
    """2014 as archived beside its adjusted prices: a 7-for-1 split and eight dividends."""
    year = pl.read_parquet(shared_data / "equity_daily_wiki_2014_actions.parquet")
    for asset, count in (("AAPL", 5), ("MSFT", 4)):
        own = year.filter(asset=asset)
        quoted = own.select("timestamp", "asset", *PRICES, "volume")
        told = own.select("timestamp", "asset", *(pl.col(f"adj_{n}").alias(n) for n in PRICES))
        paid = own.filter(pl.col("ex_dividend") > 0).select(
            "timestamp", "asset", kind=pl.lit("dividend"), amount="ex_dividend"
        )
        split = own.filter(pl.col("split_ratio") != 1).select(
            "timestamp", "asset", kind=pl.lit("split"), ratio="split_ratio"
        )
        actions = pl.concat([paid, split], how="diagonal")
        assert actions.height == count
        one = run(quoted, AllIn(), actions, fractional=True)
        other = run(told, AllIn(), fractional=True)
        assert one.final_equity / other.final_equity == pytest.approx(1.0, abs=5e-4)


def test_two_tickers_that_move_on(shared_data: Path) -> None:
    """3 April 2014: GOOG becomes GOOGL and splits 2 for 1, and GOOCV becomes GOOG."""
    raw = pl.read_parquet(shared_data / "equity_daily_raw.parquet")
    bars = raw.filter(
        pl.col("asset").is_in(["GOOG", "GOOGL"]),
        pl.col("timestamp").is_between(dt.datetime(2014, 3, 27), dt.datetime(2014, 12, 31)),
    )
    by_ticker = bars.select("timestamp", pl.col("ticker").alias("asset"), *PRICES, "volume")
    day = dt.date(2014, 4, 3)
    actions = pl.DataFrame(
        [
            {"timestamp": day, "asset": "GOOCV", "kind": "rename", "new_asset_id": "GOOG"},
            {"timestamp": day, "asset": "GOOG", "kind": "rename", "new_asset_id": "GOOGL"},
            {"timestamp": day, "asset": "GOOGL", "kind": "split", "ratio": 2.0},
        ]
    )
    named = run(by_ticker, Buy(GOOG=100, GOOCV=40), actions)
    splits = pl.DataFrame([{"timestamp": day, "asset": "GOOGL", "kind": "split", "ratio": 2.0}])
    by_entity = bars.select("timestamp", "asset", *PRICES, "volume")
    known = run(by_entity, Buy(GOOGL=100, GOOG=40), splits)
    assert dict(named.holdings.select("asset_id", "quantity").iter_rows()) == {
        "GOOG": 40.0,
        "GOOGL": 200.0,
    }
    np.testing.assert_allclose(named.equity["equity"], known.equity["equity"], rtol=1e-12)
    assert sorted(named.trades["asset_id"]) == ["GOOCV", "GOOG"]
    assert sorted(named.trades["pnl"]) == pytest.approx(sorted(known.trades["pnl"]), rel=1e-9)


@pytest.mark.parametrize(("asset", "amount"), [("FB.1", None), ("AAA.1", None), ("AAA.1", 0.0)])
def test_stocks_that_stop_trading(shared_data: Path, asset: str, amount: float | None) -> None:
    """Closed at the last price, or at nothing, on the day after; SPY keeps the clock going."""
    own = bars_of(shared_data, asset)
    end = own["timestamp"].max()
    assert isinstance(end, dt.datetime)
    spy = bars_of(shared_data, "SPY").filter(
        pl.col("timestamp").is_between(own["timestamp"][0], end + dt.timedelta(days=30))
    )
    action = {"timestamp": end, "asset": asset, "kind": "delisting", "amount": amount}
    actions = pl.DataFrame([action], schema_overrides={"amount": pl.Float64})
    result: BacktestResult = run(pl.concat([own, spy]), Buy(**{asset: 100}), actions)
    price = own["close"][-1] if amount is None else amount
    assert result.holdings.is_empty()
    assert result.final_equity == pytest.approx(MONEY + 100 * (price - own["open"][1]), rel=1e-12)
    closed = result.trades.row(0, named=True)
    assert closed["exit_reason"] == "delisted"
    assert closed["exit_time"] == spy.filter(pl.col("timestamp") > end)["timestamp"][0]
    assert result.stale.filter(pl.col("timestamp") > end).is_empty()


def test_a_date_on_hours_is_the_first_hour_of_its_session(shared_data: Path) -> None:
    """AAPL on 9 June 2014: 645.57 becomes 92.22 before the first hour trades."""
    hours = pl.read_parquet(shared_data / "equity_hourly_raw.parquet").filter(
        pl.col("timestamp").dt.date().is_between(dt.date(2014, 6, 5), dt.date(2014, 6, 10)),
        asset="AAPL",
    )
    feed = ParquetDataFeed(hours, bar_label="open", bar_duration="1h")
    split = {"timestamp": dt.date(2014, 6, 9), "asset": "AAPL", "kind": "split", "ratio": 7.0}
    result = run(feed, Buy(AAPL=100), pl.DataFrame([split]))
    monday = hours.filter(pl.col("timestamp").dt.date() == dt.date(2014, 6, 9))["timestamp"][0]
    assert result.adjustments["timestamp"].to_list() == [monday + dt.timedelta(hours=1)]
    assert result.equity["equity"].pct_change().abs().max() < 0.002
