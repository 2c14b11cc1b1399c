"""bt in the common words of the probes."""

# The engine is not in the environment of the type checker.
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

from typing import Any

import bt
import numpy as np
import pandas as pd

from tests.parity.probes import common as c

START = pd.Timestamp("2024-01-01")


class Recorded(bt.core.Security):
    """A security that writes down its transactions."""

    told: c.Run

    def transact(
        self, q: float, update: bool = True, update_self: bool = True, price: float | None = None
    ) -> None:
        """The engine leaves out what is zero or not a number."""
        half = self.bidoffer / 2 if self._bidoffer_set else 0.0
        before = float(self.price)
        super().transact(q, update, update_self, price)
        if q and not np.isnan(q):
            self.told.fills.append(
                c.Fill(
                    asset=self.name,
                    bar=(self.parent.now - START).days,
                    quantity=float(q),
                    price=before + (half if q > 0 else -half),
                    fee=float(self.commission(q, before)),
                    time=str(self.parent.now),
                )
            )


class Send(bt.Algo):
    """Sends what is to be sent in this bar. bt copies it, so what is told belongs to the class."""

    told: c.Run
    orders: list[c.Order]

    def __init__(self) -> None:
        super().__init__()
        self.weights = bt.algos.Rebalance()

    def __call__(self, target: bt.Strategy) -> bool:
        """Weights of one bar go together, as `Rebalance` takes them."""
        now = (target.now - START).days
        self.told.calls.append(now)
        weights: dict[str, float] = {}
        for number, order in enumerate(self.orders):
            if order.bar != now:
                continue
            before = len(self.told.fills)
            if order.fraction is not None:
                weights[order.asset] = order.fraction
                self.told.states[number] = "sent with the weights"
                continue
            try:
                target.transact(order.quantity, child=order.asset)
            except ValueError as error:
                self.told.states[number] = "refused with an error"
                self.told.notes.append(str(error))
                continue
            self.told.states[number] = "filled" if len(self.told.fills) > before else "ignored"
        if weights:
            target.temp["weights"] = weights
            self.weights(target)
        return True


# Where the source shows which answers.
PLACES = {
    "bt/core.py:SecurityBase.transact": (
        "market_order two_orders reversal cash_check too_dear cash_for_the_fee batch "
        "sale_pays short_sale short_pays fractions fractions_on_request volume no_volume "
        "order_in_a_gap order_before_the_first_bar order_in_the_last_bar"
    ),
    "bt/core.py:SecurityBase.update": (
        "equity_mark value_in_a_gap order_before_a_gap position_at_the_end late_asset holding_costs"
    ),
    "bt/core.py:StrategyBase.update": "ruin",
    "bt/core.py:StrategyBase.transact": "order_of_fills",
    "bt/core.py:SecurityBase.outlay": "percent_fee slippage slippage_elsewhere",
    "bt/core.py:SecurityBase.commission": "share_fee",
    "bt/core.py:SecurityBase.allocate": "all_in target_price",
    "bt/core.py:StrategyBase.rebalance": "target_equity",
    "bt/algos.py:Rebalance": "rotation",
    "bt/backtest.py:Backtest.__init__": "defaults",
    "bt/backtest.py:Backtest.run": "first_decision fill_time",
}


class Bt:
    """bt as it comes, but for costs."""

    name = "bt"
    package = "bt"
    module = "bt"
    needs_cash = False
    unsupported: dict[str, str] = {  # noqa: RUF012
        "closed_trades": "keeps no trades",
        "target_twice": "the weights of a bar are one table",
    }
    sources = c.by_question(PLACES)

    def run(self, markets: c.Markets, orders: list[c.Order], terms: c.Terms) -> c.Run:
        """Run a strategy that sends these orders."""
        if not all(order.is_plain or order.fraction is not None for order in orders):
            raise c.Unsupported("market orders only")
        run = c.Run(states=["never sent"] * len(orders))
        rows = max(map(len, markets.values()))
        prices = pd.DataFrame(
            {a: [bar.close if bar else np.nan for bar in bars] for a, bars in markets.items()},
            index=START + pd.to_timedelta(range(rows), unit="D"),
            dtype=float,
        )
        security = type("Recorded", (Recorded,), {"told": run})
        send = type("Send", (Send,), {"told": run, "orders": orders})
        strategy = bt.Strategy("job", [send()], [security(name) for name in markets])
        options: dict[str, Any] = {} if terms.cash is None else {"initial_capital": terms.cash}
        if terms.percent_fee:
            options["commissions"] = lambda q, p: abs(q) * p * terms.percent_fee
        if terms.share_fee:
            options["commissions"] = lambda q, _: max(abs(q) * terms.share_fee, terms.least_fee)
        if terms.slippage:
            options["additional_data"] = {"bidoffer": 2 * terms.slippage * prices}
        test = bt.Backtest(strategy, prices, progress_bar=False, **options)
        try:
            test.run()
        except ValueError as error:
            run.stopped = str(error)
            return run
        done = test.strategy
        run.cash = done.cash.reindex(prices.index).to_list()
        run.equity = done.values.reindex(prices.index).to_list()
        return run


ENGINE = Bt()

if __name__ == "__main__":
    c.main(ENGINE)
