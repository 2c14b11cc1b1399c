"""Every fault of the TWS rehearsal, seen through the client as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ib_async import LimitOrder, MarketOrder, Stock

from tests.rehearsal.ib_clients import Desk


def faulty(desk: Desk, *faults: str) -> Any:
    """A client of a venue whose first bar is known, and faults from now on."""
    desk.tws.step()
    ib = desk.client()
    for fault in faults:
        desk.tws.add_fault(fault)
    return ib


@pytest.mark.parametrize(
    ("fault", "fills"),
    [
        ("lose-update:event=fill", 0),
        ("late-update:event=fill", 0),
        ("duplicate-update:event=fill", 1),
        ("mute-trades:event=fill", 0),
    ],
)
def test_fills_that_are_lost_late_or_told_twice(fault: str, fills: int) -> None:
    """What happened can always be asked for."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, fault)
        trade = desk.place(ib, MarketOrder("BUY", 10))
        desk.settle(ib)
        desk.tws.step()
        if "mute" in fault:
            desk.do(lambda: asyncio.sleep(0.1))
            assert trade.orderStatus.status == "Submitted"
            return
        desk.settle(ib)
        assert trade.orderStatus.status == "Filled"
        assert len(trade.fills) == fills
        if "late" in fault:
            desk.step(ib)
            assert len(trade.fills) == 1
        assert len(desk.do(ib.reqExecutionsAsync)) == 1


def test_a_cut_socket() -> None:
    """The client forgets everything, and its orders go on."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "drop-trades:event=fill")
        desk.place(ib, MarketOrder("BUY", 10, orderRef="cut"))
        desk.settle(ib)
        desk.tws.step()
        desk.until(lambda: not ib.isConnected(), "the cut")
        assert ib.trades() == []
        desk.connect(ib)
        assert [fill.execution.orderRef for fill in ib.fills()] == ["cut"]


@pytest.mark.parametrize(("fault", "orders"), [("hang-before", 0), ("hang-after", 1)])
def test_an_answer_that_does_not_come(fault: str, orders: int) -> None:
    """The order is there, or it is not; nothing is said."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, f"{fault}:call=submit")
        trade = desk.place(ib, LimitOrder("BUY", 10, 5.0))
        desk.settle(ib)
        assert trade.orderStatus.status == "PendingSubmit"
        assert len(desk.do(ib.reqOpenOrdersAsync)) == orders


def test_an_order_that_is_rejected() -> None:
    """201, and the order is inactive."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "reject-order")
        trade = desk.place(ib, MarketOrder("BUY", 10))
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, 201)
        assert trade.orderStatus.status == "Inactive"


@pytest.mark.parametrize("code", [399, 404, 10349])
def test_a_notice_on_an_order_that_lives(code: int) -> None:
    """It fills, whatever the client makes of the notice."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, f"notice:code={code}")
        trade = desk.place(ib, MarketOrder("BUY", 10))
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, code)
        desk.step(ib)
        assert trade.orderStatus.status == "Filled"


@pytest.mark.parametrize(("kept", "code"), [(1, 1102), (0, 1101)])
def test_the_link_to_the_broker(kept: int, code: int) -> None:
    """1100, then one of two; fills of the meantime come afterwards, bars may not any more."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk)
        bars = desk.do(
            lambda: ib.reqRealTimeBars(Stock("AAPL", "SMART", "USD"), 5, "TRADES", useRTH=False)
        )
        trade = desk.place(ib, LimitOrder("BUY", 10, 10.8))
        desk.tws.add_fault(f"link-lost:bars=2,kept={kept}")
        desk.step(ib)
        assert ib.errors[-1] == (-1, 1100)
        before = len(bars)
        desk.step(ib)
        assert len(bars) == before
        desk.step(ib, 2)
        assert (-1, code) in ib.errors
        assert trade.orderStatus.status == "Filled"
        assert (len(bars) > before) == bool(kept)


def test_a_farm_that_breaks() -> None:
    """2103, no bars, 2104; what was subscribed to goes on."""
    with Desk() as desk:
        ib = faulty(desk)
        bars = desk.do(
            lambda: ib.reqRealTimeBars(Stock("AAPL", "SMART", "USD"), 5, "TRADES", useRTH=False)
        )
        desk.settle(ib)
        desk.tws.add_fault("farm-broken:bars=2")
        desk.step(ib)
        before = len(bars)
        desk.step(ib)
        assert len(bars) == before
        desk.step(ib, 2)
        assert [code for _, code in ib.errors[-2:]] == [2103, 2104]
        assert len(bars) > before


def test_numbers_that_are_given_again() -> None:
    """The first order after a roll-back has the number of an old one; another one open is safe."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk)
        first = desk.place(ib, MarketOrder("BUY", 1))
        desk.step(ib)
        number = ib.client.getReqId()
        desk.do(ib.disconnect)
        desk.do(lambda: asyncio.sleep(0.05))
        desk.tws.add_fault("roll-back-ids")
        desk.connect(ib, 1)
        assert ib.client._reqIdSeq < number
        second = desk.place(ib, MarketOrder("BUY", 1))
        desk.step(ib)
        assert second.orderStatus.permId != first.orderStatus.permId
        assert second.orderStatus.status == "Filled"


