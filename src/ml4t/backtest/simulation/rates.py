"""Annual rates by day, and by asset and day, as users give them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.data.tables import require_column, to_frame
from ml4t.backtest.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from ml4t.backtest.portfolio.portfolio import Portfolio
    from ml4t.backtest.types.bars import Universe
    from ml4t.backtest.types.instrument import Instrument

_EPOCH = dt.date(1970, 1, 1)
# Above this an annual rate is surely meant in per cent.
_LARGEST = 10.0
# Farther apart than any two days of one asset.
_STRIDE = 2**40


class DailyRates:
    """One annual rate for every calendar day: the last one given for that day or before.

    Args:
        owner: What they are for, in error texts.
        given: A number for all days, a mapping from dates to numbers, or a table with a column
            of dates and the column `rate`. Fractions: 0.05 is five percent a year.

    Raises:
        ConfigError: A rate that is no finite number, or above 10 (surely meant in per cent).
        DataError: A table without these columns, without rows, or with a date twice.
    """

    def __init__(self, owner: str, given: Any) -> None:
        self.owner = owner
        if isinstance(given, int | float | np.number):
            self._days = np.array([-_STRIDE])
            self._rates = np.array([checked_rate(owner, given)])
            return
        if isinstance(given, Mapping):
            given = pl.DataFrame({"timestamp": list(given), "rate": list(given.values())})
        days, rates, _ = _columns(owner, to_frame(given, source=owner))
        order = np.argsort(days, kind="stable")
        self._days, self._rates = days[order], rates[order]
        twice = np.flatnonzero(np.diff(self._days) == 0)
        if len(twice):
            raise DataError(f"{owner} has {_date(self._days[twice[0]])} twice; keep one row a day.")

    def at(self, days: np.ndarray) -> np.ndarray:
        """The rate of every day (days since 1970-01-01).

        Raises:
            DataError: A day before the first rate.
        """
        rows = np.searchsorted(self._days, days, side="right") - 1
        if rows.min(initial=0) < 0:
            raise DataError(
                f"{self.owner} begins on {_date(self._days[0])}, but a rate is needed for "
                f"{_date(days[0])}. Add one for an earlier day, or start later."
            )
        rates: np.ndarray = self._rates[rows]
        return rates


class AssetRates:
    """An annual rate for every asset and calendar day.

    Args:
        owner: What they are for, in error texts.
        given: A number for all assets, a mapping from `asset_id` to numbers, or a table with a
            column of dates, one of assets and the column `rate`; None is 0. In a table, a rate
            counts from its date until the asset's next one.

    An asset that a mapping or table names gets its rate from there, else from
    `Instrument.borrow_rate`, else it is the number, or 0 when none was given.

    Raises:
        ConfigError: A rate that is no finite number, or above 10 (surely meant in per cent).
        DataError: A table without these columns.
    """

    def __init__(self, owner: str, given: Any) -> None:
        self.owner = owner
        self._table: tuple[np.ndarray, np.ndarray, list[str]] | None = None
        self._plain, self._by_asset = 0.0, dict[str, float]()
        if given is None:
            return
        if isinstance(given, int | float | np.number):
            self._plain = checked_rate(owner, given)
        elif isinstance(given, Mapping):
            self._by_asset = {
                name: checked_rate(f"{owner} of {name!r}", rate) for name, rate in given.items()
            }
        else:
            frame = to_frame(given, source=owner)
            require_column(frame.columns, "asset_id", source=owner)
            self._table = _columns(owner, frame)

    def check(self, universe: Universe) -> None:
        """Refuse a mapping that names an asset the run does not know.

        Raises:
            ConfigError: It does.
        """
        for name in self._by_asset if len(universe) else ():
            if name not in universe:
                raise ConfigError(
                    f"{self.owner} names {name!r}, but the data has no such asset. "
                    f"{did_you_mean(name, universe.ids)}"
                )

    def constant(self, instrument: Instrument) -> float:
        """The rate of an asset wherever no table has another."""
        own = self._by_asset.get(instrument.asset_id, instrument.borrow_rate)
        return self._plain if own is None else own

    def keyed(self, universe: Universe) -> tuple[np.ndarray, np.ndarray] | None:
        """The table as sorted keys of asset and day, and their rates; None without one."""
        if self._table is None:
            return None
        days, rates, names = self._table
        codes = np.array([universe.codes.get(name, -1) for name in names])
        keys = codes * _STRIDE + days
        order = np.argsort(keys, kind="stable")
        return keys[order], rates[order]


class RunRates:
    """The rates of the assets of one run, as columns by code; made anew when assets are added.

    Args:
        rates: What was given.
        portfolio: Says which assets there are.
    """

    def __init__(self, rates: AssetRates, portfolio: Portfolio) -> None:
        self.rates = rates
        self.portfolio = portfolio
        self._constant = np.zeros(0)
        self._keyed: tuple[np.ndarray, np.ndarray] | None = None

    def sums(self, codes: np.ndarray, first: int, stop: int) -> np.ndarray:
        """The sum of each asset's rates over the days from `first` to before `stop`."""
        instruments = self.portfolio.instruments
        if len(self._constant) < len(instruments):
            self._constant = np.array([self.rates.constant(each) for each in instruments])
            self._keyed = self.rates.keyed(self.portfolio.universe)
        constant: np.ndarray = self._constant[codes]
        if self._keyed is None:
            return constant * (stop - first)
        keys, rates = self._keyed
        wanted = codes[:, None] * _STRIDE + np.arange(first, stop)
        rows = np.searchsorted(keys, wanted, side="right") - 1
        known = (rows >= 0) & (keys[rows] // _STRIDE == codes[:, None])
        sums: np.ndarray = np.where(known, rates[rows], constant[:, None]).sum(axis=1)
        return sums


def checked_rate(owner: str, rate: Any) -> float:
    """An annual rate as a float.

    Raises:
        ConfigError: It is no finite number, or above 10 (surely meant in per cent).
    """
    is_number = isinstance(rate, int | float | np.number) and not isinstance(rate, bool)
    if not is_number or not math.isfinite(rate):
        raise ConfigError(f"{owner}: a rate must be a finite number, not {rate!r}.")
    if abs(rate) > _LARGEST:
        raise ConfigError(f"{owner}: rates are fractions a year, 0.05 is five percent; not {rate}.")
    return float(rate)


def _columns(owner: str, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Days, rates and, where there is such a column, assets of a table."""
    when = require_column(frame.columns, "timestamp", source=owner)
    if "rate" not in frame.columns:
        raise DataError(
            f"{owner} has no column 'rate'. {did_you_mean('rate', frame.columns)} It holds annual "
            "rates as fractions: 0.05 is five percent."
        )
    if frame.is_empty():
        raise DataError(f"{owner} has no rows.")
    if not frame.schema[when].is_temporal():
        raise DataError(f"{owner}: the column {when!r} holds {frame.schema[when]}, not dates.")
    if not frame.schema["rate"].is_numeric() or frame["rate"].null_count():
        raise DataError(f"{owner}: the column 'rate' must hold a number in every row.")
    rates = frame["rate"].cast(pl.Float64).to_numpy()
    bad = np.flatnonzero(~(np.abs(rates) <= _LARGEST))
    if len(bad):
        checked_rate(f"{owner}, row {bad[0]}", float(rates[bad[0]]))
    days = frame[when].dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy()
    names = [c for c in frame.columns if c.lower() == "asset_id"]
    assets = frame[names[0]].cast(pl.String).to_list() if names else []
    return days, rates, assets


def _date(day: Any) -> str:
    return str(_EPOCH + dt.timedelta(days=int(day)))
