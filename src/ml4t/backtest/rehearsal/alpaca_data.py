"""Alpaca's market data calls: the bars that are known, and the latest of them.

Nothing is told of bars that the venue has not played. Recorded bars have no quotes and no single
prints: where the dialect wants them, bid, ask and print are the last close.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.rehearsal.alpaca import read_moment
from ml4t.backtest.rehearsal.alpaca_words import time
from ml4t.backtest.rehearsal.tape import microseconds, moment
from ml4t.backtest.rehearsal.tickets import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.routing import Route

    from ml4t.backtest.rehearsal.replies import Answer, Ask, Counter
    from ml4t.backtest.rehearsal.venue import Venue

_TIMEFRAME = re.compile(r"(\d+)(Min|T|Hour|H|Day|D|Week|W|Month|M)")
_UNITS = {"Min": "m", "T": "m", "Hour": "h", "H": "h", "Day": "d", "D": "d"}
_UNITS |= {"Week": "w", "W": "w", "Month": "mo", "M": "mo"}
_LENGTHS = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_USUAL, _MOST = 1_000, 10_000
_PRICES = ("open", "high", "low", "close")

Row = dict[str, Any]


class DataApi:
    """The calls about market data, for shares and for crypto.

    Args:
        venue: With the bars.
        counter: Takes the calls in.
    """

    def __init__(self, venue: Venue, counter: Counter) -> None:
        self.venue = venue
        self.counter = counter

    def routes(self) -> list[Route]:
        """Every call, by its address."""
        calls: list[tuple[str, str, Callable[[Ask], Answer]]] = []
        for kind, one in (("bars", bar_row), ("quotes", quote_row), ("trades", print_row)):
            latest = self._latest(kind, one)
            calls += [
                (f"/v2/stocks/{kind}/latest", "latest", latest),
                (f"/v1beta3/crypto/{{place}}/latest/{kind}", "latest", latest),
            ]
        calls += [
            ("/v2/stocks/bars", "bars", self.bars),
            ("/v1beta3/crypto/{place}/bars", "bars", self.bars),
            ("/v2/stocks/snapshots", "snapshots", self.stock_snapshots),
            ("/v1beta3/crypto/{place}/snapshots", "snapshots", self.crypto_snapshots),
        ]
        return [self.counter.route(*call) for call in calls]

    def bars(self, ask: Ask) -> Answer:
        """Bars of the past, a page at a time, by symbol and then by time."""
        every, length = read_timeframe(ask.text("timeframe", "1Day"))
        first, last = (read_moment(ask.text(name), name) for name in ("start", "end"))
        frame = self._known(_symbols(ask))
        if first is not None:
            frame = frame.filter(pl.col("begins") >= microseconds(first))
        if last is not None:
            frame = frame.filter(pl.col("begins") <= microseconds(last))
        if length != self.venue.tape.duration:
            frame = self._gathered(frame, every, length)
        descending = ask.text("sort", "asc") == "desc"
        frame = frame.sort("symbol", "begins", descending=[False, descending])
        limit, offset = ask.whole("limit", _USUAL, _MOST), ask.text("page_token", "0")
        if not offset.isdecimal():
            raise RefusedError("unprocessable", f"invalid page_token {offset!r}")
        page = frame.slice(int(offset), limit)
        end = int(offset) + page.height
        found: dict[str, list[Row]] = {}
        for row in page.iter_rows(named=True):
            found.setdefault(row["symbol"], []).append(_sent(bar_row(row)))
        return 200, {"bars": found, "next_page_token": str(end) if end < frame.height else None}

    def stock_snapshots(self, ask: Ask) -> Answer:
        """The latest of everything."""
        return 200, self._snapshots(_symbols(ask))

    def crypto_snapshots(self, ask: Ask) -> Answer:
        """The latest of everything."""
        return 200, {"snapshots": self._snapshots(_symbols(ask))}

    def _latest(self, kind: str, one: Callable[[Row], Row]) -> Callable[[Ask], Answer]:
        def answer(ask: Ask) -> Answer:
            rows = self._last(_symbols(ask)).iter_rows(named=True)
            return 200, {kind: {row["symbol"]: _sent(one(row)) for row in rows}}

        return answer

    def _snapshots(self, symbols: list[str]) -> dict[str, Row]:
        every, length = read_timeframe("1Day")
        known = self._known(symbols)
        days = known if self.venue.tape.duration == length else self._gathered(known, every, length)
        found: dict[str, Row] = {}
        for row in self._last(symbols).iter_rows(named=True):
            latest = days.filter(pl.col("symbol") == row["symbol"]).sort("begins").tail(2)
            bars = [_sent(bar_row(day)) for day in latest.iter_rows(named=True)]
            found[row["symbol"]] = {
                "latestTrade": _sent(print_row(row)),
                "latestQuote": _sent(quote_row(row)),
                "minuteBar": _sent(bar_row(row)),
                "dailyBar": bars[-1],
                "prevDailyBar": bars[0] if len(bars) > 1 else None,
            }
        return found

    def _known(self, symbols: list[str]) -> pl.DataFrame:
        return self.venue.tape.frame.filter(
            pl.col("step") <= self.venue.step_number, pl.col("symbol").is_in(symbols)
        )

    def _last(self, symbols: list[str]) -> pl.DataFrame:
        return self._known(symbols).group_by("symbol").last().sort("symbol")

    def _gathered(self, frame: pl.DataFrame, every: str, length: int) -> pl.DataFrame:
        """Longer bars out of the recorded ones; nothing where these are the longer ones."""
        if length < self.venue.tape.duration:
            return frame.clear()
        zone = self.venue.opening.zone
        begins = pl.col("begins").cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
        longer = (
            frame.with_columns(begins)
            .sort("symbol", "begins")
            .group_by_dynamic("begins", every=every, group_by="symbol")
            .agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
            )
        )
        return longer.with_columns(pl.col("begins").dt.convert_time_zone("UTC").cast(pl.Int64))


def read_timeframe(text: str) -> tuple[str, int]:
    """A timeframe as Polars has it, and its length in microseconds (a day from weeks on).

    Raises:
        RefusedError: It is none.
    """
    match = _TIMEFRAME.fullmatch(text)
    if match is None:
        raise RefusedError("unprocessable", f"invalid timeframe {text!r}")
    count, unit = int(match[1]), _UNITS[match[2]]
    return f"{count}{unit}", count * _LENGTHS[unit] if unit in _LENGTHS else _LENGTHS["d"] * 7


def bar_row(row: Row) -> Row:
    """A bar in the dialect's letters; count of prints and average price are made up."""
    low, high, close = row["low"], row["high"], row["close"]
    return {
        "t": moment(row["begins"]),
        "o": row["open"],
        "h": high,
        "l": low,
        "c": close,
        "v": row["volume"],
        "n": 1,
        "vw": (high + low + close) / 3.0,
    }


