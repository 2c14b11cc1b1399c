"""What a run hands to the results: columns, and nothing derived from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Columns of each frame, in order. Columns named in _TIMES carry the type of the run's times;
# the frames in OPEN_ENDED go on with columns of their own (signals, context, coverage).
FRAMES: dict[str, dict[str, pl.DataType]] = {
    "equity": {
        "timestamp": pl.Null(),
        "session": pl.Date(),
        "equity": pl.Float64(),
        "cash": pl.Float64(),
        "gross_exposure": pl.Float64(),
        "net_exposure": pl.Float64(),
    },
    "fills": {
        "fill_id": pl.Int64(),
        "order_id": pl.Int64(),
        "timestamp": pl.Null(),
        "asset_id": pl.String(),
        "side": pl.String(),
        "quantity": pl.Float64(),
        "price": pl.Float64(),
        "commission": pl.Float64(),
        "slippage": pl.Float64(),
        "reason": pl.String(),
        "position": pl.Float64(),
        "multiplier": pl.Float64(),
    },
    "orders": {
        "order_id": pl.Int64(),
        "created_at": pl.Null(),
        "asset_id": pl.String(),
        "side": pl.String(),
        "type": pl.String(),
        "quantity": pl.Float64(),
        "limit_price": pl.Float64(),
        "stop_price": pl.Float64(),
        "time_in_force": pl.String(),
        "status": pl.String(),
        "filled_quantity": pl.Float64(),
        "average_fill_price": pl.Float64(),
        "reason": pl.String(),
        "tag": pl.String(),
    },
    "decisions": {"timestamp": pl.Null()},
    "excursions": {
        "fill_id": pl.Int64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "bars": pl.Int64(),
    },
    "marks": {
        "asset_id": pl.String(),
        "quantity": pl.Float64(),
        "price": pl.Float64(),
        "timestamp": pl.Null(),
        "multiplier": pl.Float64(),
    },
    "cashflows": {
        "timestamp": pl.Null(),
        "asset_id": pl.String(),
        "kind": pl.String(),
        "amount": pl.Float64(),
    },
    "adjustments": {
        "timestamp": pl.Null(),
        "fill_id": pl.Int64(),
        "asset_id": pl.String(),
        "kind": pl.String(),
        "ratio": pl.Float64(),
        "new_asset_id": pl.String(),
        "quantity_before": pl.Float64(),
        "quantity": pl.Float64(),
    },
    "records": {"timestamp": pl.Null(), "name": pl.String(), "value": pl.Float64()},
    "logs": {"timestamp": pl.Null(), "message": pl.String()},
    "signal_coverage": {},
    "stale": {
        "timestamp": pl.Null(),
        "asset_id": pl.String(),
        "share_of_equity": pl.Float64(),
    },
}
OPEN_ENDED = frozenset({"orders", "decisions", "signal_coverage"})
_MAY_BE_ABSENT = OPEN_ENDED | {"excursions"}
_TIMES = frozenset({"timestamp", "created_at"})


class RunRecord:
    """Everything that happened in one run, as columns; nobody changes it.

    `FRAMES` names the columns. Times are of the type the input had, the same in every frame;
    missing values are null. `orders` goes on with one column `signal_<name>` per signal,
    `decisions` with one column per context name.

    A frame may be given as the function that makes it, which is called when the frame is first
    looked at: most who try many settings look at few frames. What it reads must not change after
    the run.

    Args:
        equity: One row a timestamp, in order of time, valued at the close. Exposures are money.
        fills: In order of execution. `position` is the signed holding of the asset after the
            fill, exactly zero when it is flat; `multiplier` is the instrument's.
        orders: One row an order, as it stood at the end, with the signals of its decision.
        decisions: The context of every timestamp at which something was ordered, once.
        excursions: For the stretch from one fill to the asset's next one (or the end of the
            run): highest high, lowest low and number of the bars held meanwhile. Null, null
            and 0 when no bar was, and after a fill that left the asset flat.
        marks: Positions still held at the end, at their last close.
        cashflows: Money that moved without a trade, such as dividends and interest; negative
            when paid. `asset_id` is null for what belongs to the account as a whole.
        adjustments: Holdings and orders that went on in other terms: by a "split", or under the
            `new_asset_id` of a "rename" (else that is the asset itself). `ratio` is new units per
            old, `fill_id` the last fill before it; quantities are signed, both 0 where an order
            was open and nothing held.
        records: What the strategy recorded.
        logs: What the strategy logged.
        signal_coverage: One row a signal: how many bars had it, how old it was.
        stale: Held assets without a bar for longer than `stale_after` sessions; one row each
            time, with the share of equity that is marked at an old price (0.1 is ten percent).
        initial_cash: Money at the start.
        counts: How often something happened that limits trust; `ambiguous_bars`,
            `same_close_fills`, `bars_without_finer`, `margin_calls`, `good_faith_violations` and
            `bankruptcies` are read here.
        settings: JSON-able. Read here: `strategy` (class name, or a mapping with `class` and
            `parameters`), `fill_at`, `commission`, `slippage`, `account`, `rates`, `borrow`,
            `funding`, `stale_after`, `intrabar`, `currency`, `calendar` (its name) and
            `periods_per_year` (what the user gave); the rest is kept as it is.
        source: JSON-able description of the data.
        versions: Of Python and the libraries. Never part of the fingerprint.
        periods_per_year: Sessions a year, as given or by the run's calendar; None without both.
        complete: False when the run ended in an error.
        asset_ids: All assets the run knew, traded or not.
    """

    equity: pl.DataFrame
    fills: pl.DataFrame
    orders: pl.DataFrame
    decisions: pl.DataFrame
    excursions: pl.DataFrame
    marks: pl.DataFrame
    cashflows: pl.DataFrame
    adjustments: pl.DataFrame
    records: pl.DataFrame
    logs: pl.DataFrame
    signal_coverage: pl.DataFrame
    stale: pl.DataFrame

    def __init__(
        self,
        *,
        initial_cash: float,
        counts: Mapping[str, int] | None = None,
        settings: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        periods_per_year: float | None = None,
        complete: bool = True,
        asset_ids: Iterable[str] = (),
        **frames: pl.DataFrame | Callable[[], pl.DataFrame],
    ) -> None:
        if frames.keys() != FRAMES.keys():
            wrong = sorted(frames.keys() ^ FRAMES.keys())
            raise TypeError(f"A record has the frames {', '.join(FRAMES)}; look at {wrong}.")
        self.initial_cash = initial_cash
        self.counts = dict(counts or {})
        self.settings = dict(settings or {})
        self.source = dict(source or {})
        self.versions = dict(versions or {})
        self.periods_per_year = periods_per_year
        self.complete = complete
        self.asset_ids = list(asset_ids)
        self._unmade: dict[str, Callable[[], pl.DataFrame]] = {}
        for name, frame in frames.items():
            if isinstance(frame, pl.DataFrame):
                setattr(self, name, frame)
            else:
                self._unmade[name] = frame

    def __getattr__(self, name: str) -> pl.DataFrame:
        # Asked for what is not there yet. Half-made copies have no `_unmade` either.
        fields = self.__dict__
        make = fields.get("_unmade", {}).get(name)
        if make is not None:
            fields.setdefault(name, make())
            self._unmade.pop(name, None)
        elif name not in fields:  # or another thread has made it meanwhile
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        frame: pl.DataFrame = fields[name]
        return frame

    def replace(self, **changes: Any) -> RunRecord:
        """A record like this one but for these fields."""
        given = {n: value for n, value in vars(self).items() if n != "_unmade"}
        return RunRecord(**(self._unmade | given | changes))

    def make_frames(self) -> None:
        """Make every frame that nobody has looked at yet."""
        for name in FRAMES:
            getattr(self, name)

    def __getstate__(self) -> dict[str, Any]:
        # What goes to another process or a copy is what happened, not how to find it out.
        self.make_frames()
        return self.__dict__

    @property
    def financing(self) -> float:
        """Money paid (negative) or earned without trading, over the run."""
        return float(self.cashflows["amount"].sum())


def empty_frame(name: str, times: pl.DataType) -> pl.DataFrame:
    """A frame of the record without rows.

    Args:
        name: A key of `FRAMES`.
        times: The type of the run's times.
    """
    columns = FRAMES[name]
    return pl.DataFrame(schema={c: times if c in _TIMES else t for c, t in columns.items()})


def normalised(record: RunRecord, name: str) -> pl.DataFrame:
    """One frame of a record with its columns in order and of the right types.

    A recorder may hand over whatever is cheapest to append (categories for ids, integers for
    money, a column of nulls only); readers and files get one shape.
    """
    frame: pl.DataFrame = getattr(record, name)
    columns = FRAMES[name]
    missing = [column for column in columns if column not in frame.columns]
    assert not missing, f"the record's frame {name!r} lacks {missing}"
    extra = [c for c in frame.columns if c not in columns] if name in OPEN_ENDED else []
    assert name in OPEN_ENDED or len(columns) == frame.width, (name, frame.columns)
    times = record.equity.schema["timestamp"]
    frame = frame.select(
        *(_cast(frame[c], times if c in _TIMES else t) for c, t in columns.items()),
        *(_plain(frame[c]) for c in extra),
    )
    if name in _MAY_BE_ABSENT:  # NaN is how an array says absent; a frame says null
        frame = frame.with_columns(pl.col(pl.Float32, pl.Float64).fill_nan(None))
    return frame.rechunk()


def _cast(column: pl.Series, to: pl.DataType) -> pl.Series:
    return column if column.dtype == to else column.cast(to)


def _plain(column: pl.Series) -> pl.Series:
    """A column of unknown content without types that do not survive a file."""
    if column.dtype == pl.Object:
        return pl.Series(column.name, column.to_list(), strict=False)
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return column
