"""bt: an algo that is called on every row, and deals at its prices.

It has no orders and no trades; fills are what its securities transact.
"""

# mypy: ignore-errors
# Runs in the environment of another engine, where it is checked by being run.

from __future__ import annotations

import sys
import warnings

import bt
import common
import pandas as pd

DEALS = []  # outside of the tree, of which bt runs a copy
NOW = {"key": None, "sizing": False, "cure": ""}


class Noted(bt.Security):
    """A security whose deals are taken down."""

    def allocate(self, amount, update=True):
        """What a rule taken away shows: here, that a commission is fitted into the amount."""
        NOW["sizing"] = NOW["cure"] == "sizes before costs"
        super().allocate(amount, update)
        NOW["sizing"] = False

    def transact(self, q, update=True, update_self=True, price=None):
        NOW["sizing"] = False
        before = self.position
        super().transact(q, update, update_self, price)
        done = self.position - before
        if done:
            fee = self.parent.commission_fn(done, self._price * self.multiplier)
            DEALS.append((self.now, self.name, done, self._price, fee, NOW["key"]))


class Player(bt.Algo):
    """Plays the playbook."""

    question = None

    def __init__(self):
        super().__init__()
        self.index = -1

    def __call__(self, target):
        self.index += 1
        held = {name: child.position for name, child in target.children.items()}
        view = self.question.view(self.index, target.value, held)
        for decision in self.question.playbook.at(view):
            NOW["key"] = decision["key"]
            if "weights" in decision:
                NOW["key"] = None
                target.temp["weights"] = decision["weights"]
                bt.algos.Rebalance()(target)
            elif decision.get("close"):
                target.close(decision["asset"])
            else:
                sign = 1.0 if decision["side"] == "buy" else -1.0
                target.transact(sign * decision["quantity"], decision["asset"])
        return True


def main():
    """Play one scenario."""
    warnings.filterwarnings("ignore")
    question = common.Question(sys.argv[1])
    answer = common.Answer(question, "bt")
    Player.question = question
    scenario, fee = question.scenario, question.commission()
    NOW["cure"] = scenario["cure"]
    index = pd.DatetimeIndex(question.times)
    closes = {
        name: [question.at[time].get(name, {}).get("close") for time in question.times]
        for name in question.bars
    }
    prices = pd.DataFrame(closes, index, dtype=float)
    test = bt.Backtest(
        bt.Strategy("scenario", [Player()], children=[Noted(name) for name in prices]),
        prices,
        initial_capital=scenario["cash"],
        commissions=fee and (lambda q, price: 0.0 if NOW["sizing"] else fee(q, price)),
        integer_positions=not scenario["fractional"],
        progress_bar=False,
    )
    test.run()
    strategy = test.strategy
    for deal in DEALS:
        answer.fill(*deal)
    cash, values = strategy.cash, strategy.values
    units = {name: child.positions for name, child in strategy.children.items()}
    for time, stamp in zip(question.times, index, strict=True):
        held = {name: column[stamp] for name, column in units.items() if stamp in column.index}
        answer.bar(time, cash[stamp], values[stamp], held)
    answer.leave_out("orders", "trades")
    answer.write()


if __name__ == "__main__":
    main()
