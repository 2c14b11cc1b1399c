"""The venue alone: the life of every kind of order, worked out by hand."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BasisPointSlippage, PercentCommission, SimulationBroker
from ml4t.backtest.errors import ConfigError
from ml4t.backtest.rehearsal.tickets import Asked, OrderClass, RefusedError
from ml4t.backtest.rehearsal.venue import Venue
from tests.conftest import ROOT
from tests.rehearsal.clients import FIRST, market


def asked(**changes: Any) -> Asked:
    """A purchase of ten at the market, or what `changes` make of it."""
    usual: dict[str, Any] = {
        "symbol": "AAPL",
        "side": "buy",
        "type": "market",
        "time_in_force": "gtc",
        "qty": 10,
    }
    return Asked(**(usual | changes))


def told(venue: Venue) -> list[tuple[Any, ...]]:
    """(event, type, quantity, price) of everything that the venue told."""
    return [(u.event, u.ticket.asked.type, u.qty, u.price) for u in venue.register.updates]


# Opens and closes 10, 11, 12, 11, 13, 12, 12, 11; highs and lows half a dollar away. Orders are
# sent after the first bar.
LIVES: dict[str, tuple[dict[str, Any], list[tuple[Any, ...]], str]] = {
    "market fills at the next open": (
        {},
        [("new", "market", None, None), ("fill", "market", 10, 11.0)],
        "filled",
    ),
    "limit fills at its level when it is touched": (
        {"type": "limit", "limit_price": 10.6},
        [("new", "limit", None, None), ("fill", "limit", 10, 10.6)],
        "filled",
    ),
    "limit out of reach stays": (
        {"type": "limit", "limit_price": 9.0},
        [("new", "limit", None, None)],
        "new",
    ),
    "stop fills at its level inside the bar": (
        {"type": "stop", "stop_price": 12.4},
        [("new", "stop", None, None), ("fill", "stop", 10, 12.4)],
        "filled",
    ),
    "stop that the open has passed fills there": (
        {"type": "stop", "stop_price": 12.8},
        [("new", "stop", None, None), ("fill", "stop", 10, 13.0)],
        "filled",
    ),
    "stop limit fills at its stop": (
        {"type": "stop_limit", "stop_price": 12.4, "limit_price": 12.45},
        [("new", "stop_limit", None, None), ("fill", "stop_limit", 10, 12.4)],
        "filled",
    ),
    "ioc has one bar": (
        {"type": "limit", "limit_price": 10.4, "time_in_force": "ioc"},
        [("new", "limit", None, None), ("canceled", "limit", None, None)],
        "canceled",
    ),
    "fok has one bar": (
        {"type": "limit", "limit_price": 10.4, "time_in_force": "fok"},
        [("new", "limit", None, None), ("canceled", "limit", None, None)],
        "canceled",
    ),
    "day expires with its session": (
        {"type": "limit", "limit_price": 9.0, "time_in_force": "day"},
        [("new", "limit", None, None), ("expired", "limit", None, None)],
        "expired",
    ),
    "trailing purchase follows the low and fills above it": (
        {"type": "trailing_stop", "trail_price": 1.4},
        # from 10: stop 11.4; the low of 10.5 is no better; met in the second bar (high 11.5)
        [("new", "trailing_stop", None, None), ("fill", "trailing_stop", 10, 11.4)],
        "filled",
    ),
}


@pytest.mark.parametrize("name", LIVES)
def test_the_life_of_an_order(name: str) -> None:
    """Each is told, and ends, as the table says."""
    changes, events, status = LIVES[name]
    venue = Venue(market(), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(asked(**changes))
    assert ticket.status == "accepted"
    steps = 7 if status in ("expired", "new") else 4
    if status == "new":
        steps = 3
    venue.step(steps)
    assert told(venue) == events
    assert venue.register.find(ticket.id).status == status


def test_a_bracket_holds_its_legs_until_the_entry_fills() -> None:
    """Then they work; one that fills ends the other."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(
        asked(order_class=OrderClass.BRACKET, take_profit=13.2, stop_loss=9.0)
    )
    stop, target = (venue.register.find(leg) for leg in ticket.legs)
    assert (stop.status, target.status) == ("held", "held")
    venue.step()
    assert (stop.status, target.status) == ("new", "new")
    assert venue.accounts.available("AAPL") == 0
    venue.step(3)
    assert (stop.status, target.status) == ("canceled", "filled")
    assert target.filled_avg_price == 13.2
    assert "cancels other" in stop.reason
    assert venue.accounts.held("AAPL") == 0


