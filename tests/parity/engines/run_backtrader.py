"""backtrader: a feed for each asset, decisions in `next` (and `prenext`)."""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import datetime as dt
import sys

import backtrader as bt
import common

TYPES = {
    "market": bt.Order.Market,
    "limit": bt.Order.Limit,
    "stop": bt.Order.Stop,
    "stop_limit": bt.Order.StopLimit,
    "trailing_stop": bt.Order.StopTrail,
}
STATUS = {
    bt.Order.Completed: "filled",
    bt.Order.Canceled: "canceled",
    bt.Order.Expired: "expired",
    bt.Order.Margin: "rejected",
    bt.Order.Rejected: "rejected",
}


class Feed(bt.feed.DataBase):
    """Bars from lists."""

    params = (("bars", None),)

    def start(self):
        super().start()
        bars = self.p.bars
        dates = [bt.date2num(dt.datetime.combine(time, dt.time())) for time in bars["time"]]
        names = ("open", "high", "low", "close", "volume")
        self.rows = zip(dates, *(bars[name] for name in names), strict=True)

    def _load(self):
        row = next(self.rows, None)
        if row is None:
            return False
        lines = self.lines
        for line, value in zip(
            (lines.datetime, lines.open, lines.high, lines.low, lines.close, lines.volume),
            row,
            strict=True,
        ):
            line[0] = value
        lines.openinterest[0] = 0.0
        return True


class PerShare(bt.CommInfoBase):
    """Money per share, and a least amount."""

    params = (("stocklike", True), ("terms", None), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size, price, pseudoexec):
        del price, pseudoexec
        return max(abs(size) * self.p.terms["per_share"], self.p.terms["minimum"])


class Player(bt.Strategy):
    """Plays the playbook, and takes down what happens."""

    params = (("question", None), ("answer", None))

    def __init__(self):
        self.feeds = {feed._name: feed for feed in self.datas}
        self.sent = {}  # by key
        self.keys = {}  # by the engine's reference
        self.done = {}  # executed units and commission by reference
        self.index = -1

    def notify_order(self, order):
        filled = order.executed
        size, fees = self.done.get(order.ref, (0.0, 0.0))
        if filled.size != size:
            bit = filled.exbits[-1]
            time = bt.num2date(bit.dt)
            commission = filled.comm - fees
            self.p.answer.fill(
                time, order.data._name, bit.size, bit.price, commission, self.keys[order.ref]
            )
            self.done[order.ref] = filled.size, filled.comm

    def notify_trade(self, trade):
        if trade.isclosed:
            opened, closed = bt.num2date(trade.dtopen), bt.num2date(trade.dtclose)
            self.p.answer.trade(trade.data._name, opened, closed, trade.pnlcomm)

    def prenext(self):
        self.next()

    def next(self):
        self.index += 1
        question, broker = self.p.question, self.broker
        held = {name: broker.getposition(feed).size for name, feed in self.feeds.items()}
        cash, value = broker.getcash(), broker.getvalue()
        self.p.answer.bar(question.times[self.index], cash, value, held)
        view = question.view(self.index, value, held)
        for decision in question.playbook.at(view):
            self.play(decision, held)

    def play(self, decision, held):
        if "cancel" in decision:
            self.broker.cancel(self.sent[decision["cancel"]])
            return
        if "weights" in decision:
            self.target(decision["weights"], held)
            return
        feed, key = self.feeds[decision["asset"]], decision["key"]
        if decision.get("close"):
            if held[decision["asset"]]:
                self.keep(key, self.close(feed))
            return
        way = self.buy if decision["side"] == "buy" else self.sell
        has_exits = "stop_loss" in decision
        options = options_of(decision) | {"transmit": not has_exits}
        size = decision["quantity"]
        entry = self.keep(key, way(feed, size, **options))
        if not has_exits:
            return
        back = self.sell if decision["side"] == "buy" else self.buy
        stop = back(
            feed,
            size,
            exectype=bt.Order.Stop,
            price=decision["stop_loss"],
            parent=entry,
            transmit=False,
        )
        self.keep(f"{key}/stop_loss", stop)
        target = back(
            feed,
            size,
            exectype=bt.Order.Limit,
            price=decision["take_profit"],
            parent=entry,
            transmit=True,
        )
        self.keep(f"{key}/take_profit", target)

    def target(self, weights, held):
        """What is sold is sent first, so that it can pay for what is bought."""
        value = self.broker.getvalue()
        names = {*weights, *(name for name, units in held.items() if units)}
        change = {
            name: weights.get(name, 0.0) * value - held[name] * self.feeds[name].close[0]
            for name in names
        }
        for name in sorted(names, key=lambda name: (change[name] > 0.0, name)):
            order = self.order_target_percent(self.feeds[name], target=weights.get(name, 0.0))
            if order is not None:
                self.keys[order.ref] = None

    def keep(self, key, order):
        self.sent[key] = order
        self.keys[order.ref] = key
        return order


