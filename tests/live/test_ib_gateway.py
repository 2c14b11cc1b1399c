"""IBGateway and IBBroker by themselves: contracts, accounts, clashes, limits, and codes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from ib_async import Forex

from ml4t.backtest import IBBroker, IBStreamFeed, Instrument, Order, SimulationBroker
from ml4t.backtest.errors import ConfigError, ConnectionLost
from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.pace import Pace
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.words import Change, Execution, Link, Report, Request, Terms
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.ib_words import Listing
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce
from tests.live.ib_world import FAST
from tests.rehearsal.clients import market

FUTURES = [
    Listing(asset_id="ESH4", symbol="ES", sec_type="FUT", exchange="CME", expiry="20240315",
            multiplier="50", local_symbol="ESH4", primary_exchange=""),
    Listing(asset_id="ESM4", symbol="ES", sec_type="FUT", exchange="CME", expiry="20240621",
            multiplier="50", local_symbol="ESM4", primary_exchange=""),
    Listing(asset_id="EURUSD", symbol="EUR", sec_type="CASH", exchange="IDEALPRO",
            local_symbol="EUR.USD", primary_exchange=""),
]  # fmt: skip


class Line:
    """A rehearsal, and gateways to it."""

    def __init__(self) -> None:
        self.servers: list[TwsRehearsal] = []
        self.gateways: list[Any] = []
        self.inbox = Inbox()

    def serve(self, data: pl.DataFrame | None = None, **options: Any) -> TwsRehearsal:
        """A venue whose first bar is known."""
        server = {name: options.pop(name) for name in ("account", "listings") if name in options}
        money = {} if "broker" in options else {"cash": 1_000.0}
        venue = Venue(market() if data is None else data, **(money | options))
        tws = TwsRehearsal(venue, **server)
        tws.start()
        tws.step()
        self.servers.append(tws)
        return tws

    def gateway(self, tws: TwsRehearsal, **options: Any) -> Any:
        """One that is not connected."""
        found = IBBroker(port=tws.port, **({**FAST, "answer_seconds": 1.0} | options)).gateway
        self.gateways.append(found)
        return found

    def connected(self, tws: TwsRehearsal, **options: Any) -> Any:
        """One that is."""
        found = self.gateway(tws, **options)
        found.connect(self.inbox)
        return found

    def told(self, kind: type[Any], count: int = 1) -> list[Any]:
        """What came to the inbox, of a kind."""
        found: list[Any] = []
        end = time.monotonic() + 5.0
        while len(found) < count and time.monotonic() < end:
            message = self.inbox.take(0.05)
            if message is not None and isinstance(message.content, kind):
                found.append(message.content)
        return found

    def end(self) -> None:
        """Everything ends."""
        for gateway in self.gateways:
            gateway.close()
        for server in self.servers:
            server.stop()


@pytest.fixture
def line() -> Iterator[Line]:
    """Ends with the test."""
    found = Line()
    try:
        yield found
    finally:
        found.end()


def request(
    name: str = "run-1-1", asset_id: str = "AAPL", quantity: float = 10.0, **options: Any
) -> Request:
    """A purchase."""
    names = ("limit_price", "stop_price", "legs")
    own = {one: options.pop(one) for one in names if one in options}
    return Request(name, Terms(asset_id, OrderSide.BUY, **options), quantity, **own)


def test_nothing_is_connected_before_a_session() -> None:
    """A broker is made without a network; options are checked at once."""
    broker = IBBroker(port=1, contracts={"ES": {"kind": "future", "exchange": "CME"}})
    assert broker.gateway.is_paper
    assert not IBBroker(port=7496).gateway.is_paper
    assert not IBBroker(port=4001).gateway.is_paper
    with pytest.raises(ConnectionLost, match="not connected"):
        broker.gateway.standing()
    broker.gateway.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 0}, "port must be a whole number from 1"),
        ({"client_id": -1}, "client_id must be"),
        ({"answer_seconds": 0}, "answer_seconds must be a positive number"),
        ({"contracts": {"ES": {"kind": "futur"}}}, "Did you mean 'future'"),
        ({"contracts": {"ES": {"expiri": "2024"}}}, "Did you mean 'expiry'"),
        ({"contracts": {"ES": 5}}, "must be a contract of ib_async or a dict"),
        ({"contracts": ["ES"]}, "contracts must be a dict of asset_id"),
        ({"account": 5}, "account must be the name of one"),
        ({"host": ""}, "host must be a name or an address"),
        ({"paper": "yes"}, "paper must be True, False, or None"),
        ({"heartbeat": "30s"}, "heartbeat must be a positive number"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], text: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigError, match=text):
        IBBroker(**options)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    for name in ("vendor", "contracts"):
        monkeypatch.delitem(sys.modules, f"ml4t.backtest.live.ib.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ib_async", None)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[ib\]'"):
        IBBroker()


def test_nobody_there_and_a_number_in_use(line: Line) -> None:
    """Both say what to do, in a bounded time."""
    tws = line.serve()
    line.connected(tws, client_id=5)
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="client_id=5 is in use by another program"):
        line.connected(tws, client_id=5)
    with pytest.raises(ConnectionLost, match="Is it running"):
        line.connected(TwsRehearsal(market(), port=1))
    assert time.monotonic() - began < 5.0


def test_accounts(line: Line) -> None:
    """The only one, the one that is named, and none of real money by accident."""
    tws = line.serve(account="U7654321")
    with pytest.raises(ConnectionLost, match=r"'U7654321' at port .* is real money"):
        line.connected(tws)
    with pytest.raises(ConnectionLost, match="no account 'DU1', but 'U7654321'"):
        line.connected(tws, account="DU1")
    standing = line.gateway(tws, paper=False).connect(line.inbox)
    assert (standing.account, standing.cash, standing.positions) == ("U7654321", 1_000.0, {})
    assert standing.at == int(tws.venue.now.timestamp() * 1e6)


def test_contracts_are_found_or_named_with_their_candidates(line: Line) -> None:
    """An order in what is not clear is refused, not guessed."""
    names = ["AAPL", "ESH4", "ESM4", "EURUSD"]
    ticks = [Instrument(asset_id=name, multiplier=50.0) for name in ("ESH4", "ESM4")]
    tws = line.serve(
        market(assets=names), listings=FUTURES, broker=SimulationBroker(1e6, instruments=ticks)
    )
    es = {"kind": "future", "symbol": "ES", "exchange": "CME"}
    gateway = line.connected(
        tws,
        contracts={"ES": es | {"expiry": "202406"}, "EURUSD": Forex("EURUSD")},
        instruments=[Instrument(asset_id="ES", multiplier=50.0)],
    )
    for name in ("AAPL", "ES", "EURUSD"):
        assert gateway.send(request(f"run-{name}-1", name)).is_taken
    answer = gateway.send(request("run-2-1", "MISSING"))
    assert answer.is_taken is False
    assert "knows no contract for 'MISSING'" in answer.reason
    tws.step()
    assert gateway.standing().positions == {"AAPL": 10.0, "ES": 10.0, "EURUSD": 10.0}
    unclear = line.gateway(tws, client_id=2, contracts={"ES": es})
    with pytest.raises(ConfigError, match=r"2 contracts for 'ES'.*ESH4.*ESM4.*Say which"):
        unclear.connect(line.inbox)
    wrong = line.gateway(tws, client_id=3, contracts={"ES": es | {"expiry": "202406"}})
    with pytest.raises(ConfigError, match=r"A point of 'ES' is 50 money .* and 1 here"):
        wrong.connect(line.inbox)


@pytest.mark.parametrize(
    ("options", "price"),
    [
        ({}, 11.0),
        ({"type": OrderType.LIMIT, "limit_price": 10.7}, 10.7),
        ({"type": OrderType.STOP, "stop_price": 11.2}, 11.2),
        ({"type": OrderType.STOP_LIMIT, "stop_price": 11.2, "limit_price": 11.4}, 11.2),
        ({"type": OrderType.TRAILING_STOP, "trail_amount": 0.5}, 10.5),
        ({"type": OrderType.TRAILING_STOP, "trail_percent": 0.05}, 10.5),
        (
            {"type": OrderType.TRAILING_STOP_LIMIT, "trail_amount": 0.5, "limit_offset": 0.5},
            10.5,
        ),
        ({"time_in_force": TimeInForce.DAY}, 11.0),
        ({"time_in_force": TimeInForce.IOC}, 11.0),
        ({"time_in_force": TimeInForce.GTD, "expires_at": "2024-01-02T16:00:00+00:00"}, 11.0),
    ],
)
def test_orders_of_every_kind(line: Line, options: dict[str, Any], price: float) -> None:
    """Sent, taken, filled, told, each once."""
    tws = line.serve()
    gateway = line.connected(tws)
    answer = gateway.send(request(**options))
    assert answer.is_taken
    assert [report.client_id for report in answer.reports] == ["run-1-1"]
    assert answer.reports[0].status is OrderStatus.ACCEPTED
    tws.step()
    (found,) = line.told(Execution)
    assert (found.client_id, found.asset_id, found.quantity) == ("run-1-1", "AAPL", 10.0)
    assert found.commission == 0.0
    assert found.price == pytest.approx(price, abs=0.51)
    assert gateway.find("run-1-1")[0].status is OrderStatus.FILLED
    assert [one.execution_id for one in gateway.executions(0)] == [found.execution_id]
    assert gateway.executions(found.at + 1) == []


def test_an_order_is_not_sent_twice(line: Line) -> None:
    """The broker would take it; we do not, even after a restart of ours."""
    tws = line.serve()
    gateway = line.connected(tws)
    assert gateway.send(request(type=OrderType.LIMIT, limit_price=5.0)).is_taken
    assert gateway.send(request(type=OrderType.LIMIT, limit_price=5.0)).is_taken
    gateway.close()
    other = line.connected(tws)
    assert other.send(request(type=OrderType.LIMIT, limit_price=5.0)).is_taken
    assert len(tws.venue.register.tickets) == 1
    assert other.find("nobody") == ()


def test_finished_orders_are_asked_for_only_when_needed(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They grow many in a day: an order that is open or known to be over needs none of them."""
    tws = line.serve()
    gateway = line.connected(tws)
    ib, asked = gateway._link.ib, []
    ask = ib.reqCompletedOrdersAsync

    def count(*, apiOnly: bool) -> Any:
        asked.append(1)
        return ask(apiOnly=apiOnly)

    monkeypatch.setattr(ib, "reqCompletedOrdersAsync", count)
    gateway.send(request("resting", type=OrderType.LIMIT, limit_price=5.0))
    gateway.send(request("at once"))
    assert gateway.find("resting")[0].status is OrderStatus.ACCEPTED
    tws.step()
    line.told(Execution)
    assert gateway.find("at once")[0].status is OrderStatus.FILLED
    assert asked == []
    assert gateway.find("never sent") == ()
    assert len(asked) == 1
    gateway.close()
    other = line.connected(tws)
    assert other.find("at once")[0].status is OrderStatus.FILLED  # by the list alone


