"""The exam of a `Gateway`: what a live session relies on, whoever the broker is.

A gateway alone cannot be examined: somebody has to fill orders and to break the line. That is a
driver, which a test writes for the venue behind the gateway: an emulator, or a paper account.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.words import Change, Execution, Link, Report, Request, Terms
from ml4t.backtest.types.order import Order, OrderSide, OrderStatus, OrderType

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.gateway import Gateway
    from ml4t.backtest.live.words import Answer, VenueEvent

T = TypeVar("T")

_NOISE = 1e-6
_YEAR_2000, _YEAR_2200 = 946_684_800_000_000, 7_258_118_400_000_000  # microseconds
_LOOK = 0.01  # seconds between two looks


class VenueDriver(Protocol):
    """What an exam does to the venue behind a gateway.

    Attributes:
        asset_ids: Two assets that trade at about 100.
    """

    asset_ids: tuple[str, str]

    def make_gateway(self) -> Gateway:
        """A new gateway to the same account, as a process has that was started anew."""
        ...

    def fill(self, client_id: str, quantity: float, price: float) -> None:
        """Fill some of an order."""
        ...

    def drop(self) -> None:
        """Break the line: what happens from now on is not told."""
        ...

    def restore(self) -> None:
        """Mend it; what was not told is not told later."""
        ...

    def lose_answer(
        self, call: Literal["send", "standing"], when: Literal["before", "after"]
    ) -> None:
        """The next call gets no answer: it did not arrive, or it was carried out."""
        ...

    def close(self) -> None:
        """The test is over."""
        ...


class GatewayContract:
    """What every `Gateway` guarantees; derive, and say in `make_venue` how to drive yours.

    Example:
        >>> from ml4t.backtest.testing.drivers import ScriptedDriver
        >>> class TestMyGateway(GatewayContract):
        ...     def make_venue(self):
        ...         return ScriptedDriver()
        >>> TestMyGateway().test_names_are_kept()

    Attributes:
        patience: Seconds within which any call answers, and news arrives.
    """

    patience = 10.0

    def make_venue(self) -> VenueDriver:
        """A venue with money and nothing else in the account."""
        raise NotImplementedError("Say in make_venue how to drive the venue behind the gateway.")

    # -- who and what -----------------------------------------------------------------------------

    def test_it_says_whose_account_it_is(self) -> None:
        """With money; and it can be closed twice."""
        with _Bench(self) as bench:
            assert bench.opening.account
            assert math.isfinite(bench.opening.cash)
            assert bench.opening.buying_power > 0
            assert not any(bench.opening.positions.values())
            bench.gateway.close()
            bench.gateway.close()

    def test_plain_orders_have_no_obstacle(self) -> None:
        """A limit order that is good for the day."""
        with _Bench(self) as bench:
            order = Order(bench.assets[0], "buy", 1, "limit", limit_price=50.0, time_in_force="day")
            assert bench.gateway.obstacle(order) == ""

    def test_names_are_kept(self) -> None:
        """An order is found by the name it was sent with, and listed with its asset."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            (report,) = bench.find(name)
            assert (report.client_id, report.filled) == (name, 0.0)
            assert report.status.is_open
            assert [(r.client_id, a) for r, a in bench.open()] == [(name, bench.assets[0])]

    def test_an_order_nobody_sent_is_not_found(self) -> None:
        """And can be neither canceled nor replaced."""
        with _Bench(self) as bench:
            assert bench.gateway.find("nobody") == ()
            assert bench.gateway.cancel("nobody").is_taken is not True
            assert bench.gateway.replace(Change("nobody", "n2", 1, 50.0)).is_taken is not True

    def test_a_second_send_makes_no_second_order(self) -> None:
        """The name is what makes an order one."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            bench.gateway.send(bench.request(name, quantity=3))
            assert len(bench.open()) == 1
            bench.fill(name, 3)
            assert bench.held() == 3
            bench.gateway.send(bench.request(name, quantity=3))
            assert bench.open() == []

    # -- fills ------------------------------------------------------------------------------------

    def test_executions_are_told_and_listed_once(self) -> None:
        """Each with its name, sign, price and time; asked again they are the same."""
        with _Bench(self) as bench:
            buy = bench.send(quantity=5)
            bench.fill(buy, 2, 50.0)
            bench.fill(buy, 3, 49.0)
            sell = bench.send(quantity=1, side=OrderSide.SELL)
            bench.fill(sell, 1, 150.0)
            found = bench.executions()
            wanted = [(buy, 2, 50.0), (buy, 3, 49.0), (sell, -1, 150.0)]
            assert [(x.client_id, x.quantity, x.price) for x in found] == wanted
            assert all(x.asset_id == bench.assets[0] for x in found)
            ids = [x.execution_id for x in found]
            assert len(set(ids)) == len(ids)
            assert [x.execution_id for x in bench.executions()] == ids
            for x in found:
                assert _YEAR_2000 < x.at < _YEAR_2200, f"at={x.at}: give microseconds since 1970"
                assert x.execution_id in [y.execution_id for y in bench.executions(x.at)]
            bench.until(lambda: {x.execution_id for x in bench.told(Execution)} == set(ids))

    def test_a_partial_fill_is_one(self) -> None:
        """Until the rest has filled."""
        with _Bench(self) as bench:
            name = bench.send(quantity=4)
            bench.fill(name, 1)
            (report,) = bench.find(name)
            assert (report.status, report.filled) == (OrderStatus.PARTIALLY_FILLED, 1)
            bench.fill(name, 3)
            (report,) = bench.find(name)
            assert (report.status, report.filled) == (OrderStatus.FILLED, 4)
            assert bench.open() == []

    def test_what_has_filled_is_found_at_once(self) -> None:
        """After `renew`, however many orders were asked about a moment ago."""
        with _Bench(self) as bench:
            names = [bench.send(quantity=1) for _ in range(5)]
            for name in names:
                assert bench.status(name).is_open
            for name in names:
                bench.fill(name, 1)
            bench.gateway.renew()
            assert {bench.status(name) for name in names} == {OrderStatus.FILLED}

    def test_the_standing_adds_up(self) -> None:
        """Positions are what was executed, and cash what that cost."""
        with _Bench(self) as bench:
            first = bench.send(quantity=4)
            bench.fill(first, 4, 50.0)
            bench.fill(bench.send(quantity=3, side=OrderSide.SELL), 3, 150.0)
            bench.fill(bench.send(quantity=2, asset=1), 2, 50.0)
            standing = bench.gateway.standing()
            held = {name: units for name, units in standing.positions.items() if units}
            assert held == {bench.assets[0]: 1, bench.assets[1]: 2}
            paid = sum(
                x.quantity * x.price + (0.0 if math.isnan(x.commission) else x.commission)
                for x in bench.executions()
            )
            assert abs(bench.opening.cash - paid - standing.cash) < _NOISE * bench.opening.cash
            assert standing.account == bench.opening.account

    # -- cancel and replace -----------------------------------------------------------------------

    def test_a_cancel_is_told(self) -> None:
        """By a report, not by the answer."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            assert bench.gateway.cancel(name).is_taken is True
            bench.until(lambda: bench.status(name) is OrderStatus.CANCELED)
            bench.until(lambda: OrderStatus.CANCELED in {r.status for r in bench.told(Report)})
            assert bench.open() == []

    def test_what_has_filled_cannot_be_canceled(self) -> None:
        """The fill stands."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            bench.fill(name, 3)
            bench.gateway.cancel(name)
            assert bench.status(name) is OrderStatus.FILLED
            assert bench.held() == 3

    def test_what_filled_before_a_cancel_is_kept(self) -> None:
        """A canceled order says how much of it had filled."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            bench.fill(name, 1)
            bench.gateway.cancel(name)
            bench.until(lambda: bench.status(name) is OrderStatus.CANCELED)
            assert bench.find(name)[0].filled == 1
            assert bench.held() == 1

    def test_a_replaced_order_goes_on_under_its_new_name(self) -> None:
        """There is never more than one of both; who asks for the old one is led to the new one."""
        with _Bench(self) as bench:
            name = bench.send(quantity=3)
            bench.fill(name, 1)
            after = bench.name()
            assert bench.gateway.replace(Change(name, after, 5, 51.0)).is_taken is True
            bench.until(lambda: [r.client_id for r, _ in bench.open()] == [after])
            found = bench.find(name)
            assert after in {r.client_id for r in found} | {r.replaced_by for r in found}
            bench.fill(after, 4)  # five in all, of which one had filled
            bench.until(lambda: bench.status(after) is OrderStatus.FILLED)
            assert bench.held() == 5

    def test_what_has_filled_cannot_be_replaced(self) -> None:
        """There is no new order then."""
        with _Bench(self) as bench:
            name, after = bench.send(quantity=3), bench.name()
            bench.fill(name, 3)
            assert bench.gateway.replace(Change(name, after, 5, 51.0)).is_taken is not True
            assert bench.open() == []
            assert bench.held() == 3

    # -- what goes wrong --------------------------------------------------------------------------

    def test_everything_is_found_after_a_restart(self) -> None:
        """By a gateway that knows nothing but the names."""
        with _Bench(self) as bench:
            filled, canceled, working = (bench.send(quantity=2) for _ in range(3))
            bench.fill(filled, 2)
            bench.gateway.cancel(canceled)
            bench.until(lambda: bench.status(canceled) is OrderStatus.CANCELED)
            ids = [x.execution_id for x in bench.executions()]
            bench.restart()
            assert bench.status(filled) is OrderStatus.FILLED
            assert bench.status(canceled) is OrderStatus.CANCELED
            assert [r.client_id for r, _ in bench.open()] == [working]
            assert [x.execution_id for x in bench.executions()] == ids
            assert bench.gateway.send(bench.request(working, quantity=2)).is_taken is not False
            assert len(bench.open()) == 1

    def test_a_lost_answer_is_not_known(self) -> None:
        """Neither yes nor no; the name tells what became of it."""
        with _Bench(self) as bench:
            for when in ("before", "after"):
                name = bench.name()
                bench.driver.lose_answer("send", when)
                assert bench.timed(bench.request(name, quantity=1)).is_taken is None
                assert len(bench.gateway.find(name)) == (when == "after")

    def test_no_answer_is_an_error_in_time(self) -> None:
        """`ConnectionLost`, and then it works again, if need be by another connection."""
        with _Bench(self) as bench:
            bench.driver.lose_answer("standing", "before")
            began = time.monotonic()
            try:
                bench.gateway.standing()
            except ConnectionLost:
                pass
            else:
                raise AssertionError("a standing came, though there was no answer")
            assert time.monotonic() - began < self.patience
            bench.until(bench.stands)

    def test_a_break_is_told_and_leaves_nothing_out(self) -> None:
        """What was executed meanwhile is listed, and orders are where they stand."""
        with _Bench(self) as bench:
            name = bench.send(quantity=2)
            bench.driver.drop()
            bench.until(lambda: [link.is_up for link in bench.told(Link)][-1:] == [False])
            bench.driver.fill(name, 2, 50.0)
            bench.driver.restore()
            bench.until(lambda: [link.is_up for link in bench.told(Link)][-1:] == [True])
            assert [x.quantity for x in bench.executions()] == [2]
            assert bench.status(name) is OrderStatus.FILLED


