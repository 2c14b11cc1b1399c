"""Who earned the money: by asset, side and version of the model."""

from __future__ import annotations

import datetime as dt
import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    DataError,
    MarginAccount,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.testing.markets import flat_market, random_market, steady_market

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

COLUMNS = [
    *("trades", "open_trades", "pnl", "share", "commission", "slippage", "financing"),
    *("hit_rate", "average_pnl", "average_bars_held"),
]


class LongShort(Strategy):
    """Holds the best and is short of the worst, for some days at a time."""

    def on_bars(self, bars: Bars) -> None:
        """Once a week."""
        if bars.timestamp.weekday() == 2:
            ranked = bars.top("ml_pred", len(bars.asset_ids))
            self.rebalance_to_weights({ranked[0]: 0.4, ranked[1]: 0.3, ranked[-1]: -0.3})


class Hold(Strategy):
    """Buys on the first day what it is told."""

    def __init__(self, **units: float) -> None:
        self._units = units

    def on_start(self) -> None:
        """Nothing was bought yet."""
        self._is_done = False

    def on_bars(self, bars: Bars) -> None:
        """The first bars."""
        if not self._is_done:
            for asset_id, units in self._units.items():
                self.order_target(asset_id, units)
        self._is_done = True


def long_short(market: pl.DataFrame, **options: Any) -> BacktestResult:
    """A run with commission, slippage, interest and borrow fees."""
    broker = SimulationBroker(
        initial_cash=100_000.0,
        account=MarginAccount(),
        commission=PercentCommission(0.001),
        rates=0.03,
        borrow=0.02,
    )
    return BacktestEngine(market, strategy=LongShort(), broker=broker, **options).run()


def check(found: pl.DataFrame, trades: pl.DataFrame, key: str, total: float) -> None:
    """Each group of trades by plain loops."""
    for row in found.to_dicts():
        own = [trade for trade in trades.to_dicts() if trade[key] == row[found.columns[0]]]
        if not own:
            continue
        closed = [trade["pnl"] > 0.0 for trade in own if trade["status"] == "closed"]
        assert row["trades"] == len(own)
        assert row["open_trades"] == len(own) - len(closed)
        for name in ("pnl", "commission", "slippage", "financing"):
            assert row[name] == pytest.approx(sum(trade[name] for trade in own)), name
        assert row["hit_rate"] == (pytest.approx(fmean(closed)) if closed else None)
        assert row["average_pnl"] == pytest.approx(fmean(trade["pnl"] for trade in own))
        assert row["average_bars_held"] == pytest.approx(fmean(t["bars_held"] for t in own))
        assert row["share"] == pytest.approx(row["pnl"] / total)
    assert found["trades"].sum() == len(trades)


@pytest.mark.parametrize("name", ["asset_id", "side"])
def test_the_gain_of_a_run_is_divided_whole(name: str) -> None:
    """Money that no trade earned has a row of its own."""
    result = long_short(random_market(5, 120, seed=3, information=0.2))
    found = result.by_asset() if name == "asset_id" else result.by_side()
    gain = result.final_equity - result.initial_cash
    assert found.columns == [name, *COLUMNS]
    check(found, result.trades, name, gain)
    assert found["pnl"].sum() == pytest.approx(gain)
    assert found["share"].sum() == pytest.approx(1.0)
    for column in ("commission", "slippage"):
        assert found[column].sum() == pytest.approx(result.metrics[column])
    assert found["financing"].sum() == pytest.approx(result.metrics["financing"])
    rest = found.row(-1, named=True)
    interest = result.cashflows.filter(pl.col("asset_id").is_null())["amount"].sum()
    assert interest != 0.0
    assert rest[name] is None
    assert (rest["trades"], rest["hit_rate"]) == (0, None)
    assert rest["pnl"] == rest["financing"] == pytest.approx(interest)
    assert found[name][:-1].to_list() == sorted(found[name][:-1])


def test_without_cashflows_there_is_no_row_for_them(result: BacktestResult) -> None:
    """Trades explain everything."""
    found = result.by_asset()
    assert found["asset_id"].null_count() == 0
    assert found["pnl"].sum() == pytest.approx(result.final_equity - result.initial_cash)
    check(found, result.trades, "asset_id", result.final_equity - result.initial_cash)


def test_by_hand() -> None:
    """Ten of one asset bought at 100 and grown by a hundredth nine times."""
    market = steady_market(0.01, assets=2, sessions=11)
    result = BacktestEngine(market, strategy=Hold(A00=10.0, A01=-10.0)).run()
    gain = 1_000.0 * (1.01**10 - 1.0)
    assert result.by_asset().select("asset_id", "trades", "open_trades").rows() == [
        ("A00", 1, 1),
        ("A01", 1, 1),
    ]
    assert result.by_asset()["pnl"].to_list() == pytest.approx([gain, -gain])
    assert result.by_side()["side"].to_list() == ["long", "short"]
    assert result.by_side()["hit_rate"].to_list() == [None, None]  # nothing was closed


def test_nothing_earned_has_no_shares() -> None:
    """Prices that do not move; and a run without trades has no rows."""
    result = BacktestEngine(flat_market(), strategy=Hold(A00=10.0)).run()
    assert result.by_asset()["share"].to_list() == [None]
    idle = BacktestEngine(flat_market(), strategy=Hold()).run()
    for found in (idle.by_asset(), idle.by_side(), idle.by_version()):
        assert found.is_empty()
        assert found.columns[1:] == COLUMNS


