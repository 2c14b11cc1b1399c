"""`RehearsalTime`: a program that rehearses lives in the time of the recording."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import (
    AlpacaBroker,
    AlpacaStreamFeed,
    BacktestEngine,
    ConfigError,
    RehearsalTime,
    Strategy,
)
from ml4t.backtest.errors import LiveError
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from tests.live.world import market

BARS = market(40, ("AAPL",)).drop("ml_pred")
PATIENCE = 20.0


def moment(server: RehearsalServer) -> int:
    """What time it is at the venue."""
    return int(server.run(lambda: server.venue.now).timestamp() * 1e6)


def wait_for(condition: Any) -> None:
    """Until it is so."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_follows_the_venue_and_its_speed() -> None:
    """Between two looks it goes on by itself; it never goes back."""
    with RehearsalServer(Venue(BARS), speed=60.0) as server:
        clock = RehearsalTime(server.url)
        before = moment(server)
        assert abs(clock.now() - before) < 60_000_000  # a second of ours
        server.run(lambda: server.set_speed(None))
        wait_for(lambda: clock.seconds_until(clock.now() + 3_600_000_000) < 0.5)
        server.step(10)
        wait_for(lambda: clock.now() == moment(server))
        seen = clock.now()
        assert seen > before + 9 * 60_000_000
        assert clock.now() >= seen
        assert clock.seconds_until(seen - 1) == 0.0
        clock.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:80", "nonsense"])
def test_it_needs_a_rehearsal(url: str) -> None:
    """And says how to get one."""
    with pytest.raises(ConfigError, match="Start one with `ml4t-backtest rehearse`"):
        RehearsalTime(url)


class Once(Strategy):
    """Buys, and stops a few bars later."""

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 1:
            self.buy("AAPL", 10)


def parts(server: RehearsalServer) -> dict[str, Any]:
    """A program of a user's, with two other addresses."""
    keys: dict[str, Any] = {"api_key": "some-key", "secret_key": "some-secret", "url": server.url}
    feed = AlpacaStreamFeed(
        **keys, symbols=["AAPL"], stream_url=server.data_stream_url("iex"), calendar="24/7"
    )
    return {"data": feed, "broker": AlpacaBroker(**keys, requests_per_minute=None)}


def test_a_program_is_rehearsed_as_the_page_says(tmp_path: Path) -> None:
    """Two addresses and the time; orders fill, and the session can be stopped."""
    with RehearsalServer(Venue(BARS, cash=50_000.0), speed=120.0) as server:
        made = parts(server)

        def stop() -> None:
            wait_for(lambda: server.run(lambda: server.venue.step_number) > 8)
            made["data"].stop()

        thread = threading.Thread(target=stop)
        thread.start()
        result = BacktestEngine(**made, strategy=Once()).run_live(
            "paper", journal=tmp_path / "j", time=RehearsalTime(server.url), max_clock_skew=None
        )
        thread.join()
        held = {h.symbol: h.qty for h in server.run(server.venue.accounts.holdings)}
    assert result.fills.select(pl.col("asset_id", "quantity")).rows() == [("AAPL", 10.0)]
    assert held == {"AAPL": 10.0}


def test_without_it_the_error_names_it(tmp_path: Path) -> None:
    """A recorded day is no wrong clock."""
    with RehearsalServer(Venue(BARS)) as server:
        engine = BacktestEngine(**parts(server), strategy=Once())
        with pytest.raises(LiveError, match=r"pass time=RehearsalTime\(url\)"):
            engine.run_live("paper", journal=tmp_path / "j")
