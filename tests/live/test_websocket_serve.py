"""The server of the package and its clients: feeds, models that publish, and the command."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    Bars,
    ConfigError,
    DataError,
    SignalBuffer,
    Strategy,
    WebSocketFeed,
)
from ml4t.backtest.broadcast import hub
from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.data.feed import Request
from ml4t.backtest.errors import BacktestError
from tests.live.test_websocket import until
from tests.live.world import market

RIGHT, WRONG = "hush", "no"
FAST = 60_000.0  # a thousand minutes a second


class Best(Strategy):
    """Holds what is predicted best, and writes down all it is shown."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_start(self) -> None:
        self.seen = []

    def on_bars(self, bars: Bars) -> None:
        for bar in bars:
            self.seen.append((bar.timestamp, bar.asset_id, bar.close, dict(bar.signals)))
        best = bars.top("ml_pred", 1)
        self.rebalance_to_weights({best[0]: 0.5} if best else {})


def recorded(steps: int = 90) -> pl.DataFrame:
    """Holes in the bars and in the predictions, text and booleans beside them."""
    rows = market(steps).with_row_index()
    return (
        rows.with_columns(
            ml_pred=pl.when(pl.col("ml_pred") > 0.25).then("ml_pred"),
            mood=pl.when(pl.col("ml_pred") > 0.6).then(pl.lit("high")),
            is_open=pl.col("index") % 2 == 0,
        )
        .filter(pl.col("index") % 7 != 3)
        .drop("index")
    )


def session_of(
    server: BroadcastServer, folder: Path, strategy: Strategy, **options: Any
) -> tuple[BacktestResult, dict[str, int]]:
    """A shadow session over a feed, until the recording is over."""
    feed = WebSocketFeed(
        server.url,
        symbols=server.playback.symbols,
        **{"grace_seconds": 2.0, "max_silence": None, "signals": SignalBuffer(), **options},
    )
    result = BacktestEngine(feed, strategy=strategy).run_live(
        "shadow", journal=folder / "journal", time=feed.clock, max_data_age=1e9
    )
    return result, {name: count for name, count in feed.counts().items() if count}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_session_equals_its_backtest(tmp_path: Path, encoding: str) -> None:
    """Bar for bar, signal for signal, fill for fill."""
    frame = recorded()
    wanted, live = Best(), Best()
    backtest = BacktestEngine(frame, strategy=wanted).run()
    with BroadcastServer(frame, speed=FAST) as server:
        result, counted = session_of(server, tmp_path, live, encoding=encoding)
    assert live.seen == wanted.seen
    assert result.equity.equals(backtest.equity)
    assert result.fills.equals(backtest.fills)
    assert result.fills.height > 20
    assert counted["bars"] == frame.height
    assert set(counted) <= {"timestamps", "bars", "signal_updates", "ahead_of_clock"}


def test_cut_again_and_again_it_still_equals_its_backtest(tmp_path: Path) -> None:
    """What was missed is sent again from the numbers on, and nothing is lost or seen twice."""
    frame = market(60)
    wanted, live = Best(), Best()
    BacktestEngine(frame, strategy=wanted).run()
    with BroadcastServer(frame) as server:

        class Cutting(Best):
            def on_bars(self, bars: Bars) -> None:
                super().on_bars(bars)
                live.seen = self.seen
                if len(self.seen) in (15, 18, 90):
                    server.drop()
                server.step()

        feed = WebSocketFeed(
            server.url, symbols=["A", "B", "C"], signals=SignalBuffer(), max_silence=None
        )
        feed.time = feed.clock
        engine = BacktestEngine(feed, strategy=Cutting())
        server.step()
        feed.since = server.playback.now - 60_000_000
        engine.run()
    counted = feed.counts()
    assert live.seen == wanted.seen
    assert counted["disconnects"] == 3
    assert "late_bars" not in {name for name, count in counted.items() if count}


