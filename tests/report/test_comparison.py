"""Results side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from ml4t.backtest import (
    BacktestEngine,
    BacktestResult,
    ConfigError,
    SimulationBroker,
    Strategy,
    compare,
)
from tests.report.conftest import EVIL, evil_market, evil_run
from tests.report.test_page import read

if TYPE_CHECKING:
    from pathlib import Path

    from ml4t.backtest.types.bars import Bars


@pytest.fixture
def pair() -> list[BacktestResult]:
    """A long run and its beginning."""
    return [evil_run(60), evil_run(30)]


def test_the_table_has_the_metrics_of_each(pair: list[BacktestResult]) -> None:
    """Under its name; equal names are numbered."""
    table = compare(pair).table()
    assert table.columns == ["metric", "Evil (1)", "Evil (2)"]
    for column, result in zip(table.columns[1:], pair, strict=True):
        found = dict(zip(table["metric"], table[column], strict=True))
        np.testing.assert_equal(found, result.metrics)


def test_correlation_is_that_of_shared_sessions(pair: list[BacktestResult]) -> None:
    """The shorter run is the beginning of the longer one, so they agree there."""
    table = compare(pair, names=["a", "b"]).correlation()
    assert table["name"].to_list() == ["a", "b"]
    assert table["b"].to_list() == [pytest.approx(1.0), pytest.approx(1.0)]


def test_a_run_of_another_time_takes_nothing_from_the_others() -> None:
    """Two that share their sessions correlate, whatever stands beside them; one day is no shape."""
    market = evil_market()
    days = market["timestamp"].unique().sort()
    early = market.filter(pl.col("timestamp") <= days[40])
    late = market.filter(pl.col("timestamp") > days[60])
    runs = [_run(early, 2), _run(early, 1), _run(late, 2)]
    table = compare(runs, names=["a", "b", "c"]).correlation()
    a, b = (run.returns["return"].to_numpy() for run in runs[:2])
    expected = float(np.corrcoef(a, b)[0, 1])
    assert table["b"].to_list() == [pytest.approx(expected), pytest.approx(1.0), None]
    assert table["c"].to_list() == [None, None, pytest.approx(1.0)]


def test_the_page_says_that_runs_stand_on_different_ground(tmp_path: Path) -> None:
    """Figures of other years or other money do not compare; nothing is said of equal ones."""
    market = evil_market()
    days = market["timestamp"].unique().sort()
    late = market.filter(pl.col("timestamp") > days[60], pl.col("asset_id") != "A01")
    runs = [_run(market, 2), _run(late, 2, currency="EUR")]
    page = compare(runs, names=["a", "b"]).report(tmp_path / "page.html").read_text("utf-8")
    assert "Different here: period, assets, currency." in page
    assert ">EUR</td>" in page
    same = compare([runs[0], _run(market, 1)], names=["a", "b"])
    assert "Different here" not in same.report(tmp_path / "page.html").read_text("utf-8")


class _Best(Strategy):
    """The best of each day."""

    def __init__(self, most: int) -> None:
        self.most = most

    def on_bars(self, bars: Bars) -> None:
        """Buys them."""
        best = bars.top("ml_pred", self.most)
        self.rebalance_to_weights(dict.fromkeys(best, 0.9 / self.most), tolerance=0.02)


def _run(market: pl.DataFrame, most: int, currency: str = "USD") -> BacktestResult:
    broker = SimulationBroker(currency=currency)
    return BacktestEngine(
        market, strategy=_Best(most), broker=broker, signal_columns=["ml_pred"]
    ).run()


def test_growth_starts_from_the_money_at_the_start(pair: list[BacktestResult]) -> None:
    """So that accounts of different size compare."""
    figure = compare(pair, names=["a", "b"]).plot()
    line = figure.data[0]
    assert line.name == "a"
    assert line.y[-1] == pytest.approx(pair[0].final_equity / pair[0].initial_cash)


def test_the_page_and_the_card_escape_names(pair: list[BacktestResult], tmp_path: Path) -> None:
    """And the page has its sections."""
    both = compare(pair, names=[EVIL, "b"])
    html = both._repr_html_()
    assert "<script" not in html
    assert "&lt;script" in html
    reader = read(both.report(tmp_path / "compare.html"))
    ids = [attrs["id"] for attrs, _ in reader.all("section")]
    assert ids == ["trust", "figures", "equity", "correlation"]
    assert EVIL in [text for _, text in reader.all("th")]
    assert [a.get("type") for a, _ in reader.all("script")].count(None) == 2


def test_what_cannot_be_compared_is_refused(pair: list[BacktestResult]) -> None:
    """One result, something else, and names that do not fit."""
    with pytest.raises(ConfigError, match="at least two"):
        compare(pair[:1])
    with pytest.raises(ConfigError, match="item 1 is of type str"):
        compare([pair[0], "b"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="2 results and 1 names"):
        compare(pair, names=["a"])
    with pytest.raises(ConfigError, match=r"repeated: \['a'\]"):
        compare(pair, names=["a", "a"])
