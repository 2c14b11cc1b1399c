"""Reports: checked before a long run, written after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml4t.backtest.cli.screen import say
from ml4t.backtest.cli.showing import find
from ml4t.backtest.errors import ConfigError, did_you_mean
from ml4t.backtest.results.charts import style
from ml4t.backtest.results.comparison import compare
from ml4t.backtest.results.report import page
from ml4t.backtest.results.report.benchmark import EQUAL_WEIGHT

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from ml4t.backtest.results.result import BacktestResult


def check(path: str | os.PathLike[str]) -> None:
    """Refuse what would be refused once everything else is done.

    Raises:
        ConfigError: The folder is not there, or the extra `plot` is not installed.
    """
    page.checked(path)
    style.plotly()


def write(result: BacktestResult, path: str | os.PathLike[str]) -> str:
    """Write the page of a run.

    Returns:
        Where it is, in words.
    """
    return _where(result.report(path))


def report(text: str, path: Path, *, store: str, benchmark: str | None, title: str | None) -> None:
    """Write the page of a run that was kept.

    Args:
        text: The run.
        path: The file.
        store: The folder of the run store.
        benchmark: What to compare with: an asset of the run, "equal_weight", or another run.
        title: The heading.
    """
    check(path)
    name, result = find(text, store)
    other = None if benchmark is None else _other(benchmark, result, store)
    _say(result.report(path, benchmark=other, title=title or name))


def _other(text: str, result: BacktestResult, store: str) -> str | BacktestResult:
    """What a run is compared with; names of its own come first."""
    if text == EQUAL_WEIGHT or text in result.record.asset_ids:
        return text
    try:
        return find(text, store)[1]
    except ConfigError as error:
        raise ConfigError(
            f"--benchmark takes an asset of the run, {EQUAL_WEIGHT}, or a run. Among assets: "
            f"{did_you_mean(text, [*result.record.asset_ids, EQUAL_WEIGHT])} Among runs: {error}"
        ) from error


def report_comparison(results: Mapping[str, BacktestResult], path: Path) -> None:
    """Write the page of several runs side by side."""
    _say(compare(list(results.values()), list(results)).report(path))


def _say(path: Path) -> None:
    say(_where(path), "green")


def _where(path: Path) -> str:
    return f"Report: {path}"
