"""A live feed whose bars, breaks and time are written down beforehand."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ml4t.backtest.data.feed import Request
from ml4t.backtest.live.arrivals import Connected, LiveBar
from ml4t.backtest.live.feed import LiveDataFeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ml4t.backtest.data.block import Block
    from ml4t.backtest.live.inbox import Inbox

SECOND = 1_000_000
MINUTE = 60 * SECOND
NINE = int(dt.datetime(2024, 3, 5, 9, tzinfo=dt.UTC).timestamp()) * SECOND  # a Tuesday


def bar(asset_id: str, start: int, close: float = 10.0, **fields: Any) -> LiveBar:
    """A sound bar around a close; fields replace its values."""
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 100.0}
    return LiveBar(asset_id=asset_id, start=start, **(values | fields))


class FakeTime:
    """Shows what it is set to."""

    def __init__(self, now: int = NINE) -> None:
        self.moment = now

    def now(self) -> int:
        """The moment it is set to."""
        return self.moment

    def seconds_until(self, moment: int) -> float:
        """Nobody waits."""
        return 0.0


class ScriptedFeed(LiveDataFeed):
    """Plays a script: what arrives when. Stops itself when all of it has been given out.

    Attributes:
        is_prompt: History answers before anything else comes.

    Args:
        symbols: As of any feed.
        script: Pairs of a moment and what arrives then; a function is called instead.
        past: What history knows.
        connects: `Connected` arrives first.
    """

    is_prompt = True

    def __init__(
        self,
        symbols: list[str],
        script: Iterable[tuple[int, Any]],
        *,
        past: Iterable[LiveBar] = (),
        connects: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(symbols, **{"max_silence": None, **options})
        self.time = self.clock = FakeTime()
        self.script = sorted(script, key=lambda line: line[0])
        self.past = list(past)
        self.asked: list[tuple[dt.datetime, dt.datetime]] = []
        self.reconnects: list[int] = []
        self.is_closed = False
        self.connects = connects
        self.pump = self.play

    def connect(self, inbox: Inbox) -> None:
        """Is there at once."""
        if self.connects:
            inbox.put("feed", Connected())

    def reconnect(self) -> None:
        """Takes note of when it was asked to."""
        self.reconnects.append(self.clock.moment)

    def close(self) -> None:
        """Takes note."""
        self.is_closed = True

    def history(self, start: dt.datetime, end: dt.datetime) -> list[LiveBar]:
        """What it knows of a span."""
        self.asked.append((start, end))
        low, high = (int(t.timestamp()) * SECOND for t in (start, end))
        return [b for b in self.past if low <= b.start and b.start + MINUTE <= high]

    def play(self, deadline: int | None) -> Any | None:
        """What is on the inbox, then what the script says, and nothing before its time."""
        reader = self._reader
        assert reader is not None
        message = self.inbox.take(10 if reader._gap is not None and self.is_prompt else 0)
        while message is not None:
            if message.source == "feed":
                return message.content
            self.notices.append(message.content)
            message = self.inbox.take(0)
        if not self.script and reader._assembly.next_end() is None:
            self.stop()
            return None
        if self.script and (deadline is None or self.script[0][0] <= deadline):
            moment, content = self.script.pop(0)
            self.clock.moment = max(moment, self.clock.moment)
            return content() if callable(content) else content
        assert deadline is not None
        self.clock.moment = max(deadline, self.clock.moment)
        return None

    @property
    def notices(self) -> list[Any]:
        """What the feed told the session."""
        return self.__dict__.setdefault("_notices", [])

    def walk(self, look: Callable[[Block], Any] | None = None) -> list[Any]:
        """All blocks, or what is seen of each, as it comes."""
        reader = self.open_reader(Request())
        return [block if look is None else look(block) for block in reader.blocks(1)]

    def table(self) -> list[tuple[float, dict[str, float]]]:
        """Of each timestamp, minutes after nine and the closes by asset."""
        return self.walk(lambda block: row(block, self.symbols))


def row(block: Block, ids: list[str]) -> tuple[float, dict[str, float]]:
    """One timestamp: minutes after nine, and the closes by asset."""
    closes = block.prices["close"].tolist()
    names = [ids[code] for code in block.codes]
    return (int(block.times[0]) - NINE) / MINUTE, dict(zip(names, closes, strict=True))
