"""vectorbt: `from_orders` for orders that are known before, else a function that is asked.

Exits at a distance from the entry are those of `from_signals`. Rules that look at the account go
to `from_order_func`, in Python instead of Numba; there an asset has one order in a row, or with
`flexible=True` any number. Columns stand in order of their names and share the cash.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import math

import common
import numpy as np
import pandas as pd
import vectorbt as vbt
from vectorbt.portfolio.enums import OrderStatus, SizeType, StopEntryPrice
from vectorbt.portfolio.nb import order_nb, order_nothing_nb
from vectorbt.utils.array_ import insert_argsort_nb

EXITS = ("stop_loss", "take_profit", "trailing_stop")


class Desk:
    """The market as tables, and what each order costs."""

    def __init__(self, question):
        self.question = question
        self.assets = sorted(question.bars)
        self.rows = len(question.times)
        self.index = pd.DatetimeIndex(question.times)
        self.prices = {
            name: pd.DataFrame(
                {
                    asset: [question.at[time].get(asset, {}).get(name) for time in question.times]
                    for asset in self.assets
                },
                index=self.index,
                dtype=float,
            )
            for name in ("open", "high", "low", "close")
        }
        self.close = self.prices["close"].to_numpy()
        scenario = question.scenario
        self.slippage = (scenario["slippage"] or {"rate": 0.0})["rate"]
        self.granularity = np.nan if scenario["fractional"] else 1.0
        self.turns = "auto" if scenario["by_value"] else "default"

    def costs(self, units):
        """Commission and slippage of an order, as vectorbt's order takes them."""
        terms = self.question.scenario["commission"]
        found = {"fees": 0.0, "fixed_fees": 0.0, "slippage": self.slippage}
        if terms is not None and terms["kind"] == "percent":
            found["fees"] = terms["rate"]
        elif terms is not None:
            found["fixed_fees"] = np.maximum(np.abs(units) * terms["per_share"], terms["minimum"])
        # `from_orders` has this least size; a function has none, and would book orders of nothing.
        found["min_size"] = 1e-8
        return found | {"size_granularity": self.granularity, "log": True}

    def common(self):
        """What all ways to make a portfolio are told."""
        cash = self.question.scenario["cash"]
        return {"init_cash": cash, "group_by": True, "cash_sharing": True}


class Function:
    """Decides before each row, and hands the orders out as it is asked for them."""

    def __init__(self, desk, *, flexible):
        self.desk, self.flexible = desk, flexible
        self.last = np.full(len(desk.assets), np.nan)
        self.todo = {}
        self.asked = []  # row, column, decision, status, units

    def portfolio(self):
        """Run it."""
        names = ("sim", "group", "row", "segment")
        quiet = {f"pre_{name}_func_nb": lambda *_: () for name in names}
        quiet |= {f"post_{name}_func_nb": lambda *_: None for name in names}
        return vbt.Portfolio.from_order_func(
            self.desk.prices["close"],
            self.next_of_any if self.flexible else self.next_of_column,
            flexible=self.flexible,
            use_numba=False,
            **(quiet | {"pre_segment_func_nb": self.before, "post_order_func_nb": self.after}),
            **self.desk.common(),
        )

    def before(self, ctx):
        """Decide on a row."""
        desk = self.desk
        close, units = desk.close[ctx.i], ctx.last_position
        self.last = np.where(np.isnan(close), self.last, close)
        ctx.last_val_price[:] = self.last  # as `from_orders` does; else it is the close before
        held = {asset: float(units[k]) for k, asset in enumerate(desk.assets)}
        worth = np.where(units == 0.0, 0.0, units * self.last)
        equity = float(ctx.last_cash[0]) + float(worth.sum())
        self.todo = {}
        for decision in desk.question.playbook.at(desk.question.view(ctx.i, equity, held)):
            if "weights" in decision:
                weights = decision["weights"]
                for asset in sorted({*weights, *(name for name in held if held[name])}):
                    self.put({"asset": asset, "share": weights.get(asset, 0.0), "key": None})
            elif not decision.get("close") or held[decision["asset"]]:
                self.put(decision)
        if desk.turns == "auto":
            # What `from_orders` does by itself; a function has to ask for it.
            shares = {col: orders[0]["share"] for col, orders in self.todo.items()}
            size = np.array([shares.get(col, np.nan) for col in range(len(desk.assets))])
            insert_argsort_nb(size * equity - worth, ctx.call_seq_now)
        return ()

    def put(self, decision):
        self.todo.setdefault(self.desk.assets.index(decision["asset"]), []).append(decision)

    def next_of_column(self, ctx):
        """The order of an asset."""
        orders = self.todo.get(ctx.col)
        return self.made(ctx, ctx.col, orders.pop(0)) if orders else order_nothing_nb()

    def next_of_any(self, ctx):
        """The next order of all."""
        for col in sorted(self.todo):
            if self.todo[col]:
                return col, self.made(ctx, col, self.todo[col].pop(0))
        return -1, order_nothing_nb()

    def made(self, ctx, col, decision):
        """An order in vectorbt's terms."""
        self.asked.append([ctx.i, col, decision, None, 0.0])
        price = self.desk.close[ctx.i, col]
        if "share" in decision:
            kind = {"size": decision["share"], "size_type": SizeType.TargetPercent}
            return order_nb(price=price, **kind, **self.desk.costs(0.0))
        if decision.get("close"):
            size = -float(ctx.last_position[col])
            decision["quantity"] = abs(size)
        else:
            size = decision["quantity"] * (1.0 if decision["side"] == "buy" else -1.0)
        return order_nb(size=size, price=price, **self.desk.costs(size))

    def after(self, ctx):
        """An order was tried; one of no size was none."""
        if self.asked and self.asked[-1][3] is None:
            result = ctx.order_result
            filled = result.size if result.status == OrderStatus.Filled else 0.0
            self.asked[-1][3:] = [result.status, float(filled)]


