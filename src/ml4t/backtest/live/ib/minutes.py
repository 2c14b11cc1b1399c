"""Bars of five seconds, put together to minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.arrivals import LiveBar

_SECOND = 1_000_000
MINUTE = 60 * _SECOND
_PIECE = 5 * _SECOND
_WHOLE = MINUTE // _PIECE


class Minutes:
    """The minute of one asset that is under way.

    A minute is given out with its last piece. One that began before the first piece came is left
    out; one in which pieces are missing is not given out, but told, so that it can be fetched.

    Args:
        asset_id: Of what.
        give: Called with every whole minute.
        miss: Called with a reason when one is not whole.
        needs_volume: A minute in which nothing was traded is no bar.
    """

    def __init__(
        self,
        asset_id: str,
        give: Callable[[LiveBar], None],
        miss: Callable[[str], None],
        *,
        needs_volume: bool,
    ) -> None:
        self._asset_id = asset_id
        self._give, self._miss = give, miss
        self._needs_volume = needs_volume
        self._bar: LiveBar | None = None  # the minute under way
        self._next = 0  # which piece of it comes next; below zero when one is missing
        self._over = -1  # start of the last minute that has ended

    def add(self, piece: LiveBar) -> None:
        """A piece; those that come twice are counted once."""
        start = piece.start - piece.start % MINUTE
        place = (piece.start - start) // _PIECE
        if start <= self._over:
            return
        bar = self._bar
        if bar is None or start > bar.start:
            if bar is not None:
                self._end(is_whole=False)
            if place and self._over < 0:
                return  # the minute began before we came
            self._bar = msgspec.structs.replace(piece, asset_id=self._asset_id, start=start)
            self._next = 1 if place == 0 else -_WHOLE
        elif start == bar.start and place == self._next:
            self._bar = _joined(bar, piece)
            self._next += 1
        elif place > self._next:
            self._next = -_WHOLE  # a piece is missing
        if place == _WHOLE - 1:
            self._end(is_whole=self._next == _WHOLE)

    def _end(self, *, is_whole: bool) -> None:
        """The minute under way is over."""
        bar, self._bar = self._bar, None
        assert bar is not None
        self._over = bar.start
        if not is_whole:
            self._miss(f"pieces of a minute of {self._asset_id} did not come")
        elif bar.volume > 0.0 or not self._needs_volume:
            self._give(bar)


def _joined(bar: LiveBar, piece: LiveBar) -> LiveBar:
    return msgspec.structs.replace(
        bar,
        high=max(bar.high, piece.high),
        low=min(bar.low, piece.low),
        close=piece.close,
        volume=bar.volume + piece.volume,
    )
