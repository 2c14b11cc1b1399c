"""Corporate actions: one table, checked at the door, and what of it takes effect when.

The time of an action is that of the first bar at the new terms. It takes effect with the asset's
first bar at or after that time, so that prices and units change together. A date, or any label of
a session, means the first bar of that session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.data.checks import check_asset_names
from ml4t.backtest.data.predictions import quote
from ml4t.backtest.data.tables import require_column, to_frame
from ml4t.backtest.data.text import refuse_text
from ml4t.backtest.data.times import check_same_zone, read_times, sessions_of, show_times
from ml4t.backtest.errors import DataError, did_you_mean
from ml4t.backtest.types.action import Action, ActionKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ml4t.backtest.data.calendar import TradingCalendar
    from ml4t.backtest.types.bars import Chunk, Universe
    from ml4t.backtest.types.time import TimeAxis

_SOURCE = "actions"
_ORDER = list(ActionKind)
_WORDS = [kind.value for kind in ActionKind]
_NEEDS = {
    ActionKind.SPLIT: "ratio",
    ActionKind.DIVIDEND: "amount",
    ActionKind.SPINOFF: "amount",
    ActionKind.RENAME: "new_asset_id",
}
_CASH = frozenset({ActionKind.DIVIDEND, ActionKind.SPINOFF})
_OPTIONAL = {"ratio": pl.Float64(), "amount": pl.Float64(), "new_asset_id": pl.String()}


class Dated(msgspec.Struct):
    """An action and its time, in the unit in which it is compared with bars.

    `after` is set once a delisted asset was seen to trade at that very time: the action then
    takes effect later than it.
    """

    time: int
    action: Action
    after: int | None = None


class Actions:
    """The corporate actions of a run.

    Args:
        table: Polars, pandas or Arrow table, or a path, with the columns `timestamp`, `asset_id`,
            `kind` ("split", "dividend", "rename", "delisting", "spinoff") and, where a kind needs
            them, `ratio` (new shares per old), `amount` (money per share) and `new_asset_id`.
            What a kind does not need is not read.
        axis: How the run's times are read.
        universe: The run's assets.
        calendar: Says to which session an instant belongs.
        is_growing: Assets may still appear, so an unknown one is not yet a mistake.

    Attributes:
        applied: How many took effect; whoever carries them out counts.

    Raises:
        DataError: A row that cannot be meant, named with its number and what to do.
    """

    def __init__(
        self,
        table: Any,
        *,
        axis: TimeAxis,
        universe: Universe,
        calendar: TradingCalendar | None = None,
        is_growing: bool = False,
    ) -> None:
        frame = _plain(to_frame(table, source=_SOURCE))
        times, own = read_times(frame["timestamp"], source=_SOURCE)
        check_same_zone(f"{_SOURCE} (timestamp)", own, "the price data", axis)
        _check_rows(frame, times, own)
        if not is_growing:
            _check_assets(frame, universe)
        self._by_session = own.is_session or axis.is_session
        self._universe = universe
        keys = sessions_of(times, own, calendar) if self._by_session else times
        self._table = [
            Dated(int(keys[i]), _action(row)) for i, row in enumerate(frame.iter_rows(named=True))
        ]
        self._table.sort(key=lambda dated: dated.time)
        self._times = np.array([dated.time for dated in self._table], dtype=np.int64)
        self._renames: dict[str, list[Dated]] = {}
        for dated in self._table:
            if dated.action.kind is ActionKind.RENAME:
                self._renames.setdefault(dated.action.asset_id, []).append(dated)
        self._waiting: list[Dated] = []
        self._next = 0
        self._has_begun = False
        self.applied = 0

    def counts(self) -> dict[str, int]:
        """How many actions took effect, and how many did not: they lie outside of the run."""
        ignored = len(self._table) - self.applied
        return {"actions_applied": self.applied, "actions_ignored": ignored}

    def due_in(self, chunk: Chunk) -> dict[int, list[Action]]:
        """What takes effect in the next chunk of the run.

        Returns:
            By the position of the timestamp in the chunk, the actions in the order in which they
            take effect: of one asset by time, and of one time first what pays, then what changes
            its units; a rename comes after what its old name is still due, and before what its
            new name is.
        """
        times = chunk.sessions if self._by_session else chunk.times
        if not self._has_begun:
            self._has_begun = True
            self._next = int(np.searchsorted(self._times, times[0], side="left"))
        stop = int(np.searchsorted(self._times, times[-1], side="right"))
        self._waiting += self._table[self._next : stop]
        self._next = max(self._next, stop)
        if not self._waiting:
            return {}
        bars = _FirstBars(chunk)
        due: dict[int, list[Dated]] = {}
        waiting, self._waiting = self._waiting, []
        for dated in waiting:
            index = self._index(dated, times, bars)
            if index < 0:
                self._waiting.append(dated)
            else:
                due.setdefault(index, []).append(dated)
        return {index: in_order(items) for index, items in due.items()}

    def _index(self, dated: Dated, times: np.ndarray, bars: _FirstBars) -> int:
        """The timestamp of a chunk at which an action takes effect; -1 when it is a later one."""
        action = dated.action
        if self._code(action.asset_id) < 0:
            return -1  # a feed has yet to name it
        if action.kind is ActionKind.DELISTING:
            return self._index_of_end(dated, times, bars)
        start = int(np.searchsorted(times, dated.time))
        if action.kind is ActionKind.RENAME:
            return bars.at(self._code(action.new_asset_id), start)
        found = [bars.at(self._code(action.asset_id), start)]
        for rename in self._renames.get(action.asset_id, ()):
            if rename.time >= dated.time:  # bars under the new name are bars of the asset, too
                start = int(np.searchsorted(times, rename.time))
                found.append(bars.at(self._code(rename.action.new_asset_id), start))
        return min((index for index in found if index >= 0), default=-1)

    def _index_of_end(self, dated: Dated, times: np.ndarray, bars: _FirstBars) -> int:
        """An asset ends at its time when it has no bar then, else after that time."""
        if dated.after is None:
            start = int(np.searchsorted(times, dated.time))
            if bars.at(self._code(dated.action.asset_id), start) != start:
                return start
            dated.after = int(times[start])
        index = int(np.searchsorted(times, dated.after, side="right"))
        return index if index < len(times) else -1

    def _code(self, asset_id: str) -> int:
        return self._universe.codes.get(asset_id, -1)


class _FirstBars:
    """Finds the first bar of an asset at or after a timestamp of a chunk."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._keys: np.ndarray | None = None

    def at(self, code: int, start: int) -> int:
        """The timestamp's position; -1 when the chunk has no such bar."""
        chunk, steps = self._chunk, len(self._chunk)
        if code < 0 or start >= steps:
            return -1
        if chunk.is_dense:
            return start if code < chunk.width else -1
        if self._keys is None:
            when = np.repeat(np.arange(steps, dtype=np.int64), np.diff(chunk.offsets))
            self._keys = np.sort(chunk.codes.astype(np.int64) * steps + when)
        spot = int(np.searchsorted(self._keys, code * steps + start))
        if spot == len(self._keys) or self._keys[spot] // steps != code:
            return -1
        return int(self._keys[spot] % steps)


