"""What a run earned, risked and cost: one formula a function.

Returns are simple returns a session, as fractions (0.01 is one percent), as a float64 array in
order of time; `periods_per_year` is the number of sessions in a year. A figure that the data do
not define (a Sharpe ratio of one session or without volatility, a hit rate without trades) is
NaN, never an error or a warning. A run whose equity fell to zero or below has no returns from
there on, and so none of the figures made of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

NAN = math.nan
# Returns are quotients near 1 less 1, so they are known to about 1e-16 and no better: a spread
# below this is rounding, not risk.
_NO_SPREAD = 1e-15
_WEEKEND = 5  # Monday is 0

# Sessions further apart (median, in days) than the first are not daily; the others are the widest
# spacing of a frequency and its sessions a year.
_DAILY_UNTIL = 3.5
_SPACINGS = ((10.5, 52.0), (20.5, 26.0), (45.0, 12.0), (135.0, 4.0), (270.0, 2.0))


# -- periods -----------------------------------------------------------------------------------


def periods_of(days: np.ndarray, calendar: float | None = None) -> tuple[float, str]:
    """Sessions a year, and where the number comes from.

    Sessions further apart than a day have their own frequency, read from their median spacing:
    weekly 52, fortnightly 26, monthly 12, quarterly 4, half-yearly 2, yearly 1. Daily ones have
    the calendar's number; without a calendar 365 when any session falls on a weekend, else 252.

    Args:
        days: int32, dates of the sessions as days since 1970-01-01, increasing.
        calendar: Sessions a year by the run's calendar.
    """
    gaps = np.diff(days)
    spacing = float(np.median(gaps)) if len(gaps) > 1 else 1.0  # one gap may be a holiday
    if spacing > _DAILY_UNTIL:
        per_year = next((n for widest, n in _SPACINGS if spacing <= widest), 1.0)
        return per_year, f"bars {spacing:g} days apart"
    if calendar is not None:
        return calendar, "calendar"
    if bool(((days + 3) % 7 >= _WEEKEND).any()):  # 1970-01-01 was a Thursday
        return 365.0, "assumed: sessions on weekends"
    return 252.0, "assumed: weekdays only"


def returns_of(equity: np.ndarray, initial: float) -> np.ndarray:
    """Simple returns of consecutive equities, the first one against the money at the start.

    Once equity is zero or negative a return has no meaning: it is NaN from the next one on.

    Example:
        >>> returns_of(np.array([110.0, 99.0]), initial=100.0).round(3).tolist()
        [0.1, -0.1]
    """
    before = np.concatenate(([initial], equity[:-1]))
    ruined = np.maximum.accumulate(before <= 0.0)
    return np.where(ruined, NAN, equity / np.where(ruined, 1.0, before) - 1.0)


# -- return and risk ---------------------------------------------------------------------------


def total_return(equity: np.ndarray, initial: float) -> float:
    """Gain over the whole run as a fraction of the money at the start."""
    return float(equity[-1] / initial - 1.0) if len(equity) else 0.0


def cagr(returns: np.ndarray, periods_per_year: float) -> float:
    """Compound annual growth rate.

    Formula:
        Π(1 + r) ** (P / n) − 1   P periods a year, n number of returns
    """
    if not len(returns):
        return NAN
    growth = float(np.prod(1.0 + returns))
    if growth <= 0.0:
        return -1.0
    with np.errstate(over="ignore"):  # a day's windfall, compounded for a year
        return float(np.float64(growth) ** (periods_per_year / len(returns)) - 1.0)


def volatility(returns: np.ndarray, periods_per_year: float) -> float:
    """Standard deviation of returns (sample, n − 1), a year."""
    if len(returns) < 2:  # noqa: PLR2004  a spread needs two
        return NAN
    return float(np.std(returns, ddof=1) * math.sqrt(periods_per_year))


def downside_deviation(returns: np.ndarray, periods_per_year: float) -> float:
    """Root mean square of the negative returns over all sessions, a year.

    Source:
        F. Sortino, L. Price, 1994, Performance Measurement in a Downside Risk Framework
    """
    if not len(returns):
        return NAN
    below = np.minimum(returns, 0.0)
    return float(math.sqrt(float(np.mean(below * below))) * math.sqrt(periods_per_year))


def sharpe(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean over standard deviation of returns, a year; the riskless rate is taken as zero.

    NaN where the returns do not vary: libraries that divide by zero there show infinity, or a
    huge number made of rounding.

    Formula:
        mean(r) / std(r, n − 1) * sqrt(P)
    Source:
        W. Sharpe, 1994, The Sharpe Ratio
    Example:
        >>> round(sharpe(np.array([0.01, -0.005, 0.004]), periods_per_year=252.0), 3)
        6.308
    """
    if len(returns) < 2:  # noqa: PLR2004  a spread needs two
        return NAN
    spread = float(np.std(returns, ddof=1))
    if spread < _NO_SPREAD:
        return NAN
    return float(np.mean(returns)) / spread * math.sqrt(periods_per_year)


