"""The events of one timestamp as columns, and what is asked of single bars and signals."""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.data.block import Block
from ml4t.backtest.data.checks import NOISE
from ml4t.backtest.data.layout import META, PRICES, refuse_labels
from ml4t.backtest.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ml4t.backtest.data.feed import Request
    from ml4t.backtest.types.bars import MarketEvent

_FIELDS = (*PRICES, "volume")


def bar_fault(bar: Any) -> str | None:
    """What is wrong with a bar, in words that go before "in the bar of"; None when nothing is.

    Args:
        bar: Anything with `open`, `high`, `low`, `close` and `volume`.
    """
    for name in PRICES:
        value = getattr(bar, name)
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            return f"{name} is {value!r}, not a positive, finite price,"
    for value, name in ((bar.open, "open"), (bar.close, "close"), (bar.low, "low")):
        if bar.high < value * (1 - NOISE):
            return f"high {bar.high} is below {name} {value}"
        if value < bar.low * (1 - NOISE):
            return f"{name} {value} is below low {bar.low}"
    if not isinstance(bar.volume, Real):
        return f"volume is {bar.volume!r}, not a number,"
    if bar.volume < 0 or bar.volume == math.inf:
        return f"volume is {bar.volume}"
    return None


class SignalKinds:
    """Which signals there are, and whether each is a number. A name, once seen, stays.

    Args:
        source: What error texts call the place they come from.
        option: The option of that place with which a name like a label's is taken knowingly.
        declared: Signals that are there before their first value.
    """

    def __init__(
        self, source: str, *, option: str, declared: Mapping[str, bool] | None = None
    ) -> None:
        self._source = source
        self._option = option
        self._kinds = dict(declared or {})

    def learn(self, name: str, value: Any, *, is_asked_for: bool = False) -> None:
        """Take note of a value that is not absent.

        Args:
            name: Name of the signal.
            value: A number, boolean or text.
            is_asked_for: The user listed the name, so it may be that of a label.

        Raises:
            DataError: The value is of a kind that no signal has, or of another than before, or the
                name is that of a label.
        """
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not is_number and not isinstance(value, bool | str):
            raise DataError(
                f"{self._source}: signal {name!r} is a {type(value).__name__}; numbers, booleans "
                f"and text can be signals."
            )
        if name not in self._kinds and not is_asked_for:
            refuse_labels([name], self._source, option=self._option)
        if self._kinds.setdefault(name, is_number) != is_number:
            raise DataError(
                f"{self._source}: signal {name!r} is a number in some bars and {value!r} in "
                f"another."
            )

    def items(self) -> Iterable[tuple[str, bool]]:
        """Every signal so far, and whether it is a number."""
        return self._kinds.items()

    def copy(self) -> SignalKinds:
        """The same again, to learn on trial."""
        return SignalKinds(self._source, option=self._option, declared=self._kinds)


class EventColumns:
    """Events of one timestamp as a block. A signal's name, once seen, stays.

    Args:
        name: What error texts call the feed.
        request: Which signals and context a run wants.
        declared: Signals that are there before their first value, and whether each is a number.
    """

    def __init__(
        self, name: str, request: Request, declared: Mapping[str, bool] | None = None
    ) -> None:
        self._name = name
        self._wanted = request.signal_columns
        pattern = request.context_pattern
        self._is_context: Callable[[str], object] = (
            re.compile(pattern).fullmatch if pattern is not None else lambda _: None
        )
        wanted = {n: k for n, k in (declared or {}).items() if self._is_wanted(n)}
        self._kinds = SignalKinds(name, option="signal_columns", declared=wanted)
        self._contexts: set[str] = set()
        self._has_meta = False

    def block(self, time: int, group: list[MarketEvent], codes: Sequence[int]) -> Block:
        """The events of one timestamp, in order of asset, and their codes."""
        for event in group:
            for name, value in event.signals.items():
                self._learn(name, value)
        return Block(
            times=np.array([time], dtype=np.int64),
            offsets=np.array([0, len(group)], dtype=np.int64),
            codes=np.array(codes, dtype=np.int32),
            prices={n: np.array([getattr(e, n) for e in group], dtype=float) for n in _FIELDS},
            signals={n: _column(group, n, is_number=k) for n, k in self._kinds.items()},
            meta=_column(group, META, is_number=False) if self._has_meta else None,
            context={n: self._common(group, n) for n in sorted(self._contexts)},
        )

    def _is_wanted(self, name: str) -> bool:
        return not self._is_context(name) and (self._wanted is None or name in self._wanted)

    def _learn(self, name: str, value: Any) -> None:
        if name == META:
            self._has_meta = True
        elif name in self._contexts or value is None:
            pass
        elif self._is_context(name):
            refuse_labels([name], self._name, is_context=True)
            self._contexts.add(name)
        elif self._is_wanted(name):
            self._kinds.learn(name, value, is_asked_for=self._wanted is not None)

    def _common(self, group: list[MarketEvent], name: str) -> np.ndarray:
        values = {e.asset_id: e.signals[name] for e in group if e.signals.get(name) is not None}
        if len(set(values.values())) > 1:
            raise DataError(
                f"{self._name}: {name!r} matches context_pattern, but context is the same for all "
                f"assets and this is not at {group[0].timestamp}: {values}."
            )
        column = np.empty(1, dtype=object)
        column[0] = next(iter(values.values()), None)
        return column


def _column(group: list[MarketEvent], name: str, *, is_number: bool) -> np.ndarray:
    values = [event.signals.get(name) for event in group]
    if is_number:
        return np.array([math.nan if v is None else v for v in values], dtype=float)
    column = np.empty(len(group), dtype=object)
    column[:] = values
    return column
