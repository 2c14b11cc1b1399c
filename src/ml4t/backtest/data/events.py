"""A user's own feed, assembled into whole timestamps and checked as it goes."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.data.block import Block
from ml4t.backtest.data.feed import Survey
from ml4t.backtest.data.layout import META, PRICES, refuse_labels
from ml4t.backtest.data.times import read_duration
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.bars import MarketEvent
from ml4t.backtest.types.time import DAY_US, TimeAxis, format_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.data.feed import DataFeed, Request

_NOISE = 1e-9  # as in checks.py
_FIELDS = (*PRICES, "volume")


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
        self._columns = _Columns(self._name, request)
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
        signals, meta, context = self._columns.take(group)
        return Block(
            times=np.array([time], dtype=np.int64),
            offsets=np.array([0, len(group)], dtype=np.int64),
            codes=np.array([self._code(e.asset_id) for e in group], dtype=np.int32),
            prices={n: np.array([getattr(e, n) for e in group], dtype=float) for n in _FIELDS},
            signals=signals,
            meta=meta,
            context=context,
        )

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
            problem = _problem(event)
            if problem:
                raise DataError(
                    f"{self._name}: {problem} in the bar of {before!r} at {event.timestamp}. "
                    f"Repair it or leave the bar out: an asset may miss bars."
                )


def _problem(event: MarketEvent) -> str | None:
    """What is wrong with a bar, or None."""
    for name in PRICES:
        value = getattr(event, name)
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            return f"{name} is {value!r}, not a positive, finite price,"
    for value, name in ((event.open, "open"), (event.close, "close"), (event.low, "low")):
        if event.high < value * (1 - _NOISE):
            return f"high {event.high} is below {name} {value}"
        if value < event.low * (1 - _NOISE):
            return f"{name} {value} is below low {event.low}"
    if event.volume < 0 or event.volume == math.inf:
        return f"volume is {event.volume}"
    return None


class _Columns:
    """Signals of events as columns. A name, once seen, stays."""

    def __init__(self, name: str, request: Request) -> None:
        self._name = name
        self._wanted = request.signal_columns
        pattern = request.context_pattern
        self._is_context: Callable[[str], object] = (
            re.compile(pattern).fullmatch if pattern is not None else lambda _: None
        )
        self._kinds: dict[str, bool] = {}
        self._contexts: set[str] = set()
        self._has_meta = False

    def take(
        self, group: list[MarketEvent]
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None, dict[str, np.ndarray]]:
        """Signals by name, `_meta`, and context by name, for the events of one timestamp."""
        for event in group:
            for name, value in event.signals.items():
                self._learn(name, value)
        signals = {n: _column(group, n, is_number=k) for n, k in self._kinds.items()}
        context = {n: self._common(group, n) for n in sorted(self._contexts)}
        meta = _column(group, META, is_number=False) if self._has_meta else None
        return signals, meta, context

    def _learn(self, name: str, value: Any) -> None:
        if name == META:
            self._has_meta = True
        elif name in self._contexts or value is None:
            pass
        elif self._is_context(name):
            refuse_labels([name], self._name, is_context=True)
            self._contexts.add(name)
        elif self._wanted is None or name in self._wanted:
            self._learn_kind(name, value)

    def _learn_kind(self, name: str, value: Any) -> None:
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not is_number and not isinstance(value, bool | str):
            raise DataError(
                f"{self._name}: signal {name!r} is a {type(value).__name__}; numbers, booleans "
                f"and text can be signals."
            )
        if name not in self._kinds and self._wanted is None:
            refuse_labels([name], self._name)
        if self._kinds.setdefault(name, is_number) != is_number:
            raise DataError(
                f"{self._name}: signal {name!r} is a number in some bars and {value!r} in another."
            )

    def _common(self, group: list[MarketEvent], name: str) -> np.ndarray:
        values = {e.asset_id: e.signals[name] for e in group if e.signals.get(name) is not None}
        if len(set(values.values())) > 1:
            raise DataError(
                f"{self._name}: {name!r} matches context_pattern, but context is the same for all "
                f"assets and this is not at {group[0].timestamp}: {values}."
            )
        column = np.empty(1, dtype=object)
        column[0] = next(iter(values.values()), None)
        return column


def _column(group: list[MarketEvent], name: str, *, is_number: bool) -> np.ndarray:
    values = [event.signals.get(name) for event in group]
    if is_number:
        return np.array([math.nan if v is None else v for v in values], dtype=float)
    column = np.empty(len(group), dtype=object)
    column[:] = values
    return column


def _zone_of(moment: Any) -> str | None:
    if not isinstance(moment, dt.datetime):
        raise DataError(f"The timestamp {moment!r} of a bar is not a datetime.")
    if moment.tzinfo is None:
        return None
    return getattr(moment.tzinfo, "key", "UTC")  # a fixed offset has no name, and becomes UTC
