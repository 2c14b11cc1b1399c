"""A live feed, opened for a session: waits, assembles, and gives each timestamp once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ml4t.backtest.data.feed import Survey
from ml4t.backtest.data.groups import EventColumns
from ml4t.backtest.errors import DataError
from ml4t.backtest.live.arrivals import (
    BadBar,
    Connected,
    History,
    LiveBar,
    Lost,
    Missed,
    NoHistory,
    Refused,
    Wake,
)
from ml4t.backtest.live.assembly import Assembly
from ml4t.backtest.live.backfill import Backfill
from ml4t.backtest.live.notices import FeedLost, FeedRestored, FeedStale, GapFilled, GapUnfilled
from ml4t.backtest.live.timing import MICROSECONDS
from ml4t.backtest.live.watchdog import Watchdog
from ml4t.backtest.types.bars import MarketEvent
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Request
    from ml4t.backtest.live.assembly import Stamp
    from ml4t.backtest.live.backfill import Gap
    from ml4t.backtest.live.feed import LiveDataFeed
    from ml4t.backtest.live.notices import Notice

_UTC = TimeAxis(zone="UTC")
COUNTS = ("disconnects", "reconnects", "stale_alarms", "gaps_filled", "gaps_unfilled")
_FOREVER = 100 * 365 * DAY_US


class LiveReader:
    """Walks a live feed, on the thread of the strategy.

    A timestamp is given as soon as it is complete, and nothing of the next one is waited for. While
    the bars of a break are being fetched, or the connection is down, newer timestamps wait; both
    for `backfill_seconds` at most.
    """

    is_growing = False
    is_single_pass = True

    def __init__(self, feed: LiveDataFeed, request: Request) -> None:
        self.ids = list(feed.symbols)
        self._feed = feed
        self._name = request.name or feed.name
        self._refuse_other_asset(request)
        self._buffer = feed.signals
        declared = None if self._buffer is None else self._buffer.names
        self._columns = EventColumns(self._name, request, declared)
        if self._buffer is not None:
            self._buffer.bind(self.ids, feed.time, lambda: feed.inbox.put("feed", Wake()))
        self._codes = {asset_id: code for code, asset_id in enumerate(self.ids)}
        feed.connect(feed.inbox)
        now = feed.time.now()
        self._assembly = Assembly(
            self.ids,
            feed.bins,
            grace=int(feed.grace_seconds * MICROSECONDS),
            after=feed.bins.start_of(now) if feed.since is None else feed.since,
            regular_hours=feed.regular_hours,
        )
        self._patience = int(feed.backfill_seconds * MICROSECONDS)
        self._watchdog = Watchdog(feed.hours, feed.max_silence, now)
        self._backfill = Backfill(feed.history, feed.inbox, feed.time, feed.backfill_seconds)
        self._gap: Gap | None = None
        self._has_connected = self._is_lost = self._needs_gap = False
        self._quiet = now  # when the inbox was last seen empty
        self._awaited: tuple[int, list[str]] = (0, [])
        self._counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.survey = self._survey(self._assembly.last)

    def blocks(self, rows: int) -> Iterator[Block]:
        """One block for each timestamp, as soon as it is complete, until the feed is stopped."""
        try:
            while (stamp := self._next()) is not None:
                yield self._block(stamp)
        finally:
            self._backfill.stop()
            self._feed.close()
            self._assembly.abandon()

    def counts(self) -> dict[str, int]:
        """What happened so far, by name."""
        return {**self._assembly.counts, **self._counts}

    @property
    def is_idle(self) -> bool:
        """Whether nothing that has come waits to be given."""
        return self._gap is None and self._assembly.next_end() is None

    # -- waiting ------------------------------------------------------------------------------

    def _next(self) -> Stamp | None:
        """The next timestamp; None when the feed is to stop."""
        feed = self._feed
        while not feed.is_stopping:
            if self._is_ready():
                return self._assembly.take()
            arrival = feed.pump(self._deadline())
            now = feed.time.now()
            if arrival is not None:
                self._handle(arrival, now)
                continue
            # Lateness is judged when everything that has come has been read: a strategy that takes
            # its time must not make bars late that were here in time.
            self._quiet = now
            self._watch(now)
        return None

    def _is_ready(self) -> bool:
        end = self._assembly.next_end()
        if end is None or self._gap is not None:
            return False
        return self._assembly.is_complete(self._judged_at()) and not self._lacks_signals(end)

    def _judged_at(self) -> int:
        """When the inbox was last seen empty; earlier while the connection is down.

        Of bars that are put together parts would be missing: those wait until it is back.
        """
        if not self._is_lost:
            return self._quiet
        bins = self._feed.bins
        return self._quiet - (self._patience if bins.length == bins.vendor else _FOREVER)

    def _deadline(self) -> int | None:
        """When to look again, whatever comes."""
        deadlines = [self._watchdog.alarm_at(self._feed.time.now())]
        due = self._assembly.due_at()
        if due is not None and self._gap is None:
            due += self._quiet - self._judged_at()
            is_complete = self._assembly.is_complete(self._judged_at())
            deadlines.append(due + self._signal_wait() if is_complete else due)
        return min((d for d in deadlines if d is not None), default=None)

    def _signal_wait(self) -> int:
        return int((self._feed.wait_for_signals or 0.0) * MICROSECONDS)

    def _lacks_signals(self, end: int) -> bool:
        """Whether the timestamp has to wait for predictions."""
        if self._buffer is None or self._feed.wait_for_signals is None:
            return False
        if self._quiet >= (self._assembly.due_at() or 0) + self._signal_wait():
            return False
        if self._awaited[0] != end:
            self._awaited = (end, self._assembly.peek())
        awaited = self._awaited[1]
        while awaited and not self._buffer.missing(end, awaited[-1:]):
            awaited.pop()
        if not awaited:  # bars may have come meanwhile
            awaited += self._buffer.missing(end, self._assembly.peek())
        return bool(awaited)

    def _watch(self, now: int) -> None:
        if not self._watchdog.is_stale(now):
            return
        since = self._watchdog.silent_since(now)
        self._counts["stale_alarms"] += 1
        self._watchdog.hear(now)
        self._tell(FeedStale(self._name, since, (now - since) / MICROSECONDS))
        self._feed.reconnect()

    # -- what comes ---------------------------------------------------------------------------

    def _handle(self, arrival: Any, now: int) -> None:
        match arrival:
            case LiveBar():
                self._watchdog.hear(now)
                self._assembly.add(arrival, now)
            case BadBar(asset_id, reason):
                self._assembly.drop("bad_bars", asset_id, f"{reason} in the bar of")
            case Connected():
                self._connect(now)
            case Lost(reason):
                if not self._is_lost:  # else an attempt to get it back has failed
                    self._counts["disconnects"] += 1
                    self._tell(FeedLost(self._name, reason))
                self._is_lost = True
            case Missed():
                self._ask_for_gap(now)
            case Refused(reason):
                self._tell(FeedLost(self._name, reason, is_final=True))
                raise DataError(f"{self._name}: {reason}")
            case History() | NoHistory():
                self._end_gap(arrival, now)
            case Wake():
                pass
            case _:
                raise DataError(
                    f"{self._name}: a {type(arrival).__name__} was put on the inbox for the feed. "
                    f"A feed puts LiveBar, BadBar, Connected, Lost, Missed or Refused."
                )

    def _connect(self, now: int) -> None:
        self._watchdog.hear(now)
        self._is_lost = False
        if self._has_connected:
            self._counts["reconnects"] += 1
            self._tell(FeedRestored(self._name, self._assembly.last))
        self._has_connected = True
        self._ask_for_gap(now)

    def _ask_for_gap(self, now: int) -> None:
        if self._gap is None:
            self._begin_gap(now)
        else:
            self._needs_gap = True

    def _begin_gap(self, now: int) -> None:
        """Ask for what ended between the last timestamp and now."""
        start, end = self._assembly.last, self._feed.bins.vendor_floor(now)
        self._needs_gap = False
        if end > start:
            grace = int(self._feed.grace_seconds * MICROSECONDS)
            self._gap = self._backfill.start(start, end, end + grace)

    def _end_gap(self, arrival: History | NoHistory, now: int) -> None:
        gap = self._gap
        if gap is None or arrival.gap != gap.number:
            return  # it had been given up
        self._gap = None
        self._backfill.finish()
        if isinstance(arrival, History):
            for bar in arrival.bars:
                self._assembly.add(bar, now, is_history=True)
            self._counts["gaps_filled"] += 1
            self._tell(GapFilled(self._name, gap.start, gap.end, len(arrival.bars)))
        else:
            self._counts["gaps_unfilled"] += 1
            self._tell(GapUnfilled(self._name, gap.start, gap.end, arrival.reason))
            self._leave_out_torn(gap)
        if self._needs_gap:
            self._begin_gap(now)

    def _leave_out_torn(self, gap: Gap) -> None:
        """Bars put together of the vendor's that lack some would be wrong; none is better."""
        bins = self._feed.bins
        if bins.length > bins.vendor:
            self._assembly.skip_to(bins.end_of(gap.end - 1))

    def _tell(self, notice: Notice) -> None:
        self._feed.inbox.put("session", notice)

    # -- what is given ------------------------------------------------------------------------

    def _block(self, stamp: Stamp) -> Block:
        assets = [bar.asset_id for bar in stamp.bars]
        values: dict[str, dict[str, Any]] = {}
        if self._buffer is not None:
            if self._feed.wait_for_signals is not None:
                lacking = self._buffer.missing(stamp.time, assets)
            values = self._buffer.values_at(stamp.time, assets)
            if self._feed.wait_for_signals is not None:
                self._buffer.give_up(lacking)
        moment = _UTC.to_datetime(stamp.time)
        events = [
            MarketEvent(
                moment,
                bar.asset_id,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
                values.get(bar.asset_id, {}),
            )
            for bar in stamp.bars
        ]
        return self._columns.block(stamp.time, events, [self._codes[a] for a in assets])

    def _survey(self, first: int) -> Survey:
        return Survey(
            name=self._name,
            axis=_UTC,
            signals=None,
            has_meta=False,
            context=(),
            columns=(),
            first=first,
            last=None,
            step=None,
            is_staggered=True,
            duration=self._feed.bins.length,
            rows=None,
            is_streaming=True,
            source={
                "kind": "live",
                "feed": type(self._feed).__name__,
                "price_column": None,
                "columns_left_out": {},
            },
        )

    def _refuse_other_asset(self, request: Request) -> None:
        if request.asset_id is not None and self.ids != [request.asset_id]:
            raise DataError(
                f"{self._name}: the feed is for {request.asset_id!r}, but has the symbols "
                f"{', '.join(repr(asset_id) for asset_id in self.ids)}. Pass a feed of several "
                f"assets with data= or feed=."
            )
