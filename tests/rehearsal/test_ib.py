"""The TWS protocol, as its client sees it: contracts, orders of every kind, account, history."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ib_async import (
    Contract,
    Forex,
    Future,
    LimitOrder,
    MarketOrder,
    Order,
    Stock,
    StopLimitOrder,
    StopOrder,
)
from typer.testing import CliRunner

from ml4t.backtest import Instrument, PerShareCommission, SimulationBroker
from ml4t.backtest.cli.app import app
from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.ib_words import Listing
from tests.rehearsal.clients import market
from tests.rehearsal.ib_clients import Desk


def filled(trade: Any) -> list[tuple[float, float]]:
    """Units and prices of an order's fills."""
    return [(fill.execution.shares, fill.execution.price) for fill in trade.fills]


def test_a_client_connects_and_sees_the_account() -> None:
    """Everything it asks at a connection is answered, or it would wait four seconds."""
    with Desk(cash=5_000) as desk:
        desk.tws.step()
        before = time.monotonic()
        ib = desk.client()
        assert time.monotonic() - before < 3.0
        assert ib.managedAccounts() == ["DU1234567"]
        values = {value.tag: value.value for value in ib.accountValues()}
        assert float(values["TotalCashValue"]) == float(values["NetLiquidation"]) == 5_000
        assert desk.do(ib.reqCurrentTimeAsync) == dt.datetime(2024, 1, 2, 15, 1, tzinfo=dt.UTC)


def test_contracts_are_found_missed_and_ambiguous() -> None:
    """By symbol, by number, by month; two that fit are both named."""
    listings = [
        Listing(asset_id="ESH4", symbol="ES", sec_type="FUT", exchange="CME", expiry="20240315",
                multiplier="50", local_symbol="ESH4", primary_exchange=""),
        Listing(asset_id="ESM4", symbol="ES", sec_type="FUT", exchange="CME", expiry="20240621",
                multiplier="50", local_symbol="ESM4", primary_exchange=""),
        Listing(asset_id="EURUSD", symbol="EUR", sec_type="CASH", exchange="IDEALPRO",
                primary_exchange=""),
    ]  # fmt: skip
    bars = market(assets=("AAPL", "ESH4", "ESM4", "EURUSD"))
    with Desk(bars, listings=listings) as desk:
        ib = desk.client()
        asked = [
            Stock("AAPL", "SMART", "USD"),
            Future("ES", "202406", "CME"),
            Forex("EURUSD"),
            Stock("NONE", "SMART", "USD"),
        ]
        found = desk.do(lambda: ib.qualifyContractsAsync(*asked))
        assert [one and one.localSymbol for one in found] == ["AAPL", "ESM4", "EURUSD"[:3], None]
        (both,) = desk.do(lambda: ib.qualifyContractsAsync(Future("ES", "", "CME"), returnAll=True))
        assert [one.localSymbol for one in both] == ["ESH4", "ESM4"]
        number = Contract(conId=asked[0].conId)
        assert desk.do(lambda: ib.qualifyContractsAsync(number))[0].symbol == "AAPL"