def options_of(decision):
    """Type, prices and time of an order, in backtrader's terms."""
    kind = decision["type"]
    options = {"exectype": TYPES[kind]}
    if kind == "limit":
        options["price"] = decision["limit"]
    elif kind in {"stop", "stop_limit"}:
        options["price"] = decision["stop"]
    if kind == "stop_limit":
        options["plimit"] = decision["limit"]
    if kind == "trailing_stop":
        options["trailamount"] = decision.get("trail_amount")
        options["trailpercent"] = decision.get("trail_percent")
    if decision.get("day"):
        options["valid"] = bt.Order.DAY
    elif "until" in decision:
        options["valid"] = dt.datetime.fromisoformat(decision["until"])
    return options


# -- changes that take one rule away, to show that it is the cause of a difference --------------


def later_bars_only(broker):
    """An order is tried once against each bar of its asset that began after it was sent."""
    plain, tried = broker._try_exec, {}

    def try_exec(self, order):
        bars = len(order.data)
        if order.data.datetime[0] > order.created.dt and tried.get(order.ref) != bars:
            tried[order.ref] = bars
            plain(self, order)

    broker._try_exec = try_exec


def limits_kept(broker):
    """A stop-limit does not pass its limit."""
    plain = broker._execute

    def execute(self, order, ago=None, price=None, **rest):
        if ago is not None and price is not None and order.exectype == bt.Order.StopLimit:
            better = min if order.isbuy() else max
            price = better(price, order.created.pricelimit)
        return plain(self, order, ago=ago, price=price, **rest)

    broker._execute = execute


def bars_kept(broker):
    """A limit sale does not fill below the low of its bar."""
    plain = broker._execute

    def execute(self, order, ago=None, price=None, **rest):
        if ago is not None and price is not None and not order.isbuy():
            price = max(price, order.data.low[0])
        return plain(self, order, ago=ago, price=price, **rest)

    broker._execute = execute


def limits_and_bars_kept(broker):
    """Both."""
    limits_kept(broker)
    bars_kept(broker)


def targets_in_fractions(_):
    """What a target comes to is not rounded to whole units."""
    bt.CommInfoBase.getsize = lambda self, price, cash: self.p.leverage * cash / price


CURES = {
    "targets in fractions": targets_in_fractions,
    "limits and bars kept": limits_and_bars_kept,
    "later bars only": later_bars_only,
    "bars kept": bars_kept,
}


def status(order, sent):
    """In the words of the answer; the exits of a refused entry are canceled, not refused."""
    if order.parent is not None and order.status == bt.Order.Rejected:
        return "canceled"
    return STATUS.get(order.status, "open")


def main():
    """Play one scenario."""
    question = common.Question(sys.argv[1])
    answer = common.Answer(question, "backtrader")
    scenario = question.scenario
    cerebro = bt.Cerebro(stdstats=False)
    for name in sorted(question.bars):
        cerebro.adddata(Feed(bars=question.bars[name], timeframe=bt.TimeFrame.Days), name=name)
    broker = cerebro.broker
    if scenario["cure"]:
        CURES[scenario["cure"]](bt.brokers.BackBroker)
    broker.setcash(scenario["cash"])
    terms, slippage = scenario["commission"], scenario["slippage"]
    if terms is not None and terms["kind"] == "percent":
        broker.setcommission(commission=terms["rate"])
    elif terms is not None:
        broker.addcommissioninfo(PerShare(terms=terms))
    if slippage is not None:
        broker.set_slippage_perc(slippage["rate"])
    cerebro.addstrategy(Player, question=question, answer=answer)
    (player,) = cerebro.run()
    for key, order in player.sent.items():
        answer.order(key, order.data._name, status(order, player.sent), order.executed.size)
    if scenario["plan"].get("as_weights"):
        answer.leave_out("orders")
    answer.write()


if __name__ == "__main__":
    main()