def test_what_has_filled_is_not_sent_again(line: Line) -> None:
    """Though the broker lists the order nowhere any more, and never said that it has it."""
    tws = line.serve()
    gateway = line.connected(tws)
    gateway.send(request())
    tws.step()
    (found,) = line.told(Execution)
    del gateway._desk.book.orders["run-1-1"]
    assert gateway.send(request()).is_taken
    tws.step()
    assert [one.execution_id for one in gateway.executions(0)] == [found.execution_id]


def test_changes_keep_the_name_at_the_broker(line: Line) -> None:
    """And can be followed by a session that begins later."""
    tws = line.serve()
    gateway = line.connected(tws)
    gateway.send(request(type=OrderType.LIMIT, limit_price=5.0))
    change = Change("run-1-1", "run-1-r1", 12.0, 6.0)
    answer = gateway.replace(change)
    assert answer.is_taken
    assert [(r.client_id, r.replaced_by) for r in answer.reports] == [("run-1-1", "run-1-r1")]
    gateway.close()
    other = line.connected(tws)
    assert other.find("run-1-r1") == ()
    other.remember(request(type=OrderType.LIMIT, limit_price=5.0))
    other.remember_change(change)
    assert [r.client_id for r in other.find("run-1-r1")] == ["run-1-r1"]
    assert [r.replaced_by for r in other.find("run-1-1")] == ["run-1-r1"]
    (wanted,) = [order.wanted for order in tws.office.desk.all]
    assert (wanted.ref, wanted.limit, wanted.quantity) == ("run-1-1", 6.0, 12.0)
    assert other.cancel("run-1-r1").is_taken
    refused = other.replace(Change("run-1-r1", "run-1-r2", 12.0, 7.0))
    assert refused.is_taken is False
    assert other.cancel("run-1-r1").is_taken is False
    assert other.find("run-1-1")[0].status is OrderStatus.CANCELED


