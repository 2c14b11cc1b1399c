"""What a run showed of one asset at the time that an explanation is about."""

from __future__ import annotations

import datetime as dt
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from ml4t.backtest.data.signals import Publication
from ml4t.backtest.results.explain_window import Shown
from ml4t.backtest.results.explain_words import price_text
from ml4t.backtest.results.market import PRICES
from ml4t.backtest.results.summary import age_text, count, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.results.explain_window import Window
    from ml4t.backtest.results.market import Market

_LOOK_BACK = dt.timedelta(days=31)


class Seen(msgspec.Struct, frozen=True):
    """What the market showed of one asset in a window.

    Args:
        loss: Why that cannot be read again; None when it can.
        is_known: The data have the asset.
        bars: The asset's bars with their signals.
        context: What was known at the last timestamp; None when that is gone, or was nothing.
        publications: What tables of signals had said by then, by signal.
        lost_signals: Why signals are gone though the bars are there, by signal.
        last_before: The last bar before the window, where that has none.
    """

    loss: str | None = None
    is_known: bool = True
    bars: pl.DataFrame = pl.DataFrame()
    context: dict[str, Any] | None = None
    publications: dict[str, Publication | None] = {}  # msgspec copies the empty default
    lost_signals: dict[str, str] = {}
    last_before: dict[str, Any] | None = None

    @property
    def has_signals(self) -> bool:
        """Whether it tells all signals of a single bar."""
        return len(self.bars) == 1 and not self.lost_signals

    def signals(self) -> dict[str, Any]:
        """The signals of a single bar, None where absent."""
        if len(self.bars) != 1:
            return {}
        return self.bars.drop("timestamp", "asset_id", *PRICES).row(0, named=True)


def look(market: Market, asset_id: str, window: Window) -> Seen:
    """Read the bars of a window again, as far as they are not gone."""
    if (loss := market.loss()) is not None:
        return Seen(loss)
    clock = market.clock()
    if asset_id not in clock.universe.codes:
        return Seen(is_known=False)
    bars, context = market.bars(asset_id, window.first, window.last)
    lost, last = market.lost_signals(), None
    if bars.is_empty():
        before, _ = market.bars(asset_id, window.first - _LOOK_BACK, window.last)
        last = None if before.is_empty() else before.row(-1, named=True)
    publications = {}
    if len(bars) == 1:
        time = clock.axis.to_microseconds(bars["timestamp"][0])
        publications = clock.publications(time, asset_id)
    return Seen(
        bars=bars,
        context=context,
        publications=publications,
        lost_signals=lost,
        last_before=last,
    )


def market_lines(seen: Seen, window: Window) -> Iterator[str]:
    """The bar and its signals, or the bars of a longer window."""
    if seen.loss is not None:
        return
    if not seen.is_known:
        yield "The data have no such asset."
    elif seen.bars.is_empty():
        last, days = seen.last_before, _LOOK_BACK.days
        since = (
            f", nor in the {days} days before"
            if last is None
            else f"; its last one, {window.show(last['timestamp'])}, closed at "
            f"{price_text(last['close'])}"
        )
        yield f"It had no bar {window.span}{since}."
    elif len(seen.bars) == 1:
        yield _bar(seen.bars.row(0, named=True))
        if seen.signals():
            yield f"Its signals: {'; '.join(_signals(seen, window))}."
    else:
        yield _bars(seen.bars, window)


def loss_lines(seen: Seen, *, has_signals: bool) -> Iterator[str]:
    """What of this is gone, and why."""
    if seen.loss is not None:
        kept = ", and a result keeps signals with orders only" if has_signals else ""
        yield f"The bars of the run are gone ({seen.loss}){kept}."
    elif seen.lost_signals:
        names, why = ", ".join(seen.lost_signals), next(iter(seen.lost_signals.values()))
        yield f"The values of {names} are gone ({why}): a result keeps signals with orders only."


def _bar(bar: dict[str, Any]) -> str:
    prices = {name: bar[name] for name in PRICES if name != "close"}
    if all(prices[name] == bar["close"] for name in ("open", "high", "low")):
        prices = {"volume": bar["volume"]}
    shown = ", ".join(f"{name} {price_text(v)}" for name, v in prices.items() if v is not None)
    return f"It closed at {price_text(bar['close'])}{f' ({shown})' if shown else ''}."


def _bars(bars: pl.DataFrame, window: Window) -> str:
    first, last = bars.row(0, named=True), bars.row(-1, named=True)
    return (
        f"It had {count(len(bars), 'bar')}: open {price_text(first['open'])}, "
        f"high {price_text(bars['high'].max())}, low {price_text(bars['low'].min())}, close "
        f"{price_text(last['close'])} at {window.show(last['timestamp'])}. Ask for a time to see "
        f"what was known with one of them."
    )


def _signals(seen: Seen, window: Window) -> Iterator[str]:
    """The signals with their values; those that stand together share a note on their age."""
    told = [
        (
            f"{name} {'absent' if value is None else value_text(value)}",
            _note(name, value, seen, window),
        )
        for name, value in seen.signals().items()
    ]
    for note, group in groupby(told, key=itemgetter(1)):
        yield ", ".join(value for value, _ in group) + (f" ({note})" if note else "")


def _note(name: str, value: Any, seen: Seen, window: Window) -> str:
    """When a signal was published, or how it is absent; nothing of columns of the prices."""
    if name not in seen.publications:
        return ""
    publication = seen.publications[name]
    if publication is None:
        return "nothing was published yet"
    when = f"published {_published(publication, window)}"
    if value is not None:
        return when
    if publication.is_current:
        return f"no value in what was {when}"
    last = publication.values[name]
    shown = "which had no value" if last is None else value_text(last)
    return f"expired: the last one, {shown}, was {when}"


def _published(publication: Publication, window: Window) -> str:
    axis = publication.axis
    shown = Shown(axis)(axis.to_datetime(publication.published))
    if publication.age == 0:
        return "with this bar" if axis.is_session or not window.show.axis.is_session else shown
    return f"{shown}, {age_text(dt.timedelta(microseconds=publication.age))} before"
