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
    from collections.abc import Iterable, Iterator, Sequence

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.types.bars import Bars, Chunk, Universe

_PRICES = ("open", "high", "low", "close")
_NEVER = -(2**62)
# Prices differ by more than feeds of one market do: by this part of the bar's range, and of its
# price. Once enough bars were looked at, most of them must not.
_FAR, _NEAR, _ENOUGH = 0.25, 1e-4, 20


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
    after the bar began and at its end at the latest. A bar begins where the one before it of its
    asset ended, and where its asset's bars have a regular step, at most that much earlier.

    Args:
        feed: The finer feed.
        universe: Of the run.
        calendar: Of the run, or None.

    Attributes:
        missing: Bars of the run in which orders rested and which no finer bar lies in.
        checked: Bars with finer ones.
        differing: Of these, those whose prices are far from those of their finer bars.
        moments: Times of the finer bars given out last, in the microseconds of `axis`.
        axis: How these are read.

    Raises:
        DataError: The feed is refused, or knows none of the assets of the run.
    """

    def __init__(self, feed: Any, universe: Universe, calendar: TradingCalendar | None) -> None:
        self.missing = self.checked = self.differing = 0
        self.moments = np.empty(0, dtype=np.int64)
        self._universe = universe
        self._calendar = calendar
        self._clock = Clock(feed, signal_columns=[], calendar=calendar)
        with _named():
            self._clock.prepare()
        self.axis = self._clock.axis
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
        self._steps: dict[int, int | None] = {}  # between the bars of each asset of the run

    def describe(self) -> dict[str, Any]:
        """Where the finer bars come from, ready for JSON."""
        source: dict[str, Any] = self._clock.source()["feeds"][0]
        return source

    def counts(self) -> dict[str, int]:
        """What limits the trust in them."""
        return {"bars_without_finer": self.missing, "bars_unlike_finer": self.differing}

    def inside(self, bars: Bars, rows: Sequence[int]) -> dict[int, Lane]:
        """The finer bars inside the bars of one timestamp, by row; rows without any are left out.

        Timestamps must be asked for in order; some may be left out.

        Raises:
            DataError: Finer bars that cannot be of the bar they lie in.
        """
        chunk = bars.chunk
        if self._chunks is None:
            self._begin(chunk)
        lows, high = self._span(bars, rows)
        low = min(lows.values(), default=_NEVER)
        if low == _NEVER:
            return {}  # nothing tells where these bars begin
        self._advance(low, high)
        own_codes, ids = self._clock.universe.codes, self._universe.ids
        of_code = {own_codes.get(ids[chunk.codes[row]], -1): row for row in dict.fromkeys(rows)}
        of_code.pop(-1, None)
        wanted = np.zeros(len(own_codes), dtype=np.bool_)
        wanted[list(of_code)] = True
        keys, times, codes, prices = self._gather(low, high, wanted)
        self.moments, at = np.unique(times, return_inverse=True)
        lanes = {}
        for code in np.unique(codes).tolist():
            row = of_code[code]
            own = (codes == code) & (keys > lows[row])
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

    def _span(self, bars: Bars, rows: Sequence[int]) -> tuple[dict[int, int], int]:
        """The keys inside some bars: by row the one that they lie above, and the last of all."""
        chunk, index = bars.chunk, bars.index
        high = int((chunk.sessions if chunk.axis.is_session else chunk.times)[index])
        return {row: self._start(bars, row, high) for row in rows}, high

    def _start(self, bars: Bars, row: int, high: int) -> int:
        """The key that the inside of a bar lies above; `_NEVER` when nothing tells."""
        chunk = bars.chunk
        start, step = self._before(bars, row), self._own_step(chunk, row)
        if step is not None:
            start = max(start, high - step)
            if chunk.begins is not None:  # of bars without a regular step it is an estimate
                start = max(start, int(chunk.begins[row]))
        return high - 1 if chunk.axis.is_session and start == _NEVER else start

    def _own_step(self, chunk: Chunk, row: int) -> int | None:
        """The regular step between an asset's bars, in the units of keys, if there is one."""
        code = int(chunk.codes[row])
        if code not in self._steps:
            keys = (chunk.sessions if chunk.axis.is_session else chunk.times).astype(np.int64)
            if not chunk.is_dense:
                own = np.flatnonzero(chunk.codes == code)
                keys = keys[np.searchsorted(chunk.offsets, own, side="right") - 1]
            self._steps[code] = _regular_step(keys)
        return self._steps[code]

    def _before(self, bars: Bars, row: int) -> int:
        """The key of the asset's bar before, as far as the chunk goes, else of the run's."""
        chunk, index = bars.chunk, bars.index
        last = index - 1
        if not chunk.is_dense:
            earlier = np.flatnonzero(chunk.codes[: bars.start] == chunk.codes[row])
            if len(earlier):
                last = int(np.searchsorted(chunk.offsets, earlier[-1], side="right")) - 1
        if last >= 0:
            return int((chunk.sessions if chunk.axis.is_session else chunk.times)[last])
        if chunk.before is None or chunk.axis.is_session:
            return _NEVER
        return chunk.before

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
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
        """Keys, times, codes and prices of the rows of some assets between two keys."""
        found = []
        for part in self._parts:
            first = int(np.searchsorted(part.keys, low, side="right"))
            last = int(np.searchsorted(part.keys, high, side="right"))
            codes = part.codes[first:last]
            rows = np.flatnonzero(wanted[codes])
            found.append(
                (
                    part.keys[first:last][rows],
                    part.times[first:last][rows],
                    codes[rows],
                    *(column[first:last][rows] for column in part.prices),
                )
            )
        if not found:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing, []
        keys, times, codes, *prices = (np.concatenate(c) for c in zip(*found, strict=True))
        return keys, times, codes, prices

    def _lane(self, bars: Bars, row: int, at: np.ndarray, prices: list[np.ndarray]) -> Lane:
        """Finer bars within the range of the bar they lie in."""
        chunk = bars.chunk
        whole = chunk.opens[row], chunk.highs[row], chunk.lows[row], chunk.closes[row]
        opens, highs, lows, closes = prices
        parts = opens.item(0), highs.max().item(), lows.min().item(), closes.item(-1)
        _, high, low, _ = whole
        self.checked += 1
        away = max(abs(a - b) for a, b in zip(whole, parts, strict=True))
        self.differing += away > _FAR * (high - low) + _NEAR * high
        if parts[2] > high or parts[1] < low:
            text = f"between {parts[2]:g} and {parts[1]:g}"
        elif self.checked >= _ENOUGH and 2 * self.differing > self.checked:
            text = "far from the run's prices, as in most bars before,"
        else:
            return Lane(at, *(np.clip(column, low, high) for column in prices))
        when = format_times(chunk.axis, chunk.times[bars.index : bars.index + 1])[0]
        raise DataError(
            f"intrabar_feed has {self._universe.ids[chunk.codes[row]]!r} {text} in the bar of "
            f"{when}, whose open, high, low and close are {_numbers(whole)}; its finer bars there "
            f"have {_numbers(parts)}. Are the times of both those at which bars are complete (else "
            f"give the feeds bar_label='open' and bar_duration=), in the same zone, and are both "
            f"adjusted for splits, or neither?"
        )


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


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
