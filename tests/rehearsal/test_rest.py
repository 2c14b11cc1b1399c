"""Every REST call, through the vendor's client as it is."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest
import requests
from alpaca.common.enums import Sort
from alpaca.data.requests import (
    CryptoBarsRequest,
    CryptoLatestQuoteRequest,
    CryptoSnapshotRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.enums import AssetClass, OrderClass, OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLossRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)

from tests.rehearsal.clients import (
    FIRST,
    APIError,
    CryptoHistoricalDataClient,
    StockHistoricalDataClient,
    market,
    trading_client,
)

NOBODY = uuid5(NAMESPACE_DNS, "nobody")


def buy(qty: float = 10, **options: Any) -> MarketOrderRequest:
    """A purchase at the market."""
    usual: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "time_in_force": "gtc"}
    return MarketOrderRequest(qty=qty, **(usual | options))


def limit(price: float, qty: float = 10, **options: Any) -> LimitOrderRequest:
    """A purchase at a limit."""
    usual: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "time_in_force": "gtc"}
    return LimitOrderRequest(limit_price=price, qty=qty, **(usual | options))


def refused(call: Any, *args: Any, **options: Any) -> tuple[int, int, str]:
    """Status, code and message of a call that fails."""
    with pytest.raises(APIError) as caught:
        call(*args, **options)
    return caught.value.status_code, caught.value.code, caught.value.message


# -- orders ----------------------------------------------------------------------------------


def test_an_order_from_submission_to_fill(stage: Any) -> None:
    """What the client reads of it at each stage."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    order = client.submit_order(buy(client_order_id="mine"))
    assert (order.status.value, order.client_order_id, order.qty) == ("accepted", "mine", "10")
    assert order.submitted_at == FIRST
    assert client.get_order_by_id(order.id).status.value == "new"
    server.step()
    found = client.get_order_by_client_id("mine")
    assert (found.id, found.status.value) == (order.id, "filled")
    assert (found.filled_qty, found.filled_avg_price) == ("10", "11")
    assert found.filled_at == FIRST + dt.timedelta(minutes=1)


def test_a_bracket_comes_with_its_legs(stage: Any) -> None:
    """Held until the entry fills, nested in it."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    order = client.submit_order(
        buy(
            order_class=OrderClass.BRACKET,
            take_profit=TakeProfitRequest(limit_price=13.2),
            stop_loss=StopLossRequest(stop_price=9, limit_price=8.9),
        )
    )
    assert [(leg.type.value, leg.status.value) for leg in order.legs] == [
        ("stop_limit", "held"),
        ("limit", "held"),
    ]
    assert order.order_class.value == "bracket"
    server.step()
    (stop, target) = client.get_orders(GetOrdersRequest(direction=Sort.ASC))
    assert (stop.limit_price, stop.stop_price, target.limit_price) == ("8.9", "9", "13.2")


def test_listing_filters_and_orders(stage: Any) -> None:
    """By status, symbol, side, time and direction."""
    server = stage.serve(market(assets=["AAPL", "MSFT"]), cash=10_000)
    client = trading_client(server)
    server.step()
    client.submit_order(buy(client_order_id="a"))
    server.step()
    client.submit_order(limit(5, client_order_id="b"))
    client.submit_order(limit(5, symbol="MSFT", client_order_id="c"))
    client.submit_order(limit(50, side="sell", client_order_id="d"))

    def ids(**options: Any) -> str:
        found = client.get_orders(GetOrdersRequest(**options))
        return "".join(order.client_order_id for order in found)

    assert ids() == "dcb"
    assert ids(status=QueryOrderStatus.ALL, direction=Sort.ASC) == "abcd"
    assert ids(status=QueryOrderStatus.CLOSED) == "a"
    assert ids(symbols=["MSFT"]) == "c"
    assert ids(side=OrderSide.SELL) == "d"
    assert ids(status=QueryOrderStatus.ALL, after=FIRST, direction=Sort.ASC) == "bcd"
    assert ids(status=QueryOrderStatus.ALL, until=FIRST + dt.timedelta(seconds=1)) == "a"
    assert ids(limit=1) == "d"


def test_nested_listing_puts_legs_into_their_order(stage: Any) -> None:
    """And lists them by themselves once that is over."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    target, stop = TakeProfitRequest(limit_price=20), StopLossRequest(stop_price=5)
    client.submit_order(buy(order_class="bracket", take_profit=target, stop_loss=stop))
    (head,) = client.get_orders(GetOrdersRequest(nested=True))
    assert len(head.legs) == 2
    assert len(client.get_orders(GetOrdersRequest())) == 3
    server.step()
    found = client.get_orders(GetOrdersRequest(nested=True, direction=Sort.ASC))
    assert [order.type.value for order in found] == ["stop", "limit"]


