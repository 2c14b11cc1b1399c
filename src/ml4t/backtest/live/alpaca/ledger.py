"""The fills that an account lists, each with our name for its order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.alpaca.orders import asset_of, listed_execution, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.alpaca.calls import Calls
    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.alpaca.register import Register
    from ml4t.backtest.live.words import Execution

_PAGE = 100
_FEW = 3  # unknown orders that are looked up one by one
_OVERDUE = 5.0  # seconds that the stream may be behind the list


class Ledger:
    """Reads the activities of an account.

    The list knows an order by its id alone; whose it is, is looked up once. It reaches back to
    the earliest order of ours that was seen, so that nothing is missed after a long pause, and
    no further, so that an account with a long history is no trouble.

    Args:
        calls: To Alpaca.
        register: Looks orders up.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, calls: Calls, register: Register, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._register = register
        self._names = register.names
        self._clock = clock
        self._strangers: dict[str, Json] = {}
        self._complete_from: int | None = None
        self._missed: dict[str, float] = {}  # since when the stream owes them
        self._forgiven: set[str] = set()

    def begin(self, now: int) -> None:
        """A connection begins at this time of Alpaca's."""
        self._complete_from = now
        self._missed.clear()

    def executions(self, since: int) -> list[Execution]:
        """All fills from a time on, microseconds since 1970, oldest first."""
        earliest = self._names.since
        is_complete = self._complete_from is not None and earliest >= self._complete_from
        begin = max(since, earliest) if is_complete else earliest
        rows = self._rows(begin)
        self._identify({str(row["order_id"]): row for row in rows})
        self._complete_from = min(earliest, begin)
        return [self._execution(row) for row in rows]

    def is_overdue(self, missed: set[str], *, is_new: bool) -> bool:
        """Whether the stream has owed one of these fills for too long; each counts once.

        Args:
            missed: Names of executions that the stream has not told.
            is_new: The stream began anew since the last time, and owes nothing of before.
        """
        if is_new:
            self._forgiven |= missed
        now = self._clock()
        self._missed = {
            name: self._missed.get(name, now) for name in missed if name not in self._forgiven
        }
        if not any(now - at > _OVERDUE for at in self._missed.values()):
            return False
        self._forgiven.update(self._missed)
        return True

    def _rows(self, begin: int) -> list[Json]:
        found: dict[str, Json] = {}
        query: dict[str, Any] = {"after": stamp(begin - 1), "direction": "asc", "page_size": _PAGE}
        while True:
            page = self._page(query)
            new = [row for row in page if str(row["id"]) not in found]
            found |= {str(row["id"]): row for row in new}
            if len(page) < _PAGE or not new:
                return _in_order(list(found.values()))
            query["page_token"] = page[-1]["id"]

    def _page(self, query: dict[str, Any]) -> list[Json]:
        reply = self._calls.get("/account/activities/FILL", **query)
        if reply.is_refusal:
            raise ConnectionLost(f"Alpaca refused to list fills: {reply.words}.")
        return list(reply.content)

    def _identify(self, rows: dict[str, Json]) -> None:
        """Find out which orders are ours."""
        unknown = self._unknown(rows)
        if len(unknown) > _FEW:
            self._register.learn_latest()
            unknown = self._unknown(rows)
        for order_id in unknown:
            order = self._register.fetch(order_id)
            if order is None or self._names.name_of(order):
                continue
            # A leg has a client id of Alpaca's: it is known by the order that it belongs to.
            for head in self._names.heads_in(asset_of(order)):
                self._register.find(head)
            if not self._names.name_of_id(order_id):
                self._strangers[order_id] = order

    def _unknown(self, rows: dict[str, Json]) -> list[str]:
        return [
            order_id
            for order_id in rows
            if not self._names.name_of_id(order_id) and order_id not in self._strangers
        ]

    def _execution(self, row: Json) -> Execution:
        order_id = str(row["order_id"])
        name = self._names.name_of_id(order_id)
        asked = self._names.request_of(name)
        if asked is not None:
            return listed_execution(row, name, asked.terms.asset_id)
        return listed_execution(row, name, asset_of(self._strangers.get(order_id, row)))


def _in_order(rows: list[Json]) -> list[Json]:
    """As listed, but that the fills of an order in one moment may be listed in any order."""
    rows = sorted(rows, key=_moment)
    together: dict[tuple[str, str], list[Json]] = {}
    for row in sorted(rows, key=lambda row: float(row["cum_qty"]), reverse=True):
        together.setdefault((_moment(row), str(row["order_id"])), []).append(row)
    return [together[_moment(row), str(row["order_id"])].pop() for row in rows]


def _moment(row: Json) -> str:
    return str(row["transaction_time"])
