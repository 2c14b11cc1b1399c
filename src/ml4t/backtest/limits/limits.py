"""The numbers: how much a strategy may open, and how much it may lose."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Literal

import msgspec
import numpy as np

from ml4t.backtest.errors import ConfigError, did_you_mean

_AMOUNTS = ("max_order_value", "max_order_quantity", "max_position_value")
_FRACTIONS = ("max_position_weight", "max_gross_exposure", "max_net_exposure", "max_price_distance")
LOSSES = ("max_daily_loss", "max_drawdown")
_ON_BREACH = ("halt", "flatten")
# Above this a fraction is surely meant in per cent.
_LARGEST_FRACTION = 10.0


class RiskLimits(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """What a strategy may open, and what it may lose; None is no limit.

    Limits are judged when an order is decided, at the last closes. They look at what an order
    would *open*: what only brings a position nearer to zero passes, and of an order that flips a
    position the closing part does. What is refused ends REJECTED with a reason that begins with
    "limit:". A value equal to its limit passes.

    Args:
        max_order_value: Money that one order may open: units, last close, multiplier.
        max_order_quantity: Units that one order may open.
        max_position_value: Money in one asset, open orders included.
        max_position_weight: The same as a fraction of equity.
        max_gross_exposure: Sum of the absolute values of all positions as a fraction of equity,
            open orders included. A basket is judged as a whole, after its exits.
        max_net_exposure: Absolute value of longs minus shorts as a fraction of equity.
        max_orders_per_minute: Orders sent in the last 60 seconds of the bars' time, this one
            included. On bars of a minute or longer that is orders per bar.
        max_price_distance: Distance of a limit or stop price from the last close, as a fraction
            of the close.
        max_daily_loss: Loss since the session before was last marked, as a fraction of that
            equity. Above it, entries are halted until the session ends.
        max_drawdown: Fall from the highest equity so far, as a fraction of it, positive. Above
            it, entries are halted for the rest of the run.
        allowed_assets: The only assets in which positions may be opened.
        forbidden_assets: Assets in which none may be opened.
        on_breach: After too large a loss, "halt" refuses entries and cancels those that are
            open; "flatten" also closes all positions at the market.

    Raises:
        ConfigError: An option out of range, or an asset both allowed and forbidden.

    Example:
        >>> RiskLimits(max_position_weight=0.1, max_drawdown=0.2, on_breach="flatten")
        RiskLimits(max_position_weight=0.1, max_drawdown=0.2, on_breach='flatten')
    """

    max_order_value: float | None = None
    max_order_quantity: float | None = None
    max_position_value: float | None = None
    max_position_weight: float | None = None
    max_gross_exposure: float | None = None
    max_net_exposure: float | None = None
    max_orders_per_minute: int | None = None
    max_price_distance: float | None = None
    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    allowed_assets: Collection[str] | None = None
    forbidden_assets: Collection[str] = ()
    on_breach: Literal["halt", "flatten"] = "halt"

    def __post_init__(self) -> None:
        for name in (*_AMOUNTS, *_FRACTIONS, *LOSSES):
            self._set(name, _number(name, getattr(self, name)))
        for name in _FRACTIONS:
            _check_fraction(name, getattr(self, name), _LARGEST_FRACTION)
        for name in LOSSES:
            _check_fraction(name, getattr(self, name), 1.0)
        _check_count("max_orders_per_minute", self.max_orders_per_minute)
        if self.allowed_assets is not None:
            self._set("allowed_assets", _names("allowed_assets", self.allowed_assets))
        self._set("forbidden_assets", _names("forbidden_assets", self.forbidden_assets))
        for asset_id in self.allowed_assets or ():
            if asset_id in self.forbidden_assets:
                raise ConfigError(f"{asset_id!r} is in allowed_assets and in forbidden_assets.")
        if self.on_breach not in _ON_BREACH:
            raise ConfigError(
                f"on_breach must be one of {', '.join(map(repr, _ON_BREACH))}, not "
                f"{self.on_breach!r}. {did_you_mean(str(self.on_breach), _ON_BREACH)}"
            )

    def _set(self, name: str, value: Any) -> None:
        """A value in its plain form, before anybody has seen the object."""
        msgspec.structs.force_setattr(self, name, value)

    def settings(self) -> dict[str, Any]:
        """The limits that are set, as plain JSON values."""
        plain = msgspec.structs.asdict(self)
        if self.max_daily_loss is None and self.max_drawdown is None:
            del plain["on_breach"]
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
            if value is not None and value != ()
        }


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ConfigError(
            f"{name} must be a positive, finite number, or None for no limit; not {value!r}."
        )
    return float(value)


def _check_fraction(name: str, value: float | None, largest: float) -> None:
    if value is not None and value > largest:
        raise ConfigError(
            f"{name}={value:g} is refused: it is a fraction, 0.05 is five percent, and at most "
            f"{largest:g}."
        )


def _check_count(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"{name} must be a whole number from 1, or None for no limit; not {value!r}."
        )


def _names(name: str, value: Any) -> tuple[str, ...]:
    """Names of assets, sorted, so that equal limits are written alike."""
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ConfigError(f'{name} takes a list of assets, such as ["AAPL"], not {value!r}.')
    if not all(isinstance(asset_id, str) for asset_id in value):
        raise ConfigError(f"{name} must hold names of assets, not {value!r}.")
    return tuple(sorted(set(value)))
