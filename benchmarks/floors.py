"""What bare Python costs: the yardsticks that our engine is measured against.

`floor_build` goes through the rows, builds a slotted event with a dict of signals for each, and
calls the strategy, which keeps its own positions: no orders, fills or money. `floor_engine` adds
the least that makes it a backtest: orders wait for the asset's next open, fills change cash and
positions.
"""

from __future__ import annotations

import gc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import workloads as w

COLUMNS = ("open", "high", "low", "close", "volume", "ml_pred", "confidence")


class Event:
    __slots__ = ("asset", "close", "high", "low", "open", "signals", "timestamp", "volume")

    def __init__(self, timestamp, asset, open_, high, low, close, volume, signals):  # noqa: PLR0917
        self.timestamp = timestamp
        self.asset = asset
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume
        self.signals = signals


class Position:
    __slots__ = ("entry", "quantity")

    def __init__(self, quantity, entry):
        self.quantity = quantity
        self.entry = entry


class Account:
    __slots__ = ("budget", "cash", "orders", "positions")

    def __init__(self, budget):
        self.positions = {}
        self.orders = []
        self.budget = budget
        self.cash = w.INITIAL_CASH


class Deciding:
    """The threshold strategy, booking its decisions at the close itself."""

    def on_market_data(self, event, account):
        signals = event.signals
        position = account.positions.get(event.asset)
        if position is None:
            if signals["ml_pred"] > w.BUY_ABOVE and signals["confidence"] > w.SURE_ABOVE:
                quantity = int(account.budget / event.close)
                if quantity:
                    account.positions[event.asset] = Position(quantity, event.close)
        elif signals["ml_pred"] < w.SELL_BELOW or event.close < w.STOP * position.entry:
            del account.positions[event.asset]


class Threshold:
    """The threshold strategy, sending orders."""

    def on_market_data(self, event, account):
        signals = event.signals
        position = account.positions.get(event.asset)
        if position is None:
            if signals["ml_pred"] > w.BUY_ABOVE and signals["confidence"] > w.SURE_ABOVE:
                quantity = int(account.budget / event.close)
                if quantity:
                    account.orders.append((event.asset, quantity))
        elif signals["ml_pred"] < w.SELL_BELOW or event.close < w.STOP * position.entry:
            account.orders.append((event.asset, -position.quantity))


class Rebalance:
    """Collects a timestamp's events; at its last asset brings the portfolio to its targets."""

    def __init__(self, last, top_n):
        self.last = last
        self.top_n = top_n
        self.close = {}
        self.prediction = {}

    def on_market_data(self, event, account):
        self.close[event.asset] = event.close
        self.prediction[event.asset] = event.signals["ml_pred"]
        if event.asset != self.last:
            return
        close, prediction = self.close, self.prediction
        equity = account.cash
        for asset, position in account.positions.items():
            equity += position.quantity * close[asset]
        each = w.WEIGHTS * equity / self.top_n
        best = sorted(prediction, key=prediction.__getitem__, reverse=True)[: self.top_n]
        target = {asset: int(each / close[asset]) for asset in best}
        buys = []
        for asset, position in account.positions.items():
            change = target.pop(asset, 0) - position.quantity
            if change < 0:
                account.orders.append((asset, change))
            elif change > 0:
                buys.append((asset, change))
        account.orders.extend(buys)
        account.orders.extend((asset, quantity) for asset, quantity in target.items() if quantity)


def load(path, assets):
    """The file as arrays: the time of every timestamp, the assets, the columns.

    Reading this way imports nothing more; `read_table` and `to_numpy` would import pandas.
    """
    table = pq.ParquetFile(path).read()
    times = values(table["timestamp"])[::assets]
    names = [str(name) for name in table["asset"].slice(0, assets).to_pylist()]
    return times, names, [values(table[name]) for name in COLUMNS]


def values(column):
    """A column without nulls; times as int64."""
    is_time = pa.types.is_timestamp(column.type)
    chunks = [chunk.view(pa.int64()) if is_time else chunk for chunk in column.chunks]
    arrays = [np.from_dlpack(chunk) for chunk in chunks]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def prepare(times, names, columns):
    """The arrays as lists in the order of events; they are not garbage to walk over."""
    stamps = [time for time in times.tolist() for _ in names]
    rows = [stamps, names * len(times), *(column.tolist() for column in columns)]
    gc.freeze()
    return rows


def run_build(rows, account):
    on_market_data = Deciding().on_market_data
    for t, a, o, h, lo, c, v, prediction, confidence in zip(*rows, strict=True):
        on_market_data(
            Event(t, a, o, h, lo, c, v, {"ml_pred": prediction, "confidence": confidence}),
            account,
        )


def run_engine(rows, strategy, account):
    """Fills and final equity."""
    on_market_data = strategy.on_market_data
    positions, orders = account.positions, account.orders
    pending, last, fills = {}, {}, 0
    for t, a, o, h, lo, c, v, prediction, confidence in zip(*rows, strict=True):
        if a in pending:
            quantity = pending.pop(a)
            account.cash -= quantity * o + abs(quantity) * o * w.COMMISSION
            fills += 1
            position = positions.get(a)
            if position is None:
                positions[a] = Position(quantity, o)
            else:
                position.quantity += quantity
                if position.quantity == 0:
                    del positions[a]
        last[a] = c
        on_market_data(
            Event(t, a, o, h, lo, c, v, {"ml_pred": prediction, "confidence": confidence}),
            account,
        )
        if orders:
            pending.update(orders)
            orders.clear()
    return fills, account.cash + sum(p.quantity * last[a] for a, p in positions.items())