def quote_row(row: Row) -> Row:
    """A quote: the last close on both sides."""
    price, size = row["close"], row["volume"]
    stamp = {"t": moment(row["begins"]), "c": [], "z": "C"}
    return stamp | {"bx": "V", "bp": price, "bs": size, "ax": "V", "ap": price, "as": size}


def print_row(row: Row) -> Row:
    """A print: the last close."""
    size = {"i": int(row["step"]) + 1, "x": "V", "p": row["close"], "s": row["volume"]}
    return {"t": moment(row["begins"]), **size, "c": [], "z": "C"}


def rows_of(venue: Venue) -> Iterator[Row]:
    """The bars that the venue has played last, as the functions above take them."""
    bars = venue.market.bars
    assert bars is not None
    step = venue.step_number
    begins = venue.tape.begins_of(step)
    for place, symbol in enumerate(bars.asset_ids):
        prices = {name: float(getattr(bars, name)[place]) for name in _PRICES}
        volume = float(bars.volume[place])
        volume = 0.0 if volume != volume else volume  # noqa: PLR0124  NaN
        yield {"symbol": symbol, "step": step, "begins": begins, "volume": volume, **prices}


def _sent(row: Row) -> Row:
    """With its time as text, as JSON has it."""
    return row | {"t": time(row["t"])}


def _symbols(ask: Ask) -> list[str]:
    found = [symbol for symbol in ask.text("symbols").split(",") if symbol]
    if not found:
        raise RefusedError("unprocessable", "symbols is required")
    return found