def test_canceling_a_bracket_ends_its_legs() -> None:
    """The entry had not filled."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(
        asked(type="limit", limit_price=9.0, order_class="bracket", take_profit=13, stop_loss=8)
    )
    venue.desk.cancel(ticket.id)
    assert [t.status for t in venue.register.tickets.values()] == ["canceled"] * 3
    assert not venue.register.open


@pytest.mark.parametrize(("leg", "other"), [(0, 1), (1, 0)])
def test_canceling_a_leg_ends_the_other(leg: int, other: int) -> None:
    """As the broker says of its groups."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(asked(order_class=OrderClass.BRACKET, take_profit=20, stop_loss=5))
    venue.step()
    venue.desk.cancel(ticket.legs[leg])
    assert venue.register.find(ticket.legs[other]).status == "canceled"
    assert venue.accounts.available("AAPL") == 10


def test_oto_has_one_leg() -> None:
    """A stop that works once the entry has filled."""
    venue = Venue(market([10, 11, 12, 9]), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(asked(order_class=OrderClass.OTO, stop_loss=9.9))
    (leg,) = ticket.legs
    venue.step(2)  # in at 11
    assert venue.register.find(leg).status == "new"
    venue.step()
    assert venue.register.find(leg).filled_avg_price == 9.0


def test_oco_leaves_a_position_one_way_or_the_other() -> None:
    """Two exits, of which each counts once for what is held."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    venue.desk.submit(asked())
    venue.step()
    ticket = venue.desk.submit(
        asked(side="sell", type="limit", order_class="oco", take_profit=13.1, stop_loss=9.0)
    )
    (stop,) = ticket.legs
    assert venue.accounts.available("AAPL") == 0
    venue.step(3)
    assert venue.register.find(ticket.id).filled_avg_price == 13.1
    assert venue.register.find(stop).status == "canceled"


def test_a_trailing_stop_shows_its_best_price() -> None:
    """Highs of 11.5, 12.5: the stop a dollar below; the open of 11 passes it."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    venue.desk.submit(asked())
    venue.step()
    ticket = venue.desk.submit(asked(side="sell", type="trailing_stop", trail_price=1.0))
    venue.step()
    found = venue.register.find(ticket.id)
    assert (found.hwm, found.stop_price) == (12.5, 11.5)
    venue.step()
    assert found.filled_avg_price == 11.0


def test_a_notional_order_buys_for_its_money() -> None:
    """A hundred at an open of 11, not at the close of 10 that it was sent at."""
    venue = Venue(market(), cash=1_000, fractional=True)
    venue.step()
    ticket = venue.desk.submit(asked(qty=None, notional=100, time_in_force="day"))
    venue.step()
    found = venue.register.find(ticket.id)
    assert (found.status, found.qty) == ("filled", None)
    assert found.filled_qty == pytest.approx(100 / 11)
    assert venue.market.portfolio.cash == pytest.approx(900)


def test_a_replacement_is_a_new_order() -> None:
    """The old one says by which, the new one which; it trades at the new price."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    old = venue.desk.submit(asked(type="limit", limit_price=9.0))
    new = venue.desk.replace(old.id, limit_price=10.6, qty=4, client_order_id="mine")
    assert (new.replaces, new.client_order_id, new.qty) == (old.id, "mine", 4)
    assert venue.register.find(old.id).replaced_by == new.id
    venue.step()
    assert told(venue)[1:] == [
        ("replaced", "limit", None, None),
        ("new", "limit", None, None),
        ("fill", "limit", 4, 10.6),
    ]


def test_a_replacement_of_a_partly_filled_order_works_it_all_again() -> None:
    """Unless it says how much: so it is at the broker."""
    venue = Venue(market(), cash=1_000, faults=["partial-fill:share=0.4"])
    venue.step()
    old = venue.desk.submit(asked(type="limit", limit_price=11.0))
    venue.step()
    assert venue.register.find(old.id).filled_qty == 4
    new = venue.desk.replace(old.id, limit_price=12.0)
    venue.step()
    assert venue.register.find(new.id).filled_qty == 10
    assert venue.accounts.held("AAPL") == 14


def test_of_a_leg_the_prices_alone_can_be_replaced() -> None:
    """The other leg, and the order that both belong to, know the new one."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    head = venue.desk.submit(asked(order_class=OrderClass.BRACKET, take_profit=20, stop_loss=9))
    stop, target = head.legs
    for changes in ({"qty": 4.0}, {"time_in_force": "day"}):
        with pytest.raises(RefusedError, match="of bracket orders stays"):
            venue.desk.replace(stop, **changes)
    new = venue.desk.replace(stop, stop_price=10.6, qty=10)
    assert (new.status, new.qty) == ("held", 10)
    assert venue.register.find(head.id).legs == (new.id, target)
    venue.step(3)  # in at 11; the low of the next bars is 11.5 and 10.5
    assert venue.register.find(new.id).filled_avg_price == 10.6
    assert venue.register.find(target).status == "canceled"


def test_a_time_in_force_can_be_replaced() -> None:
    """The order is a new one in the simulation too."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    old = venue.desk.submit(asked(type="limit", limit_price=9.0))
    new = venue.desk.replace(old.id, time_in_force="day")
    venue.step(7)
    assert venue.register.find(new.id).status == "expired"


def test_what_is_over_cannot_be_replaced_or_canceled() -> None:
    """Nor what never was."""
    venue = Venue(market(), cash=1_000)
    venue.step()
    ticket = venue.desk.submit(asked())
    venue.step()
    for call in (venue.desk.cancel, venue.desk.replace):
        with pytest.raises(RefusedError) as caught:
            call(ticket.id)
        assert caught.value.kind == "unprocessable"
        with pytest.raises(RefusedError, match="not found") as caught:
            call("nothing")
        assert caught.value.kind == "missing"


# -- hours -----------------------------------------------------------------------------------


def around(*clock: str) -> pl.DataFrame:
    """Minutes known at these times in New York, on a Tuesday in winter; all prices are 10."""
    base = datetime(2024, 1, 2, 5, tzinfo=UTC)
    stamps = [
        base + timedelta(hours=int(text[:2]), minutes=int(text[3:5]), days=text.count("+"))
        for text in clock
    ]
    return pl.concat(market([10], first=stamp) for stamp in stamps)


def test_plain_orders_wait_for_the_open() -> None:
    """They are accepted before it, at work from it, and filled in its first bar."""
    venue = Venue(around("09:00", "09:30", "09:31", "09:32"), calendar="XNYS")
    venue.step()
    ticket = venue.desk.submit(asked())
    venue.step()
    assert [u.event for u in venue.register.updates] == ["accepted", "new"]
    venue.step()
    found = venue.register.find(ticket.id)
    assert found.filled_at == datetime(2024, 1, 2, 14, 31, tzinfo=UTC)


def test_extended_orders_trade_before_the_open() -> None:
    """As limit orders for the day, which is the only kind there is."""
    venue = Venue(around("08:00", "08:01", "09:31"), calendar="XNYS")
    venue.step()
    ticket = venue.desk.submit(
        asked(type="limit", limit_price=10.5, time_in_force="day", extended_hours=True)
    )
    venue.step()
    assert venue.register.find(ticket.id).status == "filled"


def test_a_day_order_sent_after_the_close_is_for_the_next_session() -> None:
    """It neither trades nor expires that evening."""
    clock = ("15:59", "16:00", "16:01", "16:02", "09:31+", "09:32+")
    venue = Venue(around(*clock), calendar="XNYS")
    venue.step(3)
    ticket = venue.desk.submit(asked(time_in_force="day"))
    venue.step()
    assert venue.register.find(ticket.id).status == "accepted"
    venue.step()
    assert venue.register.find(ticket.id).filled_at == venue.now


@pytest.mark.parametrize(("force", "at"), [("opg", "14:31"), ("cls", "21:00")])
def test_auctions(force: str, at: str) -> None:
    """At the open of the next session, and at the close of this one."""
    clock = ("15:00", "15:59", "16:00", "16:01", "09:31+", "09:32+")
    venue = Venue(around(*clock), calendar="XNYS")
    venue.step()
    ticket = venue.desk.submit(asked(time_in_force=force))
    venue.step(5)
    filled_at = venue.register.find(ticket.id).filled_at
    assert filled_at is not None
    assert f"{filled_at:%H:%M}" == at


# -- time ------------------------------------------------------------------------------------


def test_time_passes_up_to_the_next_bars() -> None:
    """Nothing trades by waiting; the end is the end."""
    venue = Venue(market([10, 11]))
    assert venue.now == FIRST - timedelta(minutes=1)
    venue.step()
    venue.wait(30_000_000)
    assert venue.now == FIRST + timedelta(seconds=30)
    assert venue.until_next == 30_000_000
    venue.wait(600_000_000)
    assert venue.step_number == 0
    assert venue.now < FIRST + timedelta(minutes=1)
    assert venue.step(5) == 1
    assert venue.is_over
    assert venue.until_next == 0


def test_steps_to_a_time_include_it() -> None:
    """And end with it."""
    venue = Venue(market())
    assert venue.step_to(FIRST + timedelta(minutes=2)) == 3
    assert venue.now == FIRST + timedelta(minutes=2)
    assert venue.step_to(FIRST) == 0


def test_an_order_before_the_first_bar_trades_in_it() -> None:
    """There is no price yet to check it against."""
    venue = Venue(market(), cash=1_000)
    ticket = venue.desk.submit(asked())
    venue.step()
    assert venue.register.find(ticket.id).filled_avg_price == 10.0


def test_two_rehearsals_give_the_same_ids() -> None:
    """And another seed gives others."""
    ids = [Venue(market(), seed=seed).desk.submit(asked()).id for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


# -- money -----------------------------------------------------------------------------------


def test_fees_are_activities_of_their_own() -> None:
    """One percent of ten shares at 11.0011."""
    broker = SimulationBroker(
        1_000, commission=PercentCommission(0.01), slippage=BasisPointSlippage(1)
    )
    venue = Venue(market(), broker=broker)
    venue.step()
    venue.desk.submit(asked())
    venue.step()
    fill, fee = venue.register.activities
    assert [fill.kind, fee.kind] == ["FILL", "FEE"]
    assert [fill.amount, fee.amount] == pytest.approx([-110.011, -1.10011])
    assert venue.market.portfolio.cash == pytest.approx(1_000 - 110.011 - 1.10011)


def test_more_than_cash_is_cut_at_the_open() -> None:
    """Accepted at a close of 10, scaled at an open of 11: the rest is canceled."""
    venue = Venue(market(), cash=100)
    venue.step()
    ticket = venue.desk.submit(asked())
    venue.step()
    found = venue.register.find(ticket.id)
    assert (found.status, found.filled_qty) == ("canceled", 9)
    assert "buying power" in found.reason
    assert [event for event, *_ in told(venue)] == ["new", "partial_fill", "canceled"]


def test_a_bankrupt_account_is_closed_by_the_venue() -> None:
    """The order is the venue's own, and ends the rehearsal."""
    venue = Venue(market([10, 10, 40, 40]), cash=100)
    venue.step()
    venue.desk.submit(asked(side="sell", qty=5))
    venue.step(2)
    assert venue.is_over
    assert venue.accounts.held("AAPL") == 0
    assert [a.side for a in venue.register.activities] == ["sell", "buy"]


# -- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"broker": SimulationBroker(), "cash": 5}, "Give cash="),
        ({"broker": SimulationBroker(fill_at="close")}, "already over"),
        ({"broker": SimulationBroker(close_at_end=True)}, "close_at_end"),
        ({"crypto": ["AAPLE"]}, "Did you mean 'AAPL'"),
        ({"faults": ["dropp-trades"]}, "Did you mean 'drop-trades'"),
        ({"calendar": "XNYZ"}, "no calendar"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], text: str) -> None:
    """Each names the remedy."""
    with pytest.raises(ConfigError, match=text):
        Venue(market(), **options)


