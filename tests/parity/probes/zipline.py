"""zipline-reloaded in the common words of the probes: daily sessions, prices in memory."""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import datetime as dt
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from exchange_calendars import ExchangeCalendar
from zipline.algorithm import TradingAlgorithm
from zipline.api import (
    order,
    order_target_percent,
    set_cancel_policy,
    set_commission,
    set_slippage,
)
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.data.data_portal import DataPortal
from zipline.data.session_bars import CurrencyAwareSessionBarReader
from zipline.errors import ZiplineError
from zipline.finance.cancel_policy import EODCancel
from zipline.finance.commission import PerDollar, PerShare
from zipline.finance.order import ORDER_STATUS
from zipline.finance.slippage import FixedBasisPointsSlippage
from zipline.finance.trading import SimulationParameters

from tests.parity.probes import common as c

EXCHANGE = "MADE"
START = pd.Timestamp("2024-01-01")
FIELDS = ("open", "high", "low", "close", "volume")


class EveryDay(ExchangeCalendar):
    """A session on each day."""

    name = EXCHANGE
    tz = dt.UTC
    open_times = ((None, dt.time(9, 30)),)
    close_times = ((None, dt.time(16, 0)),)
    weekmask = "1111111"


class Prices(CurrencyAwareSessionBarReader):
    """Bars from lists; a missing bar has no price and no volume."""

    trading_calendar: Any = None
    data_frequency: Any = None
    sessions: Any = None
    first_trading_day: Any = None
    last_available_dt: Any = None

    def __init__(self, markets: c.Markets, sessions: Any, calendar: Any) -> None:
        self.bars = list(markets.values())
        self.row = {time: row for row, time in enumerate(sessions)}
        self.trading_calendar, self.data_frequency, self.sessions = calendar, "daily", sessions
        self.first_trading_day, self.last_available_dt = sessions[0], sessions[-1]

    def get_value(self, sid: int, dt: Any, field: str) -> float:
        """One number."""
        bar = self.bars[sid][self.row[dt]]
        if bar is None:
            return 0 if field == "volume" else np.nan
        return getattr(bar, field)

    def get_last_traded_dt(self, asset: Any, dt: Any) -> Any:
        """The last session with a bar."""
        for row in range(self.row[dt], -1, -1):
            if self.bars[asset.sid][row]:
                return self.sessions[row]
        return pd.NaT

    def load_raw_arrays(self, columns: Any, start: Any, end: Any, assets: Any) -> list[Any]:
        """Tables for the history of prices."""
        days = self.sessions[self.row[start] : self.row[end] + 1]
        return [
            np.array([[self.get_value(int(a), day, name) for a in assets] for day in days])
            for name in columns
        ]

    def currency_codes(self, sids: Any) -> Any:
        """Dollars."""
        return pd.array(["USD"] * len(sids)).to_numpy(dtype=object)


@lru_cache
def calendar_of(rows: int) -> tuple[Any, Any]:
    """The calendar, and its sessions that have bars."""
    sessions = pd.date_range(START, periods=rows, freq="D")
    week = pd.Timedelta(days=7)
    return EveryDay(sessions[0] - week, sessions[-1] + week, side="right"), sessions


@lru_cache
def finder_of(names: tuple[str, ...], firsts: tuple[int, ...], rows: int) -> AssetFinder:
    """The assets, listed from their first bar until long after the last."""
    _, sessions = calendar_of(rows)
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    equities = {
        "symbol": list(names),
        "asset_name": list(names),
        "exchange": EXCHANGE,
        "start_date": [sessions[first] for first in firsts],
        "end_date": sessions[-1] + pd.Timedelta(days=30),
    }
    AssetDBWriter(engine).write(
        equities=pd.DataFrame(equities),
        exchanges=pd.DataFrame(
            {"exchange": [EXCHANGE], "canonical_name": [EXCHANGE], "country_code": ["US"]}
        ),
    )
    return AssetFinder(engine)


class Job:
    """What the algorithm calls, and what looks over the blotter's shoulder."""

    def __init__(self, orders: list[c.Order], run: c.Run, sessions: Any, assets: Any) -> None:
        self.orders, self.run = orders, run
        self.row = {time: row for row, time in enumerate(sessions)}
        self.assets = {asset.symbol: asset for asset in assets}
        self.ids: dict[int, Any] = {}

    def handle(self, context: Any, data: Any) -> None:
        """Send what is to be sent in this bar."""
        now = self.row[data.current_session]
        self.run.calls.append(now)
        self.run.cash.append(float(context.portfolio.cash))
        self.run.equity.append(float(context.portfolio.portfolio_value))
        for number, one in enumerate(self.orders):
            if one.bar == now:
                try:
                    self.ids[number] = self.send(one)
                except ZiplineError as error:
                    self.run.states[number] = "refused with an error"
                    self.run.notes.append(f"{type(error).__name__}: {error}".strip())

    def send(self, one: c.Order) -> Any:
        """In the engine's words."""
        asset = self.assets[one.asset]
        if one.fraction is not None:
            return order_target_percent(asset, one.fraction)
        return order(asset, one.quantity, limit_price=one.limit, stop_price=one.stop)

    def watch(self, blotter: Any) -> None:
        """Write the transactions down when they are made."""
        get_transactions = blotter.get_transactions

        def watched(bar_data: Any) -> Any:
            found = get_transactions(bar_data)
            transactions, commissions, _ = found
            fees = {(one["order"].id, one["asset"].sid): one["cost"] for one in commissions}
            for one in transactions:
                session = one.dt.tz_localize(None).normalize()
                self.run.fills.append(
                    c.Fill(
                        asset=one.asset.symbol,
                        bar=self.row[session],
                        quantity=float(one.amount),
                        price=float(one.price),
                        fee=float(fees.get((one.order_id, one.asset.sid), 0.0)),
                        time=str(one.dt),
                    )
                )
            return found

        blotter.get_transactions = watched


