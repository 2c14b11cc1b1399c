"""A clock that is put back or forward while a session runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import Strategy
from ml4t.backtest.live.killswitch import KillSwitch
from ml4t.backtest.live.timing import is_due
from tests.live.test_session import Busy, Threshold, Weights, told
from tests.live.test_trouble import Once, check_books, notes
from tests.live.world import ManualTime, World, market

HOUR = 3_600_000_000


class JumpingTime(ManualTime):
    """Shows another time than it is, from the moment somebody sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = 0

    def now(self) -> int:
        return self.moment + self.shift


def jumping(folder: Path, jumps: dict[int, int], steps: int = 25) -> World:
    """A world whose clock jumps before some bars."""
    world = World(folder, market(steps, seed=3), takes_brackets=True)
    time = world.time = JumpingTime()

    def jump(to: int) -> Any:
        return lambda _venue: setattr(time, "shift", to)

    world.before = {bar: jump(to) for bar, to in jumps.items()}
    return world


def test_a_moment_is_due_when_it_has_passed_or_is_too_far_ahead() -> None:
    """Five ahead at most."""
    assert [is_due(moment, 10, 5) for moment in (9, 10, 11, 15, 16)] == [
        True, True, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("strategy", [Threshold, Weights, Busy])
@pytest.mark.parametrize(
    "jumps", [{8: -HOUR}, {8: -HOUR, 14: 0}, {8: HOUR, 9: 0}, {4: 30_000_000}], ids=str
)
def test_fills_do_not_depend_on_a_clock(
    tmp_path: Path, strategy: type[Strategy], jumps: dict[int, int]
) -> None:
    """Decisions are sent at once, whatever it shows; except when they would be an hour old."""
    calm = jumping(tmp_path / "calm", {}).run(strategy())
    world = jumping(tmp_path / "jumping", jumps)
    result = world.run(strategy())
    check_books(world, result)
    if HOUR not in jumps.values():
        assert told(result).equals(told(calm))


def test_a_late_order_of_a_clock_put_forward_is_given_up(tmp_path: Path) -> None:
    """With its age; the next one is sent when the clock is right again."""
    world = jumping(tmp_path, {1: HOUR, 3: 0}, steps=12)
    world.venue.faults["send"] = ["before"]
    result = world.run(Once(lambda s: s.buy("B", 3), at=6))
    first, second = result.orders.sort("order_id").iter_rows(named=True)
    assert (first["status"], second["status"]) == ("canceled", "filled")
    assert "never reached the broker" in first["reason"]
    check_books(world, result)


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_audits_and_the_kill_switch_go_on(tmp_path: Path, shift: int) -> None:
    """They do not wait until the clock shows again what it showed."""
    world = jumping(tmp_path, {4: shift}, steps=20)
    world.before[8] = lambda venue: venue.positions.update(B=7.0)
    world.before[12] = lambda _venue: KillSwitch.of(world.path).tell("reconcile")
    world.run(Once(), audit_every=60.0)
    said = notes(world)
    assert "halted: B: 0 by the journal, 7 at the broker" in said
    assert "the operator says reconcile" in said


def test_silent_orders_are_looked_up_after_the_clock_was_put_back(tmp_path: Path) -> None:
    """Their age is not counted from a moment that is yet to come."""
    world = jumping(tmp_path, {1: -HOUR}, steps=14)
    world.venue.repeats = 0  # it tells nothing
    result = world.run(Once())
    assert result.fills["timestamp"][0] <= result.equity["timestamp"][3]
    check_books(world, result)