def test_a_broker_belongs_to_one_venue() -> None:
    """It holds the run's orders."""
    broker = SimulationBroker()
    Venue(market(), broker=broker)
    with pytest.raises(ConfigError, match="in a run already"):
        Venue(market(), broker=broker)


def test_the_room_never_imports_live_trading() -> None:
    """A venue is rehearsed over the wire, never by import."""
    room = ROOT / "src" / "ml4t" / "backtest" / "rehearsal"
    for path in room.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            assert not any(name.startswith("ml4t.backtest.live") for name in names), path


def test_a_replacement_is_checked_like_an_order() -> None:
    """With what the old one lets go: a hundred dollars, an order for ninety, then for more."""
    venue = Venue(market(), cash=100)
    venue.step()
    old = venue.desk.submit(asked(type="limit", limit_price=9.0))
    with pytest.raises(RefusedError, match="insufficient buying power"):
        venue.desk.replace(old.id, qty=12)
    new = venue.desk.replace(old.id, qty=11)
    with pytest.raises(RefusedError, match="insufficient buying power"):
        venue.desk.replace(new.id, limit_price=9.5)
    with pytest.raises(RefusedError, match="must be unique"):
        venue.desk.replace(new.id, client_order_id=old.client_order_id)


def test_a_replacement_of_what_waits_for_the_open_wakes_with_it() -> None:
    """The new one is told to be at work, and trades."""
    venue = Venue(around("09:00", "09:30", "09:31", "09:32"), calendar="XNYS")
    venue.step()
    old = venue.desk.submit(asked(type="limit", limit_price=9.0))
    new = venue.desk.replace(old.id, limit_price=10.0)
    venue.step(2)
    assert [(u.event, u.ticket.id == new.id) for u in venue.register.updates] == [
        ("accepted", False),
        ("replaced", False),
        ("new", True),
        ("fill", True),
    ]
