"""Servers: they start, stop, keep pace, and answer to those who run them."""

from __future__ import annotations

import builtins
import socket
import threading
import time
from typing import Any

import pytest
import requests

from ml4t.backtest.errors import BacktestError, ConfigError
from ml4t.backtest.rehearsal.loop import LoopServer
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market, trading_client, until


def test_starting_and_stopping_again() -> None:
    """With the venue as it was, and in little time."""
    begun = time.monotonic()
    server = RehearsalServer(market())
    for step in range(2):
        with server:
            assert server.is_up
            assert (
                requests.get(f"{server.url}/rehearsal/state", timeout=5).json()["step"] == step - 1
            )
            server.step()
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(f"{server.url}/rehearsal/state", timeout=5)
    assert time.monotonic() - begun < 8
    server.stop()  # a second time does nothing


def test_it_listens_on_the_loopback_alone(stage: Any) -> None:
    """On a free port, or on the one that was asked for."""
    server = stage.serve()
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.stream_url == f"ws://127.0.0.1:{server.port}/stream"
    assert server.data_stream_url("sip") == f"ws://127.0.0.1:{server.port}/v2/sip"
    assert server.data_stream_url("crypto").endswith("/v1beta3/crypto/us")
    with pytest.raises(BacktestError, match=f"Port {server.port}"):
        RehearsalServer(market(), port=server.port).start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert stage.serve(server={"port": port}).port == port


def test_it_keeps_pace(stage: Any) -> None:
    """Eight minutes at 6,000 times their speed are eighty milliseconds."""
    server = stage.serve(server={"speed": 6_000})
    until(lambda: server.venue.is_over)
    assert server.venue.step_number == 7


def test_speed_can_be_changed_and_time_passes_between_bars(stage: Any) -> None:
    """A minute takes a minute at speed 1; then all goes fast."""
    server = stage.serve(server={"speed": 1.0})
    first = server.run(lambda: server.venue.now)
    until(lambda: server.run(lambda: server.venue.now) > first)
    assert server.venue.step_number == -1
    answer = requests.post(f"{server.url}/rehearsal/clock", json={"speed": 1e5}, timeout=5)
    assert answer.json()["speed"] == 1e5
    until(lambda: server.venue.is_over)


def test_nights_are_hurried_through(stage: Any) -> None:
    """However slowly the days go."""
    late = market([10, 11]).vstack(market([12], first=market()["timestamp"][0].replace(day=5)))
    server = stage.serve(late, server={"speed": 10_000, "longest_pause": 0.05})
    until(lambda: server.venue.is_over)


def test_control_by_wire(stage: Any) -> None:
    """Stepping, looking, breaking."""
    server = stage.serve(cash=1_000)

    def ask(method: str, path: str, **body: Any) -> Any:
        answer = requests.request(method, f"{server.url}/rehearsal/{path}", json=body, timeout=5)
        return answer.status_code, answer.json()

    status, state = ask("POST", "step", count=2)
    assert (status, state["stepped"], state["step"], state["steps"]) == (200, 2, 1, 8)
    assert ask("POST", "step", to="2024-01-02T15:05:00Z")[1]["now"] == "2024-01-02T15:05:00Z"
    assert ask("POST", "faults", fault="429:call=account")[1]["faults"][0]["struck"] == 0
    assert trading_client(server).get_account().cash == "1000"
    assert ask("GET", "state")[1]["faults"][0]["struck"] == 1
    assert ask("GET", "faults")[1]["faults"][0]["fault"] == "429:call=account"
    assert ask("DELETE", "faults")[1]["faults"] == []
    status, error = ask("POST", "faults", fault="430")
    assert (status, error["message"][:20]) == (422, "There is no fault '4")
    assert ask("POST", "step", count=0)[0] == 422
    assert ask("POST", "clock", speed="fast")[0] == 422
    browser = requests.get(
        f"{server.url}/rehearsal/state", headers={"Origin": "http://example.org"}, timeout=5
    )
    assert browser.status_code == 403
    assert ask("POST", "restart", seconds=0.05)[0] == 200
    until(lambda: server.is_up)
    assert ask("POST", "stop")[0] == 200
    assert server.wait(10)


def test_a_restart_from_outside(stage: Any) -> None:
    """Blocks until the server is back."""
    server = stage.serve()
    server.step()
    server.restart(0.05)
    assert trading_client(server).get_clock().timestamp == server.venue.now


def test_a_venue_that_fails_is_told(stage: Any) -> None:
    """A part of the user's that raises ends the server, and the error is raised at its end."""

    def broken(*_: Any) -> float:
        raise ValueError("no price for this")

    from ml4t.backtest import SimulationBroker
    from ml4t.backtest.rehearsal.tickets import Asked

    venue = Venue(market(), broker=SimulationBroker(slippage=broken))
    venue.desk.submit(Asked(symbol="AAPL", side="buy", type="market", time_in_force="gtc", qty=1))
    server = RehearsalServer(venue, speed=1e5)
    server.start()
    assert server.wait(10)
    with pytest.raises(BacktestError, match="no price for this"):
        server.stop()


class Slow(threading.Event):
    """Whoever waits for it is slow to hear of it, as on a busy machine."""

    def wait(self, timeout: float | None = None) -> bool:
        is_set = super().wait(timeout)
        time.sleep(0.2)
        return is_set


class Brief(LoopServer):
    """Up for a moment, or not at all."""

    def __init__(self, *, is_up: bool) -> None:
        super().__init__()
        self.is_up = is_up
        self._started = Slow()

    async def _serve(self) -> None:
        if self.is_up:
            self._started.set()
        raise ValueError("the roof came down")


def test_a_server_that_fails_as_soon_as_it_is_up_has_started() -> None:
    """However quickly it failed: its end is told at the stop, and a failed start at the start."""
    server = Brief(is_up=True)
    server.start()
    assert server.wait(10)
    with pytest.raises(BacktestError, match=r"failed: the roof came down"):
        server.stop()
    with pytest.raises(BacktestError, match=r"did not start: the roof came down"):
        Brief(is_up=False).start()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"speed": 0}, "speed must be"),
        ({"speed": "fast"}, "speed must be"),
        ({"key": "alone"}, "belong together"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], text: str) -> None:
    """Before anything listens."""
    with pytest.raises(ConfigError, match=text):
        RehearsalServer(market(), **options)


def test_a_server_starts_once(stage: Any) -> None:
    """And does nothing for others while it does not run."""
    server = stage.serve()
    with pytest.raises(ConfigError, match="runs already"):
        server.start()
    with pytest.raises(BacktestError, match="does not run"):
        RehearsalServer(market()).step()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "starlette":
            raise ImportError("No module named 'starlette'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'ml4t-backtest\[rehearse\]'"):
        RehearsalServer(market())
