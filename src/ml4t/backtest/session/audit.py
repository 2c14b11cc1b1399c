"""Audits: what the broker says the account holds, and what the session makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.errors import ConnectionLost, ReconcileError
from ml4t.backtest.live.reconcile import catch_up, coin_fees, compare
from ml4t.backtest.live.timing import MICROSECONDS, is_due

if TYPE_CHECKING:
    from ml4t.backtest.live.reconcile import Findings
    from ml4t.backtest.session.session import Session

_PAUSES = (1, 2, 4, 8)  # seconds between two attempts to begin


class Audit:
    """Compares a session with its broker: at the start, now and then, and when told to.

    Args:
        session: Whose account.

    Attributes:
        next_at: When to compare again, microseconds; 0 before the session has begun.
        mismatch: What the broker has and nothing explains; empty when there is no such thing.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.next_at = 0
        self.mismatch = ""

    def is_due(self) -> bool:
        """Whether it is time to compare."""
        period = int(self.session.audit_every * MICROSECONDS)
        return is_due(self.next_at, self.session.time.now(), period)

    def hasten(self) -> None:
        """Something has happened that should be looked at soon."""
        self.next_at = min(self.next_at, self.session.time.now() + MICROSECONDS)

    def begin(self) -> None:
        """The first comparison; an answer that does not come is waited for a while."""
        for pause in (*_PAUSES, None):
            try:
                self.reconcile(is_start=True)
            except ConnectionLost as error:
                if pause is None:
                    raise ConnectionLost(
                        f"The session has not begun, and nothing new was sent: the broker did not "
                        f"answer {len(_PAUSES) + 1} times when it was asked what the account "
                        f"holds ({error}). Start again when it does; the journal is whole."
                    ) from error
                self._wait(pause)
            else:
                return

    def _wait(self, seconds: int) -> None:
        """Take in what arrives for some seconds, and do nothing about it."""
        until = self.session.time.now() + seconds * MICROSECONDS
        self.next_at = 0  # so that a connection that comes back brings no audit of its own
        while self.session.time.now() < until:
            message = self.session.inbox.take(self.session.time.seconds_until(until))
            if message is None:
                return
            self.session.handle(message)

    def reconcile(self, *, is_start: bool = False) -> None:
        """Compare with the broker; take in what was missed, and halt on what is not explained."""
        broker = self.session.broker
        assert broker is not None
        self.next_at = self.session.time.now() + int(self.session.audit_every * MICROSECONDS)
        try:
            catch_up(broker)
            findings = self._book_fees(self._compare())
        except ConnectionLost as error:
            self.session.watch.notice(f"reconciliation: {error}")
            if is_start:
                raise
            return
        if findings.differences and self.session.policy == "adopt":
            for one in findings.differences:
                content = (one.asset_id, one.actual - one.known, one.price)
                self.session.write("adoption", content)
                broker.notes.adoption(*content, self.session.time.now())
            findings = self._compare()
        before, self.mismatch = self.mismatch, "; ".join(map(str, findings.differences))
        if self.mismatch:
            if is_start:
                raise ReconcileError(
                    f"The account is not what the journal says ({self.mismatch}). Find out why; "
                    'begin with reconcile="adopt" to go on with what the broker has.'
                )
            if self.mismatch != before:
                self.session.watch.notice(f"halted: {self.mismatch}")
            return
        if findings.cash:
            self.session.write("cash", ("broker", findings.cash))
            broker.notes.cash("broker", findings.cash)
        for stranger in findings.orders:
            self.session.watch.notice(f"an open order that is not ours: {stranger}")

    def _book_fees(self, findings: Findings) -> Findings:
        """Units that the broker has kept as a fee are no riddle."""
        broker = self.session.broker
        assert broker is not None
        fees = coin_fees(broker, findings)
        for fee in fees:
            self.session.write("fee", fee)
            broker.notes.fee(*fee, self.session.time.now())
        return self._compare() if fees else findings

    def _compare(self) -> Findings:
        broker = self.session.broker
        assert broker is not None
        adopts = self.session.policy == "adopt"
        return compare(broker, broker.gateway.standing(), adopts=adopts)
