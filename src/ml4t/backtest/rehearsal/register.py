"""Everything a venue has been asked and has told: orders, updates, activities."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from msgspec import structs

from ml4t.backtest.rehearsal.tickets import Activity, RefusedError, Ticket, Update

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml4t.backtest.rehearsal.tickets import Asked

_SPACE = UUID("6f1c2f7e-8f0b-5c55-9d0a-5b1e6b1f5a10")
_KEPT = 10_000  # updates that can be looked at later


class Register:
    """The orders of a venue, and what it told of them.

    Args:
        seed: Identifiers follow from it: two rehearsals with the same one give the same.

    Attributes:
        tickets: Every order by its id, in order of arrival.
        updates: The latest of what was told.
        activities: Everything that moved cash.
        listeners: Called with every update.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._made = 0
        self.tickets: dict[str, Ticket] = {}
        self.open: dict[str, Ticket] = {}
        self.updates: deque[Update] = deque(maxlen=_KEPT)
        self.activities: list[Activity] = []
        self.listeners: list[Callable[[Update], None]] = []
        self._by_client: dict[str, Ticket] = {}
        self._by_number: dict[int, Ticket] = {}

    def identify(self, *words: object) -> str:
        """An identifier that these words always have."""
        return str(uuid5(_SPACE, "/".join(map(str, (self._seed, *words)))))

    def new_id(self, kind: str) -> str:
        """An identifier that was not given before."""
        self._made += 1
        return self.identify(kind, self._made)

    def add(self, asked: Asked, now: datetime, number: int, **facts: Any) -> Ticket:
        """A new order."""
        order_id = self.new_id("order")
        ticket = Ticket(
            id=order_id,
            client_order_id=asked.client_order_id or self.identify("client", order_id),
            asked=asked,
            qty=asked.qty,
            created_at=now,
            updated_at=now,
            number=number,
            limit_price=asked.limit_price,
            stop_price=asked.stop_price,
            **facts,
        )
        self.tickets[order_id] = self.open[order_id] = ticket
        self._by_client[ticket.client_order_id] = ticket
        self._by_number[number] = ticket
        return ticket

    def is_taken(self, client_order_id: str) -> bool:
        """Whether an order has this client id."""
        return client_order_id in self._by_client

    def find(self, order_id: str) -> Ticket:
        """An order by its id.

        Raises:
            RefusedError: There is none.
        """
        found = self.tickets.get(order_id)
        if found is None:
            raise RefusedError("missing", f"order not found for {order_id}")
        return found

    def find_client(self, client_order_id: str) -> Ticket:
        """An order by its client id.

        Raises:
            RefusedError: There is none.
        """
        found = self._by_client.get(client_order_id)
        if found is None:
            raise RefusedError("missing", f"order not found for {client_order_id}")
        return found

    def numbered(self, number: int) -> Ticket | None:
        """The order that has this number in the simulation."""
        return self._by_number.get(number)

    def legs_of(self, ticket: Ticket) -> list[Ticket]:
        """The legs of an order."""
        return [self.tickets[leg] for leg in ticket.legs]

    def group_of(self, ticket: Ticket) -> list[Ticket]:
        """An order with the legs that belong to it; for a leg, the order that it belongs to."""
        head = ticket if ticket.parent is None else self.tickets[ticket.parent]
        return [head, *self.legs_of(head)]

    def tell(self, event: str, ticket: Ticket, at: datetime, **facts: Any) -> Update:
        """Something happened to an order; everybody who listens hears it."""
        ticket.updated_at = at
        if not ticket.is_open:
            self.open.pop(ticket.id, None)
        update = Update(event=event, ticket=structs.replace(ticket), at=at, **facts)
        self.updates.append(update)
        for listener in self.listeners:
            listener(update)
        return update

    def note(self, kind: str, at: datetime, amount: float, **facts: Any) -> Activity:
        """Something moved cash."""
        number = len(self.activities) + 1
        stamp = f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}"
        activity_id = f"{stamp}::{self.identify('activity', number)}"
        self.activities.append(Activity(id=activity_id, kind=kind, at=at, amount=amount, **facts))
        return self.activities[-1]
