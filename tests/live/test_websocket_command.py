"""`ml4t-backtest serve`, and the page that publishes from a browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ml4t.backtest.broadcast.server import BroadcastServer
from ml4t.backtest.cli.app import app
from tests.conftest import ROOT
from tests.live.test_websocket import until
from tests.live.test_websocket_serve import Best, Client, session_of
from tests.live.world import market

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: bars and predictions."""
    monkeypatch.chdir(tmp_path)
    frame = market(10)
    frame.drop("ml_pred").write_parquet("day.parquet")
    frame.select("timestamp", "asset_id", "ml_pred").write_parquet("predictions.parquet")
    return tmp_path


def test_a_day_from_begin_to_end(folder: Path) -> None:
    """A plain client hears every bar, each after its prediction; Ctrl-C or the end stops it."""
    command = [sys.executable, "-m", "ml4t.backtest", "serve", "day.parquet"]
    words = ["--signals", "predictions.parquet", "--speed", "6000", "--json", "--exit-at-end"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *words], cwd=folder, **options) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        heard = []
        with Client(url) as client:
            client.say(type="subscribe", symbols=["A", "B", "C"])
            while (message := client.hear("bars", "signals", "end"))["type"] != "end":
                heard.append(message["type"])
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert heard == ["signals", "bars"] * 10
    assert json.loads(out) == {"played": 10, "signals": 30, "bars": 30}


def test_ctrl_c_ends_it(folder: Path) -> None:
    """With what was played, and no traceback."""
    command = [sys.executable, "-m", "ml4t.backtest", "serve", "day.parquet"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, **options) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "10 timestamps of 3 assets" in lines[0]
    assert 'WebSocketFeed("ws://127.0.0.1:' in lines[1]
    assert out.startswith("played 0")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "There is no data"),
        (("days.parquet",), "Did you mean"),
        (("day.parquet", "--speed", "0"), "speed=0"),
        (("day.parquet", "--host", "0.0.0.0"), "set a token"),  # noqa: S104
        (("day.parquet", "--token-file", "none"), "cannot be read"),
    ],
)
def test_mistakes_are_named(folder: Path, words: tuple[str, ...], text: str) -> None:
    """With exit code 2, before anything listens."""
    found = CliRunner().invoke(app, ["serve", *words])
    assert found.exit_code == 2, found.output
    assert text in found.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_a_page_in_a_browser_publishes(tmp_path: Path) -> None:
    """What it sends is beside the next bars of a session; what is refused is shown."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    handler = partial(_Quiet, directory=str(ROOT / "examples"))
    pages = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serving = threading.Thread(target=pages.serve_forever, args=[0.05])
    serving.start()
    frame = market(6).drop("ml_pred")
    try:
        with BroadcastServer(frame, speed=6_000.0) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=str(CHROMIUM), args=["--no-sandbox"]
            )
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{pages.server_port}/publish_predictions.html")
            page.fill("[name=url]", server.url)
            for asset, value, answer in (("B", "0.75", "taken"), ("X", "1", "refused: there is")):
                page.fill("[name=asset]", asset)
                page.fill("[name=value]", value)
                page.click("button")
                page.wait_for_function(f"document.querySelector('output').value.startsWith('{answer}')")  # fmt: skip  # noqa: E501
            browser.close()
            until(lambda: server.run(lambda: server.hub.counts["signals"]) == 1)
            live = Best()
            session_of(server, tmp_path, live)
    finally:
        pages.shutdown()
        pages.server_close()
        serving.join(10)
    assert {signals.get("ml_pred") for _, name, _, signals in live.seen if name == "B"} == {0.75}
    assert len(live.seen) == 18
