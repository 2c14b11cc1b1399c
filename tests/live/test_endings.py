"""How a session ends is told to everybody, and an operator who cannot be told ends none."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml4t.backtest import BacktestEngine, SimulationBroker, Strategy
from ml4t.backtest.cli import sessions
from ml4t.backtest.errors import JournalError, StrategyError
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.status import Status, status_path
from ml4t.backtest.session import alerts
from tests.live.test_session import Threshold, told
from tests.live.test_trouble import notes
from tests.live.world import MortalJournal, World, market


class Broken(Threshold):
    """Has a bug that shows in its eighth step."""

    step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 8:
            raise KeyError("a bug")


def test_an_alert_that_raises_changes_nothing(tmp_path: Path) -> None:
    """The mail server is down: the session trades on, and says so where it can."""
    (tmp_path / "quiet").mkdir()
    quiet = World(tmp_path / "quiet", market(20))
    undisturbed = quiet.run(Threshold())
    world = World(tmp_path, market(20))

    def mail(_text: str) -> None:
        raise OSError("no route to host")

    assert told(world.run(Threshold(), alert=mail)).equals(told(undisturbed))
    expected = "alert= raised OSError: no route to host; it was not told: connection up"
    assert expected in notes(world)


def test_an_alert_that_hangs_does_not_hold_the_session_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bars are traded although the first line is never delivered."""
    monkeypatch.setattr(alerts, "_PATIENCE", 0.1)
    world, release = World(tmp_path, market(20)), threading.Event()
    result = world.run(Threshold(), alert=lambda _text: release.wait(30.0))
    release.set()
    assert result.equity.height == 20


def test_a_strategy_that_raises_is_told(tmp_path: Path) -> None:
    """In the alert, the journal and the status; and what becomes of the orders."""
    lines: list[str] = []
    world = World(tmp_path, market(20))
    with pytest.raises(StrategyError, match="a bug"):
        world.run(Broken(), alert=lines.append)
    status = Status.read(status_path(world.path))
    expected = "the session ends with an error: StrategyError: Broken.on_bars at 2024-03-04 14:38:"
    assert lines[-1].startswith(expected)
    assert lines[-1] in notes(world)
    assert status.state == "failed"
    trouble = sessions.trouble(status, world.path)
    assert trouble.startswith("Ended by an error: StrategyError: Broken.on_bars at 2024-03-04")
    assert "at the broker, and nobody looks after them. Start the session again" in trouble


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written down can still be said."""
    lines: list[str] = []
    world = World(tmp_path, market(20))
    write = Journal.write

    def fill(journal: Journal, kind: str, content: Any, at: int) -> int:
        if isinstance(journal, MortalJournal) and journal.writes > 30:
            raise JournalError("the disk is full")
        return write(journal, kind, content, at)

    monkeypatch.setattr(Journal, "write", fill)
    with pytest.raises(JournalError, match="the disk is full"):
        world.run(Threshold(), alert=lines.append)
    assert lines[-1] == "the session ends with an error: JournalError: the disk is full"
    assert Status.read(status_path(world.path)).state == "failed"


def test_the_journal_says_why_a_session_ended(tmp_path: Path) -> None:
    """The end of the feed, here; and what is left at the broker."""
    world = World(tmp_path, market(20))
    world.run(Threshold())
    assert world.broker is not None
    left = (len(world.broker.blotter.open), len(world.broker.positions()))
    expected = f"the feed has ended; it leaves open orders: {left[0]}, positions: {left[1]}"
    assert f"the session ends: {expected}" in notes(world)


def test_a_shadow_that_ended_has_not_vanished(tmp_path: Path) -> None:
    """Its status says that it stopped, so nothing is the matter."""
    journal = tmp_path / "shadow.journal"
    engine = BacktestEngine(market(20), strategy=Threshold(), broker=SimulationBroker())
    engine.run_live("shadow", journal=journal)
    status = Status.read(status_path(journal))
    assert status.state == "stopped"
    assert sessions.trouble(status, journal) == ""


class Guarded(Strategy):
    """Its exits are those of a rule, over a position whose size came out of an array."""

    def on_start(self) -> None:
        self.step = 0
        self.set_take_profit(percent=0.5)

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step in {1, 3}:
            self.rebalance_to_weights({"A": np.float64(0.1 * self.step)})


@pytest.mark.parametrize("mode", ["shadow", "paper"])
def test_exits_of_rules_can_be_shown(tmp_path: Path, mode: str) -> None:
    """Their levels are numbers of NumPy; a status that could not be written ended a shadow."""
    world = World(tmp_path, market(6))
    if mode == "paper":
        world.run(Guarded())
    else:
        engine = BacktestEngine(world.frame, strategy=Guarded(), broker=SimulationBroker())
        engine.run_live("shadow", journal=world.path)
    orders = Status.read(status_path(world.path)).orders
    assert any(order.limit_price and order.limit_price > 140.0 for order in orders)
