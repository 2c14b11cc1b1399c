"""The tender: makes the orders at the broker follow the book, one careful request at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.tickets import TicketState
from ml4t.backtest.live.timing import is_due
from ml4t.backtest.live.words import Answer, Change, Execution, Request, Terms, correction_id
from ml4t.backtest.types.instrument import DUST, round_to_lot
from ml4t.backtest.types.order import OrderStatus, OrderType

if TYPE_CHECKING:
    from ml4t.backtest.broker.blotter import Working
    from ml4t.backtest.live.broker import LiveBroker
    from ml4t.backtest.live.tickets import Ticket

_SECOND = 1_000_000
_RETRY = 1 * _SECOND  # before an order that nobody knows about is looked up again
_LONGEST = 30 * _SECOND
_ATTEMPTS, _MANY = 3, 6
_LATE = 5 * _SECOND  # for executions that the broker says there are
_LISTED_LATE = 300 * _SECOND  # that a broker may list an execution after a later one
_NEVER = "it never reached the broker"


class Tender:
    """Compares the book with what the broker was told, and asks for what differs.

    Every request is written to the journal before it is made, and has a name that is the same in
    every attempt, so that one whose answer was lost can be looked up instead of sent twice. Each
    order has one request under way at a time. Cancels go before everything, and what is to come
    in the place of a canceled order waits until the cancel is confirmed; exits go before entries;
    entries that cannot all be paid for wait for the exits, and are cut by one factor when those
    take too long.

    Args:
        broker: Whose book and tickets.
    """

    def __init__(self, broker: LiveBroker) -> None:
        self.broker = broker
        self.gateway = broker.gateway
        self._due: list[int] = []
        self._executions_due = 0
        self._searched_from = 0
        self._unpaid: tuple[int, list[int]] = (0, [])  # when buying power was asked for last
        self._asked_at = 0
        self._unwanted: dict[str, int] = {}  # legs that the broker should cancel, and since when

    def tend(self) -> int | None:
        """One pass over everything; when to come again."""
        if not self.broker.is_up:
            return None
        self._due = []
        try:
            self._search_executions()
            self._look_up_silent()
            self._withdraw()
            self._amend()
            self._send()
        except ConnectionLost as error:
            self.broker.count_one("requests_without_answer")
            self._come_back(self.broker.now() + _RETRY)
            self.broker.write("note", f"no answer: {error}")
        return min(self._due, default=None)

    def _come_back(self, at: int) -> None:
        self._due.append(at)

    def _has_slot(self, *, is_cancel: bool = False) -> bool:
        """Whether a request may be made now; otherwise the tender comes back when it may."""
        wait = self.gateway.wait_for_slot(is_cancel=is_cancel)
        if wait > 0.0:
            self._come_back(self.broker.now() + int(wait * _SECOND))
        return wait <= 0.0

    # -- finding out ----------------------------------------------------------------------------

    def look_for_executions(self) -> None:
        """An order has ended, and executions of it have not come."""
        if not self._executions_due:
            self._executions_due = self.broker.now() + _RETRY

    def _search_executions(self) -> None:
        """Ask for executions that the broker says there are and that did not come."""
        if not self._executions_due:
            return
        now = self.broker.now()
        if not is_due(self._executions_due, now, _LATE):
            self._come_back(self._executions_due)
            return
        self._executions_due = 0
        self.fetch_executions()
        if self.broker.tickets.owing():
            self._executions_due = now + _LATE
            self._come_back(self._executions_due)

    def fetch_executions(self) -> None:
        """Take in every execution of the account that is not known yet, or not as it is now.

        All times are the broker's. Those of what was told do not count here: before it, something
        may have been lost.
        """
        found = self.gateway.executions(self._searched_from)
        for execution in found:
            known = self.broker.executions.get(execution.execution_id)
            if known is None:
                self.broker.receive(execution)
            elif (known.quantity, known.price) != (execution.quantity, execution.price):
                self.broker.receive(_correction(execution))
        latest = max((execution.at for execution in found), default=0)
        self._searched_from = max(self._searched_from, latest - _LISTED_LATE)

    def begin_searches_at(self, moment: int) -> None:
        """Executions before this are none of the session's."""
        self._searched_from = max(self._searched_from, moment)

    def confirm(self) -> None:
        """Before a step: market orders that are silent should have filled by now.

        Bars and fills come on lines of their own, and bars may be quicker.
        """
        if not self.broker.is_up:
            return
        try:
            for ticket in self.broker.tickets:
                is_due = ticket.working.type is OrderType.MARKET and ticket.can_trade
                if is_due and self.gateway.wait_for_slot() <= 0.0:
                    self.look_up(ticket)
            if self.broker.tickets.owing():
                self.fetch_executions()
        except ConnectionLost as error:
            self.broker.count_one("requests_without_answer")
            self.broker.write("note", f"no answer: {error}")

    def _look_up_silent(self) -> None:
        """Orders nobody has heard of for a while may have changed without a word."""
        broker, now = self.broker, self.broker.now()
        for ticket in broker.tickets:
            is_asked = ticket.state is TicketState.ASKED and ticket.parent is None
            is_changing = ticket.is_canceling or ticket.change is not None
            patience = _patience(ticket) if is_asked else int(broker.silence * _SECOND)
            patience = min(patience, _LATE) if is_changing else patience
            if not ticket.can_trade or ticket.is_told_with_parent:
                continue
            if not is_due(ticket.heard_at + patience, now, patience):
                self._come_back(ticket.heard_at + patience)
            elif self._has_slot():
                self.look_up(ticket)

    def look_up(self, ticket: Ticket) -> None:
        """Ask where an order stands; send it (again) when the broker has never heard of it."""
        broker = self.broker
        if not ticket.can_trade or ticket.is_told_with_parent:
            return
        reports = self.gateway.find(ticket.name)
        before, ticket.heard_at = ticket.heard_at, broker.now()
        is_old = 0 < before < self.gateway.lists_from(ticket.heard_at)
        ticket.is_unaccounted = not reports and (ticket.is_unaccounted or is_old)
        if ticket.is_unaccounted:
            return  # a reconciliation sees to it
        if reports:
            for report in reports:
                if not self._is_news(report.client_id, report.status, report.filled):
                    continue
                broker.receive(report)
            self._forget_what_was_asked(ticket)
            return
        if ticket.state is not TicketState.ASKED:
            broker.count_one("orders_lost")
            self._give_up(ticket, "the broker does not know it any more")
            return
        age = broker.now() - self._decided_at(ticket.working)
        is_late = ticket.attempts >= _ATTEMPTS or age > broker.max_order_age * _SECOND
        if is_late and not ticket.working.order.reduce_only:  # what protects is tried for ever
            self._give_up(ticket, _NEVER)
        else:
            self._transmit(ticket.working.order_id, ticket.request)

    def _forget_what_was_asked(self, ticket: Ticket) -> None:
        """An order works on as it was: the cancel or the change that was asked for got lost."""
        if ticket.can_trade and (ticket.is_canceling or ticket.change is not None):
            self.broker.write("lapse", ticket.name)
            self.broker.note_lapse(ticket.name)

    def _is_news(self, name: str, status: OrderStatus, filled: float) -> bool:
        """Whether a report says something that is not known, so that the journal stays short."""
        ticket = self.broker.tickets.get(name)
        if ticket is None or not ticket.can_trade:
            return False
        known = ticket.state is TicketState.WORKING and status.is_open
        is_held = ticket.state is TicketState.HELD and status is OrderStatus.PENDING
        return not (known or is_held) or filled > ticket.filled + DUST * ticket.quantity

    def _give_up(self, ticket: Ticket, reason: str) -> None:
        broker = self.broker
        for one in [ticket, *(t for t in broker.tickets if t.parent is ticket)]:
            order_id = one.working.order_id
            broker.write("given_up", (order_id, reason))
            broker.note_given_up(order_id, reason)

    def withdraw_strays(self) -> None:
        """Cancel orders of ours that the broker works on though they were given up here."""
        broker = self.broker
        for report, _ in self.gateway.open_orders():
            ticket = broker.tickets.get(report.client_id)
            if ticket is None or not ticket.is_over or ticket.name != report.client_id:
                continue
            broker.count_one("orders_that_came_late")
            self._cancel(ticket)

    # -- cancels and changes --------------------------------------------------------------------

    def _withdraw(self) -> None:
        """Cancel at the broker what the book does not want any more."""
        broker = self.broker
        for ticket in broker.tickets:
            if ticket.is_canceling or not ticket.can_trade or ticket.state is TicketState.ASKED:
                continue
            is_wanted = ticket.working.status.is_open
            is_leg = ticket.parent is not None or bool(ticket.request.legs)
            if is_wanted and ticket.working.order_id not in broker.canceling:
                continue
            if not is_wanted and is_leg and not self._is_overdue(ticket):
                continue  # the broker cancels the other leg itself
            if not self._has_slot(is_cancel=True):
                return
            self._cancel(ticket)

    def _is_overdue(self, ticket: Ticket) -> bool:
        now = self.broker.now()
        due = self._unwanted.setdefault(ticket.name, now) + _LATE
        if not is_due(due, now, _LATE):
            self._come_back(due)
            return False
        return True

    def _cancel(self, ticket: Ticket) -> None:
        broker, now = self.broker, self.broker.now()
        broker.write("cancel", ticket.name)
        broker.note_cancel(ticket.name, now)
        self._answered("cancel", ticket.name, self.gateway.cancel(ticket.name))

    def _amend(self) -> None:
        """Change at the broker what has another size or price in the book."""
        broker = self.broker
        for ticket in broker.tickets:
            working = ticket.working
            is_busy = ticket.is_canceling or ticket.change is not None or bool(ticket.owed)
            if is_busy or ticket.state is not TicketState.WORKING or not working.status.is_open:
                continue
            part = self._part(working)
            if part <= 0.0:
                continue  # nothing is left to reduce: the book ends it, or the next fill does
            quantity = ticket.filled + part
            is_same_size = abs(quantity - ticket.quantity) <= DUST * ticket.quantity
            limit, stop = _levels(working)
            if is_same_size and (limit, stop) == (ticket.limit, ticket.stop):
                continue
            if (quantity, limit, stop) == ticket.refused:
                continue  # it would say no again
            if not self._has_slot():
                return
            self._change(ticket, quantity, limit, stop)

    def _change(
        self, ticket: Ticket, quantity: float, limit: float | None, stop: float | None
    ) -> None:
        broker = self.broker
        name = f"{ticket.request.client_id}r{ticket.changes + 1}"
        change = Change(ticket.name, name, quantity, limit, stop)
        broker.write("change", change)
        broker.note_change(change, broker.now())
        self._answered("replace", ticket.name, self.gateway.replace(change))

    def _answered(self, action: str, name: str, answer: Answer) -> None:
        broker, now = self.broker, self.broker.now()
        broker.write("answer", (action, name, answer))
        broker.note_answer(action, name, answer, now)
        if answer.is_taken is None:
            broker.count_one("requests_without_answer")
            self._come_back(now + _RETRY)

    # -- sending --------------------------------------------------------------------------------

    def _send(self) -> None:
        broker = self.broker
        exits: list[Working] = []
        entries: list[Working] = []
        for working in broker.blotter.working():
            order_id = working.order_id
            if broker.tickets.is_out(order_id) or order_id in broker.canceling:
                continue
            if self._part(working) <= 0.0 or self._is_blocked(working):
                continue
            if self._is_too_old(working):
                continue
            is_exit = working.sign * broker.position(working.code) < 0.0
            (exits if is_exit else entries).append(working)
        if broker.halted:
            entries = []
        exits.sort(key=lambda working: working.type is not OrderType.MARKET)  # these need the units
        for working in exits:
            if not self._send_exit(working):
                return
        if entries:
            self._send_entries(entries)

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
        age = (broker.now() - self._decided_at(working)) / _SECOND
        if age <= max(broker.max_order_age, broker.basket_wait):
            return False
        reason = f"{_NEVER} within {age:.0f} seconds"
        broker.write("given_up", (working.order_id, reason))
        broker.note_given_up(working.order_id, reason)
        return True

    def _decided_at(self, working: Working) -> int:
        return max(working.decided_at, self.broker.since)

    def _send_exit(self, working: Working) -> bool:
        """Send an exit, or make room for it first; False when no request may be made now."""
        quantity = self._part(working)
        if self.gateway.splits_flips and self._room(working) < quantity * (1.0 - DUST):
            return self._make_room(working)
        if not self._has_slot():
            return False
        request = self._exit_request(working, quantity)
        self._transmit(working.order_id, request)
        return True

    def _room(self, working: Working) -> float:
        """Units of a position that no exit at the broker has reserved."""
        broker = self.broker
        reserved = sum(
            ticket.open_quantity
            for ticket in broker.tickets.of_asset(working.code)
            if ticket.working.sign == working.sign
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
        """Take protective orders back from the broker, so that a market exit has its units."""
        if working.order.reduce_only and working.type is not OrderType.MARKET:
            return True  # protective itself: it waits until the units are free
        for ticket in self.broker.tickets.of_asset(working.code):
            is_protective = ticket.working.order.reduce_only and ticket.working.sign == working.sign
            is_settled = ticket.can_trade and ticket.state is not TicketState.ASKED
            if not is_protective or ticket.is_canceling or not is_settled:
                continue
            if not self._has_slot(is_cancel=True):
                return False
            self._cancel(ticket)
        return True

    def _exit_request(self, working: Working, quantity: float) -> Request:
        """An exit, together with its counterpart when two of them share one position."""
        request = self._request(working, quantity)
        if not self.gateway.takes_brackets or working.type is not OrderType.LIMIT:
            return request
        for other in self.broker.blotter.working(working.code):
            is_pair = (
                other.order.reduce_only
                and working.order.reduce_only
                and other.type is OrderType.STOP
                and other.sign == working.sign
                and abs(other.remaining - quantity) <= DUST * quantity
                and not self.broker.tickets.is_out(other.order_id)
            )
            pair = _with_legs(request, (self._request(other, quantity),)) if is_pair else request
            if is_pair and self.gateway.takes_together(pair):
                return pair
        return request

    def _send_entries(self, entries: list[Working]) -> None:
        """Send entries that can all be paid for; otherwise wait for exits, then cut them."""
        broker, now = self.broker, self.broker.now()
        situation = (len(broker.executions), [working.order_id for working in entries])
        if situation == self._unpaid and now < self._asked_at + _RETRY:
            self._come_back(self._asked_at + _RETRY)  # nothing has happened that brings money
            return
        self._unpaid, self._asked_at = situation, now
        free = self.gateway.standing().buying_power - self._spoken_for()
        costs = np.array([self._cost(working) for working in entries])
        if costs.sum() <= free:
            self._send_each(entries)
            return
        since = min(broker.waits_since.setdefault(w.order_id, now) for w in entries)
        until = since + int(broker.basket_wait * _SECOND)
        if self._has_exits() and not is_due(until, now, int(broker.basket_wait * _SECOND)):
            self._come_back(until)
            return
        factor = max(0.0, free) / costs.sum()
        for working in entries:
            lot = broker.blotter.lot_of(working.code)
            quantity = round_to_lot(self._wanted(working) * factor, lot)
            broker.write("cut", (working.order_id, quantity))
            broker.note_cut(working.order_id, quantity)
        self._send_each([working for working in entries if working.status.is_open])

    def _send_each(self, entries: list[Working]) -> None:
        for working in entries:
            if not self._has_slot():
                return
            request = self._request(working, self._wanted(working))
            self._transmit(working.order_id, self._with_exits(working, request))

    def _has_exits(self) -> bool:
        """Whether exits at the broker may still bring money."""
        broker = self.broker
        return any(
            ticket.working.sign * broker.position(ticket.working.code) < 0.0
            and ticket.working.type is OrderType.MARKET
            for ticket in broker.tickets
        )

    def _spoken_for(self) -> float:
        """What entries that were sent, and not acknowledged, may still use."""
        return sum(
            self._cost(ticket.working, ticket.open_quantity)
            for ticket in self.broker.tickets
            if ticket.state is TicketState.ASKED and ticket.parent is None
            and ticket.working.sign * self.broker.position(ticket.working.code) >= 0.0
        )  # fmt: skip

    def _cost(self, working: Working, quantity: float | None = None) -> float:
        broker = self.broker
        portfolio = broker.portfolio
        assert portfolio is not None
        price = working.limit or working.stop
        if price is None:
            price = portfolio.last_price(working.order.asset_id) * (1.0 + broker.cushion)
        units = self._wanted(working) if quantity is None else quantity
        return float(units * price * portfolio.instruments[working.code].multiplier)

    def _wanted(self, working: Working) -> float:
        """Units that an order may still work."""
        broker = self.broker
        cut = broker.cut.get(working.order_id)
        left = working.remaining if cut is None else min(working.remaining, cut - working.filled)
        if working.order.reduce_only:
            left = min(left, abs(broker.position(working.code)))
        return left

    def _part(self, working: Working) -> float:
        """Of what is wanted, what one order at the broker may be for: none goes through zero."""
        wanted, held = self._wanted(working), self.broker.position(working.code)
        if self.gateway.splits_flips and working.sign * held < 0.0:
            return min(wanted, abs(held))
        return wanted

    def _with_exits(self, working: Working, request: Request) -> Request:
        """An entry with the exits that wait for it, when the broker can hold them."""
        if not self.gateway.takes_brackets or working.type not in _BRACKET_ENTRIES:
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
        return together if self.gateway.takes_together(together) else request

    def _request(self, working: Working, quantity: float) -> Request:
        limit, stop = _levels(working)
        name = self._name(working, self.broker.tickets.count(working.order_id) + 1)
        return Request(name, Terms.of(working.order), quantity, limit, stop)

    def _name(self, working: Working, number: int) -> str:
        """Our name for an order: of the run, of the order in the book, and of the attempt."""
        return f"{self.broker.run_name}-{working.order_id}-{number}"

    def _transmit(self, order_id: int, request: Request) -> None:
        """Write down that it is sent, send it, and write down what became of it."""
        broker, now = self.broker, self.broker.now()
        broker.write("request", (order_id, request))
        broker.note_request(order_id, request, now)
        self._answered("send", request.client_id, self.gateway.send(request))


def _patience(ticket: Ticket) -> int:
    """How long to wait for an answer: longer after each attempt."""
    return min(_RETRY << (ticket.attempts - 1), _LONGEST) if ticket.attempts < _MANY else _LONGEST


_MOST_LEGS = 2
_BRACKET_ENTRIES = frozenset({OrderType.MARKET, OrderType.LIMIT})
_BRACKET_EXITS = frozenset({OrderType.STOP, OrderType.LIMIT, OrderType.STOP_LIMIT})


def _correction(execution: Execution) -> Execution:
    """An execution that is not what it was told as."""
    name = execution.execution_id
    number = correction_id(name, execution.quantity, execution.price)
    return structs.replace(execution, execution_id=number, corrects=name)


def _levels(working: Working) -> tuple[float | None, float | None]:
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