class _Bench:
    """A gateway and its venue, and what the gateway has told."""

    def __init__(self, exam: GatewayContract) -> None:
        self.patience = exam.patience
        self.driver = exam.make_venue()
        self.assets = self.driver.asset_ids
        self._numbers = itertools.count(1)
        self._told: list[VenueEvent] = []
        self.inbox = Inbox()
        self.gateway = self.driver.make_gateway()
        self.opening = self.gateway.connect(self.inbox)

    def __enter__(self) -> _Bench:  # noqa: PYI034  it is made here alone
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.close()
        self.driver.close()

    def restart(self) -> None:
        """A new gateway, and nothing remembered."""
        self.gateway.close()
        self._told = []
        self.inbox = Inbox()
        self.gateway = self.driver.make_gateway()
        self.opening = self.gateway.connect(self.inbox)

    def name(self) -> str:
        """One that was not used."""
        return f"exam-{next(self._numbers)}"

    def request(
        self, name: str, *, quantity: float, side: OrderSide = OrderSide.BUY, asset: int = 0
    ) -> Request:
        """A limit order far from where the asset trades."""
        limit = 50.0 if side is OrderSide.BUY else 150.0
        return Request(name, Terms(self.assets[asset], side, OrderType.LIMIT), quantity, limit)

    def send(self, *, quantity: float, side: OrderSide = OrderSide.BUY, asset: int = 0) -> str:
        """Send one, which must be taken."""
        name = self.name()
        answer = self.timed(self.request(name, quantity=quantity, side=side, asset=asset))
        assert answer.is_taken is True, f"the order was not taken: {answer.reason}"
        return name

    def timed(self, request: Request) -> Answer:
        """Send an order; the answer comes in time."""
        began = time.monotonic()
        answer = self.gateway.send(request)
        assert time.monotonic() - began < self.patience, "send took too long"
        return answer

    def fill(self, name: str, quantity: float, price: float = 50.0) -> None:
        """Fill some of an order, and wait until the gateway lists it."""
        before = len(self.executions())
        self.driver.fill(name, quantity, price)
        self.until(lambda: len(self.executions()) > before)

    def find(self, name: str) -> tuple[Report, ...]:
        """Where an order stands."""
        found = self.gateway.find(name)
        assert found, f"order {name!r} was not found"
        return found

    def status(self, name: str) -> OrderStatus:
        """Likewise, in a word."""
        return next(report.status for report in self.find(name) if report.client_id == name)

    def open(self) -> list[tuple[Report, str]]:
        """Open orders."""
        return list(self.gateway.open_orders())

    def executions(self, since: int = 0) -> list[Execution]:
        """Those of the account from a time on."""
        return list(self.gateway.executions(since))

    def stands(self) -> bool:
        """Whether the account can be asked for, and is the same."""
        try:
            return self.gateway.standing().account == self.opening.account
        except ConnectionLost:
            return False

    def held(self) -> float:
        """Units of the first asset."""
        return self.gateway.standing().positions.get(self.assets[0], 0.0)

    def told(self, kind: type[T]) -> list[T]:
        """What has arrived of a kind."""
        while (message := self.inbox.take(0)) is not None:
            assert message.source == "broker", f"{message.content!r} was put for {message.source!r}"
            self._told.append(message.content)
        return [event for event in self._told if isinstance(event, kind)]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for news, not for ever."""
        end = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(_LOOK)
