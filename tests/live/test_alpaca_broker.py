"""`AlpacaBroker` through the vendor's client in front of a rehearsal server."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ml4t.backtest
from ml4t.backtest import AlpacaBroker, BacktestEngine, Instrument, Order, Strategy
from ml4t.backtest.errors import ConfigError, ConnectionLost
from ml4t.backtest.live.broker import LiveBroker
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.words import Change, Link, Report, Request, Terms
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.simulation.broker import SimulationBroker
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce
from tests.live.rehearsed import RehearsedWorld, bars, rehearsed
from tests.live.world import START, Killed

Act = Callable[[Any], Any]
KEYS = ("PKGOOD", "hush-hush")


class Script(Strategy):
    """Does one thing after each of some bars, counted from 1."""

    def __init__(self, acts: dict[int, Act]) -> None:
        self.acts = acts

    def on_start(self) -> None:
        self.step = 0
        self.ids: list[int] = []

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step in self.acts:
            made = self.acts[self.step](self)
            self.ids += [made] if isinstance(made, int) else []


def flat(*opens: float, spread: float = 0.5) -> list[tuple[float, float, float, float]]:
    """Bars around their open, that end there."""
    return [(price, price + spread, price - spread, price) for price in opens]


def play(folder: Path, prices: Any, acts: dict[int, Act], **options: Any) -> Any:
    """A session on one asset or several; the world, its result, and the server's orders."""
    rows = prices if isinstance(prices, dict) else {"A": prices}
    broker = options.pop("broker", {})
    with rehearsed(folder, bars(rows, START), **options) as world:
        world.options |= broker
        result = world.run(Script(acts))
        world.check()
        return world, result, list(world.venue.register.tickets.values())


def fills(result: Any) -> list[tuple[Any, ...]]:
    """Bar number, side, quantity and price."""
    return [
        (round((row["timestamp"] - START).total_seconds() / 60.0), str(row["side"]),
         row["quantity"], row["price"])
        for row in result.fills.iter_rows(named=True)
    ]  # fmt: skip


# -- kinds of orders ----------------------------------------------------------------------------

PRICES = flat(100, 101, 102, 99, 98, 103, 104, 100)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order("A", "buy", 5), (1, "buy", 5.0, 101.0)),
        (Order("A", "buy", 5, "limit", limit_price=99.0), (3, "buy", 5.0, 99.0)),
        (Order("A", "buy", 5, "stop", stop_price=102.75), (5, "buy", 5.0, 103.0)),
        (
            Order("A", "buy", 5, "stop_limit", stop_price=102.25, limit_price=102.5),
            (2, "buy", 5.0, 102.25),
        ),
        (Order("A", "sell", 5), (1, "sell", 5.0, 101.0)),
        (
            Order("A", "sell", 5, "trailing_stop", trail_amount=2.0),
            (3, "sell", 5.0, 99.0),
        ),
        (Order("A", "buy", 5, "limit", limit_price=101.0, time_in_force="ioc"),
         (1, "buy", 5.0, 101.0)),
        (Order("A", "buy", 5, "limit", limit_price=101.0, time_in_force="fok"),
         (1, "buy", 5.0, 101.0)),
        (Order("A", "buy", 5, time_in_force="day"), (1, "buy", 5.0, 101.0)),
    ],
)  # fmt: skip
def test_every_kind_of_order(tmp_path: Path, order: Order, expected: Any) -> None:
    """It is at the server as it was asked, and fills there as in a backtest."""
    world, result, (ticket,) = play(tmp_path, PRICES, {1: lambda s: s.submit_order(order)})
    assert fills(result) == [expected]
    asked = ticket.asked
    assert (asked.type, asked.side, asked.time_in_force) == (
        order.type, order.side, str(order.time_in_force),
    )  # fmt: skip
    assert ticket.client_order_id.startswith("ml4t-")
    acts: dict[int, Act] = {1: lambda s: s.submit_order(order)}
    backtest = BacktestEngine(world.make(), strategy=Script(acts), broker=SimulationBroker()).run()
    assert fills(backtest) == [expected]


