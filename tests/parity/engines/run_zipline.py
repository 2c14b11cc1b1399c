"""zipline-reloaded: prices in memory, a session for each timestamp, decisions in `handle_data`.

It keeps no trades, and has neither trailing orders nor brackets.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import datetime as dt
import math
import sys
import warnings

import common
import numpy as np
import pandas as pd
import sqlalchemy as sa
from exchange_calendars import ExchangeCalendar
from zipline.algorithm import TradingAlgorithm
from zipline.api import (
    cancel_order,
    order,
    order_target_percent,
    set_cancel_policy,
    set_commission,
    set_slippage,
)
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.data.data_portal import DataPortal
from zipline.data.session_bars import CurrencyAwareSessionBarReader
from zipline.finance import execution
from zipline.finance.cancel_policy import EODCancel
from zipline.finance.commission import NoCommission, PerDollar, PerShare
from zipline.finance.order import ORDER_STATUS, Order
from zipline.finance.slippage import FixedBasisPointsSlippage, SlippageModel, VolumeShareSlippage
from zipline.finance.trading import SimulationParameters

EXCHANGE = "MADE"
START = pd.Timestamp("2000-01-01")
STATUS = {
    ORDER_STATUS.FILLED: "filled",
    ORDER_STATUS.CANCELLED: "canceled",
    ORDER_STATUS.REJECTED: "rejected",
}


class EveryDay(ExchangeCalendar):
    """A session on each day: the timestamps of a scenario are numbered days to zipline."""

    name = EXCHANGE
    tz = dt.UTC
    open_times = ((None, dt.time(9, 30)),)
    close_times = ((None, dt.time(16, 0)),)
    weekmask = "1111111"


class Prices(CurrencyAwareSessionBarReader):
    """Bars from a question; a missing bar has no price and no volume."""

    trading_calendar = data_frequency = sessions = None
    first_trading_day = last_available_dt = None

    def __init__(self, question, names, sessions, calendar):
        self.row = {time: row for row, time in enumerate(sessions)}
        self.trading_calendar, self.data_frequency, self.sessions = calendar, "daily", sessions
        self.first_trading_day, self.last_available_dt = sessions[0], sessions[-1]
        self.cells = [[question.at[time].get(name) for time in question.times] for name in names]

    def get_value(self, sid, dt, field):
        cell = self.cells[sid][self.row[dt]]
        if cell is None:
            return 0 if field == "volume" else np.nan
        return cell[field]

    def get_last_traded_dt(self, asset, dt):
        cells = self.cells[asset.sid]
        for row in range(self.row[dt], -1, -1):
            if cells[row]:
                return self.sessions[row]
        return pd.NaT

    def load_raw_arrays(self, columns, start, end, assets):
        days = self.sessions[self.row[start] : self.row[end] + 1]
        return [
            np.array([[self.get_value(int(a), day, name) for a in assets] for day in days])
            for name in columns
        ]

    def currency_codes(self, sids):
        return pd.array(["USD"] * len(sids)).to_numpy(dtype=object)


class Player:
    """Plays the playbook, and takes down what happens."""

    def __init__(self, question, answer, sessions, assets):
        self.question, self.answer = question, answer
        self.row = {time: row for row, time in enumerate(sessions)}
        self.assets = {asset.symbol: asset for asset in assets}
        self.sent = {}  # by key
        self.keys = {}  # by the engine's id

    def handle(self, context, data):
        now = self.row[data.current_session]
        portfolio = context.portfolio
        held = {asset.symbol: place.amount for asset, place in portfolio.positions.items()}
        value = portfolio.portfolio_value
        self.answer.bar(self.question.times[now], portfolio.cash, value, held)
        for decision in self.question.playbook.at(self.question.view(now, value, held)):
            self.play(decision, held)

    def play(self, decision, held):
        if "cancel" in decision:
            cancel_order(self.sent[decision["cancel"]])
            return
        if "weights" in decision:
            for name in sorted({*decision["weights"], *(n for n, units in held.items() if units)}):
                order_target_percent(self.assets[name], decision["weights"].get(name, 0.0))
            return
        asset = self.assets[decision["asset"]]
        if decision.get("close"):
            self.keep(decision["key"], order(asset, -held.get(asset.symbol, 0)))
            return
        sign = 1 if decision["side"] == "buy" else -1
        limit, stop = decision.get("limit"), decision.get("stop")
        sent = order(asset, sign * decision["quantity"], limit_price=limit, stop_price=stop)
        self.keep(decision["key"], sent)

    def keep(self, key, identity):
        if identity is not None:
            self.sent[key], self.keys[identity] = identity, key

    def watch(self, blotter):
        """Take the transactions down when they are made."""
        get_transactions = blotter.get_transactions

        def watched(bar_data):
            found = get_transactions(bar_data)
            transactions, commissions, _ = found
            fees = {(one["order"].id): one["cost"] for one in commissions}
            for one in transactions:
                row = self.row[one.dt.tz_localize(None).normalize()]
                fee = fees.get(one.order_id, 0.0)
                self.answer.fill(
                    self.question.times[row],
                    one.asset.symbol,
                    one.amount,
                    one.price,
                    fee,
                    self.keys.get(one.order_id),
                )
            return found

        blotter.get_transactions = watched


def portal_of(question, names):
    """Sessions, assets and prices in memory."""
    sessions = pd.date_range(START, periods=len(question.times), freq="D")
    week = pd.Timedelta(days=7)
    calendar = EveryDay(sessions[0] - week, sessions[-1] + week, side="right")
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    number = {time: row for row, time in enumerate(question.times)}
    equities = {
        "symbol": names,
        "asset_name": names,
        "exchange": EXCHANGE,
        "start_date": [sessions[number[question.bars[name]["time"][0]]] for name in names],
        "end_date": sessions[-1] + pd.Timedelta(days=30),
    }
    AssetDBWriter(engine).write(
        equities=pd.DataFrame(equities),
        exchanges=pd.DataFrame(
            {"exchange": [EXCHANGE], "canonical_name": [EXCHANGE], "country_code": ["US"]}
        ),
    )
    finder = AssetFinder(engine)
    portal = DataPortal(
        finder,
        calendar,
        sessions[0],
        equity_daily_reader=Prices(question, names, sessions, calendar),
        last_available_session=sessions[-1],
    )
    return portal, finder, calendar, sessions


def set_costs(scenario):
    """Costs and limits of volume in zipline's terms; nothing is set if it is taken as it comes."""
    terms, slippage = scenario["commission"], scenario["slippage"]
    if scenario["as_shipped"]:
        return
    if terms is None:
        set_commission(NoCommission())
    elif terms["kind"] == "percent":
        set_commission(PerDollar(terms["rate"]))
    else:
        set_commission(PerShare(terms["per_share"], terms["minimum"]))
    if slippage is not None and "impact" in slippage:
        set_slippage(VolumeShareSlippage(slippage["share"], slippage["impact"]))
    else:
        given = {"rate": 0.0, "share": 1.0} | (slippage or {})
        set_slippage(FixedBasisPointsSlippage(given["rate"] * 10_000.0, given["share"]))


