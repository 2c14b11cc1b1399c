"""The section about the model: what its signals said, what followed, and what trades made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.errors import BacktestError, DataError
from ml4t.backtest.results import plots, skill
from ml4t.backtest.results.charts import signals as charts
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import Column, missing, number, paragraph, table, text
from ml4t.backtest.results.summary import percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.results.report.draft import Draft

_MOST = 4
_HORIZONS = (1, 2, 5, 10, 20)
_VERSIONS = ("model_version",)  # has a table of its own
_CONFIDENT = ("conf", "prob")  # names of signals that claim to be probabilities


def signals(draft: Draft) -> Section:
    """Every signal: its trades by bucket, and the returns that followed it on all bars."""
    names = [name for name in plots.signal_names(draft.result) if name not in _VERSIONS]
    title = "What the signals were worth"
    if not names:
        why = missing("Not shown:", "the run had no signals.")
        return Section("signals", title, "Signals", why)
    words = [
        "Trades are few and chosen; what followed the signal on all bars says more about the model."
    ]
    if len(names) > _MOST:
        words.append(f"The first {_MOST} of {len(names)} signals.")
    parts = [paragraph(" ".join(words))]
    market = _market(draft, names[:_MOST])
    if isinstance(market, DataError):
        parts.append(missing("What followed the signals is not shown:", market))
    for i, name in enumerate(names[:_MOST]):
        charts_of = [_by_trades(draft, i, name)]
        if isinstance(market, pl.DataFrame):
            charts_of += _by_bars(draft, i, name, market)
        shape = "trio" if len(charts_of) == 3 else "pair"  # noqa: PLR2004  no gaps in the last line
        parts.append(f'<h3>{text(name)}</h3><div class="{shape}">{"".join(charts_of)}</div>')
    parts.append(_versions(draft))
    return Section("signals", title, "Signals", "".join(parts))


def _market(draft: Draft, names: list[str]) -> pl.DataFrame | DataError:
    """Prices and signals, read once for all figures; or why there are none."""
    try:
        bars = draft.result.market(columns=["open", "close", *names])
        return skill.restated(bars, draft.result.record.source.get("splits"))
    except DataError as error:
        return error


def _by_trades(draft: Draft, i: int, name: str) -> str:
    if draft.result.trades.is_empty():
        return missing("By trades:", "there were none.")
    figure = charts.by_signal(draft.result.by_signal(name), name=name)
    return draft.figure(f"signal-{i}", figure)


def _by_bars(draft: Draft, i: int, name: str, market: pl.DataFrame) -> list[str]:
    """What followed the signal; with one price a bar from the close after the next one on."""
    bars = market.select("timestamp", "asset_id", "open", "close", name)
    horizon = 2 if bool((bars["open"] == bars["close"]).all()) else 1
    makers: dict[str, Callable[[], Any]] = {
        "buckets": lambda: charts.buckets(
            skill.signal_buckets(bars, name, 5, horizon), name=name, horizon=horizon
        ),
        "ic": lambda: charts.coefficients(
            skill.information_coefficient(bars, name, _HORIZONS), name=name
        ),
    }
    if any(part in name.lower() for part in _CONFIDENT):
        makers["calibration"] = lambda: charts.calibration(
            skill.calibration(bars, name, 10, horizon, None), name=name, horizon=horizon
        )
    parts = []
    for kind, make in makers.items():
        try:
            parts.append(draft.figure(f"signal-{i}-{kind}", make()))
        except BacktestError as error:  # a signal of words, or too few bars
            parts.append(missing("Not shown:", error))
    return list(dict.fromkeys(parts))


def _versions(draft: Draft) -> str:
    heading = "<h3>By model version</h3>"
    try:
        frame = draft.result.by_version()
    except DataError as error:
        return heading + missing("Not shown:", error)
    names = ("Trades", "Open", "P&L", "Share", "Hit rate", "Average P&L", "Bars held")
    columns = [Column("Version", is_number=False), *map(Column, names)]
    rows = [
        [
            "none" if row["version"] is None else str(row["version"]),
            number(row["trades"], ",.0f"),
            number(row["open_trades"], ",.0f"),
            number(row["pnl"]),
            "" if row["share"] is None else percent(row["share"]),
            "" if row["hit_rate"] is None else percent(row["hit_rate"]),
            number(row["average_pnl"]),
            number(row["average_bars_held"]),
        ]
        for row in frame.iter_rows(named=True)
    ]
    return heading + table("By model version", columns, rows)
