"""Figures of signals: what trades earned by the value that opened them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from ml4t.backtest.results.charts import style
from ml4t.backtest.results.summary import money, percent, value_text


def bucket_names(frame: pl.DataFrame) -> list[str]:
    """Names of buckets for an axis: their bounds, their value, or none.

    Args:
        frame: bucket, low, high; or value.
    """
    if "value" in frame.columns:
        return ["none" if v is None else style.label(v) for v in frame["value"].to_list()]
    return [
        "none"
        if row["low"] is None
        else f"{row['bucket']}: {value_text(row['low'])} to {value_text(row['high'])}"
        for row in frame.iter_rows(named=True)
    ]


def by_signal(frame: pl.DataFrame, *, name: str) -> Any:
    """P&L and hit rate of trades by bucket of a signal.

    Args:
        frame: bucket, low, high or value; trades, pnl, hit_rate.
        name: The signal.
    """
    figure = style.frame(2, height=380, heights=[0.6, 0.4], titles=["P&L (money)", "hit rate"])
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
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(tickformat=".0%", row=2, col=1)
    told = "; ".join(
        f"{bucket} {money(row['pnl'])} with hit rate {percent(row['hit_rate'])}"
        for bucket, row in zip(names, frame.iter_rows(named=True), strict=True)
    )
    return style.finish(figure, alt=f"P&L by bucket of {name}: {told or 'no trades'}.")