def test_replacing_makes_a_new_order(stage: Any) -> None:
    """Which the old one names."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    old = client.submit_order(limit(9))
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(qty=5, limit_price=9.5))
    assert (new.replaces, new.qty, new.limit_price) == (old.id, "5", "9.5")
    found = client.get_order_by_id(old.id)
    assert (found.status.value, found.replaced_by) == ("replaced", new.id)
    change = ReplaceOrderRequest(time_in_force=TimeInForce.DAY)
    assert client.replace_order_by_id(new.id, change).time_in_force.value == "day"
    assert refused(client.replace_order_by_id, old.id, change)[:2] == (422, 42210000)


def test_a_trail_can_be_replaced(stage: Any) -> None:
    """In percent as it was asked."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    client.submit_order(buy())
    server.step()
    asked = TrailingStopOrderRequest(
        symbol="AAPL", qty=10, side="sell", time_in_force="gtc", trail_percent=10
    )
    old = client.submit_order(asked)
    assert old.trail_percent == "10"
    new = client.replace_order_by_id(old.id, ReplaceOrderRequest(trail=20))
    assert new.trail_percent == "20"
    server.step()
    found = client.get_order_by_id(new.id)
    assert (found.hwm, found.stop_price) == ("12.5", "10")


def test_canceling_answers_with_nothing(stage: Any) -> None:
    """Or with why not."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    order = client.submit_order(limit(9))
    assert client.cancel_order_by_id(order.id) is None
    assert client.get_order_by_id(order.id).status.value == "canceled"
    assert refused(client.cancel_order_by_id, order.id) == (
        422,
        42210000,
        "order is not cancelable",
    )
    assert refused(client.cancel_order_by_id, NOBODY)[:2] == (404, 40410000)


def test_canceling_all_lists_what_was_canceled(stage: Any) -> None:
    """With the status of each."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    ids = [client.submit_order(limit(price)).id for price in (8, 9)]
    found = client.cancel_orders()
    assert [(answer.id, answer.status) for answer in found] == [(ids[0], 200), (ids[1], 200)]
    assert client.get_orders() == []


def test_unknown_orders_are_404(stage: Any) -> None:
    """By either id."""
    client = trading_client(stage.serve())
    assert refused(client.get_order_by_id, NOBODY)[:2] == (404, 40410000)
    assert refused(client.get_order_by_client_id, "nobody")[:2] == (404, 40410000)


def test_a_notional_order_has_no_quantity(stage: Any) -> None:
    """As money, in texts as the real one has them."""
    server = stage.serve(cash=1_000, fractional=True)
    client = trading_client(server)
    server.step()
    asked = MarketOrderRequest(symbol="AAPL", notional=110, side="buy", time_in_force="day")
    order = client.submit_order(asked)
    assert (order.notional, order.qty) == ("110", None)
    server.step()
    assert client.get_order_by_id(order.id).filled_qty == "10"


# -- positions and account -------------------------------------------------------------------