@pytest.mark.parametrize(
    ("order", "fills"),
    [
        (MarketOrder("BUY", 10), [(10, 11.0)]),
        (LimitOrder("BUY", 10, 10.7), [(10, 10.7)]),
        (StopOrder("BUY", 10, 12.2), [(10, 12.2)]),
        (StopLimitOrder("BUY", 10, 12.6, 12.3), [(10, 12.3)]),
        (LimitOrder("BUY", 10, 9.0), []),
        (Order(action="BUY", totalQuantity=10, orderType="TRAIL", auxPrice=1.0), [(10, 11.0)]),
    ],
)  # fmt: skip
def test_orders_trade_as_in_a_backtest(order: Order, fills: list[Any]) -> None:
    """One bar known at 10; then opens of 11, 12, 11, 13, each half a unit around."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib = desk.client()
        trade = desk.place(ib, order)
        desk.step(ib, 4)
        assert filled(trade) == fills
        assert trade.orderStatus.status == ("Filled" if fills else "Submitted")
        assert trade.orderStatus.permId > 0


def test_at_the_close() -> None:
    """MOC and LOC fill at the last close of the session."""
    first = dt.datetime(2024, 1, 2, 20, 53, tzinfo=dt.UTC)
    with Desk(market(first=first), cash=1_000, calendar="XNYS") as desk:
        desk.tws.step()
        ib = desk.client()
        orders = [
            Order(action="BUY", totalQuantity=5, orderType="MOC", tif="DAY"),
            Order(action="BUY", totalQuantity=5, orderType="LOC", lmtPrice=11.5, tif="DAY"),
            Order(action="BUY", totalQuantity=5, orderType="LOC", lmtPrice=10.5, tif="DAY"),
        ]
        trades = [desk.place(ib, order) for order in orders]
        desk.step(ib, 7)
        assert [filled(trade) for trade in trades] == [[(5, 11.0)], [(5, 11.0)], []]
        assert trades[2].orderStatus.status == "Cancelled"


def test_at_the_open() -> None:
    """Sent after the session it is held with a notice, and fills at the next first open."""
    evening = dt.datetime(2024, 1, 2, 20, 59, tzinfo=dt.UTC)
    morning = dt.datetime(2024, 1, 3, 14, 31, tzinfo=dt.UTC)
    bars = pl.concat([market((9, 10), first=evening), market((11, 12), first=morning)])
    with Desk(bars, cash=1_000, calendar="XNYS") as desk:
        desk.tws.step(2)
        ib: Any = desk.client()
        trade = desk.place(ib, MarketOrder("BUY", 5, tif="OPG"))
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, 399)
        desk.do(ib.reqOpenOrdersAsync)  # the client has put the notice in the status's place
        assert trade.orderStatus.status == "PreSubmitted"
        desk.step(ib, 2)
        assert filled(trade) == [(5, 11.0)]


def test_fills_come_with_commissions_positions_and_cash() -> None:
    """Each once, in the client's own state."""
    broker = SimulationBroker(1_000, commission=PerShareCommission(0.01))
    with Desk(broker=broker) as desk:
        desk.tws.step()
        ib = desk.client()
        heard: list[Any] = []
        ib.commissionReportEvent += lambda *words: heard.append(words[2])
        trade = desk.place(ib, MarketOrder("BUY", 10, orderRef="mine"))
        desk.step(ib)
        (fill,) = trade.fills
        assert fill.execution.orderRef == "mine"
        assert fill.execution.side == "BOT"
        assert [report.commission for report in heard] == [pytest.approx(0.10)]
        assert [(p.contract.symbol, p.position, p.avgCost) for p in ib.positions()] == [
            ("AAPL", 10, 11.0)
        ]
        cash = next(v.value for v in ib.accountValues() if v.tag == "TotalCashValue")
        assert float(cash) == pytest.approx(1_000 - 110 - 0.10)
        assert [(item.position, item.marketPrice) for item in ib.portfolio()] == [(10, 11.0)]


def test_modify_and_cancel() -> None:
    """The same number changes an order; canceled ones are told with code 202."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib: Any = desk.client()
        trade = desk.place(ib, LimitOrder("BUY", 10, 9.0))
        desk.step(ib)
        trade.order.lmtPrice, trade.order.totalQuantity = 10.6, 12
        desk.place(ib, trade.order)
        desk.step(ib, 2)
        assert filled(trade) == [(12, 10.6)]
        other = desk.place(ib, LimitOrder("BUY", 1, 5.0))
        desk.settle(ib)
        desk.do(lambda: ib.cancelOrder(other.order))
        desk.settle(ib)
        assert other.orderStatus.status == "Cancelled"
        assert (other.order.orderId, 202) in ib.errors
        desk.do(lambda: ib.client.cancelOrder(other.order.orderId))
        desk.do(lambda: ib.client.cancelOrder(999))
        desk.settle(ib)
        assert ib.errors[-2:] == [(other.order.orderId, 10148), (999, 10147)]


def test_brackets_wait_for_transmission_and_end_each_other() -> None:
    """Nothing is at work before the last of three is sent; a target ends its stop."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib = desk.client()
        orders = desk.do(lambda: ib.bracketOrder("BUY", 10, 11.4, 12.4, 9.0))
        entry, target = (desk.place(ib, order) for order in orders[:2])
        desk.settle(ib)
        assert desk.tws.run(lambda: len(desk.tws.venue.register.tickets)) == 0
        stop = desk.place(ib, orders[2])
        desk.settle(ib)
        held = [trade.orderStatus.whyHeld for trade in (entry, target, stop)]
        assert held == ["", "child", "child"]
        desk.step(ib)
        assert filled(entry) == [(10, 11.0)]
        assert [t.orderStatus.whyHeld for t in (target, stop)] == ["", "trigger"]
        desk.step(ib)
        assert filled(target) == [(10, 12.4)]
        assert stop.orderStatus.status == "Cancelled"


