"""Columns noted during a run, as the frames a record wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.results.columns import repeated, to_frame, to_series
from ml4t.backtest.types.order import OrderSide

if TYPE_CHECKING:
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.time import TimeAxis


def time_series(times: np.ndarray, axis: TimeAxis) -> pl.Series:
    """Microseconds as the column type the input had."""
    series = (
        to_series(times.astype(np.int64, copy=False)).alias("timestamp").cast(pl.Datetime("us"))
    )
    if axis.is_date:
        return series.cast(pl.Date)
    if axis.zone is None:
        return series
    return series.dt.replace_time_zone("UTC").dt.convert_time_zone(axis.zone)


def pick(words: list[str], places: np.ndarray) -> pl.Series:
    """For each place the word that stands there."""
    return pl.Series(words, dtype=pl.String)[to_series(places)]


def equity_frame(
    blocks: list[tuple[np.ndarray, ...]], sessions: np.ndarray, times: np.ndarray, axis: TimeAxis
) -> pl.DataFrame:
    """Equity, cash and exposures at every timestamp, from the columns of each chunk."""
    names = ("equity", "cash", "gross_exposure", "net_exposure")
    columns = [np.concatenate(part) for part in zip(*blocks, strict=True)] or [np.zeros(0)] * 4
    return to_frame(
        {
            "timestamp": time_series(times, axis),
            "session": to_series(sessions).cast(pl.Date),
            **dict(zip(names, columns, strict=True)),
        }
    )


def fills_frame(
    blocks: list[tuple[np.ndarray, ...]],
    reasons: list[list[Any]],
    asset_ids: list[str],
    multiplier: np.ndarray,
    times: np.ndarray,
    axis: TimeAxis,
) -> pl.DataFrame:
    """Every fill, in order."""
    kinds = (np.int64,) * 3 + (np.float64,) * 5 + (np.bool_,)
    columns = [
        np.concatenate([np.zeros(0, dtype=kind), *(block[i] for block in blocks)])
        for i, kind in enumerate(kinds)
    ]
    order_id, code, t, quantity, price, commission, slippage, position, _ = columns
    return to_frame(
        {
            "fill_id": np.arange(1, len(code) + 1),
            "order_id": order_id,
            "timestamp": time_series(times[t] if len(t) else t, axis),
            "asset_id": pick(asset_ids, code),
            "side": sides(quantity),
            "quantity": np.abs(quantity),
            "price": price,
            "commission": commission,
            "slippage": slippage,
            "reason": _reasons(reasons),
            "position": position,
            "multiplier": multiplier[code],
        }
    )


def _reasons(runs: list[list[Any]]) -> pl.Series:
    """A word for each fill, from words and how often each stands in a row."""
    kinds = list(dict.fromkeys(word for word, _ in runs))
    counts = [n for _, n in runs]
    if len(kinds) == 1:  # the usual case where market orders are traded
        return repeated(kinds[0], sum(counts), pl.String)
    places = {word: place for place, word in enumerate(kinds)}
    return pick(kinds, np.repeat([places[word] for word, _ in runs], counts).astype(np.int64))


def sides(quantity: np.ndarray) -> pl.Series:
    """For each signed quantity its side."""
    words = pl.Series([OrderSide.SELL.value, OrderSide.BUY.value])
    return words[to_series((quantity > 0.0).astype(np.int64))]


def marks_of(portfolio: Portfolio) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """What is held now: ids in order, signed quantities, last closes and multipliers."""
    held = sorted(portfolio.held)
    codes = np.array([portfolio.universe.codes[asset_id] for asset_id in held], dtype=np.int64)
    columns = portfolio.quantity, portfolio.last_prices(), portfolio.multiplier
    quantity, price, multiplier = (column[codes] for column in columns)
    return held, quantity, price, multiplier


def marks_frame(
    held: list[str],
    quantity: np.ndarray,
    price: np.ndarray,
    multiplier: np.ndarray,
    times: np.ndarray,
    axis: TimeAxis,
) -> pl.DataFrame:
    """What is still held at the end, at its last close; the columns are those of `marks_of`."""
    end = times[-1:] if len(times) else np.zeros(1, dtype=np.int64)
    return to_frame(
        {
            "asset_id": pl.Series(held, dtype=pl.String),
            "quantity": quantity,
            "price": price,
            "timestamp": time_series(np.repeat(end, len(held)), axis),
            "multiplier": multiplier,
        }
    )


def excursions_frame(blocks: list[tuple[np.ndarray, ...]]) -> pl.DataFrame:
    """The range of prices between one fill of an asset and its next."""
    schema = {"fill_id": pl.Int64, "high": pl.Float64, "low": pl.Float64, "bars": pl.Int64}
    if not blocks:
        return pl.DataFrame(schema=schema)
    parts = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    fill_id, high, low, bars = parts
    order = np.argsort(fill_id, kind="stable")
    fill_id = fill_id[order]
    # A stretch that went on in the next chunk has several rows.
    first = np.diff(fill_id, prepend=0).nonzero()[0]
    columns = (
        fill_id[first],
        np.maximum.reduceat(high[order], first),
        np.minimum.reduceat(low[order], first),
        np.add.reduceat(bars[order], first),
    )
    return to_frame(dict(zip(schema, columns, strict=True)))


def decisions_frame(contexts: list[tuple[int, dict[str, Any]]], axis: TimeAxis) -> pl.DataFrame:
    """The context of every timestamp at which something was ordered."""
    times = time_series(np.array([t for t, _ in contexts], dtype=np.int64), axis)
    names = {name: None for _, context in contexts for name in context}
    return pl.DataFrame(
        [
            times,
            *(
                pl.Series(name, [context.get(name) for _, context in contexts], strict=False)
                for name in names
            ),
        ]
    )


def adjustments_frame(axis: TimeAxis, rows: list[Any]) -> pl.DataFrame:
    """Holdings that went on in other terms, in order."""
    return notes_frame(
        axis,
        rows,
        fill_id=pl.Int64,
        asset_id=pl.String,
        kind=pl.String,
        ratio=pl.Float64,
        new_asset_id=pl.String,
        quantity_before=pl.Float64,
        quantity=pl.Float64,
    )


def notes_frame(axis: TimeAxis, rows: list[Any], **columns: Any) -> pl.DataFrame:
    """Rows of (microseconds, value, ...) as a frame with a `timestamp` and the given columns."""
    values = list(zip(*rows, strict=True)) or [()] * (1 + len(columns))
    times = time_series(np.array(values[0], dtype=np.int64), axis)
    series = [
        pl.Series(name, list(column), dtype=kind, strict=False)
        for (name, kind), column in zip(columns.items(), values[1:], strict=True)
    ]
    return pl.DataFrame([times, *series])
