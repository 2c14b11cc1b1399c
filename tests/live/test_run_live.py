"""`run_live`: what it asks before it begins, and how a session is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import BacktestEngine, PercentCommission, SignalBuffer, SimulationBroker
from ml4t.backtest.errors import ConfigError, LiveError
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.killswitch import Command, KillSwitch
from ml4t.backtest.live.lock import AccountLock
from ml4t.backtest.live.status import Status, status_path
from ml4t.backtest.testing.venues import ScriptedVenue
from tests.live.scripted import ScriptedFeed
from tests.live.test_session import Threshold, Weights, told
from tests.live.test_trouble import Once, check_books, notes
from tests.live.world import Killed, ManualTime, VenueFeed, World, market


def engine_of(folder: Path, **venue: Any) -> BacktestEngine:
    """A live engine over an account of its own."""
    made = ScriptedVenue()
    made.account = folder.name
    for name, value in venue.items():
        setattr(made, name, value)
    feed = VenueFeed(market(20), made, ManualTime())
    return BacktestEngine(feed, strategy=Threshold(), broker=LiveBroker(made))


def test_a_paper_account_is_traded(tmp_path: Path) -> None:
    """As typed; the result is like a backtest's."""
    result = engine_of(tmp_path).run_live(journal=tmp_path / "j", max_clock_skew=None)
    wanted = BacktestEngine(market(20), strategy=Threshold()).run()
    assert told(result).equals(told(wanted))


def test_real_money_needs_a_word(tmp_path: Path) -> None:
    """The name of the account; and an account of the right kind."""
    engine = engine_of(tmp_path, is_paper=False)
    options: dict[str, Any] = {"journal": tmp_path / "j", "max_clock_skew": None}
    with pytest.raises(ConfigError, match="set up for real money"):
        engine.run_live(**options)
    with pytest.raises(LiveError, match=f"confirm='{tmp_path.name}'"):
        engine.run_live("live", **options | {"journal": tmp_path / "live"})
    done = engine.run_live("live", confirm=tmp_path.name, **options | {"journal": tmp_path / "l2"})
    assert done.fills.height > 0
    with pytest.raises(ConfigError, match="set up for paper money"):
        engine_of(tmp_path).run_live("live", **options)


def test_a_simulation_is_no_broker_for_money(tmp_path: Path) -> None:
    """Only for shadow trading, which says what would have been."""
    engine = BacktestEngine(market(20), strategy=Threshold(), broker=SimulationBroker())
    with pytest.raises(ConfigError, match="is a simulation"):
        engine.run_live(journal=tmp_path / "j")
    shadow = engine.run_live("shadow", journal=tmp_path / "j")
    assert shadow.fills.equals(engine.run().fills)
    with pytest.raises(ConfigError, match="Did you mean 'paper'"):
        engine.run_live("papre")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="on_stop must be one of"):
        engine.run_live("shadow", on_stop="panic")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="wait_for_signals= is for live feeds"):
        engine.run_live("shadow", wait_for_signals=3.0)


def test_shadow_of_a_live_engine_has_its_costs(tmp_path: Path) -> None:
    """No order leaves; the broker that stands in can be given."""
    engine = engine_of(tmp_path)
    assert isinstance(engine.broker, LiveBroker)
    engine.broker.commission = PercentCommission(0.001)
    result = engine.run_live("shadow", journal=tmp_path / "j")
    broker = SimulationBroker(commission=PercentCommission(0.001))
    wanted = BacktestEngine(market(20), strategy=Threshold(), broker=broker).run()
    assert told(result).equals(told(wanted))
    venue = engine.broker.gateway
    assert isinstance(venue, ScriptedVenue)
    assert not venue.calls
    engine.broker.shadow = SimulationBroker(initial_cash=5_000)
    again = engine.run_live("shadow", journal=tmp_path / "j2")
    assert again.initial_cash == 5_000


def test_two_sessions_on_one_account_are_refused(tmp_path: Path) -> None:
    """On this machine; the lock goes with its process."""
    lock = AccountLock(f"scripted venue {tmp_path.name}")
    with pytest.raises(LiveError, match="Another session trades"):
        engine_of(tmp_path).run_live(journal=tmp_path / "j", max_clock_skew=None)
    lock.release()
    assert engine_of(tmp_path).run_live(journal=tmp_path / "j", max_clock_skew=None).fills.height


def test_a_wrong_clock_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    engine = engine_of(tmp_path, now=1)
    with pytest.raises(LiveError, match="seconds off the broker's"):
        engine.run_live(journal=tmp_path / "j", max_clock_skew=5.0)


