"""A plain-loop simulation that leaves a `RunRecord`: every number in it can be redone by hand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
import pytest

from ml4t.backtest.results.record import FRAMES, RunRecord, empty_frame
from ml4t.backtest.results.result import BacktestResult

if TYPE_CHECKING:
    from collections.abc import Sequence

NAIVE = pl.Datetime("us")


def record_of(
    rows: dict[str, list[dict[str, Any]]], times: Any = NAIVE, **fields: Any
) -> RunRecord:
    """A record from rows, frame by frame; frames that are not named are empty."""
    frames = {}
    for name in FRAMES:
        empty = empty_frame(name, times)
        given = pl.DataFrame(rows[name], infer_schema_length=None) if rows.get(name) else empty
        frames[name] = given.with_columns(
            pl.col(c).cast(t) for c, t in empty.schema.items() if c in given.columns
        )
    return RunRecord(**{"initial_cash": 100_000.0, **frames, **fields})


def sessions_from(start: dt.date, n: int, *, every_day: bool = False) -> list[dt.date]:
    """Consecutive weekdays, or days."""
    days: list[dt.date] = []
    day = start
    while len(days) < n:
        if every_day or day.weekday() < 5:
            days.append(day)
        day += dt.timedelta(days=1)
    return days


class Market:
    """Random bars: `open`, `high`, `low`, `close` as [sessions, assets] lists."""

    def __init__(self, rng: np.random.Generator, assets: Sequence[str], n: int) -> None:
        steps = rng.normal(0.0003, 0.012, (n, len(assets)))
        self.close = 50.0 * np.exp(np.cumsum(steps, axis=0))
        self.open = self.close * np.exp(rng.normal(0.0, 0.004, self.close.shape))
        top, bottom = np.maximum(self.open, self.close), np.minimum(self.open, self.close)
        self.high = top * (1.0 + np.abs(rng.normal(0.0, 0.004, top.shape)))
        self.low = bottom * (1.0 - np.abs(rng.normal(0.0, 0.004, top.shape)))


class Desk:
    """The loop: market orders decided at a close fill at the next open."""

    def __init__(self, market: Market, assets: Sequence[str], stamps: Sequence[Any]) -> None:
        self.market, self.assets, self.stamps = market, list(assets), list(stamps)
        self.cash = 100_000.0
        self.held = [0.0] * len(assets)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FRAMES}
        self.waiting: list[dict[str, Any]] = []
        self.filled: list[list[tuple[int, int]]] = [[] for _ in assets]  # (session, fill_id)

    def order(self, t: int, a: int, quantity: float, **changes: Any) -> None:
        """Notes an order; a market order waits for the next open."""
        order = {
            "order_id": len(self.rows["orders"]) + 1,
            "created_at": self.stamps[t],
            "asset_id": self.assets[a],
            "side": "buy" if quantity > 0 else "sell",
            "type": "market",
            "quantity": abs(quantity),
            "limit_price": None,
            "stop_price": None,
            "time_in_force": "gtc",
            "status": "accepted",
            "filled_quantity": 0.0,
            "average_fill_price": None,
            "reason": "",
            "tag": "",
            "signal_ml_pred": round(float(np.sin(t * 1.7 + a)), 4) if (t + a) % 11 else None,
            "signal_regime": ("calm", "wild")[(t // 20) % 2],
            **changes,
        }
        self.rows["orders"].append(order)
        if order["status"] == "accepted" and order["type"] == "market":
            self.waiting.append(order)

    def fill(self, t: int, rate: float, bps: float) -> None:
        """Fills what waits, at the open of session `t`."""
        for order in self.waiting:
            a = self.assets.index(order["asset_id"])
            sign = 1.0 if order["side"] == "buy" else -1.0
            reference = float(self.market.open[t, a])
            price = reference * (1.0 + sign * bps / 10_000.0)
            quantity = order["quantity"]
            commission = rate * quantity * price
            self.cash -= sign * quantity * price + commission
            self.held[a] += sign * quantity
            fill_id = len(self.rows["fills"]) + 1
            self.filled[a].append((t, fill_id))
            self.rows["fills"].append(
                {
                    "fill_id": fill_id,
                    "order_id": order["order_id"],
                    "timestamp": self.stamps[t],
                    "asset_id": order["asset_id"],
                    "side": order["side"],
                    "quantity": quantity,
                    "price": price,
                    "commission": commission,
                    "slippage": quantity * reference * bps / 10_000.0,
                    "reason": "open",
                    "position": self.held[a],
                    "multiplier": 1.0,
                }
            )
            order.update(status="filled", filled_quantity=quantity, average_fill_price=price)
        self.waiting = []

    def mark(self, t: int) -> None:
        """Notes equity at the close of session `t`."""
        worth = [q * float(c) for q, c in zip(self.held, self.market.close[t], strict=True)]
        day = self.stamps[t].date() if isinstance(self.stamps[t], dt.datetime) else self.stamps[t]
        self.rows["equity"].append(
            {
                "timestamp": self.stamps[t],
                "session": day,
                "equity": self.cash + sum(worth),
                "cash": self.cash,
                "gross_exposure": sum(abs(w) for w in worth),
                "net_exposure": sum(worth),
            }
        )

    def finish(self) -> None:
        """Notes the extremes between fills, and what is still held."""
        last = len(self.stamps) - 1
        for a, asset in enumerate(self.assets):
            starts = [t for t, _ in self.filled[a]]
            for (start, fill_id), end in zip(self.filled[a], [*starts[1:], last + 1], strict=False):
                flat = self.rows["fills"][fill_id - 1]["position"] == 0.0
                bars = slice(start, start if flat else end)
                high, low = self.market.high[bars, a], self.market.low[bars, a]
                self.rows["excursions"].append(
                    {
                        "fill_id": fill_id,
                        "high": float(high.max()) if len(high) else None,
                        "low": float(low.min()) if len(low) else None,
                        "bars": len(high),
                    }
                )
            if self.held[a]:
                self.rows["marks"].append(
                    {
                        "asset_id": asset,
                        "quantity": self.held[a],
                        "price": float(self.market.close[last, a]),
                        "timestamp": self.stamps[last],
                        "multiplier": 1.0,
                    }
                )


class Simulate(Protocol):
    """The type of the fixture."""

    def __call__(self, **options: Any) -> RunRecord:
        """Runs the loop."""
        ...


def _simulate(
    *,
    seed: int = 7,
    n_assets: int = 4,
    n_sessions: int = 120,
    stamps: Sequence[Any] | None = None,
    times: Any = NAIVE,
    rate: float = 0.001,
    bps: float = 2.0,
    **fields: Any,
) -> RunRecord:
    rng = np.random.default_rng(seed)
    assets = [f"A{i:02d}" for i in range(n_assets)]
    days = sessions_from(dt.date(2020, 1, 1), n_sessions)
    when = stamps or [dt.datetime(d.year, d.month, d.day) for d in days]
    desk = Desk(Market(rng, assets, len(when)), assets, when)
    for t in range(len(when)):
        desk.fill(t, rate, bps)
        desk.mark(t)
        for a in range(n_assets):
            if rng.random() < 0.15:
                target = float(rng.integers(-3, 4)) * 100.0
                if target != desk.held[a]:
                    desk.order(t, a, target - desk.held[a])
        if t % 40 == 5:
            _troubled_orders(desk, t)
        if any(o["created_at"] == when[t] for o in desk.rows["orders"][-n_assets - 4 :]):
            context = {"VIX": 15.0 + t % 9, "trend": "up" if t % 3 else None}
            desk.rows["decisions"].append({"timestamp": when[t], **context})
    desk.finish()
    desk.rows["records"] = [{"timestamp": t, "name": "held", "value": 0.0} for t in when[:1]]
    desk.rows["logs"] = [{"timestamp": t, "message": "done"} for t in when[-1:]]
    desk.rows["signal_coverage"] = [
        {
            "signal": "ml_pred",
            "bars": 480,
            "bars_with_value": 436,
            "share": 436 / 480,
            "expired": 9,
        },
        {"signal": "regime", "bars": 480, "bars_with_value": 480, "share": 1.0, "expired": 0},
    ]
    defaults: dict[str, Any] = {
        "counts": {"ambiguous_bars": 3},
        "settings": {
            "strategy": {"class": "Rotation", "parameters": {"top": 3, "tolerance": 0.005}},
            "fill_at": "next_open",
            "commission": f"PercentCommission(rate={rate})" if rate else "none",
            "slippage": f"BasisPointSlippage(bps={bps})" if bps else None,
            "stale_after": 5,
        },
        "source": {"kind": "frame", "rows": n_assets * len(when)},
        "versions": {"python": "3.11.7"},
        "asset_ids": [*assets, "QUIET"],
    }
    return record_of(desk.rows, times, **{**defaults, **fields})


def _troubled_orders(desk: Desk, t: int) -> None:
    desk.order(t, 0, 50.0, status="rejected", reason="unknown asset")
    desk.order(t, 1, 10.0, status="rejected", reason="no position")
    desk.order(t, 1, 30.0, status="canceled", reason="scaled: buying power")
    desk.order(
        t,
        2,
        40.0,
        type="limit",
        limit_price=1.5,
        time_in_force="day",
        status="expired",
        reason="day ended",
    )
    desk.order(t, 3, -25.0, type="stop", stop_price=2.25, tag="protect")


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Runs the plain loop."""
    return _simulate


@pytest.fixture(scope="session")
def record(simulate: Simulate) -> RunRecord:
    """A run of four assets over 120 sessions, with long and short trades and troubled orders."""
    return simulate()


@pytest.fixture
def result(record: RunRecord) -> BacktestResult:
    """That run as a result that has computed nothing yet."""
    return BacktestResult(record)
