"""LiveDataFeed: the contract of everything that brings bars as they happen."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.data.feed import DataFeed, Request
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.live.arrivals import Wake
from ml4t.backtest.live.assembly import COUNTS as ASSEMBLED
from ml4t.backtest.live.assembly import Assembly
from ml4t.backtest.live.hours import Bins, Hours
from ml4t.backtest.live.inbox import Inbox
from ml4t.backtest.live.pump import LonePump
from ml4t.backtest.live.reader import COUNTS as WAITED
from ml4t.backtest.live.reader import LiveReader
from ml4t.backtest.live.timing import WallTime
from ml4t.backtest.types.bars import MarketEvent
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.buffer import SignalBuffer
    from ml4t.backtest.live.inbox import Pump
    from ml4t.backtest.live.timing import TimeSource

_UTC = TimeAxis(zone="UTC")
_LATEST = 2**62


class LiveDataFeed(DataFeed):
    """Brings bars as they happen, whole timestamps at a time, with predictions beside them.

    A vendor's feed writes `connect`, `reconnect`, `close` and `history`; its threads put what they
    receive on the inbox and do nothing else: `inbox.put("feed", LiveBar(...))`, and `Connected()`,
    `Lost(reason)` and `Refused(reason)` of `live.arrivals`.

    A timestamp is given to the strategy when every asset has its bar, or `grace_seconds` after its
    end without those that are missing. What comes later is counted, and never given: time does
    not go back. After a break the bars in between come from `history`, before newer ones.

    A live feed is walked once. It ends when it is stopped.

    Args:
        symbols: What to bring bars of.
        bar_duration: Length of the bars; the vendor's are put together, counted from the open of a
            session, or from midnight UTC around the clock.
        grace_seconds: How long after a bar's end to wait for the other assets.
        signals: Where predictions come in.
        max_silence: How long no bar may come while the market is open before the feed connects
            anew; None is for ever.
        calendar: A name such as "XNYS", or a calendar: when the market is open. None is always.
        regular_hours: Leave out bars outside sessions.
        backfill_seconds: For how long newer bars may be held up by fetching those of a break.

    Attributes:
        vendor_bar: Length of the vendor's bars.
        vendor_offset: How long after multiples of their length, from midnight UTC on, they begin.
        inbox: Where the vendor's threads put what they receive.
        pump: How to wait for it.
        time: What time it is.
        wait_for_signals: Seconds for which a timestamp waits for predictions, counted from the end
            of its grace time; None does not wait.
        since: The end of the last timestamp that is known already, microseconds since 1970 UTC:
            what came after it is fetched first. None begins now.

    Raises:
        ConfigError: An option makes no sense.
    """

    vendor_bar: dt.timedelta | str = "1m"
    vendor_offset: dt.timedelta | str = "0s"
    is_session = False

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        bar_duration: dt.timedelta | str = "1m",
        grace_seconds: float = 5.0,
        signals: SignalBuffer | None = None,
        max_silence: dt.timedelta | str | None = "5m",
        calendar: Any = None,
        regular_hours: bool = False,
        backfill_seconds: float = 30.0,
    ) -> None:
        self.symbols = _symbols(symbols)
        self.bar_duration = bar_duration
        self.grace_seconds = _seconds(grace_seconds, "grace_seconds")
        self.backfill_seconds = _seconds(backfill_seconds, "backfill_seconds")
        self.max_silence = (
            None if max_silence is None else read_duration(max_silence, "max_silence")
        )
        if self.max_silence == 0:
            raise ConfigError("max_silence is 0: give a duration such as '5m', or None.")
        self.signals = signals
        self.regular_hours = regular_hours
        self.hours = Hours(calendar)
        self.bins = Bins(
            self.hours,
            read_duration(bar_duration, "bar_duration"),
            read_duration(self.vendor_bar, "vendor_bar"),
            read_duration(self.vendor_offset, "vendor_offset"),
        )
        self.inbox = Inbox()
        self.time: TimeSource = WallTime()
        self.wait_for_signals: float | None = None
        self.since: int | None = None
        self._pump: Pump | None = None
        self._reader: LiveReader | None = None
        self._stopping = threading.Event()
        self._events: Iterator[MarketEvent] | None = None
        self._next: MarketEvent | None = None

    def __repr__(self) -> str:
        return f"{self.name}({self.symbols!r}, bar_duration={self.bar_duration!r})"

    # -- what a vendor's feed writes ----------------------------------------------------------

    @abstractmethod
    def connect(self, inbox: Inbox) -> None:
        """Start to receive, on threads of the feed's own, and return when bars will come.

        `Connected()` is put on the inbox now and after every break, and `Lost` when one begins.

        Raises:
            BacktestError: It cannot be, or was not within a time the feed sets; says why.
        """

    @abstractmethod
    def reconnect(self) -> None:
        """Drop the connection and make a new one, without waiting for it."""

    @abstractmethod
    def close(self) -> None:
        """Stop to receive; may be called again, and before `connect`."""

    @abstractmethod
    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """The vendor's bars that began at or after `start` and ended by `end`, in any order.

        Called from another thread than the strategy's. Requests have timeouts.

        Args:
            start: In UTC.
            end: In UTC.
        """

    # -- what a session uses ------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What error texts and notices call the feed."""
        return type(self).__name__

    @property
    def pump(self) -> Pump:
        """How to wait: the session's way, or by the feed's own inbox and time."""
        return LonePump(self.inbox, self.time) if self._pump is None else self._pump

    @pump.setter
    def pump(self, pump: Pump) -> None:
        self._pump = pump

    @property
    def is_stopping(self) -> bool:
        """Whether the feed has been told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End the stream of timestamps after the present one; from any thread."""
        self._stopping.set()
        self.inbox.put("feed", Wake())

    def counts(self) -> dict[str, int]:
        """What happened so far, by name; `docs/live-data.md` says what each means."""
        found = dict.fromkeys((*ASSEMBLED, *WAITED), 0)
        if self._reader is not None:
            found |= self._reader.counts()
        if self.signals is not None:
            found |= self.signals.counts()
        return found

    def past_bars(self, start: dt.datetime, end: dt.datetime) -> pl.DataFrame:
        """Bars of a past span as the feed would have given them, for a warm-up.

        Args:
            start: Where the first bar begins; with a zone.
            end: By when the last one has ended.

        Returns:
            `timestamp` (when a bar ended, UTC), `asset_id`, prices and `volume`; in order.
        """
        whole = Assembly(
            self.symbols,
            self.bins,
            grace=0,
            after=self.bins.start_of(_UTC.to_microseconds(start)),
            regular_hours=self.regular_hours,
        )
        for bar in self.history(start, end):
            whole.add(bar, _LATEST, is_history=True)
        last, rows = _UTC.to_microseconds(end), []
        while (moment := whole.next_end()) is not None and moment <= last:
            stamp = whole.take()
            rows += [(stamp.time, b.asset_id, *_prices(b)) for b in stamp.bars]
        names = ("timestamp", "asset_id", "open", "high", "low", "close", "volume")
        kinds = (pl.Int64, pl.String, *(pl.Float64,) * 5)
        frame = pl.DataFrame(rows, dict(zip(names, kinds, strict=True)), orient="row")
        return frame.with_columns(pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"))

    # -- what a run uses ----------------------------------------------------------------------

    def open_reader(self, request: Request) -> Reader:
        """Connect, and give out timestamps as they become complete.

        Raises:
            DataError: The feed was opened before.
            BacktestError: It cannot connect.
        """
        if self._reader is not None:
            raise DataError(
                f"{self.name}: a live feed can be walked once, and its bars cannot be had again. "
                f"Make a new feed for another run."
            )
        self._reader = LiveReader(self, request)
        return self._reader

    def get_next_event(self) -> MarketEvent | None:
        """The next bar, waiting for it; None when the feed was stopped."""
        if self.is_exhausted():
            return None
        event, self._next = self._next, None
        return event

    def is_exhausted(self) -> bool:
        """Whether the feed was stopped; waits for the next bar to be sure."""
        if self._events is None:
            self._events = self._walk()
        if self._next is None:
            self._next = next(self._events, None)
        return self._next is None

    def _walk(self) -> Iterator[MarketEvent]:
        reader = self.open_reader(Request())
        for block in reader.blocks(1):
            yield from _events(block, reader.ids)


def _events(block: Block, ids: list[str]) -> Iterator[MarketEvent]:
    moment = _UTC.to_datetime(int(block.times[0]))
    for row, code in enumerate(block.codes):
        values = {name: column[row] for name, column in block.signals.items()}
        if block.meta is not None:
            values["_meta"] = block.meta[row]
        signals = {n: v for n, v in values.items() if v is not None and v == v}  # noqa: PLR0124
        prices = {name: float(column[row]) for name, column in block.prices.items()}
        yield MarketEvent(moment, ids[code], **prices, signals=signals)


def _prices(bar: LiveBar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def _seconds(value: float, option: str) -> float:
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{option}={value!r} is no number of seconds.")
    return value


def _symbols(symbols: Any) -> list[str]:
    if isinstance(symbols, str):
        raise ConfigError(f"symbols={symbols!r} is one text; give a list: symbols=[{symbols!r}].")
    names = list(symbols)
    if not names:
        raise ConfigError("symbols is empty: say what to bring bars of.")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(f"symbols: {name!r} is not a name.")
        if names.count(name) > 1:
            raise ConfigError(f"symbols: {name!r} is there twice.")
    return sorted(names)
