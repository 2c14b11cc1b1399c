"""vectorbt in the common words of the probes.

Market orders go to `Portfolio.from_orders`, one for each asset and row; stops and targets are
those of `Portfolio.from_signals`, which protect the position from its entry on.
"""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import vectorbt as vbt
from vectorbt.portfolio.enums import OrderStatus, OrderStatusInfo, SizeType

from tests.parity.probes import common as c

STATES = {OrderStatus.Filled: "filled", OrderStatus.Ignored: "ignored"}
ONE_ORDER = "one order for each asset and row"


def frames(markets: c.Markets) -> dict[str, pd.DataFrame]:
    """A table for each price; a missing bar is NaN."""
    rows = max(map(len, markets.values()))
    index = pd.date_range("2024-01-01", periods=rows, freq="D")
    return {
        name: pd.DataFrame(
            {a: [getattr(bar, name) if bar else np.nan for bar in bars] for a, bars in all_of},
            index=index,
            dtype=float,
        )
        for all_of in [list(markets.items())]
        for name in ("open", "high", "low", "close")
    }


def sizes(orders: list[c.Order], close: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sizes and their types as tables."""
    size = close * np.nan
    kind = pd.DataFrame(SizeType.Amount, index=close.index, columns=close.columns)
    for order in orders:
        row, asset = close.index[order.bar], order.asset
        if not np.isnan(size.loc[row, asset]):
            raise c.Unsupported(ONE_ORDER)
        if order.fraction is None:
            size.loc[row, asset] = order.quantity
        else:
            size.loc[row, asset] = order.fraction
            kind.loc[row, asset] = SizeType.TargetPercent
    return size, kind


def protection(orders: list[c.Order], close: pd.DataFrame) -> dict[str, Any]:
    """An entry and its stops as signals; distances are shares of the close of the entry."""
    entry = orders[0]
    stop, target = entry.bracket or (None, None)
    trail = None
    for order in orders[1:]:
        if order.is_plain or order.quantity != -entry.quantity or order.limit:
            raise c.Unsupported("stops only protect the position of an entry signal; no limits")
        stop, trail = stop or order.stop, trail or order.trail
    paid = float(close.to_numpy()[entry.bar, 0])
    distance = trail or (abs(paid - stop) if stop else np.nan)
    signal = pd.Series(np.arange(len(close)) == entry.bar, index=close.index)
    return {
        "entries": signal,
        "direction": "longonly" if entry.quantity > 0 else "shortonly",
        "size": abs(entry.quantity),
        "sl_stop": distance / paid,
        "sl_trail": bool(trail),
        "tp_stop": abs(target - paid) / paid if target else np.nan,
    }


def options(terms: c.Terms) -> dict[str, Any]:
    """Cash and costs."""
    if terms.share_fee:
        raise c.Unsupported("fees are a share of the value, or fixed for each order")
    found: dict[str, Any] = {"fees": terms.percent_fee, "slippage": terms.slippage, "log": True}
    if terms.cash is not None:
        found["init_cash"] = terms.cash
    return found


# Where the source shows which answers.
PLACES = {
    "vectorbt/portfolio/nb.py:simulate_from_orders_nb": (
        "market_order order_of_fills sale_pays rotation target_equity order_in_the_last_bar "
        "equity_mark value_in_a_gap late_asset first_decision fill_time"
    ),
    "vectorbt/portfolio/nb.py:get_stop_price_nb": (
        "stop_trigger stop_touch stop_gap bracket_gap trailing_stop"
    ),
    "vectorbt/portfolio/nb.py:simulate_from_signals_nb": (
        "stop_and_target other_leg legs_in_the_bar_of_entry"
    ),
    "vectorbt/portfolio/nb.py:resolve_stop_price_and_slippage_nb": "slippage_elsewhere",
    "vectorbt/portfolio/nb.py:buy_nb": (
        "cash_check too_dear cash_for_the_fee batch percent_fee slippage volume no_volume"
    ),
    "vectorbt/portfolio/nb.py:sell_nb": "reversal short_sale short_pays ruin holding_costs",
    "vectorbt/portfolio/nb.py:execute_order_nb": (
        "fractions fractions_on_request target_price all_in order_before_a_gap order_in_a_gap "
        "order_before_the_first_bar"
    ),
    "vectorbt/portfolio/base.py:Portfolio.from_orders": "defaults",
    "vectorbt/portfolio/nb.py:get_exit_trades_nb": "closed_trades",
    "vectorbt/portfolio/nb.py:value_nb": "position_at_the_end",
}


class Vectorbt:
    """vectorbt as it comes, but for costs; assets share the cash."""

    name = "vectorbt"
    package = "vectorbt"
    module = "vectorbt"
    needs_cash = False
    unsupported: dict[str, str] = {  # noqa: RUF012
        "stop_behind": "a stop is a distance behind the price of the entry",
    }
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run these orders."""
        prices = frames(markets)
        close = prices["close"]
        given = options(terms)
        if any(order.day for order in orders):
            raise c.Unsupported("an order is for its row only")
        if all(order.is_plain or order.fraction is not None for order in orders):
            size, kind = sizes(orders, close)
            found = vbt.Portfolio.from_orders(
                close, size=size, size_type=kind, group_by=True, cash_sharing=True, **given
            )
        elif orders[0].limit or orders[0].stop or orders[0].trail:
            raise c.Unsupported("entries are market orders")
        else:
            signals = protection(orders, close)
            bars = {name: prices[name].iloc[:, 0] for name in ("open", "high", "low")}
            found = vbt.Portfolio.from_signals(close.iloc[:, 0], **signals, **bars, **given)
        return self.report(found, orders, list(markets), close)

    def report(
        self, found: Any, orders: list[c.Order], assets: list[str], close: pd.DataFrame
    ) -> c.Run:
        """The records as a run."""
        run = c.Run(calls=list(range(len(close))))
        for one in found.orders.records.itertuples():
            run.fills.append(
                c.Fill(
                    asset=assets[one.col],
                    bar=int(one.idx),
                    quantity=float(one.size if one.side == 0 else -one.size),
                    price=float(one.price),
                    fee=float(one.fees),
                    time=str(close.index[one.idx]),
                )
            )
        logs = {(int(one.idx), assets[one.col]): one for one in found.logs.records.itertuples()}
        for order in orders:
            log = logs.get((order.bar, order.asset))
            state = STATES.get(log.res_status, "rejected") if log else "never sent"
            run.states.append(state)
            if log and log.res_status != OrderStatus.Filled:
                run.notes.append(OrderStatusInfo._fields[log.res_status_info])
        run.cash = np.asarray(found.cash(), dtype=float).ravel().tolist()
        run.equity = np.asarray(found.value(), dtype=float).ravel().tolist()
        trades = found.trades.records
        run.profits = [float(pnl) for pnl in trades["pnl"][trades["status"] == 1]]
        return run


ENGINE = Vectorbt()

if __name__ == "__main__":
    c.main(ENGINE)
