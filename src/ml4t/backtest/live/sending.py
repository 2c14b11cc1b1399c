"""Sending: which orders of the book go to the broker now, in which order, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.kernels.noise import DUST
from ml4t.backtest.live.brake import Brake
from ml4t.backtest.live.funding import Funding
from ml4t.backtest.live.reasons import NEVER, RESERVED
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import MICROSECONDS
from ml4t.backtest.live.words import Request, Terms
from ml4t.backtest.types.order import OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.tending import Tender
    from ml4t.backtest.live.tickets import Ticket

_MOST_LEGS = 2
_COUNTERPARTS = {OrderType.LIMIT: OrderType.STOP, OrderType.STOP: OrderType.LIMIT}
_BRACKET_ENTRIES = frozenset({OrderType.MARKET, OrderType.LIMIT})
_BRACKET_EXITS = frozenset({OrderType.STOP, OrderType.LIMIT, OrderType.STOP_LIMIT})


class Sender:
    """Sends exits before entries, and entries when they can be paid for.

    Args:
        tender: For whom.

    Attributes:
        brake: Slows orders that are sent again and again.
        funding: Decides which entries can be paid for.
    """

    def __init__(self, tender: Tender) -> None:
        self.tender = tender
        self.broker = tender.broker
        self.brake = Brake()
        self.funding = Funding(self)
        self._vacated: set[int] = set()  # assets whose units were freed for one exit just now

    def send(self) -> None:
        """Send what can go now: exits first, then entries that can be paid for."""
        broker = self.broker
        ready, later = self._unsent()
        exits = [working for working in ready if self.is_exit(working)]
        exits.sort(key=lambda working: working.type is not OrderType.MARKET)  # these need the units
        self._vacated.clear()
        for working in exits:
            if working.code in self._vacated:
                continue  # or it would take the units, and be taken back for them again
            is_sent = broker.tickets.is_out(working.order_id)  # together with another one
            if not is_sent and not self._send_exit(working):
                return
        entries = [working for working in ready if working not in exits]
        if entries and not broker.halted:
            self.funding.send(entries, [*exits, *later])

    def _unsent(self) -> tuple[list[Working], list[Working]]:
        """What is to go now, and what waits for cancels."""
        broker = self.broker
        ready: list[Working] = []
        later: list[Working] = []
        for working in broker.blotter.working():
            order_id = working.order_id
            if broker.tickets.is_out(order_id) or order_id in broker.canceling:
                continue
            if self.part(working) <= 0.0:
                continue
            if self._is_too_old(working):
                continue  # behind a cancel, too: it would share the money of others for ever
            if self._is_blocked(working):
                later.append(working)
            elif not self._is_braked(working):
                ready.append(working)
        return ready, later

    def is_exit(self, working: Working) -> bool:
        """Whether an order makes a position smaller."""
        return working.sign * self.broker.position(working.code) < 0.0

    def _is_blocked(self, working: Working) -> bool:
        """A cancel in the same asset is not confirmed yet."""
        return any(
            ticket.is_canceling and not ticket.is_over
            for ticket in self.broker.tickets.of_asset(working.code)
        )

    def _is_too_old(self, working: Working) -> bool:
        """A decision that could not be sent in time is given up; what protects never is."""
        broker = self.broker
        if working.order.reduce_only or broker.tickets.count(working.order_id):
            return False
        age = (broker.now() - self.tender.decided_at(working)) / MICROSECONDS
        limit = max(broker.max_order_age, broker.basket_wait)
        if working.order_id in broker.waits_since:  # for money: then it is cut
            limit = broker.max_order_age + broker.basket_wait
        if age <= limit:
            return False
        is_waiting = self._lacks_units(working, self.part(working))
        reason = f"{RESERVED if is_waiting else NEVER} within {age:.0f} seconds"
        broker.give_up(working.order_id, reason)
        return True

    def _is_braked(self, working: Working) -> bool:
        """An order that has been sent dozens of times waits a while."""
        until = self.brake.holds_until(working.order_id, self.broker.now())
        if until:
            self.tender.come_back(until)
        return until > 0

    def _send_exit(self, working: Working) -> bool:
        """Send an exit, or make room for it first; False when no request may be made now."""
        quantity = self.part(working)
        if self._lacks_units(working, quantity):
            return self._make_room(working)
        if not self.tender.has_slot():
            return False
        self.tender.transmit(*self._exit_request(working, quantity))
        return True

    def _lacks_units(self, working: Working, quantity: float) -> bool:
        """Whether other exits at the broker have units that this one needs."""
        broker = self.broker
        if not broker.gateway.splits_flips or working.sign * broker.position(working.code) >= 0.0:
            return False
        return self._room(working) < quantity * (1.0 - DUST)

    def _room(self, working: Working, *, is_bare: bool = False) -> float:
        """Units of a position that no exit at the broker has reserved.

        Args:
            working: Whose.
            is_bare: As if protection had been taken back.
        """
        broker = self.broker
        reserved = sum(
            ticket.open_quantity
            for ticket in broker.tickets.of_asset(working.code)
            if ticket.working.sign == working.sign
            and not (is_bare and _protects(ticket, working))
            and ticket.working.order_id != working.order_id
            and not (ticket.parent is not None and ticket.request.terms.reduce_only
                     and self._shares_units(ticket))
        )  # fmt: skip
        return abs(broker.position(working.code)) - reserved

    @staticmethod
    def _shares_units(ticket: Ticket) -> bool:
        """A second leg reserves the same units as the first one."""
        parent = ticket.parent
        assert parent is not None
        legs = parent.request.legs
        return parent.request.terms.reduce_only or ticket.name != legs[0].client_id

    def _make_room(self, working: Working) -> bool:
        """Take protective orders back from the broker, so that a market exit has its units.

        Whatever rests at a price waits for units. If it took protection back, that would be sent
        again at once, and taken back again, as fast as the broker takes messages.
        """
        if working.type is not OrderType.MARKET:
            return self._join(working) if working.order.reduce_only else True
        others = self.broker.tickets.of_asset(working.code)
        protective = [ticket for ticket in others if _protects(ticket, working)]
        if self._room(working, is_bare=True) < self.part(working) * (1.0 - DUST):
            return True  # it would not help: others have the units, and it waits for those
        for ticket in protective:
            is_settled = ticket.can_trade and ticket.state is not TicketState.ASKED
            if ticket.is_canceling or not is_settled:
                continue
            if not self.tender.has_slot(is_cancel=True):
                return False
            self._take_back(ticket)
        return True

    def _take_back(self, ticket: Ticket) -> None:
        self._vacated.add(ticket.working.code)
        self.tender.cancel(ticket)

    def _join(self, working: Working) -> bool:
        """Take a lone exit back, so that it is sent again together with its counterpart."""
        other = self._counterpart(working, self.part(working), is_out=True)
        ticket = None if other is None else self.broker.tickets.active(other.order_id)
        is_alone = ticket is not None and ticket.parent is None and not ticket.request.legs
        if ticket is None or not is_alone or ticket.is_canceling or ticket.filled:
            return True
        if ticket.state is TicketState.WORKING:
            if not self.tender.has_slot(is_cancel=True):
                return False
            self._take_back(ticket)
        return True

    def _exit_request(self, working: Working, quantity: float) -> tuple[int, Request]:
        """An exit, together with its counterpart when two of them share one position."""
        other = self._counterpart(working, quantity, is_out=False)
        if other is None:
            return working.order_id, self._request(working, quantity)
        target, pair = self._pair(working, other, quantity)
        return target.order_id, pair

    def _pair(self, one: Working, other: Working, quantity: float) -> tuple[Working, Request]:
        """A target and a stop as one request, which the target leads."""
        target, stop = (one, other) if one.type is OrderType.LIMIT else (other, one)
        leg = self._request(stop, quantity)
        return target, _with_legs(self._request(target, quantity), (leg,))

    def _counterpart(self, working: Working, quantity: float, *, is_out: bool) -> Working | None:
        """The stop of a target, or the target of a stop, that the broker takes together with it.

        Args:
            working: The one.
            quantity: Units to send.
            is_out: Whether the other is at the broker.
        """
        wanted = _COUNTERPARTS.get(working.type)
        if (
            not self.broker.gateway.takes_brackets
            or wanted is None
            or not working.order.reduce_only
        ):
            return None
        for other in self.broker.blotter.working(working.code):
            is_pair = (
                other.type is wanted
                and other.order.reduce_only
                and other.sign == working.sign
                and abs(self.part(other) - quantity) <= DUST * quantity
                and self.broker.tickets.is_out(other.order_id) == is_out
                and other.order_id not in self.broker.canceling
            )
            if is_pair and self.broker.gateway.takes_together(
                self._pair(working, other, quantity)[1]
            ):
                return other
        return None

    def send_each(self, entries: list[Working]) -> None:
        """Send entries as they are, with the exits that the broker can hold for them."""
        for working in entries:
            if not self.tender.has_slot():
                return
            request = self._request(working, self.wanted(working))
            self.tender.transmit(working.order_id, self._with_exits(working, request))

    def wanted(self, working: Working) -> float:
        """Units that an order may still work."""
        broker = self.broker
        cut = broker.cut.get(working.order_id)
        left = working.remaining if cut is None else min(working.remaining, cut - working.filled)
        if working.order.reduce_only:
            left = min(left, abs(broker.position(working.code)))
        return left

    def part(self, working: Working) -> float:
        """Of what is wanted, what one order at the broker may be for: none goes through zero."""
        wanted, held = self.wanted(working), self.broker.position(working.code)
        if self.broker.gateway.splits_flips and working.sign * held < 0.0:
            return min(wanted, abs(held))
        return wanted

    def _with_exits(self, working: Working, request: Request) -> Request:
        """An entry with the exits that wait for it, when the broker can hold them."""
        if not self.broker.gateway.takes_brackets or working.type not in _BRACKET_ENTRIES:
            return request
        if working.order_id in self.broker.cut:
            return request
        waiting = self.broker.blotter.links.waiting_for(working.order_id)
        kinds = [child.type for child in waiting]
        fits = (
            1 <= len(waiting) <= _MOST_LEGS
            and len(set(kinds)) == len(kinds)
            and all(child.type in _BRACKET_EXITS and child.order.reduce_only for child in waiting)
            and all(child.whole == request.quantity for child in waiting)
        )
        if not fits:
            return request
        legs = tuple(self._request(child, child.whole) for child in waiting)
        together = _with_legs(request, legs)
        return together if self.broker.gateway.takes_together(together) else request

    def _request(self, working: Working, quantity: float) -> Request:
        limit, stop = levels_of(working)
        name = self._name(working, self.broker.tickets.count(working.order_id) + 1)
        return Request(name, Terms.of(working.order), quantity, limit, stop)

    def _name(self, working: Working, number: int) -> str:
        """Our name for an order: of the run, of the order in the book, and of the attempt."""
        return f"{self.broker.run_name}-{working.order_id}-{number}"


def _protects(ticket: Ticket, working: Working) -> bool:
    """Whether an exit at the broker rests beside another one, which could take it back."""
    other = ticket.working
    rests = other.type is not OrderType.MARKET
    return rests and other.order.reduce_only and other.sign == working.sign


def levels_of(working: Working) -> tuple[float | None, float | None]:
    """Limit and stop as the broker is told; a trail it follows itself."""
    if working.type.is_trailing:
        return None, None
    return working.limit, working.stop


def _with_legs(request: Request, legs: tuple[Request, ...]) -> Request:
    return Request(
        request.client_id,
        request.terms,
        request.quantity,
        request.limit_price,
        request.stop_price,
        legs,
    )
