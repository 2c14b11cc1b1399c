"""Markets and plans that scenarios are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest.testing.markets import weekdays

SYMBOLS = ("AAPL", "AIG", "BAC", "IBM", "SPY")
KINDS = ("market", "limit", "stop", "stop_limit", "trailing_stop")


# -- data ------------------------------------------------------------------------------------


def with_signal(bars: pl.DataFrame, days: int = 10) -> pl.DataFrame:
    """Bars with a signal: the asset's return over some days, in units of what is usual for it."""
    change = pl.col("close") / pl.col("close").shift(days) - 1.0
    usual = change.abs().rolling_mean(60, min_samples=5)
    signal = (change / usual).over("asset_id").fill_nan(0.0).fill_null(0.0)
    columns = ("timestamp", "asset_id", "open", "high", "low", "close", "volume", "signal")
    return bars.with_columns(signal=signal).sort("timestamp", "asset_id").select(columns)


def recorded(folder: Path, symbols: tuple[str, ...], first: int, last: int) -> pl.DataFrame:
    """Daily bars of shares as they were quoted, from one year to another."""
    return with_signal(
        pl.read_parquet(folder / "equity_daily_raw.parquet")
        .filter(
            pl.col("asset").is_in(symbols),
            pl.col("timestamp").dt.year().is_between(first, last),
        )
        .select(
            pl.col("timestamp").dt.date(),
            pl.col("asset").alias("asset_id"),
            *("open", "high", "low", "close", "volume"),
        )
    )


def panel(folder: Path, assets: int, sessions: int) -> pl.DataFrame:
    """Closes of many shares; there is nothing but the close."""
    frame = pl.read_parquet(folder / "equity_daily_total_return_panel.parquet")
    names = frame["asset"].unique().sort()[:assets]
    times = frame["timestamp"].unique().sort()[:sessions]
    closes = frame.filter(
        pl.col("asset").is_in(names.implode()), pl.col("timestamp").is_in(times.implode())
    )
    return with_signal(
        closes.select(
            pl.col("timestamp").dt.date(),
            pl.col("asset").alias("asset_id"),
            *(pl.col("close").alias(name) for name in ("open", "high", "low", "close")),
            volume=pl.lit(1e6),
        ),
        days=21,
    )


