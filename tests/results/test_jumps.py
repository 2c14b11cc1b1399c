"""Prices that nobody adjusted, held through a split, are said on the first page."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, BacktestResult, Strategy


class Hold(Strategy):
    def on_bars(self, bars: object) -> None:
        if not self.get_position("A"):
            self.buy("A", 10)


def run(closes: list[float], *, minutes: bool = False, actions: object = None) -> BacktestResult:
    """A run that holds one asset."""
    start = dt.datetime(2014, 6, 2, 14, 0) if minutes else dt.datetime(2014, 6, 2)
    step = dt.timedelta(minutes=1) if minutes else dt.timedelta(days=1)
    opens = [closes[0], *[b if 0.6 < b / a < 1.6 else b * 1.01 for a, b in zip(closes, closes[1:])]]  # noqa: B905, RUF007
    frame = pl.DataFrame(
        {
            "timestamp": [start + i * step for i in range(len(closes))],
            "asset_id": "A",
            "open": opens,
            "high": [max(pair) for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": 1e6,
        }
    )
    return BacktestEngine(frame, strategy=Hold(), actions=actions).run()


def test_a_split_nobody_announced_is_said_loudly() -> None:
    """With the asset, the day and the terms."""
    summary = run([640.0, 645.0, 646.0, 92.5, 93.0]).summary()
    assert "WHILE HELD, A at 2014-06-05 moved like a split (7 new for 1 old)" in summary
    assert "pass the splits as actions" in " ".join(summary.split())


@pytest.mark.parametrize(
    "closes",
    [
        [640.0, 645.0, 646.0, 630.0, 620.0],
        [640.0, 92.0, 92.5, 92.7, 93.0],  # before anything was held
        [640.0, 645.0, 646.0, 240.0, 241.0],  # no simple ratio
    ],
)
def test_other_moves_are_not_taken_for_one(closes: list[float]) -> None:
    """Small ones, those before the first fill, crashes."""
    assert "moved like a split" not in run(closes).summary()


def test_a_crash_inside_a_session_is_no_split() -> None:
    """Splits happen between sessions."""
    assert (
        "moved like a split" not in run([100.0, 101.0, 102.0, 51.0, 50.0], minutes=True).summary()
    )


def test_an_announced_split_is_none() -> None:
    """Nor is a reverse split."""
    actions = pl.DataFrame(
        {
            "timestamp": [dt.datetime(2014, 6, 5)],
            "asset_id": ["A"],
            "kind": ["split"],
            "ratio": [7.0],
        }
    )
    assert (
        "moved like a split"
        not in run([640.0, 645.0, 646.0, 92.5, 93.0], actions=actions).summary()
    )
    assert "1 new for 10 old" in run([1.0, 1.01, 1.0, 10.1, 10.2]).summary()
