"""Every fault, seen through the vendor's client as it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.trading.requests import (
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
)

from ml4t.backtest.rehearsal.faults import FAULTS
from tests.rehearsal.clients import APIError, trading_client, until


def faulty(stage: Any, *faults: str, **options: Any) -> tuple[Any, Any]:
    """A server with faults after its first bar, and a client."""
    server = stage.serve(cash=1_000, faults=faults, **options)
    server.step()
    return server, trading_client(server)


def buy(qty: float = 10, **options: Any) -> MarketOrderRequest:
    """A purchase at the market."""
    usual: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "time_in_force": "gtc"}
    return MarketOrderRequest(qty=qty, **(usual | options))


def limit(price: float, qty: float = 10, **options: Any) -> LimitOrderRequest:
    """A purchase at a limit."""
    usual: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "time_in_force": "gtc"}
    return LimitOrderRequest(limit_price=price, qty=qty, **(usual | options))


def orders(server: Any) -> list[Any]:
    """Every order that the venue has."""
    return list(server.venue.register.tickets.values())


# -- calls -----------------------------------------------------------------------------------


def test_429_is_tried_again_by_the_client(stage: Any) -> None:
    """Four times in all; then it is an error, with headers."""
    server, client = faulty(stage, "429:times=2,call=account")
    assert client.get_account().cash == "1000"
    assert server.calls == 3
    server.add_fault("429:times=all,seconds=7")
    with pytest.raises(APIError) as caught:
        client.get_account()
    assert (caught.value.status_code, caught.value.code) == (429, 42910000)
    headers = caught.value.response.headers
    assert headers["X-Ratelimit-Limit"] == "200"
    assert headers["X-Ratelimit-Remaining"] == "0"
    assert int(headers["X-Ratelimit-Reset"]) == server.venue.now.timestamp() + 7


def test_401(stage: Any) -> None:
    """Once, although the credentials are right."""
    _, client = faulty(stage, "401:call=positions")
    with pytest.raises(APIError) as caught:
        client.get_all_positions()
    assert caught.value.status_code == 401
    assert client.get_all_positions() == []


def test_504_before_leaves_no_order_behind(stage: Any) -> None:
    """The client tries again, and one order comes of it."""
    server, client = faulty(stage, "504-before:call=submit")
    client.submit_order(buy(client_order_id="mine"))
    assert [order.client_order_id for order in orders(server)] == ["mine"]


def test_504_after_with_an_id_of_ones_own_is_refused_the_second_time(stage: Any) -> None:
    """The client tries again by itself: that is how an order is found to be there."""
    server, client = faulty(stage, "504-after:call=submit")
    with pytest.raises(APIError) as caught:
        client.submit_order(buy(client_order_id="mine"))
    assert (caught.value.status_code, caught.value.message) == (
        422,
        "client_order_id must be unique",
    )
    assert client.get_order_by_client_id("mine").status.value == "new"
    assert len(orders(server)) == 1


def test_504_after_without_an_id_buys_twice(stage: Any) -> None:
    """What happens to those who do not name their orders."""
    server, client = faulty(stage, "504-after:call=submit")
    client.submit_order(buy(5))
    assert len(orders(server)) == 2


def test_a_504_is_no_json(stage: Any) -> None:
    """It comes from a proxy."""
    _, client = faulty(stage, "504-after:times=all")
    with pytest.raises(APIError) as caught:
        client.get_account()
    assert caught.value.status_code == 504
    with pytest.raises(ValueError, match="Expecting value"):
        caught.value.code  # noqa: B018


@pytest.mark.parametrize(("fault", "count"), [("hang-before", 0), ("hang-after", 1)])
def test_a_reply_that_hangs(fault: str, count: int, stage: Any) -> None:
    """The order was taken, or was not; the server stops all the same."""
    server, _ = faulty(stage, f"{fault}:call=submit,seconds=30")
    body = {"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "gtc"}
    headers = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{server.url}/v2/orders", json=body, headers=headers, timeout=(5, 0.2))
    assert len(orders(server)) == count
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 5


def test_a_reply_that_comes_late(stage: Any) -> None:
    """As the 504 of a proxy that has waited long enough."""
    _, client = faulty(stage, "hang-after:call=submit,seconds=0.05")
    with pytest.raises(APIError, match="must be unique"):
        client.submit_order(buy(client_order_id="mine"))


# -- trade updates ---------------------------------------------------------------------------


def test_a_dropped_socket_loses_updates_for_good(stage: Any) -> None:
    """The client comes back by itself; what it missed is in the orders alone."""
    server, client = faulty(stage, "drop-trades:after=1")
    listener = stage.listen(server)
    first = client.submit_order(buy(5))  # new is heard
    until(lambda: listener.events == ["new"])
    server.step()  # fill is lost with the socket
    until(lambda: server.run(server._trades.lines.ready) == [], "dropping")
    until(lambda: server.run(server._trades.lines.ready), "coming back")
    assert client.get_order_by_id(first.id).status.value == "filled"
    client.submit_order(buy(1))
    server.step()
    until(lambda: listener.events == ["new", "new", "fill"])


def test_a_mute_socket_stays_open(stage: Any) -> None:
    """And says nothing, whatever happens."""
    server, client = faulty(stage, "mute-trades:event=fill")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    server.step()
    client.submit_order(buy(1))
    server.step()
    until(lambda: listener.events)
    assert server.run(lambda: len(server._trades.lines)) == 1
    time.sleep(0.05)
    assert listener.events == ["new"]


def test_refused_credentials_are_tried_again(stage: Any) -> None:
    """For ever, and the client's owner hears nothing; here until they are taken."""
    server, client = faulty(stage, "refuse-trades:times=2")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    until(lambda: listener.events == ["new"])
    assert server.venue.faults.faults[0].struck == 2