def rough(assets: int, sessions: int, seed: int) -> pl.DataFrame:
    """A made-up market with gaps and wide bars, on prices of two decimals."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(assets):
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, sessions)))
        opened = np.concatenate([[100.0], close[:-1]]) * np.exp(rng.normal(0.0, 0.02, sessions))
        up, down = np.abs(rng.normal(0.0, 0.015, (2, sessions)))
        opened, close = np.round(opened, 2), np.round(close, 2)
        frames.append(
            pl.DataFrame(
                {
                    "timestamp": weekdays(sessions),
                    "asset_id": f"A{i}",
                    "open": opened,
                    "high": np.round(np.maximum(opened, close) * (1.0 + up), 2),
                    "low": np.round(np.minimum(opened, close) * (1.0 - down), 2),
                    "close": close,
                    "volume": 1e6,
                }
            )
        )
    return with_signal(pl.concat(frames))


def with_holes(bars: pl.DataFrame, seed: int, share: float = 0.15) -> pl.DataFrame:
    """Some bars are missing, and all but the first asset start late."""
    rng = np.random.default_rng(seed)
    names = bars["asset_id"].unique().sort().to_list()
    start = {name: 12 * i for i, name in enumerate(names)}
    times = bars["timestamp"].unique().sort().to_list()
    late = pl.col("timestamp").replace_strict(times, range(len(times)), return_dtype=pl.Int64)
    first = pl.col("asset_id").replace_strict(start, return_dtype=pl.Int64)
    kept = pl.Series("kept", rng.random(bars.height) >= share) | (bars["asset_id"] == names[0])
    return bars.filter(kept & (late >= first))


def thin(bars: pl.DataFrame, seed: int, quiet: float = 0.0) -> pl.DataFrame:
    """So little is traded that orders do not fit into a bar, and in a share of them nothing."""
    rng = np.random.default_rng(seed)
    volume = np.where(rng.random(bars.height) < quiet, 0.0, rng.integers(20, 400, bars.height))
    return bars.with_columns(volume=pl.Series(volume, dtype=pl.Float64))


# -- plans -----------------------------------------------------------------------------------


class Plan:
    """Orders written down one by one, at levels near the close of the bar they are decided on."""

    def __init__(self, bars: pl.DataFrame, seed: int, *, dated: bool = False) -> None:
        self.dated = dated
        self.rng = np.random.default_rng(seed)
        self.orders: list[dict[str, Any]] = []
        times = bars["timestamp"].unique().sort().to_list()
        self.dates = times
        self.close: list[dict[str, float]] = [{} for _ in times]
        number = {time: i for i, time in enumerate(times)}
        for time, asset, close in bars.select("timestamp", "asset_id", "close").iter_rows():
            self.close[number[time]][asset] = close

    def as_plan(self) -> dict[str, Any]:
        """For a scenario."""
        return {"kind": "orders", "orders": self.orders}

    def put(self, bar: int, asset: str, side: str, quantity: float, **rest: Any) -> str:
        """Write an order down; its key."""
        key = str(len(self.orders) + 1)
        order = {"bar": bar, "key": key, "asset": asset, "side": side, "quantity": quantity}
        self.orders.append({**order, "type": "market", **rest})
        return key

    def cancel(self, bar: int, key: str) -> None:
        """Write down that an order is taken back."""
        self.orders.append({"bar": bar, "cancel": key})

    def level(self, close: float, distance: float) -> float:
        """A price of two decimals at a distance from the close, as a fraction."""
        return round(close * (1.0 + distance), 2)

    def any_order(self, bar: int, asset: str, kinds: tuple[str, ...], units: float) -> str:
        """An order of one of the kinds, to either side, at a level that may well be met."""
        close, rng = self.close[bar][asset], self.rng
        side = "buy" if rng.random() < 0.5 else "sell"
        sign = 1.0 if side == "buy" else -1.0
        kind = str(rng.choice(kinds))
        near = float(rng.uniform(0.002, 0.04))
        rest: dict[str, Any] = {"type": kind}
        if kind == "limit":
            rest["limit"] = self.level(close, -sign * near)
        elif kind in {"stop", "stop_limit"}:
            rest["stop"] = self.level(close, sign * near)
        if kind == "stop_limit":
            rest["limit"] = self.level(close, sign * (near + float(rng.uniform(0.0, 0.01))))
        if kind == "trailing_stop":
            if rng.random() < 0.5:
                rest["trail_percent"] = near
            else:
                rest["trail_amount"] = round(close * near, 2)
        if self.dated and kind != "market" and rng.random() < 0.3:
            ahead = min(bar + int(rng.integers(1, 8)), len(self.dates) - 1)
            rest["until"] = self.dates[ahead].isoformat()
        return self.put(bar, asset, side, units, **rest)

    def bracket(self, bar: int, asset: str, units: float, *, limit: bool = False) -> str:
        """An entry with a stop and a target."""
        close, rng = self.close[bar][asset], self.rng
        side = "buy" if rng.random() < 0.5 else "sell"
        sign = 1.0 if side == "buy" else -1.0
        rest: dict[str, Any] = {}
        if limit:
            rest = {"type": "limit", "limit": self.level(close, -sign * 0.01)}
        near, far = rng.uniform(0.02, 0.05, 2).tolist()
        stop, target = self.level(close, -sign * near), self.level(close, sign * far)
        return self.put(bar, asset, side, units, stop_loss=stop, take_profit=target, **rest)


def orders_of_all_kinds(
    bars: pl.DataFrame,
    seed: int,
    kinds: tuple[str, ...],
    *,
    often: float = 0.3,
    units: float = 10.0,
    each: int = 1,
    dated: bool = True,
) -> dict[str, Any]:
    """Orders at random, `each` of an asset at a time, some of them taken back or with a date."""
    plan = Plan(bars, seed, dated=dated)
    waiting: list[str] = []
    for bar in range(1, len(plan.close)):
        if waiting and plan.rng.random() < 0.05:
            plan.cancel(bar, waiting.pop(int(plan.rng.integers(len(waiting)))))
        for asset in sorted(plan.close[bar]):
            for _ in range(each if plan.rng.random() < often else 0):
                key = plan.any_order(bar, asset, kinds, units * int(plan.rng.integers(1, 5)))
                if plan.orders[-1]["type"] != "market":
                    waiting.append(key)
    return plan.as_plan()


def brackets(bars: pl.DataFrame, seed: int, *, limit: bool, every: int = 30) -> dict[str, Any]:
    """One bracket after another; the one before is over by then, or nearly always."""
    plan = Plan(bars, seed)
    assets = sorted(plan.close[1])
    for bar in range(1, len(plan.close) - 1, every):
        for asset in assets:
            plan.bracket(bar, asset, 10.0, limit=limit)
    return plan.as_plan()


def too_much(bars: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Batches of purchases and sales that the cash pays for in part."""
    plan = Plan(bars, seed)
    for bar in range(1, len(plan.close), 3):
        assets = sorted(plan.close[bar])
        for asset in plan.rng.permutation(assets)[: int(plan.rng.integers(1, 4))].tolist():
            side = "buy" if plan.rng.random() < 0.6 else "sell"
            plan.put(bar, asset, side, float(plan.rng.integers(20, 80)))
    return plan.as_plan()


