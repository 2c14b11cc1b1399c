"""The recorder: append-only columns while a run goes on.

During a step it only notes fills. Everything else (equity, exposure, the range of prices while a
position was held, the signals behind each order) is worked out once per chunk, as columns, when
all its bars are at hand.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.kernels import worth
from ml4t.backtest.results.fill_columns import FillColumns
from ml4t.backtest.results.grid import HeldGrid
from ml4t.backtest.results.jumps import Jumps
from ml4t.backtest.results.order_columns import OrderColumns, orders_frame
from ml4t.backtest.results.stretches import Adjusted, Stretches
from ml4t.backtest.results.tables import (
    adjustments_frame,
    decisions_frame,
    equity_frame,
    excursions_frame,
    fills_frame,
    marks_frame,
    marks_of,
    notes_frame,
)
from ml4t.backtest.types.events import CashEvent, FillBatch, FillEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.broker.blotter import Blotter
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars, Chunk
    from ml4t.backtest.types.events import AdjustmentEvent, News
    from ml4t.backtest.types.time import TimeAxis

# Cells of a (timestamps, assets) matrix worked on at once, so that sparse data stays small.
_BLOCK_CELLS = 4_000_000
# So many small chunks in a row are made one, if they are that small together.
_BUNDLE = 64
_SMALL_STEPS = 64 * _BUNDLE
# The signal that keeps what `_meta` says about the model.
VERSION = "model_version"


class Recorder:
    """Notes what happens in a run, for `BacktestResult`.

    Args:
        portfolio: What is recorded; read only.
        blotter: Its orders' decisions are recorded with the signals of their time.
        axis: How the run's times are to be read.
    """

    def __init__(self, portfolio: Portfolio, blotter: Blotter, axis: TimeAxis) -> None:
        self.portfolio = portfolio
        self.blotter = blotter
        self.axis = axis
        self.steps = 0
        self.fill_blocks: list[tuple[np.ndarray, ...]] = []
        self.fills = FillColumns()  # of the chunk that is open
        self.times: list[np.ndarray] = []
        self.sessions: list[np.ndarray] = []
        self.equity_columns: list[tuple[np.ndarray, ...]] = []
        self.excursions: list[tuple[np.ndarray, ...]] = []
        self.signals: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        self.contexts: list[tuple[int, dict[str, Any]]] = []
        self.cashflows: list[tuple[int, str | None, str, float]] = []
        self.adjustments: list[tuple[int, int, str, str, float, str, float, float]] = []
        self._chunk: Chunk | None = None
        self._cash: list[tuple[int, float]] = []
        self._bundled = [0] * 5  # parts of times, sessions and `_blocks` that are bundled already
        self._fill_count = 0
        self._order_count = 0
        self._adjusted: list[Adjusted] = []
        self._stretches = Stretches()
        self.jumps = Jumps()

    # -- during a chunk -----------------------------------------------------------------------

    def begin(self, chunk: Chunk) -> None:
        """A chunk starts; the one before is worked out."""
        self.flush()
        portfolio, n = self.portfolio, len(self.portfolio.universe)
        self._chunk = chunk
        self._last = portfolio.last_prices()[:n].copy()
        self._quantity = portfolio.quantity[:n].copy()
        self._cash = [(0, portfolio.cash)]
        self._adjusted = []
        self._stretches.grow(n)

    def book(self, news: News, positions: list[float | np.ndarray], bars: Bars) -> None:
        """News was booked in the portfolio, at the current bars."""
        codes, t = self.portfolio.universe.codes, bars.index
        for item, position in zip(news, positions, strict=True):
            if isinstance(item, FillBatch):
                self.fills.add_batch(item, position, t)  # type: ignore[arg-type]  # a column
            elif isinstance(item, FillEvent):
                self.fills.add(item, codes[item.asset_id], t, position)  # type: ignore[arg-type]
            elif isinstance(item, CashEvent):
                now = bars.chunk.microseconds[t]
                self.cashflows.append((now, item.asset_id, item.kind, item.amount))
            else:
                self._add_adjustment(item, bars)
        self._cash.append((t, self.portfolio.cash))

    def _add_adjustment(self, item: AdjustmentEvent, bars: Bars) -> None:
        fills = len(self.fills)
        self.adjustments.append(
            (
                bars.chunk.microseconds[bars.index],
                self._fill_count + fills,
                item.asset_id,
                item.kind,
                item.ratio,
                item.new_asset_id,
                item.before,
                item.quantity,
            )
        )
        if item.before:
            codes = self.portfolio.universe.codes
            code, new = codes[item.asset_id], codes[item.new_asset_id]
            change = (bars.index, item.ratio, item.quantity, fills)
            self._adjusted.append(Adjusted(code, new, *change))

    # -- at the end of a chunk ----------------------------------------------------------------

    def flush(self, steps: int | None = None) -> None:
        """Work out the chunk that is open, whole or its first `steps` timestamps."""
        chunk = self._chunk
        if chunk is None:
            return
        steps = len(chunk) if steps is None else steps
        fills = self.fills.take()
        count = len(fills[0])
        if count:  # kept by the run's times
            self.fill_blocks.append((*fills[:2], fills[2] + self.steps, *fills[3:]))
        self._record_decisions(chunk, steps)
        if steps:
            self._record_equity(chunk, steps, fills)
            self._record_excursions(chunk, steps, fills)
        self.times.append(chunk.times[:steps])
        self.sessions.append(chunk.sessions[:steps])
        self._fill_count += count
        self.steps += steps
        self._chunk = None
        self._bundle()

    def _bundle(self) -> None:
        """Make one part of many small ones: live, every timestamp is a chunk of its own."""
        since = self._bundled
        if len(self.times) - since[0] < _BUNDLE:
            return
        if sum(map(len, self.times[since[0] :])) < _SMALL_STEPS:
            for parts, first in zip((self.times, self.sessions), since[:2], strict=True):
                parts[first:] = [np.concatenate(parts[first:])]
            for blocks, first in zip(self._blocks(), since[2:], strict=True):
                if len(blocks) > first:
                    columns = zip(*blocks[first:], strict=True)
                    blocks[first:] = [tuple(np.concatenate(column) for column in columns)]
        self._bundled = [len(self.times), len(self.sessions), *map(len, self._blocks())]

    def _blocks(self) -> tuple[list[tuple[np.ndarray, ...]], ...]:
        return self.equity_columns, self.excursions, self.fill_blocks

    def _record_equity(self, chunk: Chunk, steps: int, fills: tuple[np.ndarray, ...]) -> None:
        cash = self._cash_by_time(steps)
        is_held = self._quantity != 0.0
        changes = self._changes(fills)
        is_held[changes[0]] = True
        held = np.flatnonzero(is_held)
        if len(held) == 0:
            zeros = np.zeros(steps)
            self.equity_columns.append((cash, cash, zeros, zeros))
            return
        value = np.empty(steps)
        gross = np.empty(steps)
        last, quantity = self._last[held], self._quantity[held]
        multiplier = self.portfolio.multiplier[held]
        code, times, after = changes
        columns = np.searchsorted(held, code)
        block = max(1, _BLOCK_CELLS // len(held))
        for start in range(0, steps, block):
            stop = min(start + block, steps)
            prices = HeldGrid(chunk, held, start, stop).closes(last)
            inside = slice(*np.searchsorted(times, (start, stop)).tolist())
            moved = times[inside] - start, columns[inside], after[inside]
            self._look_for_jumps(chunk, held, start, (last, prices), (quantity, *moved))
            value[start:stop], gross[start:stop], quantity = worth(
                prices.ravel(), quantity, multiplier, *moved
            )
            last = prices[-1]
        self.equity_columns.append((cash + value, cash, gross, value))

    def _look_for_jumps(
        self,
        chunk: Chunk,
        held: np.ndarray,
        start: int,
        prices: tuple[np.ndarray, np.ndarray],
        positions: tuple[np.ndarray, ...],
    ) -> None:
        known = {
            (item.index, code) for item in self._adjusted for code in (item.code, item.new_code)
        }
        self.jumps.look(chunk, held, prices, positions, start, known)

    def _changes(self, fills: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Asset, time index and new position of every change in the chunk, in order of time.

        At one time adjustments come before fills.
        """
        code, t, position = fills[1], fills[2], fills[7]
        if not self._adjusted:
            return code, t, position
        rows = [
            row
            for item in self._adjusted
            for row in (
                (item.code, item.index, 0.0),
                (item.new_code, item.index, item.position),
            )
        ]
        codes, times, positions = zip(*rows, strict=True)
        code, t, position = (
            np.concatenate([np.array(codes), code]),
            np.concatenate([np.array(times), t]),
            np.concatenate([np.array(positions), position]),
        )
        order = np.argsort(t, kind="stable")
        return code[order], t[order], position[order]

    def _cash_by_time(self, steps: int) -> np.ndarray:
        times, money = zip(*self._cash, strict=True)
        ends = np.minimum((*times[1:], steps), steps)
        return np.repeat(np.array(money, dtype=np.float64), np.diff(ends, prepend=0))

    def _record_excursions(self, chunk: Chunk, steps: int, fills: tuple[np.ndarray, ...]) -> None:
        """The range of prices between one fill of an asset and its next."""
        found = self._stretches.pass_chunk(
            chunk, steps, fills, self._fill_count + 1, self._adjusted
        )
        if found is not None:
            self.excursions.append(found)

    def _record_decisions(self, chunk: Chunk, steps: int) -> None:
        """The signals that were known when each order of this chunk was decided."""
        blotter, first = self.blotter, self._order_count
        last = blotter.count
        self._order_count = last
        if first == last:
            return
        codes = np.array(blotter.codes[first:last], dtype=np.int64)
        t = np.array(blotter.steps[first:last], dtype=np.int64) - self.steps
        if chunk.context_at is not None:
            for i in np.unique(t[(t >= 0) & (t < steps)]).tolist():
                self.contexts.append((int(chunk.times[i]), chunk.context_at(i)))
        if not chunk.signals and chunk.meta is None:
            return
        rows = chunk.rows_at(t, codes)
        known = rows >= 0
        ids = np.arange(first + 1, last + 1)[known]
        rows = rows[known]
        columns = {name: column[rows] for name, column in chunk.signals.items()}
        if chunk.meta is not None and VERSION not in columns:
            versions = _versions(chunk.meta[rows])
            if any(version is not None for version in versions.tolist()):
                columns[VERSION] = versions
        self.signals.append((ids, columns))

    # -- at the end of the run ----------------------------------------------------------------

    def frames(self) -> dict[str, Callable[[], pl.DataFrame]]:
        """How to make the frames of `RunRecord` that come from the run itself.

        The functions hold columns only: what is done to portfolio or book later, such as an order
        canceled after the end, does not change what they make.
        """
        axis, portfolio, blotter = self.axis, self.portfolio, self.blotter
        times = np.concatenate([np.zeros(0, dtype=np.int64), *self.times])
        sessions = np.concatenate([np.zeros(0, dtype=np.int32), *self.sessions])
        ids, multiplier = portfolio.universe.ids, portfolio.multiplier
        fills = partial(fills_frame, self.fill_blocks, self.fills.reasons, ids, multiplier)
        money = {"asset_id": pl.String, "kind": pl.String, "amount": pl.Float64}
        return {
            "equity": partial(equity_frame, self.equity_columns, sessions, times, axis),
            "fills": partial(fills, times, axis),
            "orders": partial(orders_frame, OrderColumns(blotter), self.signals, times, axis),
            "excursions": partial(excursions_frame, self.excursions),
            "marks": partial(marks_frame, *marks_of(portfolio), times, axis),
            "cashflows": partial(notes_frame, axis, self.cashflows, **money),
            "adjustments": partial(adjustments_frame, axis, self.adjustments),
            "decisions": partial(decisions_frame, self.contexts, axis),
        }


def _versions(meta: np.ndarray) -> np.ndarray:
    """Which model made the predictions, by the `_meta` that came with them; None where unsaid."""
    found = np.full(len(meta), None, dtype=object)
    for i, item in enumerate(meta.tolist()):
        version = (item or {}).get(VERSION, (item or {}).get("version"))
        found[i] = None if version is None else str(version)
    return found
