"""Figures of signals: what trades earned by the value that opened them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest.results.charts import style
from ml4t.backtest.results.summary import count, money, percent, ratio


def bucket_names(frame: pl.DataFrame) -> list[str]:
    """Names of buckets for an axis: their bounds, their value, or none.

    Args:
        frame: bucket, low, high; or value.
    """
    if "value" in frame.columns:
        return ["none" if v is None else style.label(v) for v in frame["value"].to_list()]
    return [
        "none" if row["low"] is None else f"{row['low'] + 0.0:.3g}<br>to {row['high'] + 0.0:.3g}"
        for row in frame.iter_rows(named=True)
    ]


def by_signal(frame: pl.DataFrame, *, name: str) -> Any:
    """P&L and hit rate of trades by bucket of a signal.

    Args:
        frame: bucket, low, high or value; trades, pnl, hit_rate.
        name: The signal.
    """
    titles = ["P&L of trades, money", "hit rate of trades"]
    figure = style.frame(2, height=340, heights=[0.6, 0.4], titles=titles)
    names = bucket_names(frame)
    pnl = frame["pnl"].to_numpy()
    figure.add_bar(
        x=names, y=pnl, customdata=frame["trades"].to_numpy(), row=1, col=1, showlegend=False,
        marker={"color": np.where(pnl > 0.0, style.GAIN, style.LOSS).tolist()},
        hovertemplate="%{y:,.2f} in %{customdata:,} trades<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=names, y=frame["hit_rate"].to_numpy(), mode="lines+markers", row=2, col=1,
        line={"color": style.PURPLE}, hovertemplate="%{y:.1%}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(type="category", showgrid=False, tickangle=0)
    figure.update_yaxes(tickformat=".4~%", row=2, col=1)
    told = "; ".join(
        f"{bucket} {money(row['pnl'])} with hit rate {percent(row['hit_rate'])}"
        for bucket, row in zip(names, frame.iter_rows(named=True), strict=True)
    ).replace("<br>", " ")
    return style.finish(figure, alt=f"P&L by bucket of {name}: {told or 'no trades'}.")


def buckets(frame: pl.DataFrame, *, name: str, horizon: int) -> Any:
    """The return that followed a signal, against what it said.

    Args:
        frame: low, high, count, average_signal, average_return, low_return, high_return.
        name: The signal.
        horizon: In bars.
    """
    figure = style.frame(height=340, shared=False, titles=[f"return over {count(horizon, 'bar')}"])
    known = frame.drop_nulls(["average_signal", "average_return"])
    figure.add_scatter(
        x=known["average_signal"].to_numpy(), y=known["average_return"].to_numpy(),
        error_y=_reach(known, "average_return", "low_return", "high_return"),
        customdata=known["count"].to_numpy(), mode="lines+markers", showlegend=False,
        marker={"color": style.BLUE, "size": 8}, line={"color": style.BLUE, "width": 1},
        hovertemplate="signal %{x:.4g}: %{y:.3%} on %{customdata:,} bars<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="average signal of the bucket")
    figure.update_yaxes(tickformat=".4~%")
    told = "; ".join(
        f"{row['average_signal']:.3g}: {percent(row['average_return'])}"
        for row in known.iter_rows(named=True)
    )
    return style.finish(
        figure, alt=f"Average return after {name}, by bucket: {told or 'no bars'}.", notes=[_BARS]
    )


def coefficients(frame: pl.DataFrame, *, name: str) -> Any:
    """The information coefficient by horizon.

    Args:
        frame: horizon, mean, low, high, timestamps.
        name: The signal.
    """
    figure = style.frame(height=340, shared=False, titles=["information coefficient"])
    known = frame.drop_nulls("mean")
    figure.add_bar(
        x=[str(h) for h in known["horizon"]], y=known["mean"].to_numpy(),
        error_y=_reach(known, "mean", "low", "high"), customdata=known["timestamps"].to_numpy(),
        marker={"color": style.PURPLE}, width=0.5, showlegend=False,
        hovertemplate="%{x} bars: %{y:.3f}, %{customdata:,} timestamps<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="category", title="horizon, bars", showgrid=False)
    told = "; ".join(
        f"{row['horizon']} bars {ratio(row['mean'])}" for row in known.iter_rows(named=True)
    )
    return style.finish(
        figure, alt=f"Information coefficient of {name}: {told or 'none'}.", notes=[_BARS]
    )


def calibration(frame: pl.DataFrame, *, name: str, horizon: int) -> Any:
    """How often a confidence was right, against how often it says.

    Args:
        frame: count, average_confidence, hit_rate, low_rate, high_rate.
        name: The signal.
        horizon: In bars.
    """
    figure = style.frame(
        height=340, shared=False, titles=[f"calibration over {count(horizon, 'bar')}"]
    )
    known = frame.drop_nulls(["average_confidence", "hit_rate"])
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", showlegend=False,
        line={"color": style.GREY, "dash": "dot", "width": 1}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=known["average_confidence"].to_numpy(), y=known["hit_rate"].to_numpy(),
        error_y=_reach(known, "hit_rate", "low_rate", "high_rate"), mode="markers",
        customdata=known["count"].to_numpy(), showlegend=False,
        marker={"color": style.BLUE, "size": 8},
        hovertemplate="%{x:.0%}: right in %{y:.1%} of %{customdata:,}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title="average confidence", tickformat=".4~%")
    figure.update_yaxes(title="returns above zero", tickformat=".4~%")
    told = "; ".join(
        f"{percent(row['average_confidence'])}: {percent(row['hit_rate'])}"
        for row in known.iter_rows(named=True)
    )
    notes = [_BARS, "Dotted line: right as often as it says."]
    return style.finish(figure, alt=f"Calibration of {name}: {told or 'no bars'}.", notes=notes)


def _reach(frame: pl.DataFrame, value: str, low: str, high: str) -> dict[str, Any]:
    """Error bars; none where there is no interval."""
    middle = frame[value].to_numpy()
    return {
        "type": "data",
        "symmetric": False,
        "array": np.nan_to_num(frame[high].cast(pl.Float64).to_numpy() - middle),
        "arrayminus": np.nan_to_num(middle - frame[low].cast(pl.Float64).to_numpy()),
        "thickness": 1.2,
        "color": style.GREY,
    }


_BARS = "Vertical lines: 95 % intervals."
