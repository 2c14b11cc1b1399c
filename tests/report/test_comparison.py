"""Results side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ml4t.backtest import BacktestResult, ConfigError, compare
from tests.report.conftest import EVIL, evil_run
from tests.report.test_page import read

if TYPE_CHECKING:
    from pathlib import Path


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
