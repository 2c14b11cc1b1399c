"""Small made-up markets about which something is known beforehand.

All are Polars frames as `BacktestEngine(data=...)` takes them: `timestamp` (dates of weekdays),
`asset_id`, `open`, `high`, `low`, `close`, `volume`, and signals where a market has them. The same
arguments give the same market, to the bit.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

START = dt.date(2024, 1, 2)
# How much of a session's variance falls between its open and its close; the rest is overnight.
_INTRADAY = 0.75
_TEN_BARS = (
    (100.0, 101.0, 99.0, 100.0),
    (102.0, 104.0, 101.0, 103.0),
    (103.0, 105.0, 102.0, 104.0),
    (108.0, 110.0, 107.0, 109.0),
    (100.0, 101.0, 95.0, 96.0),
    (97.0, 99.0, 90.0, 98.0),
    (98.0, 103.0, 97.0, 102.0),
    (102.0, 102.0, 102.0, 102.0),
    (103.0, 108.0, 96.0, 105.0),
    (105.0, 106.0, 104.0, 105.0),
)


def weekdays(count: int, start: dt.date = START) -> list[dt.date]:
    """The first `count` weekdays from `start` on."""
    days = (start + dt.timedelta(days=i) for i in range(2 * count + 4))
    return [day for day in days if day.weekday() < 5][:count]


def market_of_bars(
    bars: Sequence[tuple[float, float, float, float]],
    *,
    asset_id: str = "A",
    start: dt.date = START,
    volume: float = 1_000.0,
) -> pl.DataFrame:
    """One asset from its bars, written as (open, high, low, close).

    Example:
        >>> market_of_bars([(100, 101, 99, 100), (102, 104, 101, 103)]).height
        2
    """
    columns = list(zip(*bars, strict=True))
    return pl.DataFrame(
        {
            "timestamp": weekdays(len(bars), start),
            "asset_id": asset_id,
            **{
                name: [float(price) for price in column]
                for name, column in zip(("open", "high", "low", "close"), columns, strict=True)
            },
            "volume": volume,
        }
    )


def ten_bars(asset_id: str = "A") -> pl.DataFrame:
    """Ten bars that hold every case of matching.

    Bar 3 gaps up and bar 4 gaps down; bar 4 has its low at a round 95; bar 7 does not move; bar 8
    is wide enough to touch a stop and a target, whichever came first.
    """
    return market_of_bars(_TEN_BARS, asset_id=asset_id)


def flat_market(assets: int = 1, sessions: int = 20, price: float = 100.0) -> pl.DataFrame:
    """Prices never move, so equity changes by costs alone."""
    return pl.concat(
        market_of_bars([(price,) * 4] * sessions, asset_id=name) for name in _names(assets)
    ).sort("timestamp", "asset_id")


def steady_market(
    growth: float = 0.01, assets: int = 1, sessions: int = 20, price: float = 100.0
) -> pl.DataFrame:
    """Every close is `1 + growth` times the one before, and every open is the close before.

    Holding everything from the first close on grows by `growth` a session, without a gap.

    Args:
        growth: Return per session, above -1.
        assets: Number of assets, all alike.
        sessions: Number of bars of each.
        price: The first close.
    """
    closes = price * (1.0 + growth) ** np.arange(sessions)
    opens = np.concatenate([[price], closes[:-1]])
    rows = [
        (o, max(o, c), min(o, c), c) for o, c in zip(opens.tolist(), closes.tolist(), strict=True)
    ]
    return pl.concat(market_of_bars(rows, asset_id=name) for name in _names(assets)).sort(
        "timestamp", "asset_id"
    )


def random_market(
    assets: int = 5,
    sessions: int = 250,
    *,
    seed: int = 0,
    information: float = 0.0,
    volatility: float = 0.02,
    start: dt.date = START,
) -> pl.DataFrame:
    """A geometric random walk per asset, with predictions of a known worth.

    The signal `ml_pred` of session t is about the return that a decision at its close can still
    earn: from the next open to the open after. Over the whole market its correlation with that
    return is `information` exactly, wherever the return is in the data; where it is not yet (the
    last two sessions) the prediction is noise.

    Args:
        assets: Number of assets: "A00", "A01", ...
        sessions: Bars of each, at least 4.
        seed: The same seed gives the same market.
        information: The information coefficient, -1 to 1.
        volatility: Standard deviation of a session's log return.
        start: First day.

    Raises:
        ConfigError: An information coefficient outside -1 to 1, or fewer than 4 sessions.

    Example:
        >>> market = random_market(assets=3, sessions=100, seed=7, information=0.1)
        >>> round(information_of(market), 9)
        0.1
    """
    if not -1.0 <= information <= 1.0:
        raise ConfigError(f"information must be a correlation from -1 to 1, not {information!r}.")
    if sessions < 4:
        raise ConfigError(f"sessions must be at least 4, not {sessions!r}.")
    rng = np.random.default_rng(seed)
    shape = (sessions, assets)
    inside = rng.normal(0.0, volatility * _INTRADAY**0.5, shape)
    overnight = rng.normal(0.0, volatility * (1.0 - _INTRADAY) ** 0.5, shape)
    steps = inside + overnight  # from this open to the next
    opens = 100.0 * np.exp(np.vstack([np.zeros(assets), np.cumsum(steps, axis=0)[:-1]]))
    closes = opens * np.exp(inside)
    reach = np.exp(np.abs(rng.normal(0.0, volatility / 2.0, (2, *shape))))
    highs, lows = np.maximum(opens, closes) * reach[0], np.minimum(opens, closes) / reach[1]
    ahead = opens[2:] / opens[1:-1] - 1.0
    predictions = rng.normal(size=shape)
    predictions[:-2] = _correlated(ahead, predictions[:-2], information)
    return pl.DataFrame(
        {
            "timestamp": np.repeat(np.array(weekdays(sessions, start)), assets).tolist(),
            "asset_id": _names(assets) * sessions,
            "open": opens.ravel(),
            "high": highs.ravel(),
            "low": lows.ravel(),
            "close": closes.ravel(),
            "volume": np.round(np.exp(rng.normal(13.0, 0.5, shape))).ravel(),
            "ml_pred": predictions.ravel(),
        }
    )


def information_of(market: pl.DataFrame, signal: str = "ml_pred") -> float:
    """Correlation of a signal with the return from the next open to the open after."""
    ahead = (pl.col("open").shift(-2) / pl.col("open").shift(-1) - 1.0).over("asset_id")
    pairs = market.sort("asset_id", "timestamp").select(pl.col(signal), ahead.alias("ahead"))
    return float(pairs.drop_nulls().select(pl.corr(signal, "ahead")).item())


def without_bars(market: pl.DataFrame, share: float, *, seed: int = 0) -> pl.DataFrame:
    """A market in which a random share of the bars is missing, but no timestamp as a whole.

    Args:
        market: Any market.
        share: Fraction of bars to leave out, 0 to 1.
        seed: The same seed leaves out the same bars.
    """
    luck = pl.Series("luck", np.random.default_rng(seed).random(market.height))
    best = pl.col("luck").max().over("timestamp")
    kept = (pl.col("luck") >= share) | (pl.col("luck") == best)
    return market.with_columns(luck).filter(kept).drop("luck")


def with_late(market: pl.DataFrame, asset_id: str, first: int) -> pl.DataFrame:
    """A market in which one asset has no bar before session number `first`, from 0."""
    day = market["timestamp"].unique().sort()[first]
    return market.filter((pl.col("asset_id") != asset_id) | (pl.col("timestamp") >= day))


def with_vanished(market: pl.DataFrame, asset_id: str, last: int) -> pl.DataFrame:
    """A market in which one asset has no bar after session number `last`, from 0."""
    day = market["timestamp"].unique().sort()[last]
    return market.filter((pl.col("asset_id") != asset_id) | (pl.col("timestamp") <= day))


def with_gap(market: pl.DataFrame, at: int, factor: float) -> pl.DataFrame:
    """A market whose prices from the open of session number `at` on are `factor` times higher."""
    day = market["timestamp"].unique().sort()[at]
    moved = pl.when(pl.col("timestamp") >= day).then(factor).otherwise(1.0)
    return market.with_columns(pl.col("open", "high", "low", "close") * moved)


def _names(assets: int) -> list[str]:
    return [f"A{i:02d}" for i in range(assets)]


def _correlated(target: np.ndarray, noise: np.ndarray, correlation: float) -> np.ndarray:
    """Values with exactly this correlation with `target`, and mean 0 and variance 1.

    Formula:
        correlation * z + sqrt(1 - correlation**2) * e    z the standardised target, e the
        standardised part of the noise that is not explained by it
    """
    z = (target - target.mean()) / target.std()
    rest = noise - noise.mean()
    rest -= z * (z * rest).mean()
    mixed: np.ndarray = correlation * z + (1.0 - correlation**2) ** 0.5 * rest / rest.std()
    return mixed