def tell(world: World, command: str) -> Any:
    """What an operator does, at a bar."""
    return lambda _venue: KillSwitch.of(world.path).tell(command)


def test_halt_keeps_positions_and_refuses_orders(tmp_path: Path) -> None:
    """Until it is resumed."""
    world = World(tmp_path, market(30))
    world.before = {8: tell(world, "halt"), 16: tell(world, "resume")}
    result = world.run(Threshold())
    refused = result.orders.filter(result.orders["status"] == "rejected")
    assert refused.height > 0
    assert set(refused["reason"]) == {"halted: halted by the operator"}
    late = result.fills.filter(result.fills["timestamp"] > refused["created_at"].max())
    assert late.height > 0
    check_books(world, result)


def test_a_halt_outlives_the_process(tmp_path: Path) -> None:
    """A session that is started again is halted still, until somebody resumes it."""
    world = World(tmp_path, market(30))
    world.before = {8: tell(world, "halt")}
    world.frame = market(12)
    world.run(Threshold())
    world.frame = market(30)
    world.before = {20: tell(world, "resume")}
    result = world.run(Threshold())
    times = result.equity["timestamp"]
    opened = result.fills.filter(result.fills["side"] == "buy")["timestamp"]
    assert not opened.is_between(times[10], times[19]).any()
    assert (opened > times[20]).any()
    assert world.session is not None
    assert world.session.watch.stopped == ""
    world.frame = market(32)
    world.before = {}
    world.run(Threshold())
    assert world.session.watch.stopped == ""
    check_books(world, result)


def test_a_halt_for_rejections_ends_with_a_word(tmp_path: Path) -> None:
    """After which they are counted anew, also when the journal is read again."""
    world = World(tmp_path, market(30))
    world.venue.faults["send"] = ["refuse"] * 5
    world.before = {15: tell(world, "resume")}
    world.run(Weights(), max_rejections=5)
    assert world.venue.fills
    world.frame = market(33)
    world.run(Weights(), max_rejections=5)
    assert world.session is not None
    assert world.session.watch.stopped == ""


def test_flatten_leaves_everything(tmp_path: Path) -> None:
    """Open orders first, then positions; a session that goes on knows."""
    world = World(tmp_path, market(30))
    world.before = {8: tell(world, "flatten")}
    result = world.run(Weights())
    assert not any(world.venue.positions.values())
    assert "cleared by the operator" in result.fills["reason"].to_list()
    again = world.run(Weights())
    assert again.fills.equals(result.fills)


def test_a_word_nobody_knows_halts(tmp_path: Path) -> None:
    """Whoever writes there wants something to stop."""
    world = World(tmp_path, market(20))
    world.before = {3: lambda _: KillSwitch.of(world.path).path.write_text("HELP!")}
    world.run(Threshold())
    assert "halted by the operator" in notes(world)
    with pytest.raises(ConfigError, match="Did you mean 'flatten'"):
        KillSwitch.of(world.path).tell("flaten")
    switch = KillSwitch.of(world.path)
    assert switch.take() is None
    switch.tell("stop")
    assert [switch.take(), switch.take()] == [Command.STOP] * 2
    assert switch.is_waiting
    switch.done()
    assert switch.take() is None


def test_a_word_outlives_a_death_before_it_was_obeyed(tmp_path: Path) -> None:
    """It was taken, and nothing of it was written: the next process obeys it."""
    for at in range(1, 200):
        world = World(tmp_path / str(at), market(12))
        world.before = {4: tell(world, "flatten")}
        with pytest.raises(Killed):
            world.run(Weights(), die_at=at)
        kinds = [e.kind for e in Journal(world.path, is_read_only=True).entries()]
        if KillSwitch.of(world.path)._taken.exists() and "halt" not in kinds:
            break
    else:
        pytest.fail("it never died in between")
    world.before = {}
    world.run(Weights())
    assert not any(world.venue.positions.values())
    assert world.session is not None
    assert world.session.watch.stopped == "flattened by the operator"


