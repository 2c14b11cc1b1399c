"""Every mistake a newcomer makes: what is said, where, and the exit code. No tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import polars as pl
import pytest

from ml4t.backtest import RunStore, errors
from ml4t.backtest.cli.failures import _is_own
from tests.cli.conftest import STRATEGY, Invoke

RUN = ("run", "strategy.py", "--data", "prices.parquet")


def refused(invoke: Invoke, *words: str) -> str:
    """What the error stream says of wrong input."""
    found = invoke(*words)
    assert found.exit_code == 2, found.output
    assert "Traceback" not in found.output
    assert found.stdout == ""
    return str(found.stderr)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "strateg.py", "--data", "prices.parquet"), "Did you mean 'strategy.py'?"),
        (("run", "strategy.py", "--data", "price.parquet"), "There is no file"),
        (("run", "strategy.py:Hld", "--data", "prices.parquet"), "Did you mean 'Hold'?"),
        (("run", "prices.parquet", "--data", "prices.parquet"), "is no Python file"),
        (("run", ".", "--data", "prices.parquet"), "is a folder"),
        (("run", "--data", "prices.parquet"), "There is no strategy"),
        (("run", "strategy.py"), "There is no data"),
        (("run", "--config", "none.toml"), "none.toml cannot be read: No such file"),
        ((*RUN, "--set", "broker.initial_csh=5"), "Did you mean 'initial_cash'?"),
        ((*RUN, "--set", "brokr.initial_cash=5"), "Did you mean 'broker'?"),
        ((*RUN, "--set", "broker.initial_cash=lots"), "must be a number, not 'lots'"),
        ((*RUN, "--set", "broker.initial_cash=-1"), "initial_cash must be a positive"),
        ((*RUN, "--set", "nonsense"), "write table.field=value"),
        ((*RUN, "--set", "a=b"), "write table.field=value"),
        ((*RUN, "--set", "strategy.units=many"), "takes 'units' as int, not as str: 'many'"),
        ((*RUN, "--set", "strategy.units=2.5"), "takes 'units' as int, not as float: 2.5"),
        ((*RUN, "--set", "strategy.units=true"), "takes 'units' as int, not as bool: True"),
        ((*RUN, "--set", "strategy.unit=5"), "Hold has no parameter 'unit'. Did you mean 'units'?"),
        ((*RUN, "--set", "commission.rate=0.001"), "'percent'"),
        ((*RUN, "--set", "commission.kind=percnt"), "Did you mean 'percent'?"),
        ((*RUN, "--set", "data.columns={close='Last'}"), "Last"),
        ((*RUN, "--set", "data.start=2030-01-01"), "no bars between"),
        ((*RUN, "--signals", "prices.parquet"), "signals: "),
        ((*RUN, "--save", "prices.parquet"), "is a file, not the folder of a run store"),
        (("runs", "list"), "There is no run store"),
        (("runs", "show", "x"), "There is no run store"),
        (("explain", "x", "AAA", "2024-01-05"), "There is no run store"),
        (("compare", ".", "."), "holds no saved result"),
    ],
)
def test_wrong_input_is_refused(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, and a sentence that names the thing."""
    assert said in refused(invoke, *words)


@pytest.mark.parametrize(
    "words",
    [("rn",), ("run", "strategy.py", "--dat", "prices.parquet"), ("explain", "x"), ("runs",)],
)
def test_wrong_usage_is_refused(invoke: Invoke, words: tuple[str, ...]) -> None:
    """Unknown commands and options, and missing arguments."""
    assert invoke(*words).exit_code == 2


def test_prices_without_their_option_are_told_it(invoke: Invoke) -> None:
    """The first thing many will try."""
    found = invoke("run", "strategy.py", "prices.parquet")
    assert found.exit_code == 2
    assert "Prices follow --data" in found.stderr


def test_two_strategies_are_listed(invoke: Invoke) -> None:
    """The error shows how to choose."""
    Path("strategy.py").write_text(STRATEGY + STRATEGY.replace("Hold", "Sell"), encoding="utf-8")
    said = refused(invoke, *RUN)
    assert "defines several strategies: Hold, Sell" in said
    assert "strategy.py:Hold" in said
    assert invoke("run", "strategy.py:Sell", "--data", "prices.parquet").exit_code == 0


def test_a_file_without_a_strategy_is_refused(invoke: Invoke) -> None:
    """An imported class does not count, nor one that is no strategy."""
    Path("strategy.py").write_text("from ml4t.backtest import Strategy\nclass A: pass\n")
    assert "defines no strategy" in refused(invoke, *RUN)
    assert "'A' in strategy.py is no strategy" in refused(
        invoke, "run", "strategy.py:A", "--data", "prices.parquet"
    )


