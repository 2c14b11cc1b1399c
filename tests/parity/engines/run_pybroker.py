"""pybroker: decisions before each bar's executions, and one order for a symbol and bar.

Its cash leaves out what shorts have brought and what lies beside it as collateral; both are put
back. Its trades are lots, before fees; here they are put together from flat to flat.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

from decimal import Decimal

import common
import pandas as pd
import pybroker
from pybroker import FeeMode, Strategy, StrategyConfig, portfolio
from pybroker.common import StopType
from pybroker.portfolio import Portfolio
from pybroker.slippage import FixedSlippageModel

STOPS = {
    "stop_loss": ("stop_loss", "stop_loss"),
    "take_profit": ("stop_profit", "stop_profit"),
    "trailing_stop": ("stop_trailing", "stop_trailing"),
}


OPTIONS = {}  # of the engine, beside those of a scenario


class Player:
    """Plays the playbook."""

    def __init__(self, question, answer):
        self.question, self.answer = question, answer
        self.times = {pd.Timestamp(time): i for i, time in enumerate(question.times)}
        self.todo = {}
        self.sent = {}  # decision by (time, symbol)
        self.where = {}  # (time, symbol) by key
        self.canceled = set()
        self.portfolio = None
        self.waiting = set()  # (time, symbol) of what is pending now

    def before(self, contexts):
        """Once for each bar, after its fills."""
        ctx = next(iter(contexts.values()))
        self.portfolio = account = ctx._portfolio
        now = pd.Timestamp(ctx.dt)
        index = self.times[now]
        held = {name: float(pos.shares) for name, pos in account.long_positions.items()}
        lent = Decimal()
        for name, pos in account.short_positions.items():
            held[name] = -float(pos.shares)
            lent += pos.entry_notional
        worth = float(account.market_value)
        self.answer.bar(self.question.times[index], account.cash + 2 * lent, worth, held)
        self.waiting = {(pd.Timestamp(one.created), one.symbol) for one in ctx.pending_orders()}
        view = self.question.view(index, worth, held)
        for decision in self.question.playbook.at(view):
            if "cancel" in decision:
                self.cancel(ctx, decision["cancel"])
            elif not decision.get("close") or held.get(decision["asset"]):
                self.todo[decision["asset"]] = decision
                self.sent[now, decision["asset"]] = decision
                self.where[decision["key"]] = now, decision["asset"]

    def cancel(self, ctx, key):
        """Take an order back, if it is still there."""
        time, symbol = self.where[key]
        for pending in list(ctx.pending_orders(symbol)):
            if pd.Timestamp(pending.created) == time:
                ctx.cancel_pending_order(pending.id)
                self.canceled.add(key)

    def __call__(self, ctx):
        """Send what was decided for the symbol."""
        decision = self.todo.pop(ctx.symbol, None)
        if decision is None:
            return
        if decision.get("close"):
            decision["quantity"] = float((ctx.long_pos() or ctx.short_pos()).shares)
            (ctx.sell_all_shares if ctx.long_pos() else ctx.cover_all_shares)()
            return
        way = "buy" if decision["side"] == "buy" else "sell"
        setattr(ctx, f"{way}_shares", decision["quantity"])
        if "limit" in decision:
            setattr(ctx, f"{way}_limit_price", decision["limit"])
            setattr(ctx, f"{way}_timeout_bars", self.patience(ctx, decision))
        for role, terms in decision.get("guard", {}).items():
            name = STOPS[role][0]
            if "percent" in terms:
                setattr(ctx, f"{name}_pct", 100.0 * terms["percent"])
            else:
                setattr(ctx, name, terms["amount"])

    def patience(self, ctx, decision):
        """How many bars a limit is tried again; -1 for ever."""
        if "until" not in decision:
            return -1
        times = [str(time)[:10] for time in self.question.bars[ctx.symbol]["time"]]
        now = str(pd.Timestamp(ctx.dt))[:10]
        return sum(now < time <= decision["until"] for time in times) - 1


class Ledger:
    """Fills by the key of their order, and trips from flat to flat."""

    def __init__(self, player):
        self.player = player
        self.filled = {}  # units by key
        self.exits = {}  # key of an exit by key of the entry
        self.trips = []
        self.units, self.opened, self.fees, self.entry = {}, {}, {}, {}

    def note(self, order):
        """One order of the engine."""
        player, symbol = self.player, order.symbol
        time, shares, fee = pd.Timestamp(order.date), order.shares, float(order.fees)
        signed = shares if order.type == "buy" else -shares
        if order.created is None:
            role = next(role for role, (_, kind) in STOPS.items() if kind == order.order_type)
            key = f"{self.entry[symbol]}/{role}"
        else:
            decision = player.sent[pd.Timestamp(order.created), symbol]
            key = decision["key"]
            if "guard" in decision:
                self.entry[symbol] = key
        self.filled[key] = self.filled.get(key, 0.0) + float(shares)
        player.answer.fill(time, symbol, signed, order.fill_price, fee, key)
        before = self.units.get(symbol, Decimal())
        after = before + signed
        self.units[symbol] = after
        if before * after < 0:  # turned around: the commission goes by units
            share = float(abs(after) / shares)
            self.close(symbol, time, fee * (1.0 - share))
            self.opened[symbol], self.fees[symbol] = time, fee * share
        elif before == 0:
            self.opened[symbol], self.fees[symbol] = time, fee
        elif after == 0:
            self.close(symbol, time, fee)
        else:
            self.fees[symbol] += fee

    def close(self, symbol, time, fee):
        """A trip is over; what its lots gained, less all commissions."""
        opened = self.opened[symbol]
        lots = [
            float(lot.pnl)
            for lot in self.player.portfolio.trades
            if lot.symbol == symbol and opened < pd.Timestamp(lot.exit_date) <= time
        ]
        self.trips.append((symbol, opened, time, sum(lots) - self.fees[symbol] - fee))

    def end(self, key, symbol, decision):
        """How an order ended."""
        player = self.player
        filled = self.filled.get(key, 0.0)
        time = player.where[key][0]
        later = [when for when in player.question.bars[symbol]["time"] if pd.Timestamp(when) > time]
        if filled:
            word = "filled" if filled == decision["quantity"] else "rejected"
        elif key in player.canceled or (later and decision.get("close")):
            word = "canceled"
        elif not later or (time, symbol) in player.waiting:
            word = "open"
        elif "limit" in decision:
            word = "expired"
        else:
            word = "rejected"
        player.answer.order(key, symbol, word, filled)
        for role in decision.get("guard", {}):
            name = f"{key}/{role}"
            exited = self.filled.get(name, 0.0)
            is_held = self.entry.get(symbol) == key and self.units[symbol] != 0
            word = "filled" if exited else ("open" if is_held else "canceled")
            player.answer.order(name, symbol, word, exited)


# -- changes that take one rule away, to show that it is the cause of a difference --------------


def lots_at_average():
    """All entries of a short position count at their average price."""
    plain = Portfolio._short

    def short(self, date, symbol, shares, fill_price, stops):
        done = plain(self, date, symbol, shares, fill_price, stops)
        pos = self.short_positions.get(symbol)
        if done and len(pos.entries) > 1:
            units = sum(entry.shares for entry in pos.entries)
            average = sum(entry.shares * entry.price for entry in pos.entries) / units
            first = pos.entries[0]
            first.shares, first.price = units, average
            pos.entries.clear()
            pos.entries.append(first)
        return done

    Portfolio._short = short


def fine_fractions():
    """What is cut is cut to the last digit."""
    portfolio._SHARES_EPSILON = Decimal(1).scaleb(-20)


def targets_kept():
    """A target is not passed by slippage."""
    plain = Portfolio._slip_stop_fill_price

    def slip(self, stop, entry, fill_price, *rest):
        price = plain(self, stop, entry, fill_price, *rest)
        if stop.stop_type != StopType.PROFIT:
            return price
        level = Decimal(str(self._stop_data[stop.id].value))
        return max(price, level) if stop.pos_type == "long" else min(price, level)

    Portfolio._slip_stop_fill_price = slip


def limits_before_slippage():
    """A limit is compared with the price before slippage, and not passed by it."""
    for name, better in (("buy", min), ("sell", max)):
        plain = getattr(Portfolio, name)

        def trade(
            self, date, symbol, shares, fill_price, limit_price=None, *,
            plain=plain, better=better, **rest,
        ):  # fmt: skip
            market = rest.get("market_price")
            if limit_price is not None and better(market, limit_price) == market:
                fill_price = better(fill_price, limit_price)
            return plain(self, date, symbol, shares, fill_price, limit_price, **rest)

        setattr(Portfolio, name, trade)


def prices_unrounded():
    """Fill prices are not rounded to cents."""
    OPTIONS["round_fill_price"] = False


CURES = {
    "prices unrounded": prices_unrounded,
    "lots at average": lots_at_average,
    "fine fractions": fine_fractions,
    "targets kept": targets_kept,
    "limits before slippage": limits_before_slippage,
}


def frame_of(question):
    """The long table that pybroker takes."""
    names = ("open", "high", "low", "close", "volume")
    rows = [
        (pd.Timestamp(time), symbol, *values)
        for symbol, bars in question.bars.items()
        for time, *values in zip(bars["time"], *(bars[name] for name in names), strict=True)
    ]
    columns = ["date", "symbol", *names]
    return pd.DataFrame(rows, columns=columns).sort_values(["date", "symbol"])


def main(folder):
    """Play one scenario."""
    question = common.Question(folder)
    answer = common.Answer(question, "lib-pybroker")
    pybroker.disable_logging()
    pybroker.disable_progress_bar()
    scenario = question.scenario
    if scenario["cure"]:
        for cure in scenario["cure"].split(", "):
            CURES[cure]()
    config = {
        "initial_cash": scenario["cash"],
        "enable_fractional_shares": scenario["fractional"],
        "round_test_result": False,
        **OPTIONS,
    }
    terms = scenario["commission"]
    if terms is not None and terms["kind"] == "percent":
        config |= {"fee_mode": FeeMode.ORDER_PERCENT, "fee_amount": 100 * terms["rate"]}
    elif terms is not None:
        per_share, least = Decimal(str(terms["per_share"])), Decimal(str(terms["minimum"]))
        config["fee_mode"] = lambda info: max(info.shares * per_share, least)
    frame = frame_of(question)
    strategy = Strategy(frame, frame["date"].min(), frame["date"].max(), StrategyConfig(**config))
    if scenario["slippage"] is not None:
        rate = scenario["slippage"]["rate"]
        strategy.set_slippage_model(FixedSlippageModel(bps=10_000 * rate))
    player = Player(question, answer)
    strategy.set_before_exec(player.before)
    strategy.add_execution(player, sorted(question.bars))
    strategy.backtest(calc_bootstrap=False)
    ledger = Ledger(player)
    for order in player.portfolio.orders:
        ledger.note(order)
    for trip in ledger.trips:
        answer.trade(*trip)
    for (_, symbol), decision in player.sent.items():
        ledger.end(decision["key"], symbol, decision)
    answer.write()


if __name__ == "__main__":
    common.play(main)
