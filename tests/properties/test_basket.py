"""A basket as columns and the same orders one by one are the same run, to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    BasisPointSlippage,
    FixedSlippage,
    HalfSpreadSlippage,
    Instrument,
    NoCommission,
    NoSlippage,
    PercentCommission,
    PerOrderCommission,
    PerShareCommission,
    SideFee,
    SimulationBroker,
    interactive_brokers_fixed,
)
from ml4t.backtest.simulation.batch import BatchSettlement
from tests.examples import examples
from tests.markets import Market
from tests.replay import Replay, random_plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest import Order

COMMISSIONS: dict[str, Any] = {
    "free": NoCommission(),
    "percent": PercentCommission(0.0013),
    "minimum": PerShareCommission(0.0071, 1.5),
    "preset": interactive_brokers_fixed(as_of="2024-06-03"),
    "sum": PerOrderCommission(1.3) + SideFee("buy", rate=0.005) + PercentCommission(0.0013),
}
SLIPPAGES: dict[str, Any] = {
    "none": NoSlippage(),
    "bps": BasisPointSlippage(7.0),
    "sum": HalfSpreadSlippage(fraction=0.0011) + FixedSlippage(0.0013),
}
LOTS = (0.0, 1.0, 100.0, 0.1, 0.001)


class OrderWise(SimulationBroker):
    """Takes a basket's orders one by one."""

    def submit(self, orders: Iterable[Order]) -> Any:
        """Without columns."""
        return super().submit(list(orders))


class Watched(Replay):
    """Watches its orders, which needs each as an object."""

    def on_order_event(self, order: Any) -> None:
        """Look at it."""
        assert order.order_id > 0


def without_columns(part: Any) -> Any:
    """The same commission or slippage as a plain function, which knows single fills only."""

    def call(*args: Any) -> float:
        return float(part(*args))

    return call


def same_bits(one: BacktestResult, other: BacktestResult) -> None:
    """Fills, orders and the account are equal, bit for bit."""
    for name in ("fills", "orders", "equity", "marks", "records"):
        left, right = getattr(one.record, name), getattr(other.record, name)
        assert left.equals(right, null_equal=True), f"{name}: {first_difference(left, right)}"
    assert one.record.counts == other.record.counts
    assert one.fingerprint == other.fingerprint


def first_difference(left: pl.DataFrame, right: pl.DataFrame) -> Any:
    """For the failure's text."""
    if left.height != right.height:
        return f"{left.height} rows against {right.height}"
    for column in left.columns:
        unequal = ~left[column].eq_missing(right[column])
        if unequal.any():
            row = int(unequal.arg_max() or 0)
            return f"{column}[{row}]: {left[column][row]!r} against {right[column][row]!r}"
    return "types"


def run(
    market: Market,
    plan: Any,
    *,
    kind: type[SimulationBroker] = SimulationBroker,
    strategy: type[Replay] = Replay,
    **options: Any,
) -> BacktestResult:
    """One run."""
    return BacktestEngine(market.frame(), strategy=strategy(plan), broker=kind(**options)).run()


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    assets=st.integers(1, 12),
    missing=st.sampled_from([0.0, 0.15]),
    late=st.sampled_from([0.0, 0.5]),
    gone=st.sampled_from([0.0, 0.3]),
    commission=st.sampled_from(sorted(COMMISSIONS)),
    slippage=st.sampled_from(sorted(SLIPPAGES)),
    lot=st.sampled_from(LOTS),
    funding=st.sampled_from(["scale", "reject"]),
    kinds=st.sampled_from([("weights",), ("weights", "add"), ("weights", "target", "close")]),
)
def test_baskets_are_their_orders(
    seed: int,
    assets: int,
    missing: float,
    late: float,
    gone: float,
    commission: str,
    slippage: str,
    lot: float,
    funding: str,
    kinds: tuple[str, ...],
) -> None:
    """Rebalances sent whole or order by order, clipped, flipped, short, with missing bars."""
    market = Market(seed, assets=assets, steps=25, missing=missing, late=late, gone=gone, gap=0.02)
    plan = random_plan(market.rng, market, kinds=kinds, activity=0.8)
    options: dict[str, Any] = {
        "commission": COMMISSIONS[commission],
        "slippage": SLIPPAGES[slippage],
        "funding": funding,
        "instruments": [Instrument(asset_id=a, lot_size=lot) for a in market.assets],
    }
    whole = run(market, plan, **options)
    same_bits(whole, run(market, plan, kind=OrderWise, **options))
    same_bits(whole, run(market, plan, strategy=Watched, **options))
    plain = {**options, "commission": without_columns(COMMISSIONS[commission])}
    same_bits(whole, run(market, plan, **plain))


