"""backtrader in the common words of the probes."""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import datetime as dt
from typing import Any

import backtrader as bt

from tests.parity.probes import common as c

START = dt.datetime(2024, 1, 1)
KINDS = bt.Order


def time_of(number: int) -> dt.datetime:
    """The time of a bar."""
    return START + dt.timedelta(days=number)


class Feed(bt.feed.DataBase):
    """Bars from a list."""

    params = (("bars", None),)

    def start(self) -> None:
        """From the top."""
        super().start()
        self.rest = iter([(n, bar) for n, bar in enumerate(self.p.bars) if bar])

    def _load(self) -> bool:
        number, bar = next(self.rest, (0, None))
        if bar is None:
            return False
        lines = self.lines
        lines.datetime[0] = bt.date2num(time_of(number))
        for line, value in zip(
            (lines.open, lines.high, lines.low, lines.close, lines.volume), bar, strict=True
        ):
            line[0] = value
        lines.openinterest[0] = 0
        return True


class Fees(bt.CommInfoBase):
    """Per share with a minimum: backtrader leaves a minimum to the user."""

    params = (("least", 0.0), ("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return max(abs(size) * self.p.commission, self.p.least)


class Job(bt.Strategy):
    """Sends the orders, and writes down what it is told."""

    params = (("orders", ()), ("run", None), ("assets", ()))

    def __init__(self) -> None:
        self.refs: dict[int, int] = {}
        self.done: dict[int, float] = {}

    def notify_order(self, order: Any) -> None:
        """A fill is what was executed more than before."""
        run, number = self.p.run, self.refs.get(order.ref)
        if order.status in {KINDS.Submitted, KINDS.Accepted}:
            return
        if number is not None:
            run.states[number] = order.getstatusname().lower()
        for bit in order.executed.iterpending():
            run.fills.append(
                c.Fill(
                    asset=order.data._name,
                    bar=(bt.num2date(bit.dt) - START).days,
                    quantity=bit.size,
                    price=bit.price,
                    fee=bit.closedcomm + bit.openedcomm,
                    time=str(bt.num2date(bit.dt)),
                )
            )

    def notify_trade(self, trade: Any) -> None:
        """A trade ends when the position is flat."""
        if trade.isclosed:
            self.p.run.profits.append(trade.pnl)

    def next(self) -> None:
        """Send what is to be sent in this bar."""
        now = max(int(data.datetime[0]) for data in self.datas if len(data))
        now -= int(bt.date2num(START))
        run = self.p.run
        run.calls.append(now)
        run.cash.append(self.broker.getcash())
        run.equity.append(self.broker.getvalue())
        for number, order in enumerate(self.p.orders):
            if order.bar == now:
                self.send(number, order)

    def send(self, number: int, order: c.Order) -> None:
        """In the engine's words."""
        data = self.getdatabyname(order.asset)
        if order.fraction is not None:
            sent = self.order_target_percent(data, order.fraction)
        else:
            sent = self.send_shares(data, order)
        if sent is not None:
            self.refs[sent.ref] = number
            self.p.run.states[number] = "open"

    def send_shares(self, data: Any, order: c.Order) -> Any:
        """A number of shares, by the kind of order."""
        send = self.buy if order.quantity > 0 else self.sell
        size = abs(order.quantity)
        if order.bracket:
            stop, target = order.bracket
            bracket = self.buy_bracket if order.quantity > 0 else self.sell_bracket
            kind = KINDS.Limit if order.limit else KINDS.Market
            levels = {"stopprice": stop, "limitprice": target}
            return bracket(data=data, size=size, price=order.limit, exectype=kind, **levels)[0]
        extra = {"valid": KINDS.DAY} if order.day else {}
        if order.trail:
            return send(data, size, exectype=KINDS.StopTrail, trailamount=order.trail)
        if order.stop and order.limit:
            return send(
                data, size, order.stop, plimit=order.limit, exectype=KINDS.StopLimit, **extra
            )
        if order.stop:
            return send(data, size, order.stop, exectype=KINDS.Stop, **extra)
        if order.limit:
            return send(data, size, order.limit, exectype=KINDS.Limit, **extra)
        return send(data, size, **extra)


# Where the source shows which answers.
PLACES = {
    "backtrader/brokers/bbroker.py:BackBroker._try_exec_market": (
        "market_order two_orders order_in_the_last_bar order_before_a_gap order_in_a_gap"
    ),
    "backtrader/brokers/bbroker.py:BackBroker._try_exec_limit": (
        "limit_trigger limit_touch limit_gap marketable_limit limit_in_a_gap"
    ),
    "backtrader/brokers/bbroker.py:BackBroker._try_exec_stop": (
        "stop_trigger stop_touch stop_gap stop_behind bracket_gap"
    ),
    "backtrader/brokers/bbroker.py:BackBroker._try_exec_stoplimit": "stop_limit",
    "backtrader/order.py:Order.trailadjust": "trailing_stop",
    "backtrader/order.py:Order.expire": "time_in_force day_order",
    "backtrader/brokers/bbroker.py:BackBroker.next": (
        "order_of_fills stop_and_limit_apart legs_in_the_bar_of_entry "
        "legs_behind_a_limit stop_and_target"
    ),
    "backtrader/brokers/bbroker.py:BackBroker._bracketize": "other_leg",
    "backtrader/brokers/bbroker.py:BackBroker.check_submitted": (
        "cash_check too_dear cash_for_the_fee batch sale_pays rotation"
    ),
    "backtrader/brokers/bbroker.py:BackBroker._execute": (
        "reversal resting_orders percent_fee fill_time volume no_volume fractions "
        "fractions_on_request"
    ),
    "backtrader/comminfo.py:CommInfoBase.getvaluesize": "short_sale short_pays",
    "backtrader/brokers/bbroker.py:BackBroker._get_value": (
        "ruin equity_mark value_in_a_gap position_at_the_end"
    ),
    "backtrader/comminfo.py:CommInfoBase.getcommission": "share_fee",
    "backtrader/brokers/bbroker.py:BackBroker._slip_up": "slippage slippage_elsewhere",
    "backtrader/brokers/bbroker.py:BackBroker": "defaults",
    "backtrader/comminfo.py:CommInfoBase.getsize": "target_price",
    "backtrader/strategy.py:Strategy.order_target_percent": "target_equity target_twice all_in",
    "backtrader/trade.py:Trade.update": "closed_trades",
    "backtrader/strategy.py:Strategy._next": "first_decision",
    "backtrader/strategy.py:Strategy._getminperstatus": ("late_asset order_before_the_first_bar"),
    "backtrader/comminfo.py:CommInfoBase.get_credit_interest": "holding_costs",
}


class Backtrader:
    """backtrader as it comes, but for costs."""

    name = "backtrader"
    package = "backtrader"
    module = "backtrader"
    needs_cash = False
    unsupported: dict[str, str] = {}  # noqa: RUF012
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run a strategy that sends these orders."""
        run = c.Run(states=["never sent"] * len(orders))
        cerebro = bt.Cerebro(stdstats=False)
        for name, bars in markets.items():
            cerebro.adddata(Feed(bars=bars, timeframe=bt.TimeFrame.Days, compression=1), name=name)
        if terms.cash is not None:
            cerebro.broker.setcash(terms.cash)
        if terms.percent_fee:
            cerebro.broker.setcommission(commission=terms.percent_fee)
        if terms.share_fee:
            fees = Fees(commission=terms.share_fee, least=terms.least_fee)
            cerebro.broker.addcommissioninfo(fees)
        if terms.slippage:
            cerebro.broker.set_slippage_perc(terms.slippage)
        cerebro.addstrategy(Job, orders=orders, run=run)
        cerebro.run()
        return run


ENGINE = Backtrader()

if __name__ == "__main__":
    c.main(ENGINE)
