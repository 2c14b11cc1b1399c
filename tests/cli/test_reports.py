"""Pages of runs, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml4t.backtest import RunStore
from tests.cli.conftest import Invoke

RUN = ("run", "strategy.py", "--data", "prices.parquet")


def test_a_run_writes_its_page(invoke: Invoke) -> None:
    """Beside keeping it; and a file may ask for it too."""
    found = invoke(*RUN, "--report", "page.html", "--save")
    assert found.exit_code == 0, found.output
    assert f"Report: {Path('page.html').absolute()}" in found.stdout
    assert "Hold" in Path("page.html").read_text(encoding="utf-8")
    Path("run.toml").write_text('[output]\nreport = "from-file.html"\n', encoding="utf-8")
    assert invoke(*RUN, "-c", "run.toml").exit_code == 0
    assert Path("from-file.html").is_file()


def test_a_kept_run_and_a_comparison_have_pages(invoke: Invoke) -> None:
    """By name, with another run as the benchmark."""
    for units in (10, 20):
        invoke(*RUN, "--save", "--name", f"u{units}", "--set", f"strategy.units={units}")
    found = invoke("report", "u20", "-o", "u20.html", "--benchmark", "u10", "--title", "Twice")
    assert found.exit_code == 0, found.output
    assert "<title>Twice" in Path("u20.html").read_text(encoding="utf-8")
    found = invoke("compare", "u10", "u20", "--report", "both.html")
    assert found.exit_code == 0, found.output
    text = Path("both.html").read_text(encoding="utf-8")
    assert all(run_id in text for run_id in RunStore().frame()["run_id"])


def test_a_kept_run_is_compared_with_an_asset_or_the_universe(invoke: Invoke) -> None:
    """As `result.report` does; what is neither is refused with what there is."""
    invoke(*RUN, "--save", "--name", "mine")
    for benchmark, words in (("BBB", "BBB at its prices"), ("equal_weight", "in equal parts")):
        found = invoke("report", "mine", "-o", "page.html", "--benchmark", benchmark)
        assert found.exit_code == 0, found.output
        assert words in Path("page.html").read_text(encoding="utf-8")
    found = invoke("report", "mine", "--benchmark", "BBX")
    assert found.exit_code == 2
    assert "Did you mean 'BBB'" in found.stderr
    assert "has no run 'BBX'" in found.stderr


@pytest.mark.parametrize(
    "words",
    [(*RUN, "--save", "--report", "no/such/page.html"), ("compare", "a", "b", "--report", "."),
     ("report", "a", "-o", "no/such/page.html"), (*RUN, "--save", "--report", ".")],
)  # fmt: skip
def test_a_page_that_cannot_be_written_is_refused_before_the_run(
    invoke: Invoke, words: tuple[str, ...]
) -> None:
    """Nothing is run, kept or printed."""
    found = invoke(*words)
    assert found.exit_code == 2
    assert "folder" in found.stderr
    assert found.stdout == ""
    assert not Path("ml4t-runs").exists()


def test_without_plotly_it_says_how_to_install_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the run."""
    import sys

    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    found = invoke(*RUN, "--report", "page.html")
    assert found.exit_code == 2
    assert "pip install 'ml4t-backtest[plot]'" in found.stderr
    assert found.stdout == ""
