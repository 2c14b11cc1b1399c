"""Several results side by side: `compare`."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ml4t.backtest.errors import ConfigError
from ml4t.backtest.results import summary
from ml4t.backtest.results.result import BacktestResult

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path


def compare(results: Sequence[BacktestResult], names: Sequence[str] | None = None) -> Comparison:
    """Results side by side: what they assumed, what they earned, and how alike they are.

    Args:
        results: At least two.
        names: One for each, all different; those of the strategies by default, numbered where
            they repeat.

    Returns:
        A `Comparison`, with `table()`, `correlation()`, `plot()` and `report(path)`.

    Raises:
        ConfigError: Fewer than two results, or names that do not fit.
    """
    given = list(results)
    for i, result in enumerate(given):
        if not isinstance(result, BacktestResult):
            raise ConfigError(
                f"compare takes results; item {i} is of type {type(result).__name__}."
            )
    if len(given) < 2:  # noqa: PLR2004  one is not a comparison
        raise ConfigError(f"compare needs at least two results, not {len(given)}.")
    chosen = _numbered(given) if names is None else [str(name) for name in names]
    if len(chosen) != len(given):
        raise ConfigError(f"There are {len(given)} results and {len(chosen)} names.")
    repeated = sorted({name for name in chosen if chosen.count(name) > 1})
    if repeated or "metric" in chosen:
        raise ConfigError(
            "Each result needs a name of its own, and none is called 'metric'; "
            f"repeated: {repeated}."
        )
    return Comparison(dict(zip(chosen, given, strict=True)))


def _numbered(results: list[BacktestResult]) -> list[str]:
    names = [summary.strategy(result) for result in results]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _correlation(mine: pl.DataFrame, other: pl.DataFrame) -> float | None:
    """Of returns on the sessions that both have."""
    values = mine.join(other, on="session").select("return", "return_right").drop_nans().to_numpy()
    if len(values) < 3 or not (values.std(axis=0) > 0.0).all():  # noqa: PLR2004  two are a line
        return None
    return float(np.corrcoef(values, rowvar=False)[0, 1])


class Comparison:
    """Results side by side; made by `compare`.

    Args:
        results: By name.
    """

    def __init__(self, results: dict[str, BacktestResult]) -> None:
        self.results = results

    def table(self) -> pl.DataFrame:
        """All figures: `metric`, and a column for each result."""
        known = {name: result.metrics for name, result in self.results.items()}
        metrics = list(next(iter(known.values())))
        return pl.DataFrame(
            {
                "metric": metrics,
                **{name: [of[m] for m in metrics] for name, of in known.items()},
            }
        )

    def correlation(self) -> pl.DataFrame:
        """Correlation of session returns, on the sessions that two have: `name`, a column each.

        Null where fewer than three sessions are shared, or returns do not vary.
        """
        own = [result.returns.select("session", "return") for result in self.results.values()]
        columns = {
            name: pl.Series([_correlation(mine, other) for mine in own], dtype=pl.Float64)
            for name, other in zip(self.results, own, strict=True)
        }
        return pl.DataFrame({"name": list(self.results), **columns})

    def growth(self) -> dict[str, pl.DataFrame]:
        """By name: timestamp, equity as a multiple of the money at the start, drawdown."""
        return {
            name: result.equity.select(
                "timestamp", pl.col("equity") / result.initial_cash, "drawdown"
            )
            for name, result in self.results.items()
        }

    def plot(self, *, log: bool = False, theme: str = "light") -> Any:
        """Growth and drawdown of all results, as a Plotly figure; needs the extra `plot`.

        Args:
            log: Whether equal growth is drawn equally high.
            theme: "light" or "dark".
        """
        from ml4t.backtest.results.charts import money, style

        return style.themed(money.equity(self.growth(), log=log), theme)

    def report(self, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
        """Writes the comparison as one HTML page that needs no network; needs the extra `plot`.

        Args:
            path: The file.
            title: The heading.

        Returns:
            The path of the page.
        """
        from ml4t.backtest.results.report import side_by_side

        return side_by_side.write(self, path, title=title)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.results)}>"

    def _repr_html_(self) -> str:
        """A small table; every text in it is escaped."""
        shown = {
            "total_return": summary.percent,
            "cagr": summary.percent,
            "volatility": summary.percent,
            "sharpe": summary.ratio,
            "max_drawdown": summary.percent,
            "costs": summary.money,
            "trades": "{:,.0f}".format,
        }
        heads = "".join(f"<th scope='col'>{escape(name)}</th>" for name in self.results)
        rows = "".join(
            f"<tr><th scope='row' style='text-align:left'>{metric.replace('_', ' ')}</th>"
            + "".join(f"<td>{form(r.metrics[metric])}</td>" for r in self.results.values())
            + "</tr>"
            for metric, form in shown.items()
        )
        return f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"