def algorithm_of(question, handle, initialize):
    """An algorithm on the bars of a question, and its assets."""
    names = sorted(question.bars)
    portal, finder, calendar, sessions = portal_of(question, names)
    algorithm = TradingAlgorithm(
        sim_params=SimulationParameters(
            start_session=sessions[0],
            end_session=sessions[-1],
            trading_calendar=calendar,
            capital_base=question.scenario["cash"],
            data_frequency="daily",
        ),
        data_portal=portal,
        asset_finder=finder,
        trading_calendar=calendar,
        initialize=initialize,
        handle_data=handle,
        metrics_set="none",
        benchmark_returns=pd.Series(0.0, index=sessions),
    )
    return algorithm, finder.retrieve_all(range(len(names))), sessions


# -- changes that take one rule away, to show that it is the cause of a difference --------------


def limits_kept():
    """No price beyond the limit, whatever the slippage."""
    plain = FixedBasisPointsSlippage.process_order

    def process_order(self, data, order):
        price, units = plain(self, data, order)
        if order.limit is not None:
            price = (min if order.direction > 0 else max)(price, order.limit)
        return price, units

    FixedBasisPointsSlippage.process_order = process_order


def limits_asked_again():
    """A limit order that has filled in part looks at its limit in each bar."""
    plain = Order.check_triggers

    def check_triggers(self, price, dt):
        self.limit_reached = False
        plain(self, price, dt)

    Order.check_triggers = check_triggers


def prices_without_volume_count():
    """Triggers are looked at in every bar."""
    plain = SlippageModel.simulate

    def simulate(self, data, asset, orders):
        if data.current(asset, "volume") == 0:
            for order in orders:
                order.check_triggers(data.current(asset, "close"), data.current_dt)
        return plain(self, data, asset, orders)

    SlippageModel.simulate = simulate


def levels_as_given():
    """No rounding to the tick."""
    execution.asymmetric_round_price = lambda price, *_, **__: price


def targets_rounded():
    """Whole targets; what is to be traded is whole then, too."""
    plain = TradingAlgorithm._calculate_order_percent_amount

    def amount(self, asset, percent):
        return math.floor(plain(self, asset, percent))

    TradingAlgorithm._calculate_order_percent_amount = amount


CURES = {
    "limits kept": limits_kept,
    "limits asked again": limits_asked_again,
    "prices without volume count": prices_without_volume_count,
    "levels as given": levels_as_given,
    "targets rounded": targets_rounded,
}


def main():
    """Play one scenario."""
    warnings.filterwarnings("ignore")
    question = common.Question(sys.argv[1])
    answer = common.Answer(question, "zipline-reloaded")
    scenario = question.scenario
    if scenario["cure"]:
        CURES[scenario["cure"]]()
    is_dated = any(one.get("day") for one in scenario["plan"].get("orders", ()))

    def initialize(_):
        set_costs(scenario)
        if is_dated:
            set_cancel_policy(EODCancel())

    def handle(context, data):
        player.handle(context, data)

    algorithm, assets, sessions = algorithm_of(question, handle, initialize)
    player = Player(question, answer, sessions, assets)
    player.watch(algorithm.blotter)
    for _ in algorithm.get_generator():
        pass
    for key, identity in player.sent.items():
        sent = algorithm.blotter.orders[identity]
        status = STATUS.get(ORDER_STATUS(sent.status), "open")
        answer.order(key, sent.asset.symbol, status, sent.filled)
    answer.leave_out("trades")
    if scenario["plan"].get("as_weights"):
        answer.leave_out("orders")
    answer.write()


if __name__ == "__main__":
    main()
