"""Asks a vendor for the bars of a break, on a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from ml4t.backtest.live.arrivals import History, NoHistory
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from ml4t.backtest.live.arrivals import LiveBar
    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.timing import TimeSource

_UTC = TimeAxis(zone="UTC")
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds between attempts


class Gap(NamedTuple):
    """A span of time whose bars were not received.

    Attributes:
        number: Tells gaps apart.
        start: Microseconds since 1970 UTC.
        end: The first moment after it.
    """

    number: int
    start: int
    end: int


class Backfill:
    """Fills one gap after the other; whoever asks goes on with other things.

    The answer comes through the inbox, as `History` or as `NoHistory`, and it always comes:
    after a number of attempts, and after `limit_seconds` even if the vendor hangs.

    Args:
        ask: Gives the vendor's bars of a span; may block, and may raise.
        inbox: Where the answer goes.
        time: The session's time.
        limit_seconds: Real seconds after which a gap stays open.
    """

    def __init__(
        self,
        ask: Callable[[dt.datetime, dt.datetime], list[LiveBar]],
        inbox: Inbox,
        time: TimeSource,
        limit_seconds: float,
    ) -> None:
        self._ask = ask
        self._inbox = inbox
        self._time = time
        self._limit_seconds = limit_seconds
        self._stopped = threading.Event()
        self._count = 0
        self._timer: threading.Timer | None = None

    def start(self, start: int, end: int, not_before: int) -> Gap:
        """Begin to fill a gap.

        Args:
            start: From when.
            end: Until when.
            not_before: When the vendor will have its last bar, by the session's time.
        """
        self._count += 1
        gap = Gap(self._count, start, end)
        self._timer = threading.Timer(self._limit_seconds, self._give_up, [gap])
        self._timer.daemon = True
        self._timer.start()
        work = threading.Thread(
            target=self._work, args=[gap, not_before], name=f"backfill-{gap.number}", daemon=True
        )
        work.start()
        return gap

    def finish(self) -> None:
        """The answer has been read."""
        if self._timer is not None:
            self._timer.cancel()

    def stop(self) -> None:
        """Forget what is under way."""
        self._stopped.set()
        self.finish()

    def _give_up(self, gap: Gap) -> None:
        why = f"no answer within {self._limit_seconds:g} s"
        self._inbox.put("feed", NoHistory(gap.number, why))

    def _work(self, gap: Gap, not_before: int) -> None:
        if self._stopped.wait(self._time.seconds_until(not_before)):
            return
        reason = ""
        for pause in (*_PAUSES, None):
            try:
                bars = self._ask(_UTC.to_datetime(gap.start), _UTC.to_datetime(gap.end))
            except Exception as error:  # noqa: BLE001  whatever a vendor's client raises
                reason = f"{type(error).__name__}: {error}"
            else:
                self._inbox.put("feed", History(gap.number, bars))
                return
            if pause is None or self._stopped.wait(pause):
                break
        self._inbox.put("feed", NoHistory(gap.number, reason))
