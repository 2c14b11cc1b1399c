"""The clock: every feed of a run as one stream of chunks; time never goes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.data.block import CHUNK_ROWS, Block
from ml4t.backtest.data.calendar import TradingCalendar
from ml4t.backtest.data.checks import is_absent, show_duration
from ml4t.backtest.data.column_context import ColumnContext
from ml4t.backtest.data.context import Context
from ml4t.backtest.data.coverage import Coverage, coverage_frame
from ml4t.backtest.data.feed import DataFeed, Request
from ml4t.backtest.data.frames import TableReader, as_feed
from ml4t.backtest.data.joint import open_readers
from ml4t.backtest.data.layout import META
from ml4t.backtest.data.merge import Lane, merge, to_run_times
from ml4t.backtest.data.origin import feed_source
from ml4t.backtest.data.signals import SignalFrame, read_signals, refuse_collisions
from ml4t.backtest.data.times import check_same_zone, read_duration, read_moment, sessions_of
from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.types.bars import Chunk, Universe
from ml4t.backtest.types.time import DAY_US, TimeAxis, format_times

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from ml4t.backtest.data.feed import Reader, Survey
    from ml4t.backtest.data.signals import Publication

_CLEARLY_SLOWER = 2


class Clock:
    """Merges feeds by time and brings what was known at each timestamp.

    Args:
        feeds: Feeds, or anything a feed can be made of.
        signals: Predictions as frames of their own: one, or several by name.
        signal_columns: The columns that are signals, in the feeds or in `signals`.
        signal_delay: How long after its `timestamp` a row of `signals` was known.
        signal_max_age: How long a row stays current.
        context: Market-wide series.
        context_pattern: Columns of the feeds whose whole name matches are context.
        calendar: A name such as "XNYS", or a calendar.
        start: First timestamp of the run, included.
        end: Last timestamp of the run, included; a date includes its day.

    Attributes:
        is_open_ended: Bars come as they happen, so that none, or none with a prediction, is no
            mistake.
    """

    def __init__(
        self,
        *feeds: Any,
        signals: Any = None,
        signal_columns: Sequence[str] | None = None,
        signal_delay: dt.timedelta | str | None = None,
        signal_max_age: dt.timedelta | str | None = None,
        context: Any = None,
        context_pattern: str | None = None,
        calendar: Any = None,
        start: dt.datetime | dt.date | str | None = None,
        end: dt.datetime | dt.date | str | None = None,
    ) -> None:
        self._feeds: list[tuple[DataFeed, str | None]] = []
        self._known: set[int] = set()
        self._signals = signals
        self._signal_columns = _names(signal_columns)
        self._signal_delay = signal_delay
        self._signal_max_age = signal_max_age
        self._context = _read_context(context)
        self._context_pattern = context_pattern
        self._calendar = _calendar(calendar)
        self._bounds = (start, end)
        self._is_prepared = False
        self._is_walked = False
        self._frames: list[SignalFrame] = []
        self._coverage: dict[str, Coverage] = {}
        self._column_context = ColumnContext()
        self.is_open_ended = False
        self.is_growing = False
        self.share_done = 0.0
        self.universe = Universe()
        self.axis = TimeAxis()
        self.signal_names: list[str] = []
        self.is_streaming = False
        for feed in feeds:
            self.add_data_feed(feed)

    def add_data_feed(self, feed: Any, asset_id: str | None = None) -> None:
        """Add a feed, for one asset when `asset_id` is given.

        Raises:
            ConfigError: The run has begun, or this very feed is in it already.
        """
        if self._is_prepared:
            raise ConfigError("The run has begun: add feeds before it.")
        feed = as_feed(feed)
        if id(feed) in self._known:
            raise ConfigError(f"{feed!r} was added twice.")
        self._known.add(id(feed))
        self._feeds.append((feed, asset_id))

    def again(self) -> Clock:
        """A clock of the same feeds and options that nobody has walked yet."""
        return self._with(self._feeds)

    def over(self, feed: DataFeed) -> Clock:
        """A clock with the same options on another feed."""
        return self._with([(feed, None)])

    @property
    def feeds(self) -> list[DataFeed]:
        """What it merges."""
        return [feed for feed, _ in self._feeds]

    def _with(self, feeds: Sequence[tuple[DataFeed, str | None]]) -> Clock:
        start, end = self._bounds
        clock = Clock(
            signals=self._signals,
            signal_columns=self._signal_columns,
            signal_delay=self._signal_delay,
            signal_max_age=self._signal_max_age,
            context=self._context,
            context_pattern=self._context_pattern,
            calendar=self._calendar,
            start=start,
            end=end,
        )
        for feed, asset_id in feeds:
            clock.add_data_feed(feed, asset_id=asset_id)
        return clock

    def prepare(self) -> None:
        """Open all feeds and check everything that can be checked before the run.

        Raises:
            DataError: Something in the data is refused.
            ConfigError: There is no feed, or options contradict each other.
        """
        if self._is_prepared:
            return
        if not self._feeds:
            raise ConfigError("There is nothing to run on: pass data=, feed= or feeds=.")
        self._readers, self._surveys = open_readers(list(self._requests()))
        _check_zones(self._surveys)
        _check_frequencies(self._surveys)
        self.axis = _common_axis(self._surveys)
        self.universe = Universe(sorted({name for r in self._readers for name in r.ids}))
        self.is_growing = any(reader.is_growing for reader in self._readers)
        self.is_streaming = any(survey.is_streaming for survey in self._surveys)
        self._kinds = _signal_kinds(self._surveys)
        self._first, self._last = self._window()
        self._prepare_signals()
        self._prepare_context()
        self._is_prepared = True

    def chunks(self) -> Iterator[Chunk]:
        """All bars of the run, a chunk of timestamps at a time; each call starts anew.

        Raises:
            DataError: There was no bar, no prediction met one, or a feed that is checked as it
                goes is refused.
        """
        self.prepare()
        latest = None
        lanes = self._lanes(self._readers, has_begins=_needs_begins(self._readers))
        for part in self._parts(lanes, self._first, self._last):
            before, latest = latest, int(part.times[-1])
            self.share_done = self._share(latest)
            yield self._chunk(part, before)
        self._finish(is_empty=latest is None)

    def between(self, first: int, last: int) -> Iterator[Chunk]:
        """The bars of a part of the run, to look at: when bars began is left out.

        Nor is checked what is at the end of a whole run: a part may be without bars or signals.

        Args:
            first: Time of the first bar, microseconds of the axis.
            last: Time of the last one, included.
        """
        self.prepare()
        low = first if self._first is None else max(first, self._first)
        high = last if self._last is None else min(last, self._last)
        readers = self._readers
        if self._context_pattern is None:  # context of columns goes on from before the part
            readers = [r.since(low) if isinstance(r, TableReader) else r for r in readers]
        for part in self._parts(self._lanes(readers, has_begins=False), low, high):
            yield self._chunk(part)

    def _lanes(self, readers: Sequence[Reader], *, has_begins: bool) -> list[Lane]:
        return [
            Lane(r, self.universe, self.axis, calendar=self._calendar, has_begins=has_begins)
            for r in readers
        ]

    def _parts(self, lanes: Sequence[Lane], first: int | None, last: int | None) -> Iterator[Block]:
        """All bars from a time to another; each call starts anew."""
        self._refuse_second_walk()
        self._start()
        for block in _without_plain_begins(merge(lanes, self.universe, CHUNK_ROWS)):
            if last is not None and block.times[0] > last:
                break
            part = self._inside(block, first, last)
            if part is not None:
                yield part

    def publications(self, time: int, asset_id: str) -> dict[str, Publication | None]:
        """What the tables of `signals=` had said of an asset by a time of the run, by signal.

        Args:
            time: Microseconds of the axis.
            asset_id: An asset of the universe.
        """
        self.prepare()
        return {
            name: publication
            for frame in self._frames
            for publication in [frame.publication(time, asset_id, self.universe)]
            for name in frame.names
        }

    def signal_coverage(self) -> pl.DataFrame:
        """How many bars of the run so far had each signal, and how old it was; one row a signal."""
        frames = [coverage for frame in self._frames for coverage in frame.coverage]
        return coverage_frame([*self._coverage.values(), *frames])

    def source(self) -> dict[str, Any]:
        """Where the bars come from, ready for JSON."""
        self.prepare()
        feeds = [
            {"name": survey.name, **survey.source, **feed_source(feed), "asset_id": asset_id}
            for survey, (feed, asset_id) in zip(self._surveys, self._feeds, strict=True)
        ]
        keys = self._signals if isinstance(self._signals, Mapping) else [None]
        signals = [
            {"key": key, **frame.describe()} for key, frame in zip(keys, self._frames, strict=False)
        ]
        return {
            "feeds": feeds,
            "signals": signals,
            "context": None if self._context is None else self._context.describe(),
            "options": self._options(),
        }

    def _options(self) -> dict[str, Any]:
        """What the clock was told beside its data, ready for JSON."""
        calendar = self._calendar
        delay, max_age = (
            None if value is None else read_duration(value, option)
            for option, value in (
                ("signal_delay", self._signal_delay),
                ("signal_max_age", self._signal_max_age),
            )
        )
        return {
            "signal_columns": self._signal_columns,
            "signal_delay_us": delay,
            "signal_max_age_us": max_age,
            "context_pattern": self._context_pattern,
            "calendar": None if calendar is None else calendar.name,
            "is_own_calendar": calendar is not None and calendar.is_fixed,
            "bounds": [None if value is None else str(value) for value in self._bounds],
        }

    def _requests(self) -> Iterator[tuple[DataFeed, Request]]:
        is_lone = len(self._feeds) == 1
        for number, (feed, asset_id) in enumerate(self._feeds, start=1):
            name = f"feeds[{asset_id!r}]" if asset_id is not None else None
            if name is None and not is_lone:
                name = f"feed {number} ({getattr(feed, 'name', type(feed).__name__)})"
            yield feed, Request(name, asset_id, self._signal_columns, self._context_pattern)

    def _prepare_signals(self) -> None:
        self._frames = read_signals(
            self._signals,
            signal_columns=self._signal_columns,
            delay=self._signal_delay,
            max_age=self._signal_max_age,
        )
        if not self._frames and (self._signal_delay, self._signal_max_age) != (None, None):
            raise ConfigError(
                "signal_delay= and signal_max_age= are about predictions passed as signals=; "
                "columns of the price data are known when their bar is."
            )
        own = [*self._kinds, *([META] if any(s.has_meta for s in self._surveys) else [])]
        given = {f.name: [*f.names, *([META] if f.has_meta else [])] for f in self._frames}
        refuse_collisions({"the price data": own, **given})
        self.signal_names = [*self._kinds, *(n for f in self._frames for n in f.names)]
        self._check_wanted()
        first, last = self._reach = self._span()
        for frame in self._frames:
            frame.bind(self.axis, self.universe, calendar=self._calendar, first=first, last=last)

    def _prepare_context(self) -> None:
        self._check_pattern()
        if self._context is None:
            return
        for survey in self._surveys:
            for name in survey.context:
                if name in self._context.names:
                    raise DataError(
                        f"{name!r} comes from both context= and a column of {survey.name} that "
                        f"context_pattern matches. Rename one, or narrow the pattern."
                    )
        self._context_over = self._context.bind(self.axis, self._calendar)

    def _check_pattern(self) -> None:
        """`context_pattern` matches something, or may do so later."""
        is_open = any(survey.signals is None for survey in self._surveys)
        if self._context_pattern is None or is_open or any(s.context for s in self._surveys):
            return
        raise DataError(
            f"context_pattern={self._context_pattern!r} matches no column of the price data: "
            f"{', '.join(sorted({name for s in self._surveys for name in s.columns}))}. The whole "
            f"name must match."
        )

    def _check_wanted(self) -> None:
        """Every name in `signal_columns` exists somewhere."""
        if any(survey.signals is None for survey in self._surveys):
            return
        for name in self._signal_columns or ():
            if name not in self.signal_names and name != META:
                known = {n for s in self._surveys for n in s.columns} | set(self.signal_names)
                raise DataError(
                    f"signal_columns={name!r}: no data has such a column. "
                    f"{did_you_mean(name, sorted(known))}"
                )

    def _span(self) -> tuple[int | None, int | None]:
        """First and last time of the run as far as it is known."""
        ends = [self._run_time(s, s.first) for s in self._surveys]
        first = max([min(ends), *([] if self._first is None else [self._first])])
        if any(survey.last is None for survey in self._surveys):
            return first, None
        last = max(self._run_time(s, s.last or 0) for s in self._surveys)
        last = min([last, *([] if self._last is None else [self._last])])
        if first > last:
            self._refuse_empty()
        return first, last

    def _run_time(self, survey: Survey, time: int) -> int:
        times = np.array([time], dtype=np.int64)
        return int(to_run_times(times, survey.axis, self.axis, self._calendar)[0])

    def _refuse_empty(self) -> None:
        spans = [
            (s.name, s.axis, [s.first] if s.last is None else [s.first, s.last])
            for s in self._surveys
        ]
        shown = "; ".join(f"{n}: {' to '.join(format_times(a, t))}" for n, a, t in spans)
        raise DataError(
            f"There are no bars between start={self._bounds[0]} and end={self._bounds[1]}. The "
            f"data have ({shown})."
        )

    def _share(self, time: int) -> float:
        """How much of the run's span of time has passed."""
        first, last = self._reach
        if first is None or last is None:
            return 0.0
        return (time - first) / (last - first) if last > first else 1.0

    def _refuse_second_walk(self) -> None:
        spent = [r.survey.name for r in self._readers if r.is_single_pass]
        if spent and self._is_walked:
            raise DataError(
                f"{spent[0]} gives single events and can be walked once. Make a new feed and a new "
                f"clock for another run."
            )
        self._is_walked = True

    def _start(self) -> None:
        self.share_done = 0.0
        self._column_context = ColumnContext()
        self._coverage = {name: Coverage(name, self._owner(name)) for name in self._kinds}
        for frame in self._frames:
            frame.reset()

    def _finish(self, *, is_empty: bool) -> None:
        if self.is_open_ended:
            return
        if is_empty:
            self._refuse_empty()
        for frame in self._frames:
            frame.refuse_no_match()
        counts = self._coverage.values()
        if counts and not any(coverage.bars_with_value for coverage in counts):
            raise DataError(
                f"No bar of the run has a value of {', '.join(repr(n) for n in self._coverage)}: "
                f"every row of these columns is null or NaN. Check how the predictions were "
                f"joined, or pass signal_columns=[] to run without them."
            )

    def _owner(self, name: str) -> str:
        return ", ".join(s.name for s in self._surveys if name in (s.signals or {}))

    def _window(self) -> tuple[int | None, int | None]:
        start, end = self._bounds
        first = None if start is None else read_moment(start, self.axis, option="start")
        last = None if end is None else read_moment(end, self.axis, option="end", is_end=True)
        if first is not None and last is not None and first > last:
            raise ConfigError(f"start={start!r} is after end={end!r}.")
        return first, last

    def _inside(self, block: Block, first: int | None, last: int | None) -> Block | None:
        """The timestamps of a block from one time to another."""
        low, high = 0, len(block.times)
        if first is not None:
            low = int(np.searchsorted(block.times, first, side="left"))
        if last is not None:
            high = int(np.searchsorted(block.times, last, side="right"))
        if (low, high) == (0, len(block.times)):
            return block
        if low:
            self._column_context.skip(block.part(0, low).context)
        return block.part(low, high) if low < high else None

    def _chunk(self, block: Block, before: int | None = None) -> Chunk:
        signals, meta = self._signals_of(block)
        return Chunk(
            self.universe,
            self.axis,
            times=block.times,
            sessions=sessions_of(block.times, self.axis, self._calendar),
            offsets=block.offsets,
            codes=block.codes,
            prices=block.prices,
            signals=signals,
            meta=meta,
            begins=block.begins,
            context_at=self._context_of(block),
            before=before,
        )

    def _signals_of(self, block: Block) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The signals of a block, its own and those of the frames, in a fixed order; counted."""
        signals = {}
        for name in dict.fromkeys([*self._kinds, *block.signals]):
            column = block.signals.get(name)
            signals[name] = self._absent(name, block) if column is None else column
            self._count(name, signals[name])
        meta = block.meta
        for frame in self._frames:
            joined, frame_meta = frame.attach(
                block.times, block.codes, block.offsets, self.universe
            )
            signals |= joined
            meta = meta if frame_meta is None else frame_meta
        return signals, meta

    def _absent(self, name: str, block: Block) -> np.ndarray:
        if self._kinds[name]:
            return np.full(len(block.codes), np.nan)
        return np.full(len(block.codes), None, dtype=object)

    def _count(self, name: str, column: np.ndarray) -> None:
        if name not in self._coverage:  # a feed of events shows its signals as it goes
            self._kinds[name] = column.dtype != object
            self._coverage[name] = Coverage(name, "events")
            self.signal_names.append(name)
        self._coverage[name].add(~is_absent(column))

    def _context_of(self, block: Block) -> Callable[[int], dict[str, Any]] | None:
        """A function from the position of a timestamp to its context."""
        series = None if self._context is None else self._context_over(block.times)
        if self._context_pattern is None:
            return series
        columns = self._column_context.take(block.context, len(block.times))
        if series is None:
            return columns
        return lambda i: series(i) | columns(i)


def _names(signal_columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if signal_columns is None or isinstance(signal_columns, str):
        return signal_columns if signal_columns is None else (signal_columns,)
    return tuple(signal_columns)


def _read_context(context: Any) -> Context | None:
    return context if context is None or isinstance(context, Context) else Context(context)


def _calendar(calendar: Any) -> TradingCalendar | None:
    if calendar is None or isinstance(calendar, TradingCalendar):
        return calendar
    return TradingCalendar(calendar)


def _check_zones(surveys: Sequence[Survey]) -> None:
    for other in surveys[1:]:
        check_same_zone(surveys[0].name, surveys[0].axis, other.name, other.axis)


def _common_axis(surveys: Sequence[Survey]) -> TimeAxis:
    """The axis of the first feed of moments; of labels only when all feeds hold labels."""
    moments = [s.axis for s in surveys if not s.axis.is_session]
    if moments:
        return moments[0]
    zoned = [s.axis for s in surveys if not s.axis.is_date]
    return zoned[0] if zoned else surveys[0].axis


def _check_frequencies(surveys: Sequence[Survey]) -> None:
    """Refuse feeds of different frequency unless each says how long its bars are."""
    known = [s for s in surveys if (s.duration or s.step) is not None]
    if not known or all(s.duration is not None for s in known):
        return
    fast, slow = min(known, key=_longest_bar), max(known, key=_shortest_bar)
    fast_step, slow_step = _longest_bar(fast), _shortest_bar(slow)
    if slow_step >= _CLEARLY_SLOWER * fast_step:
        raise DataError(
            f"{fast.name} has a bar every {show_duration(fast_step)}, {slow.name} one every "
            f"{show_duration(slow_step)}. With bars of different length an order could be filled "
            f"at the open of a long bar that began before the order was decided. Say how long the "
            f"bars are, with bar_duration= on both feeds."
        )


def _longest_bar(survey: Survey) -> int:
    """How long the bars of a feed are at most."""
    return survey.duration or survey.step or 0


def _shortest_bar(survey: Survey) -> int:
    """How long the bars of a feed are at least.

    Of a feed that shows as it goes the first step is known, and that may be a weekend. Its bars
    are not refused for it: each is taken to be as long as its asset's steps so far allow.
    """
    if survey.duration is None and survey.last is None:
        return DAY_US if survey.axis.is_session else 0
    return _longest_bar(survey)


def _without_plain_begins(blocks: Iterator[Block]) -> Iterator[Block]:
    """Blocks without `begins` where every bar began at or after the timestamp before it."""
    before = np.empty(0, dtype=np.int64)
    for block in blocks:
        if block.begins is not None:
            earlier = np.append(before, block.times[:-1])
            counts = np.diff(block.offsets)[len(block.times) - len(earlier) :]
            begins = block.begins[len(block.begins) - int(counts.sum()) :]
            if (begins >= np.repeat(earlier, counts)).all():
                block.begins = None
        before = block.times[-1:]
        yield block


def _needs_begins(readers: Sequence[Reader]) -> bool:
    """Whether a bar may have begun before the timestamp that precedes it.

    Not where every asset has a bar at every timestamp: bars of one asset do not overlap.
    """
    first = readers[0].survey
    if len(readers) == 1 and first.is_dense:
        return False
    is_joint = len(readers) > 1 or first.steps is not None
    return is_joint or first.duration is not None or first.is_staggered


def _signal_kinds(surveys: Sequence[Survey]) -> dict[str, bool]:
    """Every signal by name, and whether it is a number."""
    kinds: dict[str, bool] = {}
    for survey in surveys:
        for name, is_number in (survey.signals or {}).items():
            if kinds.setdefault(name, is_number) != is_number:
                kind = "numbers" if is_number else "no numbers"
                raise DataError(
                    f"{survey.name}: signal {name!r} holds {kind}, and the opposite in an earlier "
                    f"feed. Bring it to one type."
                )
    return kinds
