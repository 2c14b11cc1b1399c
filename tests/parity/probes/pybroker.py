"""pybroker in the common words of the probes.

Its stops belong to the entry and are distances from its price; a later stop order of a script
therefore goes with the entry before it. Every probe of stops enters on calm bars at 100.
"""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pandas as pd
import pybroker
from pybroker import FeeMode, Strategy, StrategyConfig
from pybroker.slippage import FixedSlippageModel

from tests.parity.probes import common as c

START = pd.Timestamp("2024-01-01")
ENTRY = 100.0


def table(markets: c.Markets) -> pd.DataFrame:
    """The long table that pybroker takes; a missing bar is a missing row."""
    rows = [
        (START + pd.Timedelta(days=n), asset, *bar)
        for asset, bars in markets.items()
        for n, bar in enumerate(bars)
        if bar
    ]
    columns = ["date", "symbol", "open", "high", "low", "close", "volume"]
    return pd.DataFrame(rows, columns=columns).sort_values(["date", "symbol"])


def attached(orders: list[c.Order]) -> list[tuple[int, c.Order, float | None, float | None]]:
    """The orders with number, and what goes with an entry: a stop's and a trail's distance."""
    found: list[tuple[int, c.Order, float | None, float | None]] = []
    for number, order in enumerate(orders):
        if order.stop or order.trail:
            last = found[-1] if found else None
            if not last or order.limit or order.quantity != -last[1].quantity:
                raise c.Unsupported("stops only protect the position of an entry")
            stop = abs(ENTRY - order.stop) if order.stop else None
            found[-1] = (last[0], last[1], stop, order.trail)
        else:
            found.append((number, order, None, None))
    return found


class Job:
    """What pybroker calls for each symbol and bar."""

    def __init__(self, orders: list[c.Order], run: c.Run, terms: c.Terms) -> None:
        self.orders, self.run = attached(orders), run
        self.sent: set[int] = set()
        self.timeout = None if terms.as_shipped else -1

    def before(self, contexts: Mapping[str, Any]) -> None:
        """Once for each bar."""
        ctx = next(iter(contexts.values()))
        self.run.calls.append((pd.Timestamp(ctx.dt) - START).days)

    def __call__(self, ctx: Any) -> None:
        """Send what is to be sent for the symbol."""
        now = (pd.Timestamp(ctx.dt) - START).days
        mine = [one for one in self.orders if one[1].bar == now and one[1].asset == ctx.symbol]
        sides = [one[1].quantity > 0 for one in mine]
        if len(sides) != len(set(sides)):
            raise c.Unsupported("one buy and one sell for each symbol and bar")
        for number, order, stop, trail in mine:
            self.sent.add(number)
            if order.fraction is not None:
                ctx.set_target_shares(order.fraction, dir="long")
                continue
            self.send(ctx, order)
            ctx.stop_loss, ctx.stop_trailing = stop, trail
            if order.bracket:
                ctx.stop_loss = abs(ENTRY - order.bracket[0])
                ctx.stop_profit = abs(ENTRY - order.bracket[1])

    def send(self, ctx: Any, order: c.Order) -> None:
        """Limits persist, unless the engine's default is asked for."""
        if order.quantity > 0:
            ctx.buy_shares = order.quantity
            if order.limit:
                ctx.buy_limit_price, ctx.buy_timeout_bars = order.limit, self.timeout
        else:
            ctx.sell_shares = -order.quantity
            if order.limit:
                ctx.sell_limit_price, ctx.sell_timeout_bars = order.limit, self.timeout