def test_times_of_sessions_and_zones(tmp_path: Path) -> None:
    """Dates are days of UTC; bars off the grid are refused with what to do."""
    days = market(12).with_columns(
        timestamp=pl.date(2024, 3, 4) + pl.duration(days=pl.col("timestamp").rank("dense") - 1)
    )
    with BroadcastServer(days, speed=1e9) as server:
        options: dict[str, Any] = {"vendor_bar": "1d", "grace_seconds": 1.0}
        result, counted = session_of(server, tmp_path, Best(), **options)
    assert counted["timestamps"] == 12
    ends = result.equity["timestamp"].dt.strftime("%m-%d %H:%M").to_list()
    assert ends[:2] == ["03-05 00:00", "03-06 00:00"]
    odd = hourly(5).with_columns(
        timestamp=pl.col("timestamp") + pl.duration(minutes=pl.col("timestamp").dt.hour() // 17)
    )
    with pytest.raises(DataError, match="Stream shorter bars"):
        BroadcastServer(odd)


def hourly(days: int) -> pl.DataFrame:
    """Hours from 9:30 in New York on, stamped with their ends, over a change of clocks."""
    opens = pl.datetime_range(
        dt.datetime(2024, 3, 7, 9, 30), dt.datetime(2024, 4, 30, 9, 30), "1d",
        time_zone="America/New_York", eager=True,
    )  # fmt: skip
    sessions = opens.filter(opens.dt.weekday() <= 5)[:days].dt.convert_time_zone("UTC")
    ends = [when + dt.timedelta(hours=1 + i) for when in sessions for i in range(7)]
    frame = market(len(ends)).sort("timestamp", "asset_id")
    return frame.with_columns(pl.Series("timestamp", [end for end in ends for _ in range(3)]))


def test_hours_from_half_past(tmp_path: Path) -> None:
    """As the backtest has them; with a calendar the last of a session ends with it."""
    frame = hourly(4)
    wanted, live = Best(), Best()
    backtest = BacktestEngine(frame, strategy=wanted).run()
    options: dict[str, Any] = {"vendor_bar": "1h", "vendor_offset": "30m"}
    with BroadcastServer(frame, speed=1e7) as server:
        result, _ = session_of(server, tmp_path, live, **options)
        assert live.seen == wanted.seen
        assert result.fills.equals(backtest.fills)
        with pytest.raises(ConfigError, match="pass vendor_offset='1800s'"):
            WebSocketFeed(server.url, symbols=["A"], vendor_bar="1h").open_reader(Request())
    (tmp_path / "hours").mkdir()
    with BroadcastServer(frame, speed=1e7) as server:
        result, counted = session_of(
            server, tmp_path / "hours", Best(), calendar="XNYS", backfill_seconds=1e6, **options
        )
    assert counted["bars"] == frame.height
    times = result.equity["timestamp"].dt.convert_time_zone("America/New_York")
    assert times.dt.strftime("%H:%M").to_list()[:8] == [
        *("10:30", "11:30", "12:30", "13:30", "14:30", "15:30", "16:00"),
        "10:30",
    ]


# -- those who publish -----------------------------------------------------------------------------


class Client:
    """A plain client, as somebody writes who has read the schema only."""

    def __init__(self, url: str, **hello: Any) -> None:
        self.socket: ClientConnection = connect(url).__enter__()
        self.say(type="hello", **{"version": 1, **hello})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, **message: Any) -> None:
        """One message."""
        self.socket.send(json.dumps(message))

    def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message of some kinds."""
        while True:
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=10))
            if message["type"] in kinds:
                return message


@pytest.fixture
def server() -> Iterator[BroadcastServer]:
    """Twenty minutes of three assets, without predictions, by steps."""
    with BroadcastServer(market(20).drop("ml_pred"), heartbeat_seconds=0.2) as server:
        yield server


def test_a_model_elsewhere_is_heard_by_a_session(tmp_path: Path) -> None:
    """What it publishes for a bar is beside that bar, when the session waits for it."""
    frame = market(20)
    scores = {(t, a): p for t, a, p in frame.select("timestamp", "asset_id", "ml_pred").rows()}
    with BroadcastServer(frame.drop("ml_pred"), speed=600.0, wait_for=2) as server:
        model = Client(server.url)
        model.say(type="subscribe", symbols=["A", "B", "C"], signals=False)
        live = Best()
        buffer = SignalBuffer(names=["ml_pred"])
        feed = WebSocketFeed(
            server.url, symbols=["A", "B", "C"], signals=buffer, max_silence=None, grace_seconds=30
        )
        feed.time = feed.clock
        feed.wait_for_signals = 60.0

        def predict() -> None:
            ends = dict(zip(sorted({t for t, _ in scores}), range(20), strict=True))
            for end in ends:
                bars = model.hear("bars")["bars"]
                items = [
                    {
                        "asset_id": bar["asset_id"],
                        "timestamp": end.isoformat(),
                        "values": {"ml_pred": scores[end, bar["asset_id"]]},
                    }
                    for bar in bars
                ]
                model.say(type="publish", signals=items, request=1)

        thread = threading.Thread(target=predict)
        thread.start()
        BacktestEngine(feed, strategy=live).run()
        thread.join(10)
        model.socket.close()
    wanted = Best()
    BacktestEngine(frame, strategy=wanted).run()
    assert live.seen == wanted.seen
    assert feed.counts()["signals_missing"] == 0


def test_what_is_published_reaches_subscribers_and_snapshots(server: BroadcastServer) -> None:
    """Each prediction by itself; what cannot be is refused with the reason."""
    with Client(server.url) as model, Client(server.url) as reader:
        reader.say(type="subscribe", symbols=["B", "nobody"])
        snapshot = reader.hear("snapshot")
        assert snapshot["symbols"] == ["B"]
        assert snapshot["refused"] == {"nobody": "it is not in the data"}
        good = {"asset_id": "B", "values": {"p": 0.5}, "meta": {"model": "v2"}}
        other = {"asset_id": "A", "values": {"p": 0.1}}
        model.say(type="publish", request=7, signals=[good, other, {"asset_id": "B"}, {"asset_id": "Bb", "values": {}}])  # fmt: skip  # noqa: E501
        answer = model.hear("published")
        assert (answer["request"], answer["taken"], len(answer["refused"])) == (7, 2, 2)
        assert "Did you mean 'B'" in answer["refused"][1]
        told = reader.hear("signals")
        assert (told["sequence"], told["signals"]) == (1, [good])
        reader.say(type="subscribe", symbols=["A"], bars=False)
        assert reader.hear("snapshot")["signals"] == [other]
        model.say(type="nonsense")
        assert model.hear("error")["code"] == "bad_message"
        assert server.run(lambda: dict(server.hub.counts)) == {
            "signals": 2,
            "refused_signals": 2,
            "bad_messages": 1,
        }


def test_going_on_from_numbers_or_from_a_time(server: BroadcastServer) -> None:
    """What was missed comes in order; numbers that are not known any more are said to be so."""
    with Client(server.url) as client:
        session = client.hear("welcome")["session"]
        client.say(type="subscribe", symbols=["A"])
        client.hear("snapshot")
        server.step(5)
        numbers = [client.hear("bars")["sequence"] for _ in range(5)]
        assert numbers == [1, 2, 3, 4, 5]
    with Client(server.url) as client:
        resume = {"session": session, "bars": 3}
        client.say(type="subscribe", symbols=["A"], resume=resume)
        assert client.hear("snapshot")["resumed"] is True
        found = [client.hear("bars") for _ in range(2)]
        assert [(m["sequence"], m["previous"]) for m in found] == [(4, 3), (5, 4)]
        client.say(type="subscribe", symbols=["A"], since="2024-03-04T14:34:00Z")
        assert client.hear("bars")["sequence"] == 5
        for wrong in ({"session": "other", "bars": 3}, {"session": session, "bars": 99}):
            client.say(type="subscribe", symbols=["A"], resume=wrong)
            assert "resumed" not in client.hear("snapshot")


def test_history_comes_in_pages(server: BroadcastServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what has been played, and no more."""
    monkeypatch.setattr("ml4t.backtest.broadcast.relay._PAGE", 4)
    server.step(6)
    with Client(server.url, encoding="json") as client:
        span = {"start": "2024-03-04T14:31:00Z", "end": "2024-03-05T00:00:00Z"}
        client.say(type="history_request", request=3, symbols=["A", "C"], **span)
        pages = [client.hear("history")]
        while pages[-1].get("is_last", True) is False:
            pages.append(client.hear("history"))
        found = [(bar["asset_id"], bar["start"][11:16]) for p in pages for bar in p.get("bars", [])]
        assert found == [(a, f"14:{m}") for m in range(31, 36) for a in ("A", "C")]
        assert len(pages) == 3


