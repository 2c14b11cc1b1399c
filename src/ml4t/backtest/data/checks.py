"""Everything that is refused at the door once a table's columns are known.

Each error names the source, the column, the first row in the order of the user's input, how many
rows there are, and what to do.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ml4t.backtest.errors import DataError
from ml4t.backtest.types.time import DAY_US, TimeAxis, format_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

# Adjusted prices are products: an open may leave its bar by the last digits.
NOISE = 1e-9
# How often an asset has bars: fewer steps say nothing, and most must be alike. An asset that trades
# in every second minute by chance never twice in a row is one in 10,000 after 10 steps, one in
# 100,000,000 after 20; a step ten times longer does not come about by chance.
_FEW_STEPS, _MANY_STEPS = 10, 20
_REGULAR = 0.6
_SLOWER, _MUCH_SLOWER = 2, 10
_CLEARLY_LONGER = 2
_LONG_LABEL = 5 * DAY_US  # holidays do not part the bars of days by more, those of weeks do
_NONE = np.array(None, dtype=object)  # compared with entry by entry
LONG_AGO = -(2**62)  # when decisions before the run were made: any bar may fill them
NO_STEP = np.iinfo(np.int64).max


class Place(msgspec.Struct):
    """Where the rows of arrays stand in the user's input.

    Args:
        source: What the user calls the table.
        times: int64[n], time of each row.
        codes: int32[n], asset of each row.
        ids: Asset names by code.
        axis: How to read `times`.
        order: The input row of each array row; None when they are the same.
        base: Input row of the first array row.
    """

    source: str
    times: np.ndarray
    codes: np.ndarray
    ids: list[str]
    axis: TimeAxis
    order: np.ndarray | None = None
    base: int = 0

    def row(self, i: int) -> int:
        """The input row of an array row, counted from 0."""
        return self.base + int(i if self.order is None else self.order[i])

    def show(self, i: int) -> str:
        """An array row as an error text names it."""
        when = format_times(self.axis, self.times[i : i + 1])[0]
        return f"row {self.row(i)} ({when}, {self.ids[self.codes[i]]!r})"

    def first(self, bad: np.ndarray) -> int:
        """Of the array rows marked in `bad`, the one that comes first in the input."""
        rows = np.flatnonzero(bad)
        return int(rows[0] if self.order is None else rows[np.argmin(self.order[rows])])


def check_prices(
    place: Place, prices: Mapping[str, np.ndarray], columns: Mapping[str, str]
) -> None:
    """Refuse bars that cannot be: prices absent, infinite or not positive, open outside high-low.

    Args:
        place: Names rows in error texts.
        prices: open, high, low, close: float64[n], NaN where absent.
        columns: The user's names of these columns.

    Raises:
        DataError: The first such bar.
    """
    open_, high, low, close = (prices[name] for name in ("open", "high", "low", "close"))
    sound = (low > 0) & (high < np.inf)  # any NaN makes a comparison false
    if open_ is close and high is low:
        sound &= (close > 0) & (close < np.inf)
    else:
        sound &= (high >= open_) & (high >= close) & (low <= open_) & (low <= close)
    if not sound.all():
        _refuse_prices(place, prices, columns)


def _refuse_prices(
    place: Place, prices: Mapping[str, np.ndarray], columns: Mapping[str, str]
) -> None:
    for name in ("open", "high", "low", "close"):
        bad = ~((prices[name] > 0) & (prices[name] < np.inf))
        if bad.any():
            _refuse_value(place, prices[name], columns[name], bad)
    open_, high, low, close = (prices[name] for name in ("open", "high", "low", "close"))
    _refuse_order(place, high, low, (columns["high"], columns["low"]))
    for value, name in ((open_, "open"), (close, "close")):
        _refuse_order(place, high, value, (columns["high"], columns[name]))
        _refuse_order(place, value, low, (columns[name], columns["low"]))


def _refuse_value(place: Place, values: np.ndarray, column: str, bad: np.ndarray) -> None:
    i = place.first(bad)
    shown = "absent (null or NaN)" if np.isnan(values[i]) else f"{values[i]}"
    raise DataError(
        f"{place.source}: column {column!r} must hold positive, finite prices, and does not in "
        f"{_rows(bad)}; the first is {place.show(i)}, where it is {shown}. Repair these rows or "
        f"drop them, for example with filter(pl.col({column!r}).is_finite() & "
        f"(pl.col({column!r}) > 0)): an asset may miss bars."
    )


def _refuse_order(
    place: Place, upper: np.ndarray, lower: np.ndarray, columns: tuple[str, str]
) -> None:
    bad = upper < lower * (1 - NOISE)
    if bad.any():
        i = place.first(bad)
        raise DataError(
            f"{place.source}: {columns[0]!r} is below {columns[1]!r} in {_rows(bad)}; the first is "
            f"{place.show(i)}, with {columns[0]} {upper[i]} and {columns[1]} {lower[i]}. A bar's "
            f"open and close lie between its low and high: repair or drop these rows, and check "
            f"that all four prices are adjusted alike."
        )


def check_volume(place: Place, volume: np.ndarray, column: str) -> None:
    """Refuse volumes that are negative or infinite; an absent one is allowed.

    Raises:
        DataError: The first such row.
    """
    bad = (volume < 0) | (volume == np.inf)
    if bad.any():
        i = place.first(bad)
        raise DataError(
            f"{place.source}: column {column!r} is negative or infinite in {_rows(bad)}; the first "
            f"is {place.show(i)}, with {volume[i]}. Set unknown volumes to null."
        )


def refuse_duplicates(place: Place, repeats: np.ndarray, columns: tuple[str, str | None]) -> None:
    """Raise for rows that repeat the (timestamp, asset) of the row before them.

    Args:
        place: Names rows; its arrays are sorted by time and asset.
        repeats: bool[n], the row has the key of the row before it.
        columns: The user's names of the columns of times and of assets; None when there is none.

    Raises:
        DataError: Always.
    """
    i = place.first(repeats)
    pair = sorted((place.row(i), place.row(i - 1)))
    text = (
        f"{place.source}: {_rows(repeats)} with a (timestamp, asset) that an earlier row has; the "
        f"first is {place.show(i)}: see rows {pair[0]} and {pair[1]}."
    )
    time, asset = columns
    if asset is not None:
        remedy = (
            f"Keep one of each, for example with unique([{time!r}, {asset!r}], keep='last', "
            f"maintain_order=True); if another column tells the rows apart, name it with "
            f"columns={{'asset_id': '...'}}."
        )
    else:
        remedy = (
            "There is no column of assets, so all rows are taken as one asset: name the column "
            "with columns={'asset_id': '...'}."
        )
    raise DataError(f"{text} {remedy}")


def check_asset_names(assets: pl.Series, source: str, base: int = 0) -> None:
    """Refuse rows without an asset.

    Raises:
        DataError: The first such row.
    """
    if assets.null_count():
        row = base + int(assets.is_null().arg_max() or 0)
        raise DataError(
            f"{source}: column {assets.name!r} names no asset in {assets.null_count()} rows; the "
            f"first is row {row}. Drop these rows, for example with drop_nulls({assets.name!r})."
        )


def common_value(values: np.ndarray, offsets: np.ndarray, column: str, place: Place) -> np.ndarray:
    """One value per timestamp of a column that is the same for all assets.

    Args:
        values: float64[n] with NaN, or object[n] with None, where absent.
        offsets: int64[t + 1], the rows of each timestamp.
        column: Its name.
        place: Names rows in the error text.

    Returns:
        The value at each timestamp, absent where all rows lack it.

    Raises:
        DataError: Two assets have different values at one timestamp.
    """
    rows = np.flatnonzero(~is_absent(values))
    stamps = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[rows]
    heads = np.flatnonzero(np.diff(stamps, prepend=-1))
    leaders = np.repeat(rows[heads], np.diff(heads, append=len(rows)))
    differs = np.flatnonzero((values[rows] != values[leaders]).astype(bool))
    if len(differs):
        one, other = int(leaders[differs[0]]), int(rows[differs[0]])
        raise DataError(
            f"{place.source}: column {column!r} matches context_pattern, but context is the same "
            f"for all assets and this column is not: {values[one]!r} in {place.show(one)}, "
            f"{values[other]!r} in {place.show(other)}. Narrow the pattern, so that it stays a "
            f"signal."
        )
    common: np.ndarray = np.full(len(offsets) - 1, None if values.dtype == object else np.nan)
    common = common.astype(values.dtype)
    common[stamps[heads]] = values[rows[heads]]
    return common


def is_absent(values: np.ndarray) -> np.ndarray:
    """Where a column has no value, bool[n]: NaN, or None among objects."""
    absent: np.ndarray = values == _NONE if values.dtype == object else np.isnan(values)
    return absent.astype(bool, copy=False)


def usual_step(steps: Mapping[int, int]) -> int | None:
    """The step between timestamps that makes up most of them, else the shortest.

    Of an asset that trades rarely, two bars in a row tell how long a bar is.

    Args:
        steps: How often each step occurs.

    Returns:
        Microseconds, or None without a step.
    """
    if not steps:
        return None
    step = max(steps, key=lambda s: (steps[s], -s))
    return step if 2 * steps[step] >= sum(steps.values()) else min(steps)


def count_steps(times: np.ndarray) -> Counter[int]:
    """How often each step between times in order occurs."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    return Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))


