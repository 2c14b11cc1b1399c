"""What a live run reads: first its journal, then history, then what comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ml4t.backtest.data.feed import DataFeed
from ml4t.backtest.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.data.feed import Reader, Request
    from ml4t.backtest.types.bars import MarketEvent


class Steps(Protocol):
    """Who is asked before each step of a live run."""

    def opened(self, reader: Reader) -> None:
        """The feed has said which assets it has."""
        ...

    def recorded(self, reader: Reader) -> Iterator[Block]:
        """The steps of the journal; what lies between them is applied on the way."""
        ...

    def warm(self, reader: Reader) -> Iterator[Block]:
        """The steps of history."""
        ...

    def begin(self, block: Block, reader: Reader) -> None:
        """A step is about to be made on what has come."""
        ...

    def finish(self) -> None:
        """Nothing more will come."""
        ...


class IntakeFeed(DataFeed):
    """A feed with the past of its session in front of it.

    Args:
        feed: What brings the bars.
        steps: Whom to ask.
    """

    def __init__(self, feed: DataFeed, steps: Steps) -> None:
        self.feed = feed
        self.steps = steps

    def get_next_event(self) -> MarketEvent | None:
        """Nothing: bars are read whole."""
        return None

    def is_exhausted(self) -> bool:
        """Yes: bars are read whole."""
        return True

    def open_reader(self, request: Request) -> Reader:
        """Open the feed for the session's run."""
        reader = self.feed.open_reader(request)
        self.steps.opened(reader)
        return IntakeReader(reader, self.steps)


class IntakeReader:
    """One timestamp at a time, each as soon as it is there."""

    is_single_pass = True

    def __init__(self, reader: Reader, steps: Steps) -> None:
        self.reader = reader
        self.steps = steps
        self.survey = reader.survey
        self.ids = reader.ids
        self.is_growing = reader.is_growing

    def blocks(self, rows: int) -> Iterator[Block]:
        """The journal's steps, those of history, and what comes."""
        latest = None
        for block in self.steps.recorded(self.reader):
            latest = int(block.times[0])
            yield block
        for block in self.steps.warm(self.reader):
            latest = int(block.times[0])
            yield block
        for several in self.reader.blocks(rows):
            for i in range(len(several.times)):
                block = several.part(i, i + 1)
                now = int(block.times[0])
                if latest is not None and now <= latest:
                    continue  # the journal has it
                latest = now
                self.steps.begin(block, self.reader)
                yield block
        self.steps.finish()


def codes_of(reader: Reader, names: list[str]) -> dict[str, int]:
    """The reader's codes of some assets.

    Raises:
        JournalError: The feed has no such asset any more.
    """
    known = {name: code for code, name in enumerate(reader.ids)}
    for name in names:
        if name not in known:
            raise JournalError(
                f"The journal has bars of {name!r}, which the feed does not have: begin with the "
                "same symbols, or name another file with journal=."
            )
    return known
