"""The arithmetic of baskets: many orders at once, as columns. The Python form.

Columns by code have one entry an asset of the universe; all others have one an order. Sums are
taken from left to right, so that they are the same however many terms there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.kernels.noise import DUST, WHOLE
from ml4t.backtest.kernels.sums import running_cash, total

if TYPE_CHECKING:
    from collections.abc import Mapping


def top(values: np.ndarray, n: int) -> np.ndarray:
    """Where the `n` highest values stand, highest first: int64[m], m at most n.

    NaN is left out; of equal values the one that stands first comes first.

    Args:
        values: float64[k].
        n: From 0.
    """
    worst_first = -values
    if 0 < n < len(values):
        level = np.partition(worst_first, n - 1)[n - 1]
        if level == level:  # noqa: PLR0124  NaN: fewer than n have a value
            rows = (worst_first <= level).nonzero()[0]
            best: np.ndarray = rows[np.argsort(worst_first[rows], kind="stable")][:n]
            return best
    order = np.argsort(worst_first, kind="stable")  # NaN sorts last
    present = len(values) - int(np.isnan(values).sum())
    return order[: min(n, present)]


def weights_by_code(
    weights: Mapping[str, float], codes: Mapping[str, int], size: int
) -> tuple[np.ndarray, float]:
    """Weights by name as a column by code, zero where none is named; and the sum of their sizes.

    Raises:
        KeyError: A name that `codes` does not have.
        TypeError: A weight that is no number; None may also count as NaN.
        ValueError: Likewise.
    """
    column = np.zeros(size)
    places = list(map(codes.__getitem__, weights))
    numbers = np.fromiter(weights.values(), np.float64, len(places))
    column[places] = numbers
    return column, total(np.abs(numbers))


def are_positive(column: np.ndarray) -> bool:
    """Whether all numbers of a column are above zero; NaN is not."""
    return bool((column > 0.0).all())


def held_value(quantity: np.ndarray, last: np.ndarray, multiplier: np.ndarray) -> float:
    """The value of all positions; what is flat needs no price.

    Args:
        quantity: float64 by code, signed units.
        last: float64 by code, the last price; NaN where there was none yet.
        multiplier: float64 by code, money per point of price.
    """
    codes = (quantity != 0.0).nonzero()[0]
    return total(quantity[codes] * last[codes] * multiplier[codes])


def changes_to_weights(
    weights: np.ndarray,
    quantity: np.ndarray,
    last: np.ndarray,
    multiplier: np.ndarray,
    lots: np.ndarray,
    equity: float,
    least: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What to trade to bring a portfolio to target weights.

    Args:
        weights: float64 by code, fractions of equity.
        quantity: float64 by code, signed units held.
        last: float64 by code, the last price; NaN where there was none yet.
        multiplier: float64 by code, money per point of price.
        lots: float64 by code, the step of a quantity; 0 for any.
        equity: Money.
        least: Changes worth less than this are left; 0 for none.

    Returns:
        Codes of the assets to trade, int64[n], what only closes first; the signed units,
        float64[n]; and the codes of those that have a weight and no price: they count as if they
        had none.
    """
    codes = ((weights != 0.0) | (quantity != 0.0)).nonzero()[0]
    weight, price, held, lot = weights[codes], last[codes], quantity[codes], lots[codes]
    unpriced = ((weight != 0.0) & np.isnan(price)).nonzero()[0]
    weight[unpriced] = 0.0
    value = price * multiplier[codes]
    unit = np.where(weight == 0.0, 1.0, value)
    units = round_to_lots(weight * equity / unit, lot)
    change = _changes_to(units, held, lot)
    if least:
        change[np.abs(change) * np.where(np.isnan(value), 0.0, value) < least] = 0.0
    trades = change.nonzero()[0]
    traded, change, held = codes[trades], change[trades], held[trades]
    is_exit = (change * held < 0.0) & (np.abs(change) <= np.abs(held))
    turn = np.concatenate([is_exit.nonzero()[0], (~is_exit).nonzero()[0]])
    return traded[turn], change[turn], codes[unpriced]


def round_to_lots(quantity: np.ndarray, lots: np.ndarray) -> np.ndarray:
    """Quantities rounded toward zero to whole lots; a lot of 0 leaves them as they are."""
    safe = np.where(lots > 0.0, lots, 1.0)
    whole = np.trunc(quantity / safe * (1.0 + WHOLE)) * safe
    result: np.ndarray = np.where(lots > 0.0, whole, quantity)
    return result


def _changes_to(units: np.ndarray, held: np.ndarray, lots: np.ndarray) -> np.ndarray:
    """What to trade, in whole lots, to bring `held` to `units`; what is to be flat goes whole."""
    change = units - held
    change[np.abs(change) <= WHOLE * (np.abs(units) + np.abs(held))] = 0.0
    result: np.ndarray = np.where(units == 0.0, -held, round_to_lots(change, lots))
    return result


