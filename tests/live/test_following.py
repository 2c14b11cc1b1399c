"""What a broker tells late, twice, by halves or in another order, and the book that follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from ml4t.backtest import Strategy
from ml4t.backtest.live.words import Execution, Report, Standing, correction_id
from ml4t.backtest.types.order import OrderStatus
from tests.live.test_trouble import Once, check_books, check_books_but_cash
from tests.live.world import World, market


def test_nothing_more_is_sent_while_fills_are_owed(tmp_path: Path) -> None:
    """The broker says that an order is filled, and lists the fill later: it is not sent again."""
    world = World(tmp_path, market(12))
    lists = world.venue.executions
    world.venue.is_mute = True
    world.venue.executions = lambda since: []  # type: ignore[method-assign]
    world.before = {6: lambda v: setattr(v, "executions", lists)}
    result = world.run(Once())
    assert [order.quantity for order in world.venue.orders.values()] == [10.0]
    assert [str(status) for status in result.orders["status"]] == ["filled"]
    check_books(world, result)


class Protected(Strategy):
    """Buys with a stop and a target, and does what it is told later."""

    def __init__(self, later: Any = None) -> None:
        self.later = later

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 1:
            self.made = self.bracket("A", 10, stop_loss=50.0, take_profit=200.0)
        elif self.step == 4 and self.later is not None:
            self.later(self)


def test_a_bracket_in_doubt_is_sent_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Its legs are there when it is: none is sent by itself."""
    world = World(tmp_path, market(12), takes_brackets=True)
    world.venue.faults["send"] = ["before", "before"]
    world.options["silence"] = 10.0
    result = world.run(Protected())
    sent = [request for call, request in world.venue.calls if call == "send"]
    assert [len(request.legs) for request in sent] == [2, 2, 2]
    assert len({request.client_id for request in sent}) == 1
    check_books(world, result)


def test_what_a_broker_cancels_with_a_leg_is_sent_again(tmp_path: Path) -> None:
    """The strategy wants the target gone, and the stop to stay."""
    world = World(tmp_path, market(12), takes_brackets=True)
    cancel = world.venue.cancel

    def all_of_it(client_id: str) -> Any:
        order = world.venue.orders[client_id]
        for name in order.siblings:
            world.venue._end(world.venue.orders[name], OrderStatus.CANCELED, "with the other")
        return cancel(client_id)

    world.venue.cancel = all_of_it  # type: ignore[method-assign]
    result = world.run(Protected(lambda s: s.cancel_order(s.made.take_profit)))
    ends = {row["type"]: str(row["status"]) for row in result.orders.iter_rows(named=True)}
    assert ends == {"market": "filled", "stop": "accepted", "limit": "canceled"}
    working = [order for order in world.venue.orders.values() if order.status.is_open]
    assert [(order.stop, order.quantity) for order in working] == [(50.0, 10.0)]


