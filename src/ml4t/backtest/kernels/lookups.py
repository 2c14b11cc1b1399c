"""Numbers of assets by name: the hottest question of a strategy. The Python form.

It says what the compiled one does, and is asked by tests only: where nothing is compiled, a
strategy asks its plain methods, which are as quick.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np


class lookup:  # noqa: N801  called like a function, as its compiled form
    """Takes a name and returns its number, as the column has it at that moment.

    Args:
        codes: Where each name stands in the columns.
        values: float64[n].
        units: float64[n]: where they are zero the number is NaN; None for none.
        otherwise: What is asked instead for a name that is not in `codes` or stands beyond the
            columns, and for any other call than one with a single argument.
    """

    def __init__(
        self,
        codes: dict[str, int],
        values: np.ndarray,
        units: np.ndarray | None,
        otherwise: Callable[..., Any],
    ) -> None:
        self._codes, self._otherwise = codes, otherwise
        self._values = values.data
        self._units = None if units is None else units.data

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The number of the only argument, or what the other one says."""
        if len(args) != 1 or named:
            return self._otherwise(*args, **named)
        code = self._codes.get(args[0], -1)
        if not 0 <= code < len(self._values):
            return self._otherwise(*args)
        if self._units is not None and not self._units[code]:
            return math.nan
        return self._values[code]

    def __copy__(self) -> lookup:
        """Itself, as a function is."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> lookup:
        """Itself, as a function is."""
        return self

    def end(self) -> None:
        """From now on only the other one is asked."""
        self._codes = {}
