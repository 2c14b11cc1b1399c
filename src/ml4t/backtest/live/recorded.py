"""A session that is over: its bars as a table, and a broker that only remembers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import numpy as np
import polars as pl

from ml4t.backtest.errors import LiveError
from ml4t.backtest.live.blocks import BarsRecord, block_of
from ml4t.backtest.live.gateway import Gateway

if TYPE_CHECKING:
    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.journal import Journal
    from ml4t.backtest.live.words import Change, Request
    from ml4t.backtest.types.order import Order

REFUSED = "refused"  # what a journal notes behind an order that the broker cannot work


def bars_of(journal: Journal) -> pl.DataFrame:
    """All bars of a journal, warm-up included, with the signals that were beside them.

    Returns:
        `timestamp` (UTC), `asset_id`, prices, `volume`, a column a signal, `_meta` if there was
        any; in order.
    """
    frames = []
    for entry in journal.entries("bars"):
        record = msgspec.msgpack.decode(entry.content, type=BarsRecord)
        block = block_of(record, {name: i for i, name in enumerate(record.asset_ids)})
        columns: dict[str, Any] = {
            "timestamp": np.full(len(record.asset_ids), record.time),
            "asset_id": record.asset_ids,
            **block.prices,
            **{name: _values(column) for name, column in block.signals.items()},
        }
        if record.meta is not None:
            columns["_meta"] = record.meta
        frames.append(pl.DataFrame(columns, strict=False))
    if not frames:
        raise LiveError(f"The journal {str(journal.path)!r} has no bars.")
    whole = pl.concat(frames, how="diagonal_relaxed")
    return whole.with_columns(pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"))


def _values(column: np.ndarray) -> Any:
    if column.dtype == object:
        return column.tolist()
    return pl.Series(column).fill_nan(None)


class RecordedGateway(Gateway):
    """Stands for a broker while a journal's steps are made again; nothing is ever sent.

    Attributes:
        obstacles: Why the broker could not work the orders of the present step, in order of
            submission; empty texts for those that it could.
    """

    name = "the journal"

    def __init__(self) -> None:
        self.obstacles: deque[str] = deque()

    def obstacle(self, order: Order) -> str:
        """What the broker said then."""
        del order
        return self.obstacles.popleft() if self.obstacles else ""

    def expect(self, commands: bytes | None) -> None:
        """The next step is the one in which this was decided."""
        found: deque[str] = deque()
        for kind, content in [] if commands is None else msgspec.msgpack.decode(commands):
            if kind == "submit":
                found.append("")
            elif kind == REFUSED:
                found[-1] = content
        self.obstacles = found

    def close(self) -> None:
        """There is nothing to close."""

    def connect(self, inbox: Inbox) -> NoReturn:
        """Never."""
        raise _no(inbox)

    def send(self, request: Request) -> NoReturn:
        """Never."""
        raise _no(request)

    def cancel(self, client_id: str) -> NoReturn:
        """Never."""
        raise _no(client_id)

    def replace(self, change: Change) -> NoReturn:
        """Never."""
        raise _no(change)

    def find(self, client_id: str) -> NoReturn:
        """Never."""
        raise _no(client_id)

    def open_orders(self) -> NoReturn:
        """Never."""
        raise _no("open_orders")

    def executions(self, since: int) -> NoReturn:
        """Never."""
        raise _no(since)

    def standing(self) -> NoReturn:
        """Never."""
        raise _no("standing")


def _no(asked: object) -> LiveError:
    return LiveError(
        f"A journal that is read again asks no broker for anything, nor for {asked!r}."
    )
