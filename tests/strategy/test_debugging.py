"""A strategy is plain Python: a debugger stops in its hooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import datetime as dt

import polars as pl

from ml4t.backtest import BacktestEngine, Strategy


class Stop(Strategy):
    def on_market_data(self, event):
        doubled = 2.0 * event.close  # a line to stop at
{call}        self.buy(event.asset_id, 1)


days = [dt.date(2024, 1, 2), dt.date(2024, 1, 3)]
prices = pl.DataFrame({{
    "timestamp": days * 2,
    "asset_id": ["AAPL", "AAPL", "MSFT", "MSFT"],
    "open": 21.0, "high": 23.0, "low": 20.0, "close": 21.0, "volume": 1e6,
}})
if __name__ == "__main__":
    result = BacktestEngine(prices, strategy=Stop()).run()
    print("orders", result.orders.height)
"""


def debug(path: Path, commands: list[str], *, under_pdb: bool = True) -> str:
    """What pdb says to some commands."""
    module = ["-m", "pdb"] if under_pdb else []
    hidden = {"PYTHONBREAKPOINT", "PYTHONSTARTUP"}
    done = subprocess.run(
        [sys.executable, *module, str(path)],
        input="\n".join(commands) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=path.parent,
        env={name: value for name, value in os.environ.items() if name not in hidden},
    )
    return done.stdout + done.stderr


def written(folder: Path, call: str = "") -> tuple[Path, int]:
    """The script, and the number of the line to stop at."""
    path = folder / "trade.py"
    text = SCRIPT.format(call=call)
    path.write_text(text)
    lines = text.splitlines()
    return path, next(i for i, line in enumerate(lines, 1) if "to stop at" in line)


def test_a_breakpoint_in_a_hook_stops_there(tmp_path: Path) -> None:
    """`break` on a line of on_market_data: locals, helpers and the user's frame are at hand."""
    path, line = written(tmp_path)
    commands = [
        f"break {path}:{line}",
        "continue",
        "p 'asset', event.asset_id",
        "next",
        "p 'doubled', doubled",
        "p 'equity', self.get_equity()",
        "where",
        "continue",
        "p 'then', event.asset_id",
        f"clear {path}:{line}",
        "continue",
        "quit",
    ]
    said = debug(path, commands)
    assert "('asset', 'AAPL')" in said
    assert "('doubled', 42.0)" in said
    assert "('equity', 100000.0)" in said
    assert f"trade.py({line + 1})on_market_data()" in said, "`where` names the hook"
    assert "('then', 'MSFT')" in said, "it stops once for each event, in order"
    assert "orders 4" in said, "and the run goes on to its end"


@pytest.mark.parametrize("name", ["breakpoint()", "import pdb; pdb.set_trace()"])
def test_a_breakpoint_written_into_a_hook_stops_there(tmp_path: Path, name: str) -> None:
    """`breakpoint()` in the strategy's own code, without starting under a debugger."""
    path, _ = written(tmp_path, call=f"        {name}\n")
    said = debug(path, ["p 'asset', event.asset_id", "up", "quit"], under_pdb=False)
    assert "('asset', 'AAPL')" in said


def test_a_failing_hook_can_be_looked_at_afterwards(tmp_path: Path) -> None:
    """Post mortem, the frame of the hook that raised is in the traceback, with its locals."""
    path, _ = written(tmp_path, call="        event.no_such_field\n")
    said = debug(path, ["continue", "where", "quit", "quit"])
    assert "on_market_data" in said
    assert "no_such_field" in said
    assert "AAPL" in said, "the error names the asset"


def test_quitting_the_debugger_ends_the_run(tmp_path: Path) -> None:
    """`quit` inside a hook leaves, and is not reported as a failure of the strategy."""
    path, line = written(tmp_path)
    said = debug(path, [f"break {path}:{line}", "continue", "quit"])
    assert "StrategyError" not in said
    assert "post mortem" not in said.lower()