def test_prices_are_on_the_grid_of_the_exchange(tmp_path: Path) -> None:
    """Never to a more aggressive one: Alpaca refuses parts of a cent."""
    acts: dict[int, Act] = {
        1: lambda s: s.buy("A", 5, limit_price=90.126),
        2: lambda s: s.submit_order(Order("A", "buy", 5, "stop", stop_price=120.121)),
        3: lambda s: s.sell("B", 5, limit_price=0.98765),
    }
    _, _, tickets = play(tmp_path, {"A": PRICES, "B": flat(*[0.9] * 8, spread=0.01)}, acts)
    assert [t.limit_price for t in tickets] == [90.12, None, 0.9877]
    assert tickets[1].stop_price == 120.13


@pytest.mark.parametrize(
    ("prices", "expected", "ends"),
    [
        (flat(100, 101, 102, 106, 107), [(1, "buy", 10.0, 101.0), (3, "sell", 10.0, 106.0)],
         {"limit": "filled", "stop": "canceled"}),
        (flat(100, 101, 100, 94, 93), [(1, "buy", 10.0, 101.0), (3, "sell", 10.0, 94.0)],
         {"limit": "canceled", "stop": "filled"}),
    ],
)  # fmt: skip
def test_a_bracket_is_one_of_alpacas(
    tmp_path: Path, prices: Any, expected: Any, ends: dict[str, str]
) -> None:
    """Its legs are orders of the book, with their own ends."""
    acts: dict[int, Act] = {1: lambda s: s.bracket("A", 10, stop_loss=95, take_profit=105)}
    _, result, tickets = play(tmp_path, prices, acts)
    assert str(tickets[0].asked.order_class) == "bracket"
    assert len(tickets) == 3
    assert fills(result) == expected
    found = {row["type"]: row["status"] for row in result.orders.iter_rows(named=True)}
    assert {kind: str(found[kind]) for kind in ends} == ends


def test_one_exit_is_an_oto_and_two_are_an_oco(tmp_path: Path) -> None:
    """As Alpaca calls them."""
    acts: dict[int, Act] = {
        1: lambda s: s.bracket("A", 10, stop_loss=90),
        3: lambda s: s.cancel_all("A"),
        4: lambda s: [
            s.submit_order(Order("A", "sell", 10, kind, reduce_only=True, oco="x", **price))
            for kind, price in (("limit", {"limit_price": 120}), ("stop", {"stop_price": 99.0}))
        ],
    }
    _, result, tickets = play(tmp_path, flat(100, 101, 102, 101, 100, 98, 97), acts)
    assert [str(t.asked.order_class) for t in tickets if t.parent is None] == ["oto", "oco"]
    assert fills(result) == [(1, "buy", 10.0, 101.0), (5, "sell", 10.0, 98.0)]


def test_a_leg_is_changed_and_canceled_by_itself(tmp_path: Path) -> None:
    """Alpaca cancels all of a bracket with one of it: what is still wanted is sent again."""
    acts: dict[int, Act] = {
        1: lambda s: s.acts.update(made=s.bracket("A", 10, stop_loss=90, take_profit=120)),
        3: lambda s: s.replace_order(s.acts["made"].stop_loss, stop_price=95.0),
        4: lambda s: s.cancel_order(s.acts["made"].take_profit),
    }
    _, result, tickets = play(tmp_path, flat(100, 101, 102, 101, 100, 100, 94, 93), acts)
    assert fills(result) == [(1, "buy", 10.0, 101.0), (6, "sell", 10.0, 94.0)]
    stops = [t for t in tickets if t.asked.type == "stop"]
    assert [(t.stop_price, str(t.status)) for t in stops] == [
        (90.0, "replaced"), (95.0, "canceled"), (95.0, "filled"),
    ]  # fmt: skip
    ends = {row["type"]: str(row["status"]) for row in result.orders.iter_rows(named=True)}
    assert ends == {"market": "filled", "stop": "filled", "limit": "canceled"}


@pytest.mark.parametrize(
    ("order", "exits"),
    [
        ({"time_in_force": "day"}, {"time_in_force": "gtc"}),
        ({}, {"stop_price": 130.0}),
    ],
)
def test_exits_that_are_no_bracket_of_alpacas_are_sent_by_themselves(
    tmp_path: Path, order: Any, exits: Any
) -> None:
    """For the day and until canceled do not go together, nor do a target below its stop."""

    def enter(strategy: Any) -> None:
        entry = strategy.submit_order(Order("A", "buy", 10, **order))
        pair = {"after": entry, "oco": "x", "reduce_only": True} | {"time_in_force": "gtc"}
        stop = {"stop_price": 90.0} | exits
        strategy.submit_order(Order("A", "sell", 10, "stop", **(pair | stop)))
        strategy.submit_order(Order("A", "sell", 10, "limit", limit_price=125.0, **pair))

    world, _, tickets = play(tmp_path, PRICES, {1: enter})
    assert str(tickets[0].asked.order_class) == "simple"
    assert world is not None


