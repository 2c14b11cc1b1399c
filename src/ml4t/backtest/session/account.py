"""The account that a session trades in: whose it is, and what it held when the journal began."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from ml4t.backtest._version import __version__
from ml4t.backtest.errors import JournalError, LiveError, ReconcileError
from ml4t.backtest.live.lock import AccountLock
from ml4t.backtest.live.records import Opening
from ml4t.backtest.live.timing import MICROSECONDS

if TYPE_CHECKING:
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.live.words import Standing
    from ml4t.backtest.session.session import Session

_DAY = 86_400  # seconds: no machine's clock is that wrong, and recorded days are


class Account:
    """Connects to the account, and takes over what it holds.

    Args:
        session: Which trades in it.

    Attributes:
        opening: What it held when the journal began; None without an account.
        held: Units of that which are of the run's assets.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.opening: Opening | None = None
        self.held: dict[str, float] = {}
        self._lock: AccountLock | None = None

    def open(self) -> None:
        """Connect, unless the session is only read again, and check whose account it is."""
        session = self.session
        broker, entry = session.broker, session.journal.last("opening")
        if entry is not None:
            self.opening = msgspec.msgpack.decode(entry.content, type=Opening)
        if broker is None or session.is_replay:
            self._name_orders()
            return
        standing = broker.gateway.connect(session.inbox)
        self._lock = AccountLock(
            f"{broker.gateway.name} {standing.account} {broker.gateway.place}".strip()
        )
        self._check_confirmation(standing)
        self._check_clock(standing)
        if self.opening is None:
            self.opening = self._new_opening(standing)
            session.write("opening", self.opening)
        elif self.opening.account != standing.account:
            raise JournalError(
                f"The journal {str(session.journal.path)!r} is of account "
                f"{self.opening.account!r}, not {standing.account!r}. Name another file with "
                "journal=."
            )
        self._name_orders()
        session.write("session", {"version": __version__, "mode": session.mode})

    def close(self) -> None:
        """Let go of it."""
        if self.session.broker is not None and not self.session.is_replay:
            self.session.broker.gateway.close()
        if self._lock is not None:
            self._lock.release()

    def _name_orders(self) -> None:
        if self.session.broker is not None and self.opening is not None:
            self.session.broker.run_name = self.opening.run_name
            self.session.broker.since = self.session.time.now()

    def _check_confirmation(self, standing: Standing) -> None:
        if self.session.mode == "live" and self.session.confirm != standing.account:
            raise LiveError(
                f"mode='live' trades real money in account {standing.account!r}: say so with "
                f"confirm={standing.account!r}."
            )

    def _check_clock(self, standing: Standing) -> None:
        if self.session.max_clock_skew is None or not standing.at:
            return
        skew = (self.session.time.now() - standing.at) / MICROSECONDS
        if abs(skew) > self.session.max_clock_skew:
            advice = "set it, or orders are judged by the wrong time."
            if abs(skew) > _DAY:
                advice = "set it; or, when that is a rehearsal, pass time=RehearsalTime(url)."
            raise LiveError(
                f"This machine's clock is {skew:+.1f} seconds off the broker's, more than "
                f"max_clock_skew={self.session.max_clock_skew:g}: {advice}"
            )

    def _new_opening(self, standing: Standing) -> Opening:
        """What the account holds now."""
        digest = hashlib.sha256(
            f"{standing.account} {self.session.time.now()} {self.session.journal.path}".encode()
        )
        return Opening(
            f"ml4t-{digest.hexdigest()[:10]}",
            standing.account,
            standing.cash,
            standing.positions,
            standing.prices,
            __version__,
        )

    def take_over(self, reader: Reader) -> None:
        """The assets are known: what the account holds of them is where the run begins."""
        broker, opening = self.session.broker, self.opening
        if broker is None or opening is None:
            return
        ours = set(reader.ids)
        self.held = {name: units for name, units in opening.positions.items() if name in ours}
        if (
            self.held
            and self.session.policy != "adopt"
            and self.session.journal.last("bars") is None
        ):
            shown = ", ".join(f"{units:g} {name}" for name, units in sorted(self.held.items()))
            raise ReconcileError(
                f'The account holds {shown} already. Close it, or begin with reconcile="adopt" '
                "to let the strategy have it."
            )
        worth = sum(
            units * opening.prices[name] * broker.multiplier_of(name)
            for name, units in self.held.items()
        )
        broker.initial_cash = opening.cash + worth

    def book_holdings(self) -> None:
        """The run begins with what the account held."""
        for name, units in sorted(self.held.items()):
            assert self.session.broker is not None
            assert self.opening is not None
            price = self.opening.prices[name]
            self.session.broker.notes.holding(name, units, price, self.session.broker.since)
