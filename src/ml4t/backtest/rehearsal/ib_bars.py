"""Bars as a TWS gives them: history, bars of five seconds, and bars that are kept up to date."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import polars as pl
from msgspec import Struct

from ml4t.backtest.rehearsal import ib_orders
from ml4t.backtest.rehearsal.ib_words import NO_CONTRACT, Asking, Listing, stamp
from ml4t.backtest.rehearsal.tape import microseconds, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml4t.backtest.rehearsal.ib_line import TwsLine, TwsLines
    from ml4t.backtest.rehearsal.ib_news import TwsNews
    from ml4t.backtest.rehearsal.ib_orders import Fields
    from ml4t.backtest.rehearsal.venue import Venue
    from ml4t.backtest.types.bars import Bars

_SECOND = 1_000_000
_SIZES = {"sec": 1, "min": 60, "hour": 3_600, "day": 86_400, "week": 7 * 86_400}
_SPANS = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 31 * 86_400, "Y": 366 * 86_400}
_SIZE = re.compile(r"(\d+) (sec|min|hour|day|week)s?$")
_SPAN = re.compile(r"(\d+) ([SDWMY])$")
_NO_DATA = 162
_INVALID = 321
FIVE = 5 * _SECOND


class Watch(Struct, frozen=True):
    """What a client gets bars of, and how.

    Args:
        listing: Of what.
        is_live: Bars of five seconds; otherwise history that is kept up to date.
        size: Length of a bar in microseconds.
        as_text: Times in words instead of seconds since 1970.
    """

    listing: Listing
    is_live: bool
    size: int
    as_text: bool = False


class TwsBars:
    """Answers for bars.

    Args:
        venue: With the tape.
        lines: The clients.
        news: Knows whether bars come through.
        find: Gives a contract, or None with an error told.
    """

    def __init__(
        self,
        venue: Venue,
        lines: TwsLines,
        news: TwsNews,
        find: Callable[[Asking], list[Listing]],
    ) -> None:
        self.venue = venue
        self.lines = lines
        self.news = news
        self._find = find
        venue.on_bars.append(self._on_bars)

    def history(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Message 20: bars of the past, which may be kept up to date."""
        request, asking = int(fields[1]), Asking.of(fields[2:14])
        end, size_text, span_text = fields[15:18]
        date_format, follow = fields[20], fields[21] == "1"
        size, span = _SIZE.match(size_text), _SPAN.match(span_text)
        found = self._one(line, request, asking)
        if found is None:
            return
        if size is None or span is None:
            text = f"Error validating request: {size_text!r} or {span_text!r} is not known"
            line.say(ib_orders.error(request, _INVALID, text))
            return
        length = int(size[1]) * _SIZES[size[2]] * _SECOND
        last = self._end(end)
        first = last - int(span[1]) * _SPANS[span[2]] * _SECOND
        frame = self._frame(found.asset_id, length, first, last)
        as_text = date_format != "2"
        if frame.height == 0 and not follow:
            text = "Historical Market Data Service error message:HMDS query returned no data"
            line.say(ib_orders.error(request, _NO_DATA, text))
            return
        rows = [_row(row, length, as_text=as_text) for row in frame.iter_rows(named=True)]
        values = [value for row in rows for value in row]
        ends = (stamp(moment(first)), stamp(moment(last)))
        line.say([17, request, *ends, len(rows), *values])
        if follow:
            line.bars[request] = Watch(found, False, length, as_text)

    def live(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Message 50: bars of five seconds from now on."""
        request, asking = int(fields[2]), Asking.of(fields[3:15])
        found = self._one(line, request, asking)
        if found is not None:
            line.bars[request] = Watch(found, True, FIVE)

    def stop(self, line: TwsLine, fields: Sequence[str]) -> None:
        """Messages 25 and 51: no more of these."""
        line.bars.pop(int(fields[2]), None)

    def _one(self, line: TwsLine, request: int, asking: Asking) -> Listing | None:
        found = self._find(asking)
        if len(found) != 1:
            text = "No security definition has been found for the request"
            if found:
                text = "The contract description specified is ambiguous"
            line.say(ib_orders.error(request, NO_CONTRACT, text))
            return None
        return found[0]

    def _end(self, text: str) -> int:
        """Until when: now, or a time in UTC."""
        now = microseconds(self.venue.now)
        if not text:
            return now
        read = text.replace("-", " ").replace(" UTC", "")
        found = dt.datetime.strptime(read, "%Y%m%d %H:%M:%S").replace(tzinfo=dt.UTC)
        return min(now, microseconds(found))

    def _frame(self, asset_id: str, length: int, first: int, last: int) -> pl.DataFrame:
        """The bars of an asset that are known, put together to a length."""
        tape = self.venue.tape
        known = tape.frame.filter(
            (pl.col("symbol") == asset_id)
            & (pl.col("step") <= self.venue.step_number)
            & (pl.col("begins") >= first)
            & (pl.col("begins") + min(tape.duration, length) <= last)
        )
        if length <= tape.duration:
            return known
        return (
            known.sort("begins")
            .with_columns(begins=pl.col("begins") // length * length)
            .group_by("begins", maintain_order=True)
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
            )
        )

    # -- as they happen -------------------------------------------------------------------------

    def _on_bars(self, bars: Bars) -> None:
        if self.news.is_cut or not self.news.has_farm:
            return
        tape, step = self.venue.tape, self.venue.step_number
        begins = tape.begins_of(step)
        places = {name: place for place, name in enumerate(bars.asset_ids)}
        for line in self.lines:
            for request, watch in list(line.bars.items()):
                place = places.get(watch.listing.asset_id)
                if place is None:
                    continue
                told = self._told(bars, place, begins, request, watch)
                self._send(line, told, watch.listing.asset_id)

    def _send(self, line: TwsLine, told: list[Fields], symbol: str) -> None:
        faults = self.venue.faults
        if faults.take("drop-data", symbol=symbol):
            line.drop()
        elif faults.take("mute-data", symbol=symbol):
            line.is_mute = True
        elif not faults.take("lose-bar", symbol=symbol):
            line.say(*told)
            if faults.take("duplicate-bar", symbol=symbol):
                line.say(*told)

    def _told(
        self, bars: Bars, place: int, begins: int, request: int, watch: Watch
    ) -> list[Fields]:
        names = ("open", "high", "low", "close", "volume")
        one = {name: float(getattr(bars, name)[place]) for name in names}
        one["volume"] = 0.0 if one["volume"] != one["volume"] else one["volume"]
        if watch.is_live:
            count = max(1, self.venue.tape.duration // FIVE)
            return [[50, 3, request, *row] for row in _path(one, begins, count)]
        length = watch.size
        if length > self.venue.tape.duration:
            first = begins // length * length
            frame = self._frame(watch.listing.asset_id, length, first, first + length)
            one, begins = frame.row(0, named=True), first
        date, o, h, low, c, volume, average, number = _row(
            one | {"begins": begins}, length, as_text=watch.as_text
        )
        return [[90, request, number, date, o, c, h, low, average, volume]]


def _row(row: dict[str, Any], length: int, *, as_text: bool) -> list[Any]:
    """A bar: date, prices, volume, average price and number of trades, the last two made up."""
    begins = moment(row["begins"])
    seconds = row["begins"] // _SECOND
    date: Any = stamp(begins) if as_text else seconds
    if length >= _SIZES["day"] * _SECOND:
        date = f"{begins:%Y%m%d}"
    average = (row["high"] + row["low"] + row["close"]) / 3.0
    return [date, row["open"], row["high"], row["low"], row["close"], row["volume"], average, 1]


def _path(one: dict[str, float], begins: int, count: int) -> list[list[Any]]:
    """A bar in pieces of five seconds which add up to it: the way in between is made up."""
    rows = []
    for number in range(count):
        opened = one["open"] if number == 0 else one["close"]
        high = one["high"] if number == 0 else one["close"]
        low = one["low"] if number == 0 else one["close"]
        volume = one["volume"] if number == 0 else 0.0
        seconds = (begins + number * FIVE) // _SECOND
        rows.append([seconds, opened, high, low, one["close"], volume, one["close"], 1])
    return rows
