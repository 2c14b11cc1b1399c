"""Which of Alpaca's orders is which of ours, whoever learns of it first."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from ml4t.backtest.live.alpaca.orders import filled_of, microseconds
from ml4t.backtest.types.order import OrderType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.words import Request

_CHANGED = re.compile(r"^(?P<root>.*-\d+-\d+)r\d+$")
_MOST_WAITING = 10_000  # updates of orders that are not known


class Names:
    """Our names and Alpaca's ids of orders, kept by two threads.

    An order's own name travels with it as its client id. The legs of a bracket get client ids from
    Alpaca: they are told apart by what they are, and known by the order that they belong to.

    Attributes:
        since: When the earliest order of ours that was seen was made, in Alpaca's time,
            microseconds; it begins with the connection.
    """

    def __init__(self) -> None:
        self.since = 0
        self._lock = threading.RLock()
        self._requests: dict[str, Request] = {}
        self._heads: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._runs: set[str] = set()
        self._earlier: dict[str, float] = {}
        self._waiting: OrderedDict[str, list[Json]] = OrderedDict()
        self._count = 0

    # -- what was asked -------------------------------------------------------------------------

    def remember(self, request: Request) -> None:
        """A request was made, now or before a restart."""
        with self._lock:
            for one in (request, *request.legs):
                self._requests[one.client_id] = one
                self._heads[one.client_id] = request.client_id
            self._runs.add(_run_of(request.client_id))

    def request_of(self, name: str) -> Request | None:
        """What was asked under a name, or under the one that it had before it was changed."""
        return self._requests.get(_root(name))

    def head_of(self, name: str) -> str:
        """The name of the order that a leg belongs to; of any other order its own."""
        return self._heads.get(_root(name), name)

    def heads_in(self, asset_id: str) -> list[str]:
        """Orders of an asset some of whose legs are not known by id."""
        with self._lock:
            return [
                name
                for name, request in self._requests.items()
                if request.legs
                and request.terms.asset_id == asset_id
                and not all(leg.client_id in self._ids for leg in request.legs)
            ]

    # -- what is known ----------------------------------------------------------------------------

    def id_of(self, name: str) -> str | None:
        """Alpaca's id of an order."""
        return self._ids.get(name)

    def name_of(self, order: Json) -> str:
        """Our name for an order; empty when it is none of ours, as far as is known."""
        with self._lock:
            name = self._names.get(str(order["id"]), "")
            given = str(order.get("client_order_id") or "")
            if not name and _run_of(given) in self._runs:
                name = given
                self._bind(str(order["id"]), name)
            return name

    def name_of_id(self, order_id: str) -> str:
        """Our name for an order; empty when it is not known."""
        return self._names.get(order_id, "")

    def learn(self, order: Json, name: str = "") -> list[Json]:
        """An order as Alpaca shows it, with its legs: its name, and theirs.

        Returns:
            What was told of any of them before they were known.
        """
        with self._lock:
            name = name or self.name_of(order)
            if name:
                self._bind(str(order["id"]), name)
                made = microseconds(order["created_at"])
                self.since = min(self.since, made)
                self._learn_legs(order, name)
            return self._released([order, *(order.get("legs") or ())])

    def _learn_legs(self, order: Json, name: str) -> None:
        request = self.request_of(name)
        for leg in order.get("legs") or ():
            own = self.name_of(leg)
            for asked in () if request is None else request.legs:
                is_target = asked.terms.type is OrderType.LIMIT
                if not own and is_target == (str(leg["type"]) == "limit"):
                    self._bind(str(leg["id"]), asked.client_id)

    def bind(self, order_id: str, name: str) -> None:
        """An order has this id."""
        with self._lock:
            self._bind(order_id, name)

    def _bind(self, order_id: str, name: str) -> None:
        self._ids[name] = order_id
        self._names[order_id] = name

    # -- orders that took the place of others --------------------------------------------------

    def note_earlier(self, order_id: str, filled: float) -> None:
        """What the orders had filled that an order has replaced."""
        self._earlier[order_id] = filled

    def earlier(self, order: Json) -> float | None:
        """What the orders had filled that this one has replaced; None when it is not known."""
        if not order.get("replaces"):
            return 0.0
        return self._earlier.get(str(order["id"]))

    def pass_on(self, replaced: Json) -> None:
        """An order was replaced: what it had filled counts for the one in its place."""
        before = self.earlier(replaced)
        if before is not None and replaced.get("replaced_by"):
            self.note_earlier(str(replaced["replaced_by"]), before + filled_of(replaced))

    # -- updates that come before their order is known -----------------------------------------

    def hold(self, update: Json) -> bool:
        """Keep an update of an order that is not known; False when it has become known."""
        with self._lock:
            order = update["order"]
            if self.name_of(order):
                return False
            self._waiting.setdefault(str(order["id"]), []).append(update)
            self._count += 1
            while self._count > _MOST_WAITING:
                _, dropped = self._waiting.popitem(last=False)
                self._count -= len(dropped)
            return True

    def _released(self, orders: Iterable[Json]) -> list[Json]:
        found: list[Json] = []
        for order in orders:
            if self.name_of(order):
                found += self._waiting.pop(str(order["id"]), ())
        self._count -= len(found)
        return found


def _root(name: str) -> str:
    changed = _CHANGED.match(name)
    return changed["root"] if changed else name


def _run_of(name: str) -> str:
    """The run that a name is of; for what is no name of ours, something that no run is called."""
    parts = _root(name).rsplit("-", 2)
    return parts[0] if len(parts) == 3 and parts[1].isdecimal() else ""  # noqa: PLR2004  run-id-nr