class Table:
    """Orders that are known before."""

    def __init__(self, desk):
        self.desk = desk
        self.asked = []

    def portfolio(self):
        """Run them."""
        desk = self.desk
        size = np.full((desk.rows, len(desk.assets)), np.nan)
        kind = np.full(size.shape, SizeType.Amount)
        cells = {}
        for decision in desk.question.scenario["plan"]["orders"]:
            cell = decision["bar"], desk.assets.index(decision["asset"])
            cells[cell] = decision
            if decision.get("close"):
                size[cell], kind[cell] = 0.0, SizeType.TargetAmount
            else:
                size[cell] = decision["quantity"] * (1.0 if decision["side"] == "buy" else -1.0)
        found = vbt.Portfolio.from_orders(
            desk.prices["close"], size=size, size_type=kind, call_seq=desk.turns,
            **desk.costs(size), **desk.common(),
        )  # fmt: skip
        for log in found.logs.records.itertuples():
            decision = cells.get((log.idx, log.col))
            if decision is None or (decision.get("close") and log.position == 0.0):
                continue
            if decision.get("close"):
                decision["quantity"] = abs(log.position)
            filled = log.res_size if log.res_status == OrderStatus.Filled else 0.0
            self.asked.append([log.idx, log.col, decision, log.res_status, float(filled)])
        return found


