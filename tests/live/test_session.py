"""A session against a venue in the same process: like a backtest, and whole after any death."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, SimulationBroker, Strategy
from ml4t.backtest.live.journal import Journal
from tests.live.world import Killed, World, market


class Threshold(Strategy):
    """The strategy of everybody's first day."""

    def on_market_data(self, event: Any, context: Any) -> None:
        prediction = event.signals["ml_pred"]
        held = self.get_position(event.asset_id)
        if prediction > 0.7 and not held:
            self.buy(event.asset_id, 50)
        elif prediction < 0.3 and held:
            self.close_position(event.asset_id)


class Weights(Strategy):
    """Rotates all of its money."""

    def on_bars(self, bars: Any) -> None:
        self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", 2), 0.45))


class Busy(Strategy):
    """Everything that can be asked for, decided by the bars alone."""

    def on_start(self) -> None:
        self.step = 0
        self.set_stop_loss("C", percent=0.01)

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        for event in bars:
            prediction, asset = event.signals["ml_pred"], event.asset_id
            held = self.get_position(asset)
            if prediction > 0.8 and not held:
                self.bracket(asset, 20, stop_loss=event.close * 0.99,
                             take_profit=event.close * 1.01)  # fmt: skip
            elif prediction > 0.6 and not held:
                self.buy(asset, 30, limit_price=round(event.close * 0.999, 2))
            elif prediction < 0.1:
                self.cancel_all(asset)
                self.order_target(asset, -10)
            elif prediction < 0.2 and held:
                self.close_position(asset)
            elif prediction < 0.25:
                for order in self.get_open_orders(asset):
                    if order.limit_price and not order.reduce_only:
                        self.replace_order(order.order_id, limit_price=event.close)


def same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """To the bit."""
    return one.equals(other)


@pytest.mark.parametrize("strategy", [Threshold, Weights])
def test_a_session_trades_like_a_backtest(tmp_path: Path, strategy: type[Strategy]) -> None:
    """The same strategy, the same bars: the same fills, to the bit."""
    frame = market(60)
    world = World(tmp_path, frame)
    live = world.run(strategy())
    backtest = BacktestEngine(frame, strategy=strategy(), broker=SimulationBroker()).run()
    columns = ["timestamp", "asset_id", "side", "quantity", "price", "commission"]
    assert live.fills.height > 20
    assert same(
        live.fills.select(columns).sort(columns), backtest.fills.select(columns).sort(columns)
    )
    assert live.final_equity == pytest.approx(backtest.final_equity, rel=1e-12)


def final_state(world: World) -> Any:
    """What the venue holds in the end, and every fill on the way."""
    venue = world.venue
    return (
        {name: units for name, units in venue.positions.items() if units},
        round(venue.cash, 6),
        sorted(
            (f.asset_id, f.quantity, f.price, f.at) for f in venue.fills
        ),
    )  # fmt: skip


def check_deaths(
    folder: Path, strategy: type[Strategy], *, takes_brackets: bool, stride: int
) -> None:
    """Kill a session at every `stride`-th write of its journal, go on, and compare the ends."""
    frame = market(25, seed=3)
    calm = World(folder / "calm", frame, takes_brackets=takes_brackets)
    result = calm.run(strategy())
    wanted, fills = final_state(calm), told(result)
    assert len(calm.venue.fills) > 5
    for dies_after in (False, True):
        for at in range(1, calm.writes + 1, stride):
            world = World(folder / f"{at}{dies_after}", frame, takes_brackets=takes_brackets)
            with pytest.raises(Killed):
                world.run(strategy(), die_at=at, dies_after=dies_after)
            result = world.run(strategy())
            assert final_state(world) == wanted, (at, dies_after)
            assert same(told(result), fills), (at, dies_after)


def told(result: BacktestResult) -> pl.DataFrame:
    """The fills a strategy was told of; those of one moment in no order."""
    columns = ["timestamp", "asset_id", "side", "quantity", "price", "commission", "slippage"]
    return result.fills.select(columns).sort(columns)


@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
def test_a_session_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, strategy: type[Strategy], takes_brackets: bool
) -> None:
    """No order twice, no fill lost: positions, cash and fills are those of an undisturbed run."""
    check_deaths(tmp_path, strategy, takes_brackets=takes_brackets, stride=9)


@pytest.mark.slow
@pytest.mark.parametrize("takes_brackets", [False, True])
@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
def test_every_single_death(tmp_path: Path, strategy: type[Strategy], takes_brackets: bool) -> None:
    """As above, at every write, just before and just after it."""
    check_deaths(tmp_path, strategy, takes_brackets=takes_brackets, stride=1)


def test_a_session_that_goes_on_has_the_whole_result(tmp_path: Path) -> None:
    """The journal is read again: the result of two halves is that of the whole."""
    frame = market(40)
    whole = World(tmp_path / "whole", frame).run(Threshold())
    world = World(tmp_path / "halves", frame.filter(pl.col("timestamp") < frame["timestamp"][60]))
    first = world.run(Threshold())
    world.frame = frame
    second = world.run(Threshold())
    assert first.equity.height < second.equity.height == whole.equity.height
    assert same(second.fills, whole.fills)
    assert same(second.equity, whole.equity)


def test_everything_stands_in_the_journal(tmp_path: Path) -> None:
    """Intents before answers, decisions before intents."""
    world = World(tmp_path, market(10))
    world.run(Threshold())
    kinds = [entry.kind for entry in Journal(world.path, is_read_only=True).entries()]
    assert kinds[:2] == ["opening", "session"]
    assert kinds.count("bars") == 10
    for i, kind in enumerate(kinds):
        if kind == "request":
            assert kinds[i + 1] == "answer"
            assert "decisions" in kinds[:i]
