"""AlpacaGateway: one account at Alpaca, over the vendor's client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ml4t.backtest.errors import ConfigError, ConnectionLost
from ml4t.backtest.live.alpaca import rules
from ml4t.backtest.live.alpaca.ledger import Ledger
from ml4t.backtest.live.alpaca.names import Names
from ml4t.backtest.live.alpaca.orders import (
    asset_of,
    body_of,
    can_be_one,
    filled_of,
    is_crypto,
    microseconds,
    number,
    prices,
    status_of,
)
from ml4t.backtest.live.alpaca.pace import Pace
from ml4t.backtest.live.alpaca.register import Register
from ml4t.backtest.live.alpaca.teller import UpdateTeller
from ml4t.backtest.live.gateway import Gateway
from ml4t.backtest.live.words import Answer, Report, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml4t.backtest.live.alpaca.calls import Calls, Reply
    from ml4t.backtest.live.alpaca.orders import Json
    from ml4t.backtest.live.alpaca.updates import AlpacaUpdates
    from ml4t.backtest.live.credentials import Credentials
    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.words import Change, Execution, Request
    from ml4t.backtest.types.order import Order

_LIVE_HOST, _PAPER_HOST = "api.alpaca.markets", "paper-api.alpaca.markets"
_INSTALL = "pip install 'ml4t-backtest[alpaca]'"
_PAUSE = 0.5  # seconds between two tries to begin
_TAKEN_NAME = "must be unique"
# Of what is credited, for takers with the least volume: docs.alpaca.markets, crypto fees.
_COIN_FEE = 0.0025
_BLOCKS = ("account_blocked", "trading_blocked", "trade_suspended_by_user")


class AlpacaGateway(Gateway):
    """Carries orders to Alpaca and tells what becomes of them; see `AlpacaBroker`.

    Args:
        credentials: Of the account.
        paper: Whether it is a paper account.
        url: Another address than Alpaca's, such as a rehearsal's.
        stream_url: The same for the stream of trade updates; follows from `url`.
        extended_hours: Whether limit orders for the day trade outside the regular hours.
        lot_of: What quantities of an asset are rounded to.
        connect_seconds: How long to try before a session is refused.
        request_seconds: How long to wait for an answer.
        requests_per_minute: Of the account; None for no limit of ours.

    Raises:
        ConfigError: An address contradicts `paper`, or alpaca-py is missing.
    """

    name = "Alpaca"
    takes_brackets = True
    splits_flips = True

    def __init__(
        self,
        credentials: Credentials,
        *,
        paper: bool = True,
        url: str | None = None,
        stream_url: str | None = None,
        extended_hours: bool = False,
        lot_of: Callable[[str], float] = lambda _: 1.0,
        connect_seconds: float = 30.0,
        request_seconds: float = 10.0,
        requests_per_minute: int | None = 200,
    ) -> None:
        _check_endpoint(url, is_paper=paper)
        self.is_paper = paper
        self.place = url or ""
        self.extended_hours = extended_hours
        self.lot_of = lot_of
        self._credentials = credentials
        self._stream_url = stream_url or _stream_of(url)
        self._connect_seconds = connect_seconds
        self._pace = Pace(requests_per_minute)
        self._calls = self._make_calls(url, request_seconds)
        self._names = Names()
        self._register = Register(self._calls, self._names, self._tell_held)
        self._ledger = Ledger(self._calls, self._register)
        self._connected_at = 0  # in Alpaca's time
        self._teller: UpdateTeller | None = None
        self._updates: AlpacaUpdates | None = None

    def __repr__(self) -> str:
        return f"AlpacaGateway({'paper' if self.is_paper else 'live'}, {self._credentials!r})"

    def _make_calls(self, url: str | None, seconds: float) -> Calls:
        try:
            from ml4t.backtest.live.alpaca.calls import Calls
        except ImportError as error:
            raise ConfigError(
                f"AlpacaBroker needs the extra 'alpaca' ({error}). Run: {_INSTALL}"
            ) from error
        return Calls(
            self._credentials, paper=self.is_paper, url=url, seconds=seconds, pace=self._pace
        )

    # -- the connection -------------------------------------------------------------------------

    def connect(self, inbox: Inbox) -> Standing:
        """Prove the account, and hear of its orders from now on.

        Raises:
            ConnectionLost: No answer in time, a refused key, or an account that may not trade.
        """
        from ml4t.backtest.live.alpaca.updates import AlpacaUpdates

        self.close()
        deadline = time.monotonic() + self._connect_seconds
        self._check_account(self._patiently("/account", deadline))
        now = microseconds(self._patiently("/clock", deadline)["timestamp"])
        self._names.since = self._connected_at = now
        self._ledger.begin(now)
        teller = self._teller = UpdateTeller(self._names, inbox)
        self._updates = AlpacaUpdates(
            self._credentials,
            paper=self.is_paper,
            url=self._stream_url,
            heard=teller.hear,
            linked=teller.link,
        )
        self._updates.start(self._connect_seconds)
        return self._standing(now)

    def close(self) -> None:
        """Hear nothing any more."""
        updates, self._updates = self._updates, None
        if updates is not None:
            updates.close()
        self._calls.close()

    def _patiently(self, path: str, deadline: float) -> Any:
        """As `_content`, again and again until a moment, unless the keys are refused."""
        from ml4t.backtest.live.alpaca.calls import KeysRefused

        while True:
            try:
                return self._content(path)
            except KeysRefused:
                raise
            except ConnectionLost:
                if time.monotonic() + _PAUSE >= deadline:
                    raise
                time.sleep(max(_PAUSE, self._pace.wait(is_cancel=False)))

    def _check_account(self, account: Json) -> None:
        number_, status = account["account_number"], account["status"]
        if status != "ACTIVE":
            raise ConnectionLost(f"The account {number_} at Alpaca is {status}, not ACTIVE.")
        blocks = [word.replace("_", " ") for word in _BLOCKS if account.get(word)]
        if blocks:
            raise ConnectionLost(
                f"The account {number_} at Alpaca may not trade: {', '.join(blocks)}."
            )

    def _content(self, path: str, **query: Any) -> Any:
        """What a call that cannot be refused brings."""
        reply = self._calls.get(path, **query)
        if reply.is_refusal:
            raise ConnectionLost(f"Alpaca refused {path}: {reply.words}.")
        return reply.content

    # -- orders ---------------------------------------------------------------------------------

    def obstacle(self, order: Order) -> str:
        """What Alpaca cannot do, in words."""
        return rules.obstacle(order, self.lot_of(order.asset_id))

    def takes_together(self, request: Request) -> bool:
        """Whether an order and its exits fit into a bracket, OTO or OCO of Alpaca's."""
        return can_be_one(request, extended_hours=self.extended_hours)

    def remember(self, request: Request) -> None:
        """Whose legs are whose."""
        self._names.remember(request)

    def send(self, request: Request) -> Answer:
        """Post an order once; one whose name is taken is there already."""
        self._register.forget()
        self._names.remember(request)
        try:
            body = body_of(request, extended_hours=self.extended_hours)
            reply = self._calls.post("/orders", body)
            if reply.is_refusal and _TAKEN_NAME in reply.words:
                found = self.find(request.client_id)
                return Answer(True if found else None, reply.words, found)
        except ConnectionLost as error:
            return Answer(None, str(error))
        if reply.is_refusal:
            return Answer(is_taken=False, reason=reply.words)
        order = self._register.whole(reply.content)
        return Answer(is_taken=True, reports=self._register.reports(order, request.client_id))

    def cancel(self, client_id: str) -> Answer:
        """Ask for the end of an order; it is there until the stream says otherwise."""
        self._register.forget()
        try:
            order_id = self._register.id_of(client_id)
            if order_id is None:
                return Answer(is_taken=False, reason="Alpaca does not know this order")
            return _taken(self._calls.delete(f"/orders/{order_id}"))
        except ConnectionLost as error:
            return Answer(None, str(error))

    def replace(self, change: Change) -> Answer:
        """Ask for another order in the place of one; which it has become the stream tells.

        The new order works what is asked of it, whatever the old one had filled: it is asked for
        the rest. What the old one fills on the way is taken off again.
        """
        self._register.forget()
        try:
            return self._replace(change)
        except ConnectionLost as error:
            return Answer(None, str(error))

    def _replace(self, change: Change) -> Answer:
        order_id = self._register.id_of(change.client_id)
        asked = self._names.request_of(change.client_id)
        order = None if order_id is None else self._register.fetch(order_id)
        if order is None or asked is None:
            return Answer(is_taken=False, reason="Alpaca does not know this order")
        before = self._register.filled_in_all(order)
        rest = change.quantity - before
        if rest <= 0.0:
            return Answer(is_taken=False, reason="it has filled as much as is wanted")
        body = prices(asked.terms, change.limit_price, change.stop_price)
        if number(rest) != number(float(order["qty"])) or filled_of(order):
            body["qty"] = number(rest)
        reply = self._calls.patch(
            f"/orders/{order_id}", {**body, "client_order_id": change.new_client_id}
        )
        if reply.is_refusal:
            return _taken(reply)
        self._tell_held(self._names.learn(reply.content, change.new_client_id))
        self._names.note_earlier(str(reply.content["id"]), before)
        self._take_off(order, reply.content, before, rest)
        return Answer(is_taken=True)

    def _take_off(self, old: Json, new: Json, before: float, rest: float) -> None:
        """The old order has filled while it was replaced: the new one would do so once more."""
        seen = self._register.fetch(str(old["id"]))
        if seen is None:
            return
        late = self._register.filled_in_all(seen) - before
        if late <= 0.0:
            return
        self._names.note_earlier(str(new["id"]), before + late)
        if rest - late <= 0.0:
            self._calls.delete(f"/orders/{new['id']}")
        else:
            self._calls.patch(f"/orders/{new['id']}", {"qty": number(rest - late)})

    def find(self, client_id: str) -> tuple[Report, ...]:
        """Where an order stands, what it has become, and where its legs stand."""
        return self._register.find(client_id)

    def renew(self) -> None:
        """Lists of open orders that were fetched before count no more."""
        self._register.forget()

    def open_orders(self) -> Sequence[tuple[Report, str]]:
        """All open orders of the account."""
        return [
            (
                Report(
                    self._names.name_of(order) or str(order["client_order_id"]),
                    status_of(order),
                    str(order["id"]),
                    filled_of(order),
                ),
                asset_of(order),
            )
            for order in self._register.open_orders()
        ]

    # -- the account ----------------------------------------------------------------------------

    def executions(self, since: int) -> Sequence[Execution]:
        """All fills of the account from a time on, oldest first.

        What the stream should have told long ago, and did not, makes it suspect: it is renewed.
        """
        found = self._ledger.executions(since)
        updates, teller = self._updates, self._teller
        if updates is not None and teller is not None:
            owed = {
                execution.execution_id
                for execution in found
                if execution.client_id and execution.at >= self._connected_at
            }
            is_new, teller.is_renewed = teller.is_renewed, False
            if self._ledger.is_overdue(owed - teller.executions, is_new=is_new):
                updates.drop("it did not tell of fills that the account lists")
        return found

    def standing(self) -> Standing:
        """Cash, buying power and positions now."""
        return self._standing(0)

    def _standing(self, now: int) -> Standing:
        account, rows = self._content("/account"), self._content("/positions")
        return Standing(
            str(account["account_number"]),
            float(account["cash"]),
            float(account["buying_power"]),
            {asset_of(row): _signed(row) for row in rows},
            {asset_of(row): float(row["current_price"]) for row in rows if row["current_price"]},
            now,
        )

    def coin_fee(self, asset_id: str) -> float:
        """Fees on purchases of crypto are taken from the coins."""
        return _COIN_FEE if is_crypto(asset_id) else 0.0

    def wait_for_slot(self, *, is_cancel: bool = False) -> float:
        """Seconds until the next request; a tenth of them are kept for cancels."""
        return self._pace.wait(is_cancel=is_cancel)

    def _tell_held(self, updates: list[Json]) -> None:
        """What was told of orders before they were known."""
        for update in updates:
            assert self._teller is not None
            self._teller.hear(update)


def _taken(reply: Reply) -> Answer:
    return Answer(not reply.is_refusal, reply.words)


def _signed(position: Json) -> float:
    quantity = abs(float(position["qty"]))
    return -quantity if str(position.get("side")) == "short" else quantity


def _check_endpoint(url: str | None, *, is_paper: bool) -> None:
    host = None if url is None else urlsplit(url).hostname
    if (host == _LIVE_HOST and is_paper) or (host == _PAPER_HOST and not is_paper):
        money = "real" if host == _LIVE_HOST else "paper"
        raise ConfigError(
            f"url={url!r} trades with {money} money, and paper={is_paper} says otherwise. "
            "Leave url= out, or change paper=."
        )


def _stream_of(url: str | None) -> str | None:
    """Where the stream of a server is, beside its calls."""
    if url is None:
        return None
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ConfigError(f"url={url!r} is no address: it begins with https:// or http://.")
    return parts._replace(scheme=scheme, path="/stream", query="").geturl()