class Signals:
    """Entries with exits at a distance, and signals to leave."""

    def __init__(self, desk):
        self.desk = desk
        self.fills = {}  # key by row and column
        self.orders = []

    def portfolio(self):
        """Run them."""
        desk = self.desk
        shape = desk.rows, len(desk.assets)
        flags = {
            name: np.zeros(shape, dtype=bool)
            for name in ("entries", "exits", "short_entries", "short_exits", "sl_trail")
        }
        numbers = {name: np.full(shape, np.nan) for name in ("size", "sl_stop", "tp_stop")}
        cells = {}
        for decision in desk.question.scenario["plan"]["orders"]:
            cell = decision["bar"], desk.assets.index(decision["asset"])
            cells[cell] = decision
            if decision.get("close"):
                flags["exits"][cell] = flags["short_exits"][cell] = True
                continue
            flags["entries" if decision["side"] == "buy" else "short_entries"][cell] = True
            guard = decision["guard"]
            numbers["size"][cell] = decision["quantity"]
            numbers["tp_stop"][cell] = guard.get("take_profit", {}).get("percent", np.nan)
            flags["sl_trail"][cell] = "trailing_stop" in guard
            stop = guard.get("trailing_stop") or guard.get("stop_loss") or {}
            numbers["sl_stop"][cell] = stop.get("percent", np.nan)
        bars = {name: desk.prices[name] for name in ("open", "high", "low")}
        cure = {}
        if desk.question.scenario["cure"] == "stops from the fill":
            cure = {"stop_entry_price": StopEntryPrice.FillPrice}
        found = vbt.Portfolio.from_signals(
            desk.prices["close"], **flags, **numbers, **bars, **desk.costs(0.0), **desk.common(),
            **cure,
        )  # fmt: skip
        self.name(found.orders.records, cells)
        return found

    def name(self, records, cells):
        """Which fill belongs to which order, and how each of them ended."""
        entries = {}  # by column: the decision whose position is open, and its price
        for one in records.sort_values(["idx", "col"]).itertuples():
            cell = one.idx, one.col
            decision = cells.get(cell)
            is_entry = decision is not None and not decision.get("close")
            if is_entry and one.col not in entries:
                entries[one.col] = decision, one.price
                self.fills[cell] = decision["key"]
                continue
            entry, paid = entries.pop(one.col)
            sign = 1.0 if one.side == 0 else -1.0
            at_close = self.desk.close[cell] * (1.0 + sign * self.desk.slippage)
            if decision is not None and one.price == at_close:  # or a stop came first
                self.fills[cell] = decision["key"]
                self.end(decision, "filled", one.size)
                self.leave(entry, "")
            else:
                role = self.role(entry, paid, one)
                self.fills[cell] = f"{entry['key']}/{role}"
                self.leave(entry, role)
        for entry, _ in entries.values():
            self.leave(entry, "", rest="open")

    @staticmethod
    def role(entry, paid, fill):
        """Which exit it was: the target, if the price has got there."""
        sign = 1.0 if entry["side"] == "buy" else -1.0
        target = entry["guard"].get("take_profit", {}).get("percent", math.inf)
        if sign * (fill.price / paid - 1.0) >= target * (1.0 - 1e-9):
            return "take_profit"
        return "trailing_stop" if "trailing_stop" in entry["guard"] else "stop_loss"

    def leave(self, entry, role, rest="canceled"):
        """The position of an entry is over, by an exit or otherwise."""
        self.end(entry, "filled", entry["quantity"])
        for name in EXITS:
            if name in entry["guard"]:
                is_it = name == role
                units = entry["quantity"] if is_it else 0.0
                key = f"{entry['key']}/{name}"
                self.end(entry | {"key": key}, "filled" if is_it else rest, units)

    def end(self, decision, status, units):
        self.orders.append((decision["key"], decision["asset"], status, units))


def way(desk):
    """How to run a scenario, as a user would."""
    plan = desk.question.scenario["plan"]
    orders = plan.get("orders", [])
    if any("guard" in order for order in orders):
        return Signals(desk)
    cells = [(order["bar"], order["asset"]) for order in orders]
    is_single = len(set(cells)) == len(cells)
    if plan["kind"] == "orders" and is_single:
        return Table(desk)
    return Function(desk, flexible=not is_single)


def tell_orders(played, desk, answer):
    """How the orders ended; the keys of those that filled, in order or by row and column."""
    if isinstance(played, Signals):
        for order in played.orders:
            answer.order(*order)
        return played.fills
    keys = []
    for row, col, decision, status, units in played.asked:
        if status == OrderStatus.Filled:
            keys.append(((row, col), decision["key"]))
        is_whole = status == OrderStatus.Filled and units == decision.get("quantity", units)
        word = "filled" if is_whole else "rejected"
        answer.order(decision["key"], desk.assets[col], word, units)
    return keys


def tell_fills(found, keys, desk, answer):
    """What was traded."""
    for number, one in enumerate(found.orders.records.sort_values("id").itertuples()):
        cell = one.idx, one.col
        if isinstance(keys, dict):
            key = keys[cell]
        else:
            where, key = keys[number]
            assert where == cell
        units = one.size if one.side == 0 else -one.size
        time = desk.question.times[one.idx]
        answer.fill(time, desk.assets[one.col], units, one.price, one.fees, key)


def main(folder):
    """Play one scenario."""
    question = common.Question(folder)
    answer = common.Answer(question, "vectorbt")
    desk = Desk(question)
    played = way(desk)
    found = played.portfolio()
    tell_fills(found, tell_orders(played, desk, answer), desk, answer)
    cash, value = (np.asarray(part, dtype=float).ravel() for part in (found.cash(), found.value()))
    units = np.asarray(found.assets(), dtype=float).reshape(desk.rows, -1)
    for row, time in enumerate(question.times):
        held = dict(zip(desk.assets, units[row].tolist(), strict=True))
        answer.bar(time, cash[row], value[row], held)
    for one in found.positions.records.itertuples():
        if one.status == 1:
            times = question.times[one.entry_idx], question.times[one.exit_idx]
            answer.trade(desk.assets[one.col], *times, one.pnl)
    if question.scenario["plan"].get("as_weights"):
        answer.leave_out("orders")  # one for each asset in each row
    answer.write()


if __name__ == "__main__":
    common.play(main)
