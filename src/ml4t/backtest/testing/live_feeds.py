"""The exam of a `LiveDataFeed`: order, lateness, breaks, corrections and the end.

A feed alone cannot be examined: somebody has to be the vendor. That is a driver, which a test
writes for the feed: a small server that speaks the vendor's protocol, or the vendor's sandbox.
"""

from __future__ import annotations

import datetime as dt
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from ml4t.backtest.data.feed import Request
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml4t.backtest.live.feed import LiveDataFeed

_UTC = TimeAxis(zone="UTC")
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_LOOK = 0.02  # seconds between two looks at a time that is set by hand


class HandTime:
    """Time that goes when it is told; for drivers whose vendor has no clock of its own.

    Args:
        now: Microseconds since 1970.
    """

    def __init__(self, now: int) -> None:
        self.moment = now

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self.moment

    def seconds_until(self, moment: int) -> float:
        """Real seconds until somebody should look again."""
        return 0.0 if moment <= self.moment else _LOOK


class FeedDriver(Protocol):
    """The vendor of a feed of minute bars, in the hand of a test.

    Attributes:
        feed: What is examined, not yet opened; it has no calendar and `max_silence=None`.
        start: The time at first: a whole minute, microseconds since 1970.
    """

    feed: LiveDataFeed
    start: int

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        """Send the bar that begins some minutes after the start; a correction of one, perhaps.

        It is over then: where the vendor says so by beginning the next one, that is begun.
        """
        ...

    def send_garbage(self) -> None:
        """Send something that is no bar, as far as the protocol allows."""
        ...

    def keep(self, asset_id: str, minute: int, close: float) -> None:
        """Let history have a bar."""
        ...

    def pass_to(self, minute: float) -> None:
        """It is some minutes after the start now, by the feed's time."""
        ...

    def drop(self) -> None:
        """Break the connection, and let the next one through."""
        ...

    def close(self) -> None:
        """The test is over."""
        ...


