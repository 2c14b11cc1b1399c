"""What goes wrong at TWS, and what a session with IBBroker makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ml4t.backtest import Strategy
from ml4t.backtest.live.journal import Journal
from tests.live.ib_world import IBWorld
from tests.live.test_ib_session import Protected, Weights, world
from tests.live.test_session import Threshold, told
from tests.live.world import market

FAULTS = [
    "lose-update:event=fill,every=3",
    "lose-update:event=new,every=2",
    "lose-update:event=canceled,every=2",
    "lose-update:every=4",
    "duplicate-update:every=1",
    "late-update:event=fill,every=3,bars=2",
    "swap-updates:every=3",
    "partial-fill:every=2,share=0.4",
    "hang-before:call=submit,every=5,times=2",
    "hang-after:call=submit,every=5,times=2",
    "hang-before:call=cancel,every=3,times=2",
    "hang-after:call=cancel,every=3,times=2",
    "hang-after:call=replace,every=2,times=2",
    "reject-order:every=4",
    "refuse-cancel:every=3,times=2",
    "refuse-replace:every=2",
    "fill-during-cancel:every=3",
    "correct-fill:every=3",
    "notice:code=404,every=2",
    "notice:code=10349,every=2",
    "notice:code=99999,every=3",
    "link-lost:after=5,every=6,bars=2",
    "drop-trades:event=fill,after=2,every=4,times=2",
    "restart:after=6,seconds=0.3",
    "roll-back-ids:after=1",
]


def check_books(live: IBWorld) -> None:
    """What the session knows is what the venue has, once all has been asked for."""
    assert live.broker is not None
    assert live.broker.positions() == live.held()
    cash = live.tws.run(lambda: live.venue.market.portfolio.cash)
    assert live.broker.cash() == pytest.approx(cash, abs=1e-6)
    assert live.session is not None
    assert live.session.audit.mismatch == ""


def notes(live: IBWorld) -> str:
    """Everything the operator was told."""
    journal = Journal(live.path, is_read_only=True)
    return "\n".join(entry.content.decode(errors="replace") for entry in journal.entries("note"))


@pytest.mark.parametrize("strategy", [Threshold, Protected])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_change_nothing_for_good(
    tmp_path: Path, fault: str, strategy: type[Strategy]
) -> None:
    """Nothing is sent twice, every fill is booked once, and the books agree in the end."""
    with world(tmp_path, market(25, seed=3), faults=[fault]) as live:
        live.options |= {"answer_seconds": 0.6, "silence": 60.0}
        before = dict.fromkeys(range(25), _settle)
        live.before = before
        result = live.run(strategy(), audit_every=180.0)
        live.venue.faults.clear()
        assert live.session is not None
        live.before = {}
        again = live.run(strategy())  # begins with everything asked anew
        check_books(live)
        refs = [t.client_order_id for t in live.venue.register.tickets.values()]
        assert len(refs) == len(set(refs))
        assert again.fills.height >= result.fills.height > 0


def _settle(live: IBWorld) -> None:
    """Wait for a connection that was lost."""
    import time

    gateway: Any = live.broker and live.broker.gateway
    end = time.monotonic() + 10.0
    while not (gateway._link.is_up and live.tws.is_up):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_told_twice_is_booked_once(tmp_path: Path) -> None:
    """The result is that of a calm day."""
    with world(tmp_path / "calm", market(25, seed=3)) as calm:
        wanted = told(calm.run(Protected()))
    faults = ["duplicate-update:every=1", "notice:code=404,every=1"]
    with world(tmp_path / "twice", market(25, seed=3), faults=faults) as live:
        result = live.run(Protected())
        assert told(result).equals(wanted)
        check_books(live)


def test_a_cut_brings_missed_fills_back(tmp_path: Path) -> None:
    """The vendor's client tells of none of them."""
    with world(tmp_path, market(25, seed=3), faults=["drop-trades:event=fill,after=3"]) as live:
        live.options["answer_seconds"] = 1.0
        live.before = dict.fromkeys(range(25), _settle)
        live.run(Weights())
        check_books(live)
        said = notes(live)
        assert "connection lost the connection broke" in said
        assert "connection up the connection is back" in said


def test_a_link_that_is_lost_stops_orders_until_it_is_back(tmp_path: Path) -> None:
    """1100 and 1102 of TWS."""
    with world(tmp_path, market(25, seed=3), faults=["link-lost:after=5,bars=3"]) as live:
        live.run(Weights())
        check_books(live)
        said = notes(live)
        assert "1100" in said
        assert "1102" in said
        quiet = {f"14:{minute}" for minute in (38, 39)}
        assert quiet.isdisjoint(f"{at:%H:%M}" for at, *_ in live.fills())


def test_a_corrected_fill_replaces_the_first(tmp_path: Path) -> None:
    """Cash follows, and so it does for a session that begins after the correction."""
    with world(tmp_path, market(25, seed=3), faults=["correct-fill:every=2"]) as live:
        result = live.run(Threshold())
        check_books(live)
        assert result.record.counts["executions_corrected"] > 2
        live.path = tmp_path / "another.journal"
        live.run(Idle(), reconcile="adopt")
        assert live.broker is not None
        assert live.broker.positions() == live.held()


class Idle(Strategy):
    def on_bars(self, bars: Any) -> None:
        """Does nothing."""