# -- who is let in, and who is let go --------------------------------------------------------------


def test_tokens_and_pages_from_elsewhere(server: BroadcastServer) -> None:
    """A wrong token is refused by header and by word; so are pages of other sites."""
    with pytest.raises(InvalidStatus, match="403"):
        connect(server.url, origin=Origin("https://evil.example")).__enter__()
    connect(server.url, origin=Origin("http://localhost:8000")).__enter__().close()
    with pytest.raises(ConfigError, match="set a token"):
        BroadcastServer(market(3), host="0.0.0.0")  # noqa: S104
    with BroadcastServer(market(3), token=RIGHT) as guarded:
        for options in ({}, {"token": WRONG}):
            with Client(guarded.url, **options) as client:
                error = client.hear("error")
                assert (error["code"], error["is_final"]) == ("unauthorized", True)
                with pytest.raises(ConnectionClosed):
                    client.hear("welcome")
        with Client(guarded.url, token=RIGHT) as client:
            client.hear("welcome")
        with pytest.raises(InvalidStatus, match="401"):
            connect(guarded.url, additional_headers={"Authorization": "Bearer no"}).__enter__()
        with pytest.raises(ConfigError, match=r"refused access \(HTTP 401\)") as caught:
            list(WebSocketFeed(guarded.url, symbols=["A"], token=WRONG)._walk())
        assert "hush" not in str(caught.value)
        feed = WebSocketFeed(guarded.url, symbols=["A"], token=RIGHT)
        assert feed.clock.now() > 0


