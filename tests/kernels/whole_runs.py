"""Runs of strategies that do all kinds of things, one line of text for each; for two processes.

Which form of the kernels runs is decided when a process imports them, so the runs of the two are
compared as text.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest import (
    BacktestEngine,
    BasisPointSlippage,
    MarginAccount,
    PerShareCommission,
    SimulationBroker,
    Strategy,
    kernels,
)
from tests.markets import Market
from tests.properties.test_gathered import Busy
from tests.properties.test_no_look_ahead import Curious


class Ranked(Strategy):
    """Weights by name and by column, long and short, with a tolerance now and then."""

    def on_start(self) -> None:
        """Nothing seen yet."""
        self.events: list[Any] = []
        self.values: list[Any] = []

    def on_market_data(self, event: Any) -> None:
        """Keep some of what is seen, and change some."""
        self.events = [*self.events[-4:], event]
        self.values = [*self.values[-9:], event.close, event.signals.get("gaps", 0.0)]
        if event.close % 1.0 < 0.2:
            event.signals["mine"] = event.open

    def on_bars(self, bars: Any) -> None:
        """Rebalance to the best and against the worst."""
        best = bars.top("ml_pred", 3)
        if bars.index % 3:
            self.rebalance_to_weights(dict.fromkeys(best, 0.3), tolerance=0.01 * (bars.index % 2))
        else:
            weights = np.where(bars.signal("ml_pred") > 0.0, 0.5, -0.4) / len(bars)
            self.rebalance_to_weights(np.where(np.isnan(weights), 0.0, weights))
        kept = sum(event.close + event.signals.get("mine", 0.0) for event in self.events)
        self.record(events=kept, values=sum(self.values), equity=self.get_equity())


def data(market: Market) -> pl.DataFrame:
    """Bars with signals of all kinds, some of them missing."""
    frame = market.frame(signal="ml_pred")
    rng, n = market.rng, len(frame)
    return frame.with_columns(
        sure=pl.Series(rng.random(n) > 0.5).set(pl.Series(rng.random(n) < 0.1), None),
        regime=pl.Series(rng.choice(["calm", "wild"], n)),
        gaps=pl.Series(rng.normal(size=n)).set(pl.Series(rng.random(n) < 0.3), None),
    )


def lines(seeds: int) -> Iterator[str]:
    """A fingerprint, and one of everything that is recorded, for each run."""
    for seed in range(seeds):
        market = Market(seed, assets=2 + seed % 9, steps=30, missing=0.1 * (seed % 3), gap=0.02)
        busy = Busy(seed, 0.1)
        busy.everything = tuple(market.assets)
        for strategy in (Ranked(), Curious(seed), busy):
            broker = SimulationBroker(
                fractional=bool(seed % 2),
                account=MarginAccount() if seed % 4 == 0 else None,
                commission=PerShareCommission(0.01, 1.0),
                slippage=BasisPointSlippage(3.0),
            )
            frame = data(market) if seed % 5 else market.frame(signal="ml_pred")
            result = BacktestEngine(frame, strategy=strategy, broker=broker).run()
            record = result.record
            frames = (record.fills, record.orders, record.equity, record.records, record.marks)
            text = "".join(part.write_csv() for part in frames)
            yield f"{seed} {result.fingerprint} {hashlib.sha256(text.encode()).hexdigest()}"


if __name__ == "__main__":
    sys.stdout.write("\n".join([str(kernels.is_compiled), *lines(int(sys.argv[1]))]) + "\n")