def test_a_syntax_error_shows_its_line(invoke: Invoke) -> None:
    """File, line and text."""
    Path("strategy.py").write_text("x = 1\ndef f(:\n    pass\n", encoding="utf-8")
    said = refused(invoke, *RUN)
    assert "strategy.py, line 2: this is no valid Python" in said
    assert "def f(:" in said


def test_an_import_error_shows_its_line(invoke: Invoke) -> None:
    """What is missing, and the line that wants it."""
    Path("strategy.py").write_text("import no_such_module_here\n" + STRATEGY, encoding="utf-8")
    said = refused(invoke, *RUN)
    assert "No module named 'no_such_module_here'" in said
    assert 'strategy.py", line 1' in said


@pytest.mark.parametrize(
    ("code", "hook", "asset"),
    [
        ("def on_bars(self, bars):\n        self.help(bars)", "on_bars", None),
        ("def on_market_data(self, event):\n        self.help(event)", "on_market_data", "AAA"),
    ],
)
def test_an_error_in_a_hook_shows_own_frames(
    invoke: Invoke, code: str, hook: str, asset: str | None
) -> None:
    """Exit code 1; hook, time, asset, and the user's lines alone."""
    Path("strategy.py").write_text(
        "from ml4t.backtest import Strategy\n"
        "class Bad(Strategy):\n"
        "    def help(self, thing):\n"
        "        return 1 / 0\n"
        f"    {code}\n",
        encoding="utf-8",
    )
    found = invoke(*RUN)
    assert found.exit_code == 1
    said = found.stderr
    assert f"Bad.{hook} at 2024-01-01" in said
    assert "ZeroDivisionError: division by zero" in said
    assert f"hook {hook}, time 2024-01-01" in said
    assert ("asset AAA" in said) == (asset is not None)
    frames = [line.strip() for line in said.splitlines() if line.startswith("  File")]
    assert [f.rpartition("strategy.py")[2] for f in frames] == [
        f'", line 6, in {hook}',
        '", line 4, in help',
    ]
    assert "return 1 / 0" in said
    assert "Traceback" not in said
    assert "engine.py" in invoke(*RUN, "--traceback").stderr


def test_an_order_that_cannot_be_meant_is_the_strategys_fault(invoke: Invoke) -> None:
    """Our own error, raised in a hook: exit code 1, and the line that asked for it."""
    Path("strategy.py").write_text(STRATEGY.replace("self.units)", "float('nan'))"))
    found = invoke(*RUN)
    assert found.exit_code == 1
    assert 'strategy.py", line 9, in on_bars' in found.stderr


@pytest.mark.parametrize("where", ["module", "constructor"])
def test_an_error_before_the_run_is_the_strategys_fault(invoke: Invoke, where: str) -> None:
    """Exit code 1, and its line."""
    line = "        self.units = units\n"
    text = (
        STRATEGY.replace(line, line + "        {}['key']\n")
        if where == "constructor"
        else STRATEGY + "{}['key']\n"
    )
    Path("strategy.py").write_text(text, encoding="utf-8")
    found = invoke(*RUN)
    assert found.exit_code == 1
    assert "KeyError: 'key'" in found.stderr or "raised KeyError" in found.stderr
    assert 'strategy.py", line' in found.stderr


