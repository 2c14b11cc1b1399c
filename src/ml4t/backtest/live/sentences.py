"""What happened in a session, in plain sentences: for its log, and for readers of its journal."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from ml4t.backtest.live.words import Execution, Link, Refusal, Report
from ml4t.backtest.types.order import OrderStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.live.blocks import BarsRecord
    from ml4t.backtest.live.records import Opening
    from ml4t.backtest.live.words import Answer, Change, Request, VenueEvent

_PARTS = 3  # of our name for an order: the run's, the number in the book, the attempt
_BAD = frozenset({OrderStatus.REJECTED, OrderStatus.EXPIRED})
_VERBS = {"send": "order", "cancel": "cancel", "replace": "change"}


class Sentence(NamedTuple):
    """One entry of a journal in words.

    Attributes:
        text: In words.
        level: Of logging: INFO for the ordinary, WARNING for what an operator should see, DEBUG
            for bars, decisions and states.
        client_id: Our name for the order it is about, or None.
        asset_id: Its asset, or None.
    """

    text: str
    level: int = logging.INFO
    client_id: str | None = None
    asset_id: str | None = None

    @property
    def order_id(self) -> int | None:
        """The number of the order in the session's book."""
        return None if self.client_id is None else order_id_of(self.client_id)


def order_id_of(client_id: str) -> int | None:
    """The number in the book of the order that has a name; None when the name is none of ours."""
    parts = client_id.rsplit("-", _PARTS - 1)
    return int(parts[1]) if len(parts) == _PARTS and parts[1].isdigit() else None


def moment(at: int) -> str:
    """Microseconds since 1970 as people write them, in UTC."""
    return f"{dt.datetime.fromtimestamp(at / 1e6, tz=dt.UTC):%Y-%m-%d %H:%M:%S}"