def match(
    order_ids: np.ndarray,
    codes: np.ndarray,
    quantities: np.ndarray,
    rows: np.ndarray | None,
    start: int,
    width: int,
    begins: np.ndarray | None,
    decided_at: int,
    prices: np.ndarray,
    held: np.ndarray,
    multiplier: np.ndarray,
) -> tuple[Any, ...]:
    """Which orders of a basket can trade, and what each of them would do.

    Args:
        order_ids: int64[k].
        codes: int64[k], assets of the orders, each at most once.
        quantities: float64[k], signed units.
        rows: int64[k], where the assets' bars stand, -1 without one; or None where every asset
            has one, in the order of the codes.
        start: The row of the first asset, where `rows` is None.
        width: How many assets have one, where `rows` is None.
        begins: int64 by row, when each bar began; or None where all began after the decision.
        decided_at: When the orders were decided. Bars that began before do not fill them.
        prices: float64 by row, what the orders would trade at.
        held: float64 by code, signed units.
        multiplier: float64 by code.

    Returns:
        Columns of the orders that can trade, in the order in which they fill, exits first:

        - where they stand in the basket, their ids, and their codes: int64[n];
        - signed units; 1 for a purchase and -1 for a sale; units;
        - the price before slippage; the multiplier;
        - units that close what is held; the signed position when they have: float64[n];

        and how many of the orders only close, whether one of the others sells, and whether one of
        the others closes something, too.
    """
    if rows is None:
        rows = np.where(codes < width, start + codes, -1)
    can = rows >= 0
    if begins is not None:
        can &= begins[rows] >= decided_at
    ready = can.nonzero()[0]
    units, before = quantities[ready], held[codes[ready]]
    exits = np.where(before * np.sign(units) < 0.0, np.minimum(np.abs(units), np.abs(before)), 0.0)
    is_exit = exits == np.abs(units)
    turn = np.concatenate([is_exit.nonzero()[0], (~is_exit).nonzero()[0]])
    closing = int(np.count_nonzero(is_exit))
    ready, exits, quantity, before = ready[turn], exits[turn], units[turn], before[turn]
    sign = np.sign(quantity)
    return (
        ready,
        order_ids[ready],
        codes[ready],
        quantity,
        sign,
        np.abs(quantity),
        prices[rows[ready]],
        multiplier[codes[ready]],
        exits,
        before + sign * exits,
        closing,
        bool((sign[closing:] < 0.0).any()),
        bool((exits[closing:] > 0.0).any()),
    )


def pay_exits(
    cash: float,
    sign: np.ndarray,
    size: np.ndarray,
    price: np.ndarray,
    multiplier: np.ndarray,
    commission: np.ndarray,
    closing: int,
) -> tuple[float, float]:
    """Cash after the first `closing` fills, and what the sales among them brought."""
    flows = (sign * size * price * multiplier + commission)[:closing]
    return running_cash(cash, flows), -total(flows[sign[:closing] < 0.0])


def needs(
    sign: np.ndarray,
    entry: np.ndarray,
    price: np.ndarray,
    reference: np.ndarray,
    multiplier: np.ndarray,
    commission: np.ndarray,
    initial: np.ndarray | float,
) -> float:
    """Money that entries of `entry` units use: margin, slippage and commission.

    What is bought uses the share `initial` of its notional, and all of its slippage; what is sold
    short likewise.
    """
    borrowed = (1.0 - initial) * reference
    paid = np.where(sign > 0.0, price, 2.0 * reference - price)
    return total(entry * ((paid - borrowed) * multiplier) + commission)


def slippages(
    sign: np.ndarray,
    price: np.ndarray,
    reference: np.ndarray,
    size: np.ndarray,
    multiplier: np.ndarray,
) -> np.ndarray:
    """Money that each fill lost against its reference price."""
    result: np.ndarray = sign * (price - reference) * size * multiplier
    return result


def book(
    codes: np.ndarray,
    signed: np.ndarray,
    price: np.ndarray,
    commission: np.ndarray,
    quantity: np.ndarray,
    entry_price: np.ndarray,
    multiplier: np.ndarray,
    cash: float,
) -> tuple[np.ndarray, float, int]:
    """Book fills: `quantity` and `entry_price` change in place.

    Adding averages the entry price by quantity, reducing leaves it, a flip starts anew at the
    fill's price. What float noise leaves of a closed position is nothing.

    Args:
        codes: int64[n], each at most once.
        signed: float64[n], units; positive buys.
        price: float64[n].
        commission: float64[n], money.
        quantity: float64 by code, signed units.
        entry_price: float64 by code, 0 when flat.
        multiplier: float64 by code.
        cash: Money before.

    Returns:
        The signed positions after, float64[n]; the cash after; and how many more positions are
        short than before.
    """
    before, entry = quantity[codes], entry_price[codes]
    size = np.abs(before) + np.abs(signed)
    after = before + signed
    after[np.abs(after) <= DUST * size] = 0.0
    averaged = (entry * np.abs(before) + price * np.abs(signed)) / size
    kept = np.where(np.abs(after) < np.abs(before), entry, averaged)
    opened = np.where((before == 0.0) | (before * after < 0.0), price, kept)
    entry_price[codes] = np.where(after == 0.0, 0.0, opened)
    quantity[codes] = after
    flows = signed * price * multiplier[codes] + commission
    shorts = int(np.count_nonzero(after < 0.0) - np.count_nonzero(before < 0.0))
    return after, running_cash(cash, flows), shorts
