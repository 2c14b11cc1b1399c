"""How far figures can be trusted: intervals for what one history allows to estimate.

Two means. Figures of a run's returns are computed again on many histories drawn from the one that
happened (stationary bootstrap). Means of values that depend on their neighbours have a standard
error that counts the dependence (Newey and West). Both say how much luck is in a figure when
the future is like the past; neither knows how many strategies were tried before this one.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results.metrics import NAN

if TYPE_CHECKING:
    from collections.abc import Iterator

# With fewer observations an interval is itself a guess, so there is none.
LEAST = 20
LEVEL = 0.95
_LEAST_SAMPLES = 100
_NO_SPREAD = 1e-15  # rounding, not risk; as in `metrics`
_CELLS = 2_000_000  # returns drawn at once
_TRADE_FIGURES = ("hit_rate", "expectancy", "average_return")


# -- the stationary bootstrap ------------------------------------------------------------------


def of_run(
    returns: np.ndarray,
    trades: np.ndarray,
    periods_per_year: float,
    *,
    level: float = LEVEL,
    samples: int = 2_000,
    seed: int = 0,
    block: float | None = None,
) -> pl.DataFrame:
    """See `BacktestResult.intervals`.

    Args:
        returns: float64[n], of sessions, in order of time.
        trades: float64[n, 4], by the session in which they were closed: number of trades, number
            with a gain, sum of their P&L, sum of their returns.
        periods_per_year: Sessions a year.
        level: Share of samples inside the interval, between 0 and 1.
        samples: Number of histories drawn, at least 100.
        seed: The same seed draws the same histories.
        block: Mean length of a block in sessions, at least 1; `block_length` by default.
    """
    _check(level, samples, block)
    if bool(np.isnan(returns).any()):  # the money was gone
        returns, trades = returns[:0], trades[:0]
    n = len(returns)
    known = _figures(returns[None], trades.sum(axis=0)[None], periods_per_year)
    closed = int(trades[:, 0].sum())
    observed = {name: closed if name in _TRADE_FIGURES else n for name in known}
    length = NAN
    drawn: dict[str, np.ndarray] = {}
    if n >= LEAST:
        length = block_of_returns(returns) if block is None else float(block)
        rng = np.random.default_rng(seed)
        parts = [
            _figures(returns[rows], trades[rows].sum(axis=1), periods_per_year)
            for rows in draws(n, samples, length, rng)
        ]
        drawn = {name: np.concatenate([part[name] for part in parts]) for name in known}
    tail = (1.0 - level) / 2.0
    bounds = {
        name: _quantiles(drawn[name], tail) if drawn and observed[name] >= LEAST else (NAN, NAN)
        for name in known
    }
    return pl.DataFrame(
        {
            "metric": list(known),
            "value": [float(values[0]) for values in known.values()],
            "low": [low for low, _ in bounds.values()],
            "high": [high for _, high in bounds.values()],
            "observations": list(observed.values()),
            "block": [length] * len(known),
        },
        schema_overrides={"observations": pl.Int64},
    )


def draws(n: int, samples: int, block: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of resampled histories, some at a time: int64[some, n].

    A history is made of blocks of neighbouring rows, each of random length (geometric, with
    mean `block`) from a random start; the last row is followed by the first. Unlike blocks of a
    fixed length, these make histories that are stationary when the one they come from is.

    Source:
        D. Politis, J. Romano, 1994, The Stationary Bootstrap
    """
    column = np.arange(n)
    at_once = max(1, _CELLS // n)
    for done in range(0, samples, at_once):
        shape = (min(at_once, samples - done), n)
        begins = rng.random(shape) < 1.0 / block
        begins[:, 0] = True
        starts = rng.integers(0, n, size=shape)
        began = np.maximum.accumulate(np.where(begins, column, 0), axis=1)
        yield (np.take_along_axis(starts, began, axis=1) + column - began) % n


def block_of_returns(returns: np.ndarray) -> float:
    """Mean block length for figures of returns: what returns and their squares need.

    Returns hardly depend on the ones before, so that alone would draw single sessions. Their
    size does: calm and wild times come in stretches, and figures of risk have to see them. So it
    is the larger `block_length` of the returns and of their squares.
    """
    return max(block_length(returns), block_length((returns - returns.mean()) ** 2))


def block_length(values: np.ndarray) -> float:
    """Mean block length that estimates the variance of a mean best; at least 1.

    It is longer the more neighbours resemble each other, and grows with `n ** (1 / 3)`.

    Formula:
        (2 * G**2 / D) ** (1 / 3) * n ** (1 / 3), D = 2 * g**2
        g = Σ λ(k / M) * R(k) and G = Σ λ(k / M) * |k| * R(k) over k = -M to M; R(k)
        autocovariance at lag k, λ(x) = 1 up to |x| = 1/2, then 2 * (1 - |x|); M twice the lag
        after which max(5, ceil(sqrt(log10(n)))) autocorrelations are all below
        2 * sqrt(log10(n) / n). At most min(3 * sqrt(n), n / 3).
    Source:
        D. Politis, H. White, 2004, Automatic Block-Length Selection for the Dependent Bootstrap,
        with the correction by A. Patton, D. Politis, H. White, 2009
    """
    n = len(values)
    d = values - values.mean()
    own = float(d @ d) / n
    if n < LEAST or own < _NO_SPREAD**2:
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    widest = min(math.ceil(math.sqrt(n)) + run, n - 1)
    autocovariance = np.array([float(d[k:] @ d[: n - k]) / n for k in range(widest + 1)])
    is_small = np.abs(autocovariance[1:] / own) < 2.0 * math.sqrt(math.log10(n) / n)
    after = (m for m in range(len(is_small) - run + 1) if is_small[m : m + run].all())
    last = next(after, widest)
    m = min(2 * max(last, 1), widest)
    k = np.arange(1, m + 1)
    weighted = np.minimum(1.0, 2.0 * (1.0 - k / m)) * autocovariance[1 : m + 1]
    slope = 2.0 * float((k * weighted).sum())
    spectrum = own + 2.0 * float(weighted.sum())
    if abs(spectrum) < _NO_SPREAD * own:
        return _longest(n)
    best = math.pow((slope / spectrum) ** 2 * n, 1.0 / 3.0)
    return min(max(1.0, best), _longest(n))


def _longest(n: int) -> float:
    return float(math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))


