"""A result in a notebook: a small table with a sparkline beside it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ml4t.backtest.results.charts.downsample import m4
from ml4t.backtest.results.summary import FREE, money, part_text, percent, ratio, span, strategy

if TYPE_CHECKING:
    import polars as pl

    from ml4t.backtest.results.result import BacktestResult

_WIDTH, _HEIGHT, _EDGE = 220, 64, 3


def html(result: BacktestResult) -> str:
    """A compact table and the course of equity; every text in it is escaped."""
    rows = {
        "final equity": money(result.final_equity),
        "total return": percent(result.total_return, sign=True),
        "CAGR": percent(result.cagr, sign=True),
        "volatility": percent(result.volatility),
        "Sharpe": ratio(result.sharpe),
        "max drawdown": percent(result.max_drawdown),
        "costs": money(result.costs),
        "fills": f"{len(result.record.fills):,}",
        **{part: part_text(result.settings.get(part, "not stated")) for part in FREE},
    }
    if not result.complete:
        rows = {"INCOMPLETE": "the run ended in an error", **rows}
    if result.record.counts.get("bankruptcies"):
        rows = {"BANKRUPT": "nothing was left at the end of the run", **rows}
    cells = "".join(
        f"<tr><th scope='row' style='text-align:left'>{escape(k)}</th>"
        f"<td style='text-align:right'>{escape(v)}</td></tr>"
        for k, v in rows.items()
    )
    title = escape(f"{strategy(result)}: {span(result)}")
    drawn = sparkline(result.record.equity, result.initial_cash)
    return f"<table><caption>{title}<br>{drawn}</caption><tbody>{cells}</tbody></table>"


def sparkline(equity: pl.DataFrame, initial_cash: float) -> str:
    """The course of equity as a small SVG; empty with fewer than two bars.

    Its dashed line is the money at the start. No extreme is lost: see `downsample.m4`.

    Args:
        equity: timestamp, equity.
        initial_cash: Money at the start.
    """
    times = equity["timestamp"].to_physical().cast(int).to_numpy()
    values = equity["equity"].to_numpy()
    if len(values) < 2 or not np.isfinite(values).all():  # noqa: PLR2004  a line has two ends
        return ""
    kept = m4(times, values, _WIDTH)
    low, high = min(values.min(), initial_cash), max(values.max(), initial_cash)
    reach = max(1, int(times[-1] - times[0]))
    x = _EDGE + (times[kept] - times[0]) / reach * (_WIDTH - 2 * _EDGE)

    def height(value: np.ndarray | float) -> np.ndarray | float:
        share = (value - low) / (high - low) if high > low else 0.5 * np.ones_like(value)
        return _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)

    points = " ".join(
        f"{a:.1f},{b:.1f}" for a, b in zip(x, np.asarray(height(values[kept])), strict=True)
    )
    start = float(height(initial_cash))
    said = escape(f"Equity from {money(initial_cash)} to {money(float(values[-1]))}")
    return (
        f"<svg role='img' aria-label='{said}' width='{_WIDTH}' height='{_HEIGHT}' "
        f"viewBox='0 0 {_WIDTH} {_HEIGHT}'><title>{said}</title>"
        f"<line x1='0' x2='{_WIDTH}' y1='{start:.1f}' y2='{start:.1f}' stroke='currentColor' "
        "stroke-opacity='0.4' stroke-dasharray='3 3'/>"
        f"<polyline points='{points}' fill='none' stroke='currentColor' stroke-width='1.5'/></svg>"
    )
