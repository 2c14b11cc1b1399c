"""The top of the page: heading, how far to trust it, key figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.results import metrics, summary
from ml4t.backtest.results.report.draft import Section
from ml4t.backtest.results.report.html import Column, paragraph, table, text
from ml4t.backtest.results.summary import money, percent, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.results.report.draft import Draft
    from ml4t.backtest.results.result import BacktestResult

# What is loud in the summary, and what happened to orders against the strategy's will.
_LOUD = re.compile(r"\b[A-Z]{4,}\b")
_AGAINST = {"rejected", "clipped", "expired", "left open"}
_UNLESS_NONE = {"ambiguous bars", "stale holdings", "margin calls"}


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _signed(value: float) -> str:
    return percent(value, sign=True)


SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "total_return": ("Total return", _signed),
    "cagr": ("Growth a year (CAGR)", _signed),
    "volatility": ("Volatility a year", percent),
    "sharpe": ("Sharpe ratio", ratio),
    "sortino": ("Sortino ratio", ratio),
    "calmar": ("Calmar ratio", ratio),
    "max_drawdown": ("Deepest drawdown", percent),
    "drawdown_sessions": ("Longest drawdown, sessions", _whole),
    "best_session": ("Best session", _signed),
    "worst_session": ("Worst session", _signed),
    "positive_sessions": ("Positive sessions", percent),
    "value_at_risk": ("Value at risk, 5 %", percent),
    "conditional_value_at_risk": ("Conditional value at risk, 5 %", percent),
    "skewness": ("Skewness", ratio),
    "kurtosis": ("Excess kurtosis", ratio),
    "costs": ("Commission and slippage", money),
    "financing": ("Financing", money),
    "turnover": ("Turnover a year, one way", ratio),
    "exposure": ("Average gross exposure", percent),
    "time_in_market": ("Time in the market", percent),
    "trades": ("Closed trades", _whole),
    "hit_rate": ("Hit rate", percent),
    "profit_factor": ("Profit factor", ratio),
    "expectancy": ("Average P&L of a trade", money),
    "average_return": ("Average return of a trade", percent),
    "average_bars_held": ("Bars held on average", ratio),
}
_GROUPS = {
    "Return and risk": list(SHOWN)[: list(SHOWN).index("costs")],
    "Costs, activity, trades": list(SHOWN)[list(SHOWN).index("costs") :],
}
_TILES = ("total_return", "cagr", "sharpe", "max_drawdown", "volatility", "costs")


def heading(result: BacktestResult, title: str | None) -> str:
    """The heading of the page: strategy, period, data."""
    known = len(result.record.asset_ids) or result.orders["asset_id"].n_unique()
    size = [summary.count(len(result.returns), "session"), summary.count(known, "asset")]
    if len(result.record.equity) != len(result.returns):
        size.insert(1, summary.count(len(result.record.equity), "timestamp"))
    lines = [f'<p class="span">{text(summary.span(result))} · {text(", ".join(size))}</p>']
    if given := summary.parameters(result):
        lines.append(f'<p class="with">with {text(given)}</p>')
    if not result.complete:
        lines.append('<p class="alarm">INCOMPLETE: the run ended in an error; this is what had ')
        lines.append("happened until then.</p>")
    if result.record.counts.get("bankruptcies"):
        lines.append('<p class="alarm">BANKRUPT: nothing was left at the end of the run.</p>')
    lines.append(f'<p class="print">fingerprint {text(result.fingerprint[:16])}</p>')
    return f"<h1>{text(title or summary.strategy(result))}</h1>{''.join(lines)}"


def trust(draft: Draft) -> Section:
    """What limits trust, before any figure that pleases."""
    rows = "".join(
        f'<div class="row{" loud" if is_loud else ""}"><dt>{text(label)}</dt>'
        f"<dd>{'<br>'.join(map(text, lines))}</dd></div>"
        for label, lines, is_loud in _rows(draft.result)
    )
    words = "What was assumed, what was refused, and what nobody can know from these data."
    return Section("trust", "How far to trust it", "Trust", f"{paragraph(words)}<dl>{rows}</dl>")


def trust_rows(result: BacktestResult) -> Iterator[tuple[str, list[str]]]:
    """The rows of the summary, a label with all of its lines."""
    found: list[tuple[str, list[str]]] = []
    for label, value in summary.trust(result):
        if label.strip():
            found.append((label.strip(), [value]))
        else:
            found[-1][1].append(value)
    yield from found


def _rows(result: BacktestResult) -> Iterator[tuple[str, list[str], bool]]:
    """The same, and whether a reader must not miss it."""
    for label, lines in trust_rows(result):
        said = " ".join(lines)
        odd = label in _UNLESS_NONE and said != "none"
        odd = odd or (label == "trials" and result.tried is not None and result.tried[1] > 1)
        odd = odd or (label == "orders" and said.startswith("0 placed"))
        lacking = label == "signals taken" and ("missing" in said or "no bar" in said)
        yield label, lines, bool(_LOUD.search(said)) or label in _AGAINST or odd or lacking


def figures(draft: Draft) -> Section:
    """Key figures as tiles, and all of them with intervals and those of the benchmark."""
    result = draft.result
    known = result.metrics
    tiles = "".join(
        f"<div><dt>{text(SHOWN[name][0])}</dt><dd>{text(SHOWN[name][1](known[name]))}</dd></div>"
        for name in _TILES
    )
    against = _of_benchmark(draft)
    luck = _intervals(result)
    parts = []
    for caption, names in _GROUPS.items():
        columns = [Column(caption, is_number=False), Column("This run")]
        columns += [Column("95 % interval")] if luck.keys() & set(names) else []
        columns += [Column(_name(draft))] if against.keys() & set(names) else []
        rows = []
        for name in names:
            label, shown = SHOWN[name]
            cells = [label, shown(known[name])]
            if luck.keys() & set(names):
                low, high = luck.get(name, (np.nan, np.nan))
                cells.append("" if np.isnan(low) else f"{shown(low)} to {shown(high)}")
            if against.keys() & set(names):
                cells.append(shown(against[name]) if name in against else "")
            rows.append(cells)
        parts.append(table(caption, columns, rows, "figures"))
    words = _relative(draft)
    if luck:
        words += paragraph(
            "The intervals are drawn from the run's own sessions, in blocks (bootstrap): how far "
            "luck alone may have moved a figure. They do not know how many other strategies were "
            "tried.",
            "note",
        )
    body = f'<dl class="tiles">{tiles}</dl><div class="uneven">{"".join(parts)}</div>{words}'
    return Section("figures", "Key figures", "Figures", body)


def _name(draft: Draft) -> str:
    return "" if draft.benchmark is None else draft.benchmark.name


def _intervals(result: BacktestResult) -> dict[str, tuple[float, float]]:
    """Low and high of the figures that have an interval."""
    frame = result.intervals().select("metric", "low", "high")
    return {m: (low, high) for m, low, high in frame.iter_rows() if np.isfinite(low + high)}


def _of_benchmark(draft: Draft) -> dict[str, float]:
    """The figures of the benchmark's returns."""
    if draft.benchmark is None:
        return {}
    result, equity = draft.result, draft.benchmark.equity["equity"].to_numpy()
    returns = draft.benchmark.returns(result)["return"].to_numpy()
    deepest = metrics.max_drawdown(metrics.drawdowns(equity, result.initial_cash))
    return {
        "total_return": metrics.total_return(equity, result.initial_cash),
        "max_drawdown": deepest,
        **metrics.return_figures(returns, deepest, result.periods_per_year),
    }


def _relative(draft: Draft) -> str:
    """How returns move with those of the benchmark."""
    if draft.benchmark is None:
        return ""
    own = draft.result.returns["return"].to_numpy()
    other = draft.benchmark.returns(draft.result)["return"].to_numpy()
    both = np.isfinite(own) & np.isfinite(other)
    words = f"{draft.benchmark.note} {draft.benchmark.lacks}".strip()
    if both.sum() > 2 and own[both].std() > 0.0 and other[both].std() > 0.0:  # noqa: PLR2004
        matrix = np.cov(own[both], other[both])
        beta = float(matrix[0, 1] / matrix[1, 1])
        alike = float(matrix[0, 1] / np.sqrt(matrix[0, 0] * matrix[1, 1]))
        words += f" Session returns have a correlation of {ratio(alike)} with "
        words += f"{draft.benchmark.name}, and a beta of {ratio(beta)}."
    return paragraph(words.strip(), "note")