def bracket() -> Request:
    """A purchase with both exits."""
    sell: dict[str, Any] = {"side": OrderSide.SELL, "reduce_only": True}
    stop = Request("run-2-1", Terms("AAPL", type=OrderType.STOP, **sell), 10.0, None, 9.0)
    target = Request("run-3-1", Terms("AAPL", type=OrderType.LIMIT, **sell), 10.0, 12.4)
    return request(legs=(stop, target))


def test_legs_are_held_and_end_each_other(line: Line) -> None:
    """As the broker's own children."""
    tws = line.serve()
    gateway = line.connected(tws)
    answer = gateway.send(bracket())
    assert [report.status for report in answer.reports] == [
        OrderStatus.ACCEPTED, OrderStatus.PENDING, OrderStatus.PENDING
    ]  # fmt: skip
    tws.step()
    assert [report.status for report in gateway.find("run-1-1")] == [
        OrderStatus.FILLED, OrderStatus.ACCEPTED, OrderStatus.ACCEPTED
    ]  # fmt: skip
    tws.step()
    assert [report.status for report in gateway.find("run-1-1")] == [
        OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.FILLED
    ]  # fmt: skip


@pytest.mark.parametrize(("place", "price"), [(0, None), (1, 9.001), (2, 12.401)])
def test_a_bracket_with_a_wrong_part_leaves_nothing_behind(
    line: Line, place: int, price: float | None
) -> None:
    """Neither an entry without its exits, nor exits without an entry."""
    tws = line.serve()
    gateway = line.connected(tws)
    whole = bracket()
    parts: list[Any] = [whole, *whole.legs]
    if place == 0:
        whole = msgspec.structs.replace(whole, quantity=1e6)
    else:
        field = "stop_price" if place == 1 else "limit_price"
        parts[place] = msgspec.structs.replace(parts[place], **{field: price})
        whole = msgspec.structs.replace(whole, legs=tuple(parts[1:]))
    answer = gateway.send(whole)
    assert answer.is_taken is False
    assert ("buying power" if place == 0 else "minimum price variation") in answer.reason
    gateway.standing()
    assert gateway.open_orders() == []
    tws.step(3)
    assert gateway.standing().positions == {}


