"""A finer feed under the bars of a run: the prices inside a bar are looked up, not assumed."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml4t.backtest.clock import Clock
from ml4t.backtest.data.checks import count_steps
from ml4t.backtest.data.times import check_same_zone, to_wall_clock
from ml4t.backtest.errors import ConfigError, DataError
from ml4t.backtest.types.time import format_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.types.bars import Bars, Chunk, Universe

_PRICES = ("open", "high", "low", "close")


class Lane(NamedTuple):
    """The finer bars of one asset inside one of its bars, in order of time.

    Args:
        at: int64[k], which of the moments inside the bar each belongs to, strictly increasing.
        open, high, low, close: float64[k], within the range of the bar they lie in.
    """

    at: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray


class _Part(NamedTuple):
    """Some timestamps of the finer feed."""

    keys: np.ndarray  # the time of every row, or its session: what bars of the run are found by
    times: np.ndarray
    codes: np.ndarray
    prices: tuple[np.ndarray, ...]


class FinerBars:
    """Gives out, bar by bar of a run, the finer bars that lie inside.

    Under bars that are labelled by session these are the finer bars of the session, of its
    trading hours when there is a calendar. Under bars with a time of day they are those complete
    after the bar began and at its end at the latest; a bar begins where its feed says so, else at
    the timestamp before it, and at most the usual step earlier, where there is one.

    Args:
        feed: The finer feed.
        universe: Of the run.
        calendar: Of the run, or None.

    Attributes:
        missing: Bars of the run in which orders rested and which no finer bar lies in.

    Raises:
        DataError: The feed is refused, or knows none of the assets of the run.
    """

    def __init__(self, feed: Any, universe: Universe, calendar: TradingCalendar | None) -> None:
        self.missing = 0
        self._universe = universe
        self._calendar = calendar
        self._clock = Clock(feed, signal_columns=[], calendar=calendar)
        with _named():
            self._clock.prepare()
        known = self._clock.universe.ids
        if universe.ids and not self._clock.is_growing and not universe.codes.keys() & set(known):
            raise DataError(
                f"intrabar_feed has none of the assets of the run: it holds {_few(known)}, the "
                f"run {_few(universe.ids)}."
            )
        self._chunks: Iterator[Chunk] | None = None
        self._parts: deque[_Part] = deque()
        self._is_spent = False
        self._is_by_session = False
        self._before: int | None = None  # key of the run's timestamp before
        self._step: int | None = None  # between the run's timestamps, in the units of keys

    def describe(self) -> dict[str, Any]:
        """Where the finer bars come from, ready for JSON."""
        source: dict[str, Any] = self._clock.source()["feeds"][0]
        return source

    def inside(self, bars: Bars, rows: Sequence[int]) -> dict[int, Lane]:
        """The finer bars inside the bars of one timestamp, by row; rows without any are left out.

        Timestamps must be asked for in order; some may be left out.

        Raises:
            DataError: Finer bars that cannot be of the bar they lie in.
        """
        chunk = bars.chunk
        if self._chunks is None:
            self._begin(chunk)
        low, high = self._span(bars)
        self._advance(low, high)
        own_codes, ids = self._clock.universe.codes, self._universe.ids
        of_code = {own_codes.get(ids[chunk.codes[row]], -1): row for row in dict.fromkeys(rows)}
        of_code.pop(-1, None)
        wanted = np.zeros(len(own_codes), dtype=np.bool_)
        wanted[list(of_code)] = True
        times, codes, prices = self._gather(low, high, wanted)
        if len(codes) == 0:
            return {}
        at = np.unique(times, return_inverse=True)[1]
        lanes = {}
        for code in np.unique(codes).tolist():
            row = of_code[code]
            own = codes == code
            if chunk.begins is not None:
                own &= times > chunk.begins[row]
            if own.any():
                lanes[row] = self._lane(bars, row, at[own], [p[own] for p in prices])
        return lanes

    def _begin(self, chunk: Chunk) -> None:
        """The first bar of the run tells how its times are read."""
        fine, run = self._clock.axis, chunk.axis
        if not run.is_session:  # sessions are compared by their dates
            check_same_zone("intrabar_feed", fine, "the data of the run", run)
        if fine.is_session and not run.is_session:
            raise ConfigError(
                "intrabar_feed is labelled by session and the data of the run by time of day; "
                "finer bars than those of the run are needed."
            )
        self._is_by_session = run.is_session
        self._chunks = self._clock.chunks()

    def _span(self, bars: Bars) -> tuple[int, int]:
        """The keys that lie inside the bars of a timestamp: above the first, up to the second."""
        chunk, index = bars.chunk, bars.index
        keys = chunk.sessions if chunk.axis.is_session else chunk.times
        high = int(keys[index])
        if self._step is None:
            self._step = _regular_step(keys.astype(np.int64))
        before = int(keys[index - 1]) if index else self._before
        self._before = high
        starts = [] if self._step is None else [high - self._step]
        if chunk.begins is not None:
            starts = [int(chunk.begins[bars.start : bars.stop].min())]
        elif before is not None:
            starts.append(before)
        if not starts:  # a single timestamp: its session
            starts = [high - 1] if chunk.axis.is_session else [np.iinfo(np.int64).min]
        return max(starts), high

    def _advance(self, low: int, high: int) -> None:
        """Read up to `high`, and forget what is not above `low`."""
        parts = self._parts
        while not self._is_spent and (not parts or parts[-1].keys[-1] <= high):
            assert self._chunks is not None
            with _named():
                chunk = next(self._chunks, None)
            if chunk is None:
                self._is_spent = True
                break
            part = self._part(chunk)
            if len(part.keys):
                parts.append(part)
        while parts and parts[0].keys[-1] <= low:
            parts.popleft()

    def _part(self, chunk: Chunk) -> _Part:
        counts = np.diff(chunk.offsets)
        times, codes = np.repeat(chunk.times, counts), chunk.codes
        keys = np.repeat(chunk.sessions, counts) if self._is_by_session else times
        prices = tuple(getattr(chunk, name) for name in _PRICES)
        if self._is_by_session and self._calendar is not None and not chunk.axis.is_session:
            kept = np.repeat(self._in_hours(chunk), counts)
            keys, times, codes = keys[kept], times[kept], codes[kept]
            prices = tuple(column[kept] for column in prices)
        return _Part(keys, times, codes, prices)

    def _in_hours(self, chunk: Chunk) -> np.ndarray:
        """Which timestamps close a part of their session's trading hours."""
        calendar = self._calendar
        assert calendar is not None
        opens, closes = calendar.opens(chunk.sessions), calendar.closes(chunk.sessions)
        if chunk.axis.zone is None:
            opens, closes = (to_wall_clock(edge, calendar.zone) for edge in (opens, closes))
        inside: np.ndarray = (chunk.times > opens) & (chunk.times <= closes)
        return inside

    def _gather(
        self, low: int, high: int, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Times, codes and prices of the rows of some assets between two keys."""
        found = []
        for part in self._parts:
            first = int(np.searchsorted(part.keys, low, side="right"))
            last = int(np.searchsorted(part.keys, high, side="right"))
            codes = part.codes[first:last]
            rows = np.flatnonzero(wanted[codes])
            found.append(
                (
                    part.times[first:last][rows],
                    codes[rows],
                    *(column[first:last][rows] for column in part.prices),
                )
            )
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64), []
        times, codes, *prices = (np.concatenate(column) for column in zip(*found, strict=True))
        return times, codes, prices

    def _lane(self, bars: Bars, row: int, at: np.ndarray, prices: list[np.ndarray]) -> Lane:
        """Finer bars within the range of the bar they lie in."""
        chunk = bars.chunk
        high, low = chunk.highs[row], chunk.lows[row]
        _, highs, lows, _ = prices
        if lows.min() > high or highs.max() < low:
            asset_id = self._universe.ids[chunk.codes[row]]
            raise DataError(
                f"intrabar_feed has {asset_id!r} between {lows.min():g} and {highs.max():g} in the "
                f"bar of {format_times(chunk.axis, chunk.times[bars.index : bars.index + 1])[0]}, "
                f"which ranges from {low:g} to {high:g}. Are only the ones adjusted for splits, or "
                f"are the times not those of the same zone?"
            )
        return Lane(at, *(np.clip(column, low, high) for column in prices))


def _regular_step(keys: np.ndarray) -> int | None:
    """The step that most of the keys are apart, if there is one."""
    steps = count_steps(keys)
    step, times = max(steps.items(), key=lambda item: item[1], default=(0, 0))
    return step if 2 * times >= steps.total() > 0 else None


@contextmanager
def _named() -> Iterator[None]:
    """Say which of the feeds is refused."""
    try:
        yield
    except DataError as error:
        raise DataError(f"intrabar_feed: {error}") from error


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004
