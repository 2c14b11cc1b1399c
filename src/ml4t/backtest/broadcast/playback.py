"""A recording as messages: which bars and predictions a server sends, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ml4t.backtest.clock import Clock
from ml4t.backtest.data.checks import show_duration
from ml4t.backtest.data.frames import as_feed
from ml4t.backtest.errors import DataError
from ml4t.backtest.live.websocket.words import BarItem, SignalItem
from ml4t.backtest.rehearsal.tape import Tape, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONG_GAP = 10  # bars; a longer pause between two is hurried through
_MICROSECONDS = 1e6


class Step(NamedTuple):
    """What becomes known at one time.

    Attributes:
        time: When, microseconds UTC.
        bars: Of each asset that has one.
        signals: Predictions for these bars.
    """

    time: int
    bars: list[BarItem]
    signals: list[SignalItem]


class Playback:
    """Plays recorded bars and their predictions, as fast as it is told.

    Args:
        data: Bars: anything that the engine takes as `data=`, or a list of feeds.
        options: Of the `Clock` that joins them: `signals`, `signal_columns`, `calendar`, ...

    Attributes:
        tape: The recording.
        now: Its time, microseconds UTC.
        position: How many of its timestamps have been played.
        offset: How long after multiples of their length its bars begin, microseconds.

    Raises:
        DataError: The data is refused, or its bars do not all begin equally long after multiples of
            their length.
    """

    def __init__(self, data: Any, **options: Any) -> None:
        feeds = data if isinstance(data, list | tuple) else [data]
        self.tape = Tape(Clock(*map(as_feed, feeds), **options))
        self.position = 0
        self.now = int(self.tape.known[0]) - self.tape.duration
        self._names = sorted({name for chunk in self.tape.chunks for name in chunk.signals})
        self.offset = self._find_offset()

    @property
    def symbols(self) -> list[str]:
        """All assets."""
        return list(self.tape.universe.ids)

    @property
    def is_over(self) -> bool:
        """Whether all of it has been played."""
        return self.position >= len(self.tape)

    def next(self) -> Step:
        """Play the next timestamp."""
        step = self.step(self.position)
        self.position += 1
        self.now = step.time
        return step

    def play(self, seconds: float, speed: float, longest_pause: float) -> Iterator[Step]:
        """Let a stretch of real time go by.

        Args:
            seconds: Of real time.
            speed: How much faster the recording's time goes.
            longest_pause: Seconds of real time that a night or a gap takes at most.
        """
        while seconds > 0.0 and not self.is_over:
            gap = self._gap()
            pace = speed
            if gap > _LONG_GAP * self.tape.duration:
                pace = max(speed, gap / _MICROSECONDS / longest_pause)
            left = (int(self.tape.known[self.position]) - self.now) / _MICROSECONDS
            if left > seconds * pace:
                self.now += int(seconds * pace * _MICROSECONDS)
                return
            seconds -= left / pace
            yield self.next()

    def step(self, number: int) -> Step:
        """What becomes known at a timestamp, counted from 0."""
        end = int(self.tape.known[number])
        start, ended = moment(end - self.tape.duration), moment(end)
        bars, signals = [], []
        for event in self.tape.bars(number):
            volume = None if math.isnan(event.volume) else event.volume
            prices = (event.open, event.high, event.low, event.close)
            bars.append(BarItem(event.asset_id, start, *prices, volume))
            if self._names:
                values = {name: event.signals.get(name) for name in self._names}
                meta = event.signals.get("_meta")
                signals.append(SignalItem(event.asset_id, values, ended, meta=meta))
        return Step(end, bars, signals)

    def between(self, start: int, end: int) -> Iterator[Step]:
        """What has been played and lies in a span, bars with their whole length."""
        known = self.tape.known
        first = int(np.searchsorted(known, start + self.tape.duration, side="left"))
        last = min(int(np.searchsorted(known, end, side="right")), self.position)
        return (self.step(number) for number in range(first, last))

    def _gap(self) -> int:
        """From the last timestamp to the next, microseconds."""
        known, i = self.tape.known, self.position
        return self.tape.duration if i == 0 else int(known[i] - known[i - 1])

    def _find_offset(self) -> int:
        """Hours may begin at half past: all of them then."""
        offsets = self.tape.known % self.tape.duration
        odd = np.flatnonzero(offsets != offsets[0])
        if len(odd):
            first, other = (moment(int(self.tape.known[i])) for i in (0, odd[0]))
            raise DataError(
                f"The bars that end at {first} and at {other} are of "
                f"{show_duration(self.tape.duration)}, and do not begin equally long after "
                "multiples of that. Stream shorter bars, and let feeds put them together."
            )
        return int(offsets[0])
