"""Bars from TWS or the Gateway on a loop of their own, with the state of the line known outside.

Imported when a feed connects: it needs ib_async.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import BacktestError, DataError
from ml4t.backtest.live.arrivals import Connected, LiveBar, Lost, Refused
from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.link import TwsLink
from ml4t.backtest.live.ib.minutes import MINUTE, Minutes
from ml4t.backtest.live.ib.vendor import BarData, RequestError
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml4t.backtest.live.ib.contracts import Contracts
    from ml4t.backtest.live.inbox import Inbox

_UTC = TimeAxis(zone="UTC")
_NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_REQUESTS, _WINDOW = 55, 600.0  # of history: the broker takes 60 in ten minutes
_LONGEST = dt.timedelta(days=1)  # of one request for minutes
_NO_DATA = "returned no data"


class IBConnection:
    """Bars of some assets, put on an inbox until it is closed.

    Args:
        symbols: The assets.
        contracts: What they are at the broker.
        inbox: Where bars and breaks go.
        is_live: Bars of five seconds; otherwise minutes that are kept up to date.
        what: "TRADES", "MIDPOINT", "BID" or "ASK".
        now: What time it is for the feed, microseconds since 1970.
        options: Of the link.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        contracts: Contracts,
        inbox: Inbox,
        *,
        is_live: bool,
        what: str,
        now: Callable[[], int],
        **options: Any,
    ) -> None:
        self.refused = ""
        self._now = now
        self._subscribed_at = 0
        self._symbols = list(symbols)
        self._contracts = contracts
        self._inbox = inbox
        self._is_live = is_live
        self._what = what
        self._broken: set[str] = set()
        self._running: list[Any] = []
        self._asked: deque[float] = deque()
        self._is_down = False  # what comes meanwhile is fetched with the rest of the break
        self._again: asyncio.Task[None] | None = None
        self._link = TwsLink(
            listener=None, on_error=self._heard, on_up=self._resubscribe, on_down=self._lose,
            **options,
        )  # fmt: skip

    def start(self) -> None:
        """Connect, and return when bars will come.

        Raises:
            BacktestError: It cannot be, and why.
        """
        self._link.start()
        self._link.call(self._subscribe, 2 * len(self._symbols) + 1)

    def drop(self) -> None:
        """Cut the connection; a new one is made."""
        self._link.drop()

    def close(self) -> None:
        """End the connection and its thread."""
        self._link.close()

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """Minutes of a past span.

        Raises:
            DataError: The broker refused.
            ConnectionLost: It did not answer.
        """
        spans = max(1, -((start - end) // _LONGEST))
        count = spans * len(self._symbols)
        return self._link.call(lambda: self._history(start, end), 4 * count)

    # -- on the loop --------------------------------------------------------------------------

    async def _contract(self, symbol: str) -> Any:
        ib = self._link.ib

        async def ask(wanted: Any) -> list[Any]:
            try:
                found: list[Any] = await self._link.answer(ib.reqContractDetailsAsync(wanted))
            except RequestError:
                return []
            return found

        return await self._contracts.find(symbol, ask)

    async def _subscribe(self) -> None:
        """Ask for the bars of all assets anew."""
        ib = self._link.ib
        ib.RaiseRequestErrors = True
        for old in self._running:
            cancel = ib.cancelRealTimeBars if self._is_live else ib.cancelHistoricalData
            cancel(old)
        self._running.clear()
        self._is_down = False
        for symbol in self._symbols:
            contract = await self._contract(symbol)
            if self._is_live:
                bars: Any = ib.reqRealTimeBars(contract, 5, self._what, useRTH=False)
                bars.updateEvent += self._taker(symbol)
            else:
                await self._have_slot()
                asked = ib.reqHistoricalDataAsync(
                    contract, "", "1800 S", "1 min", self._what, useRTH=False, formatDate=2,
                    keepUpToDate=True,
                )  # fmt: skip
                bars = await self._link.answer(asked)
                if not bars:  # the client takes no news of an empty list
                    bars.append(BarData(date=_NEVER))
                bars.updateEvent += self._follower(symbol, bars[-1])
            self._running.append(bars)
        await self._link.now()  # what it does not like it has said by now
        if self.refused:
            raise DataError(self.refused)
        self._subscribed_at = self._now()
        self._inbox.put("feed", Connected())

    def _taker(self, symbol: str) -> Any:
        minutes = Minutes(
            symbol,
            lambda bar: self._inbox.put("feed", bar),
            self._miss,
            needs_volume=self._what == "TRADES",
        )

        def take(bars: Any, _is_new: bool) -> None:  # noqa: FBT001  the vendor's way
            piece = bars[-1]
            del bars[:-1]  # the client keeps them for ever
            if not self._is_down:
                minutes.add(_bar(symbol, piece.time, piece.open_, piece))

        return take

    def _follower(self, symbol: str, last: Any) -> Any:
        """Gives minutes that have ended; the last of before, when it had, is that of a gap."""

        def take(bars: Any, is_new: bool) -> None:  # noqa: FBT001
            if not is_new or self._is_down:
                return
            done = bars[-2]  # complete, as the next one has begun
            end = _UTC.to_microseconds(done.date) + MINUTE
            if done is not last or end > self._subscribed_at:
                self._inbox.put("feed", _bar(symbol, done.date, done.open, done))

        return take

    def _miss(self, reason: str) -> None:
        """What did not come can be fetched."""
        self._inbox.put("feed", Lost(reason))
        self._inbox.put("feed", Connected())

    def _lose(self, reason: str) -> None:
        """The connection is gone, and what was asked for with it."""
        self._running.clear()
        self._broken.clear()
        self._break(reason)

    def _break(self, reason: str) -> None:
        self._is_down = True
        self._inbox.put("feed", Lost(reason))

    def _resubscribe(self) -> None:
        self._again = asyncio.get_running_loop().create_task(self._try_again())

    async def _try_again(self) -> None:
        try:
            await self._subscribe()
        except (BacktestError, ConnectionError) as error:
            self._inbox.put("feed", Refused(str(error)) if self.refused else Lost(str(error)))
            if not self.refused:
                self._link.drop()

    def _heard(self, request: int, code: int, text: str) -> None:
        """An error or a notice."""
        farm = text.rpartition(":")[2]
        if code == mapping.LINK_LOST:
            self._break(f"{code}: {text}")
        elif code in (mapping.LINK_KEPT, mapping.LINK_NEW):
            self._resubscribe()
        elif code == mapping.MARKET_FARM_BROKEN:
            self._broken.add(farm)
            self._break(f"{code}: {text}")
        elif code == mapping.MARKET_FARM_WELL and farm in self._broken:
            self._broken.discard(farm)
            self._resubscribe()
        elif code in mapping.NO_PERMISSION and request != -1:
            self.refused = (
                f"Interactive Brokers gives no bars: {code} {text} Check the market data "
                "subscriptions of the account."
            )
            self._inbox.put("feed", Refused(self.refused))
        elif code in mapping.DELAYED:
            self._inbox.put("session", f"delayed data: {code} {text}")

    # -- history ------------------------------------------------------------------------------

    async def _history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        found: list[LiveBar] = []
        for symbol in self._symbols:
            contract = await self._contract(symbol)
            last = end
            while last > start:
                first = max(start, last - _LONGEST)
                found += await self._ask(symbol, contract, first, last)
                last = first
        first_start, last_start = _UTC.to_microseconds(start), _UTC.to_microseconds(end) - MINUTE
        return [bar for bar in found if first_start <= bar.start <= last_start]

    async def _ask(
        self, symbol: str, contract: Any, first: dt.datetime, last: dt.datetime
    ) -> list[LiveBar]:
        await self._have_slot()
        until = last.astimezone(dt.UTC)
        seconds = max(60, int((last - first).total_seconds()))
        asked = self._link.ib.reqHistoricalDataAsync(
            contract, f"{until:%Y%m%d-%H:%M:%S}", f"{seconds} S", "1 min", self._what,
            useRTH=False, formatDate=2,
        )  # fmt: skip
        try:
            bars = await self._link.answer(asked)
        except RequestError as error:
            if _NO_DATA in error.message:
                return []
            raise DataError(
                f"Interactive Brokers refused history of {symbol!r}: {error.code} {error.message}"
            ) from None
        return [_bar(symbol, bar.date, bar.open, bar) for bar in bars]

    async def _have_slot(self) -> None:
        """Wait until the broker takes another request for history."""
        now = time.monotonic()
        while self._asked and now - self._asked[0] >= _WINDOW:
            self._asked.popleft()
        if len(self._asked) >= _REQUESTS:
            await asyncio.sleep(self._asked[0] + _WINDOW - now)
        self._asked.append(time.monotonic())


def _bar(symbol: str, at: dt.datetime, opened: float, found: Any) -> LiveBar:
    return LiveBar(
        asset_id=symbol,
        start=_UTC.to_microseconds(at),
        open=float(opened),
        high=float(found.high),
        low=float(found.low),
        close=float(found.close),
        volume=max(0.0, float(found.volume)),
    )
