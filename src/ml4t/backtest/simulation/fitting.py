"""The largest quantities that money pays for."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.kernels import total

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml4t.backtest.simulation.account import Account

# Float noise allowed when comparing what is needed with what is there, relative to the need, and
# between two factors at which orders reach their next lot.
NOISE = 1e-12
# Two factors so close, relative to them, have nothing between them: a few units in the last place.
_NEXT = 1e-15
# So many stairs are laid out side by side; of so many lots they are too narrow to be told apart.
_FEW, _FINE = 10_000, 1e9
# What an order says that was cut with all others.
SCALED = "scaled: buying power"


def entry_needs(
    account: Account,
    charge: Callable[..., Any],
    *,
    codes: np.ndarray,
    sign: np.ndarray,
    price: np.ndarray,
    reference: np.ndarray,
    exits: np.ndarray,
    multiplier: np.ndarray,
) -> Callable[[np.ndarray], float]:
    """Money that entries use, as a function of how many units each opens.

    Margin, slippage, and what the units add to the commission of those that close something.

    Args:
        account: Whose terms count.
        charge: The commission on columns; see `Costs`.
        codes: int64[n], the assets.
        sign: 1 for a purchase, -1 for a short sale.
        price: Slippage included.
        reference: Before slippage.
        exits: Units that the same order closes.
        multiplier: Of the instruments.

    Returns:
        From float64[n], units opened, to money in the account's currency.
    """
    borrowed = (1.0 - account.initial(codes, sign)) * reference
    is_paid = (sign > 0.0) | account.asks_entries  # what is bound is what it was sold for
    unit = (np.where(is_paid, price, 2.0 * reference - price) - borrowed) * multiplier
    closing = np.where(exits > 0.0, charge(sign, exits, price, multiplier), 0.0)

    def need(quantities: np.ndarray) -> float:
        if not account.commission_counts:
            return total(quantities * unit)
        extra = charge(sign, exits + quantities, price, multiplier) - closing
        return total(quantities * unit + np.where(quantities > 0.0, extra, 0.0))

    return need


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

    The need is a staircase in the factor: it changes where an order reaches its next lot, and
    nowhere between. It lies under the straight line from nothing to all, by less than a lot of
    each order; there the search begins. Orders that reach their next lots at the same factor get
    them together, or not at all. Where some have no lots, or theirs are too fine to be told apart,
    the factor is found by halving, and a lot that `free` pays for to the last bit may be left.
    """
    has_lots = lots > 0.0
    step = np.where(has_lots, lots, 1.0)

    def quantities(factor: float) -> np.ndarray:
        cut = wanted * factor
        return np.where(has_lots, np.floor(cut / step) * step, cut)

    if free <= 0.0:
        return quantities(0.0)
    needed = need(quantities(1.0))
    if needed <= free:  # rounding down to lots is enough
        return quantities(1.0)
    low, high = 0.0, 1.0  # what can be paid, and what cannot

    def look(factor: float) -> None:
        nonlocal low, high
        if not low < factor < high:
            return
        if need(quantities(factor)) <= free:
            low = factor
        else:
            high = factor

    line = free / needed
    look(line * (1.0 - NOISE / 4.0))
    look((line + need(lots) / needed) * (1.0 + NOISE / 4.0))
    whole = wanted / step
    has_stairs = bool(has_lots.all()) and whole.max() < _FINE
    count = whole.sum() if has_stairs else math.inf
    # A factor that is noise buys nothing.
    while high - low > _NEXT * high and high > NOISE and count * (high - low) > _FEW:
        look((low + high) / 2.0)
    if has_stairs:
        stairs = [low, *_stairs(whole, low, high)]
        above = bisect_right(stairs, free, lo=1, key=lambda factor: need(quantities(factor)))
        low = stairs[above - 1]
    return quantities(low)


def _stairs(wanted: np.ndarray, low: float, high: float) -> list[float]:
    """One factor for each stair between two others, in order, beside those that they stand on.

    Args:
        wanted: Whole lots of each order.
        low: The lower factor.
        high: The upper one.
    """
    first = np.floor(wanted * low)
    counts = (np.floor(wanted * high) - first).astype(np.int64)
    # The numbers of the lots that are reached on the way, order by order.
    number = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + 1.0
    edges = np.sort((np.repeat(first, counts) + number) / np.repeat(wanted, counts))
    edges = edges[np.diff(edges, prepend=-1.0) > NOISE]
    middles: list[float] = ((edges[1:] + edges[:-1]) / 2.0).tolist()
    return middles