def test_a_lost_word_of_a_change_is_made_up_by_a_fill(tmp_path: Path) -> None:
    """An execution under the new name says that the order has become it."""
    world = World(tmp_path, market(12))
    replace = world.venue.replace

    def silent(change: Any) -> Any:
        answer = replace(change)
        world.venue.fill(change.new_client_id, 3.0, 50.0)
        return structs.replace(answer, reports=())

    world.venue.replace = silent  # type: ignore[method-assign]

    class Changing(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 3:
                self.made = self.buy("B", 10, limit_price=50.0)
            elif self.step == 5:
                self.replace_order(self.made, limit_price=51.0)

    result = world.run(Changing())
    assert world.venue.positions["B"] == 3.0
    assert "reports_of_unknown_orders" not in result.record.counts
    check_books(world, result)


def test_a_change_that_is_taken_and_fails_leaves_the_order_as_it_was(tmp_path: Path) -> None:
    """The new order is rejected: the old one works on, and the book says so."""
    world = World(tmp_path, market(12))

    def fails(change: Any) -> Any:
        world.venue._tell(Report(change.new_client_id, OrderStatus.REJECTED, reason="too late"))
        from ml4t.backtest.live.words import Answer

        return Answer(is_taken=True)

    world.venue.replace = fails  # type: ignore[method-assign]

    class Changing(Once):
        def on_bars(self, bars: Any) -> None:
            super().on_bars(bars)
            if self.step == 3:
                self.made = self.buy("B", 10, limit_price=50.0)
            elif self.step == 5:
                self.replace_order(self.made, limit_price=51.0)

    result = world.run(Changing())
    row = result.orders.filter(result.orders["asset_id"] == "B").row(0, named=True)
    assert (str(row["status"]), row["limit_price"]) == ("accepted", 50.0)
    assert result.record.counts["replaces_refused"] == 1
    check_books(world, result)


def corrected(fill: Execution, price: float, *, quantity: float | None = None) -> Execution:
    """What an execution is now."""
    units = fill.quantity if quantity is None else quantity
    name = correction_id(fill.execution_id, units, price)
    return structs.replace(
        fill, execution_id=name, corrects=fill.execution_id, price=price, quantity=units
    )


def amend(venue: Any, now: Execution) -> None:
    """The venue's own books follow a correction of its first fill."""
    first = venue.fills[0]
    venue.cash += first.quantity * first.price - now.quantity * now.price
    venue.positions["A"] += now.quantity - first.quantity
    venue.fills[0] = structs.replace(first, price=now.price, quantity=now.quantity)


def test_a_correction_may_come_first_and_another_may_follow(tmp_path: Path) -> None:
    """The execution is booked once, as it is in the end."""
    world = World(tmp_path, market(12))
    tell = world.venue._tell

    def correction_first(event: Any) -> None:
        if isinstance(event, Execution):
            tell(corrected(event, event.price - 0.5))
        tell(event)

    def again(venue: Any) -> None:
        first = venue.fills[0]
        amend(venue, corrected(first, first.price - 0.75, quantity=8.0))
        tell(corrected(first, first.price - 0.75, quantity=8.0))

    world.venue._tell = correction_first  # type: ignore[method-assign]
    world.before = {5: again}
    result = world.run(Once())
    assert result.record.counts["executions_corrected"] == 2
    assert world.broker is not None
    assert world.broker.positions() == {"A": 8.0}
    first = world.venue.fills[0]
    assert round(world.broker.cash(), 6) == round(100_000.0 - 8.0 * first.price, 6)


def test_a_correction_that_nobody_told_is_found_in_the_list(tmp_path: Path) -> None:
    """With the next reconciliation, as it would have been told."""
    world = World(tmp_path, market(12))
    world.before = {
        5: lambda venue: amend(venue, corrected(venue.fills[0], venue.fills[0].price - 0.5))
    }
    result = world.run(Once(), audit_every=60.0)
    assert result.record.counts["executions_corrected"] == 1
    assert result.cashflows["kind"].to_list() == ["correction"]
    check_books_but_cash(world)


def test_an_exit_that_is_told_before_its_entry_waits_for_it(tmp_path: Path) -> None:
    """The entry's fill was lost, and is found in the list."""
    world = World(tmp_path, market(12), takes_brackets=True)
    tell = world.venue._tell

    def lossy(event: Any) -> None:
        is_entry = isinstance(event, Execution | Report) and event.client_id.endswith("-1-1")
        if not is_entry:
            tell(event)

    world.venue._tell = lossy  # type: ignore[method-assign]

    def stop_out(venue: Any) -> None:
        name = next(name for name, order in venue.orders.items() if order.stop is not None)
        venue.fill(name, 10.0, 99.0)

    world.before = {2: stop_out}
    world.options["silence"] = 3_600.0
    result = world.run(Protected())
    ends = {row["type"]: str(row["status"]) for row in result.orders.iter_rows(named=True)}
    assert ends["market"] == ends["stop"] == "filled"
    check_books(world, result)


def test_a_fill_between_two_questions_is_no_mismatch(tmp_path: Path) -> None:
    """Executions were asked for before it, positions after it."""
    world = World(tmp_path, market(12))
    standing = world.venue.standing

    def late() -> Standing:
        if world.time.moment > 0 and "once" not in done and world.venue.orders:
            done.append("once")
            name = next(iter(world.venue.orders))
            if world.venue.orders[name].status.is_open:
                world.venue.fill(name, 10.0, 100.0)
        return standing()

    done: list[str] = []
    world.venue.standing = late  # type: ignore[method-assign]

    class Resting(Once):
        def on_bars(self, bars: Any) -> None:
            self.step += 1
            if self.step == 2:
                self.buy("A", 10, limit_price=50.0)

    world.venue.is_mute = True
    result = world.run(Resting(), audit_every=60.0)
    assert done == ["once"]
    assert world.session is not None
    assert world.session.audit.mismatch == ""
    check_books(world, result)
