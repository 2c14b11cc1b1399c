"""Looking at runs that were kept."""

from __future__ import annotations

import json
from pathlib import Path

from ml4t.backtest import BacktestResult, RunStore
from tests.cli.conftest import Invoke

RUN = ("run", "strategy.py", "--data", "prices.parquet", "--save")


def kept(invoke: Invoke, *units: int) -> list[str]:
    """The ids of runs, one for each number of units."""
    for number in units:
        found = invoke(*RUN, "--set", f"strategy.units={number}", "--name", f"u{number}")
        assert found.exit_code == 0, found.output
    return [RunStore().find(f"u{number}") for number in units]


def row(text: str, head: str) -> list[str]:
    """The words of the line of a table that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(head)]
    return line.split()


def test_list_shows_the_runs(invoke: Invoke) -> None:
    """Ids, names and figures; as JSON with every column."""
    first, second = kept(invoke, 10, 20)
    out = invoke("runs", "list").stdout
    assert row(out, first)[1:4] == ["u10", "Hold", "complete"]
    assert row(out, second)[-4] == "+0.76%"  # 20 units that gain 38 each
    rows = json.loads(invoke("runs", "list", "--json").stdout)
    assert [(r["run_id"], round(r["total_return"], 9)) for r in rows] == [
        (first, 0.0038),
        (second, 0.0076),
    ]
    assert [r["parameters"]["units"] for r in rows] == [10, 20]
    assert rows[0]["versions"].keys() >= {"python", "polars"}
    assert "no runs of family 'x'" in invoke("runs", "list", "--family", "x").stdout


def test_show_takes_an_id_its_beginning_a_name_and_a_folder(invoke: Invoke) -> None:
    """All of them mean the same run; a copy outside the store knows nothing of trials."""
    (run_id,) = kept(invoke, 10)
    result = RunStore().load(run_id)
    result.save("elsewhere")
    texts = [run_id, run_id[:-3], "u10", "elsewhere", f"ml4t-runs/{run_id}"]
    pages = [invoke("runs", "show", text).stdout for text in texts]
    copy = pages.pop(texts.index("elsewhere"))
    assert copy.startswith(BacktestResult.load("elsewhere").summary())
    assert "1 configuration of Hold in its store" not in copy
    assert all(page.startswith(result.summary()) for page in pages)
    assert "1 configuration of Hold in its store" in pages[0]
    pages.append(copy)
    assert all(result.fingerprint[:16] in page.splitlines()[-1] for page in pages)
    known = json.loads(invoke("runs", "show", "u10", "--json").stdout)
    assert known["settings"]["description"]["strategy"]["parameters"] == {"units": 10}


def test_compare_says_that_runs_cover_different_times(invoke: Invoke) -> None:
    """Of which settings know nothing: a file may have grown."""
    (first,) = kept(invoke, 10)
    invoke("run", "strategy.py", "--data", "prices.parquet", "--save", "--name", "late",
           "--set", "data.start=2024-01-20")  # fmt: skip
    lines = invoke("compare", first, "late").stdout.splitlines()
    (period,) = [line for line in lines if line.startswith("period")]
    assert "2024-01-01 to 2024-02-09" in period
    assert "2024-01-20 to 2024-02-09" in period
    assert not [line for line in lines if line.startswith("assets")]


def test_compare_shows_what_differs(invoke: Invoke) -> None:
    """Settings that differ, and the figures of each."""
    names = kept(invoke, 10, 20)
    out = invoke("compare", *names).stdout
    assert row(out, "strategy.parameters.units")[1:] == ["10", "20"]
    assert "fill_at" not in out
    assert row(out, "total_return")[1:] == ["+0.38%", "+0.76%"]
    assert row(out, "final_equity")[1:] == ["100,380", "100,760"]


def test_explain_tells_a_decision(invoke: Invoke) -> None:
    """In the words of the result."""
    (run_id,) = kept(invoke, 10)
    found = invoke("explain", "u10", "AAA", "2024-01-01")
    assert found.exit_code == 0
    assert found.stdout.strip() == RunStore().load(run_id).explain("AAA", "2024-01-01").strip()


def test_remove_deletes_and_still_counts(invoke: Invoke) -> None:
    """Several at once, a name and an id."""
    first, second = kept(invoke, 10, 20)
    found = invoke("runs", "remove", "u10", second)
    assert found.exit_code == 0
    assert f"Removed {first}" in found.stdout
    assert RunStore().frame().is_empty()
    assert RunStore().trials("Hold") == 2
    assert "There are no runs." in invoke("runs", "list").stdout


def test_another_store_is_named(invoke: Invoke) -> None:
    """By the same option everywhere."""
    assert invoke(*RUN, "mine", "--name", "here").exit_code == 0
    for words in (("runs", "list"), ("runs", "show", "here"), ("compare", "here", "here")):
        assert invoke(*words, "--store", "mine").exit_code == 0
    assert invoke("runs", "remove", "here", "--store", "mine").exit_code == 0
    assert not list(Path("mine").glob("Hold-*"))


def test_a_failed_run_is_kept_too(invoke: Invoke) -> None:
    """With what had happened until then."""
    text = Path("strategy.py").read_text(encoding="utf-8")
    text += "        if len(self.history('AAA', 6)) == 6:\n            1 / 0\n"
    Path("strategy.py").write_text(text, encoding="utf-8")
    found = invoke(*RUN, "--name", "broken")
    assert found.exit_code == 1
    assert "What had happened until then is kept as Hold-" in found.stderr
    result = RunStore().load("broken")
    assert isinstance(result, BacktestResult)
    assert (result.complete, result.equity.height) == (False, 6)
    assert "The run is not complete" in invoke("runs", "show", "broken").stdout
    assert "Not complete: " in invoke("compare", "broken", "broken").stdout
