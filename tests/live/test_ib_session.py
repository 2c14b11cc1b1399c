"""A session with IBBroker over TWS's protocol: like a backtest, and whole after any death."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    IBBroker,
    IBStreamFeed,
    Instrument,
    Order,
    PerShareCommission,
    SimulationBroker,
    Strategy,
)
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.venue import Venue
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


class VenueTime:
    """The venue's clock, which runs by itself."""

    def __init__(self, world: TwsRehearsal) -> None:
        self.world = world

    def now(self) -> int:
        return int(self.world.venue.now.timestamp() * 1e6)

    def seconds_until(self, moment: int) -> float:
        assert self.world.speed is not None
        return max(0.0, (moment - self.now()) / 1e6 / self.world.speed)


def test_live_from_end_to_end(tmp_path: Path) -> None:
    """Bars, orders and fills over the wire, in time that runs by itself, with a cut on the way."""
    frame = market(40)
    venue = Venue(frame, broker=simulation(), faults=["drop-trades:event=fill,after=4"])
    account = f"DU{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    names = ["A", "B", "C"]
    with TwsRehearsal(venue, speed=200.0, account=account) as tws:
        feed = IBStreamFeed(names, port=tws.port, client_id=2, calendar="24/7", answer_seconds=2.0)
        broker = IBBroker(port=tws.port, instruments=TICKS, answer_seconds=2.0)

        def watch() -> None:
            while not tws.run(lambda: venue.is_over):
                time.sleep(0.05)
            time.sleep(1.0)
            feed.stop()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        engine = BacktestEngine(feed, strategy=Rotating(), broker=broker)
        result = engine.run_live(
            mode="paper",
            journal=tmp_path / "live.journal",
            time=VenueTime(tws),
            max_clock_skew=None,
            max_data_age=1e6,
        )
        watcher.join(10.0)
        held = {one.symbol: one.qty for one in venue.accounts.holdings()}
        fills = sum(one.kind == "FILL" for one in venue.register.activities)
    assert broker.positions() == held
    assert broker.cash() == pytest.approx(venue.market.portfolio.cash, abs=1e-6)
    assert result.fills.height == fills > 5


class Rotating(Strategy):
    """Decides by the prices alone; live bars bring no predictions here."""

    def on_market_data(self, event: Any, context: Any) -> None:
        held = self.get_position(event.asset_id)
        if event.close < event.open and not held:
            self.buy(event.asset_id, 10)
        elif event.close > event.open and held:
            self.close_position(event.asset_id)
