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
    titles = ["exposure over equity", "turnover by month, one way", "costs since the start"]
    figure = style.frame(3, height=600, heights=[0.4, 0.25, 0.35], titles=titles)
    held = series.exposures(equity)
    notes = []
    for name, colour, said in (
        ("gross", style.BLUE, "gross (leverage)"),
        ("net", style.ORANGE, "net"),
    ):
        values = held[name].fill_null(float("nan")).to_numpy()
        drawn = curve(held["timestamp"], values, max(1, points // 4))
        _add_line(figure, drawn.x, drawn.y, said, colour, 1, "%{y:.1%}")
        notes.append(drawn.note)
    turned = series.monthly_turnover(fills, equity)
    figure.add_bar(
        x=turned["month"].cast(pl.String).to_list(), y=turned["turnover"].to_numpy(), name="turnover",
        marker={"color": style.PURPLE}, hovertemplate="%{y:.1%}", showlegend=False, row=2, col=1,
        xperiod="M1", xperiodalignment="middle",
    )  # fmt: skip
    paid = series.running_costs(fills, cashflows)
    for name, colour in (
        ("commission", style.BLUE),
        ("slippage", style.ORANGE),
        ("financing", style.GREEN),
    ):
        drawn = curve(paid["timestamp"], paid[name].to_numpy(), max(1, points // 4))
        more = {"line": {"color": colour, "shape": "hv", "width": 1.6}}
        _add_line(figure, drawn.x, drawn.y, name, colour, 3, "%{y:,.2f}", **more)
    for row, form in ((1, ".0%"), (2, ".0%"), (3, ",")):
        figure.update_yaxes(tickformat=form, row=row, col=1)
    return style.finish(figure, alt=_exposed(held, paid), notes=notes[:1])


def _add_line(
    figure: Any, x: list[str], y: np.ndarray, name: str, colour: str, row: int, hover: str,
    **more: Any,
) -> None:  # fmt: skip
    line = {"line": {"color": colour, "width": 1.4}, **more}
    figure.add_scatter(
        x=x, y=y, name=name, mode="lines", hovertemplate=hover, row=row, col=1, **line
    )


def _exposed(held: pl.DataFrame, paid: pl.DataFrame) -> str:
    mean, most = held["gross"].mean(), held["gross"].max()
    if mean is None or most is None:
        return "Nothing was held."
    said = f"Gross exposure {percent(float(mean))} of equity on average, at most "  # type: ignore[arg-type]
    said += f"{percent(float(most))}."  # type: ignore[arg-type]
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
    titles = ["P&L (money)", "best and worst seen", "bars held", "return by bars held"]
    figure = style.frame(2, columns=2, height=620, titles=titles, shared=False)
    closed = frame.filter(pl.col("status") == "closed")
    notes = [
        _bars(figure, closed["pnl"].drop_nulls().to_numpy(), 1, 1, ",.0f", signed=True),
        _bars(figure, closed["bars_held"].cast(pl.Float64).to_numpy(), 2, 1, ",.0f", signed=False),
    ]
    dots = closed.drop_nulls(["mfe", "mae", "return_pct"])
    some = dots.gather_every(-(-len(dots) // _MOST_DOTS)) if len(dots) > _MOST_DOTS else dots
    if len(some) < len(dots):
        notes.append(f"{len(some):,} of {len(dots):,} trades as dots, evenly chosen.")
    for name, colour, symbol in (("gain", style.GAIN, "circle"), ("loss", style.LOSS, "x")):
        part = some.filter(pl.col("pnl") > 0.0 if name == "gain" else pl.col("pnl") <= 0.0)
        texts = [style.label(a) for a in part["asset_id"]]
        for place, x, y in (((1, 2), "mae", "mfe"), ((2, 2), "bars_held", "return_pct")):
            figure.add_scatter(
                x=part[x].to_numpy(), y=part[y].to_numpy(), text=texts, name=name, mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 5, "opacity": 0.7},
                hovertemplate="%{text}: %{x}, %{y:.2%}", legendgroup=name,
                showlegend=place == (1, 2), row=place[0], col=place[1],
            )  # fmt: skip
    figure.update_xaxes(title="worst (MAE)", tickformat=".0%", row=1, col=2)
    figure.update_yaxes(title="best (MFE)", tickformat=".0%", row=1, col=2)
    figure.update_xaxes(title="bars held", row=2, col=2)
    figure.update_yaxes(tickformat=".0%", row=2, col=2)
    figure.update_layout(legend={"y": 1.06})
    pnl = closed["pnl"].to_numpy()
    alt = "No closed trades."
    if len(pnl):
        won = int((pnl > 0.0).sum())
        alt = f"{len(pnl):,} closed trades, {won:,} with a gain; P&L from {money(float(pnl.min()))} "
        alt += f"to {money(float(pnl.max()))}, median {money(float(np.median(pnl)))}."
    return style.finish(figure, alt=alt, notes=notes)


def _bars(
    figure: Any, values: np.ndarray, row: int, col: int, form: str, *, signed: bool
) -> str:
    edges, counts, is_cut = series.histogram(values)
    middles = (edges[1:] + edges[:-1]) / 2.0
    colours = np.where(middles > 0.0, style.GAIN, style.LOSS) if signed else style.PURPLE
    figure.add_bar(
        x=middles, y=counts, width=np.diff(edges), row=row, col=col, showlegend=False,
        marker={"color": colours.tolist() if signed else colours, "line": {"width": 0}},
        customdata=np.column_stack([edges[:-1], edges[1:]]) if len(counts) else None,
        hovertemplate=f"%{{customdata[0]:{form}}} to %{{customdata[1]:{form}}}: "
        "%{y:,} trades<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(title="trades", row=row, col=col)
    return "The outermost bars hold all trades beyond them." if is_cut else ""


def assets(frame: pl.DataFrame, *, most: int = 30) -> Any:
    """What each asset contributed to the P&L, the largest gains and losses.

    Args:
        frame: asset_id, pnl; one row an asset.
        most: How many assets at most: those with the largest P&L, gain or loss.
    """
    shown = frame.sort(pl.col("pnl").abs(), descending=True).head(most).sort("pnl")
    figure = style.frame(height=90 + 22 * max(len(shown), 1), shared=False)
    pnl = shown["pnl"].to_numpy()
    figure.add_bar(
        x=pnl, y=[style.label(a) for a in shown["asset_id"]], orientation="h",
        marker={"color": np.where(pnl > 0.0, style.GAIN, style.LOSS).tolist()},
        hovertemplate="%{y}: %{x:,.2f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_xaxes(title="P&L (money)")
    alt = "No trades."
    if len(shown):
        top, low = shown.row(-1, named=True), shown.row(0, named=True)
        alt = f"P&L by asset, from {low['asset_id']} with {money(low['pnl'])} "
        alt += f"to {top['asset_id']} with {money(top['pnl'])}."
    note = ""
    if len(shown) < len(frame):
        note = f"The {most} assets with the largest P&L, gain or loss, of {len(frame):,}."
    return style.finish(figure, alt=alt, notes=[note])
