"""Watching sessions that trade, and telling them something."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.killswitch import Command, KillSwitch
from ml4t.backtest.live.status import Status, status_path
from tests.cli.conftest import Invoke, start
from tests.cli.test_terminal import on_terminal
from tests.live.test_session import Busy
from tests.live.world import START, World, market

JOURNAL = "ml4t-live/session.journal"
GONE = 2**22 + 1  # no process has such a number


@pytest.fixture
def world(folder: Path) -> World:
    """A session that has ended, where sessions write."""
    (folder / "ml4t-live").mkdir()
    found = World(folder / "ml4t-live", market(20, seed=3))
    found.run(Busy())
    return found


def stated(world: World, **changes: Any) -> Status:
    """Its status, as it was at another moment."""
    found = msgspec.structs.replace(Status.read(status_path(world.path)), **changes)
    found.write(status_path(world.path))
    return found


@pytest.fixture
def running(world: World) -> World:
    """The same, as if it was running in this process."""
    stated(world, state="running", process=os.getpid())
    return world


def test_status_shows_a_session_on_one_screen(invoke: Invoke, running: World) -> None:
    """What it holds, what it ordered, what it gained, and how old all of it is."""
    status = Status.read(status_path(running.path))
    found = invoke("live", "status")
    assert found.exit_code == 0
    page = found.stdout
    assert len(page.splitlines()) < 45
    assert f"Busy  running  paper, account {running.venue.account}" in page
    gain = status.equity - 100_000.0
    assert f"{gain:+,.2f} ({gain / 100_000.0:+.2%})" in page
    assert f"{status.cash:,.2f}" in page
    for asset, units in status.positions.items():
        assert [asset, f"{units:,g}"] in [line.split() for line in page.splitlines()]
    assert status.orders
    for order in status.orders:
        begin = [str(order.order_id), order.asset_id, order.side, order.type]
        (line,) = [x for x in page.splitlines() if x.split()[:4] == begin]
        assert line.split()[-1] == order.at_broker
    assert "connection up" in page
    assert "0 s old when this was written" in page


def test_status_for_machines(invoke: Invoke, running: World) -> None:
    """The same as JSON, with whether the process is there."""
    found = json.loads(invoke("live", "status", JOURNAL, "--json").stdout)
    assert (found["is_alive"], found["trouble"], found["strategy"]) == (True, "", "Busy")
    assert found["positions"] == {k: v for k, v in sorted(running.venue.positions.items()) if v}
    assert found["gain"] == pytest.approx(found["equity"] - found["start_equity"])
    assert found["age_seconds"] < 30.0


def test_status_says_when_the_process_is_gone(invoke: Invoke, running: World) -> None:
    """It is no news that the session runs, then."""
    stated(running, process=GONE)
    found = invoke("live", "status")
    assert found.exit_code == 1
    assert f"Process {GONE}, which wrote this 0 s ago, is gone without a word" in found.stdout
    assert "Busy  gone" in found.stdout
    assert json.loads(invoke("live", "status", "--json").stdout)["is_alive"] is False


def test_status_says_when_it_is_old(invoke: Invoke, running: World) -> None:
    """The process may hang."""
    path = status_path(running.path)
    long_ago = path.stat().st_mtime - 300.0
    os.utime(path, (long_ago, long_ago))
    found = invoke("live", "status")
    assert found.exit_code == 1
    assert f"This is 5 min old: process {os.getpid()} is there, but" in found.stdout


def test_status_says_why_a_session_is_halted(invoke: Invoke, running: World) -> None:
    """And whether its broker is there."""
    stated(running, state="halted", reason="C: 1 by the journal, 2 at the broker",
           is_connected=False, signal_ages={"A": 12.0, "B": 700.0})  # fmt: skip
    found = invoke("live", "status")
    assert found.exit_code == 1
    assert "Halted: C: 1 by the journal, 2 at the broker" in found.stdout
    assert "not connected" in found.stdout
    assert "2 assets, oldest 12 min" in found.stdout
    assert "none are taken" in found.stdout


def test_a_session_that_ended_is_no_trouble(invoke: Invoke, world: World) -> None:
    """Whoever wrote it may be gone."""
    stated(world, process=GONE)
    found = invoke("live", "status")
    assert (found.exit_code, "stopped" in found.stdout) == (0, True)


def test_a_halt_that_a_restart_does_not_end_is_shown(invoke: Invoke, world: World) -> None:
    """The session ended as it should, and will take no orders when it is started again."""
    stated(world, reason="flattened by the operator")
    found = invoke("live", "status")
    assert found.exit_code == 0
    page = " ".join(found.stdout.split())
    assert "It was halted: flattened by the operator. A restart does not end that;" in page


def test_an_error_that_ended_a_session_is_shown(invoke: Invoke, world: World) -> None:
    """With what to do, and an exit code that a cron job sees."""
    stated(world, state="failed", reason="StrategyError: a bug.")
    found = invoke("live", "status")
    assert found.exit_code == 1
    page = " ".join(found.stdout.split())
    assert "Busy failed paper" in page
    assert "Ended by an error: StrategyError: a bug. Its orders and positions are at" in page


def test_the_latest_session_is_meant(invoke: Invoke, world: World) -> None:
    """Of those in the usual folder, or in one that is named."""
    older = Path("ml4t-live/older.journal")
    Journal(older).close()
    os.utime(older, (0, 0))
    assert json.loads(invoke("live", "status", "--json").stdout)["journal"] == JOURNAL
    found = invoke("live", "status", "ml4t-live", "--json")
    assert json.loads(found.stdout)["journal"] == JOURNAL
    missing = invoke("live", "status", str(older))
    assert missing.exit_code == 2
    assert "no session has written one" in missing.stderr
    assert world.path.exists()


def test_a_session_that_is_not_there_is_wrong_usage(invoke: Invoke, world: World) -> None:
    """With the names of those that are."""
    found = invoke("live", "journal", "ml4t-live/sesion.journal")
    assert found.exit_code == 2
    assert f"There is no journal 'ml4t-live/sesion.journal'. Did you mean '{JOURNAL}'?" in (
        found.stderr
    )
    world.path.unlink()
    found = invoke("live", "status")
    assert (found.exit_code, "no journal in the folder ml4t-live" in found.stderr) == (2, True)
    Path("prices.parquet").rename("p.journal")
    found = invoke("live", "journal", "p.journal")
    assert found.exit_code == 2
    assert "file is not a database" in found.stderr


def test_without_any_session_the_folder_is_named(invoke: Invoke) -> None:
    """It is relative to where one is."""
    found = invoke("live", "status")
    assert (found.exit_code, "There is no folder ml4t-live here" in found.stderr) == (2, True)


def test_the_journal_is_readable(invoke: Invoke, world: World) -> None:
    """A line for each entry; bars and decisions when they are asked for."""
    lines = invoke("live", "journal", JOURNAL).stdout.splitlines()
    assert lines[0].split(maxsplit=4)[3:] == [
        "opening",
        f"the journal of account {world.venue.account} begins with 100,000.00 in cash and nothing",
    ]
    assert not [line for line in lines if line.split()[3] in {"bars", "decisions", "state"}]
    executions = [line for line in lines if " bought " in line or " sold " in line]
    assert len(executions) == len(world.venue.fills)
    assert all(line.split()[1] == f"{START:%Y-%m-%d}" for line in lines)
    bars = invoke("live", "journal", JOURNAL, "--kind", "bars").stdout.splitlines()
    assert len(bars) == 20


def test_some_of_the_journal(invoke: Invoke, world: World) -> None:
    """By kind, number and from the end; as JSON."""
    found = invoke("live", "journal", JOURNAL, "--json", "--after", "20", "--kind", "event")
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert {row["kind"] for row in rows} == {"event"}
    assert min(row["number"] for row in rows) > 20
    assert all(row["asset_id"] in {"A", "B", "C"} for row in rows)
    last = invoke("live", "journal", JOURNAL, "-n", "3", "--kind", "event", "--json").stdout
    assert [json.loads(line) for line in last.splitlines()] == rows[-3:]
    wrong = invoke("live", "journal", JOURNAL, "--kind", "evnt")
    assert (wrong.exit_code, "Did you mean 'event'?" in wrong.stderr) == (2, True)
    assert world.path.exists()


def test_a_journal_is_followed(folder: Path, world: World) -> None:
    """What is written later is shown; an interrupt ends it."""
    process = start("live", "journal", JOURNAL, "--kind", "note", "-f", cwd=folder)
    assert process.stdout is not None
    assert "connection up" in process.stdout.readline()
    assert "the session ends: the feed has ended" in process.stdout.readline()
    journal = Journal(world.path)
    journal.write("note", "something new", 1_700_000_000_000_000)
    assert process.stdout.readline().endswith("2023-11-14 22:13:20  note       something new\n")
    journal.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    process.communicate()


def listening(world: World, seconds: float = 20.0) -> tuple[threading.Thread, list[Any]]:
    """A session that takes one word."""
    heard: list[Any] = []
    switch = KillSwitch.of(world.path)

    def listen() -> None:
        until = time.monotonic() + seconds
        while not heard and time.monotonic() < until:
            if (word := switch.take()) is not None:
                heard.append(word)
                switch.done()
            time.sleep(0.01)

    thread = threading.Thread(target=listen)
    thread.start()
    return thread, heard


@pytest.mark.parametrize("word", list(Command))
def test_a_session_is_told(invoke: Invoke, running: World, word: Command) -> None:
    """The command waits until the session has taken the word."""
    thread, heard = listening(running)
    found = invoke("live", word.value, JOURNAL)
    thread.join()
    assert found.exit_code == 0
    assert found.stdout == f"The session of {JOURNAL} has taken '{word.value}'.\n"
    assert heard == [word]


def none(_world: World) -> None:
    """Nobody has said that it runs."""
    status_path(_world.path).unlink()


def ended(_world: World) -> None:
    """It has said that it has ended."""


def gone(world: World) -> None:
    """It did not say so, and is not there."""
    stated(world, state="running", process=GONE)


@pytest.mark.parametrize(
    ("state", "text"),
    [(none, "none has said"), (ended, "it has ended"), (gone, f"process {GONE} is gone")],
)
def test_nobody_is_told_when_no_session_runs(
    invoke: Invoke, world: World, state: Callable[[World], None], text: str
) -> None:
    """And no word lies in wait for the next session."""
    state(world)
    found = invoke("live", "flatten", JOURNAL)
    assert found.exit_code == 1
    assert f"No session runs on {JOURNAL}: {text}" in found.stderr
    assert not KillSwitch.of(world.path).is_waiting


def test_a_session_that_does_not_listen_is_reported(invoke: Invoke, running: World) -> None:
    """The word stays for when it does."""
    found = invoke("live", "halt", JOURNAL, "--wait", "0.2")
    assert found.exit_code == 1
    assert "has not taken 'halt' within 0.2 seconds. It stays there" in found.stderr
    switch = KillSwitch.of(running.path)
    assert switch.take() is Command.HALT
    switch.done()
    found = invoke("live", "stop", JOURNAL, "--wait", "0")
    assert (found.exit_code, found.stdout) == (0, f"Left 'stop' for the session of {JOURNAL}.\n")


def test_status_is_watched_until_the_session_ends(folder: Path, running: World) -> None:
    """On a terminal it refreshes; the last look stays."""
    done: list[tuple[int, str]] = []
    watcher = threading.Thread(
        target=lambda: done.append(
            on_terminal("live", "status", "--watch", "--every", "0.2", cwd=folder)
        )
    )
    watcher.start()
    time.sleep(1.5)
    stated(running, equity=123_456.0)
    time.sleep(0.5)
    stated(running, state="stopped")
    watcher.join(timeout=60)
    ((code, shown),) = done
    assert code == 0
    assert "123,456.00" in shown
    assert "stopped" in shown


@pytest.mark.parametrize("words", [(), ("status",), ("journal",), *((w.value,) for w in Command)])
def test_help_is_there(invoke: Invoke, words: tuple[str, ...]) -> None:
    """For each command."""
    found = invoke("live", *words, "--help")
    assert (found.exit_code, "Usage: " in found.stdout) == (0, True)
