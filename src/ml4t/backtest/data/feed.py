"""DataFeed: the contract of everything that brings bars.

Users' own feeds write two methods. The clock does not call these one event at a time where it
need not: it opens a `Reader`, which brings whole timestamps as columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.types.bars import MarketEvent


class Request(msgspec.Struct, frozen=True):
    """What a run wants of a feed.

    Args:
        name: What error texts call the feed; None leaves it to the feed.
        asset_id: The asset all its bars must be of; None means any.
        signal_columns: Take these columns as signals, as far as the feed has them; None leaves
            it to the feed.
        context_pattern: Columns whose whole name matches are context.
    """

    name: str | None = None
    asset_id: str | None = None
    signal_columns: tuple[str, ...] | None = None
    context_pattern: str | None = None


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a feed before the run.

    Args:
        name: What error texts call it.
        axis: How its times are read.
        signals: Name of each signal, and whether it is a number; None when it shows as it goes.
        has_meta: There is a `_meta`; False when it shows as it goes.
        context: Names of its context columns.
        columns: Names of all its columns, for suggestions.
        first: Earliest time, microseconds.
        last: Latest time; None when it shows as the feed goes.
        step: Usual step between bars of an asset, microseconds; None when unknown. Of a feed that
            shows as it goes the first one, so that bars are no longer than that.
        is_staggered: Assets have their bars at different times.
        slow: The assets whose bars may be longer than the others', bool by code; None when there
            is none, or when it shows as the feed goes.
        steps: As `step`, of each asset, int64 by code; None when it is the same for all.
        is_dense: Every asset has a bar at every timestamp.
        duration: Declared length of a bar, microseconds.
        rows: Number of bars, when known.
        is_streaming: Only a part is in memory at a time.
        source: Where the bars come from, ready for JSON.
    """

    name: str
    axis: TimeAxis
    signals: dict[str, bool] | None
    has_meta: bool
    context: tuple[str, ...]
    columns: tuple[str, ...]
    first: int
    last: int | None
    step: int | None
    is_staggered: bool
    duration: int | None
    rows: int | None
    is_streaming: bool
    source: dict[str, Any]
    slow: np.ndarray | None = None
    steps: np.ndarray | None = None
    is_dense: bool = False


class Reader(Protocol):
    """One feed, opened for one run.

    Attributes:
        survey: What is known before the run.
        ids: Assets by the feed's own codes; sorted, and complete unless `is_growing`.
        is_growing: More assets may show; `ids` grows at its end.
        is_single_pass: `blocks` can be walked once only.
    """

    survey: Survey
    ids: list[str]
    is_growing: bool
    is_single_pass: bool

    def blocks(self, rows: int) -> Iterator[Block]:
        """Everything from the start, in blocks of about `rows` rows, times increasing."""
        ...


class DataFeed(ABC):
    """Brings bars, one event at a time, in order of time.

    A feed of your own needs two methods, and no call of `super().__init__()`. Events come in
    order of `timestamp`, those of one timestamp in any order of assets. The engine reads one event
    beyond the timestamp it works on, no more. Bars are checked as they come.

    Times are read as session labels when the first two timestamps are midnight; a feed knows
    better by setting `is_session`.

    Attributes:
        bar_duration: Length of a bar, as a timedelta or text ("1m"); needed when feeds of
            different frequency meet in one run.
        is_session: True for dates of sessions, False for moments, None to find out.

    Example:
        >>> from datetime import datetime
        >>> from ml4t.backtest.types.bars import MarketEvent
        >>> class Two(DataFeed):
        ...     def __init__(self):
        ...         days = [datetime(2020, 1, 2), datetime(2020, 1, 3)]
        ...         self.bars = [MarketEvent(day, "AAPL", 10, 11, 9, 10) for day in days]
        ...     def get_next_event(self):
        ...         return self.bars.pop(0) if self.bars else None
        ...     def is_exhausted(self):
        ...         return not self.bars
        >>> Two().get_next_event().close
        10
    """

    bar_duration: dt.timedelta | str | None = None
    is_session: bool | None = None

    @abstractmethod
    def get_next_event(self) -> MarketEvent | None:
        """The next bar, or None when there are no more."""

    @abstractmethod
    def is_exhausted(self) -> bool:
        """Whether `get_next_event` has nothing more to give."""

    def open_reader(self, request: Request) -> Reader:
        """Open the feed for a run; feeds that hold columns bring them whole.

        Raises:
            DataError: The feed has no bars, or its first ones are refused.
        """
        from ml4t.backtest.data.events import EventReader

        return EventReader(self, request)
