"""Strategies that carry out a list of decisions, and random lists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    import numpy as np

    from ml4t.backtest.types.bars import Bars, MarketEvent
    from tests.markets import Market
    from tests.oracle.oracle import Action, Decision


class Replay(Strategy):
    """Carries out the decisions of each timestamp from `on_bars`."""

    def __init__(self, plan: list[list[Decision]]) -> None:
        self.plan = plan

    def on_start(self) -> None:
        """Begin with the first timestamp."""
        self.step = -1

    def on_bars(self, bars: Bars) -> None:
        """Carry out what is planned."""
        self.step += 1
        for decision in self.plan[self.step]:
            act(self, decision)


class ReplayByEvent(Strategy):
    """Carries out the decisions of each timestamp from the first `on_market_data` of it."""

    def __init__(self, plan: list[list[Decision]]) -> None:
        self.plan = plan

    def on_start(self) -> None:
        """Begin with the first timestamp."""
        self.step = -1
        self.time: Any = None

    def on_market_data(self, event: MarketEvent) -> None:
        """Carry out what is planned, once a timestamp."""
        if event.timestamp == self.time:
            return
        self.time = event.timestamp
        self.step += 1
        for decision in self.plan[self.step]:
            act(self, decision)


def act(strategy: Strategy, decision: Decision) -> None:
    """Say a decision in the words of a strategy."""
    kind, what = decision[0], decision[1]
    if kind == "weights":
        strategy.rebalance_to_weights(what)
    elif kind == "close":
        strategy.close_position(what)
    elif kind == "target":
        strategy.order_target(what, decision[2])
    elif kind == "percent":
        strategy.order_target_percent(what, decision[2])
    elif decision[2] > 0:
        strategy.buy(what, decision[2])
    else:
        strategy.sell(what, -decision[2])


def random_plan(
    rng: np.random.Generator,
    market: Market,
    *,
    whole: bool = True,
    short: bool = True,
    kinds: tuple[str, ...] = ("add", "target", "percent", "weights", "close"),
    activity: float = 0.5,
) -> list[list[Decision]]:
    """Random decisions for every timestamp of a market, most of them near the limit of cash.

    Args:
        rng: The dice.
        market: Whose assets and times are used; assets need not have a bar, or ever had one.
        whole: Unit counts are whole numbers.
        short: Negative targets and sales of what is not held are wanted.
        kinds: Of decisions.
        activity: Share of timestamps with decisions.
    """
    plan: list[list[Decision]] = []
    for _ in market.times:
        count = int(rng.integers(1, 5)) if rng.random() < activity else 0
        plan.append([_decision(rng, market, whole, short, kinds) for _ in range(count)])
    return plan


def random_actions(
    rng: np.random.Generator, market: Market, *, activity: float = 0.05
) -> dict[int, list[Action]]:
    """Random dividends and splits, by timestamp; assets need not have a bar then.

    Args:
        rng: The dice.
        market: Whose assets and times are used.
        activity: Share of timestamps and assets with an action.
    """
    actions: dict[int, list[Action]] = {}
    for t in range(len(market.times)):
        for asset in market.assets:
            if rng.random() < activity:
                actions.setdefault(t, []).append(("dividend", asset, float(rng.uniform(0.01, 1))))
            if rng.random() < activity:
                ratio = float(rng.choice([2.0, 3.0, 1.5, 0.5, 0.1, 7.0, 1.0027]))
                actions.setdefault(t, []).append(("split", asset, ratio))
    return actions


def action_table(actions: dict[int, list[Action]], market: Market) -> pl.DataFrame:
    """The same as the engine takes it."""
    table = [
        {
            "timestamp": market.times[t],
            "asset_id": asset,
            "kind": kind,
            "ratio": number if kind == "split" else None,
            "amount": number if kind == "dividend" else None,
        }
        for t, items in actions.items()
        for kind, asset, number in items
    ]
    return pl.DataFrame(table, schema_overrides={"ratio": pl.Float64, "amount": pl.Float64})


def _decision(
    rng: np.random.Generator, market: Market, whole: bool, short: bool, kinds: tuple[str, ...]
) -> Decision:
    kind = str(rng.choice(kinds))
    if kind == "weights":
        return kind, _weights(rng, market.assets, short=short)
    asset = str(rng.choice(market.assets))
    sign = -1.0 if short and rng.random() < 0.4 else 1.0
    if kind == "close":
        return kind, asset
    if kind == "percent":
        return kind, asset, sign * float(rng.uniform(0.0, 0.9))
    worth = float(rng.uniform(1_000.0, 80_000.0))
    units = worth / float(market.prices["close"][0, market.assets.index(asset)])
    if whole:
        units = max(1.0, float(round(units)))
    return kind, asset, sign * units


def _weights(rng: np.random.Generator, assets: list[str], *, short: bool) -> dict[str, float]:
    chosen = [a for a in assets if rng.random() < 0.7]
    if not chosen:
        return {}
    raw = rng.dirichlet([1.0] * len(chosen)) * rng.choice([0.5, 0.95, 1.0])
    signs = [-1.0 if short and rng.random() < 0.3 else 1.0 for _ in chosen]
    return {a: s * float(w) for a, w, s in zip(chosen, raw, signs, strict=True)}
