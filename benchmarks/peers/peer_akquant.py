"""akquant: `on_bar` for each asset and bar, `on_cross_section` for each timestamp; next open.

Where a timestamp has sells and buys, a buy can fill after its asset's `on_bar`: the strategy
remembers what it waits for, or it would buy twice.
"""

from __future__ import annotations

import logging

import common as c
import numpy as np

with c.phase("import"):
    import akquant as aq
    import akquant.backtest.engine
    import polars as pl  # noqa: F401  akquant imports it when it first runs


class Job(aq.Strategy):
    workload = market = None

    def on_start(self):
        self.fills, self.row = 0, 0
        self.entry, self.waiting, self.closes = {}, set(), {}
        self.names = self.market.names
        self.predictions = self.market.rows("ml_pred")

    def on_reject(self, order):
        raise RuntimeError(f"akquant refused an order: {order}")

    def on_trade(self, trade):
        self.fills += 1
        self.waiting.discard(trade.symbol)
        self.entry[trade.symbol] = trade.price

    def send(self, symbol, shares):
        if shares and symbol not in self.waiting:
            self.waiting.add(symbol)
            (self.buy if shares > 0 else self.sell)(symbol, abs(shares))


class Threshold(Job):
    def on_bar(self, bar):
        symbol, signals, close = bar.symbol, bar.extra, bar.close
        held = self.get_position(symbol)
        if not held:
            if signals["ml_pred"] > c.w.BUY_ABOVE and signals["confidence"] > c.w.SURE_ABOVE:
                self.send(symbol, int(self.workload.budget / close))
        elif signals["ml_pred"] < c.w.SELL_BELOW or close < c.w.STOP * self.entry[symbol]:
            self.send(symbol, -held)


class Rebalance(Job):
    def on_bar(self, bar):
        self.closes[bar.symbol] = bar.close

    def on_cross_section(self, trading_date, timestamp):
        positions, names = self.positions, self.names
        closes = [self.closes[name] for name in names]
        held = {n: int(positions[name]) for n, name in enumerate(names) if positions.get(name)}
        predictions, top_n = self.predictions[self.row], self.workload.top_n
        self.row += 1
        for number, shares in c.changes(self.equity, predictions, closes, held, top_n):
            self.send(names[number], shares)


def bars_of(workload, market):
    flat = {name: getattr(market, name).ravel() for name in (*c.PRICES, "ml_pred", "confidence")}
    prices = [flat.pop(name) for name in c.PRICES]
    times = np.repeat(market.times.view("int64"), workload.assets)
    symbols = market.names * len(market)
    extra = flat if workload.strategy == "threshold" else None
    return aq.from_arrays(times, *prices, None, symbols, extra)


def main():
    workload, args = c.question()
    logging.disable(logging.WARNING)
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        bars = bars_of(workload, market)
        Job.workload, Job.market = workload, market
        strategy = (Threshold if workload.strategy == "threshold" else Rebalance)()
    with c.profiled(args.profile), c.phase("run"):
        result = aq.run_backtest(
            bars,
            strategy=strategy,
            symbols=market.names,
            initial_cash=c.w.INITIAL_CASH,
            commission_rate=c.w.COMMISSION,
            stamp_tax_rate=0.0,
            transfer_fee_rate=0.0,
            min_commission=0.0,
            volume_limit_pct=1.0,
            timezone="UTC",
            lot_size=1,
            show_progress=False,
            fill_policy=aq.NextOpen(),
        )
    c.answer("akquant", market, strategy.fills, float(result.equity_curve.iloc[-1]))


main()