def test_positions(stage: Any) -> None:
    """Bought ten at 11, now at 12."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    assert client.get_all_positions() == []
    assert refused(client.get_open_position, "AAPL")[:2] == (404, 40410000)
    assert refused(client.close_position, "AAPL")[:2] == (404, 40410000)
    client.submit_order(buy())
    server.step(2)
    (found,) = client.get_all_positions()
    assert client.get_open_position("AAPL") == found
    assert client.get_open_position(found.asset_id) == found
    texts = (found.qty, found.qty_available, found.avg_entry_price, found.current_price)
    assert texts == ("10", "10", "11", "12")
    assert (found.market_value, found.cost_basis, found.unrealized_pl) == ("120", "110", "10")
    assert found.side.value == "long"


def test_closing_a_position_in_parts(stage: Any) -> None:
    """By units and by percent; the rest with all others."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    client.submit_order(buy())
    server.step()
    order = client.close_position("AAPL", ClosePositionRequest(qty="4"))
    assert (order.side.value, order.qty, order.type.value) == ("sell", "4", "market")
    assert client.get_open_position("AAPL").qty_available == "6"
    server.step()
    client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    server.step()
    assert client.get_open_position("AAPL").qty == "3"
    client.submit_order(limit(50, 3, side="sell"))
    (answer,) = client.close_all_positions()
    assert (answer.status, answer.symbol) == (403, "AAPL")
    (answer,) = client.close_all_positions(cancel_orders=True)
    assert answer.status == 200
    server.step()
    assert client.get_all_positions() == []


def test_the_account(stage: Any) -> None:
    """Money, and what of it is free while an order is open."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    server.step()
    client.submit_order(buy())
    server.step(2)
    client.submit_order(limit(5, 20))
    found = client.get_account()
    assert (found.cash, found.equity, found.buying_power) == ("890", "1010", "790")
    assert (found.long_market_value, found.status.value, found.multiplier) == ("120", "ACTIVE", "1")
    assert client.get_account_configurations().no_shorting is False


def test_fills_are_listed_page_by_page(stage: Any) -> None:
    """Through the client's plain `get`, for which it has no method."""
    server = stage.serve(cash=1_000)
    client = trading_client(server)
    for _ in range(3):
        server.step()
        client.submit_order(buy(1))
    server.step()
    page = {"direction": "asc", "page_size": 2}
    first = client.get("/account/activities/FILL", page)
    rest = client.get("/account/activities/FILL", page | {"page_token": first[-1]["id"]})
    assert [fill["price"] for fill in [*first, *rest]] == ["11", "12", "11"]
    assert {fill["type"] for fill in first} == {"fill"}
    after = client.get("/account/activities", {"after": first[0]["transaction_time"]})
    assert [fill["price"] for fill in after] == ["11", "12"]


# -- what is refused -------------------------------------------------------------------------

REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"symbol": "AAPLE"}, 422, "Did you mean 'AAPL'"),
    ({"qty": 101}, 403, "insufficient buying power"),
    ({"qty": -1}, 422, "positive"),
    ({"qty": 0.5}, 403, "not fractionable"),
    ({"qty": None}, 422, "one of qty and notional"),
    ({"qty": None, "notional": 20}, 403, "not fractionable"),
    ({"side": "bye"}, 422, "Did you mean 'buy'"),
    ({"type": "limit"}, 422, "require limit_price"),
    ({"type": "limit", "limit_price": 10.001}, 422, "sub-penny"),
    ({"limit_price": 10}, 422, "no limit_price"),
    ({"type": "stop", "stop_price": 11, "time_in_force": "cls"}, 422, "market or limit"),
    ({"type": "trailing_stop"}, 422, "one of trail_price and trail_percent"),
    ({"extended_hours": True}, 422, "DAY limit"),
    ({"order_class": "brackets"}, 422, "order_class"),
    ({"order_class": "bracket", "stop_loss": {"stop_price": 9}}, 422, "take 2 of"),
    (
        {
            "order_class": "bracket",
            "stop_loss": {"stop_price": 9},
            "take_profit": {"limit_price": 10},
        },
        422,
        "above base_price (10)",
    ),
    (
        {
            "order_class": "bracket",
            "stop_loss": {"stop_price": 11},
            "take_profit": {"limit_price": 12},
        },
        422,
        "below base_price (10)",
    ),
    ({"order_class": "oco", "stop_loss": {"stop_price": 9}}, 422, "must be limit orders"),
    (
        {"order_class": "oco", "type": "limit", "stop_loss": {"stop_price": 9}},
        422,
        "require take_profit",
    ),
    (
        {
            "order_class": "oco",
            "type": "limit",
            "stop_loss": {"stop_price": 12},
            "take_profit": {"limit_price": 9},
        },
        403,
        "exit orders",
    ),
    (
        {
            "order_class": "oto",
            "stop_loss": {"stop_price": 9},
            "time_in_force": "ioc",
        },
        422,
        "DAY or GTC",
    ),
    ({"qty": None, "notional": 0.5}, 422, "minimal amount"),
    ({"qty": None, "notional": 5, "type": "limit", "limit_price": 9}, 422, "must be market"),
    ({"type": "limit", "limit_price": -1}, 422, "positive"),
    ({"client_order_id": "taken"}, 422, "must be unique"),
    ({"client_order_id": "x" * 129}, 422, "128"),
    ({"qty": "many"}, 422, "not a number"),
    ({"limit_price": [1]}, 422, "format is invalid"),
    ({"side": "sell", "type": "limit", "limit_price": 4}, 422, "wash trade"),
]


