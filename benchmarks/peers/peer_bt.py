"""bt: one algo, called once for each timestamp.

bt deals at the prices of the row it is at. Its table of prices therefore holds opens, and the
algo decides on the row before: the same decisions, filled at the next open.
"""

from __future__ import annotations

import warnings

import common as c

with c.phase("import"):
    warnings.filterwarnings("ignore")
    import bt
    import pandas as pd


class Delayed(bt.Algo):
    """Decides on the row before the one that bt is at."""

    def __init__(self, workload, market):
        super().__init__()
        self.workload, self.names = workload, market.names
        self.number = {name: asset for asset, name in enumerate(market.names)}
        self.open, self.close = market.rows("open"), market.rows("close")
        self.prediction, self.confidence = market.rows("ml_pred"), market.rows("confidence")
        self.row, self.fills = -1, 0

    def __call__(self, target):
        if self.row >= 0:
            self.decide(target, self.row)
            target.root.stale = True  # the tree is brought up to date once, not at every deal
        self.row += 1
        return True

    def deal(self, target, asset, shares):
        target.transact(shares, self.names[asset], update=False)
        self.fills += 1


class Threshold(Delayed):
    def __init__(self, workload, market):
        super().__init__(workload, market)
        self.entry = {}

    def decide(self, target, row):
        budget, children, entry = self.workload.budget, target.children, self.entry
        confidences, closes = self.confidence[row], self.close[row]
        for asset, prediction in enumerate(self.prediction[row]):
            if asset not in entry:
                if prediction > c.w.BUY_ABOVE and confidences[asset] > c.w.SURE_ABOVE:
                    shares = int(budget / closes[asset])
                    if shares:
                        self.deal(target, asset, shares)
                        entry[asset] = self.open[row + 1][asset]
            elif prediction < c.w.SELL_BELOW or closes[asset] < c.w.STOP * entry[asset]:
                self.deal(target, asset, -children[self.names[asset]].position)
                del entry[asset]


class Rebalance(Delayed):
    def decide(self, target, row):
        closes, number = self.close[row], self.number
        held = {number[n]: s.position for n, s in target.children.items() if s.position}
        equity = target.capital + sum(shares * closes[asset] for asset, shares in held.items())
        top_n = self.workload.top_n
        for asset, shares in c.changes(equity, self.prediction[row], closes, held, top_n):
            self.deal(target, asset, shares)


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        prices = pd.DataFrame(market.open, pd.DatetimeIndex(market.times), market.names)
        algo = (Threshold if workload.strategy == "threshold" else Rebalance)(workload, market)
        securities = [bt.Security(name) for name in market.names]
        test = bt.Backtest(
            bt.Strategy("job", [algo], children=securities),
            prices,
            initial_capital=c.w.INITIAL_CASH,
            commissions=lambda shares, price: abs(shares) * price * c.w.COMMISSION,
            integer_positions=True,
            progress_bar=False,
        )
    with c.profiled(args.profile), c.phase("run"):
        test.run()
    strategy = test.strategy
    algo = strategy.stack.algos[0]  # bt runs a copy of what it is given
    held = {algo.number[name]: child.position for name, child in strategy.children.items()}
    c.answer("bt", market, algo.fills, market.value(strategy.capital, held))


main()
