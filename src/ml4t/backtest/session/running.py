"""A run whose steps are written down, and made again after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import LiveError
from ml4t.backtest.kernels import take
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.run import Run
from ml4t.backtest.session.asking import NotedDesk, asked
from ml4t.backtest.session.deciding import BookDecisions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.engine import BacktestEngine
    from ml4t.backtest.session.session import Session
    from ml4t.backtest.types.bars import Bars, MarketEvent

_ASLEEP = (
    "load_state takes back the strategy's own attributes; orders and rules over positions are as "
    "they were already. Act in a hook"
)


class LiveRun(Run):
    """A run whose steps are written down.

    Args:
        engine: What it was told.
        session: Writes, and looks after the broker between the steps.
    """

    desk: NotedDesk
    desk_type = NotedDesk

    def __init__(self, engine: BacktestEngine, session: Session) -> None:
        self.session = session
        self._noted: bytes | None = None
        self._decided: list[Any] = []
        super().__init__(engine)

    def _step(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        self._noted, self._decided = None, []
        super()._step(bars, events)
        self.session.end_step(bars, self._noted, self._decided)

    def _end(self) -> None:
        if self.bars is None:
            raise LiveError("The session ended before any bars had come; there is no result.")
        super()._end()

    def counts(self) -> dict[str, int]:
        """As any run's, and those of the feed."""
        feed = self.session.feed
        extra = feed.counts() if isinstance(feed, LiveDataFeed) else {}
        return super().counts() | {name: count for name, count in extra.items() if count}

    def wake(self) -> None:
        """The strategy's own state is put back, once, before its hooks run again."""
        state = self.session.memory.take_state()
        if state is not None and self.session.memory.has_state:
            with self.desk.closed_for(_ASLEEP):
                self._call("load_state", self.strategy.load_state, state)

    def _run_hooks(self, bars: Bars, events: Iterator[MarketEvent] | None) -> None:
        before = self.session.memory.asked_before()
        book = BookDecisions(self.blotter) if self.session.broker is None else None
        if before is None:
            self.wake()
            with self.desk.noting() as notes:
                super()._run_hooks(bars, events)
            self._noted = asked(notes) if self.session.memory.has_state else None
        else:
            self._ask_again(bars, events, before)
        if self.hooks.on_order_event is None:
            self.blotter.take_changes()  # a live broker collects them for others
        if book is not None:
            self._decided = book.commands()

    def _ask_again(self, bars: Bars, events: Iterator[MarketEvent] | None, before: bytes) -> None:
        """What hooks asked for then is asked for again; the calendar goes on, too."""
        self._fills.clear()
        self.blotter.take_changes()
        if events is not None:
            list(take(events, bars.stop - bars.start))
        now, day = int(bars.chunk.times[bars.index]), int(bars.chunk.sessions[bars.index])
        for schedule, _ in self.schedules:
            schedule.is_due(now, day)
        self.desk.ask_again(before)
