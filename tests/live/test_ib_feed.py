"""IBStreamFeed on the unmodified ib_async, against a rehearsal of TWS."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from ml4t.backtest import ConfigError, DataError, IBStreamFeed
from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.arrivals import LiveBar, Refused
from ml4t.backtest.live.ib.contracts import Contracts
from ml4t.backtest.live.ib.minutes import MINUTE, Minutes
from ml4t.backtest.live.ib.stream import IBConnection
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.notices import FeedLost, FeedRestored, GapFilled
from ml4t.backtest.rehearsal.ib import TwsRehearsal
from ml4t.backtest.rehearsal.ib_words import Listing
from ml4t.backtest.rehearsal.venue import Venue
from tests.rehearsal.clients import market

OPENS = [10.0 + i for i in range(12)]
PATIENCE = 15.0


class VenueTime:
    """The venue's clock, which moves with its steps."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def now(self) -> int:
        return int(self.venue.now.timestamp() * 1e6)

    def seconds_until(self, moment: int) -> float:
        return 0.0 if self.now() >= moment else 0.02


class Watch:
    """A feed that is walked by hand, on a market that is stepped."""

    def __init__(self, data: pl.DataFrame | None = None, **options: Any) -> None:
        bars = market(OPENS, assets=("AAPL", "MSFT")) if data is None else data
        server = {"listings": options.pop("listings", ())}
        self.tws = TwsRehearsal(Venue(bars), **server)
        self.tws.start()
        self.tws.step(2)
        usual: dict[str, Any] = {"answer_seconds": 2.0, "heartbeat": 5.0, "calendar": "24/7"}
        symbols = options.pop("symbols", ["AAPL", "MSFT"])
        self.feed = IBStreamFeed(symbols, port=self.tws.port, **(usual | options))
        self.feed.time = VenueTime(self.tws.venue)
        self.feed.pump = self.wait
        self.notices: list[Any] = []
        self.blocks: Any = None

    def open(self) -> Watch:
        """Connect."""
        self.reader = self.feed.open_reader(Request())
        self.blocks = self.reader.blocks(1)
        return self

    def wait(self, deadline: int | None) -> Any:
        """As a session does: notices are its own."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            message = self.feed.inbox.take(0.02)
            if message is not None and message.source == "feed":
                return message.content
            if message is not None:
                self.notices.append(message.content)
            if deadline is not None and self.feed.time.now() >= deadline:
                return None
        raise AssertionError("nothing came")

    def next(self) -> tuple[str, dict[str, float]]:
        """The next timestamp: its time, and the closes."""
        block = next(self.blocks)
        at = dt.datetime.fromtimestamp(int(block.times[0]) / 1e6, tz=dt.UTC)
        names = [self.reader.ids[code] for code in block.codes.tolist()]
        closes = dict(zip(names, block.prices["close"].tolist(), strict=True))
        return f"{at:%H:%M}", closes

    def end(self) -> None:
        """Everything ends."""
        self.feed.stop()
        self.feed.close()
        if self.blocks is not None:
            list(self.blocks)
        self.tws.stop()


@pytest.fixture
def watch(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes feeds that end with the test."""
    made: list[Watch] = []

    def make(**options: Any) -> Watch:
        made.append(Watch(**options))
        return made[-1]

    yield make
    for one in made:
        one.end()


def both(price: float) -> dict[str, float]:
    """The same for both assets."""
    return {"AAPL": price, "MSFT": price}


def test_minutes_are_put_together_from_their_pieces(watch: Any) -> None:
    """Stamped with their end, both assets at once, with the bar's own figures."""
    session = watch().open()
    session.tws.step()
    assert session.next() == ("15:03", both(12.0))
    session.tws.step()
    assert session.next() == ("15:04", both(13.0))


def test_longer_bars(watch: Any) -> None:
    """Of two minutes."""
    session = watch(bar_duration="2m").open()
    session.tws.step(4)
    assert session.next()[1] == both(13.0)


def test_minutes_that_are_kept_up_to_date(watch: Any) -> None:
    """Known when the next one begins."""
    session = watch(source="kept").open()
    session.tws.step(2)
    assert session.next() == ("15:03", both(12.0))


def test_a_cut_line_is_made_anew_and_its_bars_are_fetched(watch: Any) -> None:
    """None is missing, and the order is that of time."""
    session = watch().open()
    session.tws.step()
    assert session.next() == ("15:03", both(12.0))
    session.tws.run(session.tws.office.lines.drop)
    session.tws.step(2)
    found = [session.next()]
    session.tws.step()
    found += [session.next(), session.next()]
    assert found == [("15:04", both(13.0)), ("15:05", both(14.0)), ("15:06", both(15.0))]
    assert any(isinstance(one, FeedLost) for one in session.notices)
    assert any(isinstance(one, FeedRestored) for one in session.notices)


