"""`ml4t-backtest rehearse`, as a person at a terminal uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from alpaca.trading.requests import MarketOrderRequest
from typer.testing import CliRunner

from ml4t.backtest.cli.app import app
from ml4t.backtest.rehearsal.faults import FAULTS
from tests.rehearsal.clients import TradingClient, market


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: day.parquet."""
    monkeypatch.chdir(tmp_path)
    market().write_parquet("day.parquet")
    return tmp_path


def invoke(*words: str) -> Any:
    """The command in this process."""
    return CliRunner().invoke(app, ["rehearse", *words])


def test_a_day_from_begin_to_end(folder: Path) -> None:
    """Addresses first, figures last."""
    found = invoke("--data", "day.parquet", "--speed", "1e6", "--exit-at-end", "--cash", "5000")
    assert found.exit_code == 0, found.output
    assert "8 timestamps of 1 assets, 2024-01-02 15:01 to 2024-01-02 15:08 UTC" in found.stdout
    assert 'url_override="http://127.0.0.1:' in found.stdout
    assert "export APCA_API_BASE_URL=http://127.0.0.1:" in found.stdout
    assert ["equity", "5000"] in [line.split() for line in found.stdout.splitlines()]


def test_a_described_broker(folder: Path) -> None:
    """The same file as for `run`; options win."""
    Path("run.toml").write_text(
        '[data]\npath = "day.parquet"\n[broker]\ninitial_cash = 700\n', encoding="utf-8"
    )
    words = ("--config", "run.toml", "--speed", "1e6", "--exit-at-end", "--json")
    addresses, state = map(json.loads, invoke(*words).stdout.splitlines())
    assert addresses["stream_url"].endswith("/stream")
    assert (state["cash"], state["step"], state["is_over"]) == ("700", 7, True)


def test_faults_are_listed(folder: Path) -> None:
    """All of them, with what they do."""
    found = invoke("--fault", "list")
    assert found.exit_code == 0
    assert all(name in found.stdout and text in found.stdout for name, (text, *_) in FAULTS.items())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "There is no data"),
        (("--data", "days.parquet"), "Did you mean"),
        (("--data", "day.parquet", "--fault", "drop-trade"), "Did you mean 'drop-trades'"),
        (
            ("--data", "day.parquet", "--protocol", "ib", "--fault", "504-after"),
            "Fault '504-after' is of --protocol alpaca alone, and would never strike here",
        ),
        (("--data", "day.parquet", "--fault", "link-lost"), "is of --protocol ib alone"),
        (("--data", "day.parquet", "--speed", "0"), "speed must be"),
        (("--data", "day.parquet", "--cash", "-5"), "initial_cash"),
        (("--data", "day.parquet", "--calendar", "XNYZ"), "There is no calendar"),
    ],
)
def test_mistakes_are_named(folder: Path, words: tuple[str, ...], text: str) -> None:
    """With exit code 2, before anything listens."""
    found = invoke(*words)
    assert found.exit_code == 2, found.output
    assert text in found.stderr
    assert "Traceback" not in found.output


def test_a_session_that_is_ended_with_ctrl_c(folder: Path) -> None:
    """A client trades; the figures come all the same."""
    command = [sys.executable, "-m", "ml4t.backtest", "rehearse"]
    words = ["--data", "day.parquet", "--step", "--json", "--fault", "429:call=clock"]
    with subprocess.Popen(
        [*command, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        client = TradingClient("key", "secret", url_override=addresses["url"])
        order = MarketOrderRequest(symbol="AAPL", qty=1, side="buy", time_in_force="gtc")
        client.submit_order(order)
        requests.post(f"{addresses['url']}/rehearsal/step", json={"count": 2}, timeout=5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    state = json.loads(out)
    assert (state["step"], state["fills"], state["cash"]) == (1, 1, "99990")
    assert "Traceback" not in err