def in_order(due: Sequence[Dated]) -> list[Action]:
    """The actions that are due at one timestamp, in the order in which they take effect.

    Raises:
        DataError: Renames in a circle.
    """
    actions = [dated.action for dated in due]
    renames = {a.asset_id: a.new_asset_id for a in actions if a.kind is ActionKind.RENAME}
    named = set(renames.values())

    def stage(action: Action) -> tuple[int, int]:
        if action.kind is ActionKind.RENAME:
            return 1, _names_after(action.asset_id, renames)
        return (2 if action.asset_id in named else 0), 0

    def place(dated: Dated) -> tuple[Any, ...]:
        a = dated.action
        return *stage(a), a.asset_id, dated.time, _ORDER.index(a.kind), a.amount or 0.0

    return [dated.action for dated in sorted(due, key=place)]


def _names_after(asset_id: str, renames: dict[str, str]) -> int:
    """How many renames have to make room first."""
    chain = [asset_id]
    while (following := renames.get(chain[-1])) is not None:
        if following in chain:
            raise DataError(
                f"{_SOURCE}: {quote(chain)} are renamed in a circle at one time. Give one of them "
                "a name of its own in between."
            )
        chain.append(following)
    return len(chain)


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns by our names; those that no row needs may be missing."""
    if frame.height == 0:
        raise DataError(f"{_SOURCE}: there are no rows. Leave actions= out.")
    columns = {
        kind: require_column(frame.columns, kind, source=_SOURCE)
        for kind in ("timestamp", "asset_id")
    }
    if "kind" not in frame.columns:
        raise DataError(
            f"{_SOURCE}: there is no column 'kind', which says what happened: {quote(_WORDS)}. "
            f"Its columns: {quote(frame.columns)}."
        )
    check_asset_names(frame[columns["asset_id"]], _SOURCE)
    given = [
        _cast(frame[name], kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in _OPTIONAL.items()
    ]
    return frame.select(
        *(pl.col(name).alias(ours) for ours, name in columns.items()), pl.col("kind"), *given
    ).with_columns(
        pl.col("asset_id").cast(pl.String),
        pl.col("kind").cast(pl.String).str.strip_chars().str.to_lowercase(),
    )


def _cast(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """A column as text, or as numbers without NaN."""
    if kind == pl.String or column.null_count() == len(column):
        return column.cast(kind)
    if column.dtype == pl.String:
        refuse_text(column, _SOURCE)
    if not column.dtype.is_numeric():
        raise DataError(
            f"{_SOURCE}: column {column.name!r} has type {column.dtype}, not numbers. Convert it."
        )
    return column.cast(pl.Float64).fill_nan(None)


def _check_rows(frame: pl.DataFrame, times: np.ndarray, axis: TimeAxis) -> None:
    """Refuse rows that cannot be meant."""
    for i, row in enumerate(frame.iter_rows(named=True)):
        kind = row["kind"]
        is_known = kind in _WORDS
        problem = next(_problems(row, ActionKind(kind)), "") if is_known else "unknown"
        if not problem:
            continue
        where = f"{_SOURCE}: row {i} ({row['asset_id']!r}, {show_times(axis, times[i : i + 1])})"
        if not is_known:
            raise DataError(f"{where} has kind {kind!r}. {did_you_mean(str(kind), _WORDS)}")
        raise DataError(f"{where}, a {kind}, {problem}")
    _refuse_repeats(frame, times, axis)


def _problems(row: dict[str, Any], kind: ActionKind) -> Iterator[str]:
    """What is wrong with a row."""
    needed = _NEEDS.get(kind)
    if needed is not None and row[needed] is None:
        yield f"needs {needed!r}, which is missing."
    ratio, amount = row["ratio"], row["amount"]
    changes = kind in (ActionKind.SPLIT, ActionKind.RENAME) and ratio is not None
    if changes and not (np.isfinite(ratio) and ratio > 0):
        yield f"has ratio {ratio}. New shares per old must be positive: 2 for a 2-for-1 split."
    if kind in _CASH and amount is not None and not (np.isfinite(amount) and amount > 0):
        yield f"has amount {amount}. Money per share must be positive."
    ends = kind is ActionKind.DELISTING and amount is not None
    if ends and not (np.isfinite(amount) and amount >= 0):
        yield f"has amount {amount}. What is left of a share is zero or more, or missing."
    if kind is ActionKind.RENAME and row["new_asset_id"] == row["asset_id"]:
        yield "has the same name as 'new_asset_id'."


def _refuse_repeats(frame: pl.DataFrame, times: np.ndarray, axis: TimeAxis) -> None:
    """One asset pays several dividends a day, but not the same twice, nor does it split twice."""
    pays = pl.col("kind").is_in([kind.value for kind in _CASH])
    keyed = frame.select(
        pl.Series("time", times),
        "asset_id",
        "kind",
        pl.when(pays).then("amount").otherwise(None).alias("amount"),
    )
    repeats = ~keyed.is_unique()
    if not repeats.any():
        return
    i, j = repeats.arg_true().to_list()[:2]
    rows = keyed.select("time", "asset_id", "kind", "amount").rows()
    j = next(k for k in range(i + 1, len(rows)) if rows[k] == rows[i])
    raise DataError(
        f"{_SOURCE}: {rows[i][1]!r} has the same {rows[i][2]} twice on "
        f"{show_times(axis, times[i : i + 1])}, in rows {i} and {j}. Drop one, for example with "
        f"unique()."
    )


def _check_assets(frame: pl.DataFrame, universe: Universe) -> None:
    for name in ("asset_id", "new_asset_id"):
        column = frame[name] if name == "asset_id" else _new_names(frame)
        for i, asset_id in enumerate(column.to_list()):
            if asset_id is not None and asset_id not in universe:
                raise DataError(
                    f"{_SOURCE}: row {i} has {name} {asset_id!r}, which the price data do not "
                    f"have. {did_you_mean(asset_id, universe.ids)} For actions of a larger market: "
                    f"filter them to the run's assets first."
                )


def _new_names(frame: pl.DataFrame) -> pl.Series:
    is_rename = pl.col("kind") == ActionKind.RENAME.value
    return frame.select(pl.when(is_rename).then("new_asset_id").otherwise(None)).to_series()


def _action(row: dict[str, Any]) -> Action:
    kind = ActionKind(row["kind"])
    changes = kind in (ActionKind.SPLIT, ActionKind.RENAME)
    return Action(
        asset_id=row["asset_id"],
        kind=kind,
        ratio=row["ratio"] if changes and row["ratio"] is not None else 1.0,
        amount=None if changes else row["amount"],
        new_asset_id=row["new_asset_id"] if kind is ActionKind.RENAME else row["asset_id"],
    )
