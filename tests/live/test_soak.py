"""A trading week in one go: nothing drifts, and memory holds what the result holds, no more."""

from __future__ import annotations

import datetime as dt
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, Strategy
from tests.live.rehearsed import rehearsed
from tests.live.test_free_running import Rising
from tests.live.test_session import told
from tests.live.world import START, Killed, World, market

DAYS, MINUTES = 5, 390


def week(assets: int) -> pl.DataFrame:
    """Five days of minutes, each from half past nine."""
    names = tuple(f"A{i:02d}" for i in range(assets))
    frame = market(DAYS * MINUTES, names, seed=5)
    step = (pl.col("timestamp") - START).dt.total_minutes()
    day, minute = step // MINUTES, step % MINUTES
    stamps = pl.lit(START) + pl.duration(days=day, minutes=minute)
    return frame.with_columns(stamps.cast(frame.schema["timestamp"]).alias("timestamp"))


class Watching(Strategy):
    """Looks at everything and does nothing."""

    def on_market_data(self, event: Any, context: Any) -> None:
        self.get_position(event.asset_id)
        self.history(event.asset_id, 5)


class Memory:
    """Bytes in use at several bars of a run."""

    def __init__(self, world: World, bars: list[int]) -> None:
        self.used: list[int] = []
        world.before |= dict.fromkeys(bars, self.mark)

    def mark(self, _venue: Any) -> None:
        """Now."""
        gc.collect()
        self.used.append(tracemalloc.get_traced_memory()[0])


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("strategy", "most"), [(Watching, 400), (Rising, 4_500)])
def test_memory_of_a_week(tmp_path: Path, strategy: type[Strategy], most: int) -> None:
    """It grows by what the result keeps of a bar and of an order, as fast on Friday as on Monday.

    Two assets, about one order a minute where they trade; `most` is bytes a minute.
    """
    frame = week(2)
    world = World(tmp_path, frame)
    monday, friday = (10, 380), ((DAYS - 1) * MINUTES + 10, (DAYS - 1) * MINUTES + 380)
    memory = Memory(world, [*monday, *friday])
    tracemalloc.start()
    try:
        world.run(strategy(), engine={"max_history": 50})
    finally:
        tracemalloc.stop()
    first, last, early, late = memory.used
    assert (late - first) / (friday[1] - monday[0]) < most
    assert (late - early) < 1.5 * (last - first)


@pytest.mark.slow
def test_a_week_with_a_kill_a_day_is_its_backtest(tmp_path: Path) -> None:
    """19,000 fills, five sessions that died and one that ended: all as if nothing had happened."""
    frame = week(20)
    world = World(tmp_path, frame)
    deaths = 0

    def die(_venue: Any) -> None:
        raise Killed

    for day in range(DAYS):
        at = day * MINUTES + 100 + 17 * day
        world.before = {at: die}
        try:
            result = world.run(Rising())
        except Killed:
            deaths += 1
    world.before = {}
    result = world.run(Rising())
    assert deaths == DAYS
    backtest = BacktestEngine(frame, strategy=Rising()).run()
    assert told(result).equals(told(backtest))
    assert result.fills.height > 15_000
    assert result.final_equity == pytest.approx(backtest.final_equity)
    executed = [fill.execution_id for fill in world.venue.fills]
    assert len(executed) == len(set(executed)) == result.fills.height
    held = {name: units for name, units in world.venue.positions.items() if units}
    assert world.broker is not None
    assert world.broker.positions() == held


@pytest.mark.slow
def test_a_week_at_the_rehearsal_is_its_backtest(tmp_path: Path) -> None:
    """Through the vendor's client, HTTP and the stream, with the stream cut every day."""
    frame = week(2)
    with rehearsed(tmp_path, frame, cash=100_000.0) as world:

        def cut() -> None:
            world.server.run(world.server._trades.lines.drop)
            world.wait_for_stream()

        world.before = {day * MINUTES + 50: cut for day in range(DAYS)}
        result = world.run(Rising())
        world.check()
    backtest = BacktestEngine(frame, strategy=Rising()).run()
    assert told(result).equals(told(backtest))
    assert result.fills.height > 1_000
    assert result.final_equity == pytest.approx(backtest.final_equity)
    assert result.equity["timestamp"][-1] - result.equity["timestamp"][0] > dt.timedelta(days=4)
