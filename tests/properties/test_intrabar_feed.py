"""Daily bars with their minutes underneath trade like the minutes themselves."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ml4t.backtest import BacktestEngine, Order, SimulationBroker, Strategy

DAYS, MINUTES = 8, 6
ASSETS = ("A", "B")


def minutes_of(seed: int, gap: int) -> pl.DataFrame:
    """A walk in steps of a cent or so, in bars that hold several of them; some are missing."""
    noise = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    for asset in ASSETS:
        price = 100.0
        for day in range(DAYS):
            start = dt.datetime(2024, 1, 1 + day, 9, 30)
            price += noise.integers(-gap, gap + 1) / 10
            for minute in range(MINUTES):
                path = price + np.cumsum(noise.integers(-8, 9, size=4)) / 10
                if minute in (0, MINUTES - 1) or noise.random() < 0.9:
                    when = start + dt.timedelta(minutes=minute + 1)
                    first, last = float(path[0]), float(path[-1])
                    rows.append((when, asset, first, path.max(), path.min(), last, 1000.0))
                price = float(path[-1])
    names = ["timestamp", "asset_id", "open", "high", "low", "close", "volume"]
    return pl.DataFrame(rows, schema=names, orient="row").sort("timestamp", "asset_id")


def days_of(minutes: pl.DataFrame) -> pl.DataFrame:
    """The same as daily bars."""
    return (
        minutes.group_by(pl.col("timestamp").dt.date(), "asset_id", maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        .sort("timestamp", "asset_id")
    )


class Nightly(Strategy):
    """Decides at the last bar of every day, by a plan that knows no prices but the close."""

    def __init__(self, seed: int, last_minute: dt.time | None) -> None:
        self.seed, self.last_minute = seed, last_minute

    def on_start(self) -> None:
        """The same choices on every run, with rules on some."""
        self.noise = np.random.default_rng(self.seed)
        if self.seed % 2:
            self.set_stop_loss(percent=0.01)
            self.set_take_profit(amount=1.3)
            self.set_trailing_stop("B", amount=1.1)

    def on_bars(self, bars: Any) -> None:
        """One order or bracket an asset and day, sometimes."""
        if self.last_minute is not None and bars.timestamp.time() != self.last_minute:
            return
        for event in bars:
            self.decide(event.asset_id, event.close)

    def decide(self, asset: str, close: float) -> None:
        """By the plan."""
        choice, size = self.noise.integers(0, 11), int(self.noise.integers(1, 20))
        distance, further = (self.noise.integers(2, 20, size=2) / 10).tolist()
        held = self.get_position(asset)
        if choice == 0 and not held:
            stop, target = close - distance, close + distance
            self.bracket(asset, size, stop_loss=stop, take_profit=target)
        elif choice == 1 and not held:
            self.bracket(
                asset,
                size,
                limit_price=close - distance,
                stop_loss=close - 2 * distance,
                take_profit=close + distance,
            )
        elif choice == 2:
            self.buy(asset, size, stop_price=close + distance)
        elif choice == 3:
            self.sell(asset, size, limit_price=close + distance)
        elif choice == 4 and held > 0:
            self.sell(asset, held, trail_amount=distance, reduce_only=True)
        elif choice == 5:
            self.close_position(asset)
        elif choice == 6:
            self.cancel_all()
        else:
            self.order_by_hand(int(choice), asset, size, close, distance, further)

    def order_by_hand(
        self, choice: int, asset: str, size: int, close: float, distance: float, further: float
    ) -> None:
        """Links of one's own, and entries that may turn a position round."""
        up, down = close + distance, close - distance
        if choice == 7:
            entry = self.sell(asset, size, limit_price=up)
            self.submit_order(Order(asset, "buy", size, "limit", up - further, after=entry))
        elif choice == 8:
            entry = self.buy(asset, size, stop_price=up)
            follows = Order(asset, "sell", size, "trailing_stop", trail_amount=further)
            self.submit_order(structs.replace(follows, after=entry, reduce_only=True))
        elif choice == 9:
            group = f"{asset} {self.now}"
            self.submit_order(Order(asset, "buy", size, "limit", down, oco=group))
            self.submit_order(Order(asset, "buy", size, "stop", None, up, oco=group))
        elif choice == 10:
            self.sell(asset, size, stop_price=down, limit_price=down + further - 1.0)


@given(
    seed=st.integers(0, 10_000),
    gap=st.integers(0, 30),
    intrabar=st.sampled_from(("worst", "best", "ohlc", "olhc")),
)
@settings(max_examples=60, deadline=None)
def test_minutes_under_days_trade_like_minutes(seed: int, gap: int, intrabar: Any) -> None:
    """The same fills at the same prices, in the same order within each asset."""
    minutes = minutes_of(seed, gap)
    under = BacktestEngine(
        days_of(minutes),
        strategy=Nightly(seed, None),
        broker=SimulationBroker(1e6, intrabar=intrabar, intrabar_feed=minutes),
    ).run()
    alone = BacktestEngine(
        minutes,
        strategy=Nightly(seed, dt.time(9, 30 + MINUTES)),
        broker=SimulationBroker(1e6, intrabar=intrabar),
    ).run()

    def told(fills: pl.DataFrame) -> list[Any]:
        day = pl.col("timestamp").cast(pl.Date)
        return (
            fills.sort("asset_id", maintain_order=True)
            .select(day, "asset_id", "order_id", "side", "quantity", pl.col("price").round(9))
            .rows()
        )

    assert told(under.fills) == told(alone.fills)
    assert under.record.counts["bars_without_finer"] == 0
