"""Orders whose news did not come, asked for one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.words import Answer, Change, Execution, Report
from ml4t.backtest.testing.venues import ScriptedVenue
from ml4t.backtest.types.order import OrderStatus
from tests.live.test_trouble import Once, check_books
from tests.live.world import START, Killed, World, market


def names(world: World, call: str) -> list[str]:
    """What a call was made for, in order."""
    found = [content for made, content in world.venue.calls if made == call]
    return [getattr(content, "client_id", content).split("-", 2)[2] for content in found]


def test_an_end_without_its_executions_is_waited_for(tmp_path: Path) -> None:
    """The order is over at the broker, and may not be sent a second time; they come later."""
    world = World(tmp_path, market(12))
    hidden: list[Any] = []

    def hide(venue: ScriptedVenue) -> None:
        venue.is_mute = True
        venue.executions = lambda since: hidden  # type: ignore[method-assign]

    world.before = {1: hide, 6: lambda venue: hidden.extend(venue.fills)}
    result = world.run(Once())
    assert names(world, "send") == ["1-1"]
    assert world.venue.positions == {"A": 10.0}
    assert result.orders["status"].to_list() == ["filled"]
    assert result.fills["timestamp"][0] == result.equity["timestamp"][6]
    check_books(world, result)


def test_what_was_executed_before_the_journal_began_is_not_asked_for(tmp_path: Path) -> None:
    """An account has a past, which may be long."""
    world = World(tmp_path, market(8))
    day = 86_400_000_000
    old = Execution("", "old-1", "A", 5.0, 90.0, world.time.now() - day)
    world.venue.fills.append(old)
    result = world.run(Once())
    assert world.broker is not None
    assert "old-1" not in world.broker.executions
    assert "foreign_executions" not in result.record.counts


def test_an_exit_is_tried_until_it_arrives(tmp_path: Path) -> None:
    """An entry that nobody answers is given up; what closes a position is not."""
    world = World(tmp_path, market(20))
    world.before = {2: lambda venue: venue.faults.update(send=["before"] * 7)}
    result = world.run(Once(lambda s: s.close_position("A"), at=3))
    assert result.orders["status"].to_list() == ["filled", "filled"]
    assert names(world, "send") == ["1-1", *["2-1"] * 8]
    check_books(world, result)


def test_an_order_that_came_after_it_was_given_up_is_canceled(tmp_path: Path) -> None:
    """It was under way for long, and nobody wants it any more."""

    class Limited(Once):
        def on_bars(self, bars: Any) -> None:
            self.step += 1
            if self.step == 1:
                self.buy("B", 3, limit_price=1.0)

    world = World(tmp_path, market(20))
    sent: list[Any] = []
    send = world.venue.send

    def slow(request: Any) -> Answer:
        sent.append(request)
        return Answer(None, "no answer")

    world.venue.send = slow  # type: ignore[method-assign]
    world.before = {10: lambda _venue: send(sent[0])}
    result = world.run(Limited(), audit_every=60.0)
    (order,) = result.orders.iter_rows(named=True)
    assert "never reached the broker" in order["reason"]
    assert [o.status for o in world.venue.orders.values()] == [OrderStatus.CANCELED]
    assert result.record.counts["orders_that_came_late"] == 1


def test_an_execution_that_was_missed_long_ago_is_found(tmp_path: Path) -> None:
    """Others came meanwhile, told by the stream; the calls did not get through."""
    frame = market(12).with_columns(
        pl.col("timestamp") + (pl.col("timestamp") - START) * 19
    )  # a bar each twenty minutes
    world = World(tmp_path, frame)
    lost: list[Any] = ["before"] * 1_000

    class Often(Once):
        def on_bars(self, bars: Any) -> None:
            self.step += 1
            self.buy("A" if self.step == 1 else "B", 1)

    def hide(venue: ScriptedVenue) -> None:
        venue.is_mute = True
        venue.faults.update(find=list(lost), executions=list(lost))

    world.before = {
        1: hide,
        2: lambda venue: setattr(venue, "is_mute", False),
        9: lambda venue: venue.faults.clear(),
    }
    result = world.run(Often(), audit_every=1e9)
    assert "A" in result.fills["asset_id"].to_list()
    check_books(world, result)


def test_nobody_is_asked_while_a_journal_is_read(tmp_path: Path) -> None:
    """What comes out then is written there, whatever the broker would say now."""
    world = World(tmp_path, market(12))

    def limit(strategy: Any) -> None:
        strategy.buy("B", 5, limit_price=1.0)

    class Withdrawing(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 4:
                self.cancel_all("B")

    world.venue.faults["cancel"] = ["refuse"]
    world.run(Withdrawing(limit, at=2))
    world.venue.calls.clear()
    world.frame = market(14)
    is_live: list[bool] = []
    find = world.venue.find

    def watched(client_id: str) -> tuple[Report, ...]:
        assert world.session is not None
        is_live.append(world.session.is_live)
        return find(client_id)

    world.venue.find = watched  # type: ignore[method-assign]
    world.run(Withdrawing(limit, at=2))
    assert all(is_live)


def test_a_cancel_that_got_lost_is_written_down_as_lost(tmp_path: Path) -> None:
    """So that a restart knows that the order is not being canceled."""

    def limit(strategy: Any) -> None:
        strategy.buy("B", 5, limit_price=1.0)

    class Withdrawing(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 4:
                self.cancel_all("B")

    world = World(tmp_path, market(12))
    world.venue.faults["cancel"] = ["before"]
    result = world.run(Withdrawing(limit, at=2))
    kinds = [e.kind for e in Journal(world.path, is_read_only=True).entries("cancel", "lapse")]
    assert kinds == ["cancel", "lapse", "cancel"]
    assert result.orders["status"].to_list() == ["filled", "canceled"]


def test_changes_of_one_order_have_names_of_their_own(tmp_path: Path) -> None:
    """Though it went to the broker twice: to flat first, and then on."""

    class Moving(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            (close,) = [event.close for event in bars if event.asset_id == "A"]
            if self.step == 3:
                self.sell("A", 25, limit_price=round(close * 1.5, 2))
            elif self.step in {5, 9}:
                (order,) = self.get_open_orders("A")
                high = 1.6 if self.step == 5 else 1.7
                self.replace_order(order.order_id, limit_price=round(close * high, 2))

    world = World(tmp_path, market(14))

    def fill(venue: ScriptedVenue) -> None:
        (name,) = [n for n, o in venue.orders.items() if o.status.is_open and not o.replaced_by]
        venue.fill(name, 10.0, 150.0)

    world.before = {7: fill}
    world.run(Moving())
    assert names(world, "send") == ["1-1", "2-1", "2-2"]
    changes = [content.new_client_id.split("-", 2)[2]
               for made, content in world.venue.calls if made == "replace"]  # fmt: skip
    assert changes == ["2-1r1", "2-2r1"]


def test_a_held_leg_is_looked_up_when_its_entry_is_over(tmp_path: Path) -> None:
    """The stream did not say that it was set to work."""

    class Bracketing(Once):
        def on_bars(self, bars: Any) -> None:
            self.step += 1
            if self.step == 2:
                self.bracket("A", 10, stop_loss=1.0, take_profit=900.0)

    world = World(tmp_path, market(10), takes_brackets=True)
    world.before = {2: lambda venue: setattr(venue, "is_mute", True)}
    world.run(Bracketing())
    assert world.broker is not None
    assert [t.state for t in world.broker.tickets] == [TicketState.WORKING] * 2


@pytest.mark.parametrize("is_report", [True, False])
def test_news_under_the_new_name_say_that_a_change_was_made(
    tmp_path: Path, is_report: bool
) -> None:
    """Even if its answer never came."""
    world = World(tmp_path, market(8))

    def limit(strategy: Any) -> None:
        strategy.buy("B", 5, limit_price=1.0)

    def change(venue: ScriptedVenue) -> None:
        assert world.broker is not None
        (ticket,) = world.broker.tickets
        asked = Change(ticket.name, ticket.name.replace("-1", "-r1"), 5.0, 1.0)
        world.broker.notes.change(asked, venue.now)
        venue.replace(asked)
        if is_report:
            world.broker.apply(Report(asked.new_client_id, OrderStatus.ACCEPTED))
        else:
            venue.fill(asked.new_client_id, 4.0, 1.0)

    world.before = {5: change}
    world.run(Once(limit, at=2))
    assert world.broker is not None
    (ticket,) = world.broker.tickets
    assert ticket.name.endswith("-r1")
    assert not {"foreign_executions", "reports_of_unknown_orders"} & set(world.broker.counts())


def test_a_death_while_an_order_owes_executions_loses_nothing(tmp_path: Path) -> None:
    """The journal knows that it is over, and the restart asks for them."""
    world = World(tmp_path, market(12))
    world.before = {1: lambda venue: setattr(venue, "is_mute", True)}
    with pytest.raises(Killed):
        world.run(Once(), die_at=11)
    result = world.run(Once())
    assert names(world, "send") == ["1-1"]
    check_books(world, result)


def test_nothing_is_asked_while_the_broker_wants_no_requests(tmp_path: Path) -> None:
    """Entries that have to wait do not ask what the account holds meanwhile."""
    world = World(tmp_path, market(12))
    asked: list[int] = []
    blocked = {"until": 0}

    def watch(venue: ScriptedVenue) -> None:
        standing = venue.standing

        def ask() -> Any:
            asked.append(world.time.moment)
            return standing()

        def wait(*, is_cancel: bool = False) -> float:
            return 0.0 if is_cancel else max(0.0, (blocked["until"] - world.time.moment) / 1e6)

        blocked["until"] = world.time.moment + 120_000_000
        venue.standing = ask  # type: ignore[method-assign]
        venue.wait_for_slot = wait  # type: ignore[method-assign]

    world.options["max_order_age"] = 600.0
    world.before = {0: watch}
    result = world.run(Once())
    assert result.orders["status"].to_list() == ["filled"]
    assert [moment for moment in asked if moment < blocked["until"]] == []
