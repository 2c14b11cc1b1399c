"""backtesting.py in the common words of the probes."""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy

from tests.parity.probes import common as c


class Queue(list[Any]):
    """The broker's orders; says what became of those that leave."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job

    def remove(self, order: Any) -> None:
        """Filled, if something was filled since the last one left."""
        super().remove(order)
        number = self.job.sent.get(id(order))
        if number is not None:
            self.job.told.states[number] = "filled" if self.job.fresh else "cancelled"
            self.job.fresh = 0


class Job(Strategy):
    """Sends the orders, and watches the broker."""

    told: c.Run
    orders_to_send: list[c.Order]
    rows: list[int]

    def init(self) -> None:
        """Look over the broker's shoulder."""
        broker = self._broker
        self.sent: dict[int, int] = {}
        self.kept: list[Any] = []
        self.fresh = 0
        broker.orders = Queue(self)
        open_trade, close_trade = broker._open_trade, broker._close_trade

        def opened(price: float, size: float, *rest: Any) -> None:
            self.note(rest[2], size, price)
            open_trade(price, size, *rest)

        def closed(trade: Any, price: float, time_index: int) -> None:
            self.note(time_index, -trade.size, price)
            close_trade(trade, price, time_index)
            self.told.profits.append(float(broker.closed_trades[-1].pl))

        broker._open_trade, broker._close_trade = opened, closed

    def note(self, row: int, size: float, price: float) -> None:
        """A fill."""
        self.fresh += 1
        fee = float(self._broker._commission(size, price))
        time = str(self._broker._data.index[row])
        fill = c.Fill(
            asset="A", bar=self.rows[row], quantity=size, price=float(price), fee=fee, time=time
        )
        self.told.fills.append(fill)

    def next(self) -> None:
        """Send what is to be sent in this bar."""
        now = self.rows[len(self.data) - 1]
        self.told.calls.append(now)
        self.told.cash.append(float(self._broker._cash))
        self.told.equity.append(float(self.equity))
        self.fresh = 0
        for number, order in enumerate(self.orders_to_send):
            if order.bar == now:
                try:
                    sent = self.send(order)
                except (AssertionError, ValueError) as error:
                    self.told.states[number] = "refused with an error"
                    self.told.notes.append(str(error))
                    continue
                self.sent[id(sent)] = number
                self.kept.append(sent)
                self.told.states[number] = "open"

    def send(self, order: c.Order) -> Any:
        """In the engine's words."""
        size = order.quantity if order.fraction is None else order.fraction
        send = self.buy if size > 0 else self.sell
        if size == 1 and order.fraction:
            return send()  # 1 would be one share
        stop, target = order.bracket or (None, None)
        return send(size=abs(size), limit=order.limit, stop=order.stop, sl=stop, tp=target)


# Where the source shows which answers.
PLACES = {
    "backtesting/backtesting.py:_Broker._process_orders": (
        "market_order limit_trigger limit_touch limit_gap marketable_limit stop_trigger "
        "stop_touch stop_gap stop_behind stop_limit stop_and_limit_apart "
        "legs_in_the_bar_of_entry "
        "legs_behind_a_limit bracket_gap two_orders reversal cash_check too_dear "
        "cash_for_the_fee short_sale target_price target_twice all_in order_in_the_last_bar "
        "volume no_volume time_in_force fill_time"
    ),
    "backtesting/backtesting.py:_Broker.new_order": "stop_and_target",
    "backtesting/backtesting.py:_Broker._close_trade": "other_leg percent_fee closed_trades",
    "backtesting/backtesting.py:_Broker.next": "ruin holding_costs",
    "backtesting/backtesting.py:_Broker._commission_func": "share_fee",
    "backtesting/backtesting.py:_Broker._adjusted_price": "slippage slippage_elsewhere",
    "backtesting/backtesting.py:Backtest.__init__": "defaults",
    "backtesting/backtesting.py:Strategy.buy": "fractions fractions_on_request",
    "backtesting/backtesting.py:_Broker.equity": "equity_mark",
    "backtesting/backtesting.py:Backtest.run": "first_decision position_at_the_end",
}


class Backtesting:
    """backtesting.py as it comes, but for costs."""

    name = "backtesting"
    package = "backtesting"
    module = "backtesting"
    needs_cash = False
    unsupported: dict[str, str] = {}  # noqa: RUF012
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run a strategy that sends these orders."""
        if len(markets) > 1:
            raise c.Unsupported("one asset in a run")
        if any(order.trail for order in orders):
            raise c.Unsupported(
                "no trailing orders; lib.TrailingStrategy moves the stop-loss of open trades "
                "by multiples of the average true range"
            )
        if any(order.day for order in orders):
            raise c.Unsupported("no time in force: orders are good till cancelled")
        (bars,) = markets.values()
        run = c.Run(states=["never sent"] * len(orders))
        rows = [n for n, bar in enumerate(bars) if bar]
        frame = pd.DataFrame(
            [bar for bar in bars if bar],
            index=pd.Timestamp("2024-01-01") + pd.to_timedelta(rows, unit="D"),
        )
        frame.columns = pd.Index(["Open", "High", "Low", "Close", "Volume"])
        options: dict[str, Any] = {} if terms.cash is None else {"cash": terms.cash}
        if terms.percent_fee:
            options["commission"] = terms.percent_fee
        if terms.share_fee:
            options["commission"] = lambda size, _: max(
                abs(size) * terms.share_fee, terms.least_fee
            )
        if terms.slippage:
            options["spread"] = terms.slippage
        job = type("Job", (Job,), {"told": run, "orders_to_send": orders, "rows": rows})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = Backtest(frame, job, **options).run()
        run.notes += [str(one.message) for one in caught if "dayofweek" not in str(one.message)]
        run.equity = [*run.equity[:-1], float(found["Equity Final [$]"])]
        return run


ENGINE = Backtesting()

if __name__ == "__main__":
    c.main(ENGINE)
