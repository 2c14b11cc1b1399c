"""A folder as a newcomer has it, and the command in it."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from ml4t.backtest.cli.app import app

DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(40)]

STRATEGY = """\
from ml4t.backtest import Strategy


class Hold(Strategy):
    def __init__(self, units: int = 10):
        self.units = units

    def on_bars(self, bars):
        self.order_target("AAA", self.units)
"""

Invoke = Callable[..., Any]


def prices() -> pl.DataFrame:
    """Two assets that gain a dollar a day, from 100 and from 50, on 40 days."""
    closes = {"AAA": [100.0 + i for i in range(40)], "BBB": [50.0 + i for i in range(40)]}
    return pl.concat(
        pl.DataFrame(
            {
                "timestamp": DAYS,
                "asset_id": asset,
                "open": close,
                "high": [c + 0.5 for c in close],
                "low": [c - 0.5 for c in close],
                "close": close,
                "volume": 1_000.0,
            }
        )
        for asset, close in closes.items()
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: prices.parquet and strategy.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # a loaded strategy adds its folder
    prices().write_parquet("prices.parquet")
    Path("strategy.py").write_text(STRATEGY, encoding="utf-8")
    return tmp_path


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    """The command in that folder, without a process of its own."""

    def call(*words: str) -> Any:
        found = CliRunner().invoke(app, list(words))
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found

    return call


def start(*words: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ml4t.backtest", *words],
        cwd=cwd,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )
