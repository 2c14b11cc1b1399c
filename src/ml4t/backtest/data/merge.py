"""Blocks of several feeds brought into one order of time, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.data.block import Block, stamp_starts
from ml4t.backtest.data.checks import (
    ShortestSteps,
    is_absent,
    known_length,
    unknown_lengths,
)
from ml4t.backtest.data.times import add_delay, known_times, midnights
from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import DAY_US

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.types.bars import Universe
    from ml4t.backtest.types.time import TimeAxis

_LEAST_ROWS = 4_096


class Lane:
    """One feed on its way into a run: its blocks in the run's times and, admitted, its codes.

    Args:
        reader: The opened feed.
        universe: The run's assets; grows when the feed names new ones.
        axis: How the run's times are read.
        calendar: When sessions open and close.
        has_begins: The run needs to know when each bar began.
    """

    def __init__(
        self,
        reader: Reader,
        universe: Universe,
        axis: TimeAxis,
        *,
        calendar: TradingCalendar | None = None,
        has_begins: bool = False,
    ) -> None:
        self.name = reader.survey.name
        self._reader = reader
        self._universe = universe
        self._axis = axis
        self._calendar = calendar
        self._has_begins = has_begins
        self._codes = np.empty(0, dtype=np.int32)
        self._own = ShortestSteps()

    def blocks(self, rows: int) -> Iterator[Block]:
        """The feed's blocks from its start, assets in the feed's own codes."""
        self._own = ShortestSteps()
        for block in self._reader.blocks(rows):
            begins = self._begins(block) if self._has_begins else None
            yield Block(
                times=self._times(block.times),
                offsets=block.offsets,
                codes=block.codes,
                prices=block.prices,
                signals=block.signals,
                meta=block.meta,
                context=block.context,
                begins=begins,
            )

    def newcomers(self, block: Block) -> dict[str, int]:
        """Assets of a block that the run does not know, and when each comes first."""
        ids, known = self._reader.ids, len(self._codes)
        if len(ids) > known:
            new = [self._universe.codes.get(name, -1) for name in ids[known:]]
            self._codes = np.append(self._codes, np.array(new, dtype=np.int32))
        if not (self._codes < 0).any():
            return {}
        rows = np.flatnonzero(self._codes[block.codes] < 0)[::-1]  # the first is kept
        pairs = zip(block.codes[rows].tolist(), block.row_times()[rows].tolist(), strict=True)
        return {ids[code]: time for code, time in pairs}

    def in_run_codes(self, block: Block) -> Block:
        """A block whose assets the run knows, in the run's codes."""
        for code in np.flatnonzero(self._codes < 0).tolist():
            self._codes[code] = self._universe.codes.get(self._reader.ids[code], -1)
        is_same = len(self._codes) == len(self._universe) and bool(
            (self._codes == np.arange(len(self._codes))).all()
        )
        if not is_same:
            block.codes = self._codes[block.codes]
        return block

    def _times(self, times: np.ndarray) -> np.ndarray:
        return to_run_times(times, self._reader.survey.axis, self._axis, self._calendar)

    def _begins(self, block: Block) -> np.ndarray:
        """When each bar began: its length before its end, but not before its asset's last bar.

        A bar of unknown length may have begun when its asset's last bar ended; see
        `unknown_lengths`. Of a feed that shows as it goes, what it has shown so far decides.
        """
        survey = self._reader.survey
        counts = np.diff(block.offsets)
        times = np.repeat(self._times(block.times), counts)
        previous = self._own.add(times, block.codes, len(self._reader.ids))
        length, slow = survey.duration or survey.step, survey.slow
        if survey.duration is None and self._reader.is_growing:
            length = known_length(self._own.steps, survey.axis)
            slow = unknown_lengths(self._own.steps, survey.axis)
        if length is None:
            return previous  # a lone bar: it may have begun at any time
        starts = np.repeat(self._starts(block.times, length), counts)
        if survey.duration is None and survey.steps is not None:
            own = survey.steps[block.codes]
            for other in set(survey.steps.tolist()) - {length}:
                others = np.repeat(self._starts(block.times, other), counts)
                starts = np.where(own == other, others, starts)
        begins: np.ndarray = np.maximum(starts, previous)
        return begins if slow is None else np.where(slow[block.codes], previous, begins)

    def _starts(self, times: np.ndarray, length: int) -> np.ndarray:
        """When bars of a length began that are known at these times."""
        axis = self._reader.survey.axis
        if axis.is_session and not self._axis.is_session:
            return self._session_starts(times, length)
        return self._times(add_delay(times, axis, -length)[0])

    def _session_starts(self, labels: np.ndarray, length: int) -> np.ndarray:
        """The opens of the first sessions of bars labelled with their last."""
        axis = self._reader.survey.axis
        days = axis.dates(labels).astype(np.int64) - max(0, length // DAY_US - 1)
        if self._calendar is not None and self._axis.zone is not None:
            return self._calendar.opens(days)
        return _labels(days, axis.zone or self._axis.zone)


def to_run_times(
    times: np.ndarray, axis: TimeAxis, run: TimeAxis, calendar: TradingCalendar | None
) -> np.ndarray:
    """A feed's times as the run reads times.

    Labels of sessions stay labels in a run of labels; among moments they become the end of their
    session.
    """
    if not axis.is_session:
        return times
    if not run.is_session:
        return known_times(times, axis, to_zone_of=run, calendar=calendar)
    if axis.zone == run.zone:
        return times
    return _labels(axis.dates(times), run.zone)


def merge(lanes: Sequence[Lane], universe: Universe, rows: int) -> Iterator[Block]:
    """One stream of blocks, times strictly increasing, rows by time and then `asset_id`.

    A block is ready up to the earliest of the last times that the lanes have shown: no lane can
    bring anything before that. What is later waits.

    Raises:
        DataError: Two feeds have a bar of one asset at one time.
    """
    if len(lanes) == 1:
        for lone in lanes[0].blocks(rows):
            yield combine(_admit([(lanes[0], lone)], universe), universe)
        return
    share = max(_LEAST_ROWS, rows // len(lanes))
    streams = [lane.blocks(share) for lane in lanes]
    waiting: list[Block | None] = [next(stream, None) for stream in streams]
    while any(block is not None for block in waiting):
        ready = min(int(block.times[-1]) for block in waiting if block is not None)
        parts: list[tuple[Lane, Block]] = []
        for i, block in enumerate(waiting):
            if block is None:
                continue
            cut = int(np.searchsorted(block.times, ready, side="right"))
            if cut:
                parts.append((lanes[i], block.part(0, cut)))
            rest = block.part(cut, len(block.times)) if cut < len(block.times) else None
            waiting[i] = next(streams[i], None) if rest is None else rest
        yield combine(_admit(parts, universe), universe)


def _admit(parts: Sequence[tuple[Lane, Block]], universe: Universe) -> list[tuple[str, Block]]:
    """Blocks in the run's codes; new assets get theirs by time and then name, in any lane."""
    newcomers: dict[str, int] = {}
    for lane, block in parts:
        for name, time in lane.newcomers(block).items():
            newcomers[name] = min(time, newcomers.get(name, time))
    for name in sorted(newcomers, key=lambda name: (newcomers[name], name)):
        universe.add(name)
    return [(lane.name, lane.in_run_codes(block)) for lane, block in parts]


def combine(parts: Sequence[tuple[str, Block]], universe: Universe) -> Block:
    """Blocks of several feeds as one."""
    blocks = [block for _, block in parts]
    if len(blocks) == 1:
        return blocks[0]
    times = np.concatenate([block.row_times() for block in blocks])
    codes = np.concatenate([block.codes for block in blocks])
    order = np.lexsort((_ranks(universe)[codes], times))
    times, codes = times[order], codes[order]
    repeats = (np.diff(times) == 0) & (np.diff(codes) == 0)
    if repeats.any():
        _refuse_repeat(parts, order, int(np.flatnonzero(repeats)[0]), universe)
    starts = stamp_starts(times)
    stamps = times[starts]
    return Block(
        times=stamps,
        offsets=np.append(starts, len(times)).astype(np.int64),
        codes=codes,
        prices={
            name: np.concatenate([block.prices[name] for block in blocks])[order]
            for name in blocks[0].prices
        },
        signals=_join_signals(blocks, order),
        meta=_join_meta(blocks, order),
        context=_join_context(parts, stamps),
        begins=_join_begins(blocks, order),
    )


def _labels(days: np.ndarray, zone: str | None) -> np.ndarray:
    days = days.astype(np.int64)
    return days * DAY_US if zone is None else midnights(days, zone)


def _ranks(universe: Universe) -> np.ndarray:
    """The place of each code in sorted order of `asset_id`."""
    ranks = np.empty(len(universe), dtype=np.int64)
    ranks[sorted(range(len(universe)), key=universe.ids.__getitem__)] = np.arange(len(universe))
    return ranks


def _refuse_repeat(
    parts: Sequence[tuple[str, Block]], order: np.ndarray, row: int, universe: Universe
) -> None:
    ends = np.cumsum([len(block.codes) for _, block in parts])
    names = [parts[int(np.searchsorted(ends, order[i], side="right"))][0] for i in (row, row + 1)]
    codes = np.concatenate([block.codes for _, block in parts])
    raise DataError(
        f"{names[0]} and {names[1]} both have a bar of {universe.ids[codes[order[row]]]!r} at the "
        f"same time. Drop it from one of them."
    )


def _join_begins(blocks: Sequence[Block], order: np.ndarray) -> np.ndarray | None:
    begins = [block.begins for block in blocks if block.begins is not None]
    if not begins:
        return None
    joined: np.ndarray = np.concatenate(begins)[order]
    return joined


def _join_signals(blocks: Sequence[Block], order: np.ndarray) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for block in blocks for name in block.signals)
    return {name: _join([b.signals.get(name) for b in blocks], blocks)[order] for name in names}


def _join_meta(blocks: Sequence[Block], order: np.ndarray) -> np.ndarray | None:
    if all(block.meta is None for block in blocks):
        return None
    joined: np.ndarray = _join([block.meta for block in blocks], blocks)[order]
    return joined


def _join(columns: Sequence[np.ndarray | None], blocks: Sequence[Block]) -> np.ndarray:
    is_object = any(column is not None and column.dtype == object for column in columns)
    absent = np.array([None if is_object else np.nan], dtype=object if is_object else float)
    pairs = zip(columns, blocks, strict=True)
    return np.concatenate([np.repeat(absent, len(b.codes)) if c is None else c for c, b in pairs])


def _join_context(parts: Sequence[tuple[str, Block]], stamps: np.ndarray) -> dict[str, np.ndarray]:
    """Context of several feeds at the timestamps of all; where two have a value, it is the same."""
    joined: dict[str, np.ndarray] = {}
    for feed, block in parts:
        rows = np.searchsorted(stamps, block.times)
        for name, values in block.context.items():
            known = joined.setdefault(name, np.full(len(stamps), None, dtype=object))
            given = values.astype(object)
            given[is_absent(values)] = None
            both = np.flatnonzero((known[rows] != None) & (given != None))  # noqa: E711
            differs = both[(known[rows][both] != given[both]).astype(bool)]
            if len(differs):
                i = int(differs[0])
                raise DataError(
                    f"{feed}: column {name!r} matches context_pattern, but context is the same for "
                    f"all assets, and at one time it is {known[rows][i]!r} in an earlier feed and "
                    f"{given[i]!r} in this one. Narrow the pattern."
                )
            known[rows] = np.where(given == None, known[rows], given)  # noqa: E711
    return joined