def check_one_frequency(place: Place, offsets: np.ndarray) -> int | None:
    """Refuse one table that holds bars of different length, such as daily and minute bars.

    Such bars show as assets with regular steps of clearly different length; assets that merely
    trade rarely have no regular step and pass.

    Args:
        place: The rows, sorted by time and asset.
        offsets: int64[t + 1], the rows of each timestamp.

    Returns:
        The step that assets with regular steps have; None when every asset has a bar at every
        timestamp, or none is regular.

    Raises:
        DataError: Names a fast and a slow asset.
    """
    if len(place.codes) == (len(offsets) - 1) * len(place.ids):
        return None
    order = np.argsort(place.codes, kind="stable")
    codes, steps = place.codes[order], np.diff(place.times[order])
    steps = steps[codes[1:] == codes[:-1]]
    codes = codes[1:][codes[1:] == codes[:-1]]
    regular = _regular_steps(codes, steps)
    if not regular:
        return None
    step, _, fast = min(regular)
    slower = [
        (slow, code)
        for slow, count, code in regular
        if slow >= (_SLOWER if count >= _MANY_STEPS else _MUCH_SLOWER) * step
    ]
    if slower:
        slow_step, slow = max(slower)
        raise DataError(
            f"{place.source}: the bars are of different length: {place.ids[fast]!r} has one every "
            f"{show_duration(step)}, {place.ids[slow]!r} one every "
            f"{show_duration(slow_step)}. An order could be filled at the open of a long bar "
            f"that began before the order was decided. Make one feed of each length and pass "
            f"bar_duration= to both."
        )
    return step


