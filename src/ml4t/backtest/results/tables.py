"""Columns noted during a run, as the frames a record wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.results.columns import repeated, to_frame, to_series
from ml4t.backtest.types.order import OrderSide, OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Blotter, Working
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.results.recorder import Recorder
    from ml4t.backtest.types.time import TimeAxis

_ORDER_SCHEMA: dict[str, Any] = {
    "order_id": pl.Int64,
    "asset_id": pl.String,
    "side": pl.String,
    "type": pl.String,
    "quantity": pl.Float64,
    "limit_price": pl.Float64,
    "stop_price": pl.Float64,
    "time_in_force": pl.String,
    "status": pl.String,
    "filled_quantity": pl.Float64,
    "average_fill_price": pl.Float64,
    "reason": pl.String,
    "tag": pl.String,
}


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


def _ids(universe_ids: list[str], codes: np.ndarray) -> pl.Series:
    return pl.Series("asset_id", universe_ids, dtype=pl.String)[to_series(codes)]


def fills_frame(recorder: Recorder, times: np.ndarray) -> pl.DataFrame:
    """Every fill, in order."""
    blocks = recorder.fill_blocks
    kinds = (np.int64,) * 3 + (np.float64,) * 5 + (np.bool_,)
    columns = [
        np.concatenate([np.zeros(0, dtype=kind), *(block[i] for block in blocks)])
        for i, kind in enumerate(kinds)
    ]
    order_id, code, t, quantity, price, commission, slippage, position, _ = columns
    portfolio = recorder.portfolio
    return to_frame(
        {
            "fill_id": np.arange(1, len(code) + 1),
            "order_id": order_id,
            "timestamp": time_series(times[t] if len(t) else t, recorder.axis),
            "asset_id": _ids(portfolio.universe.ids, code),
            "side": _sides(quantity),
            "quantity": np.abs(quantity),
            "price": price,
            "commission": commission,
            "slippage": slippage,
            "reason": _reasons(recorder.fills.reasons),
            "position": position,
            "multiplier": portfolio.multiplier[code],
        }
    )


def _reasons(runs: list[list[Any]]) -> pl.Series:
    """A word for each fill, from words and how often each stands in a row."""
    kinds = list(dict.fromkeys(word for word, _ in runs))
    counts = [n for _, n in runs]
    if len(kinds) == 1:  # the usual case where market orders are traded
        return repeated(kinds[0], sum(counts), pl.String)
    places = {word: place for place, word in enumerate(kinds)}
    return _ids(kinds, np.repeat([places[word] for word, _ in runs], counts).astype(np.int64))


def _sides(quantity: np.ndarray) -> pl.Series:
    words = pl.Series([OrderSide.SELL.value, OrderSide.BUY.value])
    return words[to_series((quantity > 0.0).astype(np.int64))]


def orders_frame(
    blotter: Blotter,
    signals: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    times: np.ndarray,
    axis: TimeAxis,
) -> pl.DataFrame:
    """Every order as it stood at the end, by id, with the signals of its decision."""
    parts = [_singles_frame(blotter.singles)] if blotter.singles else []
    parts += [
        _basket_frame(blotter, ids, units, prices, tag)
        for tag, (ids, units, prices) in blotter.filled.by_tag()
    ]
    parts += [
        _basket_frame(blotter, b.order_ids, b.quantities, None, b.tag) for b in blotter.baskets
    ]
    if not parts:
        parts = [pl.DataFrame(schema=_ORDER_SCHEMA)]
    orders = parts[0] if len(parts) == 1 else pl.concat(parts)
    if not orders["order_id"].is_sorted():
        orders = orders.sort("order_id")
    ids = orders["order_id"].to_numpy() - 1
    steps = np.array(blotter.steps, dtype=np.int64)[ids] if len(ids) else ids
    created = times[np.maximum(steps, 0)] if len(times) else np.zeros(len(steps), dtype=np.int64)
    dates = time_series(created, axis).alias("created_at")
    # An order from before the first bar has no date.
    before = steps < 0
    if before.any():
        dates = dates.set(to_series(before), None)
    return _with_signals(orders.insert_column(1, dates), signals)


def _singles_frame(singles: list[Working]) -> pl.DataFrame:
    """The orders that came one by one."""
    orders = [working.order for working in singles]
    return pl.DataFrame(
        {
            "order_id": [working.order_id for working in singles],
            "asset_id": _words([order.asset_id for order in orders]),
            "side": _words([order.side for order in orders]),
            "type": _words([order.type for order in orders]),
            "quantity": _floats([order.quantity for order in orders]),
            "limit_price": _floats([order.limit_price for order in orders]),
            "stop_price": _floats([order.stop_price for order in orders]),
            "time_in_force": _words([order.time_in_force for order in orders]),
            "status": _words([working.status for working in singles]),
            "filled_quantity": [working.filled for working in singles],
            "average_fill_price": [working.average_price for working in singles],
            "reason": _words([working.reason for working in singles]),
            "tag": _words([order.tag for order in orders]),
        },
        schema=_ORDER_SCHEMA,
    ).with_columns(
        pl.col("average_fill_price").fill_nan(None),  # NaN: nothing was filled
        pl.col("reason", "tag").replace("", None),
    )


def _words(values: list[Any]) -> pl.Series:
    """Few different words, or whatever a rejected order had for them, as strings."""
    try:
        kinds = dict.fromkeys(values)
    except TypeError:  # not even hashable
        return pl.Series([str(value) for value in values], dtype=pl.String)
    if len(kinds) == 1:
        return repeated(str(values[0]), len(values), pl.String)
    places = {value: place for place, value in enumerate(kinds)}
    codes = np.fromiter(map(places.__getitem__, values), dtype=np.int64, count=len(values))
    return _ids([str(value) for value in kinds], codes)


def _floats(values: list[Any]) -> pl.Series:
    """Numbers as asked for; what is none is null."""
    if values.count(None) == len(values):
        return repeated(None, len(values), pl.Float64)
    try:
        return pl.Series(values, dtype=pl.Float64)
    except (TypeError, ValueError, OverflowError):
        return pl.Series([_float(value) for value in values], dtype=pl.Float64)


def _float(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None  # a quantity that is no number at all; the order's reason quotes it


def _basket_frame(
    blotter: Blotter,
    order_ids: np.ndarray,
    quantities: np.ndarray,
    prices: np.ndarray | None,
    tag: str,
) -> pl.DataFrame:
    codes = np.array(blotter.codes, dtype=np.int64)[order_ids - 1]
    status = OrderStatus.ACCEPTED if prices is None else OrderStatus.FILLED
    n, size = len(order_ids), np.abs(quantities)
    same = {
        "type": (OrderType.MARKET.value, pl.String),
        "limit_price": (None, pl.Float64),
        "stop_price": (None, pl.Float64),
        "time_in_force": (TimeInForce.GTC.value, pl.String),
        "status": (status.value, pl.String),
        "reason": (None, pl.String),
        "tag": (tag or None, pl.String),
    }
    columns = {
        "order_id": order_ids,
        "asset_id": _ids(blotter.universe.ids, codes),
        "side": _sides(quantities),
        "quantity": size,
        "filled_quantity": np.zeros(n) if prices is None else size,
        "average_fill_price": repeated(None, n, pl.Float64) if prices is None else prices,
        **{name: repeated(value, n, kind) for name, (value, kind) in same.items()},
    }
    return to_frame({name: columns[name] for name in _ORDER_SCHEMA})


def _with_signals(
    orders: pl.DataFrame, signals: list[tuple[np.ndarray, dict[str, np.ndarray]]]
) -> pl.DataFrame:
    names = {name: None for _, columns in signals for name in columns}
    parts = [
        to_frame(
            {
                "order_id": ids,
                **{f"signal_{name}": _signal_series(columns.get(name), len(ids)) for name in names},
            },
        )
        for ids, columns in signals
        if len(ids)
    ]
    if not parts:
        return orders.with_columns(
            pl.lit(None, dtype=pl.Float64).alias(f"signal_{name}") for name in names
        )
    joined = pl.concat(parts, how="vertical_relaxed")
    if joined["order_id"].equals(orders["order_id"]):  # every order had a bar: the usual case
        return orders.hstack(joined.get_columns()[1:])
    return orders.join(joined, on="order_id", how="left", maintain_order="left")


def _signal_series(column: np.ndarray | None, n: int) -> pl.Series:
    if column is None:
        return pl.Series([None] * n, dtype=pl.Null)
    if column.dtype == object:
        return pl.Series(column.tolist(), strict=False)
    return to_series(column, nan_as_null=True)


def marks_frame(portfolio: Portfolio, times: np.ndarray, axis: TimeAxis) -> pl.DataFrame:
    """What is still held at the end, at its last close."""
    held = sorted(portfolio.held)
    codes = np.array([portfolio.universe.codes[asset_id] for asset_id in held], dtype=np.int64)
    end = times[-1:] if len(times) else np.zeros(1, dtype=np.int64)
    return to_frame(
        {
            "asset_id": pl.Series(held, dtype=pl.String),
            "quantity": portfolio.quantity[codes],
            "price": portfolio.last_prices()[codes],
            "timestamp": time_series(np.repeat(end, len(held)), axis),
            "multiplier": portfolio.multiplier[codes],
        }
    )


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
