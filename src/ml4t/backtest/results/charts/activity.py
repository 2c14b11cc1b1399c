"""Figures of what was done: exposure, turnover and costs; trades; assets."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest.results.charts import series, style
from ml4t.backtest.results.charts.downsample import BUCKETS, curve
from ml4t.backtest.results.summary import money, percent

_MOST_DOTS = 2_000


def exposure(
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    cashflows: pl.DataFrame,
    *,
    points: int = 4 * BUCKETS,
) -> Any:
    """Exposure over equity, turnover by month, and what was paid since the start.

    Args:
        equity: timestamp, equity, gross_exposure, net_exposure.
        fills: timestamp, notional, commission, slippage.
        cashflows: timestamp, amount.
        points: How many points a curve may have.
    """
    titles = ["exposure", "turnover by month, one way", "costs"]
    figure = style.frame(3, height=620, heights=[0.4, 0.25, 0.35], titles=titles, gap=52)
    figure.update_layout(legend2=style.legend(figure.layout.yaxis3.domain[1], is_right=True))
    held = series.exposures(equity)
    notes = []
    lines = {
        "gross": ("gross (leverage)", {"color": style.BLUE, "width": 1.6}),
        "net": ("net", {"color": style.ORANGE, "width": 1.4}),
    }
    if held["gross"].equals(held["net"]):
        lines = {"gross": ("gross and net (leverage)", lines["gross"][1])}
    for name, (said, line) in lines.items():
        values = held[name].fill_null(float("nan")).to_numpy()
        drawn = curve(held["timestamp"], values, max(1, points // 4))
        _add_line(figure, drawn.x, drawn.y, said, 1, "%{y:.1%}", line=line)
        notes.append(drawn.note)
    turned = series.monthly_turnover(fills, equity)
    figure.add_bar(
        x=turned["month"].cast(pl.String).to_list(), y=turned["turnover"].to_numpy(),
        name="turnover", showlegend=False, row=2, col=1,
        marker={"color": style.PURPLE}, hovertemplate="%{y:.1%}",
        xperiod="M1", xperiodalignment="middle",
    )  # fmt: skip
    paid = series.running_costs(fills, cashflows)
    for name, colour in (
        ("commission", style.BLUE),
        ("slippage", style.ORANGE),
        ("financing", style.GREEN),
    ):
        if name == "financing" and not (paid[name] != 0.0).any():
            continue
        drawn = curve(paid["timestamp"], paid[name].to_numpy(), max(1, points // 4))
        line = {"color": colour, "shape": "hv", "width": 1.6}
        _add_line(figure, drawn.x, drawn.y, name, 3, "%{y:,.2f}", line=line, legend="legend2")
    figure.update_xaxes(type="date")  # also of a panel in which nothing happened
    for row, form in ((1, ".4~%"), (2, ".4~%"), (3, ",")):
        figure.update_yaxes(tickformat=form, row=row, col=1)
    return style.finish(figure, alt=_exposed(held, paid), notes=notes[:1])


def _add_line(
    figure: Any, x: list[str], y: np.ndarray, name: str, row: int, hover: str, **more: Any
) -> None:
    figure.add_scatter(
        x=x, y=y, name=name, mode="lines", hovertemplate=hover, row=row, col=1, **more
    )


def _exposed(held: pl.DataFrame, paid: pl.DataFrame) -> str:
    gross = held["gross"].drop_nulls().to_numpy()
    if not len(gross):
        return "Nothing was held."
    said = f"Gross exposure {percent(float(gross.mean()))} of equity on average, "
    said += f"at most {percent(float(gross.max()))}."
    if len(paid):
        last = paid.row(-1, named=True)
        said += f" Paid in all: commission {money(last['commission'])}, slippage "
        said += f"{money(last['slippage'])}, financing {money(last['financing'])}."
    return said


def trades(frame: pl.DataFrame) -> Any:
    """Distributions of trades: P&L, the best and worst they saw, and how long they were held.

    Args:
        frame: status, pnl, return_pct, mfe, mae, bars_held, asset_id.
    """
    figure = style.frame(2, columns=2, height=660, titles=list(PANELS), shared=False, gap=80)
    notes: list[str] = []
    for i, draw in enumerate(PANELS.values()):
        notes += draw(figure, frame, i // 2 + 1, i % 2 + 1)
    figure.update_layout(showlegend=False)
    return style.finish(figure, alt=_traded(frame), notes=notes)


def trade_panel(frame: pl.DataFrame, title: str) -> Any:
    """One of the panels of `trades` as a figure of its own.

    Args:
        frame: As of `trades`.
        title: A key of `PANELS`.
    """
    figure = style.frame(height=300, shared=False, titles=[title])
    notes = PANELS[title](figure, frame, 1, 1)
    figure.update_layout(legend=style.legend(1.0, is_right=True))
    return style.finish(figure, alt=f"{title[0].upper()}{title[1:]}. {_traded(frame)}", notes=notes)


def _closed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("status") == "closed")


def _traded(frame: pl.DataFrame) -> str:
    pnl = _closed(frame)["pnl"].drop_nulls().to_numpy()
    if not len(pnl):
        return "No closed trades."
    won, ends = int((pnl > 0.0).sum()), f"{money(float(pnl.min()))} to {money(float(pnl.max()))}"
    return (
        f"{len(pnl):,} closed trades, {won:,} with a gain; P&L from {ends}, "
        f"median {money(float(np.median(pnl)))}."
    )


def _pnl(figure: Any, frame: pl.DataFrame, row: int, col: int) -> list[str]:
    edges, middles, note = _bars(figure, _closed(frame)["pnl"], row, col)
    colours = np.where(middles > 0.0, style.GAIN, style.LOSS).tolist()
    figure.update_traces(marker={"color": colours}, row=row, col=col)
    figure.update_xaxes(range=[edges[0], edges[-1]], row=row, col=col)
    return [note]


def _held(figure: Any, frame: pl.DataFrame, row: int, col: int) -> list[str]:
    *_, note = _bars(figure, _closed(frame)["bars_held"].cast(pl.Float64), row, col)
    figure.update_xaxes(title="bars", row=row, col=col)
    return [note]


def _bars(figure: Any, values: pl.Series, row: int, col: int) -> tuple[np.ndarray, np.ndarray, str]:
    edges, counts, is_cut = series.histogram(values.drop_nulls().to_numpy())
    middles = (edges[1:] + edges[:-1]) / 2.0
    figure.add_bar(
        x=middles, y=counts, width=np.diff(edges), row=row, col=col, showlegend=False,
        marker={"color": style.PURPLE, "line": {"width": 0}},
        customdata=np.column_stack([edges[:-1], edges[1:]]),
        hovertemplate="%{customdata[0]:,.0f} to %{customdata[1]:,.0f}: "
        "%{y:,} trades<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(title="trades", row=row, col=col)
    return edges, middles, "The outermost bars hold all trades beyond them." if is_cut else ""


def _excursions(figure: Any, frame: pl.DataFrame, row: int, col: int) -> list[str]:
    figure.update_xaxes(title="worst (MAE)", tickformat=".4~%", row=row, col=col)
    figure.update_yaxes(title="best (MFE)", row=row, col=col)
    return _dots(figure, frame, "mae", "mfe", row, col)


def _by_length(figure: Any, frame: pl.DataFrame, row: int, col: int) -> list[str]:
    figure.update_xaxes(title="bars held", row=row, col=col)
    return _dots(figure, frame, "bars_held", "return_pct", row, col)


def _dots(figure: Any, frame: pl.DataFrame, x: str, y: str, row: int, col: int) -> list[str]:
    known = _closed(frame).drop_nulls([x, y, "pnl"])
    some = known.gather_every(-(-len(known) // _MOST_DOTS)) if len(known) > _MOST_DOTS else known
    for name, colour, symbol in (("gain", style.GAIN, "circle"), ("loss", style.LOSS, "x")):
        part = some.filter(pl.col("pnl") > 0.0 if name == "gain" else pl.col("pnl") <= 0.0)
        form = "%{x:.2%}" if x == "mae" else "%{x:,} bars"
        figure.add_scatter(
            x=part[x].to_numpy(), y=part[y].to_numpy(), name=name, mode="markers",
            text=[style.label(a) for a in part["asset_id"]], row=row, col=col,
            marker={"color": colour, "symbol": symbol, "size": 5, "opacity": 0.7},
            hovertemplate=f"%{{text}}: {form}, %{{y:.2%}}",
        )  # fmt: skip
    figure.update_yaxes(tickformat=".4~%", row=row, col=col)
    if len(some) == len(known):
        return []
    return [f"{len(some):,} of {len(known):,} trades are drawn as dots, evenly chosen."]


PANELS = {
    "P&L, money": _pnl,
    "best and worst seen": _excursions,
    "bars held": _held,
    "return by bars held": _by_length,
}


def assets(frame: pl.DataFrame, *, most: int = 30) -> Any:
    """What each asset contributed to the P&L, the largest gains and losses.

    Args:
        frame: asset_id (null: money of no asset), pnl; one row an asset.
        most: How many assets at most: those with the largest P&L, gain or loss.
    """
    shown = frame.sort(pl.col("pnl").abs(), descending=True).head(most).sort("pnl")
    names = ["no asset" if a is None else a for a in shown["asset_id"]]
    figure = style.frame(height=90 + 22 * max(len(shown), 1), shared=False)
    pnl = shown["pnl"].to_numpy()
    figure.add_bar(
        x=pnl, y=[style.label(a) for a in names], orientation="h",
        marker={"color": np.where(pnl > 0.0, style.GAIN, style.LOSS).tolist()},
        hovertemplate="%{y}: %{x:,.2f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_xaxes(title="P&L (money)")
    alt = "No trades."
    if len(shown):
        alt = f"P&L by asset, from {names[0]} with {money(float(pnl[0]))} "
        alt += f"to {names[-1]} with {money(float(pnl[-1]))}."
    note = ""
    if len(shown) < len(frame):
        note = f"The {most} assets with the largest P&L, gain or loss, of {len(frame):,}."
    return style.finish(figure, alt=alt, notes=[note])