# -- changes, cancels, parts ---------------------------------------------------------------------


def test_a_change_is_a_new_order_for_what_is_left(tmp_path: Path) -> None:
    """Alpaca's new order works its whole quantity, whatever the old one had filled."""
    acts: dict[int, Act] = {
        1: lambda s: s.buy("A", 10, limit_price=101.0),
        3: lambda s: s.replace_order(s.ids[0], limit_price=99.0, quantity=12.0),
    }
    prices = flat(100, 101, 104, 104, 99, 98, 98, spread=0.0)
    faults = ["partial-fill:share=0.4"]
    world, result, tickets = play(tmp_path, prices, acts, faults=faults)
    assert [(t.qty, t.filled_qty, str(t.status)) for t in tickets] == [
        (10.0, 4.0, "replaced"), (8.0, 8.0, "filled"),
    ]  # fmt: skip
    assert fills(result) == [(1, "buy", 4.0, 101.0), (4, "buy", 8.0, 99.0)]
    (order,) = result.orders.iter_rows(named=True)
    assert (str(order["status"]), order["filled_quantity"]) == ("filled", 12.0)
    assert [t.client_order_id for t in tickets][1] == f"{tickets[0].client_order_id}r1"
    assert world is not None


def test_what_fills_while_it_is_changed_is_taken_off(tmp_path: Path) -> None:
    """Between the look at the old order and the change."""
    acts: dict[int, Act] = {
        1: lambda s: s.buy("A", 10, limit_price=101.0),
        2: lambda s: s.replace_order(s.ids[0], limit_price=99.0),
    }
    with rehearsed(tmp_path, bars({"A": flat(100, 104, 101, 104, 99, 98)}, START)) as world:
        original = world.server.venue.desk.replace
        world.server.add_fault("partial-fill:share=0.4")

        def late(order_id: str, **changes: Any) -> Any:
            world.server.venue.desk.replace = original  # type: ignore[method-assign]
            world.venue.step()  # the market goes on while the change is under way
            return original(order_id, **changes)

        world.server.venue.desk.replace = late  # type: ignore[method-assign]
        result = world.run(Script(acts))
        world.check()
        assert sum(row[2] for row in fills(result)) == 10.0


def test_a_cancel_waits_for_its_confirmation(tmp_path: Path) -> None:
    """What fills meanwhile is booked, and what comes in its place is so much less."""
    acts: dict[int, Act] = {
        1: lambda s: s.buy("A", 10, limit_price=99.0),
        3: lambda s: s.cancel_all("A"),
    }
    faults = ["fill-during-cancel"]
    _, result, _ = play(tmp_path, flat(100, 101, 102, 99, 98), acts, faults=faults)
    assert fills(result) == [(3, "buy", 10.0, 99.0)]
    _, result, (ticket,) = play(tmp_path / "2", flat(100, 101, 102, 99, 98), acts)
    assert (fills(result), str(ticket.status)) == ([], "canceled")


def test_partial_fills_add_up(tmp_path: Path) -> None:
    """Each is told once, by the list of activities and by the stream."""
    faults = ["partial-fill:share=0.3,times=3"]
    _, result, _ = play(tmp_path, PRICES, {1: lambda s: s.buy("A", 10)}, faults=faults)
    assert [row[2] for row in fills(result)] == [3.0, 3.0, 3.0, 1.0]
    assert [str(status) for status in result.orders["status"]] == ["filled"]


def test_a_flip_goes_through_zero_in_two_orders(tmp_path: Path) -> None:
    """Alpaca sells no more than there is, and shorts from flat."""
    acts: dict[int, Act] = {
        1: lambda s: s.order_target("A", 10),
        3: lambda s: s.order_target("A", -5),
    }
    _, result, tickets = play(tmp_path, PRICES, acts)
    assert [(t.asked.side, t.qty) for t in tickets] == [
        ("buy", 10.0),
        ("sell", 10.0),
        ("sell", 5.0),
    ]
    assert [row[:3] for row in fills(result)] == [
        (1, "buy", 10.0), (3, "sell", 10.0), (4, "sell", 5.0),
    ]  # fmt: skip