def test_a_lost_update(stage: Any) -> None:
    """The socket is in best health."""
    server, client = faulty(stage, "lose-update:event=fill")
    listener = stage.listen(server)
    for _ in range(2):
        client.submit_order(buy(5))
        server.step()
    until(lambda: len(listener.heard) == 3)
    assert listener.events == ["new", "new", "fill"]


def test_a_duplicate_update_has_the_same_execution(stage: Any) -> None:
    """By which it can be known."""
    server, client = faulty(stage, "duplicate-update:event=fill")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    server.step()
    until(lambda: listener.events == ["new", "fill", "fill"])
    assert listener.heard[1].execution_id == listener.heard[2].execution_id


def test_a_late_update(stage: Any) -> None:
    """Two bars after the others."""
    server, client = faulty(stage, "late-update:event=fill,bars=2")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    server.step(2)
    client.submit_order(buy(1))
    until(lambda: listener.events == ["new", "new"])
    server.step()
    until(lambda: listener.events[2:] == ["fill", "fill"])
    assert [update.qty for update in listener.heard[2:]] == [1, 5]


def test_updates_out_of_order(stage: Any) -> None:
    """The fill comes before the order is known to be at work."""
    server, client = faulty(stage, "swap-updates:event=new")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    server.step()
    until(lambda: listener.events == ["fill", "new"])


def test_an_update_that_nothing_follows_comes_with_the_next_bar(stage: Any) -> None:
    """It is out of order, not lost."""
    server, client = faulty(stage, "swap-updates:event=fill")
    listener = stage.listen(server)
    client.submit_order(buy(5))
    server.step()
    until(lambda: listener.events == ["new", "fill"])


# -- market data -----------------------------------------------------------------------------


def test_a_dropped_data_socket(stage: Any) -> None:
    """The client subscribes again by itself; the bars between are lost."""
    server, _ = faulty(stage, "drop-data")
    listener = stage.watch(server, "AAPL")
    server.step()
    until(lambda: not any(line.is_ready for line in server._shares.lines), "dropping")
    until(lambda: any(line.wanted["bars"] for line in server._shares.lines if line.is_ready))
    server.step()
    until(lambda: listener.heard)
    assert [bar.open for bar in listener.heard] == [12]


