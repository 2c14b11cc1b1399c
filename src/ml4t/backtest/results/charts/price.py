"""The price of one asset, with what was traded, what waited, and what the signal said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.results.charts import style
from ml4t.backtest.results.charts.downsample import candles, curve, time_labels
from ml4t.backtest.results.summary import count, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence

CANDLES = 2_500
MARKS = 600
_SIDES = (
    ("buy", style.GAIN, "triangle-up", "bought"),
    ("sell", style.LOSS, "triangle-down", "sold"),
)
_LEVELS = (("stop_price", style.RED, "stop"), ("limit_price", style.GREEN, "limit"))


def price(
    bars: pl.DataFrame,
    fills: pl.DataFrame,
    orders: pl.DataFrame,
    *,
    signals: Sequence[str] = (),
    bars_shown: int = CANDLES,
    marks: int = MARKS,
) -> Any:
    """One asset: bars, fills, the limit and stop prices of its orders, and its signals.

    Args:
        bars: timestamp, open, high, low, close, and the signals; in order of time.
        fills: timestamp, order_id, side, quantity, price, reason.
        orders: order_id, created_at, type, limit_price, stop_price, status.
        signals: Numeric columns of `bars`, each for a panel of its own.
        bars_shown: More bars are joined into longer ones.
        marks: How many fills, and how many orders, at most; the latest ones.
    """
    rows = 1 + len(signals)
    height = 400 + 120 * len(signals)
    heights = [400 / height, *([120 / height] * len(signals))]
    titles = ["", *(style.label(name) for name in signals)] if signals else ()
    figure = style.frame(rows, height=height, heights=heights, titles=titles)
    shown = candles(bars, bars_shown)
    notes = _bars(figure, bars, shown)
    notes += [_levels(figure, orders, fills, marks), _fills(figure, fills, marks)]
    for row, name in enumerate(signals, 2):
        known = bars.select("timestamp", pl.col(name).cast(pl.Float64)).drop_nulls()
        drawn = curve(known["timestamp"], known[name].to_numpy(), bars_shown // 4)
        figure.add_scatter(
            x=drawn.x, y=drawn.y, name=style.label(name), mode="lines", showlegend=False,
            line={"color": style.PURPLE, "width": 1}, row=row, col=1,
        )  # fmt: skip
        notes.append(drawn.note)
    figure.update_xaxes(type="date")
    figure.update_layout(xaxis_rangeslider_visible=False, hovermode="closest")
    bought, sold = (int((fills["side"] == side).sum()) for side, *_ in _SIDES)
    alt = f"Price with {count(bought, 'purchase')} and {count(sold, 'sale')}."
    return style.finish(figure, alt=alt, notes=notes)


def _bars(figure: Any, bars: pl.DataFrame, shown: pl.DataFrame) -> list[str]:
    """Candles, or a line where bars have one price."""
    x = time_labels(shown["timestamp"])
    if (bars["high"] == bars["low"]).all():
        figure.add_scatter(
            x=x, y=shown["close"].to_numpy(), name="close", mode="lines", row=1, col=1,
            line={"color": style.GREY, "width": 1.2},
        )  # fmt: skip
    else:
        figure.add_candlestick(
            x=x, open=shown["open"].to_numpy(), high=shown["high"].to_numpy(),
            low=shown["low"].to_numpy(), close=shown["close"].to_numpy(), name="price",
            increasing={"line": {"color": style.GREY, "width": 1}, "fillcolor": "rgba(0,0,0,0)"},
            decreasing={"line": {"color": style.GREY, "width": 1}, "fillcolor": style.GREY},
            row=1, col=1,
        )  # fmt: skip
    if len(shown) == len(bars):
        return []
    said = f"{len(bars):,} bars are drawn as {len(shown):,} longer ones"
    return [f"{said}: first open, highest high, lowest low, last close."]


def _fills(figure: Any, fills: pl.DataFrame, marks: int) -> str:
    latest = fills.tail(marks)
    for side, colour, symbol, said in _SIDES:
        part = latest.filter(pl.col("side") == side)
        texts = [
            f"{said} {value_text(row['quantity'])} at {value_text(row['price'])}"
            f"<br>{style.label(row['reason'] or '')}"
            for row in part.iter_rows(named=True)
        ]
        figure.add_scatter(
            x=time_labels(part["timestamp"]), y=part["price"].to_numpy(), name=said, text=texts,
            mode="markers", hovertemplate="%{x}<br>%{text}<extra></extra>", row=1, col=1,
            marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 0.5}},
        )  # fmt: skip
    return _latest(len(latest), len(fills), "fills")


def _latest(shown: int, of: int, what: str) -> str:
    return f"The latest {shown:,} of {of:,} {what} are marked." if shown < of else ""


def _levels(figure: Any, orders: pl.DataFrame, fills: pl.DataFrame, marks: int) -> str:
    """Limits and stops: a line from the order to its last fill, a dot where nothing filled."""
    ends = fills.group_by("order_id").agg(pl.col("timestamp").max().alias("end"))
    resting = orders.filter(
        pl.any_horizontal(pl.col("limit_price", "stop_price").is_not_null())
    ).drop_nulls("created_at")
    latest = resting.tail(marks).join(ends, on="order_id", how="left", maintain_order="left")
    for column, colour, said in _LEVELS:
        own = latest.drop_nulls(column)
        if own.is_empty():
            continue
        starts = time_labels(own["created_at"])
        stops = time_labels(own["end"].fill_null(own["created_at"]))
        x, y = [], []
        for start, stop, level in zip(starts, stops, own[column].to_list(), strict=True):
            x += [start, stop, None]
            y += [level, level, None]
        figure.add_scatter(
            x=x, y=y, name=f"{said} of orders", mode="lines+markers", row=1, col=1,
            line={"color": colour, "width": 1, "dash": "dot"},
            marker={"size": 4, "color": colour}, hovertemplate="%{x}<br>" + said + " %{y}",
        )  # fmt: skip
    return _latest(len(latest), len(resting), "orders with a limit or stop")
