"""The order desk of a TWS: numbers of clients, parents, groups and transmission."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import structs

from ml4t.backtest.errors import OrderError
from ml4t.backtest.rehearsal.ib_checks import TwsChecks
from ml4t.backtest.rehearsal.ib_orders import TwsExecution, TwsOrder
from ml4t.backtest.rehearsal.ib_terms import TwsRefusalError, asked_of, order_of, wanted_of
from ml4t.backtest.rehearsal.ib_words import (
    DUPLICATE_ID,
    NO_CONTRACT,
    NO_PARENT,
    NOT_CANCELABLE,
    REJECTED,
    UNKNOWN_ID,
)
from ml4t.backtest.rehearsal.teller import order_facts
from ml4t.backtest.rehearsal.tickets import TicketStatus
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.rehearsal.ib_words import Listing, Wanted
    from ml4t.backtest.rehearsal.tickets import Ticket, Update
    from ml4t.backtest.rehearsal.venue import Venue

_FIRST_PERM = 1_800_000_001
_BY_EXCHANGE = "rejected by the exchange"


class TwsDesk:
    """Takes, changes and cancels orders of clients, and keeps what TWS knows of them.

    Args:
        venue: Where they trade.
        listings: Its contracts.
        account: Its name.
        tell: Called with an order, what happened to it, and the fill if there was one.

    Attributes:
        orders: Every order by client and number; a number that is given again is the new order's.
        executions: Every fill by its id, corrected ones beside what they correct.
    """

    def __init__(
        self,
        venue: Venue,
        listings: list[Listing],
        tell: Callable[[TwsOrder, Update, TwsExecution | None], None],
        account: str,
    ) -> None:
        self.account = account
        self.venue = venue
        self.listings = {one.asset_id: one for one in listings}
        self.orders: dict[tuple[int, int], TwsOrder] = {}
        self.all: list[TwsOrder] = []
        self.executions: dict[str, TwsExecution] = {}
        self.ids: dict[int, int] = {}  # by client: the next number that it should use
        self._checks = TwsChecks(venue)
        self._tell = tell
        self._by_ticket: dict[str, TwsOrder] = {}
        self._exec_ids: dict[str, str] = {}  # the venue's name for a fill, and TWS's
        self._asleep: list[TwsOrder] = []
        venue.register.listeners.append(self._on_update)
        venue.on_bars.append(lambda _bars: self._wake())

    # -- what clients ask -----------------------------------------------------------------------

    def place(
        self, client_id: int, order_id: int, listing: Listing | None, wanted: Wanted
    ) -> TwsOrder:
        """Take an order, or change the one that has its number.

        Raises:
            TwsRefusalError: Why not.
        """
        if listing is None:
            raise TwsRefusalError(
                NO_CONTRACT, "No security definition has been found for the request"
            )
        old = self.orders.get((client_id, order_id))
        if old is not None and (old.is_open or old.ticket is None):
            self._change(old, wanted)
            return old
        if old is not None:
            raise TwsRefusalError(DUPLICATE_ID, "Duplicate order id")
        self._checks.check(listing, wanted)
        parent = self.orders.get((client_id, wanted.parent_id)) if wanted.parent_id else None
        is_lost = parent is None or (
            parent.ticket is not None and not parent.is_open and not parent.filled
        )
        if wanted.parent_id and is_lost:
            raise TwsRefusalError(NO_PARENT, "Missing parent order.")
        wanted.account = self.account
        order = TwsOrder(
            order_id=order_id,
            client_id=client_id,
            perm_id=_FIRST_PERM + len(self.all),
            listing=listing,
            wanted=wanted,
        )
        self.orders[client_id, order_id] = order
        self.all.append(order)
        self.ids[client_id] = max(self.ids.get(client_id, 1), order_id + 1)
        if wanted.transmit:
            self._transmit(order)
        return order

    def cancel(self, client_id: int, order_id: int) -> None:
        """Ask for the end of an order.

        Raises:
            TwsRefusalError: There is none of this client, or it is over.
        """
        order = self.orders.get((client_id, order_id))
        if order is None:
            raise TwsRefusalError(UNKNOWN_ID, f"OrderId {order_id} that needs to be cancelled is "
                                  "not found.")  # fmt: skip
        ticket = order.ticket
        if ticket is None:
            del self.orders[client_id, order_id]
            self.all.remove(order)
            return
        facts = order_facts(ticket)
        if not ticket.is_open or self.venue.faults.take("refuse-cancel", **facts):
            raise TwsRefusalError(
                NOT_CANCELABLE,
                f"OrderId {order_id} that needs to be cancelled can not be cancelled, state: "
                f"{order.status}.",
            )
        if ticket.status is TicketStatus.PENDING_CANCEL:
            return
        if self.venue.faults.take("fill-during-cancel", **facts):
            self.venue.desk.cancel_later(ticket)
            return
        self.venue.market.broker.cancel(ticket.number, "canceled by the client")
        self.venue.teller.tell([], self.venue.now)

    def cancel_all(self) -> None:
        """Ask for the end of all orders."""
        for order in list(self.all):
            if order.is_open:
                self.cancel(order.client_id, order.order_id)

    def roll_back(self) -> None:
        """Forget which numbers were used: they are given again."""
        self.ids.clear()
        self.orders = {key: order for key, order in self.orders.items() if order.is_open}

    # -- taking ---------------------------------------------------------------------------------

    def _transmit(self, order: TwsOrder) -> None:
        """Hand an order in, with what waits for it; a child takes its parent along."""
        parent = self._parent(order)
        head = order if parent is None or parent.ticket is not None else parent
        waiting = [
            other
            for other in self.all
            if other.ticket is None
            and other.client_id == order.client_id
            and (other is head or other.wanted.parent_id == head.order_id)
        ]
        for other in sorted(waiting, key=lambda one: one.order_id):
            self._hand_in(other)
            if other is head and not head.is_open and not head.filled:
                self._orphan([one for one in waiting if one is not head])
                return

    def _orphan(self, orders: list[TwsOrder]) -> None:
        """The parent was rejected: its children never are at work."""
        for order in orders:
            terms = order_of(order.listing.asset_id, order.wanted)
            asked = asked_of(terms, order.wanted, None)
            number = -len(self.venue.register.tickets) - 1
            order.ticket = self.venue.register.add(asked, self.venue.now, number)
            self._by_ticket[order.ticket.id] = order
            text = "its parent was rejected"
            self.venue.teller.end(order.ticket, OrderStatus.CANCELED, text, self.venue.now)

    def _parent(self, order: TwsOrder) -> TwsOrder | None:
        number = order.wanted.parent_id
        return self.orders.get((order.client_id, number)) if number else None

    def _hand_in(self, order: TwsOrder) -> None:
        venue, wanted = self.venue, order.wanted
        parent = self._parent(order)
        waits = parent is not None and parent.ticket is not None and parent.ticket.is_open
        after = parent.ticket.number if waits and parent and parent.ticket else 0
        oco = wanted.oca_group or (f"bracket {after}" if after else "")
        terms = structs.replace(
            order_of(order.listing.asset_id, wanted),
            oco=oco,
            after=after,
            reduce_only=waits and self._opens(parent),
        )
        working = venue.market.submit(terms, extended=wanted.outside_hours)
        asked = asked_of(terms, wanted, None if self._is_taken(wanted.ref) else wanted.ref)
        now = venue.now
        ticket = venue.register.add(
            asked, now, working.order_id,
            status=TicketStatus.HELD if waits else TicketStatus.ACCEPTED,
        )  # fmt: skip
        order.ticket = ticket
        self._by_ticket[ticket.id] = order
        venue.market.take_changes()
        if not working.status.is_open:
            venue.teller.end(ticket, OrderStatus.REJECTED, working.reason, now)
        elif venue.faults.take("reject-order", **order_facts(ticket)):
            venue.market.broker.cancel(ticket.number, _BY_EXCHANGE)
            venue.teller.end(ticket, OrderStatus.REJECTED, _BY_EXCHANGE, now)
            venue.teller.tell([], now)
        elif waits:
            venue.register.tell("held", ticket, now)
        else:
            venue.teller.open(ticket, now)
            if ticket.status is TicketStatus.ACCEPTED:
                self._asleep.append(order)

    def _opens(self, order: TwsOrder | None) -> bool:
        """Whether an order opens a position, so that its children can only close it."""
        if order is None:
            return False
        way = 1.0 if order.wanted.action == "BUY" else -1.0
        return way * self.venue.accounts.held(order.listing.asset_id) >= 0.0

    def _is_taken(self, ref: str) -> bool:
        return not ref or self.venue.register.is_taken(ref)

    def _change(self, order: TwsOrder, wanted: Wanted) -> None:
        """Other prices, or another size, for an open order."""
        ticket, old = order.ticket, order.wanted
        if ticket is None:
            order.wanted = wanted
            if wanted.transmit:
                self._transmit(order)
            return
        if wanted.type != old.type or wanted.action != old.action:
            raise TwsRefusalError(329, "Order modify failed. Cannot change to the new order type.")
        freed = (old.quantity - order.filled) * (old.limit or old.aux or 0.0)
        if not freed:
            last = self.venue.accounts.last_price(order.listing.asset_id)
            freed = 0.0 if math.isnan(last) else (old.quantity - order.filled) * last
        self._checks.check(order.listing, wanted, freed)
        if self.venue.faults.take("refuse-replace", **order_facts(ticket)):
            raise TwsRefusalError(REJECTED, "Order rejected - reason:Cannot modify the order now")
        before, after = (order_of(order.listing.asset_id, one) for one in (old, wanted))
        changes = {
            name: getattr(after, name)
            for name in ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")
            if getattr(after, name) != getattr(before, name)
        }
        try:
            if changes:
                self.venue.market.broker.replace(ticket.number, **changes)
        except OrderError as error:
            raise TwsRefusalError(REJECTED, f"Order rejected - reason:{error}") from error
        self.venue.market.take_changes()
        order.wanted = structs.replace(
            wanted, ref=old.ref, parent_id=old.parent_id, account=self.account
        )
        ticket.asked = asked_of(after, wanted, ticket.asked.client_order_id)
        ticket.qty, ticket.limit_price = wanted.quantity, after.limit_price
        ticket.stop_price = after.stop_price
        self.venue.register.tell("changed", ticket, self.venue.now)

    # -- what becomes of them -------------------------------------------------------------------

    def _wake(self) -> None:
        """The market may have opened: orders that waited for it are at work."""
        asleep, self._asleep = self._asleep, []
        for order in asleep:
            ticket = order.ticket
            if ticket is None or ticket.status is not TicketStatus.ACCEPTED:
                continue
            if self.venue.teller.is_working(ticket):
                self.venue.teller.open(ticket, self.venue.now)
            else:
                self._asleep.append(order)

    def _on_update(self, update: Update) -> None:
        order = self._by_ticket.get(update.ticket.id)
        if order is None:
            order = self._adopt(update.ticket)
        found = None
        if update.execution_id is not None:
            found = self._execution(order, update)
        if not order.is_open:
            order.over_at = update.at
        self._tell(order, update, found)

    def _adopt(self, ticket: Ticket) -> TwsOrder:
        """An order of the venue's own, such as a margin call: of no client, without a number."""
        asked = ticket.asked
        order = TwsOrder(
            order_id=0,
            client_id=0,
            perm_id=_FIRST_PERM + len(self.all),
            listing=self.listings[asked.symbol],
            wanted=wanted_of(asked, self.account),
            ticket=self.venue.register.tickets.get(ticket.id, ticket),
        )
        self.all.append(order)
        self._by_ticket[ticket.id] = order
        return order

    def _execution(self, order: TwsOrder, update: Update) -> TwsExecution:
        assert update.price is not None
        assert update.qty is not None
        assert update.execution_id is not None
        order.last_price = update.price
        if update.replaces is None:
            exec_id = f"{order.perm_id:08x}.{len(self.executions) + 1:08x}.01.01"
        else:  # the same fill, put right: only what stands behind the last dot differs
            head, _, last = self._exec_ids[update.replaces].rpartition(".")
            exec_id = f"{head}.{int(last) + 1:02d}"
        self._exec_ids[update.execution_id] = exec_id
        paid = self._commission(update)
        if update.replaces is not None:
            paid = self.executions[self._exec_ids[update.replaces]].commission
        found = TwsExecution(
            exec_id=exec_id,
            order=order,
            at=update.at,
            shares=update.qty,
            price=update.price,
            cumulative=order.filled,
            average=order.average,
            commission=paid,
        )
        self.executions[exec_id] = found
        return found

    def _commission(self, update: Update) -> float:
        """What the venue has just booked as the fill's cost."""
        notes = self.venue.register.activities
        text = f"commission of {update.ticket.id}"
        last = notes[-1] if notes else None
        is_its = last is not None and last.kind == "FEE" and last.description == text
        return -last.amount if last is not None and is_its else 0.0
