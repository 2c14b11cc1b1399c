"""Small made-up markets for tests: the same bars as a frame and as plain lists."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

FIELDS = ("open", "high", "low", "close")


class Market:
    """Random bars of several assets, some missing, some late.

    Args:
        seed: Of everything.
        assets: Number of assets, or their names.
        steps: Number of timestamps.
        missing: Share of bars that are missing.
        late: Share of assets whose first bar comes later.
        gone: Share of assets that have no bar in the last third.
        gap: Standard deviation of the step from a close to the next open.
        start: First session, or first time when `every` is given.
        every: Step between timestamps; None means weekdays as dates.
    """

    def __init__(
        self,
        seed: int,
        *,
        assets: int | list[str] = 4,
        steps: int = 40,
        missing: float = 0.0,
        late: float = 0.0,
        gone: float = 0.0,
        gap: float = 0.01,
        start: dt.date = dt.date(2021, 3, 1),
        every: dt.timedelta | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        names = [f"S{i:03d}" for i in range(assets)] if isinstance(assets, int) else assets
        self.assets = sorted(names)
        n = len(self.assets)
        self.times = _times(start, steps, every)
        closes = np.exp(rng.uniform(1.5, 5.0, n) + np.cumsum(rng.normal(0, 0.02, (steps, n)), 0))
        opens = np.vstack([closes[:1], closes[:-1]]) * np.exp(rng.normal(0, gap, (steps, n)))
        high = np.maximum(opens, closes) * (1 + np.abs(rng.normal(0, 0.005, (steps, n))))
        low = np.minimum(opens, closes) * (1 - np.abs(rng.normal(0, 0.005, (steps, n))))
        self.prices = dict(zip(FIELDS, (opens, high, low, closes), strict=True))
        self.present = rng.random((steps, n)) >= missing
        starts = np.where(rng.random(n) < late, rng.integers(1, max(2, steps // 2), n), 0)
        self.present &= np.arange(steps)[:, None] >= starts
        if gone:
            self.present[2 * steps // 3 :, rng.random(n) < gone] = False
        self.present[np.flatnonzero(~self.present.any(axis=1)), 0] = True  # no empty timestamps
        self.present[-1, ~self.present.any(axis=0)] = True  # every asset shows at least once
        for asset in self.present.T:  # two bars in a row, which tell how long bars are
            if asset.sum() > 1 and not (asset[1:] & asset[:-1]).any():
                asset[np.argmax(asset) + 1] = True
        self.signal = rng.normal(size=(steps, n))

    def frame(self, *, shuffled: bool = False, signal: str | None = None) -> pl.DataFrame:
        """The bars, by time and asset, or in random order."""
        t, a = np.nonzero(self.present)
        columns: dict[str, Any] = {
            "timestamp": [self.times[i] for i in t.tolist()],
            "asset_id": [self.assets[i] for i in a.tolist()],
            **{name: self.prices[name][t, a] for name in FIELDS},
            "volume": np.full(len(t), 1e6),
        }
        if signal is not None:
            columns[signal] = self.signal[t, a]
        frame = pl.DataFrame(columns)
        if shuffled:
            frame = frame[np.random.default_rng(7).permutation(len(t))]
        return frame

    def bars(self) -> list[dict[str, tuple[float, float]]]:
        """For every timestamp, open and close of the assets that have a bar."""
        opens, closes = self.prices["open"].tolist(), self.prices["close"].tolist()
        return [
            {
                asset: (opens[t][a], closes[t][a])
                for a, asset in enumerate(self.assets)
                if self.present[t, a]
            }
            for t in range(len(self.times))
        ]


def _times(start: dt.date, steps: int, every: dt.timedelta | None) -> list[Any]:
    if every is not None:
        first = dt.datetime(start.year, start.month, start.day, 9, 30)
        return [first + i * every for i in range(steps)]
    days: list[dt.date] = []
    day = start
    while len(days) < steps:
        if day.weekday() < 5:
            days.append(day)
        day += dt.timedelta(days=1)
    return days
