"""Whole days through a session, `AlpacaBroker` and a rehearsal equal their backtests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    Order,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.data.feed import DataFeed
from ml4t.backtest.data.frames import FrameFeed
from tests.live.rehearsed import rehearsed

CASH = 500_000.0
KINDS = ("market", "limit", "stop", "stop_limit", "bracket", "trailing_stop")
CRYPTO = ("market", "limit", "stop_limit")


class Planned(Strategy):
    """Entries and exits of every kind, in turns; the same object for both runs."""

    def __init__(self, symbols: list[str], kinds: tuple[str, ...]) -> None:
        self.symbols = symbols
        self.kinds = kinds

    def on_start(self) -> None:
        self.step = -1

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        for place, symbol in enumerate(self.symbols):
            turn, rest = divmod(self.step + 5 * place, 9)
            price = self.get_last_price(symbol)
            if np.isnan(price):
                continue
            if rest == 4:
                self.follow(symbol, price)
            elif rest == 0:
                self.cancel_all(symbol)
                self.trade(symbol, self.kinds[turn % len(self.kinds)], price, 10.0 + place)

    def follow(self, symbol: str, price: float) -> None:
        """Move what rests nearer to the market."""
        for order in self.get_open_orders(symbol):
            if order.type == "limit" and not order.reduce_only:
                self.replace_order(order.order_id, limit_price=round(price, 2))

    def trade(self, symbol: str, kind: str, price: float, quantity: float) -> None:
        """In, or out."""
        held = self.get_position(symbol)
        if held:
            kind = "market" if kind == "bracket" else kind
            self.order(symbol, "sell", abs(held), kind, price)
        elif kind == "bracket":
            stop, target = round(price * 0.9995, 2), round(price * 1.0005, 2)
            self.bracket(symbol, quantity, stop_loss=stop, take_profit=target)
        elif kind != "trailing_stop":
            self.order(symbol, "buy", quantity, kind, price)

    def order(self, symbol: str, side: str, quantity: float, kind: str, price: float) -> None:
        """One order near the market, in cents."""
        way = 1.0 if side == "buy" else -1.0
        near, far = round(price * (1 + way * 0.0003), 2), round(price * (1 + way * 0.001), 2)
        levels: dict[str, Any] = {
            "limit": {"limit_price": round(price * (1 - way * 0.0003), 2)},
            "stop": {"stop_price": near},
            "stop_limit": {"stop_price": near, "limit_price": far},
            "trailing_stop": {"trail_percent": 0.0005},
        }.get(kind, {})
        self.submit_order(Order(symbol, side, quantity, kind, **levels))


def simulated() -> SimulationBroker:
    """With costs, so that prices are not round."""
    return SimulationBroker(
        CASH, commission=PercentCommission(0.0005), slippage=BasisPointSlippage(1.5)
    )


def compare(
    folder: Path, make: Callable[[], DataFeed], symbols: list[str], kinds: tuple[str, ...] = KINDS
) -> pl.DataFrame:
    """Both runs; their fills, which are the same, and the account after every bar."""
    backtest = BacktestEngine(make(), strategy=Planned(symbols, kinds), broker=simulated()).run()
    with rehearsed(folder, make, broker=simulated()) as world:
        world.options["commission"] = PercentCommission(0.0005)
        live = world.run(Planned(symbols, kinds))
        world.check()
    columns = ["timestamp", "asset_id", "side", "quantity", "price", "commission"]
    one, other = (run.fills.select(columns).sort(columns) for run in (live, backtest))
    assert one.equals(other)
    assert live.equity["timestamp"].equals(backtest.equity["timestamp"])
    for column in ("cash", "equity"):
        assert live.equity[column].to_numpy() == pytest.approx(
            backtest.equity[column].to_numpy(), rel=1e-12
        )
    assert live.orders["status"].equals(backtest.orders["status"])
    return one


def wandering(seed: int, minutes: int) -> pl.DataFrame:
    """Two assets that wander, with minutes that are missing."""
    generator = np.random.default_rng(seed)
    rows = []
    for asset, begin in (("AAA", 100.0), ("BBB", 40.0)):
        opens = np.round(begin * np.exp(np.cumsum(generator.normal(0, 0.001, minutes))), 2)
        rows += [
            {
                "timestamp": dt.datetime(2024, 1, 2, 15, 1) + dt.timedelta(minutes=i),
                "asset_id": asset,
                "open": price,
                "high": round(price + 0.06, 2),
                "low": round(price - 0.06, 2),
                "close": price,
                "volume": 1e5,
            }
            for i, price in enumerate(opens.tolist())
        ]
    bars = pl.DataFrame(rows).sort("timestamp", "asset_id")
    return bars.filter(pl.Series(generator.random(bars.height) > 0.1))


def test_a_made_up_day_equals_its_backtest(tmp_path: Path) -> None:
    """Every kind of order, two assets, missing minutes, costs: fill for fill, to the bit."""
    bars = wandering(7, 240)
    assert compare(tmp_path, lambda: FrameFeed(bars), ["AAA", "BBB"]).height > 25


def recorded(path: Path, day: dt.date, rename: dict[str, str] | None = None) -> FrameFeed:
    """The minutes of a day, which are labelled by their begin."""
    bars = pl.read_parquet(path).filter(pl.col("timestamp").dt.date() == day)
    bars = bars.with_columns(pl.col("asset").replace(rename or {}))
    return FrameFeed(bars, columns={"asset_id": "asset"}, bar_label="open", bar_duration="1m")


@pytest.mark.slow
def test_a_recorded_day_of_shares_equals_its_backtest(shared_data: Path, tmp_path: Path) -> None:
    """Three shares on a day of 2013."""
    path = shared_data / "equity_minute_raw.parquet"
    fills = compare(tmp_path, lambda: recorded(path, dt.date(2013, 10, 7)), ["BAC", "IBM", "SPY"])
    assert fills.height > 60


@pytest.mark.slow
def test_a_recorded_day_of_crypto_equals_its_backtest(shared_data: Path, tmp_path: Path) -> None:
    """A coin around the clock, with the kinds of order that it knows."""
    path, names = shared_data / "crypto_minute.parquet", {"BTCUSD": "BTC/USD"}
    fills = compare(
        tmp_path, lambda: recorded(path, dt.date(2018, 4, 4), names), ["BTC/USD"], CRYPTO
    )
    assert fills.height > 60