def test_a_mute_data_socket_is_noticed_with_a_timeout(stage: Any) -> None:
    """Which the client has for data, when asked."""
    server, _ = faulty(stage, "mute-data")
    listener = stage.watch(server, "AAPL", data_timeout=0.2)
    muted = server._shares.lines[0]
    server.step()
    until(lambda: muted not in server._shares.lines, "leaving")
    until(lambda: any(line.wanted["bars"] for line in server._shares.lines))
    server.step()
    until(lambda: listener.heard)
    assert listener.heard[0].open == 12


@pytest.mark.parametrize("fault", ["refuse-data", "406"])
def test_data_refuses_a_client(fault: str, stage: Any) -> None:
    """Which tries again until it is let in."""
    server, _ = faulty(stage, f"{fault}:times=2")
    listener = stage.watch(server, "AAPL")
    server.step()
    until(lambda: listener.heard)
    assert server.venue.faults.faults[0].struck == 2


@pytest.mark.parametrize(
    ("fault", "opens"),
    [
        ("lose-bar:symbol=AAPL", [12, 11]),
        ("duplicate-bar", [11, 11, 12, 11]),
        ("late-bar:bars=1", [12, 11, 11]),
    ],
)
def test_bars_that_are_lost_late_and_twice(fault: str, opens: list[float], stage: Any) -> None:
    """Of the bars that open at 11, 12, 11."""
    server, _ = faulty(stage)
    listener = stage.watch(server, "AAPL")
    server.add_fault(fault)
    server.step(3)
    until(lambda: len(listener.heard) >= len(opens))
    assert [bar.open for bar in listener.heard] == opens


def test_a_bar_that_is_put_right(stage: Any) -> None:
    """By an updated bar of the same minute."""
    server, _ = faulty(stage)
    listener = stage.watch(server, "AAPL")
    listener.stream.subscribe_updated_bars(listener.hear, "AAPL")
    until(lambda: server._shares.lines[0].wanted["updatedBars"])
    server.add_fault("correct-bar:by=0.1")
    server.step()
    until(lambda: len(listener.heard) == 2)
    assert [bar.close for bar in listener.heard] == [pytest.approx(12.1), 11]
    assert listener.heard[0].timestamp == listener.heard[1].timestamp


# -- orders ----------------------------------------------------------------------------------


def test_an_order_that_is_taken_and_rejected(stage: Any) -> None:
    """With its legs; the reply had said that it was accepted."""
    server, client = faulty(stage, "reject-order")
    listener = stage.listen(server)
    target, stop = TakeProfitRequest(limit_price=20), StopLossRequest(stop_price=5)
    order = client.submit_order(buy(order_class="bracket", take_profit=target, stop_loss=stop))
    assert order.status.value == "accepted"
    until(lambda: len(listener.heard) == 3)
    assert sorted(listener.events) == ["canceled", "canceled", "rejected"]
    found = client.get_order_by_id(order.id)
    assert (found.status.value, found.failed_at is not None) == ("rejected", True)
    server.step()
    assert client.get_all_positions() == []


def test_fills_in_parts(stage: Any) -> None:
    """Three tenths, then the rest."""
    server, client = faulty(stage, "partial-fill:share=0.3")
    listener = stage.listen(server)
    order = client.submit_order(buy())
    server.step()
    assert client.get_order_by_id(order.id).status.value == "partially_filled"
    server.step()
    until(lambda: listener.events == ["new", "partial_fill", "fill"])
    assert [(u.qty, u.price, u.position_qty) for u in listener.heard[1:]] == [
        (3, 11, 3),
        (7, 12, 10),
    ]
    assert float(listener.heard[-1].order.filled_avg_price) == pytest.approx(11.7)


def test_a_partial_fill_and_then_a_cancel(stage: Any) -> None:
    """What has filled stays."""
    server, client = faulty(stage, "partial-fill:share=0.3")
    order = client.submit_order(buy())
    server.step()
    client.cancel_order_by_id(order.id)
    found = client.get_order_by_id(order.id)
    assert (found.status.value, found.filled_qty) == ("canceled", "3")
    assert client.get_open_position("AAPL").qty == "3"


