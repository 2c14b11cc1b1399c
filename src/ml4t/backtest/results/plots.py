"""`BacktestResult.plot`: which frames of a result each kind of figure is made of."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import polars as pl

from ml4t.backtest.errors import ConfigError, DataError, did_you_mean
from ml4t.backtest.results import summary
from ml4t.backtest.results.charts import activity, money, price, series, signals, style
from ml4t.backtest.results.charts.downsample import BUCKETS
from ml4t.backtest.results.record import normalised
from ml4t.backtest.results.report import benchmark as benchmarks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml4t.backtest.results.result import BacktestResult

POINTS = 4 * BUCKETS
WINDOW = 63
_PREFIX = "signal_"


def plot(result: BacktestResult, kind: str, options: dict[str, Any]) -> Any:
    """See `BacktestResult.plot`."""
    theme = options.pop("theme", "light")
    try:
        make = _KINDS[kind]
    except (KeyError, TypeError):
        raise ConfigError(
            f"There is no plot of kind {kind!r}. {did_you_mean(kind, _KINDS)}"
        ) from None
    known = [*list(inspect.signature(make).parameters)[1:], "theme"]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"A plot of kind {kind!r} has no option {name!r}. {did_you_mean(name, known)}"
            )
    style.plotly()
    figure = make(result, **options)
    title = f"{summary.strategy(result)}: {kind}, {summary.span(result)}"
    figure.update_layout(title={"text": style.label(title)}, height=figure.layout.height + 50)
    figure.update_layout(margin={"t": figure.layout.margin.t + 50})
    return style.themed(figure, theme)


# -- one function a kind; its options are the options of the plot ------------------------------


def equity(
    result: BacktestResult, *, benchmark: Any = None, log: bool = False, points: int = POINTS
) -> Any:
    """Equity and drawdown, of a benchmark too."""
    curves = {summary.strategy(result): result.equity}
    if benchmark is not None:
        is_found = isinstance(benchmark, benchmarks.Benchmark)
        found = benchmark if is_found else benchmarks.resolve(result, benchmark)
        name = f"{found.name} (benchmark)" if found.name in curves else found.name
        curves[name] = found.equity
    figure = money.equity(curves, log=log, points=points)
    if benchmark is not None:
        meta = figure.layout.meta
        figure.layout.meta = {**meta, "note": f"{meta['note']} {found.lacks}".strip()}
    return figure


def drawdown(result: BacktestResult, *, points: int = POINTS) -> Any:
    """Distance to the highest equity so far."""
    return money.drawdown(result.equity, points=points)


def returns(result: BacktestResult) -> Any:
    """Returns by month."""
    return money.returns(result.returns)


def calendar(result: BacktestResult, *, years: int = 10) -> Any:
    """Returns by session, in the form of a calendar."""
    return money.calendar(result.returns, years=_positive("years", years))


def rolling(result: BacktestResult, *, window: int | None = None, points: int = POINTS) -> Any:
    """Sharpe ratio and volatility of the sessions before each."""
    sessions = len(result.returns)
    if window is None:
        window = max(2, min(WINDOW, sessions // 3))
    elif window != int(window) or not 2 <= window <= sessions:  # noqa: PLR2004  a spread needs two
        raise ConfigError(
            f"window must be a whole number of sessions, at least 2 and at most the {sessions:,} "
            f"of the run, not {window}."
        )
    window = int(window)
    frame = series.rolling(result.returns, window, result.periods_per_year)
    return money.rolling(frame, window=window, points=points)


def exposure(result: BacktestResult, *, points: int = POINTS) -> Any:
    """Exposure, leverage, turnover and costs."""
    fills = normalised(result.record, "fills").with_columns(
        (pl.col("quantity") * pl.col("price") * pl.col("multiplier")).alias("notional")
    )
    return activity.exposure(result.equity, fills, result.cashflows, points=points)


def trades(result: BacktestResult) -> Any:
    """Distributions of closed trades."""
    return activity.trades(result.trades)


def assets(result: BacktestResult, *, most: int = 30) -> Any:
    """P&L by asset."""
    return activity.assets(result.by_asset(), most=_positive("most", most))


def by_signal(result: BacktestResult, *, signal: str | None = None, buckets: int = 5) -> Any:
    """P&L and hit rate by the value of a signal at entry."""
    names = signal_names(result)
    if signal is None and not names:
        raise DataError("The run had no signals, so there is nothing to plot by signal.")
    name = names[0] if signal is None else signal
    return signals.by_signal(result.by_signal(name, buckets), name=name)


def price_of(
    result: BacktestResult,
    *,
    asset: str | None = None,
    signal: str | Sequence[str] | None = None,
    bars: int = price.CANDLES,
) -> Any:
    """The price of an asset, with fills, orders and signals."""
    traded = most_traded(result, 1)
    if asset is None and not traded:
        raise ConfigError("Nothing was traded, so name the asset to plot: plot('price', asset=...)")
    name = traded[0] if asset is None else asset
    market = result.market([name]).drop("asset_id")
    return price_figure(result, name, market, signal, bars=_positive("bars", bars))


def price_figure(
    result: BacktestResult,
    asset: str,
    market: pl.DataFrame,
    signal: str | Sequence[str] | None = None,
    *,
    bars: int = price.CANDLES,
) -> Any:
    """The price of an asset whose bars are at hand.

    Args:
        result: The run.
        asset: An asset of it.
        market: Its bars and signals.
        signal: Some numeric signals; the first one by default.
        bars: How many bars may be drawn.
    """
    known = [
        name
        for name, kind in market.schema.items()
        if name not in ("timestamp", "open", "high", "low", "close", "volume") and kind.is_numeric()
    ]
    wanted = known[:1] if signal is None else [signal] if isinstance(signal, str) else list(signal)
    for name in wanted:
        if name not in known:
            raise DataError(f"There is no numeric signal {name!r}. {did_you_mean(name, known)}")
    mine = pl.col("asset_id") == asset
    return price.price(
        market.drop_nulls("close"),
        result.fills.filter(mine),
        result.orders.filter(mine),
        signals=wanted,
        bars_shown=bars,
    )


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}.")
    return value


def signal_names(result: BacktestResult) -> list[str]:
    """The signals of the run, ordered on or not, without notes about the model (`_meta`)."""
    columns = [c.removeprefix(_PREFIX) for c in result.orders.columns if c.startswith(_PREFIX)]
    coverage = result.signal_coverage
    known = coverage["signal"].to_list() if "signal" in coverage.columns else []
    return [name for name in dict.fromkeys([*columns, *known]) if not name.startswith("_")]


def most_traded(result: BacktestResult, most: int) -> list[str]:
    """The assets with the most fills, the most first."""
    fills = result.fills.group_by("asset_id").len()
    ordered = fills.sort("len", "asset_id", descending=[True, False])
    return ordered["asset_id"].head(most).to_list()


_KINDS = {
    "equity": equity,
    "drawdown": drawdown,
    "returns": returns,
    "calendar": calendar,
    "rolling": rolling,
    "exposure": exposure,
    "trades": trades,
    "assets": assets,
    "signals": by_signal,
    "price": price_of,
}