def _figures(
    returns: np.ndarray, trades: np.ndarray, periods_per_year: float
) -> dict[str, np.ndarray]:
    """The figures of histories, one a row; the formulas of `metrics`, for many at once."""
    samples, n = returns.shape
    if n == 0:
        nothing = np.full(samples, NAN)
        return dict.fromkeys((*_RETURN_FIGURES, *_TRADE_FIGURES), nothing)
    wealth = np.cumprod(1.0 + returns, axis=1)
    growth = wealth[:, -1]
    peak = np.maximum(np.maximum.accumulate(wealth, axis=1), 1.0)
    deepest = np.minimum((wealth / peak).min(axis=1) - 1.0, 0.0)
    mean = returns.mean(axis=1)
    spread = returns.std(axis=1, ddof=1) if n > 1 else np.full(samples, NAN)
    below = np.sqrt((np.minimum(returns, 0.0) ** 2).mean(axis=1))
    with np.errstate(over="ignore"):  # a windfall, compounded for a year
        cagr = np.where(growth > 0.0, np.maximum(growth, 0.0) ** (periods_per_year / n) - 1.0, -1.0)
    root = math.sqrt(periods_per_year)
    count, wins, pnl, gained = trades.T
    return {
        "total_return": growth - 1.0,
        "cagr": cagr,
        "volatility": spread * root,
        "sharpe": _quotient(mean, spread) * root,
        "sortino": _quotient(mean, below) * root,
        "max_drawdown": deepest,
        "calmar": _quotient(cagr, -deepest),
        "hit_rate": _quotient(wins, count),
        "expectancy": _quotient(pnl, count),
        "average_return": _quotient(gained, count),
    }


_RETURN_FIGURES = (
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "calmar",
)


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    is_known = below > _NO_SPREAD
    return np.where(is_known, above / np.where(is_known, below, 1.0), NAN)


def _quantiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    """Of the samples that define the figure; none when most do not."""
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return NAN, NAN
    low, high = np.quantile(known, [tail, 1.0 - tail]).tolist()
    return low, high


def _check(level: float, samples: int, block: float | None) -> None:
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must be between 0 and 1, such as 0.95, not {level}.")
    if samples < _LEAST_SAMPLES:
        raise ConfigError(f"samples must be at least {_LEAST_SAMPLES}, not {samples}.")
    if block is not None and not 1.0 <= block < math.inf:
        raise ConfigError(
            f"block is a mean number of sessions and must be at least 1, not {block}. Leave it out "
            "to have it chosen."
        )


