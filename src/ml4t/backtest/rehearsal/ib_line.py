"""One client of a TWS: its socket, its number, and what it has asked to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml4t.backtest.rehearsal.ib_words import frame

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from ml4t.backtest.rehearsal.ib_orders import Fields

_PATIENCE = 64 << 20  # bytes that may wait for a slow client before it is cut off


class TwsLine:
    """One connection.

    Attributes:
        client_id: The number it gave; -1 before.
        is_mute: It stays open, and nothing is sent any more.
        is_deaf: The answers to the request under way are lost.
        wants_positions: It is told of positions as they change.
        wants_account: Likewise of the account.
        bars: What it gets bars of: by request, a contract and how.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.client_id = -1
        self.is_mute = self.is_deaf = False
        self.wants_positions = self.wants_account = False
        self.bars: dict[int, Any] = {}
        self._writer = writer

    @property
    def is_open(self) -> bool:
        """Whether it is there."""
        return not self._writer.is_closing()

    def say(self, *messages: Fields) -> None:
        """Send messages, soon."""
        if self.is_mute or self.is_deaf or not self.is_open:
            return
        self._writer.write(b"".join(frame(fields) for fields in messages))
        if self._writer.transport.get_write_buffer_size() > _PATIENCE:
            self.drop()

    def say_version(self, version: int, now: str) -> None:
        """The first words of a server."""
        self._writer.write(frame([version, now]))

    def drop(self) -> None:
        """Break the connection off; what waits for the client is lost."""
        self._writer.transport.abort()

    def close(self) -> None:
        """End the connection once all is sent."""
        self._writer.close()


class TwsLines:
    """All clients."""

    def __init__(self) -> None:
        self._lines: list[TwsLine] = []

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[TwsLine]:
        return iter([line for line in self._lines if line.is_open])

    def add(self, line: TwsLine) -> None:
        """One more."""
        self._lines.append(line)

    def remove(self, line: TwsLine) -> None:
        """It has gone."""
        if line in self._lines:
            self._lines.remove(line)

    def of(self, client_id: int) -> list[TwsLine]:
        """Those with a number: one, or none."""
        return [line for line in self if line.client_id == client_id]

    def drop(self) -> None:
        """Break all off."""
        for line in self:
            line.drop()
