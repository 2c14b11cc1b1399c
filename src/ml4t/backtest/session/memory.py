"""What the journal has of a session's steps: they are made again from it, and added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ml4t.backtest.errors import JournalError, StrategyError
from ml4t.backtest.live.blocks import BarsRecord, block_of
from ml4t.backtest.live.intake import codes_of
from ml4t.backtest.live.recorded import RecordedGateway
from ml4t.backtest.live.records import apply_entry, packed
from ml4t.backtest.session.checks import keeps_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Reader
    from ml4t.backtest.live.journal import Entry
    from ml4t.backtest.session.session import Session
    from ml4t.backtest.types.bars import Bars


class Memory:
    """Makes the steps of a journal again, and writes down what is decided in new ones.

    Args:
        session: Whose journal.

    Attributes:
        has_state: The strategy keeps a state of its own.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.has_state = keeps_state(session.engine.strategy)
        self._commands: bytes | None = None  # of the step that is being repeated
        self._asked: bytes | None = None  # likewise
        self._state: Any = None

    def recorded(self, reader: Reader) -> Iterator[Block]:
        """The journal's steps; what happened between them is applied on the way."""
        self.session.account.book_holdings()
        for entry in self.session.journal.entries():
            if entry.kind == "bars":
                record = msgspec.msgpack.decode(entry.content, type=BarsRecord)
                self.session.refuse(record.refusal)
                self._recall(entry)
                if self.session.broker is not None and isinstance(
                    self.session.broker.gateway, RecordedGateway
                ):
                    self.session.broker.gateway.expect(self._commands)
                yield block_of(record, codes_of(reader, record.asset_ids))
            elif entry.kind == "state":
                self._state = msgspec.msgpack.decode(entry.content)
            elif entry.kind == "halt":
                self._recall_halt(msgspec.msgpack.decode(entry.content, type=str))
            elif self.session.broker is not None:
                apply_entry(entry, self.session.broker)
        self._asked = self._commands = None

    def _recall_halt(self, reason: str) -> None:
        """A halt lasts until an operator ends it, whatever becomes of the process."""
        self.session.watch.stopped = reason
        if self.session.broker is not None:
            self.session.broker.rejections = 0

    def _recall(self, bars: Entry) -> None:
        """What the strategy decided on bars of the journal; None when it never got that far."""
        self._asked = self._commands = None
        for entry in self.session.journal.entries("bars", "asked", "decisions", after=bars.number):
            if entry.kind == "bars":
                return
            if entry.kind == "decisions":
                self._commands = entry.content
                return
            self._asked = entry.content

    def asked_before(self) -> bytes | None:
        """What was asked for in the step that is made again; None when its hooks are called."""
        return self._asked if self._commands is not None and self.has_state else None

    def take_state(self) -> Any:
        """What the strategy is to go on with, once."""
        state, self._state = self._state, None
        return state

    def keep(self, bars: Bars, asked: bytes | None, decided: list[Any]) -> bool:
        """What was decided: written down before any of it is sent, or compared with before.

        Args:
            bars: Of the step.
            asked: What the strategy asked for, when that is kept.
            decided: Commands, where the broker has no list of them.

        Returns:
            Whether the step is a new one.
        """
        if self.session.broker is not None:
            decided, self.session.broker.commands = self.session.broker.commands, []
        commands = packed(decided)
        if self._commands is not None:
            if commands != self._commands:
                raise JournalError(self._difference(bars, commands))
            return False
        if self.session.is_replay:
            return False  # the session did not get that far, or has not yet
        with self.session.journal.together():
            if asked is not None:
                self.session.write("asked", msgspec.Raw(asked))
            self.session.write("decisions", msgspec.Raw(commands))
            if self.has_state:
                self.session.write("state", msgspec.Raw(self._state_of_now()))
        return True

    def _state_of_now(self) -> bytes:
        strategy = self.session.engine.strategy
        name = f"{type(strategy).__name__}.save_state"
        try:
            state = strategy.save_state()
        except Exception as error:
            raise StrategyError(f"{name} raised {type(error).__name__}: {error}") from error
        try:
            return packed(state)
        except Exception as error:
            raise StrategyError(
                f"{name} returned what a journal cannot keep ({error}). Return plain values: "
                "numbers, text, lists, dicts."
            ) from error

    def _difference(self, bars: Bars, commands: bytes) -> str:
        assert self._commands is not None
        before, now = (msgspec.msgpack.decode(x) for x in (self._commands, commands))
        return (
            f"At {bars.timestamp} the strategy now decides something else than the journal says "
            f"({now!r}, not {before!r}). It has changed, or depends on more than its bars: write "
            "save_state and load_state, or begin a new journal with the account flat."
        )