class LiveFeedContract:
    """What every `LiveDataFeed` guarantees; derive, and say in `make_vendor` how to drive yours.

    Attributes:
        patience: Seconds within which what has been sent arrives.
        corrects: Whether the vendor corrects bars. Where it does not, `send(..., is_update=True)`
            sends a bar again, with another price.
    """

    patience = 10.0
    corrects = True

    def make_vendor(self, symbols: Sequence[str], *, grace_seconds: float) -> FeedDriver:
        """A vendor, and a feed of minute bars of some assets that will connect to it."""
        raise NotImplementedError("Say in make_vendor how to drive the vendor of the feed.")

    # -- order ------------------------------------------------------------------------------------

    def test_timestamps_come_whole_and_in_order(self) -> None:
        """As soon as all assets have come, each once, stamped with the end."""
        with _Bench(self, "B", "A") as bench:
            for minute in range(3):
                bench.send("B", minute, 20.0 + minute)
                bench.send("A", minute, 10.0 + minute)
            wanted = [(m + 1.0, {"A": 10.0 + m, "B": 20.0 + m}) for m in range(3)]
            assert [bench.next() for _ in range(3)] == wanted
            assert bench.end()["bars"] == 6

    def test_an_asset_whose_next_bar_has_come_is_not_waited_for(self) -> None:
        """It had none."""
        with _Bench(self, "A", "B") as bench:
            bench.send("A", 0, 10.0)
            bench.send("B", 1, 21.0)
            assert bench.next() == (1.0, {"A": 10.0})
            bench.end()

    def test_what_lacks_is_waited_for_until_the_grace_time_is_over(self) -> None:
        """And not longer."""
        with _Bench(self, "A", "B") as bench:
            bench.send("A", 0, 10.0)
            bench.nothing()
            bench.pass_to(1.0 + 4.0 / 60)
            bench.nothing()
            bench.pass_to(1.0 + 6.0 / 60)
            assert bench.next() == (1.0, {"A": 10.0})
            bench.end()

    def test_time_does_not_go_back(self) -> None:
        """A bar that comes when its timestamp was given is counted and never given."""
        with _Bench(self, "A", "B") as bench:
            bench.send("A", 0, 10.0)
            bench.pass_to(1.0 + 6.0 / 60)
            assert bench.next() == (1.0, {"A": 10.0})
            bench.send("A", 1, 11.0)
            bench.send("B", 0, 20.0)
            bench.until(lambda: bench.counts()["late_bars"] == 1)
            bench.send("B", 1, 21.0)
            assert bench.next() == (2.0, {"A": 11.0, "B": 21.0})
            bench.end()

    def test_corrections(self) -> None:
        """Before its timestamp was given a bar is put right; afterwards it stays as it was.

        Where nothing is corrected, a bar that comes again is not taken for another one.
        """
        with _Bench(self, "A", "B") as bench:
            bench.send("A", 0, 10.0)
            bench.send("A", 0, 12.0, is_update=True)
            bench.send("B", 0, 20.0)
            assert bench.next() == (1.0, {"A": 12.0 if self.corrects else 10.0, "B": 20.0})
            bench.send("A", 0, 13.0, is_update=True)
            if self.corrects:
                bench.until(lambda: bench.counts()["corrected"] == 1)
            bench.send("A", 1, 11.0)
            bench.send("B", 1, 21.0)
            assert bench.next() == (2.0, {"A": 11.0, "B": 21.0})
            assert bench.end()["replaced"] == self.corrects

    def test_garbage_is_survived(self) -> None:
        """The bars around it come."""
        with _Bench(self, "A") as bench:
            bench.send("A", 0, 10.0)
            bench.driver.send_garbage()
            bench.send("A", 1, 11.0)
            assert [bench.next(), bench.next()] == [(1.0, {"A": 10.0}), (2.0, {"A": 11.0})]
            bench.end()

    # -- breaks -----------------------------------------------------------------------------------

    def test_the_bars_of_a_break_come_from_history(self) -> None:
        """In order, before newer ones, and none twice."""
        with _Bench(self, "A") as bench:
            bench.send("A", 0, 10.0)
            assert bench.next() == (1.0, {"A": 10.0})
            for minute in range(3):
                bench.driver.keep("A", minute, 10.0 + minute)
            bench.pass_to(3.2)
            bench.drop()
            bench.send("A", 3, 13.0)
            wanted = [(m + 1.0, {"A": 10.0 + m}) for m in range(1, 4)]
            assert [bench.next() for _ in wanted] == wanted
            counted = bench.end()
            names = ("disconnects", "reconnects", "backfilled", "corrected", "late_bars")
            assert [counted[name] for name in names] == [1, 1, 2, 0, 0]

    def test_it_goes_on_from_where_a_session_ended(self) -> None:
        """What came after that is fetched first."""
        with _Bench(self, "A", since=-2) as bench:
            bench.driver.keep("A", -3, 7.0)
            bench.driver.keep("A", -2, 8.0)
            bench.driver.keep("A", -1, 9.0)
            bench.open()
            assert [bench.next(), bench.next()] == [(-1.0, {"A": 8.0}), (0.0, {"A": 9.0})]
            bench.end()

    def test_history_has_whole_bars_of_the_span(self) -> None:
        """From its start on, and ended by its end."""
        with _Bench(self, "A") as bench:
            for minute in range(-4, 1):
                bench.driver.keep("A", minute, 10.0 + minute)
            start, end = (_UTC.to_datetime(bench.driver.start + m * _MINUTE) for m in (-3, -1))
            found = bench.driver.feed.history(start, end)
            assert sorted((bar.start - bench.driver.start) // _MINUTE for bar in found) == [-3, -2]
            assert all(bar.start % _MINUTE == 0 for bar in found)
            zone = dt.timezone(dt.timedelta(hours=5))
            again = bench.driver.feed.history(start.astimezone(zone), end.astimezone(zone))
            assert sorted(b.start for b in again) == sorted(b.start for b in found)

    # -- the end ----------------------------------------------------------------------------------

    def test_a_stop_from_elsewhere_ends_it(self) -> None:
        """In time, and no thread is left behind."""
        with _Bench(self, "A") as bench:
            bench.send("A", 0, 10.0)
            assert bench.next() == (1.0, {"A": 10.0})
            before = set(threading.enumerate()) - bench.threads - {bench.thread}
            assert before, "a feed receives on a thread of its own"
            bench.end()
            bench.until(lambda: not any(thread.is_alive() for thread in before))
            bench.driver.feed.close()

    def test_it_is_walked_once(self) -> None:
        """Live bars cannot be had again."""
        with _Bench(self, "A") as bench:
            bench.end()
            try:
                bench.driver.feed.open_reader(Request())
            except DataError:
                return
            raise AssertionError("the feed was opened a second time")


class _Bench:
    """A feed that is walked on a thread, so that no test waits for ever."""

    def __init__(self, exam: LiveFeedContract, *symbols: str, since: int | None = None) -> None:
        self.patience = exam.patience
        self.driver = exam.make_vendor(symbols, grace_seconds=5.0)
        self.threads = set(threading.enumerate())
        self.thread: threading.Thread | None = None
        self._found: queue.Queue[Any] = queue.Queue()
        if since is None:
            self.open()
        else:
            self.driver.feed.since = self.driver.start + since * _MINUTE

    def __enter__(self) -> _Bench:  # noqa: PYI034  it is made here alone
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.feed.stop()
        if self.thread is not None:
            self.thread.join(self.patience)
        self.driver.feed.close()
        self.driver.close()

    def open(self) -> None:
        """Connect, and begin to walk."""
        reader = self.driver.feed.open_reader(Request())
        self.thread = threading.Thread(target=self._walk, args=[reader], daemon=True)
        self.thread.start()

    def _walk(self, reader: Any) -> None:
        try:
            for block in reader.blocks(1):
                names = [reader.ids[code] for code in block.codes]
                closes = dict(zip(names, block.prices["close"].tolist(), strict=True))
                self._found.put(((int(block.times[0]) - self.driver.start) / _MINUTE, closes))
        except Exception as error:  # noqa: BLE001  the exam is to see it
            self._found.put(error)
        self._found.put(None)

    def send(self, asset_id: str, minute: int, close: float, *, is_update: bool = False) -> None:
        """Send a bar."""
        self.driver.send(asset_id, minute, close, is_update=is_update)

    def pass_to(self, minute: float) -> None:
        """It is so late now, also for the feed."""
        self.driver.pass_to(minute)
        moment = self.driver.start + int(minute * _MINUTE)
        self.until(lambda: self.driver.feed.time.now() >= moment)

    def drop(self) -> None:
        """Break the connection, and wait until there is another."""
        before = self.counts()["reconnects"]
        self.driver.drop()
        self.until(lambda: self.counts()["reconnects"] > before)

    def nothing(self) -> None:
        """No timestamp comes, for a moment."""
        try:
            found = self._found.get(timeout=0.3)
        except queue.Empty:
            return
        raise AssertionError(f"{found!r} came too early")

    def next(self) -> Any:
        """The next timestamp: minutes after the start, closes by asset."""
        try:
            return self._found.get(timeout=self.patience)
        except queue.Empty:
            raise AssertionError("no timestamp came in time") from None

    def counts(self) -> dict[str, int]:
        """What was counted so far."""
        return self.driver.feed.counts()

    def end(self) -> dict[str, int]:
        """Stop it; nothing more comes."""
        self.driver.feed.stop()
        assert self.next() is None
        return self.counts()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for news, not for ever."""
        end = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(_LOOK / 2)