# -- means of values that depend on each other ---------------------------------------------------


def overlap_lag(n: int, horizon: int) -> int:
    """Up to which lag neighbours are taken to depend on each other.

    Returns over `horizon` bars overlap with those of the `horizon - 1` bars before. Bartlett
    weights fall with the lag, so with that lag they would miss a third of the dependence; three
    times it misses a ninth. The second term, a rule of thumb that grows with the sample, is for
    dependence that has other reasons, such as times in which a model works and others.

    Formula:
        max(3 * (horizon - 1), floor(4 * (n / 100) ** (2 / 9))), below n
    Source:
        W. Newey, K. West, 1994, Automatic Lag Selection in Covariance Matrix Estimation (the rule)
    """
    by_size = int(4.0 * (n / 100.0) ** (2.0 / 9.0))
    return max(0, min(max(3 * (horizon - 1), by_size), n - 1))


def long_run_sum(deviations: np.ndarray, lag: int) -> float:
    """Variance of the sum of values that depend on those up to `lag` before; never negative.

    Formula:
        Σ d[t]**2 + 2 * Σ (1 - k / (lag + 1)) * Σ d[t] * d[t - k] over k = 1 to lag
        d deviations from their mean, in order of time
    Source:
        W. Newey, K. West, 1987, A Simple, Positive Semi-definite, Heteroskedasticity and
        Autocorrelation Consistent Covariance Matrix
    """
    found = float(deviations @ deviations)
    for k in range(1, min(lag, len(deviations) - 1) + 1):
        found += 2.0 * (1.0 - k / (lag + 1.0)) * float(deviations[k:] @ deviations[:-k])
    return max(found, 0.0)


def long_run_reach(n: int, lag: int) -> float:
    """How many standard errors a 95% interval reaches to each side, when they use `lag`.

    A standard error from many lags of few values is uncertain, and on average too small. The
    reach makes up for it: 1.96 where the lag is short for the sample, 2.2 where it is a tenth.

    Formula:
        1.96 + 2.9694 * b + 0.416 * b**2 - 0.5324 * b**3   b = (lag + 1) / n
    Source:
        N. Kiefer, T. Vogelsang, 2005, A New Asymptotic Theory for
        Heteroskedasticity-Autocorrelation Robust Tests
    """
    b = min((lag + 1) / n, 1.0)
    return 1.96 + 2.9694 * b + 0.416 * b**2 - 0.5324 * b**3


def of_mean(
    deviations: np.ndarray, horizon: int, *, count: int, seen: int
) -> tuple[float, float] | None:
    """Standard error of a mean, and how far its 95% interval reaches to each side.

    Args:
        deviations: By timestamp, in order: the sum of the deviations from the mean of all its
            values. What shares a timestamp may depend on each other in any way.
        horizon: Over how many timestamps the values overlap.
        count: Of how many values the mean is.
        seen: How many timestamps had values.

    Returns:
        None below 20 timestamps with values, or five horizons.
    """
    if seen < max(LEAST, 5 * horizon):
        return None
    lag = overlap_lag(len(deviations), horizon)
    error = math.sqrt(long_run_sum(deviations, lag) * seen / (seen - 1)) / count
    return error, long_run_reach(seen, lag) * error


def normal_quantile(level: float = LEVEL) -> float:
    """How many standard errors an interval reaches to each side.

    Example:
        >>> round(normal_quantile(0.95), 4)
        1.96
    """
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def wilson(hits: pl.Expr, count: pl.Expr, level: float = LEVEL) -> tuple[pl.Expr, pl.Expr]:
    """Interval of a share; inside 0 to 1, and sensible for few observations and rare hits.

    Args:
        hits: The share observed.
        count: How many independent observations it is of; need not be whole.
        level: Confidence.

    Formula:
        (p + z**2 / 2n ± z * sqrt(p * (1 - p) / n + z**2 / 4n**2)) / (1 + z**2 / n)
    Source:
        E. Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference
    """
    z = normal_quantile(level)
    middle = hits + z * z / (2.0 * count)
    reach = z * (hits * (1.0 - hits) / count + z * z / (4.0 * count**2)).sqrt()
    scale = 1.0 + z * z / count
    low, high = (middle - reach) / scale, (middle + reach) / scale
    return low.clip(lower_bound=0.0), high.clip(upper_bound=1.0)
