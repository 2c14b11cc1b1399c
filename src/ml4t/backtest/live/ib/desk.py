"""What is asked of the broker about orders and the account; on the loop alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.book import Book, Known
from ml4t.backtest.live.ib.changes import copy_of, is_as_changed, name_now, take_refusal
from ml4t.backtest.live.ib.vendor import ExecutionFilter, Order
from ml4t.backtest.live.timing import MICROSECONDS, WallTime
from ml4t.backtest.live.words import Answer
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml4t.backtest.live.ib.contracts import Contracts
    from ml4t.backtest.live.ib.link import TwsLink
    from ml4t.backtest.live.words import Change, Execution, Report, Request

_MOMENT = 0.5  # seconds for the reason of what was said
_FIRST_SECOND = 1_700_000_000  # numbers of orders count the seconds since then


class IBDesk:
    """Asks, and waits for the answer.

    Args:
        contracts: What assets are.
        tell: Called with what the session should hear of.
        commission_seconds: How long a fill waits for what it cost.

    Attributes:
        book: What the broker has said.
        link: The connection.
        account: The one that is traded.
    """

    def __init__(
        self, contracts: Contracts, tell: Callable[[Any], None], *, commission_seconds: float
    ) -> None:
        self.contracts = contracts
        self.book = Book(tell, contracts.asset_of, wait=commission_seconds)
        self.link: TwsLink
        self.account = ""
        self._asking = asyncio.Lock()

    async def learn(self) -> None:
        """Ask for the contracts that were named, so that positions can be told apart."""
        for asset_id in self.contracts.given:
            await self._contract(asset_id)
        self.book.is_silent = False

    async def _contract(self, asset_id: str) -> Any:
        ib = self.link.ib

        async def ask(wanted: Any) -> list[Any]:
            found: list[Any] = await self.link.answer(ib.reqContractDetailsAsync(wanted))
            return found

        return await self.contracts.find(asset_id, ask)

    # -- requests -----------------------------------------------------------------------------

    async def send(self, request: Request) -> Answer:
        """Send an order and its legs."""
        book = self.book
        head = book.named(request.client_id)
        is_there = head is not None and head.status is not None and head.word
        if is_there or book.filled_of(request.client_id):  # what has fills was taken
            return Answer(is_taken=True, reports=self._reports(request))
        contract = await self._contract(request.terms.asset_id)
        parts = (request, *request.legs)
        names = {part.client_id for part in parts}
        book.quiet |= names
        try:
            self._place(parts, contract)
            await self._wait(lambda: self._is_settled(names))
            await self._clear_doubts(names)
            return await self._outcome(request)
        finally:
            self._let_go(names)

    def _place(self, parts: Sequence[Request], contract: Any) -> None:
        """Number the orders and send them; the last one sets all of them to work."""
        head = parts[0]
        is_group = len(parts) > 1 and head.terms.reduce_only
        first = 0
        for part in parts:
            order = Order(**mapping.order_words(part))
            order.orderId, order.clientId = self._next_number(), self.link.client_id
            order.account = self.account
            if is_group:
                order.ocaGroup, order.ocaType = head.client_id, mapping.REDUCE_OTHERS
            elif part is head:
                first = order.orderId
            else:
                order.parentId = first
            order.transmit = is_group or part is parts[-1]
            self.book.add(part.client_id, contract, order)
            self.link.client.placeOrder(order.orderId, contract, order)

    def _next_number(self) -> int:
        """Never one that was used, even when the broker has forgotten what it gave.

        Numbers follow the clock, so that those of a later session are higher, too.
        """
        client = self.link.client
        clock = WallTime().now() // MICROSECONDS - _FIRST_SECOND
        number: int = max(client.getReqId(), self.book.highest + 1, clock)
        self.book.highest = number
        client.updateReqId(number + 1)
        return number

    def _is_settled(self, names: set[str]) -> bool:
        """Whether the broker has said something of all these, or does not like one of them."""
        parts = [self.book.orders[name] for name in names]
        if any(part.doubt or part.refusal for part in parts):
            return True
        return all(part.status is not None for part in parts)

    async def _outcome(self, request: Request) -> Answer:
        """What became of an order that was sent."""
        head = self.book.named(request.client_id)
        assert head is not None
        parts = [head, *(self.book.orders[leg.client_id] for leg in request.legs)]
        if any(part.refusal and part.refusal[0] == mapping.DUPLICATE_ID for part in parts):
            self._take_back(parts)
            return Answer(None, "the number of the order was used before")
        if head.status is OrderStatus.REJECTED:
            await self._wait(lambda: head.reason, _MOMENT)
            self._take_back(parts[1:])
            head.told = (head.status, head.filled)
            return Answer(is_taken=False, reason=mapping.why(head.reason))
        refused = next((part for part in parts if part.refusal), None)
        is_entry = not request.terms.reduce_only
        if refused is not None and (is_entry or not head.word):
            reason = f"{refused.ref}: {mapping.why(refused.reason)}"
            return await self._withdraw(request, parts, reason)
        if head.word:
            return Answer(is_taken=True, reports=self._reports(request))
        for part in parts:
            self.book.orders.pop(part.ref, None)
        return Answer(None, "no answer")

    async def _withdraw(self, request: Request, parts: Sequence[Known], reason: str) -> Answer:
        """A part was refused: an entry without its exits is not wanted, unless it has filled."""
        head = parts[0]
        if head.word:
            self.link.client.cancelOrder(head.order.orderId)
            await self._wait(lambda: head.is_over)
            if head.filled or not head.is_over:
                return Answer(is_taken=True, reports=self._reports(request))
            head.told = (head.status, head.filled)
            self._take_back(parts[1:])
        else:
            self._take_back(parts)
        return Answer(is_taken=False, reason=reason)

    def _take_back(self, parts: Sequence[Known]) -> None:
        """Cancel what may be there of orders that are not to be, and forget them."""
        for part in parts:
            if not part.is_over and part.refusal is None:
                self.link.client.cancelOrder(part.order.orderId)
            self.book.orders.pop(part.ref, None)

    async def cancel(self, ref: str) -> Answer:
        """Ask for the end of an order."""
        known = self.book.named(ref)
        if known is None:
            await self.refresh()
            known = self.book.named(ref)
        if known is None or known.is_over:
            state = "not known" if known is None else str(known.status)
            return Answer(is_taken=False, reason=f"the order is {state}")
        if known.order.clientId != self.link.client_id:
            reason = f"client_id={known.order.clientId} sent it, and only that can cancel it"
            return Answer(is_taken=False, reason=reason)
        take_refusal(known)
        before = known.word
        self.link.client.cancelOrder(known.order.orderId)
        is_answered = await self._wait(
            lambda: known.is_over or known.refusal is not None or known.doubt
            or known.word != before or known.word == "PendingCancel"
        )  # fmt: skip
        if (refusal := take_refusal(known)) is not None:
            return Answer(is_taken=False, reason=f"{refusal[0]}: {refusal[1]}")
        return Answer(is_taken=True) if is_answered else Answer(None, "no answer")

    async def replace(self, ref: str, change: Change) -> Answer:
        """Change an order."""
        known = self.book.named(ref)
        if known is None or not known.order.orderId:
            await self.refresh()
            known = self.book.named(ref)
        if known is None or known.is_over:
            state = "not known" if known is None else str(known.status)
            return Answer(is_taken=False, reason=f"the order is {state}")
        old = known.order
        order = copy_of(old)
        order.totalQuantity = change.quantity
        if change.limit_price is not None and "LIMIT" not in old.orderType:
            order.lmtPrice = change.limit_price
        if change.stop_price is not None and "TRAIL" not in old.orderType:
            order.auxPrice = change.stop_price
        take_refusal(known)
        seen = known.order
        self.book.quiet.add(ref)
        try:
            self.link.client.placeOrder(old.orderId, known.contract, order)
            await self._wait(
                lambda: known.order is not seen or known.refusal is not None or known.doubt
                or known.is_over
            )  # fmt: skip
            if known.order is seen:
                await self.refresh()
        finally:
            self._let_go({ref})
        refusal = take_refusal(known)
        if is_as_changed(known, change):
            report = known.report(change.client_id, change.new_client_id)
            return Answer(is_taken=True, reports=() if report is None else (report,))
        reason = "it stayed as it was" if refusal is None else f"{refusal[0]}: {refusal[1]}"
        return Answer(is_taken=False, reason=reason)

    def _reports(self, request: Request) -> tuple[Report, ...]:
        found = []
        for name in request.client_ids:
            known = self.book.named(name)
            report = None if known is None else known.report()
            if known is not None and report is not None:
                known.told = (report.status, report.filled)
                found.append(report)
        return tuple(found)

    def _let_go(self, names: set[str]) -> None:
        """Nobody waits for these any more: what they have become is told."""
        self.book.quiet -= names
        for name in names:
            known = self.book.named(name)
            if known is not None and (known.word or known.refusal):
                self.book.say(known)

    async def _clear_doubts(self, names: set[str]) -> None:
        """An error says little: ask which of the orders are there."""
        parts = [self.book.orders[name] for name in names]
        if not any(part.doubt or part.refusal for part in parts):
            return
        await self.refresh()
        for known in parts:
            if known.doubt and known.seen != self.book.round and not known.word:
                known.refusal = (known.doubt, known.reason)
            known.doubt = 0

    async def _wait(self, is_done: Callable[[], Any], seconds: float | None = None) -> bool:
        """Wait for something, no longer than for an answer; whether it came."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.link.answer_seconds if seconds is None else seconds)
        while not is_done():
            left = end - loop.time()
            if left <= 0.0 or not self.link.is_up:
                return False
            self.book.changed.clear()
            try:
                await asyncio.wait_for(self.book.changed.wait(), min(left, 0.25))
            except TimeoutError:
                continue
        return True

    # -- questions ----------------------------------------------------------------------------

    async def refresh(self, names: Sequence[str] = ()) -> None:
        """Ask for all open orders, and for those that ended today.

        Args:
            names: The orders that matter; empty for all. Those that ended grow many in a day, and
                are asked for only when one of these is not open and has not ended.
        """
        async with self._asking:
            self.book.round += 1
            ib = self.link.ib
            await self.link.answer(ib.reqAllOpenOrdersAsync())
            if not names or not all(self._is_found(name) for name in names):
                await self.link.answer(ib.reqCompletedOrdersAsync(apiOnly=False))

    def _is_found(self, ref: str) -> bool:
        known = self.book.named(ref)
        return known is not None and (known.seen == self.book.round or known.is_over)

    def standing_of(self, ref: str, name: str, change: Change | None) -> Report | None:
        """Where an order stands after a `refresh`; None when the broker does not know it."""
        known = self.book.named(ref)
        if known is None or (known.seen != self.book.round and not known.is_over):
            return self._by_fills(ref, name)
        is_changed = change is not None and change.client_id == name and not known.is_over
        if change is not None and is_changed and is_as_changed(known, change):
            return known.report(name, change.new_client_id)
        return known.report(name)

    def _by_fills(self, ref: str, name: str) -> Report | None:
        """An order that is in no list, if its fills say that it is over.

        One that had filled in part may have filled on, before the lists begin: nobody knows.
        """
        known, filled = self.book.named(ref), self.book.filled_of(ref)
        if known is None or filled < known.order.totalQuantity:
            return None
        known.filled, known.word = filled, "Filled"
        return known.report(name)

    def open_orders(self, changes: Mapping[str, Change]) -> list[tuple[Report, str]]:
        """Those that were listed last, each under the name that it goes by now.

        Args:
            changes: By first names, the last change that was asked for.
        """
        found = []
        for known in self.book.orders.values():
            report = known.report(name_now(known, changes.get(known.ref)))
            if report is None or known.is_over or known.seen != self.book.round:
                continue
            found.append((report, self.contracts.asset_of(known.contract)))
        return found

    async def executions(self) -> list[Execution]:
        """The fills of today, and all of before that are known, oldest first."""
        ib = self.link.ib
        wanted = ExecutionFilter(acctCode=self.account)
        await self.link.answer(ib.reqExecutionsAsync(wanted))
        await self._wait(lambda: not self.book.is_waiting)
        return sorted(self.book.executions.values(), key=lambda one: (one.at, one.execution_id))
