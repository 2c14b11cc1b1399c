"""What a run notes does not depend on how its bars came."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, SimulationBroker, Strategy
from tests.markets import Market


class Rotating(Strategy):
    """The best three, and now and then an order by hand."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any, context: Any) -> None:
        self.step += 1
        best = bars.top("signal", 3)
        if self.step % 5 == 0:
            self.close_position(best[0])
        else:
            self.rebalance_to_weights(dict.fromkeys(best, 0.3))


@pytest.mark.parametrize("rows", [1, 40, 500])
def test_small_chunks_leave_the_same_record(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A timestamp at a time, as live, over enough of them that the recorder joins its parts."""
    frame = Market(3, assets=7, steps=400, missing=0.1).frame(signal="signal")

    def run() -> BacktestResult:
        return BacktestEngine(frame, strategy=Rotating()).run()

    whole = run()
    monkeypatch.setattr("ml4t.backtest.clock.CHUNK_ROWS", rows)
    parts = run()
    assert parts.fingerprint == whole.fingerprint
    assert parts.trades.equals(whole.trades)
    assert parts.equity.equals(whole.equity)


class Waiting(Rotating):
    """Keeps an order open to the end as well."""

    def on_bars(self, bars: Any, context: Any) -> None:
        super().on_bars(bars, context)
        if self.step == 60:
            self.buy(bars.asset_ids[0], 5, limit_price=0.01)


def test_what_comes_after_a_run_does_not_change_it() -> None:
    """Frames are made when they are looked at, and say what was true at the end of the run."""
    frame = Market(3, assets=7, steps=60).frame(signal="signal")
    broker = SimulationBroker(initial_cash=50_000)
    engine = BacktestEngine(frame, strategy=Waiting(), broker=broker)
    looked_at = engine.run()
    fingerprint = looked_at.fingerprint

    unseen = engine.run()
    assert broker.blotter.open
    for order_id in list(broker.blotter.open):
        assert broker.cancel(order_id)
    assert broker.portfolio is not None
    broker.portfolio.cash = 0.0
    broker.portfolio.quantity[:] = 0.0
    later = engine.run()
    assert unseen.fingerprint == later.fingerprint == fingerprint
    assert "accepted" in unseen.orders["status"].to_list()
    assert unseen.holdings.equals(looked_at.holdings)
