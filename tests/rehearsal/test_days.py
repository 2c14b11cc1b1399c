"""Bars of whole sessions, times without a zone, and money that comes with the days."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import BacktestEngine, Clock, ParquetDataFeed, SimulationBroker, Strategy
from ml4t.backtest.errors import DataError
from ml4t.backtest.rehearsal.tape import Tape
from ml4t.backtest.rehearsal.tickets import Asked
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market, trading_client

DAYS = [dt.date(2024, 1, day) for day in (2, 3, 4, 5)]


def days(assets: tuple[str, ...] = ("AAPL",)) -> pl.DataFrame:
    """Four sessions that open at 10, 11, 12, 13 and close half a dollar higher."""
    return pl.DataFrame(
        {
            "timestamp": day,
            "asset_id": asset,
            "open": 10.0 + i,
            "high": 11.0 + i,
            "low": 9.5 + i,
            "close": 10.5 + i,
            "volume": 1_000.0,
        }
        for i, day in enumerate(DAYS)
        for asset in assets
    )


def buy(**changes: Any) -> Asked:
    """A purchase of ten at the market."""
    usual: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "type": "market", "qty": 10}
    return Asked(**(usual | {"time_in_force": "day"} | changes))


def test_sessions_are_known_at_their_close() -> None:
    """At 16:00 in New York by the calendar, at midnight without one."""
    assert Venue(days(), calendar="XNYS").tape.time(0) == dt.datetime(2024, 1, 2, 21, tzinfo=dt.UTC)
    assert Venue(days()).tape.time(0) == dt.datetime(2024, 1, 3, tzinfo=dt.UTC)


@pytest.mark.parametrize("calendar", [None, "XNYS"])
def test_orders_between_sessions_trade_at_the_next_open(calendar: str | None) -> None:
    """Whatever the hour; and the day before is the one before."""
    venue = Venue(days(), calendar=calendar, cash=1_000)
    venue.step()
    ticket = venue.desk.submit(buy())
    venue.step()
    assert venue.register.find(ticket.id).filled_avg_price == 11
    venue.step()
    holding = venue.accounts.holding("AAPL")
    assert (holding.price, holding.price_before) == (12.5, 11.5)
    assert venue.market.equity_before == 1_000 - 110 + 115


def test_daily_bars_by_wire(stage: Any) -> None:
    """They begin at midnight in New York; shorter ones are not to be had."""
    server = stage.serve(days(), calendar="XNYS")
    server.step(3)
    client = trading_client(server)
    page = {"symbols": "AAPL", "timeframe": "1Day", "sort": "desc"}
    bars = client.get("/stocks/bars", page)["bars"]["AAPL"]
    assert [bar["o"] for bar in bars] == [12, 11, 10]
    assert bars[0]["t"] == "2024-01-04T05:00:00Z"
    assert client.get("/stocks/bars", page | {"timeframe": "1Min"})["bars"] == {}
    (week,) = client.get("/stocks/bars", page | {"timeframe": "1Week"})["bars"]["AAPL"]
    assert (week["o"], week["c"], week["v"]) == (10, 12.5, 3_000)


def test_times_without_a_zone_are_those_of_the_market() -> None:
    """Or UTC, where there is no market."""
    bars = market().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    assert Venue(bars).tape.time(0) == dt.datetime(2024, 1, 2, 15, 1, tzinfo=dt.UTC)
    venue = Venue(bars, calendar="XNYS")
    assert venue.tape.time(0) == dt.datetime(2024, 1, 2, 20, 1, tzinfo=dt.UTC)
    venue.step()
    ticket = venue.desk.submit(buy())
    venue.step()
    assert venue.register.find(ticket.id).status == "filled"


def test_the_length_of_a_bar_can_be_given() -> None:
    """And must be, where nothing says it."""
    with pytest.raises(DataError, match="give bar_duration="):
        Tape(market([10]))
    tape = Tape(market([10]), bar_duration="1m")
    assert tape.time(0) - tape.time(-1) == dt.timedelta(minutes=1)


class Once(Strategy):
    """Sells five short on the first bar."""

    def on_start(self) -> None:
        self.done = False

    def on_bars(self, bars):
        if not self.done:
            self.done = True
            self.sell("AAPL", 5)


def test_interest_and_fees_are_activities_and_those_of_a_backtest() -> None:
    """Of a short sale, night by night."""
    broker = SimulationBroker(1_000, rates=0.05, borrow=0.1)
    venue = Venue(days(), broker=broker)
    venue.step()
    venue.desk.submit(buy(side="sell", qty=5))
    venue.step(3)
    kinds = {activity.kind for activity in venue.register.activities}
    assert kinds == {"FILL", "INT", "FEE"}
    moved = sum(activity.amount for activity in venue.register.activities)
    assert venue.market.portfolio.cash == pytest.approx(1_000 + moved)
    again = SimulationBroker(1_000, rates=0.05, borrow=0.1)
    result = BacktestEngine(days(), strategy=Once(), broker=again).run()
    assert venue.market.portfolio.cash == result.equity["cash"][-1]


def test_several_feeds_are_merged() -> None:
    """By time, as in a run."""
    venue = Venue([market(assets=["AAA"]), market([10, 20], assets=["BBB"])])
    venue.step(2)
    assert venue.accounts.last_price("BBB") == 20
    assert len(venue.tape) == 8


def test_a_tape_of_a_clock_has_its_predictions() -> None:
    """What the clock joins to the bars is on the tape."""
    bars = market([10, 11, 12])
    predictions = bars.select("timestamp", "asset_id", ml_pred=pl.lit(0.5))
    tape = Tape(Clock(ParquetDataFeed(bars), signals=predictions))
    (event,) = tape.bars(2)
    assert event.signals == {"ml_pred": 0.5}
    assert (len(tape), event.close) == (3, 12.0)
