"""IBGateway: one account at Interactive Brokers, over TWS or the Gateway.

Every call of the session runs on the connection's own loop and takes a bounded time. Orders are
known by the name that we give them (`orderRef`) and fills by the broker's; never by an object of
the vendor's client, which forgets them all with every connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ml4t.backtest.errors import ConfigError, ConnectionLost
from ml4t.backtest.live.gateway import Gateway
from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.pace import Pace
from ml4t.backtest.live.words import Answer, Link, Standing
from ml4t.backtest.types.time import TimeAxis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ml4t.backtest.live.ib.desk import IBDesk
    from ml4t.backtest.live.ib.link import TwsLink
    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.words import Change, Execution, Report, Request
    from ml4t.backtest.types.order import Order

_INSTALL = "pip install 'ml4t-backtest[ib]'"
_NEW_YORK = ZoneInfo("America/New_York")
_UTC = TimeAxis(zone="UTC")
_REAL_PORTS = frozenset({7496, 4001})


class IBGateway(Gateway):
    """Carries requests to Interactive Brokers.

    Args:
        host: Where TWS or the Gateway runs.
        port: 7497 and 4002 are paper money by default there, 7496 and 4001 real money.
        client_id: Our number; only it can cancel what it has sent.
        account: Which one, when the login has several.
        contracts: As of `IBBroker`.
        multipliers: Money per point of an asset, as the run counts it.
        currency: Of stocks that are not named, and of the account.
        paper: Whether the money is play money; told by the port when None.
        answer_seconds: How long to wait for any one answer.
        commission_seconds: How long a fill waits for what it cost.
        heartbeat: Seconds of silence after which the connection is tried.
        messages_a_second: How many messages the broker takes.

    Raises:
        ConfigError: An option makes no sense, or ib_async is missing.
    """

    name = "Interactive Brokers"
    takes_brackets = True

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        *,
        account: str | None,
        contracts: Mapping[str, Any],
        multipliers: Callable[[str], float],
        currency: str,
        paper: bool | None,
        answer_seconds: float,
        commission_seconds: float,
        heartbeat: float,
        messages_a_second: float,
    ) -> None:
        try:
            from ml4t.backtest.live.ib.contracts import Contracts
        except ImportError as error:
            raise ConfigError(f"IBBroker needs the extra 'ib' ({error}). Run: {_INSTALL}") from None
        self.host, self.port, self.client_id = host, port, client_id
        self.account = account
        self.is_paper = port not in _REAL_PORTS if paper is None else paper
        self.answer_seconds = answer_seconds
        self.commission_seconds = commission_seconds
        self.heartbeat = heartbeat
        self.currency = currency
        self.pace = Pace(messages_a_second)
        self.contracts = Contracts(contracts, multipliers, currency=currency)
        self._legs: dict[str, tuple[str, ...]] = {}
        self._origins: dict[str, str] = {}  # what a name that came by a change was at first
        self._changes: dict[str, Change] = {}  # by first names, the last one that was asked for
        self._inbox: Inbox | None = None
        self._link: TwsLink | None = None
        self._desk: IBDesk | None = None

    # -- the connection -----------------------------------------------------------------------

    def connect(self, inbox: Inbox) -> Standing:
        """Connect, and keep the connection up from then on.

        Raises:
            ConnectionLost: Nobody answers, the number is in use, or the account is another one.
        """
        from ml4t.backtest.live.ib.desk import IBDesk
        from ml4t.backtest.live.ib.link import TwsLink

        self.close()
        self._inbox = inbox
        self._desk = desk = IBDesk(
            self.contracts, self._tell, commission_seconds=self.commission_seconds
        )
        self._link = link = TwsLink(
            self.host,
            self.port,
            self.client_id,
            account=self.account,
            answer_seconds=self.answer_seconds,
            heartbeat=self.heartbeat,
            messages_a_second=self.pace.limit,
            listener=desk.book,
            on_error=self._heard,
            on_up=self._is_back,
            on_down=self._is_gone,
        )
        desk.link = link
        try:
            link.start()
            desk.account = self._choose(link.accounts)
            self._call(desk.learn, len(self.contracts.given) + 1)
            return self.standing()
        except BaseException:
            self.close()
            raise

    def _choose(self, accounts: list[str]) -> str:
        """The account that is traded.

        Raises:
            ConnectionLost: There are several, or it is not there, or its money is not as said.
        """
        shown = ", ".join(map(repr, accounts))
        if self.account is None and len(accounts) != 1:
            raise ConnectionLost(f"The login has the accounts {shown}: say which with account=.")
        account = self.account or accounts[0]
        if account not in accounts:
            raise ConnectionLost(f"The login has no account {account!r}, but {shown}.")
        is_paper = account.startswith("D")
        if is_paper != self.is_paper:
            kind = "paper money" if is_paper else "real money"
            raise ConnectionLost(
                f"Account {account!r} at port {self.port} is {kind}, not as expected: check the "
                f"port, or say paper={is_paper}."
            )
        return account

    def close(self) -> None:
        """End the connection and its thread."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _is_back(self) -> None:
        """On the loop: the connection is there again, and everything has been asked anew."""
        self._tell(Link(is_up=True, reason="the connection is back"))

    def _is_gone(self, reason: str) -> None:
        """On the loop: the connection broke; numbers of orders may be given again."""
        if self._desk is not None:
            self._desk.book.forget_numbers()
        self._tell(Link(is_up=False, reason=reason))

    def _tell(self, event: Any) -> None:
        if self._inbox is not None:
            self._inbox.put("broker", event)

    def _heard(self, request: int, code: int, text: str) -> None:
        """On the loop: an error or a notice."""
        desk, inbox = self._desk, self._inbox
        if code == mapping.LINK_LOST:
            self._tell(Link(is_up=False, reason=f"{code}: {text}"))
        elif code in (mapping.LINK_KEPT, mapping.LINK_NEW):
            self._tell(Link(is_up=True, reason=f"{code}: {text}"))
        elif request != -1 and desk is not None:
            known = desk.book.numbered(self.client_id, request)
            if known is not None:
                desk.book.error(known, code, text)
                if inbox is not None and code not in (mapping.CANCELED, mapping.DUPLICATE_ID):
                    inbox.put("session", f"{known.ref}: {code} {text}")
        elif code not in mapping.QUIET and inbox is not None:
            inbox.put("session", f"Interactive Brokers: {code} {text}")

    def _call(self, function: Callable[[], Any], answers: int = 1) -> Any:
        if self._link is None:
            raise ConnectionLost("Interactive Brokers is not connected.")
        self.pace.count(answers)
        return self._link.call(function, answers)

    @property
    def _on_desk(self) -> IBDesk:
        if self._desk is None:
            raise ConnectionLost("Interactive Brokers is not connected.")
        return self._desk

    # -- what is asked ------------------------------------------------------------------------

    def obstacle(self, order: Order) -> str:
        """Parts of units, and auctions for what has no place there."""
        return mapping.obstacle(order)

    def remember(self, request: Request) -> None:
        """Whose legs are whose."""
        self._legs[request.client_id] = tuple(leg.client_id for leg in request.legs)

    def remember_change(self, change: Change) -> None:
        """An order keeps its first name at the broker, whatever it has become."""
        first = self._first(change.client_id)
        self._origins[change.new_client_id] = first
        self._changes[first] = change

    def _first(self, name: str) -> str:
        return self._origins.get(name, name)

    def send(self, request: Request) -> Answer:
        """Send an order and its legs; one that is known already is not sent again."""
        desk = self._on_desk
        self.remember(request)
        try:
            return self._answer(lambda: desk.send(request), 4 + len(request.legs))
        except ConfigError as error:
            return Answer(is_taken=False, reason=str(error))

    def cancel(self, client_id: str) -> Answer:
        """Ask for the end of an order."""
        desk, first = self._on_desk, self._first(client_id)
        return self._answer(lambda: desk.cancel(first), 2)

    def replace(self, change: Change) -> Answer:
        """Change an order; it keeps its number and its name at the broker."""
        self.remember_change(change)
        desk, first = self._on_desk, self._first(change.client_id)
        return self._answer(lambda: desk.replace(first, change), 3)

    def _answer(self, function: Callable[[], Any], answers: int) -> Answer:
        try:
            found: Answer = self._call(function, answers)
        except ConnectionLost as error:
            return Answer(None, str(error))
        return found

    def find(self, client_id: str) -> tuple[Report, ...]:
        """Where an order and its legs stand, as the broker lists them now."""
        desk, first = self._on_desk, self._first(client_id)
        legs = self._legs.get(first, ())
        self._call(lambda: desk.refresh([first, *legs]), 2)
        change = self._changes.get(first)
        found = [desk.standing_of(first, client_id, change)]
        found += [desk.standing_of(leg, leg, None) for leg in legs]
        return tuple(report for report in found if report is not None)

    def open_orders(self) -> Sequence[tuple[Report, str]]:
        """All open orders of the login, each with its asset, under the names they go by now."""
        self._call(self._on_desk.refresh, 2)
        return self._on_desk.open_orders(self._changes)

    def executions(self, since: int) -> Sequence[Execution]:
        """The fills of the broker's day, and all that were told before."""
        found: Sequence[Execution] = self._call(self._on_desk.executions, 2)
        return [one for one in found if one.at >= since]

    def standing(self) -> Standing:
        """Cash, buying power, positions and their prices."""
        from ml4t.backtest.live.ib.account import standing

        desk = self._on_desk
        found: Standing = self._call(lambda: standing(desk.link, self.contracts, desk.account), 3)
        return found

    def lists_from(self, now: int) -> int:
        """Midnight in New York: TWS forgets fills and finished orders with the day."""
        day = _UTC.to_datetime(now).astimezone(_NEW_YORK)
        return _UTC.to_microseconds(day.replace(hour=0, minute=0, second=0, microsecond=0))

    def wait_for_slot(self, *, is_cancel: bool = False) -> float:
        """By the broker's limit of messages a second; some are kept for cancels."""
        return self.pace.wait(is_cancel=is_cancel, messages=3)
