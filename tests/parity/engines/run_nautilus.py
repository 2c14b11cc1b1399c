"""nautilus_trader on bars from outside: decisions when the last bar of a timestamp has come.

The account is one for margin unless the scenario says otherwise. Its balance leaves positions
out: the money that is compared is the balance less what open positions have cost. Prices and money
have twelve decimals unless the scenario says otherwise, so that rounding hides nothing.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import sys
from decimal import Decimal

import common
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FeeModel, FillModel
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import (
    AccountType,
    CurrencyType,
    OmsType,
    OrderSide,
    OrderType,
    TimeInForce,
    TrailingOffsetType,
    TriggerType,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair, Equity
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
START = pd.Timestamp("2000-01-01", tz="UTC")
DAY = 86_400_000_000_000
FINE, UNITS = 12, 6  # decimals of prices and money, and of fractional quantities
STATUS = {"filled", "canceled", "rejected", "expired"}


class PerShare(FeeModel):
    """Money per share, and a least amount."""

    def __init__(self, terms, currency):
        super().__init__()
        self.terms, self.currency = terms, currency

    def get_commission(self, order, fill_qty, fill_px, instrument):
        units = fill_qty.as_double() * self.terms["per_share"]
        return Money(max(units, self.terms["minimum"]), self.currency)


class Market:
    """Currency, instruments and bars of a question; its timestamps are numbered days.

    Attributes:
        decimals: Of prices, and of money.
    """

    def __init__(self, question):
        self.question, scenario = question, question.scenario
        slippage = scenario["slippage"]
        decimals = None if slippage is None else slippage["decimals"]
        self.decimals = FINE if decimals is None else decimals
        money = scenario["decimals"] if scenario["cure"] != "fine money" else FINE
        self.currency = Currency(
            "USX", FINE if money is None else money, 0, "Dollars", CurrencyType.FIAT
        )
        self.size = UNITS if scenario["fractional"] else 0
        self.instruments = {name: self.instrument(name) for name in sorted(question.bars)}

    def instrument(self, name):
        terms = self.question.scenario["commission"] or {}
        fee = Decimal(str(terms.get("rate", 0.0)))
        shared = {
            "instrument_id": InstrumentId(Symbol(name), VENUE),
            "raw_symbol": Symbol(name),
            "price_precision": self.decimals,
            "price_increment": Price(10.0**-self.decimals, self.decimals),
            "lot_size": Quantity(1, self.size),
            "ts_event": 0,
            "ts_init": 0,
            "maker_fee": fee,
            "taker_fee": fee,
        }
        if not self.size:
            return Equity(currency=self.currency, **shared)
        base = Currency("UNT", UNITS, 0, "Units", CurrencyType.CRYPTO)
        return CurrencyPair(
            base_currency=base,
            quote_currency=self.currency,
            size_precision=self.size,
            size_increment=Quantity(10.0**-self.size, self.size),
            **shared,
        )

    def price(self, value):
        return Price(value, self.decimals)

    def bars(self):
        for number, time in enumerate(self.question.times):
            ns = START.value + number * DAY
            for name in sorted(self.question.at[time]):
                cell = self.question.at[time][name]
                prices = [self.price(cell[one]) for one in ("open", "high", "low", "close")]
                yield Bar(type_of(name), *prices, Quantity(cell["volume"], self.size), ns, ns)


def type_of(name):
    """Daily bars of last prices from outside."""
    return BarType.from_str(f"{name}.{VENUE}-1-DAY-LAST-EXTERNAL")


class Player(Strategy):
    """Plays the playbook, and takes down what happens."""

    def __init__(self, market, answer):
        super().__init__()
        self.market, self.question, self.answer = market, market.question, answer
        self.last = [max(self.question.at[time]) for time in self.question.times]
        self.sent = {}  # by key
        self.keys = {}  # by the engine's id
        self.seen = 0

    def on_start(self):
        for name in self.market.instruments:
            self.subscribe_bars(type_of(name))
        first = START - pd.Timedelta(hours=12)  # it rings a day later for the first time
        self.clock.set_timer("after", pd.Timedelta(days=1), first, None, self.look)

    def account_now(self):
        """Cash, equity and signed units."""
        balance = self.portfolio.account(VENUE).balance_total(self.market.currency).as_double()
        cash, equity, held = balance, balance, {}
        for position in self.cache.positions_open():
            held[position.instrument_id.symbol.value] = float(position.signed_decimal_qty())
            paid = position.signed_qty * position.avg_px_open
            if self.question.scenario["is_cash"]:
                equity += paid
            else:
                cash -= paid
            equity += self.portfolio.unrealized_pnl(position.instrument_id).as_double()
        return cash, equity, held

    def look(self, _=None):
        """A bar and what was decided on it are over."""
        if self.seen < len(self.question.times):
            self.answer.bar(self.question.times[self.seen], *self.account_now())
            self.seen += 1

    def on_bar(self, bar):
        now = (bar.ts_event - START.value) // DAY
        if bar.bar_type.instrument_id.symbol.value != self.last[now]:
            return
        _, equity, held = self.account_now()
        for decision in self.question.playbook.at(self.question.view(now, equity, held)):
            self.play(decision, held)

    def play(self, decision, held):
        if "cancel" in decision:
            order = self.sent[decision["cancel"]]
            if not order.is_closed:
                self.cancel_order(order)
            return
        key, name = decision["key"], decision["asset"]
        instrument = self.market.instruments[name]
        if decision.get("close"):
            units = held.get(name, 0.0)
            if units:
                side = OrderSide.SELL if units > 0 else OrderSide.BUY
                words = (instrument.id, side, instrument.make_qty(abs(units)))
                self.keep(key, self.order_factory.market(*words))
                self.submit_order(self.sent[key])
            return
        side = OrderSide.BUY if decision["side"] == "buy" else OrderSide.SELL
        words = (instrument.id, side, instrument.make_qty(decision["quantity"]))
        if "stop_loss" in decision:
            self.bracket(key, decision, words)
            return
        self.keep(key, self.single(decision, words))
        self.submit_order(self.sent[key])

    def bracket(self, key, decision, words):
        price = self.market.price
        levels = {
            "sl_trigger_price": price(decision["stop_loss"]),
            "tp_price": price(decision["take_profit"]),
            "tp_post_only": False,
        }
        if decision["type"] == "limit":
            levels["entry_order_type"] = OrderType.LIMIT
            levels["entry_price"] = price(decision["limit"])
        orders = self.order_factory.bracket(*words, **levels)
        entry, stop, target = orders.orders
        self.keep(key, entry)
        self.keep(f"{key}/stop_loss", stop)
        self.keep(f"{key}/take_profit", target)
        self.submit_order_list(orders)

    def single(self, decision, words):
        make, price, kind = self.order_factory, self.market.price, decision["type"]
        kept = {"time_in_force": TimeInForce.DAY} if decision.get("day") else {}
        if "until" in decision:
            number = [str(time)[:10] for time in self.question.times].index(decision["until"])
            end = START + pd.Timedelta(days=number, hours=18)
            kept = {"time_in_force": TimeInForce.GTD, "expire_time": end}
        if kind == "trailing_stop":
            amount, percent = decision.get("trail_amount"), decision.get("trail_percent")
            way = TrailingOffsetType.PRICE if percent is None else TrailingOffsetType.BASIS_POINTS
            by_last = decision.get("by_last") and self.question.scenario["cure"] != "no delay"
            return make.trailing_stop_market(
                *words,
                trailing_offset=Decimal(str(amount if percent is None else percent * 10_000.0)),
                trailing_offset_type=way,
                trigger_type=TriggerType.DEFAULT if by_last else TriggerType.BID_ASK,
            )
        if kind == "stop_limit":
            return make.stop_limit(
                *words, price(decision["limit"]), price(decision["stop"]), **kept
            )
        if kind == "stop":
            return make.stop_market(*words, price(decision["stop"]), **kept)
        if kind == "limit":
            return make.limit(*words, price(decision["limit"]), **kept)
        return make.market(*words)

    def keep(self, key, order):
        self.sent[key], self.keys[order.client_order_id] = order, key

    def on_order_filled(self, event):
        sign = 1 if event.order_side == OrderSide.BUY else -1
        self.answer.fill(
            self.question.times[(event.ts_event - START.value) // DAY],
            event.instrument_id.symbol.value,
            sign * float(event.last_qty.as_decimal()),
            event.last_px.as_double(),
            event.commission.as_double(),
            self.keys.get(event.client_order_id),
        )

    def on_position_closed(self, event):
        times = self.question.times
        self.answer.trade(
            event.instrument_id.symbol.value,
            times[(event.ts_opened - START.value) // DAY],
            times[(event.ts_closed - START.value) // DAY],
            event.realized_pnl.as_double(),
        )


def engine_of(market):
    """An engine with the market's bars."""
    scenario = market.question.scenario
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    terms, more = scenario["commission"], {}
    if terms is not None and terms["kind"] == "per_share":
        more["fee_model"] = PerShare(terms, market.currency)
    if not scenario["is_cash"]:
        more["default_leverage"] = Decimal(1)
    if scenario["slippage"] is not None:
        more["fill_model"] = FillModel(prob_slippage=1.0)
    engine.add_venue(
        venue=VENUE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.CASH if scenario["is_cash"] else AccountType.MARGIN,
        base_currency=market.currency,
        starting_balances=[Money(scenario["cash"], market.currency)],
        **more,
    )
    for instrument in market.instruments.values():
        engine.add_instrument(instrument)
    engine.add_data(list(market.bars()))
    return engine


def main():
    """Play one scenario."""
    question = common.Question(sys.argv[1])
    answer = common.Answer(question, "nautilus_trader")
    market = Market(question)
    player = Player(market, answer)
    engine = engine_of(market)
    engine.add_strategy(player)
    engine.run()
    while player.seen < len(question.times):
        player.look()
    for key, sent in player.sent.items():
        order = engine.cache.order(sent.client_order_id)
        status = order.status_string().lower()
        status = "rejected" if status == "denied" else status
        filled = float(order.filled_qty.as_decimal())
        asset = order.instrument_id.symbol.value
        answer.order(key, asset, status if status in STATUS else "open", filled)
    engine.dispose()
    answer.write()


if __name__ == "__main__":
    main()
