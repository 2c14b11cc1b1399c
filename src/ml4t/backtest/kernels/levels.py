"""When do prices next reach a level at which somebody waits? The Python form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def reached(
    high: Floats,
    low: Floats,
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    first: int,
    stop: int,
    below: Floats,
    above: Floats,
) -> tuple[int, list[int]]:
    """The first of some timestamps at which a bar reaches a level of its asset.

    Args:
        high: float64[N], of every bar.
        low: Likewise.
        codes: int32[N], the asset of every bar.
        offsets: int64[T + 1]; the bars of timestamp i are offsets[i] to offsets[i + 1].
        first: The first timestamp to look at.
        stop: The one after the last.
        below: float64 by code: reached by a low that is no higher; -inf where nobody waits.
        above: float64 by code: reached by a high that is no lower; inf where nobody waits.

    Returns:
        That timestamp, or `stop`; and the codes of the assets that reach theirs then.
    """
    rows = slice(int(offsets[first]), int(offsets[stop]))
    here = codes[rows]
    hits = ((low[rows] <= below[here]) | (high[rows] >= above[here])).nonzero()[0]
    if not len(hits):
        return stop, []
    at = int(np.searchsorted(offsets, rows.start + hits[0], side="right")) - 1
    end = int(offsets[at + 1]) - rows.start
    return at, here[hits[hits < end]].tolist()
