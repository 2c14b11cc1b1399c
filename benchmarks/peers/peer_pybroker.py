"""pybroker: an execution for each asset and bar; fills at the next open.

The rebalance is decided before the executions of a bar, where all assets are at hand, and each
execution sends the order of its own asset.
"""

from __future__ import annotations

import logging
import warnings

import common as c
import numpy as np

with c.phase("import"):
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import pandas as pd
    import pybroker
    from pybroker import FeeMode, PriceType, Strategy, StrategyConfig


def long_frame(market):
    """The table that pybroker takes: a row for each timestamp and asset."""
    assets = len(market.names)
    columns = {name: getattr(market, name).ravel() for name in (*c.PRICES, "ml_pred", "confidence")}
    return pd.DataFrame(
        {
            "date": np.repeat(market.times, assets),
            "symbol": np.tile(np.array(market.names, dtype=object), len(market)),
            **columns,
        }
    )


def send(ctx, shares):
    if shares > 0:
        ctx.buy_shares = shares
        ctx.buy_fill_price = PriceType.OPEN
    elif shares < 0:
        ctx.sell_shares = -shares
        ctx.sell_fill_price = PriceType.OPEN


def threshold(workload):
    budget = workload.budget

    def execute(ctx):
        position = ctx.long_pos()
        if position is None:
            if ctx.ml_pred[-1] > c.w.BUY_ABOVE and ctx.confidence[-1] > c.w.SURE_ABOVE:
                send(ctx, int(budget / ctx.close[-1]))
        elif ctx.ml_pred[-1] < c.w.SELL_BELOW or ctx.close[-1] < c.w.STOP * float(
            position.entries[0].price
        ):
            send(ctx, -int(position.shares))

    return execute


def rebalance(workload, names):
    """What to call before the executions of a bar, and the execution."""
    orders, number = {}, {name: asset for asset, name in enumerate(names)}

    def decide(contexts):
        found = [contexts[name] for name in names]
        closes, predictions, held = [], [], {}
        for asset, ctx in enumerate(found):
            closes.append(ctx.close[-1])
            predictions.append(ctx.ml_pred[-1])
            position = ctx.long_pos()
            if position is not None:
                held[asset] = int(position.shares)
        equity = float(found[0].cash) + sum(n * closes[asset] for asset, n in held.items())
        orders.clear()
        orders.update(c.changes(equity, predictions, closes, held, workload.top_n))

    def execute(ctx):
        send(ctx, orders.get(number[ctx.symbol], 0))

    return decide, execute


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("prepare"):
        pybroker.disable_logging()
        pybroker.disable_progress_bar()
        pybroker.register_columns("ml_pred", "confidence")
        config = StrategyConfig(
            initial_cash=c.w.INITIAL_CASH,
            fee_mode=FeeMode.ORDER_PERCENT,
            fee_amount=100 * c.w.COMMISSION,
            round_fill_price=False,
            round_test_result=False,
            exit_on_last_bar=False,
        )
        first, last = (pd.Timestamp(market.times[row]) for row in (0, -1))
        strategy = Strategy(long_frame(market), first, last, config)
        if workload.strategy == "threshold":
            execute = threshold(workload)
        else:
            decide, execute = rebalance(workload, market.names)
            strategy.set_before_exec(decide)
        strategy.add_execution(execute, market.names)
    with c.profiled(args.profile), c.phase("run"):
        orders = strategy.backtest(calc_bootstrap=False).orders
    shares = np.where(orders["type"] == "buy", 1.0, -1.0) * orders["shares"].astype(float)
    paid = (shares * orders["fill_price"].astype(float)).sum() + orders["fees"].astype(float).sum()
    number = {name: asset for asset, name in enumerate(market.names)}
    held = {number[name]: n for name, n in shares.groupby(orders["symbol"]).sum().items()}
    c.answer("lib-pybroker", market, len(orders), market.value(c.w.INITIAL_CASH - paid, held))


main()
