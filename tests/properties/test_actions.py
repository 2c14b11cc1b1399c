"""Corporate actions on random markets: raw prices with actions are adjusted prices without."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml4t.backtest import BacktestEngine, BacktestResult, PercentCommission, SimulationBroker
from ml4t.backtest.strategy.strategy import Strategy
from tests.examples import examples
from tests.markets import FIELDS, Market
from tests.replay import Replay, action_table, random_actions, random_plan

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars

NAMES = st.integers(0, 2**32 - 1)
CLOSE = 1e-9


class Scaled(Strategy):
    """Decides in shares of equity and of the last price, so that units do not matter.

    It looks at the past, holds rules, and rests limits and stops.
    """

    def __init__(self, seed: int, names: dict[str, list[str]] | None = None) -> None:
        self._seed = seed
        self._names = names or {}

    def on_start(self) -> None:
        """The same dice again."""
        self._rng = np.random.default_rng(self._seed)
        self.past: list[Any] = []
        self.set_stop_loss(percent=0.06)
        self.set_trailing_stop(percent=0.09)

    def on_bars(self, bars: Bars) -> None:
        """One decision for every asset that has a bar."""
        rng = self._rng
        for asset in bars.asset_ids:
            kind, share, gap = rng.integers(6), rng.uniform(-0.4, 0.4), rng.uniform(0.0, 0.03)
            closes = self.history(asset, 5)
            self.past.append(closes / closes[-1])
            volumes = self.history(asset, 5, "volume")
            self.past.append(volumes / volumes[-1])
            price = self.get_last_price(asset)
            units = abs(share) * self.get_equity() / price
            if kind == 0:
                self.order_target_percent(asset, share)
            elif kind == 1:
                self.buy(asset, units, limit_price=price * (1 - gap))
            elif kind == 2:
                self.sell(asset, units, stop_price=price * (1 - gap))
            elif kind == 3:
                self.close_position(asset)
        matrix = self.history(n=4, field="open")
        self.past.append(matrix / matrix[-1])


def raw(market: Market, actions: dict[int, list[Any]]) -> pl.DataFrame:
    """Bars as they were quoted before the splits that came later."""
    units = np.ones_like(market.prices["close"])
    volume = np.full_like(units, 1e6)
    for t, items in actions.items():
        for _, asset, ratio in items:
            units[:t, market.assets.index(asset)] *= ratio
    rows = np.nonzero(market.present)
    frame = market.frame().with_columns(
        pl.Series(name, market.prices[name][rows] * units[rows]) for name in FIELDS
    )
    return frame.with_columns(volume=pl.Series(volume[rows] / units[rows]))


def splits_of(market: Market, activity: float = 0.08) -> dict[int, list[Any]]:
    """Random splits, at bars of their assets."""
    actions = random_actions(market.rng, market, activity=activity)
    kept = {
        t: [a for a in items if a[0] == "split" and market.present[t, market.assets.index(a[1])]]
        for t, items in actions.items()
    }
    return {t: items for t, items in kept.items() if items}


def run(data: Any, strategy: Strategy, actions: pl.DataFrame | None = None) -> BacktestResult:
    """In fractions, so that nothing is rounded, with costs that do not depend on units."""
    broker = SimulationBroker(fractional=True, commission=PercentCommission(0.001))
    return BacktestEngine(data, strategy=strategy, actions=actions, broker=broker).run()


def assert_alike(one: list[Any], other: list[Any]) -> None:
    """Lists of arrays, to a billionth."""
    assert len(one) == len(other)
    for mine, yours in zip(one, other, strict=True):
        np.testing.assert_allclose(mine, yours, rtol=CLOSE, equal_nan=True)


@examples(40)
@given(
    seed=NAMES,
    assets=st.integers(1, 4),
    steps=st.integers(3, 40),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_raw_prices_with_splits_are_adjusted_prices(
    seed: int, assets: int, steps: int, missing: float
) -> None:
    """The same equity, the same past, and the same trades, whatever splits there were."""
    market = Market(seed, assets=assets, steps=steps, missing=missing)
    actions = splits_of(market)
    plain, split = Scaled(seed), Scaled(seed)
    adjusted = run(market.frame(), plain)
    result = run(raw(market, actions), split, action_table(actions, market) if actions else None)
    np.testing.assert_allclose(result.equity["equity"], adjusted.equity["equity"], rtol=CLOSE)
    assert_alike(split.past, plain.past)
    same = ("asset_id", "side", "entry_time", "exit_time", "bars_held", "exit_reason")
    order = ("asset_id", "entry_time", "trade_id")  # fills of one bar are in order of prices
    is_noise = pl.col("quantity") * pl.col("entry_price") < 1e-6  # what is left of fractions
    trades = [one.trades.filter(~is_noise).sort(order) for one in (result, adjusted)]
    assert trades[0].select(same).equals(trades[1].select(same))
    for name in ("pnl", "gross_pnl", "return_pct", "mfe", "mae"):
        mine, yours = (frame[name].to_numpy() for frame in trades)
        np.testing.assert_allclose(mine, yours, rtol=1e-7, atol=1e-7, err_msg=name)


@examples(40)
@given(seed=NAMES, steps=st.integers(3, 30), whole=st.booleans())
def test_equity_is_continuous_through_splits(seed: int, steps: int, whole: bool) -> None:
    """Prices that stand still but for splits: without costs, equity does not move at all."""
    market = Market(seed, assets=3, steps=steps)
    for name in FIELDS:
        market.prices[name][:] = [20.0, 50.0, 80.0]
    actions = splits_of(market)
    result = BacktestEngine(
        raw(market, actions),
        strategy=Replay(random_plan(market.rng, market, whole=whole)),
        actions=action_table(actions, market) if actions else None,
        broker=SimulationBroker(fractional=not whole),
    ).run()
    np.testing.assert_allclose(result.equity["equity"], 100_000.0, rtol=CLOSE)


@examples(40)
@given(seed=NAMES, steps=st.integers(4, 40), missing=st.sampled_from([0.0, 0.2]))
def test_actions_to_come_change_nothing(seed: int, steps: int, missing: float) -> None:
    """Forget all actions after a time: everything up to it stays, to the bit."""
    market = Market(seed, assets=3, steps=steps, missing=missing)
    actions = random_actions(market.rng, market, activity=0.1)
    now = int(market.rng.integers(1, steps))
    known = {t: items for t, items in actions.items() if t <= now}
    full, short = Scaled(seed), Scaled(seed)
    tables = [action_table(some, market) if some else None for some in (actions, known)]
    whole, cut = run(market.frame(), full, tables[0]), run(market.frame(), short, tables[1])
    moment = market.times[now]
    for name in ("equity", "fills", "cashflows", "adjustments"):
        mine, yours = (getattr(r, name).filter(pl.col("timestamp") <= moment) for r in (whole, cut))
        assert mine.equals(yours), name
    count = sum(int(market.present[t].sum()) * 2 + 1 for t in range(now + 1))
    for mine, yours in zip(full.past[:count], short.past[:count], strict=True):
        np.testing.assert_array_equal(mine, yours)


@examples(40)
@given(seed=NAMES)
def test_the_order_of_actions_does_not_matter(seed: int) -> None:
    """Rows in any order give the same fingerprint."""
    market = Market(seed, assets=3, steps=20, missing=0.1)
    table = action_table(random_actions(market.rng, market, activity=0.1), market)
    if table.is_empty():
        return
    mixed = table[market.rng.permutation(table.height)]
    results = [run(market.frame(), Scaled(seed), rows) for rows in (table, mixed)]
    assert results[0].fingerprint == results[1].fingerprint


@examples(40)
@given(seed=NAMES, missing=st.sampled_from([0.0, 0.3]), rows=st.integers(1, 30))
def test_the_way_of_streaming_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, missing: float, rows: int
) -> None:
    """In memory or from a file, in chunks of any size, with a history that forgets."""
    market = Market(seed, assets=3, steps=40, missing=missing)
    actions = random_actions(market.rng, market, activity=0.1)
    if not actions:
        return
    path: Path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    market.frame().write_parquet(path, row_group_size=7)
    table = action_table(actions, market)
    whole, cut = Scaled(seed), Scaled(seed)
    one = run(market.frame(), whole, table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ml4t.backtest.clock.CHUNK_ROWS", rows)
        broker = SimulationBroker(fractional=True, commission=PercentCommission(0.001))
        other = BacktestEngine(
            path, strategy=cut, actions=table, broker=broker, max_history=5
        ).run()
    assert other.fingerprint == one.fingerprint
    for mine, yours in zip(whole.past, cut.past, strict=True):
        np.testing.assert_array_equal(mine, yours)
    assert other.trades.equals(one.trades)


@examples(40)
@given(seed=NAMES, steps=st.integers(4, 30), missing=st.sampled_from([0.0, 0.2]))
def test_names_do_not_matter(seed: int, steps: int, missing: float) -> None:
    """One asset is renamed in the middle, twice: equity, past and P&L are those of one name."""
    market = Market(seed, assets=["A", "Z"], steps=steps, missing=missing)
    market.present[:, 0] = True  # two bars of a name that lie apart say that its bars are long
    plain = run(market.frame(), one := Scaled(seed))
    has_bar = np.flatnonzero(market.present[:, 0])
    first, second = sorted(market.rng.choice(has_bar, 2, replace=len(has_bar) < 2).tolist())
    day = pl.col("timestamp")
    name = (
        pl.when(day >= market.times[second])
        .then(pl.lit("C"))
        .when(day >= market.times[first])
        .then(pl.lit("B"))
        .otherwise(pl.lit("A"))
    )
    is_it = pl.col("asset_id") == "A"
    renamed = pl.when(is_it).then(name).otherwise("asset_id").alias("asset_id")
    frame = market.frame().with_columns(renamed)
    known = set(frame["asset_id"])
    steps_of = [("A", "B", first), ("B", "C", second)]
    chain = [s for s in steps_of if {s[0], s[1]} <= known]
    if "B" not in known:
        chain = [("A", "C", second)] if {"A", "C"} <= known else []
    table = pl.DataFrame(
        {
            "timestamp": [market.times[t] for _, _, t in chain],
            "asset_id": [old for old, _, _ in chain],
            "kind": "rename",
            "new_asset_id": [new for _, new, _ in chain],
        }
    )
    named = run(frame, other := Scaled(seed), table if chain else None)
    np.testing.assert_allclose(named.equity["equity"], plain.equity["equity"], rtol=CLOSE)
    assert_alike(other.past, one.past)
    assert named.trades.height == plain.trades.height
    pnl = [math.fsum(result.trades["pnl"]) for result in (named, plain)]
    assert pnl[0] == pytest.approx(pnl[1], abs=1e-6)
    same = ("quantity", "entry_price", "exit_price", "mfe", "mae", "bars_held")
    for column in same:
        mine, yours = (r.trades.sort("entry_time", "quantity")[column] for r in (named, plain))
        np.testing.assert_allclose(
            mine.to_numpy().astype(float), yours.to_numpy().astype(float), rtol=1e-7, atol=1e-9
        )
