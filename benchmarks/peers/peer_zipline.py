"""zipline-reloaded: `handle_data` once for each timestamp, on prices in memory, without a bundle.

Its market orders fill at the next close; a slippage model makes that the next open. The calendar
has the sessions of the data. No performance packets (`metrics_set="none"`).
"""

from __future__ import annotations

import datetime as dt
import warnings

import common as c

with c.phase("import"):
    warnings.filterwarnings("ignore")
    import pandas as pd
    import sqlalchemy as sa
    from exchange_calendars import ExchangeCalendar
    from zipline.algorithm import TradingAlgorithm
    from zipline.api import order, set_commission, set_slippage
    from zipline.assets import AssetDBWriter, AssetFinder
    from zipline.data.data_portal import DataPortal
    from zipline.data.session_bars import CurrencyAwareSessionBarReader
    from zipline.finance.commission import PerDollar
    from zipline.finance.slippage import SlippageModel
    from zipline.finance.trading import SimulationParameters

EXCHANGE = "MADE"


class Weekdays(ExchangeCalendar):
    name = EXCHANGE
    tz = dt.UTC
    open_times = ((None, dt.time(9, 30)),)
    close_times = ((None, dt.time(16, 0)),)


class NextOpen(SlippageModel):
    def process_order(self, data, order):
        return data.current(order.asset, "open"), order.amount


class Prices(CurrencyAwareSessionBarReader):
    """Bars from the matrices; an asset's sid is its column."""

    trading_calendar = data_frequency = sessions = None
    first_trading_day = last_available_dt = None

    def __init__(self, market, index, calendar, frequency):
        self.market = market
        self.row = {time: row for row, time in enumerate(index)}
        self.trading_calendar, self.data_frequency, self.sessions = calendar, frequency, index
        self.first_trading_day, self.last_available_dt = index[0], index[-1]

    def get_value(self, sid, dt, field):
        return getattr(self.market, field)[self.row[dt], sid]

    def get_last_traded_dt(self, asset, dt):
        return dt

    def load_raw_arrays(self, columns, start_date, end_date, assets):
        rows = slice(self.row[start_date], self.row[end_date] + 1)
        return [getattr(self.market, name)[rows, list(assets)] for name in columns]

    def currency_codes(self, sids):
        return pd.array(["USD"] * len(sids)).to_numpy(dtype=object)


class Job:
    """What the algorithm calls once for each timestamp."""

    def __init__(self, workload, market, assets):
        self.workload, self.assets = workload, assets
        self.signals = zip(market.rows("ml_pred"), market.rows("confidence"), strict=True)

    def closes(self, data):
        return data.current(self.assets, "close").tolist()


class Threshold(Job):
    def __call__(self, context, data):
        predictions, confidences = next(self.signals)
        positions, budget = context.portfolio.positions, self.workload.budget
        paid = 1 + c.w.COMMISSION  # the cost of a position holds it, the rule asks for the price
        for number, (asset, close) in enumerate(zip(self.assets, self.closes(data), strict=True)):
            if asset not in positions:
                if predictions[number] > c.w.BUY_ABOVE and confidences[number] > c.w.SURE_ABOVE:
                    order(asset, int(budget / close))
            else:
                position = positions[asset]
                entry = round(position.cost_basis / paid, 2)
                if predictions[number] < c.w.SELL_BELOW or close < c.w.STOP * entry:
                    order(asset, -position.amount)


class Rebalance(Job):
    def __call__(self, context, data):
        predictions, _ = next(self.signals)
        closes, portfolio = self.closes(data), context.portfolio
        held = {asset.sid: position.amount for asset, position in portfolio.positions.items()}
        equity = portfolio.cash + sum(n * closes[number] for number, n in held.items())
        top_n = self.workload.top_n
        for number, shares in c.changes(equity, predictions, closes, held, top_n):
            order(self.assets[number], shares)


def asset_finder(names, first, last):
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    listed = {"exchange": EXCHANGE, "start_date": first, "end_date": last + pd.Timedelta(days=30)}
    AssetDBWriter(engine).write(
        equities=pd.DataFrame({"symbol": names, "asset_name": names, **listed}),
        exchanges=pd.DataFrame(
            {"exchange": [EXCHANGE], "canonical_name": [EXCHANGE], "country_code": ["US"]}
        ),
    )
    return AssetFinder(engine)


def data_portal(market, finder, calendar, sessions, is_minutes):
    index = pd.DatetimeIndex(market.times)
    options = {"last_available_session": sessions[-1]}
    if is_minutes:
        ends = (index + pd.Timedelta(minutes=1)).tz_localize("UTC")  # a minute is named by its end
        options["equity_minute_reader"] = Prices(market, ends, calendar, "minute")
        options["last_available_minute"] = ends[-1]
    else:
        options["equity_daily_reader"] = Prices(market, index, calendar, "daily")
    return DataPortal(finder, calendar, sessions[0], **options)


def algorithm(workload, market):
    is_minutes = workload.frequency == "1m"
    sessions = pd.DatetimeIndex(market.times).normalize().unique()
    week = pd.Timedelta(days=7)
    calendar = Weekdays(start=sessions[0] - week, end=sessions[-1] + week, side="right")
    finder = asset_finder(market.names, sessions[0], sessions[-1])
    assets = finder.retrieve_all(range(workload.assets))
    job = Threshold if workload.strategy == "threshold" else Rebalance

    def initialize(_context):
        set_slippage(NextOpen())
        set_commission(PerDollar(cost=c.w.COMMISSION))

    return TradingAlgorithm(
        sim_params=SimulationParameters(
            start_session=sessions[0],
            end_session=sessions[-1],
            trading_calendar=calendar,
            capital_base=c.w.INITIAL_CASH,
            data_frequency="minute" if is_minutes else "daily",
            emission_rate="daily",
        ),
        data_portal=data_portal(market, finder, calendar, sessions, is_minutes),
        asset_finder=finder,
        trading_calendar=calendar,
        initialize=initialize,
        handle_data=job(workload, market, assets),
        metrics_set="none",
        benchmark_returns=pd.Series(0.0, index=sessions),
    )


def count_fills(blotter):
    """A list that will have the number of fills of every timestamp."""
    counts, get_transactions = [], blotter.get_transactions

    def counted(bar_data):
        found = get_transactions(bar_data)
        counts.append(len(found[0]))
        return found

    blotter.get_transactions = counted
    return counts


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        algo = algorithm(workload, market)
        counts = count_fills(algo.blotter)
    with c.profiled(args.profile), c.phase("run"):
        for _ in algo.get_generator():
            pass
    portfolio = algo.portfolio
    held = {asset.sid: position.amount for asset, position in portfolio.positions.items()}
    c.answer("zipline-reloaded", market, sum(counts), market.value(portfolio.cash, held))


main()
