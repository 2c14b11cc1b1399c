"""Both streams, through the vendor's clients as they are."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from alpaca.trading.requests import MarketOrderRequest
from websockets.sync.client import connect

from tests.rehearsal.clients import FIRST, market, trading_client, until


def buy(symbol: str = "AAPL", qty: float = 10) -> MarketOrderRequest:
    """A purchase at the market."""
    return MarketOrderRequest(symbol=symbol, qty=qty, side="buy", time_in_force="gtc")


def test_trade_updates(stage: Any) -> None:
    """Each with the order as it stood, executions with their own figures."""
    server = stage.serve(cash=1_000)
    listener, client = stage.listen(server), trading_client(server)
    server.step()
    order = client.submit_order(buy())
    server.step()
    until(lambda: len(listener.heard) == 2)
    new, fill = listener.heard
    assert (new.event, new.order.status.value, new.execution_id) == ("new", "new", None)
    assert (fill.event, fill.order.status.value, fill.order.id) == ("fill", "filled", order.id)
    assert (fill.qty, fill.price, fill.position_qty) == (10, 11, 10)
    assert fill.timestamp == FIRST + dt.timedelta(minutes=1)
    assert fill.execution_id is not None


def test_several_listeners_hear_the_same(stage: Any) -> None:
    """There is no limit on this stream."""
    server = stage.serve(cash=1_000)
    first = stage.listen(server)
    second = stage.listen(server, ready=False)
    until(lambda: server.run(lambda: len(server._trades.lines.ready())) == 2)
    client = trading_client(server)
    server.step()
    client.submit_order(buy())
    server.step()
    until(lambda: first.events == second.events == ["new", "fill"])


def test_bars(stage: Any) -> None:
    """Of the symbols that were asked for, labelled by their begin."""
    server = stage.serve(market(assets=["AAPL", "IBM", "MSFT"]))
    listener = stage.watch(server, "AAPL", "MSFT")
    server.step(2)
    until(lambda: len(listener.heard) == 4)
    assert [(bar.symbol, bar.open) for bar in listener.heard] == [
        ("AAPL", 10),
        ("MSFT", 10),
        ("AAPL", 11),
        ("MSFT", 11),
    ]
    bar = listener.heard[-1]
    assert (bar.high, bar.low, bar.close, bar.volume) == (11.5, 10.5, 11, 1_000)
    assert bar.timestamp == FIRST


def test_all_symbols_with_a_star(stage: Any) -> None:
    """And coins on an address of their own."""
    server = stage.serve(market(assets=["AAPL", "BTC/USD", "IBM"]))
    shares, coins = stage.watch(server, "*"), stage.watch(server, "BTC/USD", crypto=True)
    server.step()
    until(lambda: len(shares.heard) == 2 and len(coins.heard) == 1)
    assert [bar.symbol for bar in (*shares.heard, *coins.heard)] == ["AAPL", "IBM", "BTC/USD"]


def test_quotes_and_prints_follow_the_bars(stage: Any) -> None:
    """Both are the last close."""
    server = stage.serve()
    listener = stage.watch(server, "AAPL")
    listener.stream.subscribe_quotes(listener.hear, "AAPL")
    listener.stream.subscribe_trades(listener.hear, "AAPL")
    line = server._shares.lines[0]
    until(lambda: line.wanted["quotes"] and line.wanted["trades"])
    server.step()
    until(lambda: len(listener.heard) == 3)
    trade, quote, bar = listener.heard
    assert (trade.price, quote.bid_price, quote.ask_price, bar.close) == (10, 10, 10, 10)


def test_unsubscribing(stage: Any) -> None:
    """Ends what was asked for."""
    server = stage.serve(market(assets=["AAPL", "IBM"]))
    listener = stage.watch(server, "AAPL", "IBM")
    listener.stream.unsubscribe_bars("IBM")
    until(lambda: server._shares.lines[0].wanted["bars"] == {"AAPL"})
    server.step()
    until(lambda: listener.heard)
    assert [bar.symbol for bar in listener.heard] == ["AAPL"]


# -- frames ----------------------------------------------------------------------------------


class Raw:
    """A socket without a client, to look at frames."""

    def __init__(self, stage: Any, url: str, *, packed: bool = False) -> None:
        headers = {"Content-Type": "application/msgpack"} if packed else {}
        socket = connect(url, additional_headers=headers, proxy=None)
        self.socket = stage.servers.enter_context(socket)
        self.packed = packed

    def ask(self, message: dict[str, Any]) -> Any:
        """Send a message, and read one."""
        data: Any = msgspec.msgpack.encode(message) if self.packed else json.dumps(message)
        self.socket.send(data)
        return self.read()

    def read(self) -> Any:
        """One message."""
        frame = self.socket.recv(timeout=5)
        assert isinstance(frame, bytes)
        return msgspec.msgpack.decode(frame) if self.packed else json.loads(frame)


LOGIN = {"action": "authenticate", "data": {"key_id": "key", "secret_key": "secret"}}


def test_frames_of_the_trade_stream(stage: Any) -> None:
    """Text comes in, binary goes out, as at the real one."""
    server = stage.serve()
    raw = Raw(stage, server.stream_url)
    assert raw.ask(LOGIN) == {
        "stream": "authorization",
        "data": {"action": "authenticate", "status": "authorized"},
    }
    assert raw.ask({"action": "listen", "data": {"streams": ["trade_updates"]}}) == {
        "stream": "listening",
        "data": {"streams": ["trade_updates"]},
    }
    assert raw.ask({"action": "dance"})["stream"] == "error"


@pytest.mark.parametrize("packed", [True, False])
def test_frames_of_the_data_stream(packed: bool, stage: Any) -> None:
    """In the encoding that the client names, lists of maps in either."""
    server = stage.serve()
    raw = Raw(stage, server.data_stream_url("sip"), packed=packed)
    assert raw.read() == [{"T": "success", "msg": "connected"}]
    login = {"action": "auth", "key": "key", "secret": "secret"}
    assert raw.ask(login) == [{"T": "success", "msg": "authenticated"}]
    assert raw.ask(login)[0]["code"] == 403
    assert raw.ask({"action": "shout"})[0]["code"] == 400
    (state,) = raw.ask({"action": "subscribe", "bars": ["AAPL"], "quotes": ["IBM"]})
    assert (state["T"], state["bars"], state["quotes"], state["trades"]) == (
        "subscription",
        ["AAPL"],
        ["IBM"],
        [],
    )
    server.step()
    (bar,) = raw.read()
    began = FIRST - dt.timedelta(minutes=1)
    assert bar["t"] == (began if packed else "2024-01-02T15:00:00Z")
    assert (bar["T"], bar["S"], bar["o"]) == ("b", "AAPL", 10)


def test_one_data_client_at_a_time(stage: Any) -> None:
    """The second is told so, and let go; when the first has gone there is room."""
    server = stage.serve()
    login = {"action": "auth", "key": "key", "secret": "secret"}
    first, second = (Raw(stage, server.data_stream_url()) for _ in range(2))
    assert [first.read()[0]["T"], second.read()[0]["T"]] == ["success", "success"]
    assert first.ask(login)[0]["T"] == "success"
    assert second.ask(login)[0]["code"] == 406
    first.socket.close()
    until(lambda: server.run(lambda: not server._shares.lines))
    third = Raw(stage, server.data_stream_url())
    third.read()
    assert third.ask(login)[0]["T"] == "success"


def test_streams_want_credentials(stage: Any) -> None:
    """Right ones, and first of all."""
    server = stage.serve(server={"key": "mine", "secret": "hidden"})
    assert Raw(stage, server.stream_url).ask(LOGIN)["data"]["status"] == "unauthorized"
    raw = Raw(stage, server.data_stream_url())
    raw.read()
    assert raw.ask({"action": "auth", "key": "key", "secret": "guess"})[0]["code"] == 402
    raw = Raw(stage, server.data_stream_url())
    raw.read()
    assert raw.ask({"action": "subscribe", "bars": ["AAPL"]})[0]["code"] == 401
