"""Sums over holdings, as vector work, the same to the bit wherever they are taken.

NumPy's `sum` adds in an order that depends on how many terms there are, so the same holdings
could be worth two amounts that differ in the last bit. A running sum adds from left to right,
and a holding of zero changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def total(terms: NDArray[np.float64]) -> float:
    """The sum of a vector, from left to right."""
    return float(np.add.accumulate(terms)[-1]) if len(terms) else 0.0


def row_totals(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of every row of a matrix, from left to right."""
    if terms.shape[1] == 0:
        return np.zeros(terms.shape[0])
    totals: NDArray[np.float64] = np.add.accumulate(terms, axis=1)[:, -1]
    return totals


def running_cash(cash: float, flows: NDArray[np.float64]) -> float:
    """Cash after paying `flows` one after the other; bit-equal to a loop."""
    if len(flows) == 0:
        return cash
    return float(np.subtract.accumulate(np.concatenate(([cash], flows)))[-1])
