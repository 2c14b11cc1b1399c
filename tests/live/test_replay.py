"""A session once more, in the backtest engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    PercentCommission,
    SimulationBroker,
    Strategy,
    read_journal,
)
from ml4t.backtest.errors import ConfigError, JournalError, LiveError
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.research import replay
from tests.live.test_session import Busy, Threshold, Weights, told
from tests.live.test_trouble import Once
from tests.live.world import Killed, World, market


@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
def test_a_session_decides_again_what_it_decided(tmp_path: Path, strategy: type[Strategy]) -> None:
    """To the bit, with the fills it had; partial ones, lost answers and all."""
    world = World(tmp_path, market(30, seed=3), takes_brackets=True)
    world.venue.share = 0.4
    world.before = {i: lambda v: v.faults.setdefault("send", []).append("after") for i in (5, 9)}
    result = world.run(strategy())
    found = replay(world.path, strategy())
    assert found.is_same, found.difference
    assert found.live is not None
    assert found.live.fills.equals(result.fills)
    assert found.live.equity.equals(result.equity)
    assert "the same decisions" in repr(found)


def test_an_easy_market_costs_nothing_more_than_the_simulation(tmp_path: Path) -> None:
    """Fills equal: no difference; and the shortfall is what the opens were away from the closes."""
    frame = market(40)
    world = World(tmp_path, frame)
    result = world.run(Threshold())
    found = replay(world.path, Threshold())
    assert told(found.simulated).equals(told(result))
    assert found.fills["difference"].abs().max() == 0.0
    assert found.only_live.height == found.only_simulated.height == 0
    closes = {(t, a): c for t, a, c in frame.select("timestamp", "asset_id", "close").rows()}
    wanted = 0.0
    for order in result.orders.filter(result.orders["filled_quantity"] > 0).rows(named=True):
        sign = 1.0 if order["side"] == "buy" else -1.0
        decision = closes[order["created_at"], order["asset_id"]]
        wanted += sign * (order["average_fill_price"] - decision) * order["filled_quantity"]
    assert found.shortfall == pytest.approx(wanted)


def test_worse_fills_are_the_difference(tmp_path: Path) -> None:
    """A venue that takes a cent a share."""
    world = World(tmp_path, market(40))
    fill = world.venue.fill
    world.venue.fill = lambda name, q, price: fill(  # type: ignore[method-assign, assignment]
        name, q, price + 0.01 * world.venue.orders[name].sign
    )
    world.run(Threshold())
    found = replay(world.path, Threshold())
    shares = float(found.fills["live_quantity"].sum())
    assert found.shortfall - found.simulated_shortfall == pytest.approx(0.01 * shares)


def test_another_strategy_is_told_from_the_first(tmp_path: Path) -> None:
    """With what it decides now."""
    world = World(tmp_path, market(20))
    world.run(Once())
    found = replay(world.path, Once(at=5, later=lambda s: s.buy("B", 1)))
    assert not found.is_same
    assert "decides something else" in found.difference
    assert found.live is None
    assert found.only_simulated.height == 2


def test_refusals_of_the_broker_are_repeated(tmp_path: Path) -> None:
    """What it could not work then is not worked now."""

    class Auctions(Strategy):
        def on_bars(self, bars: Any) -> None:
            if bars.index == 0 and not self.get_open_orders():
                self.buy("A", 1, time_in_force="opg")

    world = World(tmp_path, market(5))
    result = world.run(Auctions())
    assert result.orders["reason"][0] == "this venue has no auctions"
    found = replay(world.path, Auctions())
    assert found.is_same
    assert found.live is not None
    assert found.live.orders.equals(result.orders)


def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    """Each is named."""
    with pytest.raises(JournalError, match="There is no journal"):
        replay(tmp_path / "none", Once())
    with pytest.raises(ConfigError, match="takes a SimulationBroker"):
        replay(tmp_path / "none", Once(), broker=object())  # type: ignore[arg-type]
    world = World(tmp_path, market(5))
    Journal(world.path, {}).write("opening", {}, 0)
    with pytest.raises(LiveError, match="no bars"):
        replay(world.path, Once())


def test_frames_of_a_journal_are_no_journal(tmp_path: Path) -> None:
    """`read_journal` gives frames; what is replayed is the file."""
    world = World(tmp_path, market(3))
    world.run(Once())
    frames: Any = read_journal(world.path)
    with pytest.raises(ConfigError, match="not a JournalFrames: pass the path"):
        replay(frames, Once())


def test_a_shadow_session_is_replayed_with_its_simulation(tmp_path: Path) -> None:
    """It has decisions like any other, which the same fills lead to."""

    def costly() -> SimulationBroker:
        return SimulationBroker(initial_cash=20_000, commission=PercentCommission(0.01))

    engine = BacktestEngine(market(40), strategy=Weights(), broker=costly())
    result = engine.run_live("shadow", journal=tmp_path / "shadow")
    found = replay(tmp_path / "shadow", Weights(), broker=costly())
    assert found.is_same, found.difference
    assert found.live is not None
    assert found.live.fills.equals(result.fills)
    assert found.fills["difference"].abs().max() == 0.0
    decisions = read_journal(tmp_path / "shadow").decisions
    assert decisions.filter(pl.col("kind") == "submit").height == result.orders.height
    other = replay(tmp_path / "shadow", Weights())
    assert not other.is_same
    assert "decides something else" in other.difference


def test_a_step_that_is_not_decided_yet_is_no_difference(tmp_path: Path) -> None:
    """The session may be in the middle of it, or was killed there."""
    world = World(tmp_path, market(10))
    world.run(Once())
    bars = [entry.number for entry in Journal(world.path, is_read_only=True).entries("bars")]
    again = World(tmp_path / "killed", market(10))
    with pytest.raises(Killed):
        again.run(Once(), die_at=bars[6], dies_after=True)
    assert replay(again.path, Once()).is_same


def test_what_the_broker_cannot_work_is_read_from_the_journal(tmp_path: Path) -> None:
    """With its words, behind the order."""

    class Auction(Once):
        def on_bars(self, bars: Any) -> None:
            self.buy("A", np.float64(2), time_in_force="opg")

    world = World(tmp_path, market(1))
    world.run(Auction())
    rows = read_journal(world.path).decisions.select("kind", "asset_id", "text").rows()
    assert rows == [
        ("submit", "A", "buy 2 A, market"),
        ("refused", None, "refused: this venue has no auctions"),
    ]
