"""TWS lists fills and finished orders of its day alone: what a session makes of a weekend off."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import Instrument, Strategy
from ml4t.backtest.errors import ReconcileError
from ml4t.backtest.live.journal import Journal
from tests.live.ib_world import IBWorld

FRIDAY = dt.datetime(2024, 3, 8, 20, 51, tzinfo=dt.UTC)
MONDAY = dt.datetime(2024, 3, 11, 13, 31, tzinfo=dt.UTC)
CALM = [100.0] * 4
DIP = [*CALM, 95.0, 100.0, 104.0, 100.0]  # on Friday, after the session has gone


def world(folder: Path, prices: list[float], **options: Any) -> IBWorld:
    """A rehearsal of one share."""
    made = IBWorld(folder, frame(prices), **options)
    made.options = {"instruments": [Instrument(asset_id="A", tick_size=0.01)]}
    return made


def frame(prices: list[float]) -> pl.DataFrame:
    """Eight minutes of a Friday, and four of the Monday after it."""
    times = [FRIDAY + dt.timedelta(minutes=i) for i in range(8)]
    times += [MONDAY + dt.timedelta(minutes=i) for i in range(4)]
    closes = [*prices, *CALM]
    return pl.DataFrame(
        {
            "timestamp": times,
            "asset_id": "A",
            "open": closes,
            "high": [price + 0.5 for price in closes],
            "low": [price - 0.5 for price in closes],
            "close": closes,
            "volume": 1e6,
            "ml_pred": 0.5,
        }
    )


class Resting(Strategy):
    """One purchase below the market, on the second bar."""

    exits: dict[str, Any] = {}  # noqa: RUF012  of the class

    def on_start(self) -> None:
        self.step = 0

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step != 2:
            return
        if self.exits:
            self.bracket("A", 10, limit_price=96.0, **self.exits)
        else:
            self.buy("A", 10, limit_price=96.0)


class RoundTrip(Resting):
    """The same, with an exit in profit."""

    exits = {"stop_loss": 80.0, "take_profit": 103.0}  # noqa: RUF012


def go_away(live: IBWorld, prices: list[float], strategy: type[Strategy]) -> None:
    """A session for four bars; then the market goes on without it until Monday."""
    whole = frame(prices)
    live.frame = whole.head(4)
    live.run(strategy())
    live.frame = whole
    live.tws.step_to(MONDAY)
    live.time.moment = int(MONDAY.timestamp() * 1e6)


def test_a_fill_that_is_listed_no_more_stops_a_session(tmp_path: Path) -> None:
    """With the order and the position; adopted, it goes on with what the account has."""
    with world(tmp_path, DIP) as live:
        go_away(live, DIP, Resting)
        assert live.held() == {"A": 10.0}
        for _ in range(2):  # it does not help to try again
            with pytest.raises(ReconcileError) as caught:
                live.run(Resting())
            assert (
                "(buy 10 A) is in none of the broker's lists, which reach back to 2024-03-11"
                in str(caught.value)
            )
            assert "A: 0 by the journal, 10 at the broker" in str(caught.value)
        result = live.run(Resting(), reconcile="adopt")
        assert live.broker is not None
        assert live.broker.positions() == live.held() == {"A": 10.0}
        assert result.orders["status"].to_list() == ["canceled", "filled"]  # and the adoption
        assert "does not list it any more" in result.orders["reason"][0]


def test_a_round_trip_that_is_listed_no_more_stops_it_too(tmp_path: Path) -> None:
    """Though nothing is held: cash tells."""
    with world(tmp_path, DIP) as live:
        go_away(live, DIP, RoundTrip)
        assert live.held() == {}
        assert len(live.fills()) == 2
        with pytest.raises(ReconcileError) as caught:
            live.run(RoundTrip())
        assert "may have filled before that, and its exits after it" in str(caught.value)
        assert "cash that no fill explains" in str(caught.value)
        live.run(RoundTrip(), reconcile="adopt")
        assert live.broker is not None
        cash = live.tws.run(lambda: live.venue.market.portfolio.cash)
        assert live.broker.cash() == pytest.approx(cash, abs=1e-6)


class ForTheDay(Resting):
    """Its purchase ends with Friday."""

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 2:
            self.buy("A", 10, limit_price=90.0, time_in_force="day")


def test_an_order_that_ended_without_a_fill_stops_nothing(tmp_path: Path) -> None:
    """Positions and cash are what they would be: it is over, and the session goes on."""
    with world(tmp_path, DIP, calendar="XNYS") as live:
        go_away(live, DIP, ForTheDay)
        result = live.run(ForTheDay())
        assert live.fills() == []
        assert result.orders["status"].to_list() == ["canceled"]
        journal = Journal(live.path, is_read_only=True)
        assert len(list(journal.entries("given_up"))) == 1
        journal.close()


def test_what_still_works_is_found_whenever_it_was_sent(tmp_path: Path) -> None:
    """Open orders are listed however old they are."""
    prices = [100.0] * 8
    with world(tmp_path, prices) as live:
        go_away(live, prices, Resting)
        result = live.run(Resting())
        assert result.orders["status"].to_list() == ["accepted"]


class Away:
    """The line is cut in the middle of a session, and comes back on Monday."""

    def __call__(self, live: IBWorld) -> None:
        live.tws.run(live.tws.office.lines.drop)
        live.tws.step_to(MONDAY)
        live.time.moment = int(MONDAY.timestamp() * 1e6)
        link: Any = live.broker and live.broker.gateway._link  # type: ignore[attr-defined]
        end = time.monotonic() + 10.0
        for is_up in (False, True):
            while link.is_up is not is_up:
                assert time.monotonic() < end
                time.sleep(0.005)


@pytest.mark.parametrize("fills_on", [True, False])
def test_an_order_filled_in_part_before_a_long_cut_is_not_taken_for_canceled(
    tmp_path: Path, fills_on: bool
) -> None:
    """Its other part may have filled: nobody knows, unless the account is as it was."""
    prices = [100.0, 100.0, 95.9, 100.0, 95.0 if fills_on else 100.0, 100.0, 100.0, 100.0]
    strategy = Resting if fills_on else ForTheDayInPart
    faults = ["partial-fill:times=1"]
    with world(tmp_path, prices, calendar="XNYS", faults=faults) as live:
        live.before = {4: Away()}
        live.run(strategy())
        assert live.held() == {"A": 10.0 if fills_on else 5.0}
        journal = Journal(live.path, is_read_only=True)
        notes = "\n".join(str(entry.content) for entry in journal.entries("note"))
        given_up = list(journal.entries("given_up"))
        journal.close()
    assert ("(buy 10 A) is in none of the broker's lists" in notes) == fills_on
    assert len(given_up) == (not fills_on)


class ForTheDayInPart(Resting):
    """Its purchase ends with Friday."""

    def on_bars(self, bars: Any) -> None:
        self.step += 1
        if self.step == 2:
            self.buy("A", 10, limit_price=96.0, time_in_force="day")
