"""Bars as they stand in a journal: exact, small, and readable without a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.data.block import Block

if TYPE_CHECKING:
    from collections.abc import Mapping


class BarsRecord(msgspec.Struct, frozen=True):
    """All bars of one timestamp, as they came.

    Args:
        time: Microseconds.
        asset_ids: Of each row.
        prices: Open, high, low, close and volume: little-endian float64, one after the other.
        signals: Values of each row by name; numbers likewise, anything else as a list.
        meta: Of each row, or None.
        context: One value by name.
        begins: When each bar began, little-endian int64, or None.
        refusal: Why no order was taken at this step; empty when orders were.
        is_warmup: It came from history, before the session began.
    """

    time: int
    asset_ids: list[str]
    prices: dict[str, bytes]
    signals: dict[str, Any] = {}
    meta: list[Any] | None = None
    context: dict[str, Any] = {}
    begins: bytes | None = None
    refusal: str = ""
    is_warmup: bool = False


def record_of(block: Block, ids: list[str], *, refusal: str, is_warmup: bool) -> BarsRecord:
    """A block of one timestamp as a record.

    Args:
        block: It.
        ids: Assets by the feed's codes.
        refusal: Why no order is taken at this step.
        is_warmup: It comes from history.
    """
    return BarsRecord(
        int(block.times[0]),
        [ids[code] for code in block.codes.tolist()],
        {name: _bytes(column, "<f8") for name, column in block.prices.items()},
        {name: _packed(column) for name, column in block.signals.items()},
        None if block.meta is None else block.meta.tolist(),
        {name: values.tolist()[0] for name, values in block.context.items()},
        None if block.begins is None else _bytes(block.begins, "<i8"),
        refusal,
        is_warmup,
    )


def block_of(record: BarsRecord, codes: Mapping[str, int]) -> Block:
    """A record as a block.

    Args:
        record: It.
        codes: The feed's code of each asset.
    """
    n = len(record.asset_ids)
    return Block(
        times=np.array([record.time], dtype=np.int64),
        offsets=np.array([0, n], dtype=np.int64),
        codes=np.array([codes[name] for name in record.asset_ids], dtype=np.int32),
        prices={name: _column(data, "<f8") for name, data in record.prices.items()},
        signals={name: _unpacked(data) for name, data in record.signals.items()},
        meta=None if record.meta is None else _objects(record.meta),
        context={name: _objects([value]) for name, value in record.context.items()},
        begins=None if record.begins is None else _column(record.begins, "<i8"),
    )


def rows_of(block: Block, rows: np.ndarray) -> Block:
    """Some rows of a block of one timestamp.

    Args:
        block: It.
        rows: Whether each of its rows is kept.
    """
    return Block(
        times=block.times,
        offsets=np.array([0, np.count_nonzero(rows)], dtype=np.int64),
        codes=block.codes[rows],
        prices={name: column[rows] for name, column in block.prices.items()},
        signals={name: column[rows] for name, column in block.signals.items()},
        meta=None if block.meta is None else block.meta[rows],
        context=block.context,
        begins=None if block.begins is None else block.begins[rows],
    )


def _bytes(column: np.ndarray, kind: str) -> bytes:
    return column.astype(kind).tobytes()


def _column(data: bytes, kind: str) -> np.ndarray:
    return np.frombuffer(data, dtype=kind).astype(kind[1:])


def _packed(column: np.ndarray) -> Any:
    return column.tolist() if column.dtype == object else _bytes(column, "<f8")


def _unpacked(data: Any) -> np.ndarray:
    return _column(data, "<f8") if isinstance(data, bytes) else _objects(data)


def _objects(values: list[Any]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
