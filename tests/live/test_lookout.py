"""What goes wrong without a noise is told: models that have died, and bars that come late."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, SignalBuffer, Strategy
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.session.session import Session
from tests.live.scripted import MINUTE, NINE, SECOND, ScriptedFeed, bar
from tests.live.test_session import Threshold
from tests.live.test_trouble import notes
from tests.live.world import World, market


class Quiet(Strategy):
    """Looks on."""

    def on_bars(self, bars: Any) -> None:
        """Does nothing."""


def play(tmp_path: Path, said: dict[int, float]) -> list[str]:
    """Lines for the operator, when a model says something in some minutes alone."""
    buffer, lines = SignalBuffer(max_age_seconds=60), list[str]()
    script: list[tuple[int, Any]] = []
    for i in range(20):
        script.append((NINE + (i + 1) * MINUTE + SECOND, bar("A", NINE + i * MINUTE)))
        if i in said:
            update = lambda value=said[i]: buffer.update("A", {"p": value})  # noqa: E731
            script.append((NINE + (i + 1) * MINUTE, update))
    feed = ScriptedFeed(["A"], script, signals=buffer)
    engine = BacktestEngine(data=feed, strategy=Quiet())
    journal = Journal(tmp_path / "j", {})
    session = Session(engine, journal, mode="shadow", time=feed.clock, alert=lines.append)
    feed.pump, play_on = feed.play, session.settle

    def play_and_settle(deadline: int | None) -> Any:
        play_on()
        return feed.play(deadline)

    session.pump = play_and_settle  # type: ignore[method-assign]
    feed.pump = play_and_settle
    feed.inbox = session.inbox
    session.run()
    journal.close()
    return lines


def test_a_model_that_has_died_is_told(tmp_path: Path) -> None:
    """Once, after three bars; not while it speaks."""
    assert play(tmp_path, dict.fromkeys(range(20), 0.5)) == []
    (tmp_path / "dead").mkdir()
    (line,) = play(tmp_path / "dead", dict.fromkeys(range(8), 0.5))
    assert line.startswith("no asset has had a current prediction for 3 bars; the last was put in")


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_model_that_says_nothing_but_nan_is_told(tmp_path: Path, value: Any) -> None:
    """NaN says that there is none."""
    (line,) = play(tmp_path, dict.fromkeys(range(20), value))
    assert line == "no asset has had a current prediction for 3 bars; none was put in"


def test_a_model_that_speaks_seldom_is_told_of_once(tmp_path: Path) -> None:
    """It is silent in between, as it always was."""
    assert len(play(tmp_path, {0: 0.5, 5: 0.5, 10: 0.5, 15: 0.5})) == 1


def test_bars_that_come_late_are_told_once(tmp_path: Path) -> None:
    """Nothing is traded meanwhile, and that has an end."""
    world, lines = World(tmp_path, market(20)), list[str]()

    def set_ahead(_venue: Any) -> None:
        world.time.moment += 3_600_000_000

    world.before = {8: set_ahead}
    world.run(Threshold(), alert=lines.append, max_data_age=120.0)
    late = [line for line in lines if "no orders are taken until bars are fresh again" in line]
    assert late == [late[0]]
    assert late[0].endswith("stale data: the bars are 3600 seconds old")
    assert "bars are fresh again" not in notes(world).replace(late[0], "")