def test_an_execution_that_is_put_right() -> None:
    """The digits behind the last dot count up; a later request has the last form alone."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "correct-fill:by=0.01")
        desk.place(ib, MarketOrder("BUY", 10))
        desk.step(ib)
        one, other = [fill.execution for fill in ib.fills()]
        assert one.execId.rpartition(".")[0] == other.execId.rpartition(".")[0]
        assert (one.execId[-2:], other.execId[-2:]) == ("01", "02")
        assert other.price == pytest.approx(one.price * 1.01)
        desk.do(ib.disconnect)
        desk.do(lambda: asyncio.sleep(0.05))
        desk.connect(ib)
        assert [fill.execution.execId for fill in ib.fills()] == [other.execId]


def test_a_nightly_restart() -> None:
    """Nobody listens for a while; then everything is as it was."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "restart:seconds=0.2")
        desk.place(ib, LimitOrder("BUY", 1, 5.0, orderRef="stays"))
        desk.settle(ib)
        desk.tws.step()
        desk.until(lambda: not ib.isConnected(), "the restart")
        with pytest.raises(OSError, match="Connect call failed"):
            desk.connect(ib)
        desk.until(lambda: desk.tws.is_up, "the return")
        desk.connect(ib)
        assert [trade.order.orderRef for trade in ib.openTrades()] == ["stays"]
        desk.tws.restart(0.05)
        desk.until(lambda: not ib.isConnected(), "the second restart")


def test_cancels_and_changes_that_are_refused() -> None:
    """The order works on."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "refuse-cancel", "refuse-replace")
        trade = desk.place(ib, LimitOrder("BUY", 10, 5.0))
        desk.settle(ib)
        desk.do(lambda: ib.client.cancelOrder(trade.order.orderId))
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, 10148)
        trade.order.lmtPrice = 6.0  # not by `placeOrder`: the client believes it has ended
        stock = Stock("AAPL", "SMART", "USD")
        desk.do(lambda: ib.client.placeOrder(trade.order.orderId, stock, trade.order))
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, 201)
        (open_now,) = desk.do(ib.reqAllOpenOrdersAsync)
        assert open_now.order.lmtPrice == 5.0


def test_a_fill_during_a_cancel_and_partial_fills() -> None:
    """A cancel is a request."""
    with Desk(cash=1_000) as desk:
        ib = faulty(desk, "fill-during-cancel", "partial-fill:share=0.4")
        trade = desk.place(ib, MarketOrder("BUY", 10))
        desk.settle(ib)
        desk.do(lambda: ib.client.cancelOrder(trade.order.orderId))
        desk.settle(ib)
        assert trade.orderStatus.status == "PendingCancel"
        desk.step(ib)
        assert [fill.execution.shares for fill in trade.fills] == [4]
        assert trade.orderStatus.status == "Cancelled"
        assert (trade.orderStatus.filled, trade.orderStatus.remaining) == (4, 6)


@pytest.mark.parametrize(
    ("fault", "count"), [("lose-bar", 0), ("duplicate-bar", 24), ("mute-data", 0)]
)
def test_bars_that_are_lost_or_come_twice(fault: str, count: int) -> None:
    """As of any stream."""
    with Desk() as desk:
        ib = faulty(desk)
        bars = desk.do(
            lambda: ib.reqRealTimeBars(Stock("AAPL", "SMART", "USD"), 5, "TRADES", useRTH=False)
        )
        desk.settle(ib)
        desk.tws.add_fault(fault)
        desk.tws.step()
        if count:
            desk.until(lambda: len(bars) == count, "the bars")
        else:
            desk.do(lambda: asyncio.sleep(0.1))
            assert len(bars) == 0
