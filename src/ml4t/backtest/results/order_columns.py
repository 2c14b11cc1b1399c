"""The orders of a run: columns taken at its end, and the frame a record wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.results.columns import repeated, to_frame, to_series
from ml4t.backtest.results.tables import pick, sides, time_series
from ml4t.backtest.types.order import OrderStatus, OrderType, TimeInForce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.broker.blotter import Blotter, Working
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


class OrderColumns:
    """Every order as it stands now, whatever becomes of the book it was in.

    Args:
        blotter: The book of a run that is over.
    """

    def __init__(self, blotter: Blotter) -> None:
        self.asset_ids = blotter.universe.ids
        self.codes = np.array(blotter.codes)
        self.steps = np.array(blotter.steps)
        self._singles = [_singles_frame(blotter.singles)] if blotter.singles else []
        self._filled = blotter.filled
        self._open = [(b.tag, b.order_ids.copy(), b.quantities.copy()) for b in blotter.baskets]

    def parts(self) -> Iterator[pl.DataFrame]:
        """Frames of some of the orders each, without their times and signals."""
        yield from self._singles
        for tag, (ids, units, prices) in self._filled.by_tag():
            yield self._of_basket(ids, units, prices, tag)
        for tag, ids, units in self._open:
            yield self._of_basket(ids, units, None, tag)

    def _of_basket(
        self,
        order_ids: np.ndarray,
        quantities: np.ndarray,
        prices: np.ndarray | None,
        tag: str,
    ) -> pl.DataFrame:
        codes = self.codes[order_ids - 1]
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
            "asset_id": pick(self.asset_ids, codes),
            "side": sides(quantities),
            "quantity": size,
            "filled_quantity": np.zeros(n) if prices is None else size,
            "average_fill_price": repeated(None, n, pl.Float64) if prices is None else prices,
            **{name: repeated(value, n, kind) for name, (value, kind) in same.items()},
        }
        return to_frame({name: columns[name] for name in _ORDER_SCHEMA})


def orders_frame(
    orders: OrderColumns,
    signals: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    times: np.ndarray,
    axis: TimeAxis,
) -> pl.DataFrame:
    """Every order as it stood at the end, by id, with the signals of its decision."""
    parts = list(orders.parts()) or [pl.DataFrame(schema=_ORDER_SCHEMA)]
    frame = parts[0] if len(parts) == 1 else pl.concat(parts)
    if not frame["order_id"].is_sorted():
        frame = frame.sort("order_id")
    steps = orders.steps[frame["order_id"].to_numpy() - 1]
    created = times[np.maximum(steps, 0)] if len(times) else np.zeros(len(steps), dtype=np.int64)
    dates = time_series(created, axis).alias("created_at")
    # An order from before the first bar has no date.
    before = steps < 0
    if before.any():
        dates = dates.set(to_series(before), None)
    return _with_signals(frame.clone().insert_column(1, dates), signals)


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
    return pick([str(value) for value in kinds], codes)


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
