"""The file that `init` writes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from ml4t.backtest.cli.starting import TEMPLATE
from ml4t.backtest.description import RunDescription
from ml4t.backtest.description.description import _ENTRIES, TABLES
from tests.cli.conftest import Invoke


def all_of_it() -> str:
    """The template with everything that is commented out."""
    return re.sub(r"(?m)^# (?=\[|\w+ = )", "", TEMPLATE)


def test_the_file_runs_once_data_and_strategy_are_there(invoke: Invoke) -> None:
    """It names prices.parquet and strategy.py."""
    found = invoke("init")
    assert found.exit_code == 0
    assert "ml4t-backtest run --config run.toml" in found.stdout
    found = invoke("run", "--config", "run.toml")
    assert found.exit_code == 0, found.output
    assert "PercentCommission(rate=0.0005)" in found.stdout


def test_nothing_is_overwritten_unasked(invoke: Invoke) -> None:
    """Exit code 2, and the way to do it."""
    Path("mine.toml").write_text("x", encoding="utf-8")
    found = invoke("init", "mine.toml")
    assert found.exit_code == 2
    assert "--force" in found.stderr
    assert Path("mine.toml").read_text(encoding="utf-8") == "x"
    assert invoke("init", "mine.toml", "--force").exit_code == 0
    assert Path("mine.toml").read_text(encoding="utf-8") == TEMPLATE
    assert invoke("init", "no/such/folder/run.toml").exit_code == 2


def test_every_line_that_is_commented_out_is_valid() -> None:
    """All of them together, too; and every table is shown."""
    entries = tomllib.loads(all_of_it())
    RunDescription(entries)
    assert set(entries) == set(TABLES)


def test_every_field_of_a_plain_table_is_shown() -> None:
    """Limits are explained elsewhere; of them, some."""
    entries = tomllib.loads(all_of_it())
    for name, kind in _ENTRIES.items():
        if name != "limits":
            fields = {f.encode_name for f in msgspec.structs.fields(kind)}
            assert set(entries[name]) == fields, name
