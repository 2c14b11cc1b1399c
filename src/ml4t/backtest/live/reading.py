"""A session's journal for people: what happened as sentences, and as frames."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from ml4t.backtest.errors import JournalError
from ml4t.backtest.live.journal import Journal
from ml4t.backtest.live.records import content_of
from ml4t.backtest.live.sentences import Teller, decision, order_id_of
from ml4t.backtest.live.words import Execution, Report

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from ml4t.backtest.live.blocks import BarsRecord
    from ml4t.backtest.live.journal import Entry
    from ml4t.backtest.live.words import Answer, Change, Request, VenueEvent

_TIME = pl.Datetime("us", "UTC")
_ENTRIES: dict[str, Any] = {
    "number": pl.Int64, "time": _TIME, "kind": pl.String, "text": pl.String, "level": pl.String,
    "order_id": pl.Int64, "client_id": pl.String, "asset_id": pl.String,
}  # fmt: skip
_EXECUTIONS: dict[str, Any] = {
    "time": _TIME, "asset_id": pl.String, "side": pl.String, "quantity": pl.Float64,
    "price": pl.Float64, "commission": pl.Float64, "order_id": pl.Int64, "client_id": pl.String,
    "execution_id": pl.String, "corrects": pl.String, "written_at": _TIME,
}  # fmt: skip
_ORDERS: dict[str, Any] = {
    "client_id": pl.String, "order_id": pl.Int64, "time": _TIME, "asset_id": pl.String,
    "side": pl.String, "type": pl.String, "quantity": pl.Float64, "limit_price": pl.Float64,
    "stop_price": pl.Float64, "entry": pl.String, "attempts": pl.Int64, "status": pl.String,
    "filled": pl.Float64, "reason": pl.String,
}  # fmt: skip
_DECISIONS: dict[str, Any] = {
    "time": _TIME, "bars": _TIME, "kind": pl.String, "asset_id": pl.String,
    "order_id": pl.Int64, "text": pl.String,
}  # fmt: skip
_NOTES: dict[str, Any] = {"time": _TIME, "text": pl.String}


class JournalFrames(NamedTuple):
    """A journal as Polars frames, each in the order in which things were written.

    Attributes:
        entries: Every line: number, time, kind, text, level, order_id, client_id, asset_id.
        executions: Fills at the broker, each once: time, asset_id, side, quantity, price,
            commission (NaN when the broker does not say it), order_id, client_id, execution_id,
            corrects (the execution that this one replaces), written_at.
        orders: What was sent, by client_id: order_id, time of the first attempt, asset_id, side,
            type, quantity, limit_price, stop_price, entry (the order whose exit it is), attempts,
            status as last heard ("unknown" when nothing was), filled by its executions, reason.
        decisions: What the strategy asked for: time, bars (their time), kind ("submit",
            "refused", of the order before, "cancel", "replace"), asset_id, order_id (of what is
            canceled or replaced), text.
        notes: What an operator was told: time, text.
    """

    entries: pl.DataFrame
    executions: pl.DataFrame
    orders: pl.DataFrame
    decisions: pl.DataFrame
    notes: pl.DataFrame


class Line(NamedTuple):
    """One entry of a journal for people."""

    entry: Entry
    text: str
    level: str
    order_id: int | None
    client_id: str | None
    asset_id: str | None


def read_journal(path: str | os.PathLike[str]) -> JournalFrames:
    """What happened in the sessions of a journal; another process may be writing it.

    Args:
        path: The journal's file.

    Returns:
        Frames of entries, executions, orders, decisions and notes.

    Raises:
        JournalError: There is no such journal, it is of another format, or it is damaged.
    """
    journal = Journal(path, is_read_only=True)
    try:
        return _Frames().read(journal)
    finally:
        journal.close()


def lines(journal: Journal, teller: Teller | None = None, *, after: int = 0) -> Iterator[Line]:
    """The entries of a journal as plain sentences.

    Args:
        journal: Open.
        teller: Who has told those before; a new one knows of no orders yet.
        after: Begin behind this number.
    """
    teller = Teller() if teller is None else teller
    for entry in journal.entries(after=after):
        said = teller.tell(entry.kind, _content(journal, entry))
        level = {logging.DEBUG: "debug", logging.INFO: "info"}.get(said.level, "warning")
        yield Line(entry, said.text, level, said.order_id, said.client_id, said.asset_id)


def _content(journal: Journal, entry: Entry) -> Any:
    try:
        return content_of(entry)
    except msgspec.MsgspecError as error:
        raise JournalError(
            f"Entry {entry.number} ({entry.kind}) of the journal {str(journal.path)!r} cannot be "
            f"read: {error}. Was it written by another version?"
        ) from error


class _Frames:
    """Collects the rows of all frames in one walk."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, ...]] = []
        self._executions: dict[str, tuple[Any, ...]] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._first_names: dict[str, str] = {}  # of orders that were renamed, by later names
        self._decisions: list[tuple[Any, ...]] = []
        self._notes: list[tuple[Any, ...]] = []
        self._bars: dt.datetime | None = None

    def read(self, journal: Journal) -> JournalFrames:
        """Walk over all entries."""
        for line in lines(journal):
            time = _time(line.entry.at)
            self._entries.append((line.entry.number, time, line.entry.kind, *line[1:]))
            take = getattr(self, f"_take_{line.entry.kind}", None)
            if take is not None:
                take(time, _content(journal, line.entry))
        orders = [tuple(order[name] for name in _ORDERS) for order in self._orders.values()]
        return JournalFrames(
            _frame(self._entries, _ENTRIES),
            _frame(list(self._executions.values()), _EXECUTIONS),
            _frame(orders, _ORDERS),
            _frame(self._decisions, _DECISIONS),
            _frame(self._notes, _NOTES),
        )

    def _take_bars(self, _at: dt.datetime, record: BarsRecord) -> None:
        self._bars = _time(record.time)

    def _take_note(self, at: dt.datetime, text: str) -> None:
        self._notes.append((at, text))

    def _take_decisions(self, at: dt.datetime, commands: list[Any]) -> None:
        for kind, content in commands:
            is_order = kind == "submit"
            asset_id = content["asset_id"] if is_order else None
            order_id = content[0] if kind in ("cancel", "replace") else None
            text = decision(kind, content)
            self._decisions.append((at, self._bars, kind, asset_id, order_id, text))

    def _take_request(self, at: dt.datetime, content: tuple[int, Request]) -> None:
        request = content[1]
        for one in (request, *request.legs):
            if one.client_id in self._orders:
                self._orders[one.client_id]["attempts"] += 1
                continue
            terms = one.terms
            self._orders[one.client_id] = {
                "client_id": one.client_id,
                "order_id": order_id_of(one.client_id),
                "time": at,
                "asset_id": terms.asset_id,
                "side": str(terms.side),
                "type": str(terms.type),
                "quantity": one.quantity,
                "limit_price": one.limit_price,
                "stop_price": one.stop_price,
                "entry": None if one is request else request.client_id,
                "attempts": 1,
                "status": "unknown",
                "filled": 0.0,
                "reason": None,
            }

    def _take_change(self, _at: dt.datetime, change: Change) -> None:
        first = self._first_names.get(change.client_id, change.client_id)
        self._first_names[change.new_client_id] = first

    def _take_answer(self, _at: dt.datetime, content: tuple[str, str, Answer]) -> None:
        action, name, answer = content
        if action == "send" and answer.is_taken is False:
            self._hear(name, "rejected", answer.reason)
        for report in answer.reports:
            self._take_event(_at, report)

    def _take_event(self, at: dt.datetime, event: VenueEvent) -> None:
        if isinstance(event, Report) and not event.replaced_by:
            self._hear(event.client_id, str(event.status), event.reason)
        elif isinstance(event, Execution):
            self._execute(at, event)

    def _take_given_up(self, _at: dt.datetime, content: tuple[int, str]) -> None:
        order_id, reason = content
        for name, order in self._orders.items():
            if order["order_id"] == order_id and order["status"] in _OPEN:
                self._hear(name, "given up", reason)

    def _hear(self, name: str, status: str, reason: str) -> None:
        order = self._orders.get(self._first_names.get(name, name))
        if order is not None and order["status"] in _OPEN:  # what comes late changes no end
            order["status"], order["reason"] = status, reason or None

    def _execute(self, at: dt.datetime, event: Execution) -> None:
        if event.execution_id in self._executions:
            return
        side = "buy" if event.quantity > 0.0 else "sell"
        self._executions[event.execution_id] = (
            _time(event.at), event.asset_id, side, abs(event.quantity), event.price,
            event.commission, order_id_of(event.client_id), event.client_id or None,
            event.execution_id, event.corrects, at,
        )  # fmt: skip
        order = self._orders.get(self._first_names.get(event.client_id, event.client_id))
        if order is not None and event.corrects is None:
            order["filled"] += abs(event.quantity)


_OPEN = frozenset({"unknown", "pending", "accepted", "partially_filled"})


def _time(at: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=at)


def _frame(rows: list[tuple[Any, ...]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")
