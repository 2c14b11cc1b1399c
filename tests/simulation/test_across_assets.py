"""An order that waits for one of another asset sees its own prices, and only later ones."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, Order, SimulationBroker, Strategy

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5)]
# Open, high, low, close. A is entered at 98 inside the third bar, in which B goes both ways.
A = [(100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 97, 100), (100, 101, 99, 100)]
B = [(10, 10.1, 9.9, 10), (10, 10.1, 9.9, 10), (10, 10.6, 9.4, 10), (10, 10.7, 9.3, 10)]


class Linked(Strategy):
    """Holds B, and wants to leave it at a level once A is entered."""

    def __init__(self, **level: Any) -> None:
        self.level = level

    def on_bars(self, bars: Any) -> None:
        if bars.index == 0:
            self.buy("B", 10)
        if bars.index == 1:
            entry = self.buy("A", 1, limit_price=98)
            self.submit_order(
                Order("B", "sell", 10, reduce_only=True, after=entry, **self.level),
            )


@pytest.mark.parametrize(
    ("level", "intrabar", "when", "price"),
    [
        # Where nothing is known of the path, the bars that come.
        ({"type": "stop", "stop_price": 9.5}, "worst", 3, 9.5),
        ({"type": "stop", "stop_price": 9.5}, "best", 3, 9.5),
        ({"type": "limit", "limit_price": 10.5}, "worst", 3, 10.5),
        ({"type": "limit", "limit_price": 10.5}, "best", 3, 10.5),
        # A is entered on the way to the low; B goes on from where it is then.
        ({"type": "stop", "stop_price": 9.5}, "ohlc", 2, 9.4),
        ({"type": "stop", "stop_price": 9.5}, "olhc", 2, 9.4),
        ({"type": "limit", "limit_price": 10.5}, "ohlc", 3, 10.5),
        ({"type": "limit", "limit_price": 10.5}, "olhc", 2, 10.5),
        # It trails from the last close of B, 10.0, and what B does later.
        ({"type": "trailing_stop", "trail_amount": 0.65}, "worst", 3, 9.35),
        ({"type": "trailing_stop", "trail_amount": 0.65}, "best", 3, 9.35),
        ({"type": "trailing_stop", "trail_amount": 0.65}, "ohlc", 3, 10.05),
        ({"type": "trailing_stop", "trail_amount": 0.65}, "olhc", 3, 9.95),
    ],
)
def test_what_another_asset_sets_to_work(
    level: dict[str, Any], intrabar: Any, when: int, price: float
) -> None:
    """It is met on no way that its own price may have gone before, and at no foreign price."""
    rows = [
        (day, asset, *map(float, prices), 1e6)
        for asset, bars in (("A", A), ("B", B))
        for day, prices in zip(DAYS, bars, strict=True)
    ]
    columns = ["timestamp", "asset_id", "open", "high", "low", "close", "volume"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    broker = SimulationBroker(10_000, intrabar=intrabar)
    fills = BacktestEngine(frame, strategy=Linked(**level), broker=broker).run().fills
    assert fills.filter(asset_id="A")["timestamp"].to_list() == [DAYS[2]]
    left = fills.filter((pl.col("asset_id") == "B") & (pl.col("side") == "sell"))
    assert left["timestamp"].to_list() == [DAYS[when]]
    assert left["price"].to_list() == pytest.approx([price])
