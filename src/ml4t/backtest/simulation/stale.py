"""Held assets that no longer get bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Bars, Chunk


class StaleWatch:
    """Counts, session by session, how long each held asset has been without a bar.

    Args:
        portfolio: Whose positions are watched.
        after: Sessions without a bar after which a holding is stale.
    """

    def __init__(self, portfolio: Portfolio, after: int) -> None:
        self.portfolio = portfolio
        self.after = after
        self.rows: list[tuple[int, str, float]] = []
        self._session = -1
        self._ordinal = 0
        self._seen = np.zeros(len(portfolio.universe), dtype=np.int64)
        self._chunk: Chunk | None = None
        self._row = 0
        self._at = 0  # the timestamp of the chunk up to which sessions are counted
        # Of sessions whose bars nobody has looked at yet: its number, and the row after its last.
        self._unseen: list[tuple[int, int]] = []
        self._next = 0  # nothing can be stale before the session of this number
        self._dense: Chunk | None = None

    def pass_dense(self, chunk: Chunk) -> None:
        """Every asset has all its bars here: nothing to count until something is missing."""
        self._dense = chunk

    def is_due(self, bars: Bars) -> bool:
        """Whether `newly_stale` has anything to look at: something held, and a new session.

        Asked at the beginning of every chunk, also while nothing is held.
        """
        if bars.chunk is not self._chunk:
            self._enter(bars)
        return self.portfolio.may_hold and bars.chunk.sessions.item(bars.index) != self._session

    def newly_stale(self, bars: Bars) -> list[str]:
        """Held assets that are stale at `bars`, noted with their share of equity.

        An asset is noted once for every session it is stale in.
        """
        self._enter(bars)
        if not self._count(bars.index + 1) or self._ordinal < self._next:
            return []
        self._see()
        wait = self.after + (0 if bars.chunk.axis.is_session else 1)
        is_held = self.portfolio.quantity[: len(self._seen)] != 0.0
        is_stale = is_held & (self._seen <= self._ordinal - wait)
        if not is_stale.any():
            seen = self._seen[is_held].min(initial=self._ordinal)
            self._next = min(int(seen), self._ordinal - 1) + wait
            return []
        ids = self.portfolio.universe.ids
        stale = sorted(ids[code] for code in is_stale.nonzero()[0].tolist())
        self._note(bars, stale)
        return stale

    def look_again(self) -> None:
        """Something is held now that was not traded into."""
        self._next = 0

    def _enter(self, bars: Bars) -> None:
        """Finish what came before the chunk of `bars`."""
        if len(self._seen) < len(self.portfolio.universe):
            grown = np.full(len(self.portfolio.universe), self._ordinal, dtype=np.int64)
            grown[: len(self._seen)] = self._seen
            self._seen = grown
        dense, self._dense = self._dense, None
        if self._chunk is not None and (dense is not None or self._chunk is not bars.chunk):
            self._count(len(self._chunk))
            self._unseen.append((self._ordinal, len(self._chunk.codes)))
            self._see()
            self._chunk = None
        if dense is not None:
            session = int(dense.sessions[-1])
            if session != self._session:
                self._session = session
                self._ordinal += 1
            self._seen[: dense.width] = self._ordinal
        if self._chunk is None:
            self._chunk, self._row, self._at = bars.chunk, bars.start, bars.index

    def _count(self, stop: int) -> bool:
        """Number the sessions that have begun in the chunk before a timestamp, if any."""
        chunk, first = self._chunk, self._at
        assert chunk is not None
        self._at = stop
        if chunk.sessions.item(stop - 1) == self._session:  # most timestamps begin none
            return False
        sessions = chunk.sessions[first:stop]
        begins = np.flatnonzero(np.diff(sessions, prepend=self._session))
        labelled, rows = chunk.axis.is_session, chunk.rows
        for at in (first + begins).tolist():
            if not labelled:
                self._unseen.append((self._ordinal, rows[at]))
            self._ordinal += 1
            if labelled:
                self._unseen.append((self._ordinal, rows[at + 1]))
        self._session = sessions.item(-1)
        return True

    def _see(self) -> None:
        """Note, of every asset that had a bar, the last session of them."""
        assert self._chunk is not None
        sessions, stops = zip(*self._unseen, strict=True)
        counts = np.diff(stops, prepend=self._row)
        self._seen[self._chunk.codes[self._row : stops[-1]]] = np.repeat(sessions, counts)
        self._row, self._unseen = stops[-1], []

    def _note(self, bars: Bars, stale: list[str]) -> None:
        portfolio = self.portfolio
        equity = portfolio.equity
        values = portfolio.values()
        now = int(bars.chunk.times[bars.index])
        for asset_id in stale:
            value = abs(float(values[portfolio.universe.codes[asset_id]]))
            self.rows.append((now, asset_id, value / equity if equity else float("nan")))