def test_the_comparison_has_something_to_compare() -> None:
    """A run like those above fills as columns, is clipped, flips and holds short."""
    market = Market(3, assets=10, steps=40, missing=0.1, gap=0.02)
    plan = random_plan(market.rng, market, kinds=("weights",), activity=0.8)
    columns = 0

    class Counting(SimulationBroker):
        def advance(self, bars: Any) -> Any:
            """Count what is filled as columns."""
            nonlocal columns
            news = super().advance(bars)
            columns += sum(hasattr(item, "codes") for item in news)
            return news

    result = run(market, plan, kind=Counting)
    assert columns > 3
    assert result.record.counts["clipped_orders"] > 10
    position = result.record.fills.sort("asset_id", "fill_id").select(
        pl.col("position") * pl.col("position").shift(1).over("asset_id")
    )
    assert (position["position"] < 0.0).any(), "flips"
    assert (result.positions["quantity"] < 0.0).any(), "shorts"


@pytest.mark.parametrize("fractional", [False, True])
def test_a_cut_basket_stays_whole(fractional: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All money is wanted every day: some orders are cut, and none has to be tried on its own."""
    market = Market(5, assets=20, steps=40, gap=0.02)
    weights = np.random.default_rng(5).dirichlet(np.ones(20), 40)
    plan: Any = [[("weights", dict(zip(market.assets, row, strict=True)))] for row in weights]
    expected = run(market, plan, kind=OrderWise, fractional=fractional)
    assert expected.record.counts["clipped_orders"] > 50

    def refuse(*_args: Any, **_options: Any) -> None:
        raise AssertionError("an order was settled on its own")

    monkeypatch.setattr(BatchSettlement, "settle", refuse)
    same_bits(expected, run(market, plan, fractional=fractional))


@pytest.mark.parametrize("multiplier", [1.0, 50.0, 0.3])
def test_multipliers_do_not_part_the_paths(multiplier: float) -> None:
    """Contracts worth several units of price go through both paths alike."""
    market = Market(8, assets=6, steps=60, gap=0.02)
    plan = random_plan(market.rng, market, kinds=("weights",), activity=0.9)
    options: dict[str, Any] = {
        "initial_cash": 1_000_000.0,
        "commission": PercentCommission(0.0003),
        "instruments": [
            Instrument(asset_id=a, multiplier=multiplier, lot_size=0.0) for a in market.assets
        ],
    }
    same_bits(run(market, plan, **options), run(market, plan, kind=OrderWise, **options))


def test_ten_equal_weights_are_all_held_after_a_gap() -> None:
    """Every open gaps up by half a per cent: ten names at a tenth each, none left out."""
    market = Market(1, assets=10, steps=3, gap=0.0)
    opens = market.prices["open"]
    opens[1] *= 1.005
    market.prices["high"] = np.maximum(market.prices["high"], opens)
    plan: Any = [[("weights", dict.fromkeys(market.assets, 0.1))], [], []]
    result = run(market, plan)
    held = dict(result.holdings.select("asset_id", "quantity").iter_rows())
    assert sorted(held) == market.assets
    wanted = dict(result.orders.select("asset_id", "quantity").iter_rows())
    shares = np.array([held[a] / wanted[a] for a in market.assets])
    lots = np.array([1.0 / wanted[a] for a in market.assets])
    # A whole share more or less is all that parts the cuts: lots round down twice.
    assert (shares > 1.0 / 1.005 - lots).all(), "nothing is cut more than the gap asks for"
    assert (shares.min() + lots[shares.argmin()]) >= (shares - lots).max(), "one common factor"
    assert result.equity["cash"][1] >= 0.0
    dearest = float(opens[1].max())
    assert result.equity["cash"][1] < 10 * dearest, "no more is left than lots explain"
    clipped = result.orders.filter(pl.col("status") == "canceled")
    assert (clipped["reason"] == "scaled: buying power").all()
    assert result.record.counts["clipped_orders"] == clipped.height > 0
