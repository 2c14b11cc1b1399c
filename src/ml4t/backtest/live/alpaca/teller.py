"""From a trade update to what a session hears of it; on the thread of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.live.alpaca.orders import (
    asset_of,
    filled_of,
    status_of,
    told_correction,
    told_execution,
)
from ml4t.backtest.live.words import Link, Refusal, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.live.alpaca.names import Names
    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.words import Execution, VenueEvent

# On the way to something that will be told, or told already by the answer to the request.
_PASSING = frozenset({"pending_new", "pending_cancel", "pending_replace", "held", "calculated"})
_FILLS = frozenset({"fill", "partial_fill"})
_CORRECTIONS = frozenset({"trade_correct", "trade_bust"})
_REFUSALS = {"order_cancel_rejected": "cancel", "order_replace_rejected": "replace"}


class UpdateTeller:
    """Puts what updates say on the inbox, and does nothing else.

    Updates of orders that are not known wait until they are: the legs of a bracket may be heard
    of before the answer to the bracket has been read.

    Args:
        names: Which order is which.
        inbox: Where it goes.

    Attributes:
        executions: Names of those that were told.
        is_renewed: The stream was lost, and is there again: what it missed it never tells.
    """

    def __init__(self, names: Names, inbox: Inbox) -> None:
        self.executions: set[str] = set()
        self.is_renewed = False
        self._names = names
        self._inbox = inbox
        self._by_id: dict[str, Execution] = {}

    def hear(self, update: Json) -> None:
        """An update has come."""
        name = self._names.name_of(update["order"])
        if not name and self._names.hold(update):
            return
        for event in self._events(update, name or self._names.name_of(update["order"])):
            self._inbox.put("broker", event)

    def link(self, is_up: bool, reason: str) -> None:  # noqa: FBT001  told as it is
        """The stream is lost, or there again."""
        self.is_renewed |= is_up
        self._inbox.put("broker", Link(is_up, reason))

    def _events(self, update: Json, name: str) -> Iterator[VenueEvent]:
        order, event = update["order"], str(update["event"])
        reason = str(update.get("reason") or "")
        if event in _REFUSALS:
            yield Refusal(name, _REFUSALS[event], reason or f"{event} by the exchange")
        elif event in _CORRECTIONS:
            yield from self._correction(update)
        elif event == "replaced":
            self._names.pass_on(order)
            successor = self._names.name_of_id(str(order.get("replaced_by")))
            if successor:  # otherwise the answer to the change will say so
                yield self._report(order, name, reason, successor)
        elif event not in _PASSING:
            if event in _FILLS:
                yield self._execution(update, name)
            if self._names.earlier(order) is None:
                yield from self._look(f"an order that {name} replaces was not seen to its end")
            else:
                yield self._report(order, name, reason)

    def _execution(self, update: Json, name: str) -> Execution:
        execution = told_execution(update, name, asset_of(update["order"]))
        self.executions.add(execution.execution_id)
        self._by_id[str(update.get("execution_id"))] = execution
        return execution

    def _correction(self, update: Json) -> Iterator[VenueEvent]:
        before = self._by_id.get(str(update.get("previous_execution_id")))
        if before is None:  # of a session before: the list of activities has it
            yield from self._look("an execution was corrected that this stream did not tell")
            return
        correction = told_correction(update, before)
        self._by_id[str(update.get("execution_id"))] = before
        yield correction

    def _report(self, order: Json, name: str, reason: str, successor: str = "") -> Report:
        filled = (self._names.earlier(order) or 0.0) + filled_of(order)
        return Report(name, status_of(order), str(order["id"]), filled, reason, successor)

    def _look(self, reason: str) -> Iterator[VenueEvent]:
        """What cannot be told from updates alone is found out as after a lost connection."""
        yield Link(is_up=False, reason=reason)
        yield Link(is_up=True, reason="to be looked up")
