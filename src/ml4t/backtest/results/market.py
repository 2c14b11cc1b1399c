"""The bars a run walked over, and what was known with each, read again from where they came."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.clock import Clock
from ml4t.backtest.data.context import Context
from ml4t.backtest.data.origin import change_of, loss_of, open_feed, path_of
from ml4t.backtest.errors import BacktestError, DataError, did_you_mean
from ml4t.backtest.results.tables import time_series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ml4t.backtest.types.bars import Chunk

PRICES = ("open", "high", "low", "close", "volume")
_EVENTS = "events"


class Market:
    """The input of one run, opened when it is first looked at.

    A result that comes from a run has the run's clock, and with it what was in memory. One that
    was loaded has the description of its input: files are opened again as they were, as long as
    they have not changed.

    Args:
        source: `RunRecord.source`.
        clock: Of the run; None after loading.
    """

    def __init__(self, source: Mapping[str, Any], clock: Clock | None) -> None:
        self._source = source
        self._given = clock

    def loss(self) -> str | None:
        """Why the bars cannot be read again; None when they can."""
        is_fresh = self._given is not None
        if (why := self._loss_of_run() if is_fresh else self._loss_of_folder()) is not None:
            return why
        try:
            self._clock.prepare()
        except (BacktestError, OSError) as error:  # such as a path relative to another folder
            return str(error).rstrip(".")
        return None

    def lost_signals(self) -> dict[str, str]:
        """The signals that are gone while the bars are there, and why."""
        if self._given is not None:
            return {}
        found: dict[str, str] = {}
        for entry in self._source.get("signals", ()):
            if (why := loss_of(entry)) is not None:
                found |= dict.fromkeys(entry["columns"], f"{entry['name']}: {why}")
        return found

    def lost_context(self) -> str | None:
        """Why the context is gone while the bars are there; None when it is not."""
        if self._given is not None:
            return None
        return next((why for _, entry in self._context_tables() if (why := loss_of(entry))), None)

    def clock(self) -> Clock:
        """A prepared clock of the run's feeds, which nobody else walks.

        Raises:
            DataError: The bars are gone.
        """
        if (why := self.loss()) is not None:
            raise DataError(
                f"The bars of this run are gone: {why}. Run it again to look at its market."
            )
        return self._clock

    def frame(
        self, asset_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """See `BacktestResult.market`."""
        clock = self.clock()
        self._refuse_lost(columns)
        return read(clock, asset_ids, columns)

    def bars(
        self, asset_id: str, first: dt.date, last: dt.date
    ) -> tuple[pl.DataFrame, dict[str, Any] | None]:
        """The bars of one asset from a time to another, and the context of the last timestamp.

        Args:
            asset_id: An asset of the run.
            first: A timestamp of the run.
            last: Another one, or the same.

        Returns:
            As `frame`, and None when there was no timestamp or there is no context.
        """
        clock = self.clock()
        bounds = [clock.axis.to_microseconds(moment) for moment in (first, last)]
        parts, context = [], None
        for chunk in clock.between(*bounds):
            parts.append(_frame(chunk, [asset_id], None))
            if chunk.context_at is not None:
                context = chunk.context_at(len(chunk.times) - 1)
        return pl.concat(parts, how="diagonal") if parts else pl.DataFrame(), context

    @cached_property
    def _clock(self) -> Clock:
        return self._reopened() if self._given is None else self._given.again()

    def _reopened(self) -> Clock:
        options, lost = self._source["options"], self.lost_signals()
        kept = [e for e in self._source["signals"] if not lost.keys() & set(e["columns"])]
        wanted = options["signal_columns"]
        start, end = options["bounds"]
        clock = Clock(
            signals={entry["key"]: path_of(entry) for entry in kept} or None,
            signal_columns=wanted and [name for name in wanted if name not in lost],
            signal_delay=_duration(options["signal_delay_us"]) if kept else None,
            signal_max_age=_duration(options["signal_max_age_us"]) if kept else None,
            context=None if self.lost_context() is not None else self._reopened_context(),
            context_pattern=options["context_pattern"],
            calendar=options["calendar"],
            start=start,
            end=end,
        )
        for source in self._source["feeds"]:
            clock.add_data_feed(open_feed(source), asset_id=source["asset_id"])
        return clock

    def _reopened_context(self) -> Context | None:
        tables = {name: path_of(entry) for name, entry in self._context_tables()}
        if not tables:
            return None
        data = tables.get(None) or tables
        return Context(data, delay=_duration(self._source["context"]["delay_us"]))

    def _context_tables(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        """The tables of the context, by name; a single one of all series has none."""
        context = self._source.get("context") or {}
        if "table" in context:
            yield None, context["table"]
        yield from context.get("tables", {}).items()

    def _loss_of_run(self) -> str | None:
        """Of a run whose clock is here."""
        for entry in self._source["feeds"]:
            if entry.get("kind") == _EVENTS:
                return f"{entry['name']} gives single events, which can be walked once"
        tables = [*self._source["feeds"], *self._source["signals"]]
        tables += [entry for _, entry in self._context_tables()]
        files = [entry for entry in tables if "files" in entry and "folder" in entry]
        return next((why for entry in files if (why := change_of(entry))), None)

    def _loss_of_folder(self) -> str | None:
        """Of a run that was loaded."""
        if "options" not in self._source:
            return "the result does not say how to open its input again"
        for entry in self._source["feeds"]:
            if (why := loss_of(entry)) is not None:
                return f"{entry['name']}: {why}"
        if self._source["options"]["is_own_calendar"]:
            return "the calendar of the run was an object of your own"
        return None

    def _refuse_lost(self, columns: Sequence[str] | None) -> None:
        lost = self.lost_signals()
        for name, why in lost.items():
            if columns is None or name in columns:
                raise DataError(
                    f"The signal {name!r} of this run is gone: {why}. Run it again, or ask for "
                    f"columns=[...] without {', '.join(repr(one) for one in lost)}."
                )


def _duration(microseconds: int | None) -> dt.timedelta | None:
    return None if microseconds is None else dt.timedelta(microseconds=microseconds)


def read(
    clock: Clock, asset_ids: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """What a clock walks over, as `BacktestResult.market` gives it.

    Args:
        clock: Nobody else walks it at the same time.
        asset_ids: Some assets; all by default.
        columns: Some columns; all by default.

    Raises:
        DataError: Anything a run would refuse, or an unknown asset or column.
    """
    parts = [_frame(chunk, asset_ids, columns) for chunk in clock.chunks()]
    for asset_id in asset_ids or ():
        if asset_id not in clock.universe.codes:
            raise DataError(
                f"The run knows no asset {asset_id!r}. {did_you_mean(asset_id, clock.universe.ids)}"
            )
    found = pl.concat(parts, how="diagonal", rechunk=True)
    return found.sort("timestamp", "asset_id", maintain_order=True)


def _frame(
    chunk: Chunk, asset_ids: Sequence[str] | None, columns: Sequence[str] | None
) -> pl.DataFrame:
    ids, codes = chunk.universe.ids, chunk.codes
    rows: Any = slice(None)
    if asset_ids is not None:
        wanted = [chunk.universe.codes[name] for name in asset_ids if name in chunk.universe.codes]
        rows = np.flatnonzero(np.isin(codes, wanted))
    times = np.repeat(chunk.times, np.diff(chunk.offsets))[rows]
    found = {
        "timestamp": time_series(times, chunk.axis),
        "asset_id": pl.Series(ids, dtype=pl.String).gather(codes[rows]),
    }
    for name in (*PRICES, *chunk.signals) if columns is None else columns:
        values = getattr(chunk, name) if name in PRICES else _signal(chunk, name)
        found[name] = pl.Series(name, values[rows], strict=False, nan_to_null=True)
    return pl.DataFrame(found)


def _signal(chunk: Chunk, name: str) -> np.ndarray:
    try:
        return chunk.signals[name]
    except KeyError:
        known = [*PRICES, *chunk.signals]
        raise DataError(f"The market has no column {name!r}. {did_you_mean(name, known)}") from None