class ShortestSteps:
    """The shortest step between two bars of each asset, of rows that come in parts.

    Attributes:
        steps: By code, microseconds; `NO_STEP` for an asset with fewer than two bars.
    """

    def __init__(self) -> None:
        self.steps = np.empty(0, dtype=np.int64)
        self._latest = np.empty(0, dtype=np.int64)

    def add(self, times: np.ndarray, codes: np.ndarray, assets: int) -> np.ndarray:
        """Take rows in order of time, of assets with codes below `assets`.

        Returns:
            The time of the bar before, of the same asset, of each row; `LONG_AGO` without one.
        """
        missing = assets - len(self.steps)
        if missing > 0:
            self.steps = np.append(self.steps, np.full(missing, NO_STEP))
            self._latest = np.append(self._latest, np.full(missing, LONG_AGO))
        is_few = assets <= np.iinfo(np.uint16).max  # then sorting is several times as fast
        order = np.argsort(codes.astype(np.uint16) if is_few else codes, kind="stable")
        sorted_codes, sorted_times = codes[order], times[order]
        heads = np.diff(sorted_codes, prepend=-1) != 0
        before = np.empty(len(codes), dtype=np.int64)
        before[1:] = sorted_times[:-1]
        before[heads] = self._latest[sorted_codes[heads]]
        steps = np.where(before == LONG_AGO, NO_STEP, sorted_times - before)
        starts = np.flatnonzero(heads)
        present = sorted_codes[starts]
        least = np.minimum.reduceat(steps, starts)
        self.steps[present] = np.minimum(self.steps[present], least)
        self._latest[codes] = times  # of repeated codes the last, and latest, stays
        previous = np.empty_like(before)
        previous[order] = before
        return previous


