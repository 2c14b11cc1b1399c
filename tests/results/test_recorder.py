"""What a run notes does not depend on how its bars came."""

from __future__ import annotations

from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, Strategy
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
