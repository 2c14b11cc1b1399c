"""Who pays for what: entries of one decision share the money, whatever the wire does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, Strategy
from ml4t.backtest.live.words import Answer
from ml4t.backtest.testing.venues import ScriptedVenue
from tests.live.test_chaos import AllIn
from tests.live.test_session import told
from tests.live.world import World, market


class SlowCancels(ScriptedVenue):
    """Confirms a cancel only when it is asked what became of the order, or at the next bar."""

    def cancel(self, client_id: str) -> Answer:
        self.__dict__.setdefault("pending", []).append(client_id)
        return Answer(is_taken=True)

    def confirm(self) -> None:
        for name in self.__dict__.pop("pending", []):
            super().cancel(name)


class FromOneToAnother(Strategy):
    """All of its money in a protected position, then all of it in another asset."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 2:
            self.bracket("A", 900, stop_loss=50.0, take_profit=200.0)
        if self.step == 5:
            self.close_position("A")
            self.order_target_percent("B", 0.9)


@pytest.mark.parametrize("takes_brackets", [False, True])
def test_what_exits_bring_is_waited_for_while_protection_is_taken_back(
    tmp_path: Path, takes_brackets: bool
) -> None:
    """The exit is not at the broker yet: its units are still those of the stop."""
    frame = market(12)
    live = World(tmp_path, frame, takes_brackets=takes_brackets).run(FromOneToAnother())
    backtest = BacktestEngine(frame, strategy=FromOneToAnother()).run()
    assert told(backtest)["asset_id"].to_list() == ["A", "A", "B"]
    assert told(live).equals(told(backtest))


class TwoAtOnce(Strategy):
    """A resting order gives way to a target, and another asset is wanted as well."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 2:
            self.buy("B", 10, limit_price=50.0)
        if self.step == 5:
            self.order_target_percent("B", 0.8)
            self.order_target_percent("C", 0.8)


@pytest.mark.parametrize("is_slow", [False, True])
def test_entries_behind_a_cancel_share_the_money(tmp_path: Path, is_slow: bool) -> None:
    """The other asset's does not take it all because its way is free."""
    frame = market(12)
    world = World(tmp_path, frame)
    if is_slow:
        venue = SlowCancels()
        venue.account = world.venue.account
        world.venue = venue
        world.before = {5: lambda _: venue.confirm()}
    live = world.run(TwoAtOnce())
    bought = dict(
        live.fills.group_by("asset_id").agg(pl.col("quantity").sum()).sort("asset_id").iter_rows()
    )
    backtest = BacktestEngine(frame, strategy=TwoAtOnce()).run()
    wanted = dict(backtest.fills.select("asset_id", "quantity").iter_rows())
    assert bought == pytest.approx(wanted, rel=0.03)  # what is cut live leaves a cushion


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_rotation_through_brackets_is_its_backtest(
    tmp_path: Path, seed: int, takes_brackets: bool
) -> None:
    """Entry, protection, exit and the next entry with all of the money, fill for fill."""
    frame = market(40, seed=seed)
    live = World(tmp_path, frame, takes_brackets=takes_brackets).run(AllIn())
    backtest = BacktestEngine(frame, strategy=AllIn()).run()
    assert backtest.fills.height > 10
    assert told(live).equals(told(backtest))
