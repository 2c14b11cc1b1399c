"""Gateway: what an adapter to one broker does. It carries requests, and decides nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.live.inbox import Inbox
    from ml4t.backtest.live.words import Answer, Change, Execution, Report, Request, Standing
    from ml4t.backtest.types.order import Order


class Gateway(ABC):
    """One broker's account over the wire.

    Every call is made on the session's thread, takes a bounded time, and raises `ConnectionLost`
    when the broker does not answer. What arrives by itself (fills, changes of orders, a lost
    connection) is put on the inbox by threads of the gateway's own, which do nothing else.

    Attributes:
        name: What messages call it.
        place: Where the account is, when that is not the broker's own place: accounts of the same
            name in two rehearsals are two.
        is_paper: Whether its money is play money.
        takes_brackets: Whether a request may have legs.
        splits_flips: Whether an order may not go through zero: it is sent as two, one after the
            other.
    """

    name: str = "broker"
    place: str = ""
    is_paper: bool = True
    takes_brackets: bool = False
    splits_flips: bool = True

    @abstractmethod
    def connect(self, inbox: Inbox) -> Standing:
        """Begin to receive, and say whose account it is.

        Raises:
            ConnectionLost: No answer, or the account or its key is refused.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop receiving; twice is no mistake."""

    @abstractmethod
    def obstacle(self, order: Order) -> str:
        """Why this broker cannot work an order, whatever the market: empty when it can."""

    @abstractmethod
    def send(self, request: Request) -> Answer:
        """Send an order once. An answer that did not come is `Answer(None, ...)`, no exception."""

    def takes_together(self, request: Request) -> bool:
        """Whether a request may go with just these legs."""
        del request
        return self.takes_brackets

    def remember(self, request: Request) -> None:
        """A request was made, now or before a restart: whose legs are whose."""
        del request

    def remember_change(self, change: Change) -> None:
        """A change is asked for, now or before a restart: which order goes by which name."""
        del change

    @abstractmethod
    def cancel(self, client_id: str) -> Answer:
        """Ask to cancel an order; that it was canceled comes as a `Report`."""

    @abstractmethod
    def replace(self, change: Change) -> Answer:
        """Ask to change an order."""

    @abstractmethod
    def find(self, client_id: str) -> tuple[Report, ...]:
        """Where an order and its legs stand; empty when the broker has never heard of it."""

    def renew(self) -> None:  # noqa: B027  most ask each time
        """From now on `find` says how orders stand now, whatever was listed before."""

    @abstractmethod
    def open_orders(self) -> Sequence[tuple[Report, str]]:
        """All open orders of the account, each with its `asset_id`, whoever sent them."""

    @abstractmethod
    def executions(self, since: int) -> Sequence[Execution]:
        """All fills of the account from a time on, microseconds since 1970, oldest first.

        It may be asked for all of them, from 0 on; those before the session are not needed then.
        """

    @abstractmethod
    def standing(self) -> Standing:
        """Cash, buying power and positions now."""

    def coin_fee(self, asset_id: str) -> float:
        """The most of what is bought of an asset that the broker keeps as a fee, a fraction.

        It is for fees that are taken in units of the asset, and that no execution tells.
        """
        del asset_id
        return 0.0

    def lists_from(self, now: int) -> int:
        """From when on fills and orders that have ended are listed; 0 when all are.

        An order that was heard of later and is not listed never arrived. One that was heard of
        before may have filled.

        Args:
            now: Microseconds since 1970.
        """
        del now
        return 0

    def wait_for_slot(self, *, is_cancel: bool = False) -> float:
        """Seconds until the next request may be made; 0.0 when it may be made now.

        Some requests are kept for cancels.
        """
        del is_cancel
        return 0.0