def test_numbers_that_the_broker_gives_again(line: Line) -> None:
    """Ours follow the clock, so that none is used twice."""
    tws = line.serve(faults=["roll-back-ids:every=1"])
    first = line.connected(tws)
    assert first.send(request("run-1-1", type=OrderType.LIMIT, limit_price=5.0)).is_taken
    assert first.cancel("run-1-1").is_taken
    first.close()
    time.sleep(1.0)  # the clock that they follow counts seconds
    second = line.connected(tws)
    assert second.send(request("run-2-1", type=OrderType.LIMIT, limit_price=5.0)).is_taken
    assert second.cancel("run-2-1").is_taken
    numbers = [order.order_id for order in tws.office.desk.all]
    assert len(set(numbers)) == 2
    assert min(numbers) > 1_000_000


def test_strangers_are_listed(line: Line) -> None:
    """Orders of other programs, with their assets; we cannot cancel them."""
    tws = line.serve()
    line.connected(tws, client_id=9).send(request(type=OrderType.LIMIT, limit_price=5.0))
    gateway = line.connected(tws)
    ((report, asset_id),) = gateway.open_orders()
    assert (report.client_id, asset_id) == ("run-1-1", "AAPL")
    answer = gateway.cancel("run-1-1")
    assert answer.is_taken is False
    assert "client_id=9 sent it" in answer.reason


