"""Sections about the money: equity, returns by month and day, rolling figures, exposure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ml4t.backtest.results import plots
from ml4t.backtest.results.charts import money as charts
from ml4t.backtest.results.charts import series
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import missing, scrolling
from ml4t.backtest.results.summary import percent

if TYPE_CHECKING:
    from ml4t.backtest.results.report.draft import Draft

_STRONGEST = 0.1  # a month of ten percent has the full colour
_ENOUGH = 6


def equity(draft: Draft) -> Section:
    """Equity against the benchmark, and drawdown."""
    figure = plots.equity(draft.result, benchmark=draft.benchmark)
    return Section("equity", "Equity and drawdown", "Equity", draft.figure("equity", figure))


def returns(draft: Draft) -> Section:
    """A table by month and a calendar by session."""
    calendar = draft.figure("calendar", charts.calendar(draft.result.returns), is_wide=True)
    body = f"<h3>By month</h3>{_months(draft)}<h3>By session</h3>{calendar}"
    return Section("returns", "Returns", "Returns", body)


def _months(draft: Draft) -> str:
    months, years = series.months(draft.result.returns), series.years(draft.result.returns)
    known = {(year, month): value for year, month, value in months.iter_rows()}
    heads = "".join(f'<th scope="col" class="number">{m}</th>' for m in (*charts.MONTHS, "Year"))
    rows = []
    for year, whole in years.iter_rows():
        cells = "".join(_cell(known.get((year, month))) for month in range(1, 13))
        rows.append(f'<tr><th scope="row">{year}</th>{cells}{_cell(whole, is_year=True)}</tr>')
    return scrolling(
        "Returns by month",
        '<table class="months"><caption>Returns by month, in percent</caption>'
        f'<thead><tr><th scope="col">Year</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


def _cell(value: float | None, *, is_year: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return "<td></td>"
    kind = "gain" if value > 0.0 else "loss"
    strength = round(100 * min(1.0, abs(value) / _STRONGEST / (3 if is_year else 1)))
    return f'<td class="number {kind}" style="--strength:{strength}">{_tenths(value)}</td>'


def _tenths(value: float) -> str:
    """Percent with one digit; what was rounded to nothing has no sign."""
    return f"{round(100 * value, 1) + 0.0:.1f}"


def rolling(draft: Draft) -> Section:
    """Rolling Sharpe ratio and volatility."""
    title = "Rolling Sharpe and volatility"
    if len(draft.result.returns) < _ENOUGH:
        return Section(
            "rolling", title, "Rolling", missing("Not shown:", "the run has too few sessions.")
        )
    figure = plots.rolling(draft.result)
    return Section("rolling", title, "Rolling", draft.figure("rolling", figure))


def exposure(draft: Draft) -> Section:
    """Exposure, leverage, turnover, costs."""
    result = draft.result
    words = f"Turnover {result.turnover:,.2f} a year, one way; costs are "
    words += f"{percent(result.costs / result.initial_cash)} of initial cash."
    body = draft.figure("exposure", plots.exposure(result), words)
    return Section("exposure", "Exposure, turnover and costs", "Exposure", body)