@pytest.mark.parametrize("on_stop", ["keep", "cancel", "flatten"])
def test_how_a_session_ends(tmp_path: Path, on_stop: str) -> None:
    """Orders stay, or go; positions likewise."""

    class Resting(Once):
        def on_start(self) -> None:
            super().on_start()

        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 2:
                self.buy("B", 5, limit_price=1.0)

    world = World(tmp_path, market(10))
    time = world.time
    if on_stop == "flatten":  # the market goes on while the session waits to be flat

        def passing(moment: int) -> float:
            time.moment += 1_000_000
            world.venue.trade(time.moment, {"A": (100.0, 100.0, 100.0, 100.0)})
            return 0.0

        time.seconds_until = passing  # type: ignore[method-assign]
    result = world.run(Resting(), on_stop=on_stop)
    open_orders = [o for o in world.venue.orders.values() if o.status.is_open]
    assert len(open_orders) == (1 if on_stop == "keep" else 0)
    assert world.venue.positions["A"] == (0.0 if on_stop == "flatten" else 10.0)
    assert Status.read(status_path(world.path)).state == "stopped"
    del result


def test_the_status_says_how_things_stand(tmp_path: Path) -> None:
    """For whoever watches; written once a second and at the end."""
    world = World(tmp_path, market(20))
    world.run(Threshold())
    status = Status.read(status_path(world.path))
    assert status.strategy == "Threshold"
    assert status.positions == {k: v for k, v in sorted(world.venue.positions.items()) if v}
    assert status.cash == pytest.approx(world.venue.cash)
    assert status.equity > 0.0
    assert status.is_connected
    with pytest.raises(LiveError, match="no session has written one"):
        Status.read(tmp_path / "nothing")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(LiveError, match="cannot be read"):
        Status.read(tmp_path / "bad")


def test_a_broker_that_refuses_everything_halts(tmp_path: Path) -> None:
    """Something is wrong that the strategy cannot know."""
    world = World(tmp_path, market(30))
    world.venue.faults["send"] = ["refuse"] * 100
    result = world.run(Weights(), max_rejections=5)
    assert "the broker refused 5 orders in a row" in notes(world)
    sent = [call for call, _ in world.venue.calls if call == "send"]
    assert len(sent) <= 7
    assert not result.fills.height


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"audit_every": 0}, "audit_every must be a number of seconds above 0, not 0."),
        ({"audit_every": "5m"}, "audit_every must be a number of seconds above 0, not '5m'."),
        ({"max_data_age": -1}, "max_data_age must be a number of seconds above 0"),
        ({"max_clock_skew": float("nan")}, "max_clock_skew must be a number of seconds from 0"),
        ({"wait_for_signals": -1}, "wait_for_signals must be a number of seconds from 0"),
        ({"max_rejections": 0}, "max_rejections must be a whole number from 1, not 0."),
        ({"alert": "a@b.c"}, "alert= takes a function of a line of text, not 'a@b.c'."),
        ({"time": 5}, "time= takes an object with now and seconds_until, not 5."),
        ({"on_stop": "flaten"}, "Did you mean 'flatten'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, option: dict[str, Any], words: str
) -> None:
    """Before anything is connected or written."""
    journal = tmp_path / "j"
    with pytest.raises(ConfigError) as caught:
        engine_of(tmp_path).run_live("paper", journal=journal, **option)
    assert words in str(caught.value)
    assert not journal.exists()


def test_waiting_for_predictions_needs_a_place_for_them(tmp_path: Path) -> None:
    """Nothing would ever come."""
    feed = ScriptedFeed(["A"], [])
    engine = BacktestEngine(data=feed, strategy=Threshold(), broker=LiveBroker(ScriptedVenue()))
    with pytest.raises(ConfigError, match=r"signals=SignalBuffer\(\)"):
        engine.run_live("paper", journal=tmp_path / "j", wait_for_signals=5)


def test_what_a_feed_was_told_of_waiting_stays(tmp_path: Path) -> None:
    """Unless the session says otherwise."""
    for said, expected in ((None, 20.0), (5.0, 5.0)):
        feed = ScriptedFeed(["A"], [], signals=SignalBuffer())
        feed.wait_for_signals = 20.0
        feed.stop()
        engine = BacktestEngine(data=feed, strategy=Threshold())
        with pytest.raises(LiveError, match="before any bars"):
            engine.run_live("shadow", journal=tmp_path / f"{said}", wait_for_signals=said)
        assert feed.wait_for_signals == expected


def test_alerts_reach_the_operator(tmp_path: Path) -> None:
    """One line for each."""
    lines: list[str] = []
    world = World(tmp_path, market(20))
    world.before = {5: lambda v: v.drop(), 9: lambda v: v.restore()}
    world.run(Threshold(), alert=lines.append)
    assert "connection lost dropped" in lines
    assert "connection up restored" in lines
