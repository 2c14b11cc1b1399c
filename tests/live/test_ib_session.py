"""A session with IBBroker over TWS's protocol: like a backtest, and whole after any death."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    Instrument,
    Order,
    PerShareCommission,
    SimulationBroker,
    Strategy,
)
from tests.live.ib_world import IBWorld
from tests.live.test_session import Busy, Threshold, told
from tests.live.world import Killed, market

TICKS = [Instrument(asset_id=name, tick_size=0.01) for name in "ABC"]
COLUMNS = ["timestamp", "asset_id", "side", "quantity", "price", "commission"]


class Weights(Strategy):
    """Rotates less than its money, so that nothing waits for what exits bring."""

    def on_bars(self, bars: Any) -> None:
        self.rebalance_to_weights(dict.fromkeys(bars.top("ml_pred", 2), 0.2))


class Protected(Strategy):
    """Entries of every kind with exits at the broker, changes, cancels, and ways out."""

    def on_bars(self, bars: Any) -> None:
        for event in bars:
            prediction, asset = event.signals["ml_pred"], event.asset_id
            is_busy = bool(self.get_open_orders(asset))
            if self.get_position(asset) and prediction < 0.5:
                self.cancel_all(asset)
                self.close_position(asset)
            elif is_busy and prediction < 0.2:
                self.cancel_all(asset)
            elif is_busy:
                self.move(asset, event.close)
            elif not self.get_position(asset):
                self.enter(asset, event.close, prediction)

    def move(self, asset: str, close: float) -> None:
        """Put entries where the price is."""
        for order in self.get_open_orders(asset):
            if order.limit_price and not order.reduce_only:
                self.replace_order(order.order_id, limit_price=round(close, 2))

    def enter(self, asset: str, close: float, prediction: float) -> None:
        """By bracket, limit, stop, or a stop that follows the price down."""
        if prediction > 0.7:
            self.bracket(asset, 20, stop_loss=round(close * 0.995, 2),
                         take_profit=round(close * 1.005, 2))  # fmt: skip
        elif prediction > 0.5:
            self.buy(asset, 30, limit_price=round(close * 0.999, 2))
        elif prediction > 0.3:
            self.buy(asset, 10, stop_price=round(close * 1.001, 2))
        elif prediction > 0.2:
            self.submit_order(Order(asset, "buy", 15, "trailing_stop", trail_percent=0.002))


def simulation() -> SimulationBroker:
    """The same on both sides of the wire."""
    return SimulationBroker(commission=PerShareCommission(0.005), instruments=TICKS)


def world(folder: Path, frame: pl.DataFrame, **options: Any) -> IBWorld:
    """A rehearsal with costs."""
    made = IBWorld(folder, frame, broker=simulation(), **options)
    made.options = {"instruments": TICKS}
    return made


@pytest.mark.parametrize("strategy", [Threshold, Weights, Protected])
def test_a_session_trades_like_a_backtest(tmp_path: Path, strategy: type[Strategy]) -> None:
    """The same strategy, the same bars: the same fills with the same costs, to the bit."""
    frame = market(60)
    with world(tmp_path, frame) as live:
        result = live.run(strategy())
        assert live.broker is not None
        assert live.broker.positions() == live.held()
    backtest = BacktestEngine(frame, strategy=strategy(), broker=simulation()).run()
    assert result.fills.height > 20
    assert (
        result.fills.select(COLUMNS)
        .sort(COLUMNS)
        .equals(backtest.fills.select(COLUMNS).sort(COLUMNS))
    )
    assert result.final_equity == pytest.approx(backtest.final_equity, rel=1e-12)


def check_deaths(folder: Path, strategy: type[Strategy], *, first: int, stride: int) -> None:
    """Kill a session at every `stride`-th write of its journal, go on, and compare the ends."""
    frame = market(25, seed=3)
    with world(folder / "calm", frame) as calm:
        fills = told(calm.run(strategy()))
        wanted = calm.held(), calm.fills()
    assert len(wanted[1]) > 5
    for dies_after in (False, True):
        for at in range(first, calm.writes + 1, stride):
            with world(folder / f"{at}{dies_after}", frame) as live:
                with pytest.raises(Killed):
                    live.run(strategy(), die_at=at, dies_after=dies_after)
                result = live.run(strategy())
                assert (live.held(), live.fills()) == wanted, (at, dies_after)
                assert told(result).equals(fills), (at, dies_after)


@pytest.mark.parametrize("strategy", [Threshold, Protected, Busy])
def test_a_session_killed_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, strategy: type[Strategy]
) -> None:
    """No order twice, no fill lost."""
    check_deaths(tmp_path, strategy, first=11, stride=29)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [Threshold, Weights, Protected, Busy])
def test_every_third_death(tmp_path: Path, strategy: type[Strategy]) -> None:
    """As above, much denser."""
    check_deaths(tmp_path, strategy, first=1, stride=3)