@pytest.mark.parametrize(("changes", "status", "text"), REFUSALS)
def test_what_cannot_be_taken_is_refused(
    changes: dict[str, Any], status: int, text: str, stage: Any
) -> None:
    """With the status and the code that the client reads, before anything happens."""
    server = stage.serve(cash=1_050)
    client = trading_client(server)
    server.step()
    client.submit_order(limit(5, client_order_id="taken"))
    usual = {"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "gtc"}
    body = {name: value for name, value in (usual | changes).items() if value is not None}
    found = refused(client.post, "/orders", body)
    assert found[:2] == (status, {422: 42210000, 403: 40310000}[status])
    assert text in found[2]
    assert len(server.venue.register.tickets) == 1


def test_what_is_fractional_is_simple_and_for_the_day(stage: Any) -> None:
    """And never short."""
    server = stage.serve(cash=1_000, fractional=True)
    client = trading_client(server)
    server.step()
    target, stop = TakeProfitRequest(limit_price=20), StopLossRequest(stop_price=5)
    legs = {"order_class": "bracket", "take_profit": target, "stop_loss": stop}
    assert "DAY" in refused(client.submit_order, buy(0.5))[2]
    assert "simple" in refused(client.submit_order, buy(0.5, time_in_force="day", **legs))[2]
    assert "short" in refused(client.submit_order, buy(0.5, time_in_force="day", side="sell"))[2]


def test_what_a_replacement_cannot_change(stage: Any) -> None:
    """What the order does not have."""
    server = stage.serve(cash=1_000, fractional=True)
    client = trading_client(server)
    server.step()
    order = client.submit_order(limit(5))
    for change in ({"stop_price": 4}, {"trail": 1}, {"limit_price": 5.001}, {"qty": -2}):
        assert refused(client.patch, f"/orders/{order.id}", change)[0] == 422
    money = MarketOrderRequest(symbol="AAPL", notional=100, side="buy", time_in_force="day")
    order = client.submit_order(money)
    assert "no qty" in refused(client.patch, f"/orders/{order.id}", {"qty": 2})[2]


def test_what_is_not_held_cannot_be_sold(stage: Any) -> None:
    """Nor what another order is going to sell; the figures come with the refusal."""
    server = stage.serve(cash=1_000, shorting=False)
    client = trading_client(server)
    server.step()
    assert refused(client.submit_order, buy(side="sell"))[:2] == (403, 40310000)
    client.submit_order(buy())
    server.step()
    client.submit_order(limit(50, 6, side="sell"))
    with pytest.raises(APIError) as caught:
        client.submit_order(limit(50, 5, side="sell"))
    assert caught.value.status_code == 403
    assert caught.value.response.json()["available"] == "4"


def test_credentials_are_checked(stage: Any) -> None:
    """When the server was given some."""
    server = stage.serve(server={"key": "mine", "secret": "hidden"})
    assert trading_client(server, "mine", "hidden").get_account().cash == "100000"
    assert refused(trading_client(server, "mine", "guess").get_account)[:2] == (401, 40110000)


# -- clock, calendar, assets -----------------------------------------------------------------


def test_clock_and_calendar_of_a_market(stage: Any) -> None:
    """2 January 2024 at 10:00 in New York, and the days around Christmas before."""
    server = stage.serve(calendar="XNYS")
    client = trading_client(server)
    clock = client.get_clock()
    assert clock.is_open
    assert clock.timestamp == dt.datetime(2024, 1, 2, 15, tzinfo=dt.UTC)
    assert clock.next_close == dt.datetime(2024, 1, 2, 21, tzinfo=dt.UTC)
    assert clock.next_open == dt.datetime(2024, 1, 3, 14, 30, tzinfo=dt.UTC)
    asked = GetCalendarRequest(start=dt.date(2023, 12, 22), end=dt.date(2023, 12, 26))
    days = client.get_calendar(asked)
    assert [day.date.day for day in days] == [22, 26]
    assert days[0].open == dt.datetime(2023, 12, 22, 9, 30)
    assert days[0].close == dt.datetime(2023, 12, 22, 16, 0)


def test_a_clock_can_be_wrong(stage: Any) -> None:
    """By as much as a test wants."""
    server = stage.serve(calendar="XNYS")
    client = trading_client(server)
    answer = requests.post(f"{server.url}/rehearsal/clock", json={"skew_seconds": 90}, timeout=5)
    assert answer.json()["now"] == "2024-01-02T15:00:00Z"
    assert client.get_clock().timestamp == dt.datetime(2024, 1, 2, 15, 1, 30, tzinfo=dt.UTC)


def test_assets(stage: Any) -> None:
    """Shares and coins."""
    server = stage.serve(market(assets=["AAPL", "BTC/USD"]))
    client = trading_client(server)
    share, coin = client.get_all_assets()
    assert (share.symbol, share.asset_class.value, share.fractionable) == (
        "AAPL",
        "us_equity",
        False,
    )
    assert (coin.symbol, coin.asset_class.value, coin.fractionable) == ("BTC/USD", "crypto", True)
    assert client.get_asset("AAPL") == share
    assert client.get_asset(share.id) == share
    assert client.get_asset("BTC/USD") == client.get_asset("BTCUSD") == coin
    assert len(client.get_all_assets(GetAssetsRequest(asset_class=AssetClass.CRYPTO))) == 1
    assert refused(client.get_asset, "AAPLE")[:2] == (404, 40410000)


# -- market data -----------------------------------------------------------------------------


def test_bars_of_the_past_only(stage: Any) -> None:
    """Labelled by their begin; nothing that the venue has not played."""
    server = stage.serve(market(assets=["AAPL", "MSFT"]))
    data: Any = StockHistoricalDataClient("key", "secret", url_override=server.url)
    asked = StockBarsRequest(symbol_or_symbols=["AAPL", "MSFT"], timeframe=TimeFrame.Minute)
    assert data.get_stock_bars(asked).data == {}
    server.step(3)
    found = data.get_stock_bars(asked).data
    assert [bar.open for bar in found["MSFT"]] == [10, 11, 12]
    assert found["AAPL"][0].timestamp == FIRST - dt.timedelta(minutes=1)
    assert found["AAPL"][0].volume == 1_000


def test_bars_come_in_pages(stage: Any) -> None:
    """Of the size that was asked for."""
    server = stage.serve(market(assets=["AAPL", "MSFT"]))
    server.step(3)
    client = trading_client(server)
    page = {"symbols": "AAPL,MSFT", "timeframe": "1Min", "limit": 4}
    first = client.get("/stocks/bars", page)
    rest = client.get("/stocks/bars", page | {"page_token": first["next_page_token"]})
    assert {name: len(bars) for name, bars in first["bars"].items()} == {"AAPL": 3, "MSFT": 1}
    assert {name: len(bars) for name, bars in rest["bars"].items()} == {"MSFT": 2}
    assert rest["next_page_token"] is None


def test_longer_bars_are_gathered(stage: Any) -> None:
    """15:00 to 15:05 and the rest; the day so far."""
    server = stage.serve()
    server.step(7)
    data: Any = StockHistoricalDataClient("key", "secret", url_override=server.url)
    five = TimeFrame(5, TimeFrameUnit.Minute)
    asked = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=five, start=FIRST.replace(hour=0))
    found = data.get_stock_bars(asked).data["AAPL"]
    assert [(b.open, b.high, b.low, b.close, b.volume) for b in found] == [
        (10, 13.5, 9.5, 13, 5_000),
        (12, 12.5, 11.5, 12, 2_000),
    ]
    days = StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day)
    (day,) = data.get_stock_bars(days).data["AAPL"]
    assert (day.open, day.close, day.volume) == (10, 12, 7_000)
    late = StockBarsRequest(
        symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=FIRST, end=FIRST
    )
    assert [bar.open for bar in data.get_stock_bars(late).data["AAPL"]] == [11]


