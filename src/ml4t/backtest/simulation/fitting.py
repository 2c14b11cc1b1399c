"""The largest quantities that money pays for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

# Float noise allowed when comparing what is needed with what is there, relative to the need.
NOISE = 1e-12


def largest_fit(
    need: Callable[[np.ndarray], float], wanted: np.ndarray, lots: np.ndarray, free: float
) -> np.ndarray:
    """The quantities of all entries, cut by the largest common factor that `free` pays for.

    Args:
        need: Money that quantities use up; does not fall when a quantity grows.
        wanted: Units asked for, positive.
        lots: Step of each quantity; 0 for any.
        free: Money available.

    Returns:
        Units, each `wanted` times one factor between 0 and 1, rounded down to its lot.

    The need is a staircase in the factor, so the largest factor is found by halving the range in
    which it lies until no more than one order changes in it.
    """

    def quantities(factor: float) -> np.ndarray:
        cut = wanted * factor
        return np.where(lots > 0.0, np.floor(cut / np.where(lots > 0.0, lots, 1.0)) * lots, cut)

    low, high = 0.0, 1.0
    at_low, at_high = quantities(low), quantities(high)
    if free <= 0.0:
        return at_low
    if need(at_high) <= free:  # rounding down to lots is enough
        return at_high
    while high - low > 1e-15:  # noqa: PLR2004  a few units in the last place of 1.0
        changing = np.count_nonzero(at_high - at_low)
        if changing == 0 or (
            changing == 1 and bool((at_high - at_low <= lots * 1.5).all())  # one lot of one order
        ):
            break
        middle = (low + high) / 2.0
        at_middle = quantities(middle)
        if need(at_middle) <= free:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return at_low