def test_an_execution_is_corrected(stage: Any) -> None:
    """The order, the account and the list of fills follow; the old execution is named."""
    server, client = faulty(stage, "correct-fill:by=0.1")
    listener = stage.listen(server)
    listener.stream._raw_data = True
    client.submit_order(buy())
    server.step()
    until(lambda: len(listener.heard) == 3)
    fill, again = (message["data"] for message in listener.heard[1:])
    assert again["event"] == "trade_correct"
    assert again["previous_execution_id"] == fill["execution_id"] != again["execution_id"]
    assert float(again["price"]) == pytest.approx(12.1)
    assert float(client.get_account().cash) == pytest.approx(1_000 - 121)
    position = client.get_open_position("AAPL")
    assert position.qty == "10"
    assert float(position.avg_entry_price) == pytest.approx(12.1)
    (activity,) = client.get("/account/activities/FILL")
    assert float(activity["price"]) == pytest.approx(12.1)


def test_a_fill_overtakes_a_cancel(stage: Any) -> None:
    """The cancel was taken, and the order filled."""
    server, client = faulty(stage, "fill-during-cancel")
    listener = stage.listen(server)
    order = client.submit_order(buy())
    client.cancel_order_by_id(order.id)
    assert client.get_order_by_id(order.id).status.value == "pending_cancel"
    server.step()
    until(lambda: listener.events == ["new", "pending_cancel", "fill"])


def test_a_slow_cancel_of_what_does_not_fill(stage: Any) -> None:
    """It takes effect after the bar."""
    server, client = faulty(stage, "fill-during-cancel")
    listener = stage.listen(server)
    order = client.submit_order(limit(5))
    client.cancel_order_by_id(order.id)
    client.cancel_order_by_id(order.id)  # again: it is on its way
    server.step()
    until(lambda: listener.events == ["new", "pending_cancel", "canceled"])


def test_a_cancel_is_refused(stage: Any) -> None:
    """Once, of an order that is open."""
    _, client = faulty(stage, "refuse-cancel")
    order = client.submit_order(limit(5))
    with pytest.raises(APIError, match="not cancelable"):
        client.cancel_order_by_id(order.id)
    client.cancel_order_by_id(order.id)
    assert client.get_order_by_id(order.id).status.value == "canceled"


def test_a_replace_is_refused(stage: Any) -> None:
    """The order goes on as it was."""
    _, client = faulty(stage, "refuse-replace")
    order = client.submit_order(limit(5))
    with pytest.raises(APIError, match="not replaceable"):
        client.replace_order_by_id(order.id, ReplaceOrderRequest(limit_price=6))
    assert client.get_order_by_id(order.id).status.value == "new"


def test_a_replace_is_taken_and_rejected(stage: Any) -> None:
    """The reply was a new order; the old one goes on."""
    server, client = faulty(stage, "reject-replace")
    listener = stage.listen(server)
    old = client.submit_order(limit(5))
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(limit_price=6))
    until(lambda: listener.events == ["new", "order_replace_rejected", "rejected"])
    assert client.get_order_by_id(new.id).status.value == "rejected"
    assert client.get_order_by_id(old.id).status.value == "new"
    server.step()
    client.cancel_order_by_id(old.id)


# -- the venue -------------------------------------------------------------------------------


def test_a_restart_keeps_everything(stage: Any) -> None:
    """Orders, positions and time; clients come back to the same address."""
    server, client = faulty(stage, "restart:after=1,seconds=0.1")
    listener, bars = stage.listen(server), stage.watch(server, "AAPL")
    client.submit_order(buy(5))
    order = client.submit_order(limit(5, 1))
    server.step(2)
    until(lambda: server.is_up, "coming back")
    until(lambda: server.run(server._trades.lines.ready), "listening again")
    until(lambda: any(line.wanted["bars"] for line in server._shares.lines), "watching again")
    assert client.get_open_position("AAPL").qty == "5"
    assert client.get_order_by_id(order.id).status.value == "new"
    client.cancel_order_by_id(order.id)
    server.step()
    until(lambda: listener.events[-1] == "canceled" and bars.heard)


def test_every_fault_is_tested() -> None:
    """In this file, or in the one of the other protocol, by its name."""
    here = Path(__file__)
    text = here.read_text(encoding="utf-8")
    text += here.with_name("test_ib_faults.py").read_text(encoding="utf-8")
    assert [name for name in FAULTS if f'"{name}' not in text] == []
