"""The lookout: tells once when bars come too old to trade on, or without predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.reader import LiveReader

if TYPE_CHECKING:
    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.session.session import Session

_SILENT = 3  # timestamps without any prediction
_LONGEST = 60


class Lookout:
    """Looks at what comes before the strategy does.

    A model that has died makes no noise: its values age, and the strategy does nothing. A feed
    that lags makes none either: every order is refused. Both are told when they begin, and
    written down when they end.

    Args:
        session: Whose bars.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._is_stale = False
        self._without = 0
        # A model that speaks every half hour is silent in between, which is told once.
        self._patience = _SILENT

    def see(self, block: Block, reader: Reader, stale: str) -> None:
        """Bars have come.

        Args:
            block: They.
            reader: What they come from.
            stale: Why they are too old to trade on; empty when they are not.
        """
        self._see_age(reader, stale)
        feed = self.session.feed
        if isinstance(feed, LiveDataFeed) and feed.signals is not None:
            self._see_predictions(block, feed)

    def _see_age(self, reader: Reader, stale: str) -> None:
        if stale and isinstance(reader, LiveReader) and not reader.is_idle:
            return  # the bars of a break are old, and newer ones are there
        if stale and not self._is_stale:
            self.session.watch.notice(f"no orders are taken until bars are fresh again: {stale}")
        elif self._is_stale and not stale:
            self.session.watch.note("bars are fresh again, and orders are taken")
        self._is_stale = bool(stale)

    def _see_predictions(self, block: Block, feed: LiveDataFeed) -> None:
        if any(_has_value(column) for column in block.signals.values()):
            if self._without >= self._patience:
                self.session.watch.note("predictions come again")
                self._patience = max(_SILENT, min(2 * self._without, _LONGEST))
            self._without = 0
            return
        self._without += 1
        if self._without == self._patience:
            assert feed.signals is not None
            ages = [age for name in feed.symbols if (age := feed.signals.age(name)) is not None]
            last = f"the last was put in {min(ages):.0f} seconds ago" if ages else "none was put in"
            self.session.watch.notice(
                f"no asset has had a current prediction for {self._without} bars; {last}"
            )


def _has_value(column: np.ndarray) -> bool:
    if column.dtype == object:
        return any(value is not None for value in column)
    return not bool(np.isnan(column).all())