def sortino(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean return a year over `downside_deviation`; NaN without a losing session.

    Source:
        F. Sortino, L. Price, 1994, Performance Measurement in a Downside Risk Framework
    """
    risk = downside_deviation(returns, periods_per_year)
    if math.isnan(risk) or risk < _NO_SPREAD:
        return NAN
    return float(np.mean(returns)) * periods_per_year / risk


def calmar(cagr: float, max_drawdown: float) -> float:
    """Growth a year over the deepest drawdown; NaN when there was none.

    The drawdown here is that of every bar, so with bars shorter than a session the figure is
    at most that of libraries that see session closes only.
    """
    return cagr / -max_drawdown if max_drawdown < 0.0 else NAN


def tail_ratio(returns: np.ndarray) -> float:
    """95th percentile of returns over the 5th, without sign; above 1 the good tail is longer."""
    if not len(returns):
        return NAN
    low = abs(float(np.percentile(returns, 5)))
    return abs(float(np.percentile(returns, 95))) / low if low > 0.0 else NAN


def value_at_risk(returns: np.ndarray, level: float = 0.05) -> float:
    """Return of a session that one in `1 / level` sessions falls below (historical)."""
    return float(np.percentile(returns, 100.0 * level)) if len(returns) else NAN


def conditional_value_at_risk(returns: np.ndarray, level: float = 0.05) -> float:
    """Mean of the worst returns: the lowest `floor((n − 1) * level) + 1` of them."""
    if not len(returns):
        return NAN
    last = int((len(returns) - 1) * level)
    return float(np.mean(np.partition(returns, last)[: last + 1]))


def skewness(returns: np.ndarray) -> float:
    """Asymmetry of returns, corrected for sample size (G1; pandas and Excel use it).

    Source:
        D. Joanes, C. Gill, 1998, Comparing Measures of Sample Skewness and Kurtosis
    """
    n = len(returns)
    if n < 3 or _is_constant(returns):  # noqa: PLR2004  the correction divides by n - 2
        return NAN
    d = returns - np.mean(returns)
    g1 = float(np.mean(d**3)) / math.pow(float(np.mean(d**2)), 1.5)
    return g1 * math.sqrt(n * (n - 1)) / (n - 2)


def kurtosis(returns: np.ndarray) -> float:
    """Excess kurtosis of returns, corrected for sample size (G2); 0 for a normal distribution.

    Source:
        D. Joanes, C. Gill, 1998, Comparing Measures of Sample Skewness and Kurtosis
    """
    n = len(returns)
    if n < 4 or _is_constant(returns):  # noqa: PLR2004  the correction divides by n - 3
        return NAN
    d = returns - np.mean(returns)
    g2 = float(np.mean(d**4)) / float(np.mean(d**2)) ** 2 - 3.0
    return ((n + 1) * g2 + 6.0) * (n - 1) / ((n - 2) * (n - 3))


def _is_constant(returns: np.ndarray) -> bool:
    return float(np.std(returns)) < _NO_SPREAD


def positive_share(returns: np.ndarray) -> float:
    """Share of sessions with a gain."""
    return float(np.mean(returns > 0.0)) if len(returns) else NAN


# -- drawdown ----------------------------------------------------------------------------------


def drawdowns(equity: np.ndarray, initial: float) -> np.ndarray:
    """Distance to the highest equity so far, the start included, as a fraction of it; at most 0.

    Example:
        >>> drawdowns(np.array([90.0, 120.0, 60.0]), initial=100.0).round(3).tolist()
        [-0.1, 0.0, -0.5]
    """
    peak = np.maximum(np.maximum.accumulate(equity), initial)
    return equity / peak - 1.0


def max_drawdown(drawdown: np.ndarray) -> float:
    """The deepest drawdown, at most 0.

    Of every bar. Libraries that are given session returns see closes only, and the two agree
    when a session has one bar.
    """
    return float(drawdown.min()) if len(drawdown) else 0.0


def drawdown_length(drawdown: np.ndarray) -> int:
    """Longest run of sessions below an earlier peak."""
    below = np.concatenate(([0], (drawdown < 0.0).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(below))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def recovery_length(drawdown: np.ndarray) -> float:
    """Sessions from the deepest point back to the old peak.

    0 without a drawdown, NaN when the run ended before.
    """
    if not len(drawdown) or drawdown.min() >= 0.0:
        return 0.0
    deepest = int(drawdown.argmin())
    back = np.flatnonzero(drawdown[deepest:] >= 0.0)
    return float(back[0]) if len(back) else NAN


# -- activity and costs ------------------------------------------------------------------------


def turnover(traded: float, equity: np.ndarray, periods_per_year: float) -> float:
    """One-way turnover a year: 1 means that the whole portfolio was replaced once.

    Formula:
        Σ|traded notional| / 2 / mean(E) / (n / P)   E equity by session, n number of sessions
    """
    average = float(np.mean(equity)) if len(equity) else 0.0
    if average <= 0.0:
        return NAN
    return traded / 2.0 / average * periods_per_year / len(equity)


def exposure(gross: np.ndarray, equity: np.ndarray) -> float:
    """Average of gross exposure over equity, bar by bar; bars with equity <= 0 are left out."""
    positive = equity > 0.0
    return float(np.mean(gross[positive] / equity[positive])) if positive.any() else NAN


def time_in_market(gross: np.ndarray) -> float:
    """Share of bars at whose close something was held."""
    return float(np.mean(gross > 0.0)) if len(gross) else NAN


# -- trades ------------------------------------------------------------------------------------


def trade_figures(trades: pl.DataFrame) -> dict[str, float]:
    """Counts and averages of closed trades; open ones are only counted.

    Returns:
        `trades`, `open_trades`; `hit_rate`, share of trades with a P&L above zero;
        `profit_factor`, gains over losses (infinite without a loss); `expectancy`, mean P&L;
        `average_win`, `average_loss` (at most 0), `best_trade`, `worst_trade`, money;
        `average_return`, mean `return_pct`; `average_bars_held`.
    """
    is_open = (trades["status"] == "open").to_numpy()
    closed = trades.filter(trades["status"] == "closed")
    pnl = closed["pnl"].to_numpy()
    wins, losses = pnl[pnl > 0.0], pnl[pnl < 0.0]
    return {
        "trades": float(len(pnl)),
        "open_trades": float(is_open.sum()),
        "hit_rate": len(wins) / len(pnl) if len(pnl) else NAN,
        "profit_factor": profit_factor(pnl),
        "expectancy": _mean(pnl),
        "average_win": _mean(wins),
        "average_loss": _mean(losses),
        "best_trade": float(pnl.max()) if len(pnl) else NAN,
        "worst_trade": float(pnl.min()) if len(pnl) else NAN,
        "average_return": _mean(closed["return_pct"].to_numpy()),
        "average_bars_held": _mean(closed["bars_held"].to_numpy()),
    }


def profit_factor(pnl: np.ndarray) -> float:
    """Sum of gains over sum of losses; infinite without a loss, NaN without either."""
    gains, losses = float(pnl[pnl > 0.0].sum()), -float(pnl[pnl < 0.0].sum())
    if losses == 0.0:
        return math.inf if gains > 0.0 else NAN
    return gains / losses


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else NAN


def return_figures(
    returns: np.ndarray, deepest: float, periods_per_year: float
) -> dict[str, float]:
    """Every figure that is made of session returns and the deepest drawdown.

    All are NaN when a return is.
    """
    if bool(np.isnan(returns).any()):
        returns = returns[:0]
    growth = cagr(returns, periods_per_year)
    return {
        "cagr": growth,
        "volatility": volatility(returns, periods_per_year),
        "sharpe": sharpe(returns, periods_per_year),
        "sortino": sortino(returns, periods_per_year),
        "calmar": calmar(growth, deepest),
        "downside_deviation": downside_deviation(returns, periods_per_year),
        "skewness": skewness(returns),
        "kurtosis": kurtosis(returns),
        "tail_ratio": tail_ratio(returns),
        "value_at_risk": value_at_risk(returns),
        "conditional_value_at_risk": conditional_value_at_risk(returns),
        "best_session": float(returns.max()) if len(returns) else NAN,
        "worst_session": float(returns.min()) if len(returns) else NAN,
        "positive_sessions": positive_share(returns),
    }
