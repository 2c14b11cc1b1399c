"""Alpaca's words, its rules about rates, and names of orders, each by itself."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from typing import Any

import pytest

from ml4t.backtest.live.alpaca.ledger import _in_order
from ml4t.backtest.live.alpaca.names import Names
from ml4t.backtest.live.alpaca.orders import (
    asset_of,
    body_of,
    execution_id,
    listed_execution,
    microseconds,
    number,
    stamp,
    status_of,
)
from ml4t.backtest.live.alpaca.pace import Pace
from ml4t.backtest.live.alpaca.teller import UpdateTeller
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.words import Execution, Link, Refusal, Report, Request, Terms
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType

NOW = dt.datetime(2024, 3, 4, 14, 31, tzinfo=dt.UTC)


def request(name: str = "run-1-1", quantity: float = 5.0, **terms: Any) -> Request:
    """A purchase of stocks."""
    levels = {key: terms.pop(key) for key in ("limit_price", "stop_price", "legs") if key in terms}
    terms = {"asset_id": "AAPL", "side": OrderSide.BUY} | terms
    return Request(name, Terms(**terms), quantity, **levels)


def order(order_id: str, name: str = "run-1-1", **facts: Any) -> dict[str, Any]:
    """An order as Alpaca shows it."""
    usual = {
        "id": order_id,
        "client_order_id": name,
        "symbol": "AAPL",
        "side": "buy",
        "type": "market",
        "status": "new",
        "qty": "5",
        "filled_qty": "0",
        "created_at": "2024-03-04T14:31:00Z",
    }
    return usual | facts


# -- words --------------------------------------------------------------------------------------


def test_numbers_are_exact_and_plain() -> None:
    """Never 1e-07."""
    assert [number(x) for x in (5.0, 0.1, 1e-7, 123456789.25)] == [
        "5", "0.1", "0.0000001", "123456789.25",
    ]  # fmt: skip


def test_times_go_both_ways() -> None:
    """With nanoseconds, which are cut, and with New York's offset."""
    moment = microseconds("2024-03-04T14:31:00.123456789Z")
    assert stamp(moment) == "2024-03-04T14:31:00.123456Z"
    assert microseconds("2024-03-04T09:31:00.000000000-05:00") == int(NOW.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("word", "status"),
    [("new", "accepted"), ("held", "pending"), ("pending_cancel", "accepted"),
     ("replaced", "canceled"), ("done_for_day", "accepted"), ("a_new_word", "accepted"),
     ("expired", "expired")],
)  # fmt: skip
def test_a_word_that_is_not_known_ends_no_order(word: str, status: str) -> None:
    """It is looked up later."""
    assert status_of({"status": word}) is OrderStatus(status)


def test_pairs_have_a_slash_whatever_alpaca_writes() -> None:
    """Positions come without one."""
    assert asset_of({"symbol": "BTCUSD", "asset_class": "crypto"}) == "BTC/USD"
    assert asset_of({"symbol": "ETHUSDT", "asset_class": "crypto"}) == "ETH/USDT"
    assert asset_of({"symbol": "BUSD", "asset_class": "us_equity"}) == "BUSD"


def test_a_trail_in_percent() -> None:
    """A fraction here, percent there."""
    body = body_of(request(type=OrderType.TRAILING_STOP, trail_percent=0.015), extended_hours=False)
    assert body["trail_percent"] == "1.5"


def test_fills_of_one_moment_are_put_in_order() -> None:
    """The list has them in any order; how much had filled tells."""
    moment = "2024-03-04T14:31:00.176Z"
    rows = [{"transaction_time": moment, "order_id": name, "cum_qty": cum, "qty": "1"}
            for name, cum in (("a", "970"), ("b", "5"), ("a", "869"))]  # fmt: skip
    assert [(row["order_id"], row["cum_qty"]) for row in _in_order(rows)] == [
        ("a", "869"), ("b", "5"), ("a", "970"),
    ]  # fmt: skip


def test_short_sales_are_sales() -> None:
    """The list calls them sell_short."""
    row = {"order_id": "x", "cum_qty": "5", "qty": "5", "price": "10.5", "side": "sell_short",
           "transaction_time": "2024-03-04T14:31:00Z"}  # fmt: skip
    found = listed_execution(row, "run-1-1", "AAPL")
    assert (found.quantity, found.execution_id) == (-5.0, execution_id("x", "5.0"))


# -- updates ------------------------------------------------------------------------------------


def heard(names: Names, *updates: dict[str, Any]) -> list[Any]:
    """What a session hears of updates."""
    inbox = Inbox()
    teller = UpdateTeller(names, inbox)
    for update in updates:
        teller.hear({"timestamp": "2024-03-04T14:31:00Z"} | update)
    return [message.content for message in iter(lambda: inbox.take(0), None)]


def known() -> Names:
    """Names with one order in it."""
    names = Names()
    names.remember(request())
    return names


def test_a_fill_is_told_before_where_the_order_stands() -> None:
    """By its order, and how much had filled."""
    fill = {"event": "fill", "execution_id": "e1", "qty": "5", "price": "10.5",
            "order": order("o1", status="filled", filled_qty="5")}  # fmt: skip
    execution, report = heard(known(), fill)
    assert isinstance(execution, Execution)
    assert (execution.client_id, execution.execution_id) == ("run-1-1", "o1:5")
    assert report == Report("run-1-1", OrderStatus.FILLED, "o1", 5.0)