def too_much_long(bars: pl.DataFrame, seed: int) -> dict[str, Any]:
    """Purchases of one asset beyond the cash, and now and then all of it sold."""
    plan = Plan(bars, seed)
    (asset,) = plan.close[1]
    for bar in range(1, len(plan.close), 2):
        if plan.rng.random() < 0.3:
            plan.put(bar, asset, "sell", 0.0, close=True)
        else:
            plan.put(bar, asset, "buy", float(plan.rng.integers(10, 80)))
    return plan.as_plan()


def cut(bars: pl.DataFrame, seed: int, *, short: bool) -> dict[str, Any]:
    """One order for an asset at a time, of which the cash pays for a part."""
    plan = Plan(bars, seed)
    for bar in range(1, len(plan.close), 2):
        for asset in sorted(plan.close[bar]):
            if plan.rng.random() < 0.5:
                continue
            if plan.rng.random() < 0.4:
                plan.put(bar, asset, "sell", 0.0, close=True)
            else:
                side = "sell" if short and plan.rng.random() < 0.4 else "buy"
                plan.put(bar, asset, side, float(plan.rng.integers(10, 120)))
    return plan.as_plan()


def guarded(
    bars: pl.DataFrame, seed: int, *, unit: str, trail: bool = False, every: int = 15
) -> dict[str, Any]:
    """Entries with exits at a distance, in "percent" or "amount"; what is left is closed."""
    plan = Plan(bars, seed)
    for bar in range(1, len(plan.close) - 1, every):
        for asset in sorted(plan.close[bar]):
            side = "buy" if plan.rng.random() < 0.5 else "sell"
            near, far = plan.rng.uniform(0.02, 0.06, 2).tolist()
            scale = plan.close[bar][asset] if unit == "amount" else 1.0
            stop, target = ({unit: round(part * scale, 3)} for part in (near, far))
            roles = {"trailing_stop" if trail else "stop_loss": stop, "take_profit": target}
            plan.put(bar, asset, side, 10.0, guard=roles)
            if bar + every - 3 < len(plan.close):
                plan.put(bar + every - 3, asset, side, 0.0, close=True)
    plan.orders.sort(key=lambda order: order["bar"])
    return plan.as_plan()


def reversals(bars: pl.DataFrame, seed: int, *, split: float = 0.3) -> dict[str, Any]:
    """From long to short and back, a few bars each, sometimes in two orders of one bar."""
    plan = Plan(bars, seed)
    held = dict.fromkeys(plan.close[1], 0.0)
    for bar in range(1, len(plan.close), 4):
        for asset in sorted(plan.close[bar]):
            wanted = float(plan.rng.integers(5, 40)) * (-1.0 if held[asset] > 0.0 else 1.0)
            change = wanted - held[asset]
            side = "buy" if change > 0.0 else "sell"
            parts = [change] if plan.rng.random() < 1.0 - split else [-held[asset], wanted]
            for part in parts:
                if part:
                    plan.put(bar, asset, side, abs(part))
            held[asset] = wanted
    return plan.as_plan()


def by_hand(*orders: dict[str, Any]) -> dict[str, Any]:
    """A few decisions on asset A; orders are for ten units, at the market if nothing is said."""
    plain = {"asset": "A", "side": "buy", "quantity": 10.0, "type": "market"}
    named = [
        order if "cancel" in order else {**plain, "key": str(i), **order}
        for i, order in enumerate(orders, 1)
    ]
    return {"kind": "orders", "orders": named}


def trails_by_last(bars: pl.DataFrame, seed: int, often: float) -> dict[str, Any]:
    """Trailing stops that follow what an engine calls the last price."""
    plan = orders_of_all_kinds(bars, seed, ("trailing_stop",), often=often, dated=False)
    return {**plan, "orders": [{**order, "by_last": True} for order in plan["orders"]]}
