"""backtesting.py: one asset, decisions in `next`, which it calls from its second bar on.

What its cash leaves out is put back: here a purchase costs its price when it is made, there its
profit is booked when it is closed. A close of several lots, and the two parts of an order that
turns a position around, are one fill of the order.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import inspect
import sys
import textwrap
import warnings

import backtesting.backtesting as engine
import common
import pandas as pd


class Book:
    """What happens in the broker, by the key of the order that made it happen."""

    def __init__(self, asset):
        self.asset = asset
        self.keys = {}  # by the order
        self.kept = []  # orders stay alive, so that their ids stay theirs
        self.entries = {}  # by key: the decision
        self.canceled = set()
        self.fills = {}  # by (key, time)
        self.trips = []
        self.position, self.opened, self.pnl = 0.0, None, 0.0

    def keep(self, order, key):
        self.keys[id(order)] = key
        self.kept.append(order)

    def key_of(self, order):
        """Of an order, or of the exit that an entry brought with it."""
        if order is None:
            return None
        if id(order) in self.keys:
            return self.keys[id(order)]
        trade = order.parent_trade
        return f"{trade.tag}/{'stop_loss' if order is trade._sl_order else 'take_profit'}"

    def note(self, order, time, size, price, commission):
        """Units were traded."""
        fill = self.fills.setdefault((self.key_of(order), time), [0.0, 0.0, 0.0])
        fill[0] += size
        fill[1] += size * price
        fill[2] += commission
        if self.position == 0.0:
            self.opened, self.pnl = time, 0.0
        self.position += size
        self.pnl -= size * price + commission
        if self.position == 0.0:
            self.trips.append((self.asset, self.opened, time, self.pnl))


def current():
    """The order that the broker is at; None when it closes what is left of a ruined account."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "_process_orders":
        frame = frame.f_back
    return None if frame is None else frame.f_locals["order"]


def watch(book):
    """Take down what the broker opens and closes."""
    broker, trade_opens, trade_closes = engine._Broker, engine._Broker._open_trade, None
    trade_closes = broker._close_trade

    def opens(self, price, size, sl, tp, time_index, tag):
        time = self._data.index[time_index]
        book.note(current(), time, size, price, self._commission(size, price))
        trade_opens(self, price, size, sl, tp, time_index, tag)

    def closes(self, trade, price, time_index):
        time = self._data.index[time_index]
        commission = self._commission(trade.size, price)
        book.note(current(), time, -trade.size, price, commission)
        trade_closes(self, trade, price, time_index)

    broker._open_trade, broker._close_trade = opens, closes


# -- changes that take one rule away, to show that it is the cause of a difference --------------


def margin_at_the_open(broker):
    """What an order may use is worked out at the open, where it fills."""

    def margin_available(self):
        price = self._data._current_value("Open")
        equity = self._cash + sum(t.size * (price - t.entry_price) for t in self.trades)
        return max(0, equity - sum(abs(t.size) * price for t in self.trades))

    broker.margin_available = property(margin_available)


def gaps_count(broker):
    """A stop-limit beyond whose stop the bar opens is triggered at the open."""
    source = textwrap.dedent(inspect.getsource(broker._process_orders))
    for better, worse in (("min", "max"), ("max", "min")):
        plain = f"{better}(stop_price or open, order.limit)"
        assert plain in source
        source = source.replace(plain, f"{better}({worse}(stop_price or open, open), order.limit)")
    space = vars(engine)
    exec(source, space)  # noqa: S102  the engine's own function, in its own module
    broker._process_orders = space["_process_orders"]


def one_trade(broker):
    """Purchases on top of each other are one trade."""
    plain = broker._open_trade

    def open_trade(self, price, size, *rest):
        before = [trade for trade in self.trades if trade.size * size > 0]
        plain(self, price, size, *rest)
        if before:
            (first,), new = before, self.trades.pop()
            units = first.size + new.size
            paid = first.size * first.entry_price + new.size * new.entry_price
            first._replace(size=units, entry_price=paid / units)
            self._trades_cache_clear()

    broker._open_trade = open_trade


CURES = {"one trade": one_trade, "margin at the open": margin_at_the_open, "gaps count": gaps_count}


def player_for(question, answer, book):  # noqa: C901  a class, and what it closes over
    """The strategy that plays a scenario."""

    class Player(engine.Strategy):
        def init(self):
            self.sent = {}

        def next(self):
            broker, index = self._broker, len(self.data) - 1
            paid = sum(trade.size * trade.entry_price for trade in broker.trades)
            held = {book.asset: float(self.position.size)}
            answer.bar(question.times[index], broker._cash - paid, self.equity, held)
            for decision in question.playbook.at(question.view(index, self.equity, held)):
                self.play(decision)

        def play(self, decision):
            if "cancel" in decision:
                order = self.sent[decision["cancel"]]
                if order in self._broker.orders:
                    order.cancel()
                    book.canceled.add(decision["cancel"])
                return
            key = decision["key"]
            if decision.get("close"):
                self.flatten(key, decision)
                return
            book.entries[key] = decision
            way = self.buy if decision["side"] == "buy" else self.sell
            order = way(
                size=int(decision["quantity"]),
                limit=decision.get("limit"),
                stop=decision.get("stop"),
                sl=decision.get("stop_loss"),
                tp=decision.get("take_profit"),
                tag=key,
            )
            self.sent[key] = order
            book.keep(order, key)

        def flatten(self, key, decision):
            if not self.position:
                return
            book.entries[key] = decision
            before = list(self._broker.orders)
            self.position.close()
            for order in self._broker.orders:
                if order not in before:
                    book.keep(order, key)

    return Player


def status(key, book, waiting):
    """How an order ended. Exits of an entry that is not filled are as the entry is."""
    filled = sum(abs(fill[0]) for (name, _), fill in book.fills.items() if name == key)
    entry, _, exit_name = key.partition("/")
    decision = book.entries[entry]
    is_closing = decision.get("close") or exit_name
    is_open = key in waiting or (exit_name and entry in waiting)
    if is_open:
        word = "open"
    elif key in book.canceled or (is_closing and not filled):
        word = "canceled"
    elif is_closing or filled == decision["quantity"]:
        word = "filled"
    else:
        word = "rejected"
    return word, filled


def main():
    """Play one scenario."""
    question = common.Question(sys.argv[1])
    answer = common.Answer(question, "backtesting")
    ((asset, bars),) = question.bars.items()
    book = Book(asset)
    watch(book)
    if question.scenario["cure"]:
        CURES[question.scenario["cure"]](engine._Broker)
    names = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}
    frame = pd.DataFrame(
        {name: bars[column] for name, column in names.items()}, pd.DatetimeIndex(bars["time"])
    )
    scenario = question.scenario
    slippage = scenario["slippage"]
    answer.bar(question.times[0], scenario["cash"], scenario["cash"], {})
    test = engine.Backtest(
        frame,
        player_for(question, answer, book),
        cash=scenario["cash"],
        spread=0.0 if slippage is None else slippage["rate"],
        commission=question.commission() or 0.0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stats = test.run()
    for (key, time), (size, paid, commission) in book.fills.items():
        answer.fill(time, asset, size, paid / size, commission, key)
    for trip in book.trips:
        answer.trade(*trip)
    waiting = {book.key_of(order) for order in stats._strategy._broker.orders}
    for key, decision in book.entries.items():
        exits = [name for name in ("stop_loss", "take_profit") if name in decision]
        for name in (key, *(f"{key}/{name}" for name in exits)):
            answer.order(name, asset, *status(name, book, waiting))
    answer.write()


if __name__ == "__main__":
    main()
