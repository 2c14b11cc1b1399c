"""The laws must be able to fail: each is shown a run that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, PercentCommission, SimulationBroker
from tests import laws
from tests.markets import Market
from tests.replay import Replay, action_table, random_actions, random_plan


def run() -> tuple[BacktestEngine, BacktestResult]:
    """A run with clipped and filled orders, long and short."""
    market = Market(5, assets=6, steps=30, missing=0.1)
    plan = random_plan(market.rng, market, activity=0.9)
    broker = SimulationBroker(commission=PercentCommission(0.001))
    engine = BacktestEngine(market.frame(), strategy=Replay(plan), broker=broker)
    return engine, engine.run()


def first_where(condition: pl.Expr) -> pl.Expr:
    """The first row for which a condition holds."""
    return condition & (condition.cum_sum() == 1)


def altered(name: str, column: str, rows: pl.Expr, value: Any) -> Callable[[Any], dict[str, Any]]:
    """Another value in some rows of one frame of a record."""

    def alter(record: Any) -> dict[str, Any]:
        frame = getattr(record, name)
        changed = pl.when(rows).then(value).otherwise(pl.col(column)).alias(column)
        return {name: frame.with_columns(changed)}

    return alter


def gift(record: Any, asset_id: str | None = None) -> pl.DataFrame:
    """A cashflow of 5 in the middle of the run that the cash never saw."""
    t = record.equity["timestamp"][record.equity.height // 2]
    row = {"timestamp": [t], "asset_id": [asset_id], "kind": ["gift"], "amount": [5.0]}
    return pl.DataFrame(row, schema=record.cashflows.schema)


FILLED = first_where(pl.col("status") == "filled")
SECOND = pl.int_range(pl.len()) == 1
NINTH = pl.int_range(pl.len()) == 9
HELD = pl.col("quantity_before") != 0.0

CRIMES = {
    "cash appears": altered("equity", "cash", NINTH, pl.col("cash") + 0.01),
    "equity is not cash and value": altered("equity", "equity", NINTH, pl.col("equity") + 0.01),
    "value is not units times price": lambda r: {
        "equity": r.equity.with_columns(pl.col("equity", "net_exposure", "gross_exposure") * 1.0001)
    },
    "a fill is larger": altered("fills", "quantity", SECOND, pl.col("quantity") + 1.0),
    "a fill is forgotten": lambda r: {"fills": r.fills[:-1]},
    "a fill comes too early": altered("fills", "timestamp", SECOND, pl.col("timestamp").min()),
    "a position is not the sum": altered("fills", "position", SECOND, pl.col("position") + 1.0),
    "a price is not in the bar": lambda r: {
        "fills": r.fills.with_columns(pl.col("slippage") + pl.col("quantity") * pl.col("price"))
    },
    "no reason is given": altered("orders", "reason", pl.col("status") == "canceled", None),
    "an order is in no state": altered("orders", "status", SECOND, pl.lit("lost")),
    "an order stands twice": lambda r: {"orders": pl.concat([r.orders, r.orders[-1:]])},
    "a rejected order filled": altered("orders", "status", FILLED, pl.lit("rejected")),
    "an order is filled beyond itself": altered("orders", "quantity", FILLED, pl.lit(0.5)),
    "a holding is forgotten": lambda r: {"marks": r.marks[1:]},
    "a decision comes after its fill": altered(
        "orders", "created_at", FILLED, pl.col("created_at").max()
    ),
    "time goes back": lambda r: {"equity": r.equity.reverse()},
    "money comes from nowhere": lambda r: {"cashflows": gift(r)},
}


def test_a_lawful_run_passes(lawful_runs: list[Any]) -> None:
    """A run of ours breaks no law, and its bars were at hand to check it against."""
    engine, result = run()
    assert lawful_runs == [result]
    assert laws.bars_of(engine, result) is not None
    statuses = set(result.orders["status"])
    assert {"filled", "canceled"} <= statuses


@pytest.mark.parametrize("crime", sorted(CRIMES))
def test_a_broken_law_is_seen(crime: str) -> None:
    """Each falsified record fails."""
    engine, result = run()
    bars = laws.bars_of(engine, result)
    false = result.record.replace(**CRIMES[crime](result.record))
    with pytest.raises(AssertionError):
        laws.check(BacktestResult(false), bars=bars)


def split_run() -> tuple[BacktestEngine, BacktestResult]:
    """A run with splits that leave fractions."""
    market = Market(5, assets=4, steps=30, missing=0.1)
    plan = random_plan(market.rng, market, activity=0.9)
    actions = action_table(random_actions(market.rng, market, activity=0.1), market)
    engine = BacktestEngine(market.frame(), strategy=Replay(plan), actions=actions)
    return engine, engine.run()


SPLIT_CRIMES = {
    "a split gives too much": altered("adjustments", "quantity", HELD, pl.col("quantity") * 2),
    "a split is forgotten": lambda r: {"adjustments": r.adjustments.filter(~HELD)},
    "a split finds another holding": altered(
        "adjustments", "quantity_before", HELD, pl.col("quantity_before") + 1
    ),
    "a fraction is not paid": lambda r: {
        "cashflows": r.cashflows.filter(pl.col("kind") != "cash_in_lieu")
    },
    "a dividend was never paid": lambda r: {
        "cashflows": r.cashflows.filter(pl.col("kind") != "dividend")
    },
}


@pytest.mark.parametrize("crime", sorted(SPLIT_CRIMES))
def test_a_broken_law_of_actions_is_seen(crime: str) -> None:
    """Each falsified record fails, with and without the bars to compare with."""
    engine, result = split_run()
    kinds = set(result.cashflows["kind"])
    assert {"cash_in_lieu", "dividend"} <= kinds
    false = result.record.replace(**SPLIT_CRIMES[crime](result.record))
    for bars in (laws.bars_of(engine, result), None):
        with pytest.raises(AssertionError):
            laws.check(BacktestResult(false), bars=bars)


@pytest.mark.breaks_laws("a control: what is marked is not checked")
def test_a_marked_test_is_left_alone(lawful_runs: list[Any]) -> None:
    """Runs of a marked test are not checked."""
    run()
    assert lawful_runs == []
