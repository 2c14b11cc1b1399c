"""The numbers of one stream: what was missed, what came twice, what does not add up."""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter

_REMEMBERED = 1_024  # numbers whose content is remembered, to tell a duplicate from a lie
_HOLES = 64  # spans of missed numbers that are remembered
_WILD = 1_000_000  # a jump that no loss explains


class Judged(NamedTuple):
    """What a number says of its message.

    Attributes:
        is_taken: It has not been here before.
        is_late: Later ones have been here.
        is_lacking: Something has to be fetched from history.
    """

    is_taken: bool = True
    is_late: bool = False
    is_lacking: bool = False


class Sequence:
    """Judges the numbers of a stream; pure.

    Nothing that a server says about numbers makes a reader deaf: content is left out only when
    the same number brought the same before.

    Args:
        counts: Where everything that is amiss is counted.

    Attributes:
        last: The highest number so far, as far as it is believed; None before the first.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self.last: int | None = None
        self._counts = counts
        self._holes: deque[tuple[int, int]] = deque(maxlen=_HOLES)
        self._seen: dict[int, int] = {}

    def begin(self, last: int) -> None:
        """A server says where its numbers are; nothing before counts."""
        self.last = last
        self._holes.clear()
        self._seen.clear()

    def judge(self, number: int, previous: int | None, content: str | bytes) -> Judged:
        """A message has come.

        Args:
            number: Its own.
            previous: That of the message before it; None says `number` - 1.
            content: Its frame.
        """
        print_ = zlib.crc32(content.encode() if isinstance(content, str) else content)
        judged = self._judge(number, number - 1 if previous is None else previous, print_)
        self._seen[number] = print_
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return judged

    def hear(self, last: int) -> bool:
        """A heartbeat says what the last number is; whether something was missed before it."""
        if self.last is None or last == self.last:
            return False
        if last < self.last:
            self._counts["false_sequences"] += 1
            return False
        missed = self._miss(last)
        self.last = last
        return missed

    def _judge(self, number: int, previous: int, content: int) -> Judged:
        last = self.last
        if last is None or previous == last < number:
            self.last = number
            return Judged()
        if number <= last:
            return self._judge_old(number, content)
        if previous >= number or previous < last:
            self._counts["false_sequences"] += 1
            self.last = number
            return Judged(is_lacking=previous >= number)
        is_lacking = self._miss(previous)
        self.last = number
        return Judged(is_lacking=is_lacking)

    def _judge_old(self, number: int, content: int) -> Judged:
        if self._seen.get(number) == content:
            self._counts["duplicate_messages"] += 1
            return Judged(is_taken=False)
        if number not in self._seen and any(low < number <= high for low, high in self._holes):
            self._counts["messages_out_of_order"] += 1
            return Judged(is_late=True)
        self._counts["false_sequences"] += 1
        self.last = number  # it counts anew, without saying so
        self._holes.clear()
        return Judged(is_lacking=True)

    def _miss(self, until: int) -> bool:
        """All from the last number on were missed, up to and with one."""
        assert self.last is not None
        if until - self.last > _WILD:
            self._counts["false_sequences"] += 1
            return True
        self._counts["sequence_gaps"] += 1
        self._counts["missed_messages"] += until - self.last
        self._holes.append((self.last, until))
        return True