def test_a_parameter_without_a_value_is_asked_for(invoke: Invoke) -> None:
    """How to give it stands in the error."""
    Path("strategy.py").write_text(STRATEGY.replace("units: int = 10", "units"))
    assert "strategy.units=... with --set" in refused(invoke, *RUN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[data]\npth = 'x'\n",
            "run.toml, line 2: [data] has no field 'pth'. Did you mean 'path'?",
        ),
        ("[dta]\npath = 'x'\n", "run.toml, line 1: there is no table [dta]. Did you mean 'data'?"),
        (
            "[broker]\n\ninitial_cash = 'many'\n",
            "run.toml, line 3: broker.initial_cash must be a number, not 'many'.",
        ),
        (
            "[broker]\nfill_at = 'next_opn'\n",
            "run.toml, line 2: broker.fill_at cannot be 'next_opn'. Did you mean 'next_open'",
        ),
        (
            "[strategy]\nunits = 3\n",
            "What your class takes goes into [strategy.parameters].",
        ),
        (
            "[[commission]]\nkind = 'percent'\nrat = 1\n",
            "run.toml, line 3: [commission[0]] has no field 'rat'. Did you mean 'rate'?",
        ),
        ("[commission]\nkind = 'percent'\nrate = 3\n", "line 1: [commission] "),
        ("[slippage]\nkind = 'basis_points'\n", "line 1: [slippage] needs the field 'bps'."),
        ("[limits]\nmax_drawdown = 20\n", "it is a fraction"),
        ("[signals.a]\npth = 'x'\n", "line 2: [signals.a] has no field 'pth'"),
        ("commission = 0.001\n", "commission is a table such as"),
        ("broker = 5\n", "broker is a table, not 5."),
        ("[account]\nkind = 'margn'\n", "Did you mean 'margin'?"),
        ("[broker]\ninstruments = [{ asset_id = 'A', lot = 1 }]\n", "has no field 'lot'"),
        ("[data\n", "is no valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(invoke: Invoke, text: str, said: str) -> None:
    """The place, what stands there, and what could."""
    Path("run.toml").write_text(text, encoding="utf-8")
    assert said in refused(invoke, *RUN, "--config", "run.toml")


def test_a_wrong_column_names_the_near_one(invoke: Invoke) -> None:
    """The data's own error, as it is."""
    pl.read_parquet("prices.parquet").rename({"close": "closing"}).write_parquet("prices.parquet")
    said = refused(invoke, *RUN)
    assert "'close'" in said
    assert "closing" in said


def test_an_unknown_and_an_ambiguous_run_are_refused(invoke: Invoke) -> None:
    """The near names, and the ids that are meant."""
    for units in (1, 2):
        invoke(*RUN, "--save", "--set", f"strategy.units={units}", "--name", f"n{units}")
    assert "Did you mean 'n1'" in refused(invoke, "runs", "show", "n11")
    said = refused(invoke, "explain", "Hold", "AAA", "2024-01-05")
    assert "means 2 runs" in said
    assert all(run_id in said for run_id in RunStore().frame()["run_id"])
    assert "'CCC'" in refused(invoke, "explain", "n1", "CCC", "2024-01-05")
    assert refused(invoke, "explain", "n1", "AAA", "2034-01-05")
    refused(invoke, "runs", "remove", "n1", "n3")
    assert RunStore().frame().height == 2


def test_own_frames_are_those_of_no_library() -> None:
    """Also below the prefix of Python, where containers keep programs."""
    assert _is_own(str(Path(sys.prefix) / "app" / "strategy.py"))
    assert not any(map(_is_own, (pl.__file__, subprocess.__file__, "<string>", errors.__file__)))


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_how_to_install_it(missing: str) -> None:
    """Exit code 2, on the error stream."""
    code = dedent(f"""
        import sys
        sys.modules[{missing!r}] = None
        from ml4t.backtest.__main__ import main
        sys.exit(main())
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"needs {missing}" in done.stderr
    assert "pip install 'ml4t-backtest[cli]'" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", [("run", "strategy.py", "--data"), ("check",)])
def test_a_column_of_another_name_is_named_as_the_command_takes_it(
    invoke: Invoke, command: tuple[str, ...]
) -> None:
    """What the library calls `columns={...}` is a field of [data]; what is said works."""
    pl.read_parquet("prices.parquet").rename({"close": "clse"}).write_parquet("other.parquet")
    found = invoke(*command, "other.parquet")
    assert found.exit_code == 2
    assert "Did you mean 'clse'" in found.stderr
    assert "--set data.columns.close=NAME" in found.stderr
    assert invoke(*command, "other.parquet", "--set", "data.columns.close=clse").exit_code == 0
    pl.read_parquet("prices.parquet").drop("open", "high", "low").write_parquet("one.parquet")
    found = invoke(*command, "one.parquet")
    assert "--set data.price_column=NAME" in found.stderr
    assert invoke(*command, "one.parquet", "--set", "data.price_column=close").exit_code == 0


@pytest.mark.parametrize(
    ("annotation", "value"),
    [("float", "2"), ("int | None", "2"), ("'float | None'", "2.5"), ("int | str", "word"),
     ("list", "2"), ("object", "word"), ("bool", "true")],
)  # fmt: skip
def test_what_an_annotation_allows_is_taken(invoke: Invoke, annotation: str, value: str) -> None:
    """An integer for a float, and anything where the annotation is more than numbers."""
    text = STRATEGY.replace("units: int = 10", f"units: {annotation} = None")
    text = text.replace("self.units)", "10)")
    Path("strategy.py").write_text(text, encoding="utf-8")
    found = invoke(*RUN, "--set", f"strategy.units={value}")
    assert found.exit_code == 0, found.output