def test_units_that_another_order_holds_are_freed_first(tmp_path: Path) -> None:
    """A protective stop has the shares: it is canceled, confirmed, and then they are sold."""
    acts: dict[int, Act] = {
        1: lambda s: s.bracket("A", 10, stop_loss=90, take_profit=120),
        3: lambda s: s.close_position("A"),
    }
    _, result, tickets = play(tmp_path, PRICES, acts)
    assert [row[:3] for row in fills(result)] == [(1, "buy", 10.0), (3, "sell", 10.0)]
    assert {str(t.status) for t in tickets if t.parent} == {"canceled"}


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order("A", "buy", 5, "trailing_stop_limit", trail_amount=1.0, limit_offset=0.5),
         "no trailing stop-limit orders: use a trailing stop"),
        (Order("A", "buy", 5, "limit", limit_price=90.0, time_in_force="gtd",
               expires_at=dt.date(2024, 3, 5)), "no orders that end at a time"),
        (Order("A", "sell", 5, "trailing_stop", trail_amount=1.0, time_in_force="ioc"),
         "trailing stops as day or gtc"),
        (Order("B/USD", "buy", 5, "stop", stop_price=120.0), "no stop orders for crypto"),
        (Order("B/USD", "buy", 5, time_in_force="day"), "crypto orders as gtc or ioc"),
        (Order("P", "buy", 0.5, "limit", limit_price=9.0), "parts of shares for the day"),
        (Order("P", "sell", 0.5, "trailing_stop", trail_amount=1.0), "trails whole shares"),
    ],
)  # fmt: skip
def test_what_alpaca_cannot_do_is_refused_at_once(tmp_path: Path, order: Order, words: str) -> None:
    """In words, before anything is sent."""
    rows = {"A": PRICES, "B/USD": PRICES, "P": PRICES}
    part = [Instrument(asset_id="P", lot_size=0.0), Instrument(asset_id="B/USD", lot_size=0.0)]
    _, result, tickets = play(
        tmp_path, rows, {1: lambda s: s.submit_order(order)}, broker={"instruments": part}
    )
    assert tickets == []
    assert words in result.orders["reason"][0]
    assert [str(status) for status in result.orders["status"]] == ["rejected"]


def test_a_refusal_by_alpaca_has_its_words(tmp_path: Path) -> None:
    """And the order ends rejected: short sales are not allowed here."""
    _, result, _ = play(tmp_path, PRICES, {1: lambda s: s.sell("A", 5)}, shorting=False)
    assert result.orders["reason"].to_list() == ["asset 'A' cannot be sold short"]


def test_a_rejection_by_the_exchange_has_its_words(tmp_path: Path) -> None:
    """It was taken before."""
    faults = ["reject-order"]
    _, result, _ = play(tmp_path, PRICES, {1: lambda s: s.buy("A", 5)}, faults=faults)
    assert result.orders["reason"].to_list() == ["rejected by the exchange"]


def test_a_name_that_is_taken_means_that_the_order_is_there(tmp_path: Path) -> None:
    """The vendor's client repeats a POST by itself; should it, that is no second order."""
    with rehearsed(tmp_path, bars({"A": PRICES}, START), faults=["504-after:call=submit"]) as world:
        broker = AlpacaBroker("key", "secret", url=world.server.url)
        gateway: Any = broker.gateway
        gateway._calls._client._retry, gateway._calls._client._retry_wait = 3, 0
        world.server.step()
        gateway.connect(Inbox())
        answer = gateway.send(request("run-1-1"))
        gateway.close()
        assert answer.is_taken
        assert [report.client_id for report in answer.reports] == ["run-1-1"]
        assert len(world.venue.register.tickets) == 1


# -- stocks, crypto, parts, hours -----------------------------------------------------------------


def request(name: str, **terms: Any) -> Request:
    """A purchase of five at the market, or something like it."""
    levels = {key: terms.pop(key) for key in ("limit_price", "stop_price") if key in terms}
    return Request(name, Terms("A", OrderSide.BUY, **terms), 5.0, **levels)


def test_parts_of_shares_at_the_market_are_for_the_day(tmp_path: Path) -> None:
    """Alpaca takes them as nothing else, and a strategy says nothing about it."""
    acts: dict[int, Act] = {1: lambda s: s.buy("A", 1.5), 3: lambda s: s.close_position("A")}
    options = {"fractional": True, "broker": {"fractional": True}}
    _, result, tickets = play(tmp_path, PRICES, acts, **options)
    assert [t.asked.time_in_force for t in tickets] == ["day", "day"]
    assert [row[2] for row in fills(result)] == [1.5, 1.5]


