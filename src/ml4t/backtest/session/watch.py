"""The watch: what operators say to a session, and what they are told."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ml4t.backtest.errors import JournalError
from ml4t.backtest.live.brake import FREE
from ml4t.backtest.live.feed import LiveDataFeed
from ml4t.backtest.live.killswitch import Command, KillSwitch
from ml4t.backtest.live.status import Status, open_order, status_path
from ml4t.backtest.live.timing import MICROSECONDS, is_due

if TYPE_CHECKING:
    from ml4t.backtest.session.session import Session


class Watch:
    """Takes the words of operators, halts the session, and leaves word of how things stand.

    Args:
        session: Over which.

    Attributes:
        next_at: When to look around again, microseconds.
        stopped: Why no orders are taken until an operator says otherwise; empty when they are.
        switch: Where operators leave their words.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.next_at = 0
        self.stopped = ""
        self.switch = KillSwitch.of(session.journal.path)
        self._parts: dict[str, bool] = {}  # entries filled in part, and whether that was told
        self._notices: deque[str] = deque(maxlen=20)

    def look_around(self) -> None:
        """Once a second: has somebody said something, and how do things stand?"""
        now = self.session.time.now()
        if not is_due(self.next_at, now, MICROSECONDS):
            return
        self.next_at = now + MICROSECONDS
        if (command := self.switch.take()) is not None:
            self.obey(command)
            self.switch.done()
        self._watch_rejections()
        self._watch_circles()
        self.tell_given_up()
        self._watch_parts()
        self.tell_status()

    def _watch_rejections(self) -> None:
        broker = self.session.broker
        if broker is None or self.stopped or broker.rejections < self.session.max_rejections:
            return
        broker.rejections = 0
        self.halt(f"the broker refused {self.session.max_rejections} orders in a row")

    def _watch_circles(self) -> None:
        """An order that is sent dozens of times is none that anybody wants."""
        broker = self.session.broker
        for order_id in () if broker is None else broker.tender.sender.brake.take():
            text = f"order {order_id} has been sent {FREE} times, and is sent slowly from now on"
            if self.stopped:
                self.notice(text)
            else:
                self.halt(f"{text}; `ml4t-backtest live journal` shows what takes it back")

    def tell_given_up(self) -> None:
        """What the strategy decided and the broker never had: an outage gives up many at once."""
        broker = self.session.broker
        if broker is None or not broker.given_up:
            return
        first, *others = broker.given_up
        broker.given_up = []
        more = f"; and {len(others)} more, see `ml4t-backtest live journal`" if others else ""
        self.notice(f"given up: {first}{more}")

    def _watch_parts(self) -> None:
        """Entries that stay filled in part are told once: what they have filled has no exits."""
        if self.session.broker is None:
            return
        now = {
            ticket.request.client_id: ticket for ticket in self.session.broker.tickets.unguarded()
        }
        for name, ticket in now.items():
            if self._parts.get(name) is False:  # it was so a look ago
                asset_id = ticket.request.terms.asset_id
                self.notice(
                    f"{name}: {ticket.filled:g} of {ticket.quantity:g} {asset_id} have filled, and "
                    "their exits wait at the broker until all have, or the rest is canceled"
                )
        self._parts = {name: name in self._parts for name in now}

    def obey(self, command: Command) -> None:
        """What an operator wants."""
        self.notice(f"the operator says {command}")
        if command is Command.HALT:
            self.halt("halted by the operator")
        elif command is Command.FLATTEN:
            self.halt("flattened by the operator", clearance="positions")
        elif command is Command.RESUME:
            self.stopped = ""
            self.session.write("halt", "")
        elif command is Command.STOP:
            self.session.stop("the operator said so")
        elif self.session.broker is not None:
            self.session.audit.reconcile()

    def halt(self, reason: str, *, clearance: str = "entries") -> None:
        """Take no orders from now on, and cancel what would open a position."""
        self.stopped = reason
        self.session.write("halt", reason)
        self.notice(f"halted: {reason}")
        if self.session.broker is not None:
            self.session.broker.halted = f"halted: {reason}"
            self.session.write("clearance", clearance)
            self.session.broker.notes.clearance(clearance)

    def notice(self, text: str) -> None:
        """Something that an operator should know."""
        self.note(text)
        self.session.alerts.tell(text)

    def note(self, text: str) -> None:
        """Something that is written down, for whoever looks."""
        self.session.write("note", text)
        self._notices.append(text)

    def tell_failure(self, error: BaseException) -> None:
        """The session ends with an error; whatever is broken, the operator is told."""
        why = f"{type(error).__name__}: {error}".removesuffix(": ")
        text = f"the session ends with an error: {why}"
        self.session.alerts.tell(text)
        if self.session.is_live:
            with suppress(JournalError):  # perhaps it is what cannot be written
                self.note(text)
            self.tell_status("failed", why)

    def tell_status(self, state: str = "", reason: str = "") -> None:
        """Leave word of how things stand beside the journal."""
        run, broker = self.session.live_run, self.session.broker
        portfolio = run.portfolio
        reason = reason or self.stopped or self.session.audit.mismatch
        ages: dict[str, float] = {}
        if isinstance(self.session.feed, LiveDataFeed) and self.session.feed.signals is not None:
            found = {
                name: self.session.feed.signals.ages(name) for name in self.session.feed.symbols
            }
            ages = {name: min(one.values()) for name, one in found.items() if one}
        account = (
            "" if self.session.account.opening is None else self.session.account.opening.account
        )
        status = Status(
            process=os.getpid(),
            mode=self.session.mode,
            strategy=type(self.session.engine.strategy).__name__,
            account=account,
            state=state or ("halted" if reason else "running"),
            reason=reason,
            updated_at=self.session.time.now(),
            last_bar=self.session.latest_bar,
            is_connected=broker is None or broker.is_up,
            equity=portfolio.equity,
            cash=portfolio.cash if broker is None else broker.cash(),
            start_equity=run.broker.initial_cash,
            positions=dict(portfolio.held) if broker is None else broker.positions(),
            orders=[open_order(working, broker) for working in run.blotter.listed()],
            counts=run.counts(),
            signal_ages=ages,
            notices=list(self._notices),
        )
        status.write(status_path(self.session.journal.path))
