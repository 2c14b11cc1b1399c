"""backtrader: a feed for each asset, `next` once for each timestamp; fills at the next open.

Observers and analysers are off.
"""

from __future__ import annotations

from itertools import repeat

import common as c

with c.phase("import"):
    import backtrader as bt


class Feed(bt.feed.DataBase):
    """Bars from an iterator of tuples: date, prices, volume, open interest."""

    params = (("bars", None),)

    def start(self):
        super().start()
        lines = self.lines
        self.bars = iter(self.p.bars)
        self.targets = (
            *(lines.datetime, lines.open, lines.high, lines.low, lines.close),
            *(lines.volume, lines.openinterest),
        )

    def _load(self):
        bar = next(self.bars, None)
        if bar is None:
            return False
        for line, value in zip(self.targets, bar, strict=True):
            line[0] = value
        return True


class Job(bt.Strategy):
    params = (("workload", None), ("market", None))

    def __init__(self):
        market = self.p.market
        self.signals = zip(market.rows("ml_pred"), market.rows("confidence"), strict=True)
        self.fills = 0

    def start(self):
        positions = self.broker.positions
        self.assets = [(feed, feed.lines.close, positions[feed]) for feed in self.datas]

    def notify_order(self, order):
        if order.status == order.Completed:
            self.fills += 1
        elif order.status in {order.Margin, order.Rejected, order.Canceled}:
            raise RuntimeError(f"backtrader refused an order: {order}")


class Threshold(Job):
    def next(self):
        predictions, confidences = next(self.signals)
        budget = self.p.workload.budget
        for asset, (feed, close, position) in enumerate(self.assets):
            if not position.size:
                if predictions[asset] > c.w.BUY_ABOVE and confidences[asset] > c.w.SURE_ABOVE:
                    shares = int(budget / close[0])
                    if shares:
                        self.buy(feed, shares)
            elif predictions[asset] < c.w.SELL_BELOW or close[0] < c.w.STOP * position.price:
                self.sell(feed, position.size)


class Rebalance(Job):
    def next(self):
        predictions, _ = next(self.signals)
        closes, held = [], {}
        for asset, (_, close, position) in enumerate(self.assets):
            closes.append(close[0])
            if position.size:
                held[asset] = position.size
        equity, top_n = self.broker.getvalue(), self.p.workload.top_n
        for asset, shares in c.changes(equity, predictions, closes, held, top_n):
            send = self.buy if shares > 0 else self.sell
            send(self.datas[asset], abs(shares))


def feeds(workload, market):
    unit = bt.TimeFrame.Days if workload.frequency == "1d" else bt.TimeFrame.Minutes
    dates = [bt.date2num(time) for time in market.times.astype("datetime64[us]").tolist()]
    for asset in range(workload.assets):
        columns = [column.tolist() for column in market.series(asset, c.PRICES).values()]
        # The last column has no end.
        bars = zip(dates, *columns, repeat(0.0), strict=False)
        yield Feed(bars=bars, timeframe=unit, compression=1)


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        cerebro = bt.Cerebro(stdstats=False)
        for name, feed in zip(market.names, feeds(workload, market), strict=True):
            cerebro.adddata(feed, name=name)
        cerebro.broker.setcash(c.w.INITIAL_CASH)
        cerebro.broker.setcommission(commission=c.w.COMMISSION)
        job = Threshold if workload.strategy == "threshold" else Rebalance
        cerebro.addstrategy(job, workload=workload, market=market)
    with c.profiled(args.profile), c.phase("run"):
        (strategy,) = cerebro.run()
    c.answer("backtrader", market, strategy.fills, cerebro.broker.getvalue())


main()