def test_crypto_trades_in_parts(tmp_path: Path) -> None:
    """With no bracket of Alpaca's: exits are sent when the entry has filled."""
    acts: dict[int, Act] = {
        1: lambda s: s.submit_order(Order("BTC/USD", "buy", 0.125)),
        2: lambda s: s.submit_order(
            Order("BTC/USD", "sell", 0.125, "limit", limit_price=102.5, reduce_only=True)
        ),
    }
    lots = {"broker": {"fractional": True}}
    world, result, tickets = play(tmp_path, {"BTC/USD": PRICES}, acts, **lots)
    assert [(row[1], row[2]) for row in fills(result)] == [("buy", 0.125), ("sell", 0.125)]
    assert [t.asked.time_in_force for t in tickets] == ["gtc", "gtc"]
    assert world is not None


def test_extended_hours_are_asked_for_where_alpaca_has_them(tmp_path: Path) -> None:
    """Limit orders for the day."""
    acts: dict[int, Act] = {
        1: lambda s: s.submit_order(
            Order("A", "buy", 5, "limit", limit_price=90.0, time_in_force="day")
        ),
        2: lambda s: s.buy("A", 5, limit_price=90.0),
        3: lambda s: s.buy("A", 5),
    }
    _, _, tickets = play(tmp_path, PRICES, acts, broker={"extended_hours": True})
    assert [t.asked.extended_hours for t in tickets] == [True, False, False]


# -- the connection -----------------------------------------------------------------------------


@pytest.fixture
def server() -> Any:
    """A server that knows its keys."""
    venue = Venue(bars({"A": PRICES}, START))
    with RehearsalServer(venue, key=KEYS[0], secret=KEYS[1]) as found:
        found.step()
        yield found


def broker_of(server: Any, keys: tuple[str, str] = KEYS, **options: Any) -> Any:
    """A broker for it."""
    return AlpacaBroker(*keys, url=server.url, **({"connect_seconds": 3.0} | options))


def test_connecting_proves_the_account(server: Any) -> None:
    """Its number, its money and the broker's time."""
    gateway = broker_of(server).gateway
    standing = gateway.connect(Inbox())
    gateway.close()
    gateway.close()
    assert (standing.account, standing.cash, standing.positions) == ("REHEARSAL", 100_000.0, {})
    assert standing.at == int(START.timestamp() * 1e6)


def test_wrong_keys_are_an_error_that_does_not_tell_them(server: Any) -> None:
    """At once, and not tried for ever."""
    with pytest.raises(ConnectionLost, match="refused the key and the secret") as caught:
        broker_of(server, ("PKBAD", "not-this-one")).gateway.connect(Inbox())
    assert "PKBAD" not in str(caught.value)
    assert "not-this-one" not in str(caught.value)


def test_a_stream_that_refuses_the_keys_is_an_error(server: Any) -> None:
    """The vendor's client would try again without a word."""
    server.add_fault("refuse-trades:times=all")
    with pytest.raises(ConnectionLost, match="stream of trade updates"):
        broker_of(server).gateway.connect(Inbox())


def test_a_stream_that_says_nothing_is_an_error_in_time(server: Any) -> None:
    """Which names what came in the way."""
    broker = broker_of(server, stream_url="ws://127.0.0.1:9/stream", connect_seconds=0.5)
    with pytest.raises(ConnectionLost, match=r"within 0.5 seconds; last: .*Error"):
        broker.gateway.connect(Inbox())


def test_a_server_that_is_not_there_is_an_error() -> None:
    """No HTTP call waits for ever."""
    broker = AlpacaBroker("key", "secret", url="http://127.0.0.1:9", connect_seconds=0.8)
    with pytest.raises(ConnectionLost, match="did not answer GET /account"):
        broker.gateway.connect(Inbox())


