"""What a strategy asks for in its hooks: noted, and asked again in its place after a restart."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ml4t.backtest.broker.watchers import Rule
from ml4t.backtest.errors import BacktestError, OrderError
from ml4t.backtest.live.records import order_of, packed
from ml4t.backtest.strategy.desk import Desk
from ml4t.backtest.types.order import Order, OrderSide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _noted(method: Callable[..., Any]) -> Any:
    """A method of the desk that is noted when a strategy calls it, and not when another does."""

    def ask(desk: NotedDesk, *args: Any) -> Any:
        if desk.closed:
            raise OrderError(desk.closed)
        notes, desk.notes = desk.notes, None
        if notes is not None:
            notes.append((method.__name__, args))
        try:
            return method(desk, *args)
        finally:
            desk.notes = notes

    return ask


class NotedDesk(Desk):
    """A desk that notes what it is asked to do, so that the same can be asked again.

    Everything a hook can change of a run goes through it: orders, also those that limits or the
    desk itself refuse, cancels and changes, rules over positions, and what is put on the result.
    Asked again with the same portfolio it does the same, which no list of what came of it would
    do: ids of orders, counts of limits and the marks of rules come out as they were.

    Attributes:
        notes: What was asked for, while a hook runs; None otherwise.
        closed: Why nothing can be asked for now; empty when it can.
    """

    is_hot = False  # a state may be all that stands on the strategy object
    notes: list[tuple[str, tuple[Any, ...]]] | None = None
    closed: str = ""

    submit = _noted(Desk.submit)
    bracket = _noted(Desk.bracket)
    reject = _noted(Desk.reject)
    add_worth = _noted(Desk.add_worth)
    target_worth = _noted(Desk.target_worth)
    sell_share = _noted(Desk.sell_share)
    target = _noted(Desk.target)
    close = _noted(Desk.close)
    rebalance = _noted(Desk.rebalance)
    watch = _noted(Desk.watch)
    cancel = _noted(Desk.cancel)
    replace = _noted(Desk.replace)
    cancel_all = _noted(Desk.cancel_all)
    record = _noted(Desk.record)
    log = _noted(Desk.log)

    def market(
        self,
        asset_id: str,
        side: OrderSide,
        quantity: float,
        tag: str,
        *,
        reduce_only: bool = False,
    ) -> int:
        """As any order: the short way would pass the notes by."""
        order = Order(asset_id, side, quantity, reduce_only=reduce_only, tag=tag)
        order_id: int = self.submit(order)
        return order_id

    @contextmanager
    def noting(self) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
        """What is asked for inside is noted."""
        notes: list[tuple[str, tuple[Any, ...]]] = []
        self.notes = notes
        try:
            yield notes
        finally:
            self.notes = None

    @contextmanager
    def closed_for(self, reason: str) -> Iterator[None]:
        """Nothing can be asked for inside."""
        self.closed = reason
        try:
            yield
        finally:
            self.closed = ""

    def ask_again(self, content: bytes) -> None:
        """Do once more what was asked for then; what was refused with an error is so again."""
        for name, args in msgspec.msgpack.decode(content):
            with suppress(BacktestError):
                getattr(self, name)(*(_RESTORED[name](*args) if name in _RESTORED else args))


def asked(notes: list[tuple[str, tuple[Any, ...]]]) -> bytes:
    """Notes as a journal holds them."""
    return packed(notes)


def _order(order: dict[str, Any]) -> tuple[Any, ...]:
    return (order_of(order),)


def _refusal(asset_id: str, side: str, reason: str, tag: str) -> tuple[Any, ...]:
    return (asset_id, OrderSide(side), reason, tag)


def _weights(weights: Any, *more: Any) -> tuple[Any, ...]:
    return (weights if isinstance(weights, dict) else np.asarray(weights), *more)


def _rule(asset_id: str | None, rule: dict[str, Any]) -> tuple[Any, ...]:
    return (asset_id, Rule(**rule))


_RESTORED: dict[str, Callable[..., tuple[Any, ...]]] = {
    "submit": _order,
    "reject": _refusal,
    "rebalance": _weights,
    "watch": _rule,
}
