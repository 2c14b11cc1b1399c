"""Context that comes in columns of the price data, carried from the last time it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.data.checks import is_absent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ColumnContext:
    """The latest value of each column that `context_pattern` matched.

    Stored once per timestamp, however many assets there are.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}

    def take(
        self, columns: Mapping[str, np.ndarray], count: int
    ) -> Callable[[int], dict[str, Any]]:
        """Read the columns of a chunk.

        Args:
            columns: By name, one value per timestamp; NaN or None where absent.
            count: Number of timestamps.

        Returns:
            A function from the position of a timestamp to its context, a new dict each time.
        """
        names = list(dict.fromkeys([*self._latest, *columns]))
        carried = [self._carry(name, columns.get(name), count) for name in names]

        def at(i: int) -> dict[str, Any]:
            values = ((name, column[i]) for name, column in zip(names, carried, strict=True))
            return {name: value for name, value in values if value is not None}

        return at

    def skip(self, columns: Mapping[str, np.ndarray]) -> None:
        """Remember the last values of timestamps that are before the run."""
        for name, values in columns.items():
            self._carry(name, values, len(values))

    def _carry(self, name: str, values: np.ndarray | None, count: int) -> list[Any]:
        """A column as plain values, each absent one replaced by the one before it."""
        before = self._latest.get(name)
        if values is None:
            return [before] * count
        given = np.where(is_absent(values), -1, np.arange(count))
        source = np.maximum.accumulate(given)
        plain = values.tolist()
        carried = [before if row < 0 else plain[row] for row in source.tolist()]
        self._latest[name] = carried[-1] if carried else before
        return carried
