"""vectorbt: the strategy as compiled order functions; no Python is called during the run.

An order function at bar t decides on bar t - 1 and trades at the open of bar t. Signals alone
(`from_signals`) cannot say it: the stop hangs on the price of the entry. The first call, on three
bars, compiles, and is a phase of its own.
"""

from __future__ import annotations

import common as c
import numpy as np

with c.phase("import"):
    import pandas as pd
    import vectorbt as vbt
    from numba import njit
    from vectorbt.portfolio.nb import order_nb, order_nothing_nb

BUY_ABOVE, SURE_ABOVE, SELL_BELOW, STOP = c.w.BUY_ABOVE, c.w.SURE_ABOVE, c.w.SELL_BELOW, c.w.STOP
FEES, WEIGHTS = c.w.COMMISSION, c.w.WEIGHTS


@njit
def threshold(state, open_, close, prediction, confidence, entry, budget):  # noqa: PLR0917
    now, asset, held = state.i, state.col, state.position_now
    before = now - 1
    if now == 0:
        return order_nothing_nb()
    shares = 0.0
    if held == 0:
        if prediction[before, asset] > BUY_ABOVE and confidence[before, asset] > SURE_ABOVE:
            shares = np.floor(budget / close[before, asset])
            entry[asset] = open_[now, asset]
    elif prediction[before, asset] < SELL_BELOW or close[before, asset] < STOP * entry[asset]:
        shares = -held
    if shares == 0:
        return order_nothing_nb()
    return order_nb(shares, open_[now, asset], fees=FEES)


@njit
def plan(state, close, prediction, shares, top_n):
    """Before the orders of a bar: the shares to trade of every asset; sells go first."""
    if state.i > 0:
        before = state.i - 1
        equity = state.last_cash[state.group] + np.sum(state.last_position * close[before])
        each = WEIGHTS * equity / top_n
        shares[:] = -state.last_position
        for asset in np.argsort(prediction[before])[-top_n:]:
            shares[asset] += np.floor(each / close[before, asset])
        state.call_seq_now[:] = np.argsort(shares)
    return (shares,)


@njit
def rebalance(state, shares, open_):
    if state.i == 0 or shares[state.col] == 0:
        return order_nothing_nb()
    return order_nb(shares[state.col], open_[state.i, state.col], fees=FEES)


def run(workload, market, bars):
    names = ("open", "close", "ml_pred", "confidence")
    open_, close, prediction, confidence = (getattr(market, name)[:bars] for name in names)
    frame, blank = pd.DataFrame(close, copy=False), np.zeros(workload.assets)
    options = {
        "init_cash": c.w.INITIAL_CASH,
        "group_by": True,
        "cash_sharing": True,
        "update_value": False,
        "freq": "1D",
    }
    if workload.strategy == "threshold":
        arrays = (open_, close, prediction, confidence, blank, workload.budget)
        return vbt.Portfolio.from_order_func(frame, threshold, *arrays, **options)
    return vbt.Portfolio.from_order_func(
        frame,
        rebalance,
        open_,
        pre_segment_func_nb=plan,
        pre_segment_args=(close, prediction, blank, workload.top_n),
        **options,
    )


def main():
    workload, args = c.question()
    with c.phase("load"):
        market = c.Market(workload, args.path)
    with c.phase("compile"):
        _ = run(workload, market, 3).order_records
    with c.profiled(args.profile), c.phase("run"):
        orders = run(workload, market, len(market)).order_records
    shares = np.where(orders["side"] == 0, orders["size"], -orders["size"])
    cash = c.w.INITIAL_CASH - np.sum(shares * orders["price"]) - np.sum(orders["fees"])
    held = np.bincount(orders["col"], shares, minlength=workload.assets)
    c.answer("vectorbt", market, len(orders), market.value(cash, dict(enumerate(held))))


main()
