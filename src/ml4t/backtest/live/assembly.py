"""Bars of many assets, in any order, as timestamps that are whole."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ml4t.backtest.data.groups import bar_fault
from ml4t.backtest.types.time import DAY_US, TimeAxis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.hours import Bins

_LOG = logging.getLogger(__name__)
_UTC = TimeAxis(zone="UTC")
_REMEMBERED = 240  # timestamps after their emission, to tell late bars from corrected ones
# All are there from the start: other threads look at them, and a dict must not grow meanwhile.
COUNTS = (
    *("timestamps", "bars", "backfilled", "late_bars", "corrected", "replaced", "duplicates"),
    *("known_already", "bad_bars", "unknown_assets", "outside_hours", "before_start"),
    *("incomplete", "unfinished", "ahead_of_clock"),
)
_PARTS = ("open", "high", "low", "close", "volume")

_Part = tuple[str, int]  # asset, and when the vendor's bar began


class Stamp(NamedTuple):
    """A timestamp that is whole.

    Attributes:
        time: When its bars ended.
        bars: In order of `asset_id`, each asset once; `start` is that of the first part.
        is_backfilled: Some of it came from history.
    """

    time: int
    bars: list[LiveBar]
    is_backfilled: bool


class Assembly:
    """Puts arriving bars together; pure: it is told what time it is.

    A timestamp is complete when every asset has shown that it will get no more of it, by a bar
    that ends with it or later, or when the grace time after its end is over. Then it can be taken,
    once, and the order of what is taken is that of time. What comes too late is counted.

    Every bar that is added is given out as part of a timestamp, is still waiting, or is in exactly
    one of the counts but `timestamps`, `bars`, `backfilled` and `ahead_of_clock`.

    Args:
        assets: What bars there may be of.
        bins: How the vendor's bars add up to those that are given out.
        grace: How long after its end a timestamp waits, microseconds.
        after: Nothing that ended by then is given out.
        regular_hours: Bars outside sessions are left out.

    Attributes:
        last: End of the last timestamp that was taken; before the first, `after`.
        counts: What happened, by name.
    """

    def __init__(
        self,
        assets: Sequence[str],
        bins: Bins,
        *,
        grace: int,
        after: int,
        regular_hours: bool = False,
    ) -> None:
        self.last = after
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._bins = bins
        self._grace = grace
        self._regular_hours = regular_hours
        self._shown = dict.fromkeys(assets, after)
        self._waiting: dict[int, dict[_Part, LiveBar]] = {}
        self._from_history: set[int] = set()
        self._taken: dict[int, dict[_Part, LiveBar]] = {}
        self._has_begun = False
        self._behind: tuple[int, list[str]] = (after, [])

    def __len__(self) -> int:
        """How many of the vendor's bars wait."""
        return sum(len(parts) for parts in self._waiting.values())

    def add(self, bar: LiveBar, now: int, *, is_history: bool = False) -> None:
        """Take in a bar that came at `now`."""
        fault = self._fault(bar, now)
        if fault is not None:
            self.drop("bad_bars", bar.asset_id, f"{fault} in the bar of")
        elif bar.asset_id not in self._shown:
            self.drop("unknown_assets", bar.asset_id, "nobody asked for bars of")
        elif self._regular_hours and not self._bins.is_in_session(bar.start):
            self.counts["outside_hours"] += 1
        else:
            self._place(bar, self._bins.end_of(bar.start), is_history=is_history)

    def drop(self, count: str, asset_id: str, why: str) -> None:
        """Count and log a bar that is left out."""
        self.counts[count] += 1
        _LOG.warning("bar left out: %s %r", why, asset_id)

    def next_end(self) -> int | None:
        """End of the earliest timestamp that waits; None when none does."""
        return min(self._waiting, default=None)

    def due_at(self) -> int | None:
        """When the earliest timestamp is complete whatever comes; None when none waits."""
        end = self.next_end()
        return None if end is None else end + self._grace

    def is_complete(self, now: int) -> bool:
        """Whether the earliest timestamp can be taken."""
        end = self.next_end()
        if end is None:
            return False
        return end + self._grace <= now or self._is_shown(end)

    def _is_shown(self, end: int) -> bool:
        """Whether no asset will get more that ends by then.

        Asked after every bar: those that lack are looked at from the end of a list, which shrinks.
        """
        if self._behind[0] != end:
            self._behind = (end, list(self._shown))
        behind = self._behind[1]
        while behind and self._shown[behind[-1]] >= end:
            behind.pop()
        return not behind

    def peek(self) -> list[str]:
        """The assets of the earliest timestamp."""
        return sorted({asset_id for asset_id, _ in self._waiting[min(self._waiting)]})

    def take(self) -> Stamp:
        """The earliest timestamp."""
        end = min(self._waiting)
        parts = self._taken[end] = self._waiting.pop(end)
        if len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self.last, self._has_begun = end, True
        bars: dict[str, LiveBar] = {}
        for _, bar in sorted(parts.items()):
            known = bars.get(bar.asset_id)
            bars[bar.asset_id] = bar if known is None else _join(known, bar)
        self.counts["timestamps"] += 1
        self.counts["bars"] += len(bars)
        is_backfilled = end in self._from_history
        self._from_history.discard(end)
        self.counts["backfilled"] += is_backfilled
        return Stamp(end, list(bars.values()), is_backfilled)

    def abandon(self) -> None:
        """Give up what waits, at the end of the feed; counted."""
        self.counts["unfinished"] += len(self)
        self._waiting.clear()

    def skip_to(self, moment: int) -> None:
        """Nothing that ends by a moment is given out; counted as far as it waits."""
        for end in [end for end in self._waiting if end <= moment]:
            self.counts["incomplete"] += len(self._waiting.pop(end))
        self.last = max(self.last, moment)

    def _fault(self, bar: LiveBar, now: int) -> str | None:
        if bar.start != self._bins.vendor_floor(bar.start):
            return f"its start {self._show(bar.start)} is not where the vendor's bars begin"
        ahead = bar.start - now  # such a bar has not even begun
        if ahead > DAY_US:
            return f"its start {self._show(bar.start)} is more than a day in the future"
        self.counts["ahead_of_clock"] += ahead > 0
        return bar_fault(bar)

    def _place(self, bar: LiveBar, end: int, *, is_history: bool) -> None:
        part = (bar.asset_id, bar.start)
        if end <= self.last:
            self._count_late(bar, self._taken.get(end, {}).get(part), is_history=is_history)
            return
        parts = self._waiting.setdefault(end, {})
        known = parts.get(part)
        if known is None:
            if is_history:
                self._from_history.add(end)
        elif _is_same(known, bar):
            self.counts["known_already" if is_history else "duplicates"] += 1
            return
        else:
            self.counts["replaced"] += 1
        parts[part] = bar
        if not bar.is_update:
            ends = bar.start + self._bins.vendor
            self._shown[bar.asset_id] = max(self._shown[bar.asset_id], ends)

    def _count_late(self, bar: LiveBar, given: LiveBar | None, *, is_history: bool) -> None:
        """A bar of a timestamp that is over."""
        if given is None and not self._has_begun:
            self.counts["before_start"] += 1
        elif given is None:
            self.counts["late_bars"] += 1
            _LOG.info("bar of %s came after %s was over", bar.asset_id, self._show(self.last))
        elif _is_same(given, bar):
            self.counts["known_already" if is_history else "duplicates"] += 1
        else:
            self.counts["corrected"] += 1

    def _show(self, time: int) -> str:
        return str(_UTC.to_datetime(time))


def _join(first: LiveBar, then: LiveBar) -> LiveBar:
    """Two parts of a bar, one after the other."""
    return msgspec.structs.replace(
        first,
        high=max(first.high, then.high),
        low=min(first.low, then.low),
        close=then.close,
        volume=first.volume + then.volume,
    )


def _is_same(one: LiveBar, other: LiveBar) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in _PARTS]
    return all(a == b or (a != a and b != b) for a, b in pairs)  # noqa: PLR0124  NaN is absent
