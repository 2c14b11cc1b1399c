"""The arithmetic between what a strategy wants and what it must order. Pure."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ml4t.backtest.broker.watchers import Rule
from ml4t.backtest.errors import OrderError, did_you_mean
from ml4t.backtest.kernels import total, weights_by_code
from ml4t.backtest.kernels.noise import WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml4t.backtest.types.bars import Bars, Universe

# Above this a "percent" is surely meant in per cent.
_LARGEST_FRACTION = 10.0
# Float noise allowed on the sum of weights.
_NOISE = 1e-9


def check_fraction(name: str, value: Any, *, signed: bool = True) -> float:
    """A share of equity, as a fraction.

    Raises:
        OrderError: Not a finite number, above 10 (surely meant in per cent), or negative where
            that has no meaning.
    """
    fraction = float(value) if isinstance(value, int | float | np.number) else math.nan
    if not math.isfinite(fraction):
        raise OrderError(f"{name} must be a finite number, not {value!r}.")
    if abs(fraction) > _LARGEST_FRACTION:
        raise OrderError(
            f"{name}={value} is refused: percentages are fractions, 0.05 is five percent."
        )
    if not signed and fraction < 0:
        raise OrderError(f"{name}={value} is negative; use the opposite helper instead.")
    return fraction


def check_confidence(asset_id: str, confidence: Any) -> float:
    """A model's confidence, clipped to 0..1.

    Raises:
        OrderError: Not a number, or NaN.
    """
    try:
        value = float(confidence)
    except (TypeError, ValueError):
        value = math.nan
    if math.isnan(value):
        raise OrderError(
            f"confidence for {asset_id!r} is {confidence!r}, not a number from 0 to 1. Skip an "
            "asset without one."
        )
    return min(max(value, 0.0), 1.0)


def check_tolerance(value: Any) -> float:
    """A fraction of equity that is small enough to be meant.

    Raises:
        OrderError: Not a number from 0 to 1.
    """
    if not isinstance(value, int | float | np.number) or not 0.0 <= value <= 1.0:
        raise OrderError(
            f"tolerance={value!r} is refused: it is a fraction of equity, 0.05 is five percent."
        )
    return float(value)


def is_amount(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def is_noise(change: float, units: float, held: float) -> bool:
    """Whether a position of `held` is `units` already, but for the last bits of a float."""
    return abs(change) <= WHOLE * (abs(units) + abs(held))


def weight_column(
    weights: Mapping[str, float] | np.ndarray | Any,
    universe: Universe,
    bars: Bars | None,
    leverage: float,
) -> np.ndarray:
    """Checked weights as a column by asset code; zero for assets that are not named.

    Args:
        weights: By `asset_id`, or an array aligned with `bars.asset_ids`.
        universe: Assets by code.
        bars: The current bars, for an array.
        leverage: Largest sum of absolute weights allowed.

    Raises:
        OrderError: An unknown asset, a weight that is not finite, a wrong length, or more than
            the account's leverage in sum.
    """
    if hasattr(weights, "items"):  # a pandas Series is one too: its index says the asset
        weights = weights if type(weights) is dict else dict(weights.items())
        try:
            column, gross = _by_code(weights, universe)
        except KeyError as error:
            asset_id = error.args[0]
            raise OrderError(
                f"weights name an unknown asset {asset_id!r}. "
                f"{did_you_mean(str(asset_id), universe.ids)}"
            ) from None
        if not math.isfinite(gross):
            for asset_id, weight in weights.items():  # NumPy reads None as NaN
                _number(weight, asset_id)
    else:
        try:
            given = np.asarray(weights)
            array = given.astype(np.float64, copy=False)
        except (TypeError, ValueError):
            raise OrderError(
                f"weights must be numbers, by asset_id or one for each of bars.asset_ids; "
                f"{weights!r} is neither."
            ) from None
        if given.dtype == bool:
            raise OrderError(
                "weights are True and False, which says of what, and not how much: a mask divided "
                "by its sum gives equal weights."
            )
        expected = 0 if bars is None else len(bars)
        if array.shape != (expected,):
            raise OrderError(
                f"weights have shape {array.shape}, but {expected} assets have a bar now: give "
                "one weight for each of bars.asset_ids, or a mapping by asset_id."
            )
        column = np.zeros(len(universe))
        if bars is not None:
            column[bars.codes] = array
        gross = total(np.abs(array))
    _check_sum(gross, column, universe, leverage)
    return column


def _by_code(weights: dict[str, Any], universe: Universe) -> tuple[np.ndarray, float]:
    """Weights as a column, and the sum of their sizes; what is no number has to become one."""
    try:
        return weights_by_code(weights, universe.codes, len(universe))
    except (TypeError, ValueError):
        from ml4t.backtest.kernels import baskets  # the Python form asks whatever it is given

        numbers = {asset_id: _number(weight, asset_id) for asset_id, weight in weights.items()}
        return baskets.weights_by_code(numbers, universe.codes, len(universe))


def _number(weight: Any, asset_id: str) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise OrderError(f"the weight of {asset_id!r} is {weight!r}, not a number.") from None


def _check_sum(gross: float, column: np.ndarray, universe: Universe, leverage: float) -> None:
    bad: Any = () if math.isfinite(gross) else np.flatnonzero(~np.isfinite(column))
    if len(bad):
        raise OrderError(
            f"{len(bad)} weights are not finite; the first is {column[bad[0]]} for "
            f"{universe.ids[bad[0]]!r}. Leave an asset out, or give it 0, to hold none of it."
        )
    if gross > leverage + _NOISE:
        raise OrderError(
            f"weights add up to {gross:.6g} in absolute value, but the account allows "
            f"{leverage:g}. Weights are fractions of equity."
        )


def check_bracket(
    asset_id: str,
    quantity: Any,
    stop_loss: float | None,
    take_profit: float | None,
    limit_price: float | None,
    last_price: float,
) -> None:
    """Whether a bracket's prices are in order: a long one's stop, entry and target rise.

    Raises:
        OrderError: No exit, a quantity or price that is no number, or prices in the wrong order.
    """
    if stop_loss is None and take_profit is None:
        raise OrderError(f"A bracket on {asset_id!r} needs a stop_loss, a take_profit, or both.")
    if not is_amount(quantity) or quantity == 0:
        raise OrderError(
            f"A bracket's quantity must be a finite number and not zero, not {quantity!r}; "
            "negative sells short."
        )
    named = {"stop_loss": stop_loss, "limit_price": limit_price, "take_profit": take_profit}
    if limit_price is None and not math.isnan(last_price):
        named["limit_price"] = last_price  # stands for the entry at the market
    prices = {name: price for name, price in named.items() if price is not None}
    for name, price in prices.items():
        if not is_amount(price) or price <= 0:
            raise OrderError(f"A bracket's {name} must be a positive price, not {price!r}.")
    way, side, order = (1, "long", "below") if quantity > 0 else (-1, "short", "above")
    for (name, price), (later, beyond) in pairwise(prices.items()):
        if way * price >= way * beyond:
            named_so = {name, later} if limit_price is not None else {name, later} - {"limit_price"}
            words = [n if n in named_so else "last price" for n in (name, later)]
            raise OrderError(
                f"A {side} bracket's {words[0]} ({price:g}) must be {order} its {words[1]} "
                f"({beyond:g})."
            )


def check_rule(role: str, percent: Any = None, amount: Any = None, bars: Any = None) -> Rule:
    """A rule over positions; without a distance, the wish to end it.

    Raises:
        OrderError: Two distances, or one that cannot be meant.
    """
    if percent is not None and amount is not None:
        raise OrderError(f"A {role} takes percent or amount, not both.")
    largest = math.inf if role == "take_profit" else 1.0
    if percent is not None and not (is_amount(percent) and 0.0 < percent < largest):
        raise OrderError(
            f"A {role} of percent={percent!r} is refused: it is a positive fraction"
            f"{' below 1' if largest == 1.0 else ''}, 0.05 is five percent."
        )
    if amount is not None and not (is_amount(amount) and amount > 0.0):
        raise OrderError(f"A {role}'s amount must be positive money per unit, not {amount!r}.")
    if bars is not None and (isinstance(bars, bool) or not isinstance(bars, int) or bars < 1):
        raise OrderError(f"A time exit's bars must be a whole number from 1, not {bars!r}.")
    return Rule(
        role,
        percent=None if percent is None else float(percent),
        amount=None if amount is None else float(amount),
        bars=bars or 0,
    )