# Where the source shows which answers.
PLACES = {
    "zipline/finance/slippage.py:FixedBasisPointsSlippage.process_order": (
        "market_order volume slippage slippage_elsewhere"
    ),
    "zipline/finance/order.py:Order.check_order_triggers": (
        "limit_trigger limit_touch stop_trigger stop_touch stop_limit"
    ),
    "zipline/finance/slippage.py:SlippageModel.simulate": (
        "limit_gap marketable_limit stop_gap stop_behind no_volume order_before_a_gap "
        "limit_in_a_gap stop_and_limit_apart"
    ),
    "zipline/finance/cancel_policy.py:NeverCancel": "time_in_force",
    "zipline/finance/blotter/simulation_blotter.py:SimulationBlotter.execute_daily_cancel_policy": (
        "day_order"
    ),
    "zipline/finance/blotter/simulation_blotter.py:SimulationBlotter.get_transactions": (
        "order_of_fills two_orders order_in_a_gap"
    ),
    "zipline/finance/ledger.py:Ledger.process_transaction": (
        "reversal cash_check too_dear batch resting_orders sale_pays short_sale short_pays ruin"
    ),
    "zipline/finance/ledger.py:Ledger.process_commission": "cash_for_the_fee percent_fee",
    "zipline/finance/commission.py:PerShare.calculate": "share_fee",
    "zipline/finance/slippage.py:FixedBasisPointsSlippage.__init__": "defaults",
    "zipline/algorithm.py:TradingAlgorithm.round_order": "fractions fractions_on_request",
    "zipline/algorithm.py:TradingAlgorithm._calculate_order_value_amount": "target_price all_in",
    "zipline/algorithm.py:TradingAlgorithm._calculate_order_target_percent_amount": (
        "target_equity"
    ),
    "zipline/algorithm.py:TradingAlgorithm._calculate_order_target_amount": (
        "target_twice rotation"
    ),
    "zipline/finance/ledger.py:PositionTracker.sync_last_sale_prices": (
        "equity_mark value_in_a_gap position_at_the_end"
    ),
    "zipline/gens/tradesimulation.py:AlgorithmSimulator.transform": (
        "first_decision order_in_the_last_bar"
    ),
    "zipline/finance/transaction.py:create_transaction": "fill_time",
    "zipline/algorithm.py:TradingAlgorithm.handle_data": "late_asset",
    "zipline/algorithm.py:TradingAlgorithm._can_order_asset": "order_before_the_first_bar",
    "zipline/finance/ledger.py:Ledger.update_portfolio": "holding_costs",
}


class Zipline:
    """zipline as it comes, but for costs and the limit of volume, unless as shipped."""

    name = "zipline"
    package = "zipline-reloaded"
    module = "zipline"
    needs_cash = True
    unsupported: dict[str, str] = {  # noqa: RUF012
        "closed_trades": "keeps no trades; the cost basis of a position is an average",
    }
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run an algorithm that sends these orders."""
        if any(one.bracket for one in orders):
            raise c.Unsupported("no brackets and no one-cancels-other")
        if any(one.trail for one in orders):
            raise c.Unsupported("no trailing orders")
        run = c.Run(states=["never sent"] * len(orders))
        calendar, sessions = calendar_of(max(map(len, markets.values())))
        firsts = tuple(next(n for n, bar in enumerate(b) if bar) for b in markets.values())
        finder = finder_of(tuple(markets), firsts, len(sessions))
        job = Job(orders, run, sessions, finder.retrieve_all(range(len(markets))))

        def initialize(_: Any) -> None:
            if any(one.day for one in orders):
                set_cancel_policy(EODCancel())
            if terms.as_shipped:
                return
            set_slippage(FixedBasisPointsSlippage(10_000 * terms.slippage, 1.0))
            if terms.share_fee:
                set_commission(PerShare(terms.share_fee, terms.least_fee))
            else:
                set_commission(PerDollar(terms.percent_fee))

        portal = DataPortal(
            finder,
            calendar,
            sessions[0],
            equity_daily_reader=Prices(markets, sessions, calendar),
            last_available_session=sessions[-1],
        )
        algorithm = TradingAlgorithm(
            sim_params=SimulationParameters(
                start_session=sessions[0],
                end_session=sessions[-1],
                trading_calendar=calendar,
                capital_base=terms.cash or 10_000,
                data_frequency="daily",
            ),
            data_portal=portal,
            asset_finder=finder,
            trading_calendar=calendar,
            initialize=initialize,
            handle_data=job.handle,
            metrics_set="none",
            benchmark_returns=pd.Series(0.0, index=sessions),
        )
        job.watch(algorithm.blotter)
        for _ in algorithm.get_generator():
            pass
        for number, identity in job.ids.items():
            sent = algorithm.blotter.orders.get(identity)
            run.states[number] = ORDER_STATUS(sent.status).name.lower() if sent else "ignored"
        return run


ENGINE = Zipline()

if __name__ == "__main__":
    c.main(ENGINE)
