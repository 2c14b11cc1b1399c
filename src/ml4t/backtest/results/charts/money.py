"""Figures of the money: equity and drawdown, returns by month and by day, rolling figures."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.results.charts import series, style
from ml4t.backtest.results.charts.downsample import BUCKETS, Curve, curve
from ml4t.backtest.results.metrics import drawdowns
from ml4t.backtest.results.summary import money, percent, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FEW = 40
_SMALL = 1_000.0  # multiples of a start, not money
_LINES = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.RED, style.GREY)


def _line(figure: Any, drawn: Curve, name: str, colour: str, row: int, **more: Any) -> None:
    options = {"mode": "lines", "line": {"color": colour, "width": 1.6}, **more}
    if drawn.shown < _FEW:
        options["mode"] = "lines+markers"
    figure.add_scatter(x=drawn.x, y=drawn.y, name=style.label(name), row=row, col=1, **options)


def equity(
    equities: Mapping[str, pl.DataFrame],
    *,
    log: bool = False,
    points: int = 4 * BUCKETS,
) -> Any:
    """Equity curves, and under them how far each is below its peak.

    Args:
        equities: By name; frames with timestamp and equity. Those after the first are drawn
            thinner: a benchmark, or other runs.
        log: Whether equal growth is drawn equally high.
        points: How many points a curve may have.
    """
    figure = style.frame(2, height=460, heights=[0.68, 0.32])
    notes: list[str] = []
    said: list[str] = []
    for (name, frame), colour in zip(equities.items(), _LINES * len(equities), strict=False):
        values = frame["equity"].to_numpy()
        below = drawdowns(values, float(values[0]) if len(values) else 1.0)
        if "drawdown" in frame.columns:
            below = frame["drawdown"].to_numpy()
        drawn = curve(frame["timestamp"], values, max(1, points // 4))
        deep = curve(frame["timestamp"], below, max(1, points // 4))
        is_main = not said
        line = {"color": colour, "width": 1.8 if is_main else 1.2}
        form = "%{y:,.5~g}" if len(values) and abs(values).max() < _SMALL else "%{y:,.0f}"
        _line(figure, drawn, name, colour, 1, line=line, hovertemplate=form, legendgroup=name)
        fill = {"fill": "tozeroy"} if is_main and len(equities) < 3 else {}  # noqa: PLR2004
        _line(
            figure, deep, name, colour, 2,
            line={**line, "width": 1}, hovertemplate="%{y:.2%}", showlegend=False,
            legendgroup=name, **fill,
        )  # fmt: skip
        notes += [drawn.note, deep.note] if is_main else []
        said.append(_told(name, frame, below))
    figure.update_xaxes(type="date")
    figure.update_yaxes(title="equity", type="log" if log else "linear", row=1, col=1)
    figure.update_yaxes(title="drawdown", tickformat=".4~%", row=2, col=1)
    return style.finish(figure, alt=" ".join(said), notes=notes[:1])


def _told(name: str, frame: pl.DataFrame, below: np.ndarray) -> str:
    if frame.is_empty():
        return f"{name}: no bars."
    first, last = frame["equity"][0], frame["equity"][-1]
    deepest = int(below.argmin())
    told = f"{name}: from {money(first)} to {money(last)}"
    if below[deepest] < 0.0:
        when = frame["timestamp"][deepest]
        told += f", deepest drawdown {percent(float(below[deepest]))} on {when:%Y-%m-%d}"
    return f"{told}."


def drawdown(frame: pl.DataFrame, *, points: int = 4 * BUCKETS) -> Any:
    """How far equity is below its highest so far.

    Args:
        frame: timestamp, equity, drawdown.
        points: How many points the curve may have.
    """
    figure = style.frame(height=260)
    values = frame["drawdown"].to_numpy()
    drawn = curve(frame["timestamp"], values, max(1, points // 4))
    _line(figure, drawn, "drawdown", style.BLUE, 1, fill="tozeroy", hovertemplate="%{y:.2%}")
    figure.update_xaxes(type="date")
    figure.update_yaxes(tickformat=".4~%")
    return style.finish(figure, alt=_told("Drawdown of equity", frame, values), notes=[drawn.note])


def returns(frame: pl.DataFrame) -> Any:
    """Returns by month, a row a year.

    Args:
        frame: session, return.
    """
    by_month = series.months(frame)
    rows = by_month["year"].unique().sort().to_list()
    grid = np.full((len(rows), 12), np.nan)
    places = {year: i for i, year in enumerate(rows)}
    for year, month, value in by_month.iter_rows():
        grid[places[year], month - 1] = value
    figure = style.frame(height=90 + 28 * max(len(rows), 1), shared=False)
    figure.add_heatmap(
        z=grid,
        x=list(MONTHS),
        y=[str(year) for year in rows],
        texttemplate="%{z:.1%}",
        hovertemplate="%{x} %{y}: %{z:.2%}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(side="top", showgrid=False)
    _diverging(figure, grid)
    best, worst = _ends(by_month, lambda r: f"{MONTHS[r['month'] - 1]} {r['year']}")
    return style.finish(figure, alt=f"Returns by month. Best {best}, worst {worst}.")


def _ends(frame: pl.DataFrame, named: Any) -> list[str]:
    known = frame.filter(pl.col("return").is_not_nan()).sort("return")
    if known.is_empty():
        return ["none", "none"]
    both = (known.row(-1, named=True), known.row(0, named=True))
    return [f"{named(row)} with {percent(row['return'], sign=True)}" for row in both]


def _diverging(figure: Any, grid: np.ndarray) -> None:
    """Colours from the theme, for losses and gains, equally strong on both sides."""
    known = np.abs(grid[np.isfinite(grid)])
    most = float(np.percentile(known, 98)) if len(known) else 0.0
    most = most or 0.01
    figure.update_layout(
        coloraxis={
            "autocolorscale": True,
            "cmin": -most,
            "cmax": most,
            "cmid": 0,
            "colorbar": {
                "tickformat": ".4~%",
                "nticks": 5,
                "thickness": 10,
                "outlinewidth": 0,
                "lenmode": "pixels",
                "len": 150,
                "y": 1,
                "yanchor": "top",
            },
        }
    )


def calendar(frame: pl.DataFrame, *, years: int = 10) -> Any:
    """Returns by day: a band a year, weekdays from top to bottom, weeks from left to right.

    Args:
        frame: session, return.
        years: How many at most; the latest ones.
    """
    all_years = frame["session"].dt.year().unique().sort().to_list()
    rows = all_years[-years:]
    days = frame.filter(pl.col("session").dt.year().is_in(rows))
    weekends = bool((days["session"].dt.weekday() > 5).any())  # noqa: PLR2004
    width = 7 if weekends else 5
    bands = max(len(rows), 1)
    figure = style.frame(bands, height=50 + bands * (13 * width + 12), shared=True, gap=12)
    for row, year in enumerate(rows, 1):
        first = dt.date(year, 1, 1).weekday()
        of_year = days.filter(pl.col("session").dt.year() == year)
        grid, text = np.full((width, 54), np.nan), np.full((width, 54), "", dtype=object)
        for session, value in of_year.select("session", "return").iter_rows():
            place = (session.weekday(), (session.timetuple().tm_yday - 1 + first) // 7)
            grid[place], text[place] = value, f"{session:%a %Y-%m-%d}"
        figure.add_heatmap(
            z=grid, text=text, row=row, col=1,
            hovertemplate="%{text}: %{z:.2%}<extra></extra>",
            hoverongaps=False, coloraxis="coloraxis", xgap=1, ygap=1,
        )  # fmt: skip
        figure.update_yaxes(tickvals=[(width - 1) / 2], ticktext=[str(year)], row=row, col=1)
    middles = [(m * 30.4 + 15) / 7 for m in range(12)]
    figure.update_xaxes(showgrid=False, zeroline=False, tickvals=middles, ticktext=list(MONTHS))
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, type="linear")
    figure.update_xaxes(ticks="")
    figure.update_yaxes(ticks="")
    figure.update_layout(hovermode="closest")
    _diverging(figure, days["return"].to_numpy())
    best, worst = _ends(days, lambda r: f"{r['session']}")
    note = "" if len(rows) == len(all_years) else f"The latest {years} years of {len(all_years)}."
    return style.finish(
        figure, alt=f"Returns by session. Best {best}, worst {worst}.", notes=[note]
    )


def rolling(frame: pl.DataFrame, *, window: int, points: int = 4 * BUCKETS) -> Any:
    """Sharpe ratio and volatility of the sessions before each.

    Args:
        frame: session, sharpe, volatility.
        window: How many sessions they are made of.
        points: How many points a curve may have.
    """
    figure = style.frame(2, height=380, titles=[f"Sharpe, {window} sessions", "volatility, a year"])
    alt, notes = [], []
    for row, (name, colour, shown) in enumerate(
        (("sharpe", style.BLUE, ratio), ("volatility", style.ORANGE, percent)), 1
    ):
        known = frame.select("session", name).drop_nulls()
        values = known[name].to_numpy()
        drawn = curve(known["session"], values, max(1, points // 4))
        form = "%{y:.2f}" if name == "sharpe" else "%{y:.1%}"
        _line(figure, drawn, name, colour, row, hovertemplate=form, showlegend=False)
        notes.append(drawn.note)
        if len(values):
            ends = f"{shown(float(values.min()))} and {shown(float(values.max()))}"
            alt.append(f"Rolling {name} over {window} sessions, between {ends}.")
    figure.update_xaxes(type="date")  # also where there is no window
    figure.update_yaxes(tickformat=".4~%", rangemode="tozero", row=2, col=1)
    return style.finish(figure, alt=" ".join(alt) or "No complete window.", notes=notes)