@pytest.mark.parametrize(
    ("change", "words"),
    [({"status": "ACCOUNT_CLOSED"}, "ACCOUNT_CLOSED, not ACTIVE"),
     ({"trading_blocked": True}, "may not trade: trading blocked")],
)  # fmt: skip
def test_an_account_that_may_not_trade_is_refused(
    server: Any, change: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name."""
    from ml4t.backtest.rehearsal import alpaca_words

    whole = alpaca_words.account_json
    monkeypatch.setattr(alpaca_words, "account_json", lambda venue: whole(venue) | change)
    with pytest.raises(ConnectionLost, match=f"The account REHEARSAL.*{words}"):
        broker_of(server).gateway.connect(Inbox())


def test_keys_that_are_revoked_on_the_way_end_the_stream(tmp_path: Path) -> None:
    """After a few tries; calls go on, and the operator knows."""
    with rehearsed(tmp_path, bars({"A": PRICES}, START)) as world:
        world.server.step()
        gateway: Any = AlpacaBroker("key", "secret", url=world.server.url).gateway
        inbox = Inbox()
        gateway.connect(inbox)
        world.server.add_fault("refuse-trades:times=all")
        world.server.run(world.server._trades.lines.drop)
        gateway._updates._thread.join(10.0)
        assert not gateway._updates._thread.is_alive()
        gateway.close()
        told = [message.content for message in iter(lambda: inbox.take(0), None)]
        assert isinstance(told[0], Link)
        assert not any(link.is_up for link in told)
        assert "refused the key" in gateway._updates.refused if gateway._updates else True


def test_a_broken_stream_comes_back_and_says_so(tmp_path: Path) -> None:
    """What was missed is asked for: a fill on the way is booked."""
    with rehearsed(tmp_path, bars({"A": PRICES}, START)) as world:
        world.before = {
            1: lambda: world.server.add_fault("drop-trades:event=fill"),
            4: world.wait_for_stream,
        }
        result = world.run(Script({1: lambda s: s.buy("A", 5)}))
        world.check()
        assert [row[2:] for row in fills(result)] == [(5.0, 101.0)]
        notes = world.notes()
        assert notes.count("connection lost") == 1
        assert notes.count("connection up") == 2


def test_a_stream_that_goes_mute_is_renewed(tmp_path: Path) -> None:
    """It answers pings, and tells nothing: fills that the account lists give it away."""
    from ml4t.backtest.live.alpaca import ledger

    with rehearsed(tmp_path, bars({"A": PRICES * 2}, START)) as world:
        late, ledger._OVERDUE = ledger._OVERDUE, 0.0
        world.before = {
            1: lambda: world.server.add_fault("mute-trades:event=fill"),
            9: world.wait_for_stream,
        }
        world.options["silence"] = 10.0
        try:
            world.run(Script({n: lambda s: s.buy("A", 5) for n in range(1, 12)}))
        finally:
            ledger._OVERDUE = late
        world.check()
        assert "connection lost" in world.notes()


def test_a_restart_finds_the_legs_of_a_bracket(tmp_path: Path) -> None:
    """Alpaca names them, and knows them by the order that they belong to."""
    acts: dict[int, Act] = {1: lambda s: s.bracket("A", 10, stop_loss=95, take_profit=105)}
    prices = flat(100, 101, 102, 101, 106, 107)
    with rehearsed(tmp_path, bars({"A": prices}, START)) as world:
        world.before[3] = world.kill
        with pytest.raises(Killed):
            world.run(Script(acts))
        world.server.step(2)  # the target fills while nobody listens
        del world.before[3]
        result = world.run(Script(acts))
        world.check()
        assert [row[1:] for row in fills(result)] == [("buy", 10.0, 101.0), ("sell", 10.0, 106.0)]


def test_a_restart_finds_a_leg_that_was_changed_unheard(tmp_path: Path) -> None:
    """The change was made, its answer and its update were lost, and the program died."""
    acts: dict[int, Act] = {
        1: lambda s: s.acts.update(made=s.bracket("A", 10, stop_loss=90)),
        3: lambda s: s.replace_order(s.acts["made"].stop_loss, stop_price=95.0),
    }
    prices = flat(100, 101, 102, 101, 100, 94, 93, 93, 93)
    faults = ["504-after:call=replace", "lose-update:side=sell,times=all"]
    with rehearsed(tmp_path, bars({"A": prices}, START), faults=faults) as world:
        world.before[3] = world.kill
        with pytest.raises(Killed):
            world.run(Script(acts))
        del world.before[3]
        result = world.run(Script(dict(acts)))
        world.check()
        assert [row[1:] for row in fills(result)] == [("buy", 10.0, 101.0), ("sell", 10.0, 94.0)]
        assert [str(status) for status in result.orders["status"]] == ["filled", "filled"]


def test_orders_of_others_are_none_of_ours(tmp_path: Path) -> None:
    """They are told to the operator, and their fills are looked up once."""
    with rehearsed(tmp_path, bars({"A": PRICES}, START)) as world:
        from ml4t.backtest.rehearsal.tickets import Asked

        other = Asked(symbol="A", side="buy", type="limit", time_in_force="gtc", qty=3.0,
                      limit_price=50.0)  # fmt: skip
        world.before[2] = lambda: world.server.run(lambda: world.venue.desk.submit(other))
        world.run(Script({1: lambda s: s.buy("A", 5)}), audit_every=60.0)
        assert "an open order that is not ours" in world.notes()


# -- the counter --------------------------------------------------------------------------------


def test_fees_in_coins_are_those_of_crypto() -> None:
    """A quarter of a percent of what is bought, at most; shares cost none."""
    gateway = AlpacaBroker("key", "secret").gateway
    assert (gateway.coin_fee("BTC/USD"), gateway.coin_fee("AAPL")) == (0.0025, 0.0)


def test_it_is_made_without_a_connection() -> None:
    """And says nothing of its keys."""
    broker = AlpacaBroker("PKSECRETKEY", "evenmoresecret")
    assert repr(broker) == "AlpacaBroker(AlpacaGateway(paper, Credentials([hidden])))"
    assert "SECRET" not in str(broker.settings()).upper()
    assert isinstance(broker, LiveBroker)
    assert broker.gateway.is_paper
    assert not AlpacaBroker("AK", "s", paper=False).gateway.is_paper
    assert ml4t.backtest.AlpacaBroker is AlpacaBroker


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "https://api.alpaca.markets"}, "trades with real money, and paper=True"),
        ({"url": "https://paper-api.alpaca.markets", "paper": False}, "with paper money"),
        ({"url": "localhost:80"}, "is no address"),
        ({"connect_seconds": 0}, "connect_seconds must be a positive number"),
        ({"request_seconds": "soon"}, "request_seconds must be a positive number"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a positive whole number"),
        ({"basket_wait": -1}, "basket_wait"),
    ],
)
def test_options_that_make_no_sense(options: Any, words: str) -> None:
    """Are refused when it is made."""
    with pytest.raises(ConfigError, match=words):
        AlpacaBroker("key", "secret", **options)


def test_unknown_orders_are_answered(server: Any) -> None:
    """Whatever is asked of them."""
    gateway = broker_of(server).gateway
    gateway.connect(Inbox())
    assert gateway.find("run-9-1") == ()
    assert gateway.cancel("run-9-1").is_taken is False
    assert gateway.replace(Change("run-9-1", "run-9-1r1", 5.0)).is_taken is False
    limit = request("run-1-1", type=OrderType.LIMIT, time_in_force=TimeInForce.GTC,
                    limit_price=50.0)  # fmt: skip
    assert gateway.send(limit).is_taken
    ((report, asset),) = gateway.open_orders()
    assert (report.client_id, asset) == ("run-1-1", "A")
    assert gateway.find("run-1-1") == (
        Report("run-1-1", OrderStatus.ACCEPTED, report.venue_id),
    )  # fmt: skip
    gateway.close()


def test_many_lookups_are_one_list(server: Any) -> None:
    """A hundred resting orders would else use up the requests of the account."""
    gateway = broker_of(server).gateway
    gateway.connect(Inbox())
    for i in range(20):
        gateway.send(request(f"run-{i}-1", type=OrderType.LIMIT, limit_price=50.0))
    before = server.calls
    found = [gateway.find(f"run-{i}-1") for i in range(20)]
    assert all(len(reports) == 1 for reports in found)
    assert server.calls - before <= 5
    gateway.cancel("run-0-1")
    assert gateway.find("run-0-1")[0].status is OrderStatus.CANCELED
    gateway.close()


def test_the_world_is_one(tmp_path: Path) -> None:
    """The helper compares what it says: a fill behind the session's back is noticed."""
    with rehearsed(tmp_path, bars({"A": PRICES}, START)) as world:
        assert isinstance(world, RehearsedWorld)
        world.run(Script({1: lambda s: s.buy("A", 5)}))
        world.venue.market.portfolio.cash += 1.0
        with pytest.raises(AssertionError):
            world.check()