def test_a_mute_line_is_noticed_and_made_anew(line: Line) -> None:
    """Connected, and silent: after the heartbeat it is asked, and dropped."""
    tws = line.serve()
    gateway = line.connected(tws, heartbeat=0.2, answer_seconds=0.4)

    def mute() -> None:
        for one in tws.office.lines:
            one.is_mute = True

    tws.run(mute)
    assert [link.is_up for link in line.told(Link, 2)] == [False, True]
    assert gateway.standing().cash == 1_000.0


def test_reports_say_why(line: Line) -> None:
    """In the broker's words."""
    tws = line.serve(faults=["reject-order:after=1"])
    gateway = line.connected(tws)
    poor = gateway.send(request("run-1-1", quantity=1e6))
    assert poor.is_taken is False
    assert "insufficient buying power" in poor.reason
    assert gateway.send(request("run-2-1", type=OrderType.LIMIT, limit_price=5.0)).is_taken
    answer = gateway.send(request("run-3-1"))
    assert (answer.is_taken, answer.reason) == (False, "rejected by the exchange")
    gateway.cancel("run-2-1")
    (report,) = line.told(Report)
    assert (report.client_id, report.status) == ("run-2-1", OrderStatus.CANCELED)
    assert report.reason == "canceled by the client"


def test_what_the_broker_cannot_work() -> None:
    """Known without asking."""
    gateway = IBBroker().gateway
    assert gateway.obstacle(Order("A", "buy", 1)) == ""
    assert "whole units" in gateway.obstacle(Order("A", "buy", 0.5))
    stop = Order("A", "buy", 1, "stop", stop_price=1.0, time_in_force="opg")
    assert "for auctions" in gateway.obstacle(stop)


@pytest.mark.parametrize(
    ("word", "filled", "is_held", "status"),
    [
        ("PendingSubmit", 0.0, False, None),
        ("ApiPending", 0.0, False, None),
        ("PreSubmitted", 0.0, True, OrderStatus.PENDING),
        ("PreSubmitted", 0.0, False, OrderStatus.ACCEPTED),
        ("Submitted", 1.0, False, OrderStatus.PARTIALLY_FILLED),
        ("PendingCancel", 0.0, False, OrderStatus.ACCEPTED),
        ("ApiCancelled", 0.0, False, OrderStatus.CANCELED),
        ("Inactive", 0.0, False, OrderStatus.REJECTED),
        ("Inactive", 1.0, False, OrderStatus.CANCELED),
        ("Filled", 1.0, False, OrderStatus.FILLED),
    ],
)
def test_words_for_where_an_order_stands(
    word: str, filled: float, is_held: bool, status: OrderStatus | None
) -> None:
    """Those of the broker, in ours."""
    assert mapping.status_of(word, filled, is_held=is_held) is status


def test_codes_are_of_one_kind_each() -> None:
    """A notice is no refusal."""
    assert not mapping.NOTICES & mapping.REFUSALS
    assert {399, 404, 10349} <= mapping.NOTICES
    assert {200, 201, 110} <= mapping.REFUSALS
    assert mapping.sort_execution("0000e0d5.65.01.03") == ("0000e0d5.65.01", 3, 2)
    assert mapping.sort_execution("odd") == ("odd", 1, 0)


def test_messages_are_counted_and_some_kept_for_cancels() -> None:
    """Of ten a second, two are for cancels."""
    pace = Pace(10)
    assert pace.wait(is_cancel=False) == 0.0
    pace.count(8)
    assert 0.0 < pace.wait(is_cancel=False) <= 1.0
    assert pace.wait(is_cancel=True) == 0.0
    pace.count(2)
    assert 0.0 < pace.wait(is_cancel=True) <= 1.0
    time.sleep(1.05)
    assert pace.wait(is_cancel=False) == 0.0


def test_the_room_of_a_test(tmp_path: Path) -> None:
    """A gateway that was never connected closes; twice."""
    gateway = IBBroker().gateway
    gateway.close()
    gateway.close()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": "x"}, "port must be a whole number"),
        ({"contracts": ["ES"]}, "contracts must be a dict"),
        ({"answer_seconds": -1}, "answer_seconds must be a positive number"),
    ],
)
def test_mistakes_of_a_feed_are_named(options: dict[str, Any], text: str) -> None:
    """Likewise."""
    with pytest.raises(ConfigError, match=text):
        IBStreamFeed(["AAPL"], **options)