class Teller:
    """Tells entries in the order in which they were written; remembers whose order is whose."""

    def __init__(self) -> None:
        self._assets: dict[str, str] = {}  # by our name for an order
        self._by_number: dict[int, tuple[str, str]] = {}  # name and asset, by number in the book

    def tell(self, kind: str, content: Any) -> Sentence:
        """An entry in words.

        Args:
            kind: What it is.
            content: As it was written, in the types of the session.
        """
        told: Callable[[Any], Sentence] | None = getattr(self, f"_{kind}", None)
        return Sentence(f"{kind}: {content!r}") if told is None else told(content)

    def _about(self, name: str, text: str, level: int = logging.INFO) -> Sentence:
        asset_id = self._assets.get(name)
        if asset_id is None and (number := order_id_of(name)) is not None:
            asset_id = self._by_number.get(number, (name, None))[1]
        return Sentence(text, level, name or None, asset_id)

    def _about_number(self, order_id: int, text: str, level: int = logging.INFO) -> Sentence:
        name, asset_id = self._by_number.get(order_id, (None, None))
        return Sentence(text, level, name, asset_id)

    # -- what frames everything ---------------------------------------------------------------

    @staticmethod
    def _opening(opening: Opening) -> Sentence:
        held = _units(opening.positions) or "nothing"
        return Sentence(
            f"the journal of account {opening.account} begins with {opening.cash:,.2f} in cash "
            f"and {held}"
        )

    @staticmethod
    def _session(about: dict[str, str]) -> Sentence:
        text = f"a session begins, mode {about.get('mode')}, version {about.get('version')}"
        return Sentence(text)

    @staticmethod
    def _bars(record: BarsRecord) -> Sentence:
        refusal = f"; no orders are taken: {record.refusal}" if record.refusal else ""
        text = f"bars of {moment(record.time)} for {len(record.asset_ids)} assets{refusal}"
        return Sentence(text, logging.DEBUG)

    @staticmethod
    def _decisions(commands: Any) -> Sentence:
        if not isinstance(commands, list):  # packed already, on its way into the journal
            return Sentence("the strategy has decided", logging.DEBUG)
        said = "; ".join(decision(verb, content) for verb, content in commands) or "nothing"
        return Sentence(f"the strategy decides: {said}", logging.DEBUG)

    @staticmethod
    def _asked(_content: Any) -> Sentence:
        return Sentence("what the strategy asked for is kept", logging.DEBUG)

    @staticmethod
    def _state(_content: Any) -> Sentence:
        return Sentence("the strategy's state is kept", logging.DEBUG)

    @staticmethod
    def _note(text: str) -> Sentence:
        return Sentence(text, logging.WARNING)

    @staticmethod
    def _halt(reason: str) -> Sentence:
        text = f"halted: {reason}" if reason else "resumed: orders are taken again"
        return Sentence(text, logging.WARNING)

    # -- what is asked of the broker ------------------------------------------------------------

    def _request(self, content: tuple[int, Request]) -> Sentence:
        order_id, request = content
        for one in (request, *request.legs):
            self._assets[one.client_id] = one.terms.asset_id
            number = order_id_of(one.client_id)
            self._by_number[order_id if number is None else number] = (
                one.client_id,
                one.terms.asset_id,
            )
        legs = f", with {len(request.legs)} exits" if request.legs else ""
        terms = request.terms
        text = (
            f"sends {terms.type} order to {terms.side} {request.quantity:g} {terms.asset_id}"
            f"{_levels(request.limit_price, request.stop_price)}{legs}"
        )
        return self._about(request.client_id, text)

    def _answer(self, content: tuple[str, str, Answer]) -> Sentence:
        action, name, answer = content
        what = _VERBS.get(action, action)
        if answer.is_taken:
            return self._about(name, f"the broker takes the {what}")
        if answer.is_taken is None:
            text = f"nobody knows whether the broker took the {what}: {answer.reason}"
        else:
            text = f"the broker refuses the {what}: {answer.reason}"
        return self._about(name, text, logging.WARNING)

    def _cancel(self, name: str) -> Sentence:
        return self._about(name, "asks to cancel the order")

    def _change(self, change: Change) -> Sentence:
        asset_id = self._assets.get(change.client_id)
        if asset_id is not None:
            self._assets[change.new_client_id] = asset_id
        levels = _levels(change.limit_price, change.stop_price)
        text = f"asks to change the order to {change.quantity:g} units{levels}"
        return self._about(change.client_id, text)

    def _lapse(self, name: str) -> Sentence:
        text = "the broker never heard of the cancel or change"
        return self._about(name, text, logging.WARNING)

    def _given_up(self, content: tuple[int, str]) -> Sentence:
        order_id, reason = content
        return self._about_number(order_id, f"gives up order {order_id}: {reason}", logging.WARNING)

    def _cut(self, content: tuple[int, float]) -> Sentence:
        order_id, quantity = content
        text = f"cuts order {order_id} to {quantity:g} units, which buying power pays for"
        return self._about_number(order_id, text)

    # -- what came from it ------------------------------------------------------------------------

    def _event(self, event: VenueEvent) -> Sentence:
        if isinstance(event, Link):
            text = f"the connection is {'up' if event.is_up else 'lost'} {event.reason}".strip()
            return Sentence(text, logging.INFO if event.is_up else logging.WARNING)
        if isinstance(event, Execution):
            return self._execution(event)
        if isinstance(event, Refusal):
            text = f"the broker refuses to {event.action} the order: {event.reason}"
            return self._about(event.client_id, text, logging.WARNING)
        return self._report(event)

    def _execution(self, event: Execution) -> Sentence:
        verb = "bought" if event.quantity > 0.0 else "sold"
        text = f"{verb} {abs(event.quantity):g} {event.asset_id} at {event.price:g}"
        if event.corrects:
            text = f"correction: {text}"
        level = logging.INFO
        if not event.client_id or order_id_of(event.client_id) is None:
            text, level = f"{text}, by an order that is not ours", logging.WARNING
        return Sentence(text, level, event.client_id or None, event.asset_id)

    def _report(self, event: Report) -> Sentence:
        status = str(event.status).replace("_", " ")
        filled = f", {event.filled:g} filled" if event.filled else ""
        reason = f": {event.reason}" if event.reason else ""
        level = logging.WARNING if event.status in _BAD else logging.INFO
        return self._about(event.client_id, f"the order is {status}{filled}{reason}", level)

    # -- what the session makes of it -----------------------------------------------------------

    @staticmethod
    def _adoption(content: tuple[str, float, float]) -> Sentence:
        asset_id, quantity, price = content
        text = f"adopts {quantity:+g} {asset_id} at {price:g}, which no order of ours brought"
        return Sentence(text, logging.WARNING, None, asset_id)

    @staticmethod
    def _fee(content: tuple[str, float, float]) -> Sentence:
        asset_id, units, price = content
        text = f"a fee of {units:g} {asset_id}, worth {units * price:,.2f}, was kept by the broker"
        return Sentence(text, logging.INFO, None, asset_id)

    @staticmethod
    def _cash(content: tuple[str, float]) -> Sentence:
        return Sentence(f"{content[1]:+,.2f} in cash that no fill explains")

    @staticmethod
    def _clearance(what: str) -> Sentence:
        wanted = {
            "entries": "cancels what would open positions",
            "orders": "cancels all orders",
            "positions": "cancels all orders and closes all positions",
        }
        return Sentence(wanted.get(what, what), logging.WARNING)


def decision(verb: str, content: Any) -> str:
    """What a strategy decided, in words.

    Args:
        verb: "submit", "refused" (the order before), "cancel" or "replace".
        content: As a journal holds it.
    """
    if verb == "refused":
        return f"refused: {content}"
    if verb == "submit":
        levels = _levels(content.get("limit_price"), content.get("stop_price"))
        quantity, asset_id = content["quantity"], content["asset_id"]
        return f"{content['side']} {quantity:g} {asset_id}, {content['type']}{levels}"
    order_id, more = content
    if verb == "cancel":
        return f"cancel order {order_id}"
    return f"change order {order_id} to " + ", ".join(f"{k} {_said(v)}" for k, v in more.items())


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _levels(limit: float | None, stop: float | None) -> str:
    found = [(name, level) for name, level in (("limit", limit), ("stop", stop)) if level]
    return "".join(f", {name} {level:g}" for name, level in found)


def _units(positions: dict[str, float]) -> str:
    return ", ".join(f"{units:g} {asset_id}" for asset_id, units in sorted(positions.items()))