def test_one_cancels_the_other() -> None:
    """Of a group one fills, and the other goes."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib = desk.client()
        desk.place(ib, MarketOrder("BUY", 10))
        desk.step(ib)
        pair = [
            desk.place(ib, order)
            for order in (
                LimitOrder("SELL", 10, 12.4, ocaGroup="way out", ocaType=2),
                StopOrder("SELL", 10, 9.0, ocaGroup="way out", ocaType=2),
            )
        ]
        desk.step(ib)
        assert [trade.orderStatus.status for trade in pair] == ["Filled", "Cancelled"]


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (MarketOrder("BUY", 10_000), 201),
        (LimitOrder("BUY", 1, 10.001), 110),
        (Order(action="BUY", totalQuantity=1, orderType="PEG MKT"), 387),
        (MarketOrder("BUY", 0), 434),
    ],
)
def test_what_is_refused(order: Order, code: int) -> None:
    """With the codes of TWS."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib: Any = desk.client()
        trade = desk.place(ib, order)
        desk.settle(ib)
        assert ib.errors[-1] == (trade.order.orderId, code)
        desk.step(ib, 2)
        assert trade.fills == []


def test_an_order_without_a_time_in_force_gets_one_and_lives() -> None:
    """The client takes the notice for a cancel; TWS does not."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib: Any = desk.client()
        order = MarketOrder("BUY", 10)
        stock = Stock("AAPL", "SMART", "USD")
        trade = desk.do(lambda: ib.placeOrder(stock, order))
        desk.settle(ib)
        assert ib.errors[-1][1] == 10349
        assert trade.orderStatus.status == "Cancelled"
        desk.step(ib)
        assert trade.orderStatus.status == "Filled"


def test_a_number_in_use_and_visibility_between_clients() -> None:
    """The second client 7 is refused; client 2 sees what client 1 has, and cannot cancel it."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        one: Any = desk.client(7)
        with pytest.raises((ConnectionError, TimeoutError)):
            desk.client(7, timeout=0.5)
        two: Any = desk.client(2)
        trade = desk.place(one, LimitOrder("BUY", 1, 5.0))
        desk.settle(one)
        assert desk.do(two.reqOpenOrdersAsync) == []
        (seen,) = desk.do(two.reqAllOpenOrdersAsync)
        assert (seen.order.clientId, seen.order.permId) == (7, trade.orderStatus.permId)
        desk.do(lambda: two.client.cancelOrder(trade.order.orderId))
        desk.settle(two)
        assert two.errors[-1][1] == 10147


def test_reconnecting_brings_orders_positions_and_missed_fills() -> None:
    """But no events of them: the client's own trap, kept as it is."""
    with Desk(cash=1_000) as desk:
        desk.tws.step()
        ib = desk.client()
        desk.place(ib, MarketOrder("BUY", 10, orderRef="missed"))
        desk.place(ib, LimitOrder("BUY", 1, 5.0, orderRef="open"))
        desk.settle(ib)
        desk.do(ib.disconnect)
        desk.do(lambda: asyncio.sleep(0.05))
        desk.tws.step()
        heard: list[Any] = []
        ib.execDetailsEvent += lambda *words: heard.append(words)
        desk.connect(ib)
        assert [fill.execution.orderRef for fill in ib.fills()] == ["missed"]
        assert heard == []
        assert [trade.order.orderRef for trade in ib.openTrades()] == ["open"]
        assert [position.position for position in ib.positions()] == [10]
        done = desk.do(lambda: ib.reqCompletedOrdersAsync(apiOnly=False))
        assert [(t.order.orderRef, t.orderStatus.status) for t in done] == [("missed", "Filled")]


