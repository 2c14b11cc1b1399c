"""What the broker has said of orders and fills, by our names and its own; on the loop alone."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.vendor import UNSET_DOUBLE
from ml4t.backtest.live.words import Execution, Report
from ml4t.backtest.types.order import OrderStatus
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.ib import vendor

_UTC = TimeAxis(zone="UTC")
_OVER = frozenset({OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED})


class Known(msgspec.Struct):
    """One order.

    Args:
        ref: Our name for it; of orders that others sent, the broker's.
        contract: What it is of.
        order: As it was sent, or as the broker tells it.
        is_ours: It carries a name.
        word: The broker's word for where it stands; empty while it has said nothing.
        filled: Units.
        why_held: The broker's word.
        parent_id: The number of the order that it waits for.
        reason: The last error text about it.
        refusal: Code and text with which the broker refused it, or the last change of it.
        doubt: Code of an error that nobody knows; it must be asked for.
        seen: In which round of questions it was listed last.
        told: What was put on the inbox last.
    """

    ref: str
    contract: Any
    order: Any
    is_ours: bool = True
    word: str = ""
    filled: float = 0.0
    why_held: str = ""
    parent_id: int = 0
    reason: str = ""
    refusal: tuple[int, str] | None = None
    doubt: int = 0
    seen: int = 0
    told: tuple[Any, ...] = ()

    @property
    def status(self) -> OrderStatus | None:
        """Where it stands; None while the broker has not said that it has it."""
        if not self.word and self.refusal is not None:
            return OrderStatus.REJECTED
        is_held = self.word == "PreSubmitted" and "child" in self.why_held
        return mapping.status_of(self.word, self.filled, is_held=is_held)

    @property
    def is_over(self) -> bool:
        """Whether it cannot trade any more."""
        return self.status in _OVER

    def report(self, name: str = "", replaced_by: str = "") -> Report | None:
        """Where it stands, under one of its names."""
        status = self.status
        if status is None:
            return None
        ended = status in (OrderStatus.CANCELED, OrderStatus.REJECTED)
        reason = mapping.why(self.reason) if ended else ""
        venue_id = str(self.order.permId or "")
        name = name or (self.ref if self.is_ours else "")
        return Report(name, status, venue_id, self.filled, reason, replaced_by)


class Book:
    """Keeps orders and fills, and tells what is new.

    Args:
        tell: Called with executions and reports that the session should hear of.
        asset_of: The asset of a contract.
        wait: Seconds that a fill waits for what it cost.

    Attributes:
        orders: By our name, or the broker's for those of others.
        executions: By the broker's name.
        quiet: Names of orders that somebody is asking about: they get the answer.
        changed: Set whenever the broker has said something.
        highest: The highest number of an order seen.
        is_silent: Nothing is told: what was there before is asked for.
    """

    def __init__(
        self,
        tell: Callable[[Execution | Report], None],
        asset_of: Callable[[vendor.Contract], str],
        *,
        wait: float,
    ) -> None:
        self.orders: dict[str, Known] = {}
        self.executions: dict[str, Execution] = {}
        self.quiet: set[str] = set()
        self.changed = asyncio.Event()
        self.highest = 0
        self.round = 0
        self.is_silent = True
        self._tell = tell
        self._asset_of = asset_of
        self._wait = wait
        self._by_perm: dict[int, str] = {}
        self._by_id: dict[tuple[int, int], str] = {}
        self._pending: dict[str, asyncio.TimerHandle] = {}

    def forget_numbers(self) -> None:
        """A new connection: the broker may give numbers again."""
        self._by_id.clear()

    def add(self, ref: str, contract: vendor.Contract, order: vendor.Order) -> Known:
        """An order is about to be sent."""
        known = self.orders[ref] = Known(ref, contract, order)
        self._by_id[order.clientId, order.orderId] = ref
        self.highest = max(self.highest, order.orderId)
        return known

    def numbered(self, client_id: int, order_id: int) -> Known | None:
        """The order that has a number in this connection."""
        return self.orders.get(self._by_id.get((client_id, order_id), ""))

    def named(self, ref: str) -> Known | None:
        """The order of one of our names."""
        return self.orders.get(ref)

    # -- orders -------------------------------------------------------------------------------

    def open_order(
        self, contract: vendor.Contract, order: vendor.Order, state: vendor.OrderState
    ) -> None:
        """The broker tells of an open order and all that it asks."""
        known = self._take(contract, order)
        if not known.word or known.word not in ("Filled", "Cancelled"):
            known.word = state.status or known.word
        parent = self.numbered(order.clientId, order.parentId) if order.parentId else None
        if parent is not None and not known.why_held and not parent.filled:
            known.why_held = "child"  # said with its state, which comes in a moment
        self._by_id[order.clientId, order.orderId] = known.ref
        self.highest = max(self.highest, order.orderId)
        known.seen = self.round
        self._news(known)

    def completed(
        self, contract: vendor.Contract, order: vendor.Order, state: vendor.OrderState
    ) -> None:
        """The broker tells of an order that is over."""
        known = self._take(contract, order)
        known.word = state.status
        filled = float(order.filledQuantity)
        known.filled = max(known.filled, 0.0 if filled == UNSET_DOUBLE else filled)
        known.reason = known.reason or state.completedStatus
        known.seen = self.round
        self._news(known)

    def _take(self, contract: vendor.Contract, order: vendor.Order) -> Known:
        ref = order.orderRef or self._by_perm.get(order.permId) or f"perm {order.permId}"
        known = self.orders.get(ref)
        if known is None:
            known = self.orders[ref] = Known(ref, contract, order, bool(order.orderRef))
        else:
            order.orderId = order.orderId or known.order.orderId
            order.clientId = order.clientId or known.order.clientId
            known.order, known.contract = order, contract
        known.parent_id = order.parentId or known.parent_id
        if order.permId:
            self._by_perm[order.permId] = ref
        return known

    def status(
        self, number: tuple[int, int], perm_id: int, word: str, filled: float, why_held: str
    ) -> None:
        """The broker tells where an order stands."""
        ref = self._by_perm.get(perm_id) or self._by_id.get(number)
        known = self.orders.get(ref or "")
        if known is None:
            return
        known.word, known.filled, known.why_held = word, max(known.filled, filled), why_held
        self._news(known)

    def error(self, known: Known, code: int, text: str) -> None:
        """The broker says something about an order that is no word for where it stands."""
        if code in mapping.NOTICES:
            return
        known.reason = text
        if code == mapping.CANCELED:
            known.word = known.word if known.is_over else "Cancelled"
        elif code in mapping.REFUSALS or code in mapping.NO_CANCEL or code == mapping.DUPLICATE_ID:
            known.refusal = (code, text)
        else:
            known.doubt = code
        self._news(known)

    def _news(self, known: Known) -> None:
        self.changed.set()
        if known.is_over and known.status is not OrderStatus.FILLED and not known.reason:
            # Why it ended comes as an error right behind, mostly in the same packet.
            asyncio.get_running_loop().call_soon(self._say_unasked, known)
        else:
            self._say_unasked(known)

    def _say_unasked(self, known: Known) -> None:
        if known.ref not in self.quiet:
            self.say(known)

    def say(self, known: Known) -> None:
        """Put on the inbox where an order stands, unless that is known."""
        report = known.report()
        if report is None or not known.is_ours:
            return
        if any(self.executions[name].client_id == known.ref for name in self._pending):
            return  # its fills go first; they are told in a moment
        told = (report.status, report.filled)
        if told != known.told:
            known.told = told
            if not self.is_silent:
                self._tell(report)

    # -- fills --------------------------------------------------------------------------------

    def execution(self, contract: vendor.Contract, found: vendor.Execution) -> None:
        """A fill, as it happens or as it is listed."""
        self.highest = max(self.highest, found.orderId)
        if found.execId in self.executions:
            return
        sign = 1.0 if found.side == "BOT" else -1.0
        ref = found.orderRef or self._by_perm.get(found.permId, "")
        first = Execution(
            ref,
            found.execId,
            self._asset_of(contract),
            sign * found.shares,
            found.price,
            _UTC.to_microseconds(found.time),
        )
        head, number, width = mapping.sort_execution(found.execId)
        # Forms of a fill between the first and this one may have been missed, or be known to a
        # session of before: each replaces the one before it, and they all say the same.
        for count in range(1, number):
            name = f"{head}.{count:0{width}d}"
            if name not in self.executions:
                self._keep(first, name, _before(head, count, width), commission=math.nan)
                self._release(name)
        self._keep(first, found.execId, _before(head, number, width), commission=math.nan)
        if number > 1:
            self._release(found.execId)
            return
        loop = asyncio.get_running_loop()
        self._pending[found.execId] = loop.call_later(self._wait, self._release, found.execId)

    def _keep(self, first: Execution, name: str, before: str | None, *, commission: float) -> None:
        self.executions[name] = msgspec.structs.replace(
            first, execution_id=name, corrects=before, commission=commission
        )

    def commission(self, report: vendor.CommissionReport) -> None:
        """What a fill cost."""
        found = self.executions.get(report.execId)
        is_said = report.commission != UNSET_DOUBLE
        if found is not None and is_said and math.isnan(found.commission):
            self.executions[report.execId] = msgspec.structs.replace(
                found, commission=report.commission
            )
        if report.execId in self._pending:
            self._pending[report.execId].cancel()
            self._release(report.execId)

    @property
    def is_waiting(self) -> bool:
        """Whether fills wait for what they cost."""
        return bool(self._pending)

    def _release(self, name: str) -> None:
        self._pending.pop(name, None)
        found = self.executions[name]
        if not self.is_silent:
            self._tell(found)
        self.changed.set()
        known = self.orders.get(found.client_id)
        if known is not None:
            self._say_unasked(known)

    def filled_of(self, ref: str) -> float:
        """Units of an order by its fills, corrected ones once."""
        latest = {
            mapping.sort_execution(one.execution_id)[0]: abs(one.quantity)
            for one in self.executions.values()
            if one.client_id == ref
        }
        return sum(latest.values())


def _before(head: str, number: int, width: int) -> str | None:
    return f"{head}.{number - 1:0{width}d}" if number > 1 else None
