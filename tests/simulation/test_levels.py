"""Resting orders that have to be looked at although no level of theirs seems to be reached."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    CashAtSubmission,
    MarginAccount,
    Order,
    SimulationBroker,
    Strategy,
)

FLAT = (100.0, 101.0, 99.0, 100.0)


class Acts(Strategy):
    """Does something on each bar that is named."""

    def __init__(self, **acts: Any) -> None:
        self.acts = acts

    def on_start(self) -> None:
        self.bar = -1
        self.ends: list[Any] = []
        self.power: list[float] = []
        if "start" in self.acts:
            self.acts["start"](self)

    def on_bars(self, bars: Any) -> None:
        self.bar += 1
        act = self.acts.get(f"bar_{self.bar}")
        if act is not None:
            act(self)
        self.power.append(self.get_buying_power())


def market(times: list[Any] | None = None, **bars: dict[int, tuple[float, ...]] | int) -> Any:
    """Ten flat bars of each asset, but for those given; a number is that of its first."""
    times = times or [dt.date(2024, 1, day) for day in range(1, 11)]
    rows = []
    for asset_id, own in bars.items():
        first, special = (own, {}) if isinstance(own, int) else (0, own)
        for i, time in enumerate(times):
            if i >= first:
                rows.append((time, asset_id, *special.get(i, FLAT), 1e6))
    columns = ["timestamp", "asset_id", "open", "high", "low", "close", "volume"]
    return pl.DataFrame(rows, schema=columns, orient="row").sort("timestamp", "asset_id")


def run(frame: Any, strategy: Strategy, **options: Any) -> BacktestResult:
    """A run with enough money."""
    broker = SimulationBroker(**{"initial_cash": 100_000, **options})
    return BacktestEngine(frame, strategy=strategy, broker=broker).run()


@pytest.mark.parametrize("intrabar", ["worst", "olhc"])
def test_a_rule_moves_with_what_another_asset_sets_to_work(intrabar: str) -> None:
    """Y's fill lets X buy at 120 inside the bar: X's stop, at 90, is at 106.2 then, and met."""
    frame = market(X={6: (100, 121, 95, 100)}, Y={6: (100, 101, 98, 100)})

    def link(s: Strategy) -> None:
        way_in: dict[str, Any] = {} if intrabar == "worst" else {"limit_price": 98.5}
        entry = s.buy("Y", 1, **way_in)
        s.submit_order(Order("X", "buy", 90, "stop", stop_price=120, after=entry))

    acts = Acts(
        start=lambda s: s.set_stop_loss("X", percent=0.1),
        bar_0=lambda s: s.buy("X", 10),
        bar_5=link,
    )
    fills = run(frame, acts, intrabar=intrabar).fills
    sold = fills.filter(side="sell").select("timestamp", "quantity", "price").rows()
    assert sold == [(dt.date(2024, 1, 7), 100.0, pytest.approx(106.2))]


@pytest.mark.parametrize(("side", "kind"), [("buy", "stop"), ("sell", "limit")])
def test_an_open_may_leave_its_bar_by_the_last_digits(side: str, kind: str) -> None:
    """Adjusted prices are products: the open of 101.00000000000001 is above its high of 101."""
    opened = 101.0 * (1 + 3e-16)
    assert opened > 101.0
    level: dict[str, Any] = {f"{kind}_price": opened}
    order = Order("A", side, 1, kind, **level)
    frame = market(A={5: (opened, 101.0, 99.0, 100.0), **dict.fromkeys(range(5), (99, 99, 98, 99))})
    result = run(frame, Acts(bar_1=lambda s: s.submit_order(order)), account=MarginAccount())
    assert result.fills.select("timestamp", "price").rows() == [(dt.date(2024, 1, 6), opened)]


def test_what_is_judged_at_submission_is_judged_at_the_next_bar() -> None:
    """A waiting order is judged even where nothing else is to be done."""
    acts = Acts(
        bar_0=lambda s: s.submit_order(Order("A", "buy", 10, "limit", 80)),
        bar_3=lambda s: s.submit_order(Order("A", "buy", 500, "limit", 50, after=1)),
    )
    result = run(market(A={}), acts, initial_cash=1_000, admission=CashAtSubmission())
    assert result.orders["status"].to_list() == ["canceled", "rejected"]


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_trail_without_a_price_reserves_nothing(side: str) -> None:
    """B's first bar comes on the sixth day; its trail begins there."""

    def link(s: Strategy) -> None:
        entry = s.submit_order(Order("A", "buy", 1, "limit", 99.5))
        s.submit_order(Order("B", side, 1, "trailing_stop", trail_percent=0.05, after=entry))

    acts = Acts(bar_0=link)
    frame = market(A={}, B=5)
    result = run(frame, acts, initial_cash=1_000, account=MarginAccount())
    assert all(0.0 < power < 2_001 for power in acts.power)
    assert result.fills["asset_id"].to_list() == ["A"]


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("fill_at", ["close", "next_open"])
@pytest.mark.parametrize("trades_before", [True, False])
def test_sessions_count_while_nothing_is_held(
    rests: bool, fill_at: Any, trades_before: bool
) -> None:
    """A holding is stale so many sessions after its last bar, whatever was done before."""

    def before(s: Strategy) -> None:
        if rests:
            s.buy("B", 1, limit_price=1)
        if trades_before:
            s.buy("B", 1)

    bought = 5 if fill_at == "close" else 4
    acts = Acts(
        bar_0=before,
        bar_1=lambda s: s.close_position("B"),
        **{f"bar_{bought}": lambda s: s.buy("A", 1)},
    )
    frame = market(A={}, B={})
    frame = frame.filter((pl.col("asset_id") == "B") | (pl.col("timestamp") < dt.date(2024, 1, 7)))
    fills = run(frame, acts, fill_at=fill_at, on_vanish="close", stale_after=2).fills
    assert fills.filter(reason="vanished")["timestamp"].to_list() == [dt.date(2024, 1, 8)]


def test_good_till_a_time() -> None:
    """It ends with the first bar after its time, though nobody comes near it."""
    times = [dt.datetime(2024, 1, 2, 9, 30) + i * dt.timedelta(minutes=30) for i in range(10)]

    class Hears(Acts):
        def on_order_event(self, event: Any) -> None:
            if event.status.value == "expired":
                self.ends.append((event.order_id, event.timestamp))

    def order(s: Strategy) -> None:
        for i in (5, 3):
            expires = times[i] - dt.timedelta(minutes=i == 3)
            s.submit_order(
                Order("A", "buy", 1, "limit", 50, time_in_force="gtd", expires_at=expires)
            )

    acts = Hears(bar_0=order)
    run(market(times, A={}), acts)
    assert acts.ends == [(2, times[3]), (1, times[6])]