def test_history_and_bars_as_they_happen() -> None:
    """Minutes, longer bars, pieces of five seconds that add up, and bars kept up to date."""
    with Desk() as desk:
        desk.tws.step(4)
        ib = desk.client()
        stock = Stock("AAPL", "SMART", "USD")

        def ask(size: str, **options: Any) -> Any:
            usual: dict[str, Any] = {"whatToShow": "TRADES", "useRTH": False, "formatDate": 2}
            return desk.do(
                lambda: ib.reqHistoricalDataAsync(stock, "", "1 D", size, **usual | options)
            )

        assert [bar.open for bar in ask("1 min")] == [10, 11, 12, 11]
        assert [(bar.open, bar.high, bar.close) for bar in ask("2 mins")] == [
            (10, 11.5, 11), (12, 12.5, 11)
        ]  # fmt: skip
        kept = ask("1 min", keepUpToDate=True)
        pieces = desk.do(lambda: ib.reqRealTimeBars(stock, 5, "TRADES", useRTH=False))
        desk.step(ib)
        assert [bar.open for bar in kept] == [10, 11, 12, 11, 13]
        assert len(pieces) == 12
        assert (pieces[0].open_, max(b.high for b in pieces), pieces[-1].close) == (13, 13.5, 13)
        assert sum(bar.volume for bar in pieces) == 1_000
        assert pieces[0].time == dt.datetime(2024, 1, 2, 15, 4, tzinfo=dt.UTC)


def test_futures_count_their_multiplier() -> None:
    """In cash, cost and worth."""
    listing = Listing(asset_id="ES", sec_type="FUT", exchange="CME", expiry="20240315",
                      multiplier="50", primary_exchange="")  # fmt: skip
    broker = SimulationBroker(
        10_000, instruments=[Instrument(asset_id="ES", multiplier=50.0, asset_class="future")]
    )
    with Desk(market(assets=("ES",)), listings=[listing], broker=broker) as desk:
        desk.tws.step()
        ib = desk.client()
        order = MarketOrder("BUY", 2, tif="GTC")
        trade = desk.do(lambda: ib.placeOrder(Future("ES", "202403", "CME"), order))
        desk.step(ib)
        assert filled(trade) == [(2, 11.0)]
        assert [(p.position, p.avgCost) for p in ib.positions()] == [(2, 550.0)]


def test_a_server_that_is_misused() -> None:
    """Twice started, not running, on a port that is taken, by somebody who speaks otherwise."""
    with TwsRehearsal(market()) as tws:
        with pytest.raises(ConfigError, match="runs already"):
            tws.start()
        with pytest.raises(BacktestError, match="cannot be used"):
            TwsRehearsal(market(), port=tws.port).start()

        async def shout() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", tws.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            found = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return found

        assert asyncio.run(shout()) == b""
        assert tws.is_up
    with pytest.raises(BacktestError, match="does not run"):
        tws.step()
    tws.stop()
    with pytest.raises(ConfigError, match="speed"):
        TwsRehearsal(market(), speed=0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rehearse --protocol ib`: the address first, the figures last; mistakes named."""
    monkeypatch.chdir(tmp_path)
    market().write_parquet("day.parquet")
    words = ["rehearse", "--protocol", "ib", "--data", "day.parquet", "--cash", "700"]
    ends = [*words, "--speed", "1e6", "--exit-at-end"]
    found = CliRunner().invoke(app, ends)
    assert found.exit_code == 0, found.output
    assert 'ib.connect("127.0.0.1", ' in found.stdout
    assert ["equity", "700"] in [line.split() for line in found.stdout.splitlines()]
    address, end = map(json.loads, CliRunner().invoke(app, [*ends, "--json"]).stdout.splitlines())
    assert (address["host"], address["account"]) == ("127.0.0.1", "DU1234567")
    assert (end["step"], end["cash"], end["is_over"]) == (7, "700", True)
    for more, text in ((["--step"], "--step has no call"), (["--protocol", "ibm"], "'ib'")):
        found = CliRunner().invoke(app, [*words, *more])
        assert found.exit_code == 2
        assert text in found.stderr
