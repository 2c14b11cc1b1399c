"""Alpaca's REST dialect: orders, positions, account, clock, assets and activities."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from ml4t.backtest.errors import did_you_mean
from ml4t.backtest.rehearsal import alpaca_requests as requests
from ml4t.backtest.rehearsal import alpaca_words as words
from ml4t.backtest.rehearsal.replies import refusal
from ml4t.backtest.rehearsal.tickets import Asked, RefusedError
from ml4t.backtest.types.instrument import round_to_lot

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.routing import Route

    from ml4t.backtest.rehearsal.replies import Answer, Ask, Counter
    from ml4t.backtest.rehearsal.tickets import Activity, Ticket
    from ml4t.backtest.rehearsal.venue import Venue

_MOST_ORDERS, _USUAL_ORDERS = 500, 50
_MOST_ACTIVITIES = 100
_HUNDRED = 100.0
_LONGEST = 366 * 2  # days of calendar when nobody says how many


class TradingApi:
    """The calls about orders and the account.

    Args:
        venue: Carries them out.
        counter: Takes them in.
    """

    def __init__(self, venue: Venue, counter: Counter) -> None:
        self.venue = venue
        self.register = venue.register
        self.counter = counter

    def routes(self) -> list[Route]:
        """Every call, by its address."""
        calls: list[tuple[str, str, Callable[[Ask], Answer], str]] = [
            ("/v2/orders", "submit", self.submit, "POST"),
            ("/v2/orders", "list", self.list_orders, "GET"),
            ("/v2/orders", "cancel-all", self.cancel_all, "DELETE"),
            ("/v2/orders:by_client_order_id", "order", self.order_by_client, "GET"),
            ("/v2/orders/{order_id}", "order", self.order, "GET"),
            ("/v2/orders/{order_id}", "replace", self.replace, "PATCH"),
            ("/v2/orders/{order_id}", "cancel", self.cancel, "DELETE"),
            ("/v2/positions", "positions", self.positions, "GET"),
            ("/v2/positions", "close-all", self.close_all, "DELETE"),
            ("/v2/positions/{symbol:path}", "position", self.position, "GET"),
            ("/v2/positions/{symbol:path}", "close", self.close, "DELETE"),
            ("/v2/account", "account", self.account, "GET"),
            ("/v2/account/configurations", "configurations", self.configurations, "GET"),
            ("/v2/account/activities", "activities", self.activities, "GET"),
            ("/v2/account/activities/{kind}", "activities", self.activities, "GET"),
            ("/v2/clock", "clock", self.clock, "GET"),
            ("/v2/calendar", "calendar", self.calendar, "GET"),
            ("/v2/assets", "assets", self.assets, "GET"),
            ("/v2/assets/{symbol:path}", "asset", self.asset, "GET"),
        ]
        return [self.counter.route(*call) for call in calls]

    # -- orders -------------------------------------------------------------------------------

    def submit(self, ask: Ask) -> Answer:
        """A new order."""
        asked = requests.asked_from(ask.body)
        return 200, self._order(self.venue.desk.submit(asked))

    def list_orders(self, ask: Ask) -> Answer:
        """Orders by status, time, symbol and side."""
        status, nested = ask.text("status", "open"), ask.flag("nested")
        if status not in ("open", "closed", "all"):
            raise RefusedError("unprocessable", f"invalid status {status!r}")
        limit = ask.whole("limit", _USUAL_ORDERS, _MOST_ORDERS)
        symbols = set(filter(None, ask.text("symbols").split(",")))
        after, until, side = _moment(ask, "after"), _moment(ask, "until"), ask.text("side")
        found = [
            ticket
            for ticket in self.register.tickets.values()
            if (status == "all" or ticket.is_open == (status == "open"))
            and (not symbols or ticket.asked.symbol in symbols)
            and (not side or ticket.asked.side == side)
            and (after is None or ticket.created_at > after)
            and (until is None or ticket.created_at < until)
        ]
        if nested:  # a leg stands with its order, where that is listed
            listed = {ticket.id for ticket in found}
            found = [ticket for ticket in found if ticket.parent not in listed]
        if ask.text("direction", "desc") != "asc":
            found.reverse()
        return 200, [self._order(ticket, nested=nested) for ticket in found[:limit]]

    def order(self, ask: Ask) -> Answer:
        """One order."""
        return 200, self._order(self.register.find(ask.path["order_id"]))

    def order_by_client(self, ask: Ask) -> Answer:
        """One order, by the client's own id."""
        return 200, self._order(self.register.find_client(ask.text("client_order_id")))

    def replace(self, ask: Ask) -> Answer:
        """A new order in the place of an old one."""
        changes = requests.replacement_from(ask.body)
        return 200, self._order(self.venue.desk.replace(ask.path["order_id"], **changes))

    def cancel(self, ask: Ask) -> Answer:
        """Ask for the end of an order."""
        self.venue.desk.cancel(ask.path["order_id"])
        return 204, None

    def cancel_all(self, ask: Ask) -> Answer:
        """Ask for the end of all orders."""
        del ask
        answers = []
        for ticket, error in self.venue.desk.cancel_all():
            status, body = (200, self._order(ticket)) if error is None else refusal(error)
            answers.append({"id": ticket.id, "status": status, "body": body})
        return 207, answers

    def _order(self, ticket: Ticket, *, nested: bool = True) -> words.Json:
        is_crypto = self.venue.accounts.is_crypto(ticket.asked.symbol)
        return words.order_json(ticket, self.register, is_crypto=is_crypto, nested=nested)

    # -- positions ----------------------------------------------------------------------------

    def positions(self, ask: Ask) -> Answer:
        """Everything held."""
        del ask
        return 200, [self._position(h.symbol) for h in self.venue.accounts.holdings()]

    def position(self, ask: Ask) -> Answer:
        """One position."""
        return 200, self._position(self._held(ask))

    def close(self, ask: Ask) -> Answer:
        """Sell or cover a position, or a part of it."""
        symbol = self._held(ask)
        qty, percentage = ask.text("qty"), ask.text("percentage")
        return 200, self._order(self._close(symbol, qty, percentage))

    def close_all(self, ask: Ask) -> Answer:
        """Sell and cover everything."""
        if ask.flag("cancel_orders"):
            self.venue.desk.cancel_all()
        answers = []
        for holding in self.venue.accounts.holdings():
            answer: words.Json = {"symbol": words.compact(holding.symbol)}
            try:
                ticket = self._close(holding.symbol)
                answer |= {"order_id": ticket.id, "status": 200, "body": self._order(ticket)}
            except RefusedError as error:
                status, body = refusal(error)
                answer |= {"status": status, "body": body}
            answers.append(answer)
        return 207, answers

    def _close(self, symbol: str, qty: str = "", percentage: str = "") -> Ticket:
        accounts = self.venue.accounts
        held = accounts.held(symbol)
        units = abs(held)
        try:
            if qty:
                units = float(qty)
            elif percentage:
                lot = accounts.instrument(symbol).lot_size
                units = round_to_lot(units * float(percentage) / _HUNDRED, lot)
        except ValueError as error:
            raise RefusedError("unprocessable", "qty and percentage are numbers") from error
        return self.venue.desk.submit(
            Asked(
                symbol=symbol,
                side="sell" if held > 0 else "buy",
                type="market",
                time_in_force="gtc" if accounts.is_crypto(symbol) else "day",
                qty=units,
            )
        )

    def _position(self, symbol: str) -> words.Json:
        accounts = self.venue.accounts
        is_crypto = accounts.is_crypto(symbol)
        return words.position_json(accounts.holding(symbol), self.register, is_crypto=is_crypto)

    def _held(self, ask: Ask) -> str:
        if "/" in ask.path["symbol"]:  # as the real one, which takes BTCUSD here alone
            raise RefusedError("missing", "endpoint not found.")
        symbol = self._symbol(ask)
        if not self.venue.accounts.held(symbol):
            raise RefusedError("missing", "position does not exist")
        return symbol

    def _symbol(self, ask: Ask) -> str:
        """The asset in a path: by its symbol, with or without a slash, or by its id."""
        given = ask.path["symbol"]
        known = self.venue.accounts.symbols
        for symbol in known:
            names = (symbol, words.compact(symbol))
            if given in names or given in [self.register.identify("asset", n) for n in names]:
                return symbol
        raise RefusedError("missing", f"asset not found for {given}. {did_you_mean(given, known)}")

    # -- the rest -----------------------------------------------------------------------------

    def account(self, ask: Ask) -> Answer:
        """Cash, equity and buying power."""
        del ask
        return 200, words.account_json(self.venue)

    def configurations(self, ask: Ask) -> Answer:
        """The account's settings."""
        del ask
        return 200, words.configurations_json(self.venue)

    def activities(self, ask: Ask) -> Answer:
        """What moved cash, a page at a time."""
        kinds = ask.path.get("kind") or ask.text("activity_types")
        wanted = set(filter(None, kinds.split(",")))
        size = ask.whole("page_size", _MOST_ACTIVITIES, _MOST_ACTIVITIES)
        after, until = _moment(ask, "after"), _moment(ask, "until")
        found = [
            activity
            for activity in self.register.activities
            if (not wanted or activity.kind in wanted)
            and (after is None or activity.at > after)
            and (until is None or activity.at < until)
        ]
        if ask.text("direction", "desc") != "asc":
            found.reverse()
        page = _after_token(found, ask.text("page_token"))[:size]
        account_id = self.register.identify("account")
        return 200, [words.activity_json(activity, account_id) for activity in page]

    def clock(self, ask: Ask) -> Answer:
        """The venue's time, and when it is open."""
        del ask
        return 200, words.clock_json(self.venue)

    def calendar(self, ask: Ask) -> Answer:
        """Sessions."""
        today = self.venue.now.date()
        half = dt.timedelta(days=_LONGEST // 2)
        first = _date(ask, "start") or today - half
        last = _date(ask, "end") or today + half
        sessions = self.venue.opening.sessions(first, last)
        return 200, [words.calendar_json(session) for session in sessions]

    def assets(self, ask: Ask) -> Answer:
        """Everything that trades here."""
        kind = ask.text("asset_class")
        found = [self._asset(symbol) for symbol in self.venue.accounts.symbols]
        return 200, [asset for asset in found if kind in ("", asset["class"])]

    def asset(self, ask: Ask) -> Answer:
        """One asset."""
        return 200, self._asset(self._symbol(ask))

    def _asset(self, symbol: str) -> words.Json:
        return words.asset_json(symbol, self.venue.accounts.instrument(symbol), self.venue)


def _after_token(found: list[Activity], token: str) -> list[Activity]:
    if not token:
        return found
    for place, activity in enumerate(found):
        if activity.id == token:
            return found[place + 1 :]
    raise RefusedError("unprocessable", f"invalid page_token {token!r}")


def _moment(ask: Ask, name: str) -> dt.datetime | None:
    return read_moment(ask.text(name), name)


def read_moment(text: str, name: str) -> dt.datetime | None:
    """A time or a date of a query, in UTC; None when it is not there.

    Raises:
        RefusedError: It is neither.
    """
    if not text:
        return None
    try:
        found = dt.datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise RefusedError("unprocessable", f"{name} is not a time: {text!r}") from error
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)


def _date(ask: Ask, name: str) -> dt.date | None:
    found = _moment(ask, name)
    return None if found is None else found.date()