def test_other_versions_and_nonsense_are_refused(server: BroadcastServer) -> None:
    """With a code, a sentence and a close code."""
    for hello, code in (({"version": 9}, 4002), ({"encoding": "xml"}, 4003)):
        with Client(server.url, **hello) as client:
            client.hear("error")
            with pytest.raises(ConnectionClosed) as closed:
                client.hear("welcome")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code
    with connect(server.url) as socket:
        socket.send("nonsense")
        assert "say hello first" in str(socket.recv(timeout=5))


def test_a_client_that_does_not_read_is_let_go(
    server: BroadcastServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted; the others hear everything."""
    monkeypatch.setattr(hub, "_QUEUED", 50)
    lines = server.run(lambda: server.hub.lines)
    with Client(server.url) as deaf:
        deaf.say(type="subscribe", symbols=["A"])
        until(lambda: any(line.symbols for line in server.run(lambda: list(lines))))
        item = {
            "asset_id": "A",
            "values": {"p": 1.0},
            "meta": {"x": np.random.default_rng(1).bytes(100_000).hex()},
        }
        with Client(server.url) as model:
            for _ in range(200):
                model.say(type="publish", signals=[item])
                model.hear("published")
            until(lambda: server.run(lambda: server.hub.counts["slow_clients"]) == 1)
        with pytest.raises(ConnectionClosed):
            deaf.hear("nothing of this kind")
    until(lambda: not server.run(lambda: len(server.hub.lines)))


def test_a_frame_that_is_too_large_ends_its_client_alone(server: BroadcastServer) -> None:
    """The server goes on."""
    with Client(server.url) as client, Client(server.url) as other:
        client.hear("welcome")
        client.socket.send("x" * (2 << 20))
        with pytest.raises(ConnectionClosed) as closed:
            client.hear("error")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        other.hear("welcome")


def test_options_and_ports(server: BroadcastServer) -> None:
    """Each is named with what to do."""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"speed": 0}, "speed=0"),
        ({"heartbeat_seconds": -1}, "heartbeat_seconds=-1"),
    )
    for options, words in cases:
        with pytest.raises(ConfigError, match=words):
            BroadcastServer(market(3), **options)
    with pytest.raises(BacktestError, match="did not start"):
        BroadcastServer(market(3), port=server.port).start()
    with pytest.raises(ConfigError, match="runs already"):
        server.start()
    stopped = BroadcastServer(market(3))
    stopped.stop()
    with pytest.raises(BacktestError, match="does not run"):
        stopped.step()
