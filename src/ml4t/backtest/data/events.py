"""A user's own feed, assembled into whole timestamps and checked as it goes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.data.feed import Survey
from ml4t.backtest.data.groups import EventColumns, bar_fault
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.bars import MarketEvent
from ml4t.backtest.types.time import DAY_US, TimeAxis, format_times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import DataFeed, Request


class EventReader:
    """Walks a feed that gives single events.

    One timestamp is complete when an event of a later one has come, so the feed is read one event
    ahead.
    """

    is_growing = True
    is_single_pass = True

    def __init__(self, feed: DataFeed, request: Request) -> None:
        self.ids: list[str] = []
        self._name = request.name or type(feed).__name__
        self._feed = feed
        self._request = request
        self._codes: dict[str, int] = {}
        self._count = 0
        self._columns = EventColumns(self._name, request)
        event = self._pull()
        if event is None:
            raise DataError(
                f"{self._name} has no bars. A feed of single events can be walked once: give each "
                f"run a new one."
            )
        self._ahead: MarketEvent | None = event
        self._axis = TimeAxis(zone=_zone_of(event.timestamp))
        self._last: int | None = None
        first = self._time(event)
        self._group = self._next_group()
        for member in self._group:  # so that they can be ordered before the run
            self._code(member.asset_id)
        second = self._time_ahead()
        self._axis = TimeAxis(zone=self._axis.zone, is_session=self._is_session(first, second))
        self.survey = self._survey(first, second)

    def blocks(self, rows: int) -> Iterator[Block]:
        """One block for each timestamp, as soon as it is complete."""
        group, self._group = self._group, []
        while group:
            yield self._block(group)
            group = self._next_group()

    def _time_ahead(self) -> int | None:
        return None if self._ahead is None else self._time(self._ahead)

    def _survey(self, first: int, second: int | None) -> Survey:
        duration = self._feed.bar_duration
        return Survey(
            name=self._name,
            axis=self._axis,
            signals=None,
            has_meta=False,
            context=(),
            columns=(),
            first=first,
            last=None,
            step=None if second is None else second - first,
            is_staggered=True,
            duration=None if duration is None else read_duration(duration, "bar_duration"),
            rows=None,
            is_streaming=True,
            source={
                "kind": "events",
                "feed": type(self._feed).__name__,
                "price_column": None,
                "columns_left_out": {},
            },
        )

    def _is_session(self, first: int, second: int | None) -> bool:
        if self._feed.is_session is not None:
            return self._feed.is_session
        times = np.array([first] if second is None else [first, second], dtype=np.int64)
        return bool((self._axis.to_wall(times) % DAY_US == 0).all())

    def _pull(self) -> MarketEvent | None:
        if self._feed.is_exhausted():
            return None
        event = self._feed.get_next_event()
        if event is None:
            self._refuse_early_end()
            return None
        self._check_kind(event)
        self._count += 1
        given: Any = event.signals
        return event if given is not None else msgspec.structs.replace(event, signals={})

    def _refuse_early_end(self) -> None:
        """None ends the feed, so it must say that it is exhausted; it may have found out now."""
        if not self._feed.is_exhausted():
            raise DataError(
                f"{self._name}.get_next_event() gave None after {self._count} events while "
                f"is_exhausted() is False: the run would end early without a word. Give None only "
                f"when there are no more bars, and let is_exhausted() be True then; a feed that "
                f"waits for its next bar must wait inside get_next_event()."
            )

    def _check_kind(self, event: Any) -> None:
        if not isinstance(event, MarketEvent):
            raise DataError(
                f"{self._name}.get_next_event() gave a {type(event).__name__}; it must give a "
                f"MarketEvent, or None at the end."
            )
        signals: Any = event.signals
        if not isinstance(signals, Mapping | None):
            raise DataError(
                f"{self._name}: the signals of {event.asset_id!r} at {event.timestamp} are a "
                f"{type(signals).__name__}. Give a dict of values by name, or None without any."
            )
        asset_id: Any = event.asset_id
        if not isinstance(asset_id, str) or not asset_id:
            raise DataError(
                f"{self._name}: asset_id {asset_id!r} at {event.timestamp} is not a name."
            )
        if self._request.asset_id not in (None, asset_id):
            raise DataError(
                f"{self._name}: the feed is for {self._request.asset_id!r}, but gave a bar of "
                f"{asset_id!r} at {event.timestamp}."
            )

    def _next_group(self) -> list[MarketEvent]:
        """The events of the next timestamp; empty at the end."""
        if self._ahead is None:
            return []
        group, now = [self._ahead], self._time(self._ahead)
        if self._last is not None and now < self._last:
            self._refuse_step_back(now)
        self._last = now
        while (event := self._pull()) is not None and self._time(event) == now:
            group.append(event)
        self._ahead = event
        return sorted(group, key=lambda e: e.asset_id)

    def _refuse_step_back(self, now: int) -> None:
        earlier, later = format_times(self._axis, [now, self._last or 0])
        raise DataError(
            f"{self._name} went back in time: after {later} came {earlier}. Events must come in "
            f"order of timestamp; sort them before the feed gives them."
        )

    def _time(self, event: MarketEvent) -> int:
        try:
            return self._axis.to_microseconds(event.timestamp)
        except (ValueError, TypeError):
            kind = "naive" if self._axis.zone is None else f"in zone {self._axis.zone}"
            raise DataError(
                f"{self._name}: the timestamp {event.timestamp!r} of {event.asset_id!r} cannot be "
                f"compared with the ones before it, which are {kind}."
            ) from None

    def _block(self, group: list[MarketEvent]) -> Block:
        time = self._time(group[0])
        if self._axis.is_session and self._axis.to_wall(np.array([time]))[0] % DAY_US:
            raise DataError(
                f"{self._name}: the first times were midnight, so times are read as labels of "
                f"sessions, and {group[0].timestamp} is none. If they are moments, set "
                f"is_session = False on the feed."
            )
        self._check(group)
        return self._columns.block(time, group, [self._code(e.asset_id) for e in group])

    def _code(self, asset_id: str) -> int:
        code = self._codes.get(asset_id)
        if code is None:
            code = self._codes[asset_id] = len(self.ids)
            self.ids.append(asset_id)
        return code

    def _check(self, group: list[MarketEvent]) -> None:
        before = None
        for event in group:
            if event.asset_id == before:
                raise DataError(
                    f"{self._name} gave two bars of {before!r} at {event.timestamp}. Give one."
                )
            before = event.asset_id
            problem = bar_fault(event)
            if problem:
                raise DataError(
                    f"{self._name}: {problem} in the bar of {before!r} at {event.timestamp}. "
                    f"Repair it or leave the bar out: an asset may miss bars."
                )


def _zone_of(moment: Any) -> str | None:
    if not isinstance(moment, dt.datetime):
        raise DataError(f"The timestamp {moment!r} of a bar is not a datetime.")
    if moment.tzinfo is None:
        return None
    return getattr(moment.tzinfo, "key", "UTC")  # a fixed offset has no name, and becomes UTC