@pytest.mark.parametrize("fault", ["farm-broken:bars=2", "link-lost:bars=2,kept=0"])
def test_what_was_lost_on_the_way_is_ordered_again(watch: Any, fault: str) -> None:
    """A farm that broke, and a link that forgot what was subscribed to."""
    session = watch().open()
    session.tws.step()
    assert session.next() == ("15:03", both(12.0))
    session.tws.add_fault(fault)
    session.tws.step(4)
    time.sleep(0.3)
    session.tws.step()
    found = [session.next() for _ in range(5)]
    assert found == [(f"15:0{i}", both(9.0 + i)) for i in range(4, 9)]
    assert any(isinstance(one, GapFilled) for one in session.notices)


def test_history_alone(watch: Any) -> None:
    """For a warm-up, without a session."""
    session = watch()
    session.tws.step(6)
    start = dt.datetime(2024, 1, 2, 15, 2, tzinfo=dt.UTC)
    past = session.feed.past_bars(start, start + dt.timedelta(minutes=3))
    assert past.filter(pl.col("asset_id") == "AAPL")["close"].to_list() == [12.0, 13.0, 14.0]
    long_ago = start - dt.timedelta(days=3)
    assert session.feed.past_bars(long_ago, long_ago + dt.timedelta(days=1)).height == 0


def test_what_cannot_be_had(watch: Any) -> None:
    """Is said when the feed is opened."""
    with pytest.raises(ConfigError, match="knows no contract for 'NONE'"):
        watch(symbols=["NONE"]).open()
    with pytest.raises(ConfigError, match="Did you mean 'live'"):
        watch(source="life")
    with pytest.raises(ConfigError, match="Did you mean 'BID'"):
        watch(prices="MID")
    gone = watch()
    gone.tws.stop()
    with pytest.raises(DataError, match="Is it running"):
        gone.open()


def test_futures_by_their_contract(watch: Any) -> None:
    """With the words of the broker that trades them."""
    listing = Listing(asset_id="ESM4", symbol="ES", sec_type="FUT", exchange="CME",
                      expiry="20240621", multiplier="50", primary_exchange="")  # fmt: skip
    session = watch(
        data=market(OPENS, assets=("ESM4",)),
        listings=[listing],
        symbols=["ES"],
        contracts={"ES": {"kind": "future", "exchange": "CME", "expiry": "202406"}},
    ).open()
    session.tws.step()
    assert session.next() == ("15:03", {"ES": 12.0})


def piece(second: int, price: float, volume: float = 1.0) -> LiveBar:
    """Five seconds."""
    return LiveBar(asset_id="A", start=second * 1_000_000, open=price, high=price + 1.0,
                   low=price - 1.0, close=price, volume=volume)  # fmt: skip


def test_pieces() -> None:
    """Whole minutes alone are given out; what is missing is told once."""
    given: list[LiveBar] = []
    missed: list[str] = []
    minutes = Minutes("A", given.append, missed.append, needs_volume=True)
    for second in range(30, 60, 5):  # it began before we came
        minutes.add(piece(second, 1.0))
    assert (given, missed) == ([], [])
    for second in range(60, 120, 5):
        minutes.add(piece(second, float(second)))
        minutes.add(piece(second, float(second)))  # told twice
    assert [(b.start, b.open, b.high, b.low, b.close, b.volume) for b in given] == [
        (MINUTE, 60.0, 116.0, 59.0, 115.0, 12.0)
    ]
    for second in (120, 125, 135, 175):
        minutes.add(piece(second, 1.0))
    assert len(missed) == 1
    minutes.add(piece(180, 1.0))
    minutes.add(piece(240, 1.0))  # the rest of the third minute never came
    assert len(missed) == 2
    for second in range(300, 360, 5):
        minutes.add(piece(second, 1.0, volume=0.0))  # nothing was traded
    assert len(given) == 1
    minutes.add(piece(60, 1.0))  # of long ago
    assert len(given) == 1


def test_codes_about_data() -> None:
    """No permission ends the feed with the broker's words; delayed data is told the operator."""
    contracts = Contracts({}, None)
    inbox = Inbox()
    options: dict[str, Any] = {"host": "127.0.0.1", "port": 1, "client_id": 1, "account": None,
               "answer_seconds": 1.0, "heartbeat": 1.0, "messages_a_second": 40.0}  # fmt: skip
    connection = IBConnection(
        ["A"], contracts, inbox, is_live=True, what="TRADES", now=lambda: 0, **options
    )
    connection._heard(5, 10167, "Displaying delayed market data")
    connection._heard(-1, 2106, "HMDS data farm connection is OK:ushmds")
    connection._heard(5, 354, "Requested market data is not subscribed.")
    told = [inbox.take(0), inbox.take(0), inbox.take(0)]
    assert told[0] is not None
    assert told[1] is not None
    assert told[2] is None
    assert (told[0].source, told[1].source) == ("session", "feed")
    assert "delayed data: 10167" in told[0].content
    assert isinstance(told[1].content, Refused)
    assert "not subscribed" in told[1].content.reason
