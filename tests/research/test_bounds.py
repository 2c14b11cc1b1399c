"""The interval between the worst and the best path."""

from __future__ import annotations

import pytest

from ml4t.backtest import (
    BacktestEngine,
    Broker,
    ConfigError,
    OneByOne,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.research import bounds
from ml4t.backtest.testing.markets import random_market, ten_bars


class Protected(Strategy):
    """Ten with a stop and a target, again whenever it is flat."""

    def __init__(self, distance: float = 0.02) -> None:
        self.distance = distance

    def on_bars(self, bars):
        for event in bars:
            if not self.get_position(event.asset_id) and not self.get_open_orders(event.asset_id):
                stop, target = (event.close * (1 + way * self.distance) for way in (-1, 1))
                self.bracket(event.asset_id, 10, stop_loss=stop, take_profit=target)


def test_the_truth_lies_between() -> None:
    """Any assumed path ends between the two, where there is one trade."""

    class Once(Strategy):
        def on_bars(self, bars):
            if bars.index == 7:
                self.bracket("A", 10, stop_loss=97, take_profit=107)

    broker = SimulationBroker(10_000.0)
    engine = BacktestEngine(ten_bars(), strategy=Once(), broker=broker)
    found = bounds(engine)
    assert found.ambiguous_bars == 1
    assert (found.worst.final_equity, found.best.final_equity) == (9_940.0, 10_040.0)
    assert found.interval("final_equity") == (9_940.0, 10_040.0)
    for path in ("ohlc", "olhc"):
        broker.intrabar = path
        low, high = found.interval("final_equity")
        assert low <= engine.run().final_equity <= high


def test_the_engine_is_left_as_it_was() -> None:
    """Also when a run fails."""

    class Fails(Strategy):
        def on_bars(self, bars):
            raise ValueError("no")

    broker = SimulationBroker(intrabar="ohlc")
    engine = BacktestEngine(ten_bars(), strategy=Fails(), broker=broker)
    with pytest.raises(Exception, match="no"):
        bounds(engine)
    assert broker.intrabar == "ohlc"
    assert not broker.is_running


def test_many_trades() -> None:
    """Ambiguous bars are where the two differ."""
    market = random_market(assets=3, sessions=300, seed=4, volatility=0.02)
    found = bounds(BacktestEngine(market, strategy=Protected(0.01)))
    assert found.ambiguous_bars > 10
    assert found.worst.final_equity < found.best.final_equity
    assert "ambiguous bars" in repr(found)


def test_only_for_a_simulation() -> None:
    """Another broker's fills happen."""

    class Other(Broker):
        def advance(self, bars):
            return []

        def submit(self, orders):
            return []

    engine = BacktestEngine(ten_bars(), strategy=Protected(), broker=Other())
    with pytest.raises(ConfigError, match="SimulationBroker"):
        bounds(engine)


def test_not_where_orders_take_turns() -> None:
    """Both runs would be the same, and say that nothing was assumed."""
    broker = SimulationBroker(matching=OneByOne())
    with pytest.raises(ConfigError, match="leave matching= out"):
        bounds(BacktestEngine(ten_bars(), strategy=Protected(), broker=broker))


def test_an_unknown_figure() -> None:
    """With those that there are."""
    found = bounds(BacktestEngine(ten_bars(), strategy=Protected()))
    with pytest.raises(ConfigError, match=r"no figure 'sharp'; there are .*sharpe"):
        found.interval("sharp")


class Once(Strategy):
    """Keeps what it did in an attribute that it never resets."""

    def __init__(self) -> None:
        self.done = False

    def on_bars(self, bars):
        if bars.index == 7 and not self.done:
            self.done = True
            self.bracket("A", 10, stop_loss=97, take_profit=107)


def test_what_a_strategy_remembers_does_not_reach_the_second_run() -> None:
    """Both runs trade, and the strategy of the engine is as it was."""
    engine = BacktestEngine(ten_bars(), strategy=Once())
    found = bounds(engine)
    assert [result.fills.height for result in found] == [2, 2]
    assert not engine.strategy.done  # type: ignore[attr-defined]


def test_a_strategy_that_cannot_be_copied() -> None:
    """A generator is not copied."""
    strategy = Once()
    strategy.steps = (i for i in range(3))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="Once cannot be copied"):
        bounds(BacktestEngine(ten_bars(), strategy=strategy))
