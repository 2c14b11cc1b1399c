"""SignalPublisher: predictions from elsewhere, acknowledged or said not to be."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from ml4t.backtest import (
    BacktestEngine,
    ConfigError,
    DataError,
    SignalBuffer,
    SignalPublisher,
    WebSocketFeed,
)
from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.errors import ConnectionLost
from tests.live.test_session import Threshold, told
from tests.live.test_websocket import until
from tests.live.world import START, market

RIGHT = "hush"


def test_a_run_trades_on_what_is_published() -> None:
    """As on a column of the data."""
    frame = market(30)
    backtest = BacktestEngine(frame, strategy=Threshold()).run()
    with BroadcastServer(frame.drop("ml_pred"), speed=60_000.0) as server:
        buffer = SignalBuffer(names=["ml_pred"])
        feed = WebSocketFeed(server.url, symbols=list("ABC"), signals=buffer, max_silence=None)
        feed.time = feed.clock
        feed.wait_for_signals = 1e6

        def model() -> None:
            until(lambda: server.run(lambda: any(line.symbols for line in server.hub.lines)))
            with SignalPublisher(server.url) as publisher:
                for (when,), rows in frame.partition_by(
                    "timestamp", as_dict=True, maintain_order=True
                ).items():
                    pairs = zip(rows["asset_id"], rows["ml_pred"], strict=True)
                    signals = {name: {"ml_pred": value} for name, value in pairs}
                    assert publisher.publish(signals, when) == 3

        elsewhere = threading.Thread(target=model)
        elsewhere.start()
        live = BacktestEngine(feed, strategy=Threshold()).run()
        elsewhere.join()
    assert told(live).equals(told(backtest))
    assert live.fills.height > 5


def test_a_cut_line_is_made_anew() -> None:
    """What was not acknowledged is sent again."""
    with BroadcastServer(market(3)) as server, SignalPublisher(server.url) as publisher:
        assert publisher.publish({"A": {"ml_pred": 0.1}}, START) == 1
        server.drop()
        assert publisher.publish({"A": {"ml_pred": 0.2}, "B": {"ml_pred": 0.3}}, START) == 2
        said = server.run(lambda: [item.values["ml_pred"] for item in server.hub.predictions])
        assert said == [0.1, 0.2, 0.3]
        publisher.close()
        publisher.close()


def test_many_go_in_several_messages() -> None:
    """None is lost."""
    names = tuple(f"A{i:04}" for i in range(1_200))
    with BroadcastServer(market(2, assets=names)) as server:
        with SignalPublisher(server.url) as publisher:
            assert publisher.publish({name: {"p": 1.0} for name in names}) == 1_200
        assert server.run(lambda: len(server.hub.predictions)) == 1_200


def test_refusals_are_told() -> None:
    """With the server's words; the others were taken."""
    with BroadcastServer(market(3)) as server, SignalPublisher(server.url) as publisher:
        with pytest.raises(DataError, match=r"took 1 and refused 1: there is no asset 'X'"):
            publisher.publish({"A": {"ml_pred": 0.1}, "X": {"ml_pred": 0.2}})
        with pytest.raises(DataError, match="has no zone"):
            publisher.publish({"A": {"ml_pred": 0.1}}, dt.datetime(2024, 3, 4))


def test_whoever_may_not_is_told_at_once() -> None:
    """And whoever finds nobody, in time."""
    with BroadcastServer(market(3), token=RIGHT) as server:
        for token in (None, "no"):
            publisher = SignalPublisher(server.url, token=token)
            with pytest.raises(ConfigError, match="refused"):
                publisher.publish({"A": {"ml_pred": 0.1}})
        with SignalPublisher(server.url, token=RIGHT) as publisher:
            assert publisher.publish({"A": {"ml_pred": 0.1}}) == 1
            assert RIGHT not in repr(publisher)
    publisher = SignalPublisher(server.url, token=RIGHT, patience=0.5)
    with pytest.raises(ConnectionLost, match=r"not acknowledged within 0.5 s"):
        publisher.publish({"A": {"ml_pred": 0.1}})
    with pytest.raises(ConfigError, match="patience"):
        SignalPublisher(server.url, patience=0.0)
