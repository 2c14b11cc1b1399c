"""The page of a comparison: assumptions first, then figures, curves and correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.results import summary
from ml4t.backtest.results.charts import money, style
from ml4t.backtest.results.report import opening, page
from ml4t.backtest.results.report.draft import Draft, Section
from ml4t.backtest.results.report.html import Column, number, paragraph, table, text

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable
    from pathlib import Path

    from ml4t.backtest.results.comparison import Comparison
    from ml4t.backtest.results.result import BacktestResult


def write(comparison: Comparison, path: str | os.PathLike[str], *, title: str | None) -> Path:
    """See `Comparison.report`."""
    target = page.checked(path)
    style.plotly()
    draft = Draft(next(iter(comparison.results.values())), None)
    sections = [
        _trust(comparison),
        _figures(comparison),
        _equity(comparison, draft),
        _correlation(comparison),
    ]
    name = title or " and ".join(comparison.results)
    lines = "".join(
        f'<p class="with">{text(name)}: {text(summary.span(result))}, '
        f"fingerprint {text(result.fingerprint[:16])}</p>"
        for name, result in comparison.results.items()
    )
    heading = f"<h1>{text(name)}</h1>{lines}"
    return page.put(target, page.document(name, heading, sections, draft.scripts))


def _names(comparison: Comparison, *, is_number: bool) -> list[Column]:
    return [Column(name, is_number=is_number) for name in comparison.results]


def _trust(comparison: Comparison) -> Section:
    """The rows of all runs; those that differ are what to look at."""
    results = list(comparison.results.values())
    grounds = [_ground(result) for result in results]
    known = [
        {label: [shown] for label, (_, shown) in ground.items()} | dict(opening.trust_rows(result))
        for ground, result in zip(grounds, results, strict=True)
    ]
    labels = list(dict.fromkeys(label for rows in known for label in rows))
    rows = [[label, *(" ".join(run.get(label, ["\u2013"])) for run in known)] for label in labels]
    columns = [Column("Assumption", is_number=False), *_names(comparison, is_number=False)]
    words = paragraph("Runs that assume different things do not compare; look here first.")
    odd = [label for label in grounds[0] if len({ground[label][0] for ground in grounds}) > 1]
    if odd:
        words += paragraph(f"Different here: {', '.join(odd)}.", "alarm")
    body = words + table("How far to trust them", columns, rows, "wrapped")
    return Section("trust", "How far to trust them", "Trust", body)


def _ground(result: BacktestResult) -> dict[str, tuple[Hashable, str]]:
    """What two runs must share before a difference of their figures means anything: also shown."""
    period, assets = summary.span(result), sorted(result.record.asset_ids)
    currency = str(result.settings.get("currency", "\u2013"))
    return {
        "period": (period, period),
        "assets": (tuple(assets), f"{len(assets):,}: {summary.some(assets)}"),
        "currency": (currency, currency),
        "money at the start": (result.initial_cash, summary.money(result.initial_cash)),
    }


def _figures(comparison: Comparison) -> Section:
    columns = [Column("Figure", is_number=False), *_names(comparison, is_number=True)]
    rows = [
        [label, *(shown(result.metrics[name]) for result in comparison.results.values())]
        for name, (label, shown) in opening.SHOWN.items()
    ]
    body = table("Key figures", columns, rows, "figures")
    return Section("figures", "Key figures", "Figures", body)


def _equity(comparison: Comparison, draft: Draft) -> Section:
    words = "Equity as a multiple of the money at the start."
    figure = draft.figure("equity", money.equity(comparison.growth()), words)
    return Section("equity", "Equity and drawdown", "Equity", figure)


def _correlation(comparison: Comparison) -> Section:
    columns = [Column("Returns of", is_number=False), *_names(comparison, is_number=True)]
    rows = [
        [str(name), *(number(cell) or "n/a" for cell in cells)]
        for name, *cells in comparison.correlation().rows()
    ]
    words = paragraph("On the sessions that two runs share; none where these are fewer than three.")
    body = words + table("Correlation of session returns", columns, rows)
    return Section("correlation", "Correlation of session returns", "Correlation", body)