def unknown_lengths(shortest: np.ndarray, axis: TimeAxis) -> np.ndarray:
    """The assets of one source whose bars may be longer than those of the others, bool by code.

    Bars of one asset do not overlap, so its shortest step is the longest that its bars can be.
    An asset that had two bars as close to each other as the fastest asset has bars of that
    length, however rarely it trades. Of an asset that never had, and of a lone bar, the length is
    unknown: rare minutes or bars of hours look alike. Such a bar may have begun as soon as its
    asset's last one ended. An order decided since then does not fill in it, but waits for the
    asset's next bar, which began later: it loses one bar, and never waits for longer.

    Labels of sessions are days unless they are at least five days apart; a lone one is a day.

    Args:
        shortest: As of `ShortestSteps`.
        axis: How the source's times are read.
    """
    longest = _CLEARLY_LONGER * min(int(shortest.min(initial=NO_STEP)), NO_STEP // 2)
    if axis.is_session:
        longest = max(longest, _LONG_LABEL)
    is_lone = shortest == NO_STEP
    slow: np.ndarray = (shortest >= longest) & ~is_lone
    return slow if axis.is_session else slow | is_lone


def known_length(shortest: np.ndarray, axis: TimeAxis) -> int | None:
    """The longest that bars of known length can be; None when all are unknown.

    Labels of sessions that miss days are no longer for it, so of labels it is the shortest step.
    """
    known = shortest[~unknown_lengths(shortest, axis) & (shortest < NO_STEP)]
    if not len(known):
        return None
    return int(known.min() if axis.is_session else known.max())


def _regular_steps(codes: np.ndarray, steps: np.ndarray) -> list[tuple[int, int, int]]:
    """Step, number of steps and code of each asset whose steps are mostly its shortest."""
    if len(codes) == 0:
        return []
    starts = np.flatnonzero(np.diff(codes, prepend=codes[:1] - 1))
    counts = np.diff(starts, append=len(codes))
    shortest = np.minimum.reduceat(steps, starts)
    alike = np.add.reduceat((steps == np.repeat(shortest, counts)).astype(np.int64), starts)
    keep = (counts >= _FEW_STEPS) & (alike >= _REGULAR * counts)
    columns = (column[keep].tolist() for column in (shortest, counts, codes[starts]))
    return list(zip(*columns, strict=True))


def show_duration(microseconds: int) -> str:
    """A duration as people write it: "1d", "1h", "5m", "30s"."""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)):
        if microseconds >= size and microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{microseconds / 1_000_000:g}s"


def _rows(bad: np.ndarray) -> str:
    count = int(np.count_nonzero(bad))
    return "1 row" if count == 1 else f"{count} rows"