def test_a_trade_that_is_broken_is_undone() -> None:
    """Whatever its price says."""
    fill = {"event": "fill", "execution_id": "e1", "qty": "5", "price": "10.5",
            "order": order("o1", status="filled", filled_qty="5")}  # fmt: skip
    bust = {"event": "trade_bust", "execution_id": "e2", "previous_execution_id": "e1",
            "order": order("o1", status="canceled")}  # fmt: skip
    *_, undone = heard(known(), fill, bust)
    assert (undone.corrects, undone.quantity, undone.price) == ("o1:5", 0.0, 10.5)


def test_a_correction_of_something_unknown_is_looked_up() -> None:
    """As after a lost connection."""
    correction = {"event": "trade_correct", "execution_id": "e2", "previous_execution_id": "e1",
                  "qty": "5", "price": "10", "order": order("o1")}  # fmt: skip
    told = heard(known(), correction)
    assert [isinstance(event, Link) and event.is_up for event in told] == [False, True]


def test_refusals_come_as_such() -> None:
    """The order works on."""
    refused = {"event": "order_replace_rejected", "order": order("o1")}
    assert heard(known(), refused) == [
        Refusal("run-1-1", "replace", "order_replace_rejected by the exchange")
    ]


def test_updates_of_legs_wait_until_these_are_known() -> None:
    """The stream may be faster than the answer to the bracket."""
    legs = (request("run-2-1", type=OrderType.STOP, stop_price=9.0),
            request("run-3-1", type=OrderType.LIMIT, limit_price=12.0))  # fmt: skip
    names = Names()
    names.remember(request(legs=legs))
    stop = order("s1", "of-alpaca-1", type="stop", side="sell")
    target = order("t1", "of-alpaca-2", type="limit", side="sell")
    assert heard(names, {"event": "new", "order": stop}) == []
    released = names.learn(order("o1", legs=[stop, target]))
    assert [update["order"]["id"] for update in released] == ["s1"]
    assert [names.name_of_id(one) for one in ("o1", "s1", "t1")] == [
        "run-1-1", "run-2-1", "run-3-1",
    ]  # fmt: skip


def test_names_of_others_are_not_ours() -> None:
    """However alike they are."""
    names = known()
    for given in ("run-1", "other-1-1", "x", "", "run-a-1"):
        assert names.name_of(order("o9", given)) == ""
    assert names.name_of(order("o9", "run-1-1r2")) == "run-1-1r2"


# -- the pace -----------------------------------------------------------------------------------


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_has_so_many_requests_and_some_are_for_cancels() -> None:
    """A tenth of them."""
    clock = Clock()
    pace = Pace(20, clock=clock)
    for _ in range(18):
        assert pace.wait(is_cancel=False) == 0.0
        pace.spend()
        clock.now += 1.0
    assert pace.wait(is_cancel=False) == 42.0
    assert pace.wait(is_cancel=True) == 0.0
    pace.spend()
    pace.spend()
    assert pace.wait(is_cancel=True) == 42.0
    clock.now += 42.0
    assert pace.wait(is_cancel=True) == 0.0


def headers(left: int, wait: int, limit: int = 200) -> dict[str, str]:
    """Of a reply."""
    return {
        "Date": format_datetime(NOW, usegmt=True),
        "X-Ratelimit-Limit": str(limit),
        "X-Ratelimit-Remaining": str(left),
        "X-Ratelimit-Reset": str(int(NOW.timestamp()) + wait),
    }


def test_the_servers_own_count_goes_before() -> None:
    """Other programs use the account, too; by the server's clock, whatever ours says."""
    pace = Pace(200, clock=Clock())
    pace.read(200, headers(150, 30))
    assert pace.wait(is_cancel=False) == 0.0
    pace.read(200, headers(15, 30))
    assert (pace.wait(is_cancel=False), pace.wait(is_cancel=True)) == (30.0, 0.0)
    pace.read(200, headers(0, 12))
    assert pace.wait(is_cancel=True) == 12.0


@pytest.mark.parametrize(
    ("found", "wait"),
    [(headers(0, 7), 7.0), ({}, 1.0), (headers(0, -300_000_000), 1.0),
     ({"X-Ratelimit-Reset": "5", "Date": "yesterday"}, 1.0)],
)  # fmt: skip
def test_too_many_requests_stop_everything(found: dict[str, str], wait: float) -> None:
    """Until the counter begins anew, or for a second when nobody says when."""
    pace = Pace(None, clock=Clock())
    pace.read(429, found)
    assert (pace.wait(is_cancel=False), pace.wait(is_cancel=True)) == (wait, wait)


def test_an_account_with_a_higher_limit_may_ask_more() -> None:
    """And without any limit of ours only the server's counts."""
    clock = Clock()
    pace, free = Pace(200, clock=clock), Pace(None, clock=clock)
    pace.read(200, headers(900, 30, limit=1_000))
    for _ in range(500):
        pace.spend()
        free.spend()
    assert pace.wait(is_cancel=False) == free.wait(is_cancel=False) == 0.0
