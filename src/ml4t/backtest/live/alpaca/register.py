"""Orders at Alpaca, looked up: by name, by id, with their legs and what they have become."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.alpaca.orders import filled_of, microseconds, stamp, status_of
from ml4t.backtest.live.words import Report
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ml4t.backtest.live.alpaca.calls import Calls, Reply
    from ml4t.backtest.live.alpaca.names import Names
    from ml4t.backtest.live.alpaca.orders import Json

_PAGE = 500
_FRESH = 2.0  # seconds for which a list of open orders is taken as it is
_ALONE = 3  # lookups in a row that are made one by one, before all open orders are listed
_FAMILIES = frozenset({"bracket", "oco", "oto"})


class Register:
    """Looks orders up, and learns their names on the way.

    Args:
        calls: To Alpaca.
        names: What is known of orders.
        tell: Takes what was told of orders before they were known.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        calls: Calls,
        names: Names,
        tell: Callable[[list[Json]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = names
        self._calls = calls
        self._tell = tell
        self._clock = clock
        self._open: dict[str, Json] = {}
        self._listed_at = float("-inf")
        self._lookups: list[float] = []

    # -- by name --------------------------------------------------------------------------------

    def find(self, name: str) -> tuple[Report, ...]:
        """Where an order stands, what it has become, and where its legs stand."""
        order = self._listed(name) or self._named(name)
        return () if order is None else self.reports(order, name)

    def forget(self) -> None:
        """Something is asked of an order: what was listed before may not be so any more."""
        self._listed_at = float("-inf")

    def id_of(self, name: str) -> str | None:
        """Alpaca's id of an order, looked up when it is not known."""
        found = self.names.id_of(name)
        if found is None and self._named(name) is not None:
            found = self.names.id_of(name)
        return found

    def _named(self, name: str) -> Json | None:
        """An order by our name: by its id, by its client id, or through its head."""
        order_id = self.names.id_of(name)
        if order_id is not None:
            return self.fetch(order_id)
        order = self._by_client_id(name)
        head = self.names.head_of(name)
        if order is not None or head == name:
            return order
        if self._by_client_id(head) is None:
            return None
        order_id = self.names.id_of(name)
        return None if order_id is None else self.fetch(order_id)

    def _by_client_id(self, name: str) -> Json | None:
        reply = self._calls.get("/orders:by_client_order_id", client_order_id=name)
        return None if reply.is_missing else self.whole(_content(reply), name)

    def fetch(self, order_id: str) -> Json | None:
        """An order by its id, with its legs; None when there is none."""
        reply = self._calls.get(f"/orders/{order_id}", nested="true")
        return None if reply.is_missing else self._learn(_content(reply))

    def whole(self, order: Json, name: str = "") -> Json:
        """An order with its legs, fetched when they are not there, its names learnt."""
        if order.get("order_class") in _FAMILIES and not order.get("legs"):
            reply = self._calls.get(f"/orders/{order['id']}", nested="true")
            if not reply.is_refusal:
                order = reply.content
        return self._learn(order, name)

    def _learn(self, order: Json, name: str = "") -> Json:
        if order.get("status") == "replaced":
            self.names.pass_on(order)
        self._tell(self.names.learn(order, name))
        return order

    def reports(self, order: Json, name: str) -> tuple[Report, ...]:
        """An order, what it has become, and its legs, as a session reads them."""
        reports = []
        while order.get("status") == "replaced" and order.get("replaced_by"):
            successor = self.fetch(str(order["replaced_by"]))
            if successor is None:
                break
            after = self.names.name_of(successor) or str(successor["client_order_id"])
            self.names.bind(str(successor["id"]), after)
            filled = self.filled_in_all(order)
            reports.append(
                Report(name, OrderStatus.CANCELED, str(order["id"]), filled, "replaced", after)
            )
            order, name = successor, after
        reports.append(self._report(order, name))
        for leg in order.get("legs") or ():
            known = self.names.name_of(leg)
            if known and leg.get("status") != "replaced":
                reports.append(self._report(leg, known))
        return tuple(reports)

    def _report(self, order: Json, name: str) -> Report:
        return Report(name, status_of(order), str(order["id"]), self.filled_in_all(order))

    def filled_in_all(self, order: Json) -> float:
        """What an order has filled, and those that it replaced."""
        earlier = self.names.earlier(order)
        if earlier is None:
            before = self.fetch(str(order["replaces"]))
            earlier = 0.0 if before is None else self.filled_in_all(before)
            if before is not None and before.get("status") == "replaced":
                self.names.note_earlier(str(order["id"]), earlier)
        return earlier + filled_of(order)

    # -- many at once ---------------------------------------------------------------------------

    def _listed(self, name: str) -> Json | None:
        """An open order from a list of all, when many are looked up one after another."""
        now = self._clock()
        if now - self._listed_at > _FRESH:
            self._lookups = [at for at in self._lookups if now - at < _FRESH]
            self._lookups.append(now)
            if len(self._lookups) <= _ALONE:
                return None
            self.open_orders()
        order_id = self.names.id_of(name)
        return None if order_id is None else self._open.get(order_id)

    def open_orders(self) -> list[Json]:
        """All open orders of the account, legs on their own."""
        found: dict[str, Json] = {}
        for order in self._pages(status="open"):
            self._learn(order)
            for one in (order, *(order.get("legs") or ())):
                found[str(one["id"])] = one
        self._open, self._listed_at = found, self._clock()
        return list(found.values())

    def learn_latest(self) -> None:
        """Learn the names of the latest orders of the account."""
        reply = self._calls.get("/orders", status="all", nested="true", limit=_PAGE)
        for order in _content(reply):
            self._learn(order)

    def _pages(self, status: str) -> Iterator[Json]:
        seen: set[str] = set()
        query: dict[str, Any] = {"status": status, "nested": "true", "limit": _PAGE}
        while True:
            page = _content(self._calls.get("/orders", direction="asc", **query))
            new = [order for order in page if str(order["id"]) not in seen]
            yield from new
            if len(page) < _PAGE or not new:
                return
            seen.update(str(order["id"]) for order in new)
            query["after"] = stamp(microseconds(page[-1]["submitted_at"]) - 1)


def _content(reply: Reply) -> Any:
    if reply.is_refusal:
        raise ConnectionLost(f"Alpaca refused to list orders: {reply.words}.")
    return reply.content