# Where the source shows which answers.
PLACES = {
    "pybroker/scope.py:PriceScope.fetch": "market_order",
    "pybroker/portfolio.py:Portfolio.buy": "limit_trigger limit_touch limit_gap marketable_limit",
    "pybroker/strategy.py:BacktestMixin._process_persistent_orders": (
        "time_in_force resting_orders"
    ),
    "pybroker/strategy.py:BacktestMixin.backtest_executions": (
        "order_of_fills sale_pays rotation legs_in_the_bar_of_entry "
        "legs_behind_a_limit first_decision "
        "order_in_a_gap limit_in_a_gap late_asset order_before_the_first_bar"
    ),
    "pybroker/strategy.py:BacktestMixin._schedule_order": (
        "fill_time order_in_the_last_bar order_before_a_gap"
    ),
    "pybroker/portfolio.py:Portfolio.sell": "reversal",
    "pybroker/portfolio.py:Portfolio._trigger_profit_or_loss_stop": (
        "stop_trigger stop_touch stop_gap bracket_gap"
    ),
    "pybroker/portfolio.py:Portfolio._trigger_trailing_stop": "trailing_stop",
    "pybroker/portfolio.py:Portfolio.check_stops": "stop_and_target",
    "pybroker/portfolio.py:Portfolio._remove_entry_stops": "other_leg",
    "pybroker/portfolio.py:Portfolio._clamp_shares": "cash_check too_dear cash_for_the_fee batch",
    "pybroker/portfolio.py:Portfolio._available_buying_power": "short_pays",
    "pybroker/portfolio.py:Portfolio._post_collateral": "short_sale",
    "pybroker/portfolio.py:Portfolio.capture_bar": (
        "ruin equity_mark value_in_a_gap position_at_the_end"
    ),
    "pybroker/portfolio.py:Portfolio._calculate_fees": "percent_fee share_fee",
    "pybroker/slippage.py:FixedSlippageModel.adjust_fill_price": "slippage",
    "pybroker/portfolio.py:Portfolio._slip_stop_fill_price": "slippage_elsewhere",
    "pybroker/config.py:StrategyConfig": "defaults",
    "pybroker/strategy.py:BacktestMixin._attempt_pending_order": "volume no_volume",
    "pybroker/strategy.py:BacktestMixin._get_shares": "fractions fractions_on_request",
    "pybroker/context.py:ExecContext.calc_target_shares": "target_price target_equity all_in",
    "pybroker/portfolio.py:Portfolio._sell_existing": "closed_trades",
    "pybroker/portfolio.py:Portfolio._apply_interest": "holding_costs",
}


class Pybroker:
    """pybroker as it comes, but for costs."""

    name = "pybroker"
    package = "lib-pybroker"
    module = "pybroker"
    needs_cash = False
    unsupported: dict[str, str] = {  # noqa: RUF012
        "stop_behind": "a stop is a distance behind the price of the entry",
    }
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run a strategy that sends these orders."""
        if any(order.day for order in orders):
            raise c.Unsupported("how long a limit is tried is counted in bars")
        pybroker.disable_logging()
        pybroker.disable_progress_bar()
        run = c.Run()
        config: dict[str, Any] = {} if terms.cash is None else {"initial_cash": terms.cash}
        if terms.percent_fee:
            config |= {"fee_mode": FeeMode.ORDER_PERCENT, "fee_amount": 100 * terms.percent_fee}
        if terms.share_fee:
            config["fee_mode"] = lambda info: max(
                info.shares * Decimal(str(terms.share_fee)), Decimal(str(terms.least_fee))
            )
        config |= {"round_test_result": False, "enable_fractional_shares": terms.fractional}
        frame = table(markets)
        days = frame["date"]
        strategy = Strategy(frame, days.min(), days.max(), StrategyConfig(**config))
        job = Job(orders, run, terms)
        strategy.set_before_exec(job.before)
        if terms.slippage:
            strategy.set_slippage_model(FixedSlippageModel(bps=10_000 * terms.slippage))
        strategy.add_execution(job, list(markets))
        found = strategy.backtest(calc_bootstrap=False)
        for one in found.orders.itertuples():
            shares = float(one.shares)
            run.fills.append(
                c.Fill(
                    asset=one.symbol,
                    bar=(one.date - START).days,
                    quantity=shares if one.type == "buy" else -shares,
                    price=float(one.fill_price),
                    fee=float(one.fees),
                    time=str(one.date),
                )
            )
        run.cash = found.portfolio["cash"].astype(float).to_list()
        run.equity = found.portfolio["equity"].astype(float).to_list()
        run.profits = found.trades["pnl"].astype(float).to_list() if len(found.trades) else []
        run.worth = found.portfolio["market_value"].astype(float).to_list()
        run.states = c.states_from_fills(orders, run.fills)
        for number, order in enumerate(orders):
            if number not in job.sent and not (order.stop or order.trail):
                run.states[number] = "never sent: not asked about it"
        return run


ENGINE = Pybroker()

if __name__ == "__main__":
    c.main(ENGINE)
