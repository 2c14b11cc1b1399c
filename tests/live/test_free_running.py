"""Everything together, and nobody in step: server, streams, vendor's clients, session."""

from __future__ import annotations

import datetime as dt
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import AlpacaBroker, AlpacaStreamFeed, BacktestEngine, Strategy
from ml4t.backtest.live.timing import ScaledTime
from ml4t.backtest.rehearsal.server import RehearsalServer
from ml4t.backtest.rehearsal.venue import Venue
from ml4t.backtest.results.result import BacktestResult
from tests.live.test_session import told
from tests.live.world import market

SPEEDS = (60.0, 30.0, 10.0)  # the slower ones for a machine that has other work
MINUTE = dt.timedelta(minutes=1)


class Rising(Strategy):
    """Holds what has risen in the last minute."""

    def on_market_data(self, event: Any, context: Any) -> None:
        if event.close > event.open and not self.get_position(event.asset_id):
            self.buy(event.asset_id, 10)
        elif event.close < event.open:
            self.close_position(event.asset_id)


@pytest.mark.slow
def test_a_rehearsal_that_runs_by_itself_is_its_backtest(tmp_path: Path) -> None:
    """From the first bar the session saw: the same fills, though bars and fills race."""
    names = {"A": "AAPL", "B": "IBM", "C": "SPY"}
    frame = market(20).drop("ml_pred").with_columns(pl.col("asset_id").replace(names))
    for speed in SPEEDS:
        live, is_in_time = played(frame, speed, tmp_path / f"{speed}")
        if is_in_time:
            break
    assert is_in_time, "the machine is too slow for any of the speeds"
    since = frame.filter(pl.col("timestamp") >= live.equity["timestamp"][0])
    backtest = BacktestEngine(since, strategy=Rising()).run()
    assert live.equity.height > 4
    assert told(live).equals(told(backtest))
    assert live.final_equity == pytest.approx(backtest.final_equity)


def played(frame: pl.DataFrame, speed: float, journal: Path) -> tuple[BacktestResult, bool]:
    """A session beside a venue that does not wait, and whether every order reached it in time."""
    with RehearsalServer(Venue(frame, cash=100_000.0), speed=speed) as server:
        begun = server.run(lambda: server.venue.now)
        clock = ScaledTime(int(begun.timestamp() * 1e6), speed)
        keys: dict[str, Any] = {"api_key": "key", "secret_key": "secret", "url": server.url}
        feed = AlpacaStreamFeed(
            **keys, symbols=sorted(frame["asset_id"].unique()), grace_seconds=15.0,
            stream_url=server.data_stream_url("iex"), calendar="24/7", max_silence=None,
        )  # fmt: skip
        broker = AlpacaBroker(**keys, stream_url=server.stream_url)

        def stop_at_the_end() -> None:
            while not server.run(lambda: server.venue.is_over):
                time.sleep(0.1)
            time.sleep(90.0 / speed)
            feed.stop()

        watcher = threading.Thread(target=stop_at_the_end, daemon=True)
        watcher.start()
        engine = BacktestEngine(data=feed, broker=broker, strategy=Rising())
        live = engine.run_live("paper", journal=journal, time=clock, max_clock_skew=None)
        watcher.join(10)
        tickets = server.run(lambda: list(server.venue.register.tickets.values()))
    decided = dict(live.orders.select("order_id", "created_at").iter_rows())
    ages = (
        ticket.created_at - decided[int(ticket.client_order_id.split("-")[2])]
        for ticket in tickets
        if ticket.filled_at is not None
    )
    return live, max(ages, default=MINUTE) < MINUTE