def test_names_splits_and_dividends() -> None:
    """A holding counts under the name it was entered by, with what it paid under another."""
    market = flat_market(assets=2, sessions=10)
    days = market["timestamp"].unique().sort().to_list()
    market = market.filter(
        pl.when(pl.col("asset_id") == "A01")
        .then(pl.col("timestamp") >= days[5])
        .otherwise(pl.col("timestamp") < days[5])
    )
    actions = pl.DataFrame(
        {
            "timestamp": [days[3], days[5], days[7]],
            "asset_id": ["A00", "A00", "A01"],
            "kind": ["dividend", "rename", "dividend"],
            "amount": [1.0, None, 2.0],
            "ratio": [None, 1.0, None],
            "new_asset_id": [None, "A01", None],
        }
    )
    result = BacktestEngine(market, strategy=Hold(A00=10.0), actions=actions).run()
    found = result.by_asset().rows(named=True)
    assert [(row["asset_id"], row["pnl"], row["financing"]) for row in found] == [
        ("A00", pytest.approx(30.0), pytest.approx(30.0))
    ]
    assert result.final_equity - result.initial_cash == pytest.approx(30.0)


def test_real_dividends_and_interest_are_divided_whole(shared_data: Path) -> None:
    """A quoted price with its dividends over two years."""
    bars = pl.read_parquet(shared_data / "equity_daily_raw.parquet").filter(
        pl.col("timestamp").is_between(dt.datetime(2013, 1, 1), dt.datetime(2015, 1, 1)),
        pl.col("asset").is_in(["AAPL", "IBM", "SPY"]),
    )
    actions = pl.read_parquet(shared_data / "equity_corporate_actions.parquet").filter(
        pl.col("asset").is_in(["AAPL", "IBM", "SPY"])
    )
    is_split = pl.col("kind") == "split"
    actions = actions.select(
        pl.col("ex_date").alias("timestamp"),
        pl.col("asset").alias("asset_id"),
        "kind",
        pl.when(is_split).then("value").alias("ratio"),
        pl.when(~is_split).then("value").alias("amount"),
    )
    luck = (pl.col("close") * 1_000.0 % 7.0).alias("ml_pred")
    result = long_short(
        bars.rename({"asset": "asset_id"}).drop("ticker").with_columns(luck), actions=actions
    )
    assert set(result.cashflows["kind"]) > {"dividend"}
    gain = result.final_equity - result.initial_cash
    for found in (result.by_asset(), result.by_side()):
        assert found["pnl"].sum() == pytest.approx(gain)
        check(found, result.trades, found.columns[0], gain)


# -- versions ------------------------------------------------------------------------------------


def versions_of(market: pl.DataFrame, key: str = "model_version") -> pl.DataFrame:
    """`_meta` in which the model changes by the month, and is unnamed in March."""
    month = pl.col("timestamp").dt.month()
    meta = month.replace_strict({1: "v1", 2: "v2", 3: None}, default="v3", return_dtype=pl.String)
    return market.with_columns(
        pl.struct(meta.alias(key), pl.lit("tonight").alias("computed_at")).alias("_meta")
    )


@pytest.mark.parametrize("key", ["model_version", "version"])
@pytest.mark.parametrize("is_joined", [True, False])
def test_by_version(key: str, *, is_joined: bool) -> None:
    """The version is that of the bar at which the trade was decided, in tables of either kind."""
    market = versions_of(random_market(5, 90, seed=5, information=0.2), key)
    if is_joined:
        signals = market.select("timestamp", "asset_id", "ml_pred", "_meta")
        result = long_short(market.drop("ml_pred", "_meta"), signals=signals)
    else:
        result = long_short(market)
    names = {1: "v1", 2: "v2", 3: None}
    for row in result.orders.to_dicts():
        assert row["signal_model_version"] == names.get(row["created_at"].month, "v3")
    found = result.by_version()
    assert found.columns == ["version", *COLUMNS]
    assert found["version"].to_list() == ["v1", "v2", "v3", None]
    trades = result.trades
    check(found, trades, "signal_model_version", float(trades["pnl"].sum()))
    assert found["pnl"].sum() == pytest.approx(trades["pnl"].sum())
    assert found["share"].sum() == pytest.approx(1.0)
    unnamed = trades.filter(pl.col("signal_model_version").is_null())
    assert found["pnl"][-1] == pytest.approx(unnamed["pnl"].sum())


def test_a_version_is_kept_with_the_result(tmp_path: Path) -> None:
    """Numbers are versions too; JSON text is a dict; a saved result knows them."""
    market = random_market(5, 60, seed=5).with_columns(_meta=pl.lit(json.dumps({"version": 7})))
    result = long_short(market)
    assert result.by_version()["version"].to_list() == ["7"]
    result.save(tmp_path / "run")
    loaded = BacktestResult.load(tmp_path / "run")
    assert loaded.by_version().equals(result.by_version())
    assert loaded.by_signal("model_version")["trades"].sum() == len(result.trades)


def test_a_signal_may_be_the_version() -> None:
    """A column of that name is not replaced by what `_meta` says."""
    market = random_market(5, 60, seed=5).with_columns(
        model_version=pl.lit("mine"), _meta=pl.lit('{"version": "other"}')
    )
    assert long_short(market).by_version()["version"].to_list() == ["mine"]


def test_versions_that_nobody_named() -> None:
    """The error says where a version goes."""
    market = random_market(5, 60, seed=5)
    for given in (market, market.with_columns(_meta=pl.lit('{"computed_at": "tonight"}'))):
        with pytest.raises(DataError, match="column `_meta`, as `model_version` or `version`"):
            long_short(given).by_version()