def test_the_latest_of_everything(stage: Any) -> None:
    """Bars as recorded; quotes and prints are made of the last close."""
    server = stage.serve()
    server.step(2)
    data: Any = StockHistoricalDataClient("key", "secret", url_override=server.url)
    bar = data.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols="AAPL"))["AAPL"]
    quote = data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
    trade = data.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols="AAPL"))["AAPL"]
    shot = data.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert (bar.open, bar.high) == (11, 11.5)
    assert (quote.bid_price, quote.ask_price, trade.price) == (11, 11, 11)
    assert shot.minute_bar == bar
    assert (shot.daily_bar.open, shot.previous_daily_bar) == (10, None)


def test_crypto_has_its_own_addresses(stage: Any) -> None:
    """With symbols that have a slash."""
    server = stage.serve(market(assets=["BTC/USD"]))
    server.step(2)
    data: Any = CryptoHistoricalDataClient("key", "secret", url_override=server.url)
    asked = CryptoBarsRequest(symbol_or_symbols="BTC/USD", timeframe=TimeFrame.Minute)
    assert [bar.open for bar in data.get_crypto_bars(asked).data["BTC/USD"]] == [10, 11]
    latest = CryptoLatestQuoteRequest(symbol_or_symbols="BTC/USD")
    assert data.get_crypto_latest_quote(latest)["BTC/USD"].bid_price == 11
    shot = data.get_crypto_snapshot(CryptoSnapshotRequest(symbol_or_symbols="BTC/USD"))
    assert shot["BTC/USD"].latest_trade.price == 11


