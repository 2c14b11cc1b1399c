"""backtesting.py: one asset at a time, `next` for each bar; fills at the next open.

Many assets are as many backtests, each with the whole cash; the profits are added up. It never
calls `next` on the first bar.
"""

from __future__ import annotations

import os
import warnings

import common as c

with c.phase("import"):
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore")
    import pandas as pd
    from backtesting import Backtest, Strategy

COLUMNS = ("Open", "High", "Low", "Close", "Volume", "ml_pred", "confidence")


class Threshold(Strategy):
    budget = 0.0

    def init(self):
        pass

    def next(self):
        bar = self.data
        if not self.position:
            if bar.ml_pred[-1] > c.w.BUY_ABOVE and bar.confidence[-1] > c.w.SURE_ABOVE:
                shares = int(self.budget / bar.Close[-1])
                if shares:
                    self.buy(size=shares)
        elif (
            bar.ml_pred[-1] < c.w.SELL_BELOW
            or bar.Close[-1] < c.w.STOP * self.trades[0].entry_price
        ):
            self.position.close()


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        index = pd.DatetimeIndex(market.times)
        frames = [
            pd.DataFrame(market.series(asset), index).set_axis(COLUMNS, axis=1)
            for asset in range(workload.assets)
        ]
    options = {"cash": c.w.INITIAL_CASH, "commission": c.w.COMMISSION}
    fills, equity = 0, c.w.INITIAL_CASH
    with c.profiled(args.profile), c.phase("run"):
        for frame in frames:
            found = Backtest(frame, Threshold, **options).run(budget=workload.budget)
            equity += found["Equity Final [$]"] - c.w.INITIAL_CASH
            fills += 2 * len(found["_trades"]) + len(found["_strategy"].trades)
    c.answer("backtesting", market, fills, equity)


main()
