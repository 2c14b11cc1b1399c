"""Corporate actions on margin, with interest, fees and calls, against the plain loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, BorrowFee, Interest, MarginAccount, SimulationBroker
from tests.examples import examples
from tests.markets import Market
from tests.oracle.oracle import Terms, simulate
from tests.oracle.test_margin import days_of, geared
from tests.oracle.test_oracle import assert_same
from tests.replay import Replay, action_table, random_actions, random_plan

RATIOS = (1.0027, 1.1, 0.9)  # prices do not follow, so a large split would ruin everybody


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 6),
    steps=st.integers(2, 40),
    missing=st.sampled_from([0.0, 0.2]),
    whole=st.booleans(),
)
def test_actions_on_margin_agree(
    seed: int, assets: int, steps: int, missing: float, whole: bool
) -> None:
    """Actions come before the financing of the days before, as the loop has it."""
    market = Market(seed, assets=assets, steps=steps, missing=missing)
    terms = Terms(0.5, 0.5, 0.25, 0.3, 0.05, 0.02, 0.06, days_of(market))
    plan = geared(random_plan(market.rng, market, whole=whole), 1.98)
    some = random_actions(market.rng, market, activity=0.03)
    actions = {
        t: [
            (kind, asset, float(market.rng.choice(RATIOS)) if kind == "split" else number)
            for kind, asset, number in items
        ]
        for t, items in some.items()
    }
    rows = simulate(market.bars(), plan, whole=whole, terms=terms, actions=actions)
    broker = SimulationBroker(
        fractional=not whole,
        account=MarginAccount(0.5, 0.25, short_initial=0.5, short_maintenance=0.3),
        borrow=BorrowFee(0.05),
        rates=Interest(0.02, debit_spread=0.04),
    )
    table = action_table(actions, market) if actions else None
    result = BacktestEngine(
        market.frame(), strategy=Replay(plan), actions=table, broker=broker
    ).run()
    assert_same(result, rows, whole=whole)