def test_positions_in_coins_lose_their_slash(stage: Any) -> None:
    """As at the real one: orders say BTC/USD, positions BTCUSD, which is what closes them."""
    server = stage.serve(market(assets=["BTC/USD"]), cash=1_000)
    client = trading_client(server)
    server.step()
    order = client.submit_order(buy(0.5, symbol="BTC/USD"))
    assert (order.symbol, order.asset_class.value) == ("BTC/USD", "crypto")
    assert refused(client.submit_order, buy(1, symbol="BTC/USD", time_in_force="day"))[0] == 422
    assert refused(client.submit_order, buy(1, symbol="BTC/USD", side="sell"))[0] == 422
    server.step()
    (found,) = client.get_all_positions()
    assert (found.symbol, found.qty) == ("BTCUSD", "0.5")
    assert found.asset_id != client.get_asset("BTC/USD").id
    assert refused(client.get_open_position, "BTC/USD")[:2] == (404, 40410000)
    assert client.get_open_position(found.asset_id) == found
    assert client.close_position("BTCUSD").time_in_force.value == "gtc"
    assert refused(client.get_watchlists) == (404, 40410000, "endpoint not found.")


def test_data_calls_say_what_they_miss(stage: Any) -> None:
    """As any other."""
    client = trading_client(stage.serve())
    assert "symbols" in refused(client.get, "/stocks/bars", {"timeframe": "1Min"})[2]
    assert (
        "timeframe" in refused(client.get, "/stocks/bars", {"symbols": "A", "timeframe": "1x"})[2]
    )
    page = {"symbols": "AAPL", "timeframe": "1Min", "start": "soon"}
    assert "start is not a time" in refused(client.get, "/stocks/bars", page)[2]
    assert "page_size" in refused(client.get, "/account/activities", {"page_size": 101})[2]
    assert "page_token" in refused(client.get, "/account/activities", {"page_token": "x"})[2]
    assert "status" in refused(client.get, "/orders", {"status": "half"})[2]
