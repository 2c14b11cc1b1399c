"""A rehearsed day equals its backtest, fill for fill."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from alpaca.common.enums import Sort
from alpaca.data.requests import CryptoLatestBarRequest, StockLatestBarRequest
from alpaca.trading.requests import (
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    Order,
    PercentCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.data.frames import FrameFeed
from ml4t.backtest.rehearsal.server import RehearsalServer
from tests.rehearsal.clients import (
    CryptoHistoricalDataClient,
    StockHistoricalDataClient,
    market,
    trading_client,
)

KINDS = ("market", "limit", "stop", "stop_limit", "bracket", "trailing_stop")


CRYPTO = ("market", "limit", "stop_limit")


def decide(step: int, symbols: list[str], way: Any) -> None:
    """What is done after a bar: entries and exits of every kind, in turns.

    Before each order all others of its symbol are canceled, so that entries are never in the way
    of exits. `way` is a strategy or a client.
    """
    for place, symbol in enumerate(symbols):
        turn, rest = divmod(step + 5 * place, 9)
        if rest != 0:
            continue
        way.cancel(symbol)
        held, price = way.held(symbol), way.price(symbol)
        if price is None:
            continue
        kind = way.kinds[turn % len(way.kinds)]
        if held:
            kind = "market" if kind == "bracket" else kind
            way.order(symbol, "sell", abs(held), kind, price)
        elif kind != "trailing_stop":
            way.order(symbol, "buy", 10.0 + place, kind, price)


def levels(side: str, kind: str, price: float) -> dict[str, Any]:
    """The prices of an order near the market, in cents."""
    way = 1.0 if side == "buy" else -1.0
    near, far = round(price * (1 + way * 0.0003), 2), round(price * (1 + way * 0.001), 2)
    return {
        "limit": {"limit_price": round(price * (1 - way * 0.0003), 2)},
        "stop": {"stop_price": near},
        "stop_limit": {"stop_price": near, "limit_price": far},
        "trailing_stop": {"trail_percent": 0.05},
    }.get(kind, {})


class Planned(Strategy):
    """The plan, in a backtest."""

    def __init__(self, symbols: list[str], kinds: tuple[str, ...]) -> None:
        self.symbols = symbols
        self.kinds = kinds

    def on_start(self) -> None:
        self.step = -1

    def on_bars(self, bars):
        self.step += 1
        decide(self.step, self.symbols, self)

    def cancel(self, symbol: str) -> None:
        self.cancel_all(symbol)

    def held(self, symbol: str) -> float:
        return self.get_position(symbol)

    def price(self, symbol: str) -> float | None:
        last = self.get_last_price(symbol)
        return None if np.isnan(last) else last

    def order(self, symbol: str, side: str, quantity: float, kind: str, price: float) -> None:
        options = levels(side, kind, price)
        if "trail_percent" in options:
            options["trail_percent"] /= 100.0
        if kind == "bracket":
            stop, target = round(price * 0.9995, 2), round(price * 1.0005, 2)
            self.bracket(symbol, quantity, stop_loss=stop, take_profit=target)
        else:
            self.submit_order(Order(symbol, side, quantity, kind, **options))


class ByWire:
    """The plan, through the vendor's client."""

    def __init__(self, server: RehearsalServer, kinds: tuple[str, ...]) -> None:
        self.server = server
        self.kinds = kinds
        self.client = trading_client(server)
        self.data = StockHistoricalDataClient("key", "secret", url_override=server.url)
        self.crypto = CryptoHistoricalDataClient("key", "secret", url_override=server.url)

    def run(self, symbols: list[str]) -> None:
        step = 0
        while self.server.step():
            decide(step, symbols, self)
            step += 1

    def cancel(self, symbol: str) -> None:
        asked = GetOrdersRequest(symbols=[symbol], direction=Sort.ASC)
        while orders := self.client.get_orders(asked):  # one may take others with it
            self.client.cancel_order_by_id(orders[0].id)

    def held(self, symbol: str) -> float:
        held = {p.symbol: float(p.qty) for p in self.client.get_all_positions()}
        return held.get(symbol, 0.0)

    def price(self, symbol: str) -> float | None:
        bars: Any
        if self.server.venue.accounts.is_crypto(symbol):
            asked = CryptoLatestBarRequest(symbol_or_symbols=symbol)
            bars = self.crypto.get_crypto_latest_bar(asked)
        else:
            bars = self.data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=symbol))
        return bars[symbol].close if symbol in bars else None

    def order(self, symbol: str, side: str, quantity: float, kind: str, price: float) -> None:
        request: Callable[..., Any] = {
            "limit": LimitOrderRequest,
            "stop": StopOrderRequest,
            "stop_limit": StopLimitOrderRequest,
            "trailing_stop": TrailingStopOrderRequest,
        }.get(kind, MarketOrderRequest)
        options: dict[str, Any] = levels(side, kind, price)
        if kind == "bracket":
            options = {
                "order_class": "bracket",
                "stop_loss": StopLossRequest(stop_price=round(price * 0.9995, 2)),
                "take_profit": TakeProfitRequest(limit_price=round(price * 1.0005, 2)),
            }
        self.client.submit_order(
            request(symbol=symbol, qty=quantity, side=side, time_in_force="gtc", **options)
        )

    def fills(self) -> list[tuple[Any, ...]]:
        """Every execution that the account lists, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            page = {"direction": "asc", "page_size": 100}
            token = {"page_token": found[-1]["id"]} if found else {}
            more = self.client.get("/account/activities/FILL", page | token)
            if not more:
                break
            found += more
        names = ("symbol", "side")
        return [
            (
                f["transaction_time"],
                *(f[name] for name in names),
                float(f["qty"]),
                float(f["price"]),
            )
            for f in found
        ]


def broker() -> SimulationBroker:
    """With costs, so that prices are not round."""
    return SimulationBroker(
        500_000.0, commission=PercentCommission(0.0005), slippage=BasisPointSlippage(1.5)
    )


def compare(
    data: Callable[[], Any],
    symbols: list[str],
    stage: Any,
    *,
    kinds: tuple[str, ...] = KINDS,
    crypto: tuple[str, ...] = (),
) -> int:
    """Play the plan both ways, and compare everything."""
    strategy = Planned(symbols, kinds)
    result = BacktestEngine(data(), strategy=strategy, broker=broker()).run()
    server = stage.serve(data(), broker=broker(), crypto=crypto)
    way = ByWire(server, kinds)
    way.run(symbols)
    expected = [
        (f"{t:%Y-%m-%dT%H:%M:%S}Z", asset, side, quantity, price)
        for t, asset, side, quantity, price in result.fills.select(
            "timestamp", "asset_id", "side", "quantity", "price"
        ).iter_rows()
    ]
    assert way.fills() == expected
    account = way.client.get_account()
    assert float(account.cash) == result.equity["cash"][-1]
    assert float(account.equity) == result.final_equity
    kept = {p.symbol: float(p.qty) for p in way.client.get_all_positions()}
    assert kept == {symbol: held for symbol in symbols if (held := _held(result, symbol))}
    return len(expected)


def _held(result: Any, symbol: str) -> float:
    signed = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0) * pl.col("quantity")
    fills = result.fills.filter(pl.col("asset_id") == symbol)
    return float(fills.select(signed.sum()).item()) if fills.height else 0.0


def wandering(seed: int, minutes: int) -> pl.DataFrame:
    """Two assets that wander, with minutes that are missing."""
    generator = np.random.default_rng(seed)
    frames = []
    for asset, begin in (("AAA", 100.0), ("BBB", 40.0)):
        opens = np.round(begin * np.exp(np.cumsum(generator.normal(0, 0.001, minutes))), 2)
        frames.append(market(opens.tolist(), assets=[asset], spread=0.06))
    bars = pl.concat(frames).sort("timestamp", "asset_id")
    return bars.filter(pl.Series(generator.random(bars.height) > 0.1))


def test_a_made_up_day_equals_its_backtest(stage: Any) -> None:
    """Every kind of order, two assets, missing minutes, costs."""
    bars = wandering(7, 240)
    assert compare(lambda: bars, ["AAA", "BBB"], stage) > 25


def recorded(path: Path, day: dt.date) -> FrameFeed:
    """The minutes of a day, which are labelled by their begin."""
    bars = pl.read_parquet(path).filter(pl.col("timestamp").dt.date() == day)
    return FrameFeed(bars, columns={"asset_id": "asset"}, bar_label="open", bar_duration="1m")


def test_a_recorded_day_of_shares_equals_its_backtest(shared_data: Path, stage: Any) -> None:
    """Three shares on a day of 2013, before, during and after the regular hours."""
    path = shared_data / "equity_minute_raw.parquet"
    symbols = ["BAC", "IBM", "SPY"]
    assert compare(lambda: recorded(path, dt.date(2013, 10, 7)), symbols, stage) > 60


def test_a_recorded_day_of_crypto_equals_its_backtest(shared_data: Path, stage: Any) -> None:
    """A coin around the clock, with the kinds of order that it knows."""
    path = shared_data / "crypto_minute.parquet"
    coins = ("BTCUSD",)
    assert (
        compare(
            lambda: recorded(path, dt.date(2018, 4, 4)),
            ["BTCUSD"],
            stage,
            kinds=CRYPTO,
            crypto=coins,
        )
        > 60
    )
