"""Every gateway sits the same exam; and gateways that are broken, each in one way, fail it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.words import Answer, Change, Execution, Report, Request, Standing
from ml4t.backtest.testing.drivers import ScriptedDriver
from ml4t.backtest.testing.gateways import GatewayContract, VenueDriver
from ml4t.backtest.testing.venues import ScriptedVenue
from ml4t.backtest.types.order import OrderStatus


class TestScriptedVenue(GatewayContract):
    """The venue of the tests of sessions."""

    def make_venue(self) -> VenueDriver:
        """As it comes."""
        return ScriptedDriver()


class TestRepetitive(GatewayContract):
    """News that is told three times is no mistake of a gateway: a session counts it once."""

    def make_venue(self) -> VenueDriver:
        """One that repeats itself."""
        driver = ScriptedDriver()
        driver.venue.repeats = 3
        return driver


# -- broken ones -----------------------------------------------------------------------------------


class Anonymous(ScriptedVenue):
    """Says no account."""

    def standing(self) -> Standing:
        return msgspec.structs.replace(super().standing(), account="")


class Picky(ScriptedVenue):
    """Works nothing."""

    def obstacle(self, order: Any) -> str:
        return "not today"


class Renaming(ScriptedVenue):
    """Lists orders by its own names."""

    def open_orders(self) -> Sequence[tuple[Report, str]]:
        return [
            (msgspec.structs.replace(r, client_id=r.venue_id), a) for r, a in super().open_orders()
        ]


class Inventive(ScriptedVenue):
    """Has heard of everything."""

    def find(self, client_id: str) -> tuple[Report, ...]:
        return super().find(client_id) or (Report(client_id, OrderStatus.ACCEPTED),)


class Twice(ScriptedVenue):
    """Makes a second order of the same name."""

    def send(self, request: Request) -> Answer:
        if request.client_id in self.orders:
            request = msgspec.structs.replace(request, client_id=f"{request.client_id}'")
        return super().send(request)


class Unsigned(ScriptedVenue):
    """Sales have no sign."""

    def executions(self, since: int) -> Sequence[Execution]:
        found = super().executions(since)
        return [msgspec.structs.replace(x, quantity=abs(x.quantity)) for x in found]


class Coarse(ScriptedVenue):
    """Times are milliseconds."""

    def executions(self, since: int) -> Sequence[Execution]:
        found = super().executions(since * 1000)
        return [msgspec.structs.replace(x, at=x.at // 1000) for x in found]


class Forgetful(ScriptedVenue):
    """Lists all executions, or those after a time, but not those from it on."""

    def executions(self, since: int) -> Sequence[Execution]:
        return super().executions(since + 1 if since else 0)


class Silent(ScriptedVenue):
    """Tells nothing by itself."""

    def _tell(self, event: Any) -> None:
        """Nothing."""


class Hasty(ScriptedVenue):
    """A partial fill fills whole."""

    def find(self, client_id: str) -> tuple[Report, ...]:
        return tuple(
            msgspec.structs.replace(r, status=OrderStatus.FILLED) if r.filled else r
            for r in super().find(client_id)
        )


class Listing(ScriptedVenue):
    """Answers from a list that it made long ago."""

    def find(self, client_id: str) -> tuple[Report, ...]:
        made = self.__dict__.setdefault("made", {})
        return made.setdefault(client_id, super().find(client_id))


class Embezzling(ScriptedVenue):
    """Keeps a little of each fill."""

    def fill(self, name: str, quantity: float, price: float) -> Execution:
        self.cash -= 1.0
        return super().fill(name, quantity, price)


class Stubborn(ScriptedVenue):
    """Says that it cancels, and does not."""

    def cancel(self, client_id: str) -> Answer:
        return Answer(is_taken=True)


class Undoing(ScriptedVenue):
    """Cancels what has filled."""

    def cancel(self, client_id: str) -> Answer:
        self.orders[client_id].status = OrderStatus.CANCELED
        return Answer(is_taken=True)


class Wiping(ScriptedVenue):
    """Forgets at a cancel what had filled."""

    def cancel(self, client_id: str) -> Answer:
        self.orders[client_id].filled = 0.0
        return super().cancel(client_id)


class Doubling(ScriptedVenue):
    """Works the replaced order as well."""

    def replace(self, change: Change) -> Answer:
        answer = super().replace(change)
        self.orders[change.client_id].status = OrderStatus.ACCEPTED
        return answer


class Reviving(ScriptedVenue):
    """Replaces what has filled."""

    def replace(self, change: Change) -> Answer:
        if change.client_id in self.orders:
            self.orders[change.client_id].status = OrderStatus.ACCEPTED
        return super().replace(change)


class Amnesiac(ScriptedVenue):
    """Knows its own session alone."""

    def close(self) -> None:
        super().close()
        self.fills = []


class Sure(ScriptedVenue):
    """Takes no answer for a no."""

    def send(self, request: Request) -> Answer:
        answer = super().send(request)
        return Answer(is_taken=bool(answer.is_taken), reports=answer.reports)


class Guessing(ScriptedVenue):
    """Makes up a standing when there is none."""

    def standing(self) -> Standing:
        try:
            return super().standing()
        except ConnectionLost:
            return super().standing()


class Gapped(ScriptedVenue):
    """Lists only what it has told."""

    def executions(self, since: int) -> Sequence[Execution]:
        return [x for x in self.fills if x.execution_id in self.__dict__.setdefault("told", set())]

    def _tell(self, event: Any) -> None:
        if isinstance(event, Execution) and not self.is_mute:
            self.__dict__.setdefault("told", set()).add(event.execution_id)
        super()._tell(event)


BROKEN: tuple[tuple[Callable[[], ScriptedVenue], str], ...] = (
    (Anonymous, "test_it_says_whose_account_it_is"),
    (Picky, "test_plain_orders_have_no_obstacle"),
    (Renaming, "test_names_are_kept"),
    (Inventive, "test_an_order_nobody_sent_is_not_found"),
    (Twice, "test_a_second_send_makes_no_second_order"),
    (Unsigned, "test_executions_are_told_and_listed_once"),
    (Coarse, "test_executions_are_told_and_listed_once"),
    (Forgetful, "test_executions_are_told_and_listed_once"),
    (Silent, "test_executions_are_told_and_listed_once"),
    (Hasty, "test_a_partial_fill_is_one"),
    (Listing, "test_what_has_filled_is_found_at_once"),
    (Embezzling, "test_the_standing_adds_up"),
    (Stubborn, "test_a_cancel_is_told"),
    (Undoing, "test_what_has_filled_cannot_be_canceled"),
    (Wiping, "test_what_filled_before_a_cancel_is_kept"),
    (Doubling, "test_a_replaced_order_goes_on_under_its_new_name"),
    (Reviving, "test_what_has_filled_cannot_be_replaced"),
    (Amnesiac, "test_everything_is_found_after_a_restart"),
    (Sure, "test_a_lost_answer_is_not_known"),
    (Guessing, "test_no_answer_is_an_error_in_time"),
    (Gapped, "test_a_break_is_told_and_leaves_nothing_out"),
)


@pytest.mark.parametrize(("venue", "test"), BROKEN, ids=lambda one: getattr(one, "__name__", ""))
def test_broken_gateways_fail(venue: Callable[[], ScriptedVenue], test: str) -> None:
    """Each fails the test that is about what it does wrong."""

    class Exam(GatewayContract):
        patience = 0.3

        def make_venue(self) -> VenueDriver:
            return ScriptedDriver(venue())

    with pytest.raises(AssertionError):
        getattr(Exam(), test)()


def test_every_point_has_a_broken_gateway() -> None:
    """So that no test of the exam passes whatever one does."""
    tests = {name for name in vars(GatewayContract) if name.startswith("test_")}
    assert tests == {test for _, test in BROKEN}
